"""A connection of a program without a user at the keyboard, from the nickname to an exit status."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone

from broadcast.client.heartbeat import PROMPT_SECONDS
from broadcast.client.lines import NICKNAME, Arrived, Error, Event, Notice, Prompt, Reader
from broadcast.client.reasons import because
from broadcast.client.sockets import keep_alive
from broadcast.client.status import LOST, NICKNAME_REFUSED, NO_CONNECTION

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

Ended = Callable[[int, str], None]
"""Takes the exit status, and the reason in one line for people, empty for 0."""


class Stream(ITCPTransport, IConsumer, IPushProducer):
    """The interfaces of a TCP connection's transport together, because Twisted has no single one."""


class Visitor(Protocol):
    """One connection to *server*, its name for people, from the nickname to the end.

    The client proposes the *nicks* in order. It calls *ended* once, when the connection is closed.
    """

    def __init__(self, server: str, nicks: Iterator[str], clock: IReactorTime, ended: Ended) -> None:
        self.server = server
        self.goodbye = False
        """Whether the server has said goodbye. It has answered all lines before that."""
        self._nicks = nicks
        self._clock = clock
        self._ended = ended
        self._reader = Reader()
        self._result: tuple[int, str] | None = None
        self._proposed = False
        self._refusal = ""
        self._notice = ""
        self._timer: IDelayedCall | None = None

    @property
    def stream(self) -> Stream:
        """The connection."""
        return cast(Stream, self.transport)

    # Methods that a subclass overrides

    def arrived(self) -> None:
        """Handle the arrival in the room."""

    def heard(self, event: Event) -> None:
        """Handle an event in the room."""

    def came(self, data: bytes) -> None:
        """Handle received bytes."""

    def broke(self, why: str) -> tuple[int, str]:
        """Return the exit status and the reason after a connection that was lost in the room."""
        return LOST, f"the connection to {self.server} was lost: {why}"

    # Methods that a subclass calls

    def put(self, line: str) -> None:
        """Send *line*."""
        self.stream.write(line.encode("utf-8", "replace") + b"\r\n")

    def finish(self, status: int, why: str = "") -> None:
        """Set the exit status and its reason. Later calls change nothing."""
        if self._result is None:
            self._result = status, why

    def within(self, seconds: float, call: Callable[[], None]) -> None:
        """Call *call* in *seconds*, in place of the earlier delayed call."""
        self._forget()
        self._timer = self._clock.callLater(seconds, call)

    def hang_up(self) -> None:
        """Close at once, without sending the rest."""
        self.stream.abortConnection()

    # Calls of the transport

    def connectionMade(self) -> None:
        """Wait for the prompt."""
        keep_alive(self.transport)
        self.within(PROMPT_SECONDS, self._unasked)

    def dataReceived(self, data: bytes) -> None:
        """Handle the events of a chunk."""
        self.came(data)
        for event in self._reader.feed(data):
            if isinstance(event, Notice) and event.text.startswith("Goodbye"):
                self.goodbye = True
            if isinstance(event, Prompt):
                self._prompted(event)
            elif isinstance(event, Arrived):
                self._forget()
                self.arrived()
            elif self._reader.arrived:
                self.heard(event)
            elif isinstance(event, Error):
                self._refusal = event.text
            elif isinstance(event, Notice):
                self._notice = event.text

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report the exit status and its reason."""
        self._forget()
        why = because(reason, "the server closed the connection")
        if self._result is None:
            if self._reader.arrived:
                self._result = self.broke(why)
            elif self._refusal:
                self._result = self._refused()
            else:
                self._result = NO_CONNECTION, f"no connection to {self.server}: {self._notice.rstrip('.') or why}"
        self._ended(*self._result)

    def _forget(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _unasked(self) -> None:
        self.finish(NO_CONNECTION, f"no connection to {self.server}: nobody asks for a nickname there")
        self.hang_up()

    def _unanswered(self) -> None:
        self.finish(NO_CONNECTION, f"no connection to {self.server}: the server does not answer")
        self.hang_up()

    def _refused(self) -> tuple[int, str]:
        return NICKNAME_REFUSED, f"the nickname was refused: {self._refusal}"

    def _prompted(self, prompt: Prompt) -> None:
        if self._proposed and not self._refusal:
            # It is a line of the message of the day that looks like a prompt.
            return
        self._forget()
        nick = next(self._nicks, None) if prompt.text == NICKNAME else None
        if nick is None:
            self._refusal = self._refusal or f"the server asks for more: {prompt.text.strip()}"
            self.finish(*self._refused())
            self.stream.loseConnection()
            return
        self._proposed = True
        self._refusal = ""
        self.put(nick)
        self.within(PROMPT_SECONDS, self._unanswered)
