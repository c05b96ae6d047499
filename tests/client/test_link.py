from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint, ITransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from broadcast.client.lines import Event, Notice, Prompt
from broadcast.client.link import Attempts, Link


class Case:
    """A link, and everything that it told."""

    def __init__(self) -> None:
        self.made: list[Link] = []
        self.came = 0
        self.events: list[Event | Prompt] = []
        self.lost: list[Failure] = []
        self.link = Link(self.made.append, self._came, self.events.append, self.lost.append)

    def _came(self) -> None:
        self.came += 1


def test_events_come_however_the_bytes_are_cut_and_lines_go_out_with_their_ends() -> None:
    case = Case()
    wire = StringTransport()  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
    case.link.makeConnection(wire)  # type: ignore[no-untyped-call]  # the same
    assert case.made == [case.link]
    for piece in (b"Wel", b"come.\r\nNickn", b"ame: "):
        case.link.dataReceived(piece)
    assert case.events == [Notice("Welcome."), Prompt("Nickname: ")]
    assert case.came == 3
    case.link.write("\u00e4\ud800")
    assert wire.value() == b"\xc3\xa4?\r\n"  # type: ignore[no-untyped-call]  # the same


def test_it_can_be_given_up_and_tells_of_its_end() -> None:
    case = Case()
    wire = StringTransport()  # type: ignore[no-untyped-call]  # the same
    case.link.makeConnection(wire)  # type: ignore[no-untyped-call]  # the same
    case.link.abort()
    assert wire.disconnected
    case.link.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]
    assert [type(failure.value) for failure in case.lost] == [ConnectionLost]


class Plain:
    """A transport that can only be closed in good order."""

    closed = False

    def loseConnection(self) -> None:
        self.closed = True


def test_a_transport_that_cannot_be_aborted_is_closed() -> None:
    case = Case()
    wire = Plain()
    case.link.makeConnection(cast(ITransport, wire))  # type: ignore[no-untyped-call]  # the same
    case.link.abort()
    assert wire.closed


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects, or does not."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 -- Twisted's name
        if self.failure is not None:
            raise self.failure
        return succeed(cast(IProtocol, Case().link))


@pytest.mark.parametrize(("failure", "told"), [(None, ["begins"]), (ValueError("no"), ["begins", "no"])])
def test_attempts_are_told_and_so_are_their_failures(failure: Exception | None, told: list[str]) -> None:
    seen: list[str] = []
    attempts = Attempts(Endpoint(failure), lambda: seen.append("begins"), lambda wrong: seen.append(str(wrong.value)))
    outcome: list[object] = []
    attempts.connect(cast(IProtocolFactory, None)).addBoth(outcome.append)
    assert seen == told
    assert isinstance(outcome[0], Link if failure is None else Failure)
