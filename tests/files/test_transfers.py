"""An upload becomes a share or leaves nothing, and a fault ends a download."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from broadcast.files import contents
from broadcast.files.transfers import HIGH_WATER_BYTES, Download, WrongContent
from tests.files.stores import MIB, StoreWorld, broken, hash_of, path_of


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path / "files")


def test_bytes_that_wait_for_the_disk_are_limited(world: StoreWorld) -> None:
    upload = world.store.begin("ann", 10 * MIB)
    progress: list[bool] = []
    upload.on_progress = lambda: progress.append(upload.is_congested)
    sent = 0
    while not upload.is_congested:
        upload.write(bytes(65536))
        sent += 65536
    assert sent == HIGH_WATER_BYTES
    world.worker.settle()
    assert progress[-1] is False
    assert len(world.worker.work) == 0
    assert upload.received == sent


def test_small_chunks_take_no_more_memory_than_large_ones(world: StoreWorld) -> None:
    upload = world.store.begin("ann", 10 * MIB)
    tracemalloc.start()
    try:
        while not upload.is_congested:
            upload.write(bytes((1, 2)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * HIGH_WATER_BYTES
    world.worker.settle()
    assert path_of(upload).stat().st_size == HIGH_WATER_BYTES


def test_a_cancelled_upload_leaves_nothing(world: StoreWorld) -> None:
    for steps in range(4):
        upload = world.upload(b"x" * 1000)
        for _ in range(steps):
            assert world.worker.work_once() or world.worker.deliver_once() or steps > 2
        upload.discard()
        upload.write(b"more")
        upload.discard()
        world.worker.settle()
        assert world.names() == set()
        assert (len(world.store), world.store.used_bytes, world.store.uploads) == (0, 0, 0)
        assert str(upload.failure) == "the upload was cancelled."


def test_more_bytes_than_announced_end_the_upload(world: StoreWorld) -> None:
    upload = world.upload(b"1234", limit=5)
    upload.write(b"56")
    world.worker.settle()
    assert isinstance(upload.failure, WrongContent)
    assert str(upload.failure) == "the file is larger than 5 bytes."
    assert world.names() == set()


def test_another_content_than_the_announced_one_is_refused(world: StoreWorld) -> None:
    finish = world.finish(world.upload(b"hello"), sha256=hash_of(b"hallo"))
    world.worker.settle()
    assert isinstance(finish.error, WrongContent)
    assert str(finish.error) == f"the SHA-256 of the file is {hash_of(b'hello')}, not {hash_of(b'hallo')}."
    assert world.names() == set()
    again = world.finish(world.upload(b"hello"), sha256=hash_of(b"hello"))
    world.worker.settle()
    assert again.file.size == 5


def test_an_upload_that_finishes_cannot_be_cancelled(world: StoreWorld) -> None:
    upload = world.upload(b"hello")
    finish = world.finish(upload)
    upload.discard()
    world.worker.settle()
    assert world.read(finish.file) == b"hello"


# Downloads


def test_a_download_goes_on_after_the_share_has_ended(world: StoreWorld) -> None:
    file = world.share(b"0123456789")
    opened: list[Any] = []
    world.store.open(file, opened.append)
    world.worker.settle()
    world.store.remove(file.id)
    world.worker.settle()
    parts: list[bytes] = []
    download: Download = opened[0]
    download.read(3, 4, parts.append)
    world.worker.settle()
    assert parts == [b"3456"]
    download.close()
    download.close()
    world.worker.settle()
    with pytest.raises(OSError, match=r"Bad file descriptor|handle"):
        os.fstat(descriptor_of(download))


def descriptor_of(download: Download) -> int:
    content = download._content
    assert isinstance(content, contents.OpenFile)
    return content.descriptor


def test_a_download_that_closes_in_a_read_closes_its_file_after_it(world: StoreWorld) -> None:
    opened: list[Any] = []
    world.store.open(world.share(b"0123456789"), opened.append)
    world.worker.settle()
    download: Download = opened[0]
    parts: list[bytes] = []
    download.read(0, 4, parts.append)
    download.close()
    assert len(world.worker.work) == 1
    world.worker.settle()
    assert parts == []
    with pytest.raises(OSError, match=r"Bad file descriptor|handle"):
        os.fstat(descriptor_of(download))


def test_a_fault_while_reading_ends_the_download(world: StoreWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    world.store.open(world.share(b"0123456789"), opened.append)
    world.worker.settle()
    parts: list[bytes] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread" if hasattr(os, "pread") else "lseek", broken)
        opened[0].read(0, 4, parts.append)
        world.worker.settle()
    assert parts == [b""]
    opened[0].close()
    world.worker.settle()
