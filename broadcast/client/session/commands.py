"""The commands of the client. The server answers those that are not here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec import UNSET

from broadcast.client.protocol import requests
from broadcast.client.session.entries import Entry, Line, Notice, Output, PrivateLine
from broadcast.client.session.outbox import Command, Execution, Item, UsageError
from broadcast.client.session.questions import AGAIN, NEW, OLD, PASSWORD
from broadcast.client.session.talk import Talk

QUIT_WORDS: Final = frozenset({"quit", "exit"})
ROOM_COMMANDS: Final = frozenset({"/names", "/who", "/users", "/list", "/history", "/search", "/slow"})
"""The commands of the server that are about a room."""
STORED_COMMANDS: Final = frozenset({"/history", "/search"})
"""Those that are about the stored private lines with a person if ``@NAME`` follows."""
REPLAY: Final = 20
"""The number of older lines that are shown of a room that the user joins."""


def parse(text: str) -> tuple[Command, str]:
    """Return the command that a typed line is, and its argument."""
    if text.strip().casefold() in QUIT_WORDS:
        return BY_NAME["quit"], ""
    if not text.startswith("/") or text.startswith("//"):
        return BY_NAME["say"], text.removeprefix("/")
    verb, _, argument = text[1:].partition(" ")
    command = BY_NAME.get(verb.casefold())
    if command is None:
        return _ASK, text
    if command.name != "say":
        argument = argument.strip()
    return _QUERY if command.name == "msg" and " " not in argument else command, argument


def _ask_server(talk: Talk, item: Item, text: str) -> Execution:
    verb, *rest = text.casefold().split()
    if verb in STORED_COMMANDS and item.view.is_private and not (rest and rest[0].startswith("@")):
        text = f"{verb} @{item.view.name} {text.partition(' ')[2]}".rstrip()
    elif verb in ROOM_COMMANDS - STORED_COMMANDS:
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


def _say(talk: Talk, item: Item, text: str) -> Execution:
    if item.view.is_private:
        return (yield from _tell(item, item.view.name, text))
    stored = yield requests.Say(item.view.name, text, item.uid)
    return [Line(stored.at, talk.nick, text, stored.seq, is_own=True)]


def _me(talk: Talk, item: Item, text: str) -> Execution:
    _need_room(talk, item)
    stored = yield requests.Emote(item.view.name, text, item.uid)
    return [Line(stored.at, talk.nick, text, stored.seq, is_action=True, is_own=True)]


def _tell(item: Item, nick: str, text: str) -> Execution:
    delivered: requests.Delivered = yield requests.Tell(nick, text, item.uid)
    line = PrivateLine(item.at, nick, text, is_own=True)
    if delivered.kept:
        return line, Notice(f"{nick} is not here, and receives this at the next login.")
    away = delivered.away
    return (line,) if away is None else (line, Notice(f"{nick} is away: {away}" if away else f"{nick} is away."))


def _msg(_talk: Talk, item: Item, argument: str) -> Execution:
    nick, _, text = argument.partition(" ")
    return _tell(item, nick, text.strip())


def _query(talk: Talk, item: Item, nick: str) -> Sequence[Entry]:
    item.destination = talk.private_view(nick)
    return ()


def _reply(talk: Talk, item: Item, text: str) -> Execution:
    if not talk.last_private:
        raise UsageError("Nobody has written to you yet.")
    return _tell(item, talk.last_private, text)


# Rooms


def _join(talk: Talk, item: Item, name: str) -> Execution:
    item.destination = talk.find_room(name)
    if item.destination is None:
        view = item.destination = talk.enter((yield requests.Join(name.lower(), replay=REPLAY)))
        talk.add(view, Notice(f"You are in {view.name}. {view.people(talk.session)}"))
        view.new_entries = 0
    return ()


def _leave(talk: Talk, item: Item, argument: str) -> Execution:
    name, _, why = argument.partition(" ")
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


def _upload(talk: Talk, item: Item, path: str) -> Sequence[Entry]:
    _need_room(talk, item)
    upload = talk.upload(item.view, unquoted(path))
    return [Output(f"Uploading {upload.name}. Ctrl-C on an empty line cancels it.")]


def unquoted(path: str) -> str:
    """Return a path that a user has typed, or a terminal after a file was dropped on it. Blanks need no quotes."""
    if path.startswith(("'", '"')):
        try:
            words = shlex.split(path)
        except ValueError:
            words = [path[1:]]  # without a closing quote, as completion leaves it
        if len(words) == 1:
            return words[0]
    return re.sub(r"\\(\W)", r"\1", path)


def _topic(talk: Talk, item: Item, text: str) -> Execution:
    _need_room(talk, item)
    room = item.view
    if text:
        yield requests.Topic(room.name, text)
        room.topic = text
        return ()
    return [Output(f"Topic: {room.topic}" if room.topic else "There is no topic. /topic TEXT sets one.")]


# The user


def _nick(talk: Talk, _item: Item, nick: str) -> Execution:
    talk.nick = (yield requests.Nick(nick)).nick
    return [Output(f"You are {talk.nick}.")]


def _away(talk: Talk, _item: Item, reason: str) -> Execution:
    yield requests.Away(reason)
    talk.away = reason
    return [Output(f"You are away: {reason}" if reason else "You are away.")]


def _back(talk: Talk, _item: Item, _argument: str) -> Execution:
    yield requests.Away(None)
    talk.away = None
    return [Output("Welcome back.")]


# Accounts


def _register(_talk: Talk, item: Item, _argument: str) -> Execution:
    nick = (yield requests.Register(item.passwords[0])).nick
    return [Output(f"{nick} is registered: from now on, it needs the password. You are logged in.")]


def _login(talk: Talk, item: Item, nick: str) -> Execution:
    talk.nick = (yield requests.Login(item.passwords[0], nick or UNSET)).nick
    return [Output(f"You are logged in as {talk.nick}.")]


def _oidc(_talk: Talk, _item: Item, _argument: str) -> Execution:
    yield requests.Oidc()
    return ()


def _logout(talk: Talk, _item: Item, _argument: str) -> Execution:
    talk.nick = (yield requests.Logout()).nick
    return [Output(f"You are logged out. You are {talk.nick}.")]


def _passwd(_talk: Talk, item: Item, _argument: str) -> Execution:
    old, new, _again = item.passwords
    yield requests.SetPassword(old, new)
    return [Output("The password is changed.")]


def _drop(talk: Talk, item: Item, _argument: str) -> Execution:
    talk.nick = (yield requests.Drop(item.passwords[0])).nick
    return [Output(f"{talk.nick} is not registered any more.")]


# The client


def _set(talk: Talk, item: Item, argument: str) -> Sequence[Entry]:
    name, _, value = argument.casefold().partition(" ")
    if name and name not in talk.choices:
        raise UsageError(f"There is no choice {name}. The choices are {', '.join(talk.choices)}.")
    if value:
        return _choose(talk, item, value, name=name)
    return [Output(_state(talk, choice)) for choice in talk.choices if name in {"", choice}]


def _choose(talk: Talk, item: Item, value: str, *, name: str) -> Sequence[Entry]:
    """Make a choice, or the opposite of the present one without a value."""
    value = value.strip().casefold()
    if value not in {"", "on", "off"}:
        raise UsageError(f"Usage: {item.command.syntax}")
    try:
        talk.choices[name] = value == "on" if value else not talk.choices[name]
    except ValueError as error:
        raise UsageError(f"{error}. Until you leave: {_state(talk, name)}") from None
    return [Output(_state(talk, name))]


def _state(talk: Talk, name: str) -> str:
    return f"{name} {'on' if talk.choices[name] else 'off'}"


def _ignore(talk: Talk, _item: Item, nick: str) -> Sequence[Entry]:
    if nick.casefold() == talk.nick.casefold():
        raise UsageError("You cannot ignore yourself.")
    if not nick:
        return [Output(f"You ignore {', '.join(talk.ignored.values()) or 'nobody'}.")]
    talk.ignored[nick.casefold()] = nick
    return [Output(f"You ignore {nick}. /unignore {nick} ends that.")]


def _unignore(talk: Talk, _item: Item, nick: str) -> Sequence[Entry]:
    if talk.ignored.pop(nick.casefold(), None) is None:
        raise UsageError(f"You do not ignore {nick}.")
    return [Output(f"You no longer ignore {nick}.")]


def _quit(_talk: Talk, _item: Item, _argument: str) -> Sequence[Entry]:
    """Do nothing, because the conversation leaves without waiting for its turn."""
    return ()


COMMANDS: Final = (
    Command("say", "TEXT", _say, is_text=True, needs_view=True),
    Command("me", "TEXT", _me, is_text=True, needs_view=True),
    Command("msg", "NAME [TEXT]", _msg, ("m", "tell", "w"), is_text=True),
    Command("reply", "TEXT", _reply, ("r",), is_text=True),
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
    Command("upload", "PATH", _upload, needs_view=True, help="shares a file in this room"),
    Command("nick", "NAME", _nick),
    Command("away", "[WHY]", _away),
    Command("back", "", _back),
    Command("register", "", _register, prompts=(PASSWORD, AGAIN)),
    Command("login", "[NAME]", _login, prompts=(PASSWORD,)),
    Command("oidc", "", _oidc),
    Command("logout", "", _logout),
    Command("passwd", "", _passwd, prompts=(OLD, NEW, AGAIN)),
    Command("drop", "", _drop, prompts=(PASSWORD,)),
    Command("quit", "[WHY]", _quit, ("exit", "q"), is_local=True),
    Command("timestamp", "[on/off]", partial(_choose, name="times"), is_local=True),
    Command("quiet", "[on/off]", partial(_choose, name="quiet"), is_local=True),
    Command("ignore", "[NAME]", _ignore, is_local=True),
    Command("unignore", "NAME", _unignore, is_local=True),
    Command("set", "[NAME [on/off]]", _set, is_local=True, help="shows the choices of this client, or changes one"),
)
BY_NAME: Final = {verb: command for command in COMMANDS for verb in (command.name, *command.aliases)}
_QUERY: Final = Command("msg", "NAME [TEXT]", _query, is_local=True, is_move=True)
_ASK: Final = Command("", "", _ask_server)
