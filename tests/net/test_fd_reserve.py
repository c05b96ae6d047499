"""Who knocks when there is no file descriptor is told so, and the reactor does not ask for ever."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTCP
from twisted.internet.protocol import Factory, ServerFactory
from twisted.internet.task import Clock
from twisted.internet.tcp import Port
from twisted.logger import capturedLogs, formatEvent

from broadcast.net import fd_reserve as descriptors
from broadcast.net.endpoints import close_now
from broadcast.net.fd_reserve import LOG_SECONDS, PAUSE_SECONDS, FdReserveListener, ReserveSocket, install_fd_reserve

FULL = b" * This server is full.\r\n"
PATIENCE = 60
LIMIT = 1024


@contextmanager
def exhausted() -> Iterator[None]:
    """There is not one file descriptor left in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    eaten: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(LIMIT, soft), hard))
    try:
        with suppress(OSError):
            while True:
                eaten.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in eaten:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Hall:
    """A door, and people who knock at it."""

    def __init__(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = listening.getsockname()
        self.rests = 0
        self.clock = Clock()
        self.door = ReserveSocket(listening.detach(), FULL, self._rest, self.clock.seconds)
        self._all: list[socket.socket] = []

    def _rest(self) -> None:
        self.rests += 1

    def knock(self, data: bytes = b"") -> socket.socket:
        """Somebody knocks, and types *data*."""
        knocking = socket.create_connection(self.address, PATIENCE)
        self._all.append(knocking)
        knocking.sendall(data)
        return knocking

    def nobody_comes_in(self) -> None:
        """Ask for somebody, in vain."""
        with pytest.raises(BlockingIOError) as caught:
            self.door.accept()
        assert caught.value.errno == errno.EAGAIN

    def let_in(self) -> None:
        """Ask for somebody, and find them."""
        accepted, _address = self.door.accept()
        accepted.close()

    def close(self) -> None:
        """Everybody goes home."""
        self.door.close()
        for knocking in self._all:
            knocking.close()


@pytest.fixture
def hall() -> Iterator[Hall]:
    with closing(Hall()) as hall:
        yield hall


def everything(knocking: socket.socket) -> bytes:
    """What *knocking* reads, to the end; a reset fails the test."""
    with knocking.makefile("rb") as file:
        return file.read()


def test_with_descriptors_it_is_a_listening_socket_like_any_other(hall: Hall) -> None:
    hall.nobody_comes_in()
    hall.knock()
    hall.let_in()
    hall.nobody_comes_in()


def test_without_one_everybody_who_waits_reads_why_and_is_closed_and_then_it_goes_on(hall: Hall) -> None:
    people = [hall.knock(), hall.knock(b"ann\r\nhello\r\n"), hall.knock()]
    with exhausted():
        hall.nobody_comes_in()
    assert [everything(person) for person in people] == [FULL] * 3
    assert hall.rests == 0
    hall.knock()
    hall.let_in()


def test_the_reserve_helps_again_and_again(hall: Hall) -> None:
    one, other = hall.knock(), hall.knock()
    with exhausted(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(descriptors, "MAX_REJECTED_PER_ACCEPT", 1)
        hall.nobody_comes_in()
        hall.nobody_comes_in()
        hall.nobody_comes_in()
    assert [everything(one), everything(other)] == [FULL] * 2
    assert hall.rests == 0


def test_where_the_reserve_is_gone_too_nobody_is_asked_for_a_while_and_who_waits_waits(hall: Hall) -> None:
    hall.knock()
    with exhausted():
        hall.door._release_reserve()
        last = os.open(os.devnull, os.O_RDONLY)  # something else was quicker
        hall.nobody_comes_in()
        assert hall.rests == 1
        hall.nobody_comes_in()
        assert hall.rests == 2
        os.close(last)
    hall.let_in()


def test_a_reserve_that_was_lost_is_taken_again(hall: Hall) -> None:
    hall.knock()
    with exhausted():
        hall.door._release_reserve()
        last = os.open(os.devnull, os.O_RDONLY)
        hall.nobody_comes_in()
        os.close(last)
    hall.let_in()
    person = hall.knock()
    with exhausted():
        hall.nobody_comes_in()
    assert everything(person) == FULL


def test_whoever_has_gone_before_they_were_turned_away_does_no_harm(hall: Hall) -> None:
    gone = hall.knock(b"ann")
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    gone.close()
    stays = hall.knock()
    with exhausted():
        hall.nobody_comes_in()
    assert everything(stays) == FULL


def test_the_log_is_told_once_in_a_while_with_how_many(hall: Hall) -> None:
    with capturedLogs() as events:
        for people, seconds in ((2, 0.0), (3, LOG_SECONDS - 0.1), (1, 0.1)):
            hall.clock.advance(seconds)
            for _ in range(people):
                hall.knock()
            with exhausted():
                hall.nobody_comes_in()
    assert [formatEvent(event) for event in events] == [
        "Nobody can be let in: Too many open files. Turned away: 2.",
        "Nobody can be let in: Too many open files. Turned away: 4.",
    ]


def test_other_faults_are_those_of_any_socket(hall: Hall) -> None:
    hall.door.close()
    with pytest.raises(OSError, match="descriptor") as caught:
        hall.door.accept()
    assert caught.value.errno == errno.EBADF


def test_a_closed_door_holds_nothing() -> None:
    with closing(Hall()) as hall:
        held = hall.door._reserve
        assert held is not None
        os.fstat(held)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(held)


# At a port of the reactor's


class Welcomes(ServerFactory):
    """Counts who comes."""

    noisy = False

    def __init__(self) -> None:
        self.came = 0

    def buildProtocol(self, address: object) -> None:
        self.came += 1


@pytest.fixture
def port() -> Iterator[Port]:
    from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

    port = cast(IReactorTCP, reactor).listenTCP(0, Welcomes(), interface="127.0.0.1")
    assert isinstance(port, Port)
    yield port
    if port.connected:
        close_now([cast(IListeningPort, port)])


def is_read(port: Port) -> bool:
    """Whether the reactor looks at *port*."""
    return port in port.reactor.getReaders()


def knock(port: Port) -> socket.socket:
    return socket.create_connection(cast(socket.socket, port.socket).getsockname(), PATIENCE)


def test_a_guarded_port_is_the_same_for_the_system_and_the_reactor(port: Port) -> None:
    before = cast(Any, port).fileno(), cast(Any, port).getHost()
    install_fd_reserve(port, FULL, Clock())
    assert (cast(Any, port).fileno(), cast(Any, port).getHost()) == before
    assert is_read(port)
    with knock(port):
        port.doRead()  # type: ignore[no-untyped-call]
    assert cast(Welcomes, port.factory).came == 1


def test_a_guarded_port_rests_and_goes_on(port: Port) -> None:
    clock = Clock()
    install_fd_reserve(port, FULL, clock)
    with knock(port):
        with exhausted():
            cast(Any, port).socket._release_reserve()
            last = os.open(os.devnull, os.O_RDONLY)
            port.doRead()  # type: ignore[no-untyped-call]
            os.close(last)
        assert not is_read(port)
        clock.advance(PAUSE_SECONDS)
        assert is_read(port)
        port.doRead()  # type: ignore[no-untyped-call]
    assert cast(Welcomes, port.factory).came == 1


def test_a_port_that_is_closed_while_it_rests_stays_closed(port: Port) -> None:
    clock = Clock()
    install_fd_reserve(port, FULL, clock)
    with knock(port), exhausted():
        cast(Any, port).socket._release_reserve()
        last = os.open(os.devnull, os.O_RDONLY)
        port.doRead()  # type: ignore[no-untyped-call]
        os.close(last)
    close_now([cast(IListeningPort, port)])
    clock.advance(PAUSE_SECONDS)
    assert not is_read(port)


class FakePlace:
    """Has listened already."""

    def __init__(self, *ports: object) -> None:
        self.ports = [cast(IListeningPort, port) for port in ports]

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        return succeed(self.ports)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        return f"Listening on {len(ports)} ports."


def test_a_guarded_place_guards_the_ports_of_twisteds_own_and_leaves_others_alone(port: Port) -> None:
    place = FakePlace(port, object())
    guarded = FdReserveListener(place, FULL, Clock())
    ports: list[IListeningPort] = []
    guarded.listen(cast(IProtocolFactory, Factory())).addCallback(ports.extend)
    assert ports == place.ports
    assert isinstance(port.socket, ReserveSocket)
    assert guarded.describe(ports) == "Listening on 2 ports."
