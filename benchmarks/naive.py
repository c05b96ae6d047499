"""A peer: the chat server that everybody writes first on Twisted, ``sendLine`` to each reader in a loop."""

from __future__ import annotations

import resource
import sys
from typing import Any, cast

from twisted.internet import protocol, reactor
from twisted.protocols.basic import LineReceiver


class Naive(LineReceiver):
    """Passes each line on to everybody else."""

    factory: Naives

    def connectionMade(self) -> None:
        """Be one of them."""
        self.factory.connected.add(self)

    def connectionLost(self, reason: object = None) -> None:  # noqa: ARG002 - Twisted's
        """Be none of them."""
        self.factory.connected.discard(self)

    def lineReceived(self, line: bytes) -> None:
        """Say *line* to the others."""
        for other in self.factory.connected:
            if other is not self:
                other.sendLine(line)  # type: ignore[no-untyped-call]


class Naives(protocol.Factory):
    """All who are connected."""

    protocol = Naive  # type: ignore[assignment]

    def __init__(self) -> None:
        self.connected: set[Naive] = set()


def main(port: int, seconds: float) -> None:
    """Listen on *port* of 127.0.0.1 for so many *seconds*."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    installed = cast(Any, reactor)  # no interface has all that it has
    installed.listenTCP(port, Naives(), backlog=4096, interface="127.0.0.1")
    installed.callLater(seconds, installed.stop)
    installed.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
