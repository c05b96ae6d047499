"""Which nickname is proposed when: by itself, and through a connection to a faithful server."""

from __future__ import annotations

from broadcast.client.naming import RETAKE_PAUSES, Naming
from tests.client.fake import Play


def test_nothing_is_refused_that_was_not_proposed() -> None:
    naming = Naming("")
    seen = [naming.answered, naming.asked()]
    naming.propose("ann")
    seen.append(naming.answered)
    naming.refusal = "ann is taken."
    seen += [naming.answered, naming.asked(), naming.asked()]
    assert seen == [True, "", False, True, "ann", ""]


def test_the_nickname_of_before_is_tried_again_and_then_one_like_it() -> None:
    naming = Naming("ann")
    naming.arrive("ann", again=False)
    naming.begin()
    tries = [naming.next_try("")] + [naming.next_try("ann") for _ in range(len(RETAKE_PAUSES) + 2)]
    assert tries == [(0, "ann"), *((pause, "ann") for pause in RETAKE_PAUSES), (0, "ann2"), (0, "ann3")]
    naming.begin()
    assert [naming.next_try(""), naming.next_try("ann")] == [(0, "ann"), (RETAKE_PAUSES[0], "ann")]


def test_the_wish_outlives_the_nickname_that_was_taken_for_want_of_it() -> None:
    naming = Naming("")
    naming.arrive("ann", again=False)
    naming.arrive("ann2", again=True)
    assert (naming.nick, naming.wished) == ("ann2", "ann")
    naming.wish("bea")
    assert (naming.nick, naming.wished) == ("bea", "bea")


def test_the_nickname_given_is_taken_without_asking() -> None:
    play = Play().start()
    assert play.front.arrivals == [("ann", False)]
    assert play.front.refused == []
    assert play.connection.standing
    assert play.connection.here == 1


def test_without_a_nickname_the_front_end_is_asked() -> None:
    play = Play(nick=None)
    play.front.nicks = ["bea"]
    play.start()
    assert play.front.refused == [("", "")]
    assert play.front.arrivals == [("bea", False)]


def test_a_refused_nickname_is_asked_for_again_with_the_reason() -> None:
    play = Play()
    play.room.reserved = {"ann", "bea"}
    play.front.nicks = ["bea", "cyd"]
    play.start()
    assert play.front.refused == [("ann", "ann is taken."), ("bea", "bea is taken.")]
    assert play.front.arrivals == [("cyd", False)]
    assert play.connection.nick == "cyd"


def test_a_nickname_may_be_proposed_later() -> None:
    play = Play(nick=None).start()
    assert play.front.arrivals == []
    play.connection.propose("bea")
    play.settle()
    assert play.front.arrivals == [("bea", False)]


def test_a_nickname_proposed_while_nobody_asks_is_kept_for_later() -> None:
    play = Play(nick=None)
    play.connection.propose("bea")
    play.start()
    assert play.front.arrivals == [("bea", False)]


def test_a_message_of_the_day_that_looks_like_a_prompt_refuses_nothing() -> None:
    play = Play(nick=None)
    play.room.motd = b"Nickname: yours\r\n"
    play.front.nicks = ["bea"]
    play.start()
    assert play.front.refused == [("", "")]
    assert play.front.arrivals == [("bea", False)]


def test_the_nickname_is_retaken_while_the_lost_connection_still_holds_it() -> None:
    play = Play().start()
    ghost = play.end
    play.wire.cut(linger=True)
    play.back()
    for pause in RETAKE_PAUSES[:3]:
        play.clock.advance(pause)
        play.settle()
    assert play.front.arrivals == [("ann", False)]
    ghost.leave()
    play.clock.advance(RETAKE_PAUSES[3])
    play.settle()
    assert play.front.arrivals == [("ann", False), ("ann", True)]
    assert play.front.refused == []


def test_after_a_while_it_takes_a_nickname_with_digits_and_says_so() -> None:
    play = Play().start()
    play.room.reserved = {"ann", "ann2"}
    play.wire.cut()
    play.back()
    for pause in RETAKE_PAUSES:
        play.clock.advance(pause)
        play.settle()
    assert play.front.arrivals[-1] == ("ann3", True)
    assert "ann is taken: you are ann3 now." in play.front.notices
    play.room.reserved = set()
    play.wire.cut()
    play.back()
    assert play.front.arrivals[-1] == ("ann", True)
