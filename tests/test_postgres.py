"""The PostgreSQL server of the tests survives what tests do to it, and ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import OWNER, PASSWORD, PostgresServer, need_postgres, wait_for

START_AND_WAIT = """
from tests.postgres import PostgresServer, need_postgres
server = PostgresServer(need_postgres())
print(server.folder, flush=True)
input()
"""


def test_killed_server_starts_again_with_what_was_committed(postgres: PostgresServer) -> None:
    name = postgres.create_database()
    postgres.execute("CREATE TABLE a AS SELECT 1 AS b", database=name, role=OWNER)
    with postgres.connect(name) as connection:
        postgres.kill()
        postgres.start()
        assert postgres.execute("SELECT * FROM a", database=name) == [(1,)]
        assert "not properly shut down" in postgres.log
        assert not connection.closed  # it has not noticed
    postgres.stop()
    postgres.start()


@pytest.mark.postgres
def test_server_ends_with_a_killed_test() -> None:
    need_postgres()
    with subprocess.Popen(  # noqa: S603 -- its own text
        [sys.executable, "-c", START_AND_WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as test:
        assert test.stdout is not None
        folder = Path(test.stdout.readline().strip())
        pid = int((folder / "data/postmaster.pid").read_text().split()[0])
        test.kill()
    wait_for(lambda: not folder.exists(), "the server's folder is still there")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_database_is_empty_at_the_begin_of_each_test(postgres: PostgresServer, postgres_url: str) -> None:
    import psycopg  # noqa: PLC0415 -- it may be missing

    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SCHEMA s CREATE TABLE a (b int PRIMARY KEY) CREATE TABLE c (d int REFERENCES a)")
        connection.execute("INSERT INTO s.a SELECT generate_series(1, 50000)")
        connection.execute("INSERT INTO s.c VALUES (1)")
    postgres.empty()
    with psycopg.connect(postgres.tcp_url(), password=PASSWORD) as connection:
        counts = connection.execute("SELECT current_user, (SELECT count(*) FROM s.a), (SELECT count(*) FROM s.c)")
        assert counts.fetchone() == (OWNER, 0, 0)
        connection.execute("DROP SCHEMA s CASCADE")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.tcp_url(), password="wrong")
