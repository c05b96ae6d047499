"""One visit, from the welcome to the goodbye: a state machine fed with lines of text; no bytes, no connection.

::

    welcome ──greet──> nickname ──admit──> broadcast ──leave──> quit
                          └─leave, turn_away, the tenth refusal──┘

One line at a time: while ``Session.ready`` is false, the door keeps what follows and waits for ``Peer.proceed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Protocol

from automat import TypeMachineBuilder

from broadcast.core import commands
from broadcast.core.errors import RefusedError
from broadcast.core.events import ErrorReply, Gap, JoinConfirmed, Prompt, ReplayLine, ServerNotice, Welcome
from broadcast.core.hub import Hub
from broadcast.core.interfaces import Peer, View
from broadcast.core.membership import Member
from broadcast.core.sanitize import sanitize
from broadcast.core.stats import Rejection

MAX_REJECTED_NICKS = 10
"""So many refused nicknames end the visit."""
ARRIVAL_NAMES = 20
"""So many people are named to a newcomer; the rest is a number."""
CONNECTION_LOST = "connection lost"
"""Why somebody left who did not say so."""


class Session:
    """One visit. A door makes one for each connection, calls ``greet`` (or ``turn_away`` at once), then feeds it.

    While ``ready``, the door calls ``line``, or ``overlong`` for a line past ``limit``; after the last line, ``leave``,
    with ``LOST`` where the connection broke. ``turn_away`` may come at any time and does nothing once there is a
    nickname.
    """

    def __init__(self, hub: Hub, peer: Peer) -> None:
        self.id = hub.next_session_id()
        self.hub = hub
        self.peer = peer
        self.ready = False
        """Whether the next line may come."""
        self.view = View()
        self.leave_reason = ""
        """Why they left; empty where they gave no reason, or are still here."""
        self._member: Member | None = None
        self._rejected_nicks = 0
        self._machine = _new_machine(self)
        self.start = self._machine.start
        self.line = self._machine.line
        self.line_too_long = self._machine.line_too_long
        self.leave = self._machine.leave
        self.reject = self._machine.reject
        self.leave_delivered = self._machine.leave_delivered

    @property
    def member(self) -> Member:
        """Who this is in the room, once a nickname was accepted."""
        assert self._member is not None
        return self._member

    @property
    def nick(self) -> str:
        """The nickname; empty before one was accepted."""
        return "" if self._member is None else self._member.nick

    @property
    def congested(self) -> bool:
        """Whether so much waits for them alone that nothing should be added."""
        return self.peer.congested

    @property
    def max_line_bytes(self) -> int:
        """The longest line that is taken now, in bytes without its end."""
        limits = self.hub.settings.limits
        return limits.nickname_bytes if self._member is None else limits.line_bytes

    def join_delivered(self, others: Mapping[int, Member], replay: Iterator[ReplayLine | Gap]) -> None:
        """The room has told everybody of your coming; *others* are present, *replay* was said before."""
        self._machine.join_delivered(others, replay)
        if self.ready:
            # Not from within the transition: Automat would queue the lines that come now, and none would wait.
            self.peer.ready_for_line()

    def pause(self) -> None:
        """Take no line until ``resume``: the answer to this one is still to come."""
        self.ready = False

    def resume(self) -> None:
        """Take the next line."""
        self.ready = True
        self.peer.ready_for_line()

    def set_view(self, view: View) -> None:
        """See the room in another *view* from here on."""
        self.view = view
        self.peer.subscribe(view)

    # What happens in the transitions

    def _welcome(self) -> None:
        self.peer.send(Welcome(self.hub.settings.name, self.hub.settings.motd))
        self._prompt()
        self.ready = True

    def _prompt(self) -> None:
        self.peer.send(Prompt("Nickname:"))

    def _try_nick(self, visit: _Inputs, name: str, at: float) -> None:
        if commands.is_quit(name):
            visit.leave("")
            return
        try:
            member = self.hub.admit(self.id, name, self)
        except RefusedError as error:
            self._reject_nick(visit, error)
        else:
            member.last_active = at
            visit.admit(member)

    def _reject_nick(self, visit: _Inputs, error: RefusedError) -> None:
        self._rejected_nicks += 1
        self._send_error(error)
        if self._rejected_nicks < MAX_REJECTED_NICKS:
            self._prompt()
        else:
            visit.leave(f"no nickname in {MAX_REJECTED_NICKS} tries")

    def _enter_room(self, member: Member) -> None:
        self._member = member
        self.ready = False

    def _send_replay(self, others: Mapping[int, Member], replay: Iterator[ReplayLine | Gap]) -> None:
        named = tuple(islice((other.announced_nick for other in others.values() if other.id != self.id), ARRIVAL_NAMES))
        self.peer.send_lazily(chain((JoinConfirmed(self.nick, named, len(others) - 1),), replay))
        self.peer.subscribe(self.view)
        self.ready = True

    def _interpret(self, line: str, at: float) -> None:
        try:
            commands.interpret(self, line, at)
        except RefusedError as error:
            self._send_error(error)

    def _send_error(self, error: RefusedError) -> None:
        self.hub.rejections[error.kind] += 1
        self.peer.send(ErrorReply(str(error)))

    def _leave_room(self, why: str) -> None:
        self.ready = False
        self.leave_reason = why
        self.hub.remove(self.member, why)

    def _reject(self, why: str, kind: Rejection) -> None:
        self.leave_reason = why
        self.hub.rejections[kind] += 1
        self._close(why)

    def _close(self, text: str) -> None:
        self.ready = False
        self.peer.send(ServerNotice(text))
        self.peer.close()


class _Inputs(Protocol):
    """The inputs of the machine."""

    def start(self) -> None:
        """Somebody has come to the door."""

    def line(self, text: str, at: float) -> None:
        """They typed *text* (without its line end) at the time *at*."""

    def line_too_long(self, limit: int) -> None:
        """They typed a line of more than *limit* bytes, and it was dropped."""

    def admit(self, member: Member) -> None:
        """Their nickname was accepted."""

    def join_delivered(self, others: Mapping[int, Member], replay: Iterator[ReplayLine | Gap]) -> None:
        """The room has told everybody of their coming."""

    def leave(self, why: str) -> None:
        """They want to leave, or are gone."""

    def leave_delivered(self) -> None:
        """The room has told everybody of their leaving."""

    def reject(self, why: str) -> None:
        """They cannot have a nickname: there are too many, the time is over, or they speak another protocol."""


def _build_machine() -> Callable[[Session], _Inputs]:
    builder = TypeMachineBuilder(_Inputs, Session)
    welcome = builder.state("welcome")
    nickname = builder.state("nickname")
    broadcast = builder.state("broadcast")
    quit_ = builder.state("quit")

    # Silent: what comes too early or too late changes nothing.
    welcome.upon(_Inputs.line).loop().returns(None)
    welcome.upon(_Inputs.line_too_long).loop().returns(None)
    welcome.upon(_Inputs.admit).loop().returns(None)
    welcome.upon(_Inputs.join_delivered).loop().returns(None)
    welcome.upon(_Inputs.leave_delivered).loop().returns(None)
    welcome.upon(_Inputs.leave).to(quit_).returns(None)
    nickname.upon(_Inputs.start).loop().returns(None)
    nickname.upon(_Inputs.join_delivered).loop().returns(None)
    nickname.upon(_Inputs.leave_delivered).loop().returns(None)
    broadcast.upon(_Inputs.start).loop().returns(None)
    broadcast.upon(_Inputs.admit).loop().returns(None)
    broadcast.upon(_Inputs.leave_delivered).loop().returns(None)
    broadcast.upon(_Inputs.reject).loop().returns(None)
    quit_.upon(_Inputs.start).loop().returns(None)
    quit_.upon(_Inputs.line).loop().returns(None)
    quit_.upon(_Inputs.line_too_long).loop().returns(None)
    quit_.upon(_Inputs.admit).loop().returns(None)
    quit_.upon(_Inputs.join_delivered).loop().returns(None)
    quit_.upon(_Inputs.leave).loop().returns(None)
    quit_.upon(_Inputs.reject).loop().returns(None)

    # With behaviour.
    @welcome.upon(_Inputs.start).to(nickname)
    def greet(visit: _Inputs, session: Session) -> None:
        session._welcome()

    @nickname.upon(_Inputs.line).loop()
    def propose(visit: _Inputs, session: Session, text: str, at: float) -> None:
        session._try_nick(visit, sanitize(text), at)

    @nickname.upon(_Inputs.line_too_long).loop()
    def too_long(visit: _Inputs, session: Session, limit: int) -> None:
        session._reject_nick(visit, _LineTooLongError(limit))

    @nickname.upon(_Inputs.admit).to(broadcast)
    def admit(visit: _Inputs, session: Session, member: Member) -> None:
        session._enter_room(member)

    @nickname.upon(_Inputs.leave).to(quit_)
    def give_up(visit: _Inputs, session: Session, why: str) -> None:
        session.leave_reason = why
        session._close("Goodbye.")

    @welcome.upon(_Inputs.reject).to(quit_)
    def refuse_entry(visit: _Inputs, session: Session, why: str) -> None:
        session._reject(why, Rejection.FULL)

    @nickname.upon(_Inputs.reject).to(quit_)
    def turn_away(visit: _Inputs, session: Session, why: str) -> None:
        session._reject(why, Rejection.TURNED_AWAY)

    @broadcast.upon(_Inputs.join_delivered).loop()
    def settle(
        visit: _Inputs, session: Session, others: Mapping[int, Member], replay: Iterator[ReplayLine | Gap]
    ) -> None:
        session._send_replay(others, replay)

    @broadcast.upon(_Inputs.line).loop()
    def interpret(visit: _Inputs, session: Session, text: str, at: float) -> None:
        session._interpret(sanitize(text), at)

    @broadcast.upon(_Inputs.line_too_long).loop()
    def drop(visit: _Inputs, session: Session, limit: int) -> None:
        session._send_error(_LineTooLongError(limit))

    @broadcast.upon(_Inputs.leave).to(quit_)
    def go(visit: _Inputs, session: Session, why: str) -> None:
        session._leave_room(why)

    @quit_.upon(_Inputs.leave_delivered).loop()
    def depart(visit: _Inputs, session: Session) -> None:
        session._close(f"Goodbye, {session.nick}.")

    return builder.build()


class _LineTooLongError(RefusedError):
    """A line of more than *limit* bytes."""

    kind = Rejection.LINE_TOO_LONG

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line holds at most {limit} bytes.")


_new_machine = _build_machine()
