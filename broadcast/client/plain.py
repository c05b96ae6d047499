"""The display for simple terminals: it prints lines, and the terminal itself edits the typed line."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
from collections.abc import Callable
from typing import TextIO

from broadcast.client.display import Line, Typist
from broadcast.client.lines import printable

if sys.platform != "win32":
    import termios


class PlainScreen:
    """A display for terminals that cannot move their cursor (``TERM=dumb``), or are too small for it."""

    def __init__(self, typist: Typist, source: int, output: TextIO) -> None:
        self._typist = typist
        self._source = source
        self._output = output
        self._decode: Callable[[bytes], str] = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._typed = ""
        self._prompted: Line = []
        self._over: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Show what comes until ``stop``; raises ``EOFError`` when the input ends."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        loop.add_reader(self._source, self._read, self._over)
        try:
            await self._over
        finally:
            loop.remove_reader(self._source)
            self._echo(True)

    def stop(self) -> None:
        """End ``run``."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def show(self, *lines: Line) -> None:
        """Print *lines*."""
        for line in lines:
            self._print(line, "\n")

    def echo(self, line: Line) -> None:
        """Do nothing, because the typed line is still on the terminal."""

    def refresh(self) -> None:
        """Print the prompt if it is a new one of the server."""
        prompt = self._typist.prompt() if self._typist.asking() else []
        if prompt != self._prompted:
            self._prompted = prompt
            self._print(prompt, "")
            self._echo(not self._typist.secret())

    def ring(self) -> None:
        """Ring the terminal's bell."""
        self._output.write("\a")
        self._output.flush()

    def _print(self, line: Line, end: str) -> None:
        self._output.write(printable("".join(text for _style, text, *_ in line)) + end)
        self._output.flush()

    def _echo(self, wanted: bool) -> None:
        """Turn the terminal's echo on or off."""
        if sys.platform == "win32" or not os.isatty(self._source):
            return
        settings = termios.tcgetattr(self._source)
        lflag = settings[3] | termios.ECHO if wanted else settings[3] & ~termios.ECHO
        if lflag != settings[3]:
            settings[3] = lflag
            termios.tcsetattr(self._source, termios.TCSANOW, settings)

    def _read(self, over: asyncio.Future[None]) -> None:
        data = os.read(self._source, 65536)
        *lines, self._typed = (self._typed + self._decode(data)).split("\n")
        for line in lines:
            self._prompted = []
            self._echo(True)
            if self._typist.typed(line):
                self._print([("", "Not sent: there is no connection.")], "\n")
        if not data and not over.done():
            over.set_exception(EOFError())
