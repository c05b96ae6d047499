"""Fixtures for tests of several nodes."""

from __future__ import annotations

import pytest

from tests.cluster.nodes import Cluster


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()
