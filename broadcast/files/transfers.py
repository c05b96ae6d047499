"""The uploads and downloads of single files, as the reactor sees them. All access to the disk is on other threads."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeAlias

from broadcast.files.contents import Content, Part, Sealed, SharedFile, StoreError
from broadcast.threads import Worker

HIGH_WATER_BYTES: Final = 256 * 1024
"""Number of bytes of one upload that wait for the disk at which its sender has to pause."""


class WrongContent(StoreError):
    """The content is not the one that was announced."""


class SharePlan(NamedTuple):
    """The share that an upload becomes."""

    id: str
    name: str
    type: str = ""
    """The type that the uploader's program gives; empty if it gives none."""
    sha256: str = ""
    """The hash that the content must have, in lower-case hexadecimal digits; empty if it is not known."""


Finished: TypeAlias = Callable[[SharedFile | StoreError], None]
"""Receives the share, or the reason why there is none."""


class UploadStore(Protocol):
    """The store, as an upload sees it."""

    uploads: int
    """Number of unfinished uploads."""

    def commit(self, upload: Upload, sealed: Sealed, plan: SharePlan, on_result: Finished) -> None:
        """Make the sealed content of *upload* the share that *plan* describes."""

    def forget(self, upload: Upload) -> None:
        """Count *upload* no longer, and remove its bytes."""

    def failed(self, error: Exception) -> StoreError:
        """Log *error* unless it is the uploader's, and return what the uploader is shown."""


class _State(Enum):
    """The life of an upload.

    ::

        event          OPEN       FINISHING
        finish         FINISHING
        suspend        FINISHING
        disk fails     ENDED      ENDED
        discard        ENDED
        shared                    ENDED
        suspended                 ENDED

    An empty field means no change.
    """

    OPEN = auto()
    """It takes bytes."""
    FINISHING = auto()
    """Its bytes are checked and made durable, or given to all servers. It can no longer be discarded."""
    ENDED = auto()
    """It was shared, its bytes are removed, or any server can continue it."""


class Upload:
    """An unfinished upload of at most *limit* bytes. It survives the connections that carry it.

    At most one piece of its work is on a thread at any time, so its bytes are written in order.
    """

    def __init__(self, store: UploadStore, worker: Worker, part: Part, owner: str, limit: int, received: int) -> None:
        self.owner = owner
        self.limit = limit
        self.part = part
        self.received = received
        """Number of bytes that were received. The next byte has this offset."""
        self.failure: StoreError | None = None
        """The reason why the upload has ended without a share."""
        self.on_progress: Callable[[], None] | None = None
        """Called when bytes were written, and when the upload has failed before ``finish``."""
        self._store = store
        self._worker = worker
        self._state = _State.OPEN
        self._waiting = bytearray()
        """The bytes that wait: not a list, in which a thousand small chunks would take more memory."""
        self._unwritten = 0
        """Number of bytes that wait, or are on a thread."""
        self._is_working = False
        """True while a thread has bytes of this upload."""
        self._seal: Callable[[], None] | None = None
        """Continues with the end of the upload when all bytes are written."""

    @property
    def is_open(self) -> bool:
        """Whether the upload takes bytes."""
        return self._state is _State.OPEN

    @property
    def is_finishing(self) -> bool:
        """Whether all bytes are there, but not yet durable."""
        return self._state is _State.FINISHING

    @property
    def is_congested(self) -> bool:
        """Whether so many bytes wait for the disk that the sender has to pause until ``on_progress``."""
        return self._unwritten >= HIGH_WATER_BYTES

    def write(self, data: bytes) -> None:
        """Append *data*. More bytes than the upload may have end it."""
        if not self.is_open:
            return
        if self.received + len(data) > self.limit:
            self._fail(WrongContent(f"the file is larger than {self.limit} bytes."))
            return
        self.received += len(data)
        self._waiting += data
        self._unwritten += len(data)
        self._work()

    def finish(self, plan: SharePlan, on_result: Finished) -> None:
        """Make the bytes durable and share them as *plan* says, then call *on_result* in a later turn.

        If the upload fails, its bytes are removed. Call this once, while the upload ``is_open``.
        """
        self._state = _State.FINISHING

        def committed(result: SharedFile | StoreError) -> None:
            self._state = _State.ENDED
            on_result(result)

        def sealed(result: Sealed | Exception) -> None:
            if isinstance(result, Sealed):
                if plan.sha256 in ("", result.sha256):
                    self._store.commit(self, result, plan, committed)
                    return
                result = WrongContent(f"the SHA-256 of the file is {result.sha256}, not {plan.sha256}.")
            on_result(self._fail(result))

        def seal() -> None:
            if self.failure is not None:
                on_result(self.failure)
            else:
                self._worker.run(self.part.seal, sealed)

        self._seal = seal
        self._work()

    def suspend(self, on_done: Callable[[StoreError | None], None]) -> None:
        """Give the upload to all servers, and call *on_done* in a later turn. Call this once, while it ``is_open``."""
        self._state = _State.FINISHING

        def flushed(result: object) -> None:
            self._state = _State.ENDED
            self._store.uploads -= 1
            on_done(self._store.failed(result) if isinstance(result, Exception) else None)

        def flush() -> None:
            if self.failure is not None:
                on_done(self.failure)
            else:
                self._worker.run(self.part.flush, flushed)

        self._seal = flush
        self._work()

    def discard(self) -> None:
        """Remove the bytes, unless the upload is finishing."""
        if self.is_open:
            self._fail(StoreError("the upload was cancelled."))

    def _work(self) -> None:
        """Give the bytes that wait to a thread, unless one has bytes of this upload already."""
        if self._is_working:
            return
        if self._waiting:
            waiting, self._waiting = self._waiting, bytearray()
            self._is_working = True
            self._worker.run(partial(self.part.append, waiting), partial(self._written, len(waiting)))
        elif self._seal is not None:
            seal, self._seal = self._seal, None
            seal()

    def _written(self, size: int, result: object) -> None:
        self._is_working = False
        self._unwritten -= size
        if self._state is _State.ENDED:
            self._store.forget(self)
        elif isinstance(result, Exception):
            self._fail(result)
        else:
            self._notify()
        self._work()

    def _fail(self, error: Exception) -> StoreError:
        """End the upload because of *error*. Remove its bytes as soon as no thread has them."""
        was_open, self._state = self.is_open, _State.ENDED
        self.failure = self._store.failed(error)
        self._unwritten -= len(self._waiting)
        self._waiting.clear()
        if not self._is_working:
            self._store.forget(self)
        if was_open:
            self._notify()
        return self.failure

    def _notify(self) -> None:
        if self.on_progress is not None:
            self.on_progress()


class Download:
    """An open share, and its *content*."""

    def __init__(self, worker: Worker, file: SharedFile, content: Content) -> None:
        self.file = file
        self._worker = worker
        self._content = content
        self._is_reading = False
        self._is_closed = False

    def read(self, offset: int, size: int, on_data: Callable[[bytes], None]) -> None:
        """Call *on_data* in a later turn with at most *size* bytes from *offset* on; with none at the end or a fault.

        There can be only one read at a time. *on_data* is not called after ``close``.
        """

        def done(result: bytes | Exception) -> None:
            self._is_reading = False
            if self._is_closed:
                self._close()
            else:
                on_data(b"" if isinstance(result, Exception) else result)

        self._is_reading = True
        self._worker.run(partial(self._content.read, offset, size), done)

    def close(self) -> None:
        """Close the file. Further calls have no effect."""
        if not self._is_closed:
            self._is_closed = True
            if not self._is_reading:  # after the close, the number of the descriptor may be another file's
                self._close()

    def _close(self) -> None:
        self._worker.run(self._content.close, lambda _: None)
