"""Programs on pseudo-terminals, for the scripts in this folder; not a script itself."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 30
"""Time-out for a program to show or do something, in seconds."""


class Terminal:
    """A program on a pseudo-terminal, with its input and its output."""

    def __init__(self, *command: str, columns: int = 80, rows: int = 24, **environment: str) -> None:
        self.command = " ".join([Path(command[0]).name, *command[1:]])
        self._screen = bytearray()
        self._looked = 0
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._terminal = parent
        self.process = subprocess.Popen(
            command,
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb", **environment},
        )
        os.close(child)

    def type(self, line: str) -> None:
        """Type *line* and press Enter."""
        self.press(f"{line}\n")

    def press(self, keys: str) -> None:
        """Press *keys*."""
        os.write(self._terminal, keys.encode())

    def wait_for(self, text: str) -> None:
        """Wait until the output contains *text*, after the text of the previous call."""
        deadline = time.monotonic() + PATIENCE
        while (at := self._screen.find(text.encode(), self._looked)) < 0:
            if not self.look(max(0, deadline - time.monotonic())):
                raise SystemExit(f"{self.command} did not show {text!r} but {bytes(self._screen)!r}")
        self._looked = at + len(text)

    def look(self, seconds: float) -> bytes:
        """Return the output that arrives within *seconds*, or nothing."""
        data = b""
        if select.select([self._terminal], [], [], seconds)[0]:
            # Linux reports an error when the other side of the terminal has been closed.
            with suppress(OSError):
                data = os.read(self._terminal, 65536)
        self._screen += data
        return data

    def end(self) -> None:
        """Press Ctrl-D, for which ncat waits, and read to the end of the output."""
        os.write(self._terminal, b"\x04")
        while self.look(PATIENCE):
            pass
        self.process.wait(PATIENCE)

    def shown(self) -> str:
        """Return the whole output as text."""
        lines = self._screen.decode().replace("\r\n", "\n").replace("\r", "").strip("\n").split("\n")
        return "\n".join(line.rstrip() for line in lines)


@contextmanager
def server(*options: str, port: int = 5555) -> Iterator[subprocess.Popen[str]]:
    """Run the installed server on *port*, with *options* and an empty journal, and yield its process."""
    twistd = str(Path(sys.executable).with_name("twistd"))
    with tempfile.TemporaryDirectory() as folder:
        command = [twistd, "-n", "--pidfile=", "broadcast", "--port", str(port), *options]
        running = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            assert running.stdout is not None
            if not any("Listening on 127.0.0.1" in line for line in running.stdout):
                raise SystemExit(f"The server did not start. Is port {port} in use?")
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait()
