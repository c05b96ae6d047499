"""The endpoint of a pipe, its keepalive, and the reason of its end."""

from __future__ import annotations

import socket
from errno import ECONNREFUSED
from os import strerror

import pytest
from twisted.internet.endpoints import HostnameEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from broadcast.client.batch.endpoint import because, keep_alive, server_endpoint


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


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionDone(), "done"),
        (ConnectionLost(), "the connection broke"),
        (DNSLookupError(), "there is no such host"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "there is no such host"),
        (TimedOut(), "it does not answer"),  # type: ignore[no-untyped-call]
        (Refused(osError=ECONNREFUSED), strerror(ECONNREFUSED)),  # type: ignore[no-untyped-call]
        (ValueError(" two\nlines "), "two lines"),
        (KeyError(), "KeyError"),
    ],
)
def test_the_reason_is_one_line_for_people(error: Exception, why: str) -> None:
    assert because(Failure(error), "done") == why  # type: ignore[no-untyped-call]


class Transport:
    """Has a socket."""

    def __init__(self, handle: socket.socket) -> None:
        self._handle = handle

    def getHandle(self) -> socket.socket:  # noqa: N802 -- Twisted's name
        return self._handle


def test_a_connection_without_a_word_is_noticed() -> None:
    with socket.socket() as handle:
        keep_alive(Transport(handle))
        assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_server_that_reads_slowly_is_waited_for() -> None:
    """As one does that reads two lines a second; this time would end a connection that is well."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        return
    with socket.socket() as handle:
        keep_alive(Transport(handle))
        assert handle.getsockopt(socket.IPPROTO_TCP, option) == 0


def test_what_is_no_tcp_socket_is_left_alone() -> None:
    keep_alive(object())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        keep_alive(Transport(ours))
