"""However late the answers come, each line is said in the room that the lines before it lead to."""

from __future__ import annotations

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from broadcast.client.protocol import errors, events, requests
from broadcast.client.session.entries import Line
from tests.client.session.fakes import Talk


class Moving(RuleBasedStateMachine):
    """A user who joins and leaves rooms without waiting. The server executes requests in order."""

    def __init__(self) -> None:
        super().__init__()
        self.here = Talk()
        self.rooms = ["lobby"]
        """The rooms after everything typed, in the order of the views."""
        self.room = "lobby"
        """The room after everything typed."""
        self.failed = ""
        """The latest move, if it fails."""
        self.expected: list[tuple[str, str]] = []
        self.said: list[tuple[str, str]] = []
        self.count = 0

    def type(self, text: str) -> None:
        self.count += 1
        assert self.here.talk.submit(text) == ""

    @rule()
    def type_line(self) -> None:
        text = f"line {self.count}"
        # The user has seen that the move has failed, unless it still waits.
        if not self.failed or self.failed not in [item.text for item in self.here.talk._outbox.items]:
            self.expected.append((self.room, text))
        self.type(text)

    @rule(name=strategies.sampled_from(["kitchen", "hall", "lobby"]))
    def join(self, name: str) -> None:
        if name not in self.rooms:
            self.rooms.append(name)
        self.room, self.failed = name, ""
        self.type(f"/join {name}")

    @rule()
    def join_closed_room(self) -> None:
        self.failed = f"/join closed{self.count}"
        self.type(self.failed)

    @precondition(lambda self: len(self.rooms) > 1 and not self.failed)
    @rule()
    def leave(self) -> None:
        index = self.rooms.index(self.room)
        before = self.rooms[index - 1]
        del self.rooms[index]
        self.room = before
        self.type("/leave")

    @precondition(lambda self: self.here.server.requests)
    @rule()
    def answer(self) -> None:
        server, talk = self.here.server, self.here.talk
        match server.requests[0]:
            case requests.Say(room=room, text=text):
                self.said.append((room, text))
                self.here.store()
            case requests.Join(room=room) if room.startswith("closed"):
                server.answer(error=errors.RoomRejected(1004, "You may not enter."))
            case requests.Join(room=room):
                server.answer(requests.Room(room, count=1, members=(requests.Person("ann", "s-ann"),)))
            case requests.Leave(room=room):
                talk.handle(events.Left(room, "ann", "s-ann"))
                server.answer()

    def teardown(self) -> None:
        while self.here.server.requests:
            self.answer()
        talk = self.here.talk
        assert self.said == self.expected
        assert talk.waiting_count == 0
        assert [view.name for view in talk.views] == self.rooms
        assert talk.current.name == self.room
        for view in talk.views:
            assert all((view.name, entry.text) in self.said for entry in view.entries if isinstance(entry, Line))


TestMoving = Moving.TestCase
TestMoving.settings = settings(stateful_step_count=30)
