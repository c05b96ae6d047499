"""One turn of the reactor serves a limited number of connections, and the next turn serves the others."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from broadcast.server import turn_limit
from broadcast.server.turn_limit import limit_turns


class Reader:
    """One end of a connection in which a byte waits. It records in *served* that it was served, and does not read."""

    def __init__(self, end: socket.socket, served: list[int]) -> None:
        self.fileno = end.fileno
        self._served = served

    def doRead(self) -> None:  # noqa: N802 -- Twisted's name
        self._served.append(self.fileno())

    def logPrefix(self) -> str:  # noqa: N802
        return "reader"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has epoll")
def test_connections_are_served_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet.epollreactor import EPollReactor  # noqa: PLC0415 -- on Linux only

    monkeypatch.setattr(turn_limit, "MAX_EVENTS", 2)
    reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]
    limit_turns(reactor)
    pairs = [socket.socketpair() for _ in range(5)]
    served: list[int] = []
    try:
        readers = [Reader(near, served) for near, _far in pairs]
        for reader, (_near, far) in zip(readers, pairs, strict=True):
            reactor.addReader(reader)
            far.send(b"x")
        for turn in range(1, 6):
            reactor.doIteration(0)
            assert len(served) == 2 * turn
        assert {served.count(reader.fileno()) for reader in readers} == {2}
        for reader in readers:
            reactor.removeReader(reader)
    finally:
        reactor.removeAll()
        for near, far in pairs:
            near.close()
            far.close()


def test_reactor_without_epoll_stays_as_it_is() -> None:
    for reactor in (SimpleNamespace(), SimpleNamespace(_poller=object())):
        before = dict(vars(reactor))
        limit_turns(reactor)
        assert vars(reactor) == before
