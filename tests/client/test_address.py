from __future__ import annotations

import pytest

from broadcast.client.address import parse_address, show_address
from tests.platforms import needs_unix_sockets

NO_LINK = "is no link: it has the form broadcast://HOST[:PORT]/ROOM, and %3F stands for ?"


@pytest.mark.parametrize(
    ("text", "port", "reason"),
    [
        ("h:1", "2", "the port is given twice"),
        ("[::1]:1", "2", "the port is given twice"),
        ("h", "0", "no port: 0"),
        ("h", "65536", "no port: 65536"),
        ("h:", None, "no port: "),
        ("h:x", None, "no port: x"),
        ("http://h", None, "a link to a server begins with broadcast:// or broadcasts://: http://h"),
        ("h", "٣", "no port: ٣"),
        ("h", "123456", "no port: 123456"),
        ("[]", None, "no host: []"),
        ("[::1", None, "no host: [::1"),
        ("h:1:2", None, "no host: h:1:2"),
        ("[h:1]", None, "no host: [h:1]"),
        ("a]b", None, "no host: a]b"),
        ("[[::1]]", None, "no host: [[::1]]"),
        ("[::1]x", None, "no host: [::1]x"),
        ("[::1]:", None, "no port: "),
        ("fe80::7", None, "fe80::7 needs the network interface behind it, as in fe80::7%eth0"),
        ("[FEBF::7]:23", None, "FEBF::7 needs the network interface behind it, as in FEBF::7%eth0"),
        pytest.param("unix:", None, "no path: unix:", marks=needs_unix_sockets),
        pytest.param("unix:chat.sock", "23", "a unix socket has no port", marks=needs_unix_sockets),
        ("broadcast://h:1", "23", "the port is given twice"),
        pytest.param("broadcast://%2Fchat.sock", "23", "a unix socket has no port", marks=needs_unix_sockets),
        ("broadcast://h:x", None, "no port: x"),
        ("broadcast://23", None, f"broadcast://23 {NO_LINK}"),
        ("broadcast://a@h", None, f"broadcast://a@h {NO_LINK}"),
        ("broadcast://h/a/b", None, f"broadcast://h/a/b {NO_LINK}"),
        ("broadcast://h/a?b", None, f"broadcast://h/a?b {NO_LINK}"),
        ("broadcast://h#b", None, f"broadcast://h#b {NO_LINK}"),
        ("broadcast://h/%", None, "% is not percent-encoded: write a percent sign as %25"),
        ("broadcast://h/% a", None, "% a is not percent-encoded: write a percent sign as %25"),
        ("broadcast://h/%+1", None, "%+1 is not percent-encoded: write a percent sign as %25"),
        ("broadcast://h/%FF", None, "%FF is not percent-encoded: write a percent sign as %25"),
        ("broadcast://h%00", None, "h%00 has a control character"),
        ("broadcast://[fe80::7]", None, "fe80::7 needs the network interface behind it, as in fe80::7%eth0"),
    ],
)
def test_an_invalid_address_has_its_reason(text: str, port: str | None, reason: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 -- its whole text is compared
        parse_address(text, port)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("broadcast://chat.example", ("chat.example", None, None)),
        ("broadcast://chat.example/", ("chat.example", None, None)),
        ("broadcast://chat.example:23/kitchen", ("chat.example", 23, "kitchen")),
        ("broadcast://chat.example/kitchen/", ("chat.example", None, "kitchen")),
        ("BROADCAST://h/k%C3%BCche%2F1", ("h", None, "küche/1")),
        ("broadcast://h/küche", ("h", None, "küche")),
        ("broadcast:///kitchen", ("localhost", None, "kitchen")),
        ("broadcast://:23", ("localhost", 23, None)),
        ("broadcast://[::1]/kitchen", ("::1", None, "kitchen")),
        ("broadcast://[::1]:23", ("::1", 23, None)),
        ("broadcast://[fe80::7%25eth7]:23", ("fe80::7%eth7", 23, None)),
        pytest.param(
            "broadcast://%2Frun%2Fchat.sock/kitchen", ("unix:/run/chat.sock", None, "kitchen"), marks=needs_unix_sockets
        ),
        ("fec0::7", ("fec0::7", None, None)),
        pytest.param("unix:broadcast://h/a", ("unix:broadcast://h/a", None, None), marks=needs_unix_sockets),
        ("broadcasts://chat.example", ("chat.example", None, None)),
    ],
)
def test_a_link_names_a_host_a_port_and_a_room(text: str, address: tuple[str, int | None, str | None]) -> None:
    host, port, room = address
    fields = {"host": host, "port": port, "rooms": room and (room,), "tls": text.startswith("broadcasts")}
    assert parse_address(text) == {name: value for name, value in fields.items() if value}


def test_a_system_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(ValueError, match=r"^this system has no unix sockets$"):
        parse_address("unix:chat.sock")


@pytest.mark.parametrize(
    ("host", "shown"),
    [("h", "h:23"), ("::1", "[::1]:23"), ("unix:chat.sock", "unix:chat.sock")],
)
def test_an_address_is_shown_as_it_is_typed(host: str, shown: str) -> None:
    assert show_address(host, 23) == shown
