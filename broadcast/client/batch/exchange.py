"""One connection of ``--send``: messages of the program protocol on a non-blocking socket.

Scripts start the client again and again, so its start must be cheap. ``socket`` takes long to import because of its
enums, and the library because of msgspec and typing. Hence ``_socket``, ``json``, and an exchange of its own.
"""

from __future__ import annotations

import _socket
import json
import select
import signal
import sys
from time import monotonic

from broadcast.client.address import UNIX
from broadcast.client.protocol.greeting import TLS_HINT, Greeting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

    from broadcast.client.batch.secure_socket import SecureSocket
    from broadcast.client.tls import Trust

    Socket: TypeAlias = _socket.socket | SecureSocket
    Message = dict[str, Any]

CONNECT_SECONDS: Final = 30.0
NEXT_ADDRESS_SECONDS: Final = 3.0
"""The time limit of an attempt if the host has other addresses."""
REQUEST_BYTES: Final = 16_384
"""The longest request that a server accepts, in bytes."""
CHUNK_BYTES: Final = 65536


class Lost(Exception):
    """The connection is lost, or there is none. The text is the reason.

    The next attempt follows after a pause of *after* seconds, or after the usual one. None follows if it *is_final*, as
    that of an address that *is_banned* always is.
    """

    def __init__(self, reason: str, after: float = 0.0, *, is_final: bool = False, is_banned: bool = False) -> None:
        super().__init__(reason)
        self.after = after
        self.is_final = is_final or is_banned
        self.is_banned = is_banned


class Connection:
    """A connection to *host*: a name, an IP address, or ``unix:`` and a path. Its methods raise ``Lost``.

    With *trust*, it is a TLS connection. Its constructor then raises ``CertificateError`` if the server is not trusted.
    *deadline* is a time on the clock ``time.monotonic``.
    """

    def __init__(self, host: str, port: int, deadline: float, trust: Trust | None = None) -> None:
        self.answers: list[Message] = []
        self.heard_at = monotonic()
        """The time of the latest input, on the clock ``time.monotonic``."""
        self._goodbye: Message | None = None
        self._greeting: Greeting | None = Greeting()
        self._rest = b""
        self._unsent = bytearray()
        self._hint = TLS_HINT if trust is None and not host.startswith(UNIX) else ""
        self._socket: Socket
        if trust is None:
            self._socket = _connect(host, port, deadline)
        else:
            from broadcast.client.batch.secure_socket import secure  # noqa: PLC0415 -- only TLS needs it

            try:
                self._socket = secure(lambda: _connect(host, port, deadline), trust, deadline)
            except OSError as error:
                raise Lost(error.strerror or str(error)) from None
        self._socket.setblocking(False)

    def close(self) -> None:
        """Close at once."""
        self._socket.close()

    def request(self, number: int, method: str, params: Message) -> bool:
        """Send a request as soon as there is room for it. Return False if it is too long for a server."""
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        data = json.dumps(message, ensure_ascii=False).encode() + b"\n"
        if is_short := len(data) <= REQUEST_BYTES:
            self._unsent += data
        return is_short

    def wait(self, until: float) -> None:
        """Send and receive until *until* at most."""
        self._poll(max(0.0, until - monotonic()))
        try:
            if self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # the reason is in the input, or is the error of the next line
        try:
            data = self._socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from None
        if not data:
            raise self._lost(f"the server closed the connection{self._hint}")
        self.heard_at = monotonic()
        self._hint = ""
        self._receive(data)

    def _poll(self, seconds: float) -> None:
        number = self._socket.fileno()
        select.select([number], [number] if self._unsent else [], [], seconds)

    def _receive(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._greeting is not None and not line.startswith(b"{"):
                self._greeting.add(line.removesuffix(b"\r"))
                if self._greeting.is_line_protocol:
                    raise Lost(self._greeting.explain(""), is_final=True)
                continue
            self._greeting = None
            try:
                message = json.loads(line)
            except ValueError:
                raise Lost("the server has sent a line that is no message") from None
            if message.get("method") == "goodbye":
                self._goodbye = message["params"]
            elif "id" in message:
                self.answers.append(message)

    def _lost(self, reason: str) -> Lost:
        if self._greeting is not None:
            self._greeting.add(self._rest)
            return Lost(self._greeting.explain(reason), is_banned=self._greeting.is_ban)
        goodbye = self._goodbye
        if goodbye is None:
            return Lost(reason)
        return Lost(goodbye["reason"].rstrip("."), goodbye.get("after", 0.0), is_final=not goodbye["reconnect"])


def _connect(host: str, port: int, deadline: float) -> _socket.socket:
    """Return a socket that is connected to the first address of *host* that answers."""
    addresses: list[tuple[int, Any]]
    if sys.platform != "win32" and host.startswith(UNIX):
        addresses = [(_socket.AF_UNIX, host.removeprefix(UNIX))]
    else:
        addresses = [(family, address) for family, _, _, _, address in _look_up(host, port)]
    reason = ""
    for family, address in addresses:
        connection = _socket.socket(family, _socket.SOCK_STREAM, 0)
        limit = CONNECT_SECONDS if len(addresses) == 1 else NEXT_ADDRESS_SECONDS
        connection.settimeout(max(0.1, min(limit, deadline - monotonic())))
        try:
            connection.connect(address)
        except TimeoutError:
            reason = "it does not answer"
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return connection
        connection.close()
    raise Lost(reason)


def _look_up(host: str, port: int) -> list[Any]:
    # Python handles no signal while the system looks up a name, which can take a minute.
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        # The codec for international names takes long to import.
        return _socket.getaddrinfo(host.encode("ascii" if host.isascii() else "idna"), port, 0, _socket.SOCK_STREAM)
    except (_socket.gaierror, UnicodeError):
        raise Lost("there is no such host") from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
