"""What the tests of faults may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.crowds import Crowd
from tests.real.programs import Programs


@pytest.fixture
def crowd(programs: Programs) -> Iterator[Callable[[int], Crowd]]:
    """Makes a crowd at a port, whose connections end with the test."""
    made: list[Crowd] = []

    def make(port: int) -> Crowd:
        made.append(Crowd(programs, port))
        return made[-1]

    yield make
    for crowd in made:
        crowd.close()
