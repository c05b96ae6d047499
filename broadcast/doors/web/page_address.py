"""The address of the page, as people type it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.address import IPv4Address, IPv6Address

from broadcast.net.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory

    from broadcast.net.endpoints import Listener

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class PageAddress:
    """The address of the page: *given* by the operator, otherwise that of the first port, with the path *prefix*.

    It is never taken from a request, which may name any host. *machine* is the name of this machine.
    """

    def __init__(self, given: str | None, prefix: str, machine: str) -> None:
        self.url = given or ""
        """The address, with a slash at its end; empty as long as the server does not listen on a port."""
        self.secure_url = ""
        """The address of the page over https; empty if it has none, or if the operator has given an address."""
        self.on_known: Callable[[], None] = lambda: None
        """Called when one of the addresses is known."""
        self._given = given
        self._prefix = prefix
        self._machine = machine

    @property
    def origin(self) -> str:
        """The scheme, the host and the port of the address."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"

    def add_ports(self, scheme: str, ports: Sequence[IListeningPort]) -> str:
        """Learn from *ports*, which are open, where the page is. Return its address there, empty if it has none."""
        url = self._given or self._find(scheme, ports)
        self.url = self.url or url
        if scheme == "https" and not self._given:
            self.secure_url = self.secure_url or url
        self.on_known()
        return url

    def _find(self, scheme: str, ports: Sequence[IListeningPort]) -> str:
        for port in ports:
            match port.getHost():
                case IPv4Address(host=host, port=number) | IPv6Address(host=host, port=number):
                    port_part = "" if number == _DEFAULT_PORTS[scheme] else f":{number}"
                    return f"{scheme}://{self._name(host)}{port_part}{self._prefix}/"
        return ""

    def _name(self, host: str) -> str:
        """Return the name under which people reach the address *host* of this machine."""
        if is_loopback(host):
            return "localhost"
        if host in ("0.0.0.0", "::", ""):  # noqa: S104 - all addresses
            return self._machine
        return f"[{host}]" if ":" in host else host


class PageListener:
    """A *listener* for the page. The log line about its ports shows the address of the page."""

    def __init__(self, listener: Listener, address: PageAddress, scheme: str) -> None:
        self._listener = listener
        self._address = address
        self._scheme = scheme

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen for *factory*."""
        return self._listener.listen(factory)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """Return one line with the address of the page, and with the addresses of *ports*."""
        url = self._address.add_ports(self._scheme, ports)
        start = f"The page is at {url}, listening" if url else "The page: listening"
        return self._listener.describe(ports).replace("Listening", start, 1)
