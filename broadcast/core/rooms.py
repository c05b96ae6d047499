"""The open rooms, and how rooms are opened and closed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias

from broadcast.core.backlog import Backlog
from broadcast.core.errors import JournalError, RejectedError, RoomRejected
from broadcast.core.events import Event, Stored
from broadcast.core.interfaces import Callback, CallLater, Journal, OpenedRoom, Publisher
from broadcast.core.membership import Member
from broadcast.core.room import Room, RoomContext
from broadcast.core.settings import Settings

MAX_ROOM_NAME_CHARS: Final = 32
"""Maximum length of a room's name, in characters."""
_ROOM_NAME: Final = re.compile(f"[a-z0-9_-]{{1,{MAX_ROOM_NAME_CHARS}}}")


def fold_room_name(typed: str) -> str:
    """Return the room name *typed* as it is looked up: in lower case, without surrounding blanks."""
    return typed.strip().lower()


def parse_room_name(typed: str) -> str | None:
    """Return the name of the room that is *typed* in any case, or None if it cannot be one."""
    name = fold_room_name(typed)
    return name if _ROOM_NAME.fullmatch(name) else None


OnRoom: TypeAlias = Callable[[Room | RejectedError], None]
"""Receives an open room, or the reason why it cannot be opened."""
OnRooms: TypeAlias = Callable[[Sequence[Room] | RejectedError], None]
"""Receives open rooms, or the reason why one of them cannot be opened."""


class StreamListener(Protocol):
    """The part of ``OtherNodes`` that follows the streams of the rooms."""

    def find_remote(self, session: int, nick: str) -> Member:
        """Return a member on another node; see ``RoomContext``."""

    def follow_events(self, room: str, events: Sequence[Event]) -> None:
        """Update the people after *events* of other nodes; see ``RoomContext.on_foreign``."""

    def note_recent(self, room: str, lines: Sequence[Stored]) -> None:
        """Receive the recent *lines* of *room*, which has just been opened."""


class Rooms(dict[str, Room]):
    """The open rooms by name: those with members, the lobby, and those of ``Settings.fixed_rooms``.

    *make_publisher* makes the publisher of one room. *call_later* is that of ``RoomContext``.
    *others* knows the other nodes of a cluster.
    """

    def __init__(
        self,
        journal: Journal,
        make_publisher: Callable[[], Publisher],
        settings: Settings,
        backlog: Backlog,
        call_later: CallLater | None,
        others: StreamListener,
    ) -> None:
        super().__init__()
        self._journal = journal
        self._make_publisher = make_publisher
        self._settings = settings
        self._others = others
        self._context = RoomContext(
            journal.commit_stats,
            backlog,
            settings.replay,
            self._close,
            call_later,
            others.find_remote,
            others.follow_events,
        )
        self._opening: dict[str, list[OnRoom]] = {}
        """The callbacks that wait until the journal has opened a room, by the name of the room."""
        self._permanent = {settings.lobby, *(settings.fixed_rooms or ())}

    @property
    def lobby(self) -> Room:
        """The room in which all people arrive. It is open from ``open_journal`` on."""
        return self[self._settings.lobby]

    def open_journal(self) -> None:
        """Open the journal and the lobby. Raises ``JournalError``."""
        lobby = self._settings.lobby
        self._add(lobby, self._journal.open(lobby, self.tail))

    def start_anew(self, lobby: OpenedRoom) -> None:
        """Forget all rooms, and open the *lobby* of a journal that has started anew."""
        for room in self.values():
            room.close()
        self.clear()
        self._opening.clear()
        self._add(self._settings.lobby, lobby)

    def open(self, typed: str, on_room: OnRoom) -> None:
        """Open the room with the name *typed*, and call *on_room* with it or with the reason of a failure.

        The call comes at once if the room is open already. A room that has no members after the call is closed again.
        """
        try:
            name = self._validate(typed)
        except RoomRejected as error:
            on_room(error)
            return
        if name in self:
            on_room(self[name])
        elif name in self._opening:
            self._opening[name].append(on_room)
        else:
            self._opening[name] = [on_room]
            self._journal.open_room(name, self.tail, partial(self._on_opened, name))

    def open_all(self, typed: Sequence[str], on_rooms: OnRooms) -> None:
        """Open all rooms with the names *typed*, and call *on_rooms* with them or with the reason of a failure.

        The rooms that have no members after the call are closed again.
        """
        self._open_next(typed, [], on_rooms)

    def _open_next(
        self, typed: Sequence[str], rooms: list[Room], on_rooms: OnRooms, opened: Room | RejectedError | None = None
    ) -> None:
        """Add *opened* to *rooms*, and open the next one of the rooms *typed*."""
        if isinstance(opened, Room):
            self.reserve([opened])
            rooms.append(opened)
        if isinstance(opened, RejectedError) or len(rooms) == len(typed):
            on_rooms(opened if isinstance(opened, RejectedError) else rooms)
            self.end_reservations(rooms)
        else:
            self.open(typed[len(rooms)], partial(self._open_next, typed, rooms, on_rooms))

    def _on_opened(self, name: str, opened: OpenedRoom | JournalError) -> None:
        callbacks = self._opening.pop(name, [])
        room: Room | RejectedError
        if isinstance(opened, JournalError):
            room = RoomRejected(f"the room {name} cannot be opened: {opened}", "room-refused", name)
        else:
            room = self._add(name, opened)
            self.reserve([room])  # otherwise the first callback could close the room before the second one
        for on_room in callbacks:
            on_room(room)
        if isinstance(room, Room):
            self.end_reservations([room])

    def reserve(self, rooms: Iterable[Room]) -> None:
        """Let *rooms* stay open for one more member until ``end_reservations``."""
        for room in rooms:
            room.reservations += 1

    def end_reservations(self, rooms: Iterable[Room]) -> None:
        """End one reservation of each of *rooms*, and close those that are unused."""
        for room in rooms:
            room.reservations -= 1
            if room.is_unused:
                self._close(room)

    def _validate(self, typed: str) -> str:
        """Return the name of the room in *typed*. Raises ``RoomRejected`` unless it may be open."""
        name = parse_room_name(typed)
        if name is None:
            msg = f"a room's name has 1 to {MAX_ROOM_NAME_CHARS} of a-z, 0-9, _ and -."
            raise RoomRejected(msg, "room-refused", typed)
        if name in self or name in self._opening or name in self._permanent:
            return name
        if self._settings.fixed_rooms is not None:
            msg = f"there is no room {name}. /rooms lists the rooms of this server."
            raise RoomRejected(msg, "no-such-room", typed)
        most = self._settings.limits.rooms
        if len(self) + len(self._opening) >= most:
            msg = f"this server has {most} open rooms, which is its limit. /rooms lists them."
            raise RoomRejected(msg, "room-refused", typed)
        return name

    @property
    def tail(self) -> int:
        """Number of stored events that are read when a room is opened."""
        return max(self._settings.replay, 1)

    def _add(self, name: str, opened: OpenedRoom) -> Room:
        room = self[name] = Room(name, opened, self._make_publisher(), self._context)
        self._others.note_recent(name, room.recent_lines)
        return room

    def _close(self, room: Room) -> None:
        """Close *room*, unless it is permanent or closed already."""
        if room.name not in self._permanent and self.get(room.name) is room:
            del self[room.name]
            room.close()


def call_after_barriers(rooms: Sequence[Room], call: Callback) -> None:
    """Call *call* once all events that were appended to *rooms* are delivered, or at once if there are no rooms."""
    undelivered = len(rooms)

    def count_down() -> None:
        nonlocal undelivered
        undelivered -= 1
        if not undelivered:
            call()

    for room in rooms:
        room.after_barrier(count_down)
    if not rooms:
        call()
