"""A process that shares files in the folder of its argument until it is killed, and prints each share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from secrets import token_urlsafe
from time import time

from broadcast.files.contents import SharedFile, StoreError
from broadcast.files.store import FileStore
from broadcast.files.transfers import SharePlan
from broadcast.threads import WorkerThreads

UPLOADS = 4
PART_BYTES = 50_000


def content(number: int) -> bytes:
    """Return the content of the upload *number*: every third one is the same."""
    return b"%d" % (number % 3 and number) * PART_BYTES


def main(folder: str) -> None:
    """Share files, ``UPLOADS`` at once."""
    turns: SimpleQueue[Callable[[], None]] = SimpleQueue()
    store = FileStore(
        Path(folder), WorkerThreads(turns.put, "files", 2), lambda *_: None, time, days=30
    )  # fmt: skip
    store.start()
    numbers = count(1)

    def begin() -> None:
        number = next(numbers)
        data = content(number)
        upload = store.begin("ann", len(data))

        def shared(result: SharedFile | StoreError) -> None:
            assert isinstance(result, SharedFile), result
            print(result.id, number, flush=True)  # noqa: T201 -- the output of this program
            begin()

        for start in range(0, len(data), 20_000):
            upload.write(data[start : start + 20_000])
        upload.finish(SharePlan(token_urlsafe(16), "a.txt"), shared)

    for _ in range(UPLOADS):
        begin()
    while True:
        turns.get(timeout=60)()


if __name__ == "__main__":
    main(sys.argv[1])
