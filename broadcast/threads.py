"""Threads for work that would block the reactor: hashing, files, and requests to other servers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread, get_native_id
from typing import Protocol, TypeVar

from broadcast.core.time_slice import CallSoon

T = TypeVar("T")


class Worker(Protocol):
    """The execution of work that may block."""

    def run(self, work: Callable[[], T], on_result: Callable[[T | Exception], None]) -> None:
        """Call *work* on another thread, and *on_result* with its result, or its exception, in a later turn."""

    def close(self) -> None:
        """Finish the work that was given, and nothing after it. Results that were not delivered are dropped."""


class WorkerThreads:
    """A ``Worker`` with *count* threads, which start with the first work. Their names begin with *name*.

    On Linux, *niceness* is their scheduling priority, after the reactor's thread. The caller limits the length of the
    queue.
    """

    def __init__(self, call_soon: CallSoon, name: str, count: int, niceness: int = 0) -> None:
        self._call_soon = call_soon
        self._name = name
        self._count = count
        self._niceness = niceness
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = False
        self._closed = False

    def run(self, work: Callable[[], T], on_result: Callable[[T | Exception], None]) -> None:
        """Call *work* on one of the threads; see ``Worker``."""
        self._jobs.put(partial(self._work, work, on_result))
        if not self._started:
            self._started = True
            for number in range(self._count):
                # Daemon threads, so that the process can exit while the work of one hangs.
                Thread(target=self._run, name=f"{self._name} {number}", daemon=True).start()

    def close(self) -> None:
        """End the threads without waiting for them."""
        self._closed = True
        for _ in range(self._count):
            self._jobs.put(None)

    def _run(self) -> None:
        if sys.platform == "linux":  # there, the priority belongs to the thread
            with suppress(OSError):  # a sandbox may forbid it
                thread = get_native_id()
                os.setpriority(os.PRIO_PROCESS, thread, max(self._niceness, os.getpriority(os.PRIO_PROCESS, thread)))
        while (job := self._jobs.get()) is not None:
            job()

    def _work(self, work: Callable[[], T], on_result: Callable[[T | Exception], None]) -> None:
        result: T | Exception
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - the thread must survive any error; the caller handles it
            result = error
        self._call_soon(partial(self._deliver, on_result, result))

    def _deliver(self, on_result: Callable[[T | Exception], None], result: T | Exception) -> None:
        if not self._closed:
            on_result(result)


_conforms: type[Worker] = WorkerThreads
