"""The log file survives rotation by the server, by logrotate and by hand."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from broadcast.server.log_outputs import LogFile, StandardOutput
from tests.platforms import has_mode, needs_permissions, not_on_windows


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the log's path, which the test gives as a relative one before it changes the directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    yield tmp_path / "chat.log"
    monkeypatch.chdir(tmp_path)


def open_log(rotate_bytes: int = 1000) -> LogFile:
    """Open the log file, then change the directory, as twistd does."""
    log = LogFile(Path("chat.log"), rotate_bytes)
    os.chdir("elsewhere")
    return log


def write(log: LogFile, *lines: bytes) -> None:
    for line in lines:
        assert log.write(line) == len(line)


def test_file_is_continued(path: Path) -> None:
    path.write_bytes(b"before\n")
    write(open_log(), b"after\n")
    assert path.read_bytes() == b"before\nafter\n"


def test_large_file_is_rotated_and_no_old_file_is_overwritten(path: Path) -> None:
    path.with_name("chat.log.1").write_bytes(b"old\n")
    path.with_name("chat.log.3").write_bytes(b"very old\n")
    path.with_name("chat.log.1.gz").write_bytes(b"of logrotate\n")
    log = open_log(rotate_bytes=10)
    write(log, b"12345\n", b"67890\n", b"next\n")
    files = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    assert files == {
        "chat.log": b"next\n",
        "chat.log.1": b"12345\n67890\n",
        "chat.log.1.gz": b"of logrotate\n",
        "chat.log.2": b"old\n",
        "chat.log.4": b"very old\n",
    }


@needs_permissions
def test_new_file_has_the_permissions_of_the_old_one(path: Path) -> None:
    log = open_log()
    path.chmod(0o640)
    before = os.umask(0o077)  # that of a daemon
    try:
        log.rotate()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_file_that_was_moved_away_is_left_by_reopening(path: Path) -> None:
    log = open_log()
    write(log, b"1\n")
    path.rename(path.with_name("moved"))
    write(log, b"2\n")
    log.reopen()
    write(log, b"3\n")
    assert (path.with_name("moved").read_bytes(), path.read_bytes()) == (b"1\n2\n", b"3\n")


def test_file_that_logrotate_created_is_used_as_it_is(path: Path) -> None:
    log = open_log()
    path.rename(path.with_name("moved"))
    path.touch(mode=0o600)
    path.chmod(0o604)
    log.reopen()
    write(log, b"1\n")
    assert path.read_bytes() == b"1\n"
    assert has_mode(path, 0o604)


def test_file_that_another_program_moved_is_not_renamed_again(path: Path) -> None:
    log = open_log()
    write(log, b"1\n")
    path.rename(path.with_name("chat.log.1"))
    path.write_bytes(b"of another program\n")
    log.rotate()
    write(log, b"2\n")
    assert path.with_name("chat.log.1").read_bytes() == b"1\n"
    assert path.read_bytes() == b"of another program\n2\n"


def test_file_that_another_program_rotates_is_not_rotated_by_size(path: Path) -> None:
    log = open_log(rotate_bytes=2)
    path.rename(path.with_name("chat.log-20260115"))
    log.reopen()
    write(log, b"1\n", b"2\n", b"3\n")
    assert path.read_bytes() == b"1\n2\n3\n"
    log.rotate()
    write(log, b"4\n", b"5\n")
    assert path.read_bytes() == b"5\n", "SIGUSR1 gives the rotation back to the server"


def test_reopening_a_file_in_its_place_changes_nothing(path: Path) -> None:
    log = open_log(rotate_bytes=4)
    write(log, b"1\n")
    log.reopen()
    write(log, b"2\n", b"3\n")
    assert (path.with_name("chat.log.1").read_bytes(), path.read_bytes()) == (b"1\n2\n", b"3\n")


def test_file_may_be_truncated_in_place(path: Path) -> None:
    log = open_log()
    write(log, b"before\n")
    os.truncate(path, 0)
    write(log, b"after\n")
    assert path.read_bytes() == b"after\n"


def test_log_continues_in_the_old_file_if_there_can_be_no_new_one(path: Path) -> None:
    log = open_log(rotate_bytes=2)
    moved = path.parent.rename(path.parent.with_name("renamed"))
    with pytest.raises(FileNotFoundError):
        log.reopen()
    write(log, b"1\n", b"2\n")
    assert (moved / "chat.log").read_bytes() == b"1\n2\n"
    moved.rename(path.parent)


@not_on_windows("Windows has no devices in folders")
def test_device_is_not_rotated(path: Path) -> None:
    path.symlink_to("/dev/null")
    log = open_log(rotate_bytes=0)
    write(log, b"1\n")
    log.rotate()
    assert path.is_symlink()


def test_stdout_that_accepts_nothing_now_is_tried_again() -> None:
    fcntl = pytest.importorskip("fcntl", reason="Windows has no streams that do not block")
    receive, send = os.pipe()
    with os.fdopen(receive, "rb") as pipe, os.fdopen(send, "w", encoding="ascii") as stream:
        os.set_blocking(send, False)
        output = StandardOutput(stream)
        assert output.encoding == "ascii"
        capacity = fcntl.fcntl(send, fcntl.F_GETPIPE_SZ) if hasattr(fcntl, "F_GETPIPE_SZ") else 65536
        written = 0
        while count := output.write(b"x" * 1000):
            written += count
        assert written <= capacity
        pipe.read(written)
        assert output.write(b"y") == 1
        output.reopen()
        output.rotate()
