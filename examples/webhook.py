"""A webhook receiver: the text of an HTTP POST becomes a line.

python examples/webhook.py HOST ROOM --listen 8080
curl -d "the build has failed" -H "Idempotency-Key: build-1207" http://127.0.0.1:8080/

The answer 200 means that the line is stored. A sender that gets no answer repeats its request with the same
``Idempotency-Key``, and the line is said once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore
from typing import ClassVar

from broadcast.client.aio import ChatError, Ended, NotStored, Rejected, TooLong, UidReused
from broadcast.client.sync import Chat, connect

MAX_BODY_BYTES = 64 * 1024
MAX_WAITING = 50
"""The most requests that wait for the chat server."""


class Webhook(BaseHTTPRequestHandler):
    """The handler of one request, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    chat: ClassVar[Chat]
    waiting: ClassVar[BoundedSemaphore] = BoundedSemaphore(MAX_WAITING)

    def do_POST(self) -> None:
        """Say the text, and answer when it is stored."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
            return
        if int(length) > MAX_BODY_BYTES:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {MAX_BODY_BYTES} bytes")
            return
        text = self.rfile.read(int(length)).decode(errors="replace")
        if not self.waiting.acquire(blocking=False):
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "too many requests wait for the chat server"})
            return
        try:
            self.answer(*self.say(text))
        finally:
            self.waiting.release()

    def say(self, text: str) -> tuple[HTTPStatus, dict[str, object]]:
        """Return the answer to a request."""
        key = self.headers.get("Idempotency-Key", "")
        # A uid has a limited length and alphabet, a key may be any text.
        uid = hashlib.sha256(key.encode()).hexdigest()[:32] if key else ""
        try:
            return HTTPStatus.OK, {"seq": self.chat.say(text, uid=uid)}
        except UidReused as error:
            return HTTPStatus.CONFLICT, {"error": str(error)}
        except TooLong as error:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": str(error)}
        except (NotStored, Ended) as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)}
        except Rejected as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}

    def refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer a request whose body is not read, and close the connection."""
        self.close_connection = True
        self.answer(status, {"error": reason})

    def answer(self, status: HTTPStatus, content: dict[str, object]) -> None:
        """Send the answer as JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description="an HTTP POST becomes a line")
    parser.add_argument("host", help='the chat server: a name, an address, or "unix:" and a path')
    parser.add_argument("room", nargs="?", default="lobby")
    parser.add_argument("--port", type=int, default=5555)
    parser.add_argument("--nick", default="webhook")
    parser.add_argument("--listen", type=int, default=8080, help="the HTTP port on this machine, 0 for a free one")
    given = parser.parse_args()
    # A service manager stops a program with SIGTERM. As with Ctrl-C, the receiver then leaves the room.
    # A shell starts background programs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with (
            connect(given.host, given.port, nick=given.nick, rooms=[given.room]) as Webhook.chat,
            ThreadingHTTPServer(("127.0.0.1", given.listen), Webhook) as server,
        ):
            print(f"Listening on http://127.0.0.1:{server.server_port}/", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
    except (ChatError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
