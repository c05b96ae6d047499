"""A peer puts what a session shows and what the room tells into one stream, until it is closed or lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from broadcast.core.events import CommandReply, Joined, Message, Receipt, ServerNotice
from broadcast.core.interfaces import Batch, Encoder, Peer, View
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.peer import StreamPeer
from broadcast.delivery.subscriber import LAZY_CHUNK_BYTES
from broadcast.doors.line.encoder import LineEncoder
from broadcast.net.addresses import format_peer
from broadcast.net.writers import SocketWriter
from tests.harness import SocketTransport

_peer: type[Peer] = StreamPeer


class Setting:
    """A peer, and everything around it."""

    def __init__(self) -> None:
        self.transport = SocketTransport()
        self.clock = Clock()
        self.fanout = Fanout(lambda _call: None, lambda: 0.0)
        self.proceeded = self.closed = 0
        self.wires: dict[View, Encoder] = {}
        outlet = SocketWriter(self.transport, self.clock, self.transport.socket.handle)
        self.peer = StreamPeer(self.fanout, outlet, self.wire, self._proceed, self._closed)
        self.peer.bind_session(7)

    @property
    def taken(self) -> bytes:
        """What the other side has got."""
        return bytes(self.transport.sent)

    def wire(self, view: View) -> Encoder:
        return self.wires.setdefault(view, LineEncoder(view, lambda: 0.0))

    def _proceed(self) -> None:
        self.proceeded += 1

    def _closed(self) -> None:
        self.closed += 1

    def tell(self, text: str) -> None:
        self.fanout.publish(Batch([Joined(8, "eve"), Message(8, "eve", text, 0.0, 1)], {}), iter(()))

    def fill(self) -> None:
        """They do not read, until nothing should be added for them alone."""
        self.transport.takes = False
        while not self.peer.congested:
            self.peer.send(CommandReply("x" * 4000))


@pytest.fixture
def around() -> Setting:
    """A peer that does not listen yet."""
    return Setting()


def test_notices_are_one_offer(around: Setting) -> None:
    around.peer.send(CommandReply("one"), CommandReply("two"))
    around.peer.send()
    around.peer.send_bytes(b"")
    around.peer.send_bytes(b"raw")
    assert around.taken == b"-> one\r\n-> two\r\nraw"
    assert around.transport.socket.offers == 2


def test_notices_that_are_made_one_by_one_are_few_offers_and_made_no_sooner_than_they_are_wanted(
    around: Setting,
) -> None:
    made: list[int] = []

    def notices() -> Iterator[CommandReply]:
        for number in range(1000):
            made.append(number)
            yield CommandReply("x" * 1000)

    around.transport.takes = False
    around.peer.send_lazily(notices())
    assert len(made) < 2 * LAZY_CHUNK_BYTES // 1000 + 2
    around.transport.take_again()
    assert around.taken == b"".join([b"-> " + b"x" * 1000 + b"\r\n"] * 1000)
    assert around.transport.socket.offers < 60


def test_nothing_is_told_before_it_listens(around: Setting) -> None:
    around.tell("before")
    around.peer.subscribe(View())
    around.tell("after")
    assert around.taken == b" * eve joined.\r\neve: after\r\n"


def test_listening_again_changes_the_view(around: Setting) -> None:
    around.peer.subscribe(View())
    around.peer.subscribe(View(quiet=True))
    around.tell("hi")
    assert around.taken == b"eve: hi\r\n"


def test_the_session_and_the_room_share_one_stream(around: Setting) -> None:
    around.peer.subscribe(View(quiet=True))
    around.peer.send(CommandReply("1"))
    around.tell("2")
    around.peer.send(CommandReply("3"))
    assert around.taken == b"-> 1\r\neve: 2\r\n-> 3\r\n"


def test_proceeding_is_the_doors_business(around: Setting) -> None:
    around.peer.ready_for_line()
    assert around.proceeded == 1


def test_closing_delivers_and_ends_it(around: Setting) -> None:
    around.peer.subscribe(View())
    around.peer.send(ServerNotice("Goodbye."))
    around.peer.close()
    around.tell("too late")
    around.peer.send(CommandReply("too late"))
    assert around.taken == b" * Goodbye.\r\n"
    assert (around.transport.finished, around.closed) == (True, 1)


def test_closing_twice_finishes_once(around: Setting) -> None:
    around.peer.close()
    around.peer.close()
    assert around.transport.finished
    assert len(around.clock.getDelayedCalls()) == 1


def test_a_lost_peer_takes_every_call_and_does_nothing(around: Setting) -> None:
    around.peer.subscribe(View())
    around.peer.connection_lost()
    around.tell("hi")
    around.peer.send(CommandReply("hi"))
    around.peer.send_lazily(iter([CommandReply("hi")]))
    around.peer.subscribe(View(times=True))
    around.tell("hi")
    around.peer.close()
    assert around.taken == b""
    assert (around.transport.finished, around.closed) == (False, 1)


def test_a_lost_peer_is_told_nothing_of_what_it_is_an_author_of(around: Setting) -> None:
    around.peer.subscribe(View())
    around.peer.connection_lost()
    around.fanout.publish(Batch([Message(7, "ann", "x", 0.0, 1)], {7: [(0, Receipt(1))]}), iter(()))
    assert around.taken == b""


def test_who_reads_is_never_full(around: Setting) -> None:
    around.peer.send(*[CommandReply("x" * 4000)] * 100)
    called: list[str] = []
    around.peer.when_writable(lambda: called.append("at once"))
    assert not around.peer.congested
    assert called == ["at once"]
    assert around.proceeded == 0


def test_what_waits_for_room_is_called_once_when_there_is_some_and_the_door_is_told(around: Setting) -> None:
    around.fill()
    called: list[str] = []
    around.peer.when_writable(lambda: called.append("room"))
    proceeded = around.proceeded
    assert called == []
    around.transport.take_again()
    assert called == ["room"]
    assert around.proceeded == proceeded + 1
    around.fill()
    around.transport.take_again()
    assert called == ["room"]
    assert around.proceeded == proceeded + 2


def test_page_after_page_is_shown_while_there_is_room_however_many(around: Setting) -> None:
    left = 5000

    def page() -> None:
        nonlocal left
        left -= 1
        if left:
            around.peer.when_writable(page)

    around.peer.when_writable(page)
    assert left == 0


def test_who_became_full_before_their_turn_came_waits_for_room() -> None:
    around = Setting()
    called: list[str] = []

    def first() -> bool:
        around.peer.when_writable(lambda: called.append("room"))
        around.fill()
        return False

    around.fanout.schedule(first)
    assert called == []
    around.transport.take_again()
    assert called == ["room"]


def test_the_door_is_told_of_a_peer_that_is_waited_for(around: Setting) -> None:
    around.fill()
    around.peer.when_writable(lambda: None)
    assert around.proceeded == 1


def test_nobody_waits_for_a_lost_peer(around: Setting) -> None:
    around.fill()
    called: list[str] = []
    around.peer.when_writable(lambda: called.append("lost"))
    around.peer.connection_lost()
    around.peer.when_writable(lambda: called.append("gone"))
    assert called == ["lost", "gone"]


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (IPv4Address("TCP", "10.0.0.7", 40001), "10.0.0.7 port 40001"),
        (IPv6Address("TCP", "fe80::1%eth0", 40001), "fe80::1%eth0 port 40001"),
        (IPv6Address("TCP", "::ffff:10.0.0.7", 40001), "10.0.0.7 port 40001"),
        (IPv6Address("TCP", "::ffff:1", 40001), "::ffff:1 port 40001"),
        (IPv4Address("TCP", "10.0.0.7\r\nforged\x1b\u2028", 7), "10.0.0.7forged  port 7"),
        (UNIXAddress(b"/tmp/a\nb"), "a local socket"),
        (HostnameAddress(b"x\ny", 1), "a local socket"),
    ],
)
def test_where_somebody_came_from_is_one_line(address: IAddress, where: str) -> None:
    assert verifyObject(IAddress, address)
    assert format_peer(address) == where
