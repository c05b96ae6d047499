"""The garbage collector examines objects once, and again only while that delays few people."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from weakref import ref

import pytest
from twisted.internet.task import Clock

from broadcast.server.gc_pauses import FEW_CONNECTIONS, THOROUGH_SECONDS, THRESHOLDS, GcPauseLimiter


class Cycle:
    """An object that only the garbage collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def _restored_collector() -> Iterator[None]:
    callbacks, thresholds = gc.callbacks[:], gc.get_threshold()
    gc.unfreeze()  # what tests/conftest.py has frozen
    yield
    gc.callbacks[:] = callbacks
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.freeze()


def start(connections: int) -> Clock:
    """Start with so many connections. Return the clock."""
    clock = Clock()
    GcPauseLimiter(range(connections), clock.seconds).start()
    return clock


@pytest.mark.usefixtures("_restored_collector")
def test_objects_that_survive_a_full_collection_are_not_examined_again() -> None:
    clock = start(FEW_CONNECTIONS + 1)
    assert gc.get_threshold() == THRESHOLDS
    assert gc.get_freeze_count() > 10_000  # the modules
    early, late = Cycle(), Cycle()
    seen = ref(early)
    del early
    gc.collect()
    assert seen() is None
    seen = ref(late)
    clock.advance(THOROUGH_SECONDS)
    del late
    gc.collect()
    assert seen() is not None


@pytest.mark.usefixtures("_restored_collector")
def test_few_people_let_everything_be_examined_once_an_hour() -> None:
    clock = start(FEW_CONNECTIONS)
    frozen = Cycle()
    seen = ref(frozen)
    gc.collect()
    del frozen
    gc.collect()
    assert seen() is not None
    clock.advance(THOROUGH_SECONDS)
    gc.collect(1)
    assert seen() is not None
    gc.collect()
    assert seen() is None
    second = Cycle()
    seen = ref(second)
    gc.collect()
    del second
    clock.advance(THOROUGH_SECONDS - 1)
    gc.collect()
    assert seen() is not None
