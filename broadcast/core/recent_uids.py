"""The uids of a room's recent lines: a line with a uid is stored once, however often its program sends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from broadcast.core.errors import JournalError, UidReused
from broadcast.core.events import Repeated, Shared, Stored, StoreFailed

if TYPE_CHECKING:
    from broadcast.core.interfaces import Callback, ReadCallback, UidsCallback

REMEMBERED_LINES: Final = 100_000
"""Minimum number of a room's last lines whose uids are known. Up to twice as many are in memory, 200 bytes each."""

Answer: TypeAlias = Callable[[Stored | StoreFailed | UidReused | JournalError], None]
"""Receives the first line with a uid, or the reason why there is none."""


class UidLog(Protocol):
    """The part of ``RoomLog`` that is needed here."""

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Read the stored events *first* to *last*."""

    def read_uids(self, first: int, last: int, on_result: UidsCallback) -> None:
        """Read the uids of the lines *first* to *last*, with their numbers."""


class RecentUids:
    """The lines of one room by their uid. They are read from *log* once a program sends the first line with a uid."""

    def __init__(self, log: UidLog) -> None:
        self.loaded = False
        """Whether the uids of the lines in the journal are known."""
        self._log = log
        self._waiting_for_load: list[Callable[[JournalError | None], None]] | None = None
        self._pending: dict[str, list[tuple[Stored, Answer]]] = {}
        """The lines that wait until the line with their uid is stored, or has failed, by this uid.

        The first one is the line of this server, unless only other nodes of a cluster know the uid.
        """
        self._recent: dict[str, int] = {}
        """Numbers by uid, of the lines since ``_generation_start``."""
        self._older: dict[str, int] = {}
        """The same of the generation before."""
        self._generation_start = 0

    def load(self, last: int, on_loaded: Callable[[JournalError | None], None]) -> None:
        """Read the uids of the lines up to *last*, then call *on_loaded* with None or with the reason of a failure."""
        if self._waiting_for_load is not None:
            self._waiting_for_load.append(on_loaded)
            return
        self._waiting_for_load = [on_loaded]
        self._generation_start = last
        self._log.read_uids(max(1, last - REMEMBERED_LINES + 1), last, self._on_uids)

    def _on_uids(self, result: Sequence[tuple[str, int]] | JournalError) -> None:
        waiting, self._waiting_for_load = self._waiting_for_load or [], None
        error = result if isinstance(result, JournalError) else None
        if not isinstance(result, JournalError):
            self._older = dict(result)
            self.loaded = True
        for on_loaded in waiting:
            on_loaded(error)

    def is_repetition(self, event: Stored, answer: Answer) -> bool:
        """Return whether a line with the uid of *event* exists. If so, *answer* is called, perhaps later.

        Otherwise *event* counts as that line from now on. Only while ``loaded``.
        """
        if self.answer_repetition(event, answer):
            return True
        self._pending[event.uid] = [(event, answer)]
        return False

    def answer_repetition(self, event: Stored, answer: Answer) -> bool:
        """Return whether a line with the uid of *event* is known. If so, *answer* is called, perhaps later."""
        uid = event.uid
        if (pending := self._pending.get(uid)) is not None:
            pending.append((event, answer))
            return True
        seq = self._recent.get(uid) or self._older.get(uid)
        if seq is not None:
            self._log.read(seq, seq, partial(_compare, event, answer))
            return True
        return False

    def record(self, event: Stored) -> list[Callback]:
        """Note that *event*, which has a uid, is stored. Return the calls for the repetitions that waited for it."""
        if event.seq - self._generation_start > REMEMBERED_LINES:
            self._older, self._recent, self._generation_start = self._recent, {}, event.seq
        self._recent[event.uid] = event.seq
        pending = self._pending.pop(event.uid, ())
        return [partial(_compare, other, answer, [event]) for other, answer in pending if other is not event]

    def forget(self, failure: StoreFailed, uid: str) -> list[Callback] | None:
        """Note that the line with *uid* was not stored. Return the calls for its repetitions. It may be sent again.

        Return None if another node has stored it meanwhile. Then ``record`` has answered all.
        """
        pending = self._pending.pop(uid, None)
        if pending is None:
            return None
        return [partial(answer, failure) for other, answer in pending if other is not failure.event]

    def repeat(self, event: Repeated) -> list[Callback]:
        """Note that *event* was stored by another node. Return the calls for the line, if this node had forgotten it.

        Usually ``record`` has answered, because the first line has come from the other node meanwhile.
        """
        pending = self._pending.pop(event.event.uid, ())
        return [
            partial(self._log.read, event.seq, event.seq, partial(_compare, other, answer)) for other, answer in pending
        ]


def _compare(event: Stored, answer: Answer, found: Sequence[Stored] | JournalError) -> None:
    """Call *answer* with the line in *found*, if *event* repeats it, else with the reason why it does not."""
    if isinstance(found, JournalError):
        answer(found)
    elif not found:
        answer(JournalError("the line with this uid cannot be read"))
    else:
        first = found[0]
        is_same = type(first) is type(event) and (first.nick, first.text) == (event.nick, event.text)
        if isinstance(first, Shared) and isinstance(event, Shared):
            is_same = is_same and first.file.size == event.file.size
        answer(first if is_same else UidReused(first.seq))
