"""Harnesses for a fuzzer. Each makes an input of bytes and checks what must hold for every input.

``python -m tests.fuzz NAME`` runs one with atheris, which looks for inputs that reach new code. The tests run each
with the inputs in ``seeds`` and in ``found``, without atheris.
"""
