"""The display for full terminals: events scroll up, above the line that is being typed and a status line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import Completer
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, is_done
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    Dimension,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.layout.containers import AnyContainer
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.layout.processors import (
    BeforeInput,
    ConditionalProcessor,
    HighlightIncrementalSearchProcessor,
    PasswordProcessor,
)
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import SearchToolbar

from broadcast.client.display import Line, Typist
from broadcast.client.editing import bindings
from broadcast.client.lines import printable

PAUSE = 0.02
"""The least time between two changes of the screen, in seconds. Typing stays smooth even if many events come."""
ROWS = 6
"""The least height for a status line. A lower terminal shows only the line that is being typed."""
WAITING_SHOWN = 3
"""The most own lines that are shown before they are stored."""

STYLE = Style.from_dict(
    {
        "status": "reverse",
        "status.trouble": "bold",
        "prompt": "",
        "note": "#808080",
        "error": "bold #d70000",
        "private": "bold",
        "waiting": "#808080",
        "completion-menu": "noreverse bg:default",
        "completion-menu.completion": "bg:default fg:default",
        "completion-menu.completion.current": "reverse",
        "completion-menu.meta.completion": "bg:default #808080",
        "completion-menu.meta.completion.current": "bg:default bold",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "reverse",
    }
)


class _Typing(Buffer):
    """The line that is being typed."""

    def __init__(self, typed: Callable[[str], str], completer: Completer, history: History) -> None:
        def accept(_buffer: Buffer) -> bool:
            rest = typed(self.text)
            self.reset(Document(rest))
            return True

        super().__init__(completer=completer, history=history, multiline=False, accept_handler=accept)

    def append_to_history(self) -> None:
        """Do nothing, because the typist decides which lines are stored."""


class Screen:
    """The screen of one run. *typist* takes the typed lines, and decides which of them go into *history*."""

    def __init__(
        self, typist: Typist, completer: Completer, history: History, source: Input, output: Output, *, colored: bool
    ) -> None:
        if isinstance(output, Vt100_Output):
            # To ask for the cursor's position costs a round trip to the terminal for each change of the screen.
            output.enable_cpr = False
        self._output = output
        self._unprinted: list[Line] = []
        self._printing: asyncio.Handle | None = None
        self._typist = typist
        self.typing = _Typing(typist.typed, completer, history)
        search = SearchToolbar(ignore_case=True)
        roomy = Condition(lambda: output.get_size().rows >= ROWS)
        line = Window(
            BufferControl(
                self.typing,
                input_processors=[
                    HighlightIncrementalSearchProcessor(),
                    ConditionalProcessor(PasswordProcessor(), Condition(typist.secret)),
                    BeforeInput(typist.prompt),
                ],
                search_buffer_control=search.control,
                preview_search=True,
            ),
            height=lambda: Dimension(min=1, max=max(1, output.get_size().rows - ROWS)),
            wrap_lines=True,
            dont_extend_height=True,
        )
        below: list[AnyContainer] = [
            ConditionalContainer(
                Window(FormattedTextControl(self._waiting_lines), dont_extend_height=True),
                filter=roomy & ~is_done & Condition(lambda: bool(typist.waiting())),
            ),
            line,
            search,
            CompletionsMenu(max_height=ROWS, scroll_offset=1, extra_filter=roomy),
            ConditionalContainer(
                Window(FormattedTextControl(lambda: typist.status(output.get_size().columns)), height=1),
                filter=roomy & ~is_done,
            ),
        ]
        self.app: Application[None] = Application(
            layout=Layout(HSplit(below), focused_element=line),
            key_bindings=bindings(self.typing, typist.leave),
            style=STYLE,
            color_depth=None if colored else ColorDepth.DEPTH_1_BIT,
            erase_when_done=True,
            max_render_postpone_time=None,
            input=source,
            output=output,
        )

    async def run(self) -> None:
        """Show the screen until ``stop``. Restore the terminal at the end; the events stay on it."""
        try:
            await self.app.run_async(set_exception_handler=False)
        finally:
            if self._printing is not None:
                self._printing.cancel()
            self._print()

    def stop(self) -> None:
        """End ``run``."""
        if self.app.is_running and not self.app.is_done:
            self.app.exit()

    def show(self, *lines: Line) -> None:
        """Print *lines* above the line that is being typed, which does not change."""
        self._unprinted.extend(lines)
        if self._printing is None and self.app.loop is not None:
            self._printing = self.app.loop.call_soon(self._print)

    def echo(self, line: Line) -> None:
        """Show the typed *line*, which the editor has removed."""
        self.show(line)

    def refresh(self) -> None:
        """Draw the bottom of the screen again."""
        self.app.invalidate()

    def ring(self) -> None:
        """Ring the terminal's bell."""
        self._output.bell()

    def _print(self) -> None:
        """Print the events that have come.

        prompt_toolkit's own way, ``run_in_terminal``, puts the terminal into its line mode for the time: what is typed
        in that moment would be echoed by the terminal, somewhere.
        """
        lines, self._unprinted = self._unprinted, []
        self._printing = None
        if lines:
            if self.app.is_running:
                self.app.renderer.erase()
            shown: StyleAndTextTuples = [
                piece
                for line in lines
                for piece in [*((style, printable(text)) for style, text, *_ in line), ("", "\n")]
            ]
            print_formatted_text(self._output, shown, STYLE, color_depth=self.app.color_depth)
            self._output.flush()
            if self.app.loop is not None:
                self._printing = self.app.loop.call_later(PAUSE, self._print)
        self.app.invalidate()

    def _waiting_lines(self) -> Line:
        lines = self._typist.waiting()
        more = len(lines) - WAITING_SHOWN
        if more > 0:
            lines = [[("class:waiting", f"({more} more)")], *lines[-WAITING_SHOWN:]]
        pieces: StyleAndTextTuples = []
        for line in lines:
            pieces += [*([("", "\n")] if pieces else []), *line]
        return pieces
