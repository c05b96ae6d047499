"""The delivery of private messages, at once, through the stream of a room, or by another node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

from broadcast.core import nicknames
from broadcast.core.accounts import Account, Accounts
from broadcast.core.batching import ignores
from broadcast.core.directory import OnDirectory
from broadcast.core.errors import NotHere, NotStored, RecipientNotReading, RejectedError
from broadcast.core.events import PrivateMessage
from broadcast.core.membership import Member
from broadcast.core.people import People
from broadcast.core.private_lines import PrivateLines
from broadcast.core.records import PrivateLine
from broadcast.core.room import Room


class Sent(NamedTuple):
    """The outcome: a private message was sent to the nickname *name*, or is stored for the account *name*."""

    name: str
    to: Member | None = None
    """The recipient; None if the recipient is not here."""
    room: Room | None = None
    """The room in whose stream it travels; None if it was sent at once."""


OnSent: TypeAlias = Callable[[Sent | RejectedError], None]
"""Receives how a private message was sent, or the reason why it was not. Called in a later turn of the reactor."""


class PrivateMessages:
    """The delivery of private messages to *people*, through the streams of *rooms* where that keeps their order.

    *lines* stores those between accounts. *send_to_node* is ``OtherNodes.send``. While *queue_bytes* characters are on
    their way to one recipient, further messages to it are rejected. From half of that on, a sender should wait.
    """

    def __init__(
        self,
        people: People,
        accounts: Accounts,
        rooms: Mapping[str, Room],
        lines: PrivateLines,
        send_to_node: Callable[[PrivateMessage, OnDirectory], None],
        queue_bytes: int,
    ) -> None:
        self._people = people
        self._accounts = accounts
        self._rooms = rooms
        self._lines = lines
        self._send_to_node = send_to_node
        self._queue_bytes = queue_bytes

    def send(
        self, member: Member, to: Member | Account, text: str, at: float, on_sent: OnSent, uid: str = ""
    ) -> Sent | None:
        """Send the private message *text* from *member* to *to*. Raises ``RecipientNotReading``.

        A message between two accounts, or to an account that is not here, is stored first. One to another node is sent
        when this node has taken it. Then return None, and call *on_sent* later. Handle no further line of *member*
        until then: it could overtake the message.
        """
        recipient = to.account if isinstance(to, Member) else to
        waits = True
        if isinstance(to, Member):
            self.check_reading(to)
            if not (self._exists(recipient) and self._exists(member.account)):
                number = 0 if member.account is None else member.account.id
                message = PrivateMessage(member.id, member.nick, to.id, text, at, number, uid=uid)
                if to.is_remote:
                    self._pass_on(message, to, on_sent, partial(self._keep, member, to, text, at, on_sent, uid))
                    return None
                return Sent(to.nick, to, self.deliver(message, to, member))
            waits = not ignores(to, member.id, (nicknames.casefold_key(member.nick),))
        else:
            self._lines.check_space(member, to)
        assert recipient is not None
        on_stored = partial(self._on_stored, member, to, recipient, on_sent)
        self._lines.store(member, recipient, text, at, on_stored, waits=waits, uid=uid)
        return None

    def check_reading(self, to: Member) -> None:
        """Raise ``RecipientNotReading`` if too much is on its way to *to* already."""
        if to.listener.congested or to.private_in_flight >= self._queue_bytes:
            raise RecipientNotReading(f"{to.nick} does not read what is sent to them.")

    def _exists(self, account: Account | None) -> bool:
        return account is not None and self._accounts.get(account.id) is account

    def _on_stored(
        self, member: Member, to: Member | Account, recipient: Account, on_sent: OnSent, line: PrivateLine | NotStored
    ) -> None:
        """Deliver *line* if the recipient is here now. Otherwise it waits."""
        if isinstance(line, NotStored):
            on_sent(line)
            return
        if not isinstance(to, Member) or to.account is not recipient or self._people.members.get(to.id) is not to:
            here = self._people.find_member_of(recipient)
        else:
            here = to
        if here is None:
            on_sent(Sent(recipient.name))
        else:
            message = PrivateMessage(
                member.id, line.sender, here.id, line.text, line.at, account=line.sender_account, line=line
            )
            if here.is_remote:
                self._pass_on(message, here, on_sent)
            else:
                on_sent(Sent(here.nick, here, self.deliver(message, here, member)))

    def _pass_on(
        self, message: PrivateMessage, to: Member, on_sent: OnSent, keep: Callable[[NotHere], None] | None = None
    ) -> None:
        """Send *message* to the other node on which *to* is. A stored line waits if that is impossible.

        If *to* is not there any more, *keep* is called in place of *on_sent*.
        """

        def on_taken(error: RejectedError | None) -> None:
            if error is None:
                on_sent(Sent(to.nick, to))
            elif message.line is not None:
                on_sent(Sent(message.line.recipient))
            elif isinstance(error, NotHere) and keep is not None:
                keep(error)
            else:
                on_sent(error)

        self._send_to_node(message, on_taken)

    def _keep(
        self, member: Member, to: Member, text: str, at: float, on_sent: OnSent, uid: str, error: NotHere
    ) -> None:
        """Store the message *text* for the account of *to*, which has left. Report *error* if it has none."""
        account = to.account
        if account is None or not self._exists(account):
            on_sent(error)
            return
        try:
            self.send(member, account, text, at, on_sent, uid)
        except RejectedError as rejection:
            on_sent(rejection)

    def deliver(self, message: PrivateMessage, to: Member, member: Member | None) -> Room | None:
        """Deliver *message* from *member* to *to*.

        It travels through the stream of a room of both, or else of the recipient, so that people read it in the order
        of the lines around it. Return this room. To programs, to members without a room, and to those that are moving
        to another one, it is sent at once. A message with a uid that *to* has received already is dropped.
        """
        if message.uid and not to.note_uid(message.session, message.uid):
            return None
        # A recipient whose join of a room is not in delivery yet does not receive the stream of this room.
        names = [name for name, membership in to.memberships.items() if membership.announced_nick]
        if to.receives_own or to.is_moving or not names:
            if not ignores(to, message.session, (nicknames.casefold_key(message.nick),)):
                to.note_private(message)
                to.listener.receive_private(message)
            return None
        shared = () if member is None else member.memberships
        room = self._rooms[next((name for name in names if name in shared), names[0])]
        to.private_in_flight += len(message.text)
        room.append_private(message)
        return room

    def should_throttle_sender(self, to: Member) -> bool:
        """Return whether a sender should wait until the private messages to *to* have been delivered."""
        return to.private_in_flight >= self._queue_bytes // 2
