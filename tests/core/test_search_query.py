"""A line is taken apart into words and phrases, and no line is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.errors import RefusedError
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
def test_words_stand_alone_and_phrases_between_quotes(line: str, phrases: tuple[str, ...]) -> None:
    assert parse_query(line).phrases == phrases


@given(st.text(max_size=MAX_QUERY_CHARS))
def test_every_line_that_is_not_too_long_asks_for_something_or_nothing(line: str) -> None:
    for phrase in parse_query(line).phrases:
        assert phrase.strip()
        assert '"' not in phrase
        assert " ".join(phrase.split()) == phrase


def test_a_line_past_the_limit_is_refused() -> None:
    assert parse_query("x" * MAX_QUERY_CHARS).phrases == ("x" * MAX_QUERY_CHARS,)
    with pytest.raises(RefusedError, match="at most 100 characters"):
        parse_query("x" * (MAX_QUERY_CHARS + 1))
