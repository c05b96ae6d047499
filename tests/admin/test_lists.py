"""The lists of accounts and bans and the audit trail stand in columns, and show no password hash."""

from __future__ import annotations

from pathlib import Path

from tests.admin.conftest import Run
from tests.admin.journals import contents

ACCOUNTS = """\
NAME  ROLE      CREATED                    LAST USED
ann   operator  2026-01-15T12:00:00+00:00  2026-01-15T12:01:00+00:00
bob   -         2026-01-15T12:00:00+00:00  2026-01-15T12:00:00+00:00
"""
BANS = """\
TARGET        KIND     UNTIL                      BY   SINCE                      REASON
192.0.2.0/24  address  -                          ann  2026-01-15T12:00:00+00:00  too much noise
bob           account  2026-01-15T13:00:00+00:00  ann  2026-01-15T12:00:00+00:00  -
"""
AUDIT = """\
TIME                       BY   ACTION  TARGET        DETAIL
2026-01-15T12:00:00+00:00  ann  ban     192.0.2.0/24  too much noise
2026-01-15T12:00:01+00:00  ann  ban     bob           -
"""


def test_accounts_bans_and_the_audit_trail_are_listed(run: Run, folder: Path) -> None:
    before = contents(folder)
    assert run("accounts") == (0, ACCOUNTS, "")
    assert run("bans") == (0, BANS, "")
    assert run("audit") == (0, AUDIT, "")
    assert contents(folder) == before


def test_the_lists_are_the_same_while_a_server_runs(run: Run, used_folder: Path) -> None:
    assert run("accounts", data=used_folder) == (0, ACCOUNTS, "")
    assert run("bans", data=used_folder) == (0, BANS, "")


def test_the_audit_trail_ends_with_the_newest_entries(run: Run) -> None:
    lines = run("audit", "1").out.splitlines()
    assert lines[1:] == ["2026-01-15T12:00:01+00:00  ann  ban     bob     -"]
    assert run("audit", "0").status == 2
