"""A server that cannot start says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broadcast.server.startup import give_up
from tests.platforms import not_on_windows


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


@not_on_windows("Windows' twistd has no daemon")
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
