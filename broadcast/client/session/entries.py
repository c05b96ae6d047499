"""The entries of a conversation, in the order in which a person reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Line:
    """A stored line of a room. *at* is in seconds since the epoch."""

    at: float
    nick: str
    text: str
    seq: int
    is_action: bool = False
    """Whether it is an action, such as *ann waves*."""
    is_own: bool = False
    is_mention: bool = False
    """Whether another person names the user in it."""


@dataclass(frozen=True, slots=True)
class PrivateLine:
    """A line from *nick* to the user, or with *is_own* from the user to *nick*."""

    at: float
    nick: str
    text: str
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence about the room or the connection: a join, a topic, a lost connection."""

    text: str


@dataclass(frozen=True, slots=True)
class Typed:
    """A command, as the user typed it."""

    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """A line of the answer to a command."""

    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, as a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An own line that was not said, because of the sentence *why*. *text* is as typed."""

    text: str
    why: str
    is_certain: bool = True
    """False if the line was sent, and the session has ended before the answer: it may be in the room."""


Entry: TypeAlias = Line | PrivateLine | Notice | Typed | Output | Problem | Refused
