"""Downloads of shared files: ``/files/ID/NAME``.

Everybody who has the address can download the file. No part of the address ever becomes a path on the disk.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from broadcast.doors.web.http import respond_text
from broadcast.files.types import INLINE, TEXT

if TYPE_CHECKING:
    from broadcast.doors.web.http import Headers, Reply, Request
    from broadcast.files.contents import SharedFile
    from broadcast.files.store import FileStore
    from broadcast.files.transfers import Download

CHUNK_BYTES: Final = 64 * 1024
"""Number of bytes that are read at once. A client that reads slowly holds as many in memory."""
CACHE_SECONDS: Final = 7 * 86_400
"""Time for which a browser may show a file without a request. The content of an id never changes."""
NOT_THERE: Final = "There is no such file, or it is no longer there."

_byte_range: Final = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,18})-(\d{0,18})")
"""One range (RFC 9110, section 14.1.2). A request for several gets the whole file, which the RFC allows."""
_not_quotable: Final = re.compile(r'[^ -~]|["\\%]')
_FILE_HEADERS: Final[Headers] = (
    (b"Accept-Ranges", b"bytes"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"sandbox; default-src 'none'; frame-ancestors 'none'"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Cache-Control", b"private, max-age=%d, immutable" % CACHE_SECONDS),
)


class Downloads:
    """The handler of downloads from *store*."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def handle(self, request: Request, reply: Reply) -> None:
        """Reply to *request*, whose path is ``/files/ID/NAME``."""
        if request.method not in ("GET", "HEAD"):
            respond_text(reply, 405, "A file can only be read.", ((b"Allow", b"GET, HEAD"),))
            return
        file_id, _, name = request.path.removeprefix("/files/").partition("/")
        self._store.look_up(file_id, partial(self._reply, request, reply, name))

    def _reply(self, request: Request, reply: Reply, name: str, file: SharedFile | None) -> None:
        """Reply to *request* for *file*, if it has this *name*."""
        if file is None or file.name != name:
            respond_text(reply, 404, NOT_THERE)
            return
        headers = _describe(file)
        etag = dict(headers)[b"ETag"]
        if _lists(request.headers.get(b"if-none-match", b""), etag):
            reply.respond(304, headers)
            return
        part = None
        if request.method == "GET" and request.headers.get(b"if-range", etag) == etag:
            part = _find_range(request.headers.get(b"range", b""), file.size)
        if part is None:
            status, part = 200, range(file.size)
        elif part:
            status = 206
            headers = (*headers, (b"Content-Range", b"bytes %d-%d/%d" % (part[0], part[-1], file.size)))
        else:
            whole = (b"Content-Range", b"bytes */%d" % file.size)
            respond_text(reply, 416, f"The file has {file.size} bytes.", (whole,))
            return
        headers = (*headers, (b"Content-Length", b"%d" % len(part)))
        if request.method == "HEAD":
            reply.start(status, headers)
            reply.finish()
        else:
            _Stream(reply, status, headers, part).begin(self._store, file)


class _Stream:
    """The bytes *part* of a file, as a reply to one request."""

    def __init__(self, reply: Reply, status: int, headers: Headers, part: range) -> None:
        self._reply = reply
        self._status = status
        self._headers = headers
        self._part = part
        self._position = part.start
        self._download: Download | None = None
        self._is_over = False

    def begin(self, store: FileStore, file: SharedFile) -> None:
        """Open *file*, then send it as fast as the client reads."""
        self._reply.on_closed = self._close
        self._reply.on_drained = self._read
        store.open(file, self._opened)

    def _opened(self, download: Download | None) -> None:
        if download is None:
            if not self._is_over:
                self._is_over = True
                respond_text(self._reply, 404, NOT_THERE)
            return
        self._download = download
        if self._is_over:
            download.close()
            return
        if not self._part:
            self._reply.start(self._status, self._headers)
        self._read()

    def _read(self) -> None:
        """Ask for the next bytes, or end the reply."""
        if self._is_over or self._download is None:
            return
        if self._position == self._part.stop:
            self._close()
            self._reply.finish()
            return
        self._download.read(self._position, min(CHUNK_BYTES, self._part.stop - self._position), self._send)

    def _send(self, data: bytes) -> None:
        """Send *data*. If there is none, the file was removed from the database, or the disk has failed."""
        is_first = self._position == self._part.start
        if not data:
            self._close()
            if is_first:
                respond_text(self._reply, 404, NOT_THERE)
            else:
                self._reply.abort()  # the client must not take the part for the file
            return
        if is_first:
            self._reply.start(self._status, self._headers)
        self._position += len(data)
        self._reply.write(data)
        if not self._reply.is_congested:
            self._read()

    def _close(self) -> None:
        self._is_over = True
        if self._download is not None:
            self._download.close()


def _describe(file: SharedFile) -> Headers:
    """Return the headers of *file* that no range changes."""
    type_ = b"text/plain; charset=utf-8" if file.type == TEXT else file.type.encode()
    return (
        *_FILE_HEADERS,
        (b"Content-Type", type_),
        (b"ETag", b'"%s"' % file.sha256.encode()),
        (b"Content-Disposition", _disposition(file)),
    )


def _disposition(file: SharedFile) -> bytes:
    """Return the value of Content-Disposition (RFC 6266), with the name in ASCII and, if it differs, in UTF-8."""
    kind = "inline" if file.type in INLINE else "attachment"
    ascii_name = _not_quotable.sub("_", file.name)
    extended = "" if ascii_name == file.name else f"; filename*=UTF-8''{quote(file.name, safe='')}"
    return f'{kind}; filename="{ascii_name}"{extended}'.encode()


def _find_range(header: bytes, size: int) -> range | None:
    """Return the bytes for which *header*, a Range, asks in a file of *size* bytes, None for all of them.

    The result is empty if the file has none of these bytes.
    """
    match = _byte_range.fullmatch(header.decode("latin-1").strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:  # the last bytes
        return range(max(size - int(match[2]), 0), size)
    first, last = int(match[1]), int(match[2] or size)
    return range(first, min(last + 1, size)) if last >= first or not match[2] else None


def _lists(header: bytes, etag: bytes) -> bool:
    """Return whether *header*, a list for If-None-Match, holds *etag*. Weak tags are compared, too."""
    tags = [tag.strip().removeprefix(b"W/") for tag in header.split(b",")]
    return etag in tags or tags == [b"*"]
