"""A member of a room, as the room and the other members see it. No connection; the session is only a listener."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from broadcast.core.events import Gap, ReplayLine


class MemberListener(Protocol):
    """The calls that a room makes to the session of a member."""

    @property
    def congested(self) -> bool:
        """Whether the member reads so slowly that nothing more should be queued for it alone."""

    def joined(self, members: Mapping[int, Member], replay: Iterator[ReplayLine | Gap]) -> None:
        """Handle the join, whose delivery to the other members has begun. The stream starts after its batch.

        *members* are all members, including this one. *replay* yields the events from before, and can be read later.
        """

    def leave_delivered(self) -> None:
        """Handle the leave, which all subscribers have received. No other call follows."""


@dataclass(slots=True, eq=False)
class Member:
    """A session in the room, as far as other members need to know it."""

    id: int
    nick: str
    listener: MemberListener
    announced_nick: str = ""
    """The nickname in the stream so far. It is empty until the delivery of the join begins.

    It differs from ``nick`` while a rename has not been delivered.
    """
    away: bool = False
    away_reason: str = ""
    receipts: bool = False
    ignored: dict[str, str] = field(default_factory=dict)
    """Nicknames whose lines are hidden, by comparison key."""
    private_in_flight: int = 0
    """Number of characters in private messages to this member that have not been delivered."""
    last_private_sender: int = 0
    """The session that sent the last private message to this member; 0 if none did."""
    last_active: float = 0.0
    """Time of the last input, in seconds since the epoch."""
