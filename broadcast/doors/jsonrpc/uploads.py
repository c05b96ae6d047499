"""The method ``upload``: it opens a slot for a file, or finds the file that was shared with the same uid."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec import UnsetType

from broadcast.core.errors import JournalError, RejectedError
from broadcast.core.events import FileInfo, Shared, StoreFailed
from broadcast.core.file_names import clean_file_name
from broadcast.core.slots import FilePlan
from broadcast.doors.jsonrpc.encoder import describe_file, describe_loss
from broadcast.doors.jsonrpc.errors import explain_rejection, refusal, session_gone, uid_unknown
from broadcast.doors.jsonrpc.messages import UploadParams, UploadResult
from broadcast.doors.jsonrpc.responses import reject

if TYPE_CHECKING:
    from broadcast.core.errors import UidReused
    from broadcast.core.events import Stored
    from broadcast.core.hub import Hub
    from broadcast.core.room import Room
    from broadcast.core.slots import Slot
    from broadcast.doors.jsonrpc.responses import Call
    from broadcast.doors.jsonrpc.session import Connection, ProgramSession


def open_upload(connection: Connection, call: Call, params: UploadParams) -> None:
    """Open a slot. With a uid that was used before, answer with the same slot, or with the event."""
    session = connection.session
    if not isinstance(params.uid, UnsetType):
        call.uid = params.uid
    connection.sessions.hub.require_uploads()
    room = session.find_room(params.room)
    if params.uid and not room.knows_uids:
        connection.pause()
        room.load_uids(partial(_open_with_uid, connection, call, session, room, params))
    else:
        _open(connection, call, session, room, params)


def _open_with_uid(
    connection: Connection,
    call: Call,
    session: ProgramSession,
    room: Room,
    params: UploadParams,
    error: JournalError | None,
) -> None:
    """Open a slot once the uids of the room have been loaded."""
    if session.ending:
        call.fail(session_gone())
        connection.resume()
    elif error is not None:
        call.fail(uid_unknown(error))
        connection.resume()
    else:
        try:
            _open(connection, call, session, room, params)
        except RejectedError as rejection:
            reject(connection.sessions.hub, call, rejection)
            connection.resume()


def _open(connection: Connection, call: Call, session: ProgramSession, room: Room, params: UploadParams) -> None:
    """Answer with a slot or an event, and resume the connection if it is paused. Raises ``RejectedError``."""
    hub, member = connection.sessions.hub, session.member
    uploads = hub.require_uploads()
    name, uid = clean_file_name(params.name), params.uid or ""
    if uid:
        file = FileInfo("", name, params.size, "", "")
        event = Shared(member.id, member.nick, file, connection.sessions.wall_clock(), uid=uid)
        if room.answer_repetition(event, partial(_answer_repetition, hub, call)):
            _resume(connection)
            return

    def opened(slot: Slot | RejectedError) -> None:
        if isinstance(slot, RejectedError):
            reject(connection.sessions.hub, call, slot)
        elif (slot.name, slot.size) != (name, params.size):
            call.fail(refusal("uid-reused", "Another upload of this session has the same uid."))
        else:
            call.succeed(UploadResult(url=slot.url, token=slot.token, expires=round(slot.expires, 3)))
        _resume(connection)

    sha256 = "" if isinstance(params.sha256, UnsetType) else params.sha256.lower()
    if not uploads.open_slot(member, room, FilePlan(name, params.size, params.type, sha256, uid), opened):
        connection.pause()


def _resume(connection: Connection) -> None:
    """Handle the next request, if the connection is paused."""
    if not connection.ready:
        connection.resume()


def _answer_repetition(hub: Hub, call: Call, first: Stored | StoreFailed | UidReused | JournalError) -> None:
    """Answer with the *first* event that has the uid, or with an error."""
    if isinstance(first, Shared):
        file = describe_file(first.file, hub.file_url(first.file))
        call.succeed(UploadResult(seq=first.seq, at=round(first.at, 3), file=file))
    elif isinstance(first, RejectedError):
        call.fail(explain_rejection(first))
    elif isinstance(first, StoreFailed):
        call.fail(refusal("not-kept", describe_loss(first)))
    else:
        assert isinstance(first, JournalError)  # another event of a file is the only other possibility
        call.fail(uid_unknown(first))
