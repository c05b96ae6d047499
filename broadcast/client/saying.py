"""Own lines: the text that the server stores of a typed line, and the lines that are not confirmed yet."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Final

from broadcast.client.lines import FLAGS, Emoted, Kept, Said, printable

_unkept: Final = "not kept:"
_overlong: Final = re.compile(r"a line holds at most (\d{1,9}) bytes\b.*")
_sequences: Final = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]?|\][^\x07\x1b]*+(?:\x07|\x1b\\)?)")
"""Escape sequences in the output of programs: colours (CSI), titles and links (OSC)."""


def cleaned(line: str) -> str:
    """Return *line* without the characters that some servers remove, so that the stored text is known."""
    text = _sequences.sub("", re.sub("[\t\x85\u2028\u2029]", " ", line))
    return "".join(part if FLAGS.fullmatch(part) else _without_unsafe(part) for part in FLAGS.split(text))


def _without_unsafe(text: str) -> str:
    """Return *text* without the characters that a terminal would not show."""
    return "".join(character for character in text if character == "\ufffd" or printable(character) != "\ufffd")


def spoken(line: str, nick: str) -> Kept | None:
    """Return the line or action of *nick* that the server makes of the typed *line*, or None for a command."""
    text = cleaned(line)
    verb, _, words = text.partition(" ")
    if verb.casefold() == "/me" and words.strip():
        return Emoted(nick, words.strip(), own=True)
    if verb.casefold() == "/say" and words.strip():
        return Said(nick, words, own=True)
    if text.startswith("//"):
        return Said(nick, text[1:], own=True)
    if text.startswith("/") or not text.strip() or text.strip().casefold() in {"quit", "exit"}:
        return None
    return Said(nick, text, own=True)


def refused(lines: Iterable[str], why: str) -> int | None:
    """Return the index of the line that the server refuses with *why*, or None.

    *lines* are the lines that are sent and not confirmed, in order. The error about a line that cannot be stored comes
    in its turn, like a receipt. The error about a long line comes at once, before the receipts of earlier lines.
    """
    if why.startswith(_unkept):
        return 0
    if longest := longest_in(why):
        return next((at for at, line in enumerate(lines) if len(line.encode("utf-8", "replace")) > longest), None)
    return None


def longest_in(why: str) -> int | None:
    """Return the number of bytes that a line may have, if *why* is the error about a longer one."""
    longest = _overlong.fullmatch(why)
    return int(longest[1]) if longest else None


class OwnLines:
    """The own lines that were sent to a server with receipts, and are not confirmed yet, in order."""

    def __init__(self) -> None:
        self._pending: deque[tuple[str, Kept]] = deque()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._pending)

    def sent(self, typed: str, own: Kept) -> None:
        """Add the line *typed*, which was sent. *own* is the line that the server makes of it."""
        self._pending.append((typed, own))

    def kept(self) -> Kept | None:
        """Remove and return the first line, because a receipt has confirmed it, or return None."""
        return self._pending.popleft()[1] if self._pending else None

    def refused(self, why: str) -> None:
        """Remove the line that the server has refused with *why*, if it is one of them."""
        at = refused((typed for typed, _own in self._pending), why)
        if at is not None and at < len(self._pending):
            del self._pending[at]

    def recalled(self, line: Kept) -> bool:
        """Remove *line*, which was stored around the loss of the connection. Return whether it was one of them."""
        mine = _squashed(str(line))
        for at, (_typed, own) in enumerate(self._pending):
            if _squashed(str(own)) == mine:
                del self._pending[at]
                return True
        return False

    def given_up(self) -> list[str]:
        """Remove all lines, because nothing confirms them any more. Return them as typed."""
        lines = [typed for typed, _own in self._pending]
        self._pending.clear()
        return lines


def _squashed(line: str) -> str:
    """Return the letters and digits of *line*, which no server removes."""
    return "".join(character for character in line.casefold() if character.isalnum())
