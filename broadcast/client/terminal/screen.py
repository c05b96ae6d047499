"""The screen: the current view scrolls up above the typed line, into the terminal's own scrollback.

``Bottom`` prints the entries, and draws below them the waiting lines, the typed line, the line of views and the status
line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from prompt_toolkit.completion import Completer
from prompt_toolkit.filters import Condition, has_completions, is_done
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, merge_key_bindings
from prompt_toolkit.layout import ConditionalContainer, Dimension, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.containers import AnyContainer
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.styles import Style

from broadcast.client.session.conversation import Conversation, State
from broadcast.client.session.entries import Entry
from broadcast.client.session.views import View
from broadcast.client.terminal.bottom import Bottom
from broadcast.client.terminal.editor import Editor
from broadcast.client.terminal.graphemes import cells, write_graphemes
from broadcast.client.terminal.lines import wrap
from broadcast.client.terminal.notifications import Alerts
from broadcast.client.terminal.rendering import STYLES, Renderer
from broadcast.client.terminal.scrolling import Pager
from broadcast.client.terminal.status_line import status, status_row, views_row
from broadcast.client.text import printable

LEAVE_SECONDS: Final = 3.0
"""The time for the second Ctrl-C on an empty line, which leaves."""
ESCAPE_SECONDS: Final = 0.1
"""The time after an escape character in which another one makes it a key such as Alt-A or PageUp."""
BOTTOM_ROWS: Final = 4
"""The usual number of rows for a heading, the typed line, the line of views, and the status line."""
ROWS: Final = 6
"""The least height for a status line. A lower terminal shows only the typed line."""
WAITING_SHOWN: Final = 3
"""Maximum number of own lines that are shown before they are stored."""

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


def draft_rows(rows: int) -> int:
    """Return the most rows of a draft on a screen with *rows* rows.

    A terminal of half the size still holds what it makes of them. Rows that do not fit would go into its scrollback.
    """
    return max(1, min(rows // 2, max(3, rows // 6)))


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
        is_reflowing: bool = True,
        has_alternate_screen: bool = True,
    ) -> None:
        write_graphemes(output)
        self._conversation = conversation
        self._renderer = renderer
        self._server = server
        self._encoding = renderer.encoding
        self._alerts = Alerts(conversation.choices, time.monotonic, renderer.encoding)
        self._leaves_until = 0.0
        """The time until which another Ctrl-C leaves, on the clock of the event loop."""
        self.editor = Editor(conversation, completer, history, self._search, self._prompt)
        self.app = Bottom(
            output,
            is_reflowing=is_reflowing,
            layout=self._layout(),
            style=STYLE,
            color_depth=lambda: None if conversation.choices["color"] else ColorDepth.DEPTH_1_BIT,
            input=source,
        )
        self.app.ttimeoutlen = ESCAPE_SECONDS
        self._pager = Pager(self.app, conversation, renderer, has_alternate_screen=has_alternate_screen)
        self.app.key_bindings = merge_key_bindings(
            [self.editor.key_bindings, self._bindings(), self._pager.bindings(self.editor)]
        )

    def _layout(self) -> Layout:
        is_roomy = Condition(lambda: self.app.size.rows >= ROWS) & ~is_done

        def row(text: Callable[[], StyleAndTextTuples]) -> ConditionalContainer:
            """Return a row that is shown if it has text, and if the terminal is high enough."""
            control = FormattedTextControl(lambda: [(style, cells(piece)) for style, piece, *_ in text()])
            return ConditionalContainer(
                Window(control, dont_extend_height=True), is_roomy & Condition(lambda: bool(text()))
            )

        line = Window(
            self.editor.control,
            height=lambda: Dimension(min=1, max=draft_rows(self.app.size.rows)),
            wrap_lines=True,
            dont_extend_height=True,
        )
        hint = Window(FormattedTextControl(self._hint), wrap_lines=True, dont_extend_height=True)
        rows: list[AnyContainer] = [
            row(self._waiting_rows),
            line,
            self.editor.search,
            CompletionsMenu(max_height=ROWS, scroll_offset=1, extra_filter=is_roomy),
            ConditionalContainer(hint, ~is_done & Condition(lambda: bool(self._hint()))),
            row(self._views_row),
            row(self._status_row),
        ]
        return Layout(HSplit(rows), focused_element=line)

    # The life of the screen

    async def run(self) -> None:
        """Show the screen until ``stop``. Restore the terminal at the end; the entries stay on it.

        Raise ``EOFError`` if the terminal is gone.
        """
        try:
            await self.app.run_async(set_exception_handler=False)
        finally:
            self.app.print()

    def stop(self) -> None:
        """End ``run``."""
        if self.app.is_running and not self.app.is_done:
            self.app.exit()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # Calls of the conversation

    def show(self, *entries: Entry) -> None:
        """Print entries above the typed line, which does not change."""
        self.app.add(self._renderer.rows(entries))
        self._pager.add(entries)

    def switch(self, unread: int) -> None:
        """Print the heading of the current view, its *unread* last entries, and as many before as the screen holds."""
        self._pager.close()
        view, size = self._conversation.current, self.app.size
        free, count = size.rows - BOTTOM_ROWS, 0
        for entry in reversed(view.entries):
            free -= len(wrap(self._renderer.row(entry), size.columns))
            if free < 0:
                break
            count += 1
        first = len(view.entries) - max(count, unread)
        self.app.add([self._renderer.heading(view)])
        self.app.add(self._renderer.rows(list(view.entries)[max(0, first) :], unread))

    def update(self) -> None:
        """Draw the bottom of the screen again."""
        self.editor.follow_question()
        self.app.invalidate()

    def alert(self, view: View, entry: Entry) -> None:
        """Ring the terminal's bell, or show a notification, as the user has chosen."""
        with suppress(OSError):  # the terminal is gone, and the client still leaves properly
            self.app.output.write_raw(self._alerts.sequence(view, entry))
            self.app.output.flush()

    # The rows around the typed line

    def _prompt(self) -> StyleAndTextTuples:
        view, question = self._conversation.current, self._conversation.question
        if question is None:
            return [("", f"{printable(view.title, self._encoding)}> " if view.is_private else "> ")]
        keys = [f"{key}: {nick}" for key, nick in zip(("Tab", "Shift-Tab"), question.suggestions, strict=False)]
        offer = f" ({', '.join(keys)})" if keys else f" [{question.default}]" if question.default else ""
        return [("", printable(f"{question.prompt}{offer}: ", self._encoding))]

    def _waiting_rows(self) -> StyleAndTextTuples:
        waiting = [item.text for item in self._conversation.waiting]
        most = min(WAITING_SHOWN, max(1, self.app.size.rows - ROWS))
        rows: list[StyleAndTextTuples] = [self._renderer.waiting(text) for text in waiting[-most:]]
        if len(waiting) > most:
            rows.insert(0, [("class:waiting", f"({len(waiting) - most} more, Ctrl-C cancels)")])
        return [piece for index, row in enumerate(rows) for piece in [*([("", "\n")] if index else []), *row]]

    def _hint(self) -> str:
        if self._leaves_until > self._now():
            return "Press Ctrl-C again to leave."
        return self.editor.hint()

    def _views_row(self) -> StyleAndTextTuples:
        return views_row(self._conversation.views, self._conversation.current, self.app.size.columns, self._encoding)

    def _status_row(self) -> StyleAndTextTuples:
        facts = status(self._conversation, self._server, self._now())
        style = "class:status" if self._conversation.state is State.ONLINE else "class:status class:status.problem"
        return [(style, status_row(facts, self.app.size.columns, self._encoding))]

    # Keys

    def _search(self, text: str) -> None:
        self._pager.search(text)

    def _bindings(self) -> KeyBindings:
        keys = KeyBindings()
        conversation, buffer = self._conversation, self.editor.buffer
        is_typing = Condition(lambda: not self._pager.is_open and self.app.current_buffer is buffer)
        is_empty = is_typing & Condition(lambda: not buffer.text)
        is_secret = is_typing & Condition(lambda: bool(conversation.question and conversation.question.is_secret))
        is_offered = is_empty & Condition(lambda: bool(conversation.question and conversation.question.suggestions))

        def select(index: int) -> None:
            if index < len(conversation.views):
                conversation.select(conversation.views[index])

        def take(index: int) -> None:
            assert conversation.question is not None
            buffer.text = conversation.question.suggestions[index]
            buffer.validate_and_handle()

        def answer_nothing() -> None:
            buffer.reset()
            buffer.validate_and_handle()

        for index in range(9):
            keys.add("escape", str(index + 1))(lambda _event, index=index: select(index))
        keys.add("escape", "a")(lambda _event: conversation.next_unread())
        keys.add("c-n", filter=is_typing & ~has_completions)(lambda _event: conversation.step(1))
        keys.add("c-p", filter=is_typing & ~has_completions)(lambda _event: conversation.step(-1))
        keys.add("tab", filter=is_offered)(lambda _event: take(0))
        keys.add("s-tab", filter=is_offered)(lambda _event: take(-1))
        keys.add("c-l", filter=is_typing)(lambda _event: self.app.draw_again())
        keys.add("c-d", filter=is_empty)(lambda _event: conversation.leave())
        keys.add("c-c", filter=is_empty)(lambda _event: self._leave_at_second())
        keys.add("c-c", filter=is_secret)(lambda _event: answer_nothing())
        keys.add("<sigint>")(lambda _event: buffer.reset() if buffer.text else self._leave_at_second())
        keys.add("pageup", filter=is_typing)(lambda _event: self._pager.open())
        keys.add("pagedown", filter=is_typing)(lambda _event: None)
        return keys

    def _leave_at_second(self) -> None:
        if self._leaves_until > self._now() or self._conversation.state is State.LEAVING:
            self._conversation.leave()
        elif not self._conversation.cancel():
            self._leaves_until = self._now() + LEAVE_SECONDS
            asyncio.get_running_loop().call_later(LEAVE_SECONDS, self.app.invalidate)
