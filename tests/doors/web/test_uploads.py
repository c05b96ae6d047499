from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

import pytest
from twisted.internet.address import IPv4Address

from broadcast.core.slots import OPEN_SECONDS, UPLOAD_SECONDS
from broadcast.files.transfers import HIGH_WATER_BYTES
from tests.doors.web.sharing import BASE_URL, SharingWorld, chunked_request, link_of, put_request
from tests.files import find
from tests.files.stores import broken
from tests.harness import Person, logged

KIB = 1024


@pytest.fixture
def world(tmp_path: Path) -> SharingWorld:
    return SharingWorld(tmp_path / "files")


@pytest.fixture
def ann(world: SharingWorld) -> Person:
    return world.join("ann")[0]


def test_an_upload_is_announced_to_the_room_and_can_be_downloaded(world: SharingWorld, ann: Person) -> None:
    (bob,) = world.join("bob")
    ann.read()
    response = world.put(world.open_slot(ann, "réport.pdf", 5), b"hello")
    url = response.headers["location"]
    assert (response.status, response.text) == (201, f"Shared réport.pdf (5 bytes): {url}\n")
    assert bob.read() == f" * ann shared réport.pdf (5 bytes): {url}\r\n"
    assert world.client().get("/" + url.removeprefix(BASE_URL)).body == b"hello"
    world.check()


def test_a_link_takes_the_name_that_curl_appends(world: SharingWorld, ann: Person) -> None:
    ann.say("/upload-link")
    assert "curl -T FILE -H 'Authorization: Bearer " in ann.read()
    slot = world.open_slot(ann)
    assert slot.url == f"{BASE_URL}files/"
    assert world.put(slot, b"hello", target="/files/my%20notes.txt").status == 201
    (event,) = world.shared()
    assert (event.file.name, event.file.type, event.file.size) == ("my notes.txt", "text/plain", 5)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("..%5C..%5Cboot.ini", "boot.ini"),
        ("%2e%2e", "file"),
        ("a%00b.txt", "ab.txt"),
        ("%0d%0aSet-Cookie%3a%20a", "Set-Cookie_ a"),
        ("%e2%80%aegpj.exe", "gpj.exe"),
        ("CON.txt", "_CON.txt"),
        ("x" * 300 + ".pdf", "x" * 124 + ".pdf"),
        ("%ff%fe.txt", "\ufffd\ufffd.txt"),
    ],
)
def test_no_name_leads_out_of_the_folder(world: SharingWorld, ann: Person, path: str, name: str) -> None:
    response = world.put(world.open_slot(ann), b"hello", target=f"/files/{path}")
    if response.status == 405:  # the decoded path has another slash, so it is no upload
        assert "%2F" in path
        return
    assert response.status == 201
    (event,) = world.shared()
    assert event.file.name == name
    assert world.client().get("/" + response.headers["location"].removeprefix(BASE_URL)).body == b"hello"
    assert world.names() == {event.file.sha256, f"{event.file.id}.json"}
    assert [*world.folder.parent.iterdir()] == [world.folder]


def test_a_zip_bomb_and_a_page_are_just_bytes(world: SharingWorld, ann: Person) -> None:
    bomb = b"PK\x03\x04" + bytes(100)
    path = world.share(ann, bomb, "bomb.zip")
    assert world.client().get(path).body == bomb
    page = world.client().get(world.share(ann, b"<script>alert(1)</script>", "a.html"))
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"] == 'attachment; filename="a.html"'


def test_the_size_of_an_image_is_in_the_event(world: SharingWorld, ann: Person) -> None:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4, "big") + (480).to_bytes(4, "big")
    world.share(ann, png, "a.png")
    (event,) = world.shared()
    assert (event.file.type, event.file.width, event.file.height) == ("image/png", 640, 480)


# Who may upload


def test_an_upload_needs_a_token_that_is_valid(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    for authorization in (None, "", "Basic YTpi", "Bearer", f"Bearer {slot.token} x"):
        client = world.client()
        client.send(put_request(slot, b"hello", authorization=authorization))
        response = client.response()
        assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
        assert "/upload-link" in response.text
        assert client.has_ended()
    client = world.client()
    client.send(put_request(slot, b"hello", authorization="Bearer secret"))
    assert client.response().status == 410
    assert world.names() == set()
    assert world.put(slot, b"hello", authorization=f"bearer  {slot.token}").status == 201


def test_a_token_is_for_one_file(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    assert world.put(slot, b"hello").status == 201
    response = world.put(slot, b"hello")
    assert (response.status, response.text) == (
        410,
        "This upload is over, or there was none. Type /upload-link in the room for another one.\n",
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(world: SharingWorld, ann: Person, method: str) -> None:
    response = world.client().get("/files/a", method)
    assert (response.status, response.headers["allow"]) == (405, "DELETE, HEAD, PUT")


def test_the_token_is_never_logged(world: SharingWorld, ann: Person) -> None:
    with logged() as events:
        slot = world.open_slot(ann, "a", 5)
        world.put(slot, b"hello")
        world.put(slot, b"hello")
        world.put(world.open_slot(ann, "a", 6), b"hello")
        world.client().get("/files/", "HEAD", authorization=f"Bearer {slot.token}")
    assert slot.token not in repr(events) + repr(slot) + "".join(world.reports)


@pytest.mark.parametrize("complete", [False, True])
def test_a_cancelled_upload_leaves_nothing(world: SharingWorld, ann: Person, complete: bool) -> None:
    slot = world.open_slot(ann, "a", 5)
    client = world.client()
    world.disk_works = False
    client.send(put_request(slot, b"hello")[: None if complete else -1])
    assert world.client().get("/files/a", "DELETE", authorization=f"Bearer {slot.token}").status == 204
    world.disk_works = True
    world.settle()
    assert (client.response().text, client.has_ended()) == ("The upload was cancelled.\n", not complete)
    assert world.put(slot, b"hello").status == 410
    assert world.shared() == []
    assert world.names() == set()


# Cut and resumed


def test_an_upload_goes_on_where_the_connection_was_lost(world: SharingWorld, ann: Person) -> None:
    body = os.urandom(1000)
    slot = world.open_slot(ann, "a", 1000, sha256=sha256(body).hexdigest())
    assert world.offset(slot) == 0
    for first, last in ((0, 299), (300, 300), (301, 899)):
        client = world.client()
        whole = put_request(slot, body[first:], content_range=f"bytes {first}-999/1000")
        client.send(whole[: len(whole) - 999 + last])
        client.vanish()
        assert world.offset(slot) == last + 1
    assert world.put(slot, body[900:], content_range="bytes 900-999/1000").status == 201
    assert world.client().get("/" + world.uploads.file_url(world.shared()[0].file).removeprefix(BASE_URL)).body == body
    world.check()


def test_an_upload_can_come_in_parts(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    client = world.client()
    response = world.put(slot, b"0123", client, content_range="bytes 0-3/10")
    assert (response.status, response.headers["upload-offset"]) == (202, "4")
    assert response.text == "4 of 10 bytes are here.\n"
    assert world.put(slot, b"456789", client, content_range="bytes 4-9/10").status == 201
    world.check()


def test_an_upload_that_starts_at_another_byte_learns_where_to_go_on(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    world.put(slot, b"0123", content_range="bytes 0-3/10")
    for first in (3, 5):
        response = world.put(slot, b"x" * (10 - first), content_range=f"bytes {first}-9/10")
        assert (response.status, response.headers["upload-offset"]) == (416, "4")
        assert response.text == "Continue the upload at byte 4.\n"
    assert world.offset(slot) == 4


@pytest.mark.parametrize(
    "header", ["bytes 0-3/5", "bytes 3-2/10", "bytes 0-10/10", "0-4/10", "bytes */10", "bytes 0-4/*"]
)
def test_a_range_that_does_not_fit_is_refused(world: SharingWorld, ann: Person, header: str) -> None:
    response = world.put(world.open_slot(ann, "a"), b"01234", content_range=header)
    assert response.status == 400
    assert world.names() == set()


def test_an_upload_without_a_range_starts_again(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    world.put(slot, b"xx", content_range="bytes 0-1/5")
    assert world.put(slot, b"hello").status == 201
    assert world.shared()[0].file.sha256 == sha256(b"hello").hexdigest()
    world.check()
    assert not [name for name in world.names() if name.endswith(".part")]


def test_another_connection_takes_an_upload_over(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    half_open = world.client()
    half_open.send(put_request(slot, b"0123456789")[:-6])
    assert world.offset(slot) == 4
    assert world.put(slot, b"456789", content_range="bytes 4-9/10").status == 201
    assert half_open.transport.aborted
    half_open.vanish()
    world.check()


def test_a_restart_ends_the_upload_of_the_other_connection(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    half_open = world.client()
    half_open.send(put_request(slot, b"0123456789")[:-6])
    assert world.put(slot, b"9876543210").status == 201
    assert (half_open.response().status, half_open.has_ended()) == (410, True)
    world.check()


def test_a_client_that_leaves_before_the_answer_has_still_shared(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    client = world.client()
    world.disk_works = False
    client.send(put_request(slot, b"hello"))
    client.vanish()
    assert world.put(slot, b"hello").status == 409
    world.disk_works = True
    world.settle()
    assert len(world.shared()) == 1
    world.check()


@pytest.mark.parametrize("content_range", [None, "bytes 5-9/10"])
def test_nothing_follows_the_end_of_an_upload_without_a_size(
    world: SharingWorld, ann: Person, content_range: str | None
) -> None:
    slot = world.open_slot(ann)
    world.disk_works = False
    world.client().send(chunked_request(slot, b"hello", b"", target="/files/a"))
    response = world.put(slot, b"again", target="/files/a", content_range=content_range)
    assert (response.status, response.text) == (409, "All bytes of the file are here already.\n")
    world.disk_works = True
    world.settle()
    assert [shared.file.size for shared in world.shared()] == [5]
    world.check()


def test_chunked_uploads_need_no_size(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann)
    lost = world.client()
    lost.send(chunked_request(slot, b"hel"))
    lost.vanish()
    assert world.offset(slot) == 0
    assert world.reply_to(chunked_request(slot, b"hel", b"lo", b"", target="/files/a")).status == 201
    assert world.shared()[0].file.size == 5


def test_chunked_uploads_may_have_a_size(world: SharingWorld, ann: Person) -> None:
    response = world.reply_to(chunked_request(world.open_slot(ann, "b", 5), b"hell", b""))
    assert (response.status, response.text) == (202, "4 of 5 bytes are here.\n")
    response = world.reply_to(chunked_request(world.open_slot(ann, "b", 5), b"hello!", b""))
    assert (response.status, response.text) == (422, "The file is larger than 5 bytes.\n")
    world.check()


# Back-pressure and speed


def test_a_disk_that_does_not_keep_up_pauses_the_client(world: SharingWorld, ann: Person) -> None:
    size = 2000 * KIB
    slot = world.open_slot(ann, "a", size)
    client = world.client()
    world.disk_works = False
    sent = 0
    request = put_request(slot, bytes(size))
    while client.transport.reading and sent < len(request):
        client.put(request[sent : sent + 64 * KIB])
        sent += 64 * KIB
    assert HIGH_WATER_BYTES <= sent <= HIGH_WATER_BYTES + 128 * KIB
    world.clock.advance(100)  # a paused client is not slow
    assert not client.has_ended()
    world.disk_works = True
    for start in range(sent, len(request), 64 * KIB):
        world.until(lambda: client.transport.reading)
        client.put(request[start : start + 64 * KIB])
    world.settle()
    assert client.response().status == 201
    world.check()


def test_a_slow_client_is_cut_and_may_go_on(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 100 * KIB)
    client = world.client()
    client.send(put_request(slot, bytes(100 * KIB))[: 40 * KIB])
    world.clock.advance(30)
    assert not client.has_ended()
    client.send(bytes(30 * KIB - 1))
    world.clock.advance(30)
    assert client.response().status == 408
    assert client.has_ended()
    assert 0 < world.offset(slot) < 100 * KIB


# Refusals


def test_a_body_of_another_size_or_content_is_refused(world: SharingWorld, ann: Person) -> None:
    response = world.put(world.open_slot(ann, "a", 5), b"hello!")
    assert (response.status, response.text) == (422, "The file was announced with 5 bytes, not 6: share it again.\n")
    slot = world.open_slot(ann, "a", 5, sha256="ab" * 32)
    response = world.put(slot, b"hello")
    assert response.status == 422
    assert response.text.startswith(f"The SHA-256 of the file is {sha256(b'hello').hexdigest()}, not abab")
    assert world.offset(slot) == 0
    assert world.names() == set()


def test_refusals_name_their_limits(tmp_path: Path) -> None:
    world = SharingWorld(tmp_path / "files", file_bytes=10 * KIB, files_total=20 * KIB)
    ann, bob = world.join("ann", "bob")
    response = world.put(world.open_slot(ann), bytes(10 * KIB + 1))
    assert (response.status, response.text) == (413, "A file holds at most 10240 bytes here (10 kB).\n")
    world.share(ann, bytes(10 * KIB))
    world.share(ann, b"x" * 10 * KIB)
    slot = world.open_slot(bob)
    response = world.put(slot, b"hello")
    assert (response.status, response.text) == (
        507,
        "The files on this server take 20 kB, which is the limit: try again later.\n",
    )
    assert len(world.shared()) == 2
    world.check()


def test_the_oldest_file_of_the_uploader_leaves_room_and_its_event_remains(tmp_path: Path) -> None:
    world = SharingWorld(tmp_path / "files", files_total=25 * KIB)
    ann, bob = world.join("ann", "bob")
    other = world.share(bob, b"b" * 10 * KIB)
    first = world.share(ann, b"1" * 10 * KIB, "first.txt")
    second = world.share(ann, b"2" * 10 * KIB)
    assert [world.client().get(path).status for path in (other, first, second)] == [200, 404, 200]
    ann.say("/files")
    assert "* ann shared first.txt (10 kB): no longer there" in ann.read()
    world.check()


def test_at_most_eight_uploads_come_from_one_address_at_once(world: SharingWorld) -> None:
    people = world.join(*(f"u{number}" for number in range(9)))
    address = IPv4Address("TCP", "192.0.2.1", 40000)
    for person in people[:8]:
        world.client(address).send(put_request(world.open_slot(person, "a", 5), b"hello")[:-1])
    client = world.client(address)
    client.send(put_request(world.open_slot(people[8], "a", 5), b"hello"))
    response = client.response()
    assert response.status == 429
    assert response.text.startswith("8 uploads come from this address already, which is the limit")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("when", ["open", "write", "fsync"])
def test_a_fault_of_the_disk_is_reported_and_the_upload_can_start_again(
    world: SharingWorld, ann: Person, when: str, code: int
) -> None:
    slot = world.open_slot(ann, "a", 5)

    def fail(*_arguments: object) -> object:
        raise OSError(code, os.strerror(code))

    with patch.object(os, when, fail):
        response = world.put(slot, b"hello")
    assert response.status == (507 if code == errno.ENOSPC else 503)
    assert world.offset(slot) == 0
    assert world.shared() == []
    assert world.names() == set()
    assert world.put(slot, b"hello").status == 201
    world.check()


def test_a_fault_while_nobody_is_connected_starts_the_upload_again(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    client = world.client()
    world.disk_works = False
    client.send(put_request(slot, b"hello")[:-1])
    client.vanish()
    with patch.object(os, "open", broken):
        world.disk.settle()
    world.disk_works = True
    assert world.offset(slot) == 0
    assert world.put(slot, b"o", content_range="bytes 4-4/5").status == 416
    assert world.put(slot, b"hello").status == 201


def test_an_event_that_cannot_be_stored_leaves_no_file(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    client = world.client()
    client.send(put_request(slot, b"hello")[:-1])
    ann.say("/join kitchen")
    client.send(b"o")
    response = client.response()
    assert response.status == 410
    assert response.text == "You have left the room lobby.\n"
    assert world.shared() == []
    world.check()


# Ends


def test_an_upload_ends_with_the_session(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    client = world.client()
    client.send(put_request(slot, b"hello")[:-1])
    ann.say("/quit")
    assert (client.response().text, client.has_ended()) == ("The session has ended.\n", True)
    assert world.names() == set()


def test_an_upload_whose_session_ends_while_it_finishes_leaves_no_file(world: SharingWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    client = world.client()
    world.disk_works = False
    client.send(put_request(slot, b"hello"))
    ann.say("/quit")
    world.disk_works = True
    world.settle()
    assert client.response().status == 410
    assert world.shared() == []
    assert world.names() == set()


def test_an_unfinished_upload_is_removed_after_an_hour(world: SharingWorld, ann: Person) -> None:
    slot, unused = world.open_slot(ann, "a", 5), world.open_slot(ann, "a", 5)
    client = world.client()
    client.send(put_request(slot, b"hello")[:-1])
    client.vanish()
    world.clock.advance(OPEN_SECONDS)
    assert find(world.uploads, unused.token) is None
    assert world.offset(slot) == 4
    world.clock.advance(UPLOAD_SECONDS - OPEN_SECONDS)
    world.settle()
    assert world.names() == set()
    assert world.put(slot, b"hello").status == 410


def test_a_file_that_has_ended_is_said_to_be_no_longer_there(world: SharingWorld, ann: Person) -> None:
    path = world.share(ann, b"hello")
    ann.say("/files")
    assert link_of(ann.read()).endswith(path)
    world.clock.advance(30 * 86_400)
    world.settle()
    ann.say("/files")
    assert "no longer there" in ann.read()
    assert world.client().get(path).status == 404
    assert world.names() == set()
