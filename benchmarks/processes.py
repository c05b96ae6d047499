"""Processes that a benchmark starts: each is ended by its pid, and measured by what the operating system says of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep

GRACE = 20.0
"""Seconds that a process may take to end before it is killed."""
PATIENCE = 60.0
"""Seconds that a server may take until its port answers."""


class BenchmarkError(Exception):
    """A measurement could not be made; the text says why."""


class Running:
    """A program that runs in *folder* and writes its output to the file ``log`` there."""

    def __init__(self, argv: Sequence[str], folder: Path) -> None:
        self.log = folder / "log"
        # Whatever becomes of this process, the server ends with it. The pid stays the same: setpriv becomes it.
        tied = [setpriv, "--pdeathsig", "TERM"] if (setpriv := shutil.which("setpriv")) else []
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*tied, *argv], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self.pid = self._popen.pid

    def wait_for(self, port: int) -> None:
        """Wait until *port* of 127.0.0.1 accepts a connection; raises ``BenchmarkError``."""
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
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def memory(self) -> int:
        """Bytes of memory that are its own: the proportional set size, which shares shared pages among their users."""
        try:
            lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        except OSError as error:
            raise BenchmarkError(f"its memory cannot be read: {error.strerror}") from error
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024

    def processor(self) -> float:
        """Seconds of user and system time that all its threads have used so far, as ``/proc/PID/stat`` has them."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> int:
        """Ask it to end, wait, and kill it when it does not; its exit status, or minus the signal that ended it."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        return int(self._popen.returncode)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
