"""``backup`` makes a complete copy under a new name, or nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import asdict
from hashlib import sha256
from json import dumps
from pathlib import Path

import pytest

from broadcast.admin import backup_files
from broadcast.files.contents import Contents, PartFile, SharedFile
from tests.admin.conftest import Run
from tests.admin.journals import contents
from tests.platforms import has_mode, not_on_windows

CREATES_TARGET = not_on_windows("Windows creates the target of a link that leads nowhere")


def test_the_copy_is_complete_for_its_owner_only_and_a_journal(run: Run, folder: Path, tmp_path: Path) -> None:
    before, copy = contents(folder), tmp_path / "copy.sqlite"
    mask = os.umask(0)
    try:
        assert run("backup", str(copy)) == (0, "", "")
    finally:
        os.umask(mask)
    assert has_mode(copy, 0o600)
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


@pytest.mark.parametrize("kind", ["file", "folder", pytest.param("link", marks=CREATES_TARGET)])
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


def share(folder: Path, seq: int, content: bytes, file_id: str = "", *, is_stored: bool = True) -> str:
    """Share *content* in the line *seq* of the lobby of *folder*, as a server does. Return its SHA-256."""
    name = sha256(content).hexdigest()
    file_id = file_id or f"secret-and-random-id-{seq}"
    files = folder / "files"
    files.mkdir(exist_ok=True)
    if is_stored:
        file = SharedFile(file_id, "report.pdf", len(content), "application/pdf", name, "local ann", 1.0)
        (files / name).write_bytes(content)
        (files / f"{file_id}.json").write_text(dumps(asdict(file)))
    with closing(sqlite3.connect(folder / "journal.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE events SET kind = 'shared', text = 'report.pdf' WHERE seq = ?", (seq,))
        db.execute("INSERT INTO files VALUES (?, ?, ?, 'application/pdf', ?, 0, 0)", (seq, file_id, len(content), name))
    return name


def copied(folder: Path) -> dict[str, bytes]:
    """Return the names and bytes of the copied files, whose modes must be those of the server."""
    assert has_mode(folder, 0o700)
    assert all(has_mode(path, 0o600) for path in folder.iterdir())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_that_the_lines_name_are_copied(run: Run, folder: Path, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        names = {share(folder, 1, b"one"): b"one", share(folder, 2, b"two"): b"two"}
        share(folder, 3, b"one")
        share(folder, 4, b"removed", is_stored=False)
        (folder / "files" / ("0" * 64)).write_bytes(b"without a line")
        (folder / "files" / f"{'0' * 32}.part").write_bytes(b"unfinished")
        assert run("backup", str(tmp_path / "copy")) == (0, "", "")
    finally:
        os.umask(mask)
    records = {path.name: path.read_bytes() for path in (folder / "files").glob("*.json")}
    assert len(records) == 3
    assert copied(tmp_path / "copy.files") == names | records
    assert run("verify", str(tmp_path / "copy")).status == 0


def test_a_backup_without_files_has_no_folder_for_them(run: Run, tmp_path: Path) -> None:
    assert run("backup", str(tmp_path / "copy")) == (0, "", "")
    assert not (tmp_path / "copy.files").exists()


def test_a_file_that_is_removed_meanwhile_is_left_out(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = share(folder, 1, b"one"), share(folder, 2, b"two")
    seal = PartFile.seal

    def remove_second(part: PartFile) -> object:
        (folder / "files" / second).unlink(missing_ok=True)
        return seal(part)

    monkeypatch.setattr(PartFile, "seal", remove_second)
    assert run("backup", str(tmp_path / "copy")) == (0, "", "")
    assert copied(tmp_path / "copy.files").keys() == {first, "secret-and-random-id-1.json"}
    assert run("verify", str(tmp_path / "copy")).status == 0


def test_a_damaged_file_is_reported_and_left_out(run: Run, folder: Path, tmp_path: Path) -> None:
    first, second = share(folder, 1, b"one"), share(folder, 2, b"two")
    (folder / "files" / second).write_bytes(b"owt")
    path = folder / "files" / second
    assert run("backup", str(tmp_path / "copy")) == (
        4,
        "",
        f"broadcast-admin: {path} is damaged, so the backup does not have it\n",
    )
    assert copied(tmp_path / "copy.files").keys() == {first, "secret-and-random-id-1.json"}
    assert run("verify", str(tmp_path / "copy")).status == 0


def test_a_folder_of_files_that_was_moved_away_is_reported(run: Run, folder: Path, tmp_path: Path) -> None:
    share(folder, 1, b"one")
    (folder / "files").rename(tmp_path / "moved")
    ended = run("backup", str(tmp_path / "copy"))
    assert (ended.status, ended.error) == (
        4,
        f"broadcast-admin: there is no folder {folder / 'files'}, so the backup has no files\n",
    )
    assert run("verify", str(tmp_path / "copy")).status == 0


def test_an_interrupted_backup_continues_with_the_files_that_it_lacks(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = share(folder, 1, b"one"), share(folder, 2, b"two")
    sealed: list[Path] = []
    seal = PartFile.seal

    def interrupt_second(part: PartFile) -> object:
        sealed.append(part.path)
        if len(sealed) == 2:
            raise KeyboardInterrupt
        return seal(part)

    monkeypatch.setattr(PartFile, "seal", interrupt_second)
    copy = tmp_path / "copy"
    assert run("backup", str(copy)).status == 130
    assert not copy.exists()
    assert copied(tmp_path / "copy.files") == {first: b"one"}
    assert run("backup", str(copy)).status == 0
    assert len(sealed) == 3
    assert copied(tmp_path / "copy.files").keys() >= {first, second}


def test_only_what_an_earlier_backup_left_is_removed(run: Run, folder: Path, tmp_path: Path) -> None:
    name, old = share(folder, 1, b"one"), tmp_path / "copy.files"
    old.mkdir(mode=0o700)
    (old / ("0" * 64)).write_bytes(b"an earlier content")
    (old / "an-earlier-and-random-id.json").write_bytes(b"{}")
    (old / "notes.txt").write_bytes(b"of somebody else")
    assert run("backup", str(tmp_path / "copy")).status == 0
    names = {path.name for path in old.iterdir()}
    assert names == {name, "secret-and-random-id-1.json", "notes.txt"}


@pytest.mark.parametrize("kind", ["changed", "shortened", "missing", "record"])
def test_verify_finds_files_that_are_damaged_or_missing(run: Run, folder: Path, tmp_path: Path, kind: str) -> None:
    name, files = share(folder, 1, b"one"), tmp_path / "copy.files"
    run("backup", str(tmp_path / "copy"))
    match kind:
        case "changed":
            (files / name).write_bytes(b"eno")
        case "shortened":
            (files / name).write_bytes(b"on")
        case "missing":
            (files / name).unlink()
        case _:
            (files / "secret-and-random-id-1.json").write_bytes(b"{}")
    ended = run("verify", str(tmp_path / "copy"))
    assert ended.status == 4
    assert {"missing": "is missing", "record": "is no record"}.get(kind, "is damaged") in ended.out
    assert "use another backup" in ended.error


def test_files_that_cannot_be_read_or_written_are_reported(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(folder, 1, b"one")

    def fail(*_arguments: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Contents, "open", fail)
        ended = run("backup", str(tmp_path / "copy"))
        assert (ended.status, "Input/output error" in ended.error) == (3, True)
        assert f"cannot read {folder / 'files'}" in ended.error
    with monkeypatch.context() as patch:
        patch.setattr(PartFile, "append", fail)
        ended = run("backup", str(tmp_path / "copy"))
        assert (ended.status, "cannot write" in ended.error) == (3, True)
    assert run("backup", str(tmp_path / "copy")).status == 0
    with monkeypatch.context() as patch:
        patch.setattr(backup_files, "_hash", fail)
        assert run("verify", str(tmp_path / "copy")).status == 3


def test_a_journal_from_before_there_were_files_is_copied(run: Run, folder: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite", isolation_level=None)) as db:
        db.execute("DROP TABLE files")
        db.execute("PRAGMA user_version = 5")
    assert run("backup", str(tmp_path / "copy")) == (0, "", "")
    assert not (tmp_path / "copy.files").exists()
