"""The fixture of the tests in this folder."""

from __future__ import annotations

import pytest

from tests.client.protocol.links import Link


@pytest.fixture
def link() -> Link:
    return Link().start()
