"""The store of shared files, as the reactor sees it: shares, from the end of their upload to their own end.

All calls happen on the reactor's thread. All access to the disk happens on other threads, except in ``start``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from broadcast.core.errors import StartupError
from broadcast.core.interfaces import CallLater
from broadcast.core.slots import MIN_COUNTED_BYTES
from broadcast.files.contents import (
    Content,
    ContentMissing,
    Contents,
    Part,
    PartKey,
    Sealed,
    SharedFile,
    StoreError,
    remove_parts,
)
from broadcast.files.images import Image
from broadcast.files.transfers import Download, Finished, SharePlan, Upload
from broadcast.files.types import choose_type
from broadcast.threads import Worker

THREADS: Final = 2
"""Number of threads for the disk. While one of them waits for it, the other one goes on."""
SWEEP_SECONDS: Final = 60.0
"""Time from one removal of old files to the next."""
SECONDS_PER_DAY: Final = 86_400
_ALONE: Final = PartKey()
"""The key of each upload to a server that is alone."""


class StoreFull(StoreError):
    """There is no room for the file: in the store, or on the disk."""


class ContentStore(Protocol):
    """The complete files, and the records of shares. All methods block, and may raise an exception."""

    @property
    def is_shared(self) -> bool:
        """Whether other servers add and remove shares, too."""

    def load(self) -> tuple[list[SharedFile], list[str]]:
        """Return all shares, the oldest first, and a line for the log about each fault. Called once, first."""

    def read_new(self) -> list[SharedFile]:
        """Return the shares that other servers have added since the last call, and perhaps some others."""

    def find_removed(self, ids: Sequence[str], /) -> list[str]:
        """Return those of *ids* that other servers have removed."""

    def sweep(self) -> None:
        """Remove the bytes of uploads that have ended, and whose server may be dead. Called now and then."""

    def make_part(self, key: PartKey, /) -> Part:
        """Return the place for the bytes of an upload. Does not block."""

    def commit(self, part: Part, file: SharedFile) -> None:
        """Turn *part*, which was made and sealed, into *file*. After an exception, nothing is left."""

    def open(self, file: SharedFile) -> Content:
        """Open the content of *file*. Raises ``ContentMissing`` if it was removed."""

    def remove(self, file: SharedFile) -> None:
        """Remove *file*, and its content if this was the last share."""


class FileStore:
    """The store in *folder*, which is created when it is needed.

    *now* returns seconds since the epoch. Each file is removed after *days*. *report* receives one line for the log
    about each fault. *contents* are by default those in the folder.
    """

    def __init__(
        self,
        folder: Path,
        worker: Worker,
        call_later: CallLater,
        now: Callable[[], float],
        *,
        days: float,
        report: Callable[[str], object] = str,
        contents: ContentStore | None = None,
    ) -> None:
        self._days = days
        self._folder = folder
        self._worker = worker
        self._call_later = call_later
        self._now = now
        self._report = report
        self._last_fault = ""
        """The fault that was logged last; empty if uploads have succeeded since."""
        self._contents: ContentStore = contents or Contents(folder)
        self._files: dict[str, SharedFile] = {}
        """All shares by their id, the oldest first."""
        self._owners: dict[str, dict[str, SharedFile]] = {}
        """The shares of each owner by their id, the oldest first."""
        self.used_bytes = 0
        """Size of all shares, as ``counted``. It does not matter that some have the same content."""
        self.uploads = 0
        """Number of unfinished uploads."""
        self._is_closed = False
        self._waiting: list[Callable[[], None]] = []
        """Calls that wait for the shares of other servers."""
        self._asked: set[str] = set()
        """Unknown ids, which may be those of new shares of other servers."""
        self._absent: set[str] = set()
        """Ids that stand in lines, and that no server shares any more. Only if other servers share files, too."""

    def start(self) -> None:
        """Read the records, and remove unfinished uploads and old files. Blocks. Raises ``StartupError``."""
        try:
            remove_parts(self._folder)
            files, faults = self._contents.load()
        except FileExistsError as error:
            raise StartupError(
                f"cannot use the folder {self._folder}: it is a file. Move it away, or give --data another folder."
            ) from error
        except OSError as error:
            raise StartupError(
                f"cannot use the folder {self._folder}: {error.strerror or error}; let this user read and write there."
            ) from error
        for file in files:
            self._add(file)
        for fault in faults:
            self._report(fault)
        self._sweep()

    def close(self) -> None:
        """Stop all work. The next start removes unfinished uploads."""
        self._is_closed = True
        self._worker.close()

    def __len__(self) -> int:
        """Return the number of shares."""
        return len(self._files)

    def has(self, file_id: str) -> bool:
        """Return whether there is the share *file_id*.

        If other servers share files, too, an unknown one counts as new until they were asked: its line can come first.
        """
        if file_id in self._files or not self._contents.is_shared or file_id in self._absent:
            return file_id in self._files
        self._asked.add(file_id)
        self._read_new(lambda: None)
        return True

    def find(self, file_id: str) -> SharedFile | None:
        """Return the share *file_id*; None if there is none, or none any more."""
        return self._files.get(file_id)

    def bytes_of(self, owner: str) -> int:
        """Return the size of all shares of *owner*."""
        return sum(counted(file.size) for file in self._owners.get(owner, {}).values())

    def remove_oldest(self, owner: str) -> bool:
        """Remove the oldest share of *owner*, unless it is the only one. Return whether there was one to remove."""
        files = self._owners.get(owner, {})
        if len(files) < 2:
            return False
        self.remove(next(iter(files)))
        return True

    def look_up(self, file_id: str, on_result: Callable[[SharedFile | None], None]) -> None:
        """Call *on_result*, at once or in a later turn, with the share *file_id*; None if there is none.

        If other servers share files, too, ask for new ones first.
        """
        file = self._files.get(file_id)
        if file is not None or not self._contents.is_shared:
            on_result(file)
            return
        self._read_new(lambda: on_result(self._files.get(file_id)))

    def _read_new(self, call: Callable[[], None]) -> None:
        """Ask for the shares of other servers, then run *call*. Calls that come meanwhile wait for the same answer."""
        self._waiting.append(call)
        if len(self._waiting) == 1:
            self._worker.run(self._contents.read_new, self._add_new)

    def _add_new(self, result: Sequence[SharedFile] | Exception) -> None:
        """Add the shares of other servers, and continue with those that wait for them."""
        if not isinstance(result, Exception):
            for file in result:
                if file.id not in self._files:
                    self._add(file)
            self._absent |= self._asked - self._files.keys()
        self._asked.clear()
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    @property
    def is_shared(self) -> bool:
        """Whether any server with the same files can continue an upload of another one."""
        return self._contents.is_shared

    def begin(self, owner: str, limit: int, key: PartKey = _ALONE) -> Upload:
        """Begin an upload of at most *limit* bytes for *owner*, or continue the one at *key*."""
        self.uploads += 1
        return Upload(self, self._worker, self._contents.make_part(key), owner, limit, key.received)

    def open(self, file: SharedFile, on_result: Callable[[Download | None], None]) -> None:
        """Open *file*, and call *on_result* in a later turn; with None if it cannot be read."""

        def opened(result: Content | Exception) -> None:
            if not isinstance(result, Exception):
                on_result(Download(self._worker, file, result))
                return
            if isinstance(result, ContentMissing):
                if self._contents.is_shared:
                    self._forget(file.id)
                elif file.id in self._files:
                    self._report(f"The content of a shared file was removed from {self._folder}: {file.sha256}.")
                    self.remove(file.id)
            else:
                self._log_fault(f"Shared files cannot be read: {describe(result)}.")
            on_result(None)

        self._worker.run(partial(self._contents.open, file), opened)

    def remove(self, file_id: str) -> None:
        """Remove the share *file_id*, and its content unless it is shared again. Downloads that have begun go on."""
        if (file := self._forget(file_id)) is not None:
            self._worker.run(partial(self._contents.remove, file), self._removed)

    def _forget(self, file_id: str) -> SharedFile | None:
        """Count the share *file_id* no longer, and return it."""
        file = self._files.pop(file_id, None)
        if file is not None:
            if self._contents.is_shared:
                self._absent.add(file_id)
            self.used_bytes -= counted(file.size)
            files_of_owner = self._owners[file.owner]
            del files_of_owner[file_id]
            if not files_of_owner:
                del self._owners[file.owner]
        return file

    def update(self, on_updated: Callable[[], None]) -> None:
        """Call *on_updated* once the shares of other servers are known: at once if there are no others."""
        if self._contents.is_shared:
            self._read_new(on_updated)
        else:
            on_updated()

    def remove_content(self, file_id: str) -> Sequence[str]:
        """Remove the share *file_id*, and all others with the same content. Return their names, its own first."""
        first = self._files.get(file_id)
        if first is None:
            return ()
        others = [file for file in self._files.values() if file.sha256 == first.sha256 and file is not first]
        for file in (first, *others):
            self.remove(file.id)
        return [file.name for file in (first, *others)]

    # For uploads

    def commit(self, upload: Upload, sealed: Sealed, plan: SharePlan, on_result: Finished) -> None:
        """Make the sealed content of *upload* the share that *plan* describes."""
        image = sealed.image or Image("", 0, 0)
        type_ = choose_type(plan.type, plan.name, image.type)
        width, height = (image.width, image.height) if type_ == image.type else (0, 0)
        file = SharedFile(
            plan.id, plan.name, sealed.size, type_, sealed.sha256, upload.owner, self._now(), width, height
        )  # fmt: skip

        def committed(result: object) -> None:
            self.uploads -= 1
            if isinstance(result, Exception):
                on_result(self.failed(result))
                return
            self._last_fault = ""
            self._add(file)
            self.update(lambda: on_result(file))  # the limit on all files needs those of other servers

        self._worker.run(partial(self._contents.commit, upload.part, file), committed)

    def forget(self, upload: Upload) -> None:
        """Count *upload* no longer, and remove its bytes."""
        self.uploads -= 1
        self._worker.run(upload.part.remove, self._removed)

    def failed(self, error: Exception) -> StoreError:
        """Log *error* unless it is the uploader's, and return what the uploader is shown."""
        if isinstance(error, StoreError):
            return error
        self._log_fault(f"Shared files cannot be stored: {describe(error)}.")
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreFull("the disk of this server is full.")
        return StoreError(f"this server cannot store files now: {describe(error)}.")

    def _sweep(self) -> None:
        """Remove files that are too old."""
        if self._is_closed:
            return
        too_old = self._now() - self._days * SECONDS_PER_DAY
        while self._files and (oldest := next(iter(self._files.values()))).at <= too_old:
            self.remove(oldest.id)
        if self._contents.is_shared:
            self._worker.run(partial(self._contents.find_removed, [*self._files]), self._forget_removed)
            self._worker.run(self._contents.sweep, self._removed)
            self._read_new(lambda: None)
        self._call_later(SWEEP_SECONDS, self._sweep)

    def _forget_removed(self, result: Sequence[str] | Exception) -> None:
        for file_id in () if isinstance(result, Exception) else result:
            self._forget(file_id)

    def _add(self, file: SharedFile) -> None:
        self._files[file.id] = file
        self._owners.setdefault(file.owner, {})[file.id] = file
        self.used_bytes += counted(file.size)

    def _removed(self, result: object) -> None:
        if isinstance(result, Exception):
            self._log_fault(f"Shared files cannot be removed: {describe(result)}.")

    def _log_fault(self, line: str) -> None:
        """Log *line*, unless it was logged and no upload has succeeded since."""
        if line != self._last_fault:
            self._last_fault = line
            self._report(line)


def counted(size: int) -> int:
    """Return the number of bytes that a file of *size* bytes counts. A limit of bytes thus limits the number, too."""
    return max(size, MIN_COUNTED_BYTES)


def describe(error: Exception) -> str:
    """Return *error* as a part of a line, without the path of a file."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
