"""The address of a client is shown on one line, in the form that people know."""

from __future__ import annotations

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from zope.interface.verify import verifyObject

from broadcast.net.addresses import format_peer


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
