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
from broadcast.core.events import Arrived, Missed, Noted, Prompted, Refused, Replayed, Welcomed
from broadcast.core.hub import Hub
from broadcast.core.interfaces import Peer, View
from broadcast.core.membership import Member
from broadcast.core.sanitize import clean
from broadcast.core.stats import Refusal

REFUSALS = 10
"""So many refused nicknames end the visit."""
LISTED = 20
"""So many people are named to a newcomer; the rest is a number."""
LOST = "connection lost"
"""Why somebody left who did not say so."""


class Session:
    """One visit. A door makes one for each connection, calls ``greet`` (or ``turn_away`` at once), then feeds it.

    While ``ready``, the door calls ``line``, or ``overlong`` for a line past ``limit``; after the last line, ``leave``,
    with ``LOST`` where the connection broke. ``turn_away`` may come at any time and does nothing once there is a
    nickname.
    """

    def __init__(self, hub: Hub, peer: Peer) -> None:
        self.id = hub.session_id()
        self.hub = hub
        self.peer = peer
        self.ready = False
        """Whether the next line may come."""
        self.view = View()
        self.why = ""
        """Why they left; empty where they gave no reason, or are still here."""
        self._member: Member | None = None
        self._refusals = 0
        self._visit = _visit(self)
        self.greet = self._visit.greet
        self.line = self._visit.line
        self.overlong = self._visit.overlong
        self.leave = self._visit.leave
        self.turn_away = self._visit.turn_away
        self.departed = self._visit.departed

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
    def full(self) -> bool:
        """Whether so much waits for them alone that nothing should be added."""
        return self.peer.full

    @property
    def limit(self) -> int:
        """The longest line that is taken now, in bytes without its end."""
        limits = self.hub.settings.limits
        return limits.nickname_bytes if self._member is None else limits.line_bytes

    def arrived(self, others: Mapping[int, Member], replay: Iterator[Replayed | Missed]) -> None:
        """The room has told everybody of your coming; *others* are present, *replay* was said before."""
        self._visit.arrived(others, replay)
        if self.ready:
            # Not from within the transition: Automat would queue the lines that come now, and none would wait.
            self.peer.proceed()

    def wait(self) -> None:
        """Take no line until ``resume``: the answer to this one is still to come."""
        self.ready = False

    def resume(self) -> None:
        """Take the next line."""
        self.ready = True
        self.peer.proceed()

    def look(self, view: View) -> None:
        """See the room in another *view* from here on."""
        self.view = view
        self.peer.listen(view)

    # What happens in the transitions

    def _welcome(self) -> None:
        self.peer.show(Welcomed(self.hub.settings.name, self.hub.settings.motd))
        self._prompt()
        self.ready = True

    def _prompt(self) -> None:
        self.peer.show(Prompted("Nickname:"))

    def _propose(self, visit: _Visit, name: str, at: float) -> None:
        if commands.leaves(name):
            visit.leave("")
            return
        try:
            member = self.hub.admit(self.id, name, self)
        except RefusedError as error:
            self._refuse(visit, error)
        else:
            member.heard = at
            visit.admit(member)

    def _refuse(self, visit: _Visit, error: RefusedError) -> None:
        self._refusals += 1
        self._tell(error)
        if self._refusals < REFUSALS:
            self._prompt()
        else:
            visit.leave(f"no nickname in {REFUSALS} tries")

    def _become(self, member: Member) -> None:
        self._member = member
        self.ready = False

    def _settle(self, others: Mapping[int, Member], replay: Iterator[Replayed | Missed]) -> None:
        named = tuple(islice((other.told for other in others.values() if other.id != self.id), LISTED))
        self.peer.show_each(chain((Arrived(self.nick, named, len(others) - 1),), replay))
        self.peer.listen(self.view)
        self.ready = True

    def _interpret(self, line: str, at: float) -> None:
        try:
            commands.interpret(self, line, at)
        except RefusedError as error:
            self._tell(error)

    def _tell(self, error: RefusedError) -> None:
        self.hub.refusals[error.kind] += 1
        self.peer.show(Refused(str(error)))

    def _go(self, why: str) -> None:
        self.ready = False
        self.why = why
        self.hub.dismiss(self.member, why)

    def _turn_away(self, why: str, kind: Refusal) -> None:
        self.why = why
        self.hub.refusals[kind] += 1
        self._end(why)

    def _end(self, text: str) -> None:
        self.ready = False
        self.peer.show(Noted(text))
        self.peer.close()


class _Visit(Protocol):
    """The inputs of the machine."""

    def greet(self) -> None:
        """Somebody has come to the door."""

    def line(self, text: str, at: float) -> None:
        """They typed *text* (without its line end) at the time *at*."""

    def overlong(self, limit: int) -> None:
        """They typed a line of more than *limit* bytes, and it was dropped."""

    def admit(self, member: Member) -> None:
        """Their nickname was accepted."""

    def arrived(self, others: Mapping[int, Member], replay: Iterator[Replayed | Missed]) -> None:
        """The room has told everybody of their coming."""

    def leave(self, why: str) -> None:
        """They want to leave, or are gone."""

    def departed(self) -> None:
        """The room has told everybody of their leaving."""

    def turn_away(self, why: str) -> None:
        """They cannot have a nickname: there are too many, the time is over, or they speak another protocol."""


def _machine() -> Callable[[Session], _Visit]:
    builder = TypeMachineBuilder(_Visit, Session)
    welcome = builder.state("welcome")
    nickname = builder.state("nickname")
    broadcast = builder.state("broadcast")
    quit_ = builder.state("quit")

    # Silent: what comes too early or too late changes nothing.
    welcome.upon(_Visit.line).loop().returns(None)
    welcome.upon(_Visit.overlong).loop().returns(None)
    welcome.upon(_Visit.admit).loop().returns(None)
    welcome.upon(_Visit.arrived).loop().returns(None)
    welcome.upon(_Visit.departed).loop().returns(None)
    welcome.upon(_Visit.leave).to(quit_).returns(None)
    nickname.upon(_Visit.greet).loop().returns(None)
    nickname.upon(_Visit.arrived).loop().returns(None)
    nickname.upon(_Visit.departed).loop().returns(None)
    broadcast.upon(_Visit.greet).loop().returns(None)
    broadcast.upon(_Visit.admit).loop().returns(None)
    broadcast.upon(_Visit.departed).loop().returns(None)
    broadcast.upon(_Visit.turn_away).loop().returns(None)
    quit_.upon(_Visit.greet).loop().returns(None)
    quit_.upon(_Visit.line).loop().returns(None)
    quit_.upon(_Visit.overlong).loop().returns(None)
    quit_.upon(_Visit.admit).loop().returns(None)
    quit_.upon(_Visit.arrived).loop().returns(None)
    quit_.upon(_Visit.leave).loop().returns(None)
    quit_.upon(_Visit.turn_away).loop().returns(None)

    # With behaviour.
    @welcome.upon(_Visit.greet).to(nickname)
    def greet(visit: _Visit, session: Session) -> None:
        session._welcome()

    @nickname.upon(_Visit.line).loop()
    def propose(visit: _Visit, session: Session, text: str, at: float) -> None:
        session._propose(visit, clean(text), at)

    @nickname.upon(_Visit.overlong).loop()
    def too_long(visit: _Visit, session: Session, limit: int) -> None:
        session._refuse(visit, _Overlong(limit))

    @nickname.upon(_Visit.admit).to(broadcast)
    def admit(visit: _Visit, session: Session, member: Member) -> None:
        session._become(member)

    @nickname.upon(_Visit.leave).to(quit_)
    def give_up(visit: _Visit, session: Session, why: str) -> None:
        session.why = why
        session._end("Goodbye.")

    @welcome.upon(_Visit.turn_away).to(quit_)
    def refuse_entry(visit: _Visit, session: Session, why: str) -> None:
        session._turn_away(why, Refusal.FULL)

    @nickname.upon(_Visit.turn_away).to(quit_)
    def turn_away(visit: _Visit, session: Session, why: str) -> None:
        session._turn_away(why, Refusal.TURNED_AWAY)

    @broadcast.upon(_Visit.arrived).loop()
    def settle(
        visit: _Visit, session: Session, others: Mapping[int, Member], replay: Iterator[Replayed | Missed]
    ) -> None:
        session._settle(others, replay)

    @broadcast.upon(_Visit.line).loop()
    def interpret(visit: _Visit, session: Session, text: str, at: float) -> None:
        session._interpret(clean(text), at)

    @broadcast.upon(_Visit.overlong).loop()
    def drop(visit: _Visit, session: Session, limit: int) -> None:
        session._tell(_Overlong(limit))

    @broadcast.upon(_Visit.leave).to(quit_)
    def go(visit: _Visit, session: Session, why: str) -> None:
        session._go(why)

    @quit_.upon(_Visit.departed).loop()
    def depart(visit: _Visit, session: Session) -> None:
        session._end(f"Goodbye, {session.nick}.")

    return builder.build()


class _Overlong(RefusedError):
    """A line of more than *limit* bytes."""

    kind = Refusal.OVERLONG

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line holds at most {limit} bytes.")


_visit = _machine()
