"""The method ``command``: commands of the line protocol that only answer, and those of operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from broadcast.core import commands
from broadcast.core.events import ErrorReply
from broadcast.core.interfaces import View
from broadcast.core.sanitize import sanitize
from broadcast.doors.jsonrpc.errors import Code, RpcError
from broadcast.doors.jsonrpc.line_reader import LIST_BYTES
from broadcast.doors.jsonrpc.messages import CommandResult
from broadcast.doors.jsonrpc.responses import reject

if TYPE_CHECKING:
    from broadcast.core.errors import RejectedError
    from broadcast.core.events import Notice
    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Peer, Publisher
    from broadcast.core.membership import Member
    from broadcast.core.password_dialogue import PasswordDialogue
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.responses import Call
    from broadcast.doors.jsonrpc.session import Connection

_ANSWERING: Final = frozenset(
    {
        *("help", "names", "rooms", "inbox", "history", "search", "files", "upload-link"),
        *("ping", "uptime", "version", "motd"),
    }
)
_COMMANDS: Final = {
    verb: command
    for command in commands.COMMANDS
    if command.name in _ANSWERING or command.is_for_operators
    for verb in (command.name, *command.aliases)
}
_ALL: Final = {verb for command in commands.COMMANDS for verb in (command.name, *command.aliases)}
_MARK: Final = "-> "
"""The start of an answer in the line protocol."""


def run_command(connection: Connection, call: Call, room: Room, typed: str) -> None:
    """Run the command *typed* in *room*, and answer *call* with its lines. Raises ``RpcError`` or ``RejectedError``."""
    line = sanitize(typed.replace("\r", " ").replace("\n", " "))
    verb, _, argument = line[1:].partition(" ")
    command = _COMMANDS.get(verb.casefold()) if line.startswith("/") else None
    if command is None:
        raise RpcError(Code.INVALID_PARAMS, _explain(verb.casefold()))
    run = _CommandRun(connection, call, room)
    commands.run(run, command, argument, connection.sessions.wall_clock())
    if run.ready:
        run.answer()


def _explain(verb: str) -> str:
    """Return the reason why the command *verb* is refused."""
    if verb not in _ALL:
        return f"There is no command /{verb[:24]}. /help lists them."
    known = ", ".join(f"/{name}" for name in sorted(_ANSWERING))
    return f"/{verb} is no command that only answers. Those are {known}."


class _Collector:
    """A ``Peer`` that collects the lines of one command, as long as they fit into a message."""

    congested = False

    def __init__(self, encode_notice: Callable[[Notice], bytes]) -> None:
        self.lines: list[str] = []
        self.error = ""
        """The reason why the command has failed; empty if it has not."""
        self._encode_notice = encode_notice
        self._space = LIST_BYTES

    def send(self, *notices: Notice) -> None:
        """Collect *notices*."""
        for notice in notices:
            if isinstance(notice, ErrorReply):
                self.error = f"{notice.reason}."
            for line in self._encode_notice(notice).decode().splitlines():
                self._space -= 2 * len(line.encode()) + 3  # a quoted character takes two bytes
                if self._space > 0:
                    self.lines.append(line.removeprefix(_MARK))

    def send_lazily(self, notices: Iterator[Notice]) -> None:
        """Collect *notices*."""
        self.send(*notices)

    def when_writable(self, call: Callable[[], None]) -> None:
        """Call *call*: there is always space, because the rest is dropped."""
        call()

    def subscribe(self, _publisher: Publisher, _view: View) -> None:
        """Do nothing: a command is not a subscriber."""

    def ready_for_line(self) -> None:
        """Do nothing: a command has no input."""

    def close(self) -> None:
        """Do nothing: a command has no connection."""


class _CommandRun:
    """One command: a ``CommandContext``."""

    def __init__(self, connection: Connection, call: Call, room: Room) -> None:
        self.hub: Hub = connection.sessions.hub
        self._collector = _Collector(connection.encode_notice)
        self.peer: Peer = self._collector
        self.room = room
        self.view = View()
        self.ready = True
        self.member: Member = connection.session.member
        self._connection = connection
        self._call = call
        self._rejection: RejectedError | None = None
        """The reason why the command was refused after a wait; None if it was not."""

    @property
    def nick(self) -> str:
        """The user's nickname."""
        return self.member.nick

    def leave(self, _reason: str) -> None:
        """Do nothing: such commands are not run here."""

    def pause(self) -> None:
        """Wait for ``resume``: the reply comes later."""
        self.ready = False
        self._connection.pause()

    def resume(self) -> None:
        """Answer: the reply is complete."""
        self.ready = True
        self.answer()
        self._connection.resume()

    def send_error(self, error: RejectedError) -> None:
        """Let the command fail with *error*."""
        self._rejection = error

    def set_view(self, _view: View) -> None:
        """Do nothing: such commands are not run here."""

    def move_to(self, _name: str) -> None:
        """Do nothing: such commands are not run here."""

    def show_waiting(self, _on_shown: Callable[[], None]) -> None:
        """Do nothing: such commands are not run here."""

    def ask(self, _dialogue: PasswordDialogue) -> None:
        """Do nothing: such commands are not run here."""

    def answer(self) -> None:
        """Answer the call with the lines, or with the reason of the failure."""
        if self._rejection is not None:
            reject(self.hub, self._call, self._rejection)
        elif self._collector.error:
            self._call.fail(RpcError(Code.INTERNAL_ERROR, self._collector.error))
        else:
            self._call.succeed(CommandResult(lines=self._collector.lines))
