"""The commands ``accounts``, ``bans`` and ``audit``: lists in columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from broadcast.admin.output import format_time
from broadcast.admin.reading import JournalReader
from broadcast.core.records import AccountRecord, AuditEntry, Ban

HEADERS = {
    "accounts": ("NAME", "ROLE", "CREATED", "LAST USED"),
    "bans": ("TARGET", "KIND", "UNTIL", "BY", "SINCE", "REASON"),
    "audit": ("TIME", "BY", "ACTION", "TARGET", "DETAIL"),
}


def rows_of(journal: JournalReader, which: str, count: int) -> Iterable[Sequence[str]]:
    """Yield the header and the rows of the list *which*: all accounts, all bans, or *count* entries of the trail.

    Only the last column of a row may hold blanks. A dash stands for a value that is empty.
    """
    yield HEADERS[which]
    records: Iterable[AccountRecord | Ban | AuditEntry]
    if which == "audit":
        records = journal.audit(count)
    else:
        stored = journal.records()
        records = stored.accounts if which == "accounts" else stored.bans
    for record in records:
        yield [value or "-" for value in _row(record)]


def _row(record: AccountRecord | Ban | AuditEntry) -> Sequence[str]:
    match record:
        case AccountRecord():
            return record.name, record.role, format_time(record.created), format_time(record.last_used)
        case Ban():
            until = "" if record.until is None else format_time(record.until)
            return record.name, record.target, until, record.by, format_time(record.at), record.reason
        case AuditEntry():
            return format_time(record.at), record.by, record.action, record.target, record.detail
