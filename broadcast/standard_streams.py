"""Reads and writes of the standard streams as bytes, which are UTF-8 on every system."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux
    # A console of Windows converts plain bytes from and to its code page, such as cp437. Python's stream for consoles,
    # which ``open`` returns, converts UTF-8, and takes Ctrl-Z and Enter as the end of the input. Files and pipes have
    # no code page.

    def read(descriptor: int, size: int) -> bytes:
        """Read at most *size* bytes; none at the end of the input. Raises ``OSError``."""
        with open(descriptor, "rb", buffering=0, closefd=False) as stream:
            return stream.read(size)

    def write(descriptor: int, data: bytes | memoryview) -> int:
        """Write some of *data*, and return the number of bytes that were written. Raises ``OSError``."""
        with open(descriptor, "wb", buffering=0, closefd=False) as stream:
            return stream.write(data)

else:
    read, write = os.read, os.write
