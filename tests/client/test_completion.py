from __future__ import annotations

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from broadcast.client.completion import NICKNAMES, Command, Known, LineCompleter

HELP = [
    "/help [COMMAND]   lists the commands, or explains one",
    "/names   who is here",
    "/nick NAME   another nickname",
    "/msg NAME TEXT   private to one person",
    "/receipts [on/off]   whether you are told the numbers of your lines",
    "/ignore [NAME]   hides what NAME says",
]


@pytest.fixture
def known() -> Known:
    known = Known()
    known.learn(HELP)
    known.seen("ann", "bob", "Bert", "carol")
    known.own = "carol"
    return known


def offered(known: Known, typed: str) -> list[str]:
    """What the line becomes with each of what Tab offers after *typed*."""
    completions = LineCompleter(known).get_completions(Document(typed), CompleteEvent(completion_requested=True))
    return [typed[: len(typed) + found.start_position] + found.text for found in completions]


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("/msg NAME TEXT   private to one person", Command("/msg", "NAME TEXT", "private to one person")),
        ("/names   who is here", Command("/names", "", "who is here")),
        ("/quit", Command("/quit", "", "")),
        ("/roll DICE", Command("/roll", "DICE", "")),
        ("/me TEXT   says what you do: ** ann waves", Command("/me", "TEXT", "says what you do: ** ann waves")),
    ],
)
def test_a_command_is_learnt_as_help_tells_it(line: str, command: Command) -> None:
    assert Command.parse(line) == command


@pytest.mark.parametrize("line", ["", "pong", "also /who, /users", "/", "3 here: ann"])
def test_what_is_no_command_is_not_learnt(line: str) -> None:
    assert Command.parse(line) is None


def test_a_slash_offers_the_commands_and_their_beginning_fewer_of_them(known: Known) -> None:
    assert offered(known, "/") == ["/help ", "/names", "/nick ", "/msg ", "/receipts ", "/ignore "]
    assert offered(known, "/N") == ["/names", "/nick "]
    assert offered(known, "/x") == []


def test_a_command_is_offered_with_its_usage_and_help(known: Known) -> None:
    (found,) = LineCompleter(known).get_completions(Document("/ms"), CompleteEvent())
    assert found.display_text == "/msg NAME TEXT"
    assert found.display_meta_text == "private to one person"


def test_what_is_said_literally_is_no_command(known: Known) -> None:
    assert offered(known, "//n") == []


def test_a_nickname_at_the_beginning_addresses_somebody(known: Known) -> None:
    assert offered(known, "b") == ["Bert: ", "bob: "]
    assert offered(known, "an") == ["ann: "]


def test_a_nickname_later_in_the_line_is_just_a_word(known: Known) -> None:
    assert offered(known, "I think B") == ["I think Bert ", "I think bob "]


def test_an_argument_that_is_a_name_is_offered_before_anything_is_typed(known: Known) -> None:
    assert offered(known, "/msg ") == ["/msg Bert ", "/msg bob ", "/msg ann "]
    assert offered(known, "/ignore b") == ["/ignore Bert ", "/ignore bob "]
    assert offered(known, "/msg ann ") == []
    assert offered(known, "") == []
    assert offered(known, "well ") == []


def test_the_words_that_a_command_takes_are_offered(known: Known) -> None:
    assert offered(known, "/receipts ") == ["/receipts on", "/receipts off"]
    assert offered(known, "/RECEIPTS of") == ["/RECEIPTS off"]


def test_help_offers_the_commands_that_it_explains(known: Known) -> None:
    assert offered(known, "/help n") == ["/help /names", "/help /nick"]
    assert offered(known, "/help /ms") == ["/help /msg"]


def test_those_of_whom_something_was_seen_last_come_first(known: Known) -> None:
    known.seen("BOB")
    assert known.nicknames == ["BOB", "carol", "Bert", "ann"]
    known.gone("bob")
    known.gone("nobody")
    assert known.nicknames == ["carol", "Bert", "ann"]


def test_only_so_many_nicknames_are_remembered() -> None:
    known = Known()
    known.seen(*(f"user{number}" for number in range(NICKNAMES + 5)))
    assert len(known.nicknames) == NICKNAMES
    assert known.nicknames[-1] == "user5"
