"""Full-text search in SQLite: how the index grows, how it is asked, and how lines are searched that are in none.

FTS5's tokenizer ``unicode61 remove_diacritics 2`` decides everywhere what a word is: a run of letters, digits and
private-use characters, compared without case and diacritics. So a line is found by the same words whether the index
has it already or not, and in every journal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from broadcast.core.errors import JournalError
from broadcast.core.events import Stored
from broadcast.core.search_query import SearchQuery
from broadcast.journals.sqlite.database import code_of, from_row, full_text, last_seq

STEP_ROWS = 256
"""At most so many lines are indexed in one step, which takes about a millisecond."""
MERGE_PAGES = 8
"""In a step, about so many pages of the index are merged."""
UNINDEXED_ROWS = 4096
"""At most so many lines that are in no index are looked through at once; some 20 ms."""
SCAN_ROWS = 50_000
"""At most so many lines of the index are looked through at once; a tenth of a second for the dearest question."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR})
"""What a step says of an index that is not what it should be; all else is the machine's, and may pass."""
_NO_FTS5 = "its SQLite has no FTS5."


class SearchIndexer:
    """How far the index of a journal's database goes, and its next step. For the one thread that writes.

    *db* is the connection that writes; where its SQLite has no FTS5, or the index is damaged, nothing is ever due.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._indexed_to = int(db.execute("SELECT upto FROM indexed").fetchone()[0])
        self._merging = False
        self._usable = True
        try:
            db.execute("SELECT rowid FROM words LIMIT 0")
        except sqlite3.Error:
            self._usable = False  # whatever it is, lines are kept all the same; who searches is told

    def behind(self, last: int) -> int:
        """How many of the lines up to *last* are not indexed and shall be."""
        return last - self._indexed_to if self._usable else 0

    def due(self, last: int) -> bool:
        """Whether there is anything to do, when *last* is the number of the last line."""
        return self._merging or self.behind(last) > 0

    def step(self, db: sqlite3.Connection, last: int) -> None:
        """Index some of the lines up to *last*, or put in order what was indexed; some milliseconds at most.

        Raises ``sqlite3.Error``; whether the step took place does not matter then to the next one. An index that turns
        out to be damaged is left alone from then on.
        """
        try:
            self._step(db, last)
        except sqlite3.DatabaseError as error:
            if code_of(error) not in _DAMAGED:
                raise
            self._usable = self._merging = False  # lines are kept all the same; who searches is told

    def _step(self, db: sqlite3.Connection, last: int) -> None:
        # One statement each, and so one transaction and one release of the interpreter's lock.
        if self._merging:
            before = db.total_changes
            db.execute("INSERT INTO words(words, rank) VALUES ('merge', ?)", (MERGE_PAGES,))
            self._merging = db.total_changes - before >= 2  # FTS5 documentation, "The 'merge' command"
        else:
            upto = min(self._indexed_to + STEP_ROWS, last)
            db.execute("UPDATE indexed SET upto = max(upto, ?)", (upto,))
            self._indexed_to = upto
            self._merging = True


class Search:
    """A search in a journal's database, the newest lines first.

    Finds the newest *most* of the lines numbered at most *last* that hold *words*.
    """

    def __init__(self, words: SearchQuery, last: int, most: int) -> None:
        self._query = words
        self._last = last
        self._limit = most
        self._found: list[Stored] = []

    def __call__(self, db: sqlite3.Connection) -> list[Stored] | None:
        """Look through some more lines: what was found in ascending order, or None where there are more to look at.

        What a look costs does not grow with the journal. Raises ``sqlite3.Error``, ``JournalError``.
        """
        _make_scratch(db)
        db.execute("BEGIN")  # how far the index goes and what it holds must be of the same moment
        try:
            return self._search_some(db)
        finally:
            _undo(db)

    def _search_some(self, db: sqlite3.Connection) -> list[Stored] | None:
        last = self._last = min(self._last, last_seq(db))
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
        query = f"SELECT seq, at, kind, nick, text FROM events WHERE seq IN ({_newest(table)}) ORDER BY seq"  # noqa: S608 - a name of ours
        rows = db.execute(query, (_expression(self._query), first, last, missing))
        self._found[:0] = map(from_row, rows)
        self._last = first - 1
        return self._found if self._last < 1 or len(self._found) == self._limit else None


def matching(words: SearchQuery, lines: Iterable[tuple[int, str]], most: int) -> list[int]:
    """The numbers of the newest *most* of *lines* that hold *words*, in descending order; raises ``JournalError``."""
    if not words.phrases:
        return []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        _make_scratch(db)
        db.execute("BEGIN")
        db.executemany("INSERT INTO scratch(rowid, text) VALUES (?, ?)", lines)
        return [number for (number,) in db.execute(_newest("scratch"), (_expression(words), 1, 2**63 - 1, most))]


def _make_scratch(db: sqlite3.Connection) -> None:
    """Make sure that *db* has a table, of its own and in memory, in which lines can be searched that are in no index.

    It is filled within a transaction that is undone.
    """
    db.execute("PRAGMA temp_store = MEMORY")
    try:
        db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.scratch {full_text(content='')}")
    except sqlite3.OperationalError as error:
        if code_of(error) != sqlite3.SQLITE_ERROR:
            raise
        raise JournalError(_NO_FTS5) from error


def _undo(db: sqlite3.Connection) -> None:
    if db.in_transaction:  # some faults have done it already
        db.execute("ROLLBACK")


def _newest(table: str) -> str:
    """The query for the newest numbers in *table*: what to match, the first and the last number, how many."""
    return f"SELECT rowid FROM {table} WHERE {table} MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?"  # noqa: S608 - a name of ours


def _expression(words: SearchQuery) -> str:
    """*words* in FTS5's language: all of the quoted strings, in which nothing but a quote means anything.

    A NUL would end it, and surrogates cannot be encoded; neither is part of a word.
    """
    quoted = " ".join(f'"{phrase}"' for phrase in words.phrases)
    return quoted.replace("\0", " ").encode(errors="replace").decode()
