"""Ways of cutting bytes into chunks, as the network may."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Way: TypeAlias = Callable[[bytes], list[bytes]]


def whole(data: bytes) -> list[bytes]:
    """All at once."""
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[at : at + 1] for at in range(len(data))]


def between_cr_and_lf(data: bytes) -> list[bytes]:
    """Cut between each CR and the LF behind it, and nowhere else."""
    first, *rest = data.split(b"\r\n")
    chunks = [first + b"\r", *(b"\n" + chunk + b"\r" for chunk in rest)] if rest else [first]
    if rest:
        chunks[-1] = chunks[-1][:-1]
    return chunks


WAYS: dict[str, Way] = {"whole": whole, "byte by byte": byte_by_byte, "between CR and LF": between_cr_and_lf}
