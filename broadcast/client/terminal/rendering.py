"""The appearance of entries, as rows of styled pieces. Each state has a word or a sign, not only a style."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from prompt_toolkit.formatted_text import StyleAndTextTuples

from broadcast.client.session.entries import Entry, Line, Notice, Output, PrivateLine, Problem, Refused, Typed
from broadcast.client.session.views import View
from broadcast.client.terminal import links
from broadcast.client.text import printable, sign

PALETTE: Final = (
    "#d75f00", "#af5f00", "#878700", "#5f8700", "#008700", "#00875f", "#008787", "#0087af",
    "#0087d7", "#5f5fff", "#875fff", "#af5fd7", "#d700d7", "#d7005f", "#d75f87", "#875faf",
)  # fmt: skip
"""Sixteen of the 256 colours that terminals share. Against both black and white each has a contrast of at least 3.5
to 1, where WCAG 2.2 (1.4.11) asks for 3; ``tests/client/terminal/test_colors.py`` computes it. Red is for errors."""
STYLES: Final[Mapping[str, str]] = {
    "time": "#808080",
    "day": "#808080",
    "unread": "bold",
    "heading": "bold",
    "note": "#808080",
    "mention": "bold #d75f00",
    "own": "bold",
    "private": "bold",
    "error": "bold #d70000",
    "waiting": "#808080",
}


@dataclass(kw_only=True)
class Renderer:
    """Makes rows of entries. A row with the date comes before the first line of another day.

    The rows contain no line ends, so that the terminal wraps them, and a copied link stays whole. All texts have passed
    ``printable``. Pieces with the style ``[ZeroWidthEscape]`` are sequences that open or close a link.
    """

    has_times: Callable[[], bool] = lambda: True
    has_links: bool = False
    """Whether the terminal understands links. If only parts of rows are drawn, there must be none."""
    encoding: str = "utf-8"
    day: date | None = None
    """The day of the last line, or today if there is none yet. None: the first line has its date."""

    def rows(self, entries: Iterable[Entry], unread: int = 0) -> Iterator[StyleAndTextTuples]:
        """Yield the rows of *entries*. A marker comes before the last *unread* ones."""
        entries = list(entries)
        for index, entry in enumerate(entries):
            if unread and index == max(0, len(entries) - unread):
                yield [("class:unread", "--- new ---")]
            at = _local(entry)
            if at is not None and at.date() != self.day:
                self.day = at.date()
                yield [("class:day", f"--- {at:%A}, {self.day} ---")]
            yield self.row(entry)

    def row(self, entry: Entry) -> StyleAndTextTuples:  # noqa: PLR0911 -- a table
        """Return the row of *entry*."""
        match entry:
            case Line(nick=nick, text=text):
                style = "class:mention" if entry.is_mention else ""
                mark = [(style, ">> ")] if entry.is_mention else []
                name = f"* {nick}" if entry.is_file else f"** {nick}" if entry.is_action else f"{nick}:"
                return [*self._time(entry), *mark, self._name(name, nick, entry, style), *self._text(f" {text}", style)]
            case PrivateLine(nick=nick, text=text):
                name = f"[-> {nick}]" if entry.is_own else f"[{nick}]"
                style = "class:private"
                return [*self._time(entry), self._name(name, nick, entry, style), *self._text(f" {text}", style)]
            case Notice(text=text):
                return [("class:note", " * "), *self._text(text, "class:note")]
            case Typed(text=text):
                return self._text(text, "class:note")
            case Output(text=text):
                return [("class:note", "-> "), *self._text(text)]
            case Problem(text=text):
                return [("class:error", "-> Error: "), *self._text(text)]
            case Refused(text=text, why=why):
                words = "Not said: " if entry.is_certain else "Perhaps not said: "
                return [("class:error", words), *self._text(text), *self._text(f" -- {why}", "class:error")]

    def waiting(self, text: str) -> StyleAndTextTuples:
        """Return the row of an own line that is on its way, as it was typed."""
        return [("class:waiting", f"{sign('…', self.encoding, '...')} {printable(text, self.encoding)}")]

    def heading(self, view: View) -> StyleAndTextTuples:
        """Return the row that begins *view* after a switch."""
        people = "private" if view.is_private else f"{view.count} here" if view.count else ""
        facts = ", ".join(fact for fact in (people, view.topic) if fact)
        return [("class:heading", printable(f"=== {view.title}{facts and f' ({facts})'} ===", self.encoding))]

    def _time(self, entry: Line | PrivateLine) -> StyleAndTextTuples:
        at = _local(entry) if self.has_times() else None
        return [] if at is None else [("class:time", f"{at:%H:%M} ")]

    def _name(self, name: str, nick: str, entry: Line | PrivateLine, style: str) -> tuple[str, str]:
        own = "class:own" if entry.is_own else ""
        return " ".join(filter(None, (style, own, color_of(nick)))), printable(name, self.encoding)

    def _text(self, text: str, style: str = "") -> StyleAndTextTuples:
        """Return the pieces of *text*, with its links."""
        pieces: StyleAndTextTuples = []
        for piece, opening in links.split(printable(text)) if self.has_links else [(printable(text), "")]:
            shown = (style, printable(piece, self.encoding))
            escape = "[ZeroWidthEscape]"
            pieces += [(escape, opening), shown, (escape, links.CLOSE)] if opening else [shown]
        return pieces


def _local(entry: Entry) -> datetime | None:
    """Return the local time of *entry*, or None if it has none."""
    if not isinstance(entry, Line | PrivateLine):
        return None
    try:
        return datetime.fromtimestamp(entry.at, UTC).astimezone()
    except (OverflowError, OSError, ValueError):
        # A server may send any number.
        return None


def color_of(nick: str) -> str:
    """Return the colour of *nick*, the same one every day and in upper and lower case."""
    # Any of the sum's bits would do; with these, the people in the documentation have a colour each.
    return PALETTE[(zlib.crc32(nick.casefold().encode(errors="replace")) >> 11) % len(PALETTE)]
