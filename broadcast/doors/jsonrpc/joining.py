"""The request ``join``: a program that has said hello joins one more room, or begins its stream anew."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from broadcast.core.errors import RejectedError
from broadcast.core.rooms import fold_room_name
from broadcast.doors.jsonrpc.errors import RpcError, explain_rejection, refusal, session_gone
from broadcast.doors.jsonrpc.messages import MAX_ROOMS, JoinParams, JoinResult
from broadcast.doors.jsonrpc.snapshots import CatchUp, SnapshotTaker, bytes_per_snapshot, check_after

if TYPE_CHECKING:
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.responses import Call
    from broadcast.doors.jsonrpc.session import Connection


def join(connection: Connection, call: Call, params: JoinParams) -> None:
    """Join a room, and answer *call* with its snapshot later. Raises ``RpcError`` or ``Muted``.

    A session that is in the room already begins its stream anew.
    """
    sessions, member, name = connection.sessions, connection.session.member, fold_room_name(params.room)
    if name not in member.memberships:
        if len(member.memberships) >= MAX_ROOMS:
            raise refusal("room-refused", f"A session can be in {MAX_ROOMS} rooms.")
        sessions.hub.check_joining(member, name, sessions.wall_clock())
    connection.pause()
    _Join(connection, call, params).open_room()


class _Join:
    """One ``join`` on *connection*, which is paused until the *call* has its answer.

    It is a class, because functions that call one another by their closures would form a reference cycle.
    """

    def __init__(self, connection: Connection, call: Call, params: JoinParams) -> None:
        self._connection = connection
        self._session = connection.session
        self._call = call
        self._params = params
        self._catch_up = CatchUp(connection)

    def open_room(self) -> None:
        """Open the room, then join it, or refuse the call."""
        self._connection.sessions.hub.rooms.open_all([fold_room_name(self._params.room)], self._on_room)

    def _refuse(self, error: RpcError) -> None:
        self._call.fail(error)
        self._connection.resume()

    def _on_room(self, rooms: Sequence[Room] | RejectedError) -> None:
        after = self._params.after
        try:
            if isinstance(rooms, RejectedError):
                raise explain_rejection(rooms)
            if self._session.connection is not self._connection:
                raise session_gone()
            (room,) = rooms
            if isinstance(after, int) and self._catch_up.must_wait(
                rooms, {room.name: after}, self.open_room, self._refuse
            ):
                return
            check_after(room, after)
        except RpcError as error:
            self._refuse(error)
        else:
            self._enter(room)

    def _enter(self, room: Room) -> None:
        """Join *room*. If the session is in it already, begin its stream anew after a new snapshot."""
        if room.name in self._session.member.memberships:
            self._connection.peer.unsubscribe(room.publisher)
            self._take_snapshot(room)
        else:
            self._session.join(room, partial(self._take_snapshot, room))

    def _take_snapshot(self, room: Room) -> None:
        """Begin the stream of *room*, and take the snapshot that precedes it."""
        params, space = self._params, bytes_per_snapshot(1)
        SnapshotTaker(self._connection, room, params.replay, params.after, space, self._answer).take_events()

    def _answer(self, taker: SnapshotTaker, snapshot: JoinResult) -> None:
        self._call.on_sent = taker.release  # the response may wait for those of earlier requests
        self._call.succeed(snapshot)
        self._connection.resume()
