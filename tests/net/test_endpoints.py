"""Where people can connect, and what is said where nothing can listen."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import _SystemdParser
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.python.systemd import ListenFDs

from broadcast.core.errors import StartupError
from broadcast.core.limits import DEFAULTS, ConnectionLimiter
from broadcast.net.endpoints import (
    ATTEMPTS,
    EndpointListener,
    PortListener,
    close_now,
    format_address,
    parse_listener,
    resolve,
)
from broadcast.net.proxy_protocol import ProxiedFactory

RUSH = 100
"""So many come at once: more than Twisted's 50, and fewer than what every system allows."""


def cannot_listen(interface: str | None, port: int | bytes, why: OSError | str) -> CannotListenError:
    return CannotListenError(interface, port, why)  # type: ignore[no-untyped-call]


class FakePort:
    """A port that a fake reactor gave."""

    def __init__(self, host: IPv4Address | IPv6Address) -> None:
        self.host = host

    def getHost(self) -> IPv4Address | IPv6Address:
        return self.host


class FakeReactor:
    """Refuses what the test says, with an error number."""

    def __init__(self, refuse: Callable[[int, str], int] = lambda _port, _interface: 0) -> None:
        self.refuse = refuse
        self.asked: list[tuple[str, int]] = []
        self.free = 40000

    def listenTCP(  # noqa: N802 -- Twisted's name
        self, port: int, factory: object, backlog: int, interface: str
    ) -> FakePort:
        self.asked.append((interface, port))
        if number := self.refuse(port, interface):
            raise cannot_listen(interface, port, OSError(number, os.strerror(number)))
        if port == 0:
            self.free += 1
            port = self.free
        return FakePort((IPv6Address if ":" in interface else IPv4Address)("TCP", interface, port))


def listen(reactor: FakeReactor, port: str, interface: str | None = None) -> str:
    """What the log says, or what the refusal does."""
    where = parse_listener(cast(IReactorTCP, reactor), port, interface)
    said: list[str] = []
    where.listen(Factory()).addCallbacks(
        lambda ports: said.append(where.describe(ports)), lambda failure: said.append(failure.getErrorMessage())
    )
    return said[0]


def test_a_number_listens_on_this_machine_only_and_says_how_to_let_others_in() -> None:
    assert listen(FakeReactor(), "5555") == (
        "Listening on 127.0.0.1 port 5555 and ::1 port 5555: this machine only. --interface 0.0.0.0 lets others in."
    )


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_a_machine_without_ipv6_does_without(number: int) -> None:
    reactor = FakeReactor(lambda _port, interface: number if interface == "::1" else 0)
    assert listen(reactor, "5555").startswith("Listening on 127.0.0.1 port 5555: this machine only.")


def test_a_free_port_is_the_same_on_both_addresses() -> None:
    reactor = FakeReactor()
    assert listen(reactor, "0").startswith("Listening on 127.0.0.1 port 40001 and ::1 port 40001: ")


def test_a_free_port_that_is_not_free_on_the_other_address_is_given_up_for_another() -> None:
    reactor = FakeReactor(lambda port, _interface: errno.EADDRINUSE if port in {40001, 40002} else 0)
    assert listen(reactor, "0").startswith("Listening on 127.0.0.1 port 40003 and ::1 port 40003: ")


def test_the_search_for_a_free_port_ends() -> None:
    reactor = FakeReactor(lambda port, _interface: errno.EADDRINUSE if port else 0)
    assert "is in use" in listen(reactor, "0")
    assert len(reactor.asked) == 2 * ATTEMPTS


def test_an_interface_lets_others_in_and_there_is_no_hint() -> None:
    reactor = FakeReactor()
    assert listen(reactor, "5555", "192.0.2.1") == (
        "Listening on 192.0.2.1 port 5555: whoever can reach this machine can read and write here."
    )
    assert reactor.asked == [("192.0.2.1", 5555)]


@pytest.mark.parametrize(
    ("number", "port", "said"),
    [
        (errno.EADDRINUSE, "5555", "port 5555 on 127.0.0.1 is in use: stop what listens there, or choose another"),
        (errno.EACCES, "80", "port 80 on 127.0.0.1 is not for this user: choose a number from 1024 on with --port"),
        (errno.EPERM, "80", "--uid"),
        (errno.EADDRNOTAVAIL, "80", "is no address of this machine: name another interface"),
        (errno.ENOBUFS, "80", "cannot be listened on (No buffer space available): choose another with --port."),
    ],
)
def test_why_nothing_can_listen_is_said_with_what_to_do(number: int, port: str, said: str) -> None:
    assert said in listen(FakeReactor(lambda _port, _interface: number), port)


@pytest.mark.parametrize(
    "port", ["5555,5556", "tcp:5555:foo=1", "tcp:x", "nonsense:1", "tcp", "stdio:", "\\", "haproxy:x", "haproxy:stdio:"]
)
def test_a_bad_endpoint_description_is_refused_with_what_to_say_instead(port: str) -> None:
    with pytest.raises(StartupError) as refused:
        parse_listener(cast(IReactorTCP, FakeReactor()), port, None)
    assert str(refused.value).startswith(f"--port {port} ")
    assert "Give it a number" in str(refused.value)


def test_a_colon_in_a_value_and_a_number_behind_a_proxy_are_refused_with_the_way_to_write_them() -> None:
    for port, said in (
        ("tcp:5555:interface=::1", r"A colon in a value is written \:, as in interface=\:\:1."),
        ("haproxy:4444", "behind haproxy: stands a place, as in haproxy:tcp:4444."),
        ("haproxy:haproxy:tcp:1", "behind haproxy: stands a place, as in haproxy:tcp:5555."),
    ):
        with pytest.raises(StartupError) as refused:
            parse_listener(cast(IReactorTCP, FakeReactor()), port, None)
        assert str(refused.value).endswith(said)


@pytest.mark.parametrize(
    "port", ["systemd:domain=INET6:index=0", "systemd:domain=INET6:name=x", "haproxy:systemd:domain=INET6:index=0"]
)
def test_a_socket_that_systemd_has_not_handed_over_is_refused_with_what_to_do(port: str) -> None:
    with pytest.raises(StartupError) as refused:
        parse_listener(cast(IReactorTCP, FakeReactor()), port, None)
    assert str(refused.value) == (
        f"--port {port} is a socket that systemd hands over, and it has handed over none of this index or name. "
        "Give it a number, or start the server through its socket unit."
    )


class FakeEndpoint:
    """An endpoint that takes its time."""

    def __init__(self) -> None:
        self.later: Deferred[IListeningPort] = Deferred()

    def listen(self, factory: object) -> Deferred[IListeningPort]:
        return self.later


def described(error: Exception) -> str:
    endpoint = FakeEndpoint()
    said: list[str] = []
    listening = EndpointListener("odd:1", cast(Any, endpoint)).listen(Factory())
    listening.addErrback(lambda failure: said.append(failure.getErrorMessage()))
    assert said == []
    endpoint.later.errback(Failure(error))  # type: ignore[no-untyped-call]
    return said[0]


def test_an_endpoint_that_fails_says_why_whenever_that_is() -> None:
    lock = cannot_listen(None, b"chat.sock", "Cannot acquire lock")
    assert described(lock) == (
        "--port odd:1: chat.sock is in use (Cannot acquire lock): stop what listens there, or choose another. "
        "If nothing does, remove chat.sock.lock."
    )
    assert described(cannot_listen("", 5555, OSError(errno.EADDRINUSE, ""))).startswith(
        "--port odd:1: port 5555 is in use"
    )
    assert described(cannot_listen(None, b"x" * 200, OSError("AF_UNIX path too long"))).endswith(
        " cannot be listened on (AF_UNIX path too long): choose another with --port."
    )
    assert described(FileNotFoundError(errno.ENOENT, "No such file")).startswith("--port odd:1: No such file: ")
    assert described(ValueError()).startswith("--port odd:1: ValueError: ")


@pytest.fixture
def reactor() -> IReactorTCP:
    from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

    return cast(IReactorTCP, reactor)


@pytest.fixture
def unix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a socket lies whose path is short enough for the system."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "chat.sock"


def test_a_unix_socket_is_listened_on_and_leaves_nothing_behind(reactor: IReactorTCP, unix: Path) -> None:
    where = parse_listener(reactor, "unix:chat.sock", None)
    ports: list[IListeningPort] = []
    where.listen(Factory()).addCallback(ports.extend)
    assert where.describe(ports) == "Listening on chat.sock."
    assert unix.is_socket()
    close_now(ports)
    assert list(unix.parent.iterdir()) == []


@pytest.mark.parametrize(("options", "room"), [("", RUSH), (":mode=600", RUSH), (":backlog=5", 6)])
def test_a_rush_of_people_finds_room_to_wait_unless_the_description_says_how_much(
    reactor: IReactorTCP, unix: Path, options: str, room: int
) -> None:
    """Nobody is accepted here: the reactor does not run meanwhile."""
    ports: list[IListeningPort] = []
    parse_listener(reactor, f"unix:chat.sock{options}", None).listen(Factory()).addCallback(ports.extend)
    people = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(RUSH)]
    try:
        assert sum(person.connect_ex(str(unix.name)) == 0 for person in people) == room
    finally:
        for person in people:
            person.close()
        close_now(ports)


def test_a_path_at_which_there_can_be_no_socket_is_refused_and_nothing_is_left_beside_it(
    reactor: IReactorTCP, unix: Path
) -> None:
    unix.write_text("notes")
    for path, said in (("chat.sock", "there is a file already that is no socket"), ("", "names no file")):
        with pytest.raises(StartupError, match=said):
            parse_listener(reactor, f"unix:{path}", None)
    assert list(unix.parent.iterdir()) == [unix]
    assert unix.read_text() == "notes"


@pytest.mark.parametrize("error", [ImportError("No module named 'OpenSSL'"), NameError("SNIConnectionCreator")])
def test_who_lacks_what_tls_needs_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("broadcast.net.endpoints.serverFromString", fail)
    with pytest.raises(StartupError, match=r"ssl:5555 needs what TLS needs: pip install 'Twisted\[tls\]'\.$"):
        parse_listener(cast(IReactorTCP, FakeReactor()), "ssl:5555", None)


def test_behind_a_proxy_the_rest_of_the_description_is_what_it_is_without_one(reactor: IReactorTCP, unix: Path) -> None:
    admitted = ConnectionLimiter(DEFAULTS)
    where = parse_listener(reactor, "haproxy:unix:chat.sock:mode=600", None, connection_limiter=admitted)
    ports: list[IListeningPort] = []
    where.listen(Factory()).addCallback(ports.extend)
    try:
        assert where.describe(ports) == "Listening on chat.sock."
        assert unix.stat().st_mode & 0o777 == 0o600
        factory = cast(Any, ports[0]).factory
        assert isinstance(factory, ProxiedFactory)
        assert factory.connection_limiter is admitted
    finally:
        close_now(ports)


def test_real_ports_are_free_again_once_they_are_closed(reactor: IReactorTCP) -> None:
    where = parse_listener(reactor, "0", None)
    assert isinstance(where, PortListener)
    ports: list[IListeningPort] = []
    where.listen(Factory()).addCallback(ports.extend)
    host = ports[0].getHost()
    assert isinstance(host, IPv4Address)
    socket.create_connection(("127.0.0.1", host.port)).close()
    close_now(ports)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", host.port))


def test_what_is_no_port_of_twisteds_own_is_left_to_the_end_of_the_process() -> None:
    close_now([cast(IListeningPort, FakePort(IPv4Address("TCP", "127.0.0.1", 1)))])


@pytest.fixture
def hand_over(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has Twisted find a descriptor as if systemd had handed it over; whoever listens there closes it."""
    handed_over: list[int] = []
    monkeypatch.setattr(_SystemdParser, "_sddaemon", ListenFDs(handed_over))
    return handed_over.append


@pytest.mark.parametrize("prefix", ["", "haproxy:"])
def test_a_socket_that_was_handed_over_goes_on_listening_when_the_server_is_gone(
    reactor: IReactorTCP, hand_over: Callable[[int], None], prefix: str
) -> None:
    """Who comes in between waits for the next one."""
    with socket.create_server(("127.0.0.1", 0)) as manager:
        number = manager.getsockname()[1]
        hand_over(os.dup(manager.fileno()))
        where = parse_listener(reactor, f"{prefix}systemd:domain=INET:index=0", None)
        ports: list[IListeningPort] = []
        where.listen(Factory()).addCallback(ports.extend)
        assert where.describe(ports) == f"Listening on 127.0.0.1 port {number}."
        close_now(ports)
        manager.setblocking(True)
        with socket.create_connection(("127.0.0.1", number)) as waiting:
            accepted, address = manager.accept()
            accepted.close()
            assert address == waiting.getsockname()


@pytest.mark.parametrize(
    ("given", "domain", "said"),
    [
        (partial(socket.create_server, ("127.0.0.1", 0)), "INET6", "is of another domain. Write domain=INET."),
        (socket.socket, "INET", "does not listen. Its socket unit needs ListenStream= and Accept=no."),
        (Path(os.devnull).open, "INET", "is no socket (Socket operation on non-socket)."),
    ],
)
def test_a_socket_that_will_not_do_is_refused_with_what_to_change(
    hand_over: Callable[[int], None], given: Callable[[], socket.socket | IO[str]], domain: str, said: str
) -> None:
    port = f"systemd:domain={domain}:index=0"
    with given() as manager:
        hand_over(manager.fileno())
        with pytest.raises(StartupError) as refused:
            parse_listener(cast(IReactorTCP, FakeReactor()), port, None)
        assert str(refused.value) == f"--port {port}: what was handed over {said}"
        os.fstat(manager.fileno())  # it is still the manager's


def test_nor_will_a_unix_socket_which_twisted_would_remove(hand_over: Callable[[int], None], unix: Path) -> None:
    with socket.socket(socket.AF_UNIX) as manager:
        manager.bind(unix.name)
        manager.listen()
        hand_over(manager.fileno())
        with pytest.raises(StartupError, match=r"Give it the path instead, as in unix:chat\.sock:mode=660\.$"):
            parse_listener(cast(IReactorTCP, FakeReactor()), "systemd:domain=UNIX:index=0", None)


def test_a_name_stands_for_its_addresses() -> None:
    assert {"127.0.0.1", "::1"} & set(resolve("localhost"))
    assert resolve("::1") == ["::1"]
    assert resolve("192.0.2.1") == ["192.0.2.1"]


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b", "x" * 300])
def test_a_name_that_nobody_knows_is_refused(host: str) -> None:
    with pytest.raises(StartupError, match=r"--interface .* is no address that is known here"):
        resolve(host)


def test_an_address_is_one_line_for_the_log() -> None:
    assert format_address(IPv6Address("TCP", "::1", 5)) == "::1 port 5"
    assert format_address(UNIXAddress(b"/srv/a\nb")) == "/srv/ab"
    assert format_address(UNIXAddress(None)) == "a socket without a name"
    assert format_address("some\nthing") == "something"


def test_what_else_listens_is_told_of_its_own_option() -> None:
    taken = FakeReactor(lambda _port, _interface: errno.EADDRINUSE)
    with pytest.raises(
        StartupError, match=r"^--metrics x:1 cannot be used .* such as tcp:5555:interface=0\.0\.0\.0\.$"
    ):
        parse_listener(cast(IReactorTCP, taken), "x:1", None, "--metrics")
    said: list[str] = []
    where = parse_listener(cast(IReactorTCP, taken), "9464", "127.0.0.1", "--metrics")
    where.listen(Factory()).addErrback(lambda failure: said.append(failure.getErrorMessage()))
    assert said == ["port 9464 on 127.0.0.1 is in use: stop what listens there, or choose another with --metrics."]
