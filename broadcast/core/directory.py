"""The directory of a server without a cluster, and the members that are on other nodes. No database, no network."""

from __future__ import annotations

from collections.abc import Iterator

from broadcast.core.errors import NotHere, RejectedError
from broadcast.core.events import Gap, PrivateMessage, ReplayLine
from broadcast.core.interfaces import Directory, Expulsion, NodeListener, NodeMessage, OnDirectory, Person, UserNotice
from broadcast.core.membership import MemberListener
from broadcast.core.records import PrivateLine


class OwnDirectory:
    """The directory of a server that is alone: each nickname that the hub finds free is free."""

    is_shared = False

    def watch(self, listener: NodeListener) -> None:
        """Do nothing: there are no other nodes."""

    def take(self, _person: Person, on_taken: OnDirectory) -> None:
        """Call *on_taken* at once."""
        on_taken(None)

    def update(self, person: Person) -> None:
        """Do nothing: nobody else needs to know."""

    def release(self, session: int, nick: str) -> None:
        """Do nothing: the hub has freed the nickname."""

    def send(self, _message: NodeMessage, on_taken: OnDirectory) -> None:
        """Fail: all people are on this node."""
        on_taken(NotHere("there is no such session."))


class RemoteListener:
    """The listener of a member that is on another node. It passes the calls on to this node."""

    congested = False
    """The other node knows that."""

    def __init__(self, directory: Directory, session: int) -> None:
        self._directory = directory
        self._session = session

    def joined(self, room: str, replay: Iterator[ReplayLine | Gap]) -> None:
        """Do nothing: the other node does it."""

    def leave_delivered(self, room: str) -> None:
        """Do nothing: the other node does it."""

    def receive_private(self, message: PrivateMessage) -> None:
        """Pass *message* on, and do not wait for the result."""
        self._directory.send(message, ignore_outcome)

    def private_sent(self, line: PrivateLine) -> None:
        """Do nothing: the other node does it."""

    def notify(self, text: str) -> None:
        """Pass *text* on."""
        self._directory.send(UserNotice(self._session, text), ignore_outcome)

    def disconnect(self, reason: str, notice: str) -> None:
        """Ask the other node to end the session. The hub removes the member once that is done."""
        self._directory.send(Expulsion(self._session, reason, notice), ignore_outcome)


def ignore_outcome(_error: RejectedError | None) -> None:
    """Do nothing: if a message cannot be passed on, its recipient is not here any more."""


_conforms: type[Directory] = OwnDirectory
_listener_conforms: type[MemberListener] = RemoteListener
