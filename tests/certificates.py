"""Certificates for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""A time at which the certificates of tests with a clock of their own are valid."""


class Pair:
    """A key and a certificate of it, which *issuer* has signed: by default itself."""

    def __init__(
        self,
        name: str = "localhost",
        issuer: Pair | None = None,
        start: datetime | None = None,
        days: float = 90,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer or self
        start = start or datetime.now(UTC) - timedelta(days=1)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(signer.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .sign(signer.key, SHA256())
        )
        self.cert_pem = self.certificate.public_bytes(Encoding.PEM)
        self.key_pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def encrypted_key(self) -> bytes:
        """Return the key, encrypted with a passphrase."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))

    def write(self, folder: Path, chain: bytes = b"") -> tuple[Path, Path]:
        """Write both into *folder*, the certificate with its *chain*, and return the paths."""
        cert, key = folder / "cert.pem", folder / "key.pem"
        cert.write_bytes(self.cert_pem + chain)
        key.write_bytes(self.key_pem)
        return cert, key
