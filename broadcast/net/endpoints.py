"""The listeners of the server: a port number on addresses of this machine, or a Twisted endpoint description."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    StandardIOEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.internet.error import CannotListenError
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from broadcast.core.errors import StartupError
from broadcast.core.limits import DEFAULTS, ConnectionLimiter
from broadcast.core.sanitize import sanitize
from broadcast.net.addresses import is_loopback
from broadcast.net.proxy_protocol import ProxiedEndpoint
from broadcast.net.unix_sockets import UNIX_FAMILY

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IListeningPort,
        IProtocolFactory,
        IReactorTCP,
        IReactorTime,
        IStreamServerEndpoint,
    )

THIS_MACHINE: Final = ("127.0.0.1", "::1")
"""Both loopback addresses: ``localhost`` can resolve to either of them first."""
LISTEN_BACKLOG: Final = 1024
"""Maximum number of connections that wait for ``accept``; the system may allow fewer.

With Twisted's 50, the system drops the end of most handshakes if 300 clients connect at once. These clients seem
connected but never receive a welcome.
"""
ATTEMPTS: Final = 20
"""Number of attempts to find a port that is free on every address."""

_PROXIED: Final = "haproxy:"
"""Prefix of a description if clients connect through a proxy. ``proxy_protocol.py`` handles it, not Twisted."""
_closed: Final = Failure(CONNECTION_DONE)  # type: ignore[no-untyped-call]
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class Listener(Protocol):
    """A place to listen."""

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen there for *factory*. The Deferred fails with ``StartupError``."""

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """Return one line for the log that says where *ports* (the result of ``listen``) are and who can connect."""


def parse_listener(
    reactor: IReactorTCP,
    port: str,
    interface: str | None,
    option: str = "--port",
    connection_limiter: ConnectionLimiter | None = None,
) -> Listener:
    """Return the listener for *port*, which is on *interface* if it is a bare number. Raises ``StartupError``.

    *option* is the command line option for error texts. *connection_limiter* counts proxied connections until the PROXY
    header has arrived.
    """
    if is_number(port):
        return PortListener(reactor, int(port), interface, option)
    description = port.removeprefix(_PROXIED)
    is_proxied = description != port
    if is_proxied and (is_number(description) or description.startswith(_PROXIED)):
        number = description if is_number(description) else "5555"
        raise StartupError(f"{option} {port}: behind {_PROXIED} stands a place, as in {_PROXIED}tcp:{number}.")
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)  # type: ignore[no-untyped-call]
    except Exception as error:
        if isinstance(error, LookupError) and "systemd:" in port:
            raise StartupError(
                f"{option} {port} is a socket that systemd hands over, and it has handed over none of this index or "
                "name. Give it a number, or start the server through its socket unit."
            ) from error
        if isinstance(error, ImportError | NameError) and description.startswith(("ssl:", "tls:")):
            raise StartupError(f"{option} {port} needs what TLS needs: pip install 'Twisted[tls]'.") from error
        # Parsers can be plugins and raise various errors: ValueError, TypeError for an unknown argument, ImportError,
        # OSError.
        raise StartupError(_describe_mistake(option, port, description, error)) from error
    if isinstance(endpoint, StandardIOEndpoint):
        raise StartupError(f"{option} {port} is nothing to connect to. Give it a number, such as 5555.")
    if isinstance(endpoint, UNIXServerEndpoint):
        _check_path(f"{option} {port}", endpoint)
    # A backlog in the description takes precedence, and so does that of the systemd unit that opened the socket.
    backlog = None if "backlog=" in description else LISTEN_BACKLOG
    if isinstance(endpoint, AdoptedStreamServerEndpoint):
        _check_handed_over(f"{option} {port}", endpoint)
        backlog = None
    if is_proxied:
        endpoint = ProxiedEndpoint(
            endpoint, cast("IReactorTime", reactor), connection_limiter or ConnectionLimiter(DEFAULTS)
        )
    return EndpointListener(port, endpoint, option, backlog)


def _describe_mistake(option: str, port: str, description: str, error: Exception) -> str:
    """Return why *description*, the endpoint description in *port*, cannot be used, and the correct form."""
    if "::" in description:
        example = description.replace("::", r"\:\:")
        return rf"{option} {port}: a colon in a value is written \:, as in {example}."
    repeat_hint = ", and repeat it for several" if option == "--port" else ""
    return (
        f"{option} {port} cannot be used ({_error_text(error)}). Give it a number, or a Twisted endpoint "
        f"description such as tcp:5555:interface=0.0.0.0{repeat_hint}."
    )


def _check_path(given: str, endpoint: UNIXServerEndpoint) -> None:
    """Raise ``StartupError`` if no socket can be made at the path. Twisted would leave its lock file there.

    *given* is the option and its value.
    """
    path = os.fspath(endpoint._address)  # noqa: SLF001 - not public before it listens
    if not path:
        raise StartupError(f"{given} names no file. Write it as in unix:chat.sock.")
    with suppress(OSError, ValueError):  # no file is there, or the name is in the abstract namespace
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 - the path can be bytes
            raise StartupError(f"{given}: there is a file already that is no socket. Give it another path.")


def _check_handed_over(given: str, endpoint: AdoptedStreamServerEndpoint) -> None:
    """Raise ``StartupError`` if the socket from systemd is unsuitable. The text says what to change.

    *given* is the option and its value.
    """
    try:
        handed_over = socket.socket(fileno=endpoint.fileno)
    except OSError as error:
        raise StartupError(f"{given}: what was handed over is no socket ({_error_text(error)}).") from error
    try:
        family = handed_over.family
        listens = handed_over.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    finally:
        handed_over.detach()  # the endpoint owns the descriptor
    if not listens:
        raise StartupError(
            f"{given}: what was handed over does not listen. Its socket unit needs ListenStream= and Accept=no."
        )
    if family is not endpoint.addressFamily:
        # Twisted would not notice this and would cut every address in half.
        name = getattr(family, "name", str(family)).removeprefix("AF_")
        raise StartupError(f"{given}: what was handed over is of another domain. Write domain={name}.")
    if family is UNIX_FAMILY:
        # Twisted makes the file accessible to all users and removes it at the end.
        raise StartupError(
            f"{given}: a unix socket of systemd's would not outlive a restart. "
            "Give it the path instead, as in unix:chat.sock:mode=660."
        )


class PortListener:
    """The port *number* (0: a free one) on every address of *interface* (None: on this machine only)."""

    def __init__(self, reactor: IReactorTCP, number: int, interface: str | None, option: str = "--port") -> None:
        self._option = option
        self._reactor = reactor
        self._number = number
        self._interface = interface

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen on all addresses, with the same port number."""
        return execute(self._listen, factory)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """Return the addresses and whether other machines can connect."""
        return _describe(ports, ": this machine only. --interface 0.0.0.0 lets others in.")

    def _listen(self, factory: IProtocolFactory) -> Sequence[IListeningPort]:
        addresses = THIS_MACHINE if self._interface is None else resolve(self._interface)
        attempts = ATTEMPTS if self._number == 0 else 1
        while True:
            attempts -= 1
            try:
                return self._listen_on_all(factory, addresses)
            except CannotListenError as error:
                if attempts == 0 or _errno(error) != errno.EADDRINUSE:
                    raise StartupError(_explain(error, self._option)) from error

    def _listen_on_all(self, factory: IProtocolFactory, addresses: Sequence[str]) -> Sequence[IListeningPort]:
        """Listen on those of *addresses* that this machine has. Raises ``CannotListenError``."""
        ports: list[IListeningPort] = []
        absent: CannotListenError | None = None
        number = self._number
        for address in addresses:
            try:
                # The annotation demands a base class, but the interface suffices.
                port = self._reactor.listenTCP(number, factory, LISTEN_BACKLOG, address)  # type: ignore[arg-type]
            except CannotListenError as error:
                if _errno(error) in _ABSENT:
                    absent = error  # ::1 on a machine without IPv6; /etc/hosts may list it all the same
                    continue
                close_now(ports)
                raise
            ports.append(port)
            host = port.getHost()
            assert isinstance(host, IPv4Address | IPv6Address)
            number = host.port
        if not ports and absent is not None:
            raise absent
        return ports


class EndpointListener:
    """A Twisted endpoint. *backlog* replaces the endpoint's own, unless it is None."""

    def __init__(
        self, description: str, endpoint: IStreamServerEndpoint, option: str = "--port", backlog: int | None = None
    ) -> None:
        self._backlog = backlog
        self._option = option
        self._description = description
        self._endpoint = endpoint

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen on the endpoint. Some kinds of endpoints take several turns of the reactor."""
        return maybeDeferred(self._endpoint.listen, factory).addCallbacks(self._set_backlog, self._fail)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """Return the address and whether other machines can connect."""
        return _describe(ports, ".")

    def _set_backlog(self, port: IListeningPort) -> Sequence[IListeningPort]:
        if self._backlog is not None and isinstance(port, Port):
            port.socket.listen(self._backlog)  # a second listen(2) changes only the backlog
        return [port]

    def _fail(self, failure: Failure) -> NoReturn:
        error = failure.value
        if isinstance(error, CannotListenError):
            reason = _explain(error, self._option)
        else:
            reason = f"{_error_text(error)}: give it another place."
        raise StartupError(f"{self._option} {self._description}: {reason}") from error


def _describe(ports: Sequence[IListeningPort], private_hint: str) -> str:
    """Return one line with the addresses of *ports*. It ends with *private_hint* if no other machine can connect."""
    hint = ": everybody who can reach this machine can read and write here." if is_public(ports) else private_hint
    return f"Listening on {' and '.join(format_address(port.getHost()) for port in ports)}{hint}"


def is_public(ports: Sequence[IListeningPort]) -> bool:
    """Return whether other machines may be able to connect to one of *ports*."""
    hosts = [port.getHost() for port in ports]
    return any(isinstance(host, IPv4Address | IPv6Address) and not is_loopback(host.host) for host in hosts)


def resolve(host: str) -> Sequence[str]:
    """Return the addresses of *host*, an address or a name, in the system's order. Raises ``StartupError``."""
    try:
        results = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        if problem := _zone_problem(host):
            raise StartupError(f"--interface {problem}") from error
        raise StartupError(
            f"--interface {host} is no address that is known here ({_error_text(error)}). "
            "Give it an address of this machine, not the name of a network interface; 0.0.0.0 stands for all of them."
        ) from error
    zone = host.partition("%")[2]
    return list(dict.fromkeys(_with_zone(zone, *address) for *_, address in results))


def _with_zone(zone: str, host: str | int, _port: object, _flow: object = 0, scope: int = 0) -> str:
    """Return the address that ``getaddrinfo`` has found, with its zone: *zone* or, if that is empty, the scope id."""
    address = str(host).partition("%")[0]
    return f"{address}%{zone or scope}" if scope else address


def is_number(port: str) -> bool:
    """Return whether *port* is a bare number, not an endpoint description."""
    return re.fullmatch(r"[0-9]{1,5}", port) is not None


def close_now(ports: Sequence[IListeningPort]) -> None:
    """Close *ports* before this call returns. ``stopListening`` would need another turn of the reactor.

    The file of a unix socket is removed, so that the process can end after this call.
    """
    for port in ports:
        if isinstance(port, Port):
            port.stopReading()  # type: ignore[no-untyped-call]
        if hasattr(port, "connectionLost"):  # the ports of Windows' reactor have another base class
            port.connectionLost(_closed)


def pause_accepting(port: Port, seconds: float, clock: IReactorTime) -> None:
    """Let *port* accept no connections for *seconds*. New ones wait in the queue of the kernel."""

    def resume() -> None:
        if port.connected and not port.disconnecting:
            port.startReading()  # type: ignore[no-untyped-call]

    port.stopReading()  # type: ignore[no-untyped-call]
    clock.callLater(seconds, resume)


def format_address(host: object) -> str:
    """Return *host* as one line. Programs may search it for ``port 5555``."""
    match host:
        case IPv4Address(host=name, port=port) | IPv6Address(host=name, port=port):
            return f"{name} port {port}"
        case UNIXAddress(name=name):
            return sanitize(os.fsdecode(name)) if name else "a socket without a name"
        case _:
            return sanitize(str(host))


def _zone_problem(host: str | None) -> str:
    """Return what is wrong with the zone of *host*, if it is an IPv6 address, and what to do. Empty if nothing is."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return ""
    if address.version == 4 or not address.is_link_local:
        return ""
    if address.scope_id is None:
        return f"{host} may be on any network interface: add the name of one, as in {host}%eth0."
    interfaces = {name: str(number) for number, name in socket.if_nameindex()}
    if address.scope_id in {*interfaces, *interfaces.values()}:
        return ""
    return f"{host}: there is no network interface {address.scope_id}. There are: {', '.join(interfaces)}."


def _errno(error: CannotListenError) -> int | None:
    """Return the ``errno`` of *error*, or None if it did not come from the system."""
    return getattr(error.socketError, "errno", None)


def _error_text(error: object) -> str:
    """Return the text of *error* without its number and without a full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).rstrip(".")


def _explain(error: CannotListenError, option: str) -> str:
    """Return why the address cannot be used and what to do. *option* is the command line option."""
    if isinstance(error.port, int):
        where = f"port {error.port} on {error.interface}" if error.interface else f"port {error.port}"
    else:
        where = os.fsdecode(error.port)
    if problem := _zone_problem(error.interface):
        return problem
    match _errno(error):
        case errno.EADDRINUSE:
            return f"{where} is in use: stop what listens there, or choose another with {option}."
        case errno.EACCES | errno.EPERM if isinstance(error.port, int):
            return (
                f"{where} is not for this user: choose a number from 1024 on with {option}, "
                "or start as root, with twistd's --uid."
            )
        case errno.EADDRNOTAVAIL:
            return f"{error.interface} is no address of this machine: name another interface, or none."
        case None if not isinstance(error.socketError, OSError):
            # This error is Twisted's own: another process holds the lock file of the unix socket.
            return (
                f"{where} is in use ({_error_text(error.socketError)}): stop what listens there, or choose another. "
                f"If nothing does, remove {where}.lock."
            )
        case _:
            return f"{where} cannot be listened on ({_error_text(error.socketError)}): choose another with {option}."
