"""The limit of open files is raised, and a server that cannot start says why."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest

from broadcast.core.errors import StartupError
from broadcast.server.startup import give_up, limit_connections, raise_file_limit


def test_file_limit_is_raised_to_the_hard_limit() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        files = raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == hard or soft >= 10240
        assert files == (None if soft == resource.RLIM_INFINITY else soft)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_file_limit_of_other_systems_is_raised_less_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[tuple[int, int]] = []

    def setrlimit(_resource: int, limits: tuple[int, int]) -> None:
        requested.append(limits)
        if limits[0] == 1 << 62:
            raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _resource: (256, 1 << 62))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    raise_file_limit()
    assert requested == [(1 << 62, 1 << 62), (10240, 1 << 62)]
    monkeypatch.setitem(sys.modules, "resource", None)
    assert raise_file_limit() is None


@pytest.mark.parametrize(
    ("requested", "files", "connections"),
    [(None, 1024, 960), (960, 1024, 960), (10, 1024, 10), (None, 50, 1), (7, None, 7), (None, None, None)],
)
def test_connection_limit_leaves_descriptors_for_other_files(
    requested: int | None, files: int | None, connections: int | None
) -> None:
    assert limit_connections(requested, files) == connections


def test_connection_limit_beyond_the_file_limit_is_rejected() -> None:
    message = r"^--connections 961 .* is 1024: raise it to 1025 .* or choose at most 960\.$"
    with pytest.raises(StartupError, match=message):
        limit_connections(961, 1024)


def test_foreground_server_prints_why_it_gives_up_and_removes_its_pid_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pidfile = tmp_path / "twistd.pid"
    pidfile.write_text("1")
    with pytest.raises(SystemExit) as caught:
        give_up({"pidfile": str(pidfile), "logfile": "chat.log"}, None, None, "the port\nis in use")
    assert caught.value.code == 1
    assert not pidfile.exists()
    assert "broadcast: the portis in use" in capfd.readouterr().err.splitlines()


def test_daemon_reports_to_its_parent_and_its_terminal_why_it_gives_up() -> None:
    receive, status = os.pipe()
    terminal, stderr = os.pipe()
    with pytest.raises(SystemExit):
        give_up({"pidfile": "gone", "statusPipe": status}, None, stderr, "in use: " + "é" * 200)
    os.close(status)
    os.close(stderr)
    with os.fdopen(receive, "rb") as pipe, os.fdopen(terminal) as lines:
        assert pipe.read() == b"1 in use: " + b"?" * 90
        assert lines.read() == "broadcast: in use: " + "é" * 200 + "\n"
