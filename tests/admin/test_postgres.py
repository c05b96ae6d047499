"""The command reads, changes and copies a journal in PostgreSQL as one in a file."""

from __future__ import annotations

import io
import re
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from broadcast.admin import copy_to_postgres, copy_to_sqlite, reading
from broadcast.admin.options import JournalUrl
from broadcast.core.errors import JournalError
from broadcast.core.events import Stored
from broadcast.journals.postgres.database import Connection, Database
from tests.admin.conftest import Run
from tests.admin.journals import make_journal, share_file
from tests.files.stores import StoreWorld
from tests.journals.postgres.servers import Server
from tests.journals.postgres.support import open_postgres

LISTS = [["accounts"], ["bans"], ["audit"], ["audit", "1"], ["export"], ["export", "--json", "--private"]]


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database."""
    with Database(postgres_url).connect() as db:
        db.execute("DROP SCHEMA IF EXISTS broadcast CASCADE")
    yield postgres_url
    with Database(postgres_url).connect() as db:
        db.execute("DROP SCHEMA IF EXISTS broadcast CASCADE")  # other tests empty the tables of a whole journal only


@pytest.fixture
def copied(run: Run, folder: Path, url: str) -> str:
    """The URL of a copy of the journal in ``folder``."""
    assert run("copy", f"sqlite:{folder}", url).status == 0
    return url


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Connect to the journal at *url*."""
    with closing(Database(url).connect()) as db:
        yield db


@contextmanager
def open_server(url: str) -> Iterator[Server]:
    """Start a server."""
    server = Server(url, "one", 1)
    with closing(server.shared):
        yield server


def add_lines(folder: Path, count: int) -> None:
    """Add *count* lines to the lobby, the last of which repeats the uid of the first."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        rows = ((seq, f"u{seq % (count + 3) or 1}") for seq in range(4, count + 4))
        db.executemany("INSERT INTO events VALUES (?, 1.5, 'said', 'ann', 'hello \x1a', ?, 7)", rows)
        db.commit()


def answer_twice(folder: Path, *answers: bytes) -> Thread:
    """Answer the next requests at the admin socket in *folder*, in the place of a server."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "admin.sock"))
    listener.listen()

    def serve() -> None:
        with listener:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(answer)

    thread = Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_a_copy_has_everything_and_the_way_back_too(run: Run, folder: Path, url: str, tmp_path: Path) -> None:
    add_lines(folder, 3000)
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        for statement in share_file(5):
            db.execute(statement)
        db.commit()
    expected = [run(*arguments) for arguments in LISTS]
    report = (
        "lobby: 3003 lines\nkitchen: 1 lines\n1 lines have the uid of an earlier line: the copy has them without it.\n"
    )
    assert run("copy", f"sqlite:{folder}", url) == (0, f"{report}The copy is complete.\n", "")
    got = [run("--journal", url, *arguments) for arguments in LISTS]
    assert got[:4] == expected[:4]
    assert got[4].out == expected[4].out
    assert got[5].out.count('"uid":"u1"') == expected[5].out.count('"uid":"u1"') - 1
    verified = "lobby: 3003 lines, #1-#3003\nkitchen: 1 lines, #1-#1\nThe journal is intact.\n"
    assert run("--journal", url, "verify") == (0, verified, "")
    back = tmp_path / "back"
    assert run("copy", url, f"sqlite:{back}").out.endswith("The copy is complete.\n")
    assert [run(*arguments, data=back) for arguments in LISTS] == got
    assert run("verify", data=back).status == 0
    ids = [reading_id(path) for path in (folder, back)]
    assert ids[0] == ids[1]
    assert not list(back.glob("*.copy*"))


def reading_id(folder: Path) -> str:
    """Return the id of the journal in *folder*."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        return str(db.execute("SELECT id FROM journal").fetchone()[0])


def test_ids_of_deleted_records_are_not_given_again(run: Run, folder: Path, url: str, tmp_path: Path) -> None:
    assert run("remove", "bob").status == 0
    assert run("copy", f"sqlite:{folder}", url).status == 0
    assert run("copy", url, f"sqlite:{tmp_path / 'back'}").status == 0
    with open_postgres(url) as harness:
        stored = harness.journal.records.load()
    with closing(sqlite3.connect(tmp_path / "back" / "journal.sqlite")) as db:
        last = dict(db.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    assert min(stored.next_account, stored.next_ban, stored.next_private) >= 3
    assert (last["accounts"], last["bans"], last["private_lines"]) == (2, 2, 2)


def test_shared_files_are_copied_too(run: Run, folder: Path, url: str, tmp_path: Path) -> None:
    original = StoreWorld(folder / "files")
    files = [original.share(content, name) for content, name in ((b"one", "1.txt"), (b"", "2.bin"), (b"one", "3.txt"))]
    assert run("copy", f"sqlite:{folder}", url).out.endswith("\n3 files\nThe copy is complete.\n")
    with connected(url) as db:
        assert db.execute("SELECT count(*) FROM contents").fetchone() == (2,)
    back = tmp_path / "back"
    assert run("copy", url, f"sqlite:{back}").out.endswith("\n3 files\nThe copy is complete.\n")
    copied = StoreWorld(back / "files")
    assert [copied.read(file) for file in files] == [b"one", b"", b"one"]
    assert [copied.store.find(file.id) for file in files] == files
    assert run("--journal", url, "remove-file", files[0].id, "spam").status == 0
    with connected(url) as db:
        assert db.execute("SELECT count(*) FROM shares").fetchone() == (1,)


def test_a_damaged_file_is_left_out_and_named(run: Run, folder: Path, url: str) -> None:
    original = StoreWorld(folder / "files")
    files = [original.share(content, name) for content, name in ((b"one", "1.txt"), (b"two", "2.txt"))]
    (folder / "files" / files[0].sha256).write_bytes(b"ONE")
    (folder / "files" / files[1].sha256).unlink()
    ended = run("copy", f"sqlite:{folder}", url)
    assert (ended.status, ended.out.endswith("The copy is complete.\n")) == (4, True)
    assert [line.split(" is missing")[0] for line in sorted(ended.error.splitlines())] == [
        f"broadcast-admin: the content of the file {name}" for name in ("1.txt", "2.txt")
    ]


@pytest.mark.parametrize("target", ["database", "file"])
def test_an_interrupted_copy_is_no_journal_and_goes_on(
    run: Run, folder: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(reading, "ROWS", 100)
    add_lines(folder, 3000)
    place, back = f"sqlite:{folder}", f"sqlite:{tmp_path / 'back'}"
    if target == "file":
        assert run("copy", place, url).status == 0
        place, to, writer = url, back, copy_to_sqlite.SqliteWriter
    else:
        to, writer = url, copy_to_postgres.PostgresWriter  # type: ignore[assignment]
    added: list[int] = []
    add = writer.add_lines

    def add_some(self: object, room: reading.RoomSize, lines: list[Stored]) -> None:
        if len(added) == 1:
            raise KeyboardInterrupt
        added.append(len(lines))
        add(self, room, lines)  # type: ignore[arg-type]

    def note(self: object, room: reading.RoomSize, lines: list[Stored]) -> None:
        added.append(lines[0].seq)
        add(self, room, lines)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(writer, "add_lines", add_some)
        assert run("copy", place, to).status == 130
    if target == "file":
        assert run("accounts", data=tmp_path / "back").status == 3
    else:
        why = "the schema broadcast holds a copy that is not complete: run broadcast-admin copy again\n"
        assert run("--journal", url, "accounts") == (3, "", f"broadcast-admin: {why}")
        with pytest.raises(JournalError, match="not complete"), open_postgres(url):
            pass
    other = tmp_path / "other"
    make_journal(other)
    ended = run("copy", f"sqlite:{other}", to)
    assert (ended.status, "copy of another journal" in ended.error) == (3, True)
    with monkeypatch.context() as patch:
        added.clear()
        patch.setattr(writer, "add_lines", note)
        assert run("copy", place, to).out.endswith("The copy is complete.\n")
    assert added[0] == 1001, "the first part was not copied again"


def test_a_copy_goes_into_an_empty_place_only(run: Run, folder: Path, copied: str) -> None:
    ended = run("copy", f"sqlite:{folder}", copied)
    assert (ended.status, ended.out) == (3, "")
    assert "holds a journal already: give another one with --schema, or drop it" in ended.error
    assert run("--schema", "second", "copy", f"sqlite:{folder}", copied).status == 0
    assert run("--journal", copied, "--schema", "second", "accounts") == run("accounts")
    with connected(copied) as db:
        db.execute("DROP SCHEMA second CASCADE")
    ended = run("copy", copied, f"sqlite:{folder}")
    assert ended.error == (
        f"broadcast-admin: the folder {folder} holds a journal already (journal.sqlite): give another folder\n"
    )


def test_a_journal_that_a_server_has_open_is_not_copied(
    run: Run, used_folder: Path, copied: str, tmp_path: Path
) -> None:
    ended = run("copy", f"sqlite:{used_folder}", copied)
    assert (ended.status, ended.error) == (3, f"broadcast-admin: a server has {used_folder} open: stop it first\n")
    with open_postgres(copied) as harness:
        harness.append_texts("a")
        ended = run("copy", copied, f"sqlite:{tmp_path / 'back'}")
    assert ended.error == "broadcast-admin: a server has the journal open: stop all servers of it first\n"
    assert run("copy", copied, f"sqlite:{tmp_path / 'back'}").status == 0
    assert run("copy", f"sqlite:{tmp_path / 'none'}", copied).status == 3
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE lines SET text = 'no' WHERE seq = 2", "line #2 of the room lobby"),
        ("DELETE FROM lines WHERE seq = 3", "line #3 of the room lobby"),
        ("UPDATE lines SET uid = 'x' WHERE seq = 2", "line #2 of the room lobby"),
        ("UPDATE rooms SET topic = 'x' WHERE name = 'lobby'", "the room lobby"),
        ("UPDATE accounts SET role = 'x'", "the accounts, bans or audit trail"),
        ("DELETE FROM audit WHERE action = 'ban'", "the accounts, bans or audit trail"),
        ("UPDATE private_lines SET text = 'x'", "the private lines"),
    ],
)
def test_a_difference_is_found_at_the_end(
    run: Run, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, change: str, what: str
) -> None:
    reader = copy_to_postgres.PostgresWriter.reader

    def damage(self: copy_to_postgres.PostgresWriter) -> reading.JournalReader:
        self._db.execute(change.encode())
        return reader(self)

    with monkeypatch.context() as patch:
        patch.setattr(copy_to_postgres.PostgresWriter, "reader", damage)
        ended = run("copy", f"sqlite:{folder}", url)
    assert ended.status == 4
    assert ended.error.startswith(f"broadcast-admin: {what} is not the same in the copy")


def test_accounts_are_changed_without_a_server(run: Run, copied: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"correct horse\n")))
    assert run("--journal", copied, "add", "zoë") == (0, "zoë is registered.\n", "")
    assert run("--journal", copied, "role", "zoë", "operator") == (0, "zoë is an operator.\n", "")
    assert run("--journal", copied, "remove", "ann").status == 0
    assert run("--journal", copied, "remove", "ann") == (1, "", "broadcast-admin: ann is not registered\n")
    names = [line.split()[:2] for line in run("--journal", copied, "accounts").out.splitlines()[1:]]
    assert names == [["bob", "-"], ["zoë", "operator"]]


def test_accounts_are_changed_while_servers_elsewhere_run(
    run: Run, copied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"correct horse\n")))
    with open_server(copied) as server:
        guest = server.connect()
        guest.put("guest\r\n")
        server.wait_until(lambda: "You are guest" in guest.read())
        guest.protocol.session.member.account = server.account("bob")
        assert run("--journal", copied, "role", "bob", "operator").status == 0
        server.wait_until(lambda: server.account("bob").is_operator)
        assert " * You are an operator now. /help lists your commands." in guest.read()
        assert run("--journal", copied, "passwd", "bob").status == 0
        server.wait_until(lambda: guest.transport.finished)
        assert "Your password was changed: log in again." in guest.read()
        ended = run("--journal", copied, "remove-file", "x")
        assert (ended.status, "there is no such file" in ended.error) == (1, True)


def test_a_server_makes_the_change_if_it_has_this_journal(run: Run, folder: Path, copied: str) -> None:
    with open_postgres(copied) as harness:
        harness.append_texts("a")
        own = f'{{"jsonrpc":"2.0","id":1,"result":"{harness.journal.id}"}}\n'.encode()
        answer_twice(folder, own, b'{"jsonrpc":"2.0","id":1,"result":"It is done."}\n').is_alive()
        assert run("--journal", copied, "remove", "ann") == (0, "It is done.\n", "")
        (folder / "admin.sock").unlink()
        answer_twice(folder, b'{"jsonrpc":"2.0","id":1,"result":"other"}\n')
        ended = run("--journal", copied, "remove", "ann")
        assert (ended.status, f"the server of {folder} has another journal" in ended.error) == (3, True)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DELETE FROM lines WHERE seq = 2", "lobby: the lines from #2 to #2 are missing"),
        ("UPDATE rooms SET last = 9 WHERE name = 'lobby'", "lobby: the lines from #4 to #9 are missing"),
        ("UPDATE lines SET kind = 'sang' WHERE seq = 3", "lobby: the journal's line #3 cannot be read"),
    ],
)
def test_verify_finds_damage(run: Run, copied: str, change: str, problem: str) -> None:
    with connected(copied) as db:
        db.execute(change.encode())
    ended = run("--journal", copied, "verify")
    assert (ended.status, ended.out) == (4, f"{problem}\n")
    assert ended.error == "broadcast-admin: the journal is damaged: restore the database from a backup\n"


def test_a_place_without_a_journal_is_named(run: Run, url: str) -> None:
    ended = run("--journal", url, "accounts")
    why = "the schema broadcast of the database holds no journal: start the server once"
    assert ended == (3, "", f"broadcast-admin: {why}\n")
    assert run("--journal", url, "backup", "x").error == (
        "broadcast-admin: PostgreSQL's own programs make the backup of a journal there: use pg_dump\n"
    )
    assert "cannot use the database" in run("--journal", "postgresql://127.0.0.1:1/x", "accounts").error
    ended = run("--journal", "postgresql://ann:secret@[/x", "accounts")
    assert ended.status != 0
    assert "secret" not in ended.error


@pytest.mark.parametrize(("version", "why"), [(0, "holds no journal"), (99, "use the newer broadcast-admin")])
def test_another_version_is_named(run: Run, copied: str, version: int, why: str) -> None:
    with connected(copied) as db:
        db.execute("UPDATE journal SET version = %s", (version,))
    ended = run("--journal", copied, "accounts")
    assert (ended.status, why in ended.error) == (3, True)


def test_a_password_in_the_url_is_warned_of_and_shown_nowhere(run: Run) -> None:
    place = "postgresql://ann:secret@127.0.0.1:1/x"
    ended = run("--journal", place, "accounts")
    assert ended.error.startswith("broadcast-admin: the URL holds a password, which ps shows to everybody here")
    assert JournalUrl(None, "postgresql://127.0.0.1/x?password=secret").has_password
    assert "secret" not in ended.error + repr(JournalUrl(None, place))
    ended = run("--journal", "mysql://ann:secret@x/y", "accounts")
    assert ended.status == 2
    assert re.fullmatch("broadcast-admin: argument --journal: a journal is sqlite:FOLDER or .*\n", ended.error)


def test_a_folder_can_be_given_as_a_url(run: Run, folder: Path, tmp_path: Path) -> None:
    expected = run("accounts")
    assert run("--journal", f"sqlite:{folder}", "accounts", data=tmp_path / "none") == expected


def test_psycopg_is_asked_for_if_it_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("broadcast.admin.postgres", "psycopg"))]:
        monkeypatch.delitem(sys.modules, name)
    import broadcast.admin  # noqa: PLC0415 -- its attribute

    monkeypatch.delattr(broadcast.admin, "postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    ended = run("--journal", "postgresql:///x", "accounts")
    assert ended.status == 3
    assert "PostgreSQL needs psycopg: run" in ended.error
