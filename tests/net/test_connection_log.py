"""The log has a line for each visit at ordinary rates, and numbers for clients in a loop and for rejections."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent

from broadcast.net.connection_log import REJECTION_SECONDS, VISIT_LINES, VISIT_SECONDS, RejectionLog, VisitLog
from tests.harness import logged

HERE = IPv4Address("TCP", "10.0.0.7", 40000)
THERE = IPv4Address("TCP", "10.0.0.8", 40000)


class Visits:
    """A log of visits."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.log = VisitLog(self.clock)

    def join(self, peer: IAddress = HERE, count: int = 1) -> None:
        for _ in range(count):
            self.log.write(Logger(), peer, "join", "{nick} joined from {where}", nick="ann")

    def leave(self, peer: IAddress = HERE, count: int = 1) -> None:
        for _ in range(count):
            self.log.write(Logger(), peer, "leave", "{nick} left ({where})", nick="ann")


def lines(events: list[LogEvent]) -> list[str]:
    """Return the lines in the log, and forget them."""
    texts = list(map(formatEvent, events))
    events.clear()
    return texts


def test_visits_are_logged_one_by_one_at_an_ordinary_rate() -> None:
    visits = Visits()
    with logged() as events:
        for _ in range(3):
            visits.join(count=VISIT_LINES // 2)
            visits.leave(count=VISIT_LINES // 2)
            visits.clock.advance(VISIT_SECONDS)
        half = VISIT_LINES // 2
        expected = ["ann joined from 10.0.0.7 port 40000"] * half + ["ann left (10.0.0.7 port 40000)"] * half
        assert lines(events) == expected * 3
    assert visits.clock.getDelayedCalls() == [], "nothing is left to write"


def test_rest_of_a_period_is_one_line_for_each_source() -> None:
    visits = Visits()
    with logged() as events:
        visits.join(count=VISIT_LINES + 312)
        visits.leave(count=310)
        visits.join(THERE)
        visits.join(IPv4Address("TCP", "10.0.0.9", 1), VISIT_LINES + 2)
        assert len(lines(events)) == VISIT_LINES + 1 + VISIT_LINES
        visits.clock.advance(VISIT_SECONDS - 1)
        assert events == []
        visits.clock.advance(1)
        assert [event["where"] for event in events] == ["10.0.0.7", "10.0.0.9"]
        assert lines(events) == [
            "312 joins and 310 leaves from 10.0.0.7 in the last 60 s",
            "2 joins from 10.0.0.9 in the last 60 s",
        ]
        visits.join()
        assert lines(events) == ["ann joined from 10.0.0.7 port 40000"]
        visits.clock.advance(VISIT_SECONDS)
        assert events == []


def test_summary_is_written_at_the_end_of_the_process() -> None:
    visits = Visits()
    visits.join(count=VISIT_LINES + 5)
    visits.clock.advance(7)
    with logged() as events:
        visits.log.flush()
        visits.log.flush()
        assert lines(events) == ["5 joins from 10.0.0.7 in the last 7 s"]


def test_visits_of_many_sources_are_all_logged() -> None:
    visits = Visits()
    with logged() as events:
        for number in range(1000):
            visits.join(IPv4Address("TCP", f"10.0.{number // 250}.{number % 250}", 1))
        assert len(lines(events)) == 1000


def test_rejections_are_one_line_per_interval_with_their_number_and_the_last_reason() -> None:
    clock = Clock()
    log = RejectionLog(clock)
    with logged() as events:
        log.record("full")
        for reason in ("full", "busy"):
            log.record(reason, 3)
        assert lines(events) == ["Connections refused: 1, the last one: full"]
        clock.advance(REJECTION_SECONDS)
        assert lines(events) == ["Connections refused: 6, the last one: busy"]
        clock.advance(REJECTION_SECONDS)
        log.record("full")
        assert lines(events) == ["Connections refused: 1, the last one: full"]
        clock.advance(REJECTION_SECONDS)
    assert clock.getDelayedCalls() == []
