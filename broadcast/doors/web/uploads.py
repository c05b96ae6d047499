"""Uploads of files to slots: ``PUT /files/NAME`` with the slot's token in ``Authorization: Bearer TOKEN``.

``HEAD`` says in ``Upload-Offset`` how many bytes are there. A ``PUT`` with ``Content-Range: bytes FIRST-LAST/SIZE``
continues from there, on any connection. One without it starts again. ``DELETE`` ends the upload. The token never
stands in an address, because servers and proxies log addresses.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from broadcast.core.errors import Busy, FileRejected, NotStored, RejectedError
from broadcast.core.events import Shared
from broadcast.core.file_names import format_size
from broadcast.doors.web.downloads import Downloads
from broadcast.doors.web.http import read_bearer, respond_text
from broadcast.files.contents import PartKey, SharedFile, SlotEnded, StoreError
from broadcast.files.store import StoreFull
from broadcast.files.transfers import SharePlan, WrongContent

if TYPE_CHECKING:
    from collections.abc import Callable

    from broadcast.core.errors import FileWhy
    from broadcast.core.slots import Slot
    from broadcast.core.uploads import Uploads
    from broadcast.doors.web.http import Handler, Headers, Reply, Request
    from broadcast.files.store import FileStore
    from broadcast.files.transfers import Upload

_content_range: Final = re.compile(rb"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE)
_UNAUTHORIZED: Final = (
    "An upload needs its token: type /upload-link in the room for a command that has one. (The header is "
    "Authorization: Bearer TOKEN.)"
)
_NO_SLOT: Final = "This upload is over, or there was none. Type /upload-link in the room for another one."
_STATUS: Final[dict[FileWhy, int]] = {
    "no-files": 404,
    "file-too-large": 413,
    "too-many-files": 429,
    "too-many-uploads": 429,
    "no-space": 507,
    "upload-ended": 410,
    "other-size": 422,
}


class UploadDoor:
    """The handler of uploads to the slots of *uploads*, whose bytes go to *store*."""

    def __init__(self, uploads: Uploads, store: FileStore) -> None:
        self.uploads = uploads
        self._store = store
        self._begun: dict[str, Upload] = {}
        """The uploads that have begun and not ended, with a connection or without one, by the id of their file.

        If other servers take uploads, too, one without a connection is in the database only.
        """
        self._receivers: dict[str, _Receiver] = {}
        """The connections of uploads."""

    def handle(self, request: Request, reply: Reply) -> None:
        """Reply to *request*, whose path is ``/files/NAME``."""
        token = read_bearer(request)
        if request.method not in ("DELETE", "HEAD", "PUT"):
            respond_text(reply, 405, "A file is uploaded with PUT.", ((b"Allow", b"DELETE, HEAD, PUT"),))
        elif token is None:
            respond_text(reply, 401, _UNAUTHORIZED, ((b"WWW-Authenticate", b"Bearer"),))
        else:
            self.uploads.find(token, partial(self._handle, request, reply))

    def _handle(self, request: Request, reply: Reply, slot: Slot | RejectedError | None) -> None:
        """Reply to *request*, whose token is that of *slot*."""
        if slot is None:
            respond_text(reply, 410, _NO_SLOT)
        elif isinstance(slot, RejectedError):
            refuse(reply, slot)
        elif request.method == "HEAD":
            reply.respond(204, (_offset(self._received(slot)), (b"Cache-Control", b"no-store")))
        elif request.method == "DELETE":
            self.uploads.end(slot, "the upload was cancelled.")
            reply.respond(204)
        else:
            self._receive(slot, request, reply)

    def _received(self, slot: Slot) -> int:
        """Return the number of bytes that the store has. A fault of the disk has removed those before it."""
        upload = self._begun.get(slot.file_id)
        if upload is None or self._store.is_shared:
            return slot.received
        return 0 if upload.failure is not None else upload.received

    def _receive(self, slot: Slot, request: Request, reply: Reply) -> None:
        """Receive the body of *request*, a PUT. It replaces an earlier one, whose connection may be half-open."""
        length, first = request.body.length, 0
        size = slot.size if length is None and not slot.is_link else length
        received = self._received(slot)
        if (header := request.headers.get(b"content-range")) is not None:
            match = _content_range.fullmatch(header.strip())
            first, last, size = (int(match[1]), int(match[2]), int(match[3])) if match else (0, -1, 0)
            if not first <= last < size or length not in (None, last - first + 1):
                respond_text(reply, 400, "Content-Range is bytes FIRST-LAST/SIZE, as long as the body.")
                return
            if first and first != received:
                _continue_at(reply, received)
                return
        upload = self._begun.get(slot.file_id)
        if upload is not None and upload.is_finishing:
            respond_text(reply, 409, "All bytes of the file are here already.", (_offset(received),))
            return
        if upload is not None and not first:
            self._drop(slot.file_id, "the upload was started again.")
        name = request.path.removeprefix("/files/")
        # Of a link whose client does not know the size, the end of the body is the end of the file.
        reserved = self.uploads.max_bytes if size is None else size
        on_begun = partial(self._begin, slot, _Put(request, reply, first, reserved, has_size=size is not None))
        on_end = partial(self._drop, slot.file_id)
        try:
            self.uploads.begin(slot, reserved, request.source.address, on_begun, on_end, name)
        except FileRejected as error:
            refuse(reply, error)

    def _begin(self, slot: Slot, put: _Put, error: RejectedError | None) -> None:
        """Begin to receive the body of *put*, or refuse it."""
        if error is not None:
            refuse(put.reply, error)
            return
        key = slot.file_id
        if (former := self._receivers.pop(key, None)) is not None:
            former.replace()
        if self._store.is_shared:
            if (stale := self._begun.pop(key, None)) is not None:
                stale.discard()
            if put.first not in (0, slot.received):
                _continue_at(put.reply, slot.received)
                return
        if put.is_lost:
            return
        if (upload := self._begun.get(key)) is None:
            place = PartKey(slot.file_id, slot.generation, put.first)
            upload = self._begun[key] = self._store.begin(slot.owner, put.size, place)
        upload.limit = put.size
        self._receivers[key] = receiver = _Receiver(self, slot, upload, put)
        receiver.start()

    def _drop(self, file_id: str, reason: str) -> None:
        """Remove the bytes of the upload of *file_id*, and tell its client the *reason*."""
        upload, receiver = self._begun.pop(file_id, None), self._receivers.pop(file_id, None)
        if receiver is not None:
            receiver.fail(FileRejected(reason, "upload-ended"))
        if upload is not None:
            upload.discard()

    def forget(self, slot: Slot) -> None:
        """Forget the upload to *slot*. It has ended, but another one may begin."""
        self._begun.pop(slot.file_id, None)
        self._receivers.pop(slot.file_id, None)

    def detach(self, slot: Slot, upload: Upload, on_done: Callable[[StoreError | None], None]) -> None:
        """Forget the connection of *upload*. Another one may continue it, at any server, once *on_done* is called."""
        self._receivers.pop(slot.file_id, None)
        if self._store.is_shared:
            self._begun.pop(slot.file_id, None)
            upload.suspend(on_done)
        else:
            on_done(None)


class _Put:
    """A PUT for *size* bytes, or for the rest of them from the byte *first* on."""

    def __init__(self, request: Request, reply: Reply, first: int, size: int, *, has_size: bool) -> None:
        self.request = request
        self.reply = reply
        self.first = first
        self.size = size
        self.has_size = has_size
        """Whether the size of the file is known. If not, *size* is the largest one."""
        self.is_lost = False
        """Whether the client is gone."""
        reply.on_closed = self._lose

    def _lose(self) -> None:
        self.is_lost = True


class _Receiver:
    """The receiver of the body of *put*."""

    def __init__(self, door: UploadDoor, slot: Slot, upload: Upload, put: _Put) -> None:
        self._door = door
        self._slot = slot
        self._upload = upload
        self._body = put.request.body
        self._type = slot.type or put.request.headers.get(b"content-type", b"").decode("latin-1")
        self._reply = put.reply
        self._has_size = put.has_size
        self._is_paused = False
        self._is_over = False
        """True once the reply has been sent or the client is gone."""

    def start(self) -> None:
        """Begin to receive."""
        self._upload.on_progress = self._progress
        self._reply.on_closed = self.lost
        self._body.read_into(self)

    def data_received(self, data: bytes) -> None:
        """Give *data* to the store, and pause if it does not keep up."""
        if not self._is_over:
            self._upload.write(data)
            self._pause_if_congested()

    def _pause_if_congested(self) -> None:
        if self._upload.is_congested and not self._is_over and not self._is_paused:
            self._is_paused = True
            self._body.pause()

    def _progress(self) -> None:
        if self._is_over:
            return
        if self._upload.failure is not None:
            self._stored(self._upload.failure)
        elif self._is_paused and not self._upload.is_congested:
            self._is_paused = False
            self._body.resume()

    def finished(self) -> None:
        """Share the file if it is complete."""
        if self._is_over:
            return
        upload, slot = self._upload, self._slot
        if self._has_size and upload.received < upload.limit:
            self._door.detach(slot, upload, self._suspended)
        else:
            upload.finish(SharePlan(slot.file_id, slot.name, self._type, slot.sha256), self._stored)

    def _suspended(self, error: StoreError | None) -> None:
        """Answer once any connection can continue the upload."""
        if error is not None:
            self.fail(error)
            return
        received, limit = self._upload.received, self._upload.limit
        self._respond(202, f"{received} of {limit} bytes are here.", (_offset(received),))

    def lost(self) -> None:
        """Keep what has arrived: the client may continue on another connection."""
        if self._is_over:
            return
        self._is_over = True
        if self._upload.is_open and self._has_size:
            self._door.detach(self._slot, self._upload, lambda _: None)
        elif self._upload.is_open:
            self._door.forget(self._slot)
            self._upload.discard()

    def replace(self) -> None:
        """Close the connection, because another one continues the upload."""
        self._is_over = True
        self._reply.abort()

    def _stored(self, result: SharedFile | StoreError) -> None:
        """Announce the file, or report why it cannot be stored. Then the client may try again."""
        self._door.forget(self._slot)
        if isinstance(result, SharedFile):
            self._door.uploads.complete(self._slot, result.info, self._shared)
        else:
            self.fail(result)

    def _shared(self, result: Shared | RejectedError) -> None:
        if isinstance(result, Shared):
            url = self._door.uploads.file_url(result.file)
            text = f"Shared {result.file.name} ({format_size(result.file.size)}): {url}"
            self._respond(201, text, ((b"Location", url.encode()),))
        else:
            self.fail(result)

    def fail(self, error: RejectedError) -> None:
        """Report *error*."""
        if not self._is_over:
            self._is_over = True
            refuse(self._reply, error)

    def _respond(self, status: int, text: str, headers: Headers) -> None:
        if not self._is_over:
            self._is_over = True
            respond_text(self._reply, status, text, headers)


def refuse(reply: Reply, error: RejectedError) -> None:
    """Reply with *error*, and with the status of its kind."""
    headers: Headers = ()
    status = 403
    if isinstance(error, FileRejected):
        status = _STATUS[error.why]
        if error.retry is not None:
            headers = ((b"Retry-After", b"%d" % error.retry),)
    elif isinstance(error, Busy):
        status, headers = 503, ((b"Retry-After", b"%d" % error.retry),)
    elif isinstance(error, SlotEnded):
        status = 410
    elif isinstance(error, StoreFull):
        status = 507
    elif isinstance(error, WrongContent):
        status = 422
    elif isinstance(error, StoreError | NotStored):
        status = 503
    text = str(error)
    respond_text(reply, status, text[:1].upper() + text[1:], headers)


def _continue_at(reply: Reply, received: int) -> None:
    respond_text(reply, 416, f"Continue the upload at byte {received}.", (_offset(received),))


def _offset(received: int) -> tuple[bytes, bytes]:
    return b"Upload-Offset", b"%d" % received


def files_handler(uploads: Uploads, store: FileStore) -> Handler:
    """Return the handler of all paths below ``/files/``. Those of downloads have a slash after the id."""
    receive, send = UploadDoor(uploads, store).handle, Downloads(store).handle

    def handle(request: Request, reply: Reply) -> None:
        is_download = "/" in request.path.removeprefix("/files/")
        (send if is_download else receive)(request, reply)

    return handle
