"""The servers of a cluster share their nicknames, know each other's people, and pass messages on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event as Flag
from time import monotonic
from typing import Any

import msgspec
import psycopg
import pytest

from broadcast.core.decisions import Announcement, Decision, LastingDecision, Mute, SlowMode
from broadcast.core.directory import Expulsion, NodeMessage, OnDirectory, Person
from broadcast.core.errors import DatabaseAway, NotHere, RecipientNotReading, RejectedError
from broadcast.core.events import PrivateMessage
from broadcast.core.records import PrivateLine
from broadcast.core.remote_listener import ignore_outcome
from broadcast.journals.postgres import directory
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.directory import PostgresDirectory
from broadcast.journals.postgres.leases import LeaseLost, renew_lease, start_lease
from broadcast.journals.postgres.mail import Mail
from tests.postgres import wait_for

PATIENCE = 20.0
"""Maximum time that an answer may take, in seconds."""
ANN = Person(1 << 32, "Ann", 7, away=True, away_reason="lunch", address="192.0.2.7")


class Node:
    """A server with nothing but a directory. It is the listener."""

    def __init__(self, database: Database, name: str, *, unicode: bool = False) -> None:
        self.people: dict[int, Person] = {}
        self.received: list[NodeMessage | Decision] = []
        self.loaded: list[LastingDecision] = []
        self.refuses: RejectedError | None = None
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.database = Database(database.url, database.schema, name)
        db = self.database.connect()
        self.lost = 0
        self.directory = PostgresDirectory(self.database, self._calls.put, self._lose, unicode=unicode)
        self.directory.start(db, start_lease(db, name).epoch)
        self.directory.watch(self)

    def _lose(self) -> None:
        self._calls.put(self._count_loss)

    def _count_loss(self) -> None:
        self.lost += 1

    def until(self, done: Callable[[], bool]) -> None:
        """Run the calls on the reactor's thread until *done*."""
        end = monotonic() + PATIENCE
        while not done():
            assert monotonic() < end
            self._calls.get(timeout=PATIENCE)()

    def take(self, person: Person) -> RejectedError | None:
        """Take a nickname and return the answer."""
        answers: list[RejectedError | None] = []
        self.directory.take(person, answers.append)
        self.until(lambda: bool(answers))
        return answers[0]

    def person_changed(self, person: Person) -> None:
        self.people[person.session] = person

    def person_left(self, session: int, nick: str) -> None:
        if self.people[session].nick.lower() == nick.lower():
            del self.people[session]

    def receive(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        self.received.append(message)
        on_taken(self.refuses)

    def carry_out(self, decision: Decision) -> None:
        self.received.append(decision)

    def decisions_loaded(self, decisions: Sequence[LastingDecision]) -> None:
        self.loaded = [*decisions]

    def look_up(self, *nicks: str) -> Mapping[str, int] | RejectedError:
        """Look *nicks* up and return the answer."""
        answers: list[Mapping[str, int] | RejectedError] = []
        self.directory.look_up(nicks, answers.append)
        self.until(lambda: bool(answers))
        return answers[0]

    def records_changed(self, changes: object) -> None:
        raise AssertionError(changes)

    def records_reloaded(self, stored: object) -> None:
        raise AssertionError(stored)


@pytest.fixture
def nodes(database: Database) -> Iterator[tuple[Node, Node]]:
    """Two servers."""
    nodes = Node(database, "one"), Node(database, "two")
    yield nodes
    for node in nodes:
        node.directory.close()


def test_nickname_that_one_server_has_taken_is_refused_by_the_other(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert one.take(ANN) is None
    answer = two.take(Person(2 << 32, "ANN"))
    assert str(answer) == "ANN is taken."
    two.until(lambda: two.people == {ANN.session: ANN})
    one.directory.release(ANN.session, "ann")
    two.until(lambda: not two.people)
    assert two.take(Person(2 << 32, "ANN")) is None


def test_server_knows_whether_others_run(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    for node in nodes:
        wait_for(lambda node=node: node.directory.has_other_nodes, "the other server is not known")  # type: ignore[misc]
    two.directory.close()
    wait_for(lambda: not one.directory.has_other_nodes, "the end of the other server is not known")
    assert isinstance(two.look_up("ann"), DatabaseAway), "nothing waits for a server that has ended"


def test_session_may_take_its_nickname_again_and_another_one(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert [one.take(Person(1, nick)) for nick in ("ann", "Ann", "anna")] == [None] * 3
    one.directory.release(1, "Ann")
    assert one.take(Person(1, "anna")) is None  # this comes after the release
    two.until(lambda: two.people == {1: Person(1, "anna")})
    assert two.take(Person(2, "ann")) is None


def test_lookalike_is_refused(database: Database) -> None:
    node = Node(database, "one", unicode=True)
    try:
        assert node.take(Person(1, "anna")) is None
        assert "looks too much like anna" in str(node.take(Person(2, "\u0430nna")))
    finally:
        node.directory.close()


def test_many_changes_at_once_reach_the_other_server(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    answers: list[RejectedError | None] = []
    for number in range(1, 1001):
        one.directory.take(Person(number, f"p{number}"), answers.append)
    one.until(lambda: len(answers) == 1000)
    assert set(answers) == {None}
    two.until(lambda: len(two.people) == 1000)
    one.directory.update(Person(5, "p5", away=True))
    two.until(lambda: two.people[5].away)


def test_lease_is_renewed_while_changes_come_without_a_pause(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "RENEW_SECONDS", 0.0)
    one = nodes[0].directory
    ends: set[float] = set()
    enough = Flag()

    def change() -> None:
        while not enough.is_set():
            one.release(1, "ann")

    def is_renewed() -> bool:
        ends.add(one.lease_end)
        return len(ends) > 3

    with ThreadPoolExecutor() as pool:
        pool.submit(change)
        try:
            wait_for(lambda: len(one._changes) > directory.MAX_CHANGES, "the changes are made too soon")
            wait_for(is_renewed, "the lease is not renewed")
        finally:
            enough.set()


def test_mail_is_read_by_its_recipient_only_and_once_for_many_notifications(
    database: Database, db: Connection, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = nodes
    three = Node(database, "three")
    reads: Counter[str] = Counter()

    def count(mail: Mail, db: Connection) -> None:
        reads[mail._node] += 1
        read(mail, db)

    read = Mail.read
    answers: list[RejectedError | None] = []
    try:
        assert one.take(ANN) is None
        three.until(lambda: ANN.session in three.people)
        assert one.take(Person(2, "zoe")) is None
        three.until(lambda: 2 in three.people)  # it has read everything that was there when it started
        monkeypatch.setattr(Mail, "read", count)
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(hashtext(people_channel()), 1)")  # only the first change begins
            for _ in range(50):
                two.directory.send(PrivateMessage(1, "bob", ANN.session, "hi"), answers.append)
        one.until(lambda: len(one.received) == 50)
        two.until(lambda: len(answers) == 50)
        assert one.take(Person(2, "zoey")) is None
        three.until(lambda: three.people[2].nick == "zoey")  # it has handled the news about the mail before
        assert 1 <= reads["one"] <= 4
        assert reads["three"] == 0
    finally:
        three.directory.close()


@pytest.mark.parametrize(
    "message",
    [
        PrivateMessage(
            1, "bob", ANN.session, "psst \u2028 \x07", 3.5, 4, PrivateLine(1, 3.5, 4, "b", 7, "a", "t", False)
        ),
        Expulsion(ANN.session, "kicked by bob", "You were kicked", "bob"),
        PrivateMessage(1, "bob", ANN.session, "x" * 100_000),
    ],
)
def test_message_reaches_the_server_of_its_recipient(nodes: tuple[Node, Node], message: NodeMessage) -> None:
    one, two = nodes
    assert one.take(ANN) is None
    answers: list[RejectedError | None] = []
    two.directory.send(message, answers.append)
    one.until(lambda: bool(one.received))
    assert one.received == [message]
    two.until(lambda: bool(answers))
    assert answers == [None]


def test_refusal_of_the_recipient_reaches_the_sender(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.refuses = RecipientNotReading("ann does not read.")
    assert one.take(ANN) is None
    answers: list[RejectedError | None] = []
    two.directory.send(PrivateMessage(1, "bob", ANN.session, "hi"), answers.append)
    one.until(lambda: bool(one.received))
    two.until(lambda: bool(answers))
    assert isinstance(answers[0], RecipientNotReading)
    assert str(answers[0]) == "ann does not read."


def test_message_to_nobody_fails(nodes: tuple[Node, Node]) -> None:
    answers: list[RejectedError | None] = []
    nodes[0].directory.send(PrivateMessage(1, "bob", 9, "hi"), answers.append)
    nodes[0].until(lambda: bool(answers))
    assert isinstance(answers[0], NotHere)


def test_decisions_reach_all_others(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert two.take(ANN) is None
    decisions: list[Decision] = [Mute(1, None, None), SlowMode("lobby", 5), Announcement("tea")]
    for decision in decisions:
        one.directory.publish(decision, ignore_outcome)
    two.until(lambda: len(two.received) == 3)
    assert two.received == decisions


def test_all_servers_receive_the_decisions_in_one_order(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    for seconds in range(1, 40):
        nodes[seconds % 2].directory.publish(SlowMode("lobby", seconds, seconds), ignore_outcome)
    one.directory.publish(Announcement("end"), ignore_outcome)
    one.until(lambda: len(one.received) == 39)
    two.until(lambda: len(two.received) == 40)
    assert one.received == [decision for decision in two.received if decision != Announcement("end")]


def test_decisions_that_hold_reach_a_server_that_starts(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert one.take(Person(1, "ann")) is None
    for decision in (
        Mute(1, None, None), Mute(None, 7, 5.5), Mute(None, 8, None), Mute(None, 8, 0), SlowMode("lobby", 5),
        SlowMode("attic", 5), SlowMode("attic", 0), SlowMode("lobby", 9), Announcement("tea"),
    ):  # fmt: skip
        one.directory.publish(decision, ignore_outcome)
    two.until(lambda: len(two.received) == 9)
    three = Node(one.database, "three")
    try:
        three.until(lambda: len(three.loaded) == 3)
        assert set(three.loaded) == {Mute(1, None, None), Mute(None, 7, 5.5), SlowMode("lobby", 9)}
    finally:
        three.directory.close()
    one.directory.release(1, "ann")
    one.directory.publish(SlowMode("attic", 1), ignore_outcome)
    two.until(lambda: len(two.received) == 10)
    assert {key for (key,) in db.execute("SELECT key FROM decisions")} == {"account 7", "room attic", "room lobby"}


def without_news(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let *node* receive no notification from now on."""
    monkeypatch.setattr(node.directory, "_handle_news", lambda _db: node.directory._news.clear())


def test_looked_up_person_is_known_before_the_answer(nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = nodes
    assert one.take(Person(1, "Ann")) is None
    two.until(lambda: 1 in two.people)
    without_news(two, monkeypatch)
    assert one.take(Person(1, "Anna")) is None
    one.directory.release(1, "Ann")
    assert one.take(Person(2, "Carol")) is None
    assert two.look_up("carol", "nobody") == {"carol": 2}
    assert {person.nick for person in two.people.values()} == {"Ann", "Carol"}
    assert two.look_up("anna", "ann") == {"anna": 1}
    assert {person.nick for person in two.people.values()} == {"Anna", "Carol"}
    one.directory.release(1, "Anna")
    assert one.look_up("anna") == {}  # this comes after the release
    assert two.take(Person(3, "anna")) is None
    assert two.look_up("anna") == {"anna": 3}
    assert {person.nick for person in two.people.values()} == {"Anna", "Carol"}


def test_person_is_looked_up_with_those_who_look_alike(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Node(database, "one", unicode=True), Node(database, "two", unicode=True)
    try:
        without_news(two, monkeypatch)
        assert one.take(Person(1, "anna")) is None
        assert two.look_up("\u0430nna") == {"anna": 1}
        assert two.people[1].nick == "anna"
    finally:
        one.directory.close()
        two.directory.close()


def test_look_up_fails_without_a_lease(db: Connection, nodes: tuple[Node, Node]) -> None:
    db.execute("SELECT end_lease('one', epoch) FROM leases WHERE node = 'one'")
    assert isinstance(nodes[0].look_up("ann"), DatabaseAway)


def test_news_that_came_before_an_answer_are_passed_on_before_it(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    for number in range(1, 30):
        assert one.take(Person(number, f"p{number}")) is None
        assert two.take(Person(100 + number, f"q{number}")) is None
        assert number in two.people


def test_people_of_a_dead_server_are_removed(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert one.take(ANN) is None
    two.until(lambda: bool(two.people))
    db.execute("UPDATE people SET node = 'dead'")
    db.execute("SELECT enroll('dead')")
    db.execute("INSERT INTO rooms (name) VALUES ('lobby')")
    db.execute(
        "INSERT INTO members (room, session, node, nick) SELECT id, %s, 'dead', 'Ann' FROM rooms", (ANN.session,)
    )
    db.execute("INSERT INTO leases VALUES ('dead', 1, now() - interval '1 second')")
    db.execute("UPDATE leases SET since = now() - interval '1 hour' WHERE node <> 'dead'")
    two.until(lambda: not two.people)
    (event,) = db.execute("SELECT event FROM stream").fetchall()
    assert event[0] == ["left", ANN.session, "Ann", "connection lost", "", False, 0]
    assert db.execute("SELECT epoch FROM writers WHERE node = 'dead'").fetchall() == [(2,)]
    assert two.take(Person(2, "ann")) is None


def test_people_of_a_server_that_ends_are_removed(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert one.take(ANN) is None
    two.until(lambda: bool(two.people))
    one.directory.close()
    two.until(lambda: not two.people)


def test_server_that_starts_removes_its_former_people(database: Database, db: Connection) -> None:
    db.execute("INSERT INTO people VALUES ('ann', NULL, 'one', 1, 'ann', 0, false, '', NULL)")
    node = Node(database, "one")
    assert node.take(Person(2, "ann")) is None
    node.directory.close()


def test_people_are_compared_after_the_connection_was_lost(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert one.take(ANN) is None
    two.until(lambda: bool(two.people))
    db.execute("DELETE FROM people")
    db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'broadcast two'")
    two.until(lambda: not two.people)
    assert two.take(Person(2, "ann")) is None


def cut_after(node: Node, monkeypatch: pytest.MonkeyPatch, statement: str) -> list[str]:
    """Let the connection of *node* break once, right after *statement* has taken effect in the database."""
    cuts: list[str] = []
    execute = Connection.execute

    def execute_once(self: Connection, query: Any, *args: Any) -> Any:  # noqa: ANN401 - those of psycopg
        cursor = execute(self, query, *args)
        if statement in str(query) and self is node.directory._db and not cuts:
            cuts.append(str(query))
            self.close()
            raise psycopg.OperationalError
        return cursor

    monkeypatch.setattr(Connection, "execute", execute_once)
    return cuts


@pytest.mark.parametrize("statement", ["change_people_once", "DELETE FROM mail", "FROM mail"])
def test_message_arrives_once_although_the_connection_breaks(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    one, two = nodes
    assert one.take(ANN) is None
    cuts = cut_after(one if "mail" in statement else two, monkeypatch, statement)
    answers: list[RejectedError | None] = []
    messages: list[NodeMessage] = [PrivateMessage(1, "bob", ANN.session, str(number)) for number in range(5)]
    for message in messages:
        two.directory.send(message, answers.append)
    one.until(lambda: len(one.received) >= 5)
    two.until(lambda: len(answers) == 5)
    assert one.received == messages
    assert set(answers) == {None}
    assert len(cuts) == 1


def test_decision_reaches_a_server_that_is_reconnecting(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'broadcast two'")
    one.directory.publish(Announcement("tea"), ignore_outcome)
    two.until(lambda: two.received == [Announcement("tea")])


def test_old_message_is_not_delivered(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert one.take(ANN) is None
    for age, text in ((60.0, "old"), (0.0, "new")):
        body = json.dumps(
            ["message", 1, "PrivateMessage", msgspec.to_builtins(PrivateMessage(1, "bob", ANN.session, text))]
        )
        mail = """INSERT INTO mail (node, sender, body, stored)
            VALUES ('one', 'two', %s, now() - make_interval(secs => %s))"""
        db.execute(mail, (body, age))
    two.directory.publish(Announcement("tea"), ignore_outcome)  # the notification
    one.until(lambda: len(one.received) == 2)
    assert one.received == [PrivateMessage(1, "bob", ANN.session, "new"), Announcement("tea")]


def test_removed_server_makes_no_changes(db: Connection, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    db.execute("SELECT end_lease(node, epoch) FROM writers WHERE node = 'one'")
    taken: list[RejectedError | None] = []
    one.directory.take(ANN, taken.append)
    one.until(lambda: one.lost == 1)
    one.directory.close()
    sent: list[RejectedError | None] = []
    one.directory.send(PrivateMessage(1, "bob", ANN.session, "hi"), sent.append)
    one.until(lambda: bool(sent))
    assert [type(answer) for answer in [*taken, *sent]] == [DatabaseAway] * 2  # one answer to each
    assert db.execute("SELECT * FROM people").fetchall() == []
    assert two.take(ANN) is None


def test_server_that_was_suspended_looks_at_its_lease_before_it_handles_news(
    database: Database, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Callable[[], None]] = []
    suspended = PostgresDirectory(Database(database.url, database.schema, "one"), calls.append, unicode=False)
    own = database.connect()
    suspended.start(own, start_lease(own, "one").epoch)
    suspended._must_load = False  # there is no listener
    suspended._listen(own)
    renewals: list[int] = []

    def renew(db: Connection, node: str, epoch: int) -> None:
        renewals.append(epoch)
        if len(renewals) > 1:  # the first one is that before the suspension
            renew_lease(db, node, epoch)

    monkeypatch.setattr(directory, "RENEW_SECONDS", 0.0)
    monkeypatch.setattr(directory, "renew_lease", renew)
    suspended._next_renewal = 0.0
    with db.transaction():
        db.execute("SELECT end_lease('one', epoch) FROM leases")
        row = {"key": "ann", "look": None, **msgspec.to_builtins(ANN)}
        db.execute("SELECT change_people('two', %s::jsonb)", (json.dumps([["take", row]]),))
    with pytest.raises(LeaseLost):
        suspended._work(own)
    assert (len(renewals), suspended._people._known) == (2, {})
    suspended.close()


def test_change_that_the_database_refuses_does_not_stop_the_others(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    answers: list[RejectedError | None] = []
    one.directory.take(Person(1 << 70, "ann"), answers.append)
    one.until(lambda: bool(answers))
    assert "refuses" in str(answers[0])
    assert one.take(ANN) is None
