"""The first shutdown signal counts. SIGHUP reloads, or stops a server whose terminal has gone. Others are logged."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import cast

import pytest
from twisted.logger import formatEvent

from broadcast.server import signals
from broadcast.server.log_writer import LogWriter
from broadcast.server.signals import ControlSignals, ShutdownSignalFilter
from tests.harness import logged

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has none of these signals")

if os.name != "nt":
    HANDLED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


class FakeProcess:
    """A process that records what its signals do. Its terminal goes when the test says so."""

    def __init__(self, *, has_log_file: bool, is_daemon: bool) -> None:
        self.done: list[str] = []
        self.soon: list[Callable[[], None]] = []
        self.terminal = False
        self.handlers = ControlSignals(
            self.soon.append,
            lambda: self.done.append("reloaded"),
            cast(LogWriter, self) if has_log_file else None,
            lambda: self.done.append("terminated"),
            is_daemon,
        )

    def rotate(self) -> None:
        self.done.append("rotated")

    def receive(self, number: int) -> list[str]:
        """Receive a signal, and return what it does once the reactor runs its calls."""
        signal.raise_signal(number)
        assert self.done == []
        for call in self.soon:
            call()
        done, self.done = self.done, []
        self.soon.clear()
        return done


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeProcess]:
    """Install the handlers of a process."""

    def make(*, terminal: bool = False, has_log_file: bool = True, is_daemon: bool = False) -> FakeProcess:
        process = FakeProcess(has_log_file=has_log_file, is_daemon=is_daemon)
        process.terminal = terminal
        monkeypatch.setattr(signals, "_has_terminal", lambda: process.terminal)
        process.handlers.install()
        return process

    return make


@pytest.mark.parametrize("terminal", [False, True])
def test_sighup_reloads(make: Callable[..., FakeProcess], terminal: bool) -> None:
    assert make(terminal=terminal).receive(signal.SIGHUP) == ["reloaded"]


def test_sighup_of_a_terminal_that_has_gone_stops_the_server(make: Callable[..., FakeProcess]) -> None:
    process = make(terminal=True)
    process.terminal = False
    with logged() as events:
        assert process.receive(signal.SIGHUP) == ["terminated"]
    assert list(map(formatEvent, events)) == ["The terminal of the server is gone (SIGHUP)."]


def test_ignored_sighup_stays_ignored_except_in_a_daemon(make: Callable[..., FakeProcess]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert make().receive(signal.SIGHUP) == []
    assert make(is_daemon=True).receive(signal.SIGHUP) == ["reloaded"]


def test_sigusr1_rotates_the_log(make: Callable[..., FakeProcess]) -> None:
    assert make().receive(signal.SIGUSR1) == ["rotated"]


def test_sigusr1_without_a_log_does_nothing(make: Callable[..., FakeProcess]) -> None:
    assert make(has_log_file=False).receive(signal.SIGUSR1) == []


@pytest.mark.parametrize("name", ["SIGUSR2", "SIGALRM"])
def test_stray_signal_is_logged(make: Callable[..., FakeProcess], name: str) -> None:
    process = make()
    with logged() as events:
        assert process.receive(getattr(signal, name)) == []
    assert list(map(formatEvent, events)) == [f"Ignoring {name}. SIGTERM stops the server."]


def test_handlers_of_others_stay(make: Callable[..., FakeProcess]) -> None:
    def other_handler(*_: object) -> None:
        """Do nothing."""

    for number in HANDLED:
        signal.signal(number, other_handler)
    make(is_daemon=True)
    assert {signal.getsignal(number) for number in HANDLED} == {other_handler}


# Shutdown


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
