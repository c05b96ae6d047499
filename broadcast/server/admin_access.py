"""The file ``admin.port``, which tells ``broadcast-admin`` how to reach the server on a system without unix sockets.

There, the server listens on a port of the loopback interface. Every user of the machine can connect to this port, and
can listen on it once the server has ended. So each end proves that it can read the file, which other users cannot:

1. The client, ``broadcast-admin``, sends its secret.
2. The server answers with the server's secret.
3. Only then the client sends the request, which may hold a password.

The server makes new secrets at each start, so the file of a killed server is worth nothing.
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
_SECRET_BYTES: Final = 32
"""Random bytes of a secret. In the file, they are 43 characters."""
_FORM: Final = re.compile(rb"([0-9]{1,5}) ([\w-]{43}) ([\w-]{43})\n")
"""The content of the file: the port, the client's secret, and the server's."""


def _make_secret() -> bytes:
    return token_urlsafe(_SECRET_BYTES).encode()


@dataclass(frozen=True, slots=True)
class AdminAccess:
    """The content of the file. By default, both secrets are new. ``repr`` does not show them."""

    port: int
    """The port of 127.0.0.1 at which the server listens."""
    client_secret: bytes = field(default_factory=_make_secret, repr=False)
    server_secret: bytes = field(default_factory=_make_secret, repr=False)

    @classmethod
    def read(cls, path: Path) -> AdminAccess:
        """Return the content of the file *path*. Raises ``OSError``, or ``ValueError`` if no server wrote it."""
        match = _FORM.fullmatch(path.read_bytes())
        if match is None:
            raise ValueError(f"{path} is not the file of a server")
        return cls(int(match[1]), match[2], match[3])

    def write(self, path: Path) -> None:
        """Create the file *path*, readable by the user of this process and by administrators. Raises ``OSError``."""
        _write_private(path, b"%d %s %s\n" % (self.port, self.client_secret, self.server_secret))


if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux
    import pywintypes
    import win32con
    import win32file
    import win32security

    _PRIVATE: Final = "D:P(A;;FA;;;OW)(A;;FA;;;SY)(A;;FA;;;BA)"
    """The owner, the system and administrators of the machine have full access. Nothing is inherited."""

    def _write_private(path: Path, data: bytes) -> None:
        """Create the file *path* with *data* and the access ``_PRIVATE``. Raises ``OSError``, also if it exists."""
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
        """Create the file *path* with *data* and the mode 0600. Raises ``OSError``, also if it exists."""
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
