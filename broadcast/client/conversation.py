"""The conversation on a terminal: prompts, own lines on their way, the status line, and the bell."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prompt_toolkit.utils import get_cwidth

from broadcast.client import lines
from broadcast.client.rendering import NOTE, arrival, line_of, names, refusal, says, typed

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from broadcast.client.completion import Known
    from broadcast.client.connection import Connection
    from broadcast.client.display import Display, Line

REFUSED = "Not kept: "
UNKNOWN = "Perhaps not kept: "
"""The marks of own lines. After a lost connection the second one is right, because the server may still say the lines
that it has read."""
ANSWERS = 500
"""The most lines of an answer to the client's own ``/help``."""


class Conversation:
    """The ``Front`` of a connection and the ``Typist`` of a terminal. The caller sets both later.

    *user* is the proposed nickname. *keep* stores each typed line, unless it answers a prompt.
    """

    connection: Connection
    display: Display

    def __init__(
        self, server: str, user: str, known: Known, keep: Callable[[str], None], clock: IReactorTime, *, bell: bool
    ) -> None:
        self.status_at_end = 0
        self.over = False
        """Whether the connection has ended for good."""
        self._server = server
        self._user = user
        self._known = known
        self._keep = keep
        self._clock = clock
        self._bell = bell
        self._prompt = ""
        """The prompt that the server waits for an answer to, or empty."""
        self._sent: deque[str] = deque()
        """The own lines that have not come back yet."""
        self._state = "connecting"
        self._again_at: float | None = None
        """The time of the next attempt, on the clock."""
        self._told_of_loss = False
        self._leaving = False
        self._replayed = False
        """True while the server replays lines from before the arrival."""
        self._learning: list[str] | None = None
        """The answers to the client's own ``/help``, or None while it awaits none."""

    # Calls of the terminal

    def asking(self) -> bool:
        """Return whether the server waits for an answer to a prompt."""
        return bool(self._prompt)

    def prompt(self) -> Line:
        """Return the text before the line that is being typed."""
        if self._prompt == lines.NICKNAME and self._user:
            return [("", f"Nickname [{self._user}]: ")]
        return [("", lines.printable(self._prompt) or "> ")]

    def secret(self) -> bool:
        """Return whether typing is hidden: the user answers another prompt than that for the nickname."""
        return self._prompt not in {"", lines.NICKNAME}

    def waiting(self) -> list[Line]:
        """Return the own lines that are on their way."""
        return [typed(lines.printable(line), self.connection.nick, "class:waiting") for line in self._sent]

    def status(self, columns: int) -> Line:
        """Return the status line, in at most *columns* columns, with the most important part first."""
        connection = self.connection
        state = self._state
        if self._again_at is not None:
            seconds = max(1, math.ceil(self._again_at - self._clock.seconds()))
            state = f"{state}, next try in {seconds} s"
        if connection.standing:
            here = [f"{connection.here} here"] if connection.here else []
            nick = f"{connection.nick} (away)" if connection.away else connection.nick
            room = [connection.room] if connection.room else []
            told = [nick, *room, *here, *([state] if state else []), self._server]
        else:
            told = [state, self._server]
        text = " " + " · ".join(lines.printable(part) for part in told) + " "
        while sum(map(get_cwidth, text)) >= max(columns, 2):
            text = text[:-2] + "…"
        return [("class:status" if connection.standing else "class:status class:status.trouble", text)]

    def typed(self, text: str) -> str:
        """Send the entered *text*, and return the part that could not be sent."""
        entered = text.split("\n")
        while entered and self._take(entered[0]):
            del entered[0]
        self.display.refresh()
        return "\n".join(entered)

    def leave(self) -> None:
        """Leave in good order. At the second call, leave at once."""
        if self._leaving:
            self.display.stop()
        else:
            self._leaving = True
            self._state = "leaving"
            self._again_at = None
            self.connection.leave()
            self.display.refresh()

    # Calls of the connection

    def connecting(self, attempt: int) -> None:  # noqa: ARG002 -- a Front's
        """Show that an attempt to connect begins."""
        self._state = "connecting" if not self._told_of_loss else "connecting again"
        self._again_at = None
        self.display.refresh()

    def nickname_wanted(self, refused: str, why: str) -> str | None:  # noqa: ARG002 -- a Front's
        """Ask for a nickname."""
        if why:
            self.display.show(refusal(why))
            # The user has read the reason, and chooses the next nickname without a proposal.
            self._user = ""
        self._prompt = lines.NICKNAME
        self._state = "connected"
        self.display.refresh()
        return None

    def asked(self, prompt: str) -> None:
        """Ask for a secret, such as a password."""
        self._prompt = prompt
        self._state = "connected"
        self.display.refresh()

    def arrived(self, nick: str, names: Sequence[str], others: int, *, again: bool) -> None:
        """Show the arrival in the room."""
        self._prompt = ""
        self._state = ""
        self._again_at = None
        self._told_of_loss = False
        self._replayed = not again
        self._known.own = nick
        self._known.seen(*names)
        line = arrival(nick, names, others)
        self.display.show(line if again else [*line, (NOTE, " /help helps, Ctrl-D leaves.")])
        self.display.refresh()
        if not self._known.commands:
            self._clock.callLater(0, self._learn)

    def shown(self, event: lines.Event) -> None:
        """Show *event*, unless it answers a command of the client's own."""
        if self._learning is not None and self._learned(self._learning, event):
            return
        self._notice(event)
        self.display.show(self._line_of(event))

    def unsaid(self, lines: Sequence[str]) -> None:
        """Show the *lines* that may not be stored, with a mark."""
        self._sent.clear()
        self._mark(UNKNOWN, *lines)

    def changed(self) -> None:
        """Show the changed status line."""
        self._known.own = self.connection.nick
        self.display.refresh()

    def lost(self, why: str, pause: float | None) -> None:
        """Show that the connection is lost: once as a line, then in the status line."""
        self._prompt = ""
        self._learning = None
        self._state = "leaving" if self._leaving else "no connection"
        if not self._told_of_loss and not self._leaving:
            self.display.show([("class:error", f" * {_sentence(why)}")])
        self._told_of_loss = True
        if pause is not None and not self._leaving:
            self._again_at = self._clock.seconds() + pause
            self._tick(self._again_at)
        self.display.refresh()

    def ended(self, status: int, why: str) -> None:
        """Show the reason of the end, and stop the display."""
        self.over = True
        self.status_at_end = status
        self._mark(UNKNOWN, *self._sent)
        self._sent.clear()
        if status:
            self.display.show([("class:error", f" * {_sentence(why)}")])
        self.display.stop()

    # Between the terminal and the connection

    def _take(self, line: str) -> bool:
        """Use an entered *line*. Return False if it must stay in the editor."""
        prompt, self._prompt = self._prompt, ""
        if prompt == lines.NICKNAME:
            nick = line.strip() or self._user
            if not nick:
                self._prompt = prompt
                return True
            self.display.echo([(NOTE, f"{lines.NICKNAME}{nick}")])
            if nick.casefold() in {"quit", "exit"}:
                self.leave()
            else:
                self.connection.propose(nick)
            return True
        if prompt:
            self.connection.say(line)
            return True
        if not line.strip():
            return True
        if len(line.encode(errors="replace")) > lines.LINE_BYTES:
            self.display.show(refusal(f"a line holds at most {lines.LINE_BYTES} bytes."))
            return False
        return self._say(line)

    def _say(self, line: str) -> bool:
        comes_back = says(line)
        if comes_back:
            self._sent.append(line)
        elif self.connection.standing:
            self.display.echo(typed(line, self.connection.nick))
        if not self.connection.say(line):
            if comes_back:
                self._sent.pop()
            self.display.ring()
            return False
        self._keep(line)
        return True

    def _learn(self) -> None:
        """Ask for the commands. The answer to ``/ping`` marks the end of the answer to ``/help``."""
        if self.connection.standing and self.connection.say("/help"):
            self._learning = []
            self.connection.say("/ping")

    def _learned(self, answers: list[str], event: lines.Event) -> bool:
        """Return whether *event* answers the client's own ``/help`` or ``/ping``. A server may know neither."""
        match event:
            case lines.Answer(text):
                answers.append(text)
            case lines.Error(text) if text.startswith("unknown command"):
                answers.append("")
            case _:
                return False
        if text == "pong" or answers.count("") == 2 or len(answers) > ANSWERS:
            self._known.learn(map(lines.printable, answers))
            self._learning = None
        return True

    def _notice(self, event: lines.Event) -> None:
        """Update nicknames and own lines after *event*, and ring the bell if it is for the user."""
        timed = isinstance(event, lines.Said | lines.Emoted) and event.time
        self._replayed = self._replayed and bool(timed)
        match event:
            case lines.Said() | lines.Emoted() if event.own:
                if self._sent:
                    self._sent.popleft()
                    self.display.refresh()
            case lines.Said(nick, text) | lines.Emoted(nick, text):
                self._known.seen(nick)
                self._ring(names(text, self.connection.nick) and not self._replayed)
            case lines.Whispered(nick):
                self._known.seen(nick)
                self._ring(True)
            case lines.Joined(nick):
                self._known.seen(nick)
            case lines.Entered(_, some):
                self._known.seen(*some)
            case lines.Left(nick):
                self._known.gone(nick)
            case lines.Renamed(nick, new):
                self._known.gone(nick)
                self._known.seen(new)
            case lines.Error(text) if text.startswith("not kept:") and self._sent:
                self._mark(REFUSED, self._sent.popleft())
            case _:
                pass

    def _line_of(self, event: lines.Event) -> Line:
        if isinstance(event, lines.Notice) and not self.connection.standing and not self._leaving:
            return [("", event.text)]
        return line_of(event, self.connection.nick)

    def _mark(self, mark: str, *unkept: str) -> None:
        for line in unkept:
            self.display.show([("class:error", mark), *typed(line, self.connection.nick)])

    def _ring(self, wanted: bool) -> None:
        if wanted and self._bell:
            self.display.ring()

    def _tick(self, until: float) -> None:
        """Count down the seconds in the status line."""
        if self._again_at == until and not self.over:
            self.display.refresh()
            self._clock.callLater(1, self._tick, until)


def _sentence(why: str) -> str:
    """Return the reason *why* as a sentence."""
    return f"{why[:1].upper()}{why[1:].rstrip('.')}."
