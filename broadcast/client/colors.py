"""Which colour a nickname has on the terminal: the same one everywhere and every day, readable on dark and on light."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping

PALETTE = (
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
to 1, where WCAG 2.2 (1.4.11) asks for 3; ``tests/client/test_colors.py`` computes it. Red is left for errors."""


def color_of(nick: str) -> str:
    """The colour of *nick*, in whatever case it is written."""
    # Any of the sum's bits would do; with these, the people in the documentation have a colour each.
    return PALETTE[(zlib.crc32(nick.casefold().encode(errors="replace")) >> 11) % len(PALETTE)]


def wanted(environment: Mapping[str, str] = os.environ, *, refused: bool = False) -> bool:
    """Whether to show colours: not where they are *refused* by an option, nor with NO_COLOR (https://no-color.org)."""
    return not refused and not environment.get("NO_COLOR")
