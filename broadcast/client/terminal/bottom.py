"""The bottom of the screen, which stays below rows that scroll up into the terminal's own scrollback.

The client prints each row once. The terminal wraps it, and scrolls it away. prompt_toolkit draws the bottom below. To
print more rows, the client erases the bottom from its first row on, prints, and draws it again.

For this, the client must know the number of rows between the first row of the bottom and the cursor. It changes with
the width of the terminal, and no query can find it out. This module assumes:

* A terminal that *reflows* wraps each row again that has become too long, and moves the cursor with its character.
  ``rows_above`` counts the rows above the cursor at the new width. It knows the text of the bottom as it was drawn.
* Another terminal cuts the rows off. The number of rows above the cursor stays the same.
* While the user drags the edge of the window, the size changes many times, and the terminal may already have another
  size than the client knows. Nothing is drawn until the size has been the same for ``RESIZE_PAUSE``.
* After a resize, a row that was printed before may be anywhere. Ctrl-L prints only later rows again.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point, Size
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.screen import Screen
from prompt_toolkit.output import Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text

from broadcast.client.terminal.lines import Lines

REDRAW_SECONDS: Final = 0.05
"""The minimum time between two redraws. With it, typing stays smooth even if many entries come."""
RESIZE_PAUSE: Final = 0.3
"""The time after a resize without output, in seconds. tmux notifies programs of the last of several resizes late."""
MAX_ROWS: Final = 300
"""The most rows that can be printed again."""
MAX_UNPRINTED: Final = 5_000
"""The most rows that wait for the end of scrolling. Older ones are not printed, so that the memory is bounded."""


def reflows(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal is likely to wrap its rows again after a resize. Most do; no query can find out."""
    term = environment.get("TERM", "")
    if "TMUX" in environment or term.startswith("tmux"):
        return True
    return "XTERM_VERSION" not in environment and not term.startswith(("linux", "st-", "putty"))


class Bottom(Application[None]):
    """An application at the bottom of the screen. It draws nothing while the size of the terminal changes.

    With ``renderer.full_screen`` it covers the screen, and prints the rows afterwards.
    """

    def __init__(self, output: Output, *, is_reflowing: bool, **options: Any) -> None:  # noqa: ANN401 -- prompt_toolkit's
        if isinstance(output, Vt100_Output):
            # To ask for the cursor's position costs a round trip to the terminal for each change of the screen.
            output.enable_cpr = False
            # tmux moves the whole screen into its scrollback if a program erases it from its first column.
            output.erase_down = lambda: output.write_raw("\x1b[C\x1b[J\r\x1b[K")  # type: ignore[method-assign]
        super().__init__(output=output, erase_when_done=True, max_render_postpone_time=None, **options)
        self.min_redraw_interval = REDRAW_SECONDS
        self._is_reflowing = is_reflowing
        self._unprinted: deque[StyleAndTextTuples] = deque(maxlen=MAX_UNPRINTED)
        self._left_out = 0
        """The number of rows that were discarded because too many came while the user scrolled."""
        self._printed: deque[StyleAndTextTuples] = deque(maxlen=MAX_ROWS)
        self._rows_since_resize = 0
        """The number of printed rows that the terminal has not moved."""
        self._last_size = self.size
        self._resizing: asyncio.TimerHandle | None = None
        """The timer that is running while the size may change again."""

    @property
    def size(self) -> Size:
        """The size of the terminal."""
        return self.output.get_size()

    def add(self, rows: Iterable[StyleAndTextTuples]) -> None:
        """Print rows soon."""
        for row in rows:
            self._left_out += len(self._unprinted) == MAX_UNPRINTED
            self._unprinted.append(row)
        self.invalidate()

    def print(self) -> None:
        """Print the rows that have been added.

        prompt_toolkit's own way, ``run_in_terminal``, puts the terminal into its line mode for the time: what is typed
        in that moment would be echoed by the terminal, somewhere.
        """
        if not self._unprinted:
            return
        rows = list(self._unprinted)
        self._unprinted.clear()
        if self._left_out:
            left_out = f" * {self._left_out} older rows are left out. PageUp shows the last ones."
            rows.insert(0, [("class:note", left_out)])
            self._left_out = 0
        if self.is_running:
            self.erase()
        self._printed.extend(rows)
        self._rows_since_resize += len(rows)
        self.write([piece for row in rows for piece in [*row, ("", "\n")]])

    def write(self, pieces: StyleAndTextTuples) -> None:
        """Write styled pieces at the cursor."""
        assert self.style is not None
        print_formatted_text(self.output, pieces, self.style, color_depth=self.color_depth)

    def erase(self) -> None:
        """Erase the bottom. The cursor is then where the bottom has begun."""
        screen = self.renderer.last_rendered_screen
        if screen is not None and self._is_resized and self._is_reflowing:
            cursor = screen.get_cursor_position(self.layout.current_window)
            self.renderer._cursor_pos = Point(0, rows_above(screen, cursor, self.size.columns))  # noqa: SLF001
        self.renderer.erase()

    def draw_again(self) -> None:
        """Draw the screen again, as far as the client knows what is on it: the rows since the last resize."""
        # The rows on the screen are known only while the bottom is drawn below them.
        self._redraw()
        drawn = self.renderer.last_rendered_screen
        if drawn is not None and not self._is_resizing():
            self.erase()
            self.print_again(self._rows_since_resize, drawn.height)
            self.invalidate()

    def print_again(self, count: int, height: int) -> None:
        """Print the last *count* rows again, as far as they fit above a bottom of *height* rows.

        The cursor is in the row below them.
        """
        columns, rows = self.size.columns, self.size.rows
        lines = Lines(list(self._printed)[max(0, len(self._printed) - count) :], columns, max(0, rows - height))
        if shown := lines.shown():
            self.output.cursor_up(min(len(lines), rows))
            self.output.erase_down()
            self.write([*shown, ("", "\n")])

    @property
    def _is_resized(self) -> bool:
        """Whether the bottom was drawn for another size."""
        return self.renderer._last_size not in {None, self.size}  # noqa: SLF001

    def _is_resizing(self) -> bool:
        """Return whether the size may change again, so that nothing may be drawn yet."""
        if self.size != self._last_size:
            self._last_size = self.size
            self._rows_since_resize = 0
            if self._resizing is not None:
                self._resizing.cancel()
            self._resizing = asyncio.get_running_loop().call_later(RESIZE_PAUSE, self._end_resize)
        return self._resizing is not None

    def _end_resize(self) -> None:
        self._resizing = None
        self.invalidate()

    def _on_resize(self) -> None:
        """Draw later. prompt_toolkit would erase rows that the terminal has moved meanwhile."""
        self.invalidate()

    def _redraw(self, render_as_done: bool = False) -> None:
        """Print the rows that have been added, and draw the bottom."""
        if not render_as_done and self._is_resizing():
            return
        if not self.renderer.full_screen:
            if self._is_resized:
                self.erase()
            self.print()
        super()._redraw(render_as_done)


def rows_above(screen: Screen, cursor: Point, columns: int) -> int:
    """Return the number of rows above the cursor, after a terminal with *columns* columns has wrapped the rows."""
    above = 0
    for y in range(cursor.y + 1):
        row = screen.data_buffer[y]
        end = 1 + max((x for x, cell in row.items() if not cell.char.isspace()), default=-1)
        if y == cursor.y:
            end = min(end, cursor.x + 1)
            above -= 1
        above += 1
        column = 0
        for x in range(end):
            column += row[x].width
            if column > columns:
                above += 1
                column = row[x].width
    return above
