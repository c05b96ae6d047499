#!/usr/bin/env python3
"""Record a session of three people on the real programs, each on a terminal of its own.

``python docs/session.py`` starts the installed server on port 5555 and prints what the three terminals show;
``python docs/session.py README.rst`` writes it between the marks in that file. Needs telnet, nc and ncat.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 30
BEGIN = ".. session begins: made by docs/session.py\n"
END = ".. session ends\n"


class Terminal:
    """A program on a terminal of its own: what is typed into it, and what it shows."""

    def __init__(self, *command: str) -> None:
        self.command = " ".join(command)
        self._screen = b""
        self._looked = 0
        parent, child = pty.openpty()
        self._terminal = parent
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, start_new_session=True, env={**os.environ, "TERM": "dumb"}
        )
        os.close(child)

    def type(self, line: str) -> None:
        """Type *line* and press Enter."""
        os.write(self._terminal, line.encode() + b"\n")

    def wait_for(self, text: str) -> None:
        """Wait until it shows *text*, further on than what was waited for before."""
        deadline = time.monotonic() + PATIENCE
        while (at := self._screen.find(text.encode(), self._looked)) < 0:
            if not select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))[0]:
                raise SystemExit(f"{self.command} did not show {text!r} but {self._screen!r}")
            self._screen += os.read(self._terminal, 65536)
        self._looked = at + len(text)

    def end(self) -> None:
        """Read to the end; press Ctrl-D, for which ncat waits."""
        os.write(self._terminal, b"\x04")
        try:
            while select.select([self._terminal], [], [], PATIENCE)[0] and (data := os.read(self._terminal, 65536)):
                self._screen += data
        except OSError:
            pass  # how Linux tells that nobody has the other side open any more
        self.process.wait(PATIENCE)

    def shown(self) -> str:
        """What stood on it in the end."""
        lines = self._screen.decode().replace("\r\n", "\n").replace("\r", "").strip("\n").split("\n")
        return "\n".join(line.rstrip() for line in lines)


def main() -> None:
    """Let ann, bob and carol talk."""
    twistd = str(Path(sys.executable).with_name("twistd"))
    with tempfile.TemporaryDirectory() as folder:
        command = [twistd, "-n", "--pidfile=", "broadcast", "--port", "5555"]
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            if not any("Listening on 127.0.0.1" in line for line in server.stdout):
                raise SystemExit("the server did not start: is port 5555 in use?")
            terminals = talk()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    text = "\n\n".join(show(name, terminal) for name, terminal in terminals) + "\n"
    if len(sys.argv) > 1:
        readme = Path(sys.argv[1])
        before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    else:
        print(text, end="")


def talk() -> list[tuple[str, Terminal]]:
    """The session."""
    ann = Terminal("telnet", "localhost", "5555")
    ann.wait_for("Nickname: ")
    ann.type("ann")
    ann.wait_for("Nobody else is here")
    ann.type("The build is red. Has anybody touched the parser?")
    bob = Terminal("nc", "localhost", "5555")
    bob.wait_for("Nickname: ")
    bob.type("bob")
    bob.wait_for("touched the parser?")
    ann.wait_for("bob joined.")
    bob.type("/me looks guilty")
    ann.wait_for("** bob looks guilty")
    bob.type("give me five minutes")
    ann.wait_for("give me five minutes")
    carol = Terminal("ncat", "localhost", "5555")
    carol.wait_for("Nickname: ")
    carol.type("bob")
    carol.wait_for("Nickname: ")
    carol.type("carol")
    carol.wait_for("give me five minutes")
    ann.wait_for("carol joined.")
    bob.wait_for("carol joined.")
    carol.type("/msg ann it was me, sorry")
    carol.wait_for("sent to ann.")
    ann.wait_for("[carol] it was me, sorry")
    ann.type("/r no harm done")
    ann.wait_for("sent to carol.")
    carol.wait_for("[ann] no harm done")
    carol.type("quit")
    bob.wait_for("carol left.")
    ann.wait_for("carol left.")
    bob.type("fixed")
    ann.wait_for("bob: fixed")
    ann.type("/history 2")
    ann.wait_for("#4 ")
    ann.type("/quit lunch")
    bob.wait_for("ann left: lunch")
    bob.type("quit")
    bob.wait_for("Goodbye, bob.")
    for terminal in (ann, bob, carol):
        terminal.end()
    return [("Ann, on telnet", ann), ("Bob, on netcat", bob), ("Carol, on ncat, a little later", carol)]


def show(name: str, terminal: Terminal) -> str:
    """One terminal as a literal block."""
    block = re.sub("(?m)^(?=.)", "    ", f"$ {terminal.command}\n{terminal.shown()}")
    return f"{name}::\n\n{block}"


main()
