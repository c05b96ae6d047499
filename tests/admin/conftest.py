"""The fixtures that the tests of the administrator's command share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from broadcast.admin.__main__ import main
from tests.admin.journals import Writer, make_journal


class Ended(NamedTuple):
    """How a command has ended."""

    status: int
    out: str
    error: str


Run = Callable[..., Ended]
"""Runs the command with arguments."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that no server uses."""
    make_journal(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def used_folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder that another journal has open, as a server does."""
    writer = Writer(tmp_path / "used")
    yield tmp_path / "used"
    writer.journal.close()


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command with *data*, by default ``folder``."""

    def run_command(*arguments: str, data: Path = folder) -> Ended:
        capfd.readouterr()
        try:
            status = main(["--data", str(data), *arguments])
        except SystemExit as ended:
            status = int(str(ended.code))
        return Ended(status, *capfd.readouterr())

    return run_command
