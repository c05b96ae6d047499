"""A peer: a server with one thread per client, which calls ``sendall`` for each other client in a loop."""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
from contextlib import suppress

_clients: set[socket.socket] = set()
_lock = threading.Lock()


def _send(client: socket.socket, line: bytes) -> None:
    with suppress(OSError):  # the client's own thread handles the error
        client.sendall(line)


def serve(client: socket.socket) -> None:
    """Send each line of *client* to the others until it disconnects."""
    with _lock:
        _clients.add(client)
    try:
        for line in client.makefile("rb"):
            with _lock:
                for other in _clients:
                    if other is not client:
                        _send(other, line)
    except OSError:
        pass  # the connection is lost
    finally:
        with _lock:
            _clients.discard(client)
        client.close()


def main(port: int, seconds: float) -> None:
    """Serve on *port* of 127.0.0.1 for *seconds*."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    threading.stack_size(128 * 1024)
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    end = threading.Timer(seconds, os._exit, (0,))
    end.daemon = True
    end.start()
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(client,), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
