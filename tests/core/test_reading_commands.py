"""The replies to ``/history`` and ``/search``, page by page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.events import CommandReply, ErrorReply, HistoryLine, Message, Notice
from broadcast.core.limits import Limits
from broadcast.core.reading_commands import HISTORY_DEFAULT_LINES, HISTORY_MAX_LINES, _parse_range
from tests.harness import NOON, TOKEN_BYTES, SessionClient, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ann(world: World) -> SessionClient:
    return world.join_sessions("ann")[0]


def replies(*texts: str) -> list[Notice]:
    return [CommandReply(text) for text in texts]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("", range(31 - HISTORY_DEFAULT_LINES, 31)),
        ("2", [29, 30]),
        ("99999", range(1, 31)),
        ("#7", [7]),
        ("#7-#9", [7, 8, 9]),
        ("#29-40", [29, 30]),
        ("#9-#7", [7, 8, 9]),
        ("#2-0", [1, 2]),
    ],
)
def test_history_shows_the_last_lines_or_a_range(ann: SessionClient, asked: str, numbers: Sequence[int]) -> None:
    ann.say(*(f"line {number}" for number in range(1, 31)), f"/history {asked}")
    author = ann.session.id
    assert ann.read() == [HistoryLine(Message(author, "ann", f"line {number}", NOON, number)) for number in numbers]
    assert ann.session.ready


@pytest.mark.parametrize("asked", ["#0", "#0-#0", "#4", "#4-#99", "#999999999999999999-#999999999999999000"])
def test_history_range_without_a_line_is_answered(ann: SessionClient, asked: str) -> None:
    ann.say("one", "two", "three", f"/history {asked}")
    assert ann.read() == replies("nothing was said yet.")


@pytest.mark.parametrize("newest", [0, 5, 5000])
def test_history_never_reads_more_than_it_shows(newest: int) -> None:
    first, last = _parse_range("123456789")(newest)
    assert (first, last) == (newest - HISTORY_MAX_LINES + 1, newest)


def test_next_line_waits_for_the_history_even_if_that_is_empty(world: World, ann: SessionClient) -> None:
    ann.session.line("/history", NOON)
    ready = ann.session.ready
    world.settle()
    assert (ready, ann.session.ready) == (False, True)
    assert ann.read() == replies("nothing was said yet.")


def test_history_is_read_page_by_page_as_the_client_reads() -> None:
    """Lines that are said meanwhile are no part of it."""
    world = World(limits=Limits(private_queue_bytes=1))
    ann, bob = world.join_sessions("ann", "bob")
    bob.say(*(f"{number}" for number in range(1, 41)))
    ann.read()
    ann.stop_reading()
    ann.say("/history #1-#99")
    bob.say("too late")
    pages = []
    for _ in range(3):
        pages.append(sum(isinstance(event, HistoryLine) for event in world.encoded))
        assert not ann.session.ready or pages[2:]
        ann.read_on(16 * TOKEN_BYTES)
        world.settle()
    assert pages == [16, 32, 40]
    ann.read_on()
    world.settle()
    found = [event.event.text for event in ann.read() if isinstance(event, HistoryLine)]
    assert found == [f"{number}" for number in range(1, 41)]
    assert ann.session.ready


@pytest.mark.parametrize(
    ("line", "method", "error"),
    [
        ("/history", "read", "the history cannot be read: I/O error"),
        ("/search x", "search", "this server cannot search: I/O error"),
    ],
)
def test_journal_that_fails_is_reported(
    world: World, ann: SessionClient, monkeypatch: pytest.MonkeyPatch, line: str, method: str, error: str
) -> None:
    def fail(*arguments: object) -> None:
        *_, found = arguments
        assert callable(found)
        found(JournalError("I/O error"))

    monkeypatch.setattr(world.room._log, method, fail)
    ann.say(line)
    assert ann.read() == [ErrorReply(error)]
    assert ann.session.ready


def test_history_that_fails_between_two_pages_is_reported(
    world: World, ann: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann.say(*(f"{number}" for number in range(1, 21)))
    ann.congest()
    ann.say("/history")
    monkeypatch.setattr(world.room._log, "read", lambda _first, _last, on_result: on_result(JournalError("I/O error")))
    ann.read_on()
    world.settle()
    assert ann.read()[16:] == [ErrorReply("the history cannot be read: I/O error")]
    assert ann.session.ready
