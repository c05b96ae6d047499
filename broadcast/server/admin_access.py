"""The file ``admin.port``, which tells the administrator how to reach the server on a system without unix sockets.

There, the server listens on a port of the loopback interface. Each user of the machine can connect to it, and can take
it when the server has ended. So both ends prove that they can read the file, which is for the user of the server only:
the administrator sends the first secret, the server answers with the second, and only then the administrator sends the
request. Each server makes new secrets: those of a server that was killed are worth nothing.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

PORT_FILE: Final = "admin.port"
"""Name of the file in the data folder."""
_FORM: Final = re.compile(rb"([0-9]{1,5}) ([\w-]{43}) ([\w-]{43})\n")


@dataclass(frozen=True, slots=True)
class AdminAccess:
    """The port, and the two secrets."""

    port: int
    client_secret: bytes = field(default_factory=lambda: token_urlsafe(32).encode(), repr=False)
    server_secret: bytes = field(default_factory=lambda: token_urlsafe(32).encode(), repr=False)

    @classmethod
    def read(cls, path: Path) -> AdminAccess:
        """Return the content of the file *path*. Raises ``OSError``, and ``ValueError`` if it is another file."""
        match = _FORM.fullmatch(path.read_bytes())
        if match is None:
            raise ValueError(f"{path} is not the file of a server")
        return cls(int(match[1]), match[2], match[3])

    def write(self, path: Path) -> None:
        """Create the file *path*, which only the user of this process can read, and root. Raises ``OSError``."""
        _write_private(path, b"%d %s %s\n" % (self.port, self.client_secret, self.server_secret))


if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux
    import pywintypes
    import win32con
    import win32file
    import win32security

    _PRIVATE: Final = "D:P(A;;FA;;;OW)(A;;FA;;;SY)(A;;FA;;;BA)"
    """The owner, the system and administrators of the machine have full access. Nothing is inherited."""

    def _write_private(path: Path, data: bytes) -> None:
        attributes = win32security.SECURITY_ATTRIBUTES()
        attributes.SECURITY_DESCRIPTOR = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
            _PRIVATE, win32security.SDDL_REVISION_1
        )
        try:
            file = win32file.CreateFile(str(path), win32con.GENERIC_WRITE, 0, attributes, win32con.CREATE_NEW, 0, None)
            try:
                win32file.WriteFile(int(file), data)
            finally:
                file.Close()
        except pywintypes.error as error:
            raise OSError(None, error.strerror) from None

else:
    import os

    def _write_private(path: Path, data: bytes) -> None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
