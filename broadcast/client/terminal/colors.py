"""The colours of nicknames and of the pieces of a row, readable on dark and on light backgrounds."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final

PALETTE: Final = (
    "#d75f00",
    "#af5f00",
    "#878700",
    "#5f8700",
    "#008700",
    "#00875f",
    "#008787",
    "#0087af",
    "#0087d7",
    "#5f5fff",
    "#875fff",
    "#af5fd7",
    "#d700d7",
    "#d7005f",
    "#d75f87",
    "#875faf",
)
"""Sixteen of the 256 colours that terminals share. Against both black and white each has a contrast of at least 3.5
to 1, where WCAG 2.2 (1.4.11) asks for 3; ``tests/client/terminal/test_colors.py`` computes it. Red is for errors."""
STYLES: Final[Mapping[str, str]] = {
    "time": "#808080",
    "day": "#808080",
    "unread": "bold",
    "heading": "bold",
    "note": "#808080",
    "mention": "bold #d75f00",
    "own": "bold",
    "private": "bold",
    "error": "bold #d70000",
    "waiting": "#808080",
}
"""The styles of the pieces of a row, for prompt_toolkit."""


def color_of(nick: str) -> str:
    """Return the colour of *nick*, the same one every day and in upper and lower case."""
    # Any of the sum's bits would do; with these, the people in the documentation have a colour each.
    return PALETTE[(zlib.crc32(nick.casefold().encode(errors="replace")) >> 11) % len(PALETTE)]
