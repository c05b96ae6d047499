"""An epoll loop with timers for thousands of connections in one thread."""

from __future__ import annotations

import ctypes
import heapq
import select
import socket
import struct
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Protocol

CHUNK = 64 * 1024
WIDE = 4 * 1024 * 1024
NARROW = 4096
_RESET = struct.pack("ii", 1, 0)
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
"""Options from ``asm-generic/socket.h`` that the module ``socket`` does not name."""
_NOTHING_PASSES = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
"""A filter of one instruction that accepts no byte of any segment: ``BPF_RET | BPF_K`` 0, ``linux/filter.h``."""
_IN, _OUT, _BROKEN = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR | select.EPOLLHUP


def why_no_filters() -> str:
    """Return why this user may not stop the network of a connection; empty where that is allowed."""
    with socket.socket() as trial:
        try:
            _attach_filter(trial)
        except PermissionError as error:
            return f"socket filters are not allowed here: {error.strerror}"
    return ""


def _attach_filter(to: socket.socket) -> None:
    program = struct.pack("@HP", 1, ctypes.addressof(_NOTHING_PASSES))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


class Owner(Protocol):
    """The user of a connection."""

    def received(self, data: bytes, now: float) -> None:
        """Take in *data*, which was read at the monotonic time *now*."""

    def closed(self, why: str) -> None:
        """Note that the other side has ended the connection; *why* is empty, or the error that broke it."""


class Loop:
    """The loop."""

    def __init__(self) -> None:
        self.connections: dict[int, Connection] = {}
        self.first: list[Connection] = []
        """Connections that are read before all others in every turn."""
        self.longest = 0.0
        """The longest turn in seconds. The sampler resets it."""
        self.poll = select.epoll()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call *call* after *seconds*."""
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._number), call))

    def run(self, done: Callable[[], bool], seconds: float) -> bool:
        """Run until *done* or for *seconds*. Return whether it is done."""
        end = monotonic() + seconds
        while not done():
            now = monotonic()
            if now >= end:
                return False
            self._turn(now, min(end, now + 0.5))
        return True

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self.connections.values()):
            connection.close()
        self.poll.close()

    def _turn(self, now: float, until: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            heapq.heappop(timers)[2]()
        if timers:
            until = min(until, timers[0][0])
        events = self.poll.poll(max(0.0, until - monotonic()), 4096)
        now = monotonic()
        for connection in self.first:
            if connection.reading:
                connection.read(now)
        for number, event in events:
            found = self.connections.get(number)
            if found is None:
                continue
            if event & _OUT:
                found.writable()
            if event & (_IN | _BROKEN) and found.socket is not None:
                found.read(monotonic())
        self.longest = max(self.longest, monotonic() - now)


class Connection:
    """A connection to *port* of this machine. *buffers* is "narrow" or "wide" where their size matters."""

    def __init__(self, loop: Loop, port: int, owner: Owner, buffers: str = "") -> None:
        self.reading = True
        self._loop = loop
        self._owner = owner
        self._unsent = b""
        self._ending = False
        made = socket.socket()
        self.socket: socket.socket | None = made
        self.number = made.fileno()
        if buffers == "narrow":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
            # With large segments, the sender's system would hold megabytes.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        elif buffers == "wide":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WIDE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        made.connect_ex(("127.0.0.1", port))
        self._events = _IN | _OUT  # It becomes writable when it is connected.
        loop.poll.register(self.number, self._events)
        loop.connections[self.number] = self

    @property
    def full(self) -> bool:
        """Whether the system has not accepted everything yet."""
        return bool(self._unsent)

    def send(self, data: bytes) -> None:
        """Send *data* as soon as possible."""
        self._unsent += data
        if self.socket is not None and not self._events & _OUT:
            self._flush()

    def end(self) -> None:
        """Close the sending direction once everything has been sent."""
        self._ending = True
        self.send(b"")

    def read(self, now: float, size: int = CHUNK) -> None:
        """Read once."""
        assert self.socket is not None
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return
        except OSError as error:
            self.close()
            self._owner.closed(str(error.strerror))
            return
        if data:
            self._owner.received(data, now)
        else:
            self.close()
            self._owner.closed("")

    def sip(self) -> None:
        """Read one byte, if there is one."""
        if self.socket is not None:
            self.read(monotonic(), 1)

    def stop_reading(self) -> None:
        """Read nothing until ``resume_reading``."""
        self._watch(self._events & ~_IN)
        self.reading = False

    def resume_reading(self) -> None:
        """Read again."""
        self._watch(self._events | _IN)
        self.reading = True

    def stop_network(self) -> None:
        """Drop all segments of the other side, so that it gets no answer, not even from the system."""
        assert self.socket is not None
        _attach_filter(self.socket)

    def start_network(self) -> None:
        """Undo ``stop_network``."""
        assert self.socket is not None
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)

    def close(self) -> None:
        """Close both directions."""
        if self.socket is not None:
            self._loop.poll.unregister(self.number)
            del self._loop.connections[self.number]
            self.socket.close()
            self.socket = None

    def reset(self) -> None:
        """Close the connection with a reset."""
        if self.socket is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()

    def writable(self) -> None:
        """Go on sending: the connection is made, or the system has room again."""
        self._watch(self._events & ~_OUT)
        self._flush()

    def _flush(self) -> None:
        assert self.socket is not None
        try:
            if self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            if self._ending and not self._unsent:
                self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # There is no room; or the connection is broken, which reading will show.
        if self._unsent:
            self._watch(self._events | _OUT)

    def _watch(self, events: int) -> None:
        if self.socket is not None and events != self._events:
            self._events = events
            self._loop.poll.modify(self.number, events)
