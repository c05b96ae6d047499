"""Plain numbers: what falls where, and when somebody is told that keeping goes wrong."""

from __future__ import annotations

import pytest

from broadcast.core.errors import JournalError, NicknameRefused, RecipientNotReading, RefusedError
from broadcast.core.events import ErrorReply
from broadcast.core.hub import Hub
from broadcast.core.session import MAX_REJECTED_NICKS
from broadcast.core.stats import CommitStats, Histogram, Rejection
from tests.core.stage import AT, Seat, Stage


def test_a_value_counts_for_the_first_bound_that_is_not_smaller() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.5, 100.0):
        histogram.add(value)
    assert (histogram.counts, histogram.sum) == ([2, 2, 2], 107.0)


def test_trouble_lasts_until_a_commit_succeeds_and_each_change_is_told_once() -> None:
    told: list[str] = []
    keeping = CommitStats(on_change=told.append)
    assert keeping.now() == 0.0
    keeping.record_success(0.25)
    keeping.record_failure("full", 3)
    keeping.record_failure("full", 0)
    keeping.record_failure("locked", 1)
    assert keeping.last_error == "locked"
    keeping.record_success(0.5)
    keeping.record_success(0.5)
    assert keeping.last_error == ""
    assert told == ["full", "locked", ""]
    assert (keeping.failed_commits, keeping.failed_events, sum(keeping.durations.counts), keeping.durations.sum) == (
        3,
        4,
        3,
        1.25,
    )
    assert keeping.last_duration == 0.5


def test_nobody_needs_to_listen() -> None:
    keeping = CommitStats()
    keeping.record_failure("full", 1)
    assert keeping.last_error == "full"


@pytest.fixture
def stage() -> Stage:
    """An open room."""
    stage = Stage()
    stage.hub.open()
    return stage


def counted(hub: Hub) -> dict[Rejection, int]:
    """What was refused so far."""
    return {kind: times for kind, times in hub.rejections.items() if times}


def test_refusals_are_of_these_kinds() -> None:
    kinds = [RefusedError.kind, NicknameRefused.kind, RecipientNotReading.kind]
    assert kinds == [Rejection.COMMAND, Rejection.NICKNAME, Rejection.UNREAD]


def test_what_is_refused_before_the_nickname_is_counted_by_its_kind(stage: Stage) -> None:
    stage.join("ann")
    seat = Seat(stage)
    seat.session.start()
    seat.say("ann", "no nickname")
    seat.session.line_too_long(512)
    assert counted(stage.hub) == {Rejection.NICKNAME: 2, Rejection.LINE_TOO_LONG: 1}
    seat.session.reject("the time is over")
    assert counted(stage.hub)[Rejection.TURNED_AWAY] == 1


def test_who_is_not_let_in_at_all_is_counted_apart(stage: Stage) -> None:
    Seat(stage).session.reject("this server is full")
    assert counted(stage.hub) == {Rejection.FULL: 1}


def test_the_last_of_too_many_refusals_counts_as_one(stage: Stage) -> None:
    seat = Seat(stage)
    seat.session.start()
    for _ in range(MAX_REJECTED_NICKS):
        seat.session.line("", AT)
    assert seat.closed
    assert counted(stage.hub) == {Rejection.NICKNAME: MAX_REJECTED_NICKS}


def test_what_is_refused_in_the_room_is_counted_by_its_kind(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.say("hi", "/nonsense", "/msg", "/msg zoe psst", "/nick bob", "/nick b b")
    ann.session.line_too_long(4096)
    bob.congested = True
    ann.say("/msg bob psst")
    assert counted(stage.hub) == {
        Rejection.COMMAND: 3,
        Rejection.NICKNAME: 2,
        Rejection.LINE_TOO_LONG: 1,
        Rejection.UNREAD: 1,
    }


def test_each_refusal_that_is_told_is_counted(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.say("/search " + "x" * 200, "/history nonsense", "/ignore ann", "/help nonsense", "/reply hi")
    told = sum(isinstance(notice, ErrorReply) for notice in ann.look())
    assert told == 5
    assert counted(stage.hub) == {Rejection.COMMAND: told}


def test_what_cannot_be_looked_up_is_counted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    (ann,) = stage.join("ann")
    monkeypatch.setattr(stage.journal, "read", lambda _first, _last, found: found(JournalError("I/O error")))
    ann.say("/history")
    assert counted(stage.hub) == {Rejection.NOT_FOUND: 1}


def test_sessions_and_lines_are_counted(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.say("one", "/me two", "/msg bob three")
    bob.say("four")
    assert (stage.hub.session_count, stage.room.message_count) == (2, 3)


def test_what_waits_for_the_journal_is_counted_until_it_has_come_back(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    assert (stage.room.queued_events, stage.room.queued_characters) == (0, 0)
    ann.session.line("hello", AT)
    ann.session.line("/me waves", AT)
    assert (stage.room.queued_events, stage.room.queued_characters) == (2, 10)
    stage.settle()
    assert (stage.room.queued_events, stage.room.queued_characters) == (0, 0)
