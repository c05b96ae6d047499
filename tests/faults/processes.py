"""The system's figures for the server's process, and waiting for conditions that no event announces."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import deferLater

from tests.real.programs import PATIENCE, Programs

OTHER_FILES = 100
"""Number of files that the test may need in addition to its connections."""


async def wait_until(programs: Programs, is_true: Callable[[], bool], problem: str) -> None:
    """Wait until *is_true*, for ``PATIENCE`` at most."""
    end = programs.clock.seconds() + PATIENCE
    while not is_true():
        assert programs.clock.seconds() < end, problem
        await deferLater(programs.clock, 0.01)


def need_files(count: int) -> None:
    """Let this process open *count* connections; skip the test if the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + OTHER_FILES:
        pytest.skip(f"a process may have only {hard} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + OTHER_FILES), hard))


class Process:
    """The process *pid* in ``/proc``; skips the test where there is none."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.folder = Path(f"/proc/{pid}")
        if not self.folder.exists():
            pytest.skip("the system shows no other processes in /proc")

    def most_memory(self) -> int:
        """Return the maximum of its physical memory so far, in bytes."""
        for line in (self.folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")

    def processor_seconds(self) -> float:
        """Return the processor time that it has used."""
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def highest_file(self) -> int:
        """Return the highest number of its open files."""
        return max(int(entry.name) for entry in (self.folder / "fd").iterdir())

    def limit(self, name: str, value: int | None) -> None:
        """Set its soft limit *name*, such as "NOFILE"; None removes the limit."""
        if sys.platform == "linux":  # for mypy, elsewhere
            number = getattr(resource, f"RLIMIT_{name}")
            hard = resource.prlimit(self._pid, number)[1]
            resource.prlimit(self._pid, number, (hard if value is None else value, hard))
