"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest_twisted

from tests.real.programs import Programs

# Other people's machines are slower: how long an example takes is no failure. The same examples each time, so that a
# change is judged by what it changes; .ci/long looks for new ones.
hypothesis.settings.register_profile("broadcast", deadline=None, derandomize=not os.environ.get("BROADCAST_LONG"))
hypothesis.settings.load_profile("broadcast")


@pytest_twisted.async_yield_fixture
async def programs(tmp_path: Path) -> AsyncIterator[Programs]:
    """Starts programs that end with the test."""
    from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

    started = Programs(reactor, tmp_path)
    yield started
    await started.stop()
