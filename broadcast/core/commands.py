"""The command table: what a line means in the room, and what each ``/word`` does; no bytes, no connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from broadcast.core.errors import DoesNotRead, JournalError, RefusedError
from broadcast.core.events import Answered, Kept, Recalled, Refused, Running
from broadcast.core.nicknames import key
from broadcast.core.search_query import parse
from broadcast.core.stats import Refusal

if TYPE_CHECKING:
    from typing import TypeAlias

    from broadcast.core.interfaces import Found
    from broadcast.core.membership import Member
    from broadcast.core.session import Session

    Question: TypeAlias = Callable[[Found], None]

LINES_SHOWN = 20
"""What ``/history`` shows when it is not told how much."""
LINES_AT_MOST = 1000
"""The most that it shows at once (PROTOCOL)."""
NAMED = 100
"""So many people stand in one line of ``/names``, at most, ..."""
NAMED_TEXT = 4_000
"""... and so many characters, unless one of them says more about being away."""
PAGE = 16
"""So many lines of an answer are shown at once, at most 64 KiB; the next when the peer has room for them."""
LINES_FOUND = 50
"""The most that ``/search`` shows (PROTOCOL)."""
IGNORED = 100
"""So many people one person may ignore: it is kept for them as long as they are here."""
IDLE = 5 * 60
"""From so many seconds on, ``/names`` tells since when nobody has typed there."""
LEAVING = frozenset({"quit", "exit"})
"""Lines that leave: the whole line, in any case, surrounding blanks ignored (PROTOCOL)."""


@dataclass(frozen=True, slots=True)
class Command:
    """One ``/word``.

    *run* takes the session, what stands behind the word and its blank, and the time (seconds since the epoch). It may
    raise ``RefusedError`` as long as it has not changed anything.
    """

    name: str
    usage: str
    help: str
    run: Callable[[Session, str, float], None]
    aliases: tuple[str, ...] = ()

    @property
    def call(self) -> str:
        """The command as it is typed: ``/msg NAME TEXT``."""
        return f"/{self.name} {self.usage}".rstrip()


def leaves(line: str) -> bool:
    """Whether the whole *line* says that somebody wants to leave."""
    return line.strip().casefold() in LEAVING


def interpret(session: Session, line: str, at: float) -> None:
    """Do what *line* (clean) means in the room; raises ``RefusedError``."""
    if line != "/ping":  # programs send that by themselves
        session.member.heard = at
    if not line.startswith("/"):
        if leaves(line):
            session.leave("")
        elif line and not line.isspace():
            session.hub.room.say(session.member, line, at)
    elif line.startswith("//"):
        session.hub.room.say(session.member, line[1:], at)
    else:
        verb, _, words = line[1:].partition(" ")
        command = _BY_VERB.get(verb.casefold())
        if command is None:
            raise RefusedError(f"unknown command /{verb[:24]}. /help lists them.")
        command.run(session, words, at)
    if session.hub.room.full and session.ready:
        session.wait()
        session.hub.room.when_roomy(session.resume)


def _answer(session: Session, *lines: str) -> None:
    session.peer.show(*map(Answered, lines))


def _needed(words: str, command: str) -> str:
    """*words*, if there are any."""
    if not words.strip():
        raise _misused(command)
    return words


def _misused(command: str) -> RefusedError:
    return RefusedError(f"usage: {_BY_VERB[command].call}")


def _help(session: Session, words: str, at: float) -> None:
    if not words.strip():
        _answer(session, *(f"{command.call}   {command.help}" for command in COMMANDS))
        return
    verb = words.strip().removeprefix("/")
    command = _BY_VERB.get(verb.casefold())
    if command is None:
        raise RefusedError(f"unknown command /{verb[:24]}. /help lists them.")
    _answer(session, f"{command.call}   {command.help}")
    if command.aliases:
        _answer(session, "also " + ", ".join(f"/{alias}" for alias in command.aliases))


def _idle(seconds: float) -> str:
    """So much time, in words: whole minutes, from an hour on whole hours, from a day on whole days."""
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"idle {minutes}m"
    return f"idle {minutes // 60}h" if minutes < 24 * 60 else f"idle {minutes // (24 * 60)}d"


def _presence(member: Member, at: float) -> str:
    """How *member* is listed at the time *at*: ``bob``, ``bob (idle 12m)``, ``bob (away: lunch, idle 12m)``."""
    states = []
    if member.away:
        states.append(f"away: {member.why_away}" if member.why_away else "away")
    if at - member.heard >= IDLE:
        states.append(_idle(at - member.heard))
    return f"{member.nick} ({', '.join(states)})" if states else member.nick


def _listed(before: str, items: Iterable[str]) -> Iterator[str]:
    """*items* behind *before*, in as many lines as it takes; all but the last end with a comma."""
    line: list[str] = []
    text = len(before)
    for item in items:
        if line and (len(line) == NAMED or text + len(item) > NAMED_TEXT):
            yield f"{before}{', '.join(line)},"
            before, text, line = "", 0, []
        line.append(item)
        text += len(item) + 2
    yield before + ", ".join(line)


def _names(session: Session, words: str, at: float) -> None:
    room = session.hub.room

    def show() -> None:
        members = list(room.members.values())
        lines = _listed(f"{len(members)} here: ", (_presence(member, at) for member in members))
        session.peer.show_each(map(Answered, lines))
        if not session.ready:
            session.resume()

    if room.reaching:
        # Who has read that somebody came is to find them here.
        session.wait()
        room.when_reached(show)
    else:
        show()


def _nick(session: Session, words: str, at: float) -> None:
    session.hub.rename(session.member, _needed(words, "nick"))
    _answer(session, f"You are {session.nick}.")


def _me(session: Session, words: str, at: float) -> None:
    session.hub.room.emote(session.member, _needed(words, "me").strip(), at)


def _say(session: Session, words: str, at: float) -> None:
    session.hub.room.say(session.member, _needed(words, "say"), at)


def _whisper(session: Session, to: Member, text: str) -> None:
    room = session.hub.room
    if not room.reaches(to):
        raise DoesNotRead(f"{to.nick} does not read what is sent to them.")
    room.whisper(session.member, to, text)
    if not to.away:
        _answer(session, f"sent to {to.nick}.")
    elif to.why_away:
        _answer(session, f"sent to {to.nick}, who is away: {to.why_away}")
    else:
        _answer(session, f"sent to {to.nick}, who is away.")
    if room.presses(to):
        session.wait()
        room.when_told(session.resume)


def _msg(session: Session, words: str, at: float) -> None:
    name, _, text = words.strip().partition(" ")
    if not text:
        raise _misused("msg")
    _whisper(session, session.hub.find(name), text.strip())


def _reply(session: Session, words: str, at: float) -> None:
    text = _needed(words, "reply").strip()
    if not session.member.correspondent:
        raise RefusedError("nobody has written to you yet.")
    to = session.hub.reach(session.member.correspondent)
    if to is None:
        raise RefusedError("the one who wrote to you last is not here.")
    _whisper(session, to, text)


def _span(words: str) -> Callable[[int], tuple[int, int]]:
    """What ``/history`` is asked for: the newest number to the first and last one to show."""
    asked = words.strip()
    if span := re.fullmatch(r"#([0-9]{1,18})(?:-#?([0-9]{1,18}))?", asked):
        first = int(span[1])
        last = int(span[2] or first)
        if last - first >= LINES_AT_MOST:
            raise RefusedError(f"at most {LINES_AT_MOST} lines at once: /history #{first}-#{first + LINES_AT_MOST - 1}")
        return lambda _newest: (first, last)
    if re.fullmatch(r"|[1-9][0-9]{0,17}", asked):
        lines = min(int(asked or LINES_SHOWN), LINES_AT_MOST)
        return lambda newest: (newest - lines + 1, newest)
    raise _misused("history")


def _recall(session: Session, plan: Callable[[], list[Question]], nothing: str, failed: str) -> None:
    """Show the lines that the questions of *plan* find, page by page, as the peer has room for them; then go on.

    *plan* is made when everything said before has been told: that is to be found too. *nothing* is the answer where
    there are no lines, *failed* what to say in front of why that cannot be known.
    """
    questions: list[Question] = []
    some = False

    def begin() -> None:
        questions.extend(reversed(plan()))
        questions.pop()(found)

    def found(lines: Sequence[Kept] | JournalError) -> None:
        if isinstance(lines, JournalError):
            session.hub.refusals[Refusal.NOT_FOUND] += 1
            session.peer.show(Refused(f"{failed}: {lines}"))
            session.resume()
        else:
            show(lines)

    def show(lines: Sequence[Kept]) -> None:
        nonlocal some
        some = some or bool(lines)
        session.peer.show(*map(Recalled, lines[:PAGE]))
        if rest := lines[PAGE:]:
            session.peer.when_roomy(lambda: show(rest))
        elif questions:
            session.peer.when_roomy(lambda: questions.pop()(found))
        else:
            if not some:
                _answer(session, nothing)
            session.resume()

    session.wait()
    session.hub.room.when_told(begin)


def _history(session: Session, words: str, at: float) -> None:
    span = _span(words)
    room = session.hub.room

    def plan() -> list[Question]:
        first, last = span(room.last)
        first, last = max(first, 1), min(last, room.last)
        return [
            partial(room.history, page, min(page + PAGE - 1, last)) for page in range(first, max(first, last) + 1, PAGE)
        ]

    _recall(session, plan, nothing="nothing was said yet.", failed="the history cannot be read")


def _search(session: Session, words: str, at: float) -> None:
    question = partial(session.hub.room.search, parse(_needed(words, "search")), LINES_FOUND)
    _recall(session, lambda: [question], nothing="nothing found.", failed="this server cannot search")


def _switched(words: str, now: bool, command: str) -> bool:
    """What a switch that is *now* on or off becomes."""
    switch = {"": not now, "on": True, "off": False}.get(words.strip().casefold())
    if switch is None:
        raise _misused(command)
    return switch


def _timestamp(session: Session, words: str, at: float) -> None:
    times = _switched(words, session.view.times, "timestamp")
    session.look(replace(session.view, times=times))
    _answer(session, f"timestamps are {'on' if times else 'off'}.")


def _receipts(session: Session, words: str, at: float) -> None:
    session.member.receipts = _switched(words, session.member.receipts, "receipts")
    _answer(session, f"receipts are {'on' if session.member.receipts else 'off'}.")


def _quiet(session: Session, words: str, at: float) -> None:
    quiet = _switched(words, session.view.quiet, "quiet")
    session.look(replace(session.view, quiet=quiet))
    _answer(session, f"joins and leaves are {'off' if quiet else 'on'}.")


def _ignore(session: Session, words: str, at: float) -> None:
    name = words.strip()
    ignored = session.member.ignored
    if not name:
        _answer(session, f"you ignore {', '.join(ignored.values())}." if ignored else "you ignore nobody.")
        return
    if key(name) == key(session.nick):
        raise RefusedError("you cannot ignore yourself.")
    nick = session.hub.find(name).nick
    if len(ignored) >= IGNORED:
        raise RefusedError(f"you ignore {IGNORED} people already. /unignore NAME makes room.")
    session.hub.room.ignore(session.member, nick)
    _answer(session, f"you ignore {nick}. /unignore {nick} ends that.")


def _unignore(session: Session, words: str, at: float) -> None:
    name = _needed(words, "unignore").strip()
    was = session.hub.room.unignore(session.member, name)
    if was is None:
        raise RefusedError(f"you do not ignore {name[:24]}.")
    _answer(session, f"you no longer ignore {was}.")


def _away(session: Session, words: str, at: float) -> None:
    why = words.strip()
    session.member.away, session.member.why_away = True, why
    _answer(session, f"You are away: {why}" if why else "You are away.")


def _back(session: Session, words: str, at: float) -> None:
    session.member.away, session.member.why_away = False, ""
    _answer(session, "Welcome back.")


def _ping(session: Session, words: str, at: float) -> None:
    _answer(session, "pong")


def _uptime(session: Session, words: str, at: float) -> None:
    room = session.hub.room
    session.peer.show(Running(session.hub.started, len(room.members), room.last))


def _version(session: Session, words: str, at: float) -> None:
    _answer(session, f"broadcast {session.hub.settings.version}")


def _motd(session: Session, words: str, at: float) -> None:
    _answer(session, *(session.hub.settings.motd or ("there is no message of the day.",)))


def _quit(session: Session, words: str, at: float) -> None:
    session.leave(words.strip())


COMMANDS: tuple[Command, ...] = (
    Command("help", "[COMMAND]", "lists the commands, or explains one", _help, ("h", "?")),
    Command("names", "", "who is here", _names, ("who", "users", "list")),
    Command("nick", "NAME", "takes another nickname", _nick),
    Command("me", "TEXT", "says what you do: ** ann waves", _me),
    Command("say", "TEXT", "says it literally: /say quit", _say),
    Command("msg", "NAME TEXT", "private to one person", _msg, ("m", "tell", "w")),
    Command("reply", "TEXT", "private to whoever wrote to you last", _reply, ("r",)),
    Command("history", "[N]", "the last N lines, or those of a range: /history #10-#30", _history),
    Command("search", "WORDS", 'the last lines that hold all WORDS: /search "the build" red', _search),
    Command("timestamp", "[on/off]", "shows the time of each line", _timestamp),
    Command("receipts", "[on/off]", "tells the number under which each of your lines is kept", _receipts),
    Command("quiet", "[on/off]", "hides who joins and leaves", _quiet),
    Command("ignore", "[NAME]", "hides what NAME says, does and whispers; alone, lists whom", _ignore),
    Command("unignore", "NAME", "shows it again", _unignore),
    Command("away", "[WHY]", "tells those who look or write that you are away", _away),
    Command("back", "", "you are here again", _back),
    Command("ping", "", "answers pong", _ping),
    Command("uptime", "", "since when the server runs, and how much there is", _uptime),
    Command("version", "", "name and version of the server", _version),
    Command("motd", "", "the message of the day", _motd),
    Command("quit", "[WHY]", "leaves", _quit, ("exit", "q")),
)

_BY_VERB = {verb: command for command in COMMANDS for verb in (command.name, *command.aliases)}
