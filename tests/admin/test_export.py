"""``export`` prints what is stored, and private lines only if it is asked for them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.admin.conftest import Run
from tests.admin.journals import contents, share_file
from tests.harness import NOON

TEXT = """\
== lobby
#1 [2026-01-15T12:00:00+00:00] ann: hi
#2 [2026-01-15T12:01:00+00:00] ** bob waves
#3 [2026-01-15T12:02:00+00:00] ann: schön ☺
== kitchen: lunch
#1 [2026-01-15T12:00:30+00:00] ann: soup
"""
PRIVATE = """\
== private lines
#1 [2026-01-15T12:00:00+00:00] ann to bob: psst
#2 [2026-01-15T12:00:05+00:00] ann to bob (waiting): are you there?
"""


def test_text_has_a_header_for_each_room_and_no_private_lines(run: Run) -> None:
    assert run("export") == (0, TEXT, "")


def test_private_lines_follow_if_they_are_asked_for(run: Run) -> None:
    assert run("export", "--private") == (0, TEXT + PRIVATE, "")


def test_json_is_one_object_a_line(run: Run) -> None:
    lines = [json.loads(line) for line in run("export", "--json").out.splitlines()]
    first = {"room": "lobby", "seq": 1, "at": NOON, "kind": "said", "nick": "ann", "text": "hi", "uid": "u1"}
    assert lines[0] == first
    assert lines[1] == first | {"seq": 2, "at": NOON + 60, "kind": "emoted", "nick": "bob", "text": "waves", "uid": ""}
    assert lines[2]["at"] == NOON + 120.123
    assert [(line["room"], line["seq"]) for line in lines] == [
        ("lobby", 1),
        ("lobby", 2),
        ("lobby", 3),
        ("kitchen", 1),
    ]
    private = [json.loads(line) for line in run("export", "--json", "--private").out.splitlines()[4:]]
    waiting = {"room": None, "id": 2, "at": NOON + 5, "kind": "private", "nick": "ann", "to": "bob"}
    assert private[1] == waiting | {"text": "are you there?", "uid": "p2", "delivered": False}
    assert private[0]["delivered"] is True


def test_files_are_exported_with_their_size_and_their_hash(run: Run, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        for statement in share_file(2):
            db.execute(statement)
        db.commit()
    assert run("export").out.splitlines()[2] == "#2 [2026-01-15T12:01:00+00:00] * bob shared report.pdf (1.2 MB)"
    line = json.loads(run("export", "--json").out.splitlines()[1])
    file = {"id": "k3x", "name": "report.pdf", "size": 1234567, "type": "application/pdf", "sha256": "ab"}
    assert (line["kind"], line["text"], line["file"]) == ("shared", "report.pdf", file | {"width": 0, "height": 0})


def test_rooms_and_times_are_chosen(run: Run) -> None:
    assert run("export", "--room", "kitchen").out == TEXT[TEXT.index("== kitchen") :]
    assert run("export", "--room", "kitchen", "--room", "lobby").out == TEXT
    times = ("--since", "2026-01-15T12:00:30", "--until", "2026-01-15T13:02+01:00")
    assert run("export", *times).out.splitlines() == [
        "== lobby",
        "#2 [2026-01-15T12:01:00+00:00] ** bob waves",
        "== kitchen: lunch",
        "#1 [2026-01-15T12:00:30+00:00] ann: soup",
    ]
    assert run("export", "--since", "2026-01-16", "--private") == (0, "", "")


def test_a_room_that_is_unknown_and_a_time_that_is_none_are_reported(run: Run) -> None:
    assert run("export", "--room", "attic") == (1, "", "broadcast-admin: the journal has no room attic\n")
    ended = run("export", "--since", "yesterday")
    assert (ended.status, ended.out) == (2, "")
    assert "--since" in ended.error
    assert ended.error.count("\n") == 1


def test_a_journal_that_no_server_uses_is_only_read(run: Run, folder: Path) -> None:
    before = contents(folder)
    folder.chmod(0o500)
    run("export", "--private")
    assert contents(folder) == before


def test_a_journal_that_a_server_uses_is_read(run: Run, used_folder: Path) -> None:
    assert run("export", data=used_folder) == (0, TEXT, "")


def test_a_reader_that_goes_away_ends_the_export_quietly(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        rows = ((number, NOON, "said", "ann", "x" * 100) for number in range(4, 20_000))
        db.executemany("INSERT INTO events (seq, at, kind, nick, text) VALUES (?, ?, ?, ?, ?)", rows)
        db.commit()
    command = [sys.executable, "-m", "broadcast.admin", "--data", str(folder), "export"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as export:  # noqa: S603
        assert export.stdout is not None
        assert export.stderr is not None
        assert export.stdout.readline() == b"== lobby\n"
        export.stdout.close()
        assert export.stderr.read() == b""
    assert export.returncode == 141


def test_a_full_disk_is_reported(folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-m", "broadcast.admin", "--data", str(folder), "export"]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=200)  # noqa: S603
    assert ended.returncode == 6
    assert ended.stderr == b"broadcast-admin: the standard output cannot be written: No space left on device\n"


def test_the_output_is_utf_8_in_any_locale(folder: Path) -> None:
    command = [sys.executable, "-X", "utf8=0", "-m", "broadcast.admin", "--data", str(folder), "export"]
    ended = subprocess.run(  # noqa: S603
        command,
        env=os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        check=False,
        timeout=200,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "schön ☺" in ended.stdout.decode()


def test_a_damaged_line_ends_the_export(run: Run, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        db.execute("UPDATE events SET kind = 'sung' WHERE seq = 2")
        db.commit()
    ended = run("export")
    assert ended == (4, "", "broadcast-admin: the journal's line #2 cannot be read\n")


def test_a_journal_of_an_earlier_version_is_not_converted(run: Run, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        db.execute("PRAGMA user_version = 4")
    before = contents(folder)
    ended = run("export")
    assert ended.status == 3
    assert "has schema version 4 of an earlier version: start the server once, which converts it" in ended.error
    assert contents(folder) == before


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "12:30", "0001-01-01", ""])
def test_a_time_in_another_form_is_rejected_with_the_forms_that_are_accepted(run: Run, text: str) -> None:
    ended = run("export", "--since", text)
    if text != "0001-01-01":  # some systems know this time
        assert ended.status == 2
        assert f"--since: {text!r} is not a time: write it as 2026-01-15, 2026-01-15T12:30 or" in ended.error


def test_the_data_folder_is_named_before_or_after_the_command(run: Run, folder: Path, tmp_path: Path) -> None:
    expected = run("accounts")
    assert expected.status == 0
    assert run("accounts", "--data", str(folder), data=tmp_path / "missing") == expected
    assert run("export", "--json", "--data", str(folder), "--room", "kitchen", data=tmp_path / "missing").status == 0


@pytest.mark.parametrize("command", [["export"], ["accounts"], ["bans"], ["audit"], ["verify"], ["backup", "b"]])
def test_a_folder_without_a_journal_is_reported(run: Run, tmp_path: Path, command: list[str]) -> None:
    missing = tmp_path / "missing"
    assert run(*command, data=missing).error == (
        f"broadcast-admin: there is no folder {missing}: give --data the data folder of the server\n"
    )
    missing.mkdir()
    advice = "start the server once, or give --data its data folder, or --journal if it uses PostgreSQL"
    assert run(*command, data=missing) == (
        3,
        "",
        f"broadcast-admin: the folder {missing} holds no journal (journal.sqlite): {advice}\n",
    )
    assert list(missing.iterdir()) == []
    (missing / "journal.sqlite").write_text("a story " * 100)
    ended = run(*command, data=missing)
    assert ended.status == 4
    assert "is not an SQLite database" in ended.error
