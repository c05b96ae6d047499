"""One's own lines: what the server makes of what is typed, and which lines are not known to be kept yet."""

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
    """*line* without what a server may remove or not: so it is known what is said, and whether anything is."""
    text = _sequences.sub("", re.sub("[\t\x85\u2028\u2029]", " ", line))
    return "".join(part if FLAGS.fullmatch(part) else _without_unsafe(part) for part in FLAGS.split(text))


def _without_unsafe(text: str) -> str:
    """Return *text* without the characters that a terminal would not show."""
    return "".join(character for character in text if character == "\ufffd" or printable(character) != "\ufffd")


def spoken(line: str, nick: str) -> Kept | None:
    """What the server makes of *line*, if it is said, by *nick*."""
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
    """Which of *lines*, as sent, in order, and not confirmed yet, the server refuses with *why*; None: none of them.

    That a line is not kept is told in its turn, as a receipt is; that it is too long at once, before the receipts of
    those that were sent before it.
    """
    if why.startswith(_unkept):
        return 0
    if longest := longest_in(why):
        return next((at for at, line in enumerate(lines) if len(line.encode("utf-8", "replace")) > longest), None)
    return None


def longest_in(why: str) -> int | None:
    """How many bytes a line may have, where *why* is that one has more."""
    longest = _overlong.fullmatch(why)
    return int(longest[1]) if longest else None


class OwnLines:
    """One's own lines that were sent to a server with receipts, and are not confirmed yet, in order."""

    def __init__(self) -> None:
        self._pending: deque[tuple[str, Kept]] = deque()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._pending)

    def sent(self, typed: str, own: Kept) -> None:
        """The line *typed* was sent, and is said as *own*."""
        self._pending.append((typed, own))

    def kept(self) -> Kept | None:
        """The first one is kept: what it says; None where there is none."""
        return self._pending.popleft()[1] if self._pending else None

    def refused(self, why: str) -> None:
        """The server refuses something with *why*: perhaps one of them."""
        at = refused((typed for typed, _own in self._pending), why)
        if at is not None and at < len(self._pending):
            del self._pending[at]

    def recalled(self, line: Kept) -> bool:
        """Whether *line*, that was kept while the connection was lost or shortly before, is one of them."""
        mine = _squashed(str(line))
        for at, (_typed, own) in enumerate(self._pending):
            if _squashed(str(own)) == mine:
                del self._pending[at]
                return True
        return False

    def given_up(self) -> list[str]:
        """Nothing will confirm them any more: those that there are, as typed."""
        lines = [typed for typed, _own in self._pending]
        self._pending.clear()
        return lines


def _squashed(line: str) -> str:
    """What stays the same of a line of one's own, whatever the server cleans away."""
    return "".join(character for character in line.casefold() if character.isalnum())
