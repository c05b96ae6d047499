"""A limit on the time that the server spends on new connections, so that lines do not wait for them.

Twisted accepts 100 connections in one turn of the reactor, and 20 more each time that was not enough. A client that
connects in a loop then causes turns of hundreds of milliseconds. Here, a turn accepts fewer. While people talk, a turn
accepts connections for half a millisecond, and then all ports pause for a multiple of that time. Clients that connect
meanwhile wait in the kernel's queue.

A port of the reactor IOCP, which Windows has, asks the system for one connection, handles it, then asks for the next.
There, the time of several connections is added up, also over several turns. The pause delays the next request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from broadcast.net.endpoints import pause_accepting

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.internet.tcp import Port

QUIET_ACCEPTS: Final = 32
"""Maximum number of connections that a port accepts in one turn while nobody talks. They take a few milliseconds."""
ACCEPT_SECONDS: Final = 0.0005
"""CPU time after which a port accepts no further connection in a turn while people talk, in seconds.

It suffices for several connections. A pause after each one would last too long, because the kernel waits for whole
milliseconds.
"""
PAUSE_FACTOR: Final = 6
"""Duration of the pause, as a multiple of the CPU time that the connections before it took.

To accept a connection is at most a third of the work for it. The rest is the nickname, the join, the leave, and their
notices. So new connections take a third of the time. A program that resumes its session costs less than a person, so
the server accepts more of them.
"""
MAX_PAUSE_SECONDS: Final = 0.05
"""Maximum duration of a pause, in seconds."""
TALK_SECONDS: Final = 1.0
"""Time after a line during which people count as talking, in seconds."""


class AcceptPacer:
    """The pace of all ports of a server.

    *cpu_seconds* returns the CPU time of the reactor's thread. It excludes the time in which other processes run, which
    would make the pauses much longer on a busy machine. *line_count* returns the number of lines delivered so far.
    """

    def __init__(self, clock: IReactorTime, cpu_seconds: Callable[[], float], line_count: Callable[[], int]) -> None:
        self._clock = clock
        self._cpu_seconds = cpu_seconds
        self._line_count = line_count
        self._last_count = 0
        self._talk_until = 0.0
        self._paused_until = 0.0
        self._spent = 0.0
        """CPU time since the last pause in which ports of the reactor IOCP handled new connections, in seconds."""

    def install(self, port: Port) -> None:
        """Let *port* accept connections at this pace."""
        accept = port.doRead

        def accept_some() -> None:
            began = self._clock.seconds()
            if began < self._paused_until:  # another port has accepted connections
                pause_accepting(port, self._paused_until - began, self._clock)
                return
            if self.is_talking():
                self._accept_and_pause(port, accept)
            else:
                port.numberAccepts = QUIET_ACCEPTS
                accept()  # type: ignore[no-untyped-call]

        port.doRead = accept_some  # type: ignore[method-assign]

    def _accept_and_pause(self, port: Port, accept: Callable[[], None]) -> None:
        """Accept connections for ``ACCEPT_SECONDS``, then pause all ports. Do not pause if no connection waits."""
        first = session = port.sessionno
        began = self._cpu_seconds()
        seconds = 0.0
        while seconds < ACCEPT_SECONDS:
            port.numberAccepts = 1
            accept()
            seconds = self._cpu_seconds() - began
            if port.sessionno == session:
                break
            session = port.sessionno
        # If none was accepted, the port may be in a longer pause, because file descriptors are missing.
        if session != first:
            pause = min(PAUSE_FACTOR * seconds, MAX_PAUSE_SECONDS)
            self._paused_until = self._clock.seconds() + pause
            pause_accepting(port, pause, self._clock)

    def install_iocp(self, port: Any) -> None:  # noqa: ANN401 - its class cannot be imported on other systems
        """Let *port*, which belongs to the reactor IOCP, accept connections at this pace.

        On Windows, the CPU time of a thread advances in steps of 15.6 ms. So pauses are fewer and longer there.
        """
        handle, request_next = port.handleAccept, port.doAccept

        def handle_and_measure(code: int, event: object) -> object:
            began = self._cpu_seconds()
            try:
                return handle(code, event)
            finally:
                self._spent += self._cpu_seconds() - began

        def request_when_due() -> None:
            now = self._clock.seconds()
            if self._spent >= ACCEPT_SECONDS:
                pause = min(PAUSE_FACTOR * self._spent, MAX_PAUSE_SECONDS) if self.is_talking() else 0.0
                self._paused_until = now + pause
                self._spent = 0.0
                self._clock.callLater(pause, resume)  # also with a pause of 0, so that this turn of the reactor ends
            elif now < self._paused_until:  # another port has accepted connections
                self._clock.callLater(self._paused_until - now, resume)
            else:
                request_next()

        def resume() -> None:
            if port.connected and not port.disconnecting:
                request_when_due()

        port.handleAccept, port.doAccept = handle_and_measure, request_when_due

    def is_talking(self) -> bool:
        """Return whether a line was delivered within the last ``TALK_SECONDS``."""
        now = self._clock.seconds()
        count = self._line_count()
        if count != self._last_count:
            self._last_count = count
            self._talk_until = now + TALK_SECONDS
        return now < self._talk_until
