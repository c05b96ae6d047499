from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from broadcast.doors.web.downloads import CHUNK_BYTES
from tests.doors.web.browsers import HttpClient, Response, request_bytes
from tests.doors.web.sharing import SharingWorld
from tests.files.stores import broken
from tests.harness import Person

CONTENT = b"0123456789"
GONE = "There is no such file, or it is no longer there.\n"


@pytest.fixture
def world(tmp_path: Path) -> SharingWorld:
    return SharingWorld(tmp_path / "files")


@pytest.fixture
def ann(world: SharingWorld) -> Person:
    return world.join("ann")[0]


@pytest.fixture
def path(world: SharingWorld, ann: Person) -> str:
    return world.share(ann, CONTENT, "digits.bin")


def etag_of(world: SharingWorld, path: str) -> str:
    return world.client().get(path, "HEAD").headers["etag"]


def test_a_file_is_sent_with_headers_that_let_it_do_nothing(world: SharingWorld, path: str) -> None:
    response = world.client().get(path)
    assert (response.status, response.body) == (200, CONTENT)
    headers = response.headers
    assert headers["content-security-policy"] == "sandbox; default-src 'none'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == 'attachment; filename="digits.bin"'
    assert headers["content-length"] == "10"
    assert headers["accept-ranges"] == "bytes"
    assert headers["cache-control"] == "private, max-age=604800, immutable"


def test_head_tells_the_same_without_the_file(world: SharingWorld, path: str) -> None:
    whole, head = world.client().get(path), world.client().get(path, "HEAD")
    assert head == Response(200, whole.headers, b"")
    assert world.client().get(path, "HEAD", range="bytes=0-1").status == 200


def test_a_connection_can_ask_for_several_files(world: SharingWorld, ann: Person, path: str) -> None:
    client = world.client()
    assert client.get(path).body == CONTENT
    assert client.get(world.share(ann, b"")).body == b""
    assert client.get(path, "HEAD").status == 200
    assert client.get(path).body == CONTENT


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        ("bytes=0-0", "0"),
        ("bytes=2-4", "234"),
        ("bytes=7-", "789"),
        ("bytes=7-100", "789"),
        ("bytes=-3", "789"),
        ("bytes=-100", "0123456789"),
        ("bytes = 2-4", "234"),
    ],
)
def test_a_range_is_sent(world: SharingWorld, path: str, header: str, sent: str) -> None:
    response = world.client().get(path, range=header)
    assert (response.status, response.text) == (206, sent)
    first = CONTENT.decode().index(sent)
    assert response.headers["content-range"] == f"bytes {first}-{first + len(sent) - 1}/10"
    assert response.headers["content-length"] == str(len(sent))


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=999999999999999999-"])
def test_a_range_behind_the_end_is_refused(world: SharingWorld, path: str, header: str) -> None:
    response = world.client().get(path, range=header)
    assert (response.status, response.headers["content-range"]) == (416, "bytes */10")


@pytest.mark.parametrize(
    "header", ["bytes=4-2", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", f"bytes={'9' * 30}-"]
)
def test_other_ranges_are_ignored(world: SharingWorld, path: str, header: str) -> None:
    response = world.client().get(path, range=header)
    assert (response.status, response.body) == (200, CONTENT)


def test_no_range_of_an_empty_file_can_be_sent(world: SharingWorld, ann: Person) -> None:
    response = world.client().get(world.share(ann, b""), range="bytes=0-")
    assert (response.status, response.headers["content-range"]) == (416, "bytes */0")


def test_if_range_decides_between_the_range_and_the_file(world: SharingWorld, path: str) -> None:
    etag = etag_of(world, path)
    for tag, status in ((etag, 206), (f"W/{etag}", 200), ('"other"', 200), ("Mon, 30 Nov 2026 00:00:00 GMT", 200)):
        assert world.client().get(path, range="bytes=0-1", if_range=tag).status == status


def test_a_browser_that_has_the_file_receives_no_other_copy(world: SharingWorld, path: str) -> None:
    etag = etag_of(world, path)
    for tags, status in ((etag, 304), (f'"a", W/{etag}', 304), ("*", 304), ('"a", "b"', 200)):
        response = world.client().get(path, if_none_match=tags)
        assert response.status == status
        assert response.headers["etag"] == etag


@pytest.mark.parametrize(
    ("name", "type_", "disposition"),
    [
        ("a.txt", "text/plain; charset=utf-8", 'inline; filename="a.txt"'),
        ("a.html", "application/octet-stream", 'attachment; filename="a.html"'),
        ("a.svg", "application/octet-stream", 'attachment; filename="a.svg"'),
        ("a.png", "application/octet-stream", 'attachment; filename="a.png"'),
        ("a.pdf", "application/pdf", 'attachment; filename="a.pdf"'),
        (
            "né & 100%.pdf",
            "application/pdf",
            "attachment; filename=\"n_ & 100_.pdf\"; filename*=UTF-8''n%C3%A9%20%26%20100%25.pdf",
        ),
        ("it's.pdf", "application/pdf", 'attachment; filename="it\'s.pdf"'),
    ],
)
def test_only_images_and_text_are_shown_by_a_browser(
    world: SharingWorld, ann: Person, name: str, type_: str, disposition: str
) -> None:
    headers = world.client().get(world.share(ann, CONTENT, name)).headers
    assert (headers["content-type"], headers["content-disposition"]) == (type_, disposition)


def test_an_image_is_shown_by_a_browser(world: SharingWorld, ann: Person) -> None:
    headers = world.client().get(world.share(ann, b"GIF89a\x01\0\x01\0", "a.gif")).headers
    assert (headers["content-type"], headers["content-disposition"]) == ("image/gif", 'inline; filename="a.gif"')


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.replace("digits", "other"),
        lambda path: path.rpartition("/")[0] + "/",
        lambda path: f"{path}/",
        lambda path: f"{path}/..",
        lambda _path: "/files/../files/x/y",
        lambda _path: "/files/..%2f..%2fjournal.sqlite/x",
        lambda _path: "/files//x",
        lambda _path: "/files/%00/x",
    ],
)
def test_another_address_is_not_found(world: SharingWorld, path: str, change: object) -> None:
    target = change(path)  # type: ignore[operator]
    for method in ("GET", "HEAD"):
        response = world.client().get(target, method)
        assert response.status == 404
        assert response.text == ("" if method == "HEAD" else GONE)


def test_files_have_no_list_and_cannot_be_changed(world: SharingWorld, path: str) -> None:
    assert world.client().get("/files/").status == 405
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        response = world.client().get(path, method)
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")
    assert world.client().get(path).body == CONTENT


def test_a_file_whose_content_was_removed_is_not_found(world: SharingWorld, path: str) -> None:
    for name in world.names():
        if "." not in name:
            (world.folder / name).unlink()
    assert world.client().get(path).text == GONE
    assert world.client().get(path).text == GONE
    assert len(world.reports) == 1


# Readers


def slow_download(world: SharingWorld, path: str) -> HttpClient:
    """Return a client that has asked for *path* and reads nothing."""
    client = world.client()
    client.stop_reading(1000)
    client.send(request_bytes("GET", path))
    return client


def test_a_client_that_does_not_read_holds_few_chunks_in_memory(world: SharingWorld, ann: Person) -> None:
    body = os.urandom(20 * CHUNK_BYTES + 1)
    client = slow_download(world, world.share(ann, body))
    assert len(client.transport.held) <= 3 * CHUNK_BYTES + 1000
    assert not world.disk.work
    client.read_on()
    world.settle()
    while not client.transport.held and len(client.transport.sent) < len(body):
        world.settle()
        client.read_on()
    assert client.response().body == body


def test_a_client_that_leaves_closes_the_file(world: SharingWorld, ann: Person) -> None:
    path = world.share(ann, os.urandom(20 * CHUNK_BYTES))
    before = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()  # noqa: PTH208
    clients = [slow_download(world, path) for _ in range(3)]
    world.disk_works = False
    clients += [slow_download(world, path)]  # it leaves before the file is open
    for client in clients:
        client.vanish()
    world.disk_works = True
    world.settle()
    if before:
        assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_download_ends_with_the_file_that_it_began_with(world: SharingWorld, ann: Person) -> None:
    body = os.urandom(20 * CHUNK_BYTES)
    client = slow_download(world, world.share(ann, body))
    for file_id in [*world.store._files]:
        world.store.remove(file_id)
    world.settle()
    if os.name != "nt":  # wine removes a file that is open when it closes
        assert world.names() == set()
    while len(client.transport.sent) < len(body):
        client.read_on()
        world.settle()
    assert client.response().body == body
    assert world.names() == set()


def test_a_file_that_cannot_be_read_is_not_found(
    world: SharingWorld, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pread" if hasattr(os, "pread") else "lseek", broken)
    response = world.client().get(path)
    assert (response.status, response.text) == (404, GONE)


def test_a_fault_of_the_disk_breaks_the_connection_so_that_no_part_counts_as_the_file(
    world: SharingWorld, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = slow_download(world, world.share(ann, os.urandom(20 * CHUNK_BYTES)))
    monkeypatch.setattr(os, "pread" if hasattr(os, "pread") else "lseek", broken)
    client.read_on()
    world.settle()
    client.read_on()
    world.settle()
    assert client.transport.aborted
    client.vanish()
