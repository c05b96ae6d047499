"""The standard output and error of the command, and the progress of long work."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Final

from broadcast.journals.sqlite.database import code_of

PATIENCE_SECONDS: Final = 2.0
"""Time after which progress is shown."""
INTERVAL_SECONDS: Final = 0.2
PROGRESS_STEPS: Final = 100_000
"""Number of SQLite's instructions between two looks at the progress: some milliseconds."""


def write(lines: Iterable[str]) -> None:
    """Write *lines* to the standard output: in UTF-8, or in the encoding of the terminal."""
    encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode(encoding, "backslashreplace"))


def align(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield *rows* (at least one) as lines, in columns that two blanks separate."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()


def discard_output() -> None:
    """Let the rest of the standard output go nowhere, so that Python does not try to write it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def format_time(at: float) -> str:
    """Return the time *at* in this machine's zone, as in ISO 8601."""
    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return str(at)  # no calendar has this time


class Progress:
    """A line on the terminal that shows how far long work is. *describe* returns its text."""

    def __init__(self, describe: Callable[[], str]) -> None:
        self._describe = describe
        self._next = monotonic() + PATIENCE_SECONDS
        self._is_shown = False

    def update(self) -> None:
        """Show the progress, if it is time for it."""
        if monotonic() >= self._next and sys.stderr.isatty():
            self._next = monotonic() + INTERVAL_SECONDS
            self._is_shown = True
            sys.stderr.write(f"\r\x1b[K{self._describe()}")
            sys.stderr.flush()

    def end(self) -> None:
        """Remove the line."""
        if self._is_shown:
            self._is_shown = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextmanager
def show_progress(db: sqlite3.Connection, describe: Callable[[], str]) -> Iterator[None]:
    """Show the progress of the statements on *db* in the block. Ctrl-C interrupts them."""
    progress = Progress(describe)
    db.set_progress_handler(progress.update, PROGRESS_STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if code_of(error) == sqlite3.SQLITE_INTERRUPT:  # SQLite swallows the exception of the signal
            raise KeyboardInterrupt from None
        raise
    finally:
        db.set_progress_handler(None, 0)
        progress.end()
