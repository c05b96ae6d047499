"""A peer: the simplest chat server on Twisted, which calls ``sendLine`` for each client in a loop."""

from __future__ import annotations

import resource
import sys
from typing import Any, cast

from twisted.internet import protocol, reactor
from twisted.protocols.basic import LineReceiver


class Naive(LineReceiver):
    """A connection that sends each line to all other connections."""

    factory: Naives

    def connectionMade(self) -> None:
        """Register the connection."""
        self.factory.connected.add(self)

    def connectionLost(self, reason: object = None) -> None:  # noqa: ARG002 - Twisted's signature
        """Unregister the connection."""
        self.factory.connected.discard(self)

    def lineReceived(self, line: bytes) -> None:
        """Send *line* to the others."""
        for other in self.factory.connected:
            if other is not self:
                other.sendLine(line)  # type: ignore[no-untyped-call]


class Naives(protocol.Factory):
    """The factory, with the set of open connections."""

    protocol = Naive  # type: ignore[assignment]

    def __init__(self) -> None:
        self.connected: set[Naive] = set()


def main(port: int, seconds: float) -> None:
    """Serve on *port* of 127.0.0.1 for *seconds*."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    installed = cast(Any, reactor)  # no interface has all methods of a reactor
    installed.listenTCP(port, Naives(), backlog=4096, interface="127.0.0.1")
    installed.callLater(seconds, installed.stop)
    installed.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
