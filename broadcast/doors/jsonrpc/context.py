"""The connection on which a request has arrived, as the methods see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broadcast.doors.jsonrpc.session import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from broadcast.core.events import Notice
    from broadcast.doors.jsonrpc.session import ProgramSession
    from broadcast.doors.jsonrpc.sessions import Sessions


class Context(Connection, Protocol):
    """The connection on which a request has arrived."""

    sessions: Sessions
    format_notice: Callable[[Notice], bytes]
    """Returns a notice as a line of the line protocol."""

    @property
    def session(self) -> ProgramSession:
        """The session of the connection. It can end, or move to another connection, while a request waits."""

    def pause(self) -> None:
        """Handle no further request until ``resume``."""
