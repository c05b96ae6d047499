"""Eight seconds of the soak, for what it says of the server; how long anything takes is not looked at."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 900
"""Seconds; on the slowest machine nothing may take as long."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the soak needs /proc and epoll")


def soak(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 -- this very Python
        [sys.executable, "-m", "tests.soak", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


def test_every_line_is_explained() -> None:
    done = soak("--people", "150", "--seconds", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every line that anybody read is explained." in done.stdout
    for figure in ("lines said", "lines read, each compared", "receipts, each compared", "joins and leaves told"):
        count = re.search(rf"^{figure} +([\d,]+)", done.stdout, re.MULTILINE)
        assert count is not None
        assert int(count[1].replace(",", "")) > 0, figure


def test_it_says_what_it_takes() -> None:
    done = soak("--people", "3")
    assert done.returncode == 2
    assert "at least 50" in done.stderr
