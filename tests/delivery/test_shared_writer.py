"""The shares of a writer take turns, and none sends within the event of another one."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

import pytest

from broadcast.delivery.shared_writer import Share, SharedWriter


class FakeWriter:
    """A writer that accepts *room* more bytes."""

    def __init__(self) -> None:
        self.sent = b""
        self.room = 0
        self.waiting = b""
        self.drained: Callable[[], None] | None = None
        self.fault: OSError | None = None
        self.failures: list[int | None] = []
        self.lost = self.stopped = False

    def send(self, data: bytes) -> int:
        assert not self.waiting, "the rest of another event waits"
        if self.fault is not None:
            raise self.fault
        accepted = min(self.room, len(data))
        self.room -= accepted
        self.sent += data[:accepted]
        return accepted

    def write_rest(self, rest: bytes, drained: Callable[[], None]) -> None:
        assert not self.waiting
        self.waiting, self.drained = rest, drained

    def stop_drain(self) -> None:
        self.drained = None
        self.stopped = True

    def send_failed(self, error: OSError) -> int:
        self.failures.append(error.errno)
        return 0

    def drain(self, room: int = 0) -> None:
        """Send the rest, and accept *room* more bytes."""
        assert self.drained is not None
        self.sent, self.waiting, self.room = self.sent + self.waiting, b"", room
        self.drained()

    def close(self) -> None: ...

    def start_linger(self) -> None: ...

    def connection_lost(self) -> None:
        self.lost = True


class Shares:
    """A shared writer with three shares, of which the first goes before the others."""

    def __init__(self) -> None:
        self.writer = FakeWriter()
        self.shared = SharedWriter(self.writer)
        self.shares = [Share(self.shared, goes_first=not number) for number in range(3)]
        self.continued: list[int] = []

    def offer(self, number: int, data: bytes) -> None:
        """Offer *data*, one event, as the stream of a share does."""
        share = self.shares[number]
        accepted = share.send(data)
        if accepted < len(data):
            share.write_rest(data[accepted:], partial(self.continued.append, number))


@pytest.fixture
def shares() -> Shares:
    return Shares()


def test_share_without_a_turn_sends_nothing(shares: Shares) -> None:
    shares.writer.room = 2
    shares.offer(1, b"one")
    shares.writer.room = 100
    assert [share.send(b"x") for share in (shares.shares[0], shares.shares[2])] == [0, 0]
    assert (shares.writer.sent, shares.writer.waiting) == (b"on", b"e")


def test_turn_passes_on_when_the_rest_was_sent(shares: Shares) -> None:
    for number in (1, 2, 0):
        shares.offer(number, b"%d" % number)
    shares.writer.drain(100)
    assert (shares.writer.sent, shares.continued) == (b"10", [0])
    shares.shares[0].stop_drain()
    assert (shares.writer.sent, shares.continued) == (b"102", [0, 2])
    shares.shares[2].stop_drain()
    assert shares.continued == [0, 2, 1]
    assert not shares.writer.stopped
    shares.shares[1].stop_drain()
    assert shares.shared.active is None
    assert shares.writer.stopped


def test_share_that_goes_first_keeps_the_turn_until_it_has_caught_up(shares: Shares) -> None:
    shares.offer(0, b"0")
    shares.offer(1, b"1")
    shares.writer.drain()
    shares.offer(0, b"00")
    shares.writer.drain(1)
    assert (shares.writer.sent, shares.continued) == (b"000", [0, 0])


def test_turn_does_not_pass_on_while_the_stream_continues(shares: Shares) -> None:
    """A stream can take several turns of the reactor to continue, and the transport may report more room meanwhile."""
    shares.offer(1, b"1")
    shares.writer.drain()
    shares.offer(2, b"2")
    shares.writer.drain(100)
    assert (shares.writer.sent, shares.continued) == (b"1", [1])
    shares.shares[1].stop_drain()
    assert (shares.writer.sent, shares.continued) == (b"12", [1, 2])


def test_rest_that_is_not_accepted_at_its_turn_waits_further(shares: Shares) -> None:
    shares.offer(1, b"one")
    shares.offer(2, b"two")
    shares.writer.drain(1)
    assert (shares.writer.sent, shares.writer.waiting, shares.continued) == (b"onet", b"wo", [])
    shares.writer.drain()
    assert (shares.writer.sent, shares.continued) == (b"onetwo", [1])


def test_error_of_a_rest_is_handled_as_that_of_a_stream(shares: Shares) -> None:
    shares.offer(1, b"one")
    shares.offer(2, b"two")
    shares.writer.fault = OSError(errno.ECONNRESET, "reset")
    shares.writer.drain()
    assert (shares.writer.failures, shares.writer.waiting) == ([errno.ECONNRESET], b"two")
    assert shares.shares[0].send_failed(shares.writer.fault) == 0
    assert len(shares.writer.failures) == 2


def test_share_that_does_not_wait_can_stop(shares: Shares) -> None:
    shares.offer(1, b"one")
    shares.shares[2].stop_drain()
    assert shares.shared.active is shares.shares[1]


def test_lost_connection_forgets_all_shares(shares: Shares) -> None:
    shares.offer(1, b"one")
    shares.offer(2, b"two")
    shares.shared.connection_lost()
    assert [share.drained for share in shares.shares] == [None] * 3
    assert (shares.shared.active, shares.writer.lost) == (None, True)
