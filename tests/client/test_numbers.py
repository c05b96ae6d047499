"""Which lines one has seen."""

from __future__ import annotations

import pytest

from broadcast.client.numbers import REMEMBERED, Ledger, Place, locate


@pytest.mark.parametrize(
    ("line", "lines", "since", "place"),
    [
        ("b", ["a", "b"], 0, Place(0, True)),
        ("a", ["a", "b"], 1, Place(1, True)),
        ("a", ["a", "a"], 1, Place(0, False)),
        ("x", ["a"], 0, Place(0, False)),
        ("x", ["a"], 1, Place(1, True)),
        ("a", ["a"], 1, Place(0, False)),
        ("x", [], 0, Place(0, True)),
    ],
)
def test_the_newest_line_is_found_among_those_shown(line: str, lines: list[str], since: int, place: Place) -> None:
    assert locate(line, lines, since) == place


def seen(*texts: str, last: int | None) -> Ledger:
    ledger = Ledger()
    for text in texts:
        ledger.saw(text)
    ledger.last = last
    return ledger


def numbered(first: int, *texts: str) -> list[tuple[int, str]]:
    return list(enumerate(texts, first))


def test_lines_are_counted_on_from_a_number_that_is_known() -> None:
    assert seen("a", last=None).last is None
    ledger = Ledger()
    ledger.saw("a")
    ledger.receipt(7, "b")
    ledger.saw("c")
    assert ledger.last == 8
    ledger.recalled(12, "d")
    assert ledger.last == 12
    ledger.skip(20)
    ledger.saw("e")
    assert ledger.last == 21


def test_what_follows_the_last_number_is_unseen() -> None:
    assert seen("a", "b", last=2).unseen(numbered(1, "a", "b", "c")) == 2


def test_with_the_same_texts_the_number_decides() -> None:
    assert seen("a", "a", last=2).unseen(numbered(1, "a", "a", "a", "a")) == 2


def test_a_number_that_is_too_low_is_corrected_by_the_texts() -> None:
    assert seen("a", "c", last=2).unseen(numbered(1, "a", "hidden", "c", "d")) == 3


def test_ones_own_line_is_known_by_its_number() -> None:
    ledger = Ledger()
    ledger.receipt(1, "as typed")
    assert ledger.unseen(numbered(1, "as kept", "b")) == 1


def test_where_nothing_is_known_everything_is_unseen() -> None:
    assert Ledger().unseen(numbered(1, "a")) == 0
    ledger = Ledger()
    ledger.last = 1
    assert ledger.unseen(numbered(1, "a", "b")) == 1


def test_a_number_before_everything_leaves_everything_unseen() -> None:
    assert seen("a", last=1).unseen(numbered(5, "a")) == 0


def test_another_history_is_noticed() -> None:
    assert seen("a", "b", last=2).unseen(numbered(1, "x", "y", "z")) is None


def test_without_numbers_the_texts_decide() -> None:
    ledger = seen("a", "b", last=None)
    assert ledger.unseen([(0, "a"), (0, "b"), (0, "c"), (0, "d")]) == 2
    assert ledger.unseen([(0, "c"), (0, "d")]) is None


def test_so_many_lines_are_remembered() -> None:
    ledger = seen(*map(str, range(REMEMBERED + 5)), last=5)
    assert len(ledger._shown) == REMEMBERED
