"""The database that the tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.schema import open_schema


@pytest.fixture
def database(postgres_url: str) -> Database:
    """A database with an empty journal."""
    database = Database(postgres_url)
    with database.connect() as db:
        open_schema(db, database.schema)
    return database


@pytest.fixture
def db(database: Database) -> Iterator[Connection]:
    """A connection to an empty journal."""
    with database.connect() as connection:
        yield connection
