"""The server under test, the installed ``twistd -n broadcast`` in a folder of its own, and its use of the system."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from benchmarks.processes import PATIENCE, BenchmarkError, Running

_LISTENING = re.compile(r"Listening on 127\.0\.0\.1 port (\d+)")
_PROBLEM = re.compile(r"Traceback|Unhandled|Exception|never retrieved|Fatal|#error|#critical")


class SoakError(Exception):
    """The soak cannot be run, or something that it requires does not hold; the text says what."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the server uses at one moment."""

    cpu: float
    """Processor seconds of all its threads so far."""
    resident: int
    """Bytes."""
    proportional: int
    """Bytes, with memory that it shares with other processes divided among them."""
    files: int
    threads: int


class Server:
    """A running server with its default options, on a free port."""

    def __init__(self, folder: Path) -> None:
        twistd = shutil.which("twistd", path=str(Path(sys.executable).parent)) or shutil.which("twistd")
        if twistd is None:
            raise SoakError("twistd is not installed")
        self._journal = folder / "broadcast-data" / "journal.sqlite"
        self._running = Running([twistd, "-n", "broadcast", "--port", "0"], folder)
        self._process = Path(f"/proc/{self._running.pid}")
        self.port = self._wait_for_port()

    def _wait_for_port(self) -> int:
        end = monotonic() + PATIENCE
        while monotonic() < end and (self._process / "stat").exists():
            if (found := _LISTENING.search(self._log())) is not None:
                return int(found[1])
            sleep(0.02)
        words = self._running.last_words()
        self._running.end()
        raise SoakError(f"the server does not listen: {words}")

    def _log(self) -> str:
        return self._running.log.read_text(errors="replace")

    def vitals(self) -> Vitals:
        """Return what it uses now; raise ``SoakError`` if it has ended."""
        try:
            pages = int((self._process / "statm").read_text().split()[1])
            threads = int((self._process / "stat").read_text().rpartition(")")[2].split()[17])
            files = len(os.listdir(self._process / "fd"))  # noqa: PTH208 -- thousands, each second: no objects
            cpu, memory = self._running.processor(), self._running.memory()
        except (OSError, BenchmarkError, IndexError) as error:
            raise SoakError(f"the server has ended: {self._running.last_words()}") from error
        return Vitals(cpu, pages * os.sysconf("SC_PAGE_SIZE"), memory, files, threads)

    def stop(self) -> list[str]:
        """End it with SIGTERM. Return what is wrong with its end and in its log."""
        status = self._running.end()
        wrong = [] if status in {0, -signal.SIGTERM} else [f"after SIGTERM the server ended with {status}"]
        lines = enumerate(self._log().splitlines(), 1)
        return wrong + [f"line {at} of the server's log: {line}" for at, line in lines if _PROBLEM.search(line)]

    def log_tail(self) -> str:
        """Return the end of its log."""
        return "\n".join(self._log().splitlines()[-20:])

    def journal(self) -> list[tuple[int, str, str, str]]:
        """Return the journal's lines (number, kind, nickname, text), after its end."""
        with closing(sqlite3.connect(f"{self._journal.as_uri()}?mode=ro", uri=True)) as db:
            return db.execute("SELECT seq, kind, nick, text FROM events ORDER BY seq").fetchall()
