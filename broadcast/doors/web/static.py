"""The files of the page. They are read once, at the start, and served from memory."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from broadcast.doors.web.http import respond_not_allowed

if TYPE_CHECKING:
    from pathlib import Path

    from broadcast.doors.web.http import Headers, Reply, Request

INDEX: Final = "index.html"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""The types of the files that are served, by suffix."""
_REVALIDATED: Final = (b"Cache-Control", b"no-cache")
_IMMUTABLE: Final = (b"Cache-Control", b"max-age=31536000, immutable")
_reference: Final = re.compile(rb'\b(src|href)="([\w-]+\.(?:js|css))"')
_coding: Final = re.compile(r"(?P<name>[^\s;,]+)\s*(?:;\s*q=(?P<weight>[0-9.]+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file of the page. Its *compressed* content is None if gzip does not make it smaller."""

    content: bytes
    compressed: bytes | None
    headers: Headers
    """The headers that are the same in each reply."""
    etag: str
    """The hash of the content."""

    def handle(self, request: Request, reply: Reply) -> None:
        """Send the file, or only its header if the client has it."""
        if request.method not in ("GET", "HEAD"):
            respond_not_allowed(reply, "GET, HEAD")
            return
        body, etag = self.content, f'"{self.etag}"'
        headers = list(self.headers)
        if self.compressed is not None:
            headers.append((b"Vary", b"Accept-Encoding"))
            if accepts_gzip(request.headers.get(b"accept-encoding", b"").decode("latin-1")):
                body, etag = self.compressed, f'"{self.etag}-gzip"'
                headers.append((b"Content-Encoding", b"gzip"))
        headers.append((b"ETag", etag.encode()))
        if is_known(etag, request.headers.get(b"if-none-match", b"").decode("latin-1")):
            reply.respond(304, headers)
        else:
            reply.respond(200, headers, body)


def load_files(folder: Path) -> dict[str, StaticFile]:
    """Return the files in *folder* by their path in a request. The index is also at ``/``.

    The index takes scripts and styles from a folder whose name is a hash of all files. Browsers therefore need not ask
    whether these have changed. The index also links to all modules: otherwise a browser asks for a module only after it
    has read another one that imports it.
    """
    contents = {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*")) if path.suffix in _TYPES}
    version = sha256(b"\0".join(contents.values())).hexdigest()[:16]
    modules = [name for name in contents if name.endswith(".js")]
    link = (b"Link", ", ".join(f"<{version}/{name}>; rel=modulepreload" for name in modules).encode())
    index = _reference.sub(rb'\1="%b/\2"' % version.encode(), contents[INDEX])
    files: dict[str, StaticFile] = {}
    for name, content in contents.items():
        files[f"/{name}"] = _make_file(name, content, _REVALIDATED)
        files[f"/{version}/{name}"] = _make_file(name, content, _IMMUTABLE)
    files["/"] = files[f"/{INDEX}"] = _make_file(INDEX, index, _REVALIDATED, link)
    return files


def _make_file(name: str, content: bytes, *headers: tuple[bytes, bytes]) -> StaticFile:
    return make_file(content, ((b"Content-Type", _TYPES[PurePath(name).suffix].encode()), *headers))


def make_file(content: bytes, headers: Headers) -> StaticFile:
    """Return the file with *content*."""
    compressed = gzip.compress(content, mtime=0)
    etag = sha256(content).hexdigest()[:32]
    return StaticFile(content, compressed if len(compressed) < len(content) else None, headers, etag)


def accepts_gzip(accepted: str) -> bool:
    """Return whether *accepted*, the header Accept-Encoding, includes gzip (RFC 9110, section 12.5.3)."""
    weights: dict[str, bool] = {}
    for item in accepted.split(","):
        if (match := _coding.fullmatch(item.strip())) is not None:
            weights[match["name"].lower()] = (match["weight"] or "1").strip("0.") != ""
    return weights.get("gzip", weights.get("*", False))


def is_known(etag: str, known: str) -> bool:
    """Return whether *known*, the header If-None-Match, includes *etag* (RFC 9110, section 13.1.2)."""
    return known.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}
