"""A server that others have removed can write nothing, and starts anew with another epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.events import Announced, Event, Joined, Left, Message, StoreFailed
from broadcast.core.interfaces import OpenedRoom
from broadcast.journals.postgres import commit_thread
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.journal import LEASE_LOST, LINES_LOST, PostgresJournal
from broadcast.journals.postgres.leases import LeaseLost, renew_lease, start_lease
from tests.journals.contract import message
from tests.journals.postgres.support import NodeHarness, open_postgres
from tests.journals.postgres.test_commit_thread import UNREACHABLE, Loss
from tests.postgres import wait_for

TIMES = 10**6
LOST = "this server has lost its lease"
END_CONNECTIONS = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE application_name IN ('broadcast one', 'broadcast two')"""
REMOVE = "SELECT expel(node, epoch), forget_people(node) FROM writers WHERE node = 'one'"


class Server:
    """The server *name*, which notes why it must start anew."""

    def __init__(self, stack: ExitStack, url: str, name: str) -> None:
        self.run: NodeHarness = stack.enter_context(open_postgres(url, name))
        journal = self.run.journal
        assert isinstance(journal, PostgresJournal)
        self.journal = journal
        self.lost: list[str] = []
        journal.on_lost = self.lost.append

    def wait(self) -> str:
        """Wait until it must start anew, and return why."""
        self.run.calls.run_until(lambda: bool(self.lost))
        (line,) = self.lost
        return line

    def restart(self) -> OpenedRoom:
        """Start anew."""
        opened: list[OpenedRoom | JournalError] = []
        self.journal.restart("lobby", 10, opened.append)
        self.run.calls.run_until(lambda: bool(opened))
        (room,) = opened
        assert isinstance(room, OpenedRoom)
        return room


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def one(stack: ExitStack, database: Database) -> Server:
    return Server(stack, database.url, "one")


@pytest.fixture
def two(stack: ExitStack, database: Database, one: Server) -> Server:
    return Server(stack, database.url, "two")


def received(room: OpenedRoom, server: Server, count: int) -> Sequence[Event]:
    """Return the first events of *room*."""
    events: list[Event] = []
    room.log.subscribe(lambda batch, _foreign=(): events.extend(batch))
    server.run.calls.run_until(lambda: len(events) >= count)
    return events


def test_removed_server_stores_nothing_and_reads_no_leave_of_its_own_people(
    db: Connection, one: Server, two: Server
) -> None:
    one.run.append(Joined(1, "ann"), message("a"))
    two.run.append(message("b"))
    one.run.calls.run_until(lambda: len(one.run.delivered) == 3)
    db.execute(REMOVE)
    assert one.wait() == LEASE_LOST
    one.run.log.append(message("c"))
    one.run.calls.run_until(lambda: isinstance(one.run.delivered[-1], StoreFailed))
    assert one.run.delivered[:-1] == [Joined(1, "ann"), message("a", 1), message("b", 2)]
    two.run.calls.run_until(lambda: len(two.run.delivered) == 4)
    assert two.run.delivered[-1] == Left(1, "ann", "connection lost")
    assert (one.lost, two.lost) == ([LEASE_LOST], [])


def test_author_of_a_batch_in_doubt_gets_an_answer_before_the_server_starts_anew(
    db: Connection, one: Server, two: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_thread, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(commit_thread, "PAUSE_SECONDS", 0.01)
    one.run.append(Joined(1, "ann"), message("a"))
    loss = Loss(monkeypatch, '"in doubt"', times=TIMES, before=True)
    one.run.log.append(message("in doubt"))
    one.run.calls.run_pending()
    wait_for(lambda: loss.times < TIMES, "the line was not sent")  # otherwise the next one is in the same batch
    assert one.run.append(message("b")) == [StoreFailed(message("b"), UNREACHABLE)]
    db.execute(REMOVE)
    one.wait()
    goodbye = Announced("Connect again.")
    one.run.log.append(goodbye)
    one.run.calls.run_pending()
    tries = loss.times
    wait_for(lambda: loss.times < tries - 1, "the line was not sent again")
    loss.times = 0
    one.run.calls.run_until(lambda: len(one.run.delivered) == 5)
    assert one.run.delivered[3:] == [StoreFailed(message("in doubt"), LOST), goodbye]


def test_removed_server_starts_anew_in_the_same_process(db: Connection, one: Server, two: Server) -> None:
    one.run.append(Joined(1, "ann"), message("a"))
    two.run.append(Joined(2, "bob"))
    db.execute(REMOVE)
    one.wait()
    one.run.log.append(Left(1, "ann"))
    room = one.restart()
    assert (room.last_seq, room.recent) == (1, [message("a", 1)])
    assert one.journal.commit_stats.last_error == ""
    room.log.append(Joined(3, "ann"))
    room.log.append(message("b"))
    assert received(room, one, 3) == [Joined(2, "bob"), Joined(3, "ann"), message("b", 2)]
    two.run.calls.run_until(lambda: len(two.run.delivered) == 6)
    leaves = [event for event in two.run.delivered if isinstance(event, Left)]
    assert leaves == [Left(1, "ann", "connection lost")]


def test_failed_start_can_be_tried_again(
    db: Connection, one: Server, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    db.execute(REMOVE)
    one.wait()
    results: list[OpenedRoom | JournalError] = []
    with monkeypatch.context() as patch:
        patch.setattr(one.journal, "_database", Database("postgresql://chat@127.0.0.1:1/chat"))
        one.journal.restart("lobby", 10, results.append)
        one.run.calls.run_until(lambda: bool(results))
    assert isinstance(results[0], JournalError)
    assert one.restart().last_seq == 0


@pytest.mark.parametrize("is_noticed_by_tail", [False, True])
def test_database_that_has_lost_lines_gets_another_id_once(
    db: Connection, one: Server, two: Server, monkeypatch: pytest.MonkeyPatch, is_noticed_by_tail: bool
) -> None:
    before = one.journal.id
    one.run.append(*map(message, "abc"))
    two.run.calls.run_until(lambda: len(two.run.delivered) == 3)
    if not is_noticed_by_tail:
        monkeypatch.setattr("broadcast.journals.postgres.tail.POLL_SECONDS", 60.0)
        two.run.append(message("d"))  # the tails have taken the new time
        one.run.calls.run_until(lambda: len(one.run.delivered) == 4)
    db.execute("DELETE FROM lines WHERE seq > 1")
    db.execute("UPDATE rooms SET last = 1")
    if not is_noticed_by_tail:
        one.run.log.append(message("e"))
    for server in (one, two):
        assert server.wait() in {LINES_LOST.format("lobby"), LEASE_LOST}
        assert not any(isinstance(event, Message) and event.text == "e" for event in server.run.delivered)
    rooms = [server.restart() for server in (one, two)]
    assert one.journal.id == two.journal.id != before
    assert {room.last_seq for room in rooms} == {1 + (not is_noticed_by_tail)}


def test_lost_lines_are_noticed_although_others_have_filled_their_numbers(db: Connection, one: Server) -> None:
    before = one.journal.id
    one.run.append(*map(message, "abc"))
    with db.transaction():
        db.execute("UPDATE lines SET session = 99, text = 'new' WHERE seq = 3")
        db.execute("UPDATE rooms SET last = 4")
        db.execute("INSERT INTO lines SELECT room, 4, at, kind, session, nick, text FROM lines WHERE seq = 3")
        db.execute(END_CONNECTIONS)  # before it can read these lines
    assert one.wait() == LINES_LOST.format("lobby")
    assert one.restart().last_seq == 4
    assert one.journal.id != before


def test_lost_connection_alone_ends_no_visit(db: Connection, one: Server, two: Server) -> None:
    one.run.append(Joined(1, "ann"), *map(message, "abc"), Left(1, "ann"))
    db.execute(END_CONNECTIONS)
    two.run.append(message("d"))
    for server in (one, two):
        server.run.calls.run_until(lambda server=server: server.run.delivered[-1:] == [message("d", 4)])  # type: ignore[misc]
        assert server.lost == []


def test_lease_is_renewed_by_its_epoch_only(database: Database, db: Connection) -> None:
    first = start_lease(db, "one")
    renew_lease(db, "one", first.epoch)
    with database.connect() as other:
        db.execute("UPDATE leases SET until = now() - interval '1 second'")
        second = start_lease(other, "one")
        with pytest.raises(LeaseLost):
            renew_lease(db, "one", first.epoch)
        renew_lease(other, "one", second.epoch)


def test_lease_that_nobody_has_ended_goes_on_after_a_pause_of_the_database(db: Connection) -> None:
    epochs = {name: start_lease(db, name).epoch for name in ("one", "two")}
    db.execute("UPDATE leases SET until = now() - interval '1 second', since = now() - interval '1 hour'")
    for name, epoch in epochs.items():
        renew_lease(db, name, epoch)
    assert db.execute("SELECT count(*) FROM leases WHERE until > now()").fetchone() == (2,)


def test_dead_server_whose_rows_are_locked_is_removed_later(database: Database, db: Connection) -> None:
    epochs = {name: start_lease(db, name).epoch for name in ("dead", "one")}
    db.execute("UPDATE leases SET since = now() - interval '1 hour'")
    db.execute("UPDATE leases SET until = now() - interval '1 second' WHERE node = 'dead'")
    with database.connect() as other, other.transaction():
        other.execute("SELECT FROM writers WHERE node = 'dead' FOR UPDATE")
        renew_lease(db, "one", epochs["one"])
        assert db.execute("SELECT node FROM leases ORDER BY node").fetchall() == [("dead",), ("one",)]
    renew_lease(db, "one", epochs["one"])
    assert db.execute("SELECT node FROM leases").fetchall() == [("one",)]
