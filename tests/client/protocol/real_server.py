"""The real server in memory, as the tests of a session use it."""

from __future__ import annotations

from typing import Any

from broadcast.delivery.fanout import Fanout
from broadcast.delivery.replay_buffer import ReplayBuffer
from tests.doors.jsonrpc.programs import GRACE, DirectProgramWorld
from tests.harness import Person

ROOM_BYTES = 2000
"""So many bytes are under way to a client that does not read."""


class SmallWorld(DirectProgramWorld):
    """A server whose replay buffers hold a few events, so that a slow reader gets gaps."""

    def _make_fanout(self) -> Fanout:
        return Fanout(self.dispatcher, ReplayBuffer(4))


class RealConnection:
    """One connection. It takes more output only when the test reads."""

    def __init__(self, server: RealServer) -> None:
        self._server = server
        self.person: Person = server.world.connect()
        self.person.transport.room = ROOM_BYTES
        self._is_gone = False

    @property
    def output(self) -> bytearray:
        transport = self.person.transport
        transport.take_again(ROOM_BYTES)
        self._server.world.settle()
        return transport.sent

    @property
    def is_closed(self) -> bool:
        return self._is_gone or self.person.transport.finished

    def receive(self, data: bytes) -> None:
        if not self.is_closed and data:
            self.person.send(data)

    def close(self) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._server.connections.discard(self)
            self.person.vanish()


class RealServer:
    """A server with the program door, and ann, a program that says the other lines."""

    def __init__(self) -> None:
        self.world = SmallWorld()
        self.connections: set[RealConnection] = set()
        self.ann = self.world.program("ann", rooms=["lobby", "kitchen"])

    @property
    def lines(self) -> dict[str, list[dict[str, Any]]]:
        return {room: self.ann.call("history", room=room, last=1000)["events"] for room in ("lobby", "kitchen")}

    def connect(self) -> RealConnection:
        connection = RealConnection(self)
        self.connections.add(connection)
        return connection

    def say(self, text: str, room: str = "lobby") -> int:
        self.ann.read()
        return int(self.ann.call("say", room=room, text=text)["seq"])

    def hide(self, *texts: str, room: str = "lobby") -> None:
        for text in texts * 6:
            self.say(text * 100, room)

    def repeat(self, room: str) -> None:
        """Do nothing: this server repeats nothing."""

    def tell_everybody(self, text: str) -> None:
        for member in self.ann.call("members", room="lobby")["members"]:
            if member["nick"] != "ann":
                self.ann.request("tell", to=member["nick"], text=text)

    def lose_sessions(self) -> None:
        """Lose the connections for longer than the grace."""
        for connection in list(self.connections):
            connection.close()
        self.world.clock.advance(GRACE + 1)
        self.world.settle()
