"""The entries of a conversation, in the order in which a person reads them."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Line(Struct, frozen=True):
    """A stored line of a room. *at* is in seconds since the epoch."""

    at: float
    nick: str
    text: str
    seq: int
    is_action: bool = False
    is_own: bool = False
    is_mention: bool = False
    is_file: bool = False
    """Whether it is about a shared file, such as *ann shared report.pdf*."""


class PrivateLine(Struct, frozen=True):
    """A line from *nick* to the user, or with *is_own* from the user to *nick*."""

    at: float
    nick: str
    text: str
    is_own: bool = False


class Notice(Struct, frozen=True):
    """A sentence about the room or the connection: a join, a topic, a lost connection."""

    text: str


class Typed(Struct, frozen=True):
    """A command, as the user typed it."""

    text: str


class Output(Struct, frozen=True):
    """A line of the answer to a command."""

    text: str


class Problem(Struct, frozen=True):
    """An error, as a sentence."""

    text: str


class Refused(Struct, frozen=True):
    """An own line that was not said, because of the sentence *why*. *text* is as typed."""

    text: str
    why: str
    is_certain: bool = True
    """False if the line was sent, and the session has ended before the answer: it may be in the room."""


Entry: TypeAlias = Line | PrivateLine | Notice | Typed | Output | Problem | Refused
