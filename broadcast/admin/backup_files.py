"""The shared files of a backup: copies in a folder beside the copy of the journal."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import file_digest
from pathlib import Path
from typing import BinaryIO, Final

from broadcast.admin.output import Progress
from broadcast.admin.status import UNUSABLE, AdminError
from broadcast.durability import sync_folder
from broadcast.files.contents import (
    ContentMissing,
    Contents,
    PartFile,
    SharedFile,
    is_share,
    read_record,
    record_name,
    replace_record,
)
from broadcast.journals.sqlite.schema import FILES_VERSION

CHUNK_BYTES: Final = 1024 * 1024
"""Number of bytes that are read at once."""


def files_of(backup: Path) -> Path:
    """Return the folder of the files that belong to *backup*, the copy of a journal."""
    return backup.with_name(f"{backup.name}.files")


def copy_files(journal: Path, source: Path, target: Path) -> list[str]:
    """Copy the files that *journal* names from the folder *source* to *target*. Return a line about each problem.

    The server stores a file before its line. So *source* has all files of a journal that was copied earlier, except
    those that were removed since. A content never changes, so those that *target* has already are not copied again.
    Everything else in *target* that is a share is removed. Raises ``OSError`` if *target* cannot be written, and
    ``AdminError`` if *source* cannot be read.
    """
    ids = _read_ids(journal)
    if ids and not source.is_dir():
        return [f"there is no folder {source}, so the backup has no files"]
    files = _read_records(ids, source)
    wanted = {file.sha256: file for file in files}
    names: set[str] = set()
    damaged: list[str] = []
    progress = Progress(lambda: f"{len(names):,} of {len(wanted):,} files copied")
    try:
        for name, file in wanted.items():
            sealed = _copy(file, source, target, progress)
            if sealed == name:
                names.add(name)
            elif sealed:
                damaged.append(f"{source / name} is damaged, so the backup does not have it")
    finally:
        progress.end()
    for file in files:
        if file.sha256 in names:
            replace_record(target, file)
            names.add(record_name(file))
    if target.is_dir():
        for path in target.iterdir():
            if is_share(path.name) and path.name not in names:
                path.unlink()
        sync_folder(target)
    return damaged


def verify_files(folder: Path) -> Iterator[str]:
    """Yield one line for each problem of the copied files in *folder*. Raises ``AdminError``."""
    hashes: dict[str, str] = {}
    progress = Progress(lambda: f"{len(hashes):,} files checked")
    try:
        for path in folder.glob("*.json"):
            progress.update()
            file = read_record(folder, path.stem)
            if file is None:
                yield f"{path} is no record of a shared file"
                continue
            content = folder / file.sha256
            if content.name not in hashes:
                hashes[content.name] = _hash(content) if content.is_file() else ""
                if hashes[content.name] != content.name:
                    yield f"{content} is {'damaged' if hashes[content.name] else 'missing'}"
    except OSError as error:
        raise _unreadable(folder, error) from error
    finally:
        progress.end()


def _read_ids(journal: Path) -> list[str]:
    """Return the ids of all files that were shared, the oldest first."""
    with closing(sqlite3.connect(f"{journal.as_uri()}?immutable=1", uri=True)) as db:
        if db.execute("PRAGMA user_version").fetchone()[0] < FILES_VERSION:
            return []
        return [file_id for (file_id,) in db.execute("SELECT id FROM files ORDER BY seq")]


def _read_records(ids: list[str], folder: Path) -> list[SharedFile]:
    """Return the records of those shares *ids* that are still in *folder*. Raises ``AdminError``."""
    files = []
    for file_id in ids:
        try:
            files.append(read_record(folder, file_id))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unreadable(folder / f"{file_id}.json", error) from error
    return [file for file in files if file is not None]


def _copy(file: SharedFile, source: Path, target: Path, progress: Progress) -> str:
    """Copy the content of *file* unless *target* has it. Return its SHA-256; empty if it is no longer there."""
    copy = target / file.sha256
    if copy.is_file() and copy.stat().st_size == file.size:
        return file.sha256
    try:
        content = os.fdopen(Contents(source).open(file).descriptor, "rb")
    except (ContentMissing, FileNotFoundError):
        return ""
    except OSError as error:
        raise _unreadable(source / file.sha256, error) from error
    part = PartFile(target)
    with content:
        try:
            while data := _read(content, source / file.sha256):
                part.append(data)
                progress.update()
            sealed = part.seal()
            if sealed.sha256 == file.sha256:
                part.path.replace(copy)
        finally:
            part.remove()
    return sealed.sha256


def _read(content: BinaryIO, path: Path) -> bytes:
    """Return the next bytes of *content*, the file *path*. Raises ``AdminError``."""
    try:
        return content.read(CHUNK_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _unreadable(path: Path, error: OSError) -> AdminError:
    why = f"{error.strerror or error}; run this command as the user of the server, or as root"
    return AdminError(UNUSABLE, f"cannot read {path}: {why}")
