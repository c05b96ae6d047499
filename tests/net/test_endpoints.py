"""Listeners parse ``--port``, open the port, and report in one line why they cannot."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
from tests.platforms import needs_unix_sockets, not_on_windows

CLIENTS = 100
"""More simultaneous clients than Twisted's backlog of 50, and fewer than every system's limit."""
needs_systemd = not_on_windows("Windows has no systemd")
needs_names_of_zones = not_on_windows("on Windows, the zone of an address is a number")


def cannot_listen(interface: str | None, port: int | bytes, reason: OSError | str) -> CannotListenError:
    return CannotListenError(interface, port, reason)  # type: ignore[no-untyped-call]


class FakePort:
    """A port of the fake reactor."""

    def __init__(self, host: IPv4Address | IPv6Address) -> None:
        self.host = host

    def getHost(self) -> IPv4Address | IPv6Address:
        return self.host


class FakeReactor:
    """A reactor whose ``listenTCP`` fails with the error number that *error* returns, unless it is 0."""

    def __init__(self, error: Callable[[int, str], int] = lambda _port, _interface: 0) -> None:
        self.error = error
        self.calls = 0
        self.last_free = 40000

    def listenTCP(  # noqa: N802 -- Twisted's name
        self, port: int, factory: object, backlog: int, interface: str
    ) -> FakePort:
        self.calls += 1
        if number := self.error(port, interface):
            raise cannot_listen(interface, port, OSError(number, os.strerror(number)))
        if port == 0:
            self.last_free += 1
            port = self.last_free
        return FakePort((IPv6Address if ":" in interface else IPv4Address)("TCP", interface, port))


def listen(reactor: FakeReactor, port: str, interface: str | None = None, option: str = "--port") -> str:
    """Return the log line of a listener, or the message of its failure."""
    listener = parse_listener(cast(IReactorTCP, reactor), port, interface, option)
    lines: list[str] = []
    listener.listen(Factory()).addCallbacks(
        lambda ports: lines.append(listener.describe(ports)), lambda failure: lines.append(failure.getErrorMessage())
    )
    return lines[0]


def parse_error(port: str, option: str = "--port") -> str:
    """Return the message with which *port* is rejected."""
    with pytest.raises(StartupError) as caught:
        parse_listener(cast(IReactorTCP, FakeReactor()), port, None, option)
    return str(caught.value)


@contextmanager
def listening(reactor: IReactorTCP, port: str, **options: Any) -> Iterator[tuple[list[Any], str]]:  # noqa: ANN401 -- passed on
    """Listen on *port* and yield the ports and the log line."""
    listener = parse_listener(reactor, port, None, **options)
    ports: list[IListeningPort] = []
    listener.listen(Factory()).addCallback(ports.extend)
    try:
        yield ports, listener.describe(ports)
    finally:
        close_now(ports)


# A port number


def test_port_number_listens_and_says_who_can_connect() -> None:
    assert listen(FakeReactor(), "5555") == (
        "Listening on 127.0.0.1 port 5555 and ::1 port 5555: this machine only. --interface 0.0.0.0 lets others in."
    )
    assert listen(FakeReactor(), "5555", "192.0.2.1") == (
        "Listening on 192.0.2.1 port 5555: everybody who can reach this machine can read and write here."
    )


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_machine_without_ipv6_listens_on_ipv4_only(number: int) -> None:
    reactor = FakeReactor(lambda _port, interface: number if interface == "::1" else 0)
    assert listen(reactor, "5555").startswith("Listening on 127.0.0.1 port 5555: this machine only.")


def test_free_port_is_free_on_both_addresses_or_the_search_ends() -> None:
    reactor = FakeReactor()
    assert listen(reactor, "0").startswith("Listening on 127.0.0.1 port 40001 and ::1 port 40001: ")
    reactor = FakeReactor(lambda port, _interface: errno.EADDRINUSE if port in {40001, 40002} else 0)
    assert listen(reactor, "0").startswith("Listening on 127.0.0.1 port 40003 and ::1 port 40003: ")
    reactor = FakeReactor(lambda port, _interface: errno.EADDRINUSE if port else 0)
    assert "is in use" in listen(reactor, "0")
    assert reactor.calls == 2 * ATTEMPTS


@pytest.mark.parametrize(
    ("number", "port", "message"),
    [
        (errno.EADDRINUSE, "5555", "port 5555 on 127.0.0.1 is in use: stop what listens there, or choose another"),
        (errno.EACCES, "80", "port 80 on 127.0.0.1 is not for this user: choose a number from 1024 on with --port"),
        (errno.EPERM, "80", "--uid"),
        (errno.EADDRNOTAVAIL, "80", "is no address of this machine: name another interface"),
        (errno.ENOBUFS, "80", f"cannot be listened on ({os.strerror(errno.ENOBUFS)}): choose another"),
    ],
)
def test_failure_to_listen_is_reported_with_a_remedy(number: int, port: str, message: str) -> None:
    assert message in listen(FakeReactor(lambda _port, _interface: number), port)


def test_messages_name_the_option_of_the_listener() -> None:
    error = parse_error("x:1", "--metrics")
    assert error.startswith("--metrics x:1 cannot be used ")
    assert error.endswith(" such as tcp:5555:interface=0.0.0.0.")
    assert listen(FakeReactor(lambda _port, _interface: errno.EADDRINUSE), "9464", "127.0.0.1", "--metrics") == (
        "port 9464 on 127.0.0.1 is in use: stop what listens there, or choose another with --metrics."
    )


# An endpoint description


@pytest.mark.parametrize(
    "port", ["5555,5556", "tcp:5555:foo=1", "tcp:x", "nonsense:1", "tcp", "stdio:", "\\", "haproxy:x", "haproxy:stdio:"]
)
def test_invalid_endpoint_is_rejected_with_an_alternative(port: str) -> None:
    assert parse_error(port).startswith(f"--port {port} ")
    assert "Give it a number" in parse_error(port)


@pytest.mark.parametrize(
    ("port", "hint"),
    [
        ("tcp:5555:interface=::1", r"a colon in a value is written \:, as in tcp:5555:interface=\:\:1."),
        ("tcp6:1:interface=fe80::7%eth0", r"is written \:, as in tcp6:1:interface=fe80\:\:7%eth0."),
        ("haproxy:4444", "behind haproxy: stands a place, as in haproxy:tcp:4444."),
        ("haproxy:haproxy:tcp:1", "behind haproxy: stands a place, as in haproxy:tcp:5555."),
    ],
)
def test_common_mistake_is_rejected_with_the_correct_form(port: str, hint: str) -> None:
    assert parse_error(port).endswith(hint)


@pytest.mark.parametrize(
    "port", ["systemd:domain=INET6:index=0", "systemd:domain=INET6:name=x", "haproxy:systemd:domain=INET6:index=0"]
)
def test_systemd_socket_that_was_not_passed_is_rejected_with_a_remedy(port: str) -> None:
    assert parse_error(port) == (
        f"--port {port} is a socket that systemd hands over, and it has handed over none of this index or name. "
        "Give it a number, or start the server through its socket unit."
    )


@pytest.mark.parametrize(
    ("error", "start", "end"),
    [
        (
            cannot_listen(None, b"chat.sock", "Cannot acquire lock"),
            "chat.sock is in use (Cannot acquire lock): stop what listens there, or choose another. ",
            "If nothing does, remove chat.sock.lock.",
        ),
        (cannot_listen("", 5555, OSError(errno.EADDRINUSE, "")), "port 5555 is in use", ""),
        (
            cannot_listen(None, b"x" * 200, OSError("AF_UNIX path too long")),
            "",
            " cannot be listened on (AF_UNIX path too long): choose another with --port.",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file"), "No such file: ", ""),
        (ValueError(), "ValueError: ", ""),
    ],
)
def test_endpoint_that_fails_later_is_reported(error: Exception, start: str, end: str) -> None:
    class SlowEndpoint:
        def listen(self, factory: object) -> Deferred[IListeningPort]:
            return result

    result: Deferred[IListeningPort] = Deferred()
    messages: list[str] = []
    listening = EndpointListener("odd:1", cast(Any, SlowEndpoint())).listen(Factory())
    listening.addErrback(lambda failure: messages.append(failure.getErrorMessage()))
    assert messages == []
    result.errback(Failure(error))  # type: ignore[no-untyped-call]
    assert messages[0].startswith(f"--port odd:1: {start}")
    assert messages[0].endswith(end)


@pytest.mark.parametrize("error", [ImportError("No module named 'OpenSSL'"), NameError("SNIConnectionCreator")])
def test_missing_tls_package_is_reported_with_its_name(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("broadcast.net.endpoints.serverFromString", fail)
    assert parse_error("ssl:5555").endswith("ssl:5555 needs what TLS needs: pip install 'Twisted[tls]'.")


# Real ports


@pytest.fixture
def reactor() -> IReactorTCP:
    from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

    return cast(IReactorTCP, reactor)


@pytest.fixture
def unix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a socket in the current folder, where it is short enough for the system."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "chat.sock"


@needs_unix_sockets
@pytest.mark.parametrize(("options", "backlog"), [("", CLIENTS), (":mode=600", CLIENTS), (":backlog=5", 6)])
def test_unix_socket_has_a_large_backlog_and_is_removed(
    reactor: IReactorTCP, unix: Path, options: str, backlog: int
) -> None:
    with ExitStack() as stack:
        _, line = stack.enter_context(listening(reactor, f"unix:chat.sock{options}"))
        assert line == "Listening on chat.sock."
        clients = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(CLIENTS)]
        for client in clients:
            stack.enter_context(client)
        # The reactor does not run, so it accepts nobody.
        assert sum(client.connect_ex(unix.name) == 0 for client in clients) == backlog
    assert list(unix.parent.iterdir()) == []


def test_unix_path_that_is_a_file_or_empty_is_rejected_and_not_changed(reactor: IReactorTCP, unix: Path) -> None:
    unix.write_text("notes")
    for path, message in (("chat.sock", "there is a file already that is no socket"), ("", "names no file")):
        with pytest.raises(StartupError, match=message):
            parse_listener(reactor, f"unix:{path}", None)
    assert list(unix.parent.iterdir()) == [unix]
    assert unix.read_text() == "notes"


@needs_unix_sockets
def test_proxy_prefix_applies_to_a_complete_description(reactor: IReactorTCP, unix: Path) -> None:
    limiter = ConnectionLimiter(DEFAULTS)
    with listening(reactor, "haproxy:unix:chat.sock:mode=600", connection_limiter=limiter) as (ports, line):
        assert line == "Listening on chat.sock."
        assert unix.stat().st_mode & 0o777 == 0o600
        assert isinstance(ports[0].factory, ProxiedFactory)
        assert ports[0].factory.connection_limiter is limiter


def test_closed_port_rejects_connections(reactor: IReactorTCP) -> None:
    assert isinstance(parse_listener(reactor, "0", None), PortListener)
    with listening(reactor, "0") as (ports, _):
        address = ("127.0.0.1", ports[0].getHost().port)
        socket.create_connection(address).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    close_now([cast(IListeningPort, FakePort(IPv4Address("TCP", "127.0.0.1", 1)))])  # ignores other kinds of ports


@pytest.fixture
def pass_socket(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Pass a descriptor to Twisted as systemd does. The listener closes it."""
    descriptors: list[int] = []
    monkeypatch.setattr(_SystemdParser, "_sddaemon", ListenFDs(descriptors))
    return descriptors.append


@needs_systemd
@pytest.mark.parametrize("prefix", ["", "haproxy:"])
def test_systemd_socket_stays_open_after_the_server_has_closed(
    reactor: IReactorTCP, pass_socket: Callable[[int], None], prefix: str
) -> None:
    """A client that connects between two servers waits for the second."""
    with socket.create_server(("127.0.0.1", 0)) as manager:
        number = manager.getsockname()[1]
        pass_socket(os.dup(manager.fileno()))
        with listening(reactor, f"{prefix}systemd:domain=INET:index=0") as (_, line):
            assert line == f"Listening on 127.0.0.1 port {number}."
        manager.setblocking(True)
        with socket.create_connection(("127.0.0.1", number)) as waiting:
            accepted, address = manager.accept()
            accepted.close()
            assert address == waiting.getsockname()


@needs_systemd
@pytest.mark.parametrize(
    ("make", "domain", "message"),
    [
        (partial(socket.create_server, ("127.0.0.1", 0)), "INET6", "is of another domain. Write domain=INET."),
        (socket.socket, "INET", "does not listen. Its socket unit needs ListenStream= and Accept=no."),
        (Path(os.devnull).open, "INET", "is no socket (Socket operation on non-socket)."),
    ],
)
def test_unsuitable_systemd_socket_is_rejected_with_a_remedy(
    pass_socket: Callable[[int], None], make: Callable[[], socket.socket | IO[str]], domain: str, message: str
) -> None:
    port = f"systemd:domain={domain}:index=0"
    with make() as manager:
        pass_socket(manager.fileno())
        assert parse_error(port) == f"--port {port}: what was handed over {message}"
        os.fstat(manager.fileno())  # the descriptor is still open


@needs_unix_sockets
def test_systemd_unix_socket_is_rejected_because_twisted_would_remove_it(
    pass_socket: Callable[[int], None], unix: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as manager:
        manager.bind(unix.name)
        manager.listen()
        pass_socket(manager.fileno())
        error = parse_error("systemd:domain=UNIX:index=0")
        assert error.endswith("Give it the path instead, as in unix:chat.sock:mode=660.")


# Addresses


def test_interface_name_is_resolved_to_addresses() -> None:
    assert {"127.0.0.1", "::1"} & set(resolve("localhost"))
    assert resolve("::1") == ["::1"]
    assert resolve("192.0.2.1") == ["192.0.2.1"]


@needs_names_of_zones
def test_zone_of_an_address_is_kept() -> None:
    number, name = socket.if_nameindex()[0]
    assert resolve(f"fe80::7%{name}") == [f"fe80::7%{name}"]
    assert resolve(f"fe80::7%{number}") == [f"fe80::7%{number}"]


def test_zone_of_a_name_is_the_number_of_the_network_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::7", 0, 0, 3))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    assert resolve("printer.local") == ["fe80::7%3"]


@pytest.mark.parametrize("zone", ["nosuch", "999999"])
@pytest.mark.parametrize("port", ["5555", r"tcp6:5555:interface=fe80\:\:7%"])
def test_unknown_zone_is_rejected_with_those_that_exist(zone: str, port: str) -> None:
    reactor = FakeReactor(lambda _port, _interface: errno.ENODEV)
    given = (port, f"fe80::7%{zone}") if port == "5555" else (port + zone, None)
    names = ", ".join(name for _number, name in socket.if_nameindex())
    try:
        message = listen(reactor, *given)
    except StartupError as error:
        message = str(error)
    assert message.endswith(f"fe80::7%{zone}: there is no network interface {zone}. There are: {names}.")


def test_address_that_needs_a_zone_is_rejected() -> None:
    reactor = FakeReactor(lambda _port, _interface: errno.EINVAL)
    message = "fe80::7 may be on any network interface: add the name of one, as in fe80::7%eth0."
    assert listen(reactor, "5555", "fe80::7") == message
    assert listen(reactor, r"tcp6:5555:interface=fe80\:\:7").endswith(message)


@needs_names_of_zones
def test_failure_with_a_known_zone_is_not_blamed_on_it() -> None:
    reactor = FakeReactor(lambda _port, _interface: errno.EADDRNOTAVAIL)
    address = f"fe80::7%{socket.if_nameindex()[0][1]}"
    assert listen(reactor, "5555", address).startswith(f"{address} is no address of this machine")


def test_mapped_loopback_address_is_private() -> None:
    assert ": this machine only." in listen(FakeReactor(), "5555", "::ffff:127.0.0.1")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b", "x" * 300])
def test_unknown_interface_is_rejected(host: str) -> None:
    with pytest.raises(StartupError, match=r"--interface .* is no address that is known here"):
        resolve(host)


def test_address_is_formatted_as_one_line() -> None:
    assert format_address(IPv6Address("TCP", "::1", 5)) == "::1 port 5"
    assert format_address(UNIXAddress(b"/srv/a\nb")) == "/srv/ab"
    assert format_address(UNIXAddress(None)) == "a socket without a name"
    assert format_address("some\nthing") == "something"
