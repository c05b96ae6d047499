"""The scrolling view: the entries of a view on the alternate screen, which new entries do not move."""

from __future__ import annotations

from bisect import bisect_right
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


class Scrolling:
    """A position in rows, each of which is wrapped into one or more lines of the terminal."""

    def __init__(self, rows: Sequence[StyleAndTextTuples], columns: int, height: int) -> None:
        self.new = 0
        """The number of entries that came after the beginning of scrolling."""
        self.height = height
        self._rows = list(rows)
        self._columns = columns
        self._lines: list[StyleAndTextTuples] = []
        self._starts: list[int] = []
        """The index of the first line of each row."""
        self._wrap(self._rows)
        self.position = self._last_top
        """The index of the first line on the screen."""
        self.result = ""
        """The result of the last search, or empty."""
        self.is_missing = False
        """Whether the last search has found nothing."""
        self.searches_left = 0
        """The number of times that the search may still ask for older rows."""
        self._wanted = ""
        self.found = -1
        """The index of the row that was found, or -1."""

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self._lines)

    @property
    def is_at_end(self) -> bool:
        """Whether the newest entry is shown."""
        return self.position >= self._last_top

    @property
    def _last_top(self) -> int:
        return max(0, len(self._lines) - self.height)

    def add(self, rows: Sequence[StyleAndTextTuples]) -> None:
        """Append rows. The position stays."""
        self._rows += rows
        self._wrap(rows)

    def add_older(self, all_rows: Sequence[StyleAndTextTuples]) -> None:
        """Replace the rows with the same ones and older ones before them. The position stays."""
        below = len(self._lines) - self.position
        if self.found >= 0:
            self.found += len(all_rows) - len(self._rows)
        self._rows = list(all_rows)
        self._wrap_all()
        self.position = max(0, len(self._lines) - below)

    def resize(self, columns: int, height: int) -> None:
        """Wrap the rows for a terminal of another size. The first row stays the first one."""
        if (columns, height) == (self._columns, self.height):
            return
        first = bisect_right(self._starts, self.position) - 1
        was_at_end = self.is_at_end
        self._columns, self.height = columns, height
        self._wrap_all()
        self.position = self._last_top if was_at_end or first < 0 else min(self._starts[first], self._last_top)

    def move(self, lines: int) -> None:
        """Move down, or up if *lines* is negative."""
        self.position = min(max(0, self.position + lines), self._last_top)

    def page(self, pages: int) -> None:
        """Move by pages. Two lines of a page stay on the screen."""
        self.move(pages * max(1, self.height - 2))

    def find(self, text: str = "") -> None:
        """Move to the next row above that contains *text*, or the text of the last call, if there is one."""
        self._wanted = text or self._wanted
        if not self._wanted:
            return
        if text or self.found < 0:
            self.found = len(self._rows)
        self.is_missing = False
        for index in range(self.found - 1, -1, -1):
            if self._wanted.casefold() in fragment_list_to_text(self._rows[index]).casefold():
                self.found = index
                self.result = f'"{self._wanted}" found, Ctrl-R finds the next'
                self.position = min(max(0, self._starts[index] - self.height // 2), self._last_top)
                return
        self.is_missing = True
        self.result = f'"{self._wanted}" not found'
        if self.found == len(self._rows):
            self.found = -1

    def shown(self) -> StyleAndTextTuples:
        """Return the lines on the screen. A row is whole, so that the terminal wraps it itself."""
        pieces: StyleAndTextTuples = []
        end = min(len(self._lines), self.position + self.height)
        starts = set(self._starts[bisect_right(self._starts, self.position) : bisect_right(self._starts, end)])
        for index in range(self.position, end):
            if index in starts:
                pieces.append(("", "\n"))
            is_found = self.result and bisect_right(self._starts, index) - 1 == self.found
            pieces += [(f"{style} class:found" if is_found else style, text) for style, text, *_ in self._lines[index]]
        return pieces

    def _wrap(self, rows: Iterable[StyleAndTextTuples]) -> None:
        for row in rows:
            self._starts.append(len(self._lines))
            self._lines += wrap(row, self._columns)

    def _wrap_all(self) -> None:
        self._lines, self._starts = [], []
        self._wrap(self._rows)
