"""The system's view of a TCP connection: keepalive settings, and the number of segments sent and received.

A peer that is alive acknowledges every segment, however slow it is and whether or not it reads. While its receive
buffer is full, it answers the probes that ask for room. So a peer is dead if segments remain unanswered.

``TCP_USER_TIMEOUT`` would be the short way, but it also ends connections whose peer only does not read: it counts from
the moment when the peer's buffer became full, although the peer answers every probe. Measured on Linux 6.18, over
loopback, with a peer that never reads:

* With a user timeout of 3 s, the connection ended after 3.27 s, 0.02 s after the last answer.
* Without it, the connection was alive after 150 s. The peer had answered at 1.5, 3.3, 6.8, 14, 27, 55 and 110 s; with
  a ``TCP_RTO_MAX_MS`` of 1 s, once a second.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from broadcast.keepalive import set_keepalive

TCP_RTO_MAX_MS: Final = 44
"""Maximum time between two retransmissions, in milliseconds, 1,000 to 120,000 (Linux 6.15, ``linux/tcp.h``)."""
TCP_RXT_CONNDROPTIME: Final = 0x80
"""Time of retransmissions before the connection is dropped, in seconds (macOS, ``netinet/tcp.h``)."""
KEEPALIVES: Final = 5
"""Number of unanswered keepalives that end a connection; fewer if the time is short."""

_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)
_CLOSED: Final = 7
"""TCP_CLOSE in ``linux/tcp_states.h``."""
_INFO: Final = struct.Struct("=B135xII")
"""``struct tcp_info`` in ``linux/tcp.h``: ``tcpi_state``, then, from byte 136, ``tcpi_segs_out`` and ``tcpi_segs_in``.

The latter exist since Linux 4.2. Later versions only append fields.
"""
_RETRANSMISSION: Final = struct.Struct("=2xBxB3xI12xI16xI8xI")
"""The fields of the same structure about data without an acknowledgement.

They are ``tcpi_retransmits``, ``tcpi_backoff``, ``tcpi_rto`` in microseconds, ``tcpi_unacked``, and
``tcpi_last_data_sent`` and ``tcpi_last_ack_recv`` in milliseconds.
"""


@dataclass(frozen=True, slots=True)
class KeepalivePolicy:
    """The times of silence, in seconds, after which a peer is probed and after which it is considered dead."""

    probe: int
    """Silence before the first probe. 0: peers are neither probed nor considered dead."""
    gone: int
    """Silence after which a peer is dead; more than *probe*."""

    @property
    def sweep_interval(self) -> float:
        """Time between two sweeps over all connections, in seconds. It limits how late a silent peer is noticed."""
        return min(self.gone / 20, self.probe / 4)

    @property
    def dead_after(self) -> float:
        """Silence, in seconds, after which a sweep considers a peer dead.

        It is less than ``gone``, because a sweep can be late, and so can its view of the last answer.
        """
        return self.gone - 3 * self.sweep_interval

    @property
    def keepalive(self) -> tuple[int, int, int]:
        """The idle time before the first keepalive, the interval, both in whole seconds, and the number of keepalives.

        Together they take a little less than ``gone``, because the system's timers can be late.
        """
        left = max(1, (self.gone - self.probe) * 9 // 10)
        count = min(KEEPALIVES, left)
        return self.probe, left // count, count


class TcpInfo(NamedTuple):
    """The state of a TCP connection."""

    closed: bool
    """Whether it has ended. The reactor does not notice that while it does not read from the connection."""
    sent: int
    """Number of segments sent, modulo 2 ** 32: data, retransmissions, acknowledgements and probes."""
    received: int
    """Number of segments received, modulo 2 ** 32."""


def tcp_socket(transport: object) -> socket.socket | None:
    """Return the TCP socket of *transport*, also below TLS, or None if there is none."""
    while transport is not None:
        handle = getattr(transport, "getHandle", lambda: None)()
        if isinstance(handle, socket.socket):
            return handle if handle.family in _INTERNET else None
        transport = getattr(transport, "transport", None)
    return None


def keep_alive(connection: socket.socket, policy: KeepalivePolicy) -> None:
    """Make the system probe *connection* while no data is in flight, and end it if the probes remain unanswered."""
    set_keepalive(connection, *policy.keepalive)
    if sys.platform == "linux":
        # By default, Linux probes a peer that has not read for minutes only every two minutes. A shorter interval makes
        # up for a lost probe. It must not be shorter than this, because Linux ends a connection after twice the
        # interval if the peer has taken back room that it had offered.
        interval_ms = min(max(1000, policy.gone * 1000 // 3), 120_000)
        _set(connection, TCP_RTO_MAX_MS, interval_ms)
    elif sys.platform == "darwin":
        _set(connection, TCP_RXT_CONNDROPTIME, policy.gone)


def _set(connection: socket.socket, option: int, value: int) -> None:
    """Set the TCP *option* if the system has it and the connection is still open."""
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def read_tcp_info(connection: socket.socket) -> TcpInfo | None:
    """Return the state of *connection*, or None if the system does not provide it."""
    info = _read(connection, _INFO)
    if info is None:
        return None
    state, sent, received = info
    return TcpInfo(state == _CLOSED, sent, received)


def _read(connection: socket.socket, fields: struct.Struct) -> tuple[int, ...] | None:
    """Return the *fields* of the system's ``struct tcp_info``, or None."""
    if sys.platform == "linux":
        # The socket may be closed, or the system too old for the fields.
        with suppress(OSError, struct.error):
            return fields.unpack(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, fields.size))
    return None


def seconds_unanswered(transport: object) -> float:
    """Return for how long the peer of *transport* has not acknowledged data, 0.0 if the system does not tell.

    The system retransmits data after one time-out, after two more, after four more and so on. After the first *n* of
    them, the time-out is 2 ** n times as long as the first one, and so much time has passed, less the first one.
    """
    connection = tcp_socket(transport)
    info = None if connection is None else _read(connection, _RETRANSMISSION)
    if info is None:
        return 0.0
    retransmits, backoff, rto, unacked, last_data_sent, last_ack_received = info
    if not (retransmits and unacked):
        return 0.0
    since_first_sent = rto * (1 - 2.0**-backoff) / 1e6 + last_data_sent / 1e3
    return float(min(since_first_sent, last_ack_received / 1e3))
