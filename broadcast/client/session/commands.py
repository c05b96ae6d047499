"""The commands of the client. The server answers those that are not here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import UNSET

from broadcast.client.protocol import requests
from broadcast.client.session.entries import Notice, Output, PrivateLine
from broadcast.client.session.items import Command, Item, Kind, UsageError

if TYPE_CHECKING:
    from broadcast.client.session.interfaces import Choices
    from broadcast.client.session.items import Execution, Result
    from broadcast.client.session.views import View

QUIT_WORDS: Final = frozenset({"quit", "exit"})
ROOM_COMMANDS: Final = frozenset({"/names", "/who", "/users", "/list", "/history", "/search"})
"""The commands of the server that are about a room."""
REPLAY: Final = 20
"""The number of older lines that are shown of a room that the user joins."""


class Talk(Protocol):
    """The conversation, as the commands see it."""

    nick: str
    away: str | None
    choices: Choices
    ignored: dict[str, str]
    last_private: str
    current: View

    @property
    def rooms(self) -> Sequence[View]:
        """The views of rooms."""

    def find_room(self, name: str) -> View | None:
        """Return the view of a room, or None."""

    def room_of(self, view: View) -> View:
        """Return *view* if it is a room, and the first room otherwise."""

    def private_view(self, nick: str) -> View:
        """Return the view of the private conversation with *nick*. Add it if there is none."""

    def entered(self, room: requests.Room) -> View:
        """Return the view of a room that the user has joined. Add it if there is none."""

    def close(self, view: View) -> None:
        """Remove a view."""


def parse(text: str) -> tuple[Command, str]:
    """Return the command that a typed line is, and its argument."""
    if text.strip().casefold() in QUIT_WORDS:
        return BY_NAME["quit"], ""
    if not text.startswith("/"):
        return BY_NAME["say"], text
    if text.startswith("//"):
        return BY_NAME["say"], text[1:]
    verb, _, argument = text[1:].partition(" ")
    command = BY_NAME.get(verb.casefold(), _ASK)
    if command.name == "msg" and " " not in argument.strip():
        command = _QUERY
    return command, text if command is _ASK else argument


def said_text(command: Command, argument: str) -> str:
    """Return the part of a command that the server's limit on lines is about."""
    return argument.strip().partition(" ")[2] if command.name == "msg" else argument


def _required(item: Item, argument: str) -> str:
    if not argument.strip():
        raise UsageError(f"Usage: {item.command.syntax}")
    return argument


def _ask_server(talk: Talk, item: Item, text: str) -> Execution:
    verb, *rest = text.casefold().split()
    if verb in ROOM_COMMANDS:
        _need_room(talk, item)
    own = [command for command in COMMANDS if command.help and verb in {"/help", "/h", "/?"}]
    if len(rest) == 1 and (asked := [command for command in own if command.name == rest[0].removeprefix("/")]):
        return [Output(_explain(asked[0]))]
    lines: list[str] = list((yield requests.Command(talk.room_of(item.view).name, text)).lines)
    if not rest:
        names = {f"/{command.name}" for command in own}
        lines = [line for line in lines if line.partition(" ")[0] not in names] + list(map(_explain, own))
    return list(map(Output, lines))


def _explain(command: Command) -> str:
    return f"{command.syntax}   {command.help}"


def _need_room(talk: Talk, item: Item) -> None:
    if item.view.is_private:
        room = talk.rooms[0].name
        raise UsageError(f"This is a private conversation with {item.view.name}. Go to a room first: /join {room}")


# Lines


def _say(_talk: Talk, item: Item, text: str) -> Execution | requests.Say:
    _required(item, text)
    return _tell(item, item.view.name, text) if item.view.is_private else requests.Say(item.view.name, text, item.uid)


def _me(talk: Talk, item: Item, text: str) -> requests.Emote:
    _need_room(talk, item)
    return requests.Emote(item.view.name, _required(item, text).strip(), item.uid)


def _tell(item: Item, nick: str, text: str) -> Execution:
    item.to = nick
    away = (yield requests.Tell(nick, _required(item, text), item.uid)).away
    line = PrivateLine(item.at, nick, text, is_own=True)
    return (line,) if away is None else (line, Notice(f"{nick} is away: {away}" if away else f"{nick} is away."))


def _msg(_talk: Talk, item: Item, argument: str) -> Execution:
    nick, _, text = argument.strip().partition(" ")
    return _tell(item, nick, text.strip())


def _query(talk: Talk, item: Item, nick: str) -> Result:
    item.destination = talk.private_view(_required(item, nick).strip())
    return ()


def _reply(talk: Talk, item: Item, argument: str) -> Execution:
    text = _required(item, argument).strip()
    if not talk.last_private:
        raise UsageError("Nobody has written to you yet.")
    return _tell(item, talk.last_private, text)


# Rooms


def _join(talk: Talk, item: Item, argument: str) -> Execution:
    name = _required(item, argument).strip().lower()
    item.destination = talk.find_room(name)
    if item.destination is None:
        item.destination = talk.entered((yield requests.Join(name, replay=REPLAY)))
    return ()


def _leave(talk: Talk, item: Item, argument: str) -> Execution:
    name, _, why = argument.strip().partition(" ")
    view = talk.find_room(name) if name else item.view
    if view is None:
        raise UsageError(f"You are not in {name}. Usage: {item.command.syntax}")
    if not view.is_private:
        if len(talk.rooms) == 1:
            raise UsageError(f"You are in {view.name} only. quit leaves the server.")
        yield requests.Leave(view.name, why.strip() or UNSET)
    talk.close(view)
    item.destination = talk.current
    return ()


def _topic(talk: Talk, item: Item, argument: str) -> Execution:
    _need_room(talk, item)
    room, text = item.view, argument.strip()
    if text:
        yield requests.Topic(room.name, text)
        room.topic = text
        return ()
    return [Output(f"Topic: {room.topic}" if room.topic else "There is no topic. /topic TEXT sets one.")]


# The user


def _nick(talk: Talk, item: Item, argument: str) -> Execution:
    talk.nick = (yield requests.Nick(_required(item, argument).strip())).nick
    return [Output(f"You are {talk.nick}.")]


def _away(talk: Talk, _item: Item, argument: str) -> Execution:
    reason = argument.strip()
    yield requests.Away(reason)
    talk.away = reason
    return [Output(f"You are away: {reason}" if reason else "You are away.")]


def _back(talk: Talk, _item: Item, _argument: str) -> Execution:
    yield requests.Away(None)
    talk.away = None
    return [Output("Welcome back.")]


# The client


def _set(talk: Talk, item: Item, argument: str) -> Result:
    name, _, value = argument.strip().casefold().partition(" ")
    if name and name not in list(talk.choices):
        raise UsageError(f"There is no choice {name}. The choices are {', '.join(talk.choices)}.")
    if value:
        _choose(talk, item, name, value.strip())
    return [Output(f"{choice} {_on_off(talk.choices[choice])}") for choice in talk.choices if name in {"", choice}]


def _timestamp(talk: Talk, item: Item, argument: str) -> Result:
    return [Output(f"timestamps are {_on_off(_choose(talk, item, 'times', argument))}.")]


def _quiet(talk: Talk, item: Item, argument: str) -> Result:
    return [Output(f"joins and leaves are {_on_off(not _choose(talk, item, 'quiet', argument))}.")]


def _choose(talk: Talk, item: Item, name: str, argument: str) -> bool:
    """Make a choice, or the opposite of the present one without an argument. Return it."""
    value = argument.strip().casefold()
    if value not in {"", "on", "off"}:
        raise UsageError(f"Usage: {item.command.syntax}")
    try:
        talk.choices[name] = value == "on" if value else not talk.choices[name]
    except ValueError as error:
        raise UsageError(f"{error}. Until you leave, {name} is {_on_off(talk.choices[name])}.") from None
    return talk.choices[name]


def _on_off(value: bool) -> str:
    return "on" if value else "off"


def _ignore(talk: Talk, _item: Item, argument: str) -> Result:
    nick = argument.strip()
    if nick.casefold() == talk.nick.casefold():
        raise UsageError("You cannot ignore yourself.")
    if not nick:
        return [Output(f"You ignore {', '.join(talk.ignored.values()) or 'nobody'}.")]
    talk.ignored[nick.casefold()] = nick
    return [Output(f"You ignore {nick}. /unignore {nick} ends that.")]


def _unignore(talk: Talk, item: Item, argument: str) -> Result:
    nick = _required(item, argument).strip()
    if talk.ignored.pop(nick.casefold(), None) is None:
        raise UsageError(f"You do not ignore {nick}.")
    return [Output(f"You no longer ignore {nick}.")]


def _receipts(_talk: Talk, _item: Item, _argument: str) -> Result:
    return [Output("Each line without … in front of it is stored. There are no other receipts here.")]


def _quit(_talk: Talk, _item: Item, _argument: str) -> Result:
    """Do nothing, because the conversation leaves without waiting for its turn."""
    return ()


COMMANDS: Final = (
    Command("say", "TEXT", _say, kind=Kind.LINE, needs_view=True),
    Command("me", "TEXT", _me, kind=Kind.LINE, needs_view=True),
    Command("msg", "NAME [TEXT]", _msg, ("m", "tell", "w"), kind=Kind.PRIVATE),
    Command("reply", "TEXT", _reply, ("r",), kind=Kind.PRIVATE),
    Command("join", "ROOM", _join, is_move=True),
    Command(
        "leave",
        "[ROOM [WHY]]",
        _leave,
        is_move=True,
        needs_view=True,
        help="leaves this room or another one, or closes this private conversation",
    ),
    Command("topic", "[TEXT]", _topic, needs_view=True),
    Command("nick", "NAME", _nick),
    Command("away", "[WHY]", _away),
    Command("back", "", _back),
    Command("quit", "[WHY]", _quit, ("exit", "q"), is_local=True),
    Command("timestamp", "[on/off]", _timestamp, is_local=True),
    Command("quiet", "[on/off]", _quiet, is_local=True),
    Command("ignore", "[NAME]", _ignore, is_local=True),
    Command("unignore", "NAME", _unignore, is_local=True),
    Command("receipts", "", _receipts, is_local=True),
    Command("set", "[NAME [on/off]]", _set, is_local=True, help="shows the choices of this client, or changes one"),
)
"""The commands of the client."""
BY_NAME: Final = {verb: command for command in COMMANDS for verb in (command.name, *command.aliases)}
_QUERY: Final = Command("msg", "NAME [TEXT]", _query, is_local=True, is_move=True)
_ASK: Final = Command("", "", _ask_server)
