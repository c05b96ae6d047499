"""The SQL of the documentation works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import psycopg

from broadcast.journals.postgres.database import Database
from tests.journals.postgres.test_starting import GRANTS
from tests.postgres import PostgresServer

PAGE = (Path(__file__).parents[3] / "docs/cluster.rst").read_text(encoding="utf-8")


def test_queries_of_the_documentation_can_be_run(database: Database, postgres: PostgresServer) -> None:
    queries = re.findall(r"^    (?:SELECT|UPDATE) [^;]*;", PAGE, re.MULTILINE)
    assert len(queries) >= 7
    with postgres.connect("shared") as db:
        for query in queries:
            db.execute(query)


def test_rights_of_the_documentation_are_those_that_are_tested() -> None:
    grants = re.search(r"^    GRANT USAGE[^:]*?;\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert grants is not None
    assert dedent(grants[0]).strip().replace(" chat;", " guest;") == GRANTS.strip()


def test_each_table_and_column_has_a_comment(database: Database) -> None:
    missing = """
        SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relnamespace = 'broadcast'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped
        AND (col_description(pg_class.oid, attnum) IS NULL OR obj_description(pg_class.oid, 'pg_class') IS NULL)
    """
    with psycopg.connect(database.url) as db:
        assert db.execute(missing).fetchall() == []
