"""The line protocol as the pipe reads it: up to the arrival, and the goodbye. ``docs/protocol.rst`` describes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

NICKNAME: Final = "Nickname: "
PASSWORD: Final = "Password: "  # noqa: S105 -- a prompt
EMPTY_LINE_ENDS: Final = " An empty line ends this."
"""The end of an error after which the server asks for the password again."""
MAX_LINE: Final = 65536
"""The most bytes of a line that are read. The rest of it is dropped."""

_echo: Final = re.compile(rb"\xff[\xfb\xfc]\x01")
_cut_echo: Final = re.compile(rb"\xff[\xfb\xfc]?\Z")
_prompts: Final = {prompt.encode(): prompt for prompt in (NICKNAME, PASSWORD)}
_others: Final = r"(?:Nobody else is here|\d{1,9} others? (?:is|are) here: [^\s,:]+(?:, [^\s,:]+)*(?: and \d+ more)?)\."
_arrived: Final = re.compile(rf" \* You are [^\s:]+\. {_others}(?: .*)?", re.DOTALL)
_moved: Final = re.compile(rf" \* You are in [^\s:]+\. {_others}|-> Error: you are in [^\s:]+ already\.")
_goodbye: Final = re.compile(r" \* Goodbye(?:\.|,.*)", re.DOTALL)
"""The goodbye, but no notice about a person whose nickname begins like it: nicknames have no comma."""


class Kind(Enum):
    """The kind of a part of the server's output."""

    PROMPT = "prompt"
    ARRIVED = "arrived"
    MOVED = "moved"
    """The client is in the room of ``/join``, perhaps it was there already."""
    ERROR = "error"
    NOTICE = "notice"
    GOODBYE = "goodbye"
    OTHER = "other"


class EchoFilter:
    """Removes Telnet's WILL ECHO and WONT ECHO, with which a server hides what people type after a password prompt."""

    def __init__(self) -> None:
        self._held = b""

    def remove(self, data: bytes) -> bytes:
        """Return *data* without these commands, however it is cut."""
        data = self._held + data
        self._held = b""
        if b"\xff" in data:
            data = _echo.sub(b"", data)
            if cut := _cut_echo.search(data):
                self._held = cut[0]
                data = data[: cut.start()]
        return data


class Reader:
    """Reads the server's output, however it is cut. Prompts come only before the arrival."""

    def __init__(self) -> None:
        self.arrived = False
        self._line = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, str]]:
        """Yield the kind and the text of each part that *data* completes."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._hold(end)
            line = self._line.removesuffix(b"\r").decode("utf-8", "replace")
            self._line.clear()
            yield from self._read(line)
        self._hold(rest)
        if not self.arrived and (prompt := _prompts.get(bytes(self._line))) is not None:
            # A prompt is the only part without a line end.
            self._line.clear()
            yield Kind.PROMPT, prompt

    def _hold(self, piece: bytes) -> None:
        self._line += piece[: MAX_LINE - len(self._line)]

    def _read(self, line: str) -> Iterator[tuple[Kind, str]]:
        while not self.arrived and line.startswith((NICKNAME, PASSWORD)):
            prompt = NICKNAME if line.startswith(NICKNAME) else PASSWORD
            line = line.removeprefix(prompt)
            yield Kind.PROMPT, prompt
        if not self.arrived and _arrived.fullmatch(line):
            self.arrived = True
            yield Kind.ARRIVED, line
        elif self.arrived and _moved.fullmatch(line):
            yield Kind.MOVED, line
        elif line.startswith("-> Error: "):
            yield Kind.ERROR, line.removeprefix("-> Error: ")
        elif self.arrived:
            yield Kind.GOODBYE if _goodbye.fullmatch(line) else Kind.OTHER, line
        else:
            yield Kind.NOTICE, line.removeprefix(" * ")
