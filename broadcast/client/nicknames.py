"""Nicknames that a server takes, made from names that it might not; the rules are those of ``docs/protocol.rst``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from unicodedata import normalize

LONGEST: Final = 24
"""A nickname has at most so many characters."""
NOBODY: Final = "guest"
"""Who is called nothing that could be a nickname."""
TRIES: Final = 9
"""The server closes at the tenth refusal."""


def fit(name: str) -> str:
    """The nickname that is most like *name*: ASCII letters, digits, ``_``, ``-`` and ``.``, accents taken off."""
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", plain.strip()).strip("-")[:LONGEST] or NOBODY


def numbered(nick: str, number: int) -> str:
    """*nick* with *number* behind it, no longer than a nickname may be."""
    digits = str(number)
    return nick[: LONGEST - len(digits)] + digits


def of_user(environment: Mapping[str, str]) -> Iterator[str]:
    """The nicknames to try for the user of this *environment*, one after the other: ann, ann2, ann3 and so on."""
    nick = fit(environment.get("USER") or environment.get("USERNAME") or NOBODY)
    yield nick
    for number in range(2, TRIES + 1):
        yield numbered(nick, number)
