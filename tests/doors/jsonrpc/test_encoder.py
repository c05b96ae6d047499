"""The events of a room as notifications."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.events import (
    Action,
    Announced,
    AwayChanged,
    Barrier,
    CommandReply,
    Event,
    FileInfo,
    Gap,
    JoinCount,
    Joined,
    LeaveCount,
    Left,
    Message,
    Notice,
    PrivateMessage,
    Receipt,
    Renamed,
    Shared,
    StoreFailed,
    TopicChanged,
)
from broadcast.core.sanitize import sanitize
from broadcast.doors.jsonrpc.encoder import RoomEncoder, encode_private
from tests.doors.jsonrpc.openrpc import Checker

ENCODER = RoomEncoder("lobby", lambda: 5.0, lambda file: f"http://host/files/{file.id}/a" if file.size else "")
SESSION = 0x2A00000007
ID = "2a00000007"
SAID = Message(SESSION, "bob", "hi", 1768478400.12345, 12)


def encoded(event: Event | Notice) -> tuple[str, dict[str, Any]]:
    """Return the method and the parameters of the notification for *event*."""
    line = ENCODER.encode(event)
    assert line.endswith(b"\n")
    message = Checker().check(line[:-1])
    return message["method"], message["params"]


def test_line_has_its_number_time_and_author() -> None:
    members = {"room": "lobby", "seq": 12, "at": 1768478400.123, "nick": "bob", "session": ID, "text": "hi"}
    assert encoded(SAID) == ("said", members)
    assert encoded(Action(SESSION, "bob", "hi", 1768478400.12345, 12, uid="a-1")) == (
        "emoted",
        members | {"uid": "a-1"},
    )
    assert encoded(Message(0, "bob", "hi", 1768478400.12345, 12)) == ("said", members | {"session": ""})


def test_file_has_its_address_or_none_if_it_is_no_longer_there() -> None:
    file = FileInfo("k3x", "a.png", 5, "image/png", "ab" * 32, 640, 480)
    described = {"id": "k3x", "name": "a.png", "size": 5, "type": "image/png", "sha256": "ab" * 32}
    image = described | {"url": "http://host/files/k3x/a", "width": 640, "height": 480}
    members = {"room": "lobby", "seq": 12, "at": 1768478400.123, "nick": "bob", "session": ID}
    shared = Shared(SESSION, "bob", file, 1768478400.12345, 12, "u")
    assert encoded(shared) == ("shared", members | {"file": image, "uid": "u"})
    gone = Shared(SESSION, "bob", replace(file, size=0, width=0, height=0), 1768478400.12345, 12)
    assert encoded(gone) == ("shared", members | {"file": described | {"size": 0, "url": None}})


@pytest.mark.parametrize(
    ("event", "method", "params"),
    [
        (Joined(SESSION, "bob"), "joined", {"nick": "bob", "session": ID}),
        (Left(SESSION, "bob"), "left", {"nick": "bob", "session": ID, "reason": None}),
        (Left(SESSION, "bob", "tired"), "left", {"nick": "bob", "session": ID, "reason": "tired"}),
        (JoinCount(9), "crowd", {"joined": 9, "left": 0}),
        (LeaveCount(9), "crowd", {"joined": 0, "left": 9}),
        (Renamed(SESSION, "bob", "rob"), "renamed", {"old": "bob", "nick": "rob", "session": ID}),
        (AwayChanged(SESSION, "bob", True, "lunch"), "away", {"nick": "bob", "session": ID, "reason": "lunch"}),
        (AwayChanged(SESSION, "bob", True, ""), "away", {"nick": "bob", "session": ID, "reason": ""}),
        (AwayChanged(SESSION, "bob", False, ""), "away", {"nick": "bob", "session": ID, "reason": None}),
        (TopicChanged(SESSION, "bob", "news"), "topic", {"nick": "bob", "session": ID, "text": "news"}),
        (TopicChanged(SESSION, "bob", ""), "topic", {"nick": "bob", "session": ID, "text": None}),
        (Announced("going down"), "announced", {"text": "going down"}),
        (Gap(3, 9), "gap", {"first": 3, "last": 9}),
        (Gap(3, 2), "crowd", {"joined": 0, "left": 0}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_event_of_a_room_is_a_notification(event: Event | Notice, method: str, params: dict[str, object]) -> None:
    assert encoded(event) == (method, {"room": "lobby"} | params)


def test_failure_to_store_a_notification_is_refused_with_its_uid() -> None:
    message = "Not kept: disk full. Try again later."
    for request, method, uid in (
        (Message(SESSION, "bob", "hi", 1.0, uid="u"), "say", {"uid": "u"}),
        (Action(SESSION, "bob", "hi", 1.0), "emote", {}),
        (TopicChanged(SESSION, "bob", "news"), "topic", {}),
        (Shared(SESSION, "bob", FileInfo("k3x", "a", 5, "", ""), 1.0, uid="u"), "upload", {"uid": "u"}),
    ):
        refused = encoded(StoreFailed(request, "disk full"))
        assert refused == ("refused", {"method": method, "code": 1001, "message": message} | uid)


def test_private_message_has_a_number_and_no_room() -> None:
    line = encode_private(3, PrivateMessage(SESSION, "bob", 8, "psst", 1768478400.12345))
    params = {"id": 3, "nick": "bob", "session": ID, "at": 1768478400.123, "text": "psst"}
    assert Checker().check(line) == {"method": "told", "params": params}


def test_event_that_programs_need_not_know_is_empty() -> None:
    encoder = RoomEncoder("lobby", lambda: 5.0)
    for event in (Barrier(), Receipt(3), CommandReply("pong")):
        assert encoder.encode(event) == b""
        assert encoder.last_output < 0
    encoder.encode(SAID)
    assert encoder.last_output == 5.0


def test_event_in_a_result_has_the_members_of_its_notification_and_the_method() -> None:
    shared = Shared(SESSION, "bob", FileInfo("k3x", "a.png", 5, "image/png", "ab"), 1768478400.12345, 12, "u")
    for event in (SAID, Action(SESSION, "bob", "hi", 1.0, 12, uid="u"), shared):
        method, params = encoded(event)
        assert json.loads(ENCODER.encode_in_result(event)) == {"method": method} | params
    assert json.loads(ENCODER.encode_gap_in_result(3, 9)) == {"method": "gap"} | encoded(Gap(3, 9))[1]


@given(st.text(), st.text(max_size=24), st.floats(0, 1e11))
def test_any_text_is_one_line_of_json(text: str, nick: str, at: float) -> None:
    """A journal that somebody has changed can hold any text."""
    text, nick = sanitize(text), nick.encode("utf-8", "replace").decode()
    line = ENCODER.encode(Message(7, nick, text, at, 12))
    assert line.count(b"\n") == 1
    said = json.loads(line)["params"]
    assert (said["text"], said["nick"]) == (text, nick)
    assert abs(said["at"] - at) <= 0.00051
