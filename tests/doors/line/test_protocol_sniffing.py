"""Programs that speak something else are told so, and never become somebody in the room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.errors import RefusedError
from broadcast.core.nicknames import validate
from broadcast.doors.line.protocol_sniffing import PREFIX_BYTES, sniff_first_line, sniff_prefix

HTTP = "This port speaks plain lines of text, not HTTP: connect with telnet or nc."
SSH = "This port speaks plain lines of text, not SSH: connect with telnet or nc."
PROXY = "A proxy sends a PROXY header here, which this port does not take: start the server with haproxy:tcp:PORT."
TLS = "This port speaks plain lines of text, not TLS: connect with telnet or nc."

CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + b"\nbob\r\nhi\r\n" + bytes(180)

NICKNAMES = [
    b"GET", b"get", b"POST", b"HEAD", b"OPTIONS", b"PRI", b"HTTP", b"HTTP-1.1", b"SSH", b"ssh", b"SSH-fan", b"SSH-2.0",
    b"SSH-", b"TLS", b"ann", b"A", b"", b" GET ", b"GET ", b"\xd0\xb0nn", b"quit",
]  # fmt: skip
REQUESTS = [
    b"GET / HTTP/1.1",
    b"GET /index.html?q=1 HTTP/1.0",
    b"POST /say HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT example.org:443 HTTP/1.1",
    b"GET http://example.org/ HTTP/1.1",
    b"M-SEARCH * HTTP/1.1",
    b"PROPFIND /files HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"GET  /  HTTP/3",
]


@pytest.mark.parametrize("line", REQUESTS)
def test_an_http_request_is_told_that_this_is_not_http(line: bytes) -> None:
    assert sniff_first_line(line) == HTTP


@pytest.mark.parametrize("line", [b"SSH-2.0-OpenSSH_9.2p1", b"SSH-1.99-x", b"SSH-2.0-PuTTY_Release_0.80 Debian"])
def test_an_ssh_client_is_told_that_this_is_not_ssh(line: bytes) -> None:
    assert sniff_first_line(line) == SSH


def test_the_identification_of_ssh_would_otherwise_be_a_nickname() -> None:
    assert validate("SSH-2.0-OpenSSH_9.2p1") == "SSH-2.0-OpenSSH_9.2p1"


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 5555", b"PROXY TCP6 ::1 ::2 1 2", b"PROXY UNKNOWN"]
)
def test_a_proxy_at_the_wrong_port_is_told_which_would_be_right(header: bytes) -> None:
    assert sniff_first_line(header) == PROXY
    assert sniff_prefix(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c") == PROXY


@pytest.mark.parametrize("line", [b"PROXY", b"PROXY ", b"PROXY ann", b"proxy TCP4 x", b"PROXY TCP5 x"])
def test_who_would_like_to_be_called_proxy_is_no_proxy(line: bytes) -> None:
    assert sniff_first_line(line) is None


@pytest.mark.parametrize("version", [0, 1, 3, 4])
def test_a_tls_hello_is_told_that_this_is_not_tls(version: int) -> None:
    assert sniff_prefix(bytes([0x16, 3, version, 0, 200])) == TLS


def test_the_first_two_bytes_of_a_tls_hello_are_enough_and_one_is_not() -> None:
    assert sniff_prefix(CLIENT_HELLO[:1]) is None
    assert sniff_prefix(CLIENT_HELLO[:2]) == TLS


def test_a_line_end_within_a_tls_hello_makes_no_nickname_of_it() -> None:
    assert sniff_prefix(CLIENT_HELLO) == TLS
    assert sniff_first_line(CLIENT_HELLO.partition(b"\n")[0]) == TLS


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"])
@pytest.mark.parametrize("target", [b"/", b"*", b"http://", b"https://"])
def test_an_http_request_is_known_before_its_line_ends_for_that_may_be_too_long_to_be_a_line(
    method: bytes, target: bytes
) -> None:
    request = method + b" " + target + b"x" * 65536
    assert sniff_prefix(request) == HTTP
    assert sniff_prefix(request[:PREFIX_BYTES]) == HTTP


@pytest.mark.parametrize("line", NICKNAMES)
def test_a_nickname_is_no_stranger_whatever_it_reminds_of(line: bytes) -> None:
    assert sniff_first_line(line) is None
    assert sniff_prefix(line) is None
    assert sniff_prefix(line + b"\r\nhi\r\n") is None


@pytest.mark.parametrize("line", [b"* bob HTTP/1.1", b"get / http/1.1", b"A B C HTTP", b"http://x/", b"get it"])
def test_what_people_might_type_first_is_left_to_the_prompt(line: bytes) -> None:
    assert sniff_first_line(line) is None


@pytest.mark.parametrize("stranger", [*REQUESTS, CLIENT_HELLO, b"SSH-2.0-x"])
def test_one_byte_at_a_time_comes_to_the_same(stranger: bytes) -> None:
    told = [sniff_prefix(stranger[:length]) for length in range(len(stranger) + 1)]
    first = next((answer for answer in told if answer is not None), sniff_first_line(stranger))
    assert first is not None
    assert first == (sniff_prefix(stranger) or sniff_first_line(stranger))


@given(st.binary())
def test_nothing_past_the_first_bytes_matters_before_the_line_has_ended(start: bytes) -> None:
    assert sniff_prefix(start) == sniff_prefix(start[:PREFIX_BYTES])


@given(st.binary(), st.sampled_from([b"GET ", b"PRI * HTTP", b"\x16\x03", b"TRACE https:", b""]))
def test_once_told_nothing_that_follows_takes_it_back(more: bytes, start: bytes) -> None:
    told = sniff_prefix(start)
    assert told is None or sniff_prefix(start + more) == told


@given(st.from_regex(r"[A-Za-z0-9_.-]{1,24}", fullmatch=True))
def test_only_the_identification_of_ssh_costs_anybody_their_nickname(name: str) -> None:
    try:
        validate(name)
    except RefusedError:
        return
    assert sniff_first_line(name.encode()) is None or name.startswith("SSH-")


@given(st.binary(max_size=600))
def test_any_bytes_are_answered_with_one_plain_line_or_nothing(line: bytes) -> None:
    assert sniff_first_line(line) in {None, HTTP, SSH, TLS, PROXY}
