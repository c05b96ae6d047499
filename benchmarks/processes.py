"""Processes that a benchmark starts: starting, measuring by means of /proc, and ending them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import monotonic, sleep

GRACE = 20.0
"""Maximum number of seconds for a process to end before it is killed."""
PATIENCE = 60.0
"""Maximum number of seconds until a server's port must answer."""
_PORTS = range(10_000, 32_000)
"""Ports that the system does not give to connections and to listeners on any port."""
_positions = count(os.getpid() * 601)
"""Positions in ``_PORTS`` where this process looks: far from those of processes that were started shortly before."""


class BenchmarkError(Exception):
    """A failed measurement. The text gives the reason."""


class Running:
    """A program that runs in *folder* and writes its output to the file ``log`` in it."""

    def __init__(self, argv: Sequence[str], folder: Path) -> None:
        self.log = folder / "log"
        # setpriv ends the server if this process dies. The pid stays the same, because setpriv executes the server.
        tied = [setpriv, "--pdeathsig", "TERM"] if (setpriv := shutil.which("setpriv")) else []
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*tied, *argv], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self.pid = self._popen.pid

    def wait_for(self, port: int) -> None:
        """Wait until *port* of 127.0.0.1 accepts a connection, or raise ``BenchmarkError``."""
        end = monotonic() + PATIENCE
        while monotonic() < end:
            if self._popen.poll() is not None:
                raise BenchmarkError(f"the server ended at once: {self.last_words()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                sleep(0.002)
            else:
                return
        raise BenchmarkError(f"the server does not answer: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line of the log."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "the log is empty")

    def memory(self) -> int:
        """Return the proportional set size in bytes, which divides shared pages among their users."""
        try:
            lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        except OSError as error:
            raise BenchmarkError(f"its memory cannot be read: {error.strerror}") from error
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024

    def processor(self) -> float:
        """Return the seconds of user and system time of all threads so far, from ``/proc/PID/stat``."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> int:
        """Terminate the process, or kill it after ``GRACE``. Return its exit status, or minus the signal number."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        return int(self._popen.returncode)


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now, and that this process has not returned before."""
    while True:
        port = _PORTS[next(_positions) % len(_PORTS)]
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
