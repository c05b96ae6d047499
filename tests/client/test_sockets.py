"""What sockets are told."""

from __future__ import annotations

import socket

from broadcast.client.sockets import keep_alive


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
