"""The method ``upload``, the notification ``shared``, and files in results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.events import FileInfo
from broadcast.journals.memory import MemoryRoomLog
from tests.doors.jsonrpc.programs import Program, ProgramWorld
from tests.files import BASE_URL, DIGEST, archive_of, begin, find, finish, ignore_end, open_slot, take_files
from tests.harness import NOON
from tests.operators import connect_program, member_of

if TYPE_CHECKING:
    from broadcast.core.slots import Slot
    from broadcast.core.uploads import Uploads

REPORT = {"room": "lobby", "name": "report.pdf", "size": 5}


@pytest.fixture
def uploads(world: ProgramWorld) -> Uploads:
    """The uploads of the server, which takes files."""
    return take_files(world)


def slot_of(uploads: Uploads, result: Any) -> Slot:  # noqa: ANN401 - a result
    """Return the slot in the *result* of ``upload``."""
    slot = find(uploads, result["token"])
    assert slot is not None
    return slot


def file_of(slot: Slot) -> FileInfo:
    """Return the file that the upload to *slot* has brought."""
    return FileInfo(slot.file_id, slot.name, 5, "text/plain", DIGEST)


def test_features_say_whether_the_server_takes_files(world: ProgramWorld) -> None:
    assert world.program("ann").welcome["features"] == ["accounts"]
    bob = world.program("bob")
    assert bob.fail("upload", **REPORT) == (1030, "no-files")
    assert bob.fail("command", room="lobby", line="/upload-link") == (1030, "no-files")
    take_files(world)
    assert world.program("carol").welcome["features"] == ["accounts", "files"]


@pytest.mark.parametrize(("file_bytes", "files_total", "announced"), [(5, 9, 5), (9, 5, 5)])
def test_limits_tell_how_large_a_file_can_be(
    world: ProgramWorld, file_bytes: int, files_total: int, announced: int
) -> None:
    assert world.program("ann").welcome["limits"]["file_bytes"] == 0
    take_files(world, file_bytes=file_bytes, files_total=files_total)
    bob = world.program("bob")
    assert bob.welcome["limits"]["file_bytes"] == announced
    assert "url" in bob.call("upload", **{**REPORT, "size": announced})
    assert bob.fail("upload", **{**REPORT, "size": announced + 1}) == (1030, "file-too-large")


def test_upload_opens_a_slot_and_everybody_reads_what_was_shared(
    world: ProgramWorld, uploads: Uploads, ann: Program, bob: Program
) -> None:
    result = ann.call("upload", room="LOBBY", name="C:\\report.pdf", size=5, sha256=DIGEST.upper(), uid="u")
    assert result == {"url": f"{BASE_URL}files/report.pdf", "token": "secret-1", "expires": NOON + 600}
    slot = slot_of(uploads, result)
    assert (slot.name, slot.size, slot.type, slot.sha256) == ("report.pdf", 5, "", DIGEST)
    assert bob.read() == []
    finish(world, slot)
    file = {"id": "secret-2", "name": "report.pdf", "size": 5, "type": "application/pdf", "sha256": DIGEST}
    shared = {
        "method": "shared",
        "room": "lobby",
        "seq": 1,
        "at": NOON,
        "nick": "ann",
        "session": ann.welcome["session"],
        "file": file | {"url": f"{BASE_URL}files/secret-2/report.pdf"},
        "uid": "u",
    }
    assert ann.events() == bob.events() == [shared]
    assert ann.call("history", room="lobby", last=5)["events"] == [shared]
    assert ann.call("search", room="lobby", words="report")["events"] == [shared]
    assert world.program("carol").welcome["rooms"]["lobby"]["events"] == [shared]
    archive_of(world).remove("secret-2")
    (event,) = bob.call("history", room="lobby", last=5)["events"]
    assert event["file"] == file | {"url": None}


def test_shared_file_continues_a_resumed_stream(world: ProgramWorld, uploads: Uploads, ann: Program) -> None:
    slot = slot_of(uploads, ann.call("upload", **REPORT))
    ann.vanish()
    assert slot.state == "open", "the session outlives its connection"
    finish(world, slot)
    again = world.open_program()
    again.hello("ann", resume=ann.resume)
    (event,) = again.welcome["rooms"]["lobby"]["events"]
    assert (event["method"], event["file"]["name"]) == ("shared", "report.pdf")


@pytest.mark.parametrize("tls", [False, True])
def test_program_over_tls_uploads_over_tls_if_there_is_such_a_port(
    world: ProgramWorld, uploads: Uploads, tls: bool
) -> None:
    bot = connect_program(world, "203.0.113.7", tls=tls)
    bot.hello("bot")
    assert bot.call("upload", **REPORT)["url"] == f"{BASE_URL}files/report.pdf"
    uploads.secure_base_url = "https://chat.example:8443/"
    secure = "https://chat.example:8443/files/report.pdf"
    result = bot.call("upload", **REPORT)
    assert result["url"] == (secure if tls else f"{BASE_URL}files/report.pdf")
    assert finish(world, slot_of(uploads, result))
    assert bot.events()[-1]["file"]["url"].startswith(BASE_URL)  # all people read the same address
    assert f" {BASE_URL}files/" in bot.call("command", room="lobby", line="/upload-link")["lines"][0]


def test_slot_ends_with_the_session(world: ProgramWorld, uploads: Uploads, ann: Program, bob: Program) -> None:
    slots = [slot_of(uploads, program.call("upload", **REPORT)) for program in (ann, bob)]
    ann.call("quit")
    bob.vanish()
    world.clock.advance(59)
    assert [slot.state for slot in slots] == ["ended", "open"]
    world.clock.advance(1)
    assert slots[1].state == "ended"


def test_same_uid_has_the_same_slot_and_then_the_event(
    world: ProgramWorld, uploads: Uploads, ann: Program, bob: Program
) -> None:
    first = ann.call("upload", **REPORT, uid="u")
    assert ann.call("upload", **REPORT, uid="u") == first
    assert ann.fail("upload", **(REPORT | {"size": 6}), uid="u") == (1012, "uid-reused")
    assert ann.call("upload", **REPORT, uid="v") != first
    finish(world, slot_of(uploads, first))
    file = ann.call("history", room="lobby", last=1)["events"][0]["file"]
    assert ann.call("upload", **REPORT, uid="u") == {"seq": 1, "at": NOON, "file": file}
    assert ann.fail("upload", **(REPORT | {"size": 6}), uid="u") == (1012, "uid-reused")
    assert ann.fail("upload", **(REPORT | {"name": "b"}), uid="u") == (1012, "uid-reused")
    assert ann.fail("say", room="lobby", text="report.pdf", uid="u") == (1012, "uid-reused")
    assert bob.fail("upload", **REPORT, uid="u") == (1012, "uid-reused")
    ann.call("say", room="lobby", text="report.pdf", uid="w")
    assert ann.fail("upload", **REPORT, uid="w") == (1012, "uid-reused")
    assert len(uploads.slots) == 1


def test_uid_of_an_upload_that_is_being_stored_waits_for_it(
    world: ProgramWorld, uploads: Uploads, ann: Program
) -> None:
    slot = slot_of(uploads, ann.call("upload", **REPORT, uid="u"))
    begin(uploads, slot, 5, None, ignore_end)
    results: list[object] = []
    uploads.complete(slot, file_of(slot), results.append)
    id_ = ann.put("upload", {**REPORT, "uid": "u"})
    world.settle()
    assert ann.response(id_)["result"]["seq"] == 1
    assert len(results) == 1


def test_upload_whose_event_is_not_stored_fails_its_repetition_too(
    world: ProgramWorld, uploads: Uploads, ann: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = slot_of(uploads, ann.call("upload", **REPORT, uid="u"))
    monkeypatch.setattr("broadcast.journals.memory.storage_problem", lambda _event: "the disk is full")
    begin(uploads, slot, 5, None, ignore_end)
    uploads.complete(slot, file_of(slot), lambda _result: None)
    id_ = ann.put("upload", {**REPORT, "uid": "u"})
    world.settle()
    assert ann.response(id_)["error"]["data"] == {"reason": "not-kept"}


@pytest.mark.parametrize(
    ("params", "answer"),
    [
        ({"room": "kitchen"}, (1005, "not-in-room")),
        ({"size": 26_214_401}, (1030, "file-too-large")),
        ({"size": -1}, (-32602, None)),
        ({"size": "5"}, (-32602, None)),
        ({"name": 5}, (-32602, None)),
        ({"name": "x" * 1025}, (-32602, None)),
        ({"type": "x" * 257}, (-32602, None)),
        ({"sha256": "ab"}, (-32602, None)),
        ({"sha256": DIGEST + "\n"}, (-32602, None)),
        ({"uid": ""}, (-32602, None)),
    ],
)
def test_wrong_upload_is_refused(uploads: Uploads, ann: Program, params: dict[str, object], answer: object) -> None:
    assert ann.fail("upload", **(REPORT | params)) == answer
    assert len(uploads.slots) == 0


def test_refusal_says_its_limit(world: ProgramWorld, ann: Program) -> None:
    take_files(world, file_bytes=100, files_total=150, lines_per_second=2)
    error = ann.request("upload", **(REPORT | {"size": 101}))["error"]
    assert error["message"] == "A file holds at most 100 bytes here (100 bytes)."
    assert error["data"] == {"reason": "file-too-large", "limit": 100}
    for number in range(4):
        ann.call("upload", **REPORT, uid=f"u{number}")
    error = ann.request("upload", **REPORT)["error"]
    assert error["data"] == {"reason": "too-many-uploads", "limit": 4}
    ann.notify("upload", **REPORT, uid="v")
    assert ann.refusals() == [{"method": "upload", "code": 1030, "uid": "v"}]


def test_refusal_of_the_hour_says_when_to_try_again(world: ProgramWorld, ann: Program) -> None:
    uploads = take_files(world, lines_per_second=2)
    for _ in range(20):
        slot = slot_of(uploads, ann.call("upload", **REPORT))
        begin(uploads, slot, 5, None, ignore_end)
        uploads.end(slot)
    error = ann.request("upload", **REPORT, uid="u")["error"]
    assert error["data"] == {"reason": "too-many-files", "limit": 20, "retry": 3600}


class TestUids:
    """The uids of the room are read before the first upload with a uid."""

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """The callbacks of reads of uids that wait."""
        waiting: list[Any] = []
        monkeypatch.setattr(
            MemoryRoomLog, "read_uids", lambda _log, _first, _last, on_result: waiting.append(on_result)
        )
        return waiting

    def test_failure_to_read_them_is_reported(self, world: ProgramWorld, uploads: Uploads, reads: list[Any]) -> None:
        ann = world.program("ann")
        id_ = ann.put("upload", {**REPORT, "uid": "u"})
        reads.pop()(JournalError("broken"))
        error = ann.response(id_)["error"]
        assert error["data"] == {"reason": "not-known"}
        assert "The journal cannot say whether it has this uid: broken." in error["message"]
        assert ann.call("ping") == {}

    def test_session_may_end_meanwhile(self, world: ProgramWorld, uploads: Uploads, reads: list[Any]) -> None:
        ann, bob = world.program("ann", grace=0), world.program("bob")
        for program in (ann, bob):
            program.put("upload", {**REPORT, "uid": "u"})
        ann.vanish()
        member_of(world, "bob").listener.disconnect("kicked", "You were kicked.")
        reads.pop()([])
        world.settle()
        assert len(uploads.slots) == 0

    def test_limits_and_uids_hold_after_it(self, world: ProgramWorld, uploads: Uploads, reads: list[Any]) -> None:
        ann = world.program("ann")
        ids = [ann.put("upload", {**REPORT, "uid": "u", "size": size}) for size in (26_214_401, 5)]
        reads.pop()([])
        world.settle()
        assert ann.response(ids[0])["error"]["data"]["reason"] == "file-too-large"
        slot = slot_of(uploads, ann.response(ids[1])["result"])
        assert slot.size == 5

    def test_uid_may_be_that_of_another_slot_by_then(
        self, world: ProgramWorld, uploads: Uploads, reads: list[Any]
    ) -> None:
        ann = world.program("ann")
        id_ = ann.put("upload", {**REPORT, "uid": "u"})
        open_slot(uploads, world.hub.people.members[next(iter(world.hub.people.members))], world.room, "b", 5, uid="u")
        reads.pop()([])
        world.settle()
        assert ann.response(id_)["error"]["data"]["reason"] == "uid-reused"


def test_uid_whose_event_cannot_be_read_is_reported(
    world: ProgramWorld, uploads: Uploads, ann: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(world, slot_of(uploads, ann.call("upload", **REPORT, uid="u")))
    monkeypatch.setattr(MemoryRoomLog, "read", lambda _log, _first, _last, answer: answer(JournalError("broken")))
    assert ann.fail("upload", **REPORT, uid="u") == (1014, "not-known")


def test_commands_about_files_work_for_programs_too(world: ProgramWorld, uploads: Uploads, ann: Program) -> None:
    slot = slot_of(uploads, ann.call("upload", **REPORT))
    finish(world, slot)
    (line,) = ann.call("command", room="lobby", line="/files")["lines"]
    assert line == f"#1 [12:00] * ann shared report.pdf (5 bytes): {BASE_URL}files/secret-2/report.pdf"
    curl, _ = ann.call("command", room="lobby", line="/upload-link")["lines"]
    assert curl == f"curl -T FILE -H 'Authorization: Bearer secret-3' {BASE_URL}files/"
