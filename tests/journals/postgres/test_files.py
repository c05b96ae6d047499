"""Shared files in PostgreSQL are the same at all servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe

import pytest
from psycopg.errors import UniqueViolation

from broadcast.core.errors import StartupError
from broadcast.files.contents import PartKey, SharedFile, SlotEnded, StoreError
from broadcast.files.store import SWEEP_SECONDS
from broadcast.files.transfers import SharePlan, Upload
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.files import CHUNK_BYTES, PostgresContents, PostgresPart
from tests.files.stores import NOON, Finish, StoreWorld

Open = Callable[[], "Server"]
BIG = bytes(range(256)) * (CHUNK_BYTES // 200)
"""A content of two chunks, the second of which is not full."""


class Server(StoreWorld):
    """The store of one server. Each upload has a slot, whose person is in the lobby."""

    def __init__(self, folder: Path, contents: Callable[[], PostgresContents], db: Connection) -> None:
        self.db = db
        super().__init__(folder, contents=contents)

    def upload(self, data: bytes, owner: str = "ann", limit: int | None = None) -> Upload:
        """Begin an upload with *data*."""
        slot = token_urlsafe(16)
        self.db.execute(_SLOT, {"id": slot, "owner": owner})
        return self.resume(slot, 1, 0, data, limit)

    def resume(self, slot: str, generation: int, received: int, data: bytes, limit: int | None = None) -> Upload:
        """Go on with an upload behind the bytes that are *received*."""
        size = received + len(data) if limit is None else limit
        upload = self.store.begin("ann", size, PartKey(slot, generation, received))
        for start in range(0, len(data), 65536):
            upload.write(data[start : start + 65536])
        return upload

    def finish(self, upload: Upload, name: str = "a.txt", announced: str = "", sha256: str = "") -> Finish:
        """Finish *upload*, and do nothing yet."""
        finish = Finish()
        upload.finish(SharePlan(slot_of(upload), name, announced, sha256), finish.results.append)
        return finish


def slot_of(upload: Upload) -> str:
    """Return the slot of *upload*."""
    assert isinstance(upload.part, PostgresPart)
    return upload.part._key.slot


_SLOT = """
WITH person AS (
    INSERT INTO people (key, node, session, nick, account, away, away_reason)
        VALUES ('ann', 'one', 1, 'ann', 0, false, '') ON CONFLICT DO NOTHING
), room AS (
    INSERT INTO rooms (name) VALUES ('lobby') ON CONFLICT (name) DO UPDATE SET name = 'lobby' RETURNING id
), member AS (
    INSERT INTO members (room, session, node, nick) SELECT id, 1, 'one', 'ann' FROM room ON CONFLICT DO NOTHING
)
INSERT INTO slots (id, token, session, room, owner, name, type, sha256, uid, is_link, state, generation, until, begun)
    VALUES (%(id)s, %(id)s, 1, 'lobby', %(owner)s, '', '', '', '', true, 'begun', 1, now() + interval '1 hour', now())
"""


@pytest.fixture
def open_store(database: Database, db: Connection, tmp_path: Path) -> Iterator[Open]:
    """Open the store of another server."""
    opened: list[PostgresContents] = []

    def make() -> PostgresContents:
        opened.append(PostgresContents(database))
        return opened[-1]

    yield lambda: Server(tmp_path / str(len(opened)), make, db)
    for contents in opened:
        contents.close()


def look_up(world: StoreWorld, file: SharedFile) -> SharedFile | None:
    """Return what a download finds."""
    found: list[SharedFile | None] = []
    world.store.look_up(file.id, found.append)
    world.store.look_up(file.id, found.append)
    world.worker.settle()
    assert found[0] == found[1]
    return found[0]


def counts(db: Connection) -> tuple[int, ...]:
    """Return the numbers of shares, contents and chunks."""
    row = db.execute(
        "SELECT (SELECT count(*) FROM shares), (SELECT count(*) FROM contents), (SELECT count(*) FROM chunks)"
    ).fetchone()
    assert row is not None
    return tuple(row)


def test_file_is_read_at_every_server_and_after_a_restart(open_store: Open, db: Connection) -> None:
    one, two = open_store(), open_store()
    file, empty = one.share(BIG, "a\x1ab.bin"), one.share(b"")
    assert counts(db) == (2, 2, 2)
    assert look_up(two, file) == file
    assert (two.read(file), two.read(empty), one.read(file)) == (BIG, b"", BIG)
    assert two.store.used_bytes == one.store.used_bytes
    one.restart()
    assert one.store.find(file.id) == file
    assert one.read(file) == BIG
    assert not one.folder.exists(), "nothing of an upload is on the disk of a server"


def test_same_content_is_stored_once_and_removed_with_its_last_share(open_store: Open, db: Connection) -> None:
    one, two = open_store(), open_store()
    first, second = one.share(BIG), two.share(BIG)
    assert counts(db) == (2, 1, 2)
    one.store.remove(first.id)
    one.worker.settle()
    assert counts(db) == (1, 1, 2)
    assert two.read(second) == BIG
    two.store.remove(second.id)
    two.worker.settle()
    assert counts(db) == (0, 0, 0)


def test_content_that_two_servers_store_at_once_is_stored_once(
    open_store: Open, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = open_store(), open_store()
    call = PostgresContents.call
    shared: list[SharedFile] = []
    is_first = True

    def add_between(self: PostgresContents, statement: str, *values: object) -> object:
        nonlocal is_first
        if "share_slot" in statement and is_first:
            is_first = False
            shared.append(two.share(BIG))
            raise UniqueViolation
        return call(self, statement, *values)

    monkeypatch.setattr(PostgresContents, "call", add_between)
    file = one.share(BIG)
    assert counts(db) == (2, 1, 2)
    assert (one.read(file), two.read(shared[0])) == (BIG, BIG)


def test_share_that_another_server_has_removed_is_gone_everywhere(open_store: Open) -> None:
    one, two = open_store(), open_store()
    first, second = one.share(b"1"), one.share(b"2")
    assert look_up(two, first) == first
    one.store.remove(first.id)
    one.worker.settle()
    assert two.read(first) is None
    assert (two.store.find(first.id), two.reports) == (None, [])
    assert look_up(two, first) is None
    one.store.remove(second.id)
    one.worker.settle()
    assert two.store.has(second.id)
    two.clock.advance(SWEEP_SECONDS)
    two.worker.settle()
    assert not two.store.has(second.id)


def test_share_of_another_server_is_there_at_once_and_one_that_is_removed_is_not(open_store: Open) -> None:
    one, two = open_store(), open_store()
    new, old = one.share(BIG), one.share(b"old")
    one.store.remove(old.id)
    one.worker.settle()
    assert two.store.has(new.id), "its line can come before the share"
    assert two.store.has(old.id), "nobody knows yet"
    two.worker.settle()
    assert (two.store.has(new.id), two.store.has(old.id)) == (True, False)
    assert two.store.find(new.id) == new


def test_new_shares_count_for_their_owners_at_other_servers(open_store: Open) -> None:
    one, two = open_store(), open_store()
    one.share(BIG, owner="ann")
    two.clock.advance(SWEEP_SECONDS)
    two.worker.settle()
    assert two.store.bytes_of("ann") == len(BIG)


def test_old_files_are_removed(open_store: Open, db: Connection) -> None:
    one = open_store()
    one.share(b"1")
    one.now = NOON + 31 * 86_400
    one.clock.advance(SWEEP_SECONDS)
    one.worker.settle()
    assert counts(db) == (0, 0, 0)


def suspend(world: Server, upload: Upload) -> StoreError | None:
    """Suspend *upload*, and return the result."""
    results: list[StoreError | None] = []
    upload.suspend(results.append)
    world.worker.settle()
    assert world.store.uploads == 0
    return results[0]


@pytest.mark.parametrize("received", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(BIG) - 1])
def test_upload_goes_on_at_another_server_behind_any_byte(open_store: Open, received: int, db: Connection) -> None:
    one, two = open_store(), open_store()
    upload = one.upload(BIG[:received], limit=len(BIG))
    slot = slot_of(upload)
    assert suspend(one, upload) is None
    assert stored_bytes(db) == received
    db.execute("UPDATE slots SET generation = 2")
    finish = two.finish(two.resume(slot, 2, received, BIG[received:]), sha256=sha256(BIG).hexdigest())
    two.worker.settle()
    assert finish.file.size == len(BIG)
    assert one.read(finish.file) == BIG
    assert counts(db) == (1, 1, -(-len(BIG) // CHUNK_BYTES))


def stored_bytes(db: Connection) -> int:
    """Return the number of bytes in all chunks."""
    (size,) = db.execute("SELECT coalesce(sum(octet_length(data)), 0) FROM chunks").fetchone() or (0,)
    return int(size)


def test_server_that_dies_leaves_full_chunks_but_never_all_bytes(open_store: Open, db: Connection) -> None:
    one, two = open_store(), open_store()
    body = (2 * BIG)[: 2 * CHUNK_BYTES]
    slot = slot_of(one.upload(body))
    one.worker.settle()
    assert stored_bytes(db) == len(body) - CHUNK_BYTES
    db.execute("UPDATE slots SET generation = 2")
    finish = two.finish(two.resume(slot, 2, stored_bytes(db), body[stored_bytes(db) :]))
    two.worker.settle()
    assert two.read(finish.file) == body


@pytest.mark.parametrize("act", ["append", "finish", "suspend", "begin"])
def test_bytes_of_an_upload_that_goes_on_elsewhere_are_refused(open_store: Open, db: Connection, act: str) -> None:
    one = open_store()
    upload = one.upload(b"hello")
    one.worker.settle()
    db.execute("UPDATE slots SET generation = 2")
    if act == "append":
        upload.limit += len(BIG)
        upload.write(BIG)
        one.worker.settle()
        error: object = upload.failure
    elif act == "finish":
        finish = one.finish(upload)
        one.worker.settle()
        (error,) = finish.results
    elif act == "suspend":
        error = suspend(one, upload)
    else:
        late = one.resume(slot_of(upload), 1, 0, b"hello")
        one.worker.settle()
        error = late.failure
    assert isinstance(error, SlotEnded)
    assert str(error) == "the upload has ended, or goes on elsewhere."
    assert one.reports == []
    assert counts(db) == (0, 0, 0)


def test_upload_that_begins_anew_replaces_its_bytes(open_store: Open, db: Connection) -> None:
    one = open_store()
    upload = one.upload(BIG, limit=2 * len(BIG))
    assert suspend(one, upload) is None
    db.execute("UPDATE slots SET generation = 2")
    finish = one.finish(one.resume(slot_of(upload), 2, 0, b"other"))
    one.worker.settle()
    assert one.read(finish.file) == b"other"
    assert counts(db) == (1, 1, 1)


def test_bytes_that_are_gone_end_an_upload(open_store: Open, db: Connection) -> None:
    one = open_store()
    upload = one.upload(BIG, limit=2 * len(BIG))
    assert suspend(one, upload) is None
    db.execute("DELETE FROM chunks")
    late = one.resume(slot_of(upload), 1, len(BIG), b"x")
    one.worker.settle()
    assert isinstance(late.failure, SlotEnded)


@pytest.mark.parametrize("way", ["person", "time", "room", "end"])
def test_upload_ends_with_its_person_its_time_and_its_room(open_store: Open, db: Connection, way: str) -> None:
    one = open_store()
    finish = one.finish(one.upload(BIG))
    db.execute({
        "person": b"DELETE FROM people",
        "time": b"UPDATE slots SET until = now()",
        "room": b"DELETE FROM members",
        "end": b"UPDATE slots SET state = 'ended'",
    }[way])  # fmt: skip
    one.worker.settle()
    assert isinstance(finish.error, SlotEnded)
    assert ("left the room" in str(finish.error)) is (way == "room")
    one.clock.advance(SWEEP_SECONDS)
    one.worker.settle()
    assert counts(db) == (0, 0, 0)


def test_share_that_was_made_before_the_connection_was_lost_is_made_once(
    open_store: Open, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = open_store()
    call = PostgresContents.call

    def twice(self: PostgresContents, statement: str, *values: object) -> object:
        if "share_slot" in statement:
            call(self, statement, *values)
        return call(self, statement, *values)

    monkeypatch.setattr(PostgresContents, "call", twice)
    assert one.read(one.share(BIG)) == BIG
    assert counts(db)[:2] == (1, 1)


def test_slots_are_removed_when_no_limit_counts_them(open_store: Open, db: Connection) -> None:
    one = open_store()
    done, dead = one.share(b"done"), one.upload(BIG)
    one.worker.settle()
    db.execute("UPDATE slots SET until = now() WHERE id = %s", (slot_of(dead),))
    one.store._sweep()
    one.worker.settle()
    assert counts(db) == (1, 1, 1)
    assert db.execute("SELECT count(*) FROM slots").fetchone() == (2,), "they count for the limit of an hour"
    db.execute("UPDATE slots SET begun = begun - interval '1 hour'")
    one.store._sweep()
    one.worker.settle()
    assert db.execute("SELECT count(*) FROM slots").fetchone() == (0,)
    assert one.read(done) == b"done"


def test_size_of_an_image_is_found_behind_the_first_chunk(open_store: Open) -> None:
    one = open_store()
    segment = b"\xff\xe2\xff\xff" + bytes(0xFFFD)
    size = b"\xff\xc0\0\x11\x08" + (480).to_bytes(2, "big") + (640).to_bytes(2, "big") + bytes(20)
    file = one.share(b"\xff\xd8" + segment * 6 + size, "a.jpg")
    assert (file.type, file.width, file.height) == ("image/jpeg", 640, 480)


def test_lost_connection_is_opened_again(open_store: Open, db: Connection) -> None:
    one = open_store()
    file = one.share(BIG)
    own = "usename = user AND pid <> pg_backend_pid()"
    db.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {own}".encode())  # noqa: S608 -- constant
    assert one.read(file) == BIG


def test_database_that_is_away_is_named(database: Database, db: Connection, tmp_path: Path) -> None:
    away = replace(database, url="postgresql://chat@127.0.0.1:1/chat")
    with pytest.raises(StartupError, match="cannot read the shared files: the database cannot be reached"):
        StoreWorld(tmp_path, contents=lambda: PostgresContents(away))
    contents = PostgresContents(database)
    world = Server(tmp_path, lambda: contents, db)
    upload = world.upload(b"1")
    contents._database = away
    contents.close()
    finish = world.finish(upload)
    world.worker.settle()
    assert str(finish.results[0]) == "this server cannot store files now: the database cannot be reached."
    assert world.reports == [
        "Shared files cannot be stored: the database cannot be reached.",
        "Shared files cannot be removed: the database cannot be reached.",
    ]
