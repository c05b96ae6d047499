"""WebSockets of the package ``websockets``, on each kind of port of the installed server, beside the other doors."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from pytest_twisted import ensureDeferred
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import WebSocketURI

from tests.doors.web.websockets import HANDSHAKE
from tests.doors.web.websockets import text as text_frame
from tests.real.programs import Program, Programs, Server
from tests.real.test_program_ports import CLIENT as LINE_CLIENT
from tests.real.test_program_ports import SAY
from tests.real.test_tls import self_signed

CLIENT = r"""
import json, socket, ssl, sys
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

kind, where, nick, *requests = sys.argv[1:]
if kind == "unix":
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(where)
else:
    connection = socket.create_connection(("127.0.0.1", int(where)))
context = None
if kind == "tls":
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
if kind == "haproxy":
    connection.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555\r\n")
uri = f"{'wss' if context else 'ws'}://localhost/ws"
websocket = connect(uri, sock=connection, ssl=context, subprotocols=["broadcast.v1"])
assert websocket.subprotocol == "broadcast.v1"
assert websocket.protocol.extensions == []
assert websocket.ping().wait(60)  # before quit, after which nothing is answered
for number, (method, params) in enumerate([["hello", {"protocol": 1, "nick": nick}], *map(json.loads, requests)]):
    websocket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
try:
    for message in websocket:
        print(message, flush=True)
    print("closed with", websocket.close_code)
except ConnectionClosed as closed:
    print("closed with", closed.rcvd.code, closed.rcvd.reason)
"""
QUIT = '["quit", {}]'


async def web_server(programs: Programs, *options: str) -> tuple[Server, int]:
    """Return the installed server and the port of its page."""
    server = await programs.server("--web", "tcp:0:interface=127.0.0.1", *options)
    await server.program.until("The page is at ")
    found = re.search(r"The page is at http://[^:]+:(\d+)/", server.program.text())
    assert found is not None
    return server, int(found[1])


def messages(client: Program) -> list[dict[str, object]]:
    """Return the messages that *client* has printed."""
    return [json.loads(line) for line in client.text().splitlines() if line.startswith("{")]


@ensureDeferred
async def test_websockets_on_every_kind_of_port(programs: Programs, tmp_path: Path) -> None:
    pem, path = tmp_path / "certificate.pem", tmp_path / "web.sock"
    pem.write_bytes(self_signed())
    tls = f"ssl:0:privateKey={pem}:certKey={pem}:interface=127.0.0.1"
    ports = [f"unix:{path}", tls, "haproxy:tcp:0:interface=127.0.0.1"]
    server, tcp = await web_server(
        programs,
        "--ephemeral",
        "--web-tls=tcp:0:interface=127.0.0.1",
        *(word for port in ports for word in ("--web", port)),
    )
    await server.program.until("Nothing is kept")
    text = server.program.text()
    tls_port = re.search(r"The page is at https://[^:]+:(\d+)/", text)
    assert tls_port is not None
    ann = await programs.talker(server.port, "ann")
    bot = programs.run(sys.executable, "-c", LINE_CLIENT, "tcp", str(server.port), "line", SAY % ("the line door", "u"))
    assert await bot.end() == 0
    listening = re.findall(r"listening on 127\.0\.0\.1 port (\d+)", text)
    kinds = [("tcp", str(tcp)), ("tls", tls_port[1]), ("unix", str(path)), ("haproxy", listening[-1])]
    del listening
    for kind, where in kinds:
        client = programs.run(sys.executable, "-c", CLIENT, kind, where, f"web-{kind}", SAY % (kind, kind), QUIT)
        assert await client.end() == 0, client.text()
        assert client.text().endswith("\nclosed with 1000\n")
        await ann.until(f"web-{kind}: hi from {kind}\r\n * web-{kind} left.\r\n")
        said = [each["params"] for each in messages(client) if each.get("method") == "said"]
        assert [params["text"] for params in said] == [f"hi from {kind}"]  # type: ignore[index]  # from JSON


@ensureDeferred
async def test_server_that_stops_closes_with_1001(programs: Programs) -> None:
    server, port = await web_server(programs)
    client = programs.run(sys.executable, "-c", CLIENT, "tcp", str(port), "bot")
    await client.until('"token"')
    await server.program.stop("TERM")
    assert await client.end() == 0
    assert client.text().endswith("closed with 1001\n")
    assert messages(client)[-1]["method"] == "goodbye"


@ensureDeferred
async def test_client_that_answers_no_ping_is_gone(programs: Programs) -> None:
    """The system of the client acknowledges everything, as a proxy does, but the program is stopped."""
    server, port = await web_server(programs, "--probe", "1", "--gone", "3")
    ann = await programs.talker(server.port, "ann")
    client = programs.run(
        sys.executable, "-c", CLIENT.replace('"nick": nick', '"nick": nick, "grace": 0'), "tcp", str(port), "bot"
    )
    await client.until('"token"')
    client.process.signalProcess("STOP")
    await ann.until(" * bot left: connection lost")
    await client.stop()


@ensureDeferred
async def test_client_that_does_not_read_receives_whole_frames_and_a_gap(programs: Programs) -> None:
    server, port = await web_server(programs, "--limits", "off")
    ann = await programs.talker(server.port, "ann")
    (slow,) = await programs.talkers(port, "", narrow=True)
    handshake = [f"{name.decode()}: {value.decode()}" for name, value in HANDSHAKE.items()]
    slow.tcp.write("\r\n".join(["GET /ws HTTP/1.1", *handshake, "", ""]).encode())
    hello = {"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {"protocol": 1, "nick": "bot"}}
    slow.tcp.write(text_frame(json.dumps(hello)))
    await slow.until('"token"')
    slow.stop_reading()
    for _ in range(8):
        ann.say(*["x" * 1000] * 1000)
    ann.say("/msg bot are you there?", "the end")
    ann.say("/names")
    await ann.until("-> 2 here")
    slow.read_on()
    await slow.until("the end")
    parser = ClientProtocol(WebSocketURI(False, "localhost", port, "/ws", ""), state=OPEN, max_size=None)
    parser.receive_data(slow.seen.partition(b"\r\n\r\n")[2])
    frames = [event for event in parser.events_received() if isinstance(event, Frame)]
    events = [json.loads(bytes(frame.data)) for frame in frames if frame.opcode is Opcode.TEXT]
    assert any(event.get("method") == "told" for event in events)
    following = 1
    gaps = 0
    for event in events:
        if event.get("method") == "gap":
            assert event["params"]["first"] == following
            following = event["params"]["last"] + 1
            gaps += 1
        if event.get("method") == "said":
            assert event["params"]["seq"] == following
            following += 1
    assert following == 8_002
    assert gaps
