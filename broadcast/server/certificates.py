"""Certificates of the server: those that the operator gives, and a self-signed one."""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from broadcast.core.errors import StartupError
from broadcast.durability import sync_file
from broadcast.net.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes

SELF_SIGNED_FILE: Final = "tls.pem"
"""Name of the file in the data folder that holds the self-signed certificate and its key."""
SELF_SIGNED_DAYS: Final = 825
"""Validity of a self-signed certificate. Some systems reject certificates that are valid for longer."""
RENEWAL_DAYS: Final = 30
"""Number of days before its end from which on a self-signed certificate is renewed."""
MAX_FILE_BYTES: Final = 1024 * 1024
MAX_COMMON_NAME: Final = 64
"""Maximum length of the name in a certificate's subject (RFC 5280, appendix A.1)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, ready for use."""

    context: ssl.SSLContext
    """The context for new connections."""
    not_after: datetime
    """The end of its validity."""
    fingerprint: str
    """``SHA256:`` and the hexadecimal SHA-256 of the certificate."""
    key_fingerprint: str
    """The same of its public key (SubjectPublicKeyInfo, RFC 5280). A renewal with the same key does not change it."""


def load_certificate(cert: Path, key: Path | None, now: datetime) -> Certificate:
    """Return the certificate in the file *cert*, whose key is in the file *key*, by default in *cert*.

    Raises ``StartupError`` if it cannot be used at the time *now*.
    """
    cert_pem = _read(f"--cert {cert}", cert)
    key_option, key_pem = (f"--key {key}", _read(f"--key {key}", key)) if key else (f"--cert {cert}", cert_pem)
    try:
        chain = x509.load_pem_x509_certificates(cert_pem)
    except ValueError as error:
        raise StartupError(f"--cert {cert} holds no certificate in PEM format: give it a file that does.") from error
    if key is None and b"PRIVATE KEY" not in cert_pem:
        raise StartupError(f"--cert {cert} holds no key: name the file of its key with --key.")
    try:
        private_key = load_pem_private_key(key_pem, None)
    except TypeError as error:
        raise StartupError(
            f"{key_option}: the key has a passphrase. Remove it with openssl pkey -in FILE -out NEW."
        ) from error
    except Exception as error:  # a ValueError, or an UnsupportedAlgorithm
        raise StartupError(f"{key_option} holds no key in PEM format: give it a file that does.") from error
    leaf = chain[0]
    if _public_bytes(leaf.public_key()) != _public_bytes(private_key.public_key()):
        if any(_public_bytes(each.public_key()) == _public_bytes(private_key.public_key()) for each in chain):
            raise StartupError(f"--cert {cert}: the certificate of the server must come first, before its chain.")
        raise StartupError(f"{key_option} is the key of another certificate than --cert {cert}: give both of one pair.")
    if now >= leaf.not_valid_after_utc:
        raise StartupError(f"--cert {cert} has expired on {format_time(leaf.not_valid_after_utc)}: renew it.")
    if now < leaf.not_valid_before_utc:
        raise StartupError(
            f"--cert {cert} is valid only from {format_time(leaf.not_valid_before_utc)} on: check the clock of this "
            "machine, or give it another certificate."
        )
    try:
        return _certificate(leaf, cert_pem + b"\n" + key_pem)
    except ssl.SSLError as error:
        raise StartupError(f"--cert {cert} cannot be used ({error.reason or error}): give it another.") from error


def read_fingerprints(path: Path) -> tuple[str, str]:
    """Return the fingerprints of the first certificate in the file *path*, and of its public key.

    Raises ``OSError`` if there is no file, and ``ValueError`` if it holds no certificate.
    """
    return _fingerprints(x509.load_pem_x509_certificate(path.read_bytes()))


def self_signed_certificate(data: Path | None, now: datetime) -> Certificate:
    """Return the self-signed certificate in the folder *data*, or one that is only in memory if *data* is None.

    It is made if there is none, and renewed with the same key near its end. Raises ``StartupError``.
    """
    if data is None:
        return _certificate(*_make_self_signed(ec.generate_private_key(ec.SECP256R1()), now))
    path = data / SELF_SIGNED_FILE
    try:
        pem = path.read_bytes()
    except FileNotFoundError:
        key = ec.generate_private_key(ec.SECP256R1())
    except OSError as error:
        raise StartupError(f"cannot read {path}: {error.strerror}. Let this user read it, or give --cert.") from error
    else:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            key = cast("ec.EllipticCurvePrivateKey", load_pem_private_key(pem, None))
        except (ValueError, TypeError) as error:
            # The server does not replace a file that it cannot read, because clients may trust the key in it.
            raise StartupError(
                f"{path} holds no certificate with its key: restore it from a backup, or remove it to get a new one."
            ) from error
        if now < certificate.not_valid_after_utc - timedelta(days=RENEWAL_DAYS):
            return _certificate(certificate, pem)
    certificate, pem = _make_self_signed(key, now)
    try:
        _write(path, pem)
    except OSError as error:
        raise StartupError(f"cannot write {path}: {error.strerror}. Let this user write there.") from error
    return _certificate(certificate, pem)


def format_time(time: datetime) -> str:
    """Return *time*, which is in UTC, as a text for people."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _read(given: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or error
        raise StartupError(f"{given}: cannot read it: {reason}. Give it a file that this user can read.") from error
    if len(data) > MAX_FILE_BYTES:
        raise StartupError(f"{given} is too long for a certificate or a key: give it another file.")
    return data


def _certificate(certificate: x509.Certificate, pem: bytes) -> Certificate:
    """Return *certificate*, whose chain and key are in *pem*. Raises ``ssl.SSLError``."""
    context = server_context()
    with _file_with(pem) as path:
        context.load_cert_chain(path)
    fingerprint, key_fingerprint = _fingerprints(certificate)
    return Certificate(context, certificate.not_valid_after_utc, fingerprint, key_fingerprint)


def _fingerprints(certificate: x509.Certificate) -> tuple[str, str]:
    parts = (certificate.public_bytes(Encoding.DER), _public_bytes(certificate.public_key()))
    fingerprint, key_fingerprint = (f"SHA256:{sha256(part).hexdigest()}" for part in parts)
    return fingerprint, key_fingerprint


def _public_bytes(key: PublicKeyTypes | CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextmanager
def _file_with(pem: bytes) -> Iterator[str]:
    """Yield the path of a file with *pem*, from which ``ssl`` can load it. On Linux, the file is in memory."""
    descriptor, path = _open_in_memory() or mkstemp()
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pem)
        yield path
    finally:
        os.close(descriptor)
        with suppress(OSError):  # a file in memory has no entry in a folder
            Path(path).unlink()


def _open_in_memory() -> tuple[int, str] | None:
    """Return a file in memory and a path that leads to it, or None if the system has no such files."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # the C library may be too old
            descriptor = os.memfd_create("certificate")
            path = f"/proc/self/fd/{descriptor}"
            if os.access(path, os.R_OK):
                return descriptor, path
            os.close(descriptor)
    return None


def _make_self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> tuple[x509.Certificate, bytes]:
    """Return a new certificate for *key*, and both as PEM."""
    host = socket.gethostname()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host[:MAX_COMMON_NAME] or "broadcast")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the clocks of some clients are wrong
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate, certificate.public_bytes(Encoding.PEM) + secret


def _names(host: str) -> Sequence[x509.GeneralName]:
    """Return the names and addresses of this machine, whose name is *host*.

    The function asks no resolver, because one may not answer.
    """
    names = ["localhost", host, host.partition(".")[0]]
    valid = [name for name in names if re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", name)]
    addresses = ["127.0.0.1", "::1"]
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # A UDP socket sends nothing when it connects. It gets the address that the machine uses for other networks.
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            addresses.append(probe.getsockname()[0].partition("%")[0])
    return [
        *map(x509.DNSName, dict.fromkeys(valid)),
        *(x509.IPAddress(ip_address(address)) for address in dict.fromkeys(addresses)),
    ]


def _write(path: Path, pem: bytes) -> None:
    """Replace the file *path* by one with *pem* that only this user can read."""
    new = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        new.unlink()  # a process that was killed while it wrote has left it
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        file.write(pem)
        file.flush()
        sync_file(file.fileno())
    new.replace(path)
