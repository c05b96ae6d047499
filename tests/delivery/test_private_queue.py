"""A private queue keeps chunks in order and counts their memory; a chunk can be split at the end of any piece."""

from __future__ import annotations

import pytest

from broadcast.delivery.private_queue import CHUNK_OVERHEAD, PrivateQueue, QueuedBytes, private_chunk


@pytest.mark.parametrize(
    ("accepted", "rest", "following", "ends"),
    [
        (0, b"one\n", b"Name: two\n", [6, 10]),
        (3, b"\n", b"Name: two\n", [6, 10]),
        (4, b"Name: ", b"two\n", [4]),
        (9, b" ", b"two\n", [4]),
        (10, b"two\n", b"", []),
        (13, b"\n", b"", []),
    ],
)
def test_chunk_splits_after_the_piece_that_was_cut(
    accepted: int, rest: bytes, following: bytes, ends: list[int]
) -> None:
    chunk = private_chunk(7, 3, [b"one\n", b"", b"Name: ", b"two\n"], iter([[b"more"]]))
    cut, left = chunk.split(accepted)
    assert (cut, left.data) == (rest, following)
    assert [end for end in left.ends if end] == ends
    assert (left.offset, left.seq, [*left.more]) == (7, 3, [[b"more"]])


def test_queue_returns_chunks_in_order_and_counts_their_memory() -> None:
    queue = PrivateQueue()
    assert (bool(queue), queue.size, queue.is_due(100)) == (False, 0, False)
    first, second = private_chunk(5, 2, [b"one"]), private_chunk(8, 3, [b"second"])
    queue.append(first)
    queue.append(second)
    assert (bool(queue), queue.size) == (True, 2 * CHUNK_OVERHEAD + 9)
    assert [queue.is_due(offset) for offset in (4, 5, 6)] == [False, True, True]
    assert (queue.first, queue.pop(), queue.pop()) == (first, first, second)
    queue.put_back(second)
    queue.put_back(first)
    assert [queue.pop(), queue.pop(), queue.size] == [first, second, 0]
    queue.append(first)
    queue.clear()
    assert (bool(queue), queue.size) == (False, 0)


def test_queues_of_one_connection_share_a_total() -> None:
    total = QueuedBytes()
    one, two = PrivateQueue(total), PrivateQueue(total)
    one.append(private_chunk(0, 0, [b"one"]))
    two.append(private_chunk(0, 0, [b"second"]))
    assert (one.size, two.size, total.size) == (CHUNK_OVERHEAD + 3, CHUNK_OVERHEAD + 6, 2 * CHUNK_OVERHEAD + 9)
    one.clear()
    assert total.size == two.size
    two.pop()
    assert total.size == 0
