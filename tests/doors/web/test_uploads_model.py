"""Uploads over HTTP that are cut at any byte, resumed, taken over, and beside each other, on a disk that fails.

No event is without its file, no file is without an event, and every upload has an end.
``BROADCAST_LONG=1`` tries many more examples.
"""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broadcast.core.errors import RejectedError
from broadcast.core.slots import UPLOAD_SECONDS, MemorySlots, Slot
from tests.doors.web.browsers import HttpClient
from tests.doors.web.sharing import SharingWorld, chunked_request, put_request
from tests.files import find

LONG = bool(os.environ.get("BROADCAST_LONG"))
TOTAL = 60_000
BODIES = [b"", b"same", b"same", b"x" * 5000, b"y" * 20_000]
INDEX = st.integers(0, 1000)
SIZES = st.one_of(st.just(1_000_000), st.integers(1, 400), st.sampled_from([5000, 10_000]))
"""Numbers of bytes to send: all of a request, a part of its header, or a part of its body."""


class Sender:
    """A client in the middle of a PUT."""

    def __init__(self, client: HttpClient, slot: Slot, rest: bytes) -> None:
        self.client = client
        self.slot = slot
        self.rest = rest


class UploadMachine(RuleBasedStateMachine):
    """Everything that clients, people, the clock and the disk can do to uploads."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(mkdtemp(prefix="broadcast-files-"))
        self.world = SharingWorld(self.folder / "files", files_total=TOTAL)
        self.people = self.world.join("ann", "bob")
        self.bodies: dict[Slot, bytes] = {}
        self.senders: list[Sender] = []
        self.nicks = 0

    @property
    def slots(self) -> list[Slot]:
        """The slots that can be used."""
        return [slot for slot in self.bodies if find(self.world.uploads, slot.token) is slot]

    @rule(who=INDEX, body=st.sampled_from(BODIES), announced=st.booleans(), hashed=st.booleans())
    def open_slot(self, who: int, body: bytes, announced: bool, hashed: bool) -> None:
        person = self.people[who % 2]
        digest = sha256(body).hexdigest() if hashed else ""
        try:
            slot = self.world.open_slot(person, "a.txt", len(body) if announced else None, sha256=digest)
        except RejectedError:
            return
        self.bodies[slot] = body

    @precondition(lambda self: self.slots)
    @rule(which=INDEX, resumed=st.booleans(), chunked=st.booleans(), size=SIZES)
    def begin(self, which: int, resumed: bool, chunked: bool, size: int) -> None:
        """Send the first *size* bytes of a request, and the others in later steps."""
        slot = self.slots[which % len(self.slots)]
        body = self.bodies[slot]
        first = self.world.offset(slot) if resumed and body else 0
        if resumed and first < len(body):
            request = put_request(slot, body[first:], content_range=f"bytes {first}-{len(body) - 1}/{len(body)}")
        elif chunked:
            request = chunked_request(slot, *([body] if body else []), b"")
        else:
            request = put_request(slot, body)
        self.senders.append(Sender(self.world.client(), slot, request))
        self.send(-1, size)

    @precondition(lambda self: self.senders)
    @rule(which=INDEX, size=SIZES)
    def send(self, which: int, size: int) -> None:
        """Send some bytes, if the server reads. They may end anywhere, also in the header."""
        sender = self.senders[which % len(self.senders)]
        self.world.settle()
        if sender.client.transport.reading and not sender.client.has_ended():
            part, sender.rest = sender.rest[:size], sender.rest[size:]
            if part:
                sender.client.send(part)

    @precondition(lambda self: self.senders)
    @rule(which=INDEX)
    def cut(self, which: int) -> None:
        """Lose a connection."""
        sender = self.senders.pop(which % len(self.senders))
        sender.client.vanish()

    @rule()
    def settle(self) -> None:
        self.world.disk_works = True
        self.world.settle()
        self.world.disk_works = False

    @rule(steps=st.integers(1, 6))
    def work(self, steps: int) -> None:
        for _ in range(steps):
            self.world.disk.work_once()

    @rule(steps=st.integers(1, 6))
    def deliver(self, steps: int) -> None:
        for _ in range(steps):
            self.world.disk.deliver_once()
        self.world.settle()

    @rule(which=st.sampled_from(["open", "write", "fsync"]), code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def work_on_a_failing_disk(self, which: str, code: int) -> None:
        def fail(*_arguments: object) -> object:
            raise OSError(code, os.strerror(code))

        with patch.object(os, which, fail):
            self.world.disk.work_once()

    @rule(who=INDEX)
    def leave(self, who: int) -> None:
        """End the session of one person; another one comes."""
        self.people[who % 2].say("/quit")
        self.nicks += 1
        self.people[who % 2] = self.world.join(f"u{self.nicks}")[0]

    @rule(seconds=st.sampled_from([40, UPLOAD_SECONDS, 31 * 86_400]))
    def wait(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.world.settle()

    @invariant()
    def no_event_is_without_its_file(self) -> None:
        if hasattr(self, "world"):
            for event in self.world.shared():
                if self.world.store.has(event.file.id):
                    content = (self.world.folder / event.file.sha256).read_bytes()
                    assert content in BODIES
                    assert len(content) == event.file.size
                    assert sha256(content).hexdigest() == event.file.sha256

    @invariant()
    def the_files_fit(self) -> None:
        if hasattr(self, "world"):
            # A file that is being announced may be there beside those that it replaces.
            assert self.world.store.used_bytes <= TOTAL + 4 * max(map(len, BODIES))

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        self.settle()
        for sender in self.senders:
            sender.client.vanish()
        world.disk_works = True
        world.clock.advance(UPLOAD_SECONDS)
        world.settle()
        world.check()
        assert not [name for name in world.names() if name.endswith(".part")]
        assert isinstance(world.slots, MemorySlots)
        assert (len(world.slots), world.slots.reserved_bytes, world.store.uploads) == (0, 0, 0)
        world.clock.advance(31 * 86_400)
        world.settle()
        assert world.names() == set()
        rmtree(self.folder)


UploadMachine.TestCase.settings = settings(max_examples=1000 if LONG else 30, stateful_step_count=50, deadline=None)
test_every_event_has_its_file_and_every_file_an_end = UploadMachine.TestCase
