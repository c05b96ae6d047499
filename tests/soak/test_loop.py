"""That a connection whose network has stopped behaves like one."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.soak.loop import Connection, Loop, why_no_filters

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the soak needs epoll")
PATIENCE = 60.0
"""Seconds; a segment that was sent in vain is sent again after less than one."""


class Owner:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: list[str] = []

    def received(self, data: bytes, now: float) -> None:
        self.data += data

    def closed(self, why: str) -> None:
        self.ended.append(why)


class Pair:
    """A connection of the soak's, and the server's end of it."""

    def __init__(self, loop: Loop, listening: socket.socket) -> None:
        self.loop = loop
        self.owner = Owner()
        self.near = Connection(loop, listening.getsockname()[1], self.owner)
        self.far, _address = listening.accept()
        self.far.settimeout(PATIENCE)

    def read(self, data: bytes) -> bool:
        return self.loop.run(lambda: self.owner.data == data, PATIENCE)


@pytest.fixture
def pair() -> Iterator[Pair]:
    if reason := why_no_filters():
        pytest.skip(reason)
    loop = Loop()
    with socket.create_server(("127.0.0.1", 0)) as listening, closing(loop):
        listening.settimeout(PATIENCE)
        made = Pair(loop, listening)
        with made.far:
            yield made


def test_nothing_arrives_while_there_is_no_network_and_all_of_it_when_there_is(pair: Pair) -> None:
    pair.far.sendall(b"one")
    assert pair.read(b"one")
    pair.near.stop_network()
    pair.far.sendall(b"two")
    assert not pair.loop.run(lambda: pair.owner.data != b"one", 1.0)
    pair.near.start_network()
    assert pair.read(b"onetwo")


def test_nobody_is_told_of_an_end_while_there_is_no_network(pair: Pair) -> None:
    pair.near.send(b"hello")
    assert pair.loop.run(lambda: not pair.near.full, PATIENCE)
    assert pair.far.recv(5) == b"hello"
    pair.near.stop_network()
    pair.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.far.close()  # with a reset
    assert not pair.loop.run(lambda: bool(pair.owner.ended), 0.5)
    pair.near.start_network()
    pair.near.send(b"am I still here?")
    assert pair.loop.run(lambda: bool(pair.owner.ended), PATIENCE)
    assert pair.owner.ended[0]  # and not as if all had been said
