"""The installed client in tmux, or in GNU screen in tmux: terminals that wrap their rows again after a resize."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from tests.client.model import PATIENCE
from tests.real.programs import Programs

STEP = 0.05
"""The time between two looks at the terminal, in seconds."""


class Multiplexer:
    """A client in a window of tmux, or with *screen* in a window of GNU screen in there."""

    def __init__(self, programs: Programs, *arguments: str, screen: bool, columns: int = 80, rows: int = 24) -> None:
        self._programs = programs
        self._tmux = ("tmux", "-S", str(programs.folder / "tmux"), "-f", "/dev/null")
        self.is_screen = screen
        self._sockets = programs.folder / "sockets"
        command = [sys.executable, "-m", "broadcast.client", *arguments]
        environment = {"HOME": str(programs.folder), "XDG_STATE_HOME": str(programs.folder), "LANG": "C.UTF-8"}
        if screen:
            self._sockets.mkdir(mode=0o700)
            settings = programs.folder / "screenrc"
            settings.write_text("defscrollback 10000\nstartup_message off\ndefutf8 on\n")
            environment["SCREENDIR"] = str(self._sockets)
            command = ["env", "-u", "TMUX", "screen", "-c", str(settings), "-S", "client", *command]
        settings_of_tmux = ("set-option", "-g", "history-limit", "10000", ";")
        variables = [f"{name}={value}" for name, value in environment.items()]
        self._run(
            *settings_of_tmux, "new-session", "-d", "-x", str(columns), "-y", str(rows),
            shlex.join(["env", "-u", "NO_COLOR", *variables, *command]),
        )  # fmt: skip

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 -- the test's own text
            [*self._tmux, *arguments], check=False, capture_output=True, timeout=PATIENCE, text=True
        )

    def _run(self, *arguments: str) -> str:
        done = self._call(*arguments)
        done.check_returncode()
        return done.stdout

    def type(self, text: str) -> None:
        """Type text."""
        self._run("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys, by the names that tmux has for them."""
        self._run("send-keys", *keys)

    def paste(self, text: str) -> None:
        """Paste text, in brackets if the client has asked for them."""
        self._run("set-buffer", text)
        self._run("paste-buffer", "-p")

    @property
    def cursor(self) -> int:
        """The column of the cursor, from 0."""
        return int(self._run("display-message", "-p", "#{cursor_x}"))

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        self._run("resize-window", "-x", str(columns), "-y", str(rows))

    @property
    def shown(self) -> list[str]:
        """The rows on the terminal, without empty ones at the end."""
        return self._run("capture-pane", "-p").rstrip("\n").split("\n")

    async def everything(self) -> list[str]:
        """Return the rows in the scrollback and on the terminal. In tmux, those that it has wrapped are whole."""
        if not self.is_screen:
            return self._run("capture-pane", "-p", "-J", "-S", "-").rstrip("\n").split("\n")
        copy = self._programs.folder / "copy"
        subprocess.run(  # noqa: S603 -- the test's own text
            ["screen", "-S", "client", "-X", "hardcopy", "-h", str(copy)],  # noqa: S607
            env={"SCREENDIR": str(self._sockets), "PATH": os.environ["PATH"]},
            check=True,
            timeout=PATIENCE,
        )
        await self.until(lambda _rows: copy.exists() and copy.read_bytes().endswith(b"\n"))
        # screen fills the unused scrollback with empty rows.
        return copy.read_text("utf-8", errors="replace").strip("\n").split("\n")

    async def until(self, true: Callable[[list[str]], bool]) -> None:
        """Wait until something is true of the rows on the terminal."""
        for _ in range(int(PATIENCE / STEP)):
            if true(self.shown):
                return
            await self.pause(STEP)
        raise AssertionError("\n".join(self.shown))

    async def shows(self, *texts: str) -> None:
        """Wait until all of these texts are on the terminal, each in one row, or in wrapped ones."""
        await self.until(lambda rows: all(text in "".join(rows) for text in texts))

    def pause(self, seconds: float) -> Deferred[None]:
        """Let the reactor run for a while."""
        return deferLater(cast("IReactorTime", self._programs.reactor), seconds, lambda: None)

    async def leave(self) -> None:
        """Let the user leave. The multiplexers end with the client."""
        self.press("C-c", "C-d")
        for _ in range(int(PATIENCE / STEP)):
            if self._call("list-sessions").returncode:
                return
            await self.pause(STEP)
        raise AssertionError("\n".join(self.shown))

    def close(self) -> None:
        """End all programs in it."""
        self._call("kill-server")


def numbers(rows: list[str]) -> list[int]:
    """Return the numbers of the lines of bob, ``line 7``."""
    # After a resize, screen joins some rows that do not belong together, and wraps them elsewhere.
    return [int(number) for number in re.findall(r"bob: line (\d+)", "".join(rows))]


def is_missing(name: str) -> bool:
    """Return whether there is no such multiplexer here."""
    return shutil.which("tmux") is None or shutil.which(name) is None
