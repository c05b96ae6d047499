"""Any server receives an upload, and shares the file in the name of the session, wherever that is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from broadcast.core.errors import FileRejected, Muted, NotStored, RejectedError
from broadcast.core.events import FileInfo, Shared
from broadcast.core.limits import Limits
from broadcast.core.slots import MAX_SLOTS_PER_PERSON, Slot
from broadcast.core.uploads import Uploads
from tests.cluster.nodes import Cluster, Node
from tests.doors.jsonrpc.programs import Program
from tests.files import BASE_URL, DIGEST, StoredFile, ignore_end
from tests.harness import Person
from tests.operators import join_operator, member_of

REPORT = {"room": "lobby", "name": "report.pdf", "size": 5}


@pytest.fixture
def cluster() -> Cluster:
    """Two servers that take files."""
    cluster = Cluster()
    for node in cluster.nodes:
        take_files(node)
    return cluster


def take_files(node: Node) -> None:
    """Let *node* take files."""
    hub, database = node.hub, node.cluster.database
    slots = node.directory.make_slots(Limits())
    numbers = count(1)
    hub.uploads = Uploads(
        hub.rooms,
        hub.people,
        hub.moderation,
        database.files,
        slots,
        Limits(),
        lambda: database.now,
        lambda: f"secret-{node.number}-{next(numbers)}",
    )
    hub.uploads.base_url = BASE_URL


def token_of(person: Person) -> str:
    """Return the token of a link that *person* asks for."""
    person.read()
    person.say("/upload-link")
    line, more = person.lines()
    assert more.startswith("-> This shares one file in lobby")
    return line.partition("Bearer ")[2].partition("'")[0]


def find(node: Node, token: str) -> Slot | None:
    """Return the slot with *token*, as *node* finds it."""
    found: list[Any] = []
    node.hub.require_uploads().find(token, found.append)
    node.cluster.settle()
    (slot,) = found
    assert not isinstance(slot, RejectedError)
    return slot  # type: ignore[no-any-return]


def found(node: Node, token: str) -> Slot:
    """Return the slot with *token*, which there is."""
    slot = find(node, token)
    assert slot is not None
    return slot


def begin(node: Node, slot: Slot, ends: list[str] | None = None, size: int = 5) -> RejectedError | None:
    """Begin an upload to *slot* at *node*, and return the result."""
    results: list[RejectedError | None] = []
    on_end = ignore_end if ends is None else ends.append
    node.hub.require_uploads().begin(slot, size, "203.0.113.7", results.append, on_end, "a.pdf")
    assert results == [], "the database has to be asked"
    node.cluster.settle()
    (result,) = results
    return result


def complete(node: Node, slot: Slot) -> Shared | RejectedError:
    """Complete the upload to *slot* at *node*, and return the result."""
    results: list[Shared | RejectedError] = []
    node.cluster.database.files.files[slot.file_id] = StoredFile(slot.owner, 5)
    file = FileInfo(slot.file_id, slot.name, 5, "application/pdf", DIGEST)
    node.hub.require_uploads().complete(slot, file, results.append)
    node.cluster.settle()
    (result,) = results
    return result


def refused(cluster: Cluster, result: object, text: str) -> None:
    """Assert that *result* is a refusal with this *text*, and that no file has stayed."""
    assert isinstance(result, RejectedError)
    assert str(result) == text
    assert cluster.database.files.files == {}


@pytest.mark.parametrize("room", ["lobby", "kitchen"])
def test_upload_to_the_link_of_one_server_is_shared_by_the_other(cluster: Cluster, room: str) -> None:
    one, two = cluster.nodes
    (ann,), (bob,) = one.join("ann"), two.join("bob")
    if room != "lobby":
        ann.say(f"/join {room}")
        assert room not in two.hub.rooms, "nobody there is in it"
    ann.read()
    ann.say("/upload-link")
    token = ann.lines()[0].partition("Bearer ")[2].partition("'")[0]
    slot = found(two, token)
    assert begin(two, slot) is None
    event = complete(two, slot)
    assert isinstance(event, Shared)
    assert (event.session, event.nick, event.file.name) == (member_of(one, "ann").id, "ann", "a.pdf")
    assert [line.text for line in cluster.database.rooms[room].lines] == ["a.pdf"]
    assert room not in two.hub.rooms or room == "lobby", "it is closed again"
    if room == "lobby":
        assert f" * ann shared a.pdf (5 bytes): {BASE_URL}files/{slot.file_id}/a.pdf\r\n" in bob.read()
    assert find(one, token) is find(two, token) is None


def test_upload_goes_on_at_the_other_server_and_the_first_one_shares_nothing(cluster: Cluster) -> None:
    one, two = cluster.nodes
    (ann,) = one.join("ann")
    token = token_of(ann)
    first, second = found(one, token), found(two, token)
    assert begin(one, first) is None
    assert begin(two, second) is None
    refused(cluster, complete(one, first), "the upload has ended.")
    assert isinstance(complete(two, second), Shared)
    assert len(cluster.database.rooms["lobby"].lines) == 1
    error = begin(one, found_again(first))
    assert isinstance(error, FileRejected)
    assert error.why == "upload-ended"


def found_again(slot: Slot) -> Slot:
    """Return *slot* as a server has found it before it has ended."""
    slot.state = "open"
    return slot


def test_program_gets_the_refusal_of_the_database_and_goes_on(cluster: Cluster) -> None:
    one, _ = cluster.nodes
    bot = one.program("bot")
    for _ in range(MAX_SLOTS_PER_PERSON):
        assert set(bot.call("upload", **REPORT)) == {"url", "token", "expires"}
    assert bot.fail("upload", **REPORT) == (1030, "too-many-uploads")
    assert bot.call("say", room="lobby", text="hi")["seq"] == 1
    assert bot.call("command", room="lobby", line="/files")["lines"] != []
    lines: list[str] = []
    (ann,) = one.join("ann")
    for _ in range(MAX_SLOTS_PER_PERSON + 1):
        ann.read()
        ann.say("/upload-link", "/ping")
        lines = ann.lines()
    assert lines == [
        "-> Error: you have 4 uploads already, which is the limit: wait until one has ended.",
        "-> pong",
    ]


@pytest.mark.parametrize("knows_uids", [False, True])
def test_repeated_request_of_a_program_has_the_same_slot(cluster: Cluster, knows_uids: bool) -> None:
    one, two = cluster.nodes
    bot = one.program("bot")
    if knows_uids:
        bot.call("say", room="lobby", text="hi", uid="0")
    first = bot.call("upload", **REPORT, uid="u")
    assert bot.call("upload", **REPORT, uid="u")["token"] == first["token"]
    assert bot.fail("upload", **(REPORT | {"size": 6}), uid="u") == (1012, "uid-reused")
    slot = found(two, first["token"])
    assert begin(two, slot) is None
    assert isinstance(complete(two, slot), Shared)
    assert bot.call("upload", **REPORT, uid="u")["file"]["name"] == "report.pdf"
    assert bot.call("upload", **REPORT, uid="v")["token"] != first["token"]


def test_two_uploads_of_one_program_at_two_servers_are_shared_once(cluster: Cluster) -> None:
    one, two = cluster.nodes
    bot = one.program("bot")
    slots = [found(two, bot.call("upload", **REPORT)["token"]) for _ in range(2)]
    events = []
    for node, slot in zip(cluster.nodes, slots, strict=True):
        slot.uid = "u"
        assert begin(node, slot) is None
        events.append(complete(node, slot))
    assert [type(event) for event in events] == [Shared, Shared]
    assert len(cluster.database.rooms["lobby"].lines) == len(cluster.database.files.files) == 1


def test_slots_end_with_the_session_on_all_servers(cluster: Cluster) -> None:
    one, two = cluster.nodes
    (ann,) = one.join("ann")
    tokens = [token_of(ann) for _ in range(2)]
    ends: list[str] = []
    assert begin(two, found(two, tokens[0]), ends) is None
    late = found(two, tokens[0])
    ann.say("quit")
    assert ends == ["the session has ended."]
    assert [find(node, token) for node in cluster.nodes for token in tokens] == [None] * 4
    refused(cluster, complete(two, late), "the upload has ended.")


def test_upload_to_a_session_that_has_gone_shares_nothing(cluster: Cluster) -> None:
    one, two = cluster.nodes
    (ann,) = one.join("ann")
    slot = found(two, token_of(ann))
    assert begin(two, slot) is None
    two.hub.people.members.pop(member_of(one, "ann").id)
    refused(cluster, complete(two, slot), "you have left the room lobby.")


def test_muted_person_shares_nothing_at_the_other_server(cluster: Cluster) -> None:
    one, two = cluster.nodes
    (ann,) = one.join("ann")
    slot = found(two, token_of(ann))
    assert begin(two, slot) is None
    two.hub.moderation.mute(member_of(one, "ann").id, None, None)
    assert isinstance(complete(two, slot), Muted)
    assert cluster.database.files.files == {}


def test_slow_mode_counts_a_slot_of_the_database(cluster: Cluster) -> None:
    one, two = cluster.nodes
    (ann,) = one.join("ann")
    one.hub.moderation.set_slow("lobby", 60)
    token = token_of(ann)
    ann.say("/upload-link")
    assert ann.read().startswith("-> Error: this room is in slow mode: this was not said.")
    assert found(two, token).state == "open"
    assert len(cluster.database.slots) == 1, "the second one has ended"


def test_room_that_cannot_be_opened_is_a_refusal(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = cluster.nodes
    (ann,) = one.join("ann")
    ann.say("/join kitchen")
    ann.read()
    ann.say("/upload-link")
    slot = found(two, ann.lines()[0].partition("Bearer ")[2].partition("'")[0])
    assert begin(two, slot) is None
    monkeypatch.setattr(type(two.hub.rooms), "open", lambda _rooms, _name, on_room: on_room(RejectedError("no.")))
    result = complete(two, slot)
    assert isinstance(result, NotStored)
    assert cluster.database.files.files == {}


def test_session_that_moves_keeps_its_slots(cluster: Cluster) -> None:
    one, two = cluster.nodes
    bot = one.program("bot")
    token = bot.call("upload", **REPORT)["token"]
    slot = found(one, token)
    ends: list[str] = []
    assert begin(one, slot, ends) is None
    bot.vanish()
    again: Program = two.open_program()
    again.hello("bot", resume=bot.resume)
    assert member_of(two, "bot").is_remote is False
    assert ends == []
    assert isinstance(complete(one, slot), Shared)
    assert again.events()[-1]["method"] == "shared"


def test_slot_of_a_server_that_dies_goes_on_with_its_session(cluster: Cluster) -> None:
    one, two = cluster.nodes
    (ann,) = one.join("ann")
    bot = one.program("bot")
    token, link = bot.call("upload", **REPORT)["token"], token_of(ann)
    cluster.kill(one)
    cluster.bury(one)
    assert find(two, link) is None, "people on the line port leave"
    slot = found(two, token)
    assert begin(two, slot) is None
    event = complete(two, slot)
    assert isinstance(event, Shared)
    assert event.nick == "bot"


@pytest.mark.parametrize("is_there", [True, False])
def test_operator_removes_a_file_that_the_own_server_does_not_know_yet(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    one, _ = cluster.nodes
    olga = join_operator(one, "olga")
    files = cluster.database.files

    def update(on_updated: Callable[[], None]) -> None:
        if is_there:
            files.files["a"] = StoredFile("ann", 5)
        one.soon(on_updated)

    monkeypatch.setattr(files, "update", update)
    olga.read()
    olga.say("/remove-file a", "/ping")
    removed = "-> report.pdf is removed."
    unknown = "-> Error: there is no such file, or it is no longer there. /files shows the addresses."
    assert olga.lines() == [removed if is_there else unknown, "-> pong"]
    assert files.files == {}
