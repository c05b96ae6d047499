"""The numbers that the parts count of their own work."""

from __future__ import annotations

import pytest

from broadcast.core.errors import JournalError, NicknameRejected, RecipientNotReading, RejectedError
from broadcast.core.events import ErrorReply
from broadcast.core.session import MAX_REJECTED_NICKS
from broadcast.core.stats import CommitStats, Histogram, Rejection
from tests.harness import NOON, SessionClient, World


@pytest.fixture
def world() -> World:
    return World()


def counted(world: World) -> dict[Rejection, int]:
    """Return the numbers of rejections, as far as there are any."""
    return {kind: count for kind, count in world.hub.rejections.items() if count}


def test_histogram_counts_a_value_at_the_first_bound_that_is_not_smaller() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.5, 100.0):
        histogram.add(value)
    assert (histogram.counts, histogram.sum) == ([2, 2, 2], 107.0)


def test_commit_error_lasts_until_a_success_and_each_change_is_reported() -> None:
    changes: list[str] = []
    stats = CommitStats(on_change=changes.append)
    assert stats.now() == 0.0
    stats.record_success(0.25)
    for reason, events in (("full", 3), ("full", 0), ("locked", 1)):
        stats.record_failure(reason, events)
        assert stats.last_error == reason
    stats.record_success(0.5)
    stats.record_success(0.5)
    assert (stats.last_error, stats.last_duration, changes) == ("", 0.5, ["full", "locked", ""])
    assert (stats.failed_commits, stats.failed_events) == (3, 4)
    assert (sum(stats.durations.counts), stats.durations.sum) == (3, 1.25)


def test_commit_stats_need_no_listener() -> None:
    stats = CommitStats()
    stats.record_failure("full", 1)
    assert stats.last_error == "full"


def test_errors_count_as_these_kinds() -> None:
    kinds = [RejectedError.kind, NicknameRejected.kind, RecipientNotReading.kind]
    assert kinds == [Rejection.COMMAND, Rejection.NICKNAME, Rejection.RECIPIENT_NOT_READING]


def test_rejections_before_the_nickname_are_counted_by_kind(world: World) -> None:
    world.join_sessions("ann")
    SessionClient(world).session.reject("this server is full")
    client = world.open_session()
    client.say("ann", "no nickname")
    client.session.line_too_long(512)
    client.session.reject("the time is over")
    assert counted(world) == {
        Rejection.FULL: 1,
        Rejection.NICKNAME: 2,
        Rejection.LINE_TOO_LONG: 1,
        Rejection.WITHOUT_NICKNAME: 1,
    }


def test_last_of_too_many_rejected_nicknames_counts_once(world: World) -> None:
    client = world.open_session()
    client.say(*[""] * MAX_REJECTED_NICKS)
    assert client.closed
    assert counted(world) == {Rejection.NICKNAME: MAX_REJECTED_NICKS}


def test_rejections_in_the_room_are_counted_by_kind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = world.join_sessions("ann", "bob")
    commands = ("/nonsense", "/msg", "/msg zoe psst", "/search " + "x" * 200, "/history nonsense", "/ignore ann")
    ann.say("hi", *commands, "/help nonsense", "/reply hi", "/nick bob", "/nick b b")
    ann.session.line_too_long(4096)
    bob.congest()
    ann.say("/msg bob psst")
    monkeypatch.setattr(world.room._log, "read", lambda _first, _last, on_result: on_result(JournalError("I/O error")))
    ann.say("/history")
    assert counted(world) == {
        Rejection.COMMAND: 8,
        Rejection.NICKNAME: 2,
        Rejection.LINE_TOO_LONG: 1,
        Rejection.RECIPIENT_NOT_READING: 1,
        Rejection.NOT_FOUND: 1,
    }
    assert sum(isinstance(notice, ErrorReply) for notice in ann.read()) == sum(counted(world).values())


def test_sessions_and_lines_are_counted(world: World) -> None:
    ann, bob = world.join_sessions("ann", "bob")
    ann.say("one", "/me two", "/msg bob three")
    bob.say("four")
    assert (world.hub.session_count, world.hub.backlog.message_count) == (2, 3)


def test_queued_events_are_counted_until_the_journal_returns_them(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    assert (world.hub.backlog.queued_events, world.hub.backlog.queued_characters) == (0, 0)
    ann.session.line("hello", NOON)
    ann.session.line("/me waves", NOON)
    assert (world.hub.backlog.queued_events, world.hub.backlog.queued_characters) == (2, 10)
    world.settle()
    assert (world.hub.backlog.queued_events, world.hub.backlog.queued_characters) == (0, 0)
