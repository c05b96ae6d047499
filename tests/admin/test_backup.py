"""``backup`` makes a complete copy under a new name, or nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.admin.conftest import Run
from tests.admin.journals import contents


def test_the_copy_is_complete_for_its_owner_only_and_a_journal(run: Run, folder: Path, tmp_path: Path) -> None:
    before, copy = contents(folder), tmp_path / "copy.sqlite"
    mask = os.umask(0)
    try:
        assert run("backup", str(copy)) == (0, "", "")
    finally:
        os.umask(mask)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert contents(folder) == before
    restored = tmp_path / "restored"
    restored.mkdir()
    copy.rename(restored / "journal.sqlite")
    for command in (["export", "--private"], ["accounts"], ["bans"], ["audit"], ["verify"]):
        assert run(*command, data=restored) == run(*command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "restored"]


def test_a_journal_that_a_server_uses_is_copied(run: Run, used_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    assert run("backup", str(copy), data=used_folder).status == 0
    assert run("verify", str(copy)) == (
        0,
        "lobby: 3 lines, #1-#3\nkitchen: 1 lines, #1-#1\nThe journal is intact.\n",
        "",
    )


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_nothing_is_overwritten(run: Run, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "copy.sqlite"
    match kind:
        case "file":
            copy.write_text("precious")
        case "folder":
            copy.mkdir()
        case _:
            copy.symlink_to(tmp_path / "elsewhere")
    assert run("backup", str(copy)) == (
        3,
        "",
        f"broadcast-admin: {copy} exists already: give the backup another name, or move that file away\n",
    )
    if kind == "file":
        assert copy.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


def test_the_draft_of_an_interrupted_backup_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    copy, draft = tmp_path / "copy.sqlite", tmp_path / "copy.sqlite.new"
    draft.write_text("a draft")
    assert f"{draft} exists already" in run("backup", str(copy)).error
    assert draft.read_text() == "a draft"
    assert not copy.exists()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(5, "Input/output error"), "cannot write {copy}: Input/output error"),
        (KeyboardInterrupt(), ""),
    ],
)
def test_a_failure_leaves_nothing_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, why: str
) -> None:
    copy = tmp_path / "copy.sqlite"

    def fail(_descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    ended = run("backup", str(copy))
    assert ended.status == (3 if why else 130)
    assert why.format(copy=copy) in ended.error
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_that_does_not_exist_is_reported(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "nowhere" / "copy"
    assert run("backup", str(copy)) == (3, "", f"broadcast-admin: cannot write {copy}: No such file or directory\n")


def test_a_damaged_journal_is_not_copied(run: Run, folder: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        page = db.execute("PRAGMA page_size").fetchone()[0]
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()[0]
    with (folder / "journal.sqlite").open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xff" * page)
    ended = run("backup", str(tmp_path / "copy"))
    assert ended.status == 4
    assert "cannot be trusted" in ended.error
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert run("verify").status == 4
