"""The encoder of the line door: events as lines of UTF-8 text that end with CRLF."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Final

from broadcast.core.events import (
    Action,
    Announced,
    AwayChanged,
    Barrier,
    CommandReply,
    ErrorReply,
    Gap,
    HistoryLine,
    JoinConfirmed,
    JoinCount,
    Joined,
    LeaveCount,
    Left,
    Message,
    PasswordPrompt,
    PasswordTyped,
    PrivateHistoryLine,
    PrivateMessage,
    Prompt,
    Receipt,
    Renamed,
    Repeated,
    ReplayLine,
    RoomEntered,
    ServerNotice,
    Shared,
    StoreFailed,
    TopicChanged,
    Uptime,
    WaitingLine,
    Welcome,
)
from broadcast.core.file_names import format_size

if TYPE_CHECKING:
    from broadcast.core.events import Event, FileInfo, Line, Notice, Stored
    from broadcast.core.interfaces import View

END = "\r\n"
"""The end of a line."""
HIDE_INPUT: Final = b"\xff\xfb\x01"
"""IAC WILL ECHO (RFC 857): the client stops to show what is typed, because the server would. The server does not."""
SHOW_INPUT: Final = b"\xff\xfc\x01"
"""IAC WONT ECHO: the client shows what is typed."""
MAX_TIME_TEXTS: Final = 1024
"""Maximum number of times whose text an encoder remembers. Without it, they take half of the time of a replay."""
_NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class LineEncoder:
    """The encoder for one view.

    *now* returns the time in seconds since the epoch. Messages of another day are shown with their date. *zone* is the
    time zone of the times shown; None stands for the machine's. *file_url* returns the address of a file, empty if the
    file is no longer there.
    """

    def __init__(
        self,
        view: View,
        now: Callable[[], float],
        zone: tzinfo | None = None,
        file_url: Callable[[FileInfo], str] = lambda _file: "",
    ) -> None:
        self._file_url = file_url
        self._times = view.times
        self._quiet = view.quiet
        self._now = now
        self._zone = zone
        self._time_texts: dict[float, str] = {}
        """Times as they are shown, by the number of minutes since the epoch. They are valid in ``_minute``.

        At the end of that minute, a new day may begin, and times of the old one are shown with their date.
        """
        self._minute = 0.0
        """The minute of the last call, in minutes since the epoch."""

    def encode(self, event: Event | Notice) -> bytes:
        """Return *event* as whole lines, or without a line end for a prompt; empty if the view does not show it."""
        if type(event) is Message and not self._times:  # nearly all events; the match below takes twice the time
            return f"{event.nick}: {event.text}{END}".encode()
        if isinstance(event, PasswordPrompt):
            return HIDE_INPUT + f"{event.text} ".encode()
        if isinstance(event, PasswordTyped):
            return SHOW_INPUT + END.encode()
        return self._line(event).encode()

    def _line(self, event: Event | Notice) -> str:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of event
        match event:
            case Message() | Action():
                return (f"[{self._time(event.at)}] " if self._times else "") + _format_message(event) + END
            case Shared():
                return (f"[{self._time(event.at)}] " if self._times else " ") + self._format_stored(event) + END
            case ReplayLine(event=stored):
                return f"[{self._time(stored.at)}] {self._format_stored(stored)}{END}"
            case Joined() | Left() | JoinCount() | LeaveCount():
                return "" if self._quiet else f" * {_format_presence(event)}{END}"
            case Renamed(nick=nick, new=new):
                return f" * {nick} is now {new}.{END}"
            case TopicChanged(nick=nick, text=text):
                return f" * {nick} set the topic: {text}{END}" if text else f" * {nick} removed the topic.{END}"
            case RoomEntered(name=name):
                return f" * You are in {name}. {_format_others(event)}{END}"
            case Announced(text=text) | ServerNotice(text=text):
                return f" * {text}{END}"
            case PrivateMessage(nick=nick, text=text):
                return f"[{nick}] {text}{END}"
            case WaitingLine(nick=nick, text=text, at=at):
                return f"[{self._time(at)}] [{nick}] {text}{END}"
            case PrivateHistoryLine(nick=nick, text=text, at=at):
                return f"-> [{self._time(at)}] [{nick}] {text}{END}"
            case Gap(first=first, last=last) if first > last:
                return ""  # this protocol reports missed lines only
            case Gap(first=first, last=last):
                missed = _format_count(last - first + 1, "line", "lines")
                return f" * You missed {missed} (#{first}-#{last}).{END}"
            case Receipt(seq=seq):
                return f"-> #{seq}{END}"
            case CommandReply(text=text):
                return f"-> {text}{END}"
            case ErrorReply(reason=reason):
                return f"-> Error: {reason}{END}"
            case StoreFailed(reason=reason):
                return f"-> Error: not kept: {reason}{END}"
            case HistoryLine(event=stored):
                return f"-> #{stored.seq} [{self._time(stored.at)}] {self._format_stored(stored)}{END}"
            case Barrier() | AwayChanged() | Repeated() | PasswordPrompt() | PasswordTyped():
                return ""  # of the last two, ``encode`` makes bytes that are no text
            case Prompt(text=text):
                return f"{text} "
            case Welcome(name=name, motd=motd):
                return "".join(line + END for line in (f"Welcome to {name}. Type a nickname and press Enter.", *motd))
            case JoinConfirmed(nick=nick):
                return f" * You are {nick}. {_format_others(event)} /help lists the commands, quit leaves.{END}"
            case Uptime(since=since, people=people, lines=lines):
                start = self._local(since).strftime("%Y-%m-%d %H:%M")
                present, sent = _format_count(people, "person", "people"), _format_count(lines, "line", "lines")
                return f"-> up since {start}, {present}, {sent}.{END}"

    def _format_stored(self, event: Stored) -> str:
        if not isinstance(event, Shared):
            return _format_message(event)
        where = self._file_url(event.file) or "no longer there"
        return f"* {event.nick} shared {event.file.name} ({format_size(event.file.size)}): {where}"

    def _local(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, UTC).astimezone(self._zone)

    def _time(self, at: float) -> str:
        """Return the text for the time *at*. It is remembered, because all newcomers are shown the same times."""
        minute, now = at // 60, self._now()
        if now // 60 != self._minute or len(self._time_texts) >= MAX_TIME_TEXTS:
            self._minute = now // 60
            self._time_texts.clear()
        text = self._time_texts.get(minute)
        if text is None:
            local = self._local(at)
            same_day = local.date() == self._local(now).date()
            text = self._time_texts[minute] = local.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M")
        return text


def _format_message(event: Line) -> str:
    return f"{event.nick}: {event.text}" if isinstance(event, Message) else f"** {event.nick} {event.text}"


def _format_presence(event: Joined | Left | JoinCount | LeaveCount) -> str:
    match event:
        case Joined(nick=nick):
            return f"{nick} joined."
        case Left(nick=nick, reason=""):
            return f"{nick} left."
        case Left(nick=nick, reason=reason, by=""):
            return f"{nick} left: {reason}"
        case Left(nick=nick, reason=reason):
            return f"{nick} left ({reason})"
        case JoinCount(count=count):
            return f"{count} people joined."
        case LeaveCount(count=count):
            return f"{count} people left."


def _format_others(event: JoinConfirmed | RoomEntered) -> str:
    if not event.others:
        return "Nobody else is here."
    verb = "other is" if event.others == 1 else "others are"
    names = ", ".join(event.named)
    unnamed = event.others - len(event.named)
    return f"{event.others} {verb} here: {names}{f' and {unnamed} more' if unnamed else ''}."


def _format_count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def format_queue(lines: int, per_second: float) -> str:
    """Return the notice that *lines* (1 or more) wait for the rate limit of *per_second*."""
    if per_second < 1:
        pace = f"one every {1 / per_second:.2g} seconds"
    else:
        pace = f"{_NUMBERS[int(per_second) - 1] if per_second in range(1, 10) else f'{per_second:g}'} a second"
    if lines == 1:
        return f"1 line is waiting; lines are said {pace}."
    return f"{lines} lines are waiting; they are said {pace}."
