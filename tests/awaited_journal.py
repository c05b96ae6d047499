"""A journal that works on threads of its own, for a server in memory: its results come at the same time in each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

from broadcast.core.events import Event
from broadcast.core.interfaces import EventListener, Journal, OpenedRoom, Records, RoomLog
from broadcast.core.time_slice import CallSoon
from tests.real.programs import PATIENCE


class AwaitedJournal:
    """The journal that *make* returns. It calls back in the next turn, in the order of the calls, as that in memory.

    *soon* are the calls for the next turn. ``collect`` waits until each result is among them.
    """

    def __init__(self, make: Callable[[CallSoon], Journal], soon: list[Callable[[], None]]) -> None:
        self._soon = soon
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        """The calls of the journal's threads."""
        self._journal = make(self._calls.put)
        self._tickets = count()
        self._awaited: set[int] = set()
        """The tickets of calls whose results have not come yet."""
        self._results: dict[int, Callable[[], None]] = {}
        self.commit_stats = self._journal.commit_stats
        self.records: Records = _Awaited(self, self._journal.records)

    @property
    def id(self) -> str:
        """The identifier of the journal."""
        return self._journal.id

    def collect(self) -> None:
        """Wait until all results have come, and put them among the calls for the next turn."""
        while self._awaited:
            try:
                self._calls.get(timeout=PATIENCE)()
            except Empty:
                raise AssertionError("the journal does not answer") from None
        while not self._calls.empty():
            self._calls.get()()
        self._soon += [result for _, result in sorted(self._results.items())]
        self._results.clear()

    def take_ticket(self) -> int:
        """Return the number of a call, whose result is awaited from now on."""
        ticket = next(self._tickets)
        self._awaited.add(ticket)
        return ticket

    def add_result(self, ticket: int, call: Callable[[], None]) -> None:
        """Note what to call because of the result of the call *ticket*."""
        self._awaited.discard(ticket)
        self._results[ticket] = call

    def expect(self, on_result: Callable[..., None]) -> Callable[..., None]:
        """Return *on_result* for a call that has exactly one result."""
        ticket = self.take_ticket()
        return lambda *result: self.add_result(ticket, partial(on_result, *result))

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
        self._awaited: Any = awaited

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- a method
        return partial(self._call, getattr(self._awaited, name))

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 -- those of the method
        if arguments:
            arguments = (*arguments[:-1], self._owner.expect(arguments[-1]))
        return method(*arguments)


class _AwaitedLog(_Awaited):
    """The log of a room. All events that have come are delivered together."""

    def __init__(self, journal: AwaitedJournal, log: RoomLog) -> None:
        super().__init__(journal, log)
        self._tickets: list[int] = []
        """The tickets of the events that have not come yet."""
        self._come: list[Event] = []
        self._foreign: list[Event] = []
        self._ticket = -1
        """The ticket of the first event that has come, and was not delivered."""

    def append(self, event: Event) -> None:
        self._tickets.append(self._owner.take_ticket())
        self._awaited.append(event)

    def subscribe(self, listener: EventListener) -> None:
        def deliver() -> None:
            come, self._come, foreign, self._foreign = self._come, [], self._foreign, []
            if come:
                listener(come, foreign)

        def receive(events: Sequence[Event], foreign: Sequence[Event] = ()) -> None:
            own = len(events) - len(foreign)
            tickets, self._tickets = self._tickets[:own], self._tickets[own:]
            if not self._come:
                self._ticket = tickets[0] if tickets else self._owner.take_ticket()
            self._come += events
            self._foreign += foreign
            for ticket in tickets:
                self._owner.add_result(ticket, lambda: None)
            self._owner.add_result(self._ticket, deliver)

        self._awaited.subscribe(receive)


_conforms: type[Journal] = AwaitedJournal
