"""People on the page, on two servers behind HAProxy, one of which is killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from tests.browser.actions import expect_shown, reconnect, say
from tests.browser.conftest import Pages
from tests.browser.people import Person, wait_until
from tests.browser.test_sharing import choose_file, confirm
from tests.postgres import PostgresServer
from tests.real.cluster import Balancer, Cluster
from tests.real.programs import PATIENCE

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


def send_elsewhere(settings: str) -> str:
    """Return the *settings* of HAProxy with people on the first server, and their uploads on the second one.

    If a server is dead, the other one takes its place.
    """
    settings = re.sub("(server two .*)", r"\1 backup", settings)
    frontend = "    option forwardfor\n"
    assert frontend in settings
    settings = settings.replace(frontend, f"{frontend}    use_backend uploads if {{ method PUT HEAD DELETE }}\n")
    one, two = (
        f"    server {name} 127.0.0.1:800{number} port 900{number}" for number, name in ((1, "one"), (2, "two"))
    )
    return f"{settings}\nbackend uploads\n    mode http\n{two}\n{one} backup\n"


def test_page_shares_files_although_its_uploads_reach_another_server(
    browser: Browser, cluster: Cluster, tmp_path: Path
) -> None:
    one, two = cluster.nodes
    balancer = Balancer(tmp_path, cluster.nodes, send_elsewhere)
    balancer.wait()
    pages = Pages(browser, balancer.address)
    small, large = tmp_path / "holiday.bin", tmp_path / "large.bin"
    small.write_bytes(os.urandom(1_000_000))
    large.write_bytes(bytes(1_000_000) + os.urandom(11_000_000))
    try:
        with Person(two.port, "bob") as bob:
            ann = pages.join("ann")
            assert servers_of(cluster, "ann") == "one"
            choose_file(ann, small)
            confirm(ann)
            bob.until(" * ann shared holiday.bin (1.0 MB): http://")
            bob.read_until(" shared holiday.bin")
            name = bob.read_until("\r\n").rpartition("/files/")[2]
            expect(ann.get_by_role("link", name="holiday.bin")).to_be_visible()
        with Person(one.port, "carol") as carol:
            choose_file(ann, large)
            confirm(ann)
            pages.allowed += ["502", "503", "net::ERR"]
            wait_for_chunks(cluster, 8)
            two.stop(signal.SIGKILL)
            carol.until(" * ann shared large.bin (12 MB): http://")
        two.start()
        for node in (one, two):
            with urlopen(f"http://127.0.0.1:{node.web_port}/files/{name}", timeout=PATIENCE) as answer:
                assert answer.read() == small.read_bytes()
        assert pages.unexpected == []
    finally:
        pages.close()
        balancer.stop()


def wait_for_chunks(cluster: Cluster, count: int) -> None:
    """Wait until the database holds more than *count* chunks of files."""
    import psycopg  # noqa: PLC0415 -- it may be missing

    # A connection for each look would take more CPU time than the upload.
    with psycopg.connect(cluster.url, autocommit=True) as db:
        wait_until(lambda: db.execute("SELECT count(*) > %s FROM broadcast.chunks", (count,)).fetchone() == (True,))


def servers_of(cluster: Cluster, nick: str) -> str:
    """Return the name of the server to which *nick* is connected, once its log has the line."""

    def names() -> list[str]:
        return [node.name for node in cluster.nodes if f" {nick} joined from " in node.output()]

    wait_until(lambda: bool(names()), lambda: f"no server has logged that {nick} joined")
    return names()[-1]
