"""TLS connections of the client: how the certificate of a server is checked, and the texts about failures.

A known key is all that counts: its certificate may be expired, or have another name. Without one, the authorities of
the system have to accept the certificate and its name. If they do not, a second connection reads the key, so that the
user can decide about it. Nothing is sent on a connection before the check.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from broadcast.client.certificates import PREFIX, CertificateError, fingerprint_of

PLAIN: Final = "the port does not speak TLS: take the TLS port of the server, or connect unencrypted, without --tls"
"""The error about a server that answers without TLS."""
_NOT_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
)
"""The names that versions of OpenSSL have for an answer without TLS."""

_PROBLEMS: Final = {
    9: "is not valid yet, or the clock of this computer is wrong",
    10: "has expired",
    18: "is self-signed",
    **dict.fromkeys((2, 19, 20, 21, 27), "comes from an authority that this system does not know"),
    **dict.fromkeys((62, 64), "is not for {name}"),
}
"""The problems of a certificate, as the rest of a sentence that begins with *its certificate*.

The numbers are those of OpenSSL, ``X509_V_ERR_...``.
"""


class Trust:
    """The check of the certificate of *host*, for one attempt to connect.

    The server's key has one of the fingerprints *known*. If there are none, *context* checks the certificate; the
    default one asks the authorities of the system.
    """

    def __init__(self, host: str, known: Sequence[str] = (), context: ssl.SSLContext | None = None) -> None:
        self.hostname = host.partition("%")[0]
        """The name for the handshake. The zone of an IPv6 address belongs to this machine alone."""
        self._known = tuple(known)
        self._context = context
        self._problem = ""

    def make_context(self) -> ssl.SSLContext:
        """Return the context for a connection. It accepts any certificate if ``check`` decides about it."""
        if self._context is not None and not self._problem:
            return self._context
        context = unchecked_context() if self._known or self._problem else ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        return context

    def refused(self, error: ssl.SSLCertVerificationError) -> None:
        """Store why the context has rejected the certificate. The next connection only reads the key, for ``check``."""
        problem = _PROBLEMS.get(error.verify_code, f"is not accepted: {error.verify_message}")
        self._problem = problem.replace("{name}", self.hostname)

    def check(self, connection: ssl.SSLObject | ssl.SSLSocket) -> None:
        """Check the server of a *connection* after the handshake. Raise ``CertificateError`` if it is not trusted."""
        if not self._known and not self._problem:
            return
        certificate = connection.getpeercert(binary_form=True) or b""
        try:
            fingerprint = fingerprint_of(certificate)
        except ValueError as error:
            raise CertificateError(str(error), "", self._known) from None
        if fingerprint not in self._known:
            if (other := PREFIX + sha256(certificate).hexdigest()) in self._known:
                # The log of the server and openssl show this one, too.
                self._problem = f"{other} is the fingerprint of its certificate, and not of its key"
            raise CertificateError(self._problem, fingerprint, self._known)


def unchecked_context() -> ssl.SSLContext:
    """Return a context that accepts any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def describe(error: ssl.SSLError) -> str:
    """Return the reason of a failure of TLS as one line for people."""
    if error.reason in _NOT_TLS:
        return PLAIN
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the server closed the connection"
    return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
