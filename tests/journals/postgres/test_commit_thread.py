"""Batches take effect once, whatever happens to the connection and to the database."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from threading import Thread

import psycopg
import pytest
from psycopg.types.json import Jsonb

from broadcast.core.events import (
    Action,
    AwayChanged,
    Event,
    FileInfo,
    Joined,
    Left,
    Message,
    Repeated,
    Shared,
    StoreFailed,
    TopicChanged,
)
from broadcast.journals.postgres import commit_thread
from broadcast.journals.postgres.commit_thread import SESSION_LOST, CommitThread
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.journal import PostgresJournal
from broadcast.journals.postgres.schema import open_schema
from tests.journals.contract import Harness, message, seqs
from tests.journals.postgres.support import NodeHarness, open_postgres
from tests.postgres import PostgresServer

UNREACHABLE = "the database cannot be reached"


@pytest.fixture
def run(postgres_url: str) -> Iterator[NodeHarness]:
    """An empty journal."""
    with open_postgres(postgres_url) as run:
        yield run


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    from tests.postgres import need_postgres  # noqa: PLC0415

    server = PostgresServer(need_postgres())
    yield server
    server.close()


def thread_of(run: Harness) -> CommitThread:
    assert isinstance(run.journal, PostgresJournal)
    assert run.journal._commit_thread is not None
    return run.journal._commit_thread


def backend_of(run: Harness) -> int:
    """Return the process id of the backend that writes."""
    db = thread_of(run)._db
    assert db is not None
    return db.info.backend_pid


def has_delivered(run: NodeHarness, count: int) -> bool:
    return len(run.delivered) >= count


def stored(postgres: PostgresServer) -> list[tuple[int, str]]:
    """Return the lines in the database."""
    return postgres.execute("SELECT seq, text FROM broadcast.lines ORDER BY room, seq", database="shared")


class Loss:
    """The loss of the connection after each call with the *text*, or *before* it is sent. It ends after *times*."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, text: str, times: int = 1, *, before: bool = False) -> None:
        execute = CommitThread._execute
        self.times = times

        def execute_and_lose(
            thread: CommitThread, statement: str, *values: object, at_once: bool
        ) -> Mapping[str, object]:
            is_lost = text in str(values) and self.times > 0
            if is_lost and before:
                self._lose(thread)
            result = execute(thread, statement, *values, at_once=at_once)
            if is_lost:
                self._lose(thread)
            return result

        monkeypatch.setattr(CommitThread, "_execute", execute_and_lose)

    def _lose(self, thread: CommitThread) -> None:
        self.times -= 1
        if thread._db is not None:
            thread._db.close()
        raise psycopg.OperationalError


@pytest.mark.parametrize("before", [False, True], ids=["after the commit", "before it"])
def test_batch_is_sent_again_after_a_lost_connection(
    run: NodeHarness, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    run.append_texts("a")
    loss = Loss(monkeypatch, '"said"', before=before)
    events: list[Event] = [Joined(1, "ann"), message("b"), Left(1, "ann"), message("c")]
    assert run.append(*events) == [events[0], message("b", 2), events[2], message("c", 3)]
    assert loss.times == 0
    assert run.append_texts("d") == [message("d", 4)]
    assert stored(postgres) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert run.journal.commit_stats.last_error == ""


def test_batch_that_loses_a_deadlock_is_sent_again(run: NodeHarness, postgres: PostgresServer) -> None:
    run.append_texts("a")
    writer = backend_of(run)
    with psycopg.connect(postgres.url(), autocommit=True) as other, psycopg.connect(postgres.url()) as watch:
        other.execute("SET search_path TO broadcast")

        def lock_the_other_way_round() -> None:
            while watch.execute("SELECT FROM pg_locks WHERE pid = %s AND NOT granted", (writer,)).fetchone() is None:
                watch.rollback()
                time.sleep(0.01)
            with suppress(psycopg.errors.DeadlockDetected):  # on a very slow machine, this one loses
                other.execute("SELECT FROM writers FOR UPDATE")
            other.execute("ROLLBACK")

        other.execute("BEGIN")
        other.execute("SELECT FROM rooms FOR UPDATE")
        thread = Thread(target=lock_the_other_way_round)
        thread.start()
        assert run.append_texts("b") == [message("b", 2)]
        thread.join()
    assert stored(postgres) == [(1, "a"), (2, "b")]
    assert run.journal.commit_stats.failed_commits == 0


@pytest.mark.parametrize("seconds", [0.0, 4.0])
def test_batch_in_doubt_that_loses_deadlocks_is_sent_again(
    run: NodeHarness, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(commit_thread, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(commit_thread, "RETRY_SECONDS", seconds)
    run.append_texts("a")
    Loss(monkeypatch, '"b"', before=True)
    execute = CommitThread._execute
    deadlocks = 3

    def lose_deadlocks(thread: CommitThread, statement: str, *values: object, at_once: bool) -> Mapping[str, object]:
        nonlocal deadlocks
        if at_once and deadlocks:
            deadlocks -= 1
            thread._db = thread._db or thread._database.connect()
            raise psycopg.errors.DeadlockDetected
        return execute(thread, statement, *values, at_once=at_once)

    monkeypatch.setattr(CommitThread, "_execute", lose_deadlocks)
    assert run.append_texts("b") == [message("b", 2)]
    assert deadlocks == 0
    assert stored(postgres) == [(1, "a"), (2, "b")]


def test_batch_in_doubt_is_neither_confirmed_nor_refused_and_others_do_not_wait(
    run: NodeHarness, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_thread, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(commit_thread, "PAUSE_SECONDS", 0.01)
    run.append_texts("a")
    loss = Loss(monkeypatch, '"b"', times=10**6)
    for event in (message("b"), Joined(1, "ann"), TopicChanged(1, "ann", "tea")):
        run.log.append(event)
    run.calls.run_until(lambda: len(run.delivered) == 2)
    assert run.append(message("c"), Left(1, "ann")) == [StoreFailed(message("c"), UNREACHABLE), Left(1, "ann")]
    assert run.delivered == [message("a", 1), Joined(1, "ann"), StoreFailed(message("c"), UNREACHABLE), Left(1, "ann")]
    loss.times = 0
    run.calls.run_until(lambda: len(run.delivered) == 6)
    assert run.delivered[4:] == [message("b", 2), TopicChanged(1, "ann", "tea")]
    assert run.append_texts("d") == [message("d", 3)]
    assert stored(postgres) == [(1, "a"), (2, "b"), (3, "d")]
    kinds = "SELECT event ->> 0 FROM broadcast.stream ORDER BY place"
    assert postgres.execute(kinds, database="shared") == [("joined",), ("topic",), ("left",)]
    assert postgres.execute("SELECT * FROM broadcast.members", database="shared") == []


def test_batch_in_doubt_that_the_database_then_refuses_is_replaced(
    run: NodeHarness, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_thread, "PAUSE_SECONDS", 0.01)
    run.append_texts("a")
    Loss(monkeypatch, '"b"', before=True)
    postgres.execute("ALTER TABLE broadcast.lines ADD CONSTRAINT no CHECK (text <> 'b')", database="shared")
    try:
        (failure,) = run.append_texts("b")
        assert isinstance(failure, StoreFailed)
        assert "no" in failure.reason
        assert run.append_texts("c") == [message("c", 2)]
    finally:
        postgres.execute("ALTER TABLE broadcast.lines DROP CONSTRAINT no", database="shared")
    assert stored(postgres) == [(1, "a"), (2, "c")]


def test_refused_batch_fails_and_the_next_one_is_stored(run: NodeHarness, postgres: PostgresServer) -> None:
    postgres.execute("ALTER TABLE broadcast.lines ADD CONSTRAINT no CHECK (text <> 'b')", database="shared")
    try:
        result = run.append(message("b"), Joined(1, "ann"))
    finally:
        postgres.execute("ALTER TABLE broadcast.lines DROP CONSTRAINT no", database="shared")
    assert isinstance(result[0], StoreFailed)
    assert result[1] == Joined(1, "ann")
    assert run.journal.commit_stats.failed_events == 1
    assert run.append_texts("c") == [message("c", 1)]
    assert postgres.execute("SELECT nick FROM broadcast.members", database="shared") == [("ann",)]


def test_events_of_a_session_that_another_server_has_take_effect_here_alone_and_are_corrected(
    run: NodeHarness, postgres: PostgresServer
) -> None:
    run.append(Joined(1, "ann"), Joined(2, "bob"), Joined(3, "cem"), AwayChanged(3, "cem", away=True, reason="lunch"))
    insert = """
        INSERT INTO broadcast.sessions (session, token, node, attempt, grace)
        SELECT number, number, 'other', 0, 60 FROM unnest(ARRAY[1, 3, 4]) AS number
    """
    postgres.execute(insert, database="shared")
    leaves = Left(1, "ann"), Left(2, "bob"), Left(3, "cem")
    assert run.append(leaves[0]) == [leaves[0], Joined(1, "ann")]
    assert run.append(message("a"), leaves[1]) == [message("a", 1), leaves[1]]
    assert run.append(message("b"), leaves[1]) == [message("b", 2), leaves[1]]
    assert run.append(leaves[2]) == [leaves[2], Joined(3, "cem"), AwayChanged(3, "cem", away=True, reason="lunch")]
    assert run.append(Joined(4, "dan")) == [Joined(4, "dan"), Left(4, "dan")]
    back = AwayChanged(3, "cem", away=False, reason="")
    assert run.append(back) == [back, AwayChanged(3, "cem", away=True, reason="lunch")]
    assert run.append(message("c")) == [message("c", 3)]
    query = "SELECT event ->> 0, event ->> 2 FROM broadcast.stream ORDER BY place"
    streamed = [("joined", "ann"), ("joined", "bob"), ("joined", "cem"), ("away", "cem"), ("left", "bob")]
    assert postgres.execute(query, database="shared") == streamed


def test_server_stores_nothing_of_a_session_that_it_does_not_have_any_more(
    run: NodeHarness, postgres: PostgresServer
) -> None:
    """It may have been suspended while the session went on at another server, or ended there."""
    postgres.execute(
        """
        INSERT INTO broadcast.leases (node, epoch, until) VALUES ('one', 1, 'infinity');
        INSERT INTO broadcast.people (key, node, session, nick, account, away, away_reason)
            SELECT nick, node, session, nick, 0, false, ''
            FROM (VALUES ('ann', 'one', 1), ('bob', 'other', 2), ('dan', 'one', 7)) AS new (nick, node, session)
        """,
        database="shared",
    )
    run.append(Joined(1, "ann"), TopicChanged(1, "ann", "new"))
    late: list[Event] = [Message(2, "bob", "late", 1.0), Action(2, "bob", "waves", 1.0), TopicChanged(2, "bob", "old")]
    assert run.append(*late, message("a")) == [*(StoreFailed(each, SESSION_LOST) for each in late), message("a", 1)]  # type: ignore[arg-type]
    # The session 3 has ended.
    assert run.append(Joined(3, "cem")) == [Joined(3, "cem"), Left(3, "cem")]
    assert run.append(Message(3, "cem", "late", 1.0)) == [StoreFailed(Message(3, "cem", "late", 1.0), SESSION_LOST)]
    assert run.journal.commit_stats.failed_events == 4
    assert run.append(message("b")) == [message("b", 2)]
    query = "SELECT topic, last, place, (SELECT array_agg(session) FROM broadcast.members) FROM broadcast.rooms"
    assert postgres.execute(query, database="shared") == [("new", 2, 2, [1])]


def test_line_that_is_stored_already_is_answered_although_its_session_has_gone_on_elsewhere(
    run: NodeHarness, postgres: PostgresServer
) -> None:
    first = Message(1, "ann", "a", 1.0, uid="x")
    assert run.append(first) == [Message(1, "ann", "a", 1.0, 1, uid="x")]
    lease = "INSERT INTO broadcast.leases (node, epoch, until) VALUES ('one', 1, 'infinity')"
    postgres.execute(lease, database="shared")
    again = Message(1, "ann", "a", 1.0, uid="x")
    assert run.append(again) == [Repeated(again, 1)]


def test_any_server_can_store_a_file_that_a_session_shares(run: NodeHarness, postgres: PostgresServer) -> None:
    lease = "INSERT INTO broadcast.leases (node, epoch, until) VALUES ('one', 1, 'infinity')"
    postgres.execute(lease, database="shared")
    file = FileInfo("secret", "a.txt", 1, "text/plain", "")
    assert run.append(Shared(1, "ann", file, 1.0)) == [Shared(1, "ann", file, 1.0, 1)]


def test_locked_room_fails_after_a_time_and_works_again(
    run: NodeHarness, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.append_texts("a")
    with postgres.connect("shared") as other, other.transaction():
        other.execute("LOCK TABLE broadcast.rooms")
        (failure,) = run.append_texts("b")
        assert failure == StoreFailed(message("b"), "another program has locked the journal")
    assert run.append_texts("c") == [message("c", 2)]


def test_terminated_backends_lose_no_line_and_repeat_none(run: NodeHarness, postgres: PostgresServer) -> None:
    terminate = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name LIKE 'broadcast %' AND pid <> pg_backend_pid()"""
    for number in range(1, 21):
        for index in range(30):
            run.log.append(message(f"{number} {index}"))
        run.calls.run_pending()
        postgres.execute(terminate)
        run.calls.run_until(partial(has_delivered, run, 30 * number))
    confirmed = [event for event in run.delivered if not isinstance(event, StoreFailed)]
    assert len(confirmed) == len(run.delivered)
    assert stored(postgres) == [(event.seq, event.text) for event in confirmed if isinstance(event, Message)]
    assert seqs(confirmed) == [*range(1, 601)]


def test_killed_database_loses_no_confirmed_line(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_thread, "PROBE_SECONDS", 0.2)

    def restart(number: int) -> None:
        time.sleep(number / 100)
        server.kill()
        server.start()

    with open_postgres(server.url()) as run:
        sent = 0
        for number in range(5):
            killer = Thread(target=restart, args=(number,))
            killer.start()
            while killer.is_alive() or run.journal.commit_stats.last_error:
                for _ in range(5):
                    run.log.append(message(str(sent)))
                    sent += 1
                run.calls.run_until(partial(has_delivered, run, len(run.delivered) + 1))
            killer.join()
        run.calls.run_until(lambda: len(run.delivered) == sent)
        confirmed = [(event.seq, event.text) for event in run.delivered if isinstance(event, Message)]
        assert [seq for seq, _ in confirmed] == [*range(1, len(confirmed) + 1)]
        assert stored(server) == confirmed
    texts = [event.text if isinstance(event, Message) else event.event.text for event in run.delivered]  # type: ignore[union-attr]
    assert texts == [*map(str, range(sent))]


def test_database_that_is_away_refuses_lines_and_passes_other_events(server: PostgresServer) -> None:
    with open_postgres(server.url()) as run:
        run.append_texts("a")
        server.stop()
        began = time.monotonic()
        assert run.append(message("b"), Joined(1, "ann")) == [StoreFailed(message("b"), UNREACHABLE), Joined(1, "ann")]
        assert run.append_texts("c") == [StoreFailed(message("c"), UNREACHABLE)]
        assert time.monotonic() - began < 20
        assert run.journal.commit_stats.last_error == UNREACHABLE
        server.start()
        run.calls.run_pending()
        while run.journal.commit_stats.last_error:
            time.sleep(0.01)
        assert run.append_texts("d") == [message("d", 2)]
        assert server.execute("SELECT nick FROM broadcast.members", database="shared") == [("ann",)]


def test_clients_that_send_the_same_uids_at_once_store_each_line_once(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.connect() as db:
        open_schema(db, database.schema)
    clients, batches = 6, 30
    results: list[list[int]] = []

    def send(node: str) -> None:
        with database.connect() as db:
            (epoch,) = db.execute("SELECT epoch FROM enroll(%s)", (node,)).fetchone() or (0,)
            numbers = []
            for batch in range(1, batches + 1):
                lines = [[batch % 2, "said", 1, node, "x", 1.0, f"{batch}-{index}", None] for index in range(10)]
                call = "SELECT append(%s, %s, %s, ARRAY['b', 'a'], %s)"
                answers = [db.execute(call, (node, epoch, batch, Jsonb(lines))).fetchone() for _ in range(2)]
                assert answers[0] == answers[1]
                assert answers[0] is not None
                begin, repeated = answers[0][0]["rooms"][batch % 2][0], answers[0][0]["repeated"]
                for index in range(10):
                    begin += str(index) not in repeated
                    numbers.append(repeated.get(str(index), begin))
            results.append(numbers)

    threads = [Thread(target=send, args=(f"node{number}",)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == clients
    assert all(numbers == results[0] for numbers in results)
    with database.connect() as db:
        rows = db.execute("SELECT room, count(*), max(seq), count(DISTINCT uid) FROM lines GROUP BY room").fetchall()
        assert [row[1:] for row in rows] == [(batches * 5,) * 3] * 2
        assert db.execute("SELECT last FROM rooms").fetchall() == [(batches * 5,)] * 2


def test_epoch_that_has_ended_stores_nothing_but_confirms_its_last_batch(postgres_url: str) -> None:
    database = Database(postgres_url)
    line = Jsonb([[0, "said", 1, "ann", "x", 1.0, None, None]])
    with database.connect() as db:
        open_schema(db, database.schema)
        db.execute("SELECT enroll('one')")

        def append(epoch: int, batch: int) -> object:
            row = db.execute("SELECT append('one', %s, %s, ARRAY['lobby'], %s)", (epoch, batch, line)).fetchone()
            assert row is not None
            return row[0]

        answer = append(1, 1)
        assert db.execute("SELECT expel('one', 1), expel('one', 1)").fetchone() == (True, False)
        assert append(1, 1) == answer
        for epoch, batch in ((1, 2), (2, 0)):
            with pytest.raises(psycopg.Error, match=r"the server one has lost its lease|too old"):
                append(epoch, batch)
        assert append(2, 2) == {"rooms": [[1, 0]], "repeated": {}, "outdated": {}}


def test_call_that_takes_too_long_closes_its_connection(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broadcast.journals.postgres.database.CALL_SECONDS", 0.1)
    with Database(postgres_url).connect() as db:
        with pytest.raises(psycopg.OperationalError):
            db.execute("SELECT pg_sleep(60)")
        assert isinstance(db, Connection)
        assert db.closed
