"""A server that others have removed ends all visits, and tries until its journal has started anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from broadcast.core.errors import JournalError, JournalInUse
from broadcast.core.interfaces import OpenedRoom
from broadcast.core.settings import Settings
from broadcast.net.connections import STARTS_ANEW
from broadcast.server.fresh_start import LAST_LINE, RETRY_SECONDS, FreshStart
from broadcast.server.visits import LINGER_SECONDS, Visits
from tests.harness import World

WHY = "It was suspended."


class Journal:
    """A journal that starts anew when the test says so. It holds the rooms in memory."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.tries: list[Callable[[OpenedRoom | JournalError], None]] = []

    def restart(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        assert (name, tail) == ("lobby", 20)
        self.tries.append(on_result)

    def answer(self, error: Exception | None = None) -> None:
        """Answer the try that is under way."""
        self.tries.pop()(error or self._world.journal.open("lobby", 20))  # type: ignore[arg-type]
        self._world.settle()


class Running:
    """A world, and its fresh start."""

    def __init__(self) -> None:
        self.world = world = World(Settings(fixed_rooms=("kitchen",)))
        self.journal = Journal(world)
        self.forgotten = self.given_up = 0
        visits = Visits(world.hub, world.connections, world.clock)
        self.start = FreshStart(
            self.journal, world.hub, world.connections, visits, self._forget, world.clock, self._give_up
        )

    def begin(self) -> None:
        """Begin, and let the visits end."""
        self.start.begin(WHY)
        self.world.settle()
        self.advance(LINGER_SECONDS)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.world.clock.advance(seconds)
        self.world.settle()

    def _forget(self) -> None:
        self.forgotten += 1

    def _give_up(self) -> None:
        self.given_up += 1


@pytest.fixture
def running() -> Running:
    return Running()


def test_visits_end_and_new_ones_begin_once_the_journal_has_started_anew(running: Running) -> None:
    world = running.world
    (ann,) = world.join("ann")
    running.start.begin(WHY)
    running.start.begin("again")
    world.settle()
    assert ann.lines()[-1] == f" * {LAST_LINE}"
    early = world.connect()
    assert STARTS_ANEW[1:] in early.read()
    for person in (ann, early):
        person.hang_up()
    running.advance(LINGER_SECONDS)
    running.journal.answer()
    assert (running.forgotten, len(world.hub.people.members), set(world.hub.rooms)) == (1, 0, {"lobby", "kitchen"})
    world.join("ann")[0].vanish()
    assert running.given_up == 0
    running.begin()
    assert len(running.journal.tries) == 1


def test_journal_that_cannot_be_reached_is_tried_again(running: Running) -> None:
    running.begin()
    for _ in range(3):
        running.journal.answer(JournalError("the database is away"))
        assert running.journal.tries == []
        running.advance(RETRY_SECONDS)
    running.journal.answer()
    assert (running.forgotten, running.given_up) == (1, 0)


def test_server_whose_name_another_one_has_ends(running: Running) -> None:
    running.begin()
    running.journal.answer(JournalInUse("a server with the name one runs"))
    assert (running.forgotten, running.given_up) == (0, 1)


def test_error_in_the_server_itself_ends_it(running: Running) -> None:
    running.begin()
    running.journal.tries.pop()("no room")  # type: ignore[arg-type]
    assert running.given_up == 1


def test_stop_waits_for_the_try_and_begins_no_other(running: Running) -> None:
    running.begin()
    stopped = Deferred.fromCoroutine(running.start.stop())
    assert not bool(stopped.called)
    running.journal.answer(JournalError("the database is away"))
    running.advance(RETRY_SECONDS)
    assert stopped.called
    running.start.begin(WHY)
    running.world.settle()
    assert running.journal.tries == []
