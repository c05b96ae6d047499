"""The names of the harnesses, and the inputs that are stored for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

HARNESSES: Final = ("framing", "telnet", "text", "websocket")
SEEDS: Final = Path(__file__).with_name("seeds")
"""Folder with a folder for each harness: inputs that reach most of the code."""
FOUND: Final = Path(__file__).with_name("found")
"""Folder with a folder for each harness: inputs that once failed."""


def stored(name: str) -> Iterator[Path]:
    """Yield every input that is stored for the harness *name*."""
    for folder in (SEEDS, FOUND):
        yield from sorted((folder / name).glob("*"))
