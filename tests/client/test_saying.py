from __future__ import annotations

import pytest

from broadcast.client.lines import Emoted, Said
from broadcast.client.saying import OwnLines, cleaned, refused, spoken

SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


def said(text: str) -> Said:
    return Said("ann", text, own=True)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("hi", said("hi")),
        ("  hi", said("  hi")),
        ("/ME waves ", Emoted("ann", "waves", own=True)),
        ("/say quit", said("quit")),
        ("//usr", said("/usr")),
        ("quit it", said("quit it")),
        ("/me", None),
        ("/say  ", None),
        ("/names", None),
        (" Quit ", None),
        ("exit", None),
        ("", None),
    ],
)
def test_what_is_said_is_what_the_server_would_say(typed: str, meant: Said | Emoted | None) -> None:
    assert spoken(typed, "ann") == meant


def test_what_a_server_may_take_out_is_taken_out_and_what_it_may_put_in_stays() -> None:
    assert cleaned("a\x1b[1m\u202e\tb\ufffd") == "a b\ufffd"
    assert cleaned("\x1b]0;title\x07\x1b]8;;x\x1b\\a\x1b[38;5;1mb\x1b[m\x1bc\x15\x04\b") == "abc"
    assert cleaned(f"{SCOTLAND}{SCOTLAND[1:]}") == SCOTLAND


def test_lines_are_confirmed_in_their_order() -> None:
    own = OwnLines()
    for text in "abc":
        own.sent(text, said(text))
    assert own.kept() == said("a")
    own.refused("unknown command /b.")
    own.refused("not kept: the disk is full.")
    assert own
    assert own.kept() == said("c")
    assert not own
    assert own.kept() is None


@pytest.mark.parametrize(
    ("why", "which"),
    [
        ("not kept: the disk is full.", 0),
        ("a line holds at most 5 bytes.", 1),
        ("a line holds at most 8 bytes; whoever says more is cut off.", 2),
        ("a line holds at most 99 bytes.", None),
        ("nobody is called a line holds at most 5 bytes.", None),
    ],
)
def test_a_refusal_is_about_the_first_line_that_it_can_be_about(why: str, which: int | None) -> None:
    assert refused(["abcde", "äöü", "something longer", "äöüß again"], why) == which
    assert refused([], "a line holds at most 5 bytes.") is None


def test_a_refusal_of_what_is_confirmed_already_takes_nothing_out() -> None:
    own = OwnLines()
    own.refused("not kept: the disk is full.")
    own.sent("b", said("b"))
    own.refused("a line holds at most 5 bytes.")
    assert own.kept() == said("b")


def test_a_line_that_is_found_again_is_confirmed_once_whatever_the_server_made_of_it() -> None:
    own = OwnLines()
    own.sent("/me Ä!", Emoted("ann", "Ä!", own=True))
    own.sent("b", said("b"))
    assert not own.recalled(Said("bob", "b"))
    assert own.recalled(Emoted("ann", "ä", "14:02"))
    assert not own.recalled(Emoted("ann", "ä", "14:02"))
    assert own.given_up() == ["b"]
    assert not own
