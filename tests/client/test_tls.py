"""The check of certificates, on handshakes in memory."""

from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path

import pytest

from broadcast.client.certificates import CertificateError
from broadcast.client.tls import PLAIN, Trust, describe
from tests.client.certificates import Authority
from tests.client.tls_servers import Identity, Server


def shake_hands(trust: Trust, server: Server) -> ssl.SSLObject:
    """Return the client's side after a handshake and the check."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.make_context().wrap_bio(incoming, outgoing, server_hostname=trust.hostname)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            incoming.write(server.receive(outgoing.read()))
    trust.check(client)
    return client


def attempt(trust: Trust, identity: Identity) -> None:
    """Connect as the client does: a second time if the certificate is not accepted."""
    try:
        shake_hands(trust, Server(identity))
    except ssl.SSLCertVerificationError as error:
        trust.refused(error)
        shake_hands(trust, Server(identity))


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Return an authority of this system."""
    authority = Authority()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "authority.pem")))
    return authority


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "::1%eth0"])
def test_a_certificate_of_an_authority_of_the_system_needs_no_known_key(
    authority: Authority, tmp_path: Path, host: str
) -> None:
    attempt(Trust(host), Identity(tmp_path, "localhost", "127.0.0.1", "::1", by=authority))


@pytest.mark.parametrize(
    ("host", "days", "is_signed", "problem"),
    [
        ("localhost", (-1, 1), False, "is self-signed"),
        ("localhost", (-2, -1), True, "has expired"),
        ("localhost", (1, 2), True, "is not valid yet, or the clock of this computer is wrong"),
        ("chat.example", (-1, 1), True, "is not for chat.example"),
        ("10.0.0.1", (-1, 1), True, "is not for 10.0.0.1"),
        ("chat.example", (-2, -1), True, "is not for chat.example"),
    ],
)
def test_a_certificate_that_is_not_accepted_has_its_problem_and_its_key(
    authority: Authority, tmp_path: Path, host: str, days: tuple[int, int], is_signed: bool, problem: str
) -> None:
    identity = Identity(tmp_path, "localhost", "127.0.0.1", days=days, by=authority if is_signed else None)
    with pytest.raises(CertificateError) as error:
        attempt(Trust(host), identity)
    assert (str(error.value), error.value.fingerprint, error.value.known) == (problem, identity.fingerprint, ())


def test_an_authority_of_nobody_is_a_problem(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"^comes from an authority that this system does not know$"):
        attempt(Trust("localhost"), Identity(tmp_path, by=Authority()))


def test_another_problem_has_the_words_of_openssl() -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = 68, "CA signature digest algorithm too weak"
    trust = Trust("localhost")
    trust.refused(error)
    assert trust._problem == "is not accepted: CA signature digest algorithm too weak"


@pytest.mark.parametrize("days", [(-1, 1), (-2, -1)])
def test_a_known_key_is_all_that_counts(tmp_path: Path, days: tuple[int, int]) -> None:
    identity = Identity(tmp_path, "another.example", days=days)
    attempt(Trust("localhost", ("SHA256:" + "a1" * 32, identity.fingerprint)), identity)


def test_another_key_is_refused_even_if_an_authority_vouches_for_it(authority: Authority, tmp_path: Path) -> None:
    identity = Identity(tmp_path, by=authority)
    known = "SHA256:" + "a1" * 32
    with pytest.raises(CertificateError) as error:
        attempt(Trust("localhost", (known,)), identity)
    assert (error.value.fingerprint, error.value.known) == (identity.fingerprint, (known,))


def test_the_fingerprint_of_the_certificate_is_no_key(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    pem, _, _ = identity.path.read_text().partition("-----BEGIN PRIVATE KEY-----")
    certificate = f"SHA256:{sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()}"
    with pytest.raises(CertificateError) as error:
        attempt(Trust("localhost", (certificate,)), identity)
    assert str(error.value) == f"{certificate} is the fingerprint of its certificate, and not of its key"
    assert error.value.fingerprint == identity.fingerprint


def test_a_context_of_the_program_has_its_own_rules(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    attempt(Trust("localhost", (), ssl.create_default_context(cafile=str(identity.path))), identity)
    with pytest.raises(CertificateError, match=r"^is not for chat\.example$"):
        attempt(Trust("chat.example", (), ssl.create_default_context(cafile=str(identity.path))), identity)
    with pytest.raises(CertificateError):
        attempt(
            Trust("localhost", ("SHA256:" + "a1" * 32,), ssl.create_default_context(cafile=str(identity.path))),
            identity,
        )


def test_a_certificate_that_cannot_be_read_is_refused() -> None:
    class Connection:
        def getpeercert(self, binary_form: bool) -> None:
            return None

    with pytest.raises(CertificateError, match="cannot be read"):
        Trust("localhost", ("SHA256:" + "a1" * 32,)).check(Connection())  # type: ignore[arg-type]  # only this method counts


def test_old_versions_of_the_protocol_are_not_spoken(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    trust = Trust("localhost", (identity.fingerprint,))
    assert shake_hands(trust, Server(identity)).version() == "TLSv1.3"
    assert shake_hands(trust, Server(identity, maximum_version=ssl.TLSVersion.TLSv1_2)).version() == "TLSv1.2"
    for checked in (trust, Trust("localhost")):
        context = checked.make_context()
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"Welcome to a chat.\r\nNickname: ", PLAIN),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", PLAIN),
        (b"SSH-2.0-OpenSSH_9.2\r\n", PLAIN),
        (b'{"jsonrpc": "2.0"}\n', PLAIN),
        (b"\x15\x03\x03\x00\x02\x02\x46", "TLS failed: tlsv1 alert protocol version"),
        (None, "the server closed the connection"),
    ],
)
def test_an_answer_that_is_not_tls_has_a_reason(answer: bytes | None, reason: str) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = Trust("localhost").make_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    if answer is None:
        incoming.write_eof()
    else:
        incoming.write(answer)
    with pytest.raises(ssl.SSLError) as error:
        client.do_handshake()
    assert describe(error.value) == reason
