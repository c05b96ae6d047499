"""The replay buffer holds the last batches without a hole: never more than its limits, but always the last one."""

from __future__ import annotations

import pytest

from broadcast.core.events import Action, Announced, Barrier, Event, Joined, Message, PrivateMessage, StoreFailed
from broadcast.core.interfaces import Batch, Override
from broadcast.delivery.replay_buffer import OVERRIDE_BYTES, PlacedBatch, ReplayBuffer
from tests.delivery.subscribers import PlainEncoder


def said(seq: int, text: str = "x") -> Message:
    return Message(1, "ann", text, 0.0, seq)


PRIVATE = PrivateMessage(1, "ann", 2, "y" * 50)


def add(buffer: ReplayBuffer, *events: Event, last: int | None = None) -> PlacedBatch:
    """Add a batch of *events*; *last* is the number of the last stored event before it."""
    batch = buffer.add(Batch(events, {}, buffer.seq if last is None else last))
    buffer.trim(in_use=True)
    return batch


def test_each_event_has_an_offset_and_stored_ones_a_number() -> None:
    buffer = ReplayBuffer()
    assert (buffer.start, buffer.end, buffer.seq, buffer.seq_before) == (0, 0, 0, 0)
    first = add(buffer, Joined(1, "ann"), said(8), last=7)
    second = add(buffer, Action(1, "ann", "waves", 0.0, 9), Announced("hm"), Barrier())
    assert (first.start, first.end, second.start, second.end, buffer.end) == (0, 2, 2, 5, 5)
    assert (first.seq, second.seq, buffer.seq, buffer.seq_before) == (7, 8, 9, 7)
    assert [first.seq_before(index) for index in range(3)] == [7, 7, 8]
    assert [second.seq_before(index) for index in range(4)] == [8, 9, 9, 9]


def test_batch_is_found_by_each_of_its_offsets() -> None:
    buffer = ReplayBuffer()
    for batch in [add(buffer, *(said(0) for _ in range(size))) for size in (1, 3, 1, 2, 5)]:
        assert all(next(buffer.from_offset(offset, 1)) is batch for offset in range(batch.start, batch.end))


def test_oldest_batches_are_dropped_at_the_limits_and_the_last_never() -> None:
    buffer, large = ReplayBuffer(max_events=6), ReplayBuffer(max_bytes=100)
    encoder = PlainEncoder()
    for number in range(1, 8):
        add(buffer, said(2 * number - 1), said(2 * number))
        assert (buffer.start, buffer.seq_before) == (max(0, 2 * number - 6),) * 2
        assert (buffer.end, buffer.seq) == (2 * number,) * 2
        large.add(Batch([said(number, "x" * 29)], {}, number - 1)).encoded(encoder)
        large.trim(in_use=True)
    assert large.end - large.start == 3
    last = add(large, *(said(number, "x" * 100) for number in range(8, 15)))
    assert [*large.from_offset(large.start, 9)] == [last]
    assert large.start == last.start == 7


def test_buffer_holds_the_last_batch_alone_while_no_subscriber_lags() -> None:
    buffer = ReplayBuffer(max_bytes=100)
    for number in range(1, 4):
        add(buffer, said(number))
    last = buffer.add(Batch([said(4)], {}, 3))
    buffer.trim(in_use=False)
    assert (buffer.start, buffer.end, buffer.seq_before) == (3, 4, 3)
    assert [*buffer.from_offset(3, 9)] == [last]
    assert buffer._bytes == last.size


def test_default_limits_are_those_of_the_documentation() -> None:
    assert (ReplayBuffer()._max_events, ReplayBuffer()._max_bytes) == (10_000, 4 * 1024 * 1024)


@pytest.mark.parametrize(
    ("event", "size"),
    [
        (said(1, "x" * 50), 50),
        (Action(1, "ann", "x" * 50, 0.0, 1), 50),
        (PRIVATE, 50),
        (StoreFailed(said(0, "x" * 50), "the disk is full"), 50),
        (Barrier(), 0),
        (Joined(1, "ann"), 0),
    ],
)
def test_event_counts_by_its_text_until_it_is_encoded(event: Event, size: int) -> None:
    buffer = ReplayBuffer(max_bytes=1000)
    assert buffer.add(Batch([event], {})).measure() == size
    for _ in range(100):
        add(buffer, event)
    assert buffer.end - buffer.start in ((20, 21) if size else (101,))


def test_encoded_batch_counts_by_its_longest_form_and_private_lines_besides() -> None:
    batch = ReplayBuffer().add(Batch([said(1, "x" * 50), PRIVATE], {}))
    batch.encoded(PlainEncoder())
    assert batch.measure() == 51 + 50


def test_overrides_count_once_if_shared_and_not_after_they_were_dropped() -> None:
    shared: list[Override] = [(0, None)]
    batch = ReplayBuffer().add(Batch([said(1)], {1: shared, 2: shared, 3: [(0, None)]}))
    assert batch.measure() == len("x") + 2 * OVERRIDE_BYTES
    batch.drop_overrides_except([2])
    assert (batch.measure(), batch.overrides) == (len("x") + OVERRIDE_BYTES, {2: shared})


def test_batch_is_encoded_once_per_encoder() -> None:
    batch = ReplayBuffer().add(Batch([said(1, "a"), said(2, "b")], {}))
    one, other = PlainEncoder(), PlainEncoder()
    assert batch.encoded(one) is batch.encoded(one) is not batch.encoded(other)
    assert (len(one.encoded), len(other.encoded)) == (2, 2)


def test_encoded_batch_knows_where_each_event_starts_and_which_holds_a_byte() -> None:
    events: list[Event] = [Barrier(), said(1, "abc"), PRIVATE, StoreFailed(said(0), "full"), said(2, "é"), Barrier()]
    encoded = ReplayBuffer().add(Batch(events, {})).encoded(PlainEncoder())
    assert encoded.payload == "abc\né\n".encode()
    assert [encoded.start_of(index) for index in range(7)] == [0, 0, 4, 4, 4, 7, 7]
    assert [encoded.index_at(offset) for offset in range(8)] == [1, 1, 1, 1, 4, 4, 4, 6]
