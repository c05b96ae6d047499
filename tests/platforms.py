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


needs_unix_sockets = not_on_windows("Windows' Python has no unix sockets")
needs_permissions = not_on_windows("Windows has no permissions for owner, group and others")
