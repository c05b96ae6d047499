"""Full-text search in PostgreSQL: growing the index, querying it, and searching lines that are not indexed.

The index finds lines that hold all words of a query. FTS5 decides which of them match, as in every journal; see
``full_text.py``. The index is a table of its own, which one node at a time fills after the lines were stored. An
index on the table of lines would take two fifths of the speed of storing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Event as Flag
from threading import Thread
from time import monotonic, thread_time
from typing import Any

import psycopg

from broadcast.core.events import Stored
from broadcast.core.search_query import SearchQuery
from broadcast.journals.full_text import WordSplitter, matching
from broadcast.journals.postgres.database import Connection, from_text, to_text
from broadcast.journals.postgres.queries import clamp, fetch_numbers

STEP_ROWS = 256
"""Maximum number of lines to index in one step."""
STEP_ROOMS = 64
"""Maximum number of rooms with new lines to find in one query."""
PAUSE_SECONDS = 1.0
"""Seconds between two looks for new lines, at least."""
LOOK_FACTOR = 20.0
"""The same time, relative to the duration of a look, which grows with the number of rooms."""
RETRY_SECONDS = 5.0
"""Seconds after an error, or while another node fills the index, until the next try."""
LEASE_SECONDS = 15.0
"""Time without a sign of the node that fills the index after which another one takes over."""
REST_FACTOR = 2.0
"""Duration of the rest after a step, relative to the computing time of this thread."""

PART_ROWS = 16_384, 262_144
"""Numbers of lines of a room that one query of the index covers, so that its duration does not grow with the room.

The first one is for words that many lines have, the second one for all others.
"""
CANDIDATES = 512
"""Maximum number of lines from the index to examine in one call."""
UNINDEXED_ROWS = 4096
"""Maximum number of unindexed lines to search in one call, which takes about 20 ms."""
WORD_CHARACTERS = 64
"""Number of characters of a word that are in the index."""


def _words(splitter: WordSplitter, text: str) -> set[str]:
    """Return the words of *text* as they are in the index."""
    return {word[:WORD_CHARACTERS] for word in splitter.split(text)}


def _part(room: int, level: int, seq: int) -> str:
    """Return the entry of the index for the part of the room, of that level, that holds line *seq*.

    No word holds a slash.
    """
    return f"/{room}/{level}/{seq // PART_ROWS[level]}"


class Search:
    """A search for the newest *limit* lines up to number *last*, in *room*, that match *query*."""

    def __init__(self, query: SearchQuery, room: str, last: int, limit: int) -> None:
        self._query = query
        self._room = room
        self._last = clamp(last)
        self._limit = limit
        self._words: set[str] | None = None
        """The words of all phrases."""
        self._level = 0
        """The level of the part that is searched next."""
        self._found: list[Stored] = []

    def __call__(self, db: psycopg.Connection[Any]) -> list[Stored] | None:
        """Search some more lines. Return all matches in ascending order, or None if lines are left to search.

        The cost of a call does not grow with the journal.
        """
        if self._words is None:
            phrases = (phrase.encode(errors="replace").decode() for phrase in self._query.phrases)
            self._words = _words(WordSplitter(), " ".join(phrases))
        found = db.execute(_ROOM, (to_text(self._room),)).fetchone()
        if found is None or not self._words:
            return self._found
        room, last, indexed = found
        last = min(self._last, last)
        missing = self._limit - len(self._found)
        if last < 1 or missing < 1:
            return self._found
        if last > indexed:
            first = max(last - UNINDEXED_ROWS, indexed) + 1
            rows = db.execute(_UNINDEXED, (room, first, last)).fetchall()
        else:
            size = PART_ROWS[self._level]
            first = max(last // size * size, 1)
            entries = [*self._words, _part(room, self._level, last)]
            rows = db.execute(_INDEXED, (room, entries, room, last, CANDIDATES)).fetchall()
            self._level = 1 if len(rows) < CANDIDATES // 16 else 0
            if len(rows) == CANDIDATES:
                first = min(seq for seq, _ in rows)
        lines = [(seq, from_text(text)) for seq, text in rows]
        if lines and (hits := matching(self._query, lines, missing)):
            self._found[:0] = fetch_numbers(db, self._room, hits)
        self._last = first - 1
        return self._found if self._last < 1 or len(self._found) >= self._limit else None


_ROOM = """SELECT id, last, coalesce(upto, 0) FROM rooms LEFT JOIN word_marks ON word_marks.room = rooms.id
    WHERE name = %s"""
_UNINDEXED = "SELECT seq, text FROM lines WHERE room = %s AND seq BETWEEN %s AND %s ORDER BY seq"
_INDEXED = """SELECT seq, text FROM lines WHERE room = %s AND seq = ANY (ARRAY(
    SELECT seq FROM words WHERE words @> %s::text[] AND room = %s AND seq <= %s ORDER BY seq DESC LIMIT %s))"""


class SearchIndexer:
    """A thread that fills the search index for the node *node*, through a connection that *connect* returns.

    All nodes run one, and one of them at a time fills the index: it has a lease, which it renews. The index is right
    even if two of them do it, because a step takes effect only if the mark of the room is where the step began.
    """

    def __init__(self, connect: Callable[[], Connection], node: str) -> None:
        self._connect = connect
        self._node = node
        self._db: Connection | None = None
        self._splitter = WordSplitter()
        self._behind: deque[tuple[int, int, int]] = deque()
        """Rooms with lines that are not indexed: id, number of the last line, and of the last indexed one."""
        self._lease_until = 0.0
        """Monotonic time until which this node need not renew its lease."""
        self._closing = Flag()
        self._thread = Thread(target=self._run, name="journal indexer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after its present step. Blocks until then, for the duration of a time-out at most."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        pause = PAUSE_SECONDS
        while not self._closing.wait(pause):
            began = thread_time()
            try:
                if self._db is None:
                    self._db = self._connect()
                pause = self.step(self._db)
            except Exception:  # noqa: BLE001 - nobody waits for the index, and a search also reads unindexed lines
                self._disconnect()
                self._behind.clear()
                pause = RETRY_SECONDS
            pause = max(pause, REST_FACTOR * (thread_time() - began))
        self._disconnect()

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()

    def step(self, db: psycopg.Connection[Any]) -> float:
        """Index some lines, if this is the node that fills the index. Return the seconds to wait until the next."""
        if monotonic() >= self._lease_until:
            if not db.execute(_LEASE, {"node": self._node, "seconds": LEASE_SECONDS}).rowcount:
                return RETRY_SECONDS
            self._lease_until = monotonic() + LEASE_SECONDS / 3
        pause = 0.0
        if not self._behind:
            began = monotonic()
            self._behind.extend(db.execute(_BEHIND, (STEP_ROOMS,)).fetchall())
            pause = 0.0 if self._behind else max(PAUSE_SECONDS, LOOK_FACTOR * (monotonic() - began))
        rows = STEP_ROWS
        while self._behind and rows > 0:
            room, last, indexed = self._behind.popleft()
            upto = min(last, indexed + rows)
            self._index(db, room, indexed, upto)
            rows -= upto - indexed
            if upto < last:
                self._behind.append((room, last, upto))
        return pause

    def _index(self, db: psycopg.Connection[Any], room: int, after: int, upto: int) -> None:
        """Index the lines of *room* after one number up to another. Do nothing if they were indexed meanwhile."""
        lines = dict(db.execute(_UNINDEXED, (room, after + 1, upto)).fetchall())
        words = [
            " ".join([*_words(self._splitter, from_text(lines.get(seq, ""))), _part(room, 0, seq), _part(room, 1, seq)])
            for seq in range(after + 1, upto + 1)
        ]
        db.execute("SELECT add_words(%s, %s, %s, %s::text[])", (room, after, upto, words))


_LEASE = """INSERT INTO indexing AS i VALUES ('words', %(node)s, clock_timestamp() + make_interval(secs => %(seconds)s))
    ON CONFLICT (task) DO UPDATE SET node = excluded.node, until = excluded.until
    WHERE i.node = excluded.node OR i.until < clock_timestamp()"""
_BEHIND = """SELECT id, last, coalesce(upto, 0) FROM rooms LEFT JOIN word_marks ON word_marks.room = rooms.id
    WHERE last > coalesce(upto, 0) LIMIT %s"""
