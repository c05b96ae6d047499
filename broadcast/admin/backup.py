"""The command ``backup``: a consistent copy of the journal and its files, made while the server runs or not."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from broadcast.admin.backup_files import copy_files, files_of
from broadcast.admin.output import show_progress
from broadcast.admin.status import UNUSABLE, AdminError
from broadcast.durability import sync_file, sync_folder
from broadcast.journals.sqlite.database import code_of


def back_up(db: sqlite3.Connection, files: Path, target: Path) -> list[str]:
    """Write a copy of *db*, as it is at this moment, to the new file *target* with the mode 0600.

    The shared files that it names are copied from the folder *files*. Return a line about each that is damaged.

    An empty file reserves the name until the copy is complete, so that an interruption leaves no incomplete copy there.
    Copied files remain, and the next backup with the same name does not copy them again.
    """
    target = target.absolute()
    draft = target.with_name(target.name + ".new")
    size = db.execute("PRAGMA page_count").fetchone()[0] * db.execute("PRAGMA page_size").fetchone()[0]
    created: list[Path] = []
    try:
        for path in (target, draft):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            created.append(path)
        with show_progress(db, lambda: f"{min(100 * draft.stat().st_size // size, 99)} % copied"):
            db.execute("VACUUM INTO ?", (os.fspath(draft),))
        descriptor = os.open(draft, os.O_RDWR)  # Windows flushes no file that is only read
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        problems = copy_files(draft, files, files_of(target))
        draft.replace(target)
        sync_folder(target.parent)
    except BaseException as error:
        for path in (*created, draft.with_name(draft.name + "-journal")):
            with suppress(OSError):
                path.unlink()
        if isinstance(error, FileExistsError):
            text = f"{error.filename} exists already: give the backup another name, or move that file away"
        elif isinstance(error, OSError):
            text = f"cannot write {target}: {error.strerror or error}"
        elif isinstance(error, sqlite3.Error) and code_of(error) == sqlite3.SQLITE_FULL:
            text = f"cannot write {target}: the disk is full"
        else:
            raise
        raise AdminError(UNUSABLE, text) from error
    return problems
