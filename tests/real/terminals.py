"""The installed client on a terminal of its own, which the test sees as its user does."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorProcess, IReactorTime

from tests.client.model import Model
from tests.real.programs import Program, Programs

OF_OTHERS = {"NO_COLOR", "COLORTERM", "TERM_PROGRAM", "VTE_VERSION", "XTERM_VERSION", "KONSOLE_VERSION"}
"""The variables of the terminal in which the tests run."""
CLIENT = (sys.executable, "-m", "broadcast.client")
UP, LEFT, ENTER, TAB, CTRL_C, CTRL_D, CTRL_Z = "\x1b[A", "\x1b[D", "\r", "\t", "\x03", "\x04", "\x1a"


class Terminal(Program):
    """A program and its terminal."""

    def __init__(self, name: str, clock: IReactorTime, model: Model, master: int) -> None:
        super().__init__(name, clock)
        self.model = model
        self._decode: Callable[[bytes], str] = codecs.getincrementaldecoder("utf-8")("replace").decode
        # A second descriptor, which outlives the program.
        self._master = os.dup(master)
        self.before = self.settings()

    def outReceived(self, data: bytes) -> None:
        self.model.write(self._decode(data))
        super().outReceived(data)

    def settings(self) -> object:
        """Return the settings of the terminal."""
        return termios.tcgetattr(self._master)

    def close(self) -> None:
        """Close the terminal."""
        os.close(self._master)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal. The kernel notifies the program."""
        self.model.resize(columns, rows)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until_true(self, true: Callable[[], bool], what: str) -> Deferred[None]:
        """Return a Deferred that fires once *true* holds after an output. *what* describes it in a failure."""
        return self._when(true, lambda: "\n".join([what, *self.model.shown, ""]))

    def shows(self, *texts: str) -> Deferred[None]:
        """Return a Deferred that fires once all of *texts* are on the screen, each within one line."""

        def all_shown() -> bool:
            shown = self.model.shown
            return all(any(text in line for line in shown) for text in texts)

        return self.until_true(all_shown, repr(texts))

    def shows_line(self, line: str) -> Deferred[None]:
        """Return a Deferred that fires once a line of the screen is *line*."""
        return self.until_true(lambda: line in self.model.shown, repr(line))


def terminal(programs: Programs, *command: str, columns: int = 80, rows: int = 24, **environment: str) -> Terminal:
    """Run *command* on a terminal of its own. Its state is in the folder of the test."""
    model = Model(columns, rows)
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    program = Terminal(command[0], cast(IReactorTime, programs.reactor), model, master)
    inherited = {name: value for name, value in os.environ.items() if name not in OF_OTHERS}
    cast(IReactorProcess, programs.reactor).spawnProcess(
        program,
        command[0],
        command,
        env={
            **inherited,
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "HOME": str(programs.folder),
            "XDG_CONFIG_HOME": str(programs.folder / "config"),
            "XDG_STATE_HOME": str(programs.folder / "state"),
            "USER": "user",
            **environment,
        },
        path=str(programs.folder),
        usePTY=(master, slave, os.ttyname(slave)),  # type: ignore[arg-type]  # the interface does not know this form
    )
    programs.own(program)
    return program


def client(
    programs: Programs, port: int, *options: str, columns: int = 80, rows: int = 24, **environment: str
) -> Terminal:
    """Run the installed client on a terminal of its own."""
    return terminal(programs, *CLIENT, f"127.0.0.1:{port}", *options, columns=columns, rows=rows, **environment)
