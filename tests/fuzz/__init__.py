"""Harnesses for a fuzzer: each takes bytes, makes an input of them, and checks what must hold for every input.

``python -m tests.fuzz NAME`` runs one with atheris, which looks for inputs that lead to new places in the code. The
tests run each with the inputs in ``seeds`` and in ``found``, without atheris.
"""
