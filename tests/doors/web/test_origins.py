"""The names of the server in requests, and the addresses of clients behind proxies."""

from __future__ import annotations

import pytest

from broadcast.core.source import Source
from broadcast.doors.web.origins import UNIX, Origins, TrustedProxies, parse_origin

ORIGINS = Origins(["https://chat.example.com", "http://other.example:8080"], "Paul.lan.example")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LocalHost.",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[::1]",
        "[fe80::1]",
        "203.0.113.7:8080",
        "paul.lan.example",
        "paul",
        "PAUL.local:8080",
        "chat.example.com",
        "chat.example.com:8443",
        "other.example",
        "paul:",
    ],
)
def test_names_of_the_server_are_allowed(host: str) -> None:
    assert ORIGINS.is_host_allowed(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "paul.evil.example",
        "lan.example",
        "example.com",
        "a.chat.example.com",
        "user@localhost",
        "localhost/evil",
        "localhost evil",
        "localhost, evil.example",
        "localhost:80:80",
        "localhost:x",
        "[::1",
        "::1",
        "127.0.0",
        ".",
        ":8080",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert not ORIGINS.is_host_allowed(host)


def test_machine_without_a_name_has_no_empty_name() -> None:
    assert not Origins().is_host_allowed(".local")
    assert Origins().is_host_allowed("localhost")


@pytest.mark.parametrize(
    ("origin", "host", "is_secure"),
    [
        ("http://localhost:8080", "localhost:8080", False),
        ("http://LOCALHOST:8080", "LocalHost:8080", False),
        ("http://localhost", "localhost", False),
        ("http://localhost", "localhost:80", False),
        ("http://localhost:80", "localhost", False),
        ("https://localhost", "localhost", True),
        ("https://localhost:443", "localhost", True),
        ("http://[::1]:8080", "[::1]:8080", False),
        ("http://192.168.0.7:8080", "192.168.0.7:8080", False),
        ("https://chat.example.com", "127.0.0.1:8080", False),
        ("https://chat.example.com", "", False),
        ("https://chat.example.com:443", "chat.example.com", False),
        ("http://other.example:8080", "localhost", False),
    ],
)
def test_own_pages_and_those_of_the_operator_may_use_the_server(origin: str, host: str, is_secure: bool) -> None:
    assert ORIGINS.is_origin_allowed(origin, host, is_secure)


@pytest.mark.parametrize(
    ("origin", "host", "is_secure"),
    [
        ("http://evil.example", "localhost:8080", False),
        ("http://localhost:3000", "localhost:8080", False),
        ("http://localhost", "localhost:8080", False),
        ("https://localhost:8080", "localhost:8080", False),
        ("http://localhost:8080", "localhost:8080", True),
        ("http://127.0.0.1:8080", "localhost:8080", False),
        ("null", "localhost:8080", False),
        ("", "localhost:8080", False),
        ("file://", "localhost:8080", False),
        ("http://localhost:8080, http://localhost:8080", "localhost:8080", False),
        ("http://localhost:8080/path", "localhost:8080", False),
        ("http://user@localhost:8080", "localhost:8080", False),
        ("chrome-extension://localhost:8080", "localhost:8080", False),
        ("http://localhost:99999", "localhost:8080", False),
        ("http://[::1", "localhost:8080", False),
        ("http://chat.example.com", "127.0.0.1", False),
        ("https://chat.example.com:8443", "127.0.0.1", False),
        ("https://chat.example.com.evil.example", "127.0.0.1", False),
        ("http://other.example", "localhost", False),
    ],
)
def test_other_pages_may_not(origin: str, host: str, is_secure: bool) -> None:
    assert not ORIGINS.is_origin_allowed(origin, host, is_secure)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("https://Chat.Example.com:443", "https://chat.example.com"),
        ("http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_origin_is_written_as_browsers_do(given: str, text: str) -> None:
    assert str(parse_origin(given)) == text


PROXIES = TrustedProxies(["10.0.0.1", "192.168.0.0/24", "2001:db8::/32"])
PROXY = Source("10.0.0.1", is_local=False)


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        ("198.51.100.9", "198.51.100.9"),
        (" 198.51.100.9 ", "198.51.100.9"),
        ("203.0.113.66, 198.51.100.9", "198.51.100.9"),
        ("127.0.0.1, 10.0.0.1, 198.51.100.9", "198.51.100.9"),
        ("198.51.100.9, 192.168.0.7, 10.0.0.1", "198.51.100.9"),
        ("203.0.113.66, 198.51.100.9, 2001:db8::7", "198.51.100.9"),
        ("198.51.100.9:4711", "198.51.100.9"),
        ("[2001:470::9]:4711", "2001:470::9"),
        ("[2001:470::9]", "2001:470::9"),
        ("2001:470::9", "2001:470::9"),
        ("::ffff:198.51.100.9", "198.51.100.9"),
        ("192.168.0.8, 192.168.0.7", "192.168.0.8"),
        ("unknown", None),
        ("198.51.100.9, unknown", None),
        ("198.51.100.9, _hidden", None),
        ("198.51.100.9,", None),
        ("198.51.100.9, evil\r\nname", None),
        ("", None),
    ],
)
def test_client_is_the_last_address_that_is_not_a_trusted_proxy(forwarded_for: str, address: str | None) -> None:
    source = PROXIES.find_source(PROXY, {b"x-forwarded-for": forwarded_for.encode()})
    assert source == Source(address, is_local=False)


def test_client_behind_a_proxy_is_not_local() -> None:
    proxies = TrustedProxies(["127.0.0.1"])
    assert proxies.find_source(Source("127.0.0.1"), {}) == Source(None, is_local=False)
    headers = {b"x-forwarded-for": b"127.0.0.1"}
    assert proxies.find_source(Source("127.0.0.1"), headers) == Source("127.0.0.1", is_local=False)


@pytest.mark.parametrize(
    ("proto", "is_encrypted"),
    [("https", True), ("HTTPS", True), ("http, https", True), ("https, http", False), ("http", False), ("", False)],
)
def test_proxy_says_whether_the_client_uses_https(proto: str, is_encrypted: bool) -> None:
    for peer in (PROXY, Source("10.0.0.1", is_local=False, is_encrypted=True)):
        assert PROXIES.find_source(peer, {b"x-forwarded-proto": proto.encode()}).is_encrypted is is_encrypted


@pytest.mark.parametrize("peer", [Source("10.0.0.2", is_local=False), Source("127.0.0.1"), Source()])
def test_header_of_others_means_nothing(peer: Source) -> None:
    headers = {b"x-forwarded-for": b"198.51.100.9", b"x-forwarded-proto": b"https"}
    assert PROXIES.find_source(peer, headers) == peer


def test_proxy_on_a_unix_socket_can_be_trusted() -> None:
    headers = {b"x-forwarded-for": b"198.51.100.9"}
    assert TrustedProxies([UNIX]).find_source(Source(), headers) == Source("198.51.100.9", is_local=False)
    assert not TrustedProxies([UNIX]).is_trusted("127.0.0.1")


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "192.168.0.255", "2001:db8:1::1"])
def test_proxy_is_recognized_in_every_form_of_its_address(address: str) -> None:
    assert PROXIES.is_trusted(address)


@pytest.mark.parametrize("address", ["10.0.0.10", "192.168.1.1", "2001:db9::1", "::1", "name", ""])
def test_other_addresses_are_no_proxies(address: str) -> None:
    assert not PROXIES.is_trusted(address)
