"""The public keys of certificates, beside those that ``cryptography`` finds."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\0", REAL[:4]], ids=["nothing", "a tag", "empty", "a beginning"])
def test_what_is_no_certificate_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the server's certificate cannot be read$"):
        public_key(data)


@pytest.mark.parametrize(
    "text", ["a1" * 32, "A1" * 32, ":".join(["A1"] * 32), "SHA256:" + "a1" * 32, " sha256:" + "a1" * 32]
)
def test_the_forms_of_a_fingerprint_are_one(text: str) -> None:
    assert parse_fingerprint(text) == "SHA256:" + "a1" * 32


@pytest.mark.parametrize("text", ["", "SHA256:", "a1" * 20, "a1" * 33, "g1" * 32, "MD5:" + "a1" * 32, "٣" * 64])
def test_what_is_no_fingerprint_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^no fingerprint: "):
        parse_fingerprint(text)
