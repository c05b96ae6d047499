"""The address of the page in the log, and in links to files."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import succeed

from broadcast.doors.web.page_address import PageAddress, PageListener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory


class FakePort:
    """A port that listens at *host*."""

    def __init__(self, host: IAddress) -> None:
        self._host = host

    def getHost(self) -> IAddress:
        return self._host


class FakeListener:
    """A listener with ports at *hosts*."""

    def __init__(self, *hosts: IAddress) -> None:
        self._ports = [cast("IListeningPort", FakePort(host)) for host in hosts]

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        return succeed(self._ports)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        return f"Listening on {len(ports)}."


def ipv4(host: str, port: int = 8080) -> IAddress:
    return IPv4Address("TCP", host, port)


def ipv6(host: str, port: int = 8080) -> IAddress:
    return IPv6Address("TCP", host, port)


def describe(address: PageAddress, *hosts: IAddress, scheme: str = "http") -> str:
    """Return the line in the log about a listener at *hosts*."""
    listener = PageListener(FakeListener(*hosts), address, scheme)
    opened: list[Sequence[IListeningPort]] = []
    listener.listen(cast("IProtocolFactory", None)).addCallback(opened.append)
    return listener.describe(opened[0])


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (ipv4("127.0.0.1"), "http://localhost:8080/"),
        (ipv6("::1"), "http://localhost:8080/"),
        (ipv4("0.0.0.0"), "http://paul:8080/"),  # noqa: S104 - no socket is opened
        (ipv6("::"), "http://paul:8080/"),
        (ipv4("203.0.113.7"), "http://203.0.113.7:8080/"),
        (ipv6("2001:db8::7"), "http://[2001:db8::7]:8080/"),
    ],
)
def test_address_is_one_that_people_can_type(host: IAddress, url: str) -> None:
    address = PageAddress(None, "", "paul")
    assert describe(address, host) == f"The page is at {url}, listening on 1."
    assert address.url == url


def test_address_has_the_path_and_the_scheme() -> None:
    address = PageAddress(None, "/chat", "paul")
    line = describe(address, ipv4("127.0.0.1"), ipv6("::1"), scheme="https")
    assert line == "The page is at https://localhost:8080/chat/, listening on 2."


def test_default_port_is_left_out() -> None:
    assert "http://localhost/," in describe(PageAddress(None, "", "paul"), ipv4("127.0.0.1", 80))
    assert "https://localhost/," in describe(PageAddress(None, "", "paul"), ipv4("127.0.0.1", 443), scheme="https")


def test_operator_knows_better() -> None:
    address = PageAddress("https://chat.example.com/", "", "paul")
    assert address.url == "https://chat.example.com/"
    assert describe(address, ipv4("127.0.0.1")) == "The page is at https://chat.example.com/, listening on 1."
    assert address.url == "https://chat.example.com/"
    assert address.origin == "https://chat.example.com"


def test_unix_socket_has_no_address() -> None:
    address = PageAddress(None, "", "paul")
    assert describe(address, UNIXAddress(b"web.sock")) == "The page: listening on 1."
    assert address.url == ""
    assert describe(address, ipv4("127.0.0.1"))
    assert address.url == "http://localhost:8080/"


def test_first_port_is_that_of_links() -> None:
    address = PageAddress(None, "", "paul")
    describe(address, ipv4("0.0.0.0", 8443), scheme="https")  # noqa: S104
    assert "http://paul:8080/" in describe(address, ipv4("0.0.0.0"))  # noqa: S104
    assert address.url == "https://paul:8443/"


@pytest.mark.parametrize("schemes", [("http", "https"), ("https", "http")])
def test_first_port_with_tls_is_that_of_uploads_over_tls(schemes: tuple[str, str]) -> None:
    address = PageAddress(None, "/chat", "paul")
    known: list[tuple[str, str]] = []
    address.on_known = lambda: known.append((address.url, address.secure_url))
    for scheme in (*schemes, "https"):
        describe(address, ipv4("127.0.0.1", 8080 if scheme == "http" else 8443 + len(known)), scheme=scheme)
    assert known[-1][0].startswith(f"{schemes[0]}://localhost:")
    assert known[-1][1] == f"https://localhost:{8443 + schemes.index('https')}/chat/"


def test_address_of_the_operator_is_that_of_all_uploads() -> None:
    address = PageAddress("http://chat.example.com/", "", "paul")
    describe(address, ipv4("127.0.0.1"), scheme="https")
    assert address.secure_url == ""
