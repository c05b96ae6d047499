"""Who is still there: a probe for those who are silent, and the end of connections whose other side has vanished.

Nobody is ended for being idle, for being slow, or for not reading. A connection is over when nothing at all has come
from its other side for ``Patience.silence``, not even an acknowledgement, although something was sent again and again:
data, a probe for room in a full buffer, a keepalive.

* Where nothing is under way, TCP's keepalive sees to it, in the system. It rests while data is.
* Then, on Linux, the sweep does: it reads from the system how many segments went and came (``tcp_info``). Two that were
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
from typing import TYPE_CHECKING, Final, Protocol, cast

from broadcast.core.time_slice import CallSoon, TimeSlice
from broadcast.net.tcp_info import keep_alive, tcp_socket

if TYPE_CHECKING:
    import socket

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from broadcast.net.tcp_info import KeepalivePolicy, TcpInfo
    from broadcast.net.writers import StreamTransport

CHECKS_PER_SLICE: Final = 64
"""So many connections are looked at between two looks at the clock: about a third of a millisecond."""
UNANSWERED_SEGMENTS: Final = 2
"""So many segments must have been sent without any answer: one may have been lost."""


class Connection(Protocol):
    """What a door shows of one of its connections."""

    heard_from: bool
    """Whether anything has come since this was last set to False."""

    @property
    def transport(self) -> object:
        """Twisted's transport."""

    def send_noop(self) -> None:
        """Send something that shows nothing, if this door has such a thing and they read what they are sent."""


class _PeerState:
    """What was seen of one connection."""

    __slots__ = ("last_heard", "received", "sent", "since", "socket", "suspect")

    def __init__(self, handle: socket.socket | None, now: float) -> None:
        self.socket = handle
        self.last_heard = now
        """When they were last heard, or nudged."""
        self.received = -1
        self.sent = 0
        """How many segments had come and gone at the first look after the last one came."""
        self.since = now
        """When that look was."""
        self.suspect = False
        """Whether, since then, enough has been sent in vain."""


class DeadPeerDetector:
    """Looks after *connections*, which change as people come and go.

    *vitals* tells how a TCP connection is, or None. No step of the wall clock changes the seconds of *clock*; *soon*
    runs a function in a later turn of the reactor.
    """

    def __init__(
        self,
        connections: Collection[Connection],
        policy: KeepalivePolicy,
        read_tcp_info: Callable[[socket.socket], TcpInfo | None],
        clock: IReactorTime,
        call_soon: CallSoon,
    ) -> None:
        self._connections = connections
        self._policy = policy
        self._read_tcp_info = read_tcp_info
        self._clock = clock
        self._time_slice = TimeSlice(self._continue_sweep, call_soon, clock.seconds)
        self._states: dict[Connection, _PeerState] = {}
        self._previous_states: dict[Connection, _PeerState] = {}
        self._remaining: list[Connection] = []
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """Begin; does nothing where nobody is to be probed."""
        if self._policy.probe:
            self._next = self._clock.callLater(self._policy.sweep_interval, self._sweep)

    def stop(self) -> None:
        """Look at nobody any more."""
        self._remaining.clear()
        if self._next is not None:
            self._next.cancel()

    def _sweep(self) -> None:
        """Look at everybody, in as many turns as it takes; one sweep at a time."""
        self._next = self._clock.callLater(self._policy.sweep_interval, self._sweep)
        if not self._remaining:
            self._remaining = list(self._connections)
            self._previous_states, self._states = self._states, {}
            self._continue_sweep()

    def _continue_sweep(self) -> None:
        """Look at some; whatever is wrong with one of them, the next turn goes on with the others."""
        while self._remaining and not self._time_slice.exhausted():
            now = self._clock.seconds()
            for _ in range(min(CHECKS_PER_SLICE, len(self._remaining))):
                connection = self._remaining.pop()
                if connection in self._connections:
                    self._check(connection, now)
        if not self._remaining:
            self._previous_states = {}

    def _check(self, connection: Connection, now: float) -> None:
        pulse = self._previous_states.get(connection) or self._begin(connection, now)
        self._states[connection] = pulse
        if connection.heard_from:
            connection.heard_from = False
            pulse.last_heard = now
        elif now - pulse.last_heard >= self._policy.probe:
            pulse.last_heard = now
            connection.send_noop()
        if pulse.socket is not None:
            vitals = self._read_tcp_info(pulse.socket)
            if vitals is not None and self._is_gone(pulse, vitals, now):
                cast("StreamTransport", connection.transport).abortConnection()

    def _begin(self, connection: Connection, now: float) -> _PeerState:
        handle = tcp_socket(connection.transport)
        if handle is not None:
            keep_alive(handle, self._policy)
        return _PeerState(handle, now)

    def _is_gone(self, pulse: _PeerState, vitals: TcpInfo, now: float) -> bool:
        if vitals.received != pulse.received:
            pulse.received, pulse.sent, pulse.since, pulse.suspect = vitals.received, vitals.sent, now, False
            return vitals.closed
        # The look before this one: what has just been sent may still be answered.
        doubtful, pulse.suspect = pulse.suspect, (vitals.sent - pulse.sent) % 2**32 >= UNANSWERED_SEGMENTS
        return vitals.closed or (doubtful and now - pulse.since >= self._policy.dead_after)
