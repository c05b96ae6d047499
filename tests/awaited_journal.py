"""A journal that works on threads of its own, for a server in memory: a test can wait for the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event as Signal
from typing import Any

from broadcast.core.events import Event
from broadcast.core.interfaces import EventListener, Journal, OpenedRoom, Records, RoomLog
from broadcast.core.time_slice import CallSoon
from tests.real.programs import PATIENCE


class AwaitedJournal:
    """The journal that *make* returns. It counts the calls whose results have not come yet."""

    def __init__(self, make: Callable[[CallSoon], Journal], soon: list[Callable[[], None]]) -> None:
        self._soon = soon
        self._has_come = Signal()
        self._journal = make(self._call_soon)
        self.pending = 0
        """Number of events and answers that have not returned."""
        self.commit_stats = self._journal.commit_stats
        self.records: Records = _Awaited(self, self._journal.records)

    @property
    def id(self) -> str:
        """The identifier of the journal."""
        return self._journal.id

    def _call_soon(self, call: Callable[[], None]) -> None:
        self._soon.append(call)
        self._has_come.set()

    def wait(self) -> None:
        """Wait until there is a call for the reactor, if a result is awaited."""
        while self.pending and not self._soon:
            assert self._has_come.wait(PATIENCE), "the journal does not answer"
            self._has_come.clear()

    def expect(self, on_result: Callable[..., None]) -> Callable[..., None]:
        """Return *on_result* for a call that has exactly one result."""
        self.pending += 1

        def receive(*result: object) -> None:
            self.pending -= 1
            on_result(*result)

        return receive

    def open(self, name: str, tail: int) -> OpenedRoom:
        """Open the journal."""
        opened: OpenedRoom = self._opened(self._journal.open(name, tail))
        return opened

    def open_room(self, name: str, tail: int, on_result: Callable[[Any], None]) -> None:
        """Open a room."""
        self._journal.open_room(name, tail, self.expect(lambda result: on_result(self._opened(result))))

    def _opened(self, opened: Any) -> Any:  # noqa: ANN401 -- or an error
        return opened._replace(log=_AwaitedLog(self, opened.log)) if isinstance(opened, OpenedRoom) else opened

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


class _Awaited:
    """An object whose methods take a callback as the last argument, if they take any."""

    def __init__(self, journal: AwaitedJournal, awaited: Records | RoomLog) -> None:
        self._owner = journal
        self._awaited = awaited

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- a method
        return partial(self._call, getattr(self._awaited, name))

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 -- those of the method
        if arguments:
            arguments = (*arguments[:-1], self._owner.expect(arguments[-1]))
        return method(*arguments)


class _AwaitedLog(_Awaited):
    """The log of a room."""

    def append(self, event: Event) -> None:
        self._owner.pending += 1
        self._awaited.append(event)  # type: ignore[union-attr]  # a room's log

    def subscribe(self, listener: EventListener) -> None:
        def receive(events: Sequence[Event], foreign: Sequence[Event] = ()) -> None:
            self._owner.pending -= len(events) - len(foreign)
            listener(events, foreign)

        self._awaited.subscribe(receive)  # type: ignore[union-attr]  # likewise


_conforms: type[Journal] = AwaitedJournal
