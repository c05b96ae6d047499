"""A session that a token can resume goes from server to server, and stays here meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from broadcast.core.directory import SERVER_STOPPED, Expulsion, FoundSession, KeptSession, Person
from broadcast.core.errors import NotHere, RejectedError
from broadcast.core.events import Joined, Left, Message, PrivateMessage, Renamed
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.journal import read_members
from broadcast.journals.postgres.rows import encode, to_row
from tests.journals.postgres.test_directory import Node

ANN = Person(1 << 32, "Ann", 7, away=True, away_reason="lunch", address="192.0.2.7")
KEPT = KeptSession(ANN.session, "hash", 3, 60.0, waits=False)


@pytest.fixture
def nodes(database: Database) -> Iterator[tuple[Node, Node]]:
    """Two servers. Ann is on the first one, in two rooms."""
    nodes = Node(database, "one"), Node(database, "two")
    one, two = nodes
    assert one.take(ANN) is None
    append(one, "lobby", Joined(ANN.session, "Ann"))
    append(one, "attic", Joined(ANN.session, "Ann"))
    one.directory.sessions.keep(KEPT, print)
    find(one)  # after that, the session is stored
    two.until(lambda: two.people == {ANN.session: ANN})
    yield nodes
    for node in nodes:
        node.directory.close()


def append(node: Node, room: str, *events: Any, epoch: int = 1) -> None:  # noqa: ANN401 - events
    """Let *node* store *events* in *room*."""
    rows = [row for event in events if (row := to_row(0, event)) is not None]
    with node.database.connect() as db:
        (batch,) = db.execute("SELECT batch + 1 FROM writers WHERE node = %s", (node.database.node,)).fetchone() or (0,)
        db.execute("SELECT append(%s, %s, %s, %s, %s::jsonb)", (node.database.node, epoch, batch, [room], encode(rows)))


def find(
    node: Node, token: str = "hash", *, attempt: int = 9, force: bool = False
) -> FoundSession | RejectedError | None:
    """Return the session with *token*, as *node* finds it."""
    answers: list[FoundSession | RejectedError | None] = []
    node.directory.sessions.find(token, attempt, answers.append, force=force)
    node.until(lambda: bool(answers))
    return answers[0]


def found_by(node: Node, *, attempt: int = 9, force: bool = False) -> FoundSession:
    """Return the session of Ann, which *node* finds."""
    found = find(node, attempt=attempt, force=force)
    assert isinstance(found, FoundSession)
    return found


def claim(node: Node, found: FoundSession) -> int | RejectedError | None:
    """Return the answer when *node* claims *found*."""
    answers: list[int | RejectedError | None] = []
    node.directory.sessions.claim(found, 4, "192.0.2.8", answers.append)
    node.until(lambda: bool(answers))
    return answers[0]


def park(node: Node, memory: str = "memory") -> RejectedError | None:
    """Return the answer when *node* parks the session of Ann."""
    answers: list[RejectedError | None] = []
    node.directory.sessions.park(ANN.session, memory, answers.append)
    node.until(lambda: bool(answers))
    return answers[0]


def owners(db: Connection) -> set[str]:
    """Return the servers in the rows of the session of Ann."""
    query = """SELECT node FROM sessions UNION ALL SELECT node FROM people WHERE session = %s
        UNION ALL SELECT node FROM members WHERE session = %s"""
    return {node for (node,) in db.execute(query, (ANN.session, ANN.session))}


def streamed(db: Connection, kind: str) -> list[list[Any]]:
    """Return the events of *kind* in the stream."""
    rows = db.execute("SELECT event FROM stream WHERE event ->> 0 = %s ORDER BY room, place", (kind,))
    return [event for (event,) in rows]


def test_rush_of_sessions_is_stored_in_few_calls(
    db: Connection, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = nodes
    calls: list[object] = []
    execute = Connection.execute

    def count(self: Connection, query: Any, *args: Any) -> Any:  # noqa: ANN401 - those of psycopg
        calls.extend([query] * ("change_people_once" in str(query)))
        return execute(self, query, *args)

    monkeypatch.setattr(Connection, "execute", count)
    kept: list[RejectedError | None] = []

    def keep(number: int, _error: RejectedError | None) -> None:
        one.directory.sessions.keep(KeptSession(number, f"hash {number}", 0, 60.0, waits=False), kept.append)

    for number in range(1, 2001):
        one.directory.take(Person(number, f"p{number}"), partial(keep, number))
    one.until(lambda: len(kept) == 2000)
    assert set(kept) == {None}
    assert db.execute("SELECT count(*) FROM sessions WHERE node = 'one'").fetchall() == [(2001,)]
    assert len(calls) < 200


def nicks(db: Connection) -> list[str]:
    """Return the nicknames that are taken."""
    return [nick for (nick,) in db.execute("SELECT nick FROM people ORDER BY nick")]


def test_nickname_is_free_with_the_last_event_that_announces_it(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert one.take(Person(ANN.session, "anna", 7)) is None
    append(one, "lobby", Renamed(ANN.session, "Ann", "anna"))
    assert nicks(db) == ["Ann", "anna"]
    append(one, "attic", Renamed(ANN.session, "Ann", "anna"))
    assert nicks(db) == ["anna"]
    assert two.take(Person(5, "ann")) is None
    append(one, "attic", Left(ANN.session, "anna", "to lobby"))
    assert nicks(db) == ["ann", "anna"]
    append(one, "lobby", Left(ANN.session, "anna", ends_session=True))
    assert nicks(db) == ["ann"]
    two.until(lambda: not two.people)


def test_both_nicknames_are_free_if_the_session_ends_during_a_rename(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    assert one.take(Person(ANN.session, "anna", 7)) is None
    for room in ("lobby", "attic"):
        append(one, room, Left(ANN.session, "Ann", ends_session=True))
    assert nicks(db) == []


def test_nickname_stays_taken_when_its_case_changes(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    assert one.take(Person(ANN.session, "ANN", 7)) is None
    for room in ("lobby", "attic"):
        append(one, room, Renamed(ANN.session, "Ann", "ANN"))
    assert nicks(db) == ["ANN"]


def test_session_that_is_parked_can_be_claimed_by_one_server(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    found = found_by(two)
    assert (found.node, found.attempt, found.grace, found.rooms) == ("one", 3, 60.0, ["attic", "lobby"])
    assert find(one) is None
    assert find(two, "another") is None
    assert claim(two, found) is None
    assert park(one) is None
    found = found_by(two)
    assert (found.node, found.memory, found.person.generation) == ("", "memory", 1)
    assert owners(db) == {""}
    assert claim(two, found) == 2
    assert owners(db) == {"two"}
    assert claim(one, found) is None
    assert find(two) is None
    one.until(lambda: ANN.session in one.people)
    one.until(lambda: one.people[ANN.session].generation == 2)
    person = one.people[ANN.session]
    assert (person.nick, person.account, person.away, person.address) == ("Ann", 7, True, "192.0.2.8")
    assert found_by(one).attempt == 4
    assert streamed(db, "left") == []


def test_former_server_changes_nothing_any_more(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert park(one) is None
    assert claim(two, found_by(two)) == 2
    sessions = one.directory.sessions
    sessions.keep(KEPT, print)
    sessions.end(ANN.session)
    assert isinstance(park(one), NotHere)
    one.directory.update(ANN)
    one.directory.release(ANN.session, "Ann")
    assert one.take(Person(ANN.session, "anna")) is not None
    assert owners(db) == {"two"}
    count = "SELECT count(*) FROM stream"
    before = db.execute(count).fetchall()
    for event in (Left(ANN.session, "Ann", ""), Renamed(ANN.session, "Ann", "anna"), Joined(ANN.session, "Ann")):
        append(one, "lobby", event, Message(ANN.session, "Ann", "last line", 1.0))
    assert db.execute(count).fetchall() == before
    assert db.execute("SELECT count(*) FROM lines").fetchall() == [(0,)]
    two.directory.release(ANN.session, "Ann", 2)
    find(two)  # after that, the nickname is free
    assert one.take(Person(5, "ann")) is None


def test_server_that_opens_a_room_reads_the_generation_of_its_members(db: Connection, nodes: tuple[Node, Node]) -> None:
    """Otherwise a server that has claimed a session could take an old event of it for one of a later server."""
    one, two = nodes
    generations = []
    for node in ("two", "one"):
        _, _, (joined, *_) = read_members(db, "lobby", 0, node)
        assert isinstance(joined, Joined)
        generations.append(joined.generation)
        if node == "two":
            park(one)
            claim(two, found_by(two))
    assert generations == [0, 2]


def test_session_is_not_parked_during_a_rename(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert one.take(Person(ANN.session, "anna")) is None
    assert isinstance(park(one), NotHere)
    assert found_by(two, force=True).node == "one"
    one.directory.release(ANN.session, "Ann")
    assert park(one) is None


def test_session_of_a_server_that_does_not_answer_is_taken(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    with one.database.connect() as writer, writer.transaction():
        writer.execute("SELECT FROM writers WHERE node = 'one' FOR UPDATE")  # a batch in flight
        assert found_by(two, force=True).node == "one"
    found = found_by(two, force=True, attempt=KEPT.attempt)
    assert (found.node, found.attempt) == ("one", KEPT.attempt)  # its client has come back there meanwhile
    found = found_by(two, force=True)
    assert (found.node, found.memory) == ("", "")
    one.until(lambda: ANN.session in one.people and one.people[ANN.session].generation == 1)
    assert claim(two, found) == 2
    assert owners(db) == {"two"}


@pytest.mark.parametrize("how", ["killed", "removed", "ended", "started"])
def test_session_outlives_its_server(database: Database, db: Connection, nodes: tuple[Node, Node], how: str) -> None:
    one, two = nodes
    one.take(Person(5, "bob"))
    append(one, "lobby", Joined(5, "bob"))
    find(one)
    if how == "killed":  # the session can be claimed before the lease has run out
        one.directory._is_lost = True
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'broadcast one'")
    elif how == "removed":
        db.execute("SELECT end_lease('one', 1)")
    elif how == "ended":
        one.directory.close()
    else:
        one.directory.close()
        one = Node(database, "one")
    found = found_by(two)
    while found.node:
        found = found_by(two)
    assert found.node == ""
    assert claim(two, found) is not None
    assert owners(db) == {"two"}
    if how != "killed":
        reason = "connection lost" if how == "removed" else SERVER_STOPPED
        assert streamed(db, "left") == [["left", 5, "bob", reason, "", False, 0]]
        two.until(lambda: 5 not in two.people)
    if how == "started":
        one.until(lambda: ANN.session in one.people)
        one.directory.close()


def test_session_that_nobody_claims_leaves(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert park(one) is None
    db.execute("SELECT end_parked()")
    assert owners(db) == {""}
    db.execute("UPDATE sessions SET until = now() - interval '1 second'")
    assert find(two) is None
    db.execute("SELECT end_parked()")
    assert owners(db) == set()
    assert streamed(db, "left") == [["left", ANN.session, "Ann", "connection lost", "", False, 1]] * 2
    two.until(lambda: not two.people)
    assert two.take(Person(5, "ann")) is None


def test_grace_that_has_begun_goes_on_when_the_server_dies(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.directory.sessions.keep(KeptSession(ANN.session, "hash", 3, 0.0, waits=True), print)
    find(one)
    db.execute("SELECT end_lease('one', 1)")
    assert find(two) is None
    db.execute("SELECT end_parked()")
    assert owners(db) == set()


def test_messages_to_a_parked_session_wait_for_its_next_server(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert park(one) is None
    messages = [PrivateMessage(5, "bob", ANN.session, text) for text in ("one", "two")]
    answers: list[RejectedError | None] = []
    two.directory.send(messages[0], answers.append)
    two.directory.send(messages[1], answers.append)
    two.until(lambda: len(answers) == 2)
    assert answers == [None, None]
    one.directory.send(PrivateMessage(6, "carol", ANN.session, "hi"), answers.append)
    one.until(lambda: len(answers) == 3)
    assert claim(two, found_by(two)) == 2
    two.until(lambda: len(two.received) == 3)
    assert two.received == [*messages, PrivateMessage(6, "carol", ANN.session, "hi")]


def test_parked_session_that_is_kicked_leaves(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert park(one) is None
    answers: list[RejectedError | None] = []
    two.directory.send(Expulsion(ANN.session, "kicked by olga", "You were kicked", "olga"), answers.append)
    two.until(lambda: bool(answers))
    assert answers == [None]
    assert streamed(db, "left") == [["left", ANN.session, "Ann", "kicked by olga", "olga", False, 1]] * 2
