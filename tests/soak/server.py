"""The server under test: the installed ``twistd -n broadcast`` in its own folder, and what the system says of it."""

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
_TROUBLE = re.compile(r"Traceback|Unhandled|Exception|never retrieved|Fatal|#error|#critical")


class SoakError(Exception):
    """The soak could not be run; the text says why."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the server takes at one moment."""

    cpu: float
    """Seconds of the processor, of all its threads, so far."""
    resident: int
    """Bytes."""
    proportional: int
    """Bytes: what it shares with other processes is divided among them."""
    files: int
    threads: int


class Server:
    """A running server with its defaults, on a free port."""

    def __init__(self, folder: Path) -> None:
        twistd = shutil.which("twistd", path=str(Path(sys.executable).parent)) or shutil.which("twistd")
        if twistd is None:
            raise SoakError("twistd is not installed")
        self.folder = folder
        self._running = Running([twistd, "-n", "broadcast", "--port", "0"], folder)
        self.pid = self._running.pid
        self.port = self._listening()
        self._status: int | None = None

    def _listening(self) -> int:
        """The port that its log names."""
        end = monotonic() + PATIENCE
        while monotonic() < end and Path(f"/proc/{self.pid}/stat").exists():
            if (found := _LISTENING.search(self._running.log.read_text(errors="replace"))) is not None:
                return int(found[1])
            sleep(0.02)
        words = self._running.last_words()
        self._running.end()
        raise SoakError(f"the server does not listen: {words}")

    def vitals(self) -> Vitals:
        """What it takes now; raises ``SoakError`` when it is gone."""
        process = Path(f"/proc/{self.pid}")
        try:
            pages = int((process / "statm").read_text().split()[1])
            threads = int((process / "stat").read_text().rpartition(")")[2].split()[17])
            files = len(os.listdir(process / "fd"))  # noqa: PTH208 -- thousands, each second: no objects
            return Vitals(
                self._running.processor(), pages * os.sysconf("SC_PAGE_SIZE"), self._running.memory(), files, threads
            )
        except (OSError, BenchmarkError, IndexError) as error:
            raise SoakError(f"the server has ended: {self._running.last_words()}") from error

    def stop(self) -> list[str]:
        """End it with SIGTERM; what is wrong with how it ended and with what it has logged."""
        if self._status is not None:
            return []
        self._status = self._running.end()
        wrong = []
        if self._status not in {0, -signal.SIGTERM}:
            wrong.append(f"after SIGTERM the server ended with {self._status}")
        lines = self._running.log.read_text(errors="replace").splitlines()
        wrong += [f"line {at} of the server's log: {line}" for at, line in enumerate(lines, 1) if _TROUBLE.search(line)]
        return wrong

    def log_tail(self, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join(self._running.log.read_text(errors="replace").splitlines()[-lines:])

    def journal(self) -> list[tuple[int, str, str, str]]:
        """What it has kept, after its end: number, kind, nickname, text."""
        path = self.folder / "broadcast-data" / "journal.sqlite"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return db.execute("SELECT seq, kind, nick, text FROM events ORDER BY seq").fetchall()
