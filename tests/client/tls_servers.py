"""The server's side of TLS for tests: contexts, and a server whose every byte the test moves."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

from tests.client import certificates
from tests.client.certificates import Authority, Key


class Identity:
    """The certificate of a server, in files of *folder*."""

    def __init__(
        self,
        folder: Path,
        *names: str,
        days: tuple[int, int] = certificates.VALID,
        by: Authority | None = None,
        key: Key | None = None,
    ) -> None:
        self.key = key or certificates.new_key()
        self.fingerprint = certificates.fingerprint(self.key)
        certificate = certificates.make(self.key, names or ("localhost", "127.0.0.1"), days, by)
        self.path = certificates.write(folder / f"{certificate.serial_number}.pem", self.key, certificate)

    def context(self) -> ssl.SSLContext:
        """Return the context of the server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context


class Server:
    """The server's side of a connection in memory."""

    def __init__(self, identity: Identity, **versions: ssl.TLSVersion) -> None:
        context = identity.context()
        for name, version in versions.items():
            setattr(context, name, version)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.received = b""
        self.is_open = False
        """Whether the handshake is over."""
        self.has_ended = False
        """Whether the client has ended the connection in good order."""

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the client, and return the answer."""
        self._incoming.write(data)
        try:
            if not self.is_open:
                self.tls.do_handshake()
                self.is_open = True
            while piece := self.tls.read(65536):
                self.received += piece
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()

    def send(self, data: bytes) -> bytes:
        """Return the bytes of TLS for *data*."""
        rest = data
        while rest:
            rest = rest[self.tls.write(rest) :]
        return self._outgoing.read()

    def close(self) -> bytes:
        """Return the end in good order."""
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        return self._outgoing.read()
