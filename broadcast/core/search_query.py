"""Search queries: the arguments of ``/search``, split into words and phrases. No database.

The journals decide which words are equal (case, diacritics, punctuation). All of them follow one tokenizer: SQLite's
``unicode61``.
"""

from __future__ import annotations

from dataclasses import dataclass

from broadcast.core.errors import RejectedError

MAX_QUERY_CHARS = 100
"""Maximum length of a query, in characters. The cost of a search grows with its words (docs/searching.rst)."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """The phrases that a line must contain. The words of a phrase must follow one another directly.

    A single word is a phrase, too. No phrase is blank or contains a double quote. Journals ignore a phrase that is only
    punctuation.
    """

    phrases: tuple[str, ...]


def parse_query(line: str) -> SearchQuery:
    """Return the query in *line*. Raises ``RejectedError`` if it is too long.

    Blanks separate words. Text between double quotes is a phrase, even if the second quote is missing. No other
    character has a meaning, so no line has a syntax error::

        deploy "the build" not: don't   ->   deploy, the build, not:, don't
    """
    if len(line) > MAX_QUERY_CHARS:
        raise RejectedError(f"at most {MAX_QUERY_CHARS} characters can be searched for.")
    phrases: list[str] = []
    for index, part in enumerate(line.split('"')):
        in_quotes = index % 2 == 1
        phrases += [" ".join(part.split())] if in_quotes else part.split()
    return SearchQuery(tuple(dict.fromkeys(filter(None, phrases))))
