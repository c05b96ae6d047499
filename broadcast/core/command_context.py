"""A command of the line protocol, and the session that runs it, as all modules with commands see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from broadcast.core.errors import RejectedError
from broadcast.core.events import CommandReply

if TYPE_CHECKING:
    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Peer, View
    from broadcast.core.membership import Member
    from broadcast.core.password_dialogue import PasswordDialogue
    from broadcast.core.room import Room


class UsageError(RejectedError):
    """The arguments of a command are wrong. ``commands.run`` shows the usage of the command in place of this."""


class CommandContext(Protocol):
    """The session of the user who has typed a command."""

    hub: Hub
    room: Room
    """The room that the user is in."""
    peer: Peer
    view: View
    ready: bool
    """Whether the session accepts the next line."""

    @property
    def member(self) -> Member:
        """The user as a member of the room."""

    @property
    def nick(self) -> str:
        """The user's nickname."""

    @property
    def leave(self) -> Callable[[str], None]:
        """A function that ends the session, with a reason."""

    def pause(self) -> None:
        """Accept no line until ``resume``."""

    def resume(self) -> None:
        """Accept the next line."""

    def send_error(self, error: RejectedError) -> None:
        """Count *error*, and send it to the user."""

    def set_view(self, view: View) -> None:
        """Send the room's events in *view* from here on."""

    def move_to(self, name: str) -> None:
        """Move to the room *name*, or send the reason why that is impossible."""

    def show_waiting(self, on_shown: Callable[[], None]) -> None:
        """Send the private messages that wait for the user's account, and call *on_shown*. No line is accepted."""

    def ask(self, dialogue: PasswordDialogue) -> None:
        """Take the next lines as the answers to *dialogue*. Raises ``RejectedError``."""


@dataclass(frozen=True, slots=True)
class Command:
    """One ``/word``. It is for operators, unless the table in ``commands.py`` says that it is for everybody.

    *run* takes the context, the text after the word and its blank, and the time (seconds since the epoch). It may raise
    ``RejectedError`` as long as it has not changed anything.
    """

    name: str
    usage: str
    help: str
    run: Callable[[CommandContext, str, float], None]
    aliases: tuple[str, ...] = ()
    is_for_operators: bool = True
    names_person: bool = False
    """Whether the first word of the argument is a nickname."""

    @property
    def syntax(self) -> str:
        """The command as it is typed: ``/msg NAME TEXT``."""
        return f"/{self.name} {self.usage}".rstrip()


def require_argument(argument: str) -> str:
    """Return *argument*. Raises ``UsageError`` if it is blank."""
    if not argument.strip():
        raise UsageError
    return argument


def reply_lines(context: CommandContext, *lines: str) -> None:
    """Send *lines* as the reply to a command."""
    context.peer.send(*map(CommandReply, lines))


def end_wait(context: CommandContext, error: RejectedError | None) -> None:
    """Send *error*, if there is one, and accept the next line if the session has waited."""
    if error is not None:
        context.send_error(error)
    if not context.ready:
        context.resume()
