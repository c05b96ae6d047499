"""The system's text for the number of an error."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

WSABASEERR: Final = 10000
"""From this number on, errors are those of Windows' sockets, which ``os.strerror`` does not know."""


def error_text(number: int) -> str:
    """Return the system's text for the error *number*, without a full stop."""
    if sys.platform == "win32" and number >= WSABASEERR:
        import ctypes  # noqa: PLC0415 - takes long to import

        return ctypes.FormatError(number).strip().rstrip(".")
    return os.strerror(number)
