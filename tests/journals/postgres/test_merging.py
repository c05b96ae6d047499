"""The merger delivers the events of all servers in the order of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broadcast.core.events import Event, Joined
from broadcast.journals.commit_queue import CommittedQueue
from broadcast.journals.postgres.merging import MergedStream, Merger, ReadEvent, Segment
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


def test_own_segment_that_continues_is_delivered_at_once() -> None:
    run = Run()
    assert not run.add_own(3, "ab")
    assert not run.add_own(5, "c")
    assert (run.texts(), run.log.foreign) == ("abc", [])


def test_own_segment_waits_for_the_events_in_front_of_it() -> None:
    run = Run()
    assert run.add_own(5, "cd")
    assert run.add_own(8, "f")
    run.merger.pass_on([(run.log, [message("-")])])
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
    run.merger.pass_by([(run.log, [message("!")]), (run.log, [])])
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
