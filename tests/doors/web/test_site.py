"""The whole web door in memory: its paths, and the checks of each request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from websockets.frames import Close

from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.stats import Rejection
from broadcast.doors.web.connection import HttpConnection
from broadcast.doors.web.door import WebDoor, WebSettings
from broadcast.doors.web.http import respond_text
from tests.doors.jsonrpc.programs import ProgramWorld
from tests.doors.web.browsers import HttpClient, request_bytes
from tests.doors.web.test_page_address import FakePort
from tests.doors.web.websockets import HANDSHAKE, text
from tests.harness import NOON, logged

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IListeningPort

    from broadcast.doors.web.http import Reply, Request

STRANGER = IPv4Address("TCP", "203.0.113.7", 50000)
PROXY = IPv4Address("TCP", "192.0.2.1", 50000)
UPGRADE = {name.decode().replace("-", "_"): value.decode() for name, value in HANDSHAKE.items()}


class SiteWorld(ProgramWorld):
    """A server with the web door."""

    def __init__(self, settings: WebSettings | None = None, limits: Limits | None = None) -> None:
        super().__init__(limits=limits)
        self.door = WebDoor(
            self.context,
            self.hub,
            self.clock,
            self._soon.append,
            self.wall,
            self.writer,
            settings or WebSettings(),
            "paul",
        )
        self.door.site.routes["/files/"] = self._show
        self.shown: list[Request] = []

    def _show(self, request: Request, reply: Reply) -> None:
        self.shown.append(request)
        respond_text(reply, 200, f"{request.method} {request.path}")

    def browser(self, address: IAddress | None = None) -> HttpClient:
        """Return a client that has sent nothing yet."""
        transport = self.transport(address)
        protocol = cast(HttpConnection, self.door.factory.buildProtocol(transport.address))
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
        return HttpClient(self, protocol, transport)

    def ban(self, address: str) -> None:
        """Ban *address*."""
        self.hub.moderation.ban("address", f"{address}/32", address, "spam", "ann", NOON, None)


@pytest.fixture
def world() -> SiteWorld:
    """A server with the web door."""
    return SiteWorld()


@pytest.fixture
def client(world: SiteWorld) -> HttpClient:
    """A client that has sent nothing yet."""
    return world.browser()


def test_page_and_its_files_are_there(client: HttpClient) -> None:
    page = client.get("/")
    assert page.status == 200
    assert b"<!doctype html>" in page.body
    assert client.get("/app.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/?query#fragment").body == page.body


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/index.html/",
        "//",
        "/../setup.cfg",
        "/%2e%2e/door.py",
        "/..%2fdoor.py",
        "/%00",
        "/page/index.html",
        "/index.html%00",
        "/%ff",
        "/files",
        "/app.js/../../door.py",
        "/healthz",
        "/metrics",
    ],
)
def test_anything_else_is_a_page_of_one_line(path: str, client: HttpClient) -> None:
    response = client.get(path)
    assert response.status == 404
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == "There is nothing at this address. The page is at /.\n"
    assert client.get("/").status == 200


@pytest.mark.parametrize("path", ["/files/", "/files/a", "/files/a/b.txt", "/files/%2e%2e/x"])
def test_folder_has_all_paths_below_it(path: str, client: HttpClient) -> None:
    assert client.get(path).text.startswith("GET /files/")


# Behind a reverse proxy


def test_page_can_be_below_a_path() -> None:
    world = SiteWorld(WebSettings(path="/chat"))
    client = world.browser()
    assert client.get("/chat/").status == 200
    assert client.get("/chat/app.js").status == 200
    assert client.get("/chat/files/x").text == "GET /files/x\n"
    redirect = client.get("/chat")
    assert (redirect.status, redirect.headers["location"]) == (308, "/chat/")
    for path in ("/", "/app.js", "/chatter", "/chat/chat/"):
        response = client.get(path)
        assert (response.status, response.text) == (
            404,
            "There is nothing at this address. The page is at /chat/.\n",
        )


def test_websocket_can_be_below_a_path() -> None:
    world = SiteWorld(WebSettings(path="/chat"))
    client = world.browser()
    client.send(request_bytes("GET", "/chat/ws", b"", **UPGRADE))
    assert client.rest().startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "settings", [WebSettings(url="https://chat.example.com/"), WebSettings(origins=("https://chat.example.com",))]
)
def test_name_that_the_operator_gives_is_accepted(settings: WebSettings) -> None:
    client = SiteWorld(settings).browser()
    assert client.get("/", host="chat.example.com").status == 200
    assert client.get("/files/x", "PUT", host="chat.example.com", origin="https://chat.example.com").status == 200
    assert client.get("/", host="other.example.com").status == 421


# Host and Origin


def test_name_of_another_server_is_misdirected(world: SiteWorld, client: HttpClient) -> None:
    with logged() as events:
        responses = [client.get("/", host="evil.example") for _ in range(3)]
    text = "This server does not answer to the name evil.example. Its operator can add it with --web-origin."
    assert [(response.status, response.text) for response in responses] == [(421, f"{text}\n")] * 3
    assert [(event["count"], event["why"]) for event in events] == [(1, text)], "a client cannot fill the log"
    assert client.get("/files/x", host="evil.example").status == 421
    assert not world.shown


def test_name_in_the_reply_and_the_log_is_short_and_clean(client: HttpClient) -> None:
    client.send(request_bytes(host="\u202ee\x7f" + "x" * 1000))
    assert client.response().status in {400, 421}
    client.send(request_bytes(host="a" * 1000))
    assert len(client.response().text) < 200


def test_program_without_a_name_for_the_server_is_accepted(client: HttpClient) -> None:
    client.send(b"GET /app.js HTTP/1.0\r\n\r\n")
    assert client.response().status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_foreign_page_changes_nothing(method: str, world: SiteWorld, client: HttpClient) -> None:
    response = client.get("/files/x", method, origin="https://evil.example")
    assert response.status == 403
    assert response.text == (
        "Pages of https://evil.example may not use this server. Its operator can allow it with --web-origin.\n"
    )
    assert not world.shown
    assert client.get("/files/x", method, origin="http://localhost:8080").status == 200
    assert client.get("/files/x", method).status == 200


def test_foreign_page_may_link_to_this_one(client: HttpClient) -> None:
    assert client.get("/", origin="https://evil.example").status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
def test_foreign_page_opens_no_websocket(origin: str, client: HttpClient) -> None:
    response = client.get("/ws", **(UPGRADE | {"host": "localhost:8080", "origin": origin}))
    assert response.status == 403
    assert client.get("/").status == 200


@pytest.mark.parametrize("origin", [None, "http://localhost:8080"])
def test_own_page_and_programs_open_a_websocket(origin: str | None, client: HttpClient) -> None:
    assert client.get("/").status == 200
    client.send(request_bytes("GET", "/ws", b"", **(UPGRADE | {"host": "localhost:8080", "origin": origin})))
    head, _, _frames = client.rest().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")


def test_first_message_may_come_with_the_handshake(client: HttpClient) -> None:
    hello = b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1,"nick":"ann"}}'
    client.send(request_bytes("GET", "/ws", b"", **UPGRADE) + text(hello))
    _head, _, frames = client.rest().partition(b"\r\n\r\n")
    assert b'"nick":"ann"' in frames


def test_plain_request_for_the_websocket_says_what_it_is(client: HttpClient) -> None:
    response = client.get("/ws")
    assert response.status in {400, 426}
    assert response.text
    assert client.get("/").status == 200


# Limits and bans


def close_frame(client: HttpClient) -> Close:
    """Return the close frame that follows the handshake."""
    head, _, frame = client.rest().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert frame[0] == 0x88
    return Close.parse(frame[2:])


def test_full_server_says_so() -> None:
    world = SiteWorld(limits=replace(DEFAULTS, connections=1))
    first = world.browser()
    page, socket = world.browser(), world.browser()
    response = page.get("/")
    assert (response.status, response.text) == (503, "This server is full. Try again later.\n")
    assert int(response.headers["retry-after"]) > 0
    assert page.has_ended()
    socket.send(request_bytes("GET", "/ws", b"", **UPGRADE))
    assert close_frame(socket) == Close(1013, "This server is full. Try again later.")
    assert socket.has_ended()
    assert world.hub.rejections[Rejection.FULL] == 2
    assert first.get("/").status == 200


def test_refused_websocket_needs_a_valid_handshake() -> None:
    client = SiteWorld(limits=replace(DEFAULTS, connections=0)).browser()
    assert client.get("/ws").status in {400, 426}
    assert client.has_ended()


def test_banned_address_does_not_get_in() -> None:
    world = SiteWorld()
    world.ban(STRANGER.host)
    with logged() as events:
        page, socket = world.browser(STRANGER), world.browser(STRANGER)
    assert [event["why"] for event in events] == ["203.0.113.7 is banned"]
    response = page.get("/")
    assert response.status == 403
    assert response.text.startswith("You are banned")
    assert page.has_ended()
    socket.send(request_bytes("GET", "/ws", b"", **UPGRADE))
    assert close_frame(socket).reason.startswith("You are banned")
    assert world.hub.rejections[Rejection.BANNED] == 2
    assert world.browser().get("/").status == 200


def test_banned_address_behind_a_proxy_does_not_get_in() -> None:
    world = SiteWorld(WebSettings(proxies=(PROXY.host,)))
    world.ban(STRANGER.host)
    client = world.browser(PROXY)
    assert client.get("/", x_forwarded_for=STRANGER.host).status == 403
    assert client.get("/files/x", "PUT", x_forwarded_for=STRANGER.host).status == 403
    assert not world.shown
    assert client.get("/", x_forwarded_for="198.51.100.9").status == 200
    client.send(request_bytes("GET", "/ws", b"", x_forwarded_for=STRANGER.host, **UPGRADE))
    assert close_frame(client).reason.startswith("You are banned")


def test_address_behind_a_proxy_has_its_own_limit() -> None:
    world = SiteWorld(WebSettings(proxies=(PROXY.host,)), replace(DEFAULTS, address_connections=1))
    clients = [world.browser(PROXY) for _ in range(3)]
    for client, address in zip(clients, ["198.51.100.9", "198.51.100.9", "198.51.100.10"], strict=True):
        client.send(request_bytes("GET", "/ws", b"", x_forwarded_for=address, **UPGRADE))
    assert clients[0].rest().startswith(b"HTTP/1.1 101 ")
    assert close_frame(clients[1]).code == 1013
    assert clients[1].has_ended()
    assert clients[2].rest().startswith(b"HTTP/1.1 101 ")
    assert not clients[2].has_ended()


# https


@pytest.mark.parametrize("has_hsts", [False, True])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_only_the_operator_forbids_plain_http(has_hsts: bool, scheme: str) -> None:
    client = SiteWorld(WebSettings(proxies=(PROXY.host,), has_hsts=has_hsts)).browser(PROXY)
    headers = client.get("/", x_forwarded_proto=scheme).headers
    assert ("strict-transport-security" in headers) is (has_hsts and scheme == "https")


def test_person_with_telnet_reads_where_the_page_and_the_lines_are() -> None:
    world = SiteWorld()
    person = world.browser()
    person.send(b"ann\n")
    assert person.rest() == b"This port is for browsers. telnet and nc connect to another port of this server.\r\n"
    world.door.address.url = "http://paul:8080/"
    for host in (UNIXAddress(b"chat.sock"), IPv6Address("TCP", "::", 5555), IPv4Address("TCP", "127.0.0.1", 6666)):
        world.door.add_line_port(cast("IListeningPort", FakePort(host)))
    person = world.browser()
    person.send(b"ann\n")
    assert person.rest() == (
        b"This port is for browsers: http://paul:8080/ is the page. "
        b"telnet and nc connect to port 5555 of this server.\r\n"
    )
