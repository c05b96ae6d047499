"""Uploads over HTTP to a server that has others beside it: the database answers later, and has the bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from broadcast.core.errors import DatabaseAway, RejectedError
from broadcast.core.slots import FilePlan, MemorySlots, OnBegun, OnFoundSlot, OnSlot, Slot, Slots, UploadClock
from broadcast.files.contents import Content, Part, PartKey, Sealed, SharedFile, SlotEnded, StoreError
from broadcast.files.images import read_image
from broadcast.files.store import ContentStore
from tests.doors.web.sharing import BASE_URL, SharingWorld, chunked_request, put_request
from tests.harness import Person

if TYPE_CHECKING:
    from broadcast.core.limits import Limits


class MemoryContents:
    """Contents and unfinished uploads in a database in memory."""

    is_shared = True

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        """The bytes of unfinished uploads by slot."""
        self.files: dict[str, bytes] = {}
        self.error: Exception | None = None
        """The failure of all calls, if they fail."""
        self.commit_error: Exception | None = None

    def load(self) -> tuple[list[SharedFile], list[str]]:
        return [], []

    def read_new(self) -> list[SharedFile]:
        return []

    def find_removed(self, _ids: Sequence[str]) -> list[str]:
        return []

    def sweep(self) -> None:
        """Do nothing."""

    def make_part(self, key: PartKey) -> MemoryPart:
        return MemoryPart(self, key)

    def commit(self, part: Part, file: SharedFile) -> None:
        assert isinstance(part, MemoryPart)
        if self.commit_error is not None:
            raise self.commit_error
        self.files[file.id] = bytes(part.data)
        self.parts.pop(file.id, None)

    def open(self, file: SharedFile) -> Content:
        raise NotImplementedError

    def remove(self, file: SharedFile) -> None:
        self.files.pop(file.id, None)

    def check(self) -> None:
        """Raise the failure."""
        if self.error is not None:
            raise self.error


class MemoryPart:
    """The bytes of an unfinished upload."""

    def __init__(self, contents: MemoryContents, key: PartKey) -> None:
        self._contents = contents
        self._slot = key.slot
        self.data = bytearray(contents.parts.get(key.slot, b"")[: key.received])

    def append(self, data: bytes | bytearray) -> None:
        self._contents.check()
        self.data += data

    def flush(self) -> None:
        self._contents.check()
        self._contents.parts[self._slot] = bytes(self.data)

    def seal(self) -> Sealed:
        return Sealed(len(self.data), sha256(self.data).hexdigest(), read_image(BytesIO(self.data)))

    def remove(self) -> None:
        self._contents.parts.pop(self._slot, None)


_conforms: type[ContentStore] = MemoryContents


class LateSlots:
    """Slots in a database, which answers in a later turn."""

    def __init__(self, world: SharedWorld, slots: MemorySlots) -> None:
        self._world = world
        self._slots = slots
        self.error: RejectedError | None = None
        """The failure of all calls, if they fail."""

    def __len__(self) -> int:
        return len(self._slots)

    def _later(self, call: Callable[[], None], on_error: Callable[[RejectedError], None]) -> None:
        def run() -> None:
            try:
                if self.error is not None:
                    raise self.error
                call()
            except RejectedError as error:
                on_error(error)

        self._world.soon(run)

    def open(self, slot: Slot, on_open: OnSlot) -> None:
        self._later(lambda: self._slots.open(slot, on_open), on_open)

    def find(self, token: str, on_found: OnFoundSlot) -> None:
        def found(slot: Slot | RejectedError | None) -> None:
            if isinstance(slot, Slot):
                slot.received = len(self._world.contents.parts.get(slot.file_id, b""))
            on_found(slot)

        self._later(lambda: self._slots.find(token, found), on_found)

    def begin(self, slot: Slot, size: int, address: str | None, name: str, on_begun: OnBegun) -> None:
        def begun(error: RejectedError | None) -> None:
            slot.received = len(self._world.contents.parts.get(slot.file_id, b""))
            slot.generation += 1
            on_begun(error)

        self._later(lambda: self._slots.begin(slot, size, address, name, begun), on_begun)

    def release(self, slot: Slot, state: Literal["complete", "ended"]) -> bool:
        return self._slots.release(slot, state)

    def of_session(self, session: int) -> Sequence[Slot]:
        return self._slots.of_session(session)


class SharedWorld(SharingWorld):
    """A server that shares its files with others."""

    def __init__(self, folder: Path) -> None:
        self.contents = MemoryContents()
        super().__init__(folder, contents=self.contents)

    def make_slots(self, limits: Limits) -> Slots:
        clock = UploadClock(self.clock.seconds, self.wall, self.clock.callLater)
        self.late = LateSlots(self, MemorySlots(self.store, limits, clock))
        return self.late

    def soon(self, call: Callable[[], None]) -> None:
        """Run *call* in a later turn."""
        self._soon.append(call)

    def open_slot(
        self, person: Person, name: str = "", size: int | None = None, type_: str = "", sha256: str = ""
    ) -> Slot:
        slots: list[Any] = []
        plan = FilePlan(name, size, type_, sha256)
        assert not self.uploads.open_slot(person.protocol.session.member, self.room, plan, slots.append)
        self.settle()
        (slot,) = slots
        assert isinstance(slot, Slot)
        return slot


@pytest.fixture
def world(tmp_path: Path) -> SharedWorld:
    return SharedWorld(tmp_path / "files")


@pytest.fixture
def ann(world: SharedWorld) -> Person:
    return world.join("ann")[0]


def check(world: SharedWorld, slot: Slot, body: bytes) -> None:
    """Assert that *body* was shared, and that nothing else is left."""
    assert [event.file.sha256 for event in world.shared()] == [sha256(body).hexdigest()]
    assert world.contents.files == {slot.file_id: body}
    assert world.contents.parts == {}
    assert world.store.uploads == len(world.slots) == 0
    assert not world.folder.exists()


def test_an_upload_is_shared(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a.txt", 5)
    response = world.put(slot, b"hello")
    assert (response.status, response.headers["location"]) == (201, f"{BASE_URL}files/{slot.file_id}/a.txt")
    check(world, slot, b"hello")
    assert world.put(slot, b"hello").status == 410


def test_an_upload_goes_on_where_the_connection_was_lost(world: SharedWorld, ann: Person) -> None:
    body = os.urandom(1000)
    slot = world.open_slot(ann, "a", 1000, sha256=sha256(body).hexdigest())
    for first, last in ((0, 299), (300, 300), (301, 899)):
        client = world.client()
        whole = put_request(slot, body[first:], content_range=f"bytes {first}-999/1000")
        client.send(whole[: len(whole) - 999 + last])
        client.vanish()
        assert world.offset(slot) == last + 1
        assert world.store.uploads == 0, "this server holds nothing, because another one may go on"
    assert world.put(slot, body[900:], content_range="bytes 900-999/1000").status == 201
    check(world, slot, body)


def test_an_upload_can_come_in_parts(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    response = world.put(slot, b"0123", content_range="bytes 0-3/10")
    assert (response.status, response.headers["upload-offset"]) == (202, "4")
    assert world.contents.parts == {slot.file_id: b"0123"}, "any server can go on by now"
    world.contents.error = StoreError("the disk is on fire.")
    response = world.put(slot, b"45", content_range="bytes 4-5/10")
    assert (response.status, response.text) == (503, "The disk is on fire.\n")
    assert world.store.uploads == 0
    world.contents.error = None
    assert world.put(slot, b"0123456789").status == 201


def test_a_part_that_cannot_be_stored_is_refused(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    client = world.client()
    world.disk_works = False
    client.send(put_request(slot, b"0123", content_range="bytes 0-3/10"))
    world.disk.work_once()
    world.disk.deliver_once()
    world.contents.error = SlotEnded("the upload goes on elsewhere.")
    world.disk_works = True
    world.settle()
    assert (client.response().status, world.offset(slot)) == (410, 0)
    assert world.store.uploads == 0


def test_an_upload_that_starts_at_another_byte_learns_where_to_go_on(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    world.put(slot, b"0123", content_range="bytes 0-3/10")
    response = world.put(slot, b"x" * 7, content_range="bytes 3-9/10")
    assert (response.status, response.headers["upload-offset"]) == (416, "4")
    begin = world.late.begin

    def begin_later(slot: Slot, size: int, address: str | None, name: str, on_begun: OnBegun) -> None:
        world.contents.parts[slot.file_id] = b"012345"  # another server has stored more
        begin(slot, size, address, name, on_begun)

    world.late.begin = begin_later  # type: ignore[method-assign]
    response = world.put(slot, b"x" * 6, content_range="bytes 4-9/10")
    assert (response.status, response.headers["upload-offset"]) == (416, "6")
    assert world.store.uploads == 0


def test_another_connection_takes_an_upload_over(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    half_open = world.client()
    half_open.send(put_request(slot, b"0123456789")[:-6])
    assert world.offset(slot) == 0, "so little is in memory only"
    assert world.put(slot, b"9876543210").status == 201
    assert half_open.has_ended()
    check(world, slot, b"9876543210")


def test_an_upload_that_goes_on_ends_the_connection_before_it(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    world.put(slot, b"0123", content_range="bytes 0-3/10")
    half_open = world.client()
    half_open.send(put_request(slot, b"456789", content_range="bytes 4-9/10")[:-3])
    assert world.put(slot, b"456789", content_range="bytes 4-9/10").status == 201
    assert half_open.transport.aborted
    assert [event.file.size for event in world.shared()] == [10]
    assert world.store.uploads == 0


def test_a_client_that_leaves_before_the_answer_of_the_database_begins_nothing(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 10)
    client = world.client()
    begin = world.late.begin

    def vanish(slot: Slot, size: int, address: str | None, name: str, on_begun: OnBegun) -> None:
        client.protocol.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]
        begin(slot, size, address, name, on_begun)

    world.late.begin = vanish  # type: ignore[method-assign]
    client.send(put_request(slot, b"0123456789")[:-6])
    assert world.store.uploads == 0
    world.late.begin = begin  # type: ignore[method-assign]
    assert world.put(slot, b"0123456789").status == 201


def test_a_link_whose_size_is_not_known_begins_anew(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann)
    lost = world.client()
    lost.send(chunked_request(slot, b"hel"))
    lost.vanish()
    assert world.offset(slot) == world.store.uploads == 0
    assert world.reply_to(chunked_request(slot, b"hello", b"", target="/files/a")).status == 201
    check(world, slot, b"hello")


def test_a_database_that_is_away_is_a_refusal_for_a_while(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    world.late.error = DatabaseAway()
    for method in ("HEAD", "PUT", "DELETE"):
        response = world.client().get("/files/a", method, authorization=f"Bearer {slot.token}")
        assert (response.status, response.headers["retry-after"]) == (503, "2")
    world.late.error = None
    assert world.put(slot, b"hello").status == 201


def test_an_upload_that_does_not_begin_is_refused(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    begin = world.late.begin

    def fail(slot: Slot, size: int, address: str | None, name: str, on_begun: OnBegun) -> None:
        world.late.error = DatabaseAway()
        begin(slot, size, address, name, on_begun)

    world.late.begin = fail  # type: ignore[method-assign]
    assert world.put(slot, b"hello").status == 503
    assert world.store.uploads == 0


def test_a_file_of_an_upload_that_has_ended_meanwhile_is_refused(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    world.contents.commit_error = SlotEnded("you have left the room.")
    response = world.put(slot, b"hello")
    assert (response.status, response.text) == (410, "You have left the room.\n")
    assert world.shared() == []


def test_a_cancelled_upload_leaves_nothing(world: SharedWorld, ann: Person) -> None:
    slot = world.open_slot(ann, "a", 5)
    client = world.client()
    client.send(put_request(slot, b"hello")[:-1])
    assert world.client().get("/files/a", "DELETE", authorization=f"Bearer {slot.token}").status == 204
    assert (client.response().status, world.store.uploads, world.contents.parts) == (410, 0, {})
    assert world.put(slot, b"hello").status == 410
