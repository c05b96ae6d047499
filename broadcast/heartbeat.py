"""Who is still there: a probe for those who are silent, and the end of connections whose other side has vanished.

Nobody is ended for being idle, for being slow, or for not reading. A connection is over when nothing at all has come
from its other side for ``Patience.silence``, not even an acknowledgement, although something was sent again and again:
data, a probe for room in a full buffer, a keepalive.

* Where nothing is under way, TCP's keepalive sees to it, in the system. It rests while data is.
* Then, on Linux, the sweep does: it reads from the system how many segments went and came (``tcp.py``). Two that were
  sent in vain are wanted, apart from what went within the first look: one may be lost, and while somebody does not
  read, Linux before 6.15 asks only every two minutes. So there, one who had not read for minutes, and then vanishes, is
  noticed after four minutes; all others in time.
* On macOS, the system drops who does not acknowledge data. One who vanishes while their buffer is full is noticed when
  it gives up, which takes minutes. Elsewhere that holds for all who vanish while data is under way.

With the defaults, Linux 6.18, and a machine that vanished from a network of namespaces: gone after 131 s where nothing
was said, 135 s with a line on its way, and 91 s where it had not read for 150 s (its last answer was older than that);
as on older Linux, without ``TCP_RTO_MAX_MS``, that took 203 s (2026-11-21, 2 processors, one run each;
``tests/real/test_silence.py`` does the same with shorter times).

A telnet gets a NOP besides, which keeps those routers awake that forget quiet connections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from broadcast.tcp import keep_alive, tcp_socket

if TYPE_CHECKING:
    import socket

    from broadcast.outlets import StreamTransport
    from broadcast.tcp import Patience, Vitals

SLICE: Final = 64
"""So many connections are looked at between two looks at the clock: about a third of a millisecond."""
TURN_SECONDS: Final = 0.005
"""So long a sweep goes on before the reactor has its turn (PERFORMANCE: no turn takes longer than 20 ms)."""
IN_VAIN: Final = 2
"""So many segments must have been sent without any answer: one may have been lost."""

Soon: TypeAlias = Callable[[Callable[[], None]], object]
Every: TypeAlias = Callable[[float, Callable[[], None]], Callable[[], None]]
"""Calls a function on the reactor's thread every so many seconds, until what it returns is called."""


class Connection(Protocol):
    """What a door shows of one of its connections."""

    heard: bool
    """Whether anything has come since this was last set to False."""

    @property
    def transport(self) -> object:
        """Twisted's transport."""

    def nudge(self) -> None:
        """Send something that shows nothing, if this door has such a thing and they read what they are sent."""


class _Pulse:
    """What was seen of one connection."""

    __slots__ = ("doubtful", "quiet", "received", "sent", "since", "socket")

    def __init__(self, handle: socket.socket | None, now: float) -> None:
        self.socket = handle
        self.quiet = now
        """When they were last heard, or nudged."""
        self.received = -1
        self.sent = 0
        """How many segments had come and gone at the first look after the last one came."""
        self.since = now
        """When that look was."""
        self.doubtful = False
        """Whether, since then, enough has been sent in vain."""


class Heartbeat:
    """Looks after *connections*, which change as people come and go.

    *vitals* tells how a TCP connection is, or None; *every* and *soon* run functions on the reactor's thread, *now*
    tells seconds that no step of the wall clock changes.
    """

    def __init__(
        self,
        connections: Collection[Connection],
        patience: Patience,
        vitals: Callable[[socket.socket], Vitals | None],
        every: Every,
        soon: Soon,
        now: Callable[[], float],
    ) -> None:
        self._connections = connections
        self._patience = patience
        self._vitals = vitals
        self._every = every
        self._soon = soon
        self._now = now
        self._pulses: dict[Connection, _Pulse] = {}
        self._before: dict[Connection, _Pulse] = {}
        self._ahead: list[Connection] = []
        self._stop: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin; does nothing where nobody is to be probed."""
        if self._patience.probe:
            self._stop = self._every(self._patience.look, self._sweep)

    def stop(self) -> None:
        """Look at nobody any more."""
        self._ahead.clear()
        if self._stop is not None:
            self._stop()

    def _sweep(self) -> None:
        """Look at everybody, in as many turns as it takes; one sweep at a time."""
        if not self._ahead:
            self._ahead = list(self._connections)
            self._before, self._pulses = self._pulses, {}
            self._go_on()

    def _go_on(self) -> None:
        now = self._now()
        until = now + TURN_SECONDS
        try:
            while self._ahead and now <= until:
                for _ in range(min(SLICE, len(self._ahead))):
                    connection = self._ahead.pop()
                    if connection in self._connections:
                        self._look(connection, now)
                now = self._now()
        finally:  # whatever is wrong with one, the others are looked at
            if self._ahead:
                self._soon(self._go_on)
            else:
                self._before = {}

    def _look(self, connection: Connection, now: float) -> None:
        pulse = self._before.get(connection) or self._begin(connection, now)
        self._pulses[connection] = pulse
        if connection.heard:
            connection.heard = False
            pulse.quiet = now
        elif now - pulse.quiet >= self._patience.probe:
            pulse.quiet = now
            connection.nudge()
        if pulse.socket is not None:
            vitals = self._vitals(pulse.socket)
            if vitals is not None and self._is_gone(pulse, vitals, now):
                cast("StreamTransport", connection.transport).abortConnection()

    def _begin(self, connection: Connection, now: float) -> _Pulse:
        handle = tcp_socket(connection.transport)
        if handle is not None:
            keep_alive(handle, self._patience)
        return _Pulse(handle, now)

    def _is_gone(self, pulse: _Pulse, vitals: Vitals, now: float) -> bool:
        if vitals.received != pulse.received:
            pulse.received, pulse.sent, pulse.since, pulse.doubtful = vitals.received, vitals.sent, now, False
            return vitals.closed
        # The look before this one: what has just been sent may still be answered.
        doubtful, pulse.doubtful = pulse.doubtful, (vitals.sent - pulse.sent) % 2**32 >= IN_VAIN
        return vitals.closed or (doubtful and now - pulse.since >= self._patience.silence)


def every(soon: Soon, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
    """Call *call* through *soon* every so many *seconds*, unless it still waits; until what this returns is called.

    The seconds are those of a thread, which no step of a clock changes.
    """
    stopped = Event()
    waiting = Event()

    def run() -> None:
        while not stopped.wait(seconds):
            if not waiting.is_set():
                waiting.set()
                soon(beat)

    def beat() -> None:
        waiting.clear()
        if not stopped.is_set():
            call()

    Thread(target=run, name="heartbeat", daemon=True).start()
    return stopped.set
