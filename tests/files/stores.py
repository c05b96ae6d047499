"""A store in a folder, whose work on the disk runs when the test says."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, NoReturn, TypeVar

from twisted.internet.task import Clock

from broadcast.files.contents import PartFile, SharedFile, StoreError
from broadcast.files.store import ContentStore, FileStore
from broadcast.files.transfers import SharePlan, Upload
from broadcast.threads import Worker

T = TypeVar("T")
MIB = 1 << 20
NOON = 1_768_478_400.0


class ManualWorker:
    """A worker without threads. Work and the delivery of its result are two steps, which the test takes."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self.results: list[tuple[Callable[[Any], None], object]] = []
        self.closed = False

    def run(self, work: Callable[[], T], on_result: Callable[[T | Exception], None]) -> None:
        self.work.append((work, on_result))

    def close(self) -> None:
        self.closed = True

    def work_once(self) -> bool:
        """Do the next piece of work, and return whether there was one."""
        if not self.work:
            return False
        work, on_result = self.work.pop(0)
        try:
            result: object = work()
        except Exception as error:  # noqa: BLE001 - as the threads do
            result = error
        self.results.append((on_result, result))
        return True

    def deliver_once(self) -> bool:
        """Deliver the next result, and return whether there was one."""
        if not self.results:
            return False
        on_result, result = self.results.pop(0)
        on_result(result)
        return True

    def settle(self) -> None:
        """Do all work, and deliver all results."""
        while self.work_once() or self.deliver_once():
            pass


_conforms: type[Worker] = ManualWorker


class StoreWorld:
    """A store in *folder*. ``restart`` takes the place of a crash of the server."""

    def __init__(self, folder: Path, days: float = 30, contents: Callable[[], ContentStore] | None = None) -> None:
        self.folder = folder
        self.contents = contents
        self.days = days
        self.clock = Clock()
        self.now = NOON
        self.reports: list[str] = []
        self.restart()

    def restart(self) -> None:
        """Start another store in the folder. Nothing that the former one had not done happens any more."""
        self.worker = ManualWorker()
        self.clock = Clock()
        self.store = FileStore(
            self.folder,
            self.worker,
            self.clock.callLater,
            lambda: self.now,
            days=self.days,
            report=self.reports.append,
            contents=self.contents and self.contents(),
        )
        self.store.start()
        self.worker.settle()

    def upload(self, data: bytes, owner: str = "ann", limit: int | None = None) -> Upload:
        """Begin an upload with *data*."""
        upload = self.store.begin(owner, len(data) if limit is None else limit)
        for start in range(0, len(data), 65536):
            upload.write(data[start : start + 65536])
        return upload

    def finish(self, upload: Upload, name: str = "a.txt", announced: str = "", sha256: str = "") -> Finish:
        """Finish *upload*, and do nothing yet."""
        finish = Finish()
        upload.finish(SharePlan(token_urlsafe(16), name, announced, sha256), finish.results.append)
        return finish

    def share(self, data: bytes, name: str = "a.txt", owner: str = "ann", announced: str = "") -> SharedFile:
        """Share *data*, and return the share."""
        finish = self.finish(self.upload(data, owner), name, announced)
        self.worker.settle()
        return finish.file

    def read(self, file: SharedFile) -> bytes | None:
        """Return what a download of *file* receives."""
        downloads: list[Any] = []
        self.store.open(file, downloads.append)
        self.worker.settle()
        (download,) = downloads
        if download is None:
            return None
        parts: list[bytes] = []
        while not parts or parts[-1]:
            download.read(sum(map(len, parts)), 65536, parts.append)
            self.worker.settle()
        download.close()
        self.worker.settle()
        return b"".join(parts)

    def names(self) -> set[str]:
        """Return the names in the folder."""
        return {path.name for path in self.folder.iterdir()}


def hash_of(data: bytes) -> str:
    """Return the SHA-256 of *data*, as shares name it."""
    return sha256(data).hexdigest()


def path_of(upload: Upload) -> Path:
    """Return the path of the file that holds the bytes of *upload*."""
    assert isinstance(upload.part, PartFile)
    return upload.part.path


class Finish:
    """The end of one upload."""

    def __init__(self) -> None:
        self.results: list[SharedFile | StoreError] = []

    @property
    def file(self) -> SharedFile:
        (file,) = self.results
        assert isinstance(file, SharedFile), file
        return file

    @property
    def error(self) -> StoreError:
        (error,) = self.results
        assert isinstance(error, StoreError), error
        return error


def broken(*_arguments: object) -> NoReturn:
    """Fail as a system call on a broken disk does."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))
