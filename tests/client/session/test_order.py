"""Whatever happens in between, everything typed is shown once, in the order typed."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broadcast.client.protocol import errors, events, requests
from broadcast.client.session.entries import Line, Output, PrivateLine, Refused, Typed
from tests.client.session.fakes import NOW, Talk, welcome


class Typing(RuleBasedStateMachine):
    """A user who types while requests, answers, events and lost connections come in any possible order.

    The server executes requests in order, and recognizes repeated lines. Its answers and the events of the room arrive
    independently, but an event never overtakes an earlier error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.here = Talk()
        self.typed: list[str] = []
        self.log: list[events.Said] = []
        self.read = 0
        """The number of lines of the log that have arrived."""
        self.errors_before: list[int] = []
        """For each line of the log, the number of errors before it."""
        self.made_errors = self.read_errors = 0
        self.answers: list[tuple[object, errors.ChatError | None]] = []
        self.is_online = True

    # The user

    @rule()
    def type_line(self) -> None:
        self._type(f"line {len(self.typed)}")

    @rule()
    def type_line_that_is_refused(self) -> None:
        self._type(f"bad {len(self.typed)}")

    @rule()
    def type_private_line(self) -> None:
        self._type(f"/msg bob secret {len(self.typed)}")

    @rule()
    def type_command(self) -> None:
        self._type(f"/search {len(self.typed)}")

    @rule()
    def type_choice(self) -> None:
        self._type(f"/ignore person{len(self.typed)}")

    def _type(self, text: str) -> None:
        self.typed.append(text)
        assert self.here.talk.submit(text) == ""

    # The server

    @rule()
    def another_speaks(self) -> None:
        self._append("hi", "s-bob", None)

    @precondition(lambda self: self.is_online and len(self.answers) < len(self.here.server.requests))
    @rule()
    def execute(self) -> None:
        request = self.here.server.requests[len(self.answers)]
        match request:
            case requests.Say(text=text) if text.startswith("bad"):
                self.made_errors += 1
                self.answers.append((None, errors.NotStored(1001, "The disk is full.")))
            case requests.Say(text=text, uid=uid):
                seq = next((line.seq for line in self.log if line.uid == uid), None) or self._append(text, "s-ann", uid)
                self.answers.append((requests.Stored(seq, NOW), None))
            case requests.Tell():
                self.answers.append((requests.Delivered(), None))
            case requests.Command(line=line):
                self.answers.append((requests.Output((f"answer to {line}",)), None))

    def _append(self, text: str, session: str, uid: str | None) -> int:
        seq = len(self.log) + 1
        self.log.append(events.Said("lobby", seq, NOW, session.removeprefix("s-"), text, session, uid))
        self.errors_before.append(self.made_errors)
        return seq

    # The connection

    @precondition(lambda self: self.is_online and self.answers)
    @rule()
    def read_answer(self) -> None:
        result, error = self.answers.pop(0)
        self.read_errors += error is not None
        self.here.server.answer(result, error)

    @precondition(
        lambda self: self.is_online and self.read < len(self.log) and self.errors_before[self.read] <= self.read_errors
    )
    @rule()
    def read_event(self) -> None:
        self.read += 1
        self.here.talk.handle(self.log[self.read - 1])

    @precondition(lambda self: self.is_online and self.made_errors == self.read_errors)
    @rule()
    def lose_connection(self) -> None:
        """Lose all answers on their way.

        If an error is lost, the line is said again and may now be stored, after later lines. The room has them in this
        order, so the user sees them in this order.
        """
        self.is_online = False
        self.answers.clear()
        self.here.talk.lost("the server has closed the connection", 1.0)

    @precondition(lambda self: not self.is_online)
    @rule()
    def connect_again(self) -> None:
        self.is_online = True
        self.here.talk.connected(welcome("lobby"))
        self.here.talk.handle(events.Reconnected(resumed=True, same_journal=True))

    # The promise

    def shown(self) -> list[str]:
        """Return what the user has typed and sees, as typed."""
        seen = []
        for entry in self.here.front.shown:
            match entry:
                case Line(text=text, is_own=True) | Typed(text) | Refused(text):
                    seen.append(text)
                case PrivateLine(text=text, is_own=True):
                    seen.append(f"/msg bob {text}")
        return seen

    @invariant()
    def everything_typed_is_shown_or_waits_in_the_order_typed(self) -> None:
        waiting = [item.text for item in self.here.talk.waiting]
        assert self.shown() + waiting == self.typed

    @invariant()
    def each_answer_follows_its_command(self) -> None:
        for command, answer in zip(self.here.front.shown, self.here.front.shown[1:], strict=False):
            if isinstance(command, Typed) and command.text.startswith("/search"):
                assert answer == Output(f"answer to {command.text}")

    def teardown(self) -> None:
        """Everything is shown once all has arrived."""
        if not self.is_online:
            self.connect_again()
        while len(self.answers) < len(self.here.server.requests) or self.answers or self.read < len(self.log):
            if len(self.answers) < len(self.here.server.requests):
                self.execute()
            elif self.read < len(self.log) and self.errors_before[self.read] <= self.read_errors:
                self.read_event()
            else:
                self.read_answer()
        assert self.shown() == self.typed
        assert self.here.talk.waiting == []
        assert [entry.seq for entry in self.here.front.shown if isinstance(entry, Line)] == [
            *range(1, len(self.log) + 1)
        ]


TestTyping = Typing.TestCase
TestTyping.settings = settings(stateful_step_count=40)
