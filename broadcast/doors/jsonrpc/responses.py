"""The responses of one connection, in the order of their requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Raw, Struct, UnsetType

from broadcast.doors.jsonrpc.encoder import encode_line, encode_notification
from broadcast.doors.jsonrpc.errors import Code, Error, RpcError, explain_rejection
from broadcast.doors.jsonrpc.messages import Empty, ErrorResponse, RequestId, Response
from broadcast.doors.jsonrpc.notifications import Refused

if TYPE_CHECKING:
    from broadcast.core.errors import RejectedError
    from broadcast.core.hub import Hub

_EMPTY: Final = Empty()


class Call:
    """One request or notification of a client, until it has succeeded or failed. *uid* is that of its line."""

    __slots__ = ("_responses", "id", "method", "on_next", "on_sent", "response", "uid")

    def __init__(self, responses: Responses, id: RequestId | UnsetType, method: str) -> None:  # noqa: A002
        self._responses = responses
        self.id = id
        """The id of the request, UNSET for a notification."""
        self.method = method
        self.uid: str | UnsetType = UNSET
        """The uid of the line that the client sends, for the notice of a failure."""
        self.response: Callable[[], bytes] | None = None
        """A function that returns the response, once there is one. It is called when the response is sent."""
        self.on_sent: Callable[[], None] | None = None
        """A function that is called when the response has been sent, at once for a notification."""
        self.on_next: Callable[[], None] | None = None
        """A function that is called when all earlier requests have their responses."""

    @property
    def is_request(self) -> bool:
        """Whether the client expects a response."""
        return not isinstance(self.id, UnsetType)

    def when_next(self, function: Callable[[], None]) -> None:
        """Call *function* when all earlier requests have their responses, perhaps at once."""
        self._responses.wait(self, function)

    def succeed(self, result: Struct | list[Raw] = _EMPTY) -> None:
        """Send *result*, if this is a request."""
        if self.is_request:
            response = _encode(self.id, result)
            self._responses.finish(self, lambda: response)
        elif self.on_sent is not None:
            self.on_sent()

    def succeed_lazily(self, make_result: Callable[[], Struct]) -> None:
        """Send the result of *make_result*, which is called when the response is sent.

        While the response waits for earlier ones, the client receives notifications. The result must not be older.
        """
        if self.is_request:
            id_ = self.id  # not self, because the call would form a reference cycle with a function that refers to it
            self._responses.finish(self, lambda: _encode(id_, make_result()))

    def fail(self, error: RpcError) -> None:
        """Send *error*: as a response, or as the notice ``refused`` if this is a notification."""
        if isinstance(self.id, UnsetType):
            refused = Refused(uid=self.uid, method=self.method[:64], code=error.code, message=str(error))
            self._responses.send(encode_notification(refused))
        else:
            response = encode_error(self.id, error)
            self._responses.finish(self, lambda: response)


class Responses:
    """The responses of one connection. A response waits until all earlier requests have one.

    *send* sends bytes to the client. *on_idle* is called when no request waits for its response any more.
    """

    def __init__(self, send: Callable[[bytes], None], on_idle: Callable[[], None]) -> None:
        self.send = send
        self._on_idle = on_idle
        self._pending: list[Call] = []  # mostly empty; an empty deque would take 700 bytes

    @property
    def idle(self) -> bool:
        """Whether every request has its response."""
        return not self._pending

    def begin(self, id: RequestId | UnsetType, method: str) -> Call:  # noqa: A002
        """Return a new call. Its response comes after those of all earlier calls."""
        call = Call(self, id, method)
        if call.is_request:
            self._pending.append(call)
        return call

    def wait(self, call: Call, function: Callable[[], None]) -> None:
        """Call *function* when all calls before *call* have their responses. No other call may follow before that."""
        if not call.is_request:
            self._pending.append(call)  # a notification has no place among the responses otherwise
        if self._pending[0] is call:
            function()
        else:
            call.on_next = function

    def finish(self, call: Call, response: Callable[[], bytes]) -> None:
        """Send the result of *response* to *call* as soon as all earlier calls have theirs."""
        assert call.response is None
        call.response = response
        pending = self._pending
        if pending and pending[0] is call:
            while pending and (ready := pending[0].response) is not None:
                first = pending.pop(0)
                self.send(ready())
                if first.on_sent is not None:
                    first.on_sent()
            if not pending:
                self._on_idle()
            elif pending[0].on_next is not None:
                pending[0].on_next()

    def close(self) -> None:
        """Drop all responses from here on, because the connection is gone."""
        self._pending.clear()
        self.send = lambda _line: None
        self._on_idle = lambda: None


def _encode(id: RequestId | UnsetType, result: Struct | list[Raw]) -> bytes:  # noqa: A002
    assert not isinstance(id, UnsetType)
    return encode_line(Response(id=id, result=result))


def encode_error(id: RequestId | None, error: RpcError) -> bytes:  # noqa: A002
    """Return the response with *error* as a line."""
    return encode_line(ErrorResponse(id=id, error=Error(code=error.code, message=str(error), data=error.data)))


def reject(hub: Hub, call: Call, error: RejectedError) -> None:
    """Count *error*, one of the core, and answer *call* with it."""
    hub.rejections[error.kind] += 1
    call.fail(explain_rejection(error))


def internal_error() -> RpcError:
    """Return the error for a fault of the server, which the log describes."""
    return RpcError(Code.INTERNAL_ERROR, "The server has failed to do this. Its log says why.")
