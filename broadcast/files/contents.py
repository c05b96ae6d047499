"""The folder of the shared files, as the threads see it: contents, records of shares, and unfinished uploads.

The folder holds three kinds of files:

* ``HASH``: a content. Its name is its SHA-256 in hexadecimal digits, so the same content is there once.
* ``ID.json``: the record of one share of a content.
* ``RANDOM.part``: an unfinished upload, or a record that is being written. The next start removes it.

A share exists as soon as its content, then its record, then the entries of the folder are durable.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from shutil import disk_usage
from threading import Lock
from typing import Final, NamedTuple, Protocol

from broadcast.core.errors import RejectedError
from broadcast.core.events import FileInfo
from broadcast.durability import begin_writing, sync_file, sync_folder
from broadcast.files.images import Image, read_image
from broadcast.removable_files import open_removable

FOLDER: Final = "files"
"""Name of the folder inside the data folder."""
MIN_FREE_BYTES: Final = 64 * 1024 * 1024
"""Free bytes of the disk that uploads leave to the journal."""

WRITE_BYTES: Final = 1024 * 1024
"""Number of bytes of an upload after which the system begins to write them to the disk.

Only Linux can begin without waiting for the end. On other systems, the upload waits each time (see ``begin_writing``).
"""
SYNC_BYTES: Final = 8 * WRITE_BYTES
"""Maximum number of bytes of an upload that the disk may not have yet.

A large number would delay commits of the journal: on some file systems, each waits until the disk has all bytes that
were written to other files before. A small number would delay them, too: each wait for the disk makes the file system
commit, and commits of the journal wait for that. ``benchmarks/README.rst`` compares several numbers.
"""

_part_names: Final = re.compile(r"[0-9a-f]{32}\.part")
_record_names: Final = re.compile(r"([A-Za-z0-9_-]{20,64})\.json")
_content_names: Final = re.compile("[0-9a-f]{64}")
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)  # not on Windows
_BINARY: Final = getattr(os, "O_BINARY", 0)  # Windows only
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY


@dataclass(frozen=True, slots=True)
class SharedFile:
    """One share of a content."""

    id: str
    """Its random and secret name in addresses."""
    name: str
    """The name that the uploader gave, sanitized."""
    size: int
    type: str
    sha256: str
    """The hash of the content, in hexadecimal digits."""
    owner: str
    """The account or address whose limits the file counts for."""
    at: float
    """Time of the upload, in seconds since the epoch."""
    width: int = 0
    """Width of an image in pixels; 0 for other files, or if it is unknown."""
    height: int = 0

    @property
    def info(self) -> FileInfo:
        """The file as an event describes it."""
        return FileInfo(self.id, self.name, self.size, self.type, self.sha256, self.width, self.height)


class Sealed(NamedTuple):
    """The complete content of an upload, which is durable under its temporary name."""

    size: int
    sha256: str
    image: Image | None


class StoreError(RejectedError):
    """A file cannot be stored. The text says why."""


class SlotEnded(StoreError):
    """The slot has ended meanwhile, or the upload goes on at another server."""


class Part(Protocol):
    """The bytes of an unfinished upload. One thread at a time uses it. All methods may raise an exception."""

    def append(self, data: bytes | bytearray, /) -> None:
        """Write *data* at the end."""

    def flush(self) -> None:
        """Let other servers continue the upload behind all bytes. This is the last call."""

    def seal(self) -> Sealed:
        """Make the bytes durable, and return their description."""

    def remove(self) -> None:
        """Remove the bytes."""


class Content(Protocol):
    """A content that is open to read it. One thread at a time uses it."""

    def read(self, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset* on, and none only at the end."""

    def close(self) -> None:
        """Release the content."""


class PartKey(NamedTuple):
    """The place of the bytes of an unfinished upload in a database. A server that is alone needs none."""

    slot: str = ""
    """The id of the future file."""
    generation: int = 0
    """That of the slot. The database refuses bytes of an older one."""
    received: int = 0
    """Number of bytes that are there already. The upload continues behind them."""


class OpenFile:
    """A content on the disk, which is open as *descriptor* to read it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset* on. Raises ``OSError``."""
        return read_at(self.descriptor, offset, size)

    def close(self) -> None:
        """Close the file. Raises ``OSError``."""
        os.close(self.descriptor)


class ContentMissing(Exception):
    """A content was removed from the folder, or replaced."""


class PartFile:
    """The file of an unfinished upload in *folder*. Its first bytes create it. Only one thread may use it at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = _part_path(folder)
        self._descriptor = -1
        self._hash = sha256()
        self._size = 0
        self._begun = 0
        """Number of bytes that the system has begun to write to the disk."""
        self._synced = 0
        """Number of bytes that the disk has."""

    def append(self, data: bytes | bytearray) -> None:
        """Write *data* at the end. Raises ``OSError``."""
        if self._descriptor < 0:
            make_folder(self._folder)
            self._descriptor = os.open(self.path, _CREATE, 0o600)
        if disk_usage(self._folder).free < MIN_FREE_BYTES + len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._hash.update(data)
        self._size += len(data)
        if self._size - self._synced >= SYNC_BYTES:
            sync_file(self._descriptor)
            self._synced = self._begun = self._size
        elif self._size - self._begun >= WRITE_BYTES:
            begin_writing(self._descriptor, self._begun)
            self._begun = self._size

    def flush(self) -> None:
        """Do nothing: no other server continues the upload."""

    def seal(self) -> Sealed:
        """Make the bytes durable, and return their description. Raises ``OSError``."""
        self.append(b"")  # creates the file if there are no bytes
        sync_file(self._descriptor)
        if not os.path.samestat(os.fstat(self._descriptor), self.path.lstat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # another file is in its place
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with os.fdopen(self._descriptor, "rb") as file:
            self._descriptor = -1
            return Sealed(self._size, self._hash.hexdigest(), read_image(file))

    def remove(self) -> None:
        """Remove the file if there is one. Raises ``OSError``."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.path.unlink(missing_ok=True)


class Contents:
    """The contents and records in *folder*. Its methods may run on several threads, ``load`` before all others."""

    is_shared = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        """Held while a content appears or disappears, together with the change of its count."""
        self._shares: Counter[str] = Counter()
        """Number of shares of each content."""

    def load(self) -> tuple[list[SharedFile], list[str]]:
        """Return all shares, the oldest first, and a line for the log about each fault.

        All files that a server wrote and that belong to no share are removed: they were left by a crash. Raises
        ``OSError``.
        """
        make_folder(self._folder)
        names = sorted(path.name for path in self._folder.iterdir())
        sizes = {name: (self._folder / name).stat().st_size for name in names if _content_names.fullmatch(name)}
        shares: list[SharedFile] = []
        faults: list[str] = []
        leftovers = [name for name in names if _part_names.fullmatch(name)]
        unreadable = 0
        for name in names:
            match = _record_names.fullmatch(name)
            if match is None:
                continue
            file = read_record(self._folder, match[1])
            if file is None:
                unreadable += 1
                faults.append(f"{name} is no record of a shared file: move it out of {self._folder}.")
            elif sizes.get(file.sha256) != file.size:
                faults.append(f"The content of a shared file was removed from {self._folder}: {file.sha256}.")
                leftovers.append(name)
            else:
                shares.append(file)
                self._shares[file.sha256] += 1
        if not unreadable:  # else, a content without a record may belong to such a share
            leftovers += sizes.keys() - self._shares.keys()
        for name in leftovers:
            (self._folder / name).unlink()
        return sorted(shares, key=lambda file: file.at), faults

    def read_new(self) -> list[SharedFile]:
        """Return nothing: no other server shares files in the folder."""
        return []

    def find_removed(self, _ids: Sequence[str]) -> list[str]:
        """Return nothing, as above."""
        return []

    def sweep(self) -> None:
        """Do nothing: no other server leaves unfinished uploads."""

    def make_part(self, _key: PartKey) -> PartFile:
        """Return the file of a new upload. It is created later."""
        return PartFile(self._folder)

    def commit(self, part: Part, file: SharedFile) -> None:
        """Turn *part*, which is sealed, into *file*. Raises ``OSError``, and leaves nothing then."""
        assert isinstance(part, PartFile)
        record = self._folder / record_name(file)
        part_of_record = _part_path(self._folder)
        is_counted = False
        try:
            _write_record(part_of_record, file)
            with self._lock:
                # It replaces the same content of an earlier share.
                part.path.replace(self._folder / file.sha256)
                self._shares[file.sha256] += 1
                is_counted = True
            part_of_record.replace(record)
            sync_folder(self._folder)
        except BaseException:
            with suppress(OSError):
                part.remove()
            with suppress(OSError):
                part_of_record.unlink(missing_ok=True)
            with suppress(OSError):
                record.unlink(missing_ok=True)
            if is_counted:
                with suppress(OSError):
                    self._release(file)
            raise

    def open(self, file: SharedFile) -> OpenFile:
        """Open the content of *file*. Raises ``OSError`` and ``ContentMissing``."""
        try:
            descriptor = open_removable(self._folder / file.sha256, os.O_RDONLY | _NO_FOLLOW | _BINARY)
        except FileNotFoundError as error:
            if self._folder.is_dir():
                raise ContentMissing from error
            raise  # it may come back with the folder
        if os.fstat(descriptor).st_size != file.size:
            os.close(descriptor)
            raise ContentMissing
        return OpenFile(descriptor)

    def remove(self, file: SharedFile) -> None:
        """Remove the record of *file*, and its content if this was the last share. Raises ``OSError``."""
        try:
            (self._folder / record_name(file)).unlink(missing_ok=True)
        finally:
            self._release(file)

    def _release(self, file: SharedFile) -> None:
        with self._lock:
            self._shares[file.sha256] -= 1
            if not self._shares[file.sha256]:
                del self._shares[file.sha256]
                (self._folder / file.sha256).unlink(missing_ok=True)


def _part_path(folder: Path) -> Path:
    return folder / f"{secrets.token_hex(16)}.part"


def remove_parts(folder: Path) -> None:
    """Remove the unfinished uploads in *folder*, if it exists. Raises ``OSError``."""
    for path in folder.glob("*.part"):
        if _part_names.fullmatch(path.name):
            path.unlink()


def record_name(file: SharedFile) -> str:
    """Return the name of the record of *file*."""
    return f"{file.id}.json"


def is_share(name: str) -> bool:
    """Return whether *name* can be that of a content or of a record."""
    return bool(_content_names.fullmatch(name) or _record_names.fullmatch(name))


def read_record(folder: Path, file_id: str) -> SharedFile | None:
    """Return the record of the share *file_id* in *folder*; None if it is invalid. Raises ``OSError``."""
    types = {field.name: field.type for field in fields(SharedFile)}  # as they stand above: "str", "int" or "float"
    try:
        stored = json.loads((folder / f"{file_id}.json").read_bytes())
        # A value of another type counts as missing.
        file = SharedFile(**{name: value for name, value in stored.items() if types.get(name) == type(value).__name__})
    except (ValueError, TypeError, AttributeError):
        return None
    return file if file.id == file_id else None


def replace_record(folder: Path, file: SharedFile) -> None:
    """Write the record of *file* into *folder*, in place of an earlier one. Raises ``OSError``."""
    part = _part_path(folder)
    try:
        _write_record(part, file)
        part.replace(folder / record_name(file))
    finally:
        part.unlink(missing_ok=True)


def read_at(descriptor: int, offset: int, size: int) -> bytes:
    """Return at most *size* bytes from *offset* on. Raises ``OSError``."""
    if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
    else:  # noqa: RET505 - mypy takes what follows for unreachable on Windows
        return os.pread(descriptor, size, offset)


def _write_record(path: Path, file: SharedFile) -> None:
    """Write the record of *file* to *path*, which does not exist, and to the disk. Raises ``OSError``."""
    with os.fdopen(os.open(path, _CREATE, 0o600), "wb") as record:
        record.write(json.dumps(asdict(file)).encode())
        record.flush()
        sync_file(record.fileno())


def make_folder(folder: Path) -> None:
    """Create *folder*, but not its parents, with access for its owner only. Raises ``OSError``."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        sync_folder(folder.parent)
