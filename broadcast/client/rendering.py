"""The appearance of events on the terminal, as pieces of plain text with a style each. No terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from broadcast.client import lines
from broadcast.client.colors import color_of
from broadcast.client.display import Line

NOTE = "class:note"
ERROR = "class:error"


def names(text: str, nick: str) -> bool:
    """Return whether *text* contains *nick* as a word of its own, in upper or lower case."""
    return bool(nick) and re.search(rf"(?<![\w.-]){re.escape(nick)}(?![\w-])", text, re.IGNORECASE) is not None


def line_of(event: lines.Event, own: str) -> Line:  # noqa: C901, PLR0911, PLR0912 -- a table
    """Return the line of *event* for a user whose nickname is *own*."""
    match event:
        case lines.Said() | lines.Emoted():
            return _kept(event, own)
        case lines.Recalled(seq, line):
            return [(NOTE, f"-> #{seq} "), *_kept(line, "")]
        case lines.Whispered(nick, text):
            return [(_named(nick, "class:private"), f"[{nick}]"), ("class:private", f" {text}")]
        case lines.Joined(nick):
            return [(NOTE, " * "), (_named(nick), nick), (NOTE, " joined.")]
        case lines.Left(nick, why):
            return [(NOTE, " * "), (_named(nick), nick), (NOTE, f" left: {why}" if why else " left.")]
        case lines.Renamed(nick, new):
            return [(NOTE, " * "), (_named(nick), nick), (NOTE, " is now "), (_named(new), new), (NOTE, ".")]
        case lines.Crowd(count, joined):
            return [(NOTE, f" * {count} people {'joined' if joined else 'left'}.")]
        case lines.Missed(first, last):
            return [(NOTE, f" * You missed {last - first + 1} lines (#{first}-#{last}).")]
        case lines.Answer(text):
            return [(NOTE, "-> "), ("", text)]
        case lines.Error(text):
            return refusal(text)
        case lines.Receipt(seq):
            return [(NOTE, f"-> #{seq}")]
        case lines.Arrived(nick, some, others):
            return arrival(nick, some, others)
        case lines.Entered(room, some, others):
            return [(NOTE, f" * You are in {room}. "), *_others(some, others)]
        case lines.Notice(text):
            return [(NOTE, f" * {text}")]


def arrival(nick: str, some: Sequence[str], others: int) -> Line:
    """Return the line about the arrival of *nick* in a room with *others*, of whom *some* are named."""
    return [(NOTE, " * You are "), (_named(nick, "bold"), nick), (NOTE, ". "), *_others(some, others)]


def _others(some: Sequence[str], others: int) -> Line:
    """Return the pieces about the *others* in the room, of whom *some* are named."""
    if not others:
        return [(NOTE, "Nobody else is here.")]
    pieces: Line = [(NOTE, "1 other is here" if others == 1 else f"{others} others are here")]
    for index, other in enumerate(some):
        pieces += [(NOTE, ", " if index else ": "), (_named(other), other)]
    more = others - len(some)
    return [*pieces, (NOTE, f", and {more} more." if some and more > 0 else ".")]


def refusal(text: str) -> Line:
    """Return the line of an error."""
    return [(ERROR, "-> Error: "), ("", text)]


def says(line: str) -> bool:
    """Return whether the typed *line* says something to the room, so that it comes back when it is stored."""
    text = lines.printable(line).replace("\ufffd", "")
    verb, _, words = text.partition(" ")
    if verb.casefold() in {"/me", "/say"}:
        return bool(words.strip())
    return text.startswith("//") or not (text.startswith("/") or text.strip().casefold() in {"", "quit", "exit"})


def typed(line: str, own: str, style: str = "") -> Line:
    """Return a typed *line* as the room will see it, or unchanged if it says nothing to the room."""
    if not says(line):
        return [(NOTE, line)]
    verb, _, words = line.partition(" ")
    if verb.casefold() == "/me":
        return [(f"{style} {_named(own)}", f"** {own}"), (style, f" {words.strip()}")]
    said = words if verb.casefold() == "/say" else line[line.startswith("//") :]
    return [(f"{style} {_named(own)}", f"{own}:"), (style, f" {said}")]


def _kept(line: lines.Kept, own: str) -> Line:
    pieces: Line = [(NOTE, f"[{line.time}] ")] if line.time else []
    style = "bold" if not line.own and names(line.text, own) else ""
    name = f"{line.nick}:" if isinstance(line, lines.Said) else f"** {line.nick}"
    return [*pieces, (_named(line.nick, style), name), (style, f" {line.text}")]


def _named(nick: str, style: str = "") -> str:
    return f"{style} {color_of(nick)}".lstrip()
