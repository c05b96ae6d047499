#!/usr/bin/env python3
"""The duration of searches in a long journal, and the cost of the index: ``python benchmarks/search.py [LINES]``.

Makes a journal of LINES lines (1,000,000) in a temporary folder, indexes and searches it with the journal that the
server uses, and prints the figures of ``docs/searching.rst``.
"""

from __future__ import annotations

import os
import platform
import queue
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from broadcast.core.errors import JournalError
from broadcast.core.events import Message, Stored
from broadcast.core.interfaces import RoomLog
from broadcast.core.search_query import MAX_QUERY_CHARS, SearchQuery, parse_query
from broadcast.journals.sqlite.database import connect, to_row
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from broadcast.journals.sqlite.opening import open_database

Turns: TypeAlias = queue.SimpleQueue[Callable[[], None]]
"""A replacement for the reactor: the functions that the journal schedules."""

VOCABULARY = 30_000
"""Number of different words. The frequency of the n-th is proportional to 1/n, as in natural languages."""
RARE = "xylophone"
"""A word in seven of the lines."""
NOBODY_SAID = "unheard"
RUNS = 9
"""Number of runs of each search. The median counts."""


def talk(lines: int, words: Sequence[str]) -> Iterator[Stored]:
    """Yield *lines* lines of 3 to 18 *words*, the same ones in each run."""
    chance = random.Random(20_261_121)  # noqa: S311 - not for cryptography
    weights = list(accumulate(1 / rank for rank in range(2, VOCABULARY + 2)))
    rare = {lines * part // 8 for part in range(1, 8)}
    for seq in range(1, lines + 1):
        said = chance.choices(words, cum_weights=weights, k=chance.randint(3, 18))
        if seq in rare:
            said.append(RARE)
        yield Message(0, f"nick{seq % 50}", " ".join(said), 1_700_000_000.0 + seq, seq)
        if seq % 50_000 == 0:
            progress(f"{seq:,} lines written")


def vocabulary() -> list[str]:
    """Return the words, the most common first."""
    chance = random.Random(3)  # noqa: S311 - likewise
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(VOCABULARY)]


def progress(text: str) -> None:
    """Print the progress to stderr."""
    print(f"  {text}", file=sys.stderr, flush=True)


def megabytes(path: Path) -> float:
    """Return the size of the database and its write-ahead log."""
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*") if "-shm" not in file.name) / 1e6


def index(path: Path, journal: SqliteJournal, lines: int) -> tuple[RoomLog, float]:
    """Open *journal* and wait until all lines are indexed. Return the log of its room, and the seconds."""
    began = time.perf_counter()
    log = journal.open("lobby", 0).log
    print(f"opened after               {(time.perf_counter() - began) * 1000:10.1f} ms")
    with closing(connect(path, writing=False)) as db:
        reported = began
        while (upto := db.execute("SELECT upto FROM indexed").fetchone()[0]) < lines:
            if time.perf_counter() - reported > 1:
                reported = time.perf_counter()
                progress(f"{upto:,} lines indexed")
            time.sleep(0.01)
    return log, time.perf_counter() - began


def search(log: RoomLog, turns: Turns, query: SearchQuery) -> int:
    """Search as ``/search`` does. Return the number of lines found."""
    answers: list[Sequence[Stored] | JournalError] = []
    log.search(query, 10**18, 50, answers.append)
    while not answers:
        turns.get(timeout=600)()
    if isinstance(answers[0], JournalError):
        raise answers[0]
    return len(answers[0])


def measure(log: RoomLog, turns: Turns, what: str, line: str) -> None:
    """Print how long it takes to search for *line*."""
    took, found = [], 0
    for _ in range(RUNS):
        began = time.perf_counter()
        found = search(log, turns, parse_query(line))
        took.append((time.perf_counter() - began) * 1000)
    print(f"{what:26} {statistics.median(took):10.1f} ms  (slowest {max(took):.1f}; {found} lines found)")


def main() -> None:
    """Make the journal, index it, search it."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"{versions}, {os.cpu_count()} cores, {lines:,} lines")
    words = vocabulary()
    with TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        db = open_database(path, 0).db
        with closing(db):
            db.execute("BEGIN")
            rows = map(to_row, talk(lines, words))
            db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, nullif(?, ''), ?)", rows)
            db.execute("COMMIT")
        without = megabytes(path)
        turns: Turns = queue.SimpleQueue()
        journal = SqliteJournal(Path(folder), turns.put)
        log, took = index(path, journal, lines)
        print(f"indexed after              {took:10.1f} s   ({lines / took:,.0f} lines/s)")
        measure(log, turns, "a rare word", RARE)
        measure(log, turns, "a common word", words[0])
        measure(log, turns, "a common and a rare word", f"{words[0]} {RARE}")
        measure(log, turns, "a phrase", f'"{words[0]} {words[1]}"')
        measure(log, turns, "a word that nobody said", NOBODY_SAID)
        measure(log, turns, "the dearest question", f'"{" ".join(words[:1] * MAX_QUERY_CHARS)[: MAX_QUERY_CHARS - 2]}"')
        journal.close()
        print(f"the database without index {without:10.1f} MB")
        print(f"the database with index    {megabytes(path):10.1f} MB  ({megabytes(path) / without:.2f} x)")


if __name__ == "__main__":
    main()
