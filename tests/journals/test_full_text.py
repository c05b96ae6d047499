"""The word splitter finds the same words as FTS5."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.journals.full_text import WordSplitter, make_scratch

SPLITTER = WordSplitter()


def words_of_fts5(texts: Sequence[str]) -> list[list[str]]:
    """Return the words of each of *texts*, as FTS5 splits them."""
    words: list[list[str]] = [[] for _ in texts]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        make_scratch(db)
        db.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(temp, scratch, instance)")
        db.executemany("INSERT INTO scratch(rowid, text) VALUES (?, ?)", enumerate(texts))
        for word, number in db.execute("SELECT term, doc FROM words ORDER BY doc, offset"):
            words[number].append(word)
    return words


@pytest.mark.parametrize("highest", [0x250, 0x2FFF, 0x1FFFF])
def test_words_are_those_of_fts5_in_random_text(highest: int) -> None:
    random = Random(highest)  # noqa: S311 -- the same characters each time
    characters = [chr(number) for number in range(highest) if not 0xD800 <= number < 0xE000]
    texts = ["".join(random.choices(characters, k=20)) for _ in range(1000)]
    assert [SPLITTER.split(text) for text in texts] == words_of_fts5(texts)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_words_are_those_of_fts5(text: str) -> None:
    assert [SPLITTER.split(text)] == words_of_fts5([text])


def test_words_lose_case_and_diacritics() -> None:
    assert SPLITTER.split("The\0BUILD cre\u0300me, Ångström: don't \u0301b 你好😀") == [
        *("the", "build", "creme", "angstrom", "don", "t", "b", "你好")
    ]
    assert SPLITTER.split("") == SPLITTER.split("... \u0301 😀") == []
