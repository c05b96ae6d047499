"""Thousands of connections in one thread: an epoll loop with timers, and as little else as can be."""

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
MUCH = 4 * 1024 * 1024
_RESET = struct.pack("ii", 1, 0)
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
"""Of ``asm-generic/socket.h``; the module ``socket`` does not name them."""
_NOTHING_PASSES = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
"""A filter of one instruction, which takes no byte of any segment: ``BPF_RET | BPF_K`` 0, ``linux/filter.h``."""
_IN, _OUT, _BROKEN = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR | select.EPOLLHUP


def why_no_filters() -> str:
    """Return why this user may not stop the network of a connection; empty where it may."""
    with socket.socket() as tried:
        try:
            _attach_filter(tried)
        except PermissionError as error:
            return f"socket filters are not allowed here: {error.strerror}"
    return ""


def _attach_filter(to: socket.socket) -> None:
    program = struct.pack("@HP", 1, ctypes.addressof(_NOTHING_PASSES))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


class Owner(Protocol):
    """Whose connection it is."""

    def received(self, data: bytes, now: float) -> None:
        """*data* came in at the time *now* (seconds that never go back)."""

    def closed(self, why: str) -> None:
        """The other side has ended: *why* is empty, or says what broke the connection."""


class Timer:
    """A call that may be called off."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Call nothing."""
        self.call = None


class Loop:
    """Waits for all of them."""

    def __init__(self) -> None:
        self.connections: dict[int, Connection] = {}
        self.first: list[Connection] = []
        """Those that are read before all others in every turn."""
        self.longest = 0.0
        """The longest turn since somebody last set this to 0, in seconds."""
        self.poll = select.epoll()
        self._timers: list[tuple[float, int, Timer]] = []
        self._number = count()

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call *call* after *seconds*."""
        timer = Timer(call)
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._number), timer))
        return timer

    def run(self, done: Callable[[], bool], seconds: float) -> bool:
        """Go on until *done*, or until *seconds* are over; whether it is done."""
        end = monotonic() + seconds
        while not done():
            now = monotonic()
            if now >= end:
                return False
            self._turn(now, min(end, now + 0.5))
        return True

    def close(self) -> None:
        """Close everything."""
        for connection in list(self.connections.values()):
            connection.close()
        self.poll.close()

    def _turn(self, now: float, until: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            call = heapq.heappop(timers)[2].call
            if call is not None:
                call()
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
    """One, to *port* of this machine; *narrow*, *wide*: the system holds little, or much, of what is not read."""

    def __init__(self, loop: Loop, port: int, owner: Owner, *, narrow: bool = False, wide: bool = False) -> None:
        self.reading = True
        self._loop = loop
        self._owner = owner
        self._unsent = b""
        self._ending = False
        made = socket.socket()
        self.socket: socket.socket | None = made
        self.number = made.fileno()
        if narrow:
            # Of large segments, the sender would hold megabytes.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        if wide:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MUCH)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        made.connect_ex(("127.0.0.1", port))
        self._events = _IN | _OUT  # writable: connected
        loop.poll.register(self.number, self._events)
        loop.connections[self.number] = self

    @property
    def full(self) -> bool:
        """Whether something that was said waits for the system to take it."""
        return bool(self._unsent)

    def send(self, data: bytes) -> None:
        """Send *data*, as soon as that can be."""
        if self.socket is None:
            return
        self._unsent += data
        if not self._events & _OUT:
            self._flush()

    def end(self) -> None:
        """Say that nothing more will be sent, once everything is; go on reading."""
        self._ending = True
        if self.socket is not None and not self._unsent and not self._events & _OUT:
            self._shut()

    def read(self, now: float) -> None:
        """Read once."""
        assert self.socket is not None
        try:
            data = self.socket.recv(CHUNK)
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
        """Read one byte, though not reading; does nothing where there is none."""
        if self.socket is None:
            return
        try:
            data = self.socket.recv(1)
        except OSError:
            return  # nothing there, or broken: who reads on will find out
        if data:
            self._owner.received(data, monotonic())

    def stop_reading(self) -> None:
        """Read nothing more."""
        self._watch(self._events & ~_IN)
        self.reading = False

    def read_on(self) -> None:
        """Read again."""
        self._watch(self._events | _IN)
        self.reading = True

    def lose_network(self) -> None:
        """From here on, nothing of the other side's arrives, and it gets no answer, not even from the system."""
        assert self.socket is not None
        _attach_filter(self.socket)

    def find_network(self) -> None:
        """All is as it was."""
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
        """Break it."""
        if self.socket is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()

    def writable(self) -> None:
        """It is connected, or has room again."""
        self._watch(self._events & ~_OUT)
        self._flush()

    def _flush(self) -> None:
        assert self.socket is not None
        if self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except OSError:
                sent = 0  # no room; or it is broken, which reading will show
            self._unsent = self._unsent[sent:]
        if self._unsent:
            self._watch(self._events | _OUT)
        elif self._ending:
            self._shut()

    def _shut(self) -> None:
        assert self.socket is not None
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is broken, which reading will show

    def _watch(self, events: int) -> None:
        if self.socket is not None and events != self._events:
            self._events = events
            self._loop.poll.modify(self.number, events)
