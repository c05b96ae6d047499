"""The interpretation of lines in the room, and the table of commands. No bytes, no connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from heapq import nsmallest
from typing import TYPE_CHECKING

from broadcast.core.account_commands import ACCOUNT_COMMANDS, reject_misspelled, reject_password
from broadcast.core.command_context import (
    Command,
    CommandContext,
    UsageError,
    end_wait,
    reply_lines,
    require_argument,
)
from broadcast.core.errors import NameRejected, PasswordNeeded, RejectedError
from broadcast.core.events import CommandReply, Uptime
from broadcast.core.file_names import format_size
from broadcast.core.moderation import check_operator
from broadcast.core.nicknames import casefold_key, reject_controls
from broadcast.core.operator_commands import OPERATOR_COMMANDS
from broadcast.core.reading_commands import READING_COMMANDS
from broadcast.core.rooms import fold_room_name
from broadcast.core.sanitize import sanitize
from broadcast.core.slots import OPEN_SECONDS, FilePlan, Slot

if TYPE_CHECKING:
    from broadcast.core.accounts import Account
    from broadcast.core.membership import Member, Membership
    from broadcast.core.private_messages import Sent

NAMES_PER_LINE = 100
"""Maximum number of members in one line of ``/names``."""
NAMES_LINE_CHARS = 4_000
"""Maximum number of characters in one line of ``/names``, unless one member alone has more."""
MAX_IGNORED = 100
"""Maximum number of nicknames that one member can ignore. They are in memory until the member leaves."""
LISTED_ROOMS = 50
"""Maximum number of rooms that ``/rooms`` lists."""
IDLE_AFTER_SECONDS = 5 * 60
"""Time without a line after which ``/names`` shows how long a member has been idle."""
LINES = frozenset({"me", "say"})
"""Commands that say a line in the room, for slow mode."""
UNHEARD = frozenset(
    {
        "help", "names", "history", "search", "rooms", "join", "leave", "timestamp", "receipts", "quiet", "ignore",
        "unignore", "back", "ping", "uptime", "version", "motd", "quit",
        "register", "login", "oidc", "logout", "passwd", "drop", "inbox",
        "files", "upload-link",
    }
)  # fmt: skip
"""Commands whose argument nobody else reads. People who are muted can use no other command with an argument."""
QUIT_WORDS = frozenset({"quit", "exit"})
"""Lines that end the session, regardless of case and surrounding blanks."""


def is_quit(line: str) -> bool:
    """Return whether the whole *line* is one of ``QUIT_WORDS``."""
    return line.strip().casefold() in QUIT_WORDS


def interpret(context: CommandContext, typed: str, at: float) -> None:
    """Sanitize the line *typed* and say it in the room, or run its command. Raises ``RejectedError``."""
    line = sanitize(typed)
    member = context.member
    if line != "/ping":  # a /ping is no activity: programs send it to keep the connection alive
        member.last_active = at
    room = context.room
    moderation = context.hub.moderation
    if not line.startswith("/"):
        text = line.strip()
        if text.casefold() in QUIT_WORDS:
            context.leave("")
        elif text:
            if text is not line:
                reject_password(text)  # the blanks around it may stand before a command
            if moderation.is_active:
                moderation.check_line(member, room.name, at)
            room.say(member, line, at)
    elif line.startswith("//"):
        if moderation.is_active:
            moderation.check_line(member, room.name, at)
        room.say(member, line[1:], at)
    else:
        _run_typed(context, line, typed, at)
    backlog = context.hub.backlog
    if backlog.above_high_water and context.ready:
        context.pause()
        backlog.when_below_low_water(context.resume)


def _run_typed(context: CommandContext, line: str, typed: str, at: float) -> None:
    """Run the command in *line*, which was *typed* like that before ``sanitize``."""
    verb, _, argument = line[1:].partition(" ")
    command = find_command(verb)
    if command.run is _nick:
        reject_controls(typed)
    run(context, command, argument, at)


def run(context: CommandContext, command: Command, argument: str, at: float) -> None:
    """Run *command* if the user may do that. All doors run commands with this function. Raises ``RejectedError``."""
    member, moderation = context.member, context.hub.moderation
    check_permission(member, command)
    if moderation.is_active and argument.strip() and command.name not in UNHEARD:
        if command.name in LINES:
            moderation.check_line(member, context.room.name, at)
        else:
            moderation.check_speech(member, at)
    name = argument.strip().partition(" ")[0]
    if command.names_person and name and not context.hub.other_nodes.is_certain(name):
        context.pause()
        context.hub.other_nodes.look_up([name], partial(_run_now, context, command, argument, at))
    else:
        _run(context, command, argument, at)


def _run(context: CommandContext, command: Command, argument: str, at: float) -> None:
    try:
        command.run(context, argument, at)
    except UsageError:
        raise RejectedError(f"usage: {command.syntax}") from None


def _run_now(context: CommandContext, command: Command, argument: str, at: float) -> None:
    """Run *command*, for which the session has waited."""
    if context.hub.people.members.get(context.member.id) is not context.member:
        return  # it has ended meanwhile
    context.ready = True
    error: RejectedError | None = None
    try:
        _run(context, command, argument, at)
    except RejectedError as rejection:
        error = rejection
    if context.ready:
        context.pause()
        end_wait(context, error)


def check_permission(member: Member, command: Command) -> None:
    """Raise ``NotPermitted`` unless *member* may use *command*."""
    if command.is_for_operators:
        check_operator(member, f"/{command.name}")


def find_command(verb: str) -> Command:
    """Return the command with the name or alias *verb*. Raises ``RejectedError``, which shows no password."""
    command = _BY_NAME.get(verb.casefold())
    if command is None:
        reject_misspelled(verb)
        raise RejectedError(f"unknown command /{verb[:24]}. /help lists them.")
    return command


def _reply_later(context: CommandContext, lines: Callable[[], Iterable[str]]) -> None:
    """Reply with *lines* once everything that the user said before has been delivered."""

    def reply() -> None:
        reply_lines(context, *lines())
        context.resume()

    context.pause()
    context.room.after_barrier(reply)


def _help(context: CommandContext, argument: str, at: float) -> None:
    account = context.member.account
    is_operator = account is not None and account.is_operator
    if not argument.strip():
        shown = [command for command in COMMANDS if is_operator or not command.is_for_operators]
        if context.hub.authenticator.provider is None:
            shown.remove(_BY_NAME["oidc"])
        reply_lines(context, *(f"{command.syntax}   {command.help}" for command in shown))
        return
    command = find_command(argument.strip().removeprefix("/"))
    if not is_operator:
        check_permission(context.member, command)
    reply_lines(context, f"{command.syntax}   {command.help}")
    if command.aliases:
        reply_lines(context, "also " + ", ".join(f"/{alias}" for alias in command.aliases))


def _format_idle(seconds: float) -> str:
    """Return *seconds* as text, rounded down: in minutes below an hour, in hours below a day, else in days."""
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"idle {minutes}m"
    return f"idle {minutes // 60}h" if minutes < 24 * 60 else f"idle {minutes // (24 * 60)}d"


def _format_member(membership: Membership, at: float) -> str:
    """Return a member as listed at the time *at*: ``bob``, ``bob (idle 12m)``, ``bob (away: lunch, idle 12m)``."""
    member = membership.member
    # The copy of the people of other nodes can be behind the stream of the room.
    nick = membership.announced_nick if member.is_remote else member.nick
    states = []
    if member.away:
        states.append(f"away: {member.away_reason}" if member.away_reason else "away")
    if at - member.last_active >= IDLE_AFTER_SECONDS:
        states.append(_format_idle(at - member.last_active))
    return f"{nick} ({', '.join(states)})" if states else nick


def _wrap_list(prefix: str, items: Iterable[str]) -> Iterator[str]:
    """Yield *items* after *prefix* as lines of limited length. All but the last end with a comma."""
    line: list[str] = []
    chars = len(prefix)
    for item in items:
        if line and (len(line) == NAMES_PER_LINE or chars + len(item) > NAMES_LINE_CHARS):
            yield f"{prefix}{', '.join(line)},"
            prefix, chars, line = "", 0, []
        line.append(item)
        chars += len(item) + 2
    yield prefix + ", ".join(line)


def _names(context: CommandContext, argument: str, at: float) -> None:
    room = context.room

    def show() -> None:
        members = list(room.members.values())
        lines = _wrap_list(f"{len(members)} here: ", (_format_member(membership, at) for membership in members))
        context.peer.send_lazily(map(CommandReply, lines))
        if not context.ready:
            context.resume()

    if room.delivering:
        # The list changes only after the delivery. The reply waits, so that it has every join that the user has read.
        context.pause()
        room.when_delivered(show)
    else:
        show()


def _nick(context: CommandContext, argument: str, at: float) -> None:
    name = require_argument(argument).strip()

    def renamed(error: RejectedError | None) -> None:
        if error is None:
            reply_lines(context, f"You are {context.nick}.")
        end_wait(context, error)

    try:
        is_done = context.hub.rename(context.member, name, renamed)
    except PasswordNeeded:
        raise NameRejected(f"{name} is registered: /login {name} asks for its password.") from None
    if not is_done:
        context.pause()


def _me(context: CommandContext, argument: str, at: float) -> None:
    context.room.act(context.member, require_argument(argument).strip(), at)


def _say(context: CommandContext, argument: str, at: float) -> None:
    context.room.say(context.member, require_argument(argument), at)


def _send_private(context: CommandContext, to: Member | Account, text: str, at: float) -> None:
    def stored(sent: Sent | RejectedError) -> None:
        if isinstance(sent, RejectedError):
            end_wait(context, sent)
        elif not _confirm_sent(context, sent):
            context.resume()

    sent = context.hub.private_messages.send(context.member, to, text, at, stored)
    if sent is None:
        context.pause()
    else:
        _confirm_sent(context, sent)


def _confirm_sent(context: CommandContext, sent: Sent) -> bool:
    """Reply to a private message that was sent or stored.

    If the recipient reads slowly, pause the session for a time, and return True.
    """
    name, to, room = sent
    if to is None:
        reply_lines(context, f"kept for {name}, who is not here.")
        return False
    if not to.away:
        reply_lines(context, f"sent to {to.nick}.")
    elif to.away_reason:
        reply_lines(context, f"sent to {to.nick}, who is away: {to.away_reason}")
    else:
        reply_lines(context, f"sent to {to.nick}, who is away.")
    if room is None or not context.hub.private_messages.should_throttle_sender(to):
        return False
    context.pause()
    room.after_barrier(context.resume)  # the barrier comes after these private messages
    return True


def _msg(context: CommandContext, argument: str, at: float) -> None:
    name, _, text = argument.strip().partition(" ")
    if not text:
        raise UsageError
    _send_private(context, context.hub.people.find_recipient(name), text.strip(), at)


def _reply(context: CommandContext, argument: str, at: float) -> None:
    text = require_argument(argument).strip()
    hub, member = context.hub, context.member
    if not member.last_private_sender:
        raise RejectedError("nobody has written to you yet.")
    to: Member | Account | None = hub.people.member_by_session(member.last_private_sender)
    if to is None and (account := hub.accounts.get(member.last_private_account)) is not None:
        to = hub.people.find_member_of(account) or account
    if to is None:
        raise RejectedError("the one who wrote to you last is not here.")
    _send_private(context, to, text, at)


def _upload_link(context: CommandContext, argument: str, at: float) -> None:
    uploads = context.hub.require_uploads()

    def opened(slot: Slot | RejectedError) -> None:
        if isinstance(slot, RejectedError):
            end_wait(context, slot)
            return
        reply_lines(
            context,
            f"curl -T FILE -H 'Authorization: Bearer {slot.token}' {slot.url}",
            f"This shares one file in {slot.room}, of at most {format_size(uploads.max_bytes)}. Begin within "
            f"{OPEN_SECONDS // 60} minutes.",
        )
        end_wait(context, None)

    if not uploads.open_slot(context.member, context.room, FilePlan(), opened):
        context.pause()


def _rooms(context: CommandContext, argument: str, at: float) -> None:
    _reply_later(context, lambda: _list_rooms(context))


def _list_rooms(context: CommandContext) -> Iterator[str]:
    rooms = context.hub.rooms.values()
    largest = nsmallest(LISTED_ROOMS, rooms, key=lambda room: (-len(room.members), room.name))
    for room in largest:
        own = " (you are in it)" if room is context.room else ""
        topic = f": {room.topic}" if room.topic else ""
        yield f"{room.name}: {len(room.members)} here{own}{topic}"
    if len(rooms) > len(largest):
        yield f"and {len(rooms) - len(largest)} more."


def _join(context: CommandContext, argument: str, at: float) -> None:
    name = fold_room_name(require_argument(argument))
    if name == context.room.name:
        raise RejectedError(f"you are in {name} already.")
    context.hub.check_joining(context.member, name, at)
    context.move_to(name)


def _leave(context: CommandContext, argument: str, at: float) -> None:
    lobby = context.hub.settings.lobby
    if context.room.name == lobby:
        raise RejectedError(f"you are in {lobby}. quit leaves the server.")
    context.move_to(lobby)


def _topic(context: CommandContext, argument: str, at: float) -> None:
    room, text = context.room, argument.strip()
    if text:
        context.hub.change_topic(context.member, room, text, at)
    else:
        no_topic = "there is no topic. /topic TEXT sets one."
        _reply_later(context, lambda: [f"Topic: {room.topic}" if room.topic else no_topic])


def _parse_toggle(argument: str, state: bool) -> bool:
    """Return the new state of a switch. Without an argument, it is the opposite of *state*."""
    new_state = {"": not state, "on": True, "off": False}.get(argument.strip().casefold())
    if new_state is None:
        raise UsageError
    return new_state


def _timestamp(context: CommandContext, argument: str, at: float) -> None:
    times = _parse_toggle(argument, context.view.times)
    context.set_view(replace(context.view, times=times))
    reply_lines(context, f"timestamps are {'on' if times else 'off'}.")


def _receipts(context: CommandContext, argument: str, at: float) -> None:
    context.member.receipts = _parse_toggle(argument, context.member.receipts)
    reply_lines(context, f"receipts are {'on' if context.member.receipts else 'off'}.")


def _quiet(context: CommandContext, argument: str, at: float) -> None:
    quiet = _parse_toggle(argument, context.view.quiet)
    context.set_view(replace(context.view, quiet=quiet))
    reply_lines(context, f"joins and leaves are {'off' if quiet else 'on'}.")


def _ignore(context: CommandContext, argument: str, at: float) -> None:
    name = argument.strip()
    ignored = context.member.ignored
    if not name:
        reply_lines(context, f"you ignore {', '.join(ignored.values())}." if ignored else "you ignore nobody.")
        return
    if casefold_key(name) == casefold_key(context.nick):
        raise RejectedError("you cannot ignore yourself.")
    nick = context.hub.people.find(name).nick
    if len(ignored) >= MAX_IGNORED:
        raise RejectedError(f"you ignore {MAX_IGNORED} people already. /unignore NAME makes room.")
    context.hub.ignore(context.member, nick)
    reply_lines(context, f"you ignore {nick}. /unignore {nick} ends that.")


def _unignore(context: CommandContext, argument: str, at: float) -> None:
    name = require_argument(argument).strip()
    nick = context.hub.unignore(context.member, name)
    if nick is None:
        raise RejectedError(f"you do not ignore {name[:24]}.")
    reply_lines(context, f"you no longer ignore {nick}.")


def _away(context: CommandContext, argument: str, at: float) -> None:
    reason = argument.strip()
    context.hub.set_away(context.member, True, reason)
    reply_lines(context, f"You are away: {reason}" if reason else "You are away.")


def _back(context: CommandContext, argument: str, at: float) -> None:
    context.hub.set_away(context.member, False)
    reply_lines(context, "Welcome back.")


def _ping(context: CommandContext, argument: str, at: float) -> None:
    reply_lines(context, "pong")


def _uptime(context: CommandContext, argument: str, at: float) -> None:
    context.peer.send(Uptime(context.hub.started, len(context.hub.people.members), context.room.last_seq))


def _version(context: CommandContext, argument: str, at: float) -> None:
    reply_lines(context, f"broadcast {context.hub.settings.version}")


def _motd(context: CommandContext, argument: str, at: float) -> None:
    reply_lines(context, *(context.hub.settings.motd or ("there is no message of the day.",)))


def _quit(context: CommandContext, argument: str, at: float) -> None:
    is_muted = context.hub.moderation.is_muted(context.member, at)
    context.leave("" if is_muted else argument.strip())


_FOR_EVERYBODY: tuple[Command, ...] = (
    Command("help", "[COMMAND]", "lists the commands, or explains one", _help, ("h", "?")),
    Command("names", "", "who is here", _names, ("who", "users", "list")),
    Command("nick", "NAME", "takes another nickname", _nick),
    Command("me", "TEXT", "says what you do: ** ann waves", _me),
    Command("say", "TEXT", "says it literally: /say quit", _say),
    Command("msg", "NAME TEXT", "private to one person", _msg, ("m", "tell", "w"), names_person=True),
    Command("reply", "TEXT", "private to the last person who wrote to you", _reply, ("r",)),
    *READING_COMMANDS,
    Command("upload-link", "", "shows how to share one file from a shell, with curl", _upload_link),
    Command("rooms", "", "lists the rooms", _rooms),
    Command("join", "ROOM", "moves to another room, and opens it if there is none", _join),
    Command("leave", "", "moves back to the room in which you arrived", _leave),
    Command("topic", "[TEXT]", "shows the topic of the room, or sets it", _topic),
    Command("timestamp", "[on/off]", "shows the time of each line", _timestamp),
    Command("receipts", "[on/off]", "tells the number under which each of your lines is kept", _receipts),
    Command("quiet", "[on/off]", "hides who joins and leaves", _quiet),
    Command(
        "ignore", "[NAME]", "hides what NAME says, does and whispers; alone, lists whom", _ignore, names_person=True
    ),
    Command("unignore", "NAME", "shows it again", _unignore),
    Command("away", "[WHY]", "tells those who look or write that you are away", _away),
    Command("back", "", "you are here again", _back),
    Command("ping", "", "answers pong", _ping),
    Command("uptime", "", "since when the server runs, and how much there is", _uptime),
    Command("version", "", "name and version of the server", _version),
    Command("motd", "", "the message of the day", _motd),
    *ACCOUNT_COMMANDS,
    Command("quit", "[WHY]", "leaves", _quit, ("exit", "q")),
)
COMMANDS: tuple[Command, ...] = (
    *(replace(command, is_for_operators=False) for command in _FOR_EVERYBODY),
    *OPERATOR_COMMANDS,
)
"""The commands. Those of operators are shown to nobody else."""

_BY_NAME = {verb: command for command in COMMANDS for verb in (command.name, *command.aliases)}
