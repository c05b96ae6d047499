"""All rooms share the time of a turn of the reactor, and the steps of all subscribers take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from broadcast.core.events import Message
from broadcast.core.interfaces import Batch, Callback
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.dispatcher import ROOM_SECONDS, Dispatcher
from broadcast.delivery.fanout import Fanout


class Rooms:
    """Rooms without subscribers, whose batches have callbacks that take *seconds* each."""

    def __init__(self, count: int, seconds: float) -> None:
        self.soon: list[Callable[[], None]] = []
        self.log: list[str] = []
        self.dispatcher = Dispatcher(self.soon.append, lambda: self._now)
        self.fanouts = [Fanout(self.dispatcher) for _ in range(count)]
        self._now = 0.0
        self._seconds = seconds

    def publish(self, room: int, callbacks: int) -> None:
        """Publish a batch with so many callbacks in a room."""
        calls = (partial(self._work, f"{room}.{number}") for number in range(callbacks))
        self.fanouts[room].publish(Batch([Message(1, "eve", "x", 0.0, 1)], {}), calls)

    def _work(self, what: str) -> None:
        self.log.append(what)
        self._now += self._seconds

    def turn(self) -> list[str]:
        """Run another turn of the reactor. Return what was done since the last call."""
        now, self.soon[:] = list(self.soon), []
        for call in now:
            call()
        log, self.log = self.log, []
        return log


def test_deliveries_of_one_turn_share_one_slice_and_take_turns() -> None:
    rooms = Rooms(100, SLICE_SECONDS / 3.5)
    for number in range(100):
        rooms.publish(number, 2)
    assert rooms.log == ["0.0", "0.1", "1.0", "1.1"], "the first turn"
    rooms.log.clear()
    done = rooms.turn()
    assert done == ["2.0", "3.0", "4.0", "5.0"], "the second one"
    while rooms.soon:
        log = rooms.turn()
        assert len(log) <= 4
        done += log
    assert sorted(done) == sorted(f"{room}.{number}" for room in range(2, 100) for number in (0, 1))


def test_room_that_publishes_alone_has_a_slice_in_each_turn_and_uses_no_other_turn() -> None:
    rooms = Rooms(2, SLICE_SECONDS / 4)
    for _ in range(3):
        rooms.publish(0, 3)
        assert (rooms.log, rooms.soon) == (["0.0", "0.1", "0.2"], [])
        rooms.log.clear()


def test_large_delivery_does_not_delay_those_of_other_rooms() -> None:
    rooms = Rooms(2, SLICE_SECONDS)
    rooms.publish(0, 100)
    rooms.publish(1, 1)
    turns = [rooms.turn() for _ in range(3)]
    assert "1.0" in turns[0] + turns[1] + turns[2]


def test_small_delivery_of_many_steps_waits_for_one_step_of_a_large_one() -> None:
    rooms = Rooms(2, ROOM_SECONDS)
    small = (partial(rooms.log.append, f"small.{number}") for number in range(20))
    rooms.publish(0, 10)
    rooms.fanouts[1].publish(Batch([Message(1, "bob", "x", 0.0, 1)], {}), small)
    done = rooms.log + rooms.turn() + rooms.turn()
    first = done.index("small.0")
    assert done[first : first + 20] == [f"small.{number}" for number in range(20)]
    assert "0.9" in done[first:]


def test_delivery_that_fails_stops_no_other_delivery() -> None:
    rooms = Rooms(2, 0.0)

    def fail() -> None:
        rooms.publish(1, 1)
        raise ZeroDivisionError

    def callbacks() -> Iterator[Callback]:
        yield fail
        yield partial(rooms.log.append, "next")

    with pytest.raises(ZeroDivisionError):
        rooms.fanouts[0].publish(Batch([Message(1, "eve", "x", 0.0, 1)], {}), callbacks())
    assert sorted(rooms.turn()) == ["1.0", "next"]


def test_step_that_fails_stops_no_other_step() -> None:
    rooms = Rooms(0, 0.0)

    def fail() -> bool:
        rooms.dispatcher.schedule(after)
        raise ZeroDivisionError

    def after() -> bool:
        rooms.log.append("after")
        return len(rooms.log) < 2

    with pytest.raises(ZeroDivisionError):
        rooms.dispatcher.schedule(fail)
    assert rooms.turn() == ["after", "after"]
