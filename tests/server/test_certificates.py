"""A certificate is checked before it is used, and a self-signed one is made once, and renewed with the same key."""

from __future__ import annotations

import os
import socket
import ssl
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from broadcast.core.errors import StartupError
from broadcast.server.certificates import (
    MAX_FILE_BYTES,
    SELF_SIGNED_DAYS,
    SELF_SIGNED_FILE,
    load_certificate,
    read_fingerprints,
    self_signed_certificate,
)
from tests.certificates import NOW, Pair
from tests.platforms import has_mode


def pair(**settings: object) -> Pair:
    """Return a pair that is valid at ``NOW``."""
    return Pair(start=NOW - timedelta(days=1), **settings)  # type: ignore[arg-type]


def problem(cert: Path, key: Path | None) -> str:
    """Return the reason why a pair is refused."""
    with pytest.raises(StartupError) as caught:
        load_certificate(cert, key, NOW)
    text = str(caught.value)
    assert "\n" not in text
    assert "PRIVATE" not in text
    return text


# Given certificates


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_certificate_with_its_chain_is_loaded(tmp_path: Path, kind: str) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "RSA" else None
    authority = pair(name="Authority")
    given = pair(issuer=authority, days=90, key=key)
    loaded = load_certificate(*given.write(tmp_path, authority.cert_pem), NOW)
    assert loaded.not_after == NOW + timedelta(days=89)
    assert loaded.fingerprint == f"SHA256:{given.certificate.fingerprint(SHA256()).hex()}"
    spki = given.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert loaded.key_fingerprint == f"SHA256:{sha256(spki).hexdigest()}"
    client = ssl.create_default_context(cadata=authority.cert_pem.decode())
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    assert loaded.context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_key_may_be_in_the_file_of_the_certificate(tmp_path: Path) -> None:
    given = pair()
    cert, key = given.write(tmp_path, given.key_pem)
    key.unlink()
    assert load_certificate(cert, None, NOW).not_after == given.certificate.not_valid_after_utc


def test_certificate_is_loaded_without_memory_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    given = pair()
    assert load_certificate(*given.write(tmp_path), NOW).not_after == given.certificate.not_valid_after_utc


def test_unusable_pairs_are_refused_in_one_line(tmp_path: Path) -> None:
    given, other, authority = pair(), pair(), pair(name="Authority")
    cert, key = given.write(tmp_path)
    missing = tmp_path / "missing.pem"
    assert problem(missing, None) == (
        f"--cert {missing}: cannot read it: No such file or directory. Give it a file that this user can read."
    )
    assert problem(cert, missing).startswith(f"--key {missing}: cannot read it: No such file or directory.")
    assert problem(cert, None) == f"--cert {cert} holds no key: name the file of its key with --key."
    assert problem(key, key) == f"--cert {key} holds no certificate in PEM format: give it a file that does."
    assert problem(cert, cert) == f"--key {cert} holds no key in PEM format: give it a file that does."
    key.write_bytes(given.encrypted_key())
    assert problem(cert, key) == (
        f"--key {key}: the key has a passphrase. Remove it with openssl pkey -in FILE -out NEW."
    )
    key.write_bytes(other.key_pem)
    assert problem(cert, key) == (
        f"--key {key} is the key of another certificate than --cert {cert}: give both of one pair."
    )
    cert.write_bytes(authority.cert_pem + other.cert_pem)
    assert problem(cert, key) == f"--cert {cert}: the certificate of the server must come first, before its chain."
    cert.write_bytes(bytes(MAX_FILE_BYTES + 1))
    assert problem(cert, key) == f"--cert {cert} is too long for a certificate or a key: give it another file."


def test_certificate_that_is_not_valid_now_is_refused(tmp_path: Path) -> None:
    cert, key = Pair(start=NOW - timedelta(days=90), days=90).write(tmp_path)
    assert problem(cert, key) == f"--cert {cert} has expired on 2026-06-01 12:00 UTC: renew it."
    cert, key = Pair(start=NOW + timedelta(days=1)).write(tmp_path)
    assert problem(cert, key) == (
        f"--cert {cert} is valid only from 2026-06-02 12:00 UTC on: check the clock of this machine, or give it "
        "another certificate."
    )


def test_certificate_that_openssl_rejects_is_refused(tmp_path: Path) -> None:
    weak = pair(key=rsa.generate_private_key(65537, 1024))  # noqa: S505 -- that is the point
    cert, key = weak.write(tmp_path)
    assert problem(cert, key) == f"--cert {cert} cannot be used (EE_KEY_TOO_SMALL): give it another."


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root can read everything")
def test_unreadable_key_is_refused(tmp_path: Path) -> None:
    cert, key = pair().write(tmp_path)
    key.chmod(0)
    assert problem(cert, key).startswith(f"--key {key}: cannot read it: Permission denied.")


# Self-signed certificates


def stored(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "tls.pem").read_bytes())


def test_self_signed_certificate_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    os.umask(0)
    made = self_signed_certificate(tmp_path, NOW)
    os.umask(0o022)
    assert has_mode(tmp_path / "tls.pem", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["tls.pem"]
    assert self_signed_certificate(tmp_path, NOW).fingerprint == made.fingerprint
    assert read_fingerprints(tmp_path / SELF_SIGNED_FILE) == (made.fingerprint, made.key_fingerprint)
    certificate = stored(tmp_path)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=SELF_SIGNED_DAYS)
    assert made.not_after == certificate.not_valid_after_utc
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


def test_self_signed_certificate_has_the_names_and_addresses_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "chat.example")
    self_signed_certificate(tmp_path, NOW)
    names = stored(tmp_path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "chat.example", "chat"]
    addresses = names.get_values_for_type(x509.IPAddress)
    assert addresses[:2] == [ip_address("127.0.0.1"), ip_address("::1")]
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("host", ["", "x" * 250, "küche", "a b"])
def test_any_name_of_the_machine_makes_a_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    self_signed_certificate(tmp_path, NOW)
    (name,) = stored(tmp_path).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == (host[:64] or "broadcast")


def test_self_signed_certificate_is_renewed_with_the_same_key_in_its_last_days(tmp_path: Path) -> None:
    made = self_signed_certificate(tmp_path, NOW)
    unchanged = self_signed_certificate(tmp_path, made.not_after - timedelta(days=31))
    assert unchanged.fingerprint == made.fingerprint
    (tmp_path / "tls.new").write_text("of a process that has ended while it wrote")
    for now in (made.not_after - timedelta(days=30), made.not_after + timedelta(days=1000)):
        renewed = self_signed_certificate(tmp_path, now)
        assert renewed.fingerprint != made.fingerprint
        assert renewed.key_fingerprint == made.key_fingerprint
        assert renewed.not_after == now + timedelta(days=SELF_SIGNED_DAYS - 1)
        assert has_mode(tmp_path / "tls.pem", 0o600)


def test_damaged_self_signed_certificate_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "tls.pem"
    for damaged in (b"", b"no PEM", pair().cert_pem, pair().key_pem):
        path.write_bytes(damaged)
        with pytest.raises(StartupError, match=r"tls.pem holds no certificate with its key: restore it"):
            self_signed_certificate(tmp_path, NOW)
        assert path.read_bytes() == damaged


def test_self_signed_certificate_that_cannot_be_read_or_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot write .*tls.pem: No such file or directory"):
        self_signed_certificate(tmp_path / "missing", NOW)
    (tmp_path / "tls.pem").mkdir()
    with pytest.raises(StartupError, match=r"cannot read .*tls.pem: (Is a directory|Permission denied)"):
        self_signed_certificate(tmp_path, NOW)


def test_ephemeral_certificate_is_in_memory_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = self_signed_certificate(None, NOW), self_signed_certificate(None, NOW)
    assert first.key_fingerprint != second.key_fingerprint
    assert not list(tmp_path.iterdir())
