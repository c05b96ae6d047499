"""The conversation of one user: the connection, the typed lines, which become requests, and the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any, Final

from broadcast.client.exit_status import LOST
from broadcast.client.protocol import errors, events, requests
from broadcast.client.protocol.errors import ChatError
from broadcast.client.session import commands, questions, received
from broadcast.client.session.entries import Entry, Notice, Problem, Refused, Typed
from broadcast.client.session.interfaces import Choices, Server
from broadcast.client.session.outbox import Command, Item, Outbox, UsageError
from broadcast.client.session.questions import Dialogue, Question
from broadcast.client.session.talk import Talk
from broadcast.client.session.views import View

MAX_UNANSWERED: Final = 64
"""Maximum number of lines that are sent and not answered."""
OLDER_LINES: Final = 200
FIRST_ROOM: Final = "lobby"
"""The name of the first room, until the server says another one."""


class State(Enum):
    """The state of the conversation."""

    ASKING = "asking"
    """The user has not chosen a nickname yet, or has to enter its password: see ``Conversation.question``."""
    CONNECTING = "connecting"
    ONLINE = "online"
    OFFLINE = "no connection"
    """The connection is lost, and another attempt follows: see ``Conversation.retry_at``."""
    LEAVING = "leaving"
    ENDED = "ended"


class Conversation(Talk):
    """A conversation. *rooms* are the first ones; without them, the server chooses one.

    *make_uid* returns a unique identifier for each line, and *now* the time in seconds since the epoch. *on_end* is
    called once, when the conversation is over.
    """

    def __init__(
        self,
        server: Server,
        choices: Choices,
        *,
        rooms: Sequence[str],
        make_uid: Callable[[], str],
        now: Callable[[], float],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(server, choices, rooms or (FIRST_ROOM,))
        self.state = State.CONNECTING
        self.question: Question | None = None
        self.retry_at: float | None = None
        """The time of the next attempt to connect, on the clock of the caller of ``lost``, or None."""
        self.silence = 0.0
        """The age of the oldest unanswered request, in seconds. The application sets it."""
        self.round_trip = 0.0
        """The latest round-trip time, in seconds. The application sets it."""
        self.line_bytes = requests.Limits().line_bytes
        self.status = 0
        self._make_uid = make_uid
        self._now = now
        self._on_end = on_end
        self._take_answer: Callable[[str], None] = lambda _answer: None
        self._typed_passwords: deque[str] = deque(maxlen=4)  # as many as a login and /passwd take
        self._passwords = "safe"
        """Whether a password is safe on its way: see ``requests.Welcome.passwords``."""
        self._outbox = Outbox(self._send, self._show)
        self._journal = ""
        self._room_refusals: dict[str, str] = {}
        """The reasons why the server has refused rooms at a reconnect, until the connection is there."""
        self._quit_reason: str | None = None
        """The reason to give to the others while the user waits to leave, or None."""

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
                if self.question is not None and self.question.is_secret:
                    break  # the rest is visible, so it is no answer
        except UsageError as error:
            self.add(self.current, Problem(str(error)))
        self.front.update()
        return "\n".join(lines)

    def must_hide(self, line: str) -> bool:
        """Return whether a typed line may show a password. It is neither sent nor stored."""
        return questions.may_hold_password(line) or line.strip() in self._typed_passwords

    def fetch_older(self, view: View, seq: int, show: Callable[[Sequence[Entry]], None]) -> None:
        """Ask for older lines of a room than line *seq*, and call *show* with them, the oldest first."""

        def answered(result: requests.Lines | None, _error: ChatError | None) -> None:
            if result is not None:
                show([received.line_of(self, event) for event in result.lines if not self.ignores(event.nick)])

        self.server.request(requests.History(view.name, before=seq, count=OLDER_LINES), answered)

    def cancel(self) -> bool:
        """Give up what waits in the current view and is not sent yet, or else all uploads.

        Return whether there was anything.
        """
        unsent = [item for item in self.waiting if item.request is None and not item.has_ended]
        for item in unsent:
            self._outbox.items.remove(item)
        if unsent:
            lines = "1 line was" if len(unsent) == 1 else f"{len(unsent):,} lines were"
            self.add(self.current, Notice(f"{lines} not sent. Up brings the text back."))
            self._outbox.work()
            self.front.update()
        return bool(unsent) or self.cancel_uploads()

    def leave(self, reason: str = "") -> None:
        """Leave, when every line and file is stored. A second call leaves at once, and shows the lines that are not."""
        is_first = self.state in {State.CONNECTING, State.ONLINE, State.OFFLINE}
        if not is_first or not (self.session or self._outbox.items):
            self.ended(None)
            return
        self.state = State.LEAVING
        self._quit_reason = reason
        self.work()

    # For the application

    def ask_nick(self, question: Question, why: str, answer: Callable[[str], None]) -> None:
        """Ask the user for a nickname, and call *answer* with it. *why* is the reason why the last one was refused."""
        if self._has_left():
            return
        if why:
            self.add(self.current, Problem(why))
        self._ask(question, partial(self._take_nick, answer))

    def ask_password(self, refusal: errors.Rejected, answer: Callable[[str], None]) -> None:
        """Ask for a password after a *refusal*, and call *answer* with it: empty if the user wants another nickname."""
        if self._has_left():
            return
        why = Notice if isinstance(refusal, errors.PasswordNeeded) else Problem
        self.add(self.current, why(f"{_sentence(refusal)} {questions.NICKNAME_HINT}"))
        self.retry_at = None
        self._set_state(State.ASKING)
        self._ask_passwords((questions.PASSWORD,), lambda answers: answer(answers[0] if answers else ""))

    def ask_trust(self, introduction: Sequence[str], answer: Callable[[bool], None]) -> None:
        """Ask the user whether to trust the key of the server, and call *answer* with the decision."""
        if self._has_left():
            return
        self.add(self.current, *map(Notice, introduction))

        def take(text: str) -> None:
            word = text.casefold()
            if word not in {"yes", "no", *commands.QUIT_WORDS}:
                self.add(self.current, Problem("Type yes to trust this key from now on, or no to leave."))
                return
            self.question = None
            self._set_state(State.CONNECTING)
            answer(word == "yes")

        self._ask(Question(prompt="Trust this key? (yes or no)"), take)

    def _ask(self, question: Question, take: Callable[[str], None]) -> None:
        """Ask before there is a connection, and call *take* with the next submitted line."""
        self.question, self._take_answer = question, take
        self._set_state(State.ASKING)

    def _has_left(self) -> bool:
        """End the conversation, and return True, if the user has wanted to leave meanwhile."""
        if self.state is State.LEAVING:
            self.ended(None)
        return self.state is State.ENDED

    def connected(self, welcome: requests.Welcome) -> None:
        """Continue after the server's answer to ``hello``: at first, and before each ``Reconnected``."""
        is_first = not self.session
        limits = welcome.limits
        if not is_first and not welcome.resumed and welcome.nick != self.nick:
            self.add(self.current, Notice(f"{self.nick} is taken: you are {welcome.nick} now."))
        self.retry_at = None
        self.nick, self.session, self.line_bytes = welcome.nick, welcome.session, limits.line_bytes
        self._passwords = welcome.passwords
        if welcome.journal != self._journal:
            self._journal = welcome.journal
            for view in self.rooms:
                view.last_seq = view.old_seq = 0
        # With a rate limit, more lines than it allows would wait at the server, and with them the answers to checks.
        self._outbox.max_unanswered = max(1, min(MAX_UNANSWERED, int(limits.lines_per_second or MAX_UNANSWERED)))
        self._outbox.is_open = True
        if is_first and len(self.views) == 1 and len(welcome.rooms) == 1:
            self.views[0].name = next(iter(welcome.rooms))
        lost = [view for view in self.rooms if view.name not in welcome.rooms]
        for room in welcome.rooms.values():
            self.enter(room, is_new=is_first)
        for view in lost:
            self.close(view)
            why = self._room_refusals.pop(view.name, "")
            self.add(self.current, Problem(f"You are no longer in {view.name}{why and ': '}{why.rstrip('.')}."))
        if is_first:
            self.add(self.current, *map(Notice, (welcome.motd or "").splitlines()))
        view = self.room_of(self.current)
        place = f" in {view.name}" if len(self.rooms) > 1 else ""
        hint = " /help helps, Ctrl-D leaves." if is_first else ""
        self.add(self.current, Notice(f"You are {self.nick}{place}. {view.people(self.session)}{hint}"))
        self._set_state(State.ONLINE)
        self.work()

    def handle(self, event: events.Event) -> None:
        """Take an event of the session."""
        room = getattr(event, "room", None)
        view = self.find_room(room) if room else self.current
        if view is not None:
            if isinstance(event, events.Line) and event.uid:
                self._outbox.take_line(event.uid)
            if isinstance(event, events.Left) and event.session == self.session and not self._outbox.is_open:
                self._room_refusals[view.name] = event.reason or ""
            else:
                received.take(self, view, event)
            self.work()

    def lost(self, reason: str, retry_at: float | None, *, is_refusal: bool = False) -> None:
        """Show that the connection is lost, or that an attempt to connect has failed: once as a line.

        With *is_refusal*, *reason* is the server's sentence about the nickname, and a line of its own.
        """
        notice = Notice(reason if is_refusal else _sentence(reason))
        # A server that goes down says so, and gives the same reason for the end of the connection.
        if (is_refusal or self._outbox.is_open) and notice not in list(self.current.entries)[-1:]:
            self.add(self.current, notice)
        self._outbox.is_open = False
        self.retry_at = retry_at
        self._set_state(State.OFFLINE)

    def ended(self, error: ChatError | None, status: int = 0) -> None:
        """End the conversation because of *error*, with this exit status, or with 4 if a line is not stored."""
        if self.state is State.ENDED:
            return
        if error is not None:
            self.add(self.current, Problem(_sentence(error)))
        self._quit_reason = None
        items, self._outbox.items = self._outbox.items, []
        for item in items:
            if item.request is None and not item.has_ended:
                item.error = UsageError("it was not sent")
            elif not item.has_ended:
                item.error = errors.Unconfirmed("the session has ended before the server confirmed it")
            if item.command.is_text:
                item.view = self.current  # The user no longer sees another view.
                self._show(item)
        is_unsaid = self.cancel_uploads() or any(item.command.is_text and item.error for item in items)
        self.status = status or (LOST if is_unsaid else 0)
        if not self.status and self.session:
            self.add(self.current, Notice(f"Goodbye, {self.nick}."))
        self.question = None
        self._set_state(State.ENDED)
        self._on_end()

    # Typed lines

    def _take(self, line: str) -> None:
        """Take one entered line. Raise ``UsageError`` if it is too long."""
        if self.question is not None:
            self._take_answer(line if self.question.is_secret else line.strip() or self.question.default)
            return
        if not line.strip():
            return
        if self.must_hide(line):
            why = questions.LEAVE_OUT if questions.may_hold_password(line) else questions.REPEATED
            self.add(self.current, Problem(why))
            return
        command, argument = commands.parse(line)
        if command.name == "quit":
            self.leave(argument)
            return
        if self.state in {State.LEAVING, State.ENDED}:
            raise UsageError("You are leaving. Nothing more is sent.")
        size = len(line.encode(errors="replace"))
        if size > self.line_bytes:
            raise UsageError(f"The line has {size} bytes, and at most {self.line_bytes} are possible.")
        if command.prompts:
            self._run_secretly(command, argument, line)
        else:
            self._queue(command, argument, line)

    def _queue(self, command: Command, argument: str, line: str, passwords: Sequence[str] = ()) -> None:
        """Append a use of *command*, typed as *line*, to the outbox."""
        uid, at = self._make_uid(), self._now()
        self._outbox.items.append(Item(line, self.current, command, argument, uid, at, self.selections, passwords))
        self.work()

    # Passwords

    def _run_secretly(self, command: Command, argument: str, line: str, known: Sequence[str] = ()) -> None:
        """Ask for the passwords that *command* needs, and execute it then. The last ones may be *known* already."""
        if self._passwords == "refused":
            raise UsageError(questions.TLS_ONLY)
        if self._passwords == "readable":
            self.add(self.current, Notice(questions.NOT_ENCRYPTED))

        def done(passwords: Sequence[str]) -> None:
            if passwords:
                self._queue(command, argument, line, (*passwords, *known))

        self._ask_passwords(command.prompts[: len(command.prompts) - len(known)], done)

    def _ask_passwords(self, prompts: Sequence[str], done: Callable[[Sequence[str]], None]) -> None:
        """Ask for passwords, and call *done* with them, or with none if the user enters an empty line."""
        dialogue = Dialogue(prompts)
        self.question, self._take_answer = dialogue.question, partial(self._take_password, dialogue, done)
        self.front.update()

    def _take_password(self, dialogue: Dialogue, done: Callable[[Sequence[str]], None], answer: str) -> None:
        problem = dialogue.take(answer)
        if answer and problem != questions.COMMAND:
            self._typed_passwords.append(answer.strip())
        if problem:
            hint = questions.NICKNAME_HINT if self.state is State.ASKING else questions.END_HINT
            self.add(self.current, Problem(f"{problem} {hint}"))
        self.question = dialogue.question
        if self.question is None:
            if self.state is State.ASKING:
                self._set_state(State.CONNECTING)
            done(dialogue.answers)

    def _take_nick(self, answer: Callable[[str], None], nick: str) -> None:
        if nick.casefold() in commands.QUIT_WORDS:
            self.leave()
        elif nick:
            self.question = None
            self.nick = nick
            self._set_state(State.CONNECTING)
            answer(nick)

    def _send(self, item: Item) -> None:
        item.start(self)
        if item.request is not None:
            self.server.request(item.request, partial(self._answered, item))

    def _answered(self, item: Item, result: Any, error: ChatError | None) -> None:  # noqa: ANN401 -- any result
        if isinstance(error, errors.Ended):
            return  # ``ended`` follows
        if item.is_line and isinstance(error, errors.UidReused) and "seq" in error.data:
            # The own nickname has changed before the line was repeated.
            result, error = requests.Stored(int(error.data["seq"]), item.at), None
        item.end(result, error)
        self.work()

    def _show(self, item: Item) -> None:
        """Show the end of a typed line or command. The events of the room show most lines before."""
        view = item.view if item.view in self.views else self.current
        command = [] if item.command.is_text else [Typed(item.text)]
        if item.entries is not None:
            place = self.private_view(item.request.to) if isinstance(item.request, requests.Tell) else view
            self.add_private(place, view, *command, *item.entries)
        elif item.error is not None:
            why = _sentence(item.error)
            refused = Refused(item.text, why, is_certain=not isinstance(item.error, errors.Unconfirmed))
            asks = bool(item.command.prompts) and isinstance(item.error, errors.PASSWORD_ERRORS) and not self.question
            hint = f" {questions.END_HINT}" if asks else ""
            self.add(view, *command, refused if item.command.is_text else Problem(why + hint))
            if asks:
                for later in self._outbox.items:
                    if later.command.is_text:  # it may be the answer, typed too early
                        later.error = UsageError(questions.TYPED_EARLY)
                # Only the first password of /passwd can be wrong, because the others are checked here.
                known = item.passwords[1:] if isinstance(item.request, requests.SetPassword) else ()
                self._run_secretly(item.command, item.argument, item.text, known)
        if item.destination is not None and item.selections == self.selections:
            self.switch_to(item.destination)

    def work(self) -> None:
        """Go on with the outbox, and leave if the user wants to and nothing is on its way."""
        self._outbox.work()
        if self._quit_reason is not None and not (self._outbox.items or self.uploads):
            reason, self._quit_reason = self._quit_reason, None
            if self._outbox.is_open:
                self.server.quit(reason)
            else:
                self.ended(None)
        self.front.update()

    def _set_state(self, state: State) -> None:
        """Change the state. A user who is leaving stays so until the end."""
        if state is State.ENDED or self.state not in {State.LEAVING, State.ENDED}:
            self.state = state
        self.front.update()


def _sentence(reason: str | Exception) -> str:
    """Return a reason as a sentence. That of the server may begin with a nickname, so its case stays."""
    text = str(reason)
    first = text[:1] if isinstance(reason, errors.Rejected) else text[:1].upper()
    return f"{first}{text[1:].rstrip('.')}."
