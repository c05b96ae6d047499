"""The public keys of certificates, beside those that ``cryptography`` finds."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client.certificates import fingerprint_of, parse_fingerprint, public_key
from tests.client import certificates

KEYS: dict[str, certificates.Key] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "ECDSA P-256": ec.generate_private_key(ec.SECP256R1()),
    "ECDSA P-521": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}
REAL = certificates.make(KEYS["RSA"]).public_bytes(Encoding.DER)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_the_public_key_of_a_certificate_is_found(key: certificates.Key) -> None:
    certificate = certificates.make(key).public_bytes(Encoding.DER)
    assert public_key(certificate) == key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert fingerprint_of(certificate) == certificates.fingerprint(key)


def element(tag: int, *contents: bytes) -> bytes:
    """Return an element of DER."""
    content = b"".join(contents)
    size = len(content)
    return bytes([tag, size] if size < 0x80 else [tag, 0x82, size >> 8, size & 0xFF]) + content


FIELDS = (element(0x02, b"\1"), *[element(0x30, b"\5\0")] * 4)
KEY = element(0x30, b"key")


def test_a_certificate_of_version_1_has_no_version() -> None:
    rest = element(0x30, b"")
    assert public_key(element(0x30, element(0x30, *FIELDS, KEY), rest)) == KEY
    assert public_key(element(0x30, element(0x30, element(0xA0, b"\2\1\2"), *FIELDS, KEY), rest)) == KEY


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\0",
        REAL + b"\0",
        element(0x30, element(0x30, *FIELDS)),
        element(0x30, element(0x30, *FIELDS, element(0x31, b"key"))),
        element(0x30, element(0x30, *FIELDS, KEY[:-1])),
        element(0x30, element(0x30, *FIELDS), KEY),
        b"\x30\x80" + element(0x30, *FIELDS, KEY) + b"\0\0",
        b"\x30\x81\x05" + b"\0" * 5,
        b"\x30\x84\xff\xff\xff\xff" + REAL,
        b"\x30\x85\0\0\0\0\x10" + b"\0" * 16,
        b"\x30\xff" + b"\xff" * 200,
        b"\x30\x82\x01",
    ],
    ids=[
        "nothing", "a tag", "an empty one", "too long", "no key", "another type", "a cut key", "a key behind the end",
        "an indefinite length", "a length that is too long", "a huge length", "a length of five bytes",
        "a length of 127 bytes", "a cut length",
    ],
)  # fmt: skip
def test_what_is_no_certificate_is_one_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the server's certificate cannot be read$"):
        public_key(data)


@given(st.integers(0, len(REAL) - 1))
def test_a_part_of_a_certificate_is_one_error(size: int) -> None:
    with pytest.raises(ValueError, match=r"^the server's certificate cannot be read$"):
        public_key(REAL[:size])


@given(st.integers(0, len(REAL) - 1), st.integers(1, 255))
def test_a_changed_byte_is_at_most_that_error(place: int, change: int) -> None:
    data = bytearray(REAL)
    data[place] ^= change
    try:
        found = public_key(bytes(data))
    except ValueError as error:
        assert str(error) == "the server's certificate cannot be read"  # noqa: PT017 -- either is right
    else:
        assert found in bytes(data)


@pytest.mark.parametrize(
    "text", ["a1" * 32, "A1" * 32, ":".join(["A1"] * 32), "SHA256:" + "a1" * 32, " sha256:" + "a1" * 32]
)
def test_the_forms_of_a_fingerprint_are_one(text: str) -> None:
    assert parse_fingerprint(text) == "SHA256:" + "a1" * 32


@pytest.mark.parametrize("text", ["", "SHA256:", "a1" * 20, "a1" * 33, "g1" * 32, "MD5:" + "a1" * 32, "٣" * 64])
def test_what_is_no_fingerprint_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^no fingerprint: "):
        parse_fingerprint(text)
