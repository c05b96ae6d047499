"""Files in memory: an archive, and worlds that take files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from broadcast.core.errors import RejectedError
from broadcast.core.events import FileInfo, Shared
from broadcast.core.interfaces import FileArchive
from broadcast.core.slots import FilePlan, MemorySlots, Slot, UploadClock
from broadcast.core.uploads import Uploads

if TYPE_CHECKING:
    from broadcast.core.membership import Member
    from broadcast.core.room import Room
    from tests.harness import World

BASE_URL = "http://chat.example:8080/"
"""The address of the web page."""
DIGEST = "ab" * 32
"""The SHA-256 of all files."""


class StoredFile(NamedTuple):
    """A complete file."""

    owner: str
    size: int


class MemoryArchive:
    """The complete files without their contents, the oldest first."""

    def __init__(self) -> None:
        self.files: dict[str, StoredFile] = {}

    @property
    def used_bytes(self) -> int:
        return sum(file.size for file in self.files.values())

    def has(self, file_id: str) -> bool:
        return file_id in self.files

    def bytes_of(self, owner: str) -> int:
        return sum(file.size for file in self.files.values() if file.owner == owner)

    def remove_oldest(self, owner: str) -> bool:
        own = [file_id for file_id, file in self.files.items() if file.owner == owner]
        if len(own) < 2:
            return False
        del self.files[own[0]]
        return True

    def remove(self, file_id: str) -> None:
        self.files.pop(file_id, None)

    def update(self, on_updated: Callable[[], None]) -> None:
        on_updated()

    def remove_content(self, file_id: str) -> Sequence[str]:
        return ["report.pdf"] if self.files.pop(file_id, None) is not None else []


_conforms: type[FileArchive] = MemoryArchive


def take_files(world: World, **limits: int | None) -> Uploads:
    """Let *world* take files, with these *limits* in place of the defaults. Return its uploads."""
    secrets = count(1)
    hub = world.hub
    archive = MemoryArchive()
    all_limits = replace(hub.settings.limits, **limits)  # type: ignore[arg-type]  # all of them are numbers
    slots = MemorySlots(archive, all_limits, UploadClock(world.clock.seconds, world.wall, world.clock.callLater))
    uploads = hub.uploads = Uploads(
        hub.rooms,
        hub.people,
        hub.moderation,
        archive,
        slots,
        all_limits,
        world.wall,
        lambda: f"secret-{next(secrets)}",
    )
    uploads.base_url = BASE_URL
    return uploads


def open_slot(
    uploads: Uploads, member: Member, room: Room, name: str = "", size: int | None = None, **more: str
) -> Slot:
    """Return a new slot of *member*, or the one with the same uid. Raises ``RejectedError``."""
    slots: list[Slot | RejectedError] = []
    assert uploads.open_slot(member, room, FilePlan(name, size, **more), slots.append)
    (slot,) = slots
    assert isinstance(slot, Slot), slot
    return slot


def find(uploads: Uploads, token: str) -> Slot | None:
    """Return the slot with *token*."""
    slots: list[Slot | RejectedError | None] = []
    uploads.find(token, slots.append)
    (slot,) = slots
    assert not isinstance(slot, RejectedError)
    return slot


def begin(
    uploads: Uploads, slot: Slot, size: int, address: str | None, on_end: Callable[[str], None], name: str = ""
) -> None:
    """Begin an upload to *slot*. Raises ``FileRejected``."""
    results: list[RejectedError | None] = []
    uploads.begin(slot, size, address, results.append, on_end, name)
    assert results == [None]


def archive_of(world: World) -> MemoryArchive:
    """Return the archive of *world*, which takes files."""
    archive = world.hub.require_uploads().archive
    assert isinstance(archive, MemoryArchive)
    return archive


def ignore_end(_reason: str) -> None:
    """Do nothing when a slot ends."""


def finish(world: World, slot: Slot, size: int = 5, name: str = "report.pdf") -> list[Shared | RejectedError]:
    """Upload a whole file to *slot*, and settle. Return a list that holds the result."""
    uploads = world.hub.require_uploads()
    begin(uploads, slot, slot.size or size, "127.0.0.1", ignore_end, name)
    results: list[Shared | RejectedError] = []
    archive_of(world).files[slot.file_id] = StoredFile(slot.owner, slot.size or size)
    file = FileInfo(slot.file_id, slot.name, slot.size or size, "application/pdf", DIGEST)
    uploads.complete(slot, file, results.append)
    world.settle()
    return results
