"""Keepalive: probes for silent peers, and the end of connections whose peer has vanished.

A peer is not disconnected for being idle, slow, or not reading. It is dead if nothing has arrived from it for
``KeepalivePolicy.dead_after`` seconds, not even an acknowledgement, although several segments were sent: data, probes
for room in a full buffer, keepalives.

* While no data is in flight, TCP's keepalive in the system detects a dead peer. It pauses while data is in flight.
* Meanwhile, on Linux, the sweep detects it: it reads from the system how many segments were sent and received
  (``tcp_info``). It requires two unanswered segments, because one can be lost. A segment counts only if it was sent
  after the sweep that noticed the last answer. Linux before 6.15 probes a peer that does not read only every two
  minutes. There, a peer that had not read for minutes and then vanishes is detected after four minutes, all others in
  time.
* On macOS, the system drops a peer that does not acknowledge data. A peer that vanishes while its buffer is full is
  detected when the system gives up, which takes minutes. On other systems, this holds for every peer that vanishes
  while data is in flight.

Measured with the defaults on Linux 6.18, with a peer that vanished from a network of namespaces (2026-11-21, 2
processors, one run each; ``tests/real/test_silence.py`` does the same with shorter times):

* no data in flight: detected after 131 s
* a line in flight: after 135 s
* a peer that had not read for 150 s: after 91 s (its last answer was older than that)
* the same as on older Linux, without ``TCP_RTO_MAX_MS``: after 203 s

A proxy acknowledges data for a client that has vanished. So a client that must answer probes itself, as on a WebSocket,
is also dead after ``KeepalivePolicy.dead_after`` seconds without input.

Telnet clients receive a NOP, too. It keeps the connection in the tables of routers that forget quiet connections.
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
"""Number of connections checked between two checks of the time slice. They take a third of a millisecond."""
UNANSWERED_SEGMENTS: Final = 2
"""Number of segments without an answer that make a peer suspect. One alone can have been lost."""


class Connection(Protocol):
    """A connection of a door."""

    heard_from: bool
    """Whether any bytes have arrived since this was last set to False."""

    @property
    def transport(self) -> object:
        """The Twisted transport."""

    @property
    def must_answer(self) -> bool:
        """Whether the client must answer ``send_noop``, and the server reads the answer."""

    def send_noop(self) -> None:
        """Send bytes without a visible effect, if the protocol has such bytes and the peer reads."""


class _PeerState:
    """The observations of one connection."""

    __slots__ = ("answered", "last_heard", "received", "sent", "since", "socket", "suspect")

    def __init__(self, handle: socket.socket | None, now: float) -> None:
        self.socket = handle
        self.last_heard = now
        """Time of the last input or the last ``send_noop``."""
        self.answered = now
        """Time of the last input, or of the last check at which the peer did not have to answer."""
        self.received = -1
        """Number of segments received at the last change of that number."""
        self.sent = 0
        """Number of segments sent at the same check."""
        self.since = now
        """Time of that check."""
        self.suspect = False
        """Whether enough segments have been sent since then without an answer."""


class DeadPeerDetector:
    """Periodic sweeps over *connections*, a live collection. They probe silent peers and disconnect dead ones.

    *read_tcp_info* returns the state of a TCP connection, or None. The seconds of *clock* are monotonic.
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
        """Start the sweeps, unless the policy has no probes."""
        if self._policy.probe:
            self._next = self._clock.callLater(self._policy.sweep_interval, self._sweep)

    def stop(self) -> None:
        """Stop the sweeps."""
        self._remaining.clear()
        if self._next is not None:
            self._next.cancel()

    def _sweep(self) -> None:
        """Start a sweep, which can take several turns of the reactor, unless one is still running."""
        self._next = self._clock.callLater(self._policy.sweep_interval, self._sweep)
        if not self._remaining:
            self._remaining = list(self._connections)
            self._previous_states, self._states = self._states, {}
            self._continue_sweep()

    def _continue_sweep(self) -> None:
        """Check the next connections. If a check raises an exception, the next turn continues with the others."""
        while self._remaining and not self._time_slice.exhausted():
            now = self._clock.seconds()
            for _ in range(min(CHECKS_PER_SLICE, len(self._remaining))):
                connection = self._remaining.pop()
                if connection in self._connections:
                    self._check(connection, now)
        if not self._remaining:
            self._previous_states = {}

    def _check(self, connection: Connection, now: float) -> None:
        state = self._previous_states.get(connection) or self._new_state(connection, now)
        self._states[connection] = state
        if connection.heard_from:
            connection.heard_from = False
            state.last_heard = state.answered = now
        elif now - state.last_heard >= self._policy.probe:
            state.last_heard = now
            connection.send_noop()
        if not connection.must_answer:
            state.answered = now
        elif now - state.answered >= self._policy.dead_after:
            cast("StreamTransport", connection.transport).abortConnection()
            return
        if state.socket is not None:
            info = self._read_tcp_info(state.socket)
            if info is not None and self._is_dead(state, info, now):
                cast("StreamTransport", connection.transport).abortConnection()

    def _new_state(self, connection: Connection, now: float) -> _PeerState:
        handle = tcp_socket(connection.transport)
        if handle is not None:
            keep_alive(handle, self._policy)
        return _PeerState(handle, now)

    def _is_dead(self, state: _PeerState, info: TcpInfo, now: float) -> bool:
        if info.received != state.received:
            state.received, state.sent, state.since, state.suspect = info.received, info.sent, now, False
            return info.closed
        # The previous check must have found the peer suspect, because segments sent since then may still be answered.
        was_suspect, state.suspect = state.suspect, (info.sent - state.sent) % 2**32 >= UNANSWERED_SEGMENTS
        return info.closed or (was_suspect and now - state.since >= self._policy.dead_after)
