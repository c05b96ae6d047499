"""Files: people read who has shared one, /files lists them, and /upload-link shows how to share one."""

from __future__ import annotations

from itertools import count

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.events import Shared
from broadcast.core.interfaces import OpenedRoom, ReadCallback
from broadcast.core.settings import Settings
from broadcast.core.slots import Slot
from broadcast.journals.memory import MemoryJournal
from tests.files import archive_of, find, finish, open_slot, take_files
from tests.harness import Person, World
from tests.operators import audit, join_operator, member_of
from tests.scenarios.conftest import Opens

URL = "http://chat.example:8080/files/"


@pytest.fixture
def world(open_world: Opens) -> World:
    """A server that takes files."""
    world = open_world(settings=Settings(replay=3))
    take_files(world)
    return world


def share(world: World, nick: str, name: str, size: int = 1_234_567) -> str:
    """Let a person share a file, and return its id."""
    slot = open_slot(world.hub.require_uploads(), member_of(world, nick), world.room)
    (event,) = finish(world, slot, size, name)
    assert isinstance(event, Shared)
    return event.file.id


def test_everybody_reads_who_has_shared_what_and_where_it_is(world: World, ann: Person, bob: Person) -> None:
    file_id = share(world, "ann", "../Quarterly report.pdf")
    line = f" * ann shared Quarterly report.pdf (1.2 MB): {URL}{file_id}/Quarterly%20report.pdf"
    assert ann.lines() == bob.lines() == [line]


def test_author_with_receipts_reads_the_same_line(world: World, ann: Person, bob: Person) -> None:
    ann.say("/receipts on", "/timestamp on")
    ann.read()
    file_id = share(world, "ann", "a.txt", 5)
    assert ann.lines() == [f"[12:00] * ann shared a.txt (5 bytes): {URL}{file_id}/a.txt"]
    assert bob.lines() == [f" * ann shared a.txt (5 bytes): {URL}{file_id}/a.txt"]


def test_newcomer_and_history_and_search_show_files_with_their_times(world: World, ann: Person) -> None:
    ann.say("hi")
    file_id = share(world, "ann", "a.txt", 5)
    where = f"* ann shared a.txt (5 bytes): {URL}{file_id}/a.txt"
    newcomer = world.connect()
    newcomer.say("carol")
    assert newcomer.lines()[-2:] == ["[12:00] ann: hi", f"[12:00] {where}"]
    newcomer.say("/history", "/search txt", "/search hi")
    assert newcomer.lines() == [
        "-> #1 [12:00] ann: hi",
        *[f"-> #2 [12:00] {where}"] * 2,
        "-> #1 [12:00] ann: hi",
    ]


def test_file_of_somebody_ignored_is_hidden(world: World, ann: Person, bob: Person) -> None:
    bob.say("/ignore ann")
    bob.read()
    share(world, "ann", "a.txt")
    assert bob.lines() == []


def test_files_lists_the_last_twenty_of_the_room(world: World, ann: Person, bob: Person) -> None:
    bob.say("/files")
    assert bob.lines() == ["-> nobody has shared a file here."]
    ids = []
    for number in range(21):
        ids.append(share(world, "ann", f"{number}.txt", 5))
        ann.say("talk")
    del archive_of(world).files[ids[5]]
    bob.read()
    bob.say("/files")
    lines = [f"-> #{2 * n + 1} [12:00] * ann shared {n}.txt (5 bytes): {URL}{ids[n]}/{n}.txt" for n in range(21)]
    lines[5] = "-> #11 [12:00] * ann shared 5.txt (5 bytes): no longer there"
    assert bob.lines() == lines[1:]
    bob.say("/join kitchen")
    bob.read()
    bob.say("/files")
    assert bob.lines() == ["-> nobody has shared a file here."]


def test_files_of_a_server_that_takes_none_any_more_are_no_longer_there(world: World, ann: Person) -> None:
    share(world, "ann", "a.txt", 5)
    world.hub.uploads = None
    ann.read()
    ann.say("/files")
    assert ann.lines() == ["-> #1 [12:00] * ann shared a.txt (5 bytes): no longer there"]


@pytest.mark.parametrize("typed", ["{id}", URL + "{id}/a.txt", "https://proxy.example/files/files/{id}/files"])
def test_operator_removes_a_file_and_its_line_says_so(world: World, bob: Person, typed: str) -> None:
    ann = join_operator(world, "oscar")
    file_id = share(world, "bob", "a.txt", 5)
    ann.read()
    bob.read()
    ann.say(f"/remove-file {typed.format(id=file_id)} not for this room")
    assert ann.lines() == ["-> report.pdf is removed."]  # the archive of the tests has one name for all files
    assert audit(world) == [("oscar", "remove-file", "report.pdf", "not for this room")]
    assert not archive_of(world).files
    bob.say("/files")
    assert bob.lines() == ["-> #1 [12:00] * bob shared a.txt (5 bytes): no longer there"]
    ann.say(f"/remove-file {file_id}", "/remove-file")
    assert ann.lines() == [
        "-> Error: there is no such file, or it is no longer there. /files shows the addresses.",
        "-> Error: usage: /remove-file ADDRESS [WHY]",
    ]
    assert len(audit(world)) == 1


def test_operator_of_a_server_without_files_reads_that_it_takes_none(open_world: Opens) -> None:
    ann = join_operator(open_world(), "ann")
    ann.say("/remove-file k3x")
    assert ann.lines() == ["-> Error: this server takes no files."]


class UnreadableJournal(MemoryJournal):
    """A journal that cannot list files."""

    def open(self, name: str, tail: int) -> OpenedRoom:
        opened = super().open(name, tail)

        def fail(last: int, limit: int, on_result: ReadCallback) -> None:
            self.add_step(lambda: on_result(JournalError("broken")))

        opened.log.read_files = fail  # type: ignore[method-assign]
        return opened


def test_files_that_cannot_be_read_are_reported(open_world: Opens) -> None:
    (ann,) = open_world(journal=UnreadableJournal).join("ann")
    ann.say("/files", "/ping")
    assert ann.lines() == ["-> Error: the files cannot be listed: broken", "-> pong"]


def test_upload_link_is_a_command_for_a_shell(world: World, ann: Person, bob: Person) -> None:
    ann.say("/upload-link")
    assert ann.lines() == [
        "-> curl -T FILE -H 'Authorization: Bearer secret-1' http://chat.example:8080/files/",
        "-> This shares one file in lobby, of at most 26 MB. Begin within 10 minutes.",
    ]
    slot = find(world.hub.require_uploads(), "secret-1")
    assert isinstance(slot, Slot)
    finish(world, slot, 5, "a.txt")
    assert bob.lines() == [f" * ann shared a.txt (5 bytes): {URL}secret-2/a.txt"]


def test_upload_link_is_refused_with_its_reason(world: World, ann: Person, bob: Person) -> None:
    ann.say(*["/upload-link"] * 5)
    assert ann.lines()[-1] == "-> Error: you have 4 uploads already, which is the limit: wait until one has ended."
    operator = join_operator(world, "root2")
    operator.say("/mute bob")
    bob.read()
    bob.say("/upload-link")
    assert bob.lines() == ["-> Error: you are muted until an operator ends it."]
    world.hub.uploads = None
    bob.say("/upload-link")
    assert bob.lines() == ["-> Error: this server takes no files."]


def test_link_ends_with_the_session_and_after_ten_minutes(world: World, ann: Person, bob: Person) -> None:
    uploads = world.hub.require_uploads()
    ann.say("/upload-link")
    bob.say("/upload-link")
    ann.say("quit")
    assert find(uploads, "secret-1") is None
    assert find(uploads, "secret-3") is not None
    world.clock.advance(600)
    assert len(uploads.slots) == 0


def test_file_that_is_not_stored_is_shared_with_nobody(world: World, ann: Person, bob: Person) -> None:
    numbers = count()
    uploads = world.hub.require_uploads()
    uploads._make_token = lambda: f"token-{next(numbers)}"
    slot = open_slot(uploads, member_of(world, "ann"), world.room, "a", 5)
    slot.name = "\ud800"
    (error,) = finish(world, slot)
    assert str(error) == "it cannot be stored: the text is not valid Unicode"
    assert ann.lines() == bob.lines() == []
