"""A program that follows the protocol as its documents say, and checks everything that it reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import inf
from typing import Any, Final, NamedTuple

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.harness import Person

Params = dict[str, Any]
OnResponse = Callable[[Params], None]

ROOMS: Final = ("lobby", "kitchen", "attic")
UNKNOWN: Final = "?"
"""A topic that the program does not know."""
PASSWORD: Final = "correct horse"
"""The password of every account."""


class Line(NamedTuple):
    """A stored line."""

    nick: str
    text: str
    uid: str


@dataclass(eq=False)
class Sent:
    """A line that a program has sent, perhaps several times."""

    uid: str
    room: str
    method: str
    text: str
    seq: int = 0
    """Its number, once the program knows it."""
    is_stored: bool = False
    """Whether the program knows that it is stored, even without the number."""


@dataclass(eq=False)
class View:
    """A room as a program knows it."""

    seen: int = 0
    topic: str | None = None
    members: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Nickname and reason of absence by session."""
    is_vague: bool = False
    """Whether events about members may be missing, so that the program has to ask for the list."""


class Link:
    """One connection of a program."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.transport = person.transport
        self.is_greeted = False
        self.lost = False
        self.is_over = False
        """Whether the server has said that it closes the connection."""
        self.requests: dict[int, OnResponse] = {}
        self.unread = b""
        self.input = b""
        """Bytes that the system has accepted, and that the server has not read."""

    def put(self, data: bytes) -> None:
        self.input += data
        self.flush()

    def flush(self) -> None:
        """Let the server read, if it wants to."""
        if self.input and self.transport.reading and not self.lost:
            data, self.input = self.input, b""
            self.person.protocol.dataReceived(data)

    def read(self) -> list[bytes]:
        """Return the whole lines since the last call, from the first one of the protocol on."""
        *lines, self.unread = (self.unread + bytes(self.transport.sent)).split(b"\n")
        self.transport.sent.clear()
        return [line for line in lines if line.startswith(b"{")]

    def end(self) -> None:
        """Send no more. The server answers what it has received, and closes the connection."""
        self.person.protocol.readConnectionLost()

    def lose(self, *, clean: bool) -> None:
        self.lost = True
        reason: Exception = ConnectionDone() if clean else ConnectionLost()
        self.person.protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]  # Twisted's is not annotated


class Program:
    """A program that does what docs/programs.rst says."""

    def __repr__(self) -> str:
        return self.name

    def __init__(self, clock: Clock, refused: Collection[object], name: str) -> None:
        self.clock = clock
        self.refused = refused
        """The uids of the lines that the server has refused."""
        self.name = name
        self.nick = ""
        self.session = ""
        self.link: Link | None = None
        self.resume: Params | None = None
        self.attempt = 0
        self.rooms: dict[str, View] = {}
        self.read: dict[str, dict[int, Line]] = {room: {} for room in ROOMS}
        """All lines that it has ever read, by room and number."""
        self.sent: list[Sent] = []
        self.told = 0
        self.told_texts: list[str] = []
        self.may_jump = False
        """Whether the next private message may be a later one than the next, because the server keeps only some."""
        self.nicks: set[str] = set()
        self.renames = 0
        """Number of nicknames that the program has asked for and not got yet."""
        self.moving: set[str] = set()
        """Rooms that the program may have joined or left without knowing it."""
        self.has_quit = False
        self.account: str | None = None
        """The account to which it is logged in, as far as it knows."""
        self.grace = 0.0
        self.expires = -inf
        """Time up to which the server must continue the session."""
        self._ids = count(1)

    @property
    def is_online(self) -> bool:
        return self.link is not None and self.link.is_greeted and not self.link.is_over

    @property
    def unconfirmed(self) -> list[Sent]:
        return [sent for sent in self.sent if not sent.seq and not sent.is_stored]

    # Requests

    def encode(self, method: str, params: Params, on_response: OnResponse | None) -> bytes:
        """Return one request as a line; a notification without *on_response*."""
        assert self.link is not None
        message: Params = {"jsonrpc": "2.0", "method": method, "params": params}
        if on_response is not None:
            message["id"] = next(self._ids)
            self.link.requests[message["id"]] = on_response
        return json.dumps(message).encode() + b"\n"

    def request(self, method: str, params: Params, on_response: OnResponse) -> None:
        assert self.link is not None
        self.link.put(self.encode(method, params, on_response))

    def change_account(self, method: str, params: Params, nick: str | None) -> None:
        """Register, log in, log out, or delete the account. The nickname becomes *nick*, or one of the server's."""
        self.renames += 1

        def take(response: Params) -> None:
            self.renames -= 1
            if "result" in response:
                self.nick, self.account = response["result"]["nick"], response["result"]["account"]
                self.nicks.add(self.nick)
            else:
                assert response["error"]["code"] in {-32602, 1003, 1021, 1022, 1024, 1001}, response

        if nick is not None:
            self.nicks.add(nick)
        self.request(method, params, take)

    def hello(
        self,
        link: Link,
        nick: str,
        rooms: Sequence[str],
        grace: float | None = None,
        *,
        logs_in: bool = False,
    ) -> bytes:
        """Begin with another connection, and return the request for it."""
        self.link = link
        params: Params = {"protocol": 1, "nick": nick, "rooms": rooms, "replay": 1}
        if grace is not None:
            params["grace"] = grace
        if logs_in:
            params["password"] = PASSWORD
        is_resumable = False
        if self.resume is not None:
            self.attempt += 1
            seen = {room: view.seen for room, view in self.rooms.items()}
            params["resume"] = self.resume | {"rooms": seen, "told": self.told, "attempt": self.attempt}
            is_resumable = not self.has_quit and self.clock.seconds() < self.expires
        return self.encode("hello", params, partial(self._on_hello, link, is_resumable))

    def _on_hello(self, link: Link, is_resumable: bool, response: Params) -> None:
        if "error" in response:
            assert not is_resumable, response
            reasons = {"nick-refused", "password-needed", "wrong-password", "too-many-tries"}
            assert response["error"]["data"]["reason"] in reasons, response
            link.is_over = True
            return
        welcome = response["result"]
        link.is_greeted = True
        assert welcome["resumed"] or not is_resumable, "the grace has not ended"
        if welcome["resumed"]:
            assert (welcome["session"], welcome["nick"]) == (self.session, self.nick) or self.renames
            assert welcome["rooms"].keys() ^ self.rooms.keys() <= self.moving
            assert welcome["account"] == self.account or self.renames
        else:
            self.told = self.attempt = 0
        self.renames, self.has_quit, self.may_jump = 0, False, welcome["resumed"]
        self.moving.clear()
        self.rooms = {room: view for room, view in self.rooms.items() if room in welcome["rooms"]}
        self.nick, self.session, self.account = welcome["nick"], welcome["session"], welcome["account"]
        self.nicks.add(self.nick)
        self.expires = inf
        self.grace = welcome["grace"]
        self.resume = {"token": welcome["token"], "journal": welcome["journal"]}
        for snapshot in welcome["rooms"].values():
            self.take_snapshot(snapshot)
        self.send(*self.unconfirmed)

    def send(self, *lines: Sent, cut: int | None = None) -> bytes:
        """Send *lines*, or return their bytes up to *cut*."""
        data = b""
        for sent in lines:
            params = {"room": sent.room, "text": sent.text, "uid": sent.uid}
            is_request = len(sent.text) % 2 == 0
            data += self.encode(sent.method, params, partial(self._on_sent, sent) if is_request else None)
        assert self.link is not None
        self.link.put(data if cut is None else data[:cut])
        return data

    def _on_sent(self, sent: Sent, response: Params) -> None:
        if "error" in response:
            self._take_refusal(sent, response["error"]["code"], response["error"]["data"])
        else:
            self._confirm(sent, response["result"]["seq"])

    def _confirm(self, sent: Sent, seq: int) -> None:
        assert sent.seq in (0, seq), "the first number counts"
        sent.seq = seq

    def _take_refusal(self, sent: Sent, code: int, data: Params | None = None) -> None:
        if code == 1012:  # the line was stored under an earlier nickname
            assert len(self.nicks) > 1, sent
            sent.is_stored = True
            if data is not None:
                self._confirm(sent, data["seq"])
            return
        assert code in {1001, 1005}, (code, data)
        assert sent.uid in self.refused

    # What the server sends

    def take_all(self) -> None:
        """Take in what has arrived."""
        if self.link is None:
            return
        link = self.link
        for line in link.read():
            message = json.loads(line)
            if "method" in message:
                assert link.is_greeted or message["method"] == "goodbye"
                self._take(message["method"], message["params"])
            else:
                link.requests.pop(message["id"])(message)

    def take_snapshot(self, snapshot: Params) -> None:
        room = snapshot["room"]
        view = self.rooms.get(room)
        if view is None:
            numbers = [event["seq"] for event in snapshot["events"] if "seq" in event]
            view = self.rooms[room] = View(numbers[0] - 1 if numbers else snapshot["last"])
        view.topic = snapshot["topic"]
        view.members = {each["session"]: (each["nick"], each["away"]) for each in snapshot["members"]}
        view.is_vague = False
        assert snapshot["count"] == len(view.members)
        for event in snapshot["events"]:
            self._take(event["method"], event)
        assert view.seen == snapshot["last"], "the stream begins at the last number of the snapshot"

    def _take(self, method: str, params: Params) -> None:
        match method:
            case "said" | "emoted":
                self._take_line(method, params)
            case "shared":
                self._take_line(method, params | {"text": params["file"]["name"]})
            case "told":
                assert params["id"] == self.told + 1 or (self.may_jump and params["id"] > self.told), (
                    self.told,
                    params,
                )
                self.told, self.may_jump = params["id"], False
                assert params["text"] not in self.told_texts
                self.told_texts.append(params["text"])
            case "goodbye":
                assert self.link is not None
                self.link.is_over = True
            case "refused":
                sent = next(sent for sent in self.sent if sent.uid == params["uid"])
                self._take_refusal(sent, params["code"])
            case "gap" if (view := self.rooms.get(params["room"])) is not None:
                assert params["first"] == view.seen + 1 <= params["last"]
                view.seen = params["last"]
                view.is_vague, view.topic = True, UNKNOWN
            case "ping" | "announced":
                pass
            case _ if (view := self.rooms.get(params["room"])) is not None:
                self._take_presence(method, view, params)

    def _take_line(self, method: str, params: Params) -> None:
        room, seq, uid = params["room"], params["seq"], params.get("uid")
        sent = next((sent for sent in self.sent if sent.uid == uid), None)
        if sent is not None:
            assert (sent.method, sent.text, sent.room) == (
                {"said": "say", "emoted": "emote"}[method],
                params["text"],
                room,
            )
            self._confirm(sent, seq)
        line = Line(params["nick"], params["text"], uid or "")
        view = self.rooms.get(room)
        if view is None:
            return  # the rest of a room that the program has left
        if seq <= view.seen:
            assert sent is not None, f"{self.name}: {room} #{seq} comes after #{view.seen}"
            return  # the answer to a repeated notification
        assert seq == view.seen + 1, f"{self.name}: {room} #{seq} follows #{view.seen}"
        view.seen = seq
        assert self.read[room].setdefault(seq, line) == line

    def _take_presence(self, method: str, view: View, params: Params) -> None:
        members, session = view.members, params.get("session", "")
        match method:
            case "joined":
                members[session] = params["nick"], members[session][1] if session in members else None
            case "left":
                members.pop(session, None)
            case "renamed":
                if session in members:
                    members[session] = params["nick"], members[session][1]
            case "away":
                if session in members:
                    members[session] = members[session][0], params["reason"]
            case "topic":
                view.topic = params["text"]
            case "crowd":
                view.is_vague = True
                if not params["joined"] and not params["left"]:
                    view.topic = UNKNOWN  # notices were dropped
            case _:
                raise AssertionError(method)

    def ask_for_members(self, room: str) -> None:
        def answer(response: Params) -> None:
            view = self.rooms.get(room)
            if view is None or "error" in response:
                return
            view.members = {each["session"]: (each["nick"], each["away"]) for each in response["result"]["members"]}
            view.is_vague = False

        self.request("members", {"room": room, "count": 1000}, answer)
