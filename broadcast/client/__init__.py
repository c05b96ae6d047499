"""The chat client: a second implementation of ``docs/protocol.rst``, which imports nothing of the server."""
