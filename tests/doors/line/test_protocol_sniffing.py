"""Protocol sniffing: a client of another protocol is recognized, and no nickname is mistaken for one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broadcast.core.errors import RejectedError
from broadcast.core.nicknames import validate
from broadcast.doors.line.protocol_sniffing import MAX_SNIFFED, Sniffer, sniff_first_line, sniff_later_line, sniff_start
from tests.cuts import WAYS, Way

PROTOCOLS = [
    *("HTTP", "RTSP", "SIP", "TLS", "SSH", "IRC", "SMTP", "FTP", "Redis", "rsync", "XML", "NX", "LibreOffice", "PJL"),
    *("LPD", "binary data"),
]
ANSWERS = {
    spoken: f"This port speaks plain lines of text, not {spoken}: connect with telnet or nc." for spoken in PROTOCOLS
}
PROXY = "A proxy sends a PROXY header here, which this port does not take: start the server with haproxy:tcp:PORT."

CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + b"\nbob\r\nhi\r\n" + bytes(180)
PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"

NICKNAMES = [
    b"GET", b"get", b"POST", b"HEAD", b"OPTIONS", b"PRI", b"HTTP", b"HTTP-1.1", b"SSH", b"ssh", b"SSH-fan", b"SSH-2.0",
    b"SSH-", b"TLS", b"ann", b"A", b"", b" GET ", b"GET ", b"\xd0\xb0nn", b"quit", b"NICK", b"nick", b"USER", b"user",
    b"CAP", b"cap", b"PASS", b"JOIN", b"ehlo", b"Helo", b"HELP", b"PING", b"STATS", b"stats", b"NXSH", b"666",
]  # fmt: skip
TRIED_AGAIN = [
    # People who type these have not read the question. They are asked again.
    *(b"PROXY", b"PROXY ", b"PROXY ann", b"proxy TCP4 x", b"PROXY TCP5 x", b"nick ann", b"user ann", b"pass word"),
    *(b"* bob HTTP/1.1", b"get / http/1.1", b"A B C HTTP", b"http://x/", b"get it", b"NICK ", b"cap it", b"Pass me"),
    *(b"hello helo ann", b"user a b c", b"*", b"**1", b"* 1", b"<ann>", b"ann\x01", b"mail me", b": hi"),
]
LINES = {
    "HTTP": [
        *(b"GET / HTTP/1.1", b"GET /index.html?q=1 HTTP/1.0", b"POST /say HTTP/1.1", b"OPTIONS * HTTP/1.1"),
        *(b"CONNECT example.org:443 HTTP/1.1", b"GET http://example.org/ HTTP/1.1", b"M-SEARCH * HTTP/1.1"),
        *(b"PROPFIND /files HTTP/1.1", b"PRI * HTTP/2.0", b"GET  /  HTTP/3"),
    ],
    "RTSP": [b"OPTIONS / RTSP/1.0", b"DESCRIBE rtsp://example.org/a RTSP/1.0", b"GET_PARAMETER rtsp://x/ RTSP/1.0"],
    "SIP": [b"OPTIONS sip:nm SIP/2.0", b"REGISTER sips:example.org SIP/2.0", b"INVITE sip:bob@example.org SIP/2.0"],
    "SSH": [b"SSH-2.0-OpenSSH_9.2p1", b"SSH-1.99-x", b"SSH-2.0-PuTTY_Release_0.80 Debian"],
    "IRC": [
        *(b"NICK ann", b"NICK :ann", b"PASS secret", b"PASS :a b", b"USER ann 0 * :Ann Smith", b"user a b c :d"),
        *(
            b"CAP LS 302",
            b"CAP LS",
            b"cap req :sasl",
            b"CAP END",
            b"JOIN #room",
            b"WEBIRC secret gateway host 192.0.2.7",
        ),
        *(b"AUTHENTICATE PLAIN", b"SERVER irc.example.org 1 :x", b":ann!a@host PRIVMSG #room :hi"),
    ],
    "SMTP": [b"EHLO", b"EHLO mail.example.org", b"HELO", b"helo mail", b"LHLO x", b"MAIL FROM:<a@b>", b"rcpt to:<a@b>"],
    "FTP": [b"USER anonymous"],
    "Redis": [b"*1", b"*13"],
    "rsync": [b"@RSYNCD: 31.0 sha512"],
    "XML": [b'<?xml version="1.0" ?>', b"<stream:stream to='example.org'>"],
    "NX": [b"NXSH-5.6.7"],
    "LibreOffice": [b"LO_SERVER_CLIENT_PAIR"],
    "PJL": [b"\x1b%-12345X@PJL INFO ID"],
    "LPD": [b"\x01default", b"\x02lp"],
}
STARTS = {
    "TLS": [
        *(bytes([0x16, 3, version, 0, 200]) for version in (0, 1, 3, 4)),
        *(CLIENT_HELLO, CLIENT_HELLO[:2], b"\x80\x9e\x01\x03\x01\0u\0\0\0 \0\0f"),
    ],
    # These are the probes of nmap 7.98 (nmap-service-probes) without a line end at their beginning.
    "binary data": [
        b"\x80\0\0\x28\x72\xfe\x1d\x13\0\0\0\0\0\0\0\x02\0\x01\x86\xa0",  # RPCCheck
        b"\0\x1e\0\x06\x01\0\0\x01\0\0\0\0\0\0\x07version\x04bind\0\0\x10\0\x03",  # DNSVersionBindReqTCP
        b"\0\x0c\0\0\x10\0\0\0\0\0\0\0\0\0",  # DNSStatusRequestTCP
        b"\x03\0\0*%\xe0\0\0\0\0\0Cookie: mstshash=nmap\r\n\x01\0\x08\0\x03\0\0\0",  # TerminalServerCookie (RDP)
        b"\x03\0\0\x0b\x06\xe0\0\0\0\0\0",  # TerminalServer
        b"\0\0\0\x71\x6a\x81\x6e\x30\x81\x6b\xa1\x03\x02\x01\x05",  # Kerberos
        b"\0\0\0\xa4\xffSMBr\0\0\0\0\x08\x01\x40\0\0",  # SMBProgNeg
        b"l\0\x0b\0\0\0\0\0\0\0\0\0",  # X11Probe
        b"\x30\x84\0\0\0\x2d\x02\x01\x07\x63\x84",  # LDAPSearchReq
        b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x02\x04\0\x80\0",  # LDAPBindReq
        b"TNMP\x04\0\0\0TNME\0\0\x04\0",  # LANDesk-RC
        b"DmdT\0\0\0\x17\0\0\0\x01",  # NCP
        b":\0\0\0/\0\0\0\x02\0\0@",  # NotesRPC
        b"JRMI\0\x02K",  # JavaRMI
        b"\x01\0\0\0\x01\0\0\0\x08\x08",  # Radmin
        b"\0Z\0\0\x01\0\0\0\x016\x01,",  # oracle-tns
        b"\x05\x04\0\x01\x02\x80\x05\x01\0\x03\ngoogle.com\0PGET / HTTP/1.0\r\n\r\n",  # Socks5
        b"\x04\x01\0\x16\x7f\0\0\x01root\0",  # Socks4
        b"\x12\x01\0\x34\0\0\0\0\0\0\x15\0",  # ms-sql-s
        b"\0\0\0\x01\0\0\0\x13\0\0\0\x02\0\0\0$\0\0\0\x0bservice_mgr",  # firebird
        b"\x12\x34\0\x01\n",  # ajp
        b"TSH \0\0\0\xec\x01\x011\0",  # ibm-mqseries
        b"A\0\0\0:0\0\0\xff\xff\xff\xff\xd4\x07\0\0",  # mongodb
        b"\0\x01n",  # epmd
        b"\xd6\xd7\xc5\xd5@@@@\xc6\xc1\xd2\xc5@@@@\0\0\0\0",  # NJE
        b"GIOP\x01\0\x01\0$\0\0\0",  # giop
        b"\x10\x10\0\x04MQTT\x04\x02\0\x1e\0\x04nmap",  # mqtt
        b"0" * 37 + bytes(4),  # iperf3
        b"CNXN\0\0\0\x01\0\x10\0\0",  # adbConnect
        b"Client string for PARC version 1 Wire Encryption version 1\0\0",  # pervasive-relational
        b"\0\0\0\x08\x04\xd2\x16/",  # PostgreSQL's request for TLS
        b"\x80\x2e\x01\0\x02\0\x15\0\0",  # a client of SSL 2 alone
        "ann".encode("utf-16-le"),
    ],
}


def feed(pieces: list[bytes]) -> tuple[str | None, int]:
    """Return the first result of a sniffer that is fed *pieces*, and the number of pieces until then."""
    sniffer = Sniffer()
    for number, piece in enumerate(pieces, 1):
        if (reason := sniffer.sniff_data(piece)) is not None:
            return reason, number
    return None, len(pieces)


@pytest.mark.parametrize("spoken", LINES)
def test_line_of_another_protocol_is_recognized(spoken: str) -> None:
    for line in LINES[spoken]:
        assert (line, sniff_first_line(line)) == (line, ANSWERS[spoken])
        assert (line, sniff_later_line(line)) == (line, ANSWERS["IRC"] if spoken == "IRC" else None)


@pytest.mark.parametrize("rest", [b"TCP4 192.0.2.7 192.0.2.1 4000 5555", b"TCP6 ::1 ::2 1 2", b"UNKNOWN"])
def test_text_of_a_proxy_is_recognized(rest: bytes) -> None:
    assert sniff_first_line(b"PROXY " + rest) == PROXY


@pytest.mark.parametrize("cut", WAYS.values(), ids=WAYS)
def test_no_other_line_is_taken_for_a_protocol(cut: Way) -> None:
    for line in (*NICKNAMES, *TRIED_AGAIN):
        assert (line, sniff_first_line(line), sniff_later_line(line)) == (line, None, None)
        for end in (b"", b"\n", b"\r\n", b"\r\0", b"\r"):
            assert (line, feed(cut(line + end + b"hi\0\r\n" * bool(end)))[0]) == (line, None)


@pytest.mark.parametrize("spoken", [*STARTS, "PROXY"])
def test_binary_message_is_recognized_however_it_is_cut(spoken: str) -> None:
    answer = ANSWERS.get(spoken, PROXY)
    for data in STARTS.get(spoken, [PROXY_V2 + b"\x21\x11\0\x0c"]):
        for cut in WAYS.values():
            assert (data, feed(cut(data))[0]) == (data, answer)
        for at in range(1, len(data)):
            assert (data, at, feed([data[:at], data[at:]])[0]) == (data, at, answer)


def test_part_of_a_binary_proxy_header_waits_unless_a_person_may_have_typed_it() -> None:
    for length in range(len(PROXY_V2) + 1):
        sniffer = Sniffer()
        for at in range(length):
            assert sniffer.sniff_data(PROXY_V2[at : at + 1]) == (PROXY if at == len(PROXY_V2) - 1 else None)
        assert (length, sniffer.undecided) == (length, length not in (0, 1, 2, 4, len(PROXY_V2)))
        if sniffer.undecided:
            assert sniffer.sniff_data(b"ann\r\n") is None
            assert not sniffer.undecided


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE"])
def test_http_request_is_recognized_before_its_line_ends(method: bytes) -> None:
    """The line may be too long to be taken."""
    for target in (b"/", b"*", b"http://", b"https://"):
        request = method + b" " + target + b"x" * 65536
        assert feed([request])[0] == feed(WAYS["byte by byte"](request[:100]))[0] == ANSWERS["HTTP"]


def test_telnet_commands_are_no_binary_message() -> None:
    for data in (b"\xff\xfb\0", b"ann\xff\xfa\x18\0xterm\xff\xf0\0", b"\xff\xfd\x03\xff\xfb\x18ann\r\0hi\r\0"):
        for cut in WAYS.values():
            assert feed(cut(data))[0] is None


def test_only_the_beginning_is_sniffed() -> None:
    assert feed([b"x" * MAX_SNIFFED, b"\0"])[0] is None
    assert feed([b"x" * (MAX_SNIFFED - 1), b"\0"])[0] is not None


@given(st.binary(), st.sampled_from([b"GET ", b"PRI * HTTP", b"\x16\x03", b"TRACE https:", b"\0", b"\r\n", b""]))
def test_result_does_not_depend_on_the_cut_or_on_later_bytes(more: bytes, start: bytes) -> None:
    data = start + more
    answer, number = feed(WAYS["byte by byte"](data))
    assert feed([data])[0] == answer == feed([data[:number], data[number:]])[0]
    if answer is not None:
        assert feed([data[:number]])[0] == answer


@given(st.from_regex(r"(SSH-|NXSH-|EHLO|HELO|NICK|USER)?[A-Za-z0-9_.-]{0,20}", fullmatch=True))
@example("SSH-2.0-OpenSSH_9.2p1")
def test_only_few_names_of_protocols_cannot_be_nicknames(name: str) -> None:
    try:
        validate(name)
    except RejectedError:
        return
    few = name.startswith(("SSH-", "NXSH-")) or name in {"EHLO", "HELO", "LHLO", "LO_SERVER_CLIENT_PAIR"}
    assert sniff_first_line(name.encode()) is None or few


@given(st.binary(max_size=600))
def test_any_input_gives_one_of_the_answers_or_none(data: bytes) -> None:
    allowed = {None, PROXY, *ANSWERS.values()}
    assert {sniff_first_line(data), sniff_start(data)} <= allowed
