"""The command ``copy``: a journal moves from SQLite to PostgreSQL, or back.

It goes on where it was interrupted. The copy counts as a journal only after all of it was compared with the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Final, Protocol

from broadcast.admin.output import Progress
from broadcast.admin.reading import JournalReader, RoomSize
from broadcast.admin.status import DAMAGED, UNUSABLE, AdminError
from broadcast.core.events import Stored
from broadcast.core.records import AuditEntry, PrivateLine, StoredRecords

ALL: Final = 2**62
"""More entries than an audit trail has."""


class JournalWriter(Protocol):
    """A journal that a copy fills."""

    def last_line(self, room: RoomSize) -> int:
        """Return the number of the last line that the copy of *room* has, and give it the topic."""

    def add_lines(self, room: RoomSize, lines: Sequence[Stored]) -> None:
        """Add the next *lines* of *room*. A ``uid`` that an earlier line has may be left out."""

    def replace_records(self, records: StoredRecords, audit: Sequence[AuditEntry]) -> None:
        """Store these records, and no others. The copy has no private lines afterwards."""

    def add_private(self, lines: Sequence[PrivateLine]) -> None:
        """Add the next private *lines*."""

    def reader(self) -> JournalReader:
        """Return what the copy has so far."""

    def finish(self, journal_id: str) -> None:
        """Make the copy a journal with this identifier."""


def copy(source: JournalReader, target: JournalWriter) -> list[str]:
    """Copy *source* to *target*, and compare them. Return lines about the result. Raises ``AdminError``."""
    journal_id, rooms = source.id(), source.rooms()
    total, done = sum(room.last for room in rooms), 0
    progress = Progress(lambda: f"{done:,} of {total:,} lines copied")
    try:
        for room in rooms:
            start = target.last_line(room)
            done += start
            for lines in source.lines(room, start):
                target.add_lines(room, lines)
                done += len(lines)
                progress.update()
        _copy_records(source, target)
        progress.end()
        repeated = _compare(source, target.reader(), rooms)
    finally:
        progress.end()
    if source.rooms() != rooms:
        text = "the journal has changed meanwhile: stop its server, and run the same command again"
        raise AdminError(UNUSABLE, text)
    target.finish(journal_id)
    report = [f"{room.name}: {room.last} lines" for room in rooms]
    if repeated:
        report.append(f"{repeated} lines have the uid of an earlier line: the copy has them without it.")
    return [*report, "The copy is complete."]


def _copy_records(source: JournalReader, target: JournalWriter) -> None:
    target.replace_records(source.records(), source.audit(ALL))
    for lines in source.private_lines():
        target.add_private(lines)


def _compare(source: JournalReader, copied: JournalReader, rooms: Sequence[RoomSize]) -> int:
    """Return the number of lines without their ``uid``. Raises ``AdminError`` if there is another difference."""
    total, done, repeated = sum(room.last for room in rooms), 0, 0
    progress = Progress(lambda: f"{done:,} of {total:,} lines compared")
    copies = {room.name: room for room in copied.rooms()}
    try:
        for room in rooms:
            mine = copies.get(room.name)
            if mine is None or mine[1:] != room[1:]:
                raise _difference(f"the room {room.name}")
            for original, copy in zip_longest(source.lines(room), copied.lines(mine), fillvalue=()):
                if original != copy:
                    repeated += _count_repeated(room, original, copy)
                done += len(original)
                progress.update()
    finally:
        progress.end()
    if source.records() != copied.records() or source.audit(ALL) != copied.audit(ALL):
        raise _difference("the accounts, bans or audit trail")
    for originals, copied_lines in zip_longest(source.private_lines(), copied.private_lines()):
        if originals != copied_lines:
            raise _difference("the private lines")
    return repeated


def _count_repeated(room: RoomSize, originals: Sequence[Stored], copies: Sequence[Stored]) -> int:
    """Return the number of *copies* without the ``uid``. Raises ``AdminError`` if there is another difference."""
    count = 0
    for original, copy in zip_longest(originals, copies):
        if original != copy:
            if original is None or copy is None or not original.uid or replace(original, uid="") != copy:
                raise _difference(f"line #{(original or copy).seq} of the room {room.name}")
            count += 1
    return count


def _difference(what: str) -> AdminError:
    text = f"{what} is not the same in the copy: it was changed meanwhile, or is damaged; run the same command again"
    return AdminError(DAMAGED, text)
