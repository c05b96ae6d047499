"""Members and their memberships: a session, as the rooms and the other members see it. No connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from broadcast.core.accounts import Account
from broadcast.core.errors import RejectedError
from broadcast.core.events import Gap, PrivateMessage, ReplayLine
from broadcast.core.nicknames import casefold_key
from broadcast.core.records import PrivateLine
from broadcast.core.source import UNKNOWN, Source

GONE: Final = -1
"""The id of no session."""
MAX_RECEIVED_UIDS: Final = 32
"""Maximum number of uids in ``Member.received_uids``. Each takes up to 150 bytes."""


class MemberListener(Protocol):
    """The calls that the rooms and the hub make to the session of a member."""

    @property
    def congested(self) -> bool:
        """Whether the member reads so slowly that nothing more should be queued for it alone."""

    def joined(self, room: str, replay: Iterator[ReplayLine | Gap]) -> None:
        """Handle the join of *room*, whose delivery to the other members has begun.

        The stream of the room starts after the batch with the join. *replay* yields the events from before, and can be
        read later.
        """

    def leave_delivered(self, room: str) -> None:
        """Handle the leave from *room*, which all subscribers have received. Called once for each leave."""

    def receive_private(self, message: PrivateMessage) -> None:
        """Handle a private message that did not travel through the stream of a room."""

    def private_sent(self, line: PrivateLine) -> None:
        """Note that the stored private message *line* is sent in the stream of a room. The next input confirms it."""

    def notify(self, text: str) -> None:
        """Send *text* to the user alone, as the server."""

    def disconnect(self, reason: str, notice: str) -> None:
        """Send *notice* to the user, leave all rooms because of *reason*, and close. A resumption is not possible.

        The hub has removed the member when this call returns. For a session on another node, use an ``Expulsion``.
        """


class Resumable(Protocol):
    """A session that can go on with another connection, also on another node."""

    def hand_over(self, attempt: int, on_parked: Callable[[RejectedError | None], None]) -> None:
        """Give the session up, because its client has come back to another node with the number *attempt*.

        Call *on_parked* once that node can claim the session, or with the reason why it cannot: the client may have
        come back to this node with a later attempt meanwhile.
        """

    def lose(self) -> None:
        """Drop the session without a leave, because another node has it."""

    def stop(self) -> None:
        """Let other nodes claim the session, because this node stops."""


class Link(Protocol):
    """The network connection of a session, as far as it matters to the owner of a nickname."""

    def has_replaced(self, other: Link) -> bool:
        """Return whether *other* is dead and comes from the same address, so that its user may have come back here."""

    def is_replaced_from(self, address: str) -> bool:
        """Return whether it is dead and comes from *address*, from which its user has come back to another node."""

    def end(self) -> None:
        """End the session at once: the connection is lost."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Member:
    """A session that has a nickname, as far as other members need to know it."""

    id: int
    nick: str
    listener: MemberListener
    link: Link | None = None
    """The connection, if a newcomer may take the nickname over once it is dead."""
    account: Account | None = None
    """The account to which the session is logged in."""
    source: Source = UNKNOWN
    """The origin of its last connection."""
    receives_own: bool = False
    """Whether it receives its own events as everybody does. A program does: it recognizes them by their ``uid``."""
    memberships: dict[str, Membership] = field(default_factory=dict)
    """Its memberships, by the names of the rooms, except those that it is leaving."""
    arrived: bool = False
    """Whether the delivery of a join has begun, so that others can know the member."""
    away: bool = False
    away_reason: str = ""
    receipts: bool = False
    ignored: dict[str, str] = field(default_factory=dict)
    """Nicknames whose lines are hidden, by comparison key."""
    is_moving: bool = False
    """True while it moves to another room. Private messages then pass through no room, but go to its listener."""
    private_in_flight: int = 0
    """Number of characters in private messages to this member that have not been delivered."""
    last_private_sender: int = 0
    """The session that sent the last private message to this member; 0 if none did, ``GONE`` if it has ended."""
    last_private_account: int = 0
    """Id of the account of this sender; 0 if it has none."""
    received_uids: dict[tuple[int, str], None] = field(default_factory=dict)
    """The sender's session and the uid of the last private messages that it has received, oldest first.

    They keep it from receiving a message twice. A node that was suspended may handle a message late, after the sender
    has sent it again through another node.
    """
    last_active: float = 0.0
    """Time of the last input, in seconds since the epoch."""
    cancel_login: Callable[[], None] | None = None
    """A function that cancels the login with OpenID Connect that is under way; None if none is."""
    removed_by: str = ""
    """The operator who has ended the session; empty if none has."""
    is_remote: bool = False
    """Whether the session is on another node. Then nothing is delivered to it here."""
    generation: int = 0
    """See ``Person.generation``."""
    resumable: Resumable | None = None
    """The session, if it is on this node and can move to another one."""

    def note_private(self, message: PrivateMessage) -> None:
        """Note that the private *message* is the last one to this member."""
        self.last_private_sender, self.last_private_account = message.session, message.account

    def note_uid(self, session: int, uid: str) -> bool:
        """Note that the private message *uid* of the sender *session* is received. Return False if it was already."""
        if (session, uid) in self.received_uids:
            return False
        self.received_uids[session, uid] = None
        if len(self.received_uids) > MAX_RECEIVED_UIDS:
            del self.received_uids[next(iter(self.received_uids))]
        return True

    def follow_rename(self, old: str, new: str) -> None:
        """Move the entry of the nickname *old* in the ignore list, if there is one, to *new*."""
        if casefold_key(old) in self.ignored:
            del self.ignored[casefold_key(old)]
            self.ignored[casefold_key(new)] = new


@dataclass(slots=True, eq=False)
class Membership:
    """One member in one room."""

    member: Member
    announced_nick: str = ""
    """The nickname in the stream of the room so far. It is empty until the delivery of the join begins.

    It differs from the member's while a rename has not been delivered.
    """
