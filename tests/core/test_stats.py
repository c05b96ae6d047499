"""Plain numbers: what falls where, and when somebody is told that keeping goes wrong."""

from __future__ import annotations

import pytest

from broadcast.core.errors import DoesNotRead, JournalError, NicknameRefused, RefusedError
from broadcast.core.events import Refused
from broadcast.core.hub import Hub
from broadcast.core.session import REFUSALS
from broadcast.core.stats import Histogram, Keeping, Refusal
from tests.core.stage import AT, Seat, Stage


def test_a_value_counts_for_the_first_bound_that_is_not_smaller() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.5, 100.0):
        histogram.add(value)
    assert (histogram.counts, histogram.sum) == ([2, 2, 2], 107.0)


def test_trouble_lasts_until_a_commit_succeeds_and_each_change_is_told_once() -> None:
    told: list[str] = []
    keeping = Keeping(changed=told.append)
    assert keeping.now() == 0.0
    keeping.succeeded(0.25)
    keeping.failed("full", 3)
    keeping.failed("full", 0)
    keeping.failed("locked", 1)
    assert keeping.trouble == "locked"
    keeping.succeeded(0.5)
    keeping.succeeded(0.5)
    assert keeping.trouble == ""
    assert told == ["full", "locked", ""]
    assert (keeping.failures, keeping.refused, sum(keeping.seconds.counts), keeping.seconds.sum) == (3, 4, 3, 1.25)
    assert keeping.took == 0.5


def test_nobody_needs_to_listen() -> None:
    keeping = Keeping()
    keeping.failed("full", 1)
    assert keeping.trouble == "full"


@pytest.fixture
def stage() -> Stage:
    """An open room."""
    stage = Stage()
    stage.hub.open()
    return stage


def counted(hub: Hub) -> dict[Refusal, int]:
    """What was refused so far."""
    return {kind: times for kind, times in hub.refusals.items() if times}


def test_refusals_are_of_these_kinds() -> None:
    kinds = [RefusedError.kind, NicknameRefused.kind, DoesNotRead.kind]
    assert kinds == [Refusal.COMMAND, Refusal.NICKNAME, Refusal.UNREAD]


def test_what_is_refused_before_the_nickname_is_counted_by_its_kind(stage: Stage) -> None:
    stage.join("ann")
    seat = Seat(stage)
    seat.session.greet()
    seat.say("ann", "no nickname")
    seat.session.overlong(512)
    assert counted(stage.hub) == {Refusal.NICKNAME: 2, Refusal.OVERLONG: 1}
    seat.session.turn_away("the time is over")
    assert counted(stage.hub)[Refusal.TURNED_AWAY] == 1


def test_who_is_not_let_in_at_all_is_counted_apart(stage: Stage) -> None:
    Seat(stage).session.turn_away("this server is full")
    assert counted(stage.hub) == {Refusal.FULL: 1}


def test_the_last_of_too_many_refusals_counts_as_one(stage: Stage) -> None:
    seat = Seat(stage)
    seat.session.greet()
    for _ in range(REFUSALS):
        seat.session.line("", AT)
    assert seat.closed
    assert counted(stage.hub) == {Refusal.NICKNAME: REFUSALS}


def test_what_is_refused_in_the_room_is_counted_by_its_kind(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.say("hi", "/nonsense", "/msg", "/msg zoe psst", "/nick bob", "/nick b b")
    ann.session.overlong(4096)
    bob.full = True
    ann.say("/msg bob psst")
    assert counted(stage.hub) == {
        Refusal.COMMAND: 3,
        Refusal.NICKNAME: 2,
        Refusal.OVERLONG: 1,
        Refusal.UNREAD: 1,
    }


def test_each_refusal_that_is_told_is_counted(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.say("/search " + "x" * 200, "/history nonsense", "/ignore ann", "/help nonsense", "/reply hi")
    told = sum(isinstance(notice, Refused) for notice in ann.look())
    assert told == 5
    assert counted(stage.hub) == {Refusal.COMMAND: told}


def test_what_cannot_be_looked_up_is_counted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    (ann,) = stage.join("ann")
    monkeypatch.setattr(stage.journal, "read", lambda _first, _last, found: found(JournalError("I/O error")))
    ann.say("/history")
    assert counted(stage.hub) == {Refusal.NOT_FOUND: 1}


def test_sessions_and_lines_are_counted(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.say("one", "/me two", "/msg bob three")
    bob.say("four")
    assert (stage.hub.sessions, stage.room.lines) == (2, 3)


def test_what_waits_for_the_journal_is_counted_until_it_has_come_back(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    assert (stage.room.queued, stage.room.queued_text) == (0, 0)
    ann.session.line("hello", AT)
    ann.session.line("/me waves", AT)
    assert (stage.room.queued, stage.room.queued_text) == (2, 10)
    stage.settle()
    assert (stage.room.queued, stage.room.queued_text) == (0, 0)
