"""Full-text search in lines without a stored index, and the splitting of texts into words.

FTS5's tokenizer always defines a word, in every journal. With ``unicode61 remove_diacritics 2``, a word is a run of
letters, digits and private-use characters. Words are compared without case and diacritics.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from broadcast.core.errors import JournalError
from broadcast.core.search_query import SearchQuery

FTS = "fts5"
"""SQLite's module for full-text search. Some builds lack it."""
TOKENIZER = "unicode61 remove_diacritics 2"
"""The tokenizer, which splits texts into words (SQLite 3.27 or newer)."""

_NO_FTS5 = "its SQLite has no FTS5."


def full_text(content: str) -> str:
    """Return the declaration of a full-text table. *content* names the table that holds the texts, if any."""
    return f"USING {FTS}(text, content='{content}', content_rowid='seq', columnsize=0, tokenize='{TOKENIZER}')"


def matching(query: SearchQuery, lines: Iterable[tuple[int, str]], limit: int) -> list[int]:
    """Return the numbers of the newest *limit* of *lines* that match *query*, descending. Raises ``JournalError``."""
    if not query.phrases:
        return []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        make_scratch(db)
        db.execute("BEGIN")
        db.executemany("INSERT INTO scratch(rowid, text) VALUES (?, ?)", lines)
        return [
            number for (number,) in db.execute(newest_statement("scratch"), (expression(query), 1, 2**63 - 1, limit))
        ]


def make_scratch(db: sqlite3.Connection) -> None:
    """Create a table in memory, private to *db*, for the search in lines without an index, unless it exists.

    Callers fill it within a transaction that they roll back. Raises ``JournalError``.
    """
    db.execute("PRAGMA temp_store = MEMORY")
    try:
        db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.scratch {full_text(content='')}")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        raise JournalError(_NO_FTS5) from error


def newest_statement(table: str) -> str:
    """Return the statement for the newest matches. Its parameters: expression, first number, last number, limit."""
    return f"SELECT rowid FROM {table} WHERE {table} MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?"  # noqa: S608 - a constant name


def expression(query: SearchQuery) -> str:
    """Return *query* as an FTS5 expression of quoted strings, in which only a quote has a meaning.

    A NUL would end the expression, and surrogates cannot be encoded. Both are replaced, as neither is part of a word.
    """
    quoted = " ".join(f'"{phrase}"' for phrase in query.phrases)
    return quoted.replace("\0", " ").encode(errors="replace").decode()


class WordSplitter:
    """The splitting of texts into words, for an index that is not SQLite's.

    It asks FTS5 about each character once, and then splits a text ten times as fast as FTS5 itself.
    """

    def __init__(self) -> None:
        self._characters = _Characters()

    def split(self, text: str) -> list[str]:
        """Return the words of *text*, which holds no surrogates, in order. Raises ``JournalError``."""
        characters = self._characters
        split = text.translate(characters).split()
        if characters.unknown:
            characters.learn()
            return text.translate(characters).split()
        return split


class _Characters(dict[int, str]):
    """The parts that characters have in words: a letter without case, a blank between words, or nothing."""

    def __init__(self) -> None:
        self.unknown: set[int] = set()

    def __missing__(self, character: int) -> str:
        self.unknown.add(character)
        return ""

    def learn(self) -> None:
        """Ask FTS5 for the words of the text x?x with each unknown character: x and x, xx, or x, a letter, and x."""
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
            make_scratch(db)
            db.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(temp, scratch, instance)")
            db.execute("BEGIN")
            texts = ((number, f"x{chr(number)}x") for number in self.unknown)
            db.executemany("INSERT INTO scratch(rowid, text) VALUES (?, ?)", texts)
            for character, word in db.execute("SELECT doc, term FROM words"):
                self[character] = " " if word == "x" else word[1:-1]
        self.unknown.clear()
