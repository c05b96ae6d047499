"""The conversation of one user: events of the server become entries of views, and typed lines become requests."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from broadcast.client.protocol import errors, events, requests
from broadcast.client.session import commands
from broadcast.client.session.entries import Entry, Line, Notice, PrivateLine, Problem, Refused, Typed
from broadcast.client.session.items import Item, Kind, UsageError
from broadcast.client.session.navigation import Navigation
from broadcast.client.session.outbox import Outbox

if TYPE_CHECKING:
    from broadcast.client.protocol.errors import ChatError
    from broadcast.client.session.interfaces import Choices, Server
    from broadcast.client.session.views import View

MAX_UNANSWERED: Final = 64
"""The most lines that are sent and not answered."""
OLDER_LINES: Final = 200
"""The most older lines that the client asks for at once."""
LISTED_MEMBERS: Final = 1000
"""The most people of a room that the client asks for."""
FIRST_ROOM: Final = "lobby"
"""The name of the first room, until the server says another one."""
NAMED: Final = 20
"""The most people that the line of an arrival names."""


class State(Enum):
    """The state of the conversation."""

    ASKING = "asking"
    """The user has not chosen a nickname yet: see ``Conversation.question``."""
    CONNECTING = "connecting"
    ONLINE = "online"
    OFFLINE = "no connection"
    """The connection is lost, and another attempt follows: see ``Conversation.retry_at``."""
    LEAVING = "leaving"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Question:
    """The question for a nickname. Enter on an empty line takes *default*, if there is one."""

    default: str
    suggestions: tuple[str, ...]
    """Similar nicknames for a nickname that was refused. One key takes one."""


class Conversation(Navigation):
    """A conversation, which ``front`` shows. *rooms* are the first ones, and *uid_prefix* makes the own lines unique.

    Without *rooms*, the server chooses one. *now* returns the time in seconds since the epoch. *on_end* is called once,
    when the conversation is over.
    """

    def __init__(
        self,
        server: Server,
        choices: Choices,
        *,
        rooms: Sequence[str],
        uid_prefix: str,
        now: Callable[[], float],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(rooms or (FIRST_ROOM,))
        self.choices = choices
        self.nick = ""
        """The own nickname, or the wanted one before there is a connection."""
        self.away: str | None = None
        """The reason why the user is away, perhaps empty, or None."""
        self.state = State.CONNECTING
        self.question: Question | None = None
        """The question that the next submitted line answers, or None."""
        self.retry_at: float | None = None
        """The time of the next attempt to connect, on the clock of the caller of ``lost``."""
        self.silence = 0.0
        """The age of the oldest unanswered request, in seconds. The application sets it."""
        self.round_trip: float | None = None
        """The latest round-trip time, in seconds. The application sets it."""
        self.line_bytes = requests.Limits().line_bytes
        """The most bytes of a line."""
        self.ignored: dict[str, str] = {}
        """The nicknames of ignored people, by the same in small letters."""
        self.last_private = ""
        """The nickname of the person who has written to the user last, or empty."""
        self.status = 0
        """The exit status."""
        self._server = server
        self._uid_prefix = uid_prefix
        self._now = now
        self._on_end = on_end
        self._on_nick: Callable[[str], None] = lambda _nick: None
        self._outbox = Outbox(self._send, self._show_item)
        self._last_uid = 0
        self._own_sessions: set[str] = set()
        self._move: Item | None = None
        """The latest command that leads to another view. The next lines are meant there."""
        self._journal = ""
        self._has_arrived = False
        self._has_shown_loss = False
        self._quit_reason = ""
        self._has_quit = False

    # For the front

    @property
    def waiting(self) -> list[Item]:
        """The lines and commands of the current view that are not shown yet, in the order typed."""
        return [item for item in self._outbox.items if item.view is self.current]

    @property
    def waiting_count(self) -> int:
        """The number of all lines and commands that are not shown yet."""
        return len(self._outbox.items)

    @property
    def nicknames(self) -> list[str]:
        """The nicknames for completion, without the own one: those of the current view first."""
        known = [self.current.name] if self.current.is_private else []
        for view in (self.current, *self.views):
            known += view.members.values()
        known += (view.name for view in self.views if view.is_private)
        return [nick for nick in dict.fromkeys(known) if nick != self.nick]

    def submit(self, text: str) -> str:
        """Take the text that the user has entered, one or more lines. Return the part that stays in the editor."""
        lines = text.split("\n")
        try:
            while lines:
                self._take(lines[0])
                del lines[0]
        except UsageError as error:
            self.add(self.current, Problem(str(error)))
        self.front.update()
        return "\n".join(lines)

    def fetch_older(self, view: View, seq: int, show: Callable[[Sequence[Entry]], None]) -> None:
        """Ask for older lines of a room than line *seq*, and call *show* with them, the oldest first."""

        def answered(result: requests.Lines | None, _error: ChatError | None) -> None:
            if result is not None:
                show([self._line(event) for event in result.lines if not self._ignores(event.nick)])

        self._server.request(requests.History(view.name, before=seq, count=OLDER_LINES), answered)

    def cancel(self) -> bool:
        """Give up what waits in the current view and is not sent yet. Return whether there was anything."""
        unsent = [item for item in self.waiting if not item.was_sent]
        for item in unsent:
            item.is_shown = True
            self._outbox.items.remove(item)
        if unsent:
            lines = "1 line was" if len(unsent) == 1 else f"{len(unsent):,} lines were"
            self.add(self.current, Notice(f"{lines} not sent. Up brings the text back."))
            self._outbox.work()
            self.front.update()
        return bool(unsent)

    def leave(self, reason: str = "") -> None:
        """Leave, when every line is stored. The second call leaves at once, and shows the lines that are not stored."""
        is_first = self.state in {State.CONNECTING, State.ONLINE, State.OFFLINE}
        if not is_first or not (self._has_arrived or self._outbox.items):
            self.ended(None)
            return
        self.state = State.LEAVING
        self._quit_reason = reason
        self._quit_if_done()
        self.front.update()

    # For the application

    def ask_nick(self, question: Question, why: str, answer: Callable[[str], None]) -> None:
        """Ask the user for a nickname, and call *answer* with it. *why* is the reason why the last one was refused."""
        if self.state is State.LEAVING:
            self.ended(None)
            return
        if why:
            self.add(self.current, Problem(why))
        self.question = question
        self.state = State.ASKING
        self._on_nick = answer
        self.front.update()

    def connecting(self) -> None:
        """Show that an attempt to connect begins."""
        self._set_state(State.CONNECTING)

    def connected(self, welcome: requests.Welcome) -> None:  # noqa: C901 -- one step for each part of the answer
        """Continue after the server's answer to ``hello``: at first, and before each ``Reconnected``."""
        limits = welcome.limits
        if welcome.journal != self._journal:
            self._journal = welcome.journal
            for view in self.rooms:
                view.last_seq = view.old_seq = 0
        if self._has_arrived and not welcome.resumed and welcome.nick != self.nick:
            self.add(self.current, Notice(f"{self.nick} is taken: you are {welcome.nick} now."))
        self.nick = welcome.nick
        self.line_bytes = limits.line_bytes
        # With a rate limit, more lines than it allows would wait at the server, and with them the answers to checks.
        self._outbox.max_unanswered = max(1, min(MAX_UNANSWERED, int(limits.lines_per_second or MAX_UNANSWERED)))
        self._outbox.is_open = True
        self._own_sessions.add(welcome.session)
        if not self._has_arrived and len(self.views) == 1 and len(welcome.rooms) == 1:
            self.views[0].name = next(iter(welcome.rooms))
        for view in self.rooms:
            if view.name not in welcome.rooms:
                self.add(self.current, Problem(f"You are no longer in {view.name}."))
                self.close(view)
        for room in welcome.rooms.values():
            view = self.open_room(room.room)
            if not self._has_arrived:
                view.old_seq = room.last
            self._update_room(view, room)
        if not self._has_arrived:
            for line in (welcome.motd or "").splitlines():
                self.add(self.current, Notice(line))
        room_view = self.room_of(self.current)
        place = f" in {room_view.name}" if len(self.rooms) > 1 else ""
        arrival = f"You are {self.nick}{place}. {self._people(room_view)}"
        self.add(self.current, Notice(arrival if self._has_arrived else f"{arrival} /help helps, Ctrl-D leaves."))
        self._has_arrived = True
        self._has_shown_loss = False
        self._set_state(State.ONLINE)
        self._outbox.work()
        self._quit_if_done()

    def handle(self, event: events.Event) -> None:  # noqa: C901, PLR0912 -- one case for each kind of event
        """Take an event of the session."""
        room = getattr(event, "room", None)
        view = self.find_room(room) if room else self.current
        if view is None:
            return
        match event:
            case events.Said() | events.Emoted():
                self._take_line(view, event)
            case events.Told(nick=nick) if not self._ignores(nick):
                self._take_private(event)
            case events.Joined(nick=nick, session=session) if session not in self._own_sessions:
                view.add_member(session, nick)
                self._note_presence(view, nick, f"{nick} joined.")
            case events.Left(session=session) if session in self._own_sessions:
                self.close(view)
            case events.Left(nick=nick, session=session, reason=reason):
                view.remove_member(session)
                self._note_presence(view, nick, f"{nick} left: {reason}" if reason else f"{nick} left.")
            case events.Renamed(old=old, nick=nick, session=session):
                self._rename(view, old, nick, session)
            case events.Crowd(joined=joined, left=left):
                self._refresh(view)
                parts = [f"{joined} people joined."] * bool(joined) + [f"{left} people left."] * bool(left)
                self._note_presence(view, "", *parts)
            case events.Gap(first=first, last=last):
                self._take_gap(view, first, last)
            case events.Skipped():
                self._refresh(view)
            case events.AwayChanged(session=session, reason=reason) if session in self._own_sessions:
                self.away = reason
            case events.TopicChanged(nick=nick, text=text):
                view.topic = text
                if not self._ignores(nick):
                    change = f"set the topic: {text}" if text else "removed the topic."
                    self.add(view, Notice(f"{nick} {change}"))
            case events.Announced(text=text):
                self.add(view, Notice(text))
            case events.Reconnected(same_journal=False):
                self.add(view, Notice("The server has another journal. Lines may come a second time."))
        self.front.update()

    def lost(self, reason: str, retry_at: float | None, *, is_refusal: bool = False) -> None:
        """Show that the connection is lost, or that an attempt to connect has failed: once as a line.

        With *is_refusal*, *reason* is the server's sentence about the nickname, and a line of its own.
        """
        self._outbox.is_open = False
        notice = Notice(reason if is_refusal else _sentence(reason))
        # A server that goes down says so, and gives the same reason for the end of the connection.
        if (is_refusal or not self._has_shown_loss) and notice not in list(self.current.entries)[-1:]:
            self.add(self.current, notice)
        self._has_shown_loss = True
        self.retry_at = retry_at
        self._set_state(State.OFFLINE)
        if self.state is State.LEAVING and not self._outbox.items:
            self.ended(None)

    def ended(self, error: ChatError | None, status: int = 0) -> None:
        """End the conversation because of *error*, with this exit status, or with 4 if a line is not stored."""
        if self.state is State.ENDED:
            return
        if error is not None:
            self.add(self.current, Problem(_sentence(error)))
        unsaid = [item for item in self._outbox.items if item.kind is not Kind.COMMAND]
        self._outbox.items.clear()
        for item in unsaid:
            is_certain = not item.was_sent or item.has_ended
            why = "it was not sent" if is_certain else "the session has ended before the server confirmed it"
            # The user no longer sees another view.
            self.add(self.current, Refused(item.text, _sentence(why), is_certain))
        self.status = status or (4 if unsaid else 0)
        if not self.status and self._has_arrived:
            self.add(self.current, Notice(f"Goodbye, {self.nick}."))
        self.state = State.ENDED
        self.question = None
        self.retry_at = None
        self.front.update()
        self._on_end()

    # For the commands

    def entered(self, room: requests.Room) -> View:
        """Add the view of a room that the user has joined."""
        view = self.open_room(room.room)
        view.old_seq = room.last
        self._update_room(view, room)
        self.add(view, Notice(f"You are in {view.name}. {self._people(view)}"))
        view.new_entries = 0
        return view

    def close(self, view: View) -> None:
        """Remove a view, unless it is the only room. Its events do not come any more."""
        view.last_seq = sys.maxsize
        self._show_passed(view)
        super().close(view)

    # Typed lines

    def _take(self, line: str) -> None:
        """Take one entered line. Raise ``UsageError`` if it is too long."""
        if self.question is not None:
            self._take_nick(line.strip() or self.question.default)
            return
        if not line.strip():
            return
        command, argument = commands.parse(line)
        if command.name == "quit":
            self.leave(argument.strip())
            return
        if self.state in {State.LEAVING, State.ENDED}:
            raise UsageError("You are leaving. Nothing more is sent.")
        self._check_length(commands.said_text(command, argument))
        self._last_uid += 1
        item = Item(
            line,
            self.current,
            command,
            argument,
            uid=f"{self._uid_prefix}-{self._last_uid}",
            at=self._now(),
            selections=self.selections,
            after=self._pending_move(),
        )
        if command.is_move:
            self._move = item
        self._outbox.add(item)

    def _pending_move(self) -> Item | None:
        """Return the latest move, unless it is executed, or the user has chosen a view since."""
        move = self._move
        return move if move and not move.is_shown and move.selections == self.selections else None

    def _check_length(self, text: str) -> None:
        """Raise ``UsageError`` if *text* has too many bytes for a line."""
        size = len(text.encode(errors="replace"))
        if size > self.line_bytes:
            raise UsageError(f"The line has {size} bytes, and at most {self.line_bytes} are possible.")

    def _take_nick(self, nick: str) -> None:
        if nick.casefold() in commands.QUIT_WORDS:
            self.leave()
        elif nick:
            self.question = None
            self.nick = nick
            self._set_state(State.CONNECTING)
            self._on_nick(nick)

    def _send(self, item: Item) -> None:
        move = item.after
        if move is not None:
            item.view = move.destination or item.view
        if move is not None and move.destination is None and item.command.needs_view:
            item.end(error=UsageError(f"{move.text} has failed"))
        else:
            item.start(self)
        if item.request is not None:
            self._server.request(item.request, partial(self._answered, item))

    def _answered(self, item: Item, result: Any, error: ChatError | None) -> None:  # noqa: ANN401 -- any result
        if isinstance(error, errors.Ended):
            return  # ``ended`` follows
        if item.kind is Kind.LINE and isinstance(error, errors.UidReused) and "seq" in error.data:
            # The own nickname has changed before the line was repeated.
            result, error = requests.Stored(int(error.data["seq"]), item.at), None
        item.end(result, error)
        self._outbox.work()
        self._show_passed(item.view)
        self._quit_if_done()
        self.front.update()

    def _show_item(self, item: Item) -> None:
        """Show the end of a command or of a private line, or a refused line."""
        view = item.view if item.view in self.views else self.current
        error = None if item.error is None else _sentence(item.error)
        if item.kind is Kind.COMMAND:
            answer = item.finish() if error is None else (Problem(error),)
            self.add(view, *([Typed(item.text)] if item.text.startswith("/") else ()), *answer)
            if item.destination is not None and item.selections == self.selections:
                self.switch_to(item.destination)
        elif error is None:
            self._add_private(self.private_view(item.to), view, *item.finish())
        else:
            self.add(view, Refused(item.text, error, is_certain=not isinstance(item.error, errors.Unconfirmed)))

    def _show_passed(self, view: View) -> None:
        """Show stored lines of the user that the room's events have passed without showing them."""
        for item in self._outbox.sent:
            match item.result, item.request:
                case requests.Stored(seq, at), requests.Say(text=text) | requests.Emote(text=text):
                    if item.view is view and seq <= view.last_seq and self._outbox.take_line(item.uid):
                        is_action = isinstance(item.request, requests.Emote)
                        self.add(view, Line(at, self.nick, text, seq, is_action, is_own=True))

    def _quit_if_done(self) -> None:
        if self.state is not State.LEAVING or self._outbox.items or self._has_quit:
            return
        self._has_quit = True
        if self._outbox.is_open:
            self._server.quit(self._quit_reason)
        else:
            self.ended(None)

    # Events

    def _take_line(self, view: View, event: events.Line) -> None:
        view.last_seq = max(view.last_seq, event.seq)
        is_own = self._is_own(event)
        if is_own and event.uid:
            self._outbox.take_line(event.uid)
        if is_own or not self._ignores(event.nick):
            line = self._line(event)
            is_new = not is_own and event.seq > view.old_seq
            self.add(view, line)
            if event.seq <= view.old_seq:
                view.new_entries = 0
            if is_new and view is not self.current:
                view.unread += 1
                view.mentions += line.is_mention
            if is_new and line.is_mention:
                self.front.alert(view, line)
        self._show_passed(view)
        self._outbox.work()
        self._quit_if_done()

    def _line(self, event: events.Line) -> Line:
        is_own = self._is_own(event)
        is_mention = not is_own and self._names_user(event.text)
        return Line(event.at, event.nick, event.text, event.seq, isinstance(event, events.Emoted), is_own, is_mention)

    def _take_private(self, event: events.Told) -> None:
        view = self.private_view(event.nick)
        self.last_private = event.nick
        line = PrivateLine(event.at, event.nick, event.text)
        if view is not self.current:
            view.unread += 1
        self._add_private(view, self.current, line)
        self.front.alert(view, line)

    def _add_private(self, view: View, other: View, *entries: Entry) -> None:
        """Add entries to a private conversation, and to the view in which the user sees or has typed them."""
        self.add(view, *entries)
        if other is not view:
            self.add(other, *entries)

    def _take_gap(self, view: View, first: int, last: int) -> None:
        self._refresh(view)
        if first <= last:
            view.last_seq = max(view.last_seq, last)
            missed = "1 line" if first == last else f"{last - first + 1} lines"
            self.add(view, Notice(f"You missed {missed}. /history #{first}-#{last} shows them."))
            self._show_passed(view)
            self._outbox.work()

    def _rename(self, view: View, old: str, nick: str, session: str) -> None:
        if session in self._own_sessions:
            self.nick = nick
            return
        if session in view.members:
            view.members[session] = nick
        if self.ignored.pop(old.casefold(), None):
            self.ignored[nick.casefold()] = nick
        if self.last_private == old:
            self.last_private = nick
        for other in self.views:
            if other.is_private and other.name == old:
                other.name = nick
        self.add(view, Notice(f"{old} is now {nick}."))

    def _note_presence(self, view: View, nick: str, *texts: str) -> None:
        """Show that people come or leave, unless the user does not want to know it."""
        if not self.choices["quiet"] and not self._ignores(nick):
            self.add(view, *map(Notice, texts))

    # Rooms

    def _update_room(self, view: View, room: requests.Room) -> None:
        view.topic = room.topic
        view.set_members(room.members, room.count)
        if room.count > len(room.members):
            self._refresh(view)

    def _refresh(self, view: View) -> None:
        """Ask for the members of a room."""
        view.must_refresh = True
        if view.is_private or view.is_refreshing:
            return
        view.is_refreshing, view.must_refresh = True, False

        def answered(page: requests.Members | None, _error: ChatError | None) -> None:
            view.is_refreshing = False
            if page is not None:
                view.set_members(page.members, page.count)
                if view.must_refresh:
                    self._refresh(view)
                self.front.update()

        self._server.request(requests.ListMembers(view.name, count=LISTED_MEMBERS), answered)

    def _people(self, room: View) -> str:
        """Return a sentence about the other people in a room."""
        others = max(0, room.count - 1)
        named = [nick for session, nick in room.members.items() if session not in self._own_sessions][:NAMED]
        if not others:
            return "Nobody else is here."
        more = f" and {others - len(named)} more" if others > len(named) else ""
        return f"{others} {'other is' if others == 1 else 'others are'} here: {', '.join(named)}{more}."

    # Helpers

    def _set_state(self, state: State) -> None:
        """Change the state, unless the user is leaving."""
        if self.state not in {State.LEAVING, State.ENDED}:
            self.state = state
        if state is not State.OFFLINE:
            self.retry_at = None
        self.front.update()

    def _is_own(self, event: events.Line) -> bool:
        if (event.uid or "").startswith(self._uid_prefix):
            return True
        return event.session in self._own_sessions if event.session else event.nick == self.nick

    def _ignores(self, nick: str) -> bool:
        return nick.casefold() in self.ignored

    def _names_user(self, text: str) -> bool:
        pattern = rf"(?<![\w.-]){re.escape(self.nick)}(?![\w-])"
        return bool(self.nick) and re.search(pattern, text, re.IGNORECASE) is not None


def _sentence(reason: str | Exception) -> str:
    """Return a reason as a sentence. That of the server may begin with a nickname, so its case stays."""
    text = str(reason)
    first = text[:1] if isinstance(reason, errors.Rejected) else text[:1].upper()
    return f"{first}{text[1:].rstrip('.')}."
