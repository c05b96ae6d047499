"""Journals for the tests of the administrator's command, and the command itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from broadcast.core.events import Action, Event, Message, TopicChanged
from broadcast.core.interfaces import OpenedRoom
from broadcast.core.records import (
    AccountRecord,
    AddAudit,
    AddPrivate,
    AuditEntry,
    Ban,
    PrivateLine,
    RecordChange,
    SaveAccount,
    SaveBan,
)
from broadcast.journals.sqlite.journal import SqliteJournal
from tests.harness import NOON
from tests.journals.contract import ReactorCalls

RECORDS: Sequence[RecordChange] = (
    SaveAccount(AccountRecord(1, "ann", "a hash", "operator", NOON, NOON + 60)),
    SaveAccount(AccountRecord(2, "bob", "", "", NOON, NOON)),
    SaveBan(Ban(1, "address", "192.0.2.0/24", "192.0.2.0/24", "too much noise", "ann", NOON, None)),
    SaveBan(Ban(2, "account", "2", "bob", "", "ann", NOON, NOON + 3600)),
    AddAudit(AuditEntry(NOON, "ann", "ban", "192.0.2.0/24", "too much noise")),
    AddAudit(AuditEntry(NOON + 1, "ann", "ban", "bob", "")),
    AddPrivate(PrivateLine(1, NOON, 1, "ann", 2, "bob", "psst", delivered=True)),
    AddPrivate(PrivateLine(2, NOON + 5, 1, "ann", 2, "bob", "are you there?", delivered=False, uid="p2")),
)
LOBBY: Sequence[Event] = (
    Message(1, "ann", "hi", NOON, uid="u1"),
    Action(2, "bob", "waves", NOON + 60),
    Message(1, "ann", "schön ☺", NOON + 120.1234),
)
KITCHEN: Sequence[Event] = (TopicChanged(1, "ann", "lunch"), Message(1, "ann", "soup", NOON + 30))


def share_file(seq: int) -> tuple[str, str]:
    """Return the statements that turn the line *seq* of the lobby into a shared file."""
    return (
        f"UPDATE events SET kind = 'shared', text = 'report.pdf' WHERE seq = {seq}",  # noqa: S608 - a number
        f"INSERT INTO files VALUES ({seq}, 'k3x', 1234567, 'application/pdf', 'ab', 0, 0)",  # noqa: S608 - likewise
    )


class Writer:
    """A journal in *folder* that is open, as that of a server."""

    def __init__(self, folder: Path) -> None:
        self._calls = ReactorCalls()
        self.journal = SqliteJournal(folder, self._calls.queue.put)
        self._add(self.journal.open("lobby", 1), LOBBY)
        opened: list[OpenedRoom] = []
        self.journal.open_room("kitchen", 1, opened.append)  # type: ignore[arg-type]
        self._calls.run_until(lambda: bool(opened))
        self._add(opened[0], KITCHEN)
        done: list[object] = []
        self.journal.records.load()
        self.journal.records.write(RECORDS, done.append)
        self._calls.run_until(lambda: bool(done))
        assert done == [None]

    def _add(self, room: OpenedRoom, events: Sequence[Event]) -> None:
        returned: list[Event] = []
        room.log.subscribe(lambda events, foreign=(): returned.extend(events))  # noqa: ARG005 - there are no others
        for event in events:
            room.log.append(event)
        self._calls.run_until(lambda: len(returned) == len(events))


def make_journal(folder: Path) -> Path:
    """Make a journal with two rooms and some records in *folder*, and return the path of its database."""
    Writer(folder).journal.close()
    return folder / "journal.sqlite"


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the mode and the bytes of each file in *folder*."""
    return {path.name: (path.stat().st_mode, path.read_bytes()) for path in folder.iterdir() if path.is_file()}
