"""The state machine of a session: its states, its inputs, and what the session does for each of them.

::

    welcome ──start──> nickname ──admit──> broadcast ──leave──> quit
                        │  ▲ └─leave, reject, the tenth rejected nickname──┘
                   ask, end_dialogue: the same from broadcast
                        ▼  │
                      password ──leave, reject, the third wrong password──> quit

A password is never said: in the state *password*, every line is an answer. Only a success or an empty line ends it, and
an error asks again. There is one such state for each of the two states in which a dialogue begins.

The machine decides what each input does in each state. Only a line in the state *broadcast* does not pass through it,
because the machine would add 2 to 5 µs to each line (``Session.line``). Such a line changes no state itself: the line
``quit`` causes another input, *leave*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Protocol, cast

from automat import TypeMachineBuilder

from broadcast.core.errors import RejectedError
from broadcast.core.events import Gap, ReplayLine
from broadcast.core.hub import Hub
from broadcast.core.membership import Member
from broadcast.core.password_dialogue import PasswordDialogue
from broadcast.core.stats import Rejection


class LineTooLongError(RejectedError):
    """The line has more than *limit* bytes."""

    kind = Rejection.LINE_TOO_LONG

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line holds at most {limit} bytes.")


class Inputs(Protocol):
    """The inputs of the state machine."""

    def start(self) -> None:
        """The connection is open."""

    def line(self, text: str, at: float) -> None:
        """A line *text* (without its end) has arrived at the time *at*, in seconds since the epoch."""

    def line_too_long(self, limit: int) -> None:
        """A line of more than *limit* bytes has arrived, and was dropped."""

    def ask(self, dialogue: PasswordDialogue) -> None:
        """A password dialogue begins."""

    def end_dialogue(self) -> None:
        """The password dialogue has succeeded, or an empty line has ended it."""

    def admit(self, member: Member) -> None:
        """The hub has accepted the nickname."""

    def refuse(self, error: RejectedError) -> None:
        """Other nodes have rejected the nickname."""

    def joined(self, room: str, replay: Iterator[ReplayLine | Gap]) -> None:
        """The delivery of the join of *room* has begun."""

    def leave(self, reason: str) -> None:
        """The user leaves, or the connection is lost."""

    def leave_delivered(self) -> None:
        """The last room has delivered the leave to all subscribers."""

    def reject(self, reason: str, kind: Rejection | None) -> None:
        """The connection is rejected: too many connections, no nickname in time, or another protocol."""


class Outputs(Protocol):
    """The session, as its machine sees it. Only the machine calls these methods, and the session itself."""

    hub: Hub
    ready: bool
    """Whether the session accepts the next line."""
    leave_reason: str

    @property
    def nick(self) -> str:
        """The nickname; empty before one was accepted."""

    def welcome(self) -> None:
        """Send the greeting, and accept the first line."""

    def try_nick(self, machine: Inputs, typed: str, at: float) -> None:
        """Ask the hub for the nickname in the line *typed*."""

    def reject_nick(self, machine: Inputs, error: RejectedError) -> None:
        """Ask for another nickname because of *error*, or leave after too many of them."""

    def enter_room(self, member: Member) -> None:
        """Join the room as *member*."""

    def send_replay(self, replay: Iterator[ReplayLine | Gap]) -> None:
        """Subscribe to the room, and send its state and *replay*."""

    def begin_dialogue(self, dialogue: PasswordDialogue) -> None:
        """Ask the first question of *dialogue*."""

    def answer(self, machine: Inputs, text: str) -> None:
        """Take *text* as the answer to the last question."""

    def reject_long_answer(self, limit: int) -> None:
        """Ask the question again after an answer of more than *limit* bytes."""

    def end_dialogue(self) -> None:
        """Forget the dialogue."""

    def send_error(self, error: RejectedError, advice: str = "") -> None:
        """Count *error*, and send it with *advice*."""

    def leave_room(self, reason: str) -> None:
        """Leave all rooms because of *reason*."""

    def end_rejected(self, reason: str, kind: Rejection) -> None:
        """Close the connection because of *reason*, and count that as *kind*."""

    def close(self, text: str) -> None:
        """Send *text*, and close the connection."""


def _ignore(state: Any, *inputs: Any) -> None:  # noqa: ANN401 - the types of Automat's states have many parameters
    for each in inputs:
        state.upon(each).loop().returns(None)


def _build_machine() -> Callable[[Outputs], Inputs]:  # noqa: PLR0915 - one block has all transitions
    builder = TypeMachineBuilder(Inputs, Outputs)  # type: ignore[type-abstract]  # Automat makes no instance of it
    welcome = builder.state("welcome")
    nickname = builder.state("nickname")
    nickname_password = builder.state("password for a nickname")
    broadcast = builder.state("broadcast")
    room_password = builder.state("password in the room")
    quit_ = builder.state("quit")

    # Inputs that come too early or too late change nothing. A line in the state broadcast changes no state either:
    # Session.line processes it without the machine.
    inputs = Inputs
    _ignore(welcome, inputs.line, inputs.line_too_long, inputs.ask, inputs.end_dialogue, inputs.admit, inputs.joined)
    _ignore(welcome, inputs.refuse, inputs.leave_delivered)
    welcome.upon(Inputs.leave).to(quit_).returns(None)
    _ignore(nickname, inputs.start, inputs.end_dialogue, inputs.joined, inputs.leave_delivered)
    _ignore(nickname_password, inputs.start, inputs.ask, inputs.admit, inputs.joined, inputs.leave_delivered)
    _ignore(nickname_password, inputs.refuse)
    _ignore(broadcast, inputs.start, inputs.end_dialogue, inputs.admit, inputs.leave_delivered, inputs.reject)
    _ignore(broadcast, inputs.refuse)
    _ignore(room_password, inputs.start, inputs.ask, inputs.admit, inputs.joined, inputs.leave_delivered)
    _ignore(room_password, inputs.reject, inputs.refuse)
    _ignore(quit_, inputs.start, inputs.line, inputs.line_too_long, inputs.ask, inputs.end_dialogue, inputs.refuse)
    _ignore(quit_, inputs.joined, inputs.leave, inputs.reject)

    # Transitions with outputs.
    @welcome.upon(Inputs.start).to(nickname)
    def start(machine: Inputs, session: Outputs) -> None:
        session.welcome()

    @nickname.upon(Inputs.line).loop()
    def try_nick(machine: Inputs, session: Outputs, text: str, at: float) -> None:
        session.try_nick(machine, text, at)

    @nickname.upon(Inputs.line_too_long).loop()
    def reject_long_nick(machine: Inputs, session: Outputs, limit: int) -> None:
        session.reject_nick(machine, LineTooLongError(limit))

    @nickname.upon(Inputs.admit).to(broadcast)
    def admit(machine: Inputs, session: Outputs, member: Member) -> None:
        session.enter_room(member)

    @nickname.upon(Inputs.refuse).loop()
    def refuse(machine: Inputs, session: Outputs, error: RejectedError) -> None:
        session.ready = True
        session.reject_nick(machine, error)

    @quit_.upon(Inputs.admit).loop()
    def give_nick_back(machine: Inputs, session: Outputs, member: Member) -> None:
        session.hub.remove(member, "")

    @nickname.upon(Inputs.ask).to(nickname_password)
    @broadcast.upon(Inputs.ask).to(room_password)
    def ask(machine: Inputs, session: Outputs, dialogue: PasswordDialogue) -> None:
        session.begin_dialogue(dialogue)

    @nickname_password.upon(Inputs.line).loop()
    @room_password.upon(Inputs.line).loop()
    def answer(machine: Inputs, session: Outputs, text: str, at: float) -> None:
        session.answer(machine, text)

    @nickname_password.upon(Inputs.line_too_long).loop()
    @room_password.upon(Inputs.line_too_long).loop()
    def reject_long_answer(machine: Inputs, session: Outputs, limit: int) -> None:
        session.reject_long_answer(limit)

    @nickname_password.upon(Inputs.end_dialogue).to(nickname)
    @room_password.upon(Inputs.end_dialogue).to(broadcast)
    def end_dialogue(machine: Inputs, session: Outputs) -> None:
        session.end_dialogue()

    @nickname.upon(Inputs.leave).to(quit_)
    @nickname_password.upon(Inputs.leave).to(quit_)
    def leave_without_nick(machine: Inputs, session: Outputs, reason: str) -> None:
        session.leave_reason = reason
        session.close("Goodbye.")

    @welcome.upon(Inputs.reject).to(quit_)
    def reject_at_start(machine: Inputs, session: Outputs, reason: str, kind: Rejection | None) -> None:
        session.end_rejected(reason, kind or Rejection.FULL)

    @nickname.upon(Inputs.reject).to(quit_)
    @nickname_password.upon(Inputs.reject).to(quit_)
    def reject(machine: Inputs, session: Outputs, reason: str, kind: Rejection | None) -> None:
        session.end_rejected(reason, kind or Rejection.WITHOUT_NICKNAME)

    @broadcast.upon(Inputs.joined).loop()
    def send_replay(machine: Inputs, session: Outputs, room: str, replay: Iterator[ReplayLine | Gap]) -> None:
        session.send_replay(replay)

    @broadcast.upon(Inputs.line_too_long).loop()
    def reject_long_line(machine: Inputs, session: Outputs, limit: int) -> None:
        session.send_error(LineTooLongError(limit))

    @broadcast.upon(Inputs.leave).to(quit_)
    @room_password.upon(Inputs.leave).to(quit_)
    def leave(machine: Inputs, session: Outputs, reason: str) -> None:
        session.leave_room(reason)

    @quit_.upon(Inputs.leave_delivered).loop()
    def close(machine: Inputs, session: Outputs) -> None:
        session.close(f"Goodbye, {session.nick}.")

    return builder.build()


new_machine = _build_machine()
"""Makes the machine of a session, which calls that session for each input."""
# Automat compares an input with one transition after the other, which takes 8 µs. The cache looks up the result.
_automaton = cast("Any", new_machine).__automat_automaton__
_automaton.outputForInput = cache(_automaton.outputForInput)
