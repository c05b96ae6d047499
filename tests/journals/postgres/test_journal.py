"""The PostgreSQL journal keeps the promises of all journals."""

from __future__ import annotations

from tests.journals.contract import JournalContract
from tests.journals.postgres.support import OnPostgres
from tests.journals.records_contract import RecordsContract


class TestContract(OnPostgres, JournalContract):
    """The promises of a journal."""


class TestRecords(OnPostgres, RecordsContract):
    """The promises about records."""
