"""The method ``command``: commands of the line protocol that only answer, for people who type in a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, TypeAlias

from broadcast.core import commands
from broadcast.core.errors import RejectedError
from broadcast.core.events import ErrorReply
from broadcast.core.interfaces import View
from broadcast.core.sanitize import sanitize
from broadcast.doors.jsonrpc.errors import Code, RpcError
from broadcast.doors.jsonrpc.messages import CommandResult
from broadcast.doors.jsonrpc.rooms import LIST_BYTES

if TYPE_CHECKING:
    from broadcast.core.events import Notice
    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Peer, Publisher
    from broadcast.core.membership import Member
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.responses import Call
    from broadcast.doors.jsonrpc.session import ProgramSession
    from broadcast.doors.jsonrpc.sessions import Sessions

    FormatNotice: TypeAlias = Callable[[Notice], bytes]
    """Returns a notice as a line of the line protocol."""

_ANSWERING: Final = frozenset({"help", "names", "rooms", "history", "search", "ping", "uptime", "version", "motd"})
_COMMANDS: Final = {
    verb: command
    for command in commands.COMMANDS
    if command.name in _ANSWERING
    for verb in (command.name, *command.aliases)
}
_MARK: Final = "-> "
"""The start of an answer in the line protocol."""


class Context(Protocol):
    """The connection on which the command has arrived."""

    sessions: Sessions
    format_notice: FormatNotice

    @property
    def session(self) -> ProgramSession:
        """The session of the connection."""

    def pause(self) -> None:
        """Handle no further request until ``resume``."""

    def resume(self) -> None:
        """Handle the next request."""


def run_command(context: Context, call: Call, room: Room, typed: str) -> None:
    """Run the command *typed* in *room*, and answer *call* with its lines. Raises ``RpcError``."""
    line = sanitize(typed.replace("\r", " ").replace("\n", " "))
    verb, _, argument = line[1:].partition(" ")
    command = _COMMANDS.get(verb.casefold()) if line.startswith("/") else None
    if command is None:
        known = ", ".join(f"/{name}" for name in sorted(_ANSWERING))
        raise RpcError(Code.INVALID_PARAMS, f"This is no command that only answers. Those are {known}.")
    run = _CommandRun(context, call, room)
    command.run(run, argument, context.sessions.wall_clock())
    run.finish_if_ready()


class _CommandRun:
    """One command: a ``CommandContext`` and its ``Peer``, which collects the lines."""

    def __init__(self, context: Context, call: Call, room: Room) -> None:
        self.hub: Hub = context.sessions.hub
        self.peer: Peer = self
        self.room = room
        self.view = View()
        self.ready = True
        self.member: Member = context.session.member
        self._context = context
        self._call = call
        self._lines: list[str] = []
        self._space = LIST_BYTES
        self._error = ""

    @property
    def nick(self) -> str:
        """The user's nickname."""
        return self.member.nick

    @property
    def leave(self) -> Callable[[str], None]:
        """A function for commands that are not run here."""
        return _reject

    def pause(self) -> None:
        """Wait for ``resume``: the reply comes later."""
        self.ready = False
        self._context.pause()

    def resume(self) -> None:
        """Answer: the reply is complete."""
        self.ready = True
        self.finish_if_ready()
        self._context.resume()

    def set_view(self, _view: View) -> None:
        """Do nothing: such commands are not run here."""

    def move_to(self, _name: str) -> None:
        """Do nothing: such commands are not run here."""

    def finish_if_ready(self) -> None:
        """Answer, if the reply is complete."""
        if self.ready and self._error:
            self._call.fail(RpcError(Code.INTERNAL_ERROR, self._error))
        elif self.ready:
            self._call.succeed(CommandResult(lines=self._lines))

    # The peer

    congested = False

    def send(self, *notices: Notice) -> None:
        """Collect *notices*, as long as they fit into a message."""
        for notice in notices:
            if isinstance(notice, ErrorReply):
                self._error = f"{notice.reason}."
            for line in self._context.format_notice(notice).decode().splitlines():
                self._space -= 2 * len(line.encode()) + 3  # a quoted character takes two bytes
                if self._space > 0:
                    self._lines.append(line.removeprefix(_MARK))

    def send_lazily(self, notices: Iterator[Notice]) -> None:
        """Collect *notices*."""
        self.send(*notices)

    def subscribe(self, _publisher: Publisher, _view: View) -> None:
        """Do nothing: a command is not a subscriber."""

    def when_writable(self, call: Callable[[], None]) -> None:
        """Call *call*: there is always space, but what does not fit is dropped."""
        call()

    def ready_for_line(self) -> None:
        """Do nothing: a command has no input."""

    def close(self) -> None:
        """Do nothing: a command has no connection."""


def _reject(_reason: str) -> NoReturn:
    raise RejectedError("this is no command that only answers.")
