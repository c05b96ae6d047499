"""Somebody in a room, as the room and the others know them; no connection, and of their visit only how to tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from broadcast.core.events import Gap, ReplayLine


class MemberListener(Protocol):
    """What a room tells the session of a member."""

    @property
    def congested(self) -> bool:
        """Whether so much waits for you alone that nothing should be added."""

    def join_delivered(self, others: Mapping[int, Member], replay: Iterator[ReplayLine | Gap]) -> None:
        """The room has told everybody of your coming; *others* are present, *replay* was said before.

        It may be read at leisure, also when the room has gone on.
        """

    def leave_delivered(self) -> None:
        """The room has told everybody of your leaving; nothing else will come."""


@dataclass(slots=True, eq=False)
class Member:
    """Somebody in the room, as far as others need to know."""

    id: int
    nick: str
    listener: MemberListener
    announced_nick: str = ""
    """The nickname under which the stream knows them: a rename on its way has not happened yet for a newcomer.

    Empty until people are told that they come.
    """
    away: bool = False
    away_reason: str = ""
    receipts: bool = False
    ignored: dict[str, str] = field(default_factory=dict)
    """Nicknames whose lines are hidden: comparison key to the name as it was typed."""
    private_in_flight: int = 0
    """How many characters of private lines are on their way to this member."""
    last_private_sender: int = 0
    """The session that whispered last to this member; 0 for nobody yet."""
    last_active: float = 0.0
    """When they last typed something, in seconds since the epoch."""
