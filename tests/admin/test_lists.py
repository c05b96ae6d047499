"""The lists of accounts and bans and the audit trail stand in columns, and show no password hash."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broadcast.server.certificates import self_signed_certificate
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
    for count in ("0", "-1", "ten"):
        ended = run("audit", count)
        assert ended.status == 2
        assert count == "-1" or f"COUNT: {count!r} is not a number from 1 on" in ended.error


def test_fingerprints_of_the_certificate_are_printed(run: Run, folder: Path, tmp_path: Path) -> None:
    why = "No such file or directory; without --cert, a server with --tls makes this file at its start"
    assert run("fingerprint") == (3, "", f"broadcast-admin: cannot read {folder / 'tls.pem'}: {why}\n")
    made = self_signed_certificate(folder, datetime.now(UTC))
    lines = f"certificate {made.fingerprint}\nkey         {made.key_fingerprint}\n"
    assert run("fingerprint") == (0, lines, "")
    assert run("fingerprint", str(folder / "tls.pem"), data=tmp_path) == (0, lines, "")
    (tmp_path / "story").write_text("no certificate")
    error = f"broadcast-admin: {tmp_path / 'story'} holds no certificate in PEM format\n"
    assert run("fingerprint", str(tmp_path / "story")) == (3, "", error)


def test_cryptography_is_asked_for_if_it_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "broadcast.server.certificates")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    install = f"run {sys.executable} -m pip install cryptography"
    assert run("fingerprint") == (3, "", f"broadcast-admin: fingerprint needs cryptography: {install}\n")
