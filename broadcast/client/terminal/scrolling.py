"""The scrolling view: the entries of a view on the alternate screen, which new entries do not move."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Final

from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import Layout, Window

from broadcast.client.session.conversation import Conversation
from broadcast.client.session.entries import Entry, Line
from broadcast.client.terminal import links
from broadcast.client.terminal.bottom import MAX_ROWS, MAX_UNPRINTED, Bottom
from broadcast.client.terminal.editor import Editor
from broadcast.client.terminal.graphemes import width
from broadcast.client.terminal.lines import Lines
from broadcast.client.terminal.rendering import Renderer
from broadcast.client.terminal.status_line import shorten
from broadcast.client.text import printable

SEARCHED: Final = 10
"""The most times that a search asks the server for older lines."""


def has_alternate_screen(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal surely has an alternate screen. GNU screen has none, unless its user wants one."""
    term = environment.get("TERM", "")
    return "TMUX" in environment or not ("STY" in environment or term.startswith(("screen", "linux")))


class Pager:
    """The scrolling view: the entries of the current view on the alternate screen.

    *has_alternate_screen* is false for a terminal without one. The rows before scrolling are then printed again.
    """

    def __init__(
        self, app: Bottom, conversation: Conversation, renderer: Renderer, *, has_alternate_screen: bool
    ) -> None:
        self._app = app
        self._conversation = conversation
        self._renderer = copy(renderer)
        self._has_alternate_screen = has_alternate_screen
        self._layout = app.layout
        self._bottom_rows = 0
        self._entries: list[Entry] = []
        self._lines: Lines | None = None
        """The lines of the entries, or None while there is no scrolling."""
        self._new = 0
        """The number of entries that came after the beginning of scrolling."""
        self._fetched_before = 0
        """The number of the line before which the server was asked for older ones."""
        self._painted: object = None
        """The content of the screen, to paint it only when it has changed."""
        app.before_render += lambda _app: self._forget_if_erased()
        app.after_render += lambda _app: self._paint()

    @property
    def is_open(self) -> bool:
        """Whether the user is scrolling."""
        return self._lines is not None

    def open(self) -> Lines:
        """Show the entries of the current view, one page before the end."""
        drawn = self._app.renderer.last_rendered_screen
        self._bottom_rows = drawn.height if drawn else 0
        self._app.erase()
        self._entries = list(self._conversation.current.entries)
        self._new = self._fetched_before = 0
        size = self._app.size
        lines = self._lines = Lines(self._rows(), size.columns, max(1, size.rows - 1))
        self._app.renderer.full_screen = True
        self._app.layout = Layout(Window())
        self._move_up(lines, lines.page_rows)
        self._app.invalidate()
        return lines

    def close(self) -> None:
        """Show the screen as it was before scrolling, and the rows that have come since."""
        if self._lines is None:
            return
        self._lines = None
        self._app.renderer.erase()
        self._app.renderer.full_screen = False
        self._app.layout = self._layout
        if not self._has_alternate_screen:
            self._app.print_again(MAX_ROWS, self._bottom_rows)
        self._app.invalidate()

    def add(self, entries: Sequence[Entry]) -> None:
        """Add new entries at the end. The lines on the screen stay."""
        if self._lines is not None:
            self._new += len(entries)
            if len(self._entries) < MAX_UNPRINTED:
                self._entries += entries
                self._lines.add(list(self._renderer.rows(entries)))

    def _rows(self) -> list[StyleAndTextTuples]:
        self._renderer.day = None
        return list(self._renderer.rows(self._entries))

    def _move_up(self, lines: Lines, count: int) -> None:
        """Move up. Near the beginning, ask the server for older lines."""
        lines.move(-count)
        lines.searches_left = 0
        if lines.position < lines.height:
            self._fetch_older(lines)

    def _fetch_older(self, lines: Lines) -> None:
        view = self._conversation.current
        oldest = next((entry.seq for entry in self._entries if isinstance(entry, Line)), 0)
        if view.is_private or oldest <= 1 or oldest == self._fetched_before:
            return
        self._fetched_before = oldest

        def show(older: Sequence[Entry]) -> None:
            if lines is self._lines and older:
                self._entries = [*older, *self._entries]
                lines.add_older(self._rows())
                if lines.searches_left:
                    self._find(lines, left=lines.searches_left - 1)
                self._app.invalidate()

        self._conversation.fetch_older(view, oldest, show)

    def search(self, text: str) -> None:
        """Show the newest row of the current view that contains *text*."""
        self._find(self.open(), text)

    def _find(self, lines: Lines, text: str = "", left: int = SEARCHED) -> None:
        """Show the next row above with the text. If there is none, ask the server for older lines, *left* times."""
        lines.find(text)
        lines.searches_left = left if lines.is_missing else 0
        if lines.searches_left:
            self._fetch_older(lines)
        elif lines.is_missing and not left:
            lines.result += f" in {len(self._entries):,} rows, Ctrl-R goes on"

    def bindings(self, editor: Editor) -> KeyBindings:
        """Return the keys of the view. A letter or a paste ends scrolling, and goes into *editor*."""
        keys = KeyBindings()
        is_open = Condition(lambda: self.is_open)

        def bind(names: str, act: Callable[[Lines], None]) -> None:
            def act_now(_event: KeyPressEvent) -> None:
                assert self._lines is not None
                act(self._lines)

            for name in names.split():
                keys.add(name, filter=is_open, eager=True)(act_now)

        def page_down(lines: Lines) -> None:
            if lines.is_at_end:
                self.close()
            lines.move(lines.page_rows)

        def type_character(event: KeyPressEvent) -> None:
            self.close()
            if event.data.isprintable():
                editor.buffer.insert_text(event.data)

        def paste(event: KeyPressEvent) -> None:
            self.close()
            editor.paste(event)

        keys.add(Keys.Any, filter=is_open)(type_character)
        keys.add(Keys.BracketedPaste, filter=is_open)(paste)
        bind("pageup", lambda lines: self._move_up(lines, lines.page_rows))
        bind("pagedown", page_down)
        bind("up", lambda lines: self._move_up(lines, 1))
        bind("down", lambda lines: lines.move(1))
        bind("home", lambda lines: self._move_up(lines, len(lines)))
        bind("c-r", self._find)
        bind("c-n", lambda _lines: self._conversation.step(1))
        bind("c-p", lambda _lines: self._conversation.step(-1))
        bind("end enter c-c c-l", lambda _lines: self.close())
        # An escape character with others behind it is a key such as Alt-2.
        is_alone = Condition(lambda: not self._app.key_processor.input_queue)
        keys.add("escape", filter=is_open, eager=is_alone)(lambda _event: self.close())
        return keys

    def _forget_if_erased(self) -> None:
        if self._app.renderer.last_rendered_screen is None:
            self._painted = None

    def _paint(self) -> None:
        """Draw the view. The terminal wraps the rows, so that a link or a copied text stays whole."""
        lines = self._lines
        if lines is None:
            return
        output, columns, height = self._app.output, self._app.size.columns, max(1, self._app.size.rows - 1)
        lines.resize(columns, height)
        facts = [self._conversation.current.title, f"{self._new} new" if self._new else "", lines.result]
        text = printable(f" {', '.join(filter(None, facts))}", self._renderer.encoding)
        end = ": PageUp, PageDown, End returns "
        if width(text + end) >= columns:
            end = ": End returns"
            if width(text + end) >= columns and any(facts[1:]):
                text = printable(f" {', '.join(filter(None, facts[1:]))}", self._renderer.encoding)
        status = (shorten(text, max(0, columns - 1 - width(end)), "") + end).removeprefix(": ")
        content = (columns, lines.shown(), status)
        if content == self._painted:
            return
        self._painted = content
        output.cursor_goto(1, 1)
        output.erase_down()
        self._app.write(lines.shown())
        if self._renderer.has_links:
            # The last line may end within a link.
            output.write_raw(links.CLOSE)
        output.cursor_goto(height + 1, 1)
        self._app.write([("class:status", shorten(status, columns - 1, ""))])
        output.cursor_goto(1, 1)
        output.flush()
