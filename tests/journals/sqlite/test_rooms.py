"""All rooms share the commits, the file and its checks. A fault of one room does not concern the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.events import Action, Event, Joined, Message, StoreFailed, TopicChanged
from broadcast.journals.sqlite import room_log, search_indexer, writing_connection
from broadcast.journals.sqlite.journal import MAX_NAME_BYTES, SqliteJournal
from broadcast.journals.sqlite.room_record import MAX_SEQ
from tests.journals.contract import TIMEOUT, Harness, RoomHarness, message, open_journal, seqs
from tests.journals.sqlite.support import (
    KITCHEN,
    break_connection,
    commit_thread_of,
    connection_of,
    index_all,
    index_on_demand,
    marks_in,
    open_file,
    open_sqlite,
    prevent_connecting,
    room_of,
    rooms_in,
    stored_in,
    verify_index,
    wait_until,
    write_until_killed,
)


def append_together(*pairs: tuple[RoomHarness, Event]) -> list[Event]:
    """Append each event to its room in one turn, and return what the journal delivers for them."""
    before = [len(room.delivered) for room, _ in pairs]
    for room, event in pairs:
        room.log.append(event)
    pairs[0][0].calls.run_until(
        lambda: all(len(room.delivered) > count for (room, _), count in zip(pairs, before, strict=True))
    )
    return [room.delivered[-1] for room, _ in pairs]


# Commits


@pytest.mark.usefixtures("no_indexing")
def test_one_commit_carries_the_lines_of_all_rooms(run: Harness) -> None:
    others = [run.open_room(f"room{number}") for number in range(5)]
    append_together(*((room, message("first")) for room in others))
    statements: SimpleQueue[str] = SimpleQueue()
    connection_of(run).set_trace_callback(statements.put)
    assert seqs(append_together(*((room, message("second")) for room in (run, *others)))) == [1, 2, 2, 2, 2, 2]
    assert statements.get(timeout=TIMEOUT).startswith("INSERT INTO events")
    assert statements.empty()


@pytest.mark.usefixtures("no_indexing")
def test_many_events_of_many_rooms_are_cut_into_commits_in_order(run: Harness) -> None:
    others = [run.open_room(f"room{number}") for number in range(4)]
    for number in range(700):
        for room in others:
            room.log.append(message(str(number)))
    for number in range(2000):
        others[0].log.append(message(str(700 + number)))
    run.calls.run_until(lambda: sum(len(room.delivered) for room in others) == 4 * 700 + 2000)
    for room, count in zip(others, (2700, 700, 700, 700), strict=True):
        assert room.delivered == [message(str(number), number + 1) for number in range(count)]


def test_rooms_topics_and_uids_are_in_the_file(tmp_path: Path) -> None:
    with open_sqlite(tmp_path) as run:
        room = run.open_room("kitchen")
        events = room.append(Message(1, "ann", "a", 1.5, uid="u1"), Action(1, "ann", "b", 2.5), message("c"))
        room.append(TopicChanged(1, "ann", "lunch"))
        run.append_texts(["x"])
        journal_id = run.journal.id
    with open_file(tmp_path) as db:
        assert db.execute("SELECT * FROM lines").fetchall() == [
            ("lobby", 1, 1_700_000_000.25, "said", "ann", "x"),
            ("kitchen", 1, 1.5, "said", "ann", "a"),
            ("kitchen", 2, 2.5, "emoted", "ann", "b"),
            ("kitchen", 3, 1_700_000_000.25, "said", "ann", "c"),
        ]
        columns = db.execute("SELECT uid, session FROM events").fetchall()
        assert columns == [(None, 7), ("u1", 1), (None, 1), (None, 7)]
    with open_sqlite(tmp_path, tail=9) as run:
        assert run.journal.id == journal_id
        room = run.open_room("kitchen", tail=2)
        assert (room.last_seq, room.topic) == (3, "lunch")
        assert room.tail == events[1:]
        assert room.read_uids(1, 9) == [("u1", 1)]
        assert room.append_texts("d") == [message("d", 4)]


def test_first_room_may_be_another_one_than_the_lobby(tmp_path: Path) -> None:
    for last in range(3):
        with open_journal(lambda call_soon: SqliteJournal(tmp_path, call_soon), name="main") as run:
            assert run.last_seq == last
            assert seqs(run.append_texts("a")) == [last + 1]
    with open_sqlite(tmp_path) as run:
        assert run.append_texts("b") == [message("b", 1)]
    assert rooms_in(tmp_path) == [(0, "lobby", ""), (1, "main", "")]


def test_closed_room_is_released_after_its_events(run: Harness) -> None:
    connection = commit_thread_of(run)._connection
    room = run.open_room("kitchen")
    room.append_texts("a")
    assert set(connection._rooms) == {0, 1}
    room.log.close()
    run.append_texts("x")
    wait_until(lambda: set(connection._rooms) == {0})
    empty = run.open_room("empty")
    empty.log.close()
    again = run.open_room("kitchen")
    assert seqs(append_together((again, message("b")), (run, message("y")))) == [2, 2]


def test_name_that_is_too_long_or_no_text_is_rejected(run: Harness) -> None:
    for name in ("x" * (MAX_NAME_BYTES + 1), "\ud800"):
        assert isinstance(run.try_open_room(name), JournalError)
    assert not isinstance(run.try_open_room("x" * MAX_NAME_BYTES), JournalError)


def test_uids_are_read_in_steps_and_gaps_cost_nothing(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_log, "UIDS_ROWS", 7)
    room_of(run).last = 10**9
    run.append(*(Message(1, "ann", "x", 1.0, uid=f"u{number}") for number in range(20)))
    assert run.read_uids(-1, 10**30) == [(f"u{number}", 10**9 + 1 + number) for number in range(20)]


def test_event_of_a_room_without_lines_costs_no_transaction(run: Harness, tmp_path: Path) -> None:
    room = run.open_room("kitchen")
    assert append_together((room, Joined(1, "ann")), (run, Joined(1, "ann"))) == [Joined(1, "ann")] * 2
    assert (room.read(1, 9), room.matches("a"), room.read_uids(1, 9)) == ([], [], [])
    assert rooms_in(tmp_path) == [(0, "lobby", "")]


# Limits


def test_journal_holds_a_limited_number_of_rooms(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing_connection, "MAX_ROOMS", 3)
    others = [run.open_room(f"room{number}") for number in range(4)]
    returned = append_together((run, message("x")), *((room, message("a")) for room in others))
    assert seqs(returned) == [1, 1, 1]
    assert [event.reason for event in returned if isinstance(event, StoreFailed)] == [
        "the journal holds as many rooms as it can"
    ] * 2
    (failed,) = others[3].append(TopicChanged(1, "ann", "tea"))
    assert isinstance(failed, StoreFailed)
    assert run.journal.commit_stats.failed_events == 3


def test_room_holds_a_limited_number_of_lines(run: Harness) -> None:
    room = run.open_room("kitchen")
    room.append_texts("a")
    room_of(room).last = MAX_SEQ - 1
    _, second, third = append_together((room, message("b")), (room, message("c")), (run, message("x")))
    assert isinstance(second, StoreFailed)
    assert (second.reason, third) == ("the room holds as many lines as it can", message("x", 1))


# Faults


@pytest.mark.usefixtures("no_indexing")
@pytest.mark.parametrize("after", [False, True], ids=["before execution", "after execution"])
def test_failed_commit_leaves_no_line_room_or_topic(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    old, new = run.open_room("old"), run.open_room("new")
    old.append(TopicChanged(1, "ann", "before"), message("a"))
    if after:
        monkeypatch.setattr(commit_thread_of(run)._connection._files.last_number, "write", fail_once(monkeypatch))
    else:
        break_connection(run)
    changes: list[tuple[RoomHarness, Event]] = [
        (run, message("x")),
        (old, TopicChanged(1, "ann", "after")),
        (new, message("y")),
    ]
    assert [type(event) for event in append_together(*changes)] == [StoreFailed] * 3
    assert stored_in(tmp_path) == [(KITCHEN + 1, "a")]
    assert rooms_in(tmp_path) == [(0, "lobby", ""), (1, "old", "before")]
    assert append_together((new, message("z")), (old, message("b"))) == [message("z", 1), message("b", 2)]
    assert rooms_in(tmp_path) == [(0, "lobby", ""), (1, "old", "before"), (2, "new", "")]


def fail_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Return a function for the write of the last number that fails and is replaced by the real one."""

    def fail(_number: int, _room: str) -> None:
        monkeypatch.undo()
        raise OSError(5, "Input/output error")

    return fail


@pytest.mark.usefixtures("no_indexing")
def test_room_whose_last_line_is_doubtful_opens_only_when_that_is_resolved(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = run.open_room("kitchen")
    room.append_texts("a")
    break_connection(run, after=True)
    with monkeypatch.context() as patch:
        prevent_connecting(patch)
        (failed,) = room.append_texts("b")
        assert isinstance(failed, StoreFailed)
        room.log.close()
        assert "does not know the room's last line" in str(run.try_open_room("kitchen"))
        assert run.open_room("other").last_seq == 0
    run.append_texts("x")
    room = run.open_room("kitchen", tail=9)
    assert seqs(room.tail) == [1]
    assert room.append_texts("c") == [message("c", 2)]
    assert stored_in(tmp_path) == [(1, "x"), (KITCHEN + 1, "a"), (KITCHEN + 2, "c")]


@pytest.mark.usefixtures("no_indexing")
@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("INSERT INTO events VALUES (:kitchen + 2, 1.0, 'said', 'eve', 'x', NULL, 7)", "has written #2 to it"),
        ("INSERT INTO events VALUES (:kitchen + 900, 1.0, 'said', 'eve', 'x', NULL, 7)", "has written #900 to it"),
        ("INSERT INTO events VALUES (:kitchen * 9, 1.0, 'said', 'eve', 'x', NULL, 7)", "has written a room to it"),
        ("INSERT INTO rooms VALUES (2, 'more', '')", "has written a room to it"),
        ("DELETE FROM events WHERE seq > :kitchen", "no longer holds what was kept"),
    ],
)
def test_changes_of_another_program_in_any_room_stop_all_storing(
    run: Harness, tmp_path: Path, statement: str, problem: str
) -> None:
    room = run.open_room("kitchen")
    room.append_texts("a")
    run.append_texts("x")
    with open_file(tmp_path) as other:
        other.execute(statement, {"kitchen": KITCHEN})
    found = stored_in(tmp_path)
    commit_thread_of(run)._verify_idle()
    assert problem in run.journal.commit_stats.last_error
    for event in append_together((run, message("y")), (room, message("b"))):
        assert isinstance(event, StoreFailed)
        assert problem in event.reason
    assert stored_in(tmp_path) == found


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM events WHERE seq = :kitchen + 1",
        "DELETE FROM events WHERE seq = :kitchen + 8",
        "UPDATE events SET kind = 'sang' WHERE seq = :kitchen + 8",
        "DELETE FROM indexed WHERE upto BETWEEN :kitchen AND :kitchen + 99",
        "UPDATE indexed SET upto = :kitchen + 11 WHERE upto BETWEEN :kitchen AND :kitchen + 99",
        "INSERT INTO indexed VALUES (:kitchen + 12)",
    ],
)
def test_damaged_room_does_not_open_and_the_others_do(tmp_path: Path, damage: str) -> None:
    with open_sqlite(tmp_path) as run:
        run.open_room("kitchen").append_texts("abcdefghij")
        run.open_room("other").append_texts("a")
    with open_file(tmp_path) as db:
        db.execute(damage, {"kitchen": KITCHEN})
    with open_sqlite(tmp_path) as run:
        for _ in range(2):
            error = run.try_open_room("kitchen")
            assert isinstance(error, JournalDamaged)
            assert str(error).startswith("the room ")
        assert run.open_room("other").append_texts("b") == [message("b", 2)]
        assert run.append_texts("x") == [message("x", 1)]


def test_errors_while_a_room_opens_are_answered(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("broadcast.journals.sqlite.journal.read_room", fail)
        assert str(run.try_open_room("kitchen")) == "the journal cannot be read: disk I/O error"
    assert run.open_room("kitchen").last_seq == 0


# Lost lines


def test_lines_of_all_rooms_survive_kill_9_without_gaps(tmp_path: Path) -> None:
    delivered: dict[int, int] = {}
    for batches in (1, 3, 20, 60, 150):
        delivered = write_until_killed(tmp_path, batches, 30, rooms=3)
        with open_sqlite(tmp_path) as run:
            for number, room in enumerate((run, run.open_room("room1"), run.open_room("room2"))):
                assert seqs(room.read(1, 10**9)) == list(range(1, room.last_seq + 1))
                assert room.last_seq >= delivered.get(number, 0)
    assert len(delivered) == 3


def test_missing_lines_are_marked_in_the_room_of_the_last_line_and_the_id_changes(tmp_path: Path) -> None:
    reports: list[str] = []
    with open_sqlite(tmp_path) as run:
        run.append_texts("xy")
        room = run.open_room("kitchen")
        room.append_texts("abcde")
        before = run.journal.id
    with open_file(tmp_path) as db:
        db.execute("DELETE FROM events WHERE seq > ?", (KITCHEN + 2,))
        db.execute("UPDATE indexed SET upto = ? WHERE upto > ?", (KITCHEN, KITCHEN))
    with open_journal(lambda call_soon: SqliteJournal(tmp_path, call_soon, report=reports.append)) as run:
        text = "#3-#5 are missing: the journal had lost them when the server started."
        assert reports == [f"kitchen: {text}"]
        assert run.journal.id != before
        assert run.append_texts("z") == [message("z", 3)]
        room = run.open_room("kitchen", tail=9)
        assert [(event.seq, event.nick, event.text) for event in room.tail] == [(5, "server", text)]
        assert room.append_texts("f") == [message("f", 6)]


def test_missing_room_is_created_again(tmp_path: Path) -> None:
    reports: list[str] = []
    with open_sqlite(tmp_path) as run:
        run.append_texts("x")
    (tmp_path / "journal.last").write_bytes(b"3 kitchen\n")
    for expected in (["kitchen: #1-#3 are missing: the journal had lost them when the server started."], []):
        reports.clear()
        with open_journal(lambda call_soon: SqliteJournal(tmp_path, call_soon, report=reports.append)) as run:
            assert reports == expected
            assert (tmp_path / "journal.last").read_text().split() == ["3", "kitchen"]
            assert run.open_room("kitchen").last_seq == 3
    assert rooms_in(tmp_path) == [(0, "lobby", ""), (1, "kitchen", "")]


def test_last_line_of_the_journal_may_be_in_any_room(run: Harness, tmp_path: Path) -> None:
    path = tmp_path / "journal.last"
    room = run.open_room("a-room-with-a-long-name")
    for each, expected in ((run, "1 lobby"), (room, "1 a-room-with-a-long-name"), (run, "2 lobby")):
        each.append_texts("a")
        assert path.read_text().rstrip("\n") == expected
    run.journal.close()
    run.journal.close()
    with open_sqlite(tmp_path):
        assert path.read_text() == "2 lobby\n"


# The search index


def test_lines_of_many_rooms_are_indexed_in_one_step(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_on_demand(monkeypatch)
    others = [run.open_room(f"room{number}") for number in range(5)]
    append_together(*((room, message(f"red {number}")) for number, room in enumerate((run, *others))))
    others[0].append_texts(f"blue {number}" for number in range(600))
    thread = commit_thread_of(run)
    assert thread._indexer.backlog() == 606
    steps = 0
    while thread._indexer.due():
        thread._indexer.step(connection_of(run))
        steps += 1
    assert steps < 20
    assert thread._indexer.backlog() == 0
    assert marks_in(tmp_path) == [1, KITCHEN + 601, *(number * KITCHEN + 1 for number in range(2, 6))]
    for room, expected in ((run, [1]), (others[0], [1]), (others[4], [1])):
        assert room.matches("red") == expected
    assert others[0].matches("blue", limit=2) == [600, 601]
    verify_index(tmp_path)


def test_index_continues_after_a_step_that_was_reported_as_failed(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_on_demand(monkeypatch)
    room = run.open_room("kitchen")
    append_together((run, message("red")), (room, message("red")))
    index_all(run)
    for each in (run, room):
        room_of(each).indexed = 0  # as after such a step
        commit_thread_of(run)._indexer.add(room_of(each))
    append_together((run, message("red")), (room, message("red")))
    index_all(run)
    assert marks_in(tmp_path) == [2, KITCHEN + 2]
    assert run.matches("red") == room.matches("red") == [1, 2]
    verify_index(tmp_path)


def test_lines_that_an_earlier_process_has_not_indexed_are_indexed_without_opening_their_rooms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_indexer, "STEP_ROWS", 3)
    with monkeypatch.context() as patch:
        index_on_demand(patch)
        with open_sqlite(tmp_path) as run:
            others = [run.open_room(f"room{number}") for number in range(8)]
            for room in (run, *others[::2]):
                room.append_texts("abcdefg")
            others[1].append(TopicChanged(1, "ann", "no line"))
    expected = [number * KITCHEN + 7 for number in range(5)]
    with open_sqlite(tmp_path):
        wait_until(lambda: [mark for mark in marks_in(tmp_path) if mark & MAX_SEQ] == expected)


def test_reopened_room_takes_over_what_is_left_to_index(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_on_demand(monkeypatch)
    room = run.open_room("kitchen")
    room.append_texts("abc")
    room.log.close()
    room = run.open_room("kitchen")
    assert room.append_texts("d") == [message("d", 4)]
    index_all(run)
    assert marks_in(tmp_path) == [0, KITCHEN + 4]
    assert room.matches("d") == [4]
