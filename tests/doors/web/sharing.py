"""A server in memory that takes files over HTTP, with a real folder whose disk works when the test says."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broadcast.core.events import Shared
from broadcast.core.slots import MemorySlots, Slot, Slots, UploadClock
from broadcast.core.uploads import Uploads
from broadcast.doors.web.uploads import files_handler
from broadcast.files.store import ContentStore, FileStore
from tests.doors.web.browsers import HttpClient, HttpWorld, Response, request_bytes
from tests.files import open_slot
from tests.files.stores import ManualWorker

if TYPE_CHECKING:
    from broadcast.core.limits import Limits
    from tests.harness import Person

BASE_URL = "http://localhost:8080/"


class SharingWorld(HttpWorld):
    """A server whose files are in *folder*, with these *limits* in place of the defaults."""

    def __init__(self, folder: Path, contents: ContentStore | None = None, **limits: int | None) -> None:
        super().__init__()
        self.folder = folder
        self.disk = ManualWorker()
        self.disk_works = True
        """Whether ``settle`` lets the disk finish its work."""
        self.reports: list[str] = []
        all_limits = replace(self.hub.settings.limits, **limits)  # type: ignore[arg-type]  # all of them are numbers
        self.store = FileStore(
            folder,
            self.disk,
            self.clock.callLater,
            self.wall,
            days=all_limits.file_days,
            report=self.reports.append,
            contents=contents,
        )
        self.store.start()
        secrets = count(1)
        self.slots = self.make_slots(all_limits)
        self.uploads = self.hub.uploads = Uploads(
            self.hub.rooms,
            self.hub.people,
            self.hub.moderation,
            self.store,
            self.slots,
            all_limits,
            self.wall,
            lambda: f"secret{next(secrets):018}",
        )
        self.uploads.base_url = BASE_URL
        self.answer = files_handler(self.uploads, self.store)

    def make_slots(self, limits: Limits) -> Slots:
        """Return the slots."""
        return MemorySlots(self.store, limits, UploadClock(self.clock.seconds, self.wall, self.clock.callLater))

    def turn(self) -> bool:
        """Run one turn of the reactor, and a step of the disk."""
        return super().turn() or (self.disk_works and (self.disk.work_once() or self.disk.deliver_once()))

    def open_slot(
        self, person: Person, name: str = "", size: int | None = None, type_: str = "", sha256: str = ""
    ) -> Slot:
        """Return a slot of *person* in the lobby."""
        member = person.protocol.session.member
        return open_slot(self.uploads, member, self.room, name, size, type=type_, sha256=sha256)

    def put(
        self, slot: Slot, body: bytes, client: HttpClient | None = None, target: str = "", **headers: str | None
    ) -> Response:
        """Upload *body* to *slot*, and return the reply."""
        return self.reply_to(put_request(slot, body, target, **headers), client)

    def reply_to(self, request: bytes, client: HttpClient | None = None) -> Response:
        """Return the reply to *request*, which *client* or a new one sends."""
        client = client or self.client()
        client.send(request)
        return client.response()

    def share(self, person: Person, body: bytes, name: str = "a.txt") -> str:
        """Share *body* as *name*, and return the path of the file."""
        response = self.put(self.open_slot(person, name, len(body)), body)
        assert response.status == 201, response
        return "/" + response.headers["location"].removeprefix(BASE_URL)

    def offset(self, slot: Slot) -> int:
        """Return the number of bytes that are there, as HEAD tells it."""
        response = self.client().get("/files/", "HEAD", authorization=f"Bearer {slot.token}")
        assert response.status == 204
        return int(response.headers["upload-offset"])

    def shared(self) -> list[Shared]:
        """Return the events that share files in the lobby."""
        found: list[Any] = []
        self.room.files(10_000, found.append)
        self.settle()
        return list(found[0])

    def names(self) -> set[str]:
        """Return the names in the folder."""
        return {path.name for path in self.folder.iterdir()}

    def check(self) -> None:
        """Hold the folder against the events: no event without its file, no file without an event."""
        files = [event.file for event in self.shared() if self.store.has(event.file.id)]
        assert len(files) == len(self.store)
        for file in files:
            assert (self.folder / file.sha256).stat().st_size == file.size
        assert {name for name in self.names() if not name.endswith(".part")} == {
            name for file in files for name in (file.sha256, f"{file.id}.json")
        }


def put_request(slot: Slot, body: bytes, target: str = "", **headers: str | None) -> bytes:
    """Return the request that uploads *body*."""
    target = target or slot.url.removeprefix(BASE_URL[:-1])
    fields: dict[str, str | None] = {"authorization": f"Bearer {slot.token}", "content-length": str(len(body))}
    return request_bytes("PUT", target, body, **(fields | headers))


def chunked_request(slot: Slot, *chunks: bytes, target: str = "") -> bytes:
    """Return the request that uploads *chunks* without telling their size. An empty one is the last."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return put_request(slot, body, target, content_length=None, transfer_encoding="chunked")


def link_of(text: str) -> str:
    """Return the address of a file in *text*, the output of the line door."""
    match = re.search(r"http://\S+", text)
    assert match is not None, text
    return match[0]
