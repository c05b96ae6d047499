"""Who comes to the wrong door: programs whose first bytes are no nickname, and what to tell them.

Somebody who opens ``http://host:5555`` or points an SSH client at the port would otherwise wait for ever, or sit in
the room as ``SSH-2.0-OpenSSH_9.2p1``, which is a nickname by its characters. And a web page could make its readers'
browsers talk here: the lines of a form that they post would be a nickname and what it says.
"""

from __future__ import annotations

import re
from typing import Final

PREFIX_BYTES: Final = 16
"""So many bytes from the beginning of a connection are enough for ``unfinished``."""

# RFC 9112, section 3: request-line = method SP request-target SP HTTP-version. Methods are case-sensitive.
_request_line: Final = re.compile(rb"[A-Z][A-Z-]* +[^ ]+ +HTTP/[0-9]")

# How it begins, for one that is too long to be seen whole; no nickname has a blank and a slash in it.
_request: Final = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE) (?:/|\*|https?:)|PRI \* HTTP")

# RFC 4253, section 4.2: SSH-protoversion-softwareversion. Whoever would like to be called SSH-fan may.
_identification: Final = re.compile(rb"SSH-[0-9]+\.[0-9]+-")

# RFC 8446, section 5.1: a record of type 22 (handshake), whose version begins with 3 in SSL 3.0 and every TLS.
_handshake: Final = b"\x16\x03"

# HAProxy's PROXY protocol, sections 2.1 and 2.2: what a proxy sends to a port that does not expect one.
_proxy_text: Final = re.compile(rb"PROXY (?:TCP4|TCP6|UNKNOWN)(?: |$)")
_proxy_binary: Final = b"\r\n\r\n\0\r\nQUIT\n"
_PROXIED: Final = (
    "A proxy sends a PROXY header here, which this port does not take: start the server with haproxy:tcp:PORT."
)


def sniff_prefix(start: bytes) -> str | None:
    """What to tell a connection that began with *start*, whether or not a line has ended there; None: it may go on.

    For what need not end a line where a person would: TLS and PROXY headers, whose first bytes may hold a line end
    anywhere, and HTTP requests that are longer than a line may be. *start* may be of any length from 0; nothing past
    ``ENOUGH`` matters.
    """
    if start.startswith(_handshake):
        return _wrong_protocol("TLS")
    if _request.match(start):
        return _wrong_protocol("HTTP")
    if start.startswith(_proxy_binary):
        return _PROXIED
    return None


def sniff_first_line(line: bytes) -> str | None:
    """What to tell a connection whose first line, without its end, was *line*; None: it may go on."""
    if _identification.match(line):
        return _wrong_protocol("SSH")
    if _request_line.match(line):
        return _wrong_protocol("HTTP")
    if _proxy_text.match(line):
        return _PROXIED
    return sniff_prefix(line)


def _wrong_protocol(spoken: str) -> str:
    return f"This port speaks plain lines of text, not {spoken}: connect with telnet or nc."
