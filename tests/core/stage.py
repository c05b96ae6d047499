"""A room without a door: people who are told events and notices, never bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from broadcast.core.events import Barrier, Event, Notice, PrivateMessage, StoreFailed
from broadcast.core.hub import Hub, Settings
from broadcast.core.interfaces import Batch, Callback, Peer, Publisher, View
from broadcast.core.session import Session
from broadcast.journals.memory import MemoryJournal

AT = 1_768_478_400.0


class Seat:
    """Where one person sits: all that they are told, in order."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.told: list[Event | Notice] = []
        self.views: list[View] = []
        self.proceeded = 0
        self.closed = False
        self.congested = False
        self.waiting: Callable[[], None] | None = None
        self.session = Session(stage.hub, self)

    def send(self, *notices: Notice) -> None:
        self.told.extend(notices)

    def send_lazily(self, notices: Iterator[Notice]) -> None:
        self.told.extend(notices)

    def subscribe(self, view: View) -> None:
        self.views.append(view)
        self._stage.seats[self.session.id] = self

    def when_writable(self, call: Callable[[], None]) -> None:
        if self.congested:
            self.waiting = call
        else:
            call()

    def ready_for_line(self) -> None:
        self.proceeded += 1

    def close(self) -> None:
        self.closed = True
        self._stage.seats.pop(self.session.id, None)

    def say(self, *lines: str) -> None:
        """Type *lines*, each when the session is ready for it; then let everything happen."""
        for line in lines:
            self._stage.until(lambda: self.session.ready)
            self.session.line(line, AT)
        self._stage.settle()

    def look(self) -> list[Event | Notice]:
        """What came since the last look."""
        told, self.told = self.told, []
        return told


class Stage:
    """A hub with the memory journal, and the audience of its room. While *holds*, it is busy with the last burst."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._soon: list[Callable[[], None]] = []
        self.journal = MemoryJournal(self._soon.append)
        self.hub = Hub(self.journal, self, settings or Settings(), AT)
        self.room = self.hub.room
        self.seats: dict[int, Seat] = {}
        self.bursts: list[Batch] = []
        self.holds = False
        self.held: list[Iterator[Callback]] = []

    def publish(self, burst: Batch, then: Iterator[Callback]) -> None:
        self.bursts.append(burst)
        everybody = [
            None if isinstance(event, Barrier | StoreFailed | PrivateMessage) else event for event in burst.events
        ]
        for session, seat in self.seats.items():
            edits = dict(burst.overrides.get(session, ()))
            stream = [edits.get(at, event) for at, event in enumerate(everybody)]
            seat.told += [event for event in stream if event is not None]
        if self.holds:
            self.held.append(then)
        else:
            self._exhaust(then)

    def go_on(self) -> None:
        """Whoever was busy has finished."""
        self.holds = False
        self._exhaust(self.held.pop())
        self.settle()

    @staticmethod
    def _exhaust(then: Iterator[Callback]) -> None:
        for step in then:
            step()

    def settle(self) -> None:
        """Turns of the reactor, until nothing is left to do."""
        while self._soon:
            self._soon.pop(0)()

    def until(self, done: Callable[[], bool]) -> None:
        """Turns, until *done*."""
        while not done():
            self._soon.pop(0)()

    def join(self, *nicks: str) -> list[Seat]:
        """People in the room, who have read what came."""
        seats = []
        for nick in nicks:
            seat = Seat(self)
            seat.session.start()
            seat.say(nick)
            seats.append(seat)
        for seat in seats:
            seat.look()
        return seats


_peer: type[Peer] = Seat
_audience: type[Publisher] = Stage
