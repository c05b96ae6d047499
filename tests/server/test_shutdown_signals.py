"""One signal ends the server, and those that follow change nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from broadcast.server.shutdown_signals import ShutdownSignalFilter
from tests.harness import logged


@pytest.fixture
def received() -> Iterator[list[int]]:
    """What handlers that stand there received, as the reactor's do."""
    numbers: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        numbers.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def soon() -> list[Callable[[], None]]:
    """What is to be done in a later turn of the reactor."""
    return []


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_one_counts_and_the_second_is_answered_in_the_log(
    received: list[int], soon: list[Callable[[], None]], first: int, second: int
) -> None:
    ShutdownSignalFilter(soon.append, 10.0).install()
    signal.raise_signal(first)
    assert (received, soon) == ([first], [])
    for _ in range(3):
        signal.raise_signal(second)
    assert received == [first]
    with logged() as events:
        (tell,) = soon
        tell()
    assert events[0]["log_format"].format(**events[0]) == (
        "Going down already, in 10 seconds at most. SIGKILL ends it at once, and loses nothing that anybody has read."
    )


def test_a_signal_that_is_ignored_goes_on_being_ignored(received: list[int], soon: list[Callable[[], None]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ShutdownSignalFilter(soon.append, 10.0).install()
    signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]
