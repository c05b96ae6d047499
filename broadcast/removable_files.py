"""Files that can be renamed, replaced and removed while they are open, on Windows as on Unix.

``os.open`` on Windows opens a file in a way that forbids this until the file is closed.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux
    import msvcrt

    import pywintypes
    import win32con
    import win32file

    def open_removable(path: Path, flags: int, mode: int = 0o666) -> int:  # noqa: ARG001 - as below
        """Return a descriptor of the file *path*, as ``os.open`` does. Raises ``OSError``.

        Of the *flags*, ``O_RDWR`` and ``O_TRUNC`` are not supported. *mode* has no effect.
        """
        access = win32con.GENERIC_WRITE if flags & os.O_WRONLY else win32con.GENERIC_READ
        share = win32con.FILE_SHARE_READ | win32con.FILE_SHARE_WRITE | win32con.FILE_SHARE_DELETE
        create = win32con.OPEN_EXISTING
        if flags & os.O_CREAT:
            create = win32con.CREATE_NEW if flags & os.O_EXCL else win32con.OPEN_ALWAYS
        try:
            file = win32file.CreateFile(str(path), access, share, None, create, 0, None)
        except pywintypes.error as error:
            # OSError derives errno and its subclass, such as FileNotFoundError, from winerror.
            raise OSError(0, error.strerror, str(path), error.winerror) from None
        return msvcrt.open_osfhandle(int(file.Detach()), flags)

else:

    def open_removable(path: Path, flags: int, mode: int = 0o666) -> int:
        """Return a descriptor of the file *path*, as ``os.open`` does. Raises ``OSError``."""
        return os.open(path, flags, mode)
