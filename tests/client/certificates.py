"""Certificates for tests: self-signed ones, and those of an authority that only the tests know."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

VALID = (-1, 30)
"""The days from now at which a certificate begins and ends to be valid."""


def new_key() -> Key:
    """Return a key that is made in no time."""
    return ec.generate_private_key(ec.SECP256R1())


def fingerprint(key: Key) -> str:
    """Return the fingerprint of the public key, as the client shows it."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"SHA256:{sha256(public).hexdigest()}"


class Authority:
    """An authority. Its own certificate is in the file *path*, once that is written."""

    def __init__(self) -> None:
        self.key = new_key()
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Authority {token_hex(4)} of the tests")])
        self.certificate = _sign(self, self.name, self.key, (), VALID, is_authority=True)

    def write(self, path: Path) -> Path:
        """Write the certificate to a file, for ``SSL_CERT_FILE``."""
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path


def make(
    key: Key,
    names: Sequence[str] = ("localhost", "127.0.0.1"),
    days: tuple[int, int] = VALID,
    by: Authority | None = None,
) -> x509.Certificate:
    """Return a certificate for *names*, which is self-signed without an authority."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    return _sign(by, subject, key, names, days)


def write(path: Path, key: Key, certificate: x509.Certificate) -> Path:
    """Write a certificate and its key to a file."""
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    return path


def _sign(
    by: Authority | None,
    subject: x509.Name,
    key: Key,
    names: Sequence[str],
    days: tuple[int, int],
    *,
    is_authority: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    signing = by.key if by else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.name if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
    return builder.sign(signing, None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
