"""Valid nicknames made from any names, by the rules of ``docs/protocol.rst``."""

from __future__ import annotations

import re

TYPE_CHECKING = False  # typing takes long to import, and --send waits for this module
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

LONGEST: Final = 24
NOBODY: Final = "guest"
"""The nickname of a user whose name has no valid character."""
TRIES: Final = 9
"""The number of nicknames to try. The server closes the connection at the tenth refusal."""


def fit(name: str) -> str:
    """Return the most similar nickname to *name*: ASCII letters, digits, ``_``, ``-`` and ``.``, without accents."""
    if not name.isascii():
        from unicodedata import normalize  # noqa: PLC0415 -- few need it

        name = normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name.strip()).strip("-")[:LONGEST] or NOBODY


def numbered(nick: str, number: int) -> str:
    """Return *nick* with *number* at its end, shortened to the length of a nickname."""
    digits = str(number)
    return nick[: LONGEST - len(digits)] + digits


def propose_nicknames(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the nicknames to try for the user of this *environment*: ann, ann2, ann3 and so on."""
    nick = fit(environment.get("USER") or environment.get("USERNAME") or NOBODY)
    yield nick
    for number in range(2, TRIES + 1):
        yield numbered(nick, number)
