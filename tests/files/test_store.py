"""A share survives every restart, ends with its time, and leaves nothing; a fault of the disk is logged once."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from shutil import rmtree
from typing import NoReturn

import pytest

from broadcast.core.errors import StartupError
from broadcast.core.slots import MIN_COUNTED_BYTES
from broadcast.files import contents
from broadcast.files.store import StoreFull
from tests.files.stores import MIB, StoreWorld, broken, hash_of, path_of
from tests.platforms import not_on_windows


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path / "files")


def test_a_share_has_its_content_its_record_and_nothing_else(world: StoreWorld) -> None:
    file = world.share(b"hello", "hello.txt")
    assert (file.name, file.size, file.type, file.sha256) == ("hello.txt", 5, "text/plain", hash_of(b"hello"))
    assert world.names() == {file.sha256, f"{file.id}.json"}
    assert (world.folder / file.sha256).read_bytes() == b"hello"
    assert world.read(file) == b"hello"
    assert world.store.find(file.id) == file


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_the_owner_of_the_server_can_read_the_files(world: StoreWorld) -> None:
    world.share(b"secret")
    assert world.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in world.folder.iterdir()} == {0o600}


@not_on_windows("Windows does not sync folders")
def test_a_share_is_announced_only_when_all_of_it_is_durable(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode))

    upload = world.upload(b"hello")
    world.worker.settle()
    monkeypatch.setattr(os, "fsync", note)
    finish = world.finish(upload)
    before: list[int] = []
    while not finish.results:
        before = list(synced)
        assert world.worker.work_once() or world.worker.deliver_once()
    assert before == [stat.S_IFREG, stat.S_IFREG, stat.S_IFDIR]  # the content, the record, and the folder with both
    assert finish.file.id


def test_the_disk_gets_each_mib_of_an_upload_soon_and_the_journal_never_waits_for_more_than_eight(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []
    synced: list[int] = []

    def begin(descriptor: int, offset: int) -> None:
        begun.append((offset, os.fstat(descriptor).st_size))

    monkeypatch.setattr("broadcast.files.contents.begin_writing", begin)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    upload = world.store.begin("ann", 18 * MIB)
    for _ in range(36):
        upload.write(bytes(MIB // 2))
        world.worker.settle()
    assert synced == [8 * MIB, 16 * MIB]
    assert begun == [(mib * MIB, (mib + 1) * MIB) for mib in range(18) if mib not in (7, 15)]


def test_an_empty_file_can_be_shared(world: StoreWorld) -> None:
    file = world.share(b"")
    assert file.size == 0
    assert world.read(file) == b""


def test_the_same_content_is_on_disk_once_and_ends_with_its_last_share(world: StoreWorld) -> None:
    first, second = world.share(b"same", owner="ann"), world.share(b"same", owner="bob")
    assert first.id != second.id
    assert world.names() == {first.sha256, f"{first.id}.json", f"{second.id}.json"}
    world.store.remove(first.id)
    world.worker.settle()
    assert world.read(second) == b"same"
    world.store.remove(second.id)
    world.store.remove(second.id)  # no effect
    world.worker.settle()
    assert world.names() == set()


# Faults


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_at_any_step_leaves_nothing_and_is_logged_once(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    def fail(*_arguments: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    for _ in range(2):
        with monkeypatch.context() as patch:
            if step == "replace":
                patch.setattr(Path, "replace", fail)
            else:
                patch.setattr(os, step, fail)
            finish = world.finish(world.upload(b"hello"))
            world.worker.settle()
        assert isinstance(finish.error, StoreFull) == (code == errno.ENOSPC)
        assert (len(world.store), world.store.used_bytes, world.store.uploads) == (0, 0, 0)
        assert world.names() == set()
    assert world.reports == [f"Shared files cannot be stored: {os.strerror(code)}."]
    assert world.share(b"hello").size == 5


def test_a_failure_between_two_steps_of_the_commit_leaves_other_shares_of_the_content(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.share(b"same")
    with monkeypatch.context() as patch:
        patch.setattr(contents, "sync_folder", broken)
        finish = world.finish(world.upload(b"same"))
        world.worker.settle()
    assert str(finish.error)
    assert world.names() == {first.sha256, f"{first.id}.json"}
    assert world.read(first) == b"same"


def test_uploads_leave_room_on_the_disk_for_the_journal(world: StoreWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = contents.MIN_FREE_BYTES + 4

    monkeypatch.setattr(contents, "disk_usage", lambda _: Usage)
    finish = world.finish(world.upload(b"hello"))
    world.worker.settle()
    assert str(finish.error) == "the disk of this server is full."
    assert world.share(b"four").size == 4


@not_on_windows("Windows does not let anybody remove an unfinished upload")
def test_a_removed_folder_fails_the_upload_and_is_made_again(world: StoreWorld) -> None:
    file = world.share(b"old")
    upload = world.upload(b"hello")
    world.worker.settle()
    rmtree(world.folder)
    finish = world.finish(upload)
    world.worker.settle()
    assert str(finish.error) == "this server cannot store files now: No such file or directory."
    assert world.read(file) is None
    assert world.store.find(file.id)  # it may come back
    assert world.share(b"again").size == 5


def test_a_folder_that_comes_back_has_its_files_again(world: StoreWorld) -> None:
    file = world.share(b"hello")
    world.folder.rename(world.folder.with_name("away"))
    assert world.read(file) is None
    world.folder.with_name("away").rename(world.folder)
    assert world.read(file) == b"hello"


def test_a_removed_data_folder_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    world = StoreWorld(tmp_path / "data" / "files")
    rmtree(tmp_path / "data")
    finish = world.finish(world.upload(b"hello"))
    world.worker.settle()
    assert str(finish.error)
    assert not (tmp_path / "data").exists()


@not_on_windows("Windows does not let anybody remove an unfinished upload")
def test_another_file_in_the_place_of_an_unfinished_upload_is_not_shared(world: StoreWorld) -> None:
    upload = world.upload(b"hello")
    world.worker.settle()
    path_of(upload).unlink()
    path_of(upload).write_bytes(b"HELLO")
    finish = world.finish(upload)
    world.worker.settle()
    assert str(finish.error)


def test_a_content_that_was_removed_or_replaced_ends_the_share(world: StoreWorld) -> None:
    removed, replaced = world.share(b"removed"), world.share(b"replaced")
    (world.folder / removed.sha256).unlink()
    (world.folder / replaced.sha256).write_bytes(b"something else")
    for file in (removed, replaced):
        assert world.read(file) is None
        assert world.read(file) is None
        assert world.store.find(file.id) is None
        assert world.reports.pop() == f"The content of a shared file was removed from {world.folder}: {file.sha256}."
    assert world.reports == []


def test_a_folder_that_is_a_file_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("")
    with pytest.raises(StartupError, match=r"cannot use the folder .*files: it is a file\. Move it away, or"):
        StoreWorld(tmp_path / "files")


def test_a_folder_that_cannot_be_read_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "iterdir", broken)
    with pytest.raises(StartupError, match=r"cannot use the folder .*files: Input/output error; let this user read"):
        StoreWorld(tmp_path / "files")


# Restarts


@not_on_windows("a crash that is only simulated leaves files open, and Windows removes none of them")
def test_a_restart_keeps_shares_and_removes_what_a_crash_has_left(world: StoreWorld) -> None:
    file = world.share(b"hello", "héllo.txt")
    world.upload(b"unfinished")
    world.worker.work_once()
    sealed = world.finish(world.upload(b"sealed"))
    world.worker.work_once()
    (world.folder / hash_of(b"orphan")).write_bytes(b"orphan")
    (world.folder / "notes.txt").write_text("of the operator")
    assert len(world.names()) == 6
    world.restart()
    assert not sealed.results
    assert world.names() == {file.sha256, f"{file.id}.json", "notes.txt"}
    assert world.store.find(file.id) == file
    assert world.read(file) == b"hello"
    assert world.reports == []


def test_a_record_without_its_content_is_removed_and_logged(world: StoreWorld) -> None:
    file = world.share(b"hello")
    (world.folder / file.sha256).unlink()
    world.restart()
    assert world.names() == set()
    assert world.reports == [f"The content of a shared file was removed from {world.folder}: {file.sha256}."]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"id": "x"}'])
def test_a_record_that_cannot_be_read_removes_nothing(world: StoreWorld, text: str) -> None:
    file = world.share(b"hello")
    (world.folder / f"{file.id}.json").write_text(text)
    world.restart()
    assert world.names() == {file.sha256, f"{file.id}.json"}
    assert world.store.find(file.id) is None
    assert world.reports == [f"{file.id}.json is no record of a shared file: move it out of {world.folder}."]


@pytest.mark.parametrize(("member", "value"), [("sha256", []), ("size", "5"), ("at", "noon"), ("owner", None)])
def test_a_record_with_a_value_of_another_type_removes_nothing(world: StoreWorld, member: str, value: object) -> None:
    file, other = world.share(b"hello"), world.share(b"other")
    record = world.folder / f"{file.id}.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {member: value}))
    world.restart()
    assert world.names() == {record.name, file.sha256, f"{other.id}.json", other.sha256}
    assert (world.store.find(file.id), world.store.find(other.id)) == (None, other)
    assert world.reports == [f"{record.name} is no record of a shared file: move it out of {world.folder}."]


def test_a_record_of_a_later_version_is_read(world: StoreWorld) -> None:
    file = world.share(b"hello")
    record = world.folder / f"{file.id}.json"
    record.write_text(record.read_text().replace("{", '{"novelty": 1, ', 1))
    world.restart()
    assert world.store.find(file.id) == file


# Ends


def test_a_file_ends_after_its_days(world: StoreWorld) -> None:
    old = world.share(b"old")
    world.now += 86_400
    new = world.share(b"new")
    world.now += 29 * 86_400
    world.clock.advance(60)
    world.worker.settle()
    assert world.store.find(old.id) is None
    assert world.names() == {new.sha256, f"{new.id}.json"}
    world.now += 86_400
    world.restart()  # a server that did not run meanwhile
    assert world.names() == set()


def test_a_clock_that_jumps_an_hour_ends_nothing(world: StoreWorld) -> None:
    upload = world.upload(b"1", limit=2)
    file = world.share(b"hello")
    world.now += 3600
    world.clock.advance(60)
    world.now -= 7200
    world.clock.advance(60)
    world.worker.settle()
    assert upload.is_open
    assert world.store.find(file.id)


def test_a_closed_store_sweeps_no_more(world: StoreWorld) -> None:
    world.store.close()
    world.clock.advance(60)
    assert world.worker.closed
    assert not world.clock.getDelayedCalls()


def test_the_oldest_file_of_an_owner_can_be_removed_but_not_the_last_one(world: StoreWorld) -> None:
    other = world.share(b"o" * 10_000, owner="bob")
    first, second = world.share(b"1" * 10_000), world.share(b"2" * 10_000)
    assert (world.store.used_bytes, world.store.bytes_of("ann")) == (30_000, 20_000)
    assert world.store.remove_oldest("ann")
    assert not world.store.remove_oldest("ann")
    assert not world.store.remove_oldest("carol")
    world.worker.settle()
    assert [world.store.has(file.id) for file in (other, first, second)] == [True, False, True]
    assert (world.store.used_bytes, world.store.bytes_of("ann"), world.store.bytes_of("carol")) == (20_000, 10_000, 0)


def test_a_content_is_removed_with_all_its_shares(world: StoreWorld) -> None:
    other = world.share(b"other", "o.txt")
    files = [world.share(b"content", name, owner) for name, owner in [("a.txt", "ann"), ("b.txt", "bob")]]
    assert world.store.remove_content(files[1].id) == ["b.txt", "a.txt"]
    assert world.store.remove_content(files[0].id) == ()
    world.worker.settle()
    assert world.names() == {other.sha256, f"{other.id}.json"}
    assert world.reports == []


def test_small_files_count_a_block_each(world: StoreWorld) -> None:
    world.share(b"")
    world.share(b"1")
    assert world.store.used_bytes == world.store.bytes_of("ann") == 2 * MIN_COUNTED_BYTES
