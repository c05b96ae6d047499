"""The doors and their codecs: bytes to lines, lines to a session."""
