"""The merger delivers the events of all servers in the order of the database."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from random import Random
from threading import Event as Flag
from threading import Thread

import pytest

from broadcast.core.events import Event, Joined
from broadcast.journals.commit_queue import CommittedQueue
from broadcast.journals.postgres.merging import MergedStream, Merger, Position, ReadEvent, Segment
from tests.journals.contract import message


class Log:
    """A room from the position (2, 1) on."""

    def __init__(self) -> None:
        self.stream = MergedStream((2, 1))
        self.delivered: list[Event] = []
        self.foreign: list[Event] = []

    def deliver(self, events: Sequence[Event]) -> None:
        self.delivered.extend(events)
        self.foreign.extend(self.stream.take_foreign(events))


class Run:
    """A merger and one room."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.merger: Merger[Log] = Merger(CommittedQueue(self.calls.append, lambda: 0.0))
        self.log = Log()

    def texts(self) -> str:
        """Return the texts of the delivered lines."""
        while self.calls:
            self.calls.pop(0)()
        return "".join(event.text for event in self.log.delivered if isinstance(event, type(message(""))))

    def add_own(self, first: int, texts: str, place: int = 1) -> bool:
        """Add a segment, and return whether events of others come first."""
        segment = Segment((first - 1, place), (first - 1 + len(texts), place), [*map(message, texts)])
        return bool(self.merger.add_own([(self.log, segment)]))

    def add_read(self, first: int, texts: str, place: int = 1) -> None:
        """Add lines that were read."""
        events = [ReadEvent((number, place), message(text, number)) for number, text in enumerate(texts, first)]
        self.merger.add_read(self.log, events, (first + len(texts) - 1, place))


def test_events_are_taken_while_another_thread_adds_some() -> None:
    stream = MergedStream((0, 0))
    events = [message("x") for _ in range(200_000)]
    stream.foreign.extend(events)
    ending = Flag()

    def add() -> None:
        while not ending.is_set():
            stream.foreign.append(message("y"))

    thread = Thread(target=add)
    thread.start()
    try:
        assert stream.take_foreign(events) == events
    finally:
        ending.set()
        thread.join()


def test_own_segment_that_continues_is_delivered_at_once() -> None:
    run = Run()
    assert not run.add_own(3, "ab")
    assert not run.add_own(5, "c")
    assert (run.texts(), run.log.foreign) == ("abc", [])


def test_own_segment_waits_for_the_events_in_front_of_it() -> None:
    run = Run()
    assert run.add_own(5, "cd")
    assert run.add_own(8, "f")
    run.merger.add_unstored([(run.log, [message("-")])])
    assert run.texts() == ""
    run.add_read(3, "abcdefg")
    assert run.texts() == "abcdef-g"
    assert [event.text for event in run.log.foreign if isinstance(event, type(message("")))] == ["a", "b", "e", "g"]


def test_events_that_were_read_are_not_delivered_twice() -> None:
    run = Run()
    run.add_own(3, "ab")
    run.add_read(3, "abcd")
    run.add_read(5, "cde")
    assert run.texts() == "abcde"


def test_events_wait_while_they_may_be_those_of_the_batch_in_flight() -> None:
    run = Run()
    run.merger.begin([run.log])
    run.add_read(3, "abc")
    assert run.texts() == ""
    assert not run.add_own(4, "B")
    assert run.texts() == "aBc"
    run.merger.begin([run.log])
    run.add_read(6, "d")
    run.merger.add_unstored_first([(run.log, [message("!")]), (run.log, [])])
    assert run.texts() == "aBc!"
    run.merger.end([run.log])
    assert run.texts() == "aBc!d"


def test_segment_does_not_wait_for_events_that_are_no_longer_stored() -> None:
    run = Run()
    assert run.add_own(3, "a", place=9)
    run.merger.add_read(run.log, [], (3, 9))
    assert run.texts() == "a"


def test_own_events_that_were_read_outside_of_a_segment_are_not_delivered() -> None:
    run = Run()
    run.merger.start(run.log, [Joined(1, "ann")])
    run.merger.start(run.log, [])
    run.merger.add_read(run.log, [ReadEvent((2, 2), None), ReadEvent((3, 2), message("a"))], (3, 2))
    assert run.texts() == "a"
    assert run.log.foreign == run.log.delivered == [Joined(1, "ann"), message("a")]


def test_segments_of_one_batch_are_delivered_once_although_all_of_them_were_read_before_its_result() -> None:
    run = Run()
    run.merger.begin([run.log])
    run.add_read(3, "abcde")
    first, second = [
        Segment((start - 1, 1), (start + 1, 1), [*map(message, texts)]) for start, texts in ((3, "ab"), (5, "cd"))
    ]
    assert not run.merger.add_own([(run.log, first), (run.log, second)])
    assert run.texts() == "abcde"
    assert [event.text for event in run.log.foreign if isinstance(event, type(message("")))] == ["e"]


class Story:
    """A room in a database, in which this node and another one store events at random moments."""

    def __init__(self, random: Random) -> None:
        self.run = Run()
        self.random = random
        self.stored: list[tuple[bool, Event]] = []
        """The events from the position (2, 1) on, in order, each with whether this node has stored it."""
        self._flight: list[list[Event]] | None = None
        """The batch in flight, as segments."""
        self._committed: list[Segment] | None = None
        """Its result, once it has taken effect."""
        self._reading: tuple[Position, list[tuple[bool, Event]]] | None = None
        """The position from which the tail reads, and what the database had when it began."""

    def _events(self) -> list[Event]:
        new: list[Event] = []
        for _ in range(self.random.randrange(1, 4)):
            number = len(self.stored) + self.random.randrange(1 << 30)
            new.append(self.random.choice((message(f"{number};"), Joined(number, "x"))))
        return new

    def _end(self, stored: Sequence[tuple[bool, Event]]) -> Position:
        lines = sum(not isinstance(event, Joined) for _, event in stored)
        return 2 + lines, 1 + len(stored) - lines

    def others_store(self) -> None:
        self.stored += [(False, event) for event in self._events()]

    def send(self) -> None:
        if self._flight is None:
            self._flight = [self._events() for _ in range(self.random.randrange(1, 3))]
            self.run.merger.begin([self.run.log])

    def commit(self) -> None:
        if self._flight is not None and self._committed is None:
            self._committed = []
            for events in self._flight:
                begin = self._end(self.stored)
                self.stored += [(True, event) for event in events]
                self._committed.append(Segment(begin, self._end(self.stored), events))

    def answer(self) -> None:
        """Receive the result of the batch, which can come long after it has taken effect, or its failure."""
        if self._flight is not None:
            if self._committed is None:
                self.run.merger.end([self.run.log])
            else:
                self.run.merger.add_own([(self.run.log, segment) for segment in self._committed])
            self._flight = self._committed = None

    def begin_to_read(self) -> None:
        if self._reading is None:
            self._reading = self.run.log.stream.read_to, [*self.stored]

    def end_to_read(self) -> None:
        if self._reading is not None:
            (before, stored), self._reading = self._reading, None
            events: list[ReadEvent] = []
            for index, (is_own, event) in enumerate(stored, 1):
                position = self._end(stored[:index])
                if position > before:
                    is_hidden = is_own and isinstance(event, Joined)
                    events.append(ReadEvent(position, None if is_hidden else event))
            self.run.merger.add_read(self.run.log, events, self._end(stored))


@pytest.mark.parametrize("seed", range(200 if os.environ.get("BROADCAST_LONG") else 40))
def test_everything_is_delivered_once_in_order_whatever_comes_when(seed: int) -> None:
    story = Story(Random(seed))  # noqa: S311 - no secret
    steps = [story.others_store, story.send, story.commit, story.answer, story.begin_to_read, story.end_to_read]
    for step in [*story.random.choices(steps, k=60), story.commit, story.answer, story.end_to_read]:
        step()
        story.run.texts()
        delivered = [id(event) for event in story.run.log.delivered]
        assert delivered == [id(event) for _, event in story.stored[: len(delivered)]]
    story.begin_to_read()
    story.end_to_read()
    story.run.texts()
    assert [*map(id, story.run.log.delivered)] == [id(event) for _, event in story.stored]
    assert [*map(id, story.run.log.foreign)] == [id(event) for is_own, event in story.stored if not is_own]
