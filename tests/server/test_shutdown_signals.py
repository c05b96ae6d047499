"""The first signal stops the server, and later ones are only logged."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from broadcast.server.shutdown_signals import ShutdownSignalFilter
from tests.harness import logged


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that the previous handlers receive. The reactor has such handlers."""
    numbers: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        numbers.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_passed_on_and_later_ones_are_logged_once(received: list[int], first: int, second: int) -> None:
    calls: list[Callable[[], None]] = []
    ShutdownSignalFilter(calls.append, 10.0).install()
    signal.raise_signal(first)
    assert (received, calls) == ([first], [])
    for _ in range(3):
        signal.raise_signal(second)
    assert received == [first]
    with logged() as events:
        (log,) = calls
        log()
    assert events[0]["log_format"].format(**events[0]) == (
        "Going down already, in 10 seconds at most. SIGKILL ends it at once, and loses nothing that anybody has read."
    )


def test_ignored_signal_stays_ignored(received: list[int]) -> None:
    calls: list[Callable[[], None]] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ShutdownSignalFilter(calls.append, 10.0).install()
    signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]
