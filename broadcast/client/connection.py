"""One place in the room, kept over connections that come and go; see ``broadcast.client.front`` for what it tells.

::

    away ──connected──> greeting ──arrived──> arriving ──caught up──> talking
      └<──────────────────────────── lost ─────────────────────────────┘
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, cast

from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from zope.interface import implementer

from broadcast.client.catchup import CatchUp
from broadcast.client.lines import (
    LINE_BYTES,
    NICKNAME,
    Answer,
    Arrived,
    Crowd,
    Emoted,
    Error,
    Event,
    Joined,
    Kept,
    Left,
    Missed,
    Notice,
    Prompt,
    Reader,
    Receipt,
    Renamed,
    Said,
    printable,
)
from broadcast.client.nicknames import numbered
from broadcast.client.numbers import Ledger
from broadcast.client.reasons import because
from broadcast.client.sockets import keep_alive
from broadcast.client.status import DONE, LOST, NICKNAME_REFUSED, NO_CONNECTION

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.client.front import Front

PROMPT_SECONDS: Final = 30
"""Who has not asked for a nickname by then is no chat server."""
CATCH_UP_SECONDS: Final = 30
"""So long every step of catching up may take."""
LEAVE_SECONDS: Final = 10
"""So long leaving may take."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""The pauses between attempts to connect, in seconds; up to a second is added at random."""
RETAKE_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""After how many seconds the nickname of before is asked for again, while the lost connection still holds it. The
server closes at the tenth refusal, and after 60 seconds."""
_receipts: Final = re.compile(r"/receipts(?: +(on|off)?)? *", re.IGNORECASE)
_nick: Final = re.compile(r"/nick +(\S+)\s*", re.IGNORECASE)
_goodbye: Final = re.compile(r"Goodbye(?:, [^\s:]+)?\.")
_line_end: Final = re.compile(r"\r\n|\r|\n")


class _Phase(Enum):
    """How far one has come."""

    AWAY = auto()
    GREETING = auto()
    ARRIVING = auto()
    TALKING = auto()


class Connection:
    """A place in the room of *server* (its name for people: ``localhost:5555``), reached through *endpoint*.

    *nick* is proposed first, without asking the front end; None: it is asked. *random* (0 to 1) varies the pauses.
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
        self.nick = nick or ""
        """The nickname that one has, or would like to have; empty before one was proposed."""
        self.here = 0
        """How many are in the room, oneself included; 0 while the connection does not stand."""
        self._front = front
        self._clock = clock
        self._reconnect = reconnect
        self._backoff = backoffPolicy(FIRST_PAUSE, LONGEST_PAUSE, jitter=random)
        self._service = ClientService(
            _Attempts(endpoint, self._attempted, self._failed),
            cast(IProtocolFactory, Factory.forProtocol(lambda: _Link(self._made, self._take, self._lost))),
            retryPolicy=self._pause,
            clock=clock,
        )
        self._phase = _Phase.AWAY
        self._link: _Link | None = None
        self._timer: IDelayedCall | None = None
        self._attempt = 0
        self._visits = 0
        self._why = ""
        self._leaving = self._goodbye = self._over = False
        # Taking a nickname.
        self._wish = self.nick
        self._proposed = self._refusal = ""
        self._retakes = self._suffix = 0
        self._asked = False
        # In the room.
        self._names: dict[str, str] = {}
        self._wanted: deque[str] = deque(maxlen=20)
        self._ledger = Ledger()
        self._catch_up: CatchUp | None = None
        self._caught: CatchUp | None = None
        self._receipts = False
        self._receipts_shown = False
        self._queue: list[str] = []
        self._pending: deque[tuple[str, Kept]] = deque()

    @property
    def standing(self) -> bool:
        """Whether one is in the room."""
        return self._phase in {_Phase.ARRIVING, _Phase.TALKING}

    @property
    def names(self) -> Sequence[str]:
        """The nicknames of the others, as far as they are known, for completion; oneself is not among them."""
        return tuple(self._names.values())

    # What the front end asks for

    def start(self) -> None:
        """Connect."""
        self._service.startService()

    def propose(self, nick: str) -> None:
        """Ask for *nick*, after ``Front.nickname_wanted`` returned None; kept for later while nothing is asked."""
        self.nick = self._wish = nick
        if self._phase is _Phase.GREETING and not self._proposed:
            self._propose(nick)

    def say(self, line: str) -> bool:
        """Send *line* (without an end; a text with line ends is several), as typed: said, or a command.

        False: the connection does not stand and nothing was done. What is said comes back through ``Front.shown`` once
        it is kept. ``/receipts`` is answered here: the client always has them on, and shows them when asked.
        """
        if self._phase is _Phase.GREETING and self._asked:
            self._asked = False
            self._write(line)
            return True
        if not self.standing or self._leaving:
            return False
        for one in _line_end.split(line):
            if self._phase is _Phase.ARRIVING:
                self._queue.append(one)
            else:
                self._post(one)
        return True

    def leave(self) -> None:
        """Leave properly: everything before it is said and answered; ``Front.ended`` follows, within ten seconds."""
        if self._leaving or self._over:
            return
        self._leaving = True
        if self._phase is _Phase.AWAY:
            self._end(*self._left())
            return
        self._set_timer(LEAVE_SECONDS, "")
        if not self._queue or self._phase is _Phase.GREETING:
            self._write("quit")
        # Otherwise once what was typed is sent: before that, every answer is to a command of the client's own.

    def _left(self) -> tuple[int, str]:
        """How it ends for somebody who leaves without a goodbye."""
        status, why = self._refused_or_done()
        if self._unsaid(queued=True):
            status, why = LOST, f"the connection to {self.server} was lost{': ' * bool(self._why)}{self._why}"
        return status, why

    def _refused_or_done(self) -> tuple[int, str]:
        """How it ends for somebody who leaves."""
        if self._refusal and not self._visits:
            return NICKNAME_REFUSED, f"the nickname was refused: {self._refusal}"
        return DONE, ""

    # Sending

    def _write(self, line: str) -> None:
        if self._link is not None:
            self._link.write(line)

    def _post(self, line: str) -> None:
        line = _typed(line)
        if (switch := _receipts.fullmatch(line)) and self._receipts:
            word = (switch[1] or "").casefold()
            self._receipts_shown = word == "on" if word else not self._receipts_shown
            self._front.shown(Answer(f"receipts are {'on' if self._receipts_shown else 'off'}."))
            return
        if len(line.encode("utf-8", "replace")) > LINE_BYTES:
            self._front.shown(Error(f"a line holds at most {LINE_BYTES} bytes."))
            return
        if wanted := _nick.fullmatch(line):
            self._wanted.append(wanted[1])
        if (own := self._spoken(line)) is not None:
            if self._receipts:
                self._pending.append((line, own))
            else:
                self._ledger.saw(str(own))
                self._front.shown(own)
        self._write(line)

    def _spoken(self, line: str) -> Kept | None:
        """What the server makes of *line*, if it is said."""
        text = _typed(line)
        verb, _, words = text.partition(" ")
        if verb.casefold() == "/me" and words.strip():
            return Emoted(self.nick, words.strip(), own=True)
        if verb.casefold() == "/say" and words.strip():
            return Said(self.nick, words, own=True)
        if text.startswith("//"):
            return Said(self.nick, text[1:], own=True)
        if text.startswith("/") or not text.strip() or text.strip().casefold() in {"quit", "exit"}:
            return None
        return Said(self.nick, text, own=True)

    # What the link tells

    def _made(self, link: _Link) -> None:
        self._link = link
        self._phase = _Phase.GREETING
        self._proposed = self._refusal = ""
        self._retakes = self._suffix = 0
        self._asked = False
        self._set_timer(PROMPT_SECONDS, "nobody asks for a nickname there")
        if self._leaving:
            link.abort()

    def _take(self, event: Event | Prompt) -> None:
        if isinstance(event, Notice) and _goodbye.match(event.text):
            # Before one has answered the prompt, it is in the message of the day.
            self._goodbye = self.standing or bool(self._proposed)
        if isinstance(event, Prompt):
            self._prompted(event)
        elif isinstance(event, Arrived):
            self._arrive(event)
        elif self._phase is _Phase.GREETING:
            if isinstance(event, Error):
                self._refusal = event.text
            elif not self._visits:
                self._front.shown(event)
        elif self._catch_up is not None:
            if not self._leaving:
                self._set_timer(CATCH_UP_SECONDS, None)
            self._catch_up.take(event)
        else:
            self._hear(event)

    def _lost(self, failure: Failure) -> None:
        was, self._phase = self._phase, _Phase.AWAY
        self._link = None
        self._set_timer(None, None)
        if self._catch_up is not None:
            self._catch_up.give_up(lost=True)
            self._catch_up = None
        self.here = 0
        self._names.clear()
        self._why = self._why or because(failure, "the server closed the connection")
        if self._goodbye:
            self._unsaid(queued=True)
            self._end(*self._refused_or_done())
        elif self._leaving:
            self._end(*self._left())
        elif not self._visits:
            if self._refusal and was is _Phase.GREETING:
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
        """How long to wait before the next attempt; those count that have failed since one was in the room."""
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

        # Not from within what the service is doing now.
        self._clock.callLater(0, stop)

    def _set_timer(self, seconds: float | None, why: str | None) -> None:
        """Wait until something happens, *seconds* at most: then the connection is given up, or (None) catching up."""
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
        if self._leaving or (self._proposed and not self._refusal):
            return
        self._set_timer(None, None)
        refused, self._proposed = self._proposed, ""
        if self._visits:
            self._retake(refused)
            return
        if refused or not self.nick:
            nick = self._front.nickname_wanted(refused, self._refusal if refused else "")
            if nick is None or self._leaving:
                return
            self.nick = self._wish = nick
        self._propose(self.nick)

    def _propose(self, nick: str) -> None:
        self._proposed, self._refusal = nick, ""
        self._write(nick)

    def _retake(self, refused: str) -> None:
        """Ask for the nickname of before; while the lost connection holds it, again; then for one like it."""
        if not refused:
            self._propose(self._wish)
        elif self._retakes < len(RETAKE_PAUSES):
            pause = RETAKE_PAUSES[self._retakes]
            self._retakes += 1
            self._set_timer(None, None)
            self._timer = self._clock.callLater(pause, self._propose, self._wish)
        else:
            self._suffix += 1
            self._propose(numbered(self._wish, self._suffix + 1))

    # In the room

    def _arrive(self, event: Arrived) -> None:
        again = self._visits > 0
        self._visits += 1
        self._attempt = 0
        self._phase = _Phase.ARRIVING
        self._goodbye = False
        self._wish = self._wish if again else event.nick
        self.nick = event.nick
        self._names = {name.casefold(): name for name in event.names}
        self.here = event.others + 1
        self._catch_up = CatchUp(
            self._ledger, again=again, send=self._write, show=self._show, missed=self._recall, done=self._caught_up
        )
        self._front.arrived(event.nick, event.names, event.others, again=again)
        if again and event.nick != self._wish:
            self._front.shown(Notice(f"{self._wish} is taken: you are {event.nick} now."))
        self._front.changed()
        if not self._leaving:
            self._set_timer(CATCH_UP_SECONDS, None)
            self._catch_up.begin()

    def _recall(self, line: Kept) -> None:
        """A line that was said while the connection was lost, or shortly before."""
        mine = _squashed(str(line))
        for at, (_typed, own) in enumerate(self._pending):
            if _squashed(str(own)) == mine:
                del self._pending[at]
                kept = type(line)
                self._front.shown(kept(line.nick, line.text, line.time, own=True))
                return
        self._front.shown(line)

    def _caught_up(self) -> None:
        assert self._catch_up is not None
        self._receipts = self._catch_up.receipts
        self._caught, self._catch_up = self._catch_up, None
        self._phase = _Phase.TALKING
        if not self._leaving:
            self._set_timer(None, None)
        self._unsaid()
        queue, self._queue = self._queue, []
        for line in queue:
            self._post(line)
        if self._leaving and queue:
            self._write("quit")

    def _unsaid(self, *, queued: bool = False) -> bool:
        """Tell of the lines that were not confirmed (*queued*: and of those not even sent); whether there are any."""
        lines = [typed for typed, _own in self._pending]
        self._pending.clear()
        if queued:
            lines += [line for line in self._queue if self._spoken(line) is not None]
            self._queue.clear()
        if lines:
            self._front.unsaid(lines)
        return bool(lines)

    def _hear(self, event: Event) -> None:
        """Something arrived in the room."""
        if self._caught is not None and self._caught.answers(event):
            # Too late: it was given up.
            return
        match event:
            case Said() | Emoted():
                self._ledger.saw(str(event))
            case Receipt(seq=seq):
                self._kept(seq)
                if not self._receipts_shown:
                    return
            case Error(text=text) if text.startswith("not kept:") and self._pending:
                self._pending.popleft()
            case Missed(last=last):
                self._ledger.skip(last)
            case Answer(text=text) if self._wanted:
                self._called(text)
        self._show(event)

    def _kept(self, seq: int) -> None:
        """One's own line is kept."""
        own = self._pending.popleft()[1] if self._pending else None
        self._ledger.receipt(seq, str(own or ""))
        if own is not None:
            self._front.shown(type(own)(self.nick, own.text, own=True))

    def _called(self, text: str) -> None:
        """Perhaps the answer to ``/nick``."""
        for wanted in self._wanted:
            if text.casefold() == f"you are {wanted}.".casefold():
                self._wanted.clear()
                self.nick = self._wish = text[len("You are ") : -1]
                self._front.changed()
                return

    def _show(self, event: Event) -> None:
        if self._follow(event):
            self._front.changed()
        self._front.shown(event)

    def _follow(self, event: Event) -> bool:
        """Keep up with who is here; whether anything is another."""
        match event:
            case Joined(nick=nick):
                self._names[nick.casefold()] = nick
                self.here += 1
            case Left(nick=nick):
                self._names.pop(nick.casefold(), None)
                self.here = max(self.here - 1, 1)
            case Renamed(nick=nick, new=new):
                self._names.pop(nick.casefold(), None)
                self._names[new.casefold()] = new
            case Crowd(count=count, joined=joined):
                self.here = max(self.here + (count if joined else -count), 1)
            case Said(nick=nick, own=False) | Emoted(nick=nick, own=False) if (
                not event.time and nick.casefold() not in self._names and nick != self.nick
            ):
                self._names[nick.casefold()] = nick
            case _:
                return False
        return True


def _typed(line: str) -> str:
    """*line* without what a server may remove or not: so it is known what is said, and whether anything is."""
    blank = re.sub("[\t\x85\u2028\u2029]", " ", line)
    return "".join(character for character in blank if character == "\ufffd" or printable(character) != "\ufffd")


def _squashed(line: str) -> str:
    """What stays the same of a line of one's own, whatever the server cleans away."""
    return "".join(character for character in line.casefold() if character.isalnum())


@implementer(IStreamClientEndpoint)
class _Attempts:
    """An endpoint that tells when somebody begins to connect, and when that failed."""

    def __init__(
        self, endpoint: IStreamClientEndpoint, begin: Callable[[], None], failed: Callable[[Failure], None]
    ) -> None:
        self._endpoint = endpoint
        self._begin = begin
        self._failed = failed

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 -- Twisted's name
        """Connect."""

        def failed(failure: Failure) -> Failure:
            self._failed(failure)
            return failure

        self._begin()
        return maybeDeferred(self._endpoint.connect, protocolFactory).addErrback(failed)


class _Link(TwistedProtocol):
    """One TCP connection."""

    def __init__(
        self, made: Callable[[_Link], None], take: Callable[[Event | Prompt], None], lost: Callable[[Failure], None]
    ) -> None:
        self._made = made
        self._take = take
        self._lost = lost
        self._reader = Reader()

    def connectionMade(self) -> None:
        """Begin."""
        keep_alive(self.transport)
        self._made(self)

    def dataReceived(self, data: bytes) -> None:
        """Take in a chunk."""
        for event in self._reader.feed(data):
            self._take(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._lost(reason)

    def write(self, line: str) -> None:
        """Send a line."""
        assert self.transport is not None
        self.transport.write(line.encode("utf-8", "replace") + b"\r\n")

    def abort(self) -> None:
        """Close, whatever is still to be sent."""
        transport = self.transport
        assert transport is not None
        getattr(transport, "abortConnection", transport.loseConnection)()
