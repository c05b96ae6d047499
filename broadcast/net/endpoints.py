"""Where people can connect: a port number on the addresses of this machine, or a Twisted endpoint description."""

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
from broadcast.net.proxy_protocol import ProxiedEndpoint

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IListeningPort,
        IProtocolFactory,
        IReactorTCP,
        IReactorTime,
        IStreamServerEndpoint,
    )

THIS_MACHINE: Final = ("127.0.0.1", "::1")
"""Both, because ``localhost`` may mean either first."""
LISTEN_BACKLOG: Final = 1024
"""How many may wait to be accepted (the system may allow fewer). With Twisted's 50, most of a rush of three hundred
believe that they are connected, and are never welcomed: the system has dropped what ended their handshake."""
ATTEMPTS: Final = 20
"""How often a free port is looked for that is free on every address."""

_PROXIED: Final = "haproxy:"
"""In front of a description: only proxies connect there. Twisted takes it too, see ``haproxy.py``."""
_closed: Final = Failure(CONNECTION_DONE)  # type: ignore[no-untyped-call]
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class Listener(Protocol):
    """Somewhere to listen."""

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen there for *factory*; fails with ``CannotStart``."""

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """What *ports*, which came from ``listen``, mean for those who want to connect: one line for the log."""


def parse_listener(
    reactor: IReactorTCP,
    port: str,
    interface: str | None,
    option: str = "--port",
    connection_limiter: ConnectionLimiter | None = None,
) -> Listener:
    """The place that *port* names, on *interface* where it is a bare number; raises ``CannotStart``.

    *option* is what it was given with; *admitted* counts those whose proxy has not said yet where they are.
    """
    if is_number(port):
        return PortListener(reactor, int(port), interface, option)
    description = port.removeprefix(_PROXIED)
    if description != port and (is_number(description) or description.startswith(_PROXIED)):
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
        # Whatever the parsers, which can be plugins, make of what they do not understand: ValueError, TypeError for
        # an unknown argument, ImportError, OSError.
        several = ", and repeat it for several" if option == "--port" else ""
        colons = r" A colon in a value is written \:, as in interface=\:\:1." if "::" in description else ""
        raise StartupError(
            f"{option} {port} cannot be used ({_error_text(error)}). Give it a number, or a Twisted endpoint "
            f"description such as tcp:5555:interface=0.0.0.0{several}.{colons}"
        ) from error
    if isinstance(endpoint, StandardIOEndpoint):
        raise StartupError(f"{option} {port} is nothing to connect to. Give it a number, such as 5555.")
    if isinstance(endpoint, UNIXServerEndpoint):
        _check_path(f"{option} {port}", endpoint)
    # Where nobody says otherwise: neither the description nor a unit of systemd's.
    backlog = None if "backlog=" in description else LISTEN_BACKLOG
    if isinstance(endpoint, AdoptedStreamServerEndpoint):
        _check_handed_over(f"{option} {port}", endpoint)
        backlog = None
    if description != port:
        endpoint = ProxiedEndpoint(
            endpoint, cast("IReactorTime", reactor), connection_limiter or ConnectionLimiter(DEFAULTS)
        )
    return EndpointListener(port, endpoint, option, backlog)


def _check_path(given: str, endpoint: UNIXServerEndpoint) -> None:
    """Refuse a path where there can be no socket; Twisted would leave its lock file beside it.

    *given* is the option and its value.
    """
    path = os.fspath(endpoint._address)  # noqa: SLF001 - nothing else knows it before it listens
    if not path:
        raise StartupError(f"{given} names no file. Write it as in unix:chat.sock.")
    with suppress(OSError, ValueError):  # nothing is there; a name in the abstract namespace is no path
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 - perhaps bytes
            raise StartupError(f"{given}: there is a file already that is no socket. Give it another path.")


def _check_handed_over(given: str, endpoint: AdoptedStreamServerEndpoint) -> None:
    """Refuse a socket of systemd's that would not do what it should, with what to change in its unit or here.

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
        handed_over.detach()  # it is the endpoint's
    if not listens:
        raise StartupError(
            f"{given}: what was handed over does not listen. Its socket unit needs ListenStream= and Accept=no."
        )
    if family is not endpoint.addressFamily:
        # Twisted would not notice, and cut off half of every address.
        name = getattr(family, "name", str(family)).removeprefix("AF_")
        raise StartupError(f"{given}: what was handed over is of another domain. Write domain={name}.")
    if family is socket.AF_UNIX:
        # Twisted opens it to everybody, and removes the file at the end.
        raise StartupError(
            f"{given}: a unix socket of systemd's would not outlive a restart. "
            "Give it the path instead, as in unix:chat.sock:mode=660."
        )


class PortListener:
    """The port *number* (0: a free one) on every address of *interface*; None: on this machine only."""

    def __init__(self, reactor: IReactorTCP, number: int, interface: str | None, option: str = "--port") -> None:
        self._option = option
        self._reactor = reactor
        self._number = number
        self._interface = interface

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen on all of the addresses, under the same number."""
        return execute(self._listen, factory)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """The addresses, and whom they let in."""
        return _describe(ports, ": this machine only. --interface 0.0.0.0 lets others in.")

    def _listen(self, factory: IProtocolFactory) -> Sequence[IListeningPort]:
        addresses = THIS_MACHINE if self._interface is None else resolve(self._interface)
        attempts = ATTEMPTS if self._number == 0 else 1
        while True:
            attempts -= 1
            try:
                return self._together(factory, addresses)
            except CannotListenError as error:
                if attempts == 0 or _number_of(error) != errno.EADDRINUSE:
                    raise StartupError(_explain(error, self._option)) from error

    def _together(self, factory: IProtocolFactory, addresses: Sequence[str]) -> Sequence[IListeningPort]:
        """Listen on those of *addresses* that this machine has; raises CannotListenError."""
        ports: list[IListeningPort] = []
        absent: CannotListenError | None = None
        number = self._number
        for address in addresses:
            try:
                # It asks for a base class, and takes whatever has the interface.
                port = self._reactor.listenTCP(number, factory, LISTEN_BACKLOG, address)  # type: ignore[arg-type]
            except CannotListenError as error:
                if _number_of(error) in _ABSENT:
                    absent = error  # ::1 where there is no IPv6, although /etc/hosts may know it
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
    """What an endpoint description says, whatever it is; with room for *backlog* people who wait (None: as it says)."""

    def __init__(
        self, description: str, endpoint: IStreamServerEndpoint, option: str = "--port", backlog: int | None = None
    ) -> None:
        self._backlog = backlog
        self._option = option
        self._description = description
        self._endpoint = endpoint

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen there; not every kind of endpoint is done before this returns."""
        return maybeDeferred(self._endpoint.listen, factory).addCallbacks(self._listens, self._refuse)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """The address, and whether it lets others in."""
        return _describe(ports, ".")

    def _listens(self, port: IListeningPort) -> Sequence[IListeningPort]:
        if self._backlog is not None and isinstance(port, Port):
            port.socket.listen(self._backlog)  # once more, which changes that and nothing else (listen(2))
        return [port]

    def _refuse(self, failure: Failure) -> NoReturn:
        error = failure.value
        if isinstance(error, CannotListenError):
            why = _explain(error, self._option)
        else:
            why = f"{_error_text(error)}: give it another place."
        raise StartupError(f"{self._option} {self._description}: {why}") from error


def _describe(ports: Sequence[IListeningPort], closed: str) -> str:
    """Where *ports* are, and whom that lets in; *closed* is what to say where it is nobody from elsewhere."""
    hint = ": whoever can reach this machine can read and write here." if is_public(ports) else closed
    return f"Listening on {' and '.join(format_address(port.getHost()) for port in ports)}{hint}"


def is_public(ports: Sequence[IListeningPort]) -> bool:
    """Whether people on other machines may be able to connect to one of *ports*."""
    hosts = [port.getHost() for port in ports]
    return any(isinstance(host, IPv4Address | IPv6Address) and not _is_loopback(host.host) for host in hosts)


def resolve(host: str) -> Sequence[str]:
    """The addresses of *host*, an address or a name, in the system's order; raises ``CannotStart``."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise StartupError(
            f"--interface {host} is no address that is known here ({_error_text(error)}). "
            "Give it an address of this machine; 0.0.0.0 stands for all of them."
        ) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_number(port: str) -> bool:
    """Whether *port* is a bare number, not an endpoint description."""
    return re.fullmatch(r"[0-9]{1,5}", port) is not None


def close_now(ports: Sequence[IListeningPort]) -> None:
    """Close *ports* although the reactor does not run: ``stopListening`` would wait for its next turn.

    The process may end after this without leaving the file of a unix socket behind.
    """
    for port in ports:
        if isinstance(port, Port):
            port.stopReading()  # type: ignore[no-untyped-call]
            port.connectionLost(_closed)  # type: ignore[no-untyped-call]


def format_address(host: object) -> str:
    """The address *host* as one line for people, and for programs that look for ``port 5555`` in it."""
    match host:
        case IPv4Address(host=name, port=port) | IPv6Address(host=name, port=port):
            return f"{name} port {port}"
        case UNIXAddress(name=name):
            return sanitize(os.fsdecode(name)) if name else "a socket without a name"
        case _:
            return sanitize(str(host))


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback


def _number_of(error: CannotListenError) -> int | None:
    """The system's number for why; None where the reason is none of the system's."""
    return getattr(error.socketError, "errno", None)


def _error_text(error: object) -> str:
    """What *error* says, without a number and a stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).rstrip(".")


def _explain(error: CannotListenError, option: str) -> str:
    """Why nothing can listen there, and what to do; *option* is what it was given with."""
    if isinstance(error.port, int):
        where = f"port {error.port} on {error.interface}" if error.interface else f"port {error.port}"
    else:
        where = os.fsdecode(error.port)
    match _number_of(error):
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
            # Twisted's own: the lock file beside a unix socket is held.
            return (
                f"{where} is in use ({_error_text(error.socketError)}): stop what listens there, or choose another. "
                f"If nothing does, remove {where}.lock."
            )
        case _:
            return f"{where} cannot be listened on ({_error_text(error.socketError)}): choose another with {option}."
