"""The screen: the current view scrolls up above the typed line, into the terminal's own scrollback.

The bottom of the screen is drawn by prompt_toolkit: the waiting lines, the typed line, the line of views and the status
line. Entries are printed above it: the screen erases the bottom, prints, and draws it again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Final

from prompt_toolkit.application import Application
from prompt_toolkit.completion import Completer
from prompt_toolkit.data_structures import Point, Size
from prompt_toolkit.filters import Condition, has_completions, is_done
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent, merge_key_bindings
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import ConditionalContainer, Dimension, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.containers import AnyContainer
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.layout.screen import Screen as PromptScreen
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style

from broadcast.client.session.conversation import State
from broadcast.client.session.entries import Line
from broadcast.client.terminal import links
from broadcast.client.terminal.colors import STYLES
from broadcast.client.terminal.editor import Editor
from broadcast.client.terminal.graphemes import cells, width, write_graphemes
from broadcast.client.terminal.notifications import Alerts
from broadcast.client.terminal.scrolling import Scrolling, wrap
from broadcast.client.terminal.status_line import shorten, status, status_row, views_row
from broadcast.client.text import printable

if TYPE_CHECKING:
    from broadcast.client.session.conversation import Conversation
    from broadcast.client.session.entries import Entry
    from broadcast.client.session.views import View
    from broadcast.client.terminal.rendering import Renderer

PAUSE: Final = 0.05
"""The least time between two prints of entries, in seconds. Typing stays smooth even if many entries come."""
RESIZE_PAUSE: Final = 0.3
"""The time after a resize without output, in seconds. tmux notifies programs of the last of several resizes late."""
LEAVE_SECONDS: Final = 3.0
"""The time for the second Ctrl-C on an empty line, which leaves."""
ESCAPE_SECONDS: Final = 0.1
"""The time after an escape character in which another one makes it a key such as Alt-A or PageUp."""
BOTTOM_ROWS: Final = 4
"""The usual number of rows for a heading, the typed line, the line of views, and the status line."""
ROWS: Final = 6
"""The least height for a status line. A lower terminal shows only the typed line."""
WAITING_SHOWN: Final = 3
"""The most own lines that are shown before they are stored."""
MAX_ROWS: Final = 300
"""The most rows that Ctrl-L prints again."""
SEARCHED: Final = 10
"""The most times that a search asks the server for older lines."""
MAX_UNPRINTED: Final = 5_000
"""The most rows that wait for the end of scrolling. Older ones are not printed, so that the memory is bounded."""

STYLE: Final = Style.from_dict(
    {
        **STYLES,
        "status": "reverse",
        "found": "reverse",
        "status.problem": "bold",
        "views.current": "bold underline",
        "views.unread": "bold",
        "completion-menu": "noreverse bg:default",
        "completion-menu.completion": "bg:default fg:default",
        "completion-menu.completion.current": "reverse",
        "completion-menu.meta.completion": "bg:default #808080",
        "completion-menu.meta.completion.current": "bg:default bold",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "reverse",
    }
)


def reflows(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal is likely to wrap its rows again after a resize. Most do; no query can find out."""
    term = environment.get("TERM", "")
    if "TMUX" in environment or term.startswith("tmux"):
        return True
    return "XTERM_VERSION" not in environment and not term.startswith(("linux", "st-", "putty"))


def draft_rows(rows: int) -> int:
    """Return the most rows of a draft on a screen with *rows* rows.

    A terminal of half the size still holds what it makes of them. Rows that do not fit would go into its scrollback.
    """
    return max(1, min(rows // 2, max(3, rows // 6)))


def has_alternate_screen(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal surely has an alternate screen. GNU screen has none, unless its user wants one."""
    term = environment.get("TERM", "")
    return "TMUX" in environment or not ("STY" in environment or term.startswith(("screen", "linux")))


class _Application(Application[None]):
    """An application that draws only if *may_draw* returns true."""

    may_draw: Callable[[], bool] = staticmethod(lambda: True)

    def _on_resize(self) -> None:
        """Draw later. prompt_toolkit would erase rows that the terminal has moved meanwhile."""
        self.may_draw()

    def _redraw(self, render_as_done: bool = False) -> None:
        if render_as_done or self.may_draw():
            super()._redraw(render_as_done)


class Screen:
    """The ``Front`` of a conversation on a full terminal.

    *server* is the address for the status line. *is_reflowing* and *has_alternate_screen* describe the terminal.
    """

    def __init__(  # noqa: PLR0913 -- each is a part of the surroundings
        self,
        conversation: Conversation,
        renderer: Renderer,
        completer: Completer,
        history: History,
        source: Input,
        output: Output,
        *,
        server: str,
        encoding: str = "utf-8",
        is_reflowing: bool = True,
        has_alternate_screen: bool = True,
    ) -> None:
        if isinstance(output, Vt100_Output):
            # To ask for the cursor's position costs a round trip to the terminal for each change of the screen.
            output.enable_cpr = False
            # tmux moves the whole screen into its scrollback if a program erases it from its first column.
            output.erase_down = lambda: output.write_raw("\x1b[C\x1b[J\r\x1b[K")  # type: ignore[method-assign]
        write_graphemes(output)
        self._conversation = conversation
        self._renderer = renderer
        self._output = output
        self._server = server
        self._alerts = Alerts(conversation.choices, time.monotonic, encoding)
        self._encoding = encoding
        self._is_reflowing = is_reflowing
        self._has_alternate_screen = has_alternate_screen
        self._unprinted: deque[StyleAndTextTuples] = deque(maxlen=MAX_UNPRINTED)
        self._left_out = 0
        """The number of rows that were discarded because too many came while the user scrolled."""
        self._is_stale = False
        """Whether the bottom of the screen may have changed."""
        self._refreshing: asyncio.Handle | None = None
        self._printed: deque[StyleAndTextTuples] = deque(maxlen=MAX_ROWS)
        """The last rows above the typed line, which may be on the screen."""
        self._rows_since_resize = 0
        """The number of those that the terminal has not moved."""
        self._scrolling: Scrolling | None = None
        self._scrolled: list[Entry] = []
        """The entries of the scrolling view."""
        self._scrolled_renderer = copy(renderer)
        self._fetched_before = 0
        """The number of the line before which the server was asked for older ones."""
        self._painted: tuple[object, ...] = ()
        """The parameters of the scrolling view on the screen, to paint it only when it has changed."""
        self._covered: Scrolling | None = None
        """The lines that were on the screen before scrolling."""
        self._leaves_until = 0.0
        """The time until which another Ctrl-C leaves, unless another key is pressed before."""
        self._armed_until = 0.0
        """The same before the current key was pressed."""
        self._drawn_size = self._last_size = output.get_size()
        self._is_resizing = False
        """True while the size of the terminal may change again."""
        self.editor = Editor(
            conversation.submit,
            completer,
            history,
            prompt=self._prompt,
            limit=lambda: conversation.line_bytes,
            is_answer=lambda: conversation.question is not None,
            search_screen=self._search,
        )
        self._line = Window(
            self.editor.control,
            height=lambda: Dimension(min=1, max=draft_rows(self._size.rows)),
            wrap_lines=True,
            dont_extend_height=True,
        )
        is_roomy = Condition(lambda: self._size.rows >= ROWS) & ~is_done

        def row(text: Callable[[], StyleAndTextTuples], *, when: Callable[[], bool] = lambda: True) -> AnyContainer:
            return ConditionalContainer(
                Window(FormattedTextControl(lambda: _as_cells(text())), dont_extend_height=True),
                filter=is_roomy & Condition(when),
            )

        self._layout = Layout(
            HSplit(
                [
                    row(self._waiting_rows, when=lambda: bool(conversation.waiting)),
                    self._line,
                    self.editor.search,
                    CompletionsMenu(max_height=ROWS, scroll_offset=1, extra_filter=is_roomy),
                    ConditionalContainer(
                        Window(FormattedTextControl(self._hint), wrap_lines=True, dont_extend_height=True),
                        filter=~is_done & Condition(lambda: bool(self._hint())),
                    ),
                    row(self._views_row, when=lambda: len(conversation.views) > 1),
                    row(self._status_row),
                ]
            ),
            focused_element=self._line,
        )
        self._empty_layout = Layout(Window())
        self.app = _Application(
            layout=self._layout,
            key_bindings=merge_key_bindings([self.editor.key_bindings, self._bindings(), self._scrolling_bindings()]),
            style=STYLE,
            color_depth=lambda: None if conversation.choices["color"] else ColorDepth.DEPTH_1_BIT,
            erase_when_done=True,
            max_render_postpone_time=None,
            before_render=lambda _app: self._before_render(),
            after_render=lambda _app: self._after_render(),
            input=source,
            output=output,
        )
        self.app.ttimeoutlen = ESCAPE_SECONDS
        self.app.may_draw = self.may_draw
        self.app.key_processor.before_key_press += self._disarm

    @property
    def _size(self) -> Size:
        return self._output.get_size()

    # The life of the screen

    async def run(self) -> None:
        """Show the screen until ``stop``. Restore the terminal at the end; the entries stay on it.

        Raise ``EOFError`` if the terminal is gone.
        """
        try:
            await self.app.run_async(set_exception_handler=False)
        finally:
            if self._refreshing is not None:
                self._refreshing.cancel()
            self._scrolling = None
            self._print()

    def stop(self) -> None:
        """End ``run``."""
        if self.app.is_running and not self.app.is_done:
            self.app.exit()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # Calls of the conversation

    def show(self, *entries: Entry) -> None:
        """Print entries above the typed line, which does not change."""
        self._add_rows(self._renderer.rows(entries))
        if self._scrolling is not None:
            self._scrolling.new += len(entries)
            if len(self._scrolled) < MAX_UNPRINTED:
                self._scrolled += entries
                self._scrolling.add(list(self._scrolled_renderer.rows(entries)))
        self._refresh_soon()

    def switch(self, unread: int) -> None:
        """Print the heading of the current view, its *unread* last entries, and as many before as the screen holds."""
        self._end_scrolling()
        view = self._conversation.current
        free = self._size.rows - BOTTOM_ROWS
        count = 0
        for entry in reversed(view.entries):
            free -= len(wrap(self._renderer.row(entry), self._size.columns))
            if free < 0:
                break
            count += 1
        entries = list(view.entries)[-max(count, unread) :] if count or unread else []
        self._add_rows([self._renderer.heading(view)])
        self._add_rows(self._renderer.rows(entries, unread))
        self._refresh_soon()

    def update(self) -> None:
        """Draw the bottom of the screen again."""
        self._is_stale = True
        self._refresh_soon()

    def alert(self, view: View, entry: Entry) -> None:
        """Ring the terminal's bell, or show a notification, as the user has chosen."""
        with suppress(OSError):  # the terminal is gone, and the client still leaves properly
            self._output.write_raw(self._alerts.sequence(view, entry))
            self._output.flush()

    # Printing

    def _add_rows(self, rows: Iterable[StyleAndTextTuples]) -> None:
        for row in rows:
            self._left_out += len(self._unprinted) == MAX_UNPRINTED
            self._unprinted.append(row)

    def _refresh_soon(self) -> None:
        if self._refreshing is None and self.app.loop is not None:
            self._refreshing = self.app.loop.call_soon(self._refresh)

    def _refresh(self) -> None:
        """Print the entries that have come, and draw the bottom again, at most once in ``PAUSE``."""
        self._refreshing = None
        if self._is_resizing and self._size == self._last_size:
            self._is_resizing = False
            self._is_stale = True
        if (self._is_stale or self._unprinted) and self.may_draw():
            self._is_stale = False
            if self._scrolling is None:
                self._print()
            self._pause(PAUSE)
            self.app.invalidate()

    def _pause(self, seconds: float) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
        if self.app.loop is not None:
            self._refreshing = self.app.loop.call_later(seconds, self._refresh)

    def _print(self) -> None:
        """Print the entries that have come.

        prompt_toolkit's own way, ``run_in_terminal``, puts the terminal into its line mode for the time: what is typed
        in that moment would be echoed by the terminal, somewhere.
        """
        if not self._unprinted:
            return
        rows, self._unprinted = list(self._unprinted), deque(maxlen=MAX_UNPRINTED)
        if self._left_out:
            rows.insert(
                0, [("class:note", f" * {self._left_out} older rows are left out. PageUp shows the last ones.")]
            )
            self._left_out = 0
        if self.app.is_running:
            self._erase()
        self._printed.extend(rows)
        self._rows_since_resize += len(rows)
        self._write([piece for row in rows for piece in [*row, ("", "\n")]])

    def _write(self, pieces: StyleAndTextTuples) -> None:
        print_formatted_text(self._output, pieces, STYLE, color_depth=self.app.color_depth)

    def _erase(self) -> None:
        """Erase the bottom of the screen. The cursor is then where it has begun.

        If the size has changed, the terminal may have wrapped its rows. It has moved the cursor with the text.
        """
        renderer = self.app.renderer
        screen = renderer.last_rendered_screen
        if screen is not None and self._size != self._drawn_size and self._is_reflowing:
            cursor = screen.get_cursor_position(self._line)
            renderer._cursor_pos = Point(0, rows_above(screen, cursor, self._size.columns))  # noqa: SLF001
        renderer.erase()

    def may_draw(self) -> bool:
        """Return whether the size of the terminal is stable. Else nothing may be drawn, but soon."""
        if self._size != self._last_size:
            self._last_size = self._size
            self._is_resizing = True
            self._rows_since_resize = 0
            self._pause(RESIZE_PAUSE)
        return not self._is_resizing

    def _before_render(self) -> None:
        if self._scrolling is None and self._size != self._drawn_size:
            self._erase()
        if self.app.renderer.last_rendered_screen is None:
            self._painted = ()

    def _after_render(self) -> None:
        # The size may have changed since the screen was drawn.
        self._drawn_size = self.app.renderer._last_size or self._size  # noqa: SLF001
        if self._scrolling is not None:
            self._paint(self._scrolling)

    def _draw_all(self) -> None:
        """Draw the screen again, as far as the client knows what is on it: the rows since the last resize."""
        # The rows on the screen are known only while the bottom is drawn below them.
        self.app._redraw()  # noqa: SLF001
        drawn = self.app.renderer.last_rendered_screen
        if drawn is None or not self.may_draw():
            return
        self._erase()
        self._print_again(self._last_lines(self._rows_since_resize, drawn.height))
        self.app.invalidate()

    def _last_lines(self, count: int, bottom: int) -> Scrolling:
        """Return the last *count* rows that were printed, at the position where *bottom* rows fit below them."""
        rows = list(self._printed)[max(0, len(self._printed) - count) :]
        return Scrolling(rows, self._size.columns, max(0, self._size.rows - bottom))

    def _print_again(self, lines: Scrolling) -> None:
        """Print lines in their place on the screen, which ends above the cursor."""
        if shown := lines.shown():
            self._output.cursor_up(min(len(lines), self._size.rows))
            self._output.erase_down()
            self._write([*shown, ("", "\n")])

    # The rows around the typed line

    def _prompt(self) -> StyleAndTextTuples:
        view, question = self._conversation.current, self._conversation.question
        if question is None:
            return [("", f"{printable(view.title, self._encoding)}> " if view.is_private else "> ")]
        keys = [f"{key}: {nick}" for key, nick in zip(("Tab", "Shift-Tab"), question.suggestions, strict=False)]
        offer = f" ({', '.join(keys)})" if keys else f" [{question.default}]" if question.default else ""
        return [("", printable(f"Nickname{offer}: ", self._encoding))]

    def _waiting_rows(self) -> StyleAndTextTuples:
        waiting = [item.text for item in self._conversation.waiting]
        most = min(WAITING_SHOWN, max(1, self._size.rows - ROWS))
        rows: list[StyleAndTextTuples] = [self._renderer.waiting(text) for text in waiting[-most:]]
        if len(waiting) > most:
            rows.insert(0, [("class:waiting", f"({len(waiting) - most} more, Ctrl-C cancels)")])
        return [piece for index, row in enumerate(rows) for piece in [*([("", "\n")] if index else []), *row]]

    def _hint(self) -> str:
        if self._leaves_until > self._now():
            return "Press Ctrl-C again to leave."
        return self.editor.hint()

    def _views_row(self) -> StyleAndTextTuples:
        return views_row(self._conversation.views, self._conversation.current, self._size.columns, self._encoding)

    def _status_row(self) -> StyleAndTextTuples:
        facts = status(self._conversation, self._server, self._now())
        style = "class:status" if self._conversation.state is State.ONLINE else "class:status class:status.problem"
        return [(style, status_row(facts, self._size.columns, self._encoding))]

    # Keys

    def _bindings(self) -> KeyBindings:
        keys = KeyBindings()
        conversation, buffer = self._conversation, self.editor.buffer
        is_typing = Condition(lambda: self._scrolling is None and self.app.current_buffer is buffer)
        is_empty = is_typing & Condition(lambda: not buffer.text)
        is_offered = is_empty & Condition(lambda: bool(conversation.question and conversation.question.suggestions))

        def select(index: int) -> None:
            if index < len(conversation.views):
                conversation.select(conversation.views[index])

        def take(index: int) -> None:
            assert conversation.question is not None
            buffer.text = conversation.question.suggestions[index]
            buffer.validate_and_handle()

        for index in range(9):
            keys.add("escape", str(index + 1))(lambda _event, index=index: select(index))
        keys.add("escape", "a")(lambda _event: conversation.next_unread())
        keys.add("c-n", filter=is_typing & ~has_completions)(lambda _event: conversation.step(1))
        keys.add("c-p", filter=is_typing & ~has_completions)(lambda _event: conversation.step(-1))
        keys.add("tab", filter=is_offered)(lambda _event: take(0))
        keys.add("s-tab", filter=is_offered)(lambda _event: take(-1))
        keys.add("c-l", filter=is_typing)(lambda _event: self._draw_all())
        keys.add("c-d", filter=is_empty)(lambda _event: conversation.leave())
        keys.add("c-c", filter=is_empty)(lambda _event: self._leave_at_second())
        keys.add("<sigint>")(lambda _event: buffer.reset() if buffer.text else self._leave_at_second())
        keys.add("pageup", filter=is_typing)(lambda _event: self._begin_scrolling())
        keys.add("pagedown", filter=is_typing)(lambda _event: None)
        return keys

    def _disarm(self, _keys: object) -> None:
        """Forget a first Ctrl-C, because a key is pressed. The second Ctrl-C reads ``_armed_until``."""
        self._armed_until, self._leaves_until = self._leaves_until, 0.0
        if self._armed_until:
            self.app.invalidate()

    def _leave_at_second(self) -> None:
        if self._armed_until > self._now() or self._conversation.state is State.LEAVING:
            self._conversation.leave()
        elif not self._conversation.cancel():
            self._leaves_until = self._now() + LEAVE_SECONDS
            asyncio.get_running_loop().call_later(LEAVE_SECONDS, self.app.invalidate)

    # Scrolling

    def _begin_scrolling(self) -> Scrolling:
        """Show the entries of the current view on the alternate screen, one page before the end."""
        drawn = self.app.renderer.last_rendered_screen
        self._covered = self._last_lines(MAX_ROWS, BOTTOM_ROWS if drawn is None else drawn.height)
        self._erase()
        self._scrolled = list(self._conversation.current.entries)
        self._scrolled_renderer.day = None
        self._fetched_before = 0
        rows = list(self._scrolled_renderer.rows(self._scrolled))
        self._scrolling = Scrolling(rows, self._size.columns, max(1, self._size.rows - 1))
        self._scroll(self._scrolling.page, -1)
        self.app.renderer.full_screen = True
        self.app.layout = self._empty_layout
        self._refresh_soon()
        return self._scrolling

    def _scroll(self, move: Callable[[int], None], number: int) -> None:
        """Move the scrolling view. Near its beginning, ask the server for older lines."""
        move(number)
        if self._scrolling is not None:
            self._scrolling.searches_left = 0
            if self._scrolling.position < self._scrolling.height:
                self._fetch_older()

    def _fetch_older(self) -> None:
        scrolling, view = self._scrolling, self._conversation.current
        oldest = next((entry.seq for entry in self._scrolled if isinstance(entry, Line)), 0)
        if view.is_private or oldest <= 1 or oldest == self._fetched_before:
            return
        self._fetched_before = oldest

        def show(lines: Sequence[Entry]) -> None:
            if scrolling is not None and scrolling is self._scrolling and lines:
                self._scrolled = [*lines, *self._scrolled]
                self._scrolled_renderer.day = None
                scrolling.add_older(list(self._scrolled_renderer.rows(self._scrolled)))
                if scrolling.searches_left:
                    self._find(left=scrolling.searches_left - 1)
                self.update()

        self._conversation.fetch_older(view, oldest, show)

    def _end_scrolling(self) -> None:
        if self._scrolling is not None:
            self._scrolling = None
            self.app.renderer.erase()
            self.app.renderer.full_screen = False
            self.app.layout = self._layout
            if not self._has_alternate_screen and self._covered is not None:
                self._print_again(self._covered)
            self.update()

    def _search(self, text: str) -> None:
        """Show the newest row of the current view that contains *text*."""
        self._begin_scrolling()
        self._find(text)

    def _find(self, text: str = "", left: int = SEARCHED) -> None:
        """Show the next row above with the text. If there is none, ask the server for older lines, *left* times."""
        scrolling = self._scrolling
        assert scrolling is not None
        scrolling.find(text)
        scrolling.searches_left = left if scrolling.is_missing else 0
        if scrolling.searches_left:
            self._fetch_older()
        elif scrolling.is_missing and not left:
            scrolling.result += f" in {len(self._scrolled):,} rows, Ctrl-R goes on"

    def _scrolling_bindings(self) -> KeyBindings:
        keys = KeyBindings()
        is_scrolling = Condition(lambda: self._scrolling is not None)

        def bind(names: str, act: Callable[[Scrolling], None]) -> None:
            def act_now(_event: KeyPressEvent) -> None:
                assert self._scrolling is not None
                act(self._scrolling)

            for name in names.split():
                keys.add(name, filter=is_scrolling, eager=True)(act_now)

        def page_down(scrolling: Scrolling) -> None:
            if scrolling.is_at_end:
                self._end_scrolling()
            scrolling.page(1)

        def type_character(event: KeyPressEvent) -> None:
            self._end_scrolling()
            if event.data.isprintable():
                self.editor.buffer.insert_text(event.data)

        def paste(event: KeyPressEvent) -> None:
            self._end_scrolling()
            self.editor.paste(event)

        keys.add(Keys.Any, filter=is_scrolling)(type_character)
        keys.add(Keys.BracketedPaste, filter=is_scrolling)(paste)
        bind("pageup", lambda scrolling: self._scroll(scrolling.page, -1))
        bind("pagedown", page_down)
        bind("up", lambda scrolling: self._scroll(scrolling.move, -1))
        bind("down", lambda scrolling: scrolling.move(1))
        bind("home", lambda scrolling: self._scroll(scrolling.move, -len(scrolling)))
        bind("c-r", lambda _scrolling: self._find())
        bind("c-n", lambda _scrolling: self._conversation.step(1))
        bind("c-p", lambda _scrolling: self._conversation.step(-1))
        bind("end enter c-c c-l", lambda _scrolling: self._end_scrolling())
        # An escape character with others behind it is a key such as Alt-2.
        is_alone = Condition(lambda: not self.app.key_processor.input_queue)
        keys.add("escape", filter=is_scrolling, eager=is_alone)(lambda _event: self._end_scrolling())
        return keys

    def _paint(self, scrolling: Scrolling) -> None:
        """Draw the scrolling view. The terminal wraps the rows, so that a link or a copied text stays whole."""
        columns, height = self._size.columns, max(1, self._size.rows - 1)
        scrolling.resize(columns, height)
        if self._painted == (
            painted := (columns, height, scrolling.position, scrolling.new, scrolling.found, scrolling.result)
        ):
            return
        self._painted = painted
        new = f", {scrolling.new} new" if scrolling.new else ""
        result = f", {scrolling.result}" if scrolling.result else ""
        text = printable(f" {self._conversation.current.title}{new}{result}", self._encoding)
        end = ": PageUp, PageDown, End returns "
        if width(text + end) >= columns:
            end = ": End returns"
            if width(text + end) >= columns and (new or result):
                text = printable(f"{new}{result}".removeprefix(","), self._encoding)
        self._output.cursor_goto(1, 1)
        self._output.erase_down()
        self._write(scrolling.shown())
        if self._renderer.has_links:
            # The last line may end within a link.
            self._output.write_raw(links.CLOSE)
        self._output.cursor_goto(height + 1, 1)
        text = (shorten(text, max(0, columns - 1 - width(end)), "") + end).removeprefix(": ")
        self._write([("class:status", shorten(text, columns - 1, ""))])
        self._output.cursor_goto(1, 1)
        self._output.flush()


def _as_cells(pieces: StyleAndTextTuples) -> StyleAndTextTuples:
    """Return *pieces* as prompt_toolkit lays them out."""
    return [(style, cells(text)) for style, text, *_ in pieces]


def rows_above(screen: PromptScreen, cursor: Point, columns: int) -> int:
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
