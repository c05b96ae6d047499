"""The interface to a journal that is opened to read it, in a file or in a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from broadcast.core.events import Stored
from broadcast.core.records import AuditEntry, PrivateLine, StoredRecords

ROWS: Final = 1000
"""Number of rows that are read at once."""


class RoomSize(NamedTuple):
    """A room in the journal."""

    id: int
    name: str
    topic: str
    last: int
    """Number of the last line."""


class JournalReader(Protocol):
    """A journal, opened to read it. Each method may raise ``JournalError``."""

    def id(self) -> str:
        """Return the identifier of the journal."""

    def records(self) -> StoredRecords:
        """Return the accounts and the bans."""

    def audit(self, count: int) -> Sequence[AuditEntry]:
        """Return the newest *count* entries of the audit trail, in order."""

    def rooms(self) -> Sequence[RoomSize]:
        """Return all rooms, the oldest first."""

    def lines(self, room: RoomSize, after: int = 0) -> Iterator[Sequence[Stored]]:
        """Yield the lines of *room* with numbers above *after*, in order, some at a time."""

    def private_lines(self, after: int = 0) -> Iterator[Sequence[PrivateLine]]:
        """Yield the private lines with ids above *after*, in order, some at a time."""
