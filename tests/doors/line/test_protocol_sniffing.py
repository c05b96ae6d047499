"""Protocol sniffing: a client of another protocol is recognized, and no nickname is mistaken for one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broadcast.core.errors import RejectedError
from broadcast.core.nicknames import validate
from broadcast.doors.line.protocol_sniffing import PREFIX_BYTES, sniff_first_line, sniff_prefix

HTTP, SSH, TLS = (
    f"This port speaks plain lines of text, not {spoken}: connect with telnet or nc."
    for spoken in ("HTTP", "SSH", "TLS")
)
PROXY = "A proxy sends a PROXY header here, which this port does not take: start the server with haproxy:tcp:PORT."

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


LINES = [
    *((line, HTTP) for line in REQUESTS),
    *((line, SSH) for line in (b"SSH-2.0-OpenSSH_9.2p1", b"SSH-1.99-x", b"SSH-2.0-PuTTY_Release_0.80 Debian")),
    *((b"PROXY " + rest, PROXY) for rest in (b"TCP4 192.0.2.7 192.0.2.1 4000 5555", b"TCP6 ::1 ::2 1 2", b"UNKNOWN")),
    (CLIENT_HELLO.partition(b"\n")[0], TLS),
    *((line, None) for line in NICKNAMES),
    *((line, None) for line in (b"PROXY", b"PROXY ", b"PROXY ann", b"proxy TCP4 x", b"PROXY TCP5 x")),
    *((line, None) for line in (b"* bob HTTP/1.1", b"get / http/1.1", b"A B C HTTP", b"http://x/", b"get it")),
]
PREFIXES = [
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", PROXY),
    *((bytes([0x16, 3, version, 0, 200]), TLS) for version in (0, 1, 3, 4)),
    *((CLIENT_HELLO[:length], TLS if length > 1 else None) for length in (1, 2, len(CLIENT_HELLO))),
    *((line + end, None) for line in NICKNAMES for end in (b"", b"\r\nhi\r\n")),
]


@pytest.mark.parametrize(("line", "answer"), LINES)
def test_first_line_of_another_protocol_is_recognized_and_no_other(line: bytes, answer: str | None) -> None:
    assert sniff_first_line(line) == answer


@pytest.mark.parametrize(("prefix", "answer"), PREFIXES)
def test_first_bytes_of_another_protocol_are_recognized_and_no_others(prefix: bytes, answer: str | None) -> None:
    assert sniff_prefix(prefix) == answer


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"])
@pytest.mark.parametrize("target", [b"/", b"*", b"http://", b"https://"])
def test_http_request_is_recognized_before_its_line_ends(method: bytes, target: bytes) -> None:
    """The line may be too long to be taken."""
    request = method + b" " + target + b"x" * 65536
    assert sniff_prefix(request) == sniff_prefix(request[:PREFIX_BYTES]) == HTTP


@pytest.mark.parametrize("data", [*REQUESTS, CLIENT_HELLO, b"SSH-2.0-x"])
def test_result_is_the_same_one_byte_at_a_time(data: bytes) -> None:
    answers = [sniff_prefix(data[:length]) for length in range(len(data) + 1)]
    first = next((answer for answer in answers if answer is not None), sniff_first_line(data))
    assert first is not None
    assert first == (sniff_prefix(data) or sniff_first_line(data))


@given(st.binary(), st.sampled_from([b"GET ", b"PRI * HTTP", b"\x16\x03", b"TRACE https:", b""]))
def test_later_bytes_do_not_change_the_result(more: bytes, start: bytes) -> None:
    answer = sniff_prefix(start)
    assert answer is None or sniff_prefix(start + more) == answer
    assert sniff_prefix(more) == sniff_prefix(more[:PREFIX_BYTES])


@given(st.from_regex(r"(SSH-)?[A-Za-z0-9_.-]{1,20}", fullmatch=True))
@example("SSH-2.0-OpenSSH_9.2p1")
def test_only_the_identification_of_ssh_cannot_be_a_nickname(name: str) -> None:
    try:
        validate(name)
    except RejectedError:
        return
    assert sniff_first_line(name.encode()) is None or name.startswith("SSH-")


@given(st.binary(max_size=600))
def test_any_line_gives_one_of_the_answers_or_none(line: bytes) -> None:
    assert sniff_first_line(line) in {None, HTTP, SSH, TLS, PROXY}
