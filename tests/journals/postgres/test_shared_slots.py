"""The slots of uploads are those of all servers, and so are their limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from broadcast.core.directory import Person
from broadcast.core.errors import Busy, FileRejected, RejectedError
from broadcast.core.limits import Limits
from broadcast.core.slots import MAX_UPLOADS, OPEN_SECONDS, UPLOAD_SECONDS, Slot
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.shared_slots import PostgresSlots
from tests.journals.postgres.test_directory import Node

ANN = Person(1 << 32, "Ann")
LIMITS = Limits(files_total=100_000)
_numbers = count(1)


class Server:
    """A server, and its slots."""

    def __init__(self, database: Database, name: str, limits: Limits = LIMITS) -> None:
        self.node = Node(database, name)
        self.slots: PostgresSlots = self.node.directory.make_slots(limits)

    def wait_for(self, call: Callable[[Callable[[Any], None]], None]) -> Any:  # noqa: ANN401 - an answer
        """Return what *call* gives to its callback."""
        answers: list[Any] = []
        call(answers.append)
        self.node.until(lambda: bool(answers))
        return answers[0]

    def open(self, **values: Any) -> Any:  # noqa: ANN401 - fields
        """Return the result of opening a slot of Ann with these *values*."""
        slot = make_slot(**values)
        return self.wait_for(lambda on_open: self.slots.open(slot, on_open))

    def opened(self, **values: Any) -> Slot:  # noqa: ANN401 - fields
        """Return a new slot of Ann, which is not refused."""
        slot = self.open(**values)
        assert isinstance(slot, Slot), slot
        return slot

    def find(self, token: str) -> Slot | None:
        """Return the slot with *token*."""
        slot = self.wait_for(lambda on_found: self.slots.find(token, on_found))
        assert not isinstance(slot, RejectedError)
        return slot  # type: ignore[no-any-return]

    def begin(self, slot: Slot, size: int = 5, address: str | None = None, name: str = "a") -> RejectedError | None:
        """Return the result of beginning an upload."""
        result: RejectedError | None = self.wait_for(
            lambda on_begun: self.slots.begin(slot, size, address, name, on_begun)
        )
        return result


def make_slot(**values: Any) -> Slot:  # noqa: ANN401 - fields
    """Return a slot of Ann for a link, with these *values*."""
    number = next(_numbers)
    slot = Slot(
        f"token{number}", f"file{number}", ANN.session, "lobby", "address 192.0.2.7", "", None, "", "", "", 0.0,
        is_link=True,
    )  # fmt: skip
    return replace(slot, **values)


@pytest.fixture
def servers(database: Database) -> Iterator[tuple[Server, Server]]:
    """Two servers. Ann is on the first one."""
    servers = Server(database, "one"), Server(database, "two")
    assert servers[0].node.take(ANN) is None
    yield servers
    for server in servers:
        server.node.directory.close()


def why(result: object) -> tuple[str, int | None]:
    """Return the word and the limit of a refusal."""
    assert isinstance(result, FileRejected), result
    return result.why, result.limit


def test_any_server_finds_a_slot_by_its_token(db: Connection, servers: tuple[Server, Server]) -> None:
    one, two = servers
    values = {"name": "a\x1ab.pdf", "size": 5, "type": "application/pdf", "sha256": "ab", "uid": "u", "is_link": False}
    slot = one.opened(**values, url="http://localhost/files/")
    found = two.find(slot.token)
    assert found is not None
    for name in ("token", "file_id", "session", "room", "owner", *values):
        assert getattr(found, name) == getattr(slot, name), name
    assert (found.state, found.received, found.generation) == ("open", 0, 0)
    (expires,) = db.execute("SELECT extract(epoch FROM now())::float8").fetchone() or (0.0,)
    assert OPEN_SECONDS - 60 < found.expires - expires <= OPEN_SECONDS
    assert two.find("another") is None
    (stored,) = db.execute("SELECT token FROM slots").fetchone() or ("",)
    assert slot.token not in stored


def test_upload_that_goes_on_has_a_new_generation(db: Connection, servers: tuple[Server, Server]) -> None:
    one, two = servers
    token = one.opened().token
    first, second = one.find(token), two.find(token)
    assert first is not None
    assert second is not None
    assert one.begin(first, 7, "192.0.2.8", "draft.txt") is None
    assert (first.name, first.size, first.reserved, first.generation, first.state) == ("draft.txt", 7, 7, 1, "begun")
    assert one.find(token) is first
    db.execute("INSERT INTO chunks VALUES (%s, 0, 'abc')", (first.file_id,))
    assert two.begin(second, 9, None, "final.txt") is None
    assert (second.name, second.size, second.generation, second.received) == ("final.txt", 9, 2, 3)
    assert one.find(token) is not first
    again = two.find(token)
    assert again is second
    (lasts,) = db.execute("SELECT extract(epoch FROM until - now())::float8 FROM slots").fetchone() or (0.0,)
    assert UPLOAD_SECONDS - 60 < lasts <= UPLOAD_SECONDS
    assert (len(one.slots), len(two.slots)) == (1, 1)
    assert two.slots.of_session(ANN.session) == [second]
    assert two.slots.of_session(7) == []


@pytest.mark.parametrize("way", ["end", "time", "person"])
def test_slot_that_has_ended_is_found_by_nobody(db: Connection, servers: tuple[Server, Server], way: str) -> None:
    one, two = servers
    slot = one.opened()
    other = two.find(slot.token)
    assert other is not None
    if way == "end":
        assert one.slots.release(slot, "ended")
        assert not one.slots.release(slot, "ended")
        assert one.find("") is None  # after the change before it
    elif way == "time":
        db.execute("UPDATE slots SET until = now()")
    else:
        db.execute("DELETE FROM people")
    assert one.find(slot.token) is two.find(slot.token) is None
    assert why(two.begin(other)) == ("upload-ended", None)


def test_slot_that_is_complete_is_counted_no_longer(servers: tuple[Server, Server]) -> None:
    one, _ = servers
    slot = one.opened()
    assert one.begin(slot) is None
    assert one.slots.release(slot, "complete")
    assert (len(one.slots), slot.state) == (0, "complete")


def test_repeated_request_has_the_same_slot_with_a_new_token(servers: tuple[Server, Server]) -> None:
    one, two = servers
    file = {"name": "a", "size": 5, "is_link": False, "uid": "u"}
    first = one.opened(**file)
    again = two.opened(**file, url="http://localhost/files/a")
    assert (again.file_id, again.url) == (first.file_id, "http://localhost/files/a")
    assert again.token != first.token
    assert one.find(first.token) is None
    assert one.find(again.token) is not None
    other = two.opened(**(file | {"size": 6}))
    assert (other.file_id, other.size) == (first.file_id, 5)
    assert one.find(again.token) is not None, "the request for another file changes nothing"
    assert two.opened(**file | {"uid": "v"}).file_id != first.file_id
    assert two.opened(**file | {"uid": "u", "room": "kitchen"}).file_id != first.file_id


def test_person_has_four_slots_on_all_servers(servers: tuple[Server, Server]) -> None:
    one, two = servers
    slots = [server.opened() for server in (one, two, one, two)]
    assert why(one.open()) == why(two.open()) == ("too-many-uploads", 4)
    assert isinstance(one.open(owner="address 192.0.2.8"), Slot)
    two.slots.release(slots[0], "ended")
    assert isinstance(two.open(), Slot)


def test_address_has_eight_uploads_on_all_servers(servers: tuple[Server, Server]) -> None:
    one, two = servers
    host = "2001:db8::1"
    slots = [servers[number % 2].opened(owner=f"account {number}") for number in range(9)]
    for number, slot in enumerate(slots[:-1]):
        assert servers[number % 2].begin(slot, 5, host) is None
    assert why(one.begin(slots[-1], 5, "2001:db8::2")) == ("too-many-uploads", 8)
    assert why(two.open(owner="account 10", address=host)) == ("too-many-uploads", 8)
    assert two.begin(slots[0], 5, host) is None, "it has begun already"
    assert one.begin(slots[-1], 5, "192.0.2.7") is None


def test_all_servers_together_have_so_many_uploads(db: Connection, servers: tuple[Server, Server]) -> None:
    one, two = servers
    for number in range(MAX_UPLOADS):
        slot = one.opened(owner=f"account {number}")
        db.execute("UPDATE slots SET state = 'begun' WHERE id = %s", (slot.file_id,))
    assert why(two.open()) == ("too-many-uploads", MAX_UPLOADS)


def test_space_is_that_of_all_servers(db: Connection, servers: tuple[Server, Server]) -> None:
    one, two = servers
    for name, size, owner in (("a", 30_000, make_slot().owner), ("b", 1, "account 2")):
        db.execute(
            "INSERT INTO shares VALUES (%(name)s, %(name)s, %(size)s, '', %(name)s, %(owner)s, 0, 0, 0)",
            {"name": name, "size": size, "owner": owner},
        )
    mine, other = one.opened(), two.opened(owner="account 3")
    assert two.begin(other, 60_000) is None
    assert why(one.begin(mine, 35_905)) == ("no-space", 100_000)
    assert why(one.open(size=35_905)) == ("no-space", 100_000)
    assert one.begin(mine, 35_904) is None, "the own files make room, and an empty file counts 4096 bytes"
    assert why(two.begin(other, 60_000)) == ("no-space", 100_000), "the files of Ann are those of others for it"
    two.slots.release(other, "ended")
    assert two.find("") is None
    assert one.begin(mine, 95_904) is None


def test_files_of_an_hour_are_those_of_all_servers(db: Connection, database: Database) -> None:
    limits = replace(LIMITS, lines_per_second=2)
    one, two = Server(database, "one", limits), Server(database, "two", limits)
    assert one.node.take(ANN) is None
    unused = two.opened()
    for number in range(20):
        slot = (one, two)[number % 2].opened()
        assert (two, one)[number % 2].begin(slot) is None
        db.execute("UPDATE slots SET begun = now() - interval '50 minutes' WHERE id = %s", (slot.file_id,))
        (one, two)[number % 2].slots.release(slot, "ended")
    for refusal in (one.open(), two.begin(unused)):
        assert str(refusal) == "you can share 20 files an hour: try again in 10 minutes."
        assert isinstance(refusal, FileRejected)
        assert (refusal.why, refusal.limit) == ("too-many-files", 20)
        assert refusal.retry is not None
        assert 0 < refusal.retry <= 600
    assert isinstance(one.open(owner="account 2"), Slot)
    db.execute("UPDATE slots SET begun = begun - interval '10 minutes'")
    assert two.begin(unused) is None
    for server in (one, two):
        server.node.directory.close()


def test_upload_that_is_being_stored_is_waited_for_but_not_for_long(
    database: Database, servers: tuple[Server, Server]
) -> None:
    one, _ = servers
    slot = one.opened()
    assert one.begin(slot) is None
    with database.connect() as db, db.transaction():
        db.execute("SELECT FROM slots FOR UPDATE")
        assert type(one.begin(slot)) is Busy
    assert one.begin(slot) is None


def test_database_that_is_away_is_an_answer(servers: tuple[Server, Server]) -> None:
    one, _ = servers
    one.node.directory._handle_lost_lease()
    answers: list[Any] = []
    one.slots.find("token", answers.append)
    one.slots.open(make_slot(), answers.append)
    one.slots.begin(make_slot(), 5, None, "a", answers.append)
    one.node.until(lambda: len(answers) == 3)
    assert all(isinstance(answer, Busy) for answer in answers)
