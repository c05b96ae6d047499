"""A pid file that a dead server has left does not prevent a start; all other problems are one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import formatEvent

from broadcast.core.errors import StartupError
from broadcast.server import pid_file
from broadcast.server.pid_file import check_pid_file
from tests.harness import logged
from tests.platforms import not_on_windows

pytestmark = not_on_windows("Windows' twistd has no pid file")

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "twistd.pid"


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """Return a process with the test's parameter as its last argument."""
    name: str = getattr(request, "param", "")
    process = subprocess.Popen([*SLEEP, name])  # noqa: S603 -- the test's own text
    yield process
    process.kill()
    process.wait(60)


def error(path: Path) -> str:
    """Return the message with which the start with the pid file *path* is refused, after the name of the file."""
    with pytest.raises(StartupError) as caught:
        check_pid_file(path)
    assert str(caught.value).count("\n") == 0
    return str(caught.value).replace(str(path), "PATH")


def removed(path: Path) -> str:
    """Return the reason with which the pid file *path* is removed."""
    with logged() as events:
        check_pid_file(path)
    assert not path.exists()
    (line,) = map(formatEvent, events)
    before, _, reason = line.partition(": ")
    assert before == f"Removed {path}, which a dead server has left"
    return reason


def test_without_a_pid_file_the_start_is_free_and_leaves_none(path: Path) -> None:
    check_pid_file(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"junk", "does not hold a process number"),
        (b"-1", "does not hold a process number"),
        (b"0", "does not hold a process number"),
        (b"99999999999999", "does not hold a process number"),
        (b"\xff\x00", "does not hold a process number"),
    ],
)
def test_pid_file_without_a_number_is_refused_and_kept(path: Path, content: bytes, state: str) -> None:
    path.write_bytes(content)
    assert error(path) == (
        f"the pid file PATH {state}. If no server runs, remove it, or else choose another file with twistd's "
        "--pidfile, or none with --pidfile=."
    )
    assert path.read_bytes() == content


def test_pid_file_of_a_dead_process_is_removed(path: Path, process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(60)
    path.write_text(f"{process.pid}\n")
    assert removed(path) == f"process {process.pid} does not exist."


def test_pid_file_of_this_process_is_removed(path: Path) -> None:
    path.write_text(str(os.getpid()))
    assert removed(path) == f"process {os.getpid()} is this one."


@LINUX
def test_pid_file_of_a_killed_process_is_removed_before_its_parent_has_waited_for_it(
    path: Path, process: subprocess.Popen[bytes]
) -> None:
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # the process is a zombie now
    path.write_text(str(process.pid))
    assert removed(path) == f"process {process.pid} has ended."


@LINUX
@pytest.mark.parametrize("process", ["twistd.log.reader"], indirect=True)
def test_pid_file_whose_number_another_program_has_is_removed(
    path: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pid_file, "_PROGRAMS", {"twistd"})
    path.write_text(str(process.pid))
    assert removed(path) == f"process {process.pid} is another program."
    assert process.poll() is None


@pytest.mark.parametrize("process", ["/opt/bin/twistd"], indirect=True)
def test_pid_file_of_a_running_server_is_refused_and_kept(path: Path, process: subprocess.Popen[bytes]) -> None:
    path.write_text(str(process.pid))
    assert error(path) == (
        f"a server is running already: process {process.pid}, as PATH says. Stop it, or choose another file with "
        "twistd's --pidfile, or none with --pidfile=."
    )
    assert path.exists()


def test_pid_file_in_a_missing_folder_is_refused(path: Path) -> None:
    assert error(path.parent / "nowhere" / "x").startswith("cannot write the pid file ")


def test_symbolic_link_into_a_missing_folder_is_refused(path: Path) -> None:
    path.symlink_to(path.parent / "gone" / "twistd.pid")
    assert "No such file or directory" in error(path)


def test_folder_as_a_pid_file_is_refused(path: Path) -> None:
    path.mkdir()
    assert error(path).startswith("cannot read the pid file PATH: ")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder_is_refused(path: Path) -> None:
    path.parent.chmod(0o555)
    try:
        assert error(path) == (
            "cannot write the pid file PATH: Permission denied. Choose another file with twistd's --pidfile, or none "
            "with --pidfile=."
        )
    finally:
        path.parent.chmod(0o755)
