"""Events of other packages are logged up to a number, then counted. Those of this package are not limited."""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, Logger, LogPublisher, formatEvent
from twisted.python import log as legacy
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from broadcast.server.log_limit import EVENTS, SECONDS, RepeatLimit


class Log:
    """A log with a limit, and its lines."""

    def __init__(self) -> None:
        self.now = 77.0
        self.events: list[LogEvent] = []
        self.observer = RepeatLimit(cast(ILogObserver, self.events.append), lambda: self.now)
        assert verifyObject(ILogObserver, self.observer)

    def logger(self, namespace: str) -> Logger:
        return Logger(namespace=namespace, observer=self.observer)

    def lines(self) -> list[str]:
        """Return the lines since the last call."""
        lines = list(map(formatEvent, self.events))
        self.events.clear()
        return lines


def test_events_of_one_kind_are_counted_beyond_the_limit_and_others_are_logged() -> None:
    log = Log()
    twisted = log.logger("twisted.internet.tcp.Port")
    for number in range(EVENTS + 7):
        twisted.info("Could not accept new connection ({number})", number=number)
    assert log.lines() == [f"Could not accept new connection ({number})" for number in range(EVENTS)]
    twisted.info("Another one.")
    log.logger("twisted.other").info("Could not accept new connection ({number})", number="other")
    assert log.lines() == ["Another one.", "Could not accept new connection (other)"]
    log.now += SECONDS
    log.logger("broadcast.some.part").info("Hello.")
    summary, hello = log.events
    assert (summary["log_namespace"], summary["log_time"]) == ("twisted.internet.tcp.Port", hello["log_time"])
    assert log.lines() == ["Not logged because there were too many of one kind: 7.", "Hello."]
    twisted.info("Could not accept new connection ({number})", number="again")
    assert log.lines() == ["Could not accept new connection (again)"]


def test_errors_are_distinguished_by_their_type() -> None:
    log = Log()
    logger = log.logger("twisted.internet.defer")
    for error in (ValueError(), KeyError()):
        for _ in range(EVENTS + 1):
            logger.failure("Unhandled error", Failure(error))  # type: ignore[no-untyped-call]
    assert len(log.lines()) == 2 * EVENTS


def test_events_of_the_legacy_log_are_limited_whatever_their_text() -> None:
    log = Log()
    publisher = LogPublisher(log.observer)
    logger = legacy.LogPublisher(publisher, publisher)  # type: ignore[no-untyped-call]
    for number in range(2 * EVENTS):
        logger.msg(f"line {number}")  # type: ignore[no-untyped-call]
    assert len(log.lines()) == EVENTS


def test_events_of_this_package_are_not_limited() -> None:
    log = Log()
    logger = log.logger("broadcast.some.part")
    for _ in range(2 * EVENTS):
        logger.info("Hello.")
    assert log.lines() == ["Hello."] * 2 * EVENTS
