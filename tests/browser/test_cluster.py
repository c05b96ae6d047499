"""People on the page, on two servers behind HAProxy, one of which is killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.actions import expect_shown, reconnect, say
from tests.browser.conftest import Pages
from tests.browser.people import Person, wait_until
from tests.postgres import PostgresServer
from tests.real.cluster import Balancer, Cluster

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def cluster(postgres: PostgresServer, postgres_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """Two servers with one database."""
    cluster = Cluster(tmp_path, postgres_url, ("one", "two"))
    try:
        cluster.start()
        yield cluster
        assert cluster.problems() == []
    finally:
        cluster.stop()


@pytest.fixture
def balancer(cluster: Cluster, tmp_path: Path) -> Iterator[Balancer]:
    """HAProxy in front of both."""
    balancer = Balancer(tmp_path, cluster.nodes)
    balancer.wait()
    yield balancer
    balancer.stop()


@pytest.fixture
def pages(browser: Browser, balancer: Balancer) -> Iterator[Pages]:
    """Make pages through HAProxy."""
    pages = Pages(browser, balancer.address)
    yield pages
    pages.close()
    assert pages.unexpected == []


def test_people_on_two_servers_talk_on_although_one_server_is_killed(
    pages: Pages, cluster: Cluster, balancer: Balancer
) -> None:
    pages.allowed += ["WebSocket connection to", "503"]
    ann, bob = pages.join("ann"), pages.join("bob")
    assert {servers_of(cluster, "ann"), servers_of(cluster, "bob")} == {"one", "two"}, "each is on a server of its own"
    say(ann, "hello")
    expect_shown(bob, "hello")
    say(bob, "hi")
    expect_shown(ann, "hi")
    with Person(balancer.port, "carol") as carol:
        assert "2 others are here: ann, bob." in carol.seen
        killed = next(node for node in cluster.nodes if node.name == servers_of(cluster, "ann"))
        killed.stop(signal.SIGKILL)
        say(ann, "can you hear me?")
        reconnect(ann)
        expect_shown(bob, "can you hear me?")
        say(bob, "yes")
        expect_shown(ann, "hello", "hi", "can you hear me?", "yes")
    killed.start()


def servers_of(cluster: Cluster, nick: str) -> str:
    """Return the name of the server to which *nick* is connected, once its log has the line."""

    def names() -> list[str]:
        return [node.name for node in cluster.nodes if f" {nick} joined from " in node.output()]

    wait_until(lambda: bool(names()), lambda: f"no server has logged that {nick} joined")
    return names()[-1]
