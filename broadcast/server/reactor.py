"""Changes to Twisted's reactor: a clock that does not jump, and short turns."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python import context, log
from twisted.python.log import ILogContext

from broadcast.core.time_slice import CallSoon

TICK_SECONDS: Final = 1.0
"""Interval of a timed call that shows that the process runs, in seconds."""
PAUSE_SECONDS: Final = 2.0
"""Delay of that call above which the process counts as stopped for that time, in seconds."""
MAX_EVENTS: Final = 128
"""Maximum number of connections that one turn serves. The kernel reports the others first in the next turn."""
CLEAN_UP_SECONDS: Final = 0.002
"""Time of a turn for the clean-up after connections that have ended, in seconds. A line may need three turns."""

_log = Logger()


class ReactorClock(Protocol):
    """The clock of a reactor. ``callLater`` and the reactor's loop call ``seconds`` for the time."""

    seconds: Callable[[], float]

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> object:  # noqa: A002, N802 - Twisted's
        """Call a function after *delay* seconds."""


def use_monotonic_clock(reactor: ReactorClock, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
    """Make *reactor* use *monotonic*, shifted so that it agrees with *wall* now. Further calls change nothing.

    Twisted's reactors use the wall clock. A step forward, as after time synchronization, would reach all deadlines at
    once. A step back would delay all deadlines, and even ``callLater(0)``, with which Twisted aborts a connection.
    Calls that were scheduled before keep their time.

    Time in which the process was stopped (SIGSTOP, a paused machine) does not count. Otherwise all deadlines would be
    over when the process continues, before the reactor reads the input that has arrived meanwhile.
    """
    if "seconds" in vars(reactor):
        return
    offset = wall() - monotonic()
    paused = 0.0
    next_tick = 0.0

    def seconds() -> float:
        nonlocal offset, paused, next_tick
        now = monotonic()
        if now - next_tick > PAUSE_SECONDS:
            offset -= now - next_tick
            paused += now - next_tick
            next_tick = now
        return now + offset

    def tick() -> None:
        nonlocal paused, next_tick
        next_tick = monotonic() + TICK_SECONDS
        reactor.callLater(TICK_SECONDS, tick)
        if paused:
            _log.warn("The server stood still for {seconds:.0f} seconds. No deadline counts them.", seconds=paused)
            paused = 0.0

    reactor.seconds = seconds
    tick()


class _Turns:
    """The I/O of a reactor that uses epoll, in turns that serve at most ``MAX_EVENTS`` connections.

    Twisted differs in three ways:

    * It serves all connections with an event in one turn, and cleans up at once after each one that has ended. When
      2,000 connections break together, this turn takes 200 ms, and all lines wait for it. Here, the ended connections
      wait in a queue, because to read the end of a connection takes a tenth of the time of the clean-up. A turn cleans
      up after some of them, once it has served all connections with events.
    * It writes to a pipe for each call of ``callFromThread``. This costs three system calls and a turn of the reactor.
      Here, only a reactor that waits is woken up.
    * It makes a logging context for each connection that it serves, which takes as long as the work for one line. Here,
      all connections of a turn share one.
    """

    def __init__(self, reactor: Any) -> None:  # noqa: ANN401 - Twisted's reactor for Linux has no types
        self._poll = reactor._poller.poll  # noqa: SLF001 - Twisted has no other way, here and below
        self._selectables = reactor._selectables  # noqa: SLF001
        self._serve = reactor._doReadOrWrite  # noqa: SLF001
        self._calls = reactor.threadCallQueue
        """The calls for the next turn. Other threads append to it, then call ``wake_up``."""
        self._wake: Callable[[], None] = reactor.wakeUp
        self._waiting = False
        self._log_context = {"system": "-"}
        """The fields of all log events of a turn: *system* is the connection that is being served."""
        self._now: Callable[[], float] = reactor.seconds
        self._remove_reader = reactor.removeReader
        self._remove_writer = reactor.removeWriter
        self._clean_up = reactor._disconnectSelectable  # noqa: SLF001
        self._ended: OrderedDict[Any, tuple[Exception, bool]] = OrderedDict()
        """The arguments of ``_clean_up`` for each connection that has ended."""

    def wait_and_serve(self, timeout: float | None) -> None:
        """Wait for events, unless there is work to do, and serve them. *timeout* is in seconds; None is for ever."""
        self._waiting = True  # first, so that a call that comes after the check wakes the reactor
        try:
            events = self._poll(0 if self._calls or self._ended else timeout, MAX_EVENTS)
        finally:
            self._waiting = False
        context.call({ILogContext: self._log_context}, self._serve_events, events)  # type: ignore[no-untyped-call]

    def _serve_events(self, events: Sequence[tuple[int, int]]) -> None:
        for fd, event in events:
            selectable = self._selectables.get(fd)
            if selectable is None:
                continue  # a connection that was served earlier in this turn has closed it
            try:
                self._log_context["system"] = selectable.logPrefix()
                self._serve(selectable, fd, event)
            except Exception:  # noqa: BLE001 - the reactor must survive any error
                log.err()  # type: ignore[no-untyped-call]
        if self._ended:
            # If the kernel may have more events, their connections are served first.
            self._clean_up_some(0 if len(events) == MAX_EVENTS else CLEAN_UP_SECONDS)

    def defer_clean_up(self, selectable: Any, why: Exception, is_read: bool) -> None:  # noqa: ANN401 - as in Twisted
        """Stop watching *selectable*, which has ended because of *why*, and clean up later.

        If *is_read* is true and *why* is a clean end, the connection may still be written to.
        """
        self._remove_reader(selectable)
        if not is_read or not isinstance(why, ConnectionDone):
            self._remove_writer(selectable)
            # The transport drops output, and does not ask to be watched again. If it were not connected, the transport
            # of a client would take its end for that of an attempt to connect.
            selectable._writeDisconnected = True  # noqa: SLF001
        self._ended[selectable] = why, is_read  # it may be read to its end again before the clean-up

    def _clean_up_some(self, seconds: float) -> None:
        """Clean up after connections that have ended, for *seconds*, but after at least one."""
        deadline = self._now() + seconds
        while self._ended:
            selectable, (why, is_read) = self._ended.popitem(last=False)
            try:
                if not getattr(selectable, "disconnected", False):  # it may have been aborted meanwhile
                    self._log_context["system"] = selectable.logPrefix()
                    self._clean_up(selectable, why, is_read)
            except Exception:  # noqa: BLE001 - as above
                log.err()  # type: ignore[no-untyped-call]
            if self._now() >= deadline:
                break

    def wake_up(self) -> None:
        """End the wait. Other threads and signal handlers may call this."""
        if self._waiting:
            self._waiting = False
            self._wake()


def shorten_turns(reactor: Any) -> None:  # noqa: ANN401 - any reactor
    """Shorten the turns of *reactor*, if it uses epoll, as on Linux by default. Further calls change nothing."""
    # The class is compared by name, because other systems have no ``select.epoll``.
    if type(getattr(reactor, "_poller", None)).__name__ == "epoll" and "doIteration" not in vars(reactor):
        turns = _Turns(reactor)
        reactor.doIteration = turns.wait_and_serve
        reactor.wakeUp = turns.wake_up
        reactor._disconnectSelectable = turns.defer_clean_up  # noqa: SLF001


def call_last(reactor: Any) -> CallSoon:  # noqa: ANN401 - any reactor
    """Return a function that schedules a call for the next turn of *reactor*, after those of ``callFromThread``.

    Twisted makes timed calls last. Work that continues in each turn would otherwise come first, because it is scheduled
    a turn before: the lines that have arrived since would wait before they are stored, and again when they are.
    """
    return partial(reactor.callFromThread, reactor.callLater, 0)
