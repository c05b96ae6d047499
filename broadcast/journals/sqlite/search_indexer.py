"""Full-text search in SQLite: growing the index, querying it, and searching lines that are not indexed.

The same query finds a line in every journal, indexed or not, because FTS5's tokenizer ``unicode61 remove_diacritics 2``
always defines a word: a run of letters, digits and private-use characters, compared without case and diacritics.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from broadcast.core.errors import JournalError
from broadcast.core.events import Stored
from broadcast.core.search_query import SearchQuery
from broadcast.journals.sqlite.database import code_of, from_row, full_text

STEP_ROWS = 256
"""Maximum number of lines to index in one step, which takes about a millisecond."""
MERGE_PAGES = 8
"""Approximate number of index pages to merge in one step."""
UNINDEXED_ROWS = 4096
"""Maximum number of unindexed lines to search in one call, which takes about 20 ms."""
SCAN_ROWS = 20_000
"""Maximum number of indexed lines to search in one call. The most expensive query takes up to 40 ms."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR})
"""Result codes of a step that mean a damaged index. Other errors come from the machine and may be temporary."""
_NO_FTS5 = "its SQLite has no FTS5."


class SearchIndexer:
    """The progress of a journal's full-text index. Only the writing thread may use it.

    *db* is the writing connection. If its SQLite has no FTS5, or the index is damaged, no work is ever due.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._indexed_to = int(db.execute("SELECT upto FROM indexed").fetchone()[0])
        self._merging = False
        self._usable = True
        try:
            db.execute("SELECT rowid FROM words LIMIT 0")
        except sqlite3.Error:
            self._usable = False  # lines are stored without the index, and a search reports the error

    def behind(self, last: int) -> int:
        """Return the number of lines up to *last* that are still to be indexed."""
        return last - self._indexed_to if self._usable else 0

    def due(self, last: int) -> bool:
        """Return whether there is work to do, if *last* is the number of the last line."""
        return self._merging or self.behind(last) > 0

    def step(self, db: sqlite3.Connection, last: int) -> None:
        """Index some of the lines up to *last*, or merge a part of the index. Takes at most some milliseconds.

        May raise ``sqlite3.Error``; the next step is correct whether or not this one took effect. An index that turns
        out to be damaged is not used again.
        """
        try:
            self._step(db, last)
        except sqlite3.DatabaseError as error:
            if code_of(error) not in _DAMAGED:
                raise
            self._usable = self._merging = False  # lines are stored without the index, and a search reports the error

    def _step(self, db: sqlite3.Connection, last: int) -> None:
        # The changes of each step are one statement, and so one transaction.
        if self._merging:
            before = db.total_changes
            db.execute("INSERT INTO words(words, rank) VALUES ('merge', ?)", (MERGE_PAGES,))
            self._merging = db.total_changes - before >= 2  # FTS5 documentation, "The 'merge' command"
        else:
            query = "SELECT min(seq) FROM events WHERE seq > ?"  # numbers may be missing, even many
            first = db.execute(query, (self._indexed_to,)).fetchone()[0] or last
            upto = min(first - 1 + STEP_ROWS, last)
            db.execute("UPDATE indexed SET upto = max(upto, ?)", (upto,))
            self._indexed_to = upto
            self._merging = True


class Search:
    """A search in a journal's database for the newest *limit* lines up to number *last* that match *query*."""

    def __init__(self, query: SearchQuery, last: int, limit: int) -> None:
        self._query = query
        self._last = max(0, min(last, 2**63 - 1))  # within the range of integers in SQLite
        self._limit = limit
        self._found: list[Stored] = []

    def __call__(self, db: sqlite3.Connection) -> list[Stored] | None:
        """Search some more lines. Return all matches in ascending order, or None if lines are left to search.

        The cost of a call does not grow with the journal. Raises ``sqlite3.Error`` or ``JournalError``.
        """
        _make_scratch(db)
        db.execute("BEGIN")  # the mark and the content of the index must come from the same snapshot
        try:
            return self._search_some(db)
        finally:
            _undo(db)

    def _search_some(self, db: sqlite3.Connection) -> list[Stored] | None:
        # The last line, because numbers may be missing, even many.
        last = int(db.execute("SELECT coalesce(max(seq), 0) FROM events WHERE seq <= ?", (self._last,)).fetchone()[0])
        missing = self._limit - len(self._found)
        if last < 1 or missing < 1 or not self._query.phrases:
            return self._found
        indexed = int(db.execute("SELECT upto FROM indexed").fetchone()[0])
        if last > indexed:
            table, first = "scratch", max(last - UNINDEXED_ROWS, indexed) + 1
            fill = "INSERT INTO scratch(rowid, text) SELECT seq, text FROM events WHERE seq BETWEEN ? AND ?"
            db.execute(fill, (first, last))
        else:
            table, first = "words", max(last - SCAN_ROWS, 0) + 1
        statement = (
            f"SELECT seq, at, kind, nick, text FROM events WHERE seq IN ({_newest_statement(table)}) ORDER BY seq"  # noqa: S608 - a constant name
        )
        rows = db.execute(statement, (_expression(self._query), first, last, missing))
        self._found[:0] = map(from_row, rows)
        self._last = first - 1
        return self._found if self._last < 1 or len(self._found) == self._limit else None


def matching(query: SearchQuery, lines: Iterable[tuple[int, str]], limit: int) -> list[int]:
    """Return the numbers of the newest *limit* of *lines* that match *query*, descending. Raises ``JournalError``."""
    if not query.phrases:
        return []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        _make_scratch(db)
        db.execute("BEGIN")
        db.executemany("INSERT INTO scratch(rowid, text) VALUES (?, ?)", lines)
        return [
            number for (number,) in db.execute(_newest_statement("scratch"), (_expression(query), 1, 2**63 - 1, limit))
        ]


def _make_scratch(db: sqlite3.Connection) -> None:
    """Create a table in memory, private to *db*, for the search in unindexed lines, unless it exists.

    Callers fill it within a transaction that they roll back.
    """
    db.execute("PRAGMA temp_store = MEMORY")
    try:
        db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.scratch {full_text(content='')}")
    except sqlite3.OperationalError as error:
        if code_of(error) != sqlite3.SQLITE_ERROR:
            raise
        raise JournalError(_NO_FTS5) from error


def _undo(db: sqlite3.Connection) -> None:
    if db.in_transaction:  # some errors have rolled it back already
        db.execute("ROLLBACK")


def _newest_statement(table: str) -> str:
    """Return the statement for the newest matches. Its parameters: expression, first number, last number, limit."""
    return f"SELECT rowid FROM {table} WHERE {table} MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?"  # noqa: S608 - a constant name


def _expression(query: SearchQuery) -> str:
    """Return *query* as an FTS5 expression of quoted strings, in which only a quote has a meaning.

    A NUL would end the expression, and surrogates cannot be encoded. Both are replaced, as neither is part of a word.
    """
    quoted = " ".join(f'"{phrase}"' for phrase in query.phrases)
    return quoted.replace("\0", " ").encode(errors="replace").decode()
