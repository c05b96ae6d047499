"""The installed client on TLS: first use, changed and renewed certificates, in a terminal, a pipe, and with ``--send``.

A TLS proxy stands in front of a real server.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from OpenSSL import SSL
from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet import ssl
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IOpenSSLContextFactory, IReactorSSL
from twisted.protocols.portforward import ProxyFactory
from zope.interface import implementer

from tests.client.certificates import Authority
from tests.client.tls_servers import Identity
from tests.real.programs import Programs, Talker
from tests.real.terminals import CTRL_D, ENTER, Terminal, client
from tests.real.test_client import shell

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests speak to a Unix shell and its terminals")
QUESTION = "Trust this key? (yes or no):"


@implementer(IOpenSSLContextFactory)
class TlsProxy:
    """A TLS port in front of the *target* port. The test chooses its certificate."""

    def __init__(self, programs: Programs, target: int) -> None:
        self.connections: list[Any] = []
        self._context: Any = None
        factory: Any = ProxyFactory("127.0.0.1", target)
        factory.noisy = False
        build = factory.buildProtocol

        def build_protocol(address: object) -> object:
            connection: Any = build(address)
            lose = connection.connectionLost

            def connection_lost(reason: object) -> None:
                self.connections.remove(connection)
                lose(reason)

            connection.connectionLost = connection_lost
            self.connections.append(connection)
            return connection

        factory.buildProtocol = build_protocol
        reactor = cast(IReactorSSL, programs.reactor)
        self.listening = cast(Any, reactor.listenSSL(0, factory, cast(Any, self), interface="127.0.0.1"))
        self.port = int(self.listening.getHost().port)
        self.server = f"127.0.0.1:{self.port}"

    def use(self, identity: Identity) -> None:
        """Use this certificate for later connections."""
        self._context = ssl.DefaultOpenSSLContextFactory(  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
            str(identity.path), str(identity.path), sslmethod=SSL.TLS_SERVER_METHOD
        )

    def cut(self) -> None:
        """Abort all connections."""
        for connection in list(self.connections):
            connection.transport.abortConnection()

    def getContext(self) -> SSL.Context:  # noqa: N802 -- Twisted's name
        """Return the context of a new connection."""
        return cast(SSL.Context, self._context.getContext())


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path)


@async_yield_fixture
async def proxy(programs: Programs, port: int, identity: Identity) -> AsyncIterator[TlsProxy]:
    """A TLS port with a self-signed certificate."""
    proxy = TlsProxy(programs, port)
    proxy.use(identity)
    yield proxy
    proxy.cut()
    await maybeDeferred(proxy.listening.stopListening)


@pytest.fixture
def known_hosts(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of known keys, for clients on terminals and elsewhere."""
    monkeypatch.setenv("XDG_STATE_HOME", str(programs.folder / "state"))
    return programs.folder / "state" / "broadcast" / "known_hosts"


def ann(programs: Programs, proxy: TlsProxy, *options: str, **how: Any) -> Terminal:  # noqa: ANN401 -- sizes and environment
    return client(programs, proxy.port, "--tls", "--nick", "ann", "--no-times", *options, **how)


async def leave(here: Terminal, status: int = 0) -> None:
    """Check that the client ends with *status*, and leaves the terminal as it was."""
    assert await here.end() == status
    assert here.settings() == here.before
    here.close()


def rows(here: Terminal) -> str:
    """Return all rows of a terminal as one text, so that the width does not matter."""
    return "".join(line.ljust(here.model.columns) for line in here.model.everything).rstrip()


# On a terminal


@pytest.mark.parametrize(("size", "options"), [((80, 24), ()), ((20, 6), ("--no-color",))])
@ensureDeferred
async def test_an_unknown_key_is_asked_about_once(
    programs: Programs,
    proxy: TlsProxy,
    bob: Talker,
    identity: Identity,
    known_hosts: Path,
    size: tuple[int, int],
    options: tuple[str, ...],
) -> None:
    here = ann(programs, proxy, *options, columns=size[0], rows=size[1])
    await here.until_true(lambda: QUESTION in rows(here), QUESTION)
    shown = rows(here)
    assert f"The certificate of {proxy.server} is self-signed." in shown
    assert identity.fingerprint in shown
    assert QUESTION in shown
    assert not known_hosts.exists()
    here.write("yes" + ENTER)
    await bob.until(" * ann joined.\r\n")
    here.write("hi" + ENTER)
    await bob.until("ann: hi\r\n")
    here.write(CTRL_D)
    await leave(here)
    assert known_hosts.read_text() == f"{proxy.server} {identity.fingerprint}\n"
    assert stat.S_IMODE(known_hosts.stat().st_mode) == 0o600
    again = ann(programs, proxy)
    await again.shows("You are ann.")
    assert "certificate" not in rows(again)
    again.write(CTRL_D)
    await leave(again)


@pytest.mark.parametrize(("size", "term"), [((80, 24), "xterm-256color"), ((20, 6), "xterm"), ((80, 24), "dumb")])
@ensureDeferred
async def test_a_key_that_the_user_does_not_trust_is_status_7(
    programs: Programs, proxy: TlsProxy, bob: Talker, known_hosts: Path, size: tuple[int, int], term: str
) -> None:
    here = ann(programs, proxy, columns=size[0], rows=size[1], TERM=term)
    await here.until_true(lambda: QUESTION in rows(here), QUESTION)
    here.write("no" + (ENTER if term != "dumb" else "\n"))
    await leave(here, 7)
    assert "The key is not trusted. Nothing was sent." in rows(here)
    assert not known_hosts.exists()
    assert "ann" not in bob.text()


@ensureDeferred
async def test_a_changed_key_is_refused_on_every_way(
    programs: Programs, proxy: TlsProxy, bob: Talker, tmp_path: Path, identity: Identity, known_hosts: Path
) -> None:
    known_hosts.parent.mkdir(parents=True)
    known_hosts.write_text(f"{proxy.server} {identity.fingerprint}\n")
    here = ann(programs, proxy)
    await here.shows("You are ann.")
    other = Identity(tmp_path)
    proxy.use(other)
    proxy.cut()
    await leave(here, 7)
    sentences = [
        f"THE KEY OF {proxy.server} HAS CHANGED, and nothing was sent:",
        f"now {other.fingerprint},",
        f"was {identity.fingerprint}.",
        "Somebody may be intercepting the connection. Ask the operator of the server.",
        f"If the new key is right, remove the line of {proxy.server} from {known_hosts}",
    ]
    shown = rows(here)
    for sentence in sentences:
        assert sentence in shown
    here = ann(programs, proxy)
    await leave(here, 7)
    assert sentences[0] in rows(here)
    for way in ("--send x", "< /dev/null", "--send - < /dev/null"):
        refused = shell(programs, proxy.port, f"CLIENT --tls {way}")
        assert await refused.end() == 7
        assert refused.text() == f"broadcast-client: {' '.join(sentences)}\n"
    known_hosts.write_text("")
    here = ann(programs, proxy)
    await here.shows(QUESTION)
    here.write("no" + ENTER)
    await leave(here, 7)
    assert "x" not in bob.text().splitlines()[-1]


@ensureDeferred
async def test_a_renewed_certificate_with_the_same_key_is_no_alarm(
    programs: Programs, proxy: TlsProxy, bob: Talker, tmp_path: Path, identity: Identity, known_hosts: Path
) -> None:
    known_hosts.parent.mkdir(parents=True)
    known_hosts.write_text(f"{proxy.server} {identity.fingerprint}\n")
    here = ann(programs, proxy)
    await here.shows("You are ann.")
    proxy.use(Identity(tmp_path, "another.example", key=identity.key, days=(-2, -1)))
    proxy.cut()
    await here.shows_line(" * You are ann. 1 other is here: bob.")
    here.write("still here" + ENTER)
    await bob.until("ann: still here\r\n")
    here.write(CTRL_D)
    await leave(here)


@pytest.mark.parametrize(
    ("names", "days", "problem"),
    [
        (("127.0.0.1",), (-2, -1), "has expired"),
        (("127.0.0.1",), (1, 2), "is not valid yet, or the clock of this computer is wrong"),
        (("chat.example",), (-1, 1), "is not for 127.0.0.1"),
    ],
    ids=["expired", "not yet valid", "wrong name"],
)
@ensureDeferred
async def test_a_certificate_of_an_authority_has_the_text_of_its_problem(
    programs: Programs,
    proxy: TlsProxy,
    tmp_path: Path,
    known_hosts: Path,
    names: tuple[str, ...],
    days: tuple[int, int],
    problem: str,
) -> None:
    authority = Authority()
    trusting = {"SSL_CERT_FILE": str(authority.write(tmp_path / "authority.pem"))}
    identity = Identity(tmp_path, *names, days=days, by=authority)
    proxy.use(identity)
    here = ann(programs, proxy, **trusting)
    await here.shows(QUESTION)
    assert f"The certificate of {proxy.server} {problem}. Its key:" in rows(here)
    here.write("no" + ENTER)
    await leave(here, 7)
    for way in ("--send x", "< /dev/null"):
        refused = shell(programs, proxy.port, f"SSL_CERT_FILE={trusting['SSL_CERT_FILE']} CLIENT --tls {way}")
        assert await refused.end() == 7
        assert refused.text() == (
            f"broadcast-client: no connection to {proxy.server}: its certificate {problem}."
            f" If the server's log shows the same key, accept it with --fingerprint {identity.fingerprint}\n"
        )


@ensureDeferred
async def test_the_key_that_the_client_shows_is_in_the_log_of_the_server(
    programs: Programs, tmp_path: Path, known_hosts: Path
) -> None:
    server = await programs.server("--data", str(tmp_path / "data"), "--tls", "tcp:0:interface=127.0.0.1")
    await server.program.until("Listening with TLS on ")
    number = re.search(r"Listening with TLS on 127\.0\.0\.1 port (\d+)", server.program.text())
    key = re.search(r", key (SHA256:[0-9a-f]{64})", server.program.text())
    assert number
    assert key
    here = client(programs, int(number[1]), "--tls", "--nick", "ann")
    await here.shows(QUESTION)
    assert key[1] in rows(here)
    here.write("yes" + ENTER)
    await here.shows("You are ann.")
    here.write(CTRL_D)
    await leave(here)
    for way in ("--send hi", "<<end\nhi\nend\n"):
        trusting = shell(programs, int(number[1]), f"CLIENT --tls --nick carl {way}")
        assert await trusting.end() == 0
    plain = shell(programs, int(number[1]), "CLIENT --send x")
    assert await plain.end() == 2
    assert "This port speaks TLS: connect with broadcast-client --tls" in plain.text()


# In a pipe, and with --send


@ensureDeferred
async def test_a_certificate_of_an_authority_of_the_system_is_accepted_everywhere(
    programs: Programs, proxy: TlsProxy, bob: Talker, tmp_path: Path, known_hosts: Path
) -> None:
    authority = Authority()
    path = authority.write(tmp_path / "authority.pem")
    proxy.use(Identity(tmp_path, by=authority))
    for way in ("--send 'hello of --send'", "<<end\nhello of the pipe\nend\n"):
        accepted = shell(programs, proxy.port, f"SSL_CERT_FILE={path} CLIENT --tls --nick carl {way}")
        assert await accepted.end() == 0
        await bob.until("carl: hello of ")
    here = ann(programs, proxy, SSL_CERT_FILE=str(path))
    await here.shows("You are ann.")
    here.write(CTRL_D)
    await leave(here)
    assert not known_hosts.exists(), "an authority vouches for it"


@ensureDeferred
async def test_the_option_that_a_refusal_names_accepts_the_key(
    programs: Programs, proxy: TlsProxy, bob: Talker, identity: Identity, known_hosts: Path
) -> None:
    for way in ("--send hi", "<<end\nhi\nend\n"):
        refused = shell(programs, proxy.port, f"CLIENT --tls --nick carl {way}")
        assert await refused.end() == 7
        assert len(refused.text().splitlines()) == 1
        option = refused.text().split(" with ")[1].strip()
        assert option == f"--fingerprint {identity.fingerprint}"
        accepted = shell(programs, proxy.port, f"CLIENT {option} --nick carl {way}")
        assert await accepted.end() == 0
        await bob.until("carl: hi\r\n")
    assert not known_hosts.exists()


@ensureDeferred
async def test_many_lines_pass_in_order(
    programs: Programs, proxy: TlsProxy, bob: Talker, identity: Identity, known_hosts: Path
) -> None:
    known_hosts.parent.mkdir(parents=True)
    known_hosts.write_text(f"{proxy.server} {identity.fingerprint}\n")
    sent = shell(programs, proxy.port, "seq 2000 | CLIENT --tls --nick carl --json --send -")
    assert await sent.end() == 0
    assert [json.loads(line)["text"] for line in sent.text().splitlines()] == [str(n) for n in range(1, 2001)]
    piped = shell(programs, proxy.port, "(seq 2001 4000; echo /history 1000) | CLIENT --tls --nick dora | tail -n 1001")
    assert await piped.end() == 0
    *lines, goodbye = piped.text().splitlines()
    assert [line.split()[-1] for line in lines] == [str(n) for n in range(3001, 4001)]
    assert goodbye == " * Goodbye, dora."
    await bob.until("dora: 4000\r\n")
    assert [line for line in bob.text().splitlines() if ": " in line and "*" not in line] == [
        *(f"carl: {n}" for n in range(1, 2001)),
        *(f"dora: {n}" for n in range(2001, 4001)),
    ]


@ensureDeferred
async def test_a_port_with_tls_and_one_without_are_told_apart(
    programs: Programs, proxy: TlsProxy, port: int, known_hosts: Path
) -> None:
    for way in ("--send x", "< /dev/null"):
        plain = shell(programs, port, f"CLIENT --tls {way}")
        assert await plain.end() == 2
        assert plain.text() == (
            f"broadcast-client: no connection to 127.0.0.1:{port}: the port does not speak TLS:"
            " take the TLS port of the server, or connect unencrypted, without --tls\n"
        )
    secret = shell(programs, proxy.port, "CLIENT --send x")
    assert await secret.end() == 2
    assert secret.text().endswith("connect with --tls\n")
    assert secret.text().count("\n") == 1
    for number, options, end in (
        (port, ("--tls",), "unencrypted, without --tls."),
        (proxy.port, (), "connect with --tls."),
    ):
        here = client(programs, number, "--nick", "ann", *options)
        await leave(here, 2)
        assert rows(here).endswith(end)


@ensureDeferred
async def test_a_file_of_known_keys_with_a_fault_trusts_nobody(
    programs: Programs, proxy: TlsProxy, known_hosts: Path
) -> None:
    known_hosts.parent.mkdir(parents=True)
    known_hosts.write_text("what\n")
    reason = f"{known_hosts}: line 1 is not HOST:PORT and a fingerprint. Correct it, or remove it"
    for way in ("--send x", "< /dev/null"):
        refused = shell(programs, proxy.port, f"CLIENT --tls {way}")
        assert await refused.end() == 1
        assert refused.text() == f"broadcast-client: {reason}\n"
    here = ann(programs, proxy)
    await leave(here, 1)
    assert reason in rows(here)
    assert os.listdir(known_hosts.parent) == ["known_hosts"]  # noqa: PTH208 -- nothing else is there
