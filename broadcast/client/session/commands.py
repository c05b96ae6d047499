"""The commands of the client. Those that are not here are sent to the server, which answers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import UNSET

from broadcast.client.protocol import requests
from broadcast.client.session.entries import Notice, Output, PrivateLine, Problem, Typed
from broadcast.client.session.outbox import Item, Kind

if TYPE_CHECKING:
    from broadcast.client.session.conversation import Conversation
    from broadcast.client.session.entries import Entry
    from broadcast.client.session.views import View

QUIT_WORDS: Final = frozenset({"quit", "exit"})
REPLAY: Final = 20
"""The number of older lines that are shown of a room that the user joins."""


class UsageError(Exception):
    """A command that cannot be executed. Its text says what to do."""


class Command(NamedTuple):
    """A command of the client. *run* changes the item so that it executes the command with the argument."""

    name: str
    usage: str
    help: str
    run: Callable[[Conversation, Item, str], None]
    aliases: tuple[str, ...] = ()

    @property
    def syntax(self) -> str:
        """The command as it is typed."""
        return f"/{self.name} {self.usage}".rstrip()


def interpret(talk: Conversation, item: Item) -> None:
    """Make *item* say its text, or execute it as a command."""
    text = item.text
    if not text.startswith("/") or text.startswith("//"):
        if text.strip().casefold() in QUIT_WORDS:
            _quit(talk, item, "")
        else:
            _say(talk, item, text[1:] if text.startswith("//") else text)
        return
    verb, _, argument = text[1:].partition(" ")
    command = BY_NAME.get(verb.casefold())
    try:
        if command is None:
            _ask_server(talk, item)
        else:
            command.run(talk, item, argument)
    except UsageError as error:
        problem = Problem(str(error))
        item.kind, item.make_request, item.finish = Kind.COMMAND, None, lambda _item, _result: (problem,)


def is_move(item: Item) -> bool:
    """Return whether *item* may lead to another view, where the lines after it are meant."""
    verb = item.text[1:].partition(" ")[0].casefold()
    return item.text.startswith("/") and item.kind is Kind.COMMAND and verb in _MOVES


def _required(argument: str, name: str) -> str:
    if not argument.strip():
        raise UsageError(f"Usage: {BY_NAME[name].syntax}")
    return argument


def _answer(item: Item, answer: Callable[[], Sequence[Entry]]) -> None:
    """Answer a command without the server, when everything before it is shown."""
    item.finish = lambda _item, _result: answer()


def _ask_server(talk: Conversation, item: Item) -> None:
    def finish(_item: Item, result: requests.Output) -> list[Entry]:
        lines: list[Entry] = [Output(line) for line in result.lines]
        if item.text.casefold().split() in (["/help"], ["/h"], ["/?"]):
            lines += [Output(f"{command.syntax}   {command.help}") for command in COMMANDS if command.help]
        return lines

    item.make_request = lambda item: requests.Command(talk.room_of(item.view).name, item.text)
    item.finish = finish


# Lines


def _say(talk: Conversation, item: Item, argument: str) -> None:
    text = _required(argument, "say")
    talk.check_length(text)
    if item.view.is_private:
        _tell(item, item.view.name, text)
    else:
        item.kind = Kind.LINE
        item.make_request = lambda item: requests.Say(item.view.name, text, item.uid)


def _me(talk: Conversation, item: Item, argument: str) -> None:
    text = _required(argument, "me").strip()
    talk.check_length(text)
    if item.view.is_private:
        raise UsageError("/me works only in a room.")
    item.kind = Kind.LINE
    item.make_request = lambda item: requests.Emote(item.view.name, text, item.uid)


def _tell(item: Item, nick: str, text: str) -> None:
    def finish(item: Item, result: requests.Delivered) -> list[Entry]:
        away = () if result.away is None else (Notice(_away_notice(nick, result.away)),)
        return [PrivateLine(item.at, nick, text, is_own=True), *away]

    item.kind = Kind.PRIVATE
    item.to = nick
    item.make_request = lambda item: requests.Tell(nick, text, item.uid)
    item.finish = finish


def _away_notice(nick: str, reason: str) -> str:
    return f"{nick} is away: {reason}" if reason else f"{nick} is away."


def _msg(talk: Conversation, item: Item, argument: str) -> None:
    nick, _, text = _required(argument, "msg").strip().partition(" ")
    if text.strip():
        talk.check_length(text)
        _tell(item, nick, text.strip())
        return

    def go() -> Sequence[Entry]:
        item.destination = talk.private_view(nick)
        return ()

    _answer(item, go)


def _reply(talk: Conversation, item: Item, argument: str) -> None:
    text = _required(argument, "reply").strip()
    talk.check_length(text)
    if not talk.last_private:
        raise UsageError("Nobody has written to you yet.")
    _tell(item, talk.last_private, text)


# Rooms


def _join(talk: Conversation, item: Item, argument: str) -> None:
    name = _required(argument, "join").strip().lower()
    known = talk.find_room(name)
    if known is not None:

        def go() -> Sequence[Entry]:
            item.destination = known
            return ()

        _answer(item, go)
        return

    def finish(item: Item, room: requests.Room) -> Sequence[Entry]:
        item.destination = talk.entered(room)
        return ()

    item.make_request = lambda _item: requests.Join(name, replay=REPLAY)
    item.finish = finish


def _leave(talk: Conversation, item: Item, argument: str) -> None:
    view: View = item.view
    if view.is_private:
        _answer(item, lambda: _close(talk, item, view))
        return
    if len([view for view in talk.views if not view.is_private]) == 1:
        raise UsageError(f"You are in {view.name} only. quit leaves the server.")
    reason = argument.strip()
    item.make_request = lambda _item: requests.Leave(view.name, reason or UNSET)
    item.finish = lambda item, _result: _close(talk, item, view)


def _close(talk: Conversation, item: Item, view: View) -> Sequence[Entry]:
    talk.close(view)
    item.destination = talk.current
    return ()


def _topic(talk: Conversation, item: Item, argument: str) -> None:
    text = argument.strip()
    room = talk.room_of(item.view)
    if text:
        talk.check_length(text)
        item.make_request = lambda _item: requests.Topic(room.name, text)
    else:
        _answer(
            item,
            lambda: (Output(f"Topic: {room.topic}" if room.topic else "There is no topic. /topic TEXT sets one."),),
        )


# The user


def _nick(talk: Conversation, item: Item, argument: str) -> None:
    nick = _required(argument, "nick").strip()

    def finish(_item: Item, result: requests.Nickname) -> Sequence[Entry]:
        talk.nick = result.nick
        return (Output(f"You are {result.nick}."),)

    item.make_request = lambda _item: requests.Nick(nick)
    item.finish = finish


def _away(talk: Conversation, item: Item, argument: str) -> None:
    reason = argument.strip()

    def finish(_item: Item, _result: requests.Nothing) -> Sequence[Entry]:
        talk.away = reason
        return (Output(f"You are away: {reason}" if reason else "You are away."),)

    item.make_request = lambda _item: requests.Away(reason)
    item.finish = finish


def _back(talk: Conversation, item: Item, _argument: str) -> None:
    def finish(_item: Item, _result: requests.Nothing) -> Sequence[Entry]:
        talk.away = None
        return (Output("Welcome back."),)

    item.make_request = lambda _item: requests.Away(None)
    item.finish = finish


def _quit(talk: Conversation, item: Item, argument: str) -> None:
    reason = argument.strip()

    def leave() -> Sequence[Entry]:
        talk.leave(reason)
        return ()

    _answer(item, leave)


# The choices


def _set(talk: Conversation, item: Item, argument: str) -> None:
    name, *values = argument.casefold().split() or [""]
    choices = talk.choices
    if not name:
        _answer(item, lambda: [Output(f"{name} {_on_or_off(choices[name])}") for name in choices])
        return
    if name not in list(choices):
        raise UsageError(f"There is no choice {name}. The choices are {', '.join(choices)}.")
    if values not in (["on"], ["off"], []):
        raise UsageError(f"Usage: /set {name} on, or /set {name} off")

    def choose() -> Sequence[Entry]:
        if values:
            choices[name] = values == ["on"]
        return (Output(f"{name} {_on_or_off(choices[name])}"),)

    _answer(item, choose)


def _on_or_off(value: bool) -> str:
    return "on" if value else "off"


def _switch(choice: str, answer: Callable[[bool], str]) -> Callable[[Conversation, Item, str], None]:
    """Return the command that turns a choice on or off, or over without an argument."""

    def run(talk: Conversation, item: Item, argument: str) -> None:
        value = argument.strip().casefold()
        if value not in {"", "on", "off"}:
            raise UsageError(f"Usage: {item.text.split()[0]} [on/off]")

        def choose() -> Sequence[Entry]:
            talk.choices[choice] = value == "on" if value else not talk.choices[choice]
            return (Output(answer(talk.choices[choice])),)

        _answer(item, choose)

    return run


def _ignore(talk: Conversation, item: Item, argument: str) -> None:
    nick = argument.strip()
    if nick and nick.casefold() == talk.nick.casefold():
        raise UsageError("You cannot ignore yourself.")

    def ignore() -> Sequence[Entry]:
        if nick:
            talk.ignored[nick.casefold()] = nick
            return (Output(f"You ignore {nick}. /unignore {nick} ends that."),)
        return (Output(f"You ignore {', '.join(talk.ignored.values()) or 'nobody'}."),)

    _answer(item, ignore)


def _unignore(talk: Conversation, item: Item, argument: str) -> None:
    nick = _required(argument, "unignore").strip()

    def unignore() -> Sequence[Entry]:
        if talk.ignored.pop(nick.casefold(), None) is None:
            return (Problem(f"You do not ignore {nick}."),)
        return (Output(f"You no longer ignore {nick}."),)

    _answer(item, unignore)


def _receipts(_talk: Conversation, item: Item, _argument: str) -> None:
    _answer(item, lambda: (Output("Every line that you see without … in front is stored."),))


COMMANDS: Final = (
    Command("me", "TEXT", "", _me),
    Command("say", "TEXT", "", _say),
    Command("msg", "NAME [TEXT]", "", _msg, ("m", "tell", "w", "query")),
    Command("reply", "TEXT", "", _reply, ("r",)),
    Command("join", "ROOM", "", _join),
    Command("leave", "[WHY]", "", _leave, ("close",)),
    Command("topic", "[TEXT]", "", _topic),
    Command("nick", "NAME", "", _nick),
    Command("away", "[WHY]", "", _away),
    Command("back", "", "", _back),
    Command("quit", "[WHY]", "", _quit, ("exit", "q")),
    Command("timestamp", "[on/off]", "", _switch("times", lambda on: f"timestamps are {_on_or_off(on)}.")),
    Command("quiet", "[on/off]", "", _switch("quiet", lambda on: f"joins and leaves are {_on_or_off(not on)}.")),
    Command("ignore", "[NAME]", "", _ignore),
    Command("unignore", "NAME", "", _unignore),
    Command("receipts", "", "", _receipts),
    Command("set", "[NAME [on/off]]", "shows the choices of this client, or changes one", _set),
)
"""The commands. Those without a help text are explained by the server."""

BY_NAME: Final = {verb: command for command in COMMANDS for verb in (command.name, *command.aliases)}


_MOVES: Final = frozenset({"join", "leave", "close", *(verb for verb in BY_NAME if BY_NAME[verb].name == "msg")})


def shows_typed(item: Item) -> list[Entry]:
    """Return the entry for the command as it was typed. A quit word has none."""
    return [Typed(item.text)] if item.text.startswith("/") else []
