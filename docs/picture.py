#!/usr/bin/env python3
"""Record a session of three people with real programs, and draw the terminal of one of them.

``python docs/picture.py`` starts the installed server. Ann talks on telnet, Bob on nc, and Carol on the client. The
script writes two files: ``docs/client.svg``, Carol's terminal while a line of hers waits for the server, and
``docs/session.cast``, all three terminals over time, for ``asciinema play``
(https://docs.asciinema.org/manual/asciicast/v2/). It needs telnet, nc and pyte.
"""

from __future__ import annotations

import codecs
import json
import signal
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path

import pyte
from pyte.screens import Char
from terminals import Terminal, server

DOCS = Path(__file__).parent
COLUMNS = 80
ANSI = {
    "default": "#d4d4d4", "black": "#1e1e1e", "red": "#f14c4c", "green": "#23d18b", "brown": "#e5e510",
    "blue": "#3b8eea", "magenta": "#d670d6", "cyan": "#29b8db", "white": "#e5e5e5", "brightblack": "#808080",
}  # fmt: skip
BACKGROUND = "#1e1e1e"
WIDTH, HEIGHT, MARGIN, BAR = 8.4, 18, 14, 30
"""Width and height of a character, the margin, and the height of the title bar, in pixels."""


class ScreenTerminal(Terminal):
    """A terminal with a model of its screen."""

    def __init__(self, title: str, rows: int, *command: str, **environment: str) -> None:
        super().__init__(*command, columns=COLUMNS, rows=rows, **environment)
        self.title = title
        self.screen = pyte.Screen(COLUMNS, rows)
        self._stream = pyte.Stream(self.screen)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def look(self, seconds: float) -> bytes:
        """Return the output that arrives within *seconds*, and update the screen."""
        data = super().look(seconds)
        self._stream.feed(self._decode(data))
        return data

    @property
    def rows(self) -> list[list[Char]]:
        """The characters on the screen, row by row."""
        return [[self.screen.buffer[row][column] for column in range(COLUMNS)] for row in range(self.screen.lines)]


class Recording:
    """The terminals, one above the other, over time. The speed of typing is invented, the contents are real."""

    def __init__(self, *terminals: ScreenTerminal) -> None:
        self.terminals = terminals
        self._before: list[str] = []
        self._now = 0.0
        self._events: list[tuple[float, str]] = []

    def pause(self, seconds: float) -> None:
        """Record the current screens, and stay on them for *seconds*."""
        for terminal in self.terminals:
            while terminal.look(0.15):
                pass
        rows = [row for terminal in self.terminals for row in _pane(terminal)]
        changed = [
            f"\x1b[{number};1H{row}\x1b[0m\x1b[K"
            for number, row in enumerate(rows, 1)
            if self._before[number - 1 : number] != [row]
        ]
        if changed:
            self._events.append((round(self._now, 3), "\x1b[?25l" + "".join(changed)))
        self._before = rows
        self._now += seconds

    def type(self, terminal: ScreenTerminal, text: str, end: str = "\n") -> None:
        """Type *text* letter by letter, and *end* after it."""
        for letter in text:
            terminal.press(letter)
            self.pause(0.06)
        self.pause(0.4)
        terminal.press(end)
        self.pause(1.0)

    def write(self, path: Path) -> None:
        """Write the recording to *path* as an asciicast, version 2."""
        header = {"version": 2, "width": COLUMNS, "height": len(self._before), "title": "A session of three"}
        lines = [json.dumps(header), *(json.dumps([at, "o", text]) for at, text in self._events)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pane(terminal: ScreenTerminal) -> Iterator[str]:
    """Yield the title and the rows of *terminal*, with escape sequences for their styles."""
    yield f"\x1b[7m {terminal.title}: {terminal.command}".ljust(COLUMNS + 4)
    for number, row in enumerate(terminal.rows):
        cursor = terminal.screen.cursor.x if number == terminal.screen.cursor.y else -1
        cells = [char._replace(reverse=char.reverse != (column == cursor)) for column, char in enumerate(row)]
        pieces = [
            f"\x1b[0{_graphics(style)}m{''.join(char.data for char in chars)}"
            for style, chars in groupby(cells, lambda char: char._replace(data=""))
        ]
        yield "".join(pieces).rstrip()


def _graphics(style: Char) -> str:
    """Return the parameters of the escape sequence for *style*."""
    parts = [number for number, wanted in ((1, style.bold), (4, style.underscore), (7, style.reverse)) if wanted]
    if style.fg != "default":
        red, green, blue = bytes.fromhex(_color(style.fg)[1:])
        parts += [38, 2, red, green, blue]
    return "".join(f";{part}" for part in parts)


def _color(name: str) -> str:
    return ANSI.get(name, f"#{name}")


def draw(terminal: ScreenTerminal) -> str:
    """Return the screen of *terminal* as SVG."""
    rows = terminal.rows
    while rows and not "".join(char.data for char in rows[-1]).strip():
        rows.pop()
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(rows) * HEIGHT + BAR + MARGIN
    dots = enumerate(("#ff5f57", "#febc2e", "#28c840"))
    fonts = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, 'Noto Sans Mono CJK JP', monospace"
    ink = ANSI["default"]
    size = f'width="{width:g}" height="{height:g}"'
    title = f'x="{width / 2:g}" y="19" text-anchor="middle" font-size="12" fill="#a0a0a0"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:g} {height:g}">',
        f'<rect {size} rx="8" fill="{BACKGROUND}"/>',
        *(f'<circle cx="{18 + 18 * number}" cy="15" r="5.5" fill="{color}"/>' for number, color in dots),
        f'<text {title} font-family="{fonts}">{escape(terminal.command)}</text>',
        f'<g font-family="{fonts}" font-size="14" fill="{ink}" xml:space="preserve">',
    ]
    cursor = terminal.screen.cursor
    x, y = MARGIN + cursor.x * WIDTH, BAR + cursor.y * HEIGHT
    parts.append(f'<rect x="{x:g}" y="{y:g}" width="{WIDTH:g}" height="{HEIGHT}" fill="{ANSI["default"]}"/>')
    for number, row in enumerate(rows):
        parts += _draw_row(row, BAR + number * HEIGHT)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _draw_row(row: list[Char], top: float) -> Iterator[str]:
    # Fonts disagree on the width of wide characters, so each of them is positioned alone.
    def together(cell: tuple[int, Char]) -> tuple[Char, int]:
        column, char = cell
        wide = char.data and unicodedata.east_asian_width(char.data[0]) in "WF"
        return char._replace(data=""), column if wide or not char.data else -1

    for (style, _column), cells in groupby(enumerate(row), together):
        group = list(cells)
        text = "".join(char.data for _column, char in group)
        if not text.strip() and not style.reverse:
            continue
        x, width = MARGIN + group[0][0] * WIDTH, len(group) * WIDTH
        color, ground = _color(style.fg), BACKGROUND
        if style.reverse:
            color, ground = ground, color
            yield f'<rect x="{x:g}" y="{top:g}" width="{width:g}" height="{HEIGHT}" fill="{ground}"/>'
        look = ' font-weight="bold"' if style.bold else ""
        look += ' text-decoration="underline"' if style.underscore else ""
        size = f' textLength="{width:g}" lengthAdjust="spacingAndGlyphs"' if text.isascii() else ""
        yield f'<text x="{x:g}" y="{top + 13.5:g}" fill="{color}"{look}{size}>{escape(text)}</text>'


def talk(folder: str) -> tuple[Recording, ScreenTerminal]:
    """Play the session until Carol has said everything, and return its recording and Carol's terminal."""
    client = str(Path(sys.executable).with_name("broadcast-client"))
    ann = ScreenTerminal("Ann", 10, "telnet", "localhost", "5555")
    bob = ScreenTerminal("Bob", 11, "nc", "localhost", "5555")
    rooms = ("--room", "lobby", "--room", "kitchen")
    variables = {"XDG_STATE_HOME": folder, "XDG_CONFIG_HOME": folder, "USER": "carol", "LANG": "C.UTF-8"}
    carol = ScreenTerminal("Carol", 17, client, "localhost", *rooms, TERM="xterm-256color", **variables)
    recording = Recording(ann, bob, carol)
    for terminal in (ann, bob, carol):
        terminal.wait_for("Nickname")
    recording.pause(1)
    recording.type(ann, "ann")
    recording.type(ann, "The build is red. Has anybody touched the parser?")
    recording.type(bob, "bob")
    recording.type(bob, "/me looks guilty")
    recording.type(carol, "", end="\r")
    carol.wait_for("looks guilty")
    recording.type(carol, "It was me, sorry: it read naïve as two words", end="\r")
    recording.type(ann, "carol: no harm done. The log is https://builds.example/4711/log")
    recording.type(carol, "/msg ", end="")
    recording.type(carol, "bo", end="\t")
    recording.type(carol, "don't look so guilty", end="\r")
    recording.type(bob, "/msg carol thanks! There is tea in the kitchen.")
    recording.type(bob, "/join kitchen")
    # Carol's half-typed line stays whole while Bob's lines arrive.
    recording.type(carol, "fixed, plea", end="")
    recording.type(bob, "green or black?")
    recording.type(carol, "se pull", end="")
    return recording, carol


def main() -> None:
    """Record the session and write both files."""
    with tempfile.TemporaryDirectory() as folder, server() as process:
        recording, carol = talk(folder)
        process.send_signal(signal.SIGSTOP)
        try:
            recording.type(carol, "", end="\r")
            recording.type(carol, "and then te", end="")
            (DOCS / "client.svg").write_text(draw(carol), encoding="utf-8")
        finally:
            process.send_signal(signal.SIGCONT)
        carol.wait_for("please pull")
        recording.pause(1)
        recording.type(carol, "", end="\x03")
        # Alt-2 shows the second room.
        recording.type(carol, "", end="\x1b2")
        recording.type(carol, "black, please", end="\r")
        recording.pause(2)
        carol.press("\x04")
        while carol.look(5):
            pass
        recording.pause(2)
        recording.write(DOCS / "session.cast")
        for terminal in recording.terminals:
            terminal.process.kill()
            terminal.process.wait()


if __name__ == "__main__":
    main()
