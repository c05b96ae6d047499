"""The shared files of the command ``copy``: from a data folder or a database to another place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from broadcast.admin.output import Progress
from broadcast.core.errors import JournalError
from broadcast.files.contents import ContentMissing, Contents, PartFile, SharedFile, is_share, read_record
from broadcast.files.store import ContentStore

READ_BYTES: Final = 256 * 1024
"""Number of bytes that are read at once."""


class FolderContents(Contents):
    """The shared files in *folder*, which the command only reads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._records = folder

    def read_new(self) -> list[SharedFile]:
        """Return all shares that have a valid record."""
        names = (path.stem for path in self._records.glob("*.json") if is_share(path.name))
        return [file for name in names if (file := read_record(self._records, name)) is not None]


def copy_files(source: ContentStore, target: ContentStore, drafts: Path) -> tuple[int, list[str]]:
    """Copy the files that *target* does not have. Return the number of all files, and a line about each fault.

    Unfinished copies are in the folder *drafts*. Raises ``OSError``, ``JournalError`` or ``StartupError``.
    """
    present = {file.id for file in target.load()[0]}
    files: Sequence[SharedFile] = source.read_new()
    done = 0
    faults: list[str] = []
    progress = Progress(lambda: f"{done:,} of {len(files):,} files copied")
    try:
        for file in files:
            done += 1
            if file.id not in present and not _copy(source, target, file, PartFile(drafts), progress):
                faults.append(f"the content of the file {file.name} is missing or damaged: the copy does not have it")
    finally:
        progress.end()
    return len(files) - len(faults), faults


def _copy(source: ContentStore, target: ContentStore, file: SharedFile, part: PartFile, progress: Progress) -> bool:
    """Copy *file*, and return whether its content is right."""
    try:
        content = source.open(file)
    except ContentMissing:
        return False
    offset = 0
    try:
        while data := content.read(offset, READ_BYTES):
            part.append(data)
            offset += len(data)
            progress.update()
        if part.seal().sha256 != file.sha256:
            part.remove()
            return False
        target.commit(part, file)
    except (OSError, JournalError):
        part.remove()
        raise
    finally:
        content.close()
    return True
