"""Bytes of the standard streams, which are UTF-8 everywhere."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux
    # A console there converts plain bytes from and to its code page, such as cp437. Python's own stream for consoles
    # passes on Unicode, and takes Ctrl-Z and Enter as the end of the input. Files and pipes have no code page.

    def read(descriptor: int, size: int) -> bytes:
        """Read at most *size* bytes, none at the end. Raises ``OSError``."""
        with open(descriptor, "rb", buffering=0, closefd=False) as stream:
            return stream.read(size)

    def write(descriptor: int, data: bytes | memoryview) -> int:
        """Write some of *data*, and return the number of bytes. Raises ``OSError``."""
        with open(descriptor, "wb", buffering=0, closefd=False) as stream:
            return stream.write(data)

else:
    read, write = os.read, os.write
