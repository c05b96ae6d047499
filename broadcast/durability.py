"""Durability: writing files and the entries of folders to the disk, with what each system offers for it."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_UNSUPPORTED: Final = frozenset({errno.ENOTSUP, errno.EINVAL, errno.ENOTTY})
"""Errors of ``F_FULLFSYNC`` on a file system that lacks it, such as that of a network. ``fsync`` is all there is."""

if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux

    def sync_file(descriptor: int) -> None:
        """Write the file *descriptor* to the disk, with ``FlushFileBuffers``. Raises ``OSError``."""
        os.fsync(descriptor)

    def sync_folder(folder: Path) -> None:
        """Do nothing: Windows cannot open a folder like a file. NTFS logs changes of entries by itself."""

else:
    import fcntl

    def sync_file(descriptor: int) -> None:
        """Write the file or folder *descriptor* to the disk. Raises ``OSError``."""
        os.fsync(descriptor)
        if sys.platform == "darwin":  # there, fsync leaves the data in the cache of the drive
            try:
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise

    def sync_folder(folder: Path) -> None:
        """Make the entries of *folder* durable across a crash of the machine. Raises ``OSError``."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)


if sys.platform == "linux":

    def begin_writing(descriptor: int, offset: int) -> None:
        """Let the system begin to write the file *descriptor* from byte *offset* on to the disk. Do not wait for it."""
        # Linux drops pages that are on the disk, and begins to write those that are not. It may ignore this advice, and
        # nothing is lost if it does: only sync_file makes bytes durable.
        with suppress(OSError):
            os.posix_fadvise(descriptor, offset, 0, os.POSIX_FADV_DONTNEED)

else:  # pragma: no cover - coverage is measured on Linux

    def begin_writing(descriptor: int, offset: int) -> None:  # noqa: ARG001 - only Linux needs it
        """Write the whole file *descriptor* to the disk, and wait for it: no call only begins. Raises ``OSError``."""
        sync_file(descriptor)
