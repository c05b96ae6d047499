"""A limit on the number of connections that one turn of the reactor serves.

Twisted serves all connections with an event in one turn. When 1,000 connections break at once, this turn takes 80 ms,
and all lines wait for it.
"""

from __future__ import annotations

from typing import Any, Final

MAX_EVENTS: Final = 128
"""Maximum number of connections that one turn serves. The system reports the others first in the next turn."""


class _LimitedPoller:
    """An ``epoll`` object that reports at most ``MAX_EVENTS`` events at a time."""

    def __init__(self, poller: Any) -> None:  # noqa: ANN401 - ``select.epoll`` exists on Linux only
        self._poll = poller.poll
        self.register = poller.register
        self.modify = poller.modify
        self.unregister = poller.unregister
        self.fileno = poller.fileno
        self.close = poller.close

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Wait for events and return them, at most *most* of them."""
        events: list[tuple[int, int]] = self._poll(timeout, min(most, MAX_EVENTS))
        return events


def limit_turns(reactor: Any) -> None:  # noqa: ANN401 - any reactor
    """Limit the turns of *reactor* if it uses epoll, as Twisted's default on Linux does."""
    poller = getattr(reactor, "_poller", None)
    if type(poller).__name__ == "epoll":
        reactor._poller = _LimitedPoller(poller)  # noqa: SLF001 - Twisted has no other way
