"""Public keys of certificates and their fingerprints: ``SHA256:`` and 64 hexadecimal digits.

The module imports nothing heavy, because the command line of ``--send`` uses it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

PREFIX: Final = "SHA256:"
_DIGITS: Final = frozenset("0123456789abcdef")
_VERSION: Final = 0xA0
"""The tag of the field *version*, which certificates of version 1 do not have."""


class CertificateError(Exception):
    """The certificate of a server is not trusted. The text is the *problem*, if it is known; nothing was sent.

    *fingerprint* is that of the server's key, and *known* holds the fingerprints that it should have, if any.
    """

    def __init__(self, problem: str, fingerprint: str, known: Sequence[str]) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fingerprint = fingerprint
        self.known = tuple(known)


def parse_fingerprint(text: str) -> str:
    """Return a fingerprint in its usual form. The prefix, colons and the case of letters do not matter.

    Raise ``ValueError`` if *text* is none.
    """
    digits = text.strip().lower().removeprefix(PREFIX.lower()).replace(":", "")
    if len(digits) != 64 or not _DIGITS.issuperset(digits):
        raise ValueError(f"no fingerprint: {text}; it has the form {PREFIX} and 64 hexadecimal digits")
    return PREFIX + digits


def fingerprint_of(certificate: bytes) -> str:
    """Return the fingerprint of the public key of a *certificate* in DER. Raise ``ValueError`` if it is none."""
    from hashlib import sha256  # noqa: PLC0415 -- few need it

    return PREFIX + sha256(public_key(certificate)).hexdigest()


def public_key(certificate: bytes) -> bytes:
    """Return the field *subjectPublicKeyInfo* (RFC 5280, section 4.1) of a *certificate* in DER.

    Raise ``ValueError`` if there is none.
    """
    try:
        place = _contents(certificate, _contents(certificate, 0)[0])[0]
        if certificate[place] == _VERSION:
            place = _contents(certificate, place)[1]
        for _ in ("the serial number", "the algorithm of the signature", "the issuer", "the validity", "the subject"):
            place = _contents(certificate, place)[1]
        return certificate[place : _contents(certificate, place)[1]]
    except IndexError:
        raise ValueError("the server's certificate cannot be read") from None


def _contents(data: bytes, place: int) -> tuple[int, int]:
    """Return where the contents of the element at *place* begin and end. OpenSSL has accepted the certificate."""
    length, start = data[place + 1], place + 2
    if length > 0x80:  # the length itself has several bytes
        size = length & 0x7F
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    return start, start + length
