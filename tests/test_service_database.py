"""The server with ``--journal postgresql:``, from its command line to its log."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from socket import gethostname

import pytest
from pytest_twisted import ensureDeferred
from twisted.logger import capturedLogs, formatEvent

from broadcast.journals.postgres.journal import PostgresJournal
from broadcast.server.lifecycle import Server
from broadcast.server.options import Options
from broadcast.service import makeService
from tests.postgres import PASSWORD, PostgresServer
from tests.real.programs import PATIENCE, Programs


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_service(*arguments: str) -> Server:
    options = Options()
    options.parseOptions(arguments)
    return makeService(options)


def test_server_without_the_database_does_not_import_its_package() -> None:
    code = """
import sys
from broadcast.service import Options, makeService
for arguments in (["--ephemeral"], ["--journal", "sqlite:data"]):
    options = Options()
    options.parseOptions(arguments)
    makeService(options)
print([name for name in sys.modules if "psycopg" in name or "postgres" in name])
"""
    process = subprocess.run(  # noqa: S603 -- its own text
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert process.stdout == "[]\n", process.stderr


def test_database_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in list(sys.modules):
        if module.startswith("broadcast.journals.postgres."):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    install = re.escape(shlex.join([sys.executable, "-m", "pip", "install", "psycopg[binary]"]))
    hint = rf"run pip install '\.\[postgres\]' in the checkout, or {install}"
    with pytest.raises(SystemExit, match=f"^broadcast: --journal postgresql: needs psycopg: {hint}$"):
        make_service("--journal", "postgresql:///chat")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (
            "postgresql://ann:hush@[::1",
            'end of string reached when looking for matching "]" in IPv6 host address in URI',
        ),
        ("postgresql://ann:hush@db/chat?color=red", "invalid URI query parameter"),
        ("postgresql://ann:hush%zz@db/chat", "invalid percent-encoded token"),
        ("postgresql://ann:some@hush@db/chat", "a password with @ in it has %40 there"),
    ],
)
def test_wrong_url_is_refused_without_showing_its_password(url: str, problem: str) -> None:
    with capturedLogs() as events, pytest.raises(SystemExit) as caught:
        make_service("--journal", url)
    assert caught.value.code == f"broadcast: --journal is not a URL that PostgreSQL understands: {problem}."
    assert "hush" not in repr(events)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((), f"{gethostname()}:5555"),
        (("--port", "haproxy:tcp:6010:interface=127.0.0.1"), f"{gethostname()}:6010"),
        (("--port", "unix:chat.sock"), f"{gethostname()}:unix:chat.sock"),
        (("--node", "blue"), "blue"),
    ],
)
def test_log_names_the_database_and_the_server(arguments: tuple[str, ...], name: str) -> None:
    with capturedLogs() as events:
        server = make_service("--journal", "postgresql://ann:hush@db1,db2/chat", "--schema", "red", *arguments)
    assert isinstance(server._journal, PostgresJournal)
    server._journal.close()
    assert server._storage_note == (
        "What is said is kept in the PostgreSQL database chat on db1,db2, in the schema red. "
        f"The name of this server there is {name}."
    )
    (warning,) = [formatEvent(event) for event in events]
    assert warning.startswith("--journal holds a password, which ps shows to everybody on this machine: ")
    assert "hush" not in repr((events, server._journal.__dict__))


@ensureDeferred
async def test_server_stores_in_the_database_and_locks_its_folder(
    programs: Programs, postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    server = await programs.server("--journal", postgres_url, "--node", "one")
    ann = await programs.talker(server.port, "ann")
    ann.say("hello", "/receipts on", "again")
    await ann.until("-> #2\r\n")
    lines = postgres.execute("SELECT room, seq, nick, text FROM broadcast.history ORDER BY seq", database="shared")
    assert lines == [("lobby", 1, "ann", "hello"), ("lobby", 2, "ann", "again")]
    second = programs.start("--journal", postgres_url, "--node", "two")
    assert await second.end() == 1
    locked = (
        f"broadcast: another server has {tmp_path / 'broadcast-data'} open: stop it, or give --data another folder\n"
    )
    assert locked in second.text()
    await server.program.stop("TERM")
    assert re.findall(r"^\S+ \[broadcast.*#(?:warn|error|critical)\] (.+)$", server.program.text(), re.MULTILINE) == [
        "the setting fsync of the database is off: a crash of its machine can lose stored lines."
    ]
    assert [file.name for file in (tmp_path / "broadcast-data").iterdir()] == ["lock"]


@ensureDeferred
async def test_server_that_cannot_start_prints_one_line(
    programs: Programs, postgres: PostgresServer, tmp_path: Path
) -> None:
    (tmp_path / "chat.toml").write_text(f'journal = "{postgres.tcp_url()}"\n')
    wrong = programs.start("--config", "chat.toml", environment={"PGPASSWORD": f"{PASSWORD}x"})
    assert await wrong.end() == 1
    (line,) = [line for line in wrong.text().splitlines() if line.startswith("broadcast: ")]
    assert line.endswith("; correct the password in ~/.pgpass, or in the file that PGPASSFILE names")
    assert PASSWORD not in wrong.text()
    assert "Traceback" not in wrong.text()
