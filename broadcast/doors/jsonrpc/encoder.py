"""The encoder of the JSON-RPC door: the events of a room as notifications, one in each line.

``msgspec`` takes twice the time for nearly all events, because it needs two objects for each.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring as quote
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct

from broadcast.core import events
from broadcast.core.events import Action, Message, Shared
from broadcast.doors.jsonrpc import notifications
from broadcast.doors.jsonrpc.catalogue import NOTIFICATIONS
from broadcast.doors.jsonrpc.errors import Code
from broadcast.doors.jsonrpc.messages import File, Notification

if TYPE_CHECKING:
    from broadcast.core.events import Event, FileInfo, Line, Notice, PrivateMessage, Stored
    from broadcast.core.records import PrivateLine

FrameLine: TypeAlias = Callable[[bytes], bytes]
"""Puts one line, with its end, into the frame of another protocol."""

_json: Final = msgspec.json.Encoder()
_METHODS: Final = {params: method for method, params in NOTIFICATIONS.items()}
_METHODS_OF: Final = {events.TopicChanged: "topic", Message: "say", Action: "emote", Shared: "upload"}
"""The methods that cause stored events."""
_HEAD: Final = '{"jsonrpc":"2.0","method":'


def encode_line(message: Struct) -> bytes:
    """Return *message* as a line."""
    return _json.encode(message) + b"\n"


def encode_notification(params: Struct) -> bytes:
    """Return the notification with *params*, whose type belongs to its method, as a line."""
    return encode_line(Notification(method=_METHODS[type(params)], params=params))


def public_id(session: int) -> str:
    """Return the id of *session* as programs see it. It is empty if the session is not known."""
    return f"{session:x}" if session else ""


class RoomEncoder:
    """The encoder for the stream of the room *room*, whose name needs no quotes.

    *now* returns monotonic seconds. *file_url* returns the address of a file, empty if the file is no longer there.
    """

    def __init__(
        self, room: str, now: Callable[[], float], file_url: Callable[[FileInfo], str] = lambda _file: ""
    ) -> None:
        self.last_output = -inf
        """Time of the last line. The subscribers have received nothing since."""
        self._now = now
        self._room = room
        self._file_url = file_url
        self._said = f'{_HEAD}"said","params":{{"room":"{room}","seq":'
        self._emoted = f'{_HEAD}"emoted","params":{{"room":"{room}","seq":'
        self._said_event = f'{{"method":"said","room":"{room}","seq":'
        self._emoted_event = f'{{"method":"emoted","room":"{room}","seq":'

    def encode(self, event: Event | Notice) -> bytes:
        """Return *event* as a line, or no bytes if programs do not receive it."""
        if type(event) is Message:
            self.last_output = self._now()
            return f"{self._said}{self._members(event)}}}\n".encode()
        if type(event) is Action:
            self.last_output = self._now()
            return f"{self._emoted}{self._members(event)}}}\n".encode()
        params = self._rare(event)
        if params is None:
            return b""
        self.last_output = self._now()
        return encode_notification(params)

    def encode_in_result(self, event: Stored) -> bytes:
        """Return *event* as an object, for ``events`` in a result."""
        if isinstance(event, Message):
            start = self._said_event
        elif isinstance(event, Action):
            start = self._emoted_event
        else:
            return b'{"method":"shared",' + _json.encode(self._describe_shared(event))[1:]
        return f"{start}{self._members(event)}".encode()

    def encode_gap_in_result(self, first: int, last: int) -> bytes:
        """Return the notice that *first* to *last* are missing, for ``events`` in a result."""
        return f'{{"method":"gap","room":"{self._room}","first":{first},"last":{last}}}'.encode()

    def _describe_shared(self, event: Shared) -> notifications.Shared:
        return notifications.Shared(
            room=self._room,
            seq=event.seq,
            at=round(event.at, 3),
            nick=event.nick,
            session=public_id(event.session),
            file=describe_file(event.file, self._file_url(event.file)),
            uid=event.uid or UNSET,
        )

    def _members(self, event: Line) -> str:
        """Return the members of *event* after the room, and the end of the object."""
        session = f"{event.session:x}" if event.session else ""  # ``public_id``, without a call for every line
        uid = f',"uid":"{event.uid}"' if event.uid else ""
        nick = quote(event.nick)  # JSON would only have to escape it if another program has changed the journal
        text = quote(event.text)
        return f'{event.seq},"at":{event.at:.3f},"nick":{nick},"session":"{session}","text":{text}{uid}}}'

    def _rare(self, event: Event | Notice) -> Struct | None:  # noqa: C901, PLR0911, PLR0912 - a case for each
        """Return the parameters of the notification for *event*, or None if programs do not receive it."""
        room = self._room
        match event:
            case Shared():
                return self._describe_shared(event)
            case events.Joined(session=session, nick=nick):
                return notifications.Joined(room=room, nick=nick, session=public_id(session))
            case events.Left(session=session, nick=nick, reason=reason, by=by):
                return notifications.Left(
                    room=room, nick=nick, session=public_id(session), reason=reason or None, by=by or UNSET
                )
            case events.JoinCount(count=count):
                return notifications.Crowd(room=room, joined=count, left=0)
            case events.LeaveCount(count=count):
                return notifications.Crowd(room=room, joined=0, left=count)
            case events.Renamed(session=session, nick=old, new=nick):
                return notifications.Renamed(room=room, old=old, nick=nick, session=public_id(session))
            case events.AwayChanged(session=session, nick=nick, away=away, reason=reason):
                why = reason if away else None
                return notifications.Away(room=room, nick=nick, session=public_id(session), reason=why)
            case events.TopicChanged(session=session, nick=nick, text=text):
                return notifications.TopicChange(room=room, nick=nick, session=public_id(session), text=text or None)
            case events.Announced(text=text):
                return notifications.Announced(room=room, text=text)
            case events.Gap(first=first, last=last) if first > last:
                return notifications.Crowd(room=room, joined=0, left=0)
            case events.Gap(first=first, last=last):
                return notifications.Gap(room=room, first=first, last=last)
            case events.StoreFailed():
                return _describe_failure(event)
            case _:  # a barrier, or a notice for people
                return None


class FramedEncoder(RoomEncoder):
    """A ``RoomEncoder`` whose lines are framed by *frame*, for a connection that does not send plain lines."""

    def __init__(
        self, room: str, now: Callable[[], float], file_url: Callable[[FileInfo], str], frame: FrameLine
    ) -> None:
        super().__init__(room, now, file_url)
        self._frame = frame

    def encode(self, event: Event | Notice) -> bytes:
        """Return *event* as a framed line, or no bytes if programs do not receive it."""
        line = super().encode(event)
        return self._frame(line) if line else line


def describe_file(file: FileInfo, url: str) -> File:
    """Return *file* as programs see it. *url* is its address, empty if it is no longer there."""
    return File(
        id=file.id,
        name=file.name,
        size=file.size,
        type=file.type,
        sha256=file.sha256,
        url=url or None,
        width=file.width or UNSET,
        height=file.height or UNSET,
    )


def encode_private(number: int, message: PrivateMessage) -> bytes:
    """Return *message* as a line. It is the private message *number* of its recipient."""
    return encode_notification(
        notifications.Told(
            id=number,
            nick=message.nick,
            session=public_id(message.session),
            at=round(message.at, 3),
            text=message.text,
        ),
    )


def encode_stored_private(line: PrivateLine) -> Raw:
    """Return *line* as an object, for ``events`` in a result."""
    event = notifications.StoredTold(at=round(line.at, 3), nick=line.sender, to=line.recipient, text=line.text)
    return Raw(b'{"method":"told",' + _json.encode(event)[1:])


def _describe_failure(failure: events.StoreFailed) -> notifications.Refused:
    """Return the notice about a notification that was not stored."""
    event = failure.event
    method = _METHODS_OF[type(event)]
    uid = "" if isinstance(event, events.TopicChanged) else event.uid
    return notifications.Refused(uid=uid or UNSET, method=method, code=Code.NOT_KEPT, message=describe_loss(failure))


def describe_loss(failure: events.StoreFailed) -> str:
    """Return a sentence about *failure* for people."""
    return f"Not kept: {failure.reason}. Try again later."
