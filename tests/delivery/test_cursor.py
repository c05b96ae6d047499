"""A cursor returns runs of shared events, without those that a session has overrides for, and knows what it skips."""

from __future__ import annotations

import pytest

from broadcast.core.events import Barrier, Gap, Message
from broadcast.core.interfaces import Batch
from broadcast.delivery import cursor as module
from broadcast.delivery.cursor import Cursor
from broadcast.delivery.replay_buffer import ReplayBuffer
from tests.delivery.subscribers import PlainEncoder

ANN, BOB = 1, 2


def filled() -> ReplayBuffer:
    """Return a buffer of three batches: a, b, own; a barrier, c; d. Ann has overrides for b, own and c."""
    replay_buffer = ReplayBuffer(max_events=6)
    texts = ["a", "b", "own", None, "c", "d"]
    events = [Barrier() if text is None else Message(0, "eve", text, 0.0, 1) for text in texts]
    replay_buffer.add(Batch(events[:3], {ANN: [(1, None), (2, None)]}, 0))
    replay_buffer.add(Batch(events[3:5], {ANN: [(1, None)]}, 3))
    replay_buffer.add(Batch(events[5:], {}, 4))
    return replay_buffer


@pytest.mark.parametrize(
    ("session", "offset", "end", "data", "run_end"),
    [
        (BOB, 0, 6, b"a\nb\nown\nc\nd\n", 6),
        (BOB, 1, 5, b"b\nown\nc\n", 5),
        (BOB, 3, 4, b"", 4),
        (ANN, 0, 6, b"a\nd\n", 6),
        (ANN, 1, 3, b"", 3),
        (ANN, 2, 6, b"d\n", 6),
    ],
)
def test_run_holds_the_events_that_the_session_shares(
    session: int, offset: int, end: int, data: bytes, run_end: int
) -> None:
    cursor = Cursor(filled())
    cursor.move_to(offset, 0)
    run = cursor.next_run(end, session, PlainEncoder())
    assert (run.data, run.end, cursor.offset) == (data, run_end, offset)


@pytest.mark.parametrize(
    ("accepted", "rest", "offset"),
    [(0, b"a\n", 1), (1, b"\n", 1), (2, b"b\n", 2), (5, b"wn\n", 3), (8, b"c\n", 5), (11, b"\n", 6)],
)
def test_run_splits_after_the_event_that_was_cut(accepted: int, rest: bytes, offset: int) -> None:
    assert Cursor(filled()).next_run(6, BOB, PlainEncoder()).split(accepted) == (rest, offset)


@pytest.mark.parametrize(
    ("limit", "value", "data"),
    [("RUN_BYTES", 3, b"a\n"), ("RUN_BYTES", 4, b"a\nb\n"), ("RUN_BATCHES", 1, b"a\nb\nown\n")],
)
def test_run_ends_at_its_limits(monkeypatch: pytest.MonkeyPatch, limit: str, value: int, data: bytes) -> None:
    monkeypatch.setattr(module, limit, value)
    assert Cursor(filled()).next_run(6, BOB, PlainEncoder()).data == data


def test_cursor_knows_its_number_and_the_gap_that_it_skips() -> None:
    replay_buffer = filled()
    cursor = Cursor(replay_buffer)
    numbers = []
    for offset in range(1, 7):
        cursor.advance(offset)
        numbers.append(cursor.seq)
    assert numbers == [1, 2, 3, 3, 4, 5]
    cursor.move_to(0, 0)
    gaps = [cursor.has_gap]
    replay_buffer.add(Batch([Barrier()] * 3, {}, 5))
    replay_buffer.trim(in_use=True)
    gaps.append(cursor.has_gap)
    assert cursor.skip_to(replay_buffer.start, replay_buffer.seq_before) == Gap(1, 3)
    gaps.append(cursor.has_gap)
    assert (cursor.offset, cursor.seq, gaps) == (3, 3, [False, True, False])
    assert cursor.skip_to(4, 3) == Gap(4, 3), "no stored event was skipped"
