"""Rows as the lines of the terminal that they fill, and a position in them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_to_text
from wcwidth import iter_graphemes

from broadcast.client.terminal.graphemes import width


def wrap(row: StyleAndTextTuples, columns: int) -> list[StyleAndTextTuples]:
    """Return the rows of the terminal that *row* fills, as the terminal itself wraps it."""
    wrapped: list[StyleAndTextTuples] = [[]]
    x = 0
    for style, text, *_ in row:
        if "[ZeroWidthEscape]" in style:
            wrapped[-1].append((style, text))
            continue
        start = end = 0
        for grapheme in iter_graphemes(text):
            step = width(grapheme)
            if x + step > columns:
                wrapped[-1].append((style, text[start:end]))
                wrapped.append([])
                start, x = end, 0
            x += step
            end += len(grapheme)
        wrapped[-1].append((style, text[start:]))
    return wrapped


class Lines:
    """A position in rows, each of which is wrapped into one or more lines of the terminal."""

    def __init__(self, rows: Iterable[StyleAndTextTuples], columns: int, height: int) -> None:
        self.height = height
        self.result = ""
        self.is_missing = False
        """Whether the last search has found nothing."""
        self.searches_left = 0
        """The number of times that the search may still ask for older rows."""
        self._wanted = ""
        self._found = -1
        """The index of the row that was found, or -1."""
        self._columns = columns
        self._rows: list[StyleAndTextTuples] = []
        self._lines: list[tuple[int, StyleAndTextTuples]] = []
        """The lines, each with the index of its row."""
        self.add(rows)
        self.position = self._last_top
        """The index of the first line on the screen."""

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self._lines)

    @property
    def is_at_end(self) -> bool:
        """Whether the newest row is shown."""
        return self.position >= self._last_top

    @property
    def page_rows(self) -> int:
        """The number of lines to move by a page. Two lines stay on the screen."""
        return max(1, self.height - 2)

    @property
    def _last_top(self) -> int:
        return max(0, len(self._lines) - self.height)

    def add(self, rows: Iterable[StyleAndTextTuples]) -> None:
        """Append rows. The position stays."""
        for row in rows:
            self._lines += [(len(self._rows), line) for line in wrap(row, self._columns)]
            self._rows.append(row)

    def add_older(self, all_rows: Sequence[StyleAndTextTuples]) -> None:
        """Replace the rows by the same ones with older ones before them. The lines on the screen stay."""
        below = len(self._lines) - self.position
        if self._found >= 0:
            self._found += len(all_rows) - len(self._rows)
        self._replace(all_rows)
        self.position = max(0, len(self._lines) - below)

    def resize(self, columns: int, height: int) -> None:
        """Wrap the rows for a terminal of another size. The first row stays the first one."""
        if (columns, height) == (self._columns, self.height):
            return
        was_at_end = self.is_at_end
        first = self._lines[self.position][0] if self._lines else 0
        self._columns, self.height = columns, height
        self._replace(self._rows)
        self.position = self._last_top
        if not was_at_end:
            self._show_row(first)

    def move(self, lines: int) -> None:
        """Move down, or up if *lines* is negative."""
        self.position = min(max(0, self.position + lines), self._last_top)

    def find(self, text: str = "") -> None:
        """Move to the next row above that contains *text*, or the text of the last call, if there is one."""
        self._wanted = text or self._wanted
        if not self._wanted:
            return
        if text or self._found < 0:
            self._found = len(self._rows)
        self.is_missing = False
        for index in range(self._found - 1, -1, -1):
            if self._wanted.casefold() in fragment_list_to_text(self._rows[index]).casefold():
                self._found = index
                self.result = f'"{self._wanted}" found, Ctrl-R finds the next'
                self._show_row(index, self.height // 2)
                return
        self.is_missing = True
        self.result = f'"{self._wanted}" not found'
        if self._found == len(self._rows):
            self._found = -1

    def shown(self) -> StyleAndTextTuples:
        """Return the lines on the screen. A row is whole, so that the terminal wraps it itself."""
        pieces: StyleAndTextTuples = []
        last = None
        for row, line in self._lines[self.position : self.position + self.height]:
            if last not in {None, row}:
                pieces.append(("", "\n"))
            last = row
            pieces += [(f"{style} class:found" if row == self._found else style, text) for style, text, *_ in line]
        return pieces

    def _show_row(self, row: int, lines_above: int = 0) -> None:
        first = bisect_left(self._lines, row, key=lambda line: line[0])
        self.position = min(max(0, first - lines_above), self._last_top)

    def _replace(self, rows: Iterable[StyleAndTextTuples]) -> None:
        self._rows, self._lines = [], []
        self.add(rows)
