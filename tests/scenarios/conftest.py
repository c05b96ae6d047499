"""What the scenarios ask for: a world behind each door, in UTC, and what the server logs of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import pytest
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent

from broadcast.core.hub import Settings
from broadcast.core.interfaces import Journal
from broadcast.core.limits import Limits
from tests.harness import DirectWorld, World


class Opens(Protocol):
    """Starts a server: with other settings, with another journal, or with limits on people and addresses."""

    def __call__(
        self,
        settings: Settings | None = None,
        journal: Callable[[Callable[[Callable[[], None]], object]], Journal] | None = None,
        limits: Limits | None = None,
    ) -> World: ...


DOORS: dict[str, Opens] = {"line": World, "line, direct": DirectWorld}
"""Every scenario is played at each of these doors, and over both kinds of outlet."""


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown in the server's own zone, which is UTC here: the worlds begin at 12:00."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(params=DOORS)
def open_world(request: pytest.FixtureRequest) -> Opens:
    """Starts a server whose people come in by the door under test."""
    return DOORS[request.param]


@pytest.fixture
def world(open_world: Opens) -> World:
    """A server as it comes."""
    return open_world()


class Log(Sequence[str]):
    """What was logged, an entry each."""

    def __init__(self, events: Sequence[LogEvent]) -> None:
        self._events = events

    def __getitem__(self, at: int) -> str:  # type: ignore[override]  # nobody slices it
        return formatEvent(self._events[at])

    def __len__(self) -> int:
        return len(self._events)


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    """What the server logs, and never an error."""
    with capturedLogs() as events:
        yield Log(events)
    assert [event for event in events if event["log_level"] >= LogLevel.warn] == []
