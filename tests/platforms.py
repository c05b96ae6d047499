"""Marks for tests that need what Windows lacks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest


def not_on_windows(why: str) -> pytest.MarkDecorator:
    """Skip the test on Windows because of *why*."""
    return pytest.mark.skipif(os.name == "nt", reason=why)


def has_mode(path: Path, mode: int) -> bool:
    """Return whether *path* has the permissions *mode*. Windows has no such permissions: the result is True there."""
    return os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == mode


def set_home(patch: pytest.MonkeyPatch, folder: Path | str) -> None:
    """Make *folder* the home of the user, on Unix and on Windows."""
    for name in ("HOME", "USERPROFILE"):
        patch.setenv(name, str(folder))


IS_FOLDER = "(Is a directory|Permission denied)"
"""Pattern of the error if a folder is opened as a file, on Unix or on Windows."""
IS_MISSING = "(No such file or directory|(The system cannot find the file specified|File not found))"
"""Pattern of the error if a file is missing, on Unix, on Windows or under wine."""
IS_REFUSED = "(Connection refused|The remote computer refused the network connection)"
"""Pattern of the error if no program listens at a port, on Unix and under wine, or on Windows."""

needs_unix_sockets = not_on_windows("Windows' Python has no unix sockets")
needs_permissions = not_on_windows("Windows has no permissions for owner, group and others")
