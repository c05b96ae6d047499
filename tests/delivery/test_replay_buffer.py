"""The window holds the last bursts without gaps: never more than its limits, but always the last one."""

from __future__ import annotations

import pytest

from broadcast.core.events import Action, Announced, Barrier, Event, Joined, Message, PrivateMessage, StoreFailed
from broadcast.core.interfaces import Batch, Override
from broadcast.delivery.replay_buffer import OVERRIDE_BYTES, PlacedBatch, ReplayBuffer
from tests.delivery.subscribers import PlainEncoder


def said(seq: int, text: str = "x") -> Message:
    return Message(1, "ann", text, 0.0, seq)


def add(window: ReplayBuffer, *events: Event, last: int | None = None) -> PlacedBatch:
    told = window.add(Batch(events, {}, window.seq if last is None else last))
    window.trim()
    return told


def test_it_begins_empty() -> None:
    window = ReplayBuffer()
    assert (window.start, window.end, window.seq, window.seq_before) == (0, 0, 0, 0)


def test_every_event_has_a_place_and_kept_ones_a_number() -> None:
    window = ReplayBuffer()
    first = add(window, Joined(1, "ann"), said(8), last=7)
    second = add(window, Action(1, "ann", "waves", 0.0, 9), Announced("hm"), Barrier())
    assert (first.start, first.end, second.start, second.end, window.end) == (0, 2, 2, 5, 5)
    assert (first.seq, second.seq, window.seq, window.seq_before) == (7, 8, 9, 7)
    assert [first.seq_before(index) for index in range(3)] == [7, 7, 8]
    assert [second.seq_before(index) for index in range(4)] == [8, 9, 9, 9]


def test_a_position_is_found_in_its_burst() -> None:
    window = ReplayBuffer()
    told = [add(window, *(said(0) for _ in range(size))) for size in (1, 3, 1, 2, 5)]
    for burst in told:
        assert all(next(window.from_offset(position, 1)) is burst for position in range(burst.start, burst.end))


@pytest.mark.parametrize("bursts", [1, 2, 7])
def test_past_so_many_events_the_oldest_bursts_go(bursts: int) -> None:
    window = ReplayBuffer(max_events=6)
    for number in range(bursts):
        add(window, said(2 * number + 1), said(2 * number + 2))
    assert window.start == max(0, 2 * bursts - 6)
    assert window.seq_before == window.start
    assert window.end == window.seq == 2 * bursts


def test_past_so_many_bytes_the_oldest_bursts_go() -> None:
    window = ReplayBuffer(max_bytes=100)
    wire = PlainEncoder()
    for number in range(20):
        window.add(Batch([said(number + 1, "x" * 29)], {}, number)).encoded(wire)
        window.trim()
    assert window.end - window.start == 3


def test_the_last_burst_stays_however_large_it_is() -> None:
    window = ReplayBuffer(2, 10)
    add(window, said(1, "x" * 100))
    told = add(window, *(said(number, "x" * 100) for number in range(2, 9)))
    assert list(window.from_offset(window.start, 9)) == [told]
    assert window.start == told.start == 1


@pytest.mark.parametrize(
    ("event", "bytes_"),
    [
        (said(1, "x" * 50), 50),
        (Action(1, "ann", "x" * 50, 0.0, 1), 50),
        (PrivateMessage(1, "ann", 2, "x" * 50), 50),
        (Barrier(), 0),
        (Joined(1, "ann"), 0),
    ],
)
def test_what_nobody_was_shown_counts_by_its_text(event: Event, bytes_: int) -> None:
    assert ReplayBuffer().add(Batch([event], {})).measure() == bytes_


def test_what_was_shown_counts_by_its_longest_rendering_and_private_lines_besides() -> None:
    told = ReplayBuffer().add(Batch([said(1, "x" * 50), PrivateMessage(1, "ann", 2, "y" * 20)], {}))
    told.encoded(PlainEncoder())
    assert told.measure() == 51 + 20


def test_its_limits_are_those_of_the_documentation() -> None:
    assert (ReplayBuffer()._max_events, ReplayBuffer()._max_bytes) == (10_000, 4 * 1024 * 1024)


def test_a_burst_is_rendered_once_for_each_wire() -> None:
    told = ReplayBuffer().add(Batch([said(1, "a"), said(2, "b")], {}))
    one, other = PlainEncoder(), PlainEncoder()
    assert told.encoded(one) is told.encoded(one)
    assert told.encoded(other) is not told.encoded(one)
    assert (len(one.encoded), len(other.encoded)) == (2, 2)


def test_a_rendering_knows_where_each_event_begins_and_which_one_holds_a_byte() -> None:
    private = PrivateMessage(1, "ann", 2, "psst")
    events: list[Event] = [Barrier(), said(1, "abc"), private, StoreFailed(said(0), "full"), said(2, "é"), Barrier()]
    rendering = ReplayBuffer().add(Batch(events, {})).encoded(PlainEncoder())
    assert rendering.payload == "abc\né\n".encode()
    assert [rendering.start_of(index) for index in range(7)] == [0, 0, 4, 4, 4, 7, 7]
    assert [rendering.index_at(offset) for offset in range(8)] == [1, 1, 1, 1, 4, 4, 4, 6]


@pytest.mark.parametrize(
    "event",
    [PrivateMessage(1, "ann", 2, "x" * 4096), StoreFailed(said(0, "x" * 4096), "the disk is full")],
    ids=["whisper", "lost"],
)
def test_what_shows_to_one_reader_only_takes_room_too(event: Event) -> None:
    window = ReplayBuffer(max_bytes=100_000)
    for _ in range(100):
        add(window, event)
    assert 20 <= window.end - window.start <= 25


def test_what_differs_for_readers_takes_room_once_for_those_who_share_it_and_none_when_it_is_let_go() -> None:
    shared: list[Override] = [(0, None)]
    window = ReplayBuffer()
    told = window.add(Batch([said(1)], {1: shared, 2: shared, 3: [(0, None)]}))
    assert told.measure() == len("x") + 2 * OVERRIDE_BYTES
    told.drop_overrides_except([2])
    assert (told.measure(), told.overrides) == (len("x") + OVERRIDE_BYTES, {2: shared})
