from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from broadcast.client.terminal.history import DraftHistory


def typed_before(path: Path, entries: int = 1000) -> list[str]:
    """What a new run brings back, the newest first."""
    return list(DraftHistory(path, entries).load_history_strings())


def test_what_was_typed_is_there_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history"
    history = DraftHistory(path)
    history.append_string("one")
    history.append_string("日本 👋")
    assert typed_before(path) == ["日本 👋", "one"]
    assert history.get_strings() == ["one", "日本 👋"]


def test_a_line_twice_in_a_row_is_kept_once_and_an_empty_one_never(tmp_path: Path) -> None:
    history = DraftHistory(tmp_path / "history")
    for line in ("one", "one", "", "two", "one"):
        history.append_string(line)
    assert typed_before(tmp_path / "history") == ["one", "two", "one"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history"
    DraftHistory(path).append_string("one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    DraftHistory(path).append_string("two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_is_cut_down_to_the_newest_lines_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = DraftHistory(path)
    for number in range(12):
        history.append_string(f"line {number}")
    assert typed_before(path, 3) == ["line 11", "line 10", "line 9"]
    assert path.read_text("utf-8") == "line 9\nline 10\nline 11\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or sys.platform == "win32"
    assert [found.name for found in tmp_path.iterdir()] == ["history"]


def test_a_draft_of_several_lines_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = DraftHistory(path)
    for draft in ("before", "one\n\ntwo \\n\n", "after"):
        history.append_string(draft)
    assert typed_before(path) == ["after", "one\n\ntwo \\n\n", "before"]
    assert typed_before(path, 2) == ["after", "one\n\ntwo \\n\n"]
    assert typed_before(path) == ["after", "one\n\ntwo \\n\n"]


def test_two_clients_at_once_both_keep_their_lines(tmp_path: Path) -> None:
    one, other = DraftHistory(tmp_path / "history"), DraftHistory(tmp_path / "history")
    one.append_string("from one")
    other.append_string("from the other")
    one.append_string("again from one")
    assert typed_before(tmp_path / "history") == ["again from one", "from the other", "from one"]


def test_a_folder_that_cannot_be_written_to_leaves_the_lines_of_this_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = DraftHistory(tmp_path / "file" / "history")
    history.append_string("one")
    assert history.get_strings() == ["one"]
    assert typed_before(tmp_path / "file" / "history") == []


def test_a_file_that_is_no_text_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "history").write_bytes(b"good\n\xff\xfe\n")
    assert typed_before(tmp_path / "history") == ["\ufffd\ufffd", "good"]


def test_what_cannot_be_encoded_is_kept_as_far_as_it_can_be(tmp_path: Path) -> None:
    DraftHistory(tmp_path / "history").append_string("a\udc80b")
    assert typed_before(tmp_path / "history") == ["a?b"]
