"""Full-text search in SQLite: growing the index, querying it, and searching lines that are not indexed.

The same query finds a line in every journal, indexed or not; see ``full_text.py``.
"""

from __future__ import annotations

import sqlite3

from broadcast.core.events import Stored
from broadcast.core.search_query import SearchQuery
from broadcast.journals.full_text import expression, make_scratch, newest_statement
from broadcast.journals.sqlite.database import EVENT_COLUMNS, code_of, from_row
from broadcast.journals.sqlite.room_record import MAX_SEQ, SEQ_BITS, RoomRecord, key, key_range

STEP_ROWS = 256
"""Maximum number of lines to index in one step, which takes about a millisecond."""
STEP_ROOMS = 64
"""Maximum number of rooms with new lines to index in one step."""
MERGE_PAGES = 8
"""Approximate number of index pages to merge in one step."""
UNINDEXED_ROWS = 4096
"""Maximum number of unindexed lines to search in one call, which takes about 20 ms."""
SCAN_ROWS = 20_000
"""Maximum number of indexed lines to search in one call. The most expensive query takes up to 40 ms."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR})
"""Result codes of a step that mean a damaged index. Other errors come from the machine and may be temporary."""


class SearchIndexer:
    """The progress of a journal's full-text index. Only the writing thread may use it.

    *db* is the writing connection. If its SQLite has no FTS5, or the index is damaged, no work is ever due.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._behind: dict[int, RoomRecord] = {}
        """The rooms that may have lines that are not indexed, by their ids."""
        self._next_room: int | None = 0
        """Id of the next room to examine for lines that an earlier process has not indexed; None after the last."""
        self._merging = False
        self._usable = True
        try:
            db.execute("SELECT rowid FROM words LIMIT 0")
        except sqlite3.Error:
            self._usable = False  # lines are stored without the index, and a search reports the error

    def add(self, room: RoomRecord) -> None:
        """Index the new lines of *room* in the next steps."""
        if room.id is None or not self._usable:
            return
        known = self._behind.get(room.id)
        if known is not room:
            if known is not None:
                room.indexed = max(room.indexed, known.indexed)
            self._behind[room.id] = room

    def backlog(self) -> int:
        """Return the number of unindexed lines in the rooms that are known to have some."""
        return sum(room.last - room.indexed for room in self._behind.values())

    def due(self) -> bool:
        """Return whether there is work to do."""
        return self._usable and (self._merging or bool(self._behind) or self._next_room is not None)

    def step(self, db: sqlite3.Connection) -> None:
        """Index some lines, or merge a part of the index, or look for lines to index. Takes at most some milliseconds.

        May raise ``sqlite3.Error``; the next step is correct whether or not this one took effect. An index that turns
        out to be damaged is not used again.
        """
        try:
            self._step(db)
        except sqlite3.DatabaseError as error:
            if code_of(error) not in _DAMAGED:
                raise
            self._usable = False  # lines are stored without the index, and a search reports the error
            self._behind.clear()

    def _step(self, db: sqlite3.Connection) -> None:
        # The changes of each step are one statement, and so one transaction.
        if self._merging:
            before = db.total_changes
            db.execute("INSERT INTO words(words, rank) VALUES ('merge', ?)", (MERGE_PAGES,))
            self._merging = db.total_changes - before >= 2  # FTS5 documentation, "The 'merge' command"
        elif self._behind:
            rooms = self._choose_rooms()
            if len(rooms) == 1:
                self._index_room(db, *rooms.popitem())
            else:
                self._index_rooms(db, rooms)
        elif self._next_room is not None:
            self._examine_rooms(db, self._next_room)

    def _choose_rooms(self) -> dict[int, RoomRecord]:
        """Return the rooms for one step, by their ids: one, or several that have few unindexed lines together."""
        chosen: dict[int, RoomRecord] = {}
        lines = 0
        for number, room in self._behind.items():
            lines += room.last - room.indexed
            if chosen and lines > STEP_ROWS:
                break
            chosen[number] = room
            if len(chosen) == STEP_ROOMS:
                break
        return chosen

    def _index_room(self, db: sqlite3.Connection, number: int, room: RoomRecord) -> None:
        """Index some lines of one room."""
        first, last = key(number, room.indexed + 1), key(number, room.last)
        query = "SELECT min(seq) FROM events WHERE seq BETWEEN ? AND ?"  # many numbers may be missing
        found = db.execute(query, (first, last)).fetchone()[0]
        upto = last if found is None else min(found - 1 + STEP_ROWS, last)
        statement = "UPDATE indexed SET upto = max(upto, ?) WHERE upto BETWEEN ? AND ?"
        db.execute(statement, (upto, *key_range(number)))
        room.indexed = upto & MAX_SEQ
        self._merging = True
        if upto == last:
            del self._behind[number]

    def _index_rooms(self, db: sqlite3.Connection, rooms: dict[int, RoomRecord]) -> None:
        """Index all lines of *rooms* in one statement, which is one commit and one release of the GIL."""
        marks = [key(number, room.indexed) for number, room in rooms.items()]
        marks += [-1] * (STEP_ROOMS - len(marks))  # one prepared statement is enough
        if db.execute(_INDEX_ROOMS, marks).rowcount == len(rooms):
            for number, room in rooms.items():
                room.indexed = room.last
                del self._behind[number]
        else:
            # A step that was reported as failed has moved the marks nevertheless. Read them again.
            for number, room in rooms.items():
                query = "SELECT max(upto) FROM indexed WHERE upto BETWEEN ? AND ?"
                mark = db.execute(query, key_range(number)).fetchone()[0]
                room.indexed = room.last if mark is None else mark & MAX_SEQ
                if room.indexed >= room.last:
                    del self._behind[number]
        self._merging = True

    def _examine_rooms(self, db: sqlite3.Connection, first: int) -> None:
        """Look for lines that an earlier process has not indexed, in some rooms from the id *first* on."""
        found = db.execute(_EXAMINE_ROOMS, (key(first, 0), STEP_ROWS)).fetchall()
        for mark, last in found:
            number = mark >> SEQ_BITS
            if last is not None and last > mark and number not in self._behind:
                room = RoomRecord("", number, last=last & MAX_SEQ, indexed=mark & MAX_SEQ)
                self._behind[number] = room
        self._next_room = (found[-1][0] >> SEQ_BITS) + 1 if found else None


_INDEX_ROOMS = f"""UPDATE indexed SET upto = (SELECT max(seq) FROM events WHERE seq BETWEEN upto AND upto | {MAX_SEQ})
    WHERE upto IN ({", ".join("?" * STEP_ROOMS)})"""  # noqa: S608 - it holds no values
_EXAMINE_ROOMS = f"""SELECT upto, (SELECT max(seq) FROM events WHERE seq BETWEEN upto AND upto | {MAX_SEQ})
    FROM indexed WHERE upto >= ? ORDER BY upto LIMIT ?"""  # noqa: S608 - it holds no values


class Search:
    """A search for the newest *limit* lines up to number *last*, in the room with the id *room*, that match *query*."""

    def __init__(self, query: SearchQuery, room: int, last: int, limit: int) -> None:
        self._query = query
        self._base = key(room, 0)
        self._last = key(room, last)
        self._limit = limit
        self._found: list[Stored] = []

    def __call__(self, db: sqlite3.Connection) -> list[Stored] | None:
        """Search some more lines. Return all matches in ascending order, or None if lines are left to search.

        The cost of a call does not grow with the journal. Raises ``sqlite3.Error`` or ``JournalError``.
        """
        make_scratch(db)
        db.execute("BEGIN")  # the mark and the content of the index must come from the same snapshot
        try:
            return self._search_some(db)
        finally:
            _undo(db)

    def _search_some(self, db: sqlite3.Connection) -> list[Stored] | None:
        # The search begins at the last line, not at the last number, because many numbers may be missing.
        query = "SELECT coalesce(max(seq), 0) FROM events WHERE seq BETWEEN ? AND ?"
        last = int(db.execute(query, (self._base, self._last)).fetchone()[0])
        missing = self._limit - len(self._found)
        if last <= self._base or missing < 1 or not self._query.phrases:
            return self._found
        query = "SELECT coalesce(max(upto), 0) FROM indexed WHERE upto BETWEEN ? AND ?"
        indexed = max(int(db.execute(query, (self._base, self._base | MAX_SEQ)).fetchone()[0]), self._base)
        if last > indexed:
            table, first = "scratch", max(last - UNINDEXED_ROWS, indexed) + 1
            fill = "INSERT INTO scratch(rowid, text) SELECT seq, text FROM events WHERE seq BETWEEN ? AND ?"
            db.execute(fill, (first, last))
        else:
            table, first = "words", max(last - SCAN_ROWS, self._base) + 1
        statement = f"SELECT {EVENT_COLUMNS} FROM events WHERE seq IN ({newest_statement(table)}) ORDER BY seq"  # noqa: S608 - constant names
        rows = db.execute(statement, (expression(self._query), first, last, missing))
        self._found[:0] = map(from_row, rows)
        self._last = first - 1
        return self._found if self._last <= self._base or len(self._found) == self._limit else None


def _undo(db: sqlite3.Connection) -> None:
    if db.in_transaction:  # some errors have rolled it back already
        db.execute("ROLLBACK")
