"""The commands of the client, and saying a line as one of them. The server answers the commands that are not here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from msgspec import UNSET

from broadcast.client.protocol import requests
from broadcast.client.session.entries import Notice, Output, PrivateLine
from broadcast.client.session.outbox import Item, Kind

if TYPE_CHECKING:
    from broadcast.client.session.entries import Entry
    from broadcast.client.session.interfaces import Choices
    from broadcast.client.session.views import View

QUIT_WORDS: Final = frozenset({"quit", "exit"})
REPLAY: Final = 20
"""The number of older lines that are shown of a room that the user joins."""


class UsageError(Exception):
    """A command that cannot be executed. Its text says what to do."""


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


Result: TypeAlias = Sequence["Entry"]
Run: TypeAlias = Callable[[Talk, Item, str], "requests.Request[Any] | None"]


class Command(NamedTuple):
    """A command of the client.

    *run* returns the request that executes it, or None if the client itself does, and sets ``Item.finish``. It may
    raise ``UsageError``. *help* is empty if the server's ``/help`` explains the command.
    """

    name: str
    usage: str
    run: Run
    aliases: tuple[str, ...] = ()
    kind: Kind = Kind.COMMAND
    is_local: bool = False
    """Whether it never needs the server."""
    is_move: bool = False
    """Whether it may lead to another view, where the lines after it are meant."""
    needs_view: bool = False
    """Whether it is about the view in which it was typed."""
    help: str = ""

    @property
    def syntax(self) -> str:
        """The command as it is typed."""
        return f"/{self.name} {self.usage}".rstrip()


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
        raise UsageError(f"Usage: {parse(item.text)[0].syntax}")
    return argument


def _ask_server(talk: Talk, item: Item, text: str) -> requests.Request[Any]:
    def finish(result: requests.Output) -> Result:
        is_list = text.casefold().split() in (["/help"], ["/h"], ["/?"])
        own = [f"{command.syntax}   {command.help}" for command in COMMANDS if is_list and command.help]
        return [Output(line) for line in (*result.lines, *own)]

    item.finish = finish
    return requests.Command(talk.room_of(item.view).name, text)


# Lines


def _say(_talk: Talk, item: Item, text: str) -> requests.Request[Any]:
    _required(item, text)
    return _tell(item, item.view.name, text) if item.view.is_private else requests.Say(item.view.name, text, item.uid)


def _me(_talk: Talk, item: Item, text: str) -> requests.Request[Any]:
    if item.view.is_private:
        raise UsageError("/me works only in a room.")
    return requests.Emote(item.view.name, _required(item, text).strip(), item.uid)


def _tell(item: Item, nick: str, text: str) -> requests.Request[Any]:
    def finish(result: requests.Delivered) -> Result:
        away = result.away
        line = PrivateLine(item.at, nick, text, is_own=True)
        return (line,) if away is None else (line, Notice(f"{nick} is away: {away}" if away else f"{nick} is away."))

    item.kind = Kind.PRIVATE
    item.to = nick
    item.finish = finish
    return requests.Tell(nick, text, item.uid)


def _msg(_talk: Talk, item: Item, argument: str) -> requests.Request[Any]:
    nick, _, text = argument.strip().partition(" ")
    return _tell(item, nick, text.strip())


def _query(talk: Talk, item: Item, nick: str) -> None:
    item.destination = talk.private_view(_required(item, nick).strip())


def _reply(talk: Talk, item: Item, argument: str) -> requests.Request[Any]:
    text = _required(item, argument).strip()
    if not talk.last_private:
        raise UsageError("Nobody has written to you yet.")
    return _tell(item, talk.last_private, text)


# Rooms


def _join(talk: Talk, item: Item, argument: str) -> requests.Request[Any] | None:
    name = _required(item, argument).strip().lower()
    item.destination = talk.find_room(name)
    if item.destination is not None:
        return None

    def finish(room: requests.Room) -> Result:
        item.destination = talk.entered(room)
        return ()

    item.finish = finish
    return requests.Join(name, replay=REPLAY)


def _leave(talk: Talk, item: Item, argument: str) -> requests.Request[Any] | None:
    view = item.view

    def finish(_result: object) -> Result:
        talk.close(view)
        item.destination = talk.current
        return ()

    if len(talk.rooms) == 1 and not view.is_private:
        raise UsageError(f"You are in {view.name} only. quit leaves the server.")
    item.finish = finish
    return None if view.is_private else requests.Leave(view.name, argument.strip() or UNSET)


def _topic(talk: Talk, item: Item, argument: str) -> requests.Request[Any] | None:
    room, text = talk.room_of(item.view), argument.strip()

    def finish(_result: requests.Nothing) -> Result:
        room.topic = text
        return ()

    if text:
        item.finish = finish
        return requests.Topic(room.name, text)
    answer = f"Topic: {room.topic}" if room.topic else "There is no topic. /topic TEXT sets one."
    item.finish = lambda _: [Output(answer)]
    return None


# The user


def _nick(talk: Talk, item: Item, argument: str) -> requests.Request[Any]:
    def finish(result: requests.Nickname) -> Result:
        talk.nick = result.nick
        return [Output(f"You are {result.nick}.")]

    item.finish = finish
    return requests.Nick(_required(item, argument).strip())


def _away(talk: Talk, item: Item, argument: str) -> requests.Request[Any]:
    reason = argument.strip()
    return _set_away(talk, item, reason, f"You are away: {reason}" if reason else "You are away.")


def _back(talk: Talk, item: Item, _argument: str) -> requests.Request[Any]:
    return _set_away(talk, item, None, "Welcome back.")


def _set_away(talk: Talk, item: Item, reason: str | None, answer: str) -> requests.Request[Any]:
    def finish(_result: requests.Nothing) -> Result:
        talk.away = reason
        return [Output(answer)]

    item.finish = finish
    return requests.Away(reason)


def _quit(_talk: Talk, _item: Item, _argument: str) -> None:
    """Do nothing: the conversation leaves at once, and not after everything before."""


# The choices


def _choose(talk: Talk, name: str, value: str, usage: str) -> bool:
    """Set a choice to *value*, or to the opposite of the present one. Return it."""
    if value not in {"", "on", "off"}:
        raise UsageError(f"Usage: {usage}")
    try:
        talk.choices[name] = value == "on" if value else not talk.choices[name]
    except ValueError as error:
        raise UsageError(f"{error}. Until you leave, {name} is {_on_off(talk.choices[name])}.") from None
    return talk.choices[name]


def _on_off(value: bool) -> str:
    return "on" if value else "off"


def _set(talk: Talk, item: Item, argument: str) -> None:
    name, _, value = argument.strip().casefold().partition(" ")
    if name and name not in list(talk.choices):
        raise UsageError(f"There is no choice {name}. The choices are {', '.join(talk.choices)}.")
    if value:
        _choose(talk, name, value.strip(), f"/set {name} [on/off]")
    lines = [Output(f"{choice} {_on_off(talk.choices[choice])}") for choice in talk.choices if name in {"", choice}]
    item.finish = lambda _: lines


def _timestamp(talk: Talk, item: Item, argument: str) -> None:
    is_on = _choose(talk, "times", argument.strip().casefold(), "/timestamp [on/off]")
    item.finish = lambda _: [Output(f"timestamps are {_on_off(is_on)}.")]


def _quiet(talk: Talk, item: Item, argument: str) -> None:
    is_quiet = _choose(talk, "quiet", argument.strip().casefold(), "/quiet [on/off]")
    item.finish = lambda _: [Output(f"joins and leaves are {_on_off(not is_quiet)}.")]


def _ignore(talk: Talk, item: Item, argument: str) -> None:
    nick = argument.strip()
    if nick.casefold() == talk.nick.casefold():
        raise UsageError("You cannot ignore yourself.")
    answer = f"You ignore {nick}. /unignore {nick} ends that."
    if nick:
        talk.ignored[nick.casefold()] = nick
    else:
        answer = f"You ignore {', '.join(talk.ignored.values()) or 'nobody'}."
    item.finish = lambda _: [Output(answer)]


def _unignore(talk: Talk, item: Item, argument: str) -> None:
    nick = _required(item, argument).strip()
    if talk.ignored.pop(nick.casefold(), None) is None:
        raise UsageError(f"You do not ignore {nick}.")
    item.finish = lambda _: [Output(f"You no longer ignore {nick}.")]


def _receipts(_talk: Talk, item: Item, _argument: str) -> None:
    item.finish = lambda _: [Output("Each line without … in front of it is stored. There are no other receipts here.")]


COMMANDS: Final = (
    Command("say", "TEXT", _say, kind=Kind.LINE, needs_view=True),
    Command("me", "TEXT", _me, kind=Kind.LINE, needs_view=True),
    Command("msg", "NAME [TEXT]", _msg, ("m", "tell", "w"), kind=Kind.PRIVATE),
    Command("reply", "TEXT", _reply, ("r",), kind=Kind.PRIVATE),
    Command("join", "ROOM", _join, is_move=True),
    Command("leave", "[WHY]", _leave, is_move=True, needs_view=True),
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
