"""The first moments in the room, without a connection: what is asked, and what becomes of the answers."""

from __future__ import annotations

import pytest

from broadcast.client.catchup import TRIES, CatchUp
from broadcast.client.lines import (
    Answer,
    Emoted,
    Error,
    Event,
    Joined,
    Kept,
    Missed,
    Notice,
    Recalled,
    Receipt,
    Said,
    Whispered,
)
from broadcast.client.numbers import Ledger


class Case:
    """A ``CatchUp``, and everything that it did."""

    def __init__(self, *seen: str, last: int | None = None, again: bool = False) -> None:
        self.ledger = Ledger()
        for text in seen:
            self.ledger.saw(f"bob: {text}")
        self.ledger.last = last
        self.sent: list[str] = []
        self.shown: list[Event] = []
        self.missed: list[Kept] = []
        self.done = 0
        self.catch_up = CatchUp(
            self.ledger,
            again=again,
            send=self.sent.append,
            show=self.shown.append,
            missed=self.missed.append,
            done=self._done,
        )
        self.catch_up.begin()

    def _done(self) -> None:
        self.done += 1

    def take(self, *events: Event) -> None:
        for event in events:
            self.catch_up.take(event)


ON = Answer("receipts are on.")


def old(text: str) -> Said:
    return Said("bob", text, "14:02")


def live(text: str) -> Said:
    return Said("bob", text)


def found(seq: int, text: str) -> Recalled:
    return Recalled(seq, old(text))


def test_a_newcomer_learns_the_number_of_the_newest_line() -> None:
    case = Case()
    assert case.sent == ["/receipts on", "/history 1"]
    case.take(old("a"), old("b"), ON, found(12, "b"))
    assert case.shown == [old("a"), old("b")]
    assert (case.done, case.ledger.last, case.catch_up.receipts) == (1, 12, True)


def test_in_an_empty_room_the_lines_are_counted_from_the_start() -> None:
    case = Case()
    case.take(ON, Answer("nothing was said yet."))
    assert case.ledger.last == 0
    case = Case()
    case.take(ON, live("a"), Answer("nothing was said yet."))
    assert case.ledger.last == 1


def test_what_arrived_behind_the_newest_line_is_counted_on() -> None:
    case = Case()
    case.take(old("a"), ON, live("b"), found(5, "a"))
    assert case.ledger.last == 6


def test_while_the_place_is_not_clear_it_asks_again() -> None:
    case = Case()
    case.take(old("a"), ON, live("a"), found(5, "a"))
    assert case.sent == ["/receipts on", "/history 1", "/history 1"]
    assert case.done == 0
    case.take(found(6, "a"))
    assert (case.done, case.ledger.last) == (1, 6)


def test_it_does_not_ask_for_ever() -> None:
    case = Case()
    case.take(old("a"), ON)
    for _ in range(TRIES):
        assert case.done == 0
        case.take(live("a"), found(5, "a"))
    assert case.sent.count("/history 1") == TRIES
    assert (case.done, case.ledger.last) == (1, 5)


def test_a_server_without_history_is_done_without_numbers() -> None:
    case = Case()
    case.take(old("a"), Error("unknown command /receipts."), Error("unknown command /history."))
    assert (case.done, case.ledger.last, case.catch_up.receipts) == (1, None, False)
    assert case.shown == [old("a")]


@pytest.mark.parametrize("again", [False, True])
def test_a_missed_lines_notice_tells_the_number(again: bool) -> None:
    case = Case("a", last=2, again=again)
    case.take(ON, live("b"), Missed(4, 9), live("c"), found(10, "c"))
    assert case.ledger.last == 10
    assert case.done == 1
    assert case.shown == [live("b"), Missed(4, 9), live("c")]


def test_a_second_missed_lines_notice_does_not_move_where_one_arrived() -> None:
    case = Case("a", last=2, again=True)
    case.take(ON, Missed(4, 9), Missed(10, 11), found(11, "x"))
    assert case.sent[-1] == "/history #1-#3"
    case.take(found(1, "-"), found(2, "a"), found(3, "b"))
    assert case.missed == [old("b")]
    assert case.shown == [Missed(4, 9), Missed(10, 11)]
    assert case.ledger.last == 11


def test_coming_back_shows_what_was_missed_before_what_arrives() -> None:
    case = Case("a", "b", last=2, again=True)
    case.take(old("b"), old("c"), ON, live("d"), Joined("eve"), found(4, "d"))
    assert case.sent[-1] == "/history #1-#3"
    assert case.shown == []
    case.take(found(1, "a"), found(2, "b"), found(3, "c"))
    assert case.missed == [old("c")]
    assert case.shown == [live("d"), Joined("eve")]
    assert (case.done, case.ledger.last) == (1, 4)


def test_nothing_is_asked_where_nothing_was_missed() -> None:
    case = Case("a", last=1, again=True)
    case.take(old("a"), ON, found(1, "a"))
    assert case.sent == ["/receipts on", "/history 1"]
    assert (case.done, case.missed, case.shown) == (1, [], [])


def test_many_lines_are_asked_for_in_pieces_that_a_server_shows_at_once() -> None:
    case = Case("0", last=100, again=True)
    case.take(ON, found(2000, "x"))
    assert case.sent[-1] == "/history #81-#1080"
    case.take(*(found(seq, "0" if seq == 100 else "-") for seq in range(81, 1081)))
    assert case.sent[-1] == "/history #1081-#2000"
    case.take(*(found(seq, "-") for seq in range(1081, 2001)))
    assert len(case.missed) == 1900
    assert case.done == 1


def test_a_piece_that_is_refused_is_said_to_be_missed() -> None:
    case = Case("a", last=1, again=True)
    case.take(ON, found(5, "x"), Error("the history cannot be read: it burnt."))
    assert case.shown == [Missed(2, 5)]
    assert (case.done, case.ledger.last) == (1, 5)


def test_another_history_is_said_so() -> None:
    case = Case("a", "b", last=9, again=True)
    case.take(old("x"), ON, found(3, "x"))
    assert case.shown == [Notice("The server's history is not the one of before.")]
    assert case.missed == [old("x")]
    assert (case.done, case.ledger.last) == (1, None)


def test_without_a_number_of_before_the_replay_is_compared() -> None:
    case = Case("a", "b", again=True)
    case.take(old("a"), old("b"), old("c"), ON, found(9, "c"))
    assert case.missed == [old("c")]
    assert case.done == 1


def test_given_up_it_shows_what_was_held_back_and_knows_its_late_answers() -> None:
    case = Case("a", last=1, again=True)
    case.take(old("a"), old("b"), live("c"))
    case.catch_up.give_up(lost=False)
    assert case.missed == [old("b")]
    assert case.shown == [live("c")]
    assert case.done == 1
    case.catch_up.give_up(lost=False)
    assert case.done == 1
    assert not case.catch_up.answers(live("d"))
    assert not case.catch_up.answers(Receipt(4))
    assert case.catch_up.answers(ON)
    assert case.catch_up.answers(found(3, "c"))
    assert not case.catch_up.answers(Answer("pong"))


def test_given_up_within_a_piece_it_knows_where_the_piece_ends() -> None:
    case = Case("a", last=1, again=True)
    case.take(ON, found(3, "c"), found(1, "a"))
    case.catch_up.give_up(lost=False)
    assert [case.catch_up.answers(found(seq, "x")) for seq in (2, 3, 4)] == [True, True, False]


def test_lost_it_shows_what_is_not_asked_for_again() -> None:
    case = Case("a", last=1, again=True)
    case.take(ON, live("c"), Emoted("bob", "waves"), Missed(4, 5), Whispered("bob", "psst"))
    case.catch_up.give_up(lost=True)
    assert case.shown == [Whispered("bob", "psst")]
    assert (case.done, case.ledger.last) == (0, 1)
