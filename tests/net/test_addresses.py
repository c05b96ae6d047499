"""The address of a client is shown on one line, in the form that people know."""

from __future__ import annotations

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from zope.interface.verify import verifyObject

from broadcast.net.addresses import format_peer, format_source


@pytest.mark.parametrize(
    ("address", "shown"),
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
def test_address_of_a_client_is_one_line(address: IAddress, shown: str) -> None:
    assert verifyObject(IAddress, address)
    assert format_peer(address) == shown


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        (IPv4Address("TCP", "10.0.0.7", 40000), "10.0.0.7"),
        (IPv6Address("TCP", "::ffff:10.0.0.7", 1), "10.0.0.7"),
        (IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "::1", 1), "::1"),
        (IPv6Address("TCP", "fe80::7%eth0", 1), "fe80::7%eth0"),
        (IPv6Address("TCP", "fe80::7%\x1b[2J\n", 1), "fe80::7%"),
        (IPv6Address("TCP", "no address\r\n", 1), "no address"),
        (UNIXAddress(None), "a local socket"),
        (UNIXAddress(b"/tmp/x\nforged"), "a local socket"),
    ],
)
def test_source_is_what_one_client_cannot_change(peer: IAddress, source: str) -> None:
    assert format_source(peer) == source
