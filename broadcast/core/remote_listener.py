"""The listener of a member that is on another node of a cluster."""

from __future__ import annotations

from collections.abc import Iterator

from broadcast.core.directory import Directory
from broadcast.core.errors import RejectedError
from broadcast.core.events import Gap, PrivateMessage, ReplayLine
from broadcast.core.membership import MemberListener
from broadcast.core.records import PrivateLine


class RemoteListener:
    """The listener of a member that is on another node. It passes private messages on to that node."""

    congested = False
    """Always false, because the other node checks that before it accepts a private message."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

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
        """Do nothing: each node notifies its own members."""

    def disconnect(self, reason: str, notice: str) -> None:
        """Do nothing: the hub asks the other node with an ``Expulsion``, and waits for its answer."""


def ignore_outcome(_error: RejectedError | None) -> None:
    """Do nothing: if a message cannot be passed on, its recipient is not here any more."""


_conforms: type[MemberListener] = RemoteListener
