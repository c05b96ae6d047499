"""Who comes: so many of each kind."""

from __future__ import annotations

from typing import Final

from tests.soak.loop import why_no_filters
from tests.soak.people import (
    Comer,
    Flooder,
    Loud,
    Paster,
    Prober,
    Reader,
    Sipper,
    Staller,
    Talker,
    Typist,
)
from tests.soak.strangers import Garbage, HalfOpen, Resetter, Silent
from tests.soak.world import Person, World

LINES_A_SECOND: Final = 5.0
"""What all talkers together say."""

SHARES: Final[tuple[tuple[type[Person], float], ...]] = (
    (Talker, 0.25),
    (Loud, 0.02),
    (Comer, 0.10),
    (Staller, 0.05),
    (Sipper, 0.02),
    (Typist, 0.02),
    (Paster, 0.02),
    (Flooder, 0.0015),
    (Resetter, 0.03),
    (HalfOpen, 0.02),
    (Silent, 0.005),
    (Garbage, 0.015),
    (Prober, 0.0005),
)
"""Which part of the people is of which kind, at least one of each; all others are readers.

Where this user may not stop a network, nobody is half open.
"""


def crowd(world: World, people: int) -> list[Person]:
    """So many people, in the order in which they come."""
    found: list[Person] = []
    for kind, share in SHARES:
        if kind is HalfOpen and why_no_filters():
            continue
        found += [kind(world, number) for number in range(max(1, round(share * people)))]
    found += [Reader(world, number) for number in range(people - len(found))]
    world.random.shuffle(found)
    return found
