"""The events that wait for the program, and the place of each room's lines among them.

The server's numbers are dense, so a missing number is a missing line. While lines are missing, or the queue is full,
the inbox drops newer lines and reads them from the server's history later, like the missing ones. So each line comes
once and in order, and memory is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import UnsetType

from broadcast.client.protocol import events
from broadcast.client.protocol.events import Event, Gap
from broadcast.client.protocol.requests import Join, Lines, Snapshot

MAX_EVENTS: Final = 1000
"""The most events that wait for the program, apart from a page of history and private messages."""
MAX_EXTRA_TOLD: Final = 200
"""The most private messages that wait in addition."""
PAGE: Final = 1000


class RoomStream:
    """The place of a room's lines in the queue, as a cursor."""

    def __init__(self, name: str, seen: int) -> None:
        self.name = name
        self.seen = seen
        """The number of the last line that is in the queue, or was there."""
        self.taken = seen
        """The number of the last line that the program has taken from the queue."""
        self.newest = seen
        """The highest number that exists, as far as this client knows."""
        self.is_asking = False
        """True until a request for missing lines is answered."""
        self.page = PAGE
        """The number of lines to ask for next. Long lines make it smaller, because an answer has a limit in bytes."""

    @property
    def is_behind(self) -> bool:
        """Whether lines are missing."""
        return self.seen < self.newest


class Inbox:
    """The queue of events. *ask* requests a page of lines that a room lacks; ``fill`` takes the answer."""

    def __init__(self, ask: Callable[[RoomStream], None], max_events: int) -> None:
        self.streams: dict[str, RoomStream] = {}
        self.told = 0
        """The id of the last private message that is in the queue, or was there."""
        self.told_taken = 0
        """The id of the last private message that the program has taken from the queue."""
        self._ask = ask
        self._max_events = max_events
        self._is_online = False
        self._queue: deque[Event] = deque()
        self._skipped: dict[str | None, int] = {}
        """The number of events that were left out, by room."""
        self._is_postponed = False
        """True while a request for missing lines, or a ``Skipped``, waits until half of the queue is free."""

    @property
    def is_full(self) -> bool:
        """Whether the queue takes no more events."""
        return len(self._queue) >= self._max_events

    @property
    def _is_half_full(self) -> bool:
        return len(self._queue) > self._max_events // 2

    def next_event(self) -> Event | None:
        """Return the next event for the program, or None if there is none now."""
        if not self._queue:
            return None
        event = self._queue.popleft()
        # The queue may still hold events from before the numbers began anew, hence the minimum.
        match event:
            case events.Said() | events.Emoted() | events.Shared() if stream := self.streams.get(event.room):
                stream.taken = min(event.seq, stream.seen)
            case Gap() if stream := self.streams.get(event.room):
                stream.taken = min(event.last, stream.seen)
            case events.Told():
                self.told_taken = min(event.id, self.told)
        if self._is_postponed and not self._is_half_full:
            self._make_up()
        return event

    def append(self, event: Event) -> None:
        """Append an event that has no number. If the queue is full, only count it."""
        limit = self._max_events + (MAX_EXTRA_TOLD if isinstance(event, events.Told) else 0)
        if len(self._queue) < limit:
            self._queue.append(event)
        else:
            room = getattr(event, "room", None)
            self._skipped[room] = self._skipped.get(room, 0) + 1
            self._is_postponed = True

    # The connection

    def connected(self, *, resumed: bool) -> None:
        """Begin a connection. The ids of private messages continue if the session is *resumed*."""
        self._is_online = True
        if not resumed:
            self.told = self.told_taken = 0

    def disconnected(self) -> None:
        """End a connection. Requests for missing lines are lost."""
        self._is_online = False
        for stream in self.streams.values():
            stream.is_asking = False

    def forget_numbers(self) -> None:
        """Forget all numbers and rooms, because the server has another journal."""
        self.told = self.told_taken = 0
        self.streams.clear()

    # Rooms

    def enter(self, name: str, snapshot: Snapshot, join: Join | None = None) -> None:
        """Add a room, and take the lines that come before its first notification.

        *join* is the request that the server has answered with *snapshot*. An answer to ``hello`` may hold more or
        fewer lines than the request asks for.
        """
        lines = events.decode_list(snapshot.events)
        stream = self.streams.get(name)
        if stream is None:
            first = next((event.seq for event in lines if isinstance(event, events.Line)), snapshot.last + 1)
            seen = first - 1
            if join and not isinstance(join.after, UnsetType):
                seen = join.after
            elif join and not isinstance(join.replay, UnsetType):
                seen = max(snapshot.last - join.replay, 0)
            stream = self.streams[name] = RoomStream(name, seen)
        for event in lines:
            self.take(event)
        stream.newest = max(stream.newest, snapshot.last)
        self._catch_up(stream)

    def leave(self, name: str) -> None:
        """Forget a room."""
        self.streams.pop(name, None)

    # Events

    def take(self, event: Event) -> None:
        """Append an event from the server. Drop repeated lines and private messages."""
        match event:
            case events.Said() | events.Emoted() | events.Shared() if stream := self.streams.get(event.room):
                self._take_line(stream, event)
            case Gap() if stream := self.streams.get(event.room):
                stream.newest = max(stream.newest, event.last)
                self._catch_up(stream)
            case events.Told() if event.id <= self.told:
                pass
            case events.Told():
                self.told = event.id
                self.append(event)
            case _:
                self.append(event)

    def _take_line(self, stream: RoomStream, line: events.Line) -> None:
        if line.seq <= stream.seen:
            return
        if not self.is_full and line.seq == stream.seen + 1:
            self._queue.append(line)
            stream.seen = line.seq
        stream.newest = max(stream.newest, line.seq)
        self._catch_up(stream)

    def _catch_up(self, stream: RoomStream) -> None:
        """Ask for the missing lines of a room, now or when half of the queue is free."""
        if not stream.is_behind or stream.is_asking or not self._is_online:
            return
        if self._is_half_full:
            self._is_postponed = True
        else:
            stream.is_asking = True
            self._ask(stream)

    def fill(self, stream: RoomStream, page: Lines | None, _error: object = None) -> None:
        """Append missing lines: the end of a request of *ask*. *page* is None if the server has refused it."""
        if self.streams.get(stream.name) is not stream:
            return
        stream.is_asking = False
        lines = [line for line in page.lines if line.seq > stream.seen] if page else []
        first = lines[0].seq if lines else stream.newest + 1
        if lines and first > stream.seen + 1 and stream.page > 1:
            # The server may leave the oldest lines out of an answer that would be too long.
            stream.page //= 2
        else:
            stream.page = min(PAGE, stream.page * 2)
            if first > stream.seen + 1:  # the server does not have them any more
                self._queue.append(Gap(stream.name, stream.seen + 1, first - 1))
                stream.seen = first - 1
            self._queue.extend(lines)
            stream.seen = lines[-1].seq if lines else stream.seen
            stream.newest = max(stream.newest, stream.seen)
        self._catch_up(stream)

    def _make_up(self) -> None:
        """Continue after the program has taken half of the events that filled the queue."""
        self._is_postponed = False
        self._queue.extend(events.Skipped(room, count) for room, count in self._skipped.items())
        self._skipped.clear()
        for stream in self.streams.values():
            self._catch_up(stream)
