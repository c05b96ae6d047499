from __future__ import annotations

import re

import pytest

from broadcast.client.answers import AWAITED, Answers, expected
from broadcast.client.lines import Answer, Error, Event, Joined, Notice, Said, Whispered


class Case:
    """Answers, and what was told of them."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.told: list[str] = []

    def expect(self, name: str, form: str, refusal: str = r"(?!)", *, quiet: bool = False) -> None:
        def told(found: re.Match[str]) -> None:
            self.told.append(f"{name}: {found[0]}")

        def refused(found: re.Match[str]) -> None:
            self.told.append(f"{name} refused: {found[0]}")

        self.answers.expect(expected(form, told, refusal, refused), quiet=quiet)

    def take(self, *events: Event) -> list[bool]:
        return [self.answers.take(event) for event in events]


def test_answers_are_told_in_the_order_of_their_commands() -> None:
    case = Case()
    case.expect("own", "pong", quiet=True)
    case.expect("user's", "pong")
    case.expect("own again", "pong", quiet=True)
    assert case.take(*[Answer("pong")] * 4) == [True, False, True, False]
    assert case.told == ["own: pong", "user's: pong", "own again: pong"]


def test_an_answer_that_fits_a_later_command_says_that_those_before_it_are_answered() -> None:
    case = Case()
    case.expect("a", "a")
    case.expect("b", "b", quiet=True)
    assert case.take(Answer("b"), Answer("a")) == [True, False]
    assert case.told == ["b: b"]


def test_an_answer_of_several_lines_is_all_of_them() -> None:
    case = Case()
    case.answers.expect(expected(r"\d+ here: .*", lambda found: case.told.append(found[0]), more=","), quiet=True)
    case.expect("user's", ".*")
    lines: list[Event] = [Answer("4 here: ann,"), Joined("eve"), Answer("bob, carol,"), Answer("dan"), Answer("pong")]
    assert case.take(*lines) == [True, False, True, True, False]
    assert case.told == ["4 here: ann,", "user's: pong"]


def test_a_refusal_is_told_as_one_and_case_makes_no_difference() -> None:
    case = Case()
    case.expect("a", "you are .*", r".*/away\b.*", quiet=True)
    case.expect("b", "you are .*", quiet=False)
    assert case.take(Error("unknown command /AWAY."), Error("you are wrong"), Answer("You are right")) == [
        True,
        False,
        False,
    ]
    assert case.told == ["a refused: unknown command /AWAY.", "b: You are right"]


@pytest.mark.parametrize("event", [Said("bob", "pong"), Whispered("bob", "pong"), Notice("pong"), Joined("pong")])
def test_only_answers_are_answers(event: Event) -> None:
    case = Case()
    case.expect("a", ".*", ".*", quiet=True)
    assert case.take(event) == [False]
    assert case.told == []


def test_the_whole_text_must_fit() -> None:
    case = Case()
    case.expect("a", "pong", quiet=True)
    assert case.take(Answer("pong?"), Answer("a pong"), Error("pong")) == [False] * 3


def test_what_is_never_answered_is_forgotten_sometime_or_with_the_connection() -> None:
    case = Case()
    case.expect("first", "x", quiet=True)
    for _ in range(AWAITED):
        case.expect("later", "y", quiet=True)
    assert case.take(Answer("x"), Answer("y")) == [False, True]
    case.answers.forget()
    assert case.take(Answer("y")) == [False]
