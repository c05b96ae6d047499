"""A terminal that is a model: what is written to it, and what stands on it then."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine

import pyte
from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

PATIENCE = 60
"""How long, in seconds, anything may take that takes milliseconds; only a hang or a bug takes longer."""


class Model:
    """The screen of a terminal, and what has left it at its top."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns = columns
        self.rows = rows
        self.written = ""
        self.encoding = "utf-8"
        self._screen = self._main = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.Stream(self._screen)

    def write(self, data: str) -> int:
        """Take *data* as a terminal does."""
        self.written += data
        for part in re.split(r"(\x1b\[\?1049[hl])", data):
            if part.startswith("\x1b[?1049"):
                self._switch(is_alternate=part.endswith("h"))
            else:
                self._stream.feed(part)
        return len(data)

    def _switch(self, *, is_alternate: bool) -> None:
        """Show the alternate screen, or the main one, which has not changed. pyte has no alternate screen."""
        self._screen = pyte.HistoryScreen(self.columns, self.rows) if is_alternate else self._main
        self._stream = pyte.Stream(self._screen)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """It is like one."""
        return True

    def resize(self, columns: int, rows: int) -> None:
        """Give it another size, as xterm does: rows above the cursor go into the history, those below are cut off."""
        screen, x, y = self._screen, self._screen.cursor.x, self._screen.cursor.y
        lost = max(0, self.rows - rows)
        above = min(lost, max(0, y - rows + 1))
        screen.history.top.extend(screen.buffer[row] for row in range(above))
        # pyte removes rows from the top.
        screen.cursor_position(1, 1)
        screen.insert_lines(lost - above)
        screen.resize(rows, columns)
        self.columns, self.rows = columns, rows
        screen.cursor_position(y - above + 1, x + 1)

    @property
    def shown(self) -> list[str]:
        """The lines on the screen, without blanks at their ends and without those below the last one."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def everything(self) -> list[str]:
        """The lines that have left the screen, and those on it."""
        above = ["".join(line[at].data for at in range(self.columns)).rstrip() for line in self._screen.history.top]
        return [*above, *self.shown]

    @property
    def cursor(self) -> tuple[int, int]:
        """The column and row of the cursor, from 0."""
        return self._screen.cursor.x, self._screen.cursor.y

    def style(self, text: str) -> set[tuple[str, bool, bool]]:
        """Colour, boldness and reversal of the characters of *text*, where it stands for the first time."""
        for row, line in enumerate(self._screen.display):
            if text in line:
                cells = [self._screen.buffer[row][line.index(text) + at] for at in range(len(text))]
                return {(cell.fg, cell.bold, cell.reverse) for cell in cells}
        raise AssertionError(f"{text!r} is not among {self.shown}")

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is *true*."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not true():
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError("\n".join(self.everything))
            await asyncio.sleep(0.005)

    async def shows(self, *lines: str) -> None:
        """Wait until exactly these *lines* stand on it."""
        await self.until(lambda: self.shown == list(lines))

    def output(self) -> Vt100_Output:
        """What prompt_toolkit writes to."""
        return Vt100_Output(self, lambda: Size(rows=self.rows, columns=self.columns), term="xterm")  # type: ignore[arg-type]  # as much of a TextIO as it needs


def played(scene: Callable[[PipeInput], Coroutine[object, object, None]], model: Model) -> None:
    """Run *scene* with keys that it can press."""

    async def play() -> None:
        with create_pipe_input() as keys, create_app_session(keys, model.output()):
            await scene(keys)

    run_in_thread(play())


def run_in_thread(coroutine: Coroutine[object, object, None]) -> None:
    """Run *coroutine* in a thread of its own.

    In the main thread asyncio would take the signals from the reactor that runs the tests.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as failure:  # noqa: BLE001 -- it is raised below
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(2 * PATIENCE)
    assert not thread.is_alive()
    if failures:
        raise failures[0]
