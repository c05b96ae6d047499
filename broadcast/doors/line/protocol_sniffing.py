"""Recognition of clients that speak another protocol, and the text that rejects them.

A browser on ``http://host:5555`` or an SSH client on this port would otherwise wait forever, or join the room as
``SSH-2.0-OpenSSH_9.2p1``, which is a valid nickname. A web page could also make a browser post a form to this port,
whose lines would become a nickname and messages.
"""

from __future__ import annotations

import re
from typing import Final

PREFIX_BYTES: Final = 16
"""Number of bytes, from the start of a connection, that ``sniff_prefix`` looks at."""

# RFC 9112, section 3: request-line = method SP request-target SP HTTP-version. Methods are case-sensitive.
_request_line: Final = re.compile(rb"[A-Z][A-Z-]* +[^ ]+ +HTTP/[0-9]")

# The start of a request line, which can be longer than the limit. No nickname holds a blank and a slash.
_request: Final = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE) (?:/|\*|https?:)|PRI \* HTTP")

# RFC 4253, section 4.2: SSH-protoversion-softwareversion. The nickname SSH-fan is allowed.
_identification: Final = re.compile(rb"SSH-[0-9]+\.[0-9]+-")

# RFC 8446, section 5.1: a record of type 22 (handshake), whose version begins with 3 in SSL 3.0 and every TLS.
_handshake: Final = b"\x16\x03"

# HAProxy's PROXY protocol, sections 2.1 and 2.2, from a proxy on a port that does not expect it.
_proxy_text: Final = re.compile(rb"PROXY (?:TCP4|TCP6|UNKNOWN)(?: |$)")
_proxy_binary: Final = b"\r\n\r\n\0\r\nQUIT\n"
_PROXIED: Final = (
    "A proxy sends a PROXY header here, which this port does not take: start the server with haproxy:tcp:PORT."
)


class Sniffer:
    """A check of the first bytes of one connection, which may arrive in several chunks."""

    def __init__(self) -> None:
        self._prefix = b""

    def sniff_data(self, data: bytes) -> str | None:
        """Check *data*, the next chunk before the end of the first line. Return why to reject the client, or None."""
        self._prefix = (self._prefix + data[:PREFIX_BYTES])[:PREFIX_BYTES]
        return sniff_prefix(self._prefix)


def sniff_prefix(start: bytes) -> str | None:
    """Return why to reject a client whose first bytes are *start*, or None.

    This recognizes protocols whose first line may be missing or too long: TLS and binary PROXY headers, whose first
    bytes may hold a line end anywhere, and long HTTP requests. *start* may have any length; bytes after the first
    ``PREFIX_BYTES`` make no difference.
    """
    if start.startswith(_handshake):
        return _wrong_protocol("TLS")
    if _request.match(start):
        return _wrong_protocol("HTTP")
    if start.startswith(_proxy_binary):
        return _PROXIED
    return None


def sniff_first_line(line: bytes) -> str | None:
    """Return why to reject a client whose first line, without its end, is *line*, or None."""
    if _identification.match(line):
        return _wrong_protocol("SSH")
    if _request_line.match(line):
        return _wrong_protocol("HTTP")
    if _proxy_text.match(line):
        return _PROXIED
    return sniff_prefix(line)


def _wrong_protocol(protocol: str) -> str:
    return f"This port speaks plain lines of text, not {protocol}: connect with telnet or nc."
