"""The command table: what a line means in the room, and what each ``/word`` does; no bytes, no connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from broadcast.core.errors import JournalError, RecipientNotReading, RefusedError
from broadcast.core.events import CommandReply, ErrorReply, HistoryLine, Stored, Uptime
from broadcast.core.nicknames import casefold_key
from broadcast.core.search_query import parse_query
from broadcast.core.stats import Rejection

if TYPE_CHECKING:
    from typing import TypeAlias

    from broadcast.core.interfaces import ReadCallback
    from broadcast.core.membership import Member
    from broadcast.core.session import Session

    Query: TypeAlias = Callable[[ReadCallback], None]

HISTORY_DEFAULT_LINES = 20
"""What ``/history`` shows when it is not told how much."""
HISTORY_MAX_LINES = 1000
"""The most that it shows at once (PROTOCOL)."""
NAMES_PER_LINE = 100
"""So many people stand in one line of ``/names``, at most, ..."""
NAMES_LINE_CHARS = 4_000
"""... and so many characters, unless one of them says more about being away."""
PAGE_LINES = 16
"""So many lines of an answer are shown at once, at most 64 KiB; the next when the peer has room for them."""
SEARCH_MAX_LINES = 50
"""The most that ``/search`` shows (PROTOCOL)."""
MAX_IGNORED = 100
"""So many people one person may ignore: it is kept for them as long as they are here."""
IDLE_AFTER_SECONDS = 5 * 60
"""From so many seconds on, ``/names`` tells since when nobody has typed there."""
QUIT_WORDS = frozenset({"quit", "exit"})
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
    def syntax(self) -> str:
        """The command as it is typed: ``/msg NAME TEXT``."""
        return f"/{self.name} {self.usage}".rstrip()


def is_quit(line: str) -> bool:
    """Whether the whole *line* says that somebody wants to leave."""
    return line.strip().casefold() in QUIT_WORDS


def interpret(session: Session, line: str, at: float) -> None:
    """Do what *line* (clean) means in the room; raises ``RefusedError``."""
    if line != "/ping":  # programs send that by themselves
        session.member.last_active = at
    if not line.startswith("/"):
        if is_quit(line):
            session.leave("")
        elif line and not line.isspace():
            session.hub.room.say(session.member, line, at)
    elif line.startswith("//"):
        session.hub.room.say(session.member, line[1:], at)
    else:
        verb, _, words = line[1:].partition(" ")
        command = _BY_NAME.get(verb.casefold())
        if command is None:
            raise RefusedError(f"unknown command /{verb[:24]}. /help lists them.")
        command.run(session, words, at)
    if session.hub.room.above_high_water and session.ready:
        session.pause()
        session.hub.room.when_below_low_water(session.resume)


def _reply_lines(session: Session, *lines: str) -> None:
    session.peer.send(*map(CommandReply, lines))


def _require_args(words: str, command: str) -> str:
    """*words*, if there are any."""
    if not words.strip():
        raise _usage_error(command)
    return words


def _usage_error(command: str) -> RefusedError:
    return RefusedError(f"usage: {_BY_NAME[command].syntax}")


def _help(session: Session, words: str, at: float) -> None:
    if not words.strip():
        _reply_lines(session, *(f"{command.syntax}   {command.help}" for command in COMMANDS))
        return
    verb = words.strip().removeprefix("/")
    command = _BY_NAME.get(verb.casefold())
    if command is None:
        raise RefusedError(f"unknown command /{verb[:24]}. /help lists them.")
    _reply_lines(session, f"{command.syntax}   {command.help}")
    if command.aliases:
        _reply_lines(session, "also " + ", ".join(f"/{alias}" for alias in command.aliases))


def _format_idle(seconds: float) -> str:
    """So much time, in words: whole minutes, from an hour on whole hours, from a day on whole days."""
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"idle {minutes}m"
    return f"idle {minutes // 60}h" if minutes < 24 * 60 else f"idle {minutes // (24 * 60)}d"


def _format_member(member: Member, at: float) -> str:
    """How *member* is listed at the time *at*: ``bob``, ``bob (idle 12m)``, ``bob (away: lunch, idle 12m)``."""
    states = []
    if member.away:
        states.append(f"away: {member.away_reason}" if member.away_reason else "away")
    if at - member.last_active >= IDLE_AFTER_SECONDS:
        states.append(_format_idle(at - member.last_active))
    return f"{member.nick} ({', '.join(states)})" if states else member.nick


def _wrap_list(before: str, items: Iterable[str]) -> Iterator[str]:
    """*items* behind *before*, in as many lines as it takes; all but the last end with a comma."""
    line: list[str] = []
    text = len(before)
    for item in items:
        if line and (len(line) == NAMES_PER_LINE or text + len(item) > NAMES_LINE_CHARS):
            yield f"{before}{', '.join(line)},"
            before, text, line = "", 0, []
        line.append(item)
        text += len(item) + 2
    yield before + ", ".join(line)


def _names(session: Session, words: str, at: float) -> None:
    room = session.hub.room

    def show() -> None:
        members = list(room.members.values())
        lines = _wrap_list(f"{len(members)} here: ", (_format_member(member, at) for member in members))
        session.peer.send_lazily(map(CommandReply, lines))
        if not session.ready:
            session.resume()

    if room.delivering:
        # Who has read that somebody came is to find them here.
        session.pause()
        room.when_delivered(show)
    else:
        show()


def _nick(session: Session, words: str, at: float) -> None:
    session.hub.rename(session.member, _require_args(words, "nick"))
    _reply_lines(session, f"You are {session.nick}.")


def _me(session: Session, words: str, at: float) -> None:
    session.hub.room.act(session.member, _require_args(words, "me").strip(), at)


def _say(session: Session, words: str, at: float) -> None:
    session.hub.room.say(session.member, _require_args(words, "say"), at)


def _send_private(session: Session, to: Member, text: str) -> None:
    room = session.hub.room
    if not room.can_receive_private(to):
        raise RecipientNotReading(f"{to.nick} does not read what is sent to them.")
    room.whisper(session.member, to, text)
    if not to.away:
        _reply_lines(session, f"sent to {to.nick}.")
    elif to.away_reason:
        _reply_lines(session, f"sent to {to.nick}, who is away: {to.away_reason}")
    else:
        _reply_lines(session, f"sent to {to.nick}, who is away.")
    if room.should_throttle_sender(to):
        session.pause()
        room.after_barrier(session.resume)


def _msg(session: Session, words: str, at: float) -> None:
    name, _, text = words.strip().partition(" ")
    if not text:
        raise _usage_error("msg")
    _send_private(session, session.hub.find(name), text.strip())


def _reply(session: Session, words: str, at: float) -> None:
    text = _require_args(words, "reply").strip()
    if not session.member.last_private_sender:
        raise RefusedError("nobody has written to you yet.")
    to = session.hub.member_by_session(session.member.last_private_sender)
    if to is None:
        raise RefusedError("the one who wrote to you last is not here.")
    _send_private(session, to, text)


def _parse_range(words: str) -> Callable[[int], tuple[int, int]]:
    """What ``/history`` is asked for: the newest number to the first and last one to show."""
    asked = words.strip()
    if span := re.fullmatch(r"#([0-9]{1,18})(?:-#?([0-9]{1,18}))?", asked):
        first = int(span[1])
        last = int(span[2] or first)
        if last - first >= HISTORY_MAX_LINES:
            raise RefusedError(
                f"at most {HISTORY_MAX_LINES} lines at once: /history #{first}-#{first + HISTORY_MAX_LINES - 1}"
            )
        return lambda _newest: (first, last)
    if re.fullmatch(r"|[1-9][0-9]{0,17}", asked):
        lines = min(int(asked or HISTORY_DEFAULT_LINES), HISTORY_MAX_LINES)
        return lambda newest: (newest - lines + 1, newest)
    raise _usage_error("history")


def _page_results(session: Session, plan: Callable[[], list[Query]], nothing: str, failed: str) -> None:
    """Show the lines that the questions of *plan* find, page by page, as the peer has room for them; then go on.

    *plan* is made when everything said before has been told: that is to be found too. *nothing* is the answer where
    there are no lines, *failed* what to say in front of why that cannot be known.
    """
    questions: list[Query] = []
    some = False

    def begin() -> None:
        questions.extend(reversed(plan()))
        questions.pop()(found)

    def found(lines: Sequence[Stored] | JournalError) -> None:
        if isinstance(lines, JournalError):
            session.hub.rejections[Rejection.NOT_FOUND] += 1
            session.peer.send(ErrorReply(f"{failed}: {lines}"))
            session.resume()
        else:
            show(lines)

    def show(lines: Sequence[Stored]) -> None:
        nonlocal some
        some = some or bool(lines)
        session.peer.send(*map(HistoryLine, lines[:PAGE_LINES]))
        if rest := lines[PAGE_LINES:]:
            session.peer.when_writable(lambda: show(rest))
        elif questions:
            session.peer.when_writable(lambda: questions.pop()(found))
        else:
            if not some:
                _reply_lines(session, nothing)
            session.resume()

    session.pause()
    session.hub.room.after_barrier(begin)


def _history(session: Session, words: str, at: float) -> None:
    span = _parse_range(words)
    room = session.hub.room

    def plan() -> list[Query]:
        first, last = span(room.last_seq)
        first, last = max(first, 1), min(last, room.last_seq)
        return [
            partial(room.history, page, min(page + PAGE_LINES - 1, last))
            for page in range(first, max(first, last) + 1, PAGE_LINES)
        ]

    _page_results(session, plan, nothing="nothing was said yet.", failed="the history cannot be read")


def _search(session: Session, words: str, at: float) -> None:
    question = partial(session.hub.room.search, parse_query(_require_args(words, "search")), SEARCH_MAX_LINES)
    _page_results(session, lambda: [question], nothing="nothing found.", failed="this server cannot search")


def _parse_toggle(words: str, now: bool, command: str) -> bool:
    """What a switch that is *now* on or off becomes."""
    switch = {"": not now, "on": True, "off": False}.get(words.strip().casefold())
    if switch is None:
        raise _usage_error(command)
    return switch


def _timestamp(session: Session, words: str, at: float) -> None:
    times = _parse_toggle(words, session.view.times, "timestamp")
    session.set_view(replace(session.view, times=times))
    _reply_lines(session, f"timestamps are {'on' if times else 'off'}.")


def _receipts(session: Session, words: str, at: float) -> None:
    session.member.receipts = _parse_toggle(words, session.member.receipts, "receipts")
    _reply_lines(session, f"receipts are {'on' if session.member.receipts else 'off'}.")


def _quiet(session: Session, words: str, at: float) -> None:
    quiet = _parse_toggle(words, session.view.quiet, "quiet")
    session.set_view(replace(session.view, quiet=quiet))
    _reply_lines(session, f"joins and leaves are {'off' if quiet else 'on'}.")


def _ignore(session: Session, words: str, at: float) -> None:
    name = words.strip()
    ignored = session.member.ignored
    if not name:
        _reply_lines(session, f"you ignore {', '.join(ignored.values())}." if ignored else "you ignore nobody.")
        return
    if casefold_key(name) == casefold_key(session.nick):
        raise RefusedError("you cannot ignore yourself.")
    nick = session.hub.find(name).nick
    if len(ignored) >= MAX_IGNORED:
        raise RefusedError(f"you ignore {MAX_IGNORED} people already. /unignore NAME makes room.")
    session.hub.room.ignore(session.member, nick)
    _reply_lines(session, f"you ignore {nick}. /unignore {nick} ends that.")


def _unignore(session: Session, words: str, at: float) -> None:
    name = _require_args(words, "unignore").strip()
    was = session.hub.room.unignore(session.member, name)
    if was is None:
        raise RefusedError(f"you do not ignore {name[:24]}.")
    _reply_lines(session, f"you no longer ignore {was}.")


def _away(session: Session, words: str, at: float) -> None:
    why = words.strip()
    session.member.away, session.member.away_reason = True, why
    _reply_lines(session, f"You are away: {why}" if why else "You are away.")


def _back(session: Session, words: str, at: float) -> None:
    session.member.away, session.member.away_reason = False, ""
    _reply_lines(session, "Welcome back.")


def _ping(session: Session, words: str, at: float) -> None:
    _reply_lines(session, "pong")


def _uptime(session: Session, words: str, at: float) -> None:
    room = session.hub.room
    session.peer.send(Uptime(session.hub.started, len(room.members), room.last_seq))


def _version(session: Session, words: str, at: float) -> None:
    _reply_lines(session, f"broadcast {session.hub.settings.version}")


def _motd(session: Session, words: str, at: float) -> None:
    _reply_lines(session, *(session.hub.settings.motd or ("there is no message of the day.",)))


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

_BY_NAME = {verb: command for command in COMMANDS for verb in (command.name, *command.aliases)}
