"""Marks for tests that need what Windows lacks."""

from __future__ import annotations

import os

import pytest


def not_on_windows(why: str) -> pytest.MarkDecorator:
    """Skip the test on Windows because of *why*."""
    return pytest.mark.skipif(os.name == "nt", reason=why)


needs_unix_sockets = not_on_windows("Windows' Python has no unix sockets")
needs_permissions = not_on_windows("Windows has no permissions for owner, group and others")
