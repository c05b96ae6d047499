"""A peer puts what a session shows and what the room tells into one stream, until it is closed or lost."""

from __future__ import annotations

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from zope.interface.verify import verifyObject

from broadcast.core.events import Answered, Joined, Noted, Said
from broadcast.core.interfaces import Burst, Peer, View, Wire
from broadcast.fanout import Readers
from broadcast.protocols.peer import StreamPeer, whereabouts
from broadcast.wires.line import LineWire

_peer: type[Peer] = StreamPeer


class Bytes:
    """An outlet that keeps what it was offered."""

    def __init__(self) -> None:
        self.taken = b""
        self.finished = self.gone = 0

    def offer(self, data: bytes) -> int:
        assert data, "nothing was offered"
        assert not self.finished
        assert not self.gone
        self.taken += data
        return len(data)

    def finish(self) -> None:
        self.finished += 1

    def lost(self) -> None:
        self.gone += 1


class Setting:
    """A peer, and everything around it."""

    def __init__(self) -> None:
        self.outlet = Bytes()
        self.readers = Readers()
        self.proceeded = self.closed = 0
        self.wires: dict[View, Wire] = {}
        self.peer = StreamPeer(self.outlet, self.readers, self.wire, self._proceed, self._closed)
        self.peer.session = 7

    def wire(self, view: View) -> Wire:
        return self.wires.setdefault(view, LineWire(view, lambda: 0.0))

    def _proceed(self) -> None:
        self.proceeded += 1

    def _closed(self) -> None:
        self.closed += 1

    def tell(self, text: str) -> None:
        self.readers.tell(Burst([Joined(8, "eve"), Said(8, "eve", text, 0.0)], {}), lambda: None)


@pytest.fixture
def around() -> Setting:
    """A peer that does not listen yet."""
    return Setting()


def test_notices_are_one_offer(around: Setting) -> None:
    around.peer.show(Answered("one"), Answered("two"))
    around.peer.show()
    around.peer.send(b"")
    around.peer.send(b"raw")
    assert around.outlet.taken == b"-> one\r\n-> two\r\nraw"


def test_nothing_is_told_before_it_listens(around: Setting) -> None:
    around.tell("before")
    around.peer.listen(View())
    around.tell("after")
    assert around.outlet.taken == b" * eve joined.\r\neve: after\r\n"


def test_listening_again_changes_the_view(around: Setting) -> None:
    around.peer.listen(View())
    around.peer.listen(View(quiet=True))
    around.tell("hi")
    assert around.outlet.taken == b"eve: hi\r\n"


def test_the_session_and_the_room_share_one_stream(around: Setting) -> None:
    around.peer.listen(View(quiet=True))
    around.peer.show(Answered("1"))
    around.tell("2")
    around.peer.show(Answered("3"))
    assert around.outlet.taken == b"-> 1\r\neve: 2\r\n-> 3\r\n"


def test_proceeding_is_the_doors_business(around: Setting) -> None:
    around.peer.proceed()
    assert around.proceeded == 1


def test_closing_delivers_and_ends_it(around: Setting) -> None:
    around.peer.listen(View())
    around.peer.show(Noted("Goodbye."))
    around.peer.close()
    around.tell("too late")
    around.peer.show(Answered("too late"))
    assert around.outlet.taken == b" * Goodbye.\r\n"
    assert (around.outlet.finished, around.closed) == (1, 1)


def test_closing_twice_finishes_once(around: Setting) -> None:
    around.peer.close()
    around.peer.close()
    assert around.outlet.finished == 1


def test_a_lost_peer_takes_every_call_and_does_nothing(around: Setting) -> None:
    around.peer.listen(View())
    around.peer.lose()
    around.tell("hi")
    around.peer.show(Answered("hi"))
    around.peer.listen(View(times=True))
    around.tell("hi")
    around.peer.close()
    assert around.outlet.taken == b""
    assert (around.outlet.gone, around.outlet.finished, around.closed) == (1, 0, 1)


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (IPv4Address("TCP", "10.0.0.7", 40001), "10.0.0.7 port 40001"),
        (IPv6Address("TCP", "fe80::1%eth0", 40001), "fe80::1%eth0 port 40001"),
        (IPv4Address("TCP", "10.0.0.7\r\nforged\x1b\u2028", 7), "10.0.0.7forged  port 7"),
        (UNIXAddress(b"/tmp/a\nb"), "a local socket"),
        (HostnameAddress(b"x\ny", 1), "a local socket"),
    ],
)
def test_where_somebody_came_from_is_one_line(address: IAddress, where: str) -> None:
    assert verifyObject(IAddress, address)
    assert whereabouts(address) == where
