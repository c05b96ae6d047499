"""What TCP can tell of the other side: the system's own probes, and how many segments went and came.

A peer that is there acknowledges what it is sent, however slow it is and whether or not it reads: while its buffer is
full, it answers the probes that ask whether there is room again. So it is gone when what was sent stays unanswered.

``TCP_USER_TIMEOUT`` would be the short way, and is not used: it disconnects who only does not read. It counts from
when their buffer became full, although they answer every probe. (Linux 6.18, on loopback, a peer that never reads: with
a user timeout of 3 s the connection was ended after 3.27 s, 0.02 s after its last answer. Without, it was there after
150 s, and had answered at 1.5, 3.3, 6.8, 14, 27, 55 and 110 s; with ``TCP_RTO_MAX_MS`` of 1 s, once a second.)
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

TCP_RTO_MAX_MS: Final = 44
"""Linux 6.15, ``linux/tcp.h``: the longest pause between two attempts, in milliseconds, 1,000 to 120,000."""
TCP_RXT_CONNDROPTIME: Final = 0x80
"""macOS, ``netinet/tcp.h``: for how many seconds data is sent again before the connection is dropped."""
KEEPALIVES: Final = 5
"""So many unanswered keepalives end a connection, or fewer where the time is short."""

_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)
_CLOSED: Final = 7
"""TCP_CLOSE in ``linux/tcp_states.h``."""
_INFO: Final = struct.Struct("=B135xII")
"""``struct tcp_info`` in ``linux/tcp.h``: ``tcpi_state``, then, from byte 136, ``tcpi_segs_out`` and ``tcpi_segs_in``.

The latter are there since Linux 4.2; what is longer now only had more added behind them.
"""


@dataclass(frozen=True, slots=True)
class KeepalivePolicy:
    """How long, in seconds, a peer may be silent: until it is probed, and until it is taken for gone."""

    probe: int
    """0: nobody is probed, and nobody taken for gone."""
    gone: int
    """More than *probe*."""

    @property
    def sweep_interval(self) -> float:
        """So often everybody is looked at: how late it can be noticed that they are gone, or silent."""
        return min(self.gone / 20, self.probe / 4)

    @property
    def dead_after(self) -> float:
        """Who has been silent for so long at a look is gone: the look may come late, and so may what it looks at."""
        return self.gone - 3 * self.sweep_interval

    @property
    def keepalive(self) -> tuple[int, int, int]:
        """The silence before the first keepalive, from one to the next, and how many in vain end the connection.

        Altogether a little less than *gone*, for the system's timers may be late. They take whole seconds.
        """
        left = max(1, (self.gone - self.probe) * 9 // 10)
        count = min(KEEPALIVES, left)
        return self.probe, left // count, count


class TcpInfo(NamedTuple):
    """What the system knows of a connection."""

    closed: bool
    """Whether it has ended already; nobody may have been told, where it is not read from."""
    sent: int
    """Segments that went, modulo 2 ** 32: data and acknowledgements, sent again or not, and probes."""
    received: int
    """Segments that came, likewise."""


def tcp_socket(transport: object) -> socket.socket | None:
    """The TCP socket below *transport*, beneath TLS too; None where there is none."""
    while transport is not None:
        handle = getattr(transport, "getHandle", lambda: None)()
        if isinstance(handle, socket.socket):
            return handle if handle.family in _INTERNET else None
        transport = getattr(transport, "transport", None)
    return None


def keep_alive(connection: socket.socket, patience: KeepalivePolicy) -> None:
    """Have the system probe *connection* while nothing is sent, and end it when it is not answered."""
    idle, interval, count = patience.keepalive
    _set(connection, socket.SOL_SOCKET, "SO_KEEPALIVE", 1)
    # macOS has another name for it.
    _set(connection, socket.IPPROTO_TCP, "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE", idle)
    _set(connection, socket.IPPROTO_TCP, "TCP_KEEPINTVL", interval)
    _set(connection, socket.IPPROTO_TCP, "TCP_KEEPCNT", count)
    if sys.platform == "linux":
        # Who has not read for minutes is asked only every two minutes whether there is room. More often, and a lost
        # question is soon made good for. Not oftener than this: where a peer has taken back room that it had offered,
        # Linux itself gives up after twice the pause.
        pause = min(max(1000, patience.gone * 1000 // 3), 120_000)
        _set(connection, socket.IPPROTO_TCP, TCP_RTO_MAX_MS, pause)
    elif sys.platform == "darwin":
        _set(connection, socket.IPPROTO_TCP, TCP_RXT_CONNDROPTIME, patience.gone)


def _set(connection: socket.socket, level: int, option: str | int, value: int) -> None:
    """Set *option*, where this system has it, and the connection still is one."""
    number = getattr(socket, option, None) if isinstance(option, str) else option
    if number is not None:
        with suppress(OSError):
            connection.setsockopt(level, number, value)


def read_tcp_info(connection: socket.socket) -> TcpInfo | None:
    """How *connection* is; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        state, sent, received = _INFO.unpack(info)
    except (OSError, struct.error):  # closed meanwhile; a system older than the fields
        return None
    return TcpInfo(state == _CLOSED, sent, received)
