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
_INTEGER: Final = 0x02
_SEQUENCE: Final = 0x30
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
    start, end = _contents(certificate, 0, len(certificate), _SEQUENCE)
    if end != len(certificate):
        raise _unreadable()
    place, end = _contents(certificate, start, end, _SEQUENCE)
    if certificate[place : place + 1] == bytes([_VERSION]):
        place = _contents(certificate, place, end, _VERSION)[1]
    # The serial number, the algorithm of the signature, the issuer, the validity, and the subject.
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE):
        place = _contents(certificate, place, end, tag)[1]
    return certificate[place : _contents(certificate, place, end, _SEQUENCE)[1]]


def _contents(data: bytes, place: int, end: int, tag: int) -> tuple[int, int]:
    """Return where the contents of the element at *place* begin and end. It has this *tag*, and ends before *end*."""
    if place + 2 > end or data[place] != tag:
        raise _unreadable()
    length, start = data[place + 1], place + 2
    if length > 0x80:
        # The length itself has several bytes.
        size = length & 0x7F
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
        if size > 4 or length < 0x80 or start > end:
            raise _unreadable()
    elif length == 0x80:  # the indefinite length, which DER forbids
        raise _unreadable()
    if start + length > end:
        raise _unreadable()
    return start, start + length


def _unreadable() -> ValueError:
    return ValueError("the server's certificate cannot be read")
