"""Uploads in any order, cut, resumed and beside each other, with faults and crashes.

No share is without its file, and no file is without an end.
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
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from broadcast.files.contents import SharedFile
from broadcast.files.store import counted
from broadcast.files.transfers import Upload
from tests.files.stores import Finish, StoreWorld, path_of

OWNERS = st.sampled_from(["ann", "bob"])
CONTENTS = st.sampled_from([b"", b"same", b"same", b"x" * 5000, b"y" * 15_000])
FAILING = st.sampled_from(["open", "write", "fsync"])


class Sending:
    """A sender of *data* in an upload that *store_world* has begun."""

    def __init__(self, upload: Upload, data: bytes) -> None:
        self.upload = upload
        self.data = data
        self.finish: Finish | None = None


class StoreMachine(RuleBasedStateMachine):
    """All operations on a store, its threads' steps, faults, and ``kill -9``."""

    sendings: Bundle[Sending] = Bundle("sendings")

    @initialize()
    def start(self) -> None:
        self.folder = Path(mkdtemp(prefix="broadcast-files-"))
        self.world = StoreWorld(self.folder / "files")
        self.live: list[Sending] = []
        self.shared: dict[str, bytes] = {}
        """The content of each share that was announced."""

    @rule(target=sendings, owner=OWNERS, data=CONTENTS, spare=st.integers(0, 2))
    def begin(self, owner: str, data: bytes, spare: int) -> Sending:
        upload = self.world.store.begin(owner, len(data) + spare)
        sending = Sending(upload, data)
        self.live.append(sending)
        return sending

    @rule(sending=sendings, size=st.integers(1, 9000))
    def send(self, sending: Sending, size: int) -> None:
        """Send the next bytes. A connection that was cut and resumed does the same."""
        upload = sending.upload
        if part := sending.data[upload.received : upload.received + size]:
            upload.write(part)

    @rule(sending=consumes(sendings), wrong_hash=st.booleans())
    def finish(self, sending: Sending, wrong_hash: bool) -> None:
        upload = sending.upload
        if sending in self.live and upload.is_open and upload.received == len(sending.data):
            expected = "0" * 64 if wrong_hash else sha256(sending.data).hexdigest()
            sending.finish = self.world.finish(upload, sha256=expected)

    @rule(sending=consumes(sendings))
    def discard(self, sending: Sending) -> None:
        sending.upload.discard()

    @rule(sending=sendings)
    def send_too_much(self, sending: Sending) -> None:
        sending.upload.write(bytes(sending.upload.limit - sending.upload.received + 1))

    @rule(owner=OWNERS)
    def remove_oldest(self, owner: str) -> None:
        self.world.store.remove_oldest(owner)

    @rule(steps=st.integers(1, 5))
    def work(self, steps: int) -> None:
        for _ in range(steps):
            self.world.worker.work_once()

    @rule(which=FAILING, code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def work_on_a_failing_disk(self, which: str, code: int) -> None:
        def fail(*_arguments: object) -> object:
            raise OSError(code, os.strerror(code))

        with patch.object(os, which, fail):
            self.world.worker.work_once()

    @rule(steps=st.integers(1, 5))
    def deliver(self, steps: int) -> None:
        for _ in range(steps):
            self.world.worker.deliver_once()
            self.collect()

    @rule()
    def settle(self) -> None:
        self.world.worker.settle()
        self.collect()
        expected = {name for file in self.world.store._files.values() for name in (file.sha256, f"{file.id}.json")}
        parts = {path_of(each.upload).name for each in self.live if each.upload.is_open and each.upload.received}
        assert self.world.names() == expected | parts
        assert self.world.store.uploads == sum(each.upload.is_open for each in self.live)

    @precondition(lambda _self: os.name != "nt")  # the simulated end of a server leaves files open
    @rule()
    def kill(self) -> None:
        self.world.restart()
        self.live.clear()
        self.settle()

    @rule(days=st.sampled_from([1, 31]))
    def wait(self, days: int) -> None:
        self.world.now += days * 86_400
        self.world.clock.advance(60)

    def collect(self) -> None:
        """Note the shares that were announced."""
        for sending in [*self.live]:
            if sending.finish is not None and sending.finish.results:
                self.live.remove(sending)
                (result,) = sending.finish.results
                if isinstance(result, SharedFile):
                    self.shared[result.id] = sending.data
                    assert result.size == len(sending.data)

    @invariant()
    def every_share_has_its_content_on_disk(self) -> None:
        store = self.world.store
        for file_id, data in self.shared.items():
            file = store.find(file_id)
            if file is not None:
                assert (self.world.folder / file.sha256).read_bytes() == data
                assert (self.world.folder / f"{file_id}.json").exists()

    @invariant()
    def sizes_are_counted(self) -> None:
        store = self.world.store
        assert store.used_bytes == sum(counted(file.size) for file in store._files.values())
        assert store.used_bytes == store.bytes_of("ann") + store.bytes_of("bob")

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for sending in self.live:
                sending.upload.discard()
            self.settle()
            self.world.now += 31 * 86_400
            self.world.clock.advance(60)
            self.settle()
            assert self.world.names() == set()
            rmtree(self.folder)


StoreMachine.TestCase.settings = settings(stateful_step_count=40)
test_shares_have_their_files_and_files_have_an_end = StoreMachine.TestCase
