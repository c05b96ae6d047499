"""Eight seconds of the soak, and its filter that stops a network."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the soak needs /proc and socket filters", allow_module_level=True)

from tests.soak.__main__ import main
from tests.soak.people import start_network, stop_network, why_no_filters

ROOT = Path(__file__).parents[2]
TIMEOUT = 280
"""Seconds; on the slowest machine nothing may take as long."""


def soak(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 -- this very Python
        [sys.executable, "-m", "tests.soak", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT,
    )  # fmt: skip


def test_every_line_is_explained() -> None:
    done = soak("--people", "150", "--programs", "30", "--seconds", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every line that anybody read is explained." in done.stdout
    for name in (
        "lines said", "lines read", "receipts", "arrivals", "visits of programs", "lines confirmed to programs",
        "lines read by programs", "sessions that were resumed", "rooms whose people a program has compared",
    ):  # fmt: skip
        assert re.search(rf"^{name} +[1-9]", done.stdout, re.MULTILINE), name


def test_too_few_people_are_rejected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", "--people", "3"])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    assert "at least 50" in capsys.readouterr().err


def test_stopped_network_passes_nothing_until_it_starts_again() -> None:
    if reason := why_no_filters():
        pytest.skip(reason)
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as near:
        far = listening.accept()[0]
        with far:
            stop_network(near)
            far.sendall(b"hello")
            near.settimeout(0.5)
            with pytest.raises(TimeoutError):
                near.recv(5)
            start_network(near)
            near.settimeout(TIMEOUT)
            assert near.recv(5) == b"hello"
