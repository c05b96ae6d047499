"""The file with the user's password: ``--password-file``. ``--send`` waits for this module, so it imports little."""

from __future__ import annotations

import os
import stat
import sys

from broadcast.client.options import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from broadcast.client.options import Options

PASSWORD_HINT: Final = "--password-file FILE gives it."  # noqa: S105 -- a hint
_MOST_BYTES: Final = 4096


def read_password(options: Options) -> str:
    """Return the first line of the file of *options*, or an empty text without one.

    Raise ``SettingsError`` if it cannot be used, or if other users can read it.
    """
    if options.password_file is None:
        return ""
    path = os.path.expanduser(options.password_file)
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if sys.platform != "win32" and stat.S_ISREG(mode) and mode & 0o077:
                raise SettingsError(f"{path} holds a password, and other users have access to it: chmod 600 {path}")
            line = file.readline(_MOST_BYTES)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        password = line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise SettingsError(f"the first line of {path} is no password: it is not UTF-8") from None
    if not password:
        raise SettingsError(f"{path} has no password in its first line")
    return password
