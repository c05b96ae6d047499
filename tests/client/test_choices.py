from __future__ import annotations

from collections.abc import Sequence

import pytest

from broadcast.client.answers import Answers, Expected
from broadcast.client.choices import Choices
from broadcast.client.lines import Answer, Crowd, Emoted, Error, Event, Joined, Left, Renamed, Said, Whispered


class Case:
    """Somebody's choices, and what the server was asked for."""

    def __init__(self) -> None:
        self.choices = Choices()
        self.answers = Answers()
        self.asked: list[str] = []

    def ask(self, command: str, answer: Expected) -> None:
        self.asked.append(command)
        self.answers.expect(answer, quiet=True)

    def choose(self, command: str, answer: Event) -> None:
        expected = self.choices.answer_to(command)
        assert expected is not None
        self.answers.expect(expected, quiet=False)
        assert not self.answers.take(answer)

    def hidden(self, events: Sequence[Event]) -> list[Event]:
        """Those of *events* that are hidden on this side."""
        return [event for event in events if self.choices.hides(event)]

    def restored(self) -> list[str]:
        """What a new server is asked for."""
        self.answers.forget()
        self.asked.clear()
        self.choices.arrive()
        self.choices.restore(self.ask)
        return self.asked


IGNORED = Answer("you ignore eve. /unignore eve ends that.")


@pytest.mark.parametrize(
    ("command", "answer", "restored"),
    [
        ("/timestamp on", Answer("timestamps are on."), ["/timestamp on"]),
        ("/Timestamp", Answer("timestamps are on."), ["/timestamp on"]),
        ("/timestamp", Answer("timestamps are off."), []),
        ("/timestamp maybe", Error("usage: /timestamp [on/off]"), []),
        ("/quiet", Answer("joins and leaves are off."), ["/quiet on"]),
        ("/quiet off", Answer("joins and leaves are on."), []),
        ("/away  lunch, back at 2 ", Answer("You are away: lunch, back at 2"), ["/away lunch, back at 2"]),
        ("/away", Answer("You are away."), ["/away"]),
        ("/away x", Error("unknown command /away. /help lists them."), []),
        ("/ignore eve", IGNORED, ["/ignore eve"]),
        ("/ignore EVE", IGNORED, ["/ignore eve"]),
        ("/ignore eve", Error("eve is not here."), []),
        ("/ignore ann", Error("you cannot ignore yourself."), []),
        ("/unignore eve", Error("you do not ignore eve."), []),
    ],
)
def test_what_the_server_has_agreed_to_is_asked_for_again(command: str, answer: Event, restored: list[str]) -> None:
    case = Case()
    case.choose(command, answer)
    assert case.restored() == restored
    assert case.restored() == restored, "as often as there is a new server"


def test_what_was_taken_back_is_not_asked_for_again() -> None:
    case = Case()
    case.choose("/away", Answer("You are away."))
    case.choose("/ignore eve", IGNORED)
    case.choose("/ignore bob", Answer("you ignore bob. /unignore bob ends that."))
    case.choose("/timestamp", Answer("timestamps are on."))
    case.choose("/back", Answer("Welcome back."))
    case.choose("/unignore Eve", Answer("you no longer ignore eve."))
    case.choose("/timestamp", Answer("timestamps are off."))
    assert case.restored() == ["/ignore bob"]


@pytest.mark.parametrize("line", ["hi", "/ignore", "/unignore", "/names", "/me is away", "/ping", "//away", "", "/msg"])
def test_other_lines_choose_nothing(line: str) -> None:
    assert Choices().answer_to(line) is None


FROM_EVE: list[Event] = [
    Said("eve", "hi"),
    Emoted("Eve", "waves"),
    Whispered("eve", "psst"),
    Said("eve", "old", "14:02"),
]
NOT_FROM_EVE: list[Event] = [
    Said("bob", "eve"),
    Said("eve", "mine", own=True),
    Joined("eve"),
    Answer("eve"),
    Renamed("eve", "adam"),
]


def test_until_the_server_ignores_somebody_they_are_hidden_on_this_side() -> None:
    case = Case()
    case.choose("/ignore eve", IGNORED)
    assert case.hidden(FROM_EVE) == [], "the server does it"
    case.restored()
    assert case.hidden(FROM_EVE) == FROM_EVE
    assert case.hidden(NOT_FROM_EVE) == []
    assert case.answers.take(IGNORED)
    assert case.hidden(FROM_EVE) == []


def test_until_the_server_hides_joins_and_leaves_they_are_hidden_on_this_side() -> None:
    case = Case()
    passages: list[Event] = [Joined("eve"), Left("eve", ""), Crowd(7, joined=True)]
    case.choose("/quiet", Answer("joins and leaves are off."))
    case.restored()
    assert case.hidden(passages) == passages
    assert not case.choices.hides(Renamed("eve", "adam"))
    assert case.answers.take(Answer("joins and leaves are off."))
    assert case.hidden(passages) == []


@pytest.mark.parametrize("event", [Joined("Eve"), Renamed("adam", "Eve"), *FROM_EVE])
def test_who_was_not_here_is_ignored_as_soon_as_they_are(event: Event) -> None:
    case = Case()
    case.choose("/ignore eve", IGNORED)
    case.restored()
    case.choices.met(event, case.ask)
    assert case.asked == ["/ignore eve"], "that is not answered yet"
    assert case.answers.take(Error("eve is not here."))
    case.choices.met(Joined("bob"), case.ask)
    case.choices.met(Left("eve", ""), case.ask)
    assert len(case.asked) == 1
    case.choices.met(event, case.ask)
    assert [command.casefold() for command in case.asked[1:]] == ["/ignore eve"]
    assert case.answers.take(IGNORED)
    case.choices.met(event, case.ask)
    assert len(case.asked) == 2
    assert case.restored() == ["/ignore eve"]


def test_somebody_whom_only_this_side_ignores_can_be_heard_again() -> None:
    case = Case()
    case.choose("/ignore eve", IGNORED)
    assert case.choices.unignored_here("/unignore eve") is None, "the server knows"
    case.restored()
    assert case.choices.unignored_here("/unignore eve") is None, "the server is to know"
    assert case.answers.take(Error("eve is not here."))
    assert case.choices.unignored_here("/unignore bob") is None
    assert case.choices.unignored_here("eve") is None
    assert case.choices.unignored_here("/UNIGNORE  Eve") == "eve"
    assert case.hidden(FROM_EVE) == []
    assert case.restored() == []


def test_a_change_of_mind_while_the_server_is_asked_counts() -> None:
    case = Case()
    case.choose("/ignore eve", IGNORED)
    case.restored()
    case.answers.expect(case.choices.answer_to("/unignore eve") or pytest.fail("no answer"), quiet=False)
    assert case.answers.take(Error("eve is not here."))
    assert not case.answers.take(Error("you do not ignore eve."))
    assert case.hidden(FROM_EVE) == []
    assert case.restored() == []
