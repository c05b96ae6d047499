"""Members of the hub for the tests of the core, and a look at what is left of their work."""

from __future__ import annotations

from broadcast.core.events import PrivateMessage
from broadcast.core.membership import Member
from broadcast.core.records import PrivateLine
from broadcast.core.room import Room
from broadcast.core.source import Source
from tests.harness import SessionClient, World, admitted


class Program:
    """A listener that can be in several rooms, as a program."""

    congested = False

    def __init__(self) -> None:
        self.calls: list[object] = []

    def joined(self, room: str, replay: object) -> None:
        self.calls.append(("joined", room))

    def leave_delivered(self, room: str) -> None:
        self.calls.append(("left", room))

    def notify(self, text: str) -> None:
        raise AssertionError(text)

    def private_sent(self, line: PrivateLine) -> None:
        raise AssertionError(line)

    def receive_private(self, message: PrivateMessage) -> None:
        self.calls.append(message.text)

    def disconnect(self, reason: str, notice: str) -> None:
        raise NotImplementedError


def program(world: World, nick: str, *rooms: str) -> tuple[Member, Program]:
    """Return a program that is in *rooms*."""
    listener = Program()
    member = admitted(world.hub, world.hub.next_session_id(), nick, listener, source=Source(), receives_own=True)
    for name in rooms:
        world.hub.rooms.open(name, lambda room: room.enter(member) if isinstance(room, Room) else None)
        world.settle()
    return member, listener


def admit(world: World, name: str) -> Member:
    """Return a member with the nickname *name*, which joins the lobby."""
    client = SessionClient(world)
    client.session.start()
    member = admitted(world.hub, client.session.id, name, client.session, source=Source())
    world.room.enter(member)
    return member


def is_idle(world: World) -> bool:
    """Return whether nothing is queued or in flight."""
    backlog = world.hub.backlog
    counts = (backlog.queued_events, backlog.queued_characters, backlog.committed_events, backlog.committed_characters)
    return counts == (0, 0, 0, 0) and not any(member.private_in_flight for member in world.hub.people.members.values())
