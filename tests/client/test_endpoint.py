"""The endpoint fits the form of the server's address."""

from __future__ import annotations

import pytest
from twisted.internet.endpoints import HostnameEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.testing import MemoryReactorClock

from broadcast.client.endpoint import server_endpoint


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("localhost", HostnameEndpoint),
        ("127.0.0.1", HostnameEndpoint),
        ("::1", HostnameEndpoint),
        ("100%", HostnameEndpoint),
        ("fe80::7%eth7", TCP6ClientEndpoint),
        ("unix:chat.sock", UNIXClientEndpoint),
    ],
)
def test_endpoint_fits_the_address(host: str, kind: type) -> None:
    reactor = MemoryReactorClock()  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
    assert type(server_endpoint(reactor, host, 5555)) is kind
