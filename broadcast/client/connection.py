"""A client's place in the room, over connections that come and go. It reports to a ``broadcast.client.front.Front``.

::

    away ──connected──> greeting ──arrived──> arriving ──caught up──> talking
      └<──────────────────────────── lost ─────────────────────────────┘

If the client was in another room than the first one, it goes back there before it catches up and sends lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, cast

from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from broadcast.client.catchup import CatchUp
from broadcast.client.heartbeat import PROMPT_SECONDS, Heartbeat
from broadcast.client.lines import NICKNAME, Arrived, Entered, Error, Event, Notice, Prompt, Whispered
from broadcast.client.link import Attempts, Link
from broadcast.client.naming import Naming
from broadcast.client.reasons import because
from broadcast.client.saying import spoken
from broadcast.client.status import DONE, LOST, NICKNAME_REFUSED, NO_CONNECTION
from broadcast.client.talk import Talk

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.client.front import Front

CATCH_UP_SECONDS: Final = 30
"""The time limit of each step of catching up."""
LEAVE_SECONDS: Final = 10
"""The time limit of leaving."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""The shortest and the longest pause between attempts to connect, in seconds, without the random part."""
_goodbye: Final = re.compile(r"Goodbye(?:, [^\s:]+)?\.")
_line_end: Final = re.compile(r"\r\n|\r|\n")


class _Phase(Enum):
    """The state of a connection, as above."""

    AWAY = auto()
    GREETING = auto()
    ARRIVING = auto()
    TALKING = auto()


class Connection:
    """A place in the room of a server, which *endpoint* connects to.

    *server* is the server's name for people, such as ``localhost:5555``. The client proposes *nick* first, or asks the
    front end for a nickname if *nick* is None. *random* returns a number from 0 to 1 and varies the pauses.
    """

    def __init__(
        self,
        front: Front,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        random: Callable[[], float],
        server: str,
        nick: str | None,
        *,
        reconnect: bool = True,
    ) -> None:
        self.server = server
        self._front = front
        self._clock = clock
        self._reconnect = reconnect
        self._backoff = backoffPolicy(FIRST_PAUSE, LONGEST_PAUSE, jitter=random)
        self._service = ClientService(
            Attempts(endpoint, self._attempted, self._failed),
            cast(IProtocolFactory, Factory.forProtocol(self._new_link)),
            retryPolicy=self._pause,
            clock=clock,
        )
        self._phase = _Phase.AWAY
        self._link: Link | None = None
        self._timer: IDelayedCall | None = None
        self._attempt = 0
        self._visits = 0
        self._why = ""
        self._leaving = self._goodbye = self._over = False
        self._asked = False
        self._naming = Naming(nick or "")
        self._talk = Talk(front, self._naming, self._write)
        self._heartbeat = Heartbeat(clock, self._talk.ping, lambda: self._late("the server does not answer any more"))
        self._catch_up: CatchUp | None = None
        self._caught: CatchUp | None = None
        self._queue: list[str] = []
        self._held: list[Event] | None = None
        """The events that arrive before the answer to the client's own ``/join``, or None while it awaits no answer."""

    @property
    def nick(self) -> str:
        """The current or wanted nickname, or empty before the first proposal."""
        return self._naming.nick

    @property
    def here(self) -> int:
        """The number of people in the room, with the user, or 0 if it is unknown or the client is not in the room."""
        return self._talk.company.here

    @property
    def room(self) -> str:
        """The name of the room, or empty in the first room and while the client is not in a room."""
        return self._talk.room if self.standing and self._held is None else ""

    @property
    def away(self) -> bool:
        """Whether the user is away."""
        return self._talk.away

    @property
    def standing(self) -> bool:
        """Whether the client is in the room."""
        return self._phase in {_Phase.ARRIVING, _Phase.TALKING}

    @property
    def names(self) -> Sequence[str]:
        """The known nicknames of the other people, for completion."""
        return self._talk.company.names

    # Calls of the front end

    def start(self) -> None:
        """Connect."""
        self._service.startService()

    def propose(self, nick: str) -> None:
        """Propose *nick* now, or when the server asks. ``Front.nickname_wanted`` has returned None before."""
        self._naming.wish(nick)
        if self._phase is _Phase.GREETING and not self._naming.proposed:
            self._propose(nick)

    def say(self, line: str) -> bool:
        """Send *line*, as typed, and return True; return False if the client is not connected.

        A text with line ends is several lines. A stored line comes back through ``Front.shown``. The client always has
        receipts on, so it answers ``/receipts`` itself.
        """
        if self._phase is _Phase.GREETING and self._asked:
            self._asked = False
            self._write(line)
            self._await_answer()
            return True
        if not self.standing or self._leaving:
            return False
        for one in _line_end.split(line):
            if self._phase is _Phase.ARRIVING:
                self._queue.append(one)
            else:
                self._talk.post(one)
        return True

    def leave(self) -> None:
        """Leave after the server has answered all lines. ``Front.ended`` follows within ten seconds."""
        if self._leaving or self._over:
            return
        self._leaving = True
        self._heartbeat.stop()
        if self._phase is _Phase.AWAY:
            self._end(*self._left())
            return
        self._set_timer(LEAVE_SECONDS, "")
        if not self._queue or self._phase is _Phase.GREETING:
            self._write("quit")
        # Otherwise quit follows the queued lines. They wait because all answers belong to the client's own commands.

    def _left(self) -> tuple[int, str]:
        """Return the exit status and the reason of an end without a goodbye."""
        status, why = self._refused_or_done()
        if self._unsaid(queued=True):
            status, why = LOST, f"the connection to {self.server} was lost{': ' * bool(self._why)}{self._why}"
        return status, why

    def _refused_or_done(self) -> tuple[int, str]:
        """Return the exit status and the reason of an end in good order."""
        if self._naming.refusal and not self._visits:
            return NICKNAME_REFUSED, f"the nickname was refused: {self._naming.refusal}"
        return DONE, ""

    def _write(self, line: str) -> None:
        if self._link is not None:
            self._link.write(line)

    # Calls of the link

    def _new_link(self) -> Link:
        return Link(self._made, self._heartbeat.heard, self._take, self._lost)

    def _made(self, link: Link) -> None:
        self._link = link
        self._phase = _Phase.GREETING
        self._naming.begin()
        self._asked = False
        self._set_timer(PROMPT_SECONDS, "nobody asks for a nickname there")
        if self._leaving:
            link.abort()

    def _take(self, event: Event | Prompt) -> None:
        if isinstance(event, Notice) and _goodbye.match(event.text):
            # Before the answer to the prompt, the text belongs to the message of the day.
            self._goodbye = self.standing or bool(self._naming.proposed)
        if isinstance(event, Prompt):
            self._prompted(event)
        elif isinstance(event, Arrived):
            self._arrive(event)
        elif self._phase is _Phase.GREETING:
            self._greeted(event)
        elif self._held is not None:
            self._go_back(self._held, event)
        elif self._catch_up is not None:
            if not self._leaving:
                self._set_timer(CATCH_UP_SECONDS, None)
            self._catch_up.take(event)
        elif self._caught is None or not self._caught.answers(event):
            # Otherwise it is a late answer, which arrives after the client has given up catching up.
            self._talk.hear(event)

    def _greeted(self, event: Event) -> None:
        """Handle an event before the server has accepted the nickname."""
        if isinstance(event, Error):
            self._naming.refusal = event.text
        elif not self._visits:
            self._front.shown(event)

    def _lost(self, failure: Failure) -> None:
        was, self._phase = self._phase, _Phase.AWAY
        self._link = None
        self._set_timer(None, None)
        self._heartbeat.stop()
        if self._held is not None:
            self._release(self._held)
        if self._catch_up is not None:
            self._catch_up.give_up(lost=True)
            self._catch_up = None
        self._talk.leave()
        self._why = self._why or because(failure, "the server closed the connection")
        if self._goodbye:
            self._unsaid(queued=True)
            self._end(*self._refused_or_done())
        elif self._leaving:
            self._end(*self._left())
        elif not self._visits:
            if self._naming.refusal and was is _Phase.GREETING:
                self._end(*self._refused_or_done())
            else:
                self._end(NO_CONNECTION, f"no connection to {self.server}: {self._why}")
        elif not self._reconnect:
            self._unsaid(queued=True)
            self._front.lost(self._why, None)
            self._end(LOST, f"the connection to {self.server} was lost: {self._why}")
        if not self._over:
            self._front.changed()

    def _attempted(self) -> None:
        self._attempt += 1
        self._why = ""
        self._front.connecting(self._attempt)

    def _failed(self, failure: Failure) -> None:
        self._why = because(failure, "the server closed the connection")
        if not self._visits:
            self._end(NO_CONNECTION, f"no connection to {self.server}: {self._why}")

    def _pause(self, _attempt: int) -> float:
        """Return the pause before the next attempt. It grows with the failed attempts since the last arrival."""
        if self._over:
            return LONGEST_PAUSE
        pause = float(self._backoff(self._attempt))
        self._front.lost(self._why, pause)
        return pause

    def _end(self, status: int, why: str) -> None:
        if self._over:
            return
        self._over = True

        def ended(_result: object) -> None:
            self._front.ended(status, why)

        def stop() -> None:
            maybeDeferred(self._service.stopService).addBoth(ended)

        # The service may be in the middle of a call, so it is stopped in the next reactor turn.
        self._clock.callLater(0, stop)

    def _set_timer(self, seconds: float | None, why: str | None) -> None:
        """Set the time limit of the current step. After it, close the connection because of *why*.

        If *why* is None, give up catching up instead. If *seconds* is None, there is no limit.
        """
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if seconds is None else self._clock.callLater(seconds, self._late, why)

    def _late(self, why: str | None) -> None:
        if why is not None:
            self._why = why
            if self._link is not None:
                self._link.abort()
        elif self._catch_up is not None:
            self._catch_up.give_up(lost=False)

    # Taking a nickname

    def _prompted(self, prompt: Prompt) -> None:
        if prompt.text != NICKNAME:
            self._asked = True
            self._set_timer(None, None)
            self._front.asked(prompt.text)
            return
        if self._leaving or not self._naming.answered:
            return
        self._set_timer(None, None)
        refused = self._naming.asked()
        if self._visits:
            pause, nick = self._naming.next_try(refused)
            if pause:
                self._timer = self._clock.callLater(pause, self._propose, nick)
            else:
                self._propose(nick)
            return
        if refused or not self.nick:
            wanted = self._front.nickname_wanted(refused, self._naming.refusal if refused else "")
            if wanted is None or self._leaving:
                return
            self._naming.wish(wanted)
        self._propose(self.nick)

    def _propose(self, nick: str) -> None:
        self._naming.propose(nick)
        self._write(nick)
        self._await_answer()

    def _await_answer(self) -> None:
        """Set the time limit of the server's answer to the nickname."""
        if not self._leaving:
            self._set_timer(PROMPT_SECONDS, "the server does not answer")

    # In the room

    def _arrive(self, event: Arrived) -> None:
        again = self._visits > 0
        self._visits += 1
        self._attempt = 0
        self._phase = _Phase.ARRIVING
        self._goodbye = False
        self._naming.arrive(event.nick, again=again)
        talk = self._talk
        talk.arrive(event.names, event.others)
        self._front.arrived(event.nick, event.names, event.others, again=again)
        if again and event.nick != self._naming.wished:
            self._front.shown(Notice(f"{self._naming.wished} is taken: you are {event.nick} now."))
        if self._leaving:
            self._catch_up = self._new_catch_up(again=again)
        elif again and talk.room:
            self._held = []
            self._set_timer(PROMPT_SECONDS, "the server does not answer")
            self._write(f"/join {talk.room}")
        else:
            self._start_catching_up(again=again)
        self._front.changed()

    def _new_catch_up(self, *, again: bool) -> CatchUp:
        talk = self._talk
        return CatchUp(
            talk.ledger, again=again, send=self._write, show=talk.show, missed=talk.recall, done=self._caught_up
        )

    def _start_catching_up(self, *held: Event, again: bool) -> None:
        """Ask for the line numbers of this room. The *held* events have arrived in it before."""
        self._catch_up = self._new_catch_up(again=again)
        for event in held:
            self._catch_up.take(event)
        if not self._leaving:
            self._set_timer(CATCH_UP_SECONDS, None)
        self._catch_up.begin()

    def _go_back(self, held: list[Event], event: Event) -> None:
        """Handle *event* after the client's own ``/join``. The *held* events have arrived before."""
        talk, room = self._talk, self._talk.room
        if isinstance(event, Entered):
            self._release(held)
            talk.enter(event)
            self._front.shown(event)
            self._start_catching_up(again=True)
        elif isinstance(event, Error) and event.text == f"you are in {room} already.":
            self._held = None
            self._start_catching_up(*held, again=True)
        elif isinstance(event, Error):
            self._held = None
            talk.stay()
            self._front.shown(Notice(f"You are not in {room}, but in the first room: {event.text}"))
            # The queued lines are meant for the other room.
            self._drop_queue()
            if self._leaving:
                self._write("quit")
            else:
                self._start_catching_up(*held, again=False)
        else:
            held.append(event)
            if not self._leaving:
                self._set_timer(PROMPT_SECONDS, "the server does not answer")

    def _release(self, held: list[Event]) -> None:
        """Show the *held* events that do not belong to the room that the client was in for a moment."""
        self._held = None
        for event in held:
            if isinstance(event, Whispered) or (isinstance(event, Notice) and not event.text.startswith("Topic: ")):
                self._talk.show(event)

    def _drop_queue(self) -> None:
        """Report the queued lines as unsaid, because they are meant for another room. Commands remain."""
        queue, self._queue = self._queue, []
        unsaid = self._talk.own.given_up()
        for line in queue:
            if spoken(line, self.nick) is not None or line.casefold().startswith("/topic "):
                unsaid.append(line)
            else:
                self._queue.append(line)
        if unsaid:
            self._front.unsaid(unsaid)

    def _caught_up(self) -> None:
        assert self._catch_up is not None
        self._talk.receipts = self._catch_up.receipts
        self._caught, self._catch_up = self._catch_up, None
        self._phase = _Phase.TALKING
        if not self._leaving:
            self._set_timer(None, None)
            self._talk.settle()
            self._heartbeat.start()
        self._unsaid()
        queue, self._queue = self._queue, []
        for line in queue:
            self._talk.post(line)
        if self._leaving and queue:
            self._write("quit")

    def _unsaid(self, *, queued: bool = False) -> bool:
        """Report the lines that are not confirmed or, with *queued*, not even sent. Return whether there are any."""
        lines = self._talk.own.given_up()
        if queued:
            lines += [line for line in self._queue if spoken(line, self.nick) is not None]
            self._queue.clear()
        if lines:
            self._front.unsaid(lines)
        return bool(lines)
