"""A journal that cannot use its database says why, and what to do, in one line without a password."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from broadcast.core.errors import JournalError, JournalInUse
from broadcast.journals.postgres import journal, leases
from broadcast.journals.postgres.database import Database
from broadcast.journals.postgres.journal import PostgresJournal
from tests.postgres import OWNER, PASSWORD, SHARED, PostgresServer

pytestmark = pytest.mark.usefixtures("postgres_url")

GRANTS = """
GRANT USAGE ON SCHEMA broadcast TO guest;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA broadcast TO guest;
REVOKE INSERT, UPDATE, DELETE ON broadcast.journal FROM guest;
ALTER DEFAULT PRIVILEGES IN SCHEMA broadcast GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO guest;
"""
"""Those of the documentation."""


@pytest.fixture(autouse=True)
def _without_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    monkeypatch.delenv("PGPASSWORD", raising=False)


def open_error(url: str, schema: str = "broadcast") -> str:
    """Return why the journal at *url* cannot be opened, an empty text if it can."""
    with closing(PostgresJournal(Database(url, schema), lambda _call: None)) as opened:
        try:
            opened.open("lobby", 0)
        except JournalError as error:
            text = str(error)
            assert "\n" not in text
            assert PASSWORD not in text
            return text
    return ""


def test_database_that_cannot_be_reached_is_named(postgres: PostgresServer) -> None:
    check = "check the URL of the journal, and whether PostgreSQL runs there"
    assert open_error("postgresql://chat@127.0.0.1:1/chat") == (
        'cannot use the database: connection failed: connection to server at "127.0.0.1", port 1 failed: '
        f"Connection refused; {check}"
    )
    assert open_error("postgresql://chat@/chat?host=/nowhere") == (
        'cannot use the database: connection is bad: connection to server on socket "/nowhere/.s.PGSQL.5432" failed: '
        f"No such file or directory; {check}"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = open_error(f"postgresql://chat@127.0.0.1:{port}/chat")
        assert error == f"cannot use the database: connection timeout expired; {check}"
        error = open_error(f"postgresql://chat@127.0.0.1:{port},127.0.0.1:1/chat")
        assert error.endswith(f"Connection refused; {check}")
    postgres.stop()
    try:
        assert open_error(postgres.url()).endswith(f"No such file or directory; {check}")
    finally:
        postgres.start()


def start(stack: ExitStack, url: str, name: str) -> PostgresJournal:
    """Start the server *name*, whose lease nobody renews because no hub watches its directory."""
    opened = stack.enter_context(closing(PostgresJournal(Database(url, "broadcast", name), lambda _call: None)))
    opened.make_directory(unicode=False)
    opened.open("lobby", 0)
    return opened


def test_several_servers_use_one_database(postgres: PostgresServer) -> None:
    with ExitStack() as stack:
        ids = {start(stack, postgres.url(), name).id for name in ("one", "two", "three")}
    assert len(ids) == 1


def test_second_server_with_the_same_name_is_refused(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    renewal = "UPDATE broadcast.leases SET until = until + interval '1 second'"
    monkeypatch.setattr(leases, "sleep", lambda _seconds: postgres.execute(renewal, database=SHARED))
    with ExitStack() as stack:
        start(stack, postgres.url(), "one")
        with pytest.raises(JournalInUse, match="a server with the name one runs: give this one another name"):
            start(stack, postgres.url(), "one")


def test_name_of_a_killed_server_is_free_at_once(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 3600.0)
    with ExitStack() as stack:
        start(stack, postgres.url(), "one")
    monkeypatch.setattr(leases, "sleep", lambda _seconds: None)
    with ExitStack() as stack:  # the database may take a moment to notice that the connection has ended
        start(stack, postgres.url(), "one")


def test_name_of_a_suspended_server_is_free_after_its_lease(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            postgres.execute("UPDATE broadcast.leases SET until = now() - interval '1 second'", database=SHARED)

    monkeypatch.setattr(leases, "sleep", wait)
    with ExitStack() as stack:
        start(stack, postgres.url(), "one")
        start(stack, postgres.url(), "one")
    assert len(waits) == 3


def test_password_comes_from_a_file_or_the_environment(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = postgres.tcp_url()
    missing = "write the password into ~/.pgpass, or into the file that PGPASSFILE names; its mode must be 0600"
    assert open_error(url).endswith(f"no password supplied; {missing}")
    password_file = tmp_path / "pgpass"
    password_file.write_text(f"127.0.0.1:{postgres.port}:*:{OWNER}:{PASSWORD}\n")
    password_file.chmod(0o644)
    assert open_error(url).endswith(f"no password supplied; {missing}"), "libpq ignores a file that others can read"
    password_file.chmod(stat.S_IRUSR)
    assert open_error(url) == ""
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert open_error(url).endswith(
        'password authentication failed for user "chat"; '
        "correct the password in ~/.pgpass, or in the file that PGPASSFILE names"
    )
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert open_error(url) == ""
    assert open_error(f"postgresql://{OWNER}:{PASSWORD}@127.0.0.1:{postgres.port}/{SHARED}") == ""
    assert 'database "nosuch" does not exist' in open_error(postgres.tcp_url("nosuch"))


def test_missing_database_and_role_are_named(postgres: PostgresServer) -> None:
    assert 'FATAL: database "nosuch" does not exist; ' in open_error(postgres.url("nosuch"))
    assert 'FATAL: role "nosuch" does not exist; ' in open_error(postgres.url(role="nosuch"))


@pytest.fixture
def guest(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database, for a role that has no rights there."""
    postgres.execute("CREATE ROLE guest LOGIN")
    database = postgres.create_database()
    yield postgres.url(database, "guest")
    postgres.drop_database(database)
    postgres.execute("DROP ROLE guest")


def test_role_needs_the_rights_of_the_documentation_only(postgres: PostgresServer, guest: str) -> None:
    database = guest.partition("@/")[2].partition("?")[0]
    assert open_error(guest) == (
        "cannot create the tables of the journal in the schema broadcast: permission denied for database "
        f"{database}; start the server once as the owner of the database, or grant CREATE on it to this role"
    )
    assert open_error(postgres.url(database)) == ""
    assert open_error(guest) == (
        "cannot use the database: permission denied for schema broadcast; "
        "grant the rights that the documentation lists to the role in the URL"
    )
    postgres.execute(GRANTS, database=database, role=OWNER)
    assert open_error(guest) == ""
    postgres.execute("UPDATE broadcast.journal SET home = 'elsewhere'", database=database)  # as after a restore
    assert open_error(guest) == (
        "the journal is a copy and needs a new identifier: start the server once as the owner of the tables"
    )
    assert open_error(postgres.url(database)) == open_error(guest) == ""


def test_version_of_the_database_and_of_the_schema_is_checked(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(journal, "MINIMUM_VERSION", 99)
        assert open_error(postgres.url()).endswith(": install version 99 or newer")
    database = postgres.create_database()
    assert open_error(postgres.url(database)) == ""
    postgres.execute("UPDATE broadcast.journal SET version = 99", database=database)
    assert open_error(postgres.url(database)).startswith("the schema broadcast of the journal has version 99, ")
    assert open_error(postgres.url(database), "another") == ""
    postgres.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    assert open_error(postgres.url(database)).endswith(
        "session is read-only; name all hosts of the database in the URL of the journal, so that one accepts changes"
    )
    postgres.drop_database(database)
