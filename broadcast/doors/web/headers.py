"""The headers of every reply: they restrict what the page, and other pages, may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from broadcast.doors.web.http import Headers

CONTENT_SECURITY_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    b"manifest-src 'self'; media-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    b"worker-src 'self'; require-trusted-types-for 'script'"
)
SECURITY_HEADERS: Final[Headers] = (
    (b"Content-Security-Policy", CONTENT_SECURITY_POLICY),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Permissions-Policy", b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
HSTS: Final = (b"Strict-Transport-Security", b"max-age=31536000")
"""Makes browsers refuse plain HTTP of this host for a year. The operator asks for it, with ``--web-hsts``."""


def merge_headers(headers: Headers, defaults: Headers) -> list[tuple[bytes, bytes]]:
    """Return *headers*, and those of *defaults* whose names are not among them."""
    names = {name.lower() for name, _value in headers}
    return [*headers, *(header for header in defaults if header[0].lower() not in names)]
