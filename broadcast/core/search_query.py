"""What somebody looks for: a line typed behind ``/search``, taken apart into words and phrases; no database.

What counts as the same word (case, diacritics, punctuation) is the journals' business, and all of them let one
tokenizer decide it: SQLite's ``unicode61``.
"""

from __future__ import annotations

from dataclasses import dataclass

from broadcast.core.errors import RefusedError

MAX_QUERY_CHARS = 100
"""At most so many characters are searched for: what a search costs grows with its words (docs/searching.rst)."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What a line must hold to be found: each of *phrases*, its words one right behind the other.

    A single word is a phrase too. Every string has a character other than a blank, none has a double quote. One that
    consists of punctuation asks for nothing.
    """

    phrases: tuple[str, ...]


def parse_query(line: str) -> SearchQuery:
    """What *line* asks for; raises ``RefusedError`` where it is too long.

    Blanks separate words; what stands between double quotes is a phrase, also where the second quote is missing. No
    other character means anything, so there is no line that is wrong::

        deploy "the build" not: don't   ->   deploy, the build, not:, don't
    """
    if len(line) > MAX_QUERY_CHARS:
        raise RefusedError(f"at most {MAX_QUERY_CHARS} characters can be searched for.")
    phrases: list[str] = []
    for number, part in enumerate(line.split('"')):
        phrases += [" ".join(part.split())] if number % 2 else part.split()
    return SearchQuery(tuple(dict.fromkeys(filter(None, phrases))))
