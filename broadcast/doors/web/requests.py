"""The request in the header that h11 has parsed, checked more strictly than h11 does; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from broadcast.doors.web.http import Request

if TYPE_CHECKING:
    import h11

    from broadcast.core.source import Source
    from broadcast.doors.web.http import Body

HEADER_BYTES: Final = 8 * 1024
"""Maximum size of a request without its body."""
_FRAME_BYTES: Final = len("  HTTP/1.1\r\n\r\n")
_LINE_BYTES: Final = 4
"""Number of bytes in a line of the header beside the name and the value: colon, blank, CRLF."""

FindSource: TypeAlias = Callable[[Mapping[bytes, bytes]], "Source"]
"""Returns the origin of the request with these headers."""


class BadRequest(Exception):
    """A request that has no reply but an error *status*. Its text says what is wrong."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def body_length(event: h11.Request) -> int | None:
    """Return the number of bytes in the body of the request in *event*, None if it is chunked."""
    headers = dict(event.headers)
    return None if b"transfer-encoding" in headers else int(headers.get(b"content-length", b"0"))


def read_request(event: h11.Request, find_source: FindSource, body: Body) -> Request:
    """Return the request in *event*. Raises ``BadRequest``."""
    raw_headers = list(event.headers)
    size = len(event.method) + len(event.target) + _FRAME_BYTES
    size += sum(len(name) + len(value) + _LINE_BYTES for name, value in raw_headers)
    if size > HEADER_BYTES:
        raise BadRequest(431, f"A request has at most {HEADER_BYTES} bytes, without its body.")
    if event.http_version not in (b"1.0", b"1.1"):
        raise BadRequest(505, "This server speaks HTTP 1.0 and 1.1.")
    headers: dict[bytes, bytes] = {}
    for name, value in raw_headers:
        headers[name] = headers[name] + b", " + value if name in headers else value
    # A proxy and a server that see different ends of a body take parts of it for requests (RFC 9112, section 11.2).
    if b"transfer-encoding" in headers and (b"content-length" in headers or event.http_version == b"1.0"):
        raise BadRequest(400, "A body has either a Content-Length or, in HTTP 1.1, a Transfer-Encoding.")
    target = _origin_form(event.target.decode("ascii"), headers)
    path, _, query = target.partition("?")
    source = find_source(headers)
    method = event.method.decode("ascii")
    return Request(method, unquote(path), query, headers, source, source.is_encrypted, body, target)


def _origin_form(target: str, headers: dict[bytes, bytes]) -> str:
    """Return *target* without a scheme and a host. Its host takes precedence over that in *headers*."""
    if target.startswith("/"):
        return target
    if target.lower().startswith(("http://", "https://")):
        try:
            parts = urlsplit(target)
        except ValueError as error:
            raise BadRequest(400, "The address in the request is not valid.") from error
        headers[b"host"] = parts.netloc.encode()
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    raise BadRequest(400, "A request names a path, as in GET /.")
