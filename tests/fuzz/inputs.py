"""The harnesses by name, and the inputs that are kept for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

HARNESSES: Final = ("framing", "telnet", "text")
SEEDS: Final = Path(__file__).with_name("seeds")
"""A folder for each harness, with inputs that lead to most of the code."""
FOUND: Final = Path(__file__).with_name("found")
"""A folder for each harness, with inputs that something was wrong with."""


def kept(name: str) -> Iterator[Path]:
    """Every input that is kept for the harness *name*."""
    for folder in (SEEDS, FOUND):
        yield from sorted((folder / name).glob("*"))
