"""A slot allows one upload, each limit has its refusal, and no slot is without an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from broadcast.core import slots as module
from broadcast.core.errors import FileRejected, JournalError, Muted, NotStored, UidReused
from broadcast.core.events import FileInfo, Message, Shared
from broadcast.core.interfaces import OpenedRoom, ReadCallback, UidsCallback
from broadcast.core.slots import (
    MAX_SLOTS_PER_PERSON,
    MAX_UPLOADS,
    MAX_UPLOADS_PER_ADDRESS,
    OPEN_SECONDS,
    UPLOAD_SECONDS,
    MemorySlots,
)
from broadcast.journals.memory import MemoryJournal
from tests.files import BASE_URL, DIGEST, StoredFile, archive_of, begin, find, finish, ignore_end, open_slot, take_files
from tests.harness import NOON, World
from tests.journals.contract import LONG
from tests.operators import give_account, join, member_of

if TYPE_CHECKING:
    from broadcast.core.errors import RejectedError
    from broadcast.core.membership import Member
    from broadcast.core.slots import Slot
    from broadcast.core.uploads import Uploads

LIMITED = {"lines_per_second": 2}
"""Limits that make the limit on files an hour hold."""


@pytest.fixture
def world() -> World:
    world = World()
    take_files(world)
    world.join("ann", "bob")
    return world


@pytest.fixture
def ann(world: World) -> Member:
    return member_of(world, "ann")


def uploads_of(world: World) -> Uploads:
    return world.hub.require_uploads()


def slots_of(uploads: Uploads) -> MemorySlots:
    assert isinstance(uploads.slots, MemorySlots)
    return uploads.slots


def refused(result: object) -> FileRejected:
    assert isinstance(result, FileRejected)
    return result


def refusal(call: Any, *arguments: object, **named: object) -> FileRejected:  # noqa: ANN401 - any function
    with pytest.raises(FileRejected) as caught:
        call(*arguments, **named)
    return caught.value


def begin_upload(uploads: Uploads, member: Member, world: World) -> None:
    """Let *member* begin an upload and give it up."""
    slot = open_slot(uploads, member, world.room)
    begin(uploads, slot, 1, None, ignore_end, "a")
    uploads.end(slot)


# One upload


def test_complete_upload_is_an_event_of_the_room(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    slot = open_slot(
        uploads, ann, world.room, "C:\\docs\\report.pdf", 5, type="application/pdf", sha256=DIGEST, uid="u1"
    )
    assert (slot.name, slot.room, slot.owner, slot.expires) == ("report.pdf", "lobby", "local ann", NOON + 600)
    assert slot.url == f"{BASE_URL}files/report.pdf"
    assert find(uploads, slot.token) is slot
    assert find(uploads, slot.token + "x") is find(uploads, "\ud800") is None
    assert slot.token not in repr(slot)
    assert slot.file_id not in repr(slot)
    assert slot.token != slot.file_id
    (event,) = finish(world, slot)
    assert isinstance(event, Shared)
    assert (event.session, event.nick, event.seq, event.at, event.uid) == (ann.id, "ann", 1, NOON, "u1")
    assert event.file == FileInfo(slot.file_id, "report.pdf", 5, "application/pdf", DIGEST)
    assert list(world.room.recent_lines) == [event]
    assert uploads.file_url(event.file) == f"{BASE_URL}files/{slot.file_id}/report.pdf"
    assert find(uploads, slot.token) is None
    assert (slot.state, len(uploads.slots), slots_of(uploads).reserved_bytes) == ("complete", 0, 0)


def test_link_learns_the_name_and_size_from_its_upload_which_can_begin_again(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    slot = open_slot(uploads, ann, world.room)
    assert (slot.name, slot.size, slot.url) == ("", None, f"{BASE_URL}files/")
    begin(uploads, slot, 7, None, ignore_end, "draft.txt")
    begin(uploads, slot, 7, None, ignore_end, "draft.txt")
    assert (slot.name, slot.size, slots_of(uploads).reserved_bytes) == ("draft.txt", 7, 7)
    begin(uploads, slot, 9, None, ignore_end, "final text.txt")
    assert (slots_of(uploads).reserved_bytes, slot.name) == (9, "final text.txt")
    begin(uploads, slot, 3, None, ignore_end, "")
    assert (slot.name, slot.size, slots_of(uploads).reserved_bytes) == ("file", 3, 3)


def test_announced_size_is_the_size_of_the_upload(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    slot = open_slot(uploads, ann, world.room, "a", 5)
    error = refusal(begin, uploads, slot, 6, None, ignore_end)
    assert (str(error), error.why) == ("the file was announced with 5 bytes, not 6: share it again.", "other-size")
    assert slot.state == "open"
    begin(uploads, slot, 5, None, ignore_end)
    refusal(begin, uploads, slot, 6, None, ignore_end)


def test_slot_that_has_ended_takes_nothing(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    reasons: list[str] = []
    slot = open_slot(uploads, ann, world.room, "a", 5)
    begin(uploads, slot, 5, None, reasons.append)
    uploads.end(slot)
    uploads.end(slot, "again")
    assert (reasons, slot.state, len(uploads.slots), slots_of(uploads).reserved_bytes) == (
        ["the upload has ended."],
        "ended",
        0,
        0,
    )
    assert refusal(begin, uploads, slot, 5, None, reasons.append).why == "upload-ended"
    results: list[Shared | RejectedError] = []
    archive_of(world).files[slot.file_id] = StoredFile(slot.owner, 5)
    uploads.complete(slot, FileInfo(slot.file_id, "a", 5, "text/plain", DIGEST), results.append)
    assert refused(results[0]).why == "upload-ended"
    assert archive_of(world).files == {}
    never_begun = open_slot(uploads, ann, world.room, "a", 5)
    uploads.complete(never_begun, FileInfo(slot.file_id, "a", 5, "text/plain", DIGEST), results.append)
    assert refused(results[1]).why == "upload-ended"
    assert never_begun.state == "open"
    uploads.end(never_begun)
    assert len(uploads.slots) == 0


def test_slot_ends_if_no_upload_begins_in_time(world: World, ann: Member) -> None:
    slot = open_slot(uploads_of(world), ann, world.room)
    world.clock.advance(OPEN_SECONDS - 1)
    assert slot.state == "open"
    world.clock.advance(1)
    assert (slot.state, len(uploads_of(world).slots)) == ("ended", 0)


def test_upload_ends_if_it_is_not_complete_in_time(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    reasons: list[str] = []
    slot = open_slot(uploads, ann, world.room)
    world.clock.advance(OPEN_SECONDS - 1)
    begin(uploads, slot, 5, None, reasons.append, "a")
    assert slot.expires == NOON + UPLOAD_SECONDS
    world.clock.advance(UPLOAD_SECONDS - OPEN_SECONDS)
    assert slot.state == "begun"
    world.clock.advance(1)
    assert (slot.state, reasons) == ("ended", ["the time for the upload is over."])
    assert slots_of(uploads_of(world)).reserved_bytes == 0
    assert world.clock.getDelayedCalls() == []


def test_complete_slot_outlives_its_timers(world: World, ann: Member) -> None:
    slot = open_slot(uploads_of(world), ann, world.room)
    assert isinstance(finish(world, slot)[0], Shared)
    world.clock.advance(UPLOAD_SECONDS)
    assert slot.state == "complete"


# The person between the slot and the end


def test_slots_end_with_the_session(world: World) -> None:
    (carol,) = world.join("carol")
    uploads = uploads_of(world)
    slots = [open_slot(uploads, member_of(world, "carol"), world.room) for _ in range(2)]
    others = open_slot(uploads, member_of(world, "ann"), world.room)
    reasons: list[str] = []
    begin(uploads, slots[0], 5, None, reasons.append, "a")
    carol.say("quit")
    assert ([slot.state for slot in slots], others.state) == (["ended", "ended"], "open")
    assert reasons == ["the session has ended."]


def test_kicked_person_shares_nothing(world: World) -> None:
    (carol,) = world.join("carol")
    member = member_of(world, "carol")
    slot = open_slot(uploads_of(world), member, world.room)
    world.hub.expel(member, "kicked", "ann", "")
    world.settle()
    assert carol.transport.finished
    assert slot.state == "ended"


def test_person_who_has_left_the_room_shares_nothing_in_it(world: World) -> None:
    (carol, _) = world.join("carol", "dave")
    slots = [open_slot(uploads_of(world), member_of(world, "carol"), world.room) for _ in range(2)]
    carol.say("/join kitchen")
    slot = open_slot(uploads_of(world), member_of(world, "carol"), world.hub.rooms["kitchen"])
    (error,) = finish(world, slots[0])
    assert (str(error), refused(error).why) == ("you have left the room lobby.", "upload-ended")
    carol.say("/leave")
    assert "kitchen" not in world.hub.rooms
    assert str(finish(world, slot)[0]) == "you have left the room kitchen."
    assert archive_of(world).files == {}
    assert isinstance(finish(world, slots[1])[0], Shared)


def test_person_who_is_muted_meanwhile_shares_nothing(world: World, ann: Member) -> None:
    slot = open_slot(uploads_of(world), ann, world.room)
    world.hub.moderation.mute(ann.id, None, None)
    assert isinstance(finish(world, slot)[0], Muted)
    assert archive_of(world).files == {}
    with pytest.raises(Muted):
        open_slot(uploads_of(world), ann, world.room)


def test_slot_counts_as_a_line_in_slow_mode(world: World, ann: Member) -> None:
    world.hub.moderation.set_slow("lobby", 60)
    slot = open_slot(uploads_of(world), ann, world.room)
    with pytest.raises(Muted):
        open_slot(uploads_of(world), ann, world.room)
    assert isinstance(finish(world, slot)[0], Shared)


def test_file_is_shared_under_the_present_nickname(world: World, ann: Member) -> None:
    slot = open_slot(uploads_of(world), ann, world.room)
    world.hub.rename(ann, "anna")
    (event,) = finish(world, slot)
    assert isinstance(event, Shared)
    assert event.nick == "anna"


# Failures and repetitions


def test_file_whose_event_is_not_stored_is_removed(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    slot = open_slot(uploads, ann, world.room)
    begin(uploads, slot, 5, None, ignore_end, "a")
    archive_of(world).files[slot.file_id] = StoredFile(slot.owner, 5)
    results: list[Shared | RejectedError] = []
    uploads.complete(slot, FileInfo(slot.file_id, "\ud800", 5, "text/plain", DIGEST), results.append)
    world.settle()
    assert isinstance(results[0], NotStored)
    assert archive_of(world).files == {}
    assert world.room.last_seq == 0


def two_slots(world: World, member: Member) -> list[Slot]:
    """Return two slots of *member* with the same uid, as if two servers had opened them."""
    slots = [open_slot(uploads_of(world), member, world.room, "a", 5) for _ in range(2)]
    for slot in slots:
        slot.uid = "u"
    return slots


def test_repeated_share_is_the_first_one(world: World, ann: Member) -> None:
    first, second = two_slots(world, ann)
    (event,) = finish(world, first)
    assert finish(world, second) == [event]
    assert [*archive_of(world).files] == [first.file_id]
    assert world.room.last_seq == 1


def test_repeated_request_has_the_same_slot(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    world.hub.moderation.set_slow("lobby", 60)
    first = open_slot(uploads, ann, world.room, "a", 5, uid="u")
    assert open_slot(uploads, ann, world.room, "a", 5, uid="u") is first
    assert open_slot(uploads, member_of(world, "bob"), world.room, "a", 5, uid="u") is not first
    world.hub.moderation.set_slow("lobby", 0)
    assert open_slot(uploads, ann, world.room, "a", 5, uid="v") is not first
    assert open_slot(uploads, ann, world.room) is not open_slot(uploads, ann, world.room)
    finish(world, first)
    assert open_slot(uploads, ann, world.room, "a", 5, uid="u") is not first


@pytest.mark.parametrize("size", [5, 6])
def test_uid_of_something_else_is_refused(world: World, ann: Member, size: int) -> None:
    uploads = uploads_of(world)
    if size == 5:
        world.room.load_uids(lambda _error: None)
        world.settle()
        world.room.post(Message(ann.id, "ann", "a", NOON, uid="u"), lambda _answer: None)
    else:
        finish(world, open_slot(uploads, ann, world.room, "a", 5, uid="u"))
    before = [*archive_of(world).files]
    (error,) = finish(world, open_slot(uploads, ann, world.room, "a", size, uid="u"), size)
    assert isinstance(error, UidReused)
    assert [*archive_of(world).files] == before


class BadLog:
    """The log of a room whose reads fail as often as there are *failures*, in turns."""

    def __init__(self, opened: OpenedRoom) -> None:
        self._log = opened.log
        self.fails_uids = self.fails_read = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def read_uids(self, first: int, last: int, on_result: UidsCallback) -> None:
        self._log.read_uids(first, last, lambda uids: on_result(JournalError("broken") if self.fails_uids else uids))

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        self._log.read(first, last, lambda events: on_result(JournalError("broken") if self.fails_read else events))


class BadJournal(MemoryJournal):
    """A journal whose lobby is a ``BadLog``."""

    def open(self, name: str, tail: int) -> OpenedRoom:
        opened = super().open(name, tail)
        self.log = BadLog(opened)
        return opened._replace(log=self.log)  # type: ignore[arg-type]  # it has all methods


def test_share_whose_uid_cannot_be_checked_is_refused() -> None:
    world = World(journal=BadJournal)
    uploads = take_files(world)
    world.join("ann")
    ann = member_of(world, "ann")
    assert isinstance(world.journal, BadJournal)
    log = world.journal.log
    log.fails_uids = True
    (error,) = finish(world, open_slot(uploads, ann, world.room, "a", 5, uid="u"))
    assert isinstance(error, NotStored)
    log.fails_uids = False
    assert isinstance(finish(world, open_slot(uploads, ann, world.room, "a", 5, uid="u"))[0], Shared)
    log.fails_read = True
    (error,) = finish(world, open_slot(uploads, ann, world.room, "a", 5, uid="u"))
    assert isinstance(error, NotStored)
    assert len(archive_of(world).files) == 1


def test_repetition_of_a_share_that_fails_fails_too(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    slots = two_slots(world, ann)
    results: list[Shared | RejectedError] = []
    for slot in slots:
        begin(uploads, slot, 5, None, ignore_end)
        archive_of(world).files[slot.file_id] = StoredFile(slot.owner, 5)
        uploads.complete(slot, FileInfo(slot.file_id, "\ud800", 5, "text/plain", DIGEST), results.append)
    world.settle()
    assert [type(result) for result in results] == [NotStored, NotStored]
    assert archive_of(world).files == {}


# Limits


def test_file_has_at_most_so_many_bytes(world: World, ann: Member) -> None:
    uploads = take_files(world, file_bytes=1000)
    error = refusal(open_slot, uploads, ann, world.room, "a", 1001)
    assert str(error) == "a file holds at most 1000 bytes here (1.0 kB)."
    assert (error.why, error.limit) == ("file-too-large", 1000)
    slot = open_slot(uploads, ann, world.room)
    assert refusal(begin, uploads, slot, 1001, None, ignore_end, "a").why == "file-too-large"
    assert (slot.state, slots_of(uploads).reserved_bytes) == ("open", 0)
    begin(uploads, slot, 1000, None, ignore_end, "a")
    assert take_files(world, file_bytes=1000, files_total=10).max_bytes == 10


def test_person_has_at_most_four_uploads(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    slots = [open_slot(uploads, ann, world.room) for _ in range(MAX_SLOTS_PER_PERSON)]
    error = refusal(open_slot, uploads, ann, world.room)
    assert str(error) == "you have 4 uploads already, which is the limit: wait until one has ended."
    assert (error.why, error.limit) == ("too-many-uploads", 4)
    open_slot(uploads, member_of(world, "bob"), world.room)
    finish(world, slots[0])
    uploads.end(slots[1])
    for _ in range(2):
        open_slot(uploads, ann, world.room)
    refusal(open_slot, uploads, ann, world.room)


def test_person_is_an_account_or_else_an_address(world: World) -> None:
    for nick, host in (("carol", "203.0.113.7"), ("dave", "203.0.113.7"), ("erin", "2001:db8::1"), ("zoe", None)):
        join(world, nick, host)
    uploads = uploads_of(world)
    names = ("carol", "dave", "erin", "zoe")
    owners = [open_slot(uploads, member_of(world, nick), world.room).owner for nick in names]
    assert owners == ["address 203.0.113.7"] * 2 + ["address 2001:db8::/64", "local zoe"]
    account = give_account(world, "dave")
    assert open_slot(uploads, member_of(world, "dave"), world.room).owner == f"account {account.id}"


def test_address_has_at_most_eight_uploads_that_have_begun(world: World) -> None:
    uploads = uploads_of(world)
    host = "203.0.113.7"
    world.join("p0", "p1", "p2")
    people = [member_of(world, f"p{number}") for number in range(3)]
    slots = [open_slot(uploads, people[number // 4], world.room) for number in range(MAX_UPLOADS_PER_ADDRESS + 1)]
    for slot in slots[:-1]:
        begin(uploads, slot, 1, host, ignore_end, "a")
    error = refusal(begin, uploads, slots[-1], 1, host, ignore_end, "a")
    assert str(error) == "8 uploads come from this address already, which is the limit: try again later."
    assert (error.why, error.limit) == ("too-many-uploads", 8)
    join(world, "carol", host)
    assert refusal(open_slot, uploads, member_of(world, "carol"), world.room).why == "too-many-uploads"
    begin(uploads, slots[0], 1, host, ignore_end, "a")  # continued
    begin(uploads, slots[-1], 1, "198.51.100.1", ignore_end, "a")
    uploads.end(slots[0])
    begin(uploads, open_slot(uploads, member_of(world, "carol"), world.room), 1, host, ignore_end, "a")


def test_server_has_at_most_so_many_uploads_that_have_begun(world: World, ann: Member) -> None:
    uploads = uploads_of(world)
    slots: list[Slot] = []
    for number in range(MAX_UPLOADS // MAX_SLOTS_PER_PERSON):
        world.join(f"p{number}")
        slots += [open_slot(uploads, member_of(world, f"p{number}"), world.room) for _ in range(MAX_SLOTS_PER_PERSON)]
    link = open_slot(uploads, ann, world.room)
    for slot in slots:
        begin(uploads, slot, 1, None, ignore_end, "a")
    error = refusal(open_slot, uploads, ann, world.room)
    assert str(error) == "this server takes 64 uploads at the same time: try again later."
    assert (error.why, error.limit) == ("too-many-uploads", 64)
    assert refusal(begin, uploads, link, 1, None, ignore_end, "a").why == "too-many-uploads"
    finish(world, slots[0], 1)
    begin(uploads, link, 1, None, ignore_end, "a")


def test_person_shares_at_most_twenty_files_an_hour(world: World, ann: Member) -> None:
    uploads = take_files(world, **LIMITED)
    unused = open_slot(uploads, ann, world.room)
    for number in range(20):
        uploads.end(open_slot(uploads, ann, world.room))  # counts nothing
        begin_upload(uploads, ann, world)
        world.clock.advance(60 if number < 9 else 0)
    error = refusal(begin, uploads, unused, 1, None, ignore_end, "a")
    assert (unused.state, slots_of(uploads).reserved_bytes) == ("open", 0)
    assert str(error) == str(refusal(open_slot, uploads, ann, world.room))
    assert str(error) == "you can share 20 files an hour: try again in 51 minutes."
    assert (error.why, error.limit, error.retry) == ("too-many-files", 20, 51 * 60)
    begin_upload(uploads, member_of(world, "bob"), world)
    world.clock.advance(50 * 60 + 59)
    assert str(refusal(open_slot, uploads, ann, world.room)).endswith("in 1 minute.")
    world.clock.advance(1)
    begin_upload(uploads, ann, world)
    refusal(open_slot, uploads, ann, world.room)


def test_people_who_have_shared_nothing_for_an_hour_are_forgotten(world: World, monkeypatch: Any) -> None:  # noqa: ANN401
    uploads = take_files(world, **LIMITED)
    for nick in ("ann", "bob"):
        begin_upload(uploads, member_of(world, nick), world)
    world.clock.advance(3600)
    world.join("carol", "dave")
    begin_upload(uploads, member_of(world, "carol"), world)
    assert [*slots_of(uploads)._begin_times] == ["local carol"]
    monkeypatch.setattr(module, "MAX_PEOPLE", 1)
    begin_upload(uploads, member_of(world, "dave"), world)
    assert [*slots_of(uploads)._begin_times] == ["local dave"]


def test_own_oldest_files_make_room_and_those_of_others_do_not(world: World, ann: Member) -> None:
    uploads = take_files(world, files_total=10)
    bob = member_of(world, "bob")
    first = finish(world, open_slot(uploads, ann, world.room, "a", 3))[0]
    second = finish(world, open_slot(uploads, ann, world.room, "b", 3))[0]
    assert isinstance(first, Shared)
    assert isinstance(second, Shared)
    error = refusal(open_slot, uploads, bob, world.room, "c", 5)
    assert str(error) == "the files on this server take 10 bytes, which is the limit: try again later."
    assert (error.why, error.limit) == ("no-space", 10)
    link = open_slot(uploads, bob, world.room)
    assert refusal(begin, uploads, link, 5, None, ignore_end, "c").why == "no-space"
    begin(uploads, link, 4, None, ignore_end, "c")
    assert refusal(open_slot, uploads, ann, world.room, "d", 7).why == "no-space"
    slot = open_slot(uploads, ann, world.room, "d", 6)
    uploads.end(link)
    (third,) = finish(world, slot)
    assert isinstance(third, Shared)
    files = [first.file, second.file, third.file]
    assert [bool(uploads.file_url(file)) for file in files] == [False, True, True]
    assert archive_of(world).used_bytes == 9


def test_upload_alone_may_fill_the_store(world: World, ann: Member) -> None:
    uploads = take_files(world, files_total=10)
    for name in ("a", "b"):
        assert isinstance(finish(world, open_slot(uploads, ann, world.room, name, 10))[0], Shared)
    assert len(archive_of(world).files) == 1


# All of it


class UploadModel(RuleBasedStateMachine):
    """Any order of opening, beginning, completing, ending, leaving and waiting: the counters are those of the slots."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.uploads = take_files(self.world, files_total=100, file_bytes=60, **LIMITED)
        self.people: list[str] = []
        self.slots: list[Slot] = []
        self.ended: dict[Slot, list[str]] = {}
        self.shared: list[Shared] = []

    @rule(nick=st.sampled_from("abc"), host=st.sampled_from([None, "203.0.113.7", "203.0.113.8"]))
    def arrive(self, nick: str, host: str | None) -> None:
        if self.world.hub.people.owner_of(nick) is None:
            join(self.world, nick, host)

    def _member(self, nick: str) -> Member | None:
        return self.world.hub.people.owner_of(nick)

    @rule(nick=st.sampled_from("abc"), size=st.one_of(st.none(), st.integers(0, 70)), uid=st.sampled_from(["", "u"]))
    def open(self, nick: str, size: int | None, uid: str) -> None:
        member = self._member(nick)
        if member is None:
            return
        try:
            slot = open_slot(self.uploads, member, self.world.room, "" if size is None else "a", size, uid=uid)
        except FileRejected:
            pass
        else:
            if slot not in self.slots:
                self.slots.append(slot)
                self.ended[slot] = []

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), size=st.integers(0, 70), host=st.sampled_from([None, "203.0.113.7"]))
    def begin(self, data: st.DataObject, size: int, host: str | None) -> None:
        slot = data.draw(st.sampled_from(self.slots))
        before = slot.state, slot.reserved
        try:
            begin(self.uploads, slot, size if slot.is_link else slot.size or 0, host, self.ended[slot].append, "b")
        except FileRejected:
            assert (slot.state, slot.reserved) == before
        else:
            assert before[0] in {"open", "begun"}
            assert slot.state == "begun"

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), settles=st.booleans())
    def complete(self, data: st.DataObject, settles: bool) -> None:
        slot = data.draw(st.sampled_from(self.slots))
        was_begun = slot.state == "begun"
        archive_of(self.world).files[slot.file_id] = StoredFile(slot.owner, slot.size or 0)
        results: list[Shared | RejectedError] = []

        def note(result: Shared | RejectedError) -> None:
            results.append(result)
            if isinstance(result, Shared):
                self.shared.append(result)

        self.uploads.complete(slot, FileInfo(slot.file_id, slot.name, slot.size or 0, "text/plain", DIGEST), note)
        if settles:
            self.world.settle()
            assert len(results) == 1
        if not was_begun:
            assert refused(results[0]).why == "upload-ended"

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        self.uploads.end(data.draw(st.sampled_from(self.slots)))

    @rule(nick=st.sampled_from("abc"))
    def leave(self, nick: str) -> None:
        member = self._member(nick)
        if member is not None:
            member.listener.disconnect("tired", "Bye.")
            self.world.settle()
            assert all(slot.state not in {"open", "begun"} for slot in self.slots if slot.session == member.id)

    @rule(seconds=st.sampled_from([1, 300, 3600]))
    def wait(self, seconds: int) -> None:
        self.world.clock.advance(seconds)

    @invariant()
    def counters_are_those_of_the_slots(self) -> None:
        live = [slot for slot in self.slots if slot.state in {"open", "begun"}]
        begun = [slot for slot in live if slot.state == "begun"]
        uploads = self.uploads
        assert len(uploads.slots) == len(live) == slots_of(uploads)._per_owner.total()
        assert all(find(uploads, slot.token) is (slot if slot in live else None) for slot in self.slots)
        assert max(slots_of(uploads)._per_owner.values(), default=0) <= MAX_SLOTS_PER_PERSON
        assert slots_of(uploads)._begun_per_source.total() == len(begun)
        assert slots_of(uploads).reserved_bytes == sum(slot.size or 0 for slot in begun)
        assert slots_of(uploads).reserved_bytes <= 100
        assert all(slot.reserved == 0 or slot.state != "open" for slot in self.slots)
        assert all(len(reasons) <= 1 for reasons in self.ended.values())
        now = self.world.clock.seconds()
        assert all(slot.opened + UPLOAD_SECONDS > now for slot in live)
        assert all(slot.opened + OPEN_SECONDS > now for slot in live if slot.state == "open")

    def teardown(self) -> None:
        self.world.settle()
        self.world.clock.advance(UPLOAD_SECONDS)
        assert (
            len(self.uploads.slots)
            == slots_of(self.uploads).reserved_bytes
            == slots_of(self.uploads)._begun_per_source.total()
            == 0
        )
        files = archive_of(self.world).files
        assert files.keys() <= {event.file.id for event in self.shared}, "no file is without its event"
        assert sum(file.size for file in files.values()) <= 100
        assert {event.seq for event in self.shared} == {*range(1, self.world.room.last_seq + 1)}


MODEL = settings(
    max_examples=1000 if LONG else 25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_every_slot_ends_and_every_counter_is_right_in_any_order() -> None:
    run_machine(UploadModel, settings=MODEL)
