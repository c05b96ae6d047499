from __future__ import annotations

import errno
import os

import pytest

from broadcast.client.exit_status import explain_read_error, explain_write_error

FULL = "the standard output cannot be written: " + os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), (141, "")),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), (6, FULL)),
        (OSError("of a kind of its own"), (6, "the standard output cannot be written: of a kind of its own")),
    ],
)
def test_only_an_output_that_nobody_reads_needs_no_words(error: OSError, ending: tuple[int, str]) -> None:
    assert explain_write_error(error) == ending


def test_an_input_that_cannot_be_read_is_told_with_its_reason() -> None:
    assert explain_read_error(OSError(errno.EIO, "Input/output error")) == (
        6, "the standard input cannot be read: Input/output error"
    )  # fmt: skip


@pytest.mark.parametrize(("platform", "status"), [("win32", 141), ("linux", 6)])
def test_windows_has_another_word_for_it(monkeypatch: pytest.MonkeyPatch, platform: str, status: int) -> None:
    monkeypatch.setattr("sys.platform", platform)
    assert explain_write_error(OSError(errno.EINVAL, "Invalid argument"))[0] == status
