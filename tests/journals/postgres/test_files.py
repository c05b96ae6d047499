"""Shared files in PostgreSQL are the same at all servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.errors import UniqueViolation

from broadcast.core.errors import StartupError
from broadcast.files.contents import SharedFile
from broadcast.files.store import SWEEP_SECONDS, StoreError
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.files import CHUNK_BYTES, PostgresContents
from tests.files.stores import NOON, StoreWorld

Open = Callable[[], StoreWorld]
BIG = bytes(range(256)) * (CHUNK_BYTES // 200)
"""A content of two chunks, the second of which is not full."""


@pytest.fixture
def open_store(database: Database, tmp_path: Path) -> Iterator[Open]:
    """Open the store of another server."""
    opened: list[PostgresContents] = []

    def make() -> PostgresContents:
        opened.append(PostgresContents(database))
        return opened[-1]

    yield lambda: StoreWorld(tmp_path / str(len(opened)), contents=make)
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
    assert not one.names(), "nothing of an upload stays on this machine"
    one.upload(b"unfinished")
    one.worker.settle()
    assert len(one.names()) == 1
    one.restart()
    assert not one.names()


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
    execute = PostgresContents._execute
    shared: list[SharedFile] = []
    is_first = True

    def add_between(self: PostgresContents, statement: str, *values: object) -> None:
        nonlocal is_first
        if "add_share" in statement and is_first:
            is_first = False
            shared.append(two.share(BIG))
            raise UniqueViolation
        execute(self, statement, *values)

    monkeypatch.setattr(PostgresContents, "_execute", add_between)
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


def test_interrupted_upload_leaves_nothing_for_long(
    open_store: Open, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = open_store()
    execute = PostgresContents._execute

    def fail(self: PostgresContents, statement: str, *values: object) -> None:
        if "add_share" in statement:
            raise OSError("as if the server were killed")
        execute(self, statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresContents, "_execute", fail)
        finish = one.finish(one.upload(BIG))
        one.worker.settle()
    assert isinstance(finish.results[0], StoreError)
    assert counts(db) == (0, 1, 2)
    one.restart()
    assert counts(db) == (0, 1, 2), "it may belong to the upload of another server"
    db.execute("UPDATE contents SET begun = begun - interval '2 days'")
    one.restart()
    assert counts(db) == (0, 0, 0)


def test_lost_connection_is_opened_again(open_store: Open, db: Connection) -> None:
    one = open_store()
    file = one.share(BIG)
    own = "usename = user AND pid <> pg_backend_pid()"
    db.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {own}".encode())  # noqa: S608 -- constant
    assert one.read(file) == BIG


def test_database_that_is_away_is_named(database: Database, tmp_path: Path) -> None:
    away = replace(database, url="postgresql://chat@127.0.0.1:1/chat")
    with pytest.raises(StartupError, match="cannot read the shared files: the database cannot be reached"):
        StoreWorld(tmp_path, contents=lambda: PostgresContents(away))
    contents = PostgresContents(database)
    world = StoreWorld(tmp_path, contents=lambda: contents)
    contents._database = away
    contents.close()
    finish = world.finish(world.upload(b"1"))
    world.worker.settle()
    assert str(finish.results[0]) == "this server cannot store files now: the database cannot be reached."
    assert world.reports == ["Shared files cannot be stored: the database cannot be reached."]
