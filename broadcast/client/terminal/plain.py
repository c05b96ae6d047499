"""The front for simple terminals and screen readers: it prints lines, and the terminal itself edits the typed line."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import sys
import termios
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, TextIO

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_to_text

from broadcast.client.session.conversation import Conversation, State
from broadcast.client.session.entries import Entry, Typed
from broadcast.client.session.views import View
from broadcast.client.terminal.notifications import Alerts
from broadcast.client.terminal.rendering import Renderer
from broadcast.client.terminal.status_line import state_of
from broadcast.client.text import printable

assert sys.platform != "win32", "Windows has no such terminals"

LEAVE_SECONDS: Final = 3.0
"""The time for the second Ctrl-C, which leaves."""
SENDING_SECONDS: Final = 1.0
"""The time after which a line that is not stored is reported."""
SILENCE_SECONDS: Final = 10.0
"""The silence of the server that is reported."""


class PlainScreen:
    """The ``Front`` for terminals that cannot move their cursor (``TERM=dumb``), or are too small for it."""

    def __init__(
        self,
        conversation: Conversation,
        renderer: Renderer,
        source: int,
        output: TextIO,
        input_encoding: str = "utf-8",
    ) -> None:
        self._conversation = conversation
        self._renderer = renderer
        self._source = source
        self._output = output
        self._encoding = renderer.encoding
        self._alerts = Alerts(conversation.choices, time.monotonic, renderer.encoding)
        self._decode = codecs.getincrementaldecoder(input_encoding)("replace").decode
        self._typed = ""
        self._prompt = ""
        """The prompt that the user has not answered yet, or an empty text."""
        self._hides = False
        self._modes: list[Any] | None = None
        """The modes of the terminal from before that, or None."""
        self._leaves_until = 0.0
        self._is_silent = False
        """Whether the user knows that the server does not answer."""
        self._end: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Show the conversation until ``stop``. Raise ``EOFError`` when the input ends."""
        loop = asyncio.get_running_loop()
        self._end = loop.create_future()
        loop.add_reader(self._source, self._read, self._end)
        with suppress(RuntimeError):  # in another thread
            loop.add_signal_handler(signal.SIGINT, self._interrupt)
            loop.add_signal_handler(signal.SIGCONT, self._resume)
        try:
            await self._end
        finally:
            loop.remove_reader(self._source)
            self._show_again()
            for number in (signal.SIGINT, signal.SIGCONT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """End ``run``."""
        if self._end is not None and not self._end.done():
            self._end.set_result(None)

    def show(self, *entries: Entry) -> None:
        """Print entries, except for typed commands, which are still on the terminal."""
        self._print(self._renderer.rows(entry for entry in entries if not isinstance(entry, Typed)))

    def switch(self, unread: int) -> None:
        """Print the heading of the current view, and its *unread* last entries."""
        view = self._conversation.current
        entries = list(view.entries)
        self._print([self._renderer.heading(view)])
        self._print(self._renderer.rows(entries[len(entries) - unread :], unread))

    def update(self) -> None:
        """Print the prompt if there is a new question, and tell the user when the server is silent."""
        question, prompt = self._conversation.question, ""
        if question is not None:
            offered = question.default or next(iter(question.suggestions), "")
            others = [f" (or {' or '.join(question.suggestions[1:])})"] if question.suggestions[1:] else []
            prompt = "".join([question.prompt, f" [{offered}]" if offered else "", *others, ": "])
        was_hidden, self._hides = self._hides, question is not None and question.is_secret
        if self._hides is not was_hidden:
            self._hide() if self._hides else self._show_again()
        if prompt != self._prompt:
            self._prompt = prompt
            self._write(printable(prompt, self._encoding))
        is_online = self._conversation.state is State.ONLINE
        was_silent, self._is_silent = self._is_silent, is_online and self._conversation.silence >= SILENCE_SECONDS
        if self._is_silent and not was_silent:
            self._note(f"There is {state_of(self._conversation, 0)}.")

    def _hide(self) -> None:
        """Let the terminal not show what is typed. A shell undoes this while the client is suspended."""
        with suppress(termios.error):  # no terminal, or one that is gone
            modes = termios.tcgetattr(self._source)
            self._modes = self._modes or termios.tcgetattr(self._source)
            modes[3] &= ~termios.ECHO
            termios.tcsetattr(self._source, termios.TCSADRAIN, modes)

    def _show_again(self) -> None:
        """Give the terminal back the modes from before ``_hide``."""
        modes, self._modes = self._modes, None
        if modes is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._source, termios.TCSADRAIN, modes)

    def _resume(self) -> None:
        if self._hides:
            self._hide()

    def alert(self, view: View, entry: Entry) -> None:
        """Ring the bell, and print a mention in another view."""
        if view is not self._conversation.current and not view.is_private:
            self._print([[("", f"[{printable(view.title, self._encoding)}] "), *self._renderer.row(entry)]])
        self._write(self._alerts.sequence(view, entry))

    def _note(self, text: str) -> None:
        self._print([[("", f" * {text}")]])

    def _print(self, rows: Iterable[StyleAndTextTuples]) -> None:
        self._write("".join(f"{fragment_list_to_text(row)}\n" for row in rows))

    def _write(self, text: str) -> None:
        with suppress(OSError):  # the terminal is gone, and the client still leaves properly
            self._output.write(text)
            self._output.flush()

    def _read(self, end: asyncio.Future[None]) -> None:
        try:
            data = os.read(self._source, 65536)
        except OSError:  # the terminal is gone
            data = b""
        *lines, self._typed = (self._typed + self._decode(data)).split("\n")
        for line in lines:
            question, self._prompt = self._conversation.question, ""
            if self._hides:
                self._write("\n")
            if question is not None and question.suggestions and not line.strip():
                line = question.suggestions[0]  # noqa: PLW2901
            self._conversation.submit(line)
        if self._conversation.waiting_count:
            asyncio.get_running_loop().call_later(SENDING_SECONDS, self._report, self._conversation.waiting_count)
        if not data and not end.done():
            end.set_exception(EOFError())

    def _report(self, count: int) -> None:
        """Tell the user that lines are not stored yet."""
        waiting = min(count, self._conversation.waiting_count)
        if waiting and self._conversation.state is not State.ENDED:
            self._note(f"Sending {'1 line' if waiting == 1 else f'{waiting} lines'}.")

    def _interrupt(self) -> None:
        now = asyncio.get_running_loop().time()
        question = self._conversation.question
        if question is not None and question.is_secret:
            self._write("\n")
            self._conversation.submit("")
        elif now < self._leaves_until or self._conversation.state is State.LEAVING:
            self._conversation.leave()
        elif not self._conversation.cancel_uploads():
            self._leaves_until = now + LEAVE_SECONDS
            self._note("Press Ctrl-C again to leave.")
