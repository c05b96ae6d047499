"""Errors have the text of the system."""

from __future__ import annotations

import errno

from broadcast.client.error_text import error_text


def test_text_is_that_of_the_system() -> None:
    assert error_text(errno.ECONNREFUSED) == "Connection refused"
