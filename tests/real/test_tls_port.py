"""The TLS port of the installed server: what it speaks, its certificates and their reload, and its refusals."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from tests.certificates import Pair
from tests.real.programs import PATIENCE, Programs, Server, found
from tests.tls import client_context

WELCOME = b"Welcome to Broadcast. Type a nickname and press Enter.\r\nNickname: "


async def start(programs: Programs, *options: str) -> tuple[Server, int]:
    """Start a server with a TLS port, and return it with the number of that port."""
    server = await programs.server("--tls", "tcp:0:interface=127.0.0.1", "--limits", "off", *options)
    await server.program.until("Listening with TLS")
    return server, tls_port(server)


def tls_port(server: Server) -> int:
    listening = re.search(rb"Listening with TLS on 127\.0\.0\.1 port (\d+)", server.program.output)
    assert listening is not None
    return int(listening[1])


@contextmanager
def connected(
    port: int, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None, header: bytes = b""
) -> Iterator[ssl.SSLSocket]:
    """Return a connection after its handshake. *header* goes before it."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as tcp:
        tcp.sendall(header)
        with (context or client_context()).wrap_socket(tcp, session=session) as connection:
            yield connection


def read_until(connection: socket.socket, text: bytes) -> bytes:
    """Return the input up to *text*."""
    seen = b""
    while text not in seen:
        data = connection.recv(65536)
        assert data, seen
        seen += data
    return seen


def context_of(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = client_context()
    context.minimum_version = context.maximum_version = version
    return context


# The protocol


@ensureDeferred
async def test_port_speaks_current_versions_and_nothing_weak(programs: Programs) -> None:
    _server, port = await start(programs, "--ephemeral")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with connected(port, context_of(version)) as connection:
            assert connection.compression() is None
            read_until(connection, WELCOME)
    accepted = set()
    ciphers = client_context()
    ciphers.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    for cipher in ciphers.get_ciphers():
        if cipher["protocol"] == "TLSv1.3":
            continue
        context = context_of(ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(f"{cipher['name']}:@SECLEVEL=0")
        with suppress(ssl.SSLError), connected(port, context):
            accepted.add(cipher["name"])
    assert accepted == {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    }


@pytest.mark.parametrize("version", ["ssl3", "tls1", "tls1_1"])
@ensureDeferred
async def test_port_refuses_old_versions(programs: Programs, version: str) -> None:
    openssl = found("openssl")
    _server, port = await start(programs, "--ephemeral")
    client = programs.run(
        openssl, "s_client", "-connect", f"127.0.0.1:{port}", f"-{version}", "-cipher", "ALL:@SECLEVEL=0"
    )
    assert await client.end() == 1  # openssl may not have that version itself


@ensureDeferred
async def test_port_refuses_to_renegotiate(programs: Programs) -> None:
    openssl = found("openssl")
    server, port = await start(programs, "--ephemeral")
    client = programs.run(openssl, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{port}")
    await client.until("Nickname: ")
    client.write("R\n")
    await client.until("no renegotiation")
    await client.end()
    bob = await programs.talker(server.port, "bob")
    assert bob.whole_lines()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@ensureDeferred
async def test_client_that_comes_back_resumes_its_session(programs: Programs, version: ssl.TLSVersion) -> None:
    _server, port = await start(programs, "--ephemeral")
    context = context_of(version)
    with connected(port, context) as connection:
        read_until(connection, WELCOME)
        assert connection.session is not None
        assert connection.session.has_ticket
        session = connection.session
    with connected(port, context, session) as connection:
        read_until(connection, WELCOME)
        assert connection.session_reused


@ensureDeferred
async def test_program_speaks_json_rpc_over_tls(programs: Programs) -> None:
    _server, port = await start(programs, "--ephemeral")
    with connected(port) as connection:
        params = {"protocol": 1, "client": "test/1", "nick": "bot"}
        connection.sendall(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": params}).encode() + b"\n"
        )
        assert b'"token"' in read_until(connection, b'"token"')


@ensureDeferred
async def test_proxy_header_comes_before_the_handshake(programs: Programs) -> None:
    server = await programs.server("--ephemeral", "--tls", "haproxy:tcp:0:interface=127.0.0.1")
    await server.program.until("Listening with TLS")
    header = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5556\r\n"
    with connected(tls_port(server), header=header) as connection:
        connection.sendall(b"bob\nquit\n")
        assert read_until(connection, b"Goodbye, bob.\r\n")
    await server.program.until("bob joined from 192.0.2.7 port 56324")


@ensureDeferred
async def test_haproxy_passes_encrypted_connections_on_or_ends_them_itself(programs: Programs) -> None:
    haproxy = found("haproxy")
    pair = Pair()
    (programs.folder / "haproxy.pem").write_bytes(pair.cert_pem + pair.key_pem)
    server = await programs.server(
        "--ephemeral", "--port", "haproxy:tcp:0:interface=127.0.0.1", "--tls", "haproxy:tcp:0:interface=127.0.0.1"
    )
    await server.program.until("Listening with TLS")
    (plain,) = re.findall(r"Listening on 127\.0\.0\.1 port (\d+)", server.program.text())[1:]
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        passing, ending = one.getsockname()[1], other.getsockname()[1]
    (programs.folder / "haproxy.cfg").write_text(f"""
defaults
    mode tcp
    timeout connect 60s
    timeout client 60s
    timeout server 60s
listen passing
    bind 127.0.0.1:{passing}
    server room 127.0.0.1:{tls_port(server)} send-proxy-v2
listen ending
    bind 127.0.0.1:{ending} ssl crt haproxy.pem
    server room 127.0.0.1:{plain} send-proxy
""")
    proxy = programs.run(haproxy, "-f", "haproxy.cfg", "-db")
    for port, certificate in ((passing, None), (ending, pair.cert_pem.decode())):
        await listening(programs, port)
        with connected(port) as connection:
            connection.sendall(b"bob\nquit\n")
            read_until(connection, b"Goodbye, bob.\r\n")
            shown = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")
            assert certificate is None or shown == certificate
            host, number = connection.getsockname()
        await server.program.until(f"bob joined from {host} port {number}")
    await proxy.stop()


async def listening(programs: Programs, port: int) -> None:
    """Wait until *port* accepts connections."""
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE):
            return
        await deferLater(programs.clock, 0.01)


@ensureDeferred
async def test_unix_socket_speaks_tls(programs: Programs) -> None:
    server = await programs.server("--ephemeral", "--tls", "unix:tls.sock")
    await server.program.until("Listening with TLS on tls.sock")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.settimeout(PATIENCE)
        unix.connect(str(programs.folder / "tls.sock"))
        with client_context().wrap_socket(unix) as connection:
            assert read_until(connection, WELCOME) == WELCOME


@ensureDeferred
async def test_many_hostile_handshakes_cost_nobody_else_anything(programs: Programs) -> None:
    server, port = await start(programs, "--ephemeral")
    ann = await programs.talker(server.port, "ann")
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
    hostile = []
    try:
        for number in range(600):
            tcp = socket.create_connection(("127.0.0.1", port), PATIENCE)
            tcp.sendall((b"\x16" + bytes(range(256)), hello, b"GET / HTTP/1.1\r\n\r\n")[number % 3])
            hostile.append(tcp)
        with connected(port) as connection:
            connection.sendall(b"bob\nhi\n")
            await ann.until("bob: hi\r\n")
    finally:
        for tcp in hostile:
            tcp.close()
    assert server.program.text().count("Connections refused") < 10
    assert "Traceback" not in server.program.text()


# Certificates


def shown_certificate(port: int) -> str:
    """Return the certificate that a new connection gets, as PEM."""
    with connected(port) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")


@ensureDeferred
async def test_self_signed_certificate_survives_a_restart_and_its_fingerprint_is_in_the_log(
    programs: Programs,
) -> None:
    first, port = await start(programs, "--data", "data")
    shown = shown_certificate(port)
    pem = programs.folder / "data" / "tls.pem"
    assert shown.strip() in pem.read_text()
    assert pem.stat().st_mode & 0o777 == 0o600
    assert pem.parent.stat().st_mode & 0o777 == 0o700
    line = re.search(r"TLS certificate \(self-signed\): valid until .*", first.program.text())
    assert line is not None
    assert await first.program.stop("TERM") is None
    second, port = await start(programs, "--data", "data")
    assert shown_certificate(port) == shown
    assert line[0] in second.program.text()
    ephemeral, port = await start(programs, "--ephemeral")
    assert shown_certificate(port) != shown
    assert not (programs.folder / "broadcast-data").exists()
    assert "PRIVATE KEY" not in ephemeral.program.text()


@ensureDeferred
async def test_client_can_check_a_given_certificate_with_its_chain(programs: Programs) -> None:
    root = Pair("Root")
    pair = Pair(issuer=root)
    cert, key = pair.write(programs.folder)
    _server, port = await start(programs, "--ephemeral", "--cert", str(cert), "--key", str(key))
    context = ssl.create_default_context(cadata=root.cert_pem.decode())
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as tcp,
        context.wrap_socket(tcp, server_hostname="localhost") as connection,
    ):
        assert read_until(connection, WELCOME) == WELCOME


def count_reads(log: bytes) -> int:
    """Return how often the server has logged that it uses a certificate, or that it goes on with the one before."""
    return log.count(b": valid until ") + log.count(b"The TLS certificate stays as it is")


@ensureDeferred
async def test_certificate_is_reloaded_under_load_without_a_lost_connection_or_line(programs: Programs) -> None:
    old, new = Pair(), Pair()
    cert, key = old.write(programs.folder)
    server, port = await start(programs, "--ephemeral", "--cert", str(cert), "--key", str(key))
    ann = await programs.talker(server.port, "ann")
    assert shown_certificate(port) == old.cert_pem.decode()
    with connected(port) as bob, connected(port) as carol:
        for connection, nick in ((bob, b"bob"), (carol, b"carol")):
            connection.sendall(nick + b"\n/quiet\n")
            read_until(connection, b"-> ")
        sent = 0
        for pair in (new, None, old):
            if pair is None:
                cert.write_bytes(b"broken")
            else:
                pair.write(programs.folder)
            before = count_reads(server.program.output)
            server.program.process.signalProcess("HUP")
            for _ in range(20):
                carol.sendall(b"".join(b"line %d\n" % (sent + number) for number in range(50)))
                sent += 50
            await server.program.when(lambda before=before: count_reads(server.program.output) > before)  # type: ignore[misc]
            shown = shown_certificate(port)
            assert shown == (pair or new).cert_pem.decode()
        carol.sendall(b"end\n")
        seen = read_until(bob, b"carol: end\r\n")
        assert [line for line in seen.split(b"\r\n") if b"line" in line] == [b"carol: line %d" % n for n in range(sent)]
        await ann.until("carol: end\r\n")
    assert f"The TLS certificate stays as it is: --cert {cert} holds no certificate" in server.program.text()


@ensureDeferred
async def test_new_files_are_noticed_without_a_signal(programs: Programs) -> None:
    old, new = Pair(), Pair()
    cert, key = old.write(programs.folder)
    server, port = await start(programs, "--ephemeral", "--cert", str(cert), "--key", str(key))
    new.write(programs.folder)
    await server.program.when(lambda: server.program.output.count(b"TLS certificate") == 2)
    assert shown_certificate(port) == new.cert_pem.decode()


# Refusals at the start


async def refusal(programs: Programs, *options: str, **how: object) -> str:
    """Return the one line with which the server refuses to start."""
    program = programs.start("--ephemeral", "--tls", "tcp:0:interface=127.0.0.1", *options, **how)  # type: ignore[arg-type]
    assert await program.end() == 1
    (line,) = [line for line in program.text().splitlines() if line.startswith("broadcast: ")]
    assert "Traceback" not in program.text()
    return line.removeprefix("broadcast: ")


@ensureDeferred
async def test_unusable_certificate_is_refused_in_one_line(programs: Programs) -> None:
    cert, key = Pair().write(programs.folder)
    assert (await refusal(programs, "--cert", "cert.pem")).startswith(f"--cert {cert} holds no key: ")
    key.write_bytes(Pair().key_pem)
    line = await refusal(programs, "--cert", "cert.pem", "--key", "key.pem")
    assert line.startswith(f"--key {key} is the key of another certificate")


@ensureDeferred
async def test_damaged_self_signed_certificate_is_refused_in_one_line(programs: Programs) -> None:
    data = programs.folder / "data"
    data.mkdir()
    (data / "tls.pem").write_text("damaged")
    program = programs.start("--data", "data", "--tls", "tcp:0:interface=127.0.0.1")
    assert await program.end() == 1
    assert f"broadcast: {data / 'tls.pem'} holds no certificate with its key: restore it" in program.text()
    assert (data / "tls.pem").read_text() == "damaged"


@ensureDeferred
async def test_description_that_encrypts_twice_is_refused(programs: Programs) -> None:
    line = await refusal(programs, "--tls", "ssl:0")
    assert line == "--tls ssl:0: this would encrypt twice. Write tcp: and --cert, or use --port."


@ensureDeferred
async def test_server_without_cryptography_says_how_to_install_it(programs: Programs) -> None:
    package = programs.folder / "path" / "cryptography"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('raise ModuleNotFoundError("No module", name="cryptography")')
    line = await refusal(programs, environment={"PYTHONPATH": str(package.parent)})
    assert line.startswith("--tls needs cryptography: /")  # the interpreter of the server
    assert line.endswith(" -m pip install cryptography")
