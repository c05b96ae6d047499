"""A search is a line of words and phrases, and every line is valid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.errors import RejectedError
from broadcast.core.search_query import MAX_QUERY_CHARS, parse_query


@pytest.mark.parametrize(
    ("line", "phrases"),
    [
        ("", ()),
        (" \t\u3000", ()),
        ("build", ("build",)),
        ("  the   build ", ("the", "build")),
        ('"the  build"', ("the build",)),
        ('deploy "the build" not: don\'t', ("deploy", "the build", "not:", "don't")),
        ('a"b c"d', ("a", "b c", "d")),
        ('"b c', ("b c",)),
        ('b c"', ("b", "c")),
        ('"', ()),
        ('""', ()),
        ('" " "x" "', ("x",)),
        ("a b a", ("a", "b")),
        ('"a b" "a  b"', ("a b",)),
        ("OR NEAR(a* ^b", ("OR", "NEAR(a*", "^b")),
    ],
)
def test_query_is_words_and_quoted_phrases(line: str, phrases: tuple[str, ...]) -> None:
    assert parse_query(line).phrases == phrases


@given(st.text(max_size=MAX_QUERY_CHARS))
def test_any_line_gives_phrases_with_single_blanks(line: str) -> None:
    for phrase in parse_query(line).phrases:
        assert phrase.strip()
        assert '"' not in phrase
        assert " ".join(phrase.split()) == phrase


def test_line_above_the_limit_is_rejected() -> None:
    assert parse_query("x" * MAX_QUERY_CHARS).phrases == ("x" * MAX_QUERY_CHARS,)
    with pytest.raises(RejectedError, match="at most 100 characters"):
        parse_query("x" * (MAX_QUERY_CHARS + 1))
