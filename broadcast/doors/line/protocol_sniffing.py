"""Recognition of clients that speak another protocol, and the text that rejects them.

A browser on ``http://host:5555`` or an SSH client on this port would otherwise wait forever, or join the room as
``SSH-2.0-OpenSSH_9.2p1``, which is a valid nickname. A web page could also make a browser post a form to this port,
whose lines would become a nickname and messages. A port scanner tries many protocols one after the other.

Nicknames contain no blank, so a line with an argument is the clearest sign. A single word is a nickname (``GET``,
``NICK``, ``PING``), except for the few that no person chooses, such as ``EHLO``.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SNIFFED: Final = 512
"""Number of bytes, from the start of a connection, that ``Sniffer`` looks at."""

# RFC 9112, section 3: request-line = method SP request-target SP HTTP-version. Methods are case-sensitive. RTSP, SIP
# and ICAP have the same form.
_request_line: Final = re.compile(rb"[A-Z][A-Z_-]* +[^ ]+ +(?P<protocol>HTTP|RTSP|SIP|ICAP)/[0-9]")

# The start of a request line, which can be longer than the limit. No nickname holds a blank and a slash. RTSP and SIP
# have OPTIONS too.
_request: Final = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|PATCH|TRACE) (?:/|\*|https?:)|PRI \* HTTP")

# RFC 8446, section 5.1: a record of type 22 (handshake), whose version begins with 3 in SSL 3.0 and every TLS. The
# second form is the hello of SSL 2, which old clients send in order to be understood by every server.
_handshake: Final = re.compile(rb"\x16\x03|[\x80-\xfe].\x01\x03", re.DOTALL)

# HAProxy's PROXY protocol, sections 2.1 and 2.2, from a proxy on a port that does not expect it.
_proxy_text: Final = re.compile(rb"PROXY (?:TCP4|TCP6|UNKNOWN)(?: |$)")
_PROXY_BINARY: Final = b"\r\n\r\n\0\r\nQUIT\n"
_PROXIED: Final = (
    "A proxy sends a PROXY header here, which this port does not take: start the server with haproxy:tcp:PORT."
)

_line_end: Final = re.compile(rb"[\r\n\xff]")
"""The end of the first line, or a telnet command, which may contain any byte."""
_binary: Final = re.compile(rb"[^\r\n\xff]*\0")
"""A NUL before that. Text contains none: the NUL of CR NUL is part of a line end."""

_FIRST_WORDS: Final = {
    # RFC 4253, section 4.2: SSH-protoversion-softwareversion. The nickname SSH-fan is allowed.
    "SSH": rb"SSH-[0-9]+\.[0-9]+-",
    # RFC 2812, section 3.1, and https://ircv3.net/specs/extensions/capability-negotiation. Clients write capitals, and
    # a person who types "nick ann" is asked again. USER has four parameters.
    "IRC": rb"(?:NICK|PASS|JOIN|SERVICE|SERVER|PROTOCTL|WEBIRC|AUTHENTICATE) +\S|(?i:CAP) +(?i:LS|LIST|REQ|END)\b"
    rb"|(?i:USER)(?: +[^ ]+){3} +\S|:\S+ [A-Z]+ ",
    # RFC 5321, section 4.1.1, and LMTP. The form without a host is that of port scanners.
    "SMTP": rb"(?:EHLO|HELO|LHLO)$|(?i:(?:EHLO|HELO|LHLO) +\S|MAIL +FROM:|RCPT +TO:)",
    # RFC 959 and RFC 1939: clients wait for a greeting, but scanners do not.
    "FTP": rb"USER +\S+$",
    # https://redis.io/docs/latest/develop/reference/protocol-spec/: an array of bulk strings.
    "Redis": rb"\*[0-9]+$",
    "rsync": rb"@RSYNCD: ",
    "XML": rb"<\?xml |<stream:stream |<policy-file-request",
    "NX": rb"NXSH-[0-9]",
    "LibreOffice": rb"LO_SERVER_CLIENT_PAIR$",
    # Printers: the universal exit of PJL, and the commands of RFC 1179, section 5.
    "PJL": rb"\x1b%-12345X",
    "LPD": rb"[\x01\x02][!-~]+$",
}
_first_words: Final = {protocol: re.compile(pattern) for protocol, pattern in _FIRST_WORDS.items()}


class Sniffer:
    """A check of the first bytes of one connection, which may arrive in several chunks.

    It recognizes protocols whose first line may be missing or too long: TLS, binary PROXY headers and all other binary
    messages, and long HTTP requests.
    """

    __slots__ = ("_start",)

    def __init__(self) -> None:
        self._start: bytes | None = b""
        """The input so far, up to ``MAX_SNIFFED`` bytes; None once they are text."""

    @property
    def is_new(self) -> bool:
        """Whether no input has arrived yet."""
        return self._start == b""

    @property
    def undecided(self) -> bool:
        """Whether the input so far is part of a PROXY header and nothing that a person types.

        The input then has to wait: the header contains line ends, which would make empty nicknames. CRLF alone is what
        telnet sends for Enter.
        """
        start = self._start
        return start is not None and start in _UNDECIDED

    def sniff_data(self, data: bytes) -> str | None:
        """Check *data*, the next chunk. Return why to reject the client, or None."""
        if self._start is None:
            return None
        self._start = start = (self._start + data)[:MAX_SNIFFED]
        if (reason := sniff_start(start)) is not None:
            return reason
        is_text = len(start) == MAX_SNIFFED or _line_end.search(start) is not None
        if is_text and not _PROXY_BINARY.startswith(start):
            self._start = None
        return None


_UNDECIDED: Final = {_PROXY_BINARY[:length] for length in (3, *range(5, len(_PROXY_BINARY)))}


def sniff_start(start: bytes) -> str | None:
    """Return why to reject a client whose first bytes are *start*, or None. The bytes after those do not matter."""
    if _handshake.match(start):
        return _wrong_protocol("TLS")
    if _request.match(start):
        return _wrong_protocol("HTTP")
    if start.startswith(_PROXY_BINARY):
        return _PROXIED
    if _binary.match(start):
        return _wrong_protocol("binary data")
    return None


def sniff_first_line(line: bytes) -> str | None:
    """Return why to reject a client whose first line, without its end, is *line*, or None."""
    if (request := _request_line.match(line)) is not None:
        return _wrong_protocol(request["protocol"].decode())
    if _proxy_text.match(line):
        return _PROXIED
    for protocol, pattern in _first_words.items():
        if pattern.match(line):
            return _wrong_protocol(protocol)
    return sniff_start(line)


def sniff_later_line(line: bytes) -> str | None:
    """Return why to reject a client that has sent *line* after a rejected nickname, or None.

    IRC clients repeat their commands, and some begin with commands that no pattern covers.
    """
    return _wrong_protocol("IRC") if _first_words["IRC"].match(line) else None


def _wrong_protocol(protocol: str) -> str:
    return f"This port speaks plain lines of text, not {protocol}: connect with telnet or nc."
