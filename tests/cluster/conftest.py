"""Fixtures for tests of several nodes."""

from __future__ import annotations

import pytest

from tests.cluster.nodes import Cluster, Node
from tests.harness import Person


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def here(cluster: Cluster) -> Node:
    return cluster.nodes[0]


@pytest.fixture
def there(cluster: Cluster) -> Node:
    return cluster.nodes[1]


@pytest.fixture
def ann(here: Node, bob: Person) -> Person:
    (ann,) = here.join("ann")
    bob.read()
    return ann


@pytest.fixture
def bob(there: Node) -> Person:
    return there.join("bob")[0]
