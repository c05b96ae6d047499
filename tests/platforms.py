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
    """Return whether *path* has the permissions *mode*. On Windows, there are none, and it counts as having them."""
    return os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == mode


def set_home(patch: pytest.MonkeyPatch, folder: Path | str) -> None:
    """Make *folder* the home of the user on each system."""
    for name in ("HOME", "USERPROFILE"):
        patch.setenv(name, str(folder))


IS_FOLDER = "(Is a directory|Permission denied)"
"""The error of a folder that is opened as a file: that of Unix, or that of Windows."""
IS_MISSING = "(No such file or directory|(The system cannot find the file specified|File not found))"
"""The error of a missing file: that of Unix, or those of Windows and of wine."""
IS_REFUSED = "(Connection refused|The remote computer refused the network connection)"
"""The error of a port at which nobody listens: that of Unix and wine, or that of Windows."""

needs_unix_sockets = not_on_windows("Windows' Python has no unix sockets")
needs_permissions = not_on_windows("Windows has no permissions for owner, group and others")
