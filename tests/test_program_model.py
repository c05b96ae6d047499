"""Programs in several rooms against a model: lines, private messages and presence, whatever happens to connections.

Each program follows the protocol as its documents say (``program_client.py``). It must never read a line twice, or out
of order, or with a hole that no gap notice names. Whenever everything has been delivered, it must know who is in its
rooms. In the end, each line that it has said is stored once. ``BROADCAST_LONG=1`` tries many more examples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import count
from math import inf
from typing import Any, Final, cast
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from websockets.frames import Opcode

import broadcast.doors.jsonrpc.line_reader
import broadcast.doors.jsonrpc.private_messages
import broadcast.doors.jsonrpc.snapshots
import broadcast.journals.memory
import broadcast.journals.postgres.commit_thread
import broadcast.journals.sqlite.commit_thread
from broadcast.core.errors import FileRejected, RejectedError, UidReused
from broadcast.core.events import STORED, FileInfo, Shared, Stored, TopicChanged
from broadcast.core.hub import TAKEN_OVER
from broadcast.core.interfaces import OpenedRoom
from broadcast.core.limits import DEFAULTS
from broadcast.core.settings import Settings
from broadcast.core.slots import Slot
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.doors.jsonrpc.accounts import account_name
from broadcast.doors.jsonrpc.encoder import public_id
from broadcast.doors.jsonrpc.errors import Code, RpcError
from broadcast.doors.jsonrpc.responses import Call
from broadcast.doors.jsonrpc.session import ProgramSession
from broadcast.journals.commit_queue import storage_problem
from tests.doors.jsonrpc.programs import GRACE, DirectProgramWorld, ProgramWorld
from tests.doors.web.websockets import (
    DirectWebSocketWorld,
    WebSocketClient,
    WebSockets,
    WebSocketWorld,
    frame,
    text,
)
from tests.files import StoredFile, archive_of, begin, ignore_end, open_slot, take_files
from tests.harness import Person, World, logged
from tests.program_client import PASSWORD, ROOMS, UNKNOWN, Line, Link, Params, Program, Sent
from tests.test_model import REPLAY_BUFFER, SMALL_LIMITS, spoken

LONG = bool(os.environ.get("BROADCAST_LONG"))

KINDS: Final = {"say": "Message", "emote": "Action"}
NAMES: Final = ("ann", "bob", "carol", "dave")
MAX_PRIVATE_MESSAGES: Final = 3
"""Number of private messages that a session keeps for the next connection. Small, like the other limits."""
LIMITS: Final[Sequence[tuple[object, str, int]]] = (
    *SMALL_LIMITS,
    (broadcast.doors.jsonrpc.line_reader, "PAGE_LINES", 2),
    (broadcast.doors.jsonrpc.private_messages, "MAX_MESSAGES", MAX_PRIVATE_MESSAGES),
    (broadcast.doors.jsonrpc.snapshots, "MAX_EVENTS", 6),
)
JOURNALS: Final = (
    broadcast.journals.memory,
    broadcast.journals.postgres.commit_thread,
    broadcast.journals.sqlite.commit_thread,
)
"""The modules that find out whether a line can be stored."""


class SmallWorld(ProgramWorld):
    """A server with small replay buffers."""

    def _make_fanout(self) -> Fanout:
        return Fanout(self.dispatcher, ReplayBuffer(*REPLAY_BUFFER))


class SmallDirectWorld(DirectProgramWorld, SmallWorld):
    """The same, which sends to the sockets directly."""


class SmallWebSocketWorld(WebSocketWorld, SmallWorld):
    """The same, with WebSockets."""


class SmallDirectWebSocketWorld(DirectWebSocketWorld, SmallWorld):
    """The same, with WebSockets and direct sending."""


KINDS_OF_WORLD: Final = [
    ProgramWorld,
    DirectProgramWorld,
    SmallWorld,
    SmallDirectWorld,
    WebSocketWorld,
    SmallWebSocketWorld,
    SmallDirectWebSocketWorld,
]


class WebSocketLink(Link):
    """One connection of a program over a WebSocket."""

    def __init__(self, client: WebSocketClient) -> None:
        super().__init__(cast(Person, client))
        self.client = client

    def put(self, data: bytes) -> None:
        """Send the lines in *data*, and the start of a message if a line has no end."""
        *lines, rest = data.split(b"\n")
        super().put(b"".join(map(text, lines)) + (text(rest, fin=False) if rest else b""))

    def read(self) -> list[bytes]:
        """Return the messages since the last call."""
        return [bytes(frame.data) for frame in self.client.take_frames() if frame.opcode is Opcode.TEXT]

    def end(self) -> None:
        """Send a close frame."""
        super().put(frame(Opcode.CLOSE))


def online(model: Model) -> list[Program]:
    return [program for program in model.programs if program.is_online]


def offline(model: Model) -> list[Program]:
    return [program for program in model.programs if not program.is_online]


def connected(model: Model) -> list[Program]:
    return [program for program in model.programs if program.link is not None]


def rule_for(
    programs: Callable[[Model], Sequence[Program]], **arguments: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator: the method is a rule for one of *programs*, if there are any, with drawn *arguments*."""

    def decorate(method: Callable[..., None]) -> Callable[..., None]:
        def step(model: Model, data: st.DataObject, **drawn: object) -> None:
            method(model, data.draw(st.sampled_from(programs(model)), label="program"), **drawn)

        step.__name__ = method.__name__
        typed_rule: Any = rule  # its overloads do not take arguments that are not known here
        decorated: Callable[..., None] = typed_rule(data=st.data(), **arguments)(step)
        return precondition(lambda model: bool(programs(model)))(decorated)

    return decorate


class Model(RuleBasedStateMachine):
    """Programs, and people at the line door, on one server."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(logged())
        for module, name, value in LIMITS:
            self.stack.enter_context(mock.patch.object(module, name, value))
        for journal in JOURNALS:
            self.stack.enter_context(mock.patch.object(journal, "storage_problem", self._problem))
        self.programs: list[Program] = []
        self.people: list[Person] = []
        self.abandoned: list[Link] = []
        """Connections of programs that use another one by now."""
        self.journal_fails = False
        self.refused: set[object] = set()
        """The uids of lines that the server has refused at least once, so that later lines may come before them.

        The program does not know of all, because a refusal may be lost with the connection.
        """
        self.stack.enter_context(mock.patch.object(Call, "fail", self._note_failure(Call.fail)))
        self.stack.enter_context(mock.patch.object(ProgramSession, "disconnect", self._note_end()))
        self.numbers = count(1)
        self.slots: list[Slot] = []
        """Slots for uploads that may not have ended."""
        self.shared: list[FileInfo] = []

    def _note_end(self) -> Callable[..., None]:
        """Return ``ProgramSession.disconnect``, which also notes that the session cannot be resumed."""
        disconnect = ProgramSession.disconnect

        def note(session: ProgramSession, reason: str, notice: str) -> None:
            assert reason in {TAKEN_OVER, "account deleted"}
            for program in self.programs:
                if program.resume is not None and program.resume["token"] == session.token:
                    program.expires = -inf
            disconnect(session, reason, notice)

        return note

    def _problem(self, event: Stored | TopicChanged) -> str:
        if not self.journal_fails:
            return storage_problem(event)
        if isinstance(event, STORED):
            self.refused.add(event.uid)
        return "the disk is full"

    def _note_failure(self, fail: Callable[[Call, RpcError], None]) -> Callable[[Call, RpcError], None]:
        def note(call: Call, error: RpcError) -> None:
            fail(call, error)
            if error.code == Code.NOT_IN_ROOM:
                self.refused.add(call.uid)

        return note

    @initialize(
        kind=st.sampled_from(KINDS_OF_WORLD),
        holds=st.booleans(),
        programs=st.integers(0, 3),
    )
    def begin(self, kind: type[ProgramWorld], holds: bool, programs: int) -> None:
        kind = type("_World", (kind,), {"holds_presence": holds})
        limits = replace(DEFAULTS.without_client_limits(), private_queue_bytes=2_000)
        self.world = kind(Settings(version="0.0", replay=2), limits=limits)
        take_files(self.world)
        (self.witness,) = self.world.join("witness")
        for nick in NAMES[:programs]:
            self.programs.append(Program(self.world.clock, self.refused, nick))
            self.greet(self.programs[-1], nick, ROOMS)
        self.settle()

    def connect(self) -> Link:
        """Open a connection. In a world with WebSockets, some are those, so that sessions move between the doors."""
        if isinstance(self.world, WebSockets) and next(self.numbers) % 2:
            return WebSocketLink(self.world.websocket())
        return Link(self.world.connect())

    def word(self) -> str:
        return f"w{next(self.numbers)}w"

    @invariant()
    def everybody_reads(self) -> None:
        for person in self.people:
            person.transport.sent.clear()
        for program in self.programs:
            self._serve(program)

    def _serve(self, program: Program) -> None:
        """Let a program read, and close what the server has closed."""
        if (link := program.link) is None:
            return
        link.flush()
        program.take_all()
        if link.transport.aborted:
            self.drop(program)
        elif link.transport.finished and not link.transport.held:
            if link.transport.room is None:
                link.person.protocol.writeConnectionLost()
                link.person.protocol.readConnectionLost()
                self.drop(program, clean=True)
        elif link.is_over:
            self.drop(program, clean=True)

    def drop(self, program: Program, *, clean: bool = False) -> None:
        """Lose the connection of a program."""
        link, program.link = program.link, None
        assert link is not None
        if program.expires == inf:
            program.expires = self.world.clock.seconds() + program.grace
        link.lose(clean=clean)

    # Coming, going, and coming back

    @rule(
        name=st.sampled_from(NAMES),
        rooms=st.lists(st.sampled_from(ROOMS), unique=True),
        grace=st.sampled_from([None, 0, 10]),
        reads=st.none() | st.integers(0, 2_000),
        cut=st.none() | st.integers(0, 200),
        logs_in=st.booleans(),
    )
    def come(
        self, name: str, rooms: list[str], grace: float | None, reads: int | None, cut: int | None, logs_in: bool
    ) -> None:
        program = Program(self.world.clock, self.refused, f"{name}-{len(self.programs)}")
        self.programs.append(program)
        self.greet(program, name, rooms, grace, reads, cut, logs_in=logs_in)

    def greet(
        self,
        program: Program,
        nick: str,
        rooms: Sequence[str],
        grace: float | None = None,
        reads: int | None = None,
        cut: int | None = None,
        *,
        logs_in: bool = False,
    ) -> None:
        link = self.connect()
        link.transport.room = reads
        data = program.hello(link, nick, rooms, grace, logs_in=logs_in)
        link.put(data[:cut])
        if cut is not None and cut < len(data):
            self.drop(program)

    @rule_for(
        offline,
        name=st.sampled_from(NAMES),
        reads=st.none() | st.integers(0, 2_000),
        cut=st.none() | st.integers(0, 400),
    )
    def come_back(self, program: Program, name: str, reads: int | None, cut: int | None) -> None:
        if program.link is not None:
            self.drop(program)
        self.greet(program, name, [*program.rooms] or ["lobby"], None, reads, cut)

    @rule_for(online, reads=st.none() | st.integers(0, 2_000), is_late=st.booleans(), lose=st.booleans())
    def come_back_over_a_second_connection(
        self, program: Program, reads: int | None, is_late: bool, lose: bool
    ) -> None:
        """Let a program connect twice while its first connection lives, or one attempt arrive after the next one."""
        before = program.link
        assert before is not None
        links = [self.connect() for _ in range(2)]
        hellos = [program.hello(link, program.nick, [*program.rooms]) for link in links]
        links[1].transport.room = reads
        order = (1, 0) if is_late else (0, 1)
        for at in order:
            links[at].put(hellos[at])
        if lose:
            links[0].lose(clean=False)
        else:
            self.abandoned.append(links[0])
        self.abandoned.append(before)

    @rule_for(connected, clean=st.booleans(), cut=st.none() | st.integers(0, 100))
    def lose(self, program: Program, clean: bool, cut: int | None) -> None:
        """Let a program lose its connection, perhaps in the middle of its input."""
        self._serve(program)
        if program.link is None:
            return
        if cut is not None and program.is_online and program.rooms:
            sent = self.new_line(program, next(iter(program.rooms)), "say")
            program.send(sent, cut=cut)
        if program.link is not None:
            self.drop(program, clean=clean)

    @rule_for(online)
    def end_input(self, program: Program) -> None:
        assert program.link is not None
        program.link.end()
        program.link.is_over = True
        program.expires = self.world.clock.seconds() + program.grace

    @rule_for(online)
    def quit(self, program: Program) -> None:
        program.has_quit = True
        program.request("quit", {"reason": "tired"}, lambda _response: None)

    @rule(clean=st.booleans())
    def lose_abandoned_connections(self, clean: bool) -> None:
        for link in self.abandoned:
            link.lose(clean=clean)
        self.abandoned.clear()

    @rule(seconds=st.sampled_from([0.03, 1, 11, GRACE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(all_turns=st.booleans())
    def turn(self, all_turns: bool) -> None:
        (self.world.settle if all_turns else self.world.turn)()

    @rule_for(online, room=st.integers(0, 1_000))
    def stop_reading(self, program: Program, room: int) -> None:
        assert program.link is not None
        program.link.person.stop_reading(room)

    @rule_for(online, room=st.none() | st.integers(1, 3_000))
    def read_on(self, program: Program, room: int | None) -> None:
        assert program.link is not None
        program.link.person.read_on(room)

    @rule(fails=st.booleans())
    def change_the_journal(self, fails: bool) -> None:
        self.journal_fails = fails

    # Talking

    def new_line(self, program: Program, room: str, method: str) -> Sent:
        sent = Sent(f"u{next(self.numbers)}", room, method, self.word())
        program.sent.append(sent)
        return sent

    @rule_for(
        online,
        rooms=st.lists(st.sampled_from(ROOMS), min_size=1, max_size=5),
        method=st.sampled_from(["say", "say", "emote"]),
    )
    def say(self, program: Program, rooms: list[str], method: str) -> None:
        program.send(*(self.new_line(program, room, method) for room in rooms))

    @rule(data=st.data(), uid=st.booleans())
    def begin_upload(self, data: st.DataObject, uid: bool) -> None:
        """Let a session, of a program or a person, begin to share a file in one of its rooms."""
        sessions = [(member, room) for member in self.world.hub.people.members.values() for room in member.memberships]
        member, name = data.draw(st.sampled_from(sessions), label="session")
        room, word = self.world.hub.rooms[name], self.word()
        with suppress(FileRejected):
            uploads = self.world.hub.require_uploads()
            slot = open_slot(uploads, member, room, word, 5, uid=f"f-{word}" if uid else "")
            begin(uploads, slot, 5, None, ignore_end)
            self.slots.append(slot)

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def complete_upload(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.slots))
        self.slots.remove(slot)
        archive_of(self.world).files[slot.file_id] = StoredFile(slot.owner, 5)
        file = FileInfo(slot.file_id, slot.name, 5, "text/plain", "")

        def take(result: Shared | RejectedError) -> None:
            assert not isinstance(result, UidReused)
            if isinstance(result, Shared):
                self.shared.append(result.file)

        self.world.hub.require_uploads().complete(slot, file, take)

    @rule_for(online, back=st.integers(1, 4))
    def say_again(self, program: Program, back: int) -> None:
        program.send(*program.sent[-back:])

    @rule_for(online, other_kind=st.booleans())
    def use_a_uid_again(self, program: Program, other_kind: bool) -> None:
        """Another text, or another kind, has no effect once the line is stored."""
        sent = next((each for each in reversed(program.sent) if each.seq and each.room in program.rooms), None)
        if sent is None:
            return

        def check(response: Params) -> None:
            assert response["error"]["code"] in {1005, 1012}, response
            assert response["error"]["data"].get("seq", sent.seq) == sent.seq

        method = {"say": "emote", "emote": "say"}[sent.method] if other_kind else sent.method
        text = sent.text if other_kind else "another"
        program.request(method, {"room": sent.room, "text": text, "uid": sent.uid}, check)

    @rule_for(online, repeat=st.booleans())
    def tell(self, program: Program, repeat: bool) -> None:
        others = [other for other in self.programs if other is not program and other.nick]
        if not others:
            return
        params = {"to": others[-1].nick, "text": self.word(), "uid": f"t{next(self.numbers)}"}

        def check(response: Params) -> None:
            assert "result" in response or response["error"]["code"] in {1006, 1007}, response

        for _ in range(1 + repeat):
            program.request("tell", params, check)

    @rule_for(online, room=st.sampled_from(ROOMS), text=st.none() | st.sampled_from(["news", "food"]))
    def change_the_topic(self, program: Program, room: str, text: str | None) -> None:
        program.request("topic", {"room": room, "text": text}, lambda _response: None)

    @rule_for(online, reason=st.none() | st.sampled_from(["lunch", ""]))
    def be_away(self, program: Program, reason: str | None) -> None:
        program.request("away", {"reason": reason}, lambda _response: None)

    @rule_for(online, name=st.sampled_from(NAMES))
    def rename(self, program: Program, name: str) -> None:
        program.renames += 1

        def take(response: Params) -> None:
            program.renames -= 1
            if "result" in response:
                program.nick = response["result"]["nick"]
                program.nicks.add(program.nick)

        program.nicks.add(name)
        program.request("nick", {"nick": name}, take)

    @rule_for(online, method=st.sampled_from(["register", "login", "logout", "drop"]), name=st.sampled_from(NAMES))
    def change_account(self, program: Program, method: str, name: str) -> None:
        params = {} if method == "logout" else {"password": PASSWORD}
        if method == "login":
            params["nick"] = name
        program.change_account(method, params, name if method == "login" else None)

    @rule_for(online, room=st.sampled_from(ROOMS))
    def join(self, program: Program, room: str) -> None:
        self.enter(program, room)

    def enter(self, program: Program, room: str) -> None:
        program.moving.add(room)

        def take(response: Params) -> None:
            if "result" in response:
                program.rooms.pop(room, None)
                program.take_snapshot(response["result"])

        program.request("join", {"room": room, "replay": 1}, take)

    @rule_for(online, room=st.sampled_from(ROOMS))
    def leave(self, program: Program, room: str) -> None:
        program.moving.add(room)

        def take(response: Params) -> None:
            if "result" in response:
                program.rooms.pop(room, None)

        program.request("leave", {"room": room}, take)

    # People

    @rule(names=st.lists(st.sampled_from([*NAMES, *(f"p{n}" for n in range(9))]), min_size=1, max_size=9, unique=True))
    def people_come(self, names: list[str]) -> None:
        for name in names:
            person = self.world.connect()
            person.put(f"{name}\n")
            self.people.append(person)

    @precondition(lambda self: self.people)
    @rule(
        data=st.data(),
        line=st.sampled_from(
            ["hello", "/me waves", "/join kitchen", "/join attic", "/leave", "/away lunch", "/back", "/nick eve",
             "/msg ann hi", "/msg bob hi", "/topic tea", "quit", None]
        ),
    )  # fmt: skip
    def person_types(self, data: st.DataObject, line: str | None) -> None:
        person = data.draw(st.sampled_from(self.people))
        if line is None:
            self.people.remove(person)
            person.protocol.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]
        elif person.transport.reading and not person.transport.finished:
            person.put(f"{line} {self.word()}\n" if line.endswith(("hello", "waves", "hi")) else f"{line}\n")

    # What holds whenever everything has been delivered

    @rule()
    def settle_and_compare(self) -> None:
        self.settle()
        for program in online(self):
            self.compare(program)

    def settle(self) -> None:
        """Let all programs read everything, until nothing goes on."""
        for _ in range(12):
            for program in connected(self):
                assert program.link is not None
                program.link.person.read_on()
            self.world.settle()
            self.world.clock.advance(0.03)  # joins and leaves are announced by then
            self.world.settle()
            self.everybody_reads()
            for program in online(self):
                for room, view in program.rooms.items():
                    if view.is_vague:
                        program.ask_for_members(room)

    def compare(self, program: Program) -> None:
        """Compare what a program knows with the truth."""
        hub = self.world.hub
        assert program.link is not None
        assert not program.link.requests, "every request has its response"
        session = self.world.sessions.find(program.resume["token"]) if program.resume else None
        assert session is not None
        assert (session.public_id, session.member.nick) == (program.session, program.nick)
        registered = hub.accounts.find(program.nick)
        assert registered is None or registered is session.member.account
        assert program.account == account_name(session.member)
        assert program.rooms.keys() == session.member.memberships.keys()
        for name, view in program.rooms.items():
            room = hub.rooms[name]
            assert view.seen == room.last_seq
            assert not view.is_vague
            assert view.topic in {room.topic or None, UNKNOWN}
            assert view.members == {
                public_id(id_): (each.announced_nick, each.member.away_reason if each.member.away else None)
                for id_, each in room.members.items()
            }
        assert program.told == session.private._count

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.finish()
        finally:
            self.stack.close()

    def finish(self) -> None:
        """Let all programs come back and say everything that is not confirmed, and check the journal."""
        self.journal_fails = False
        self.settle()
        for program in self.programs:
            for _ in range(2):
                if not program.is_online:
                    if program.link is not None:
                        self.drop(program)
                    self.greet(program, f"last{self.programs.index(program)}", ROOMS)
                    self.settle()
            assert program.is_online
            for room in {*ROOMS} - program.rooms.keys():
                self.enter(program, room)
        self.settle()
        for program in self.programs:
            program.send(*program.unconfirmed)
        self.settle()
        for program in self.programs:
            self.compare(program)
            assert not program.unconfirmed
        stored = {room: read_room(self.world, room) for room in ROOMS}
        for room, lines in stored.items():
            assert [event.seq for event in lines] == [*range(1, len(lines) + 1)]
            uids = [event.uid for event in lines if event.uid]
            assert len(set(uids)) == len(uids), f"no line is twice in {room}"
        for program in self.programs:
            self.check_lines(program, stored)
        lobby = [spoken(event) for event in stored["lobby"] if not isinstance(event, Shared)]
        files = {event.file.id for lines in stored.values() for event in lines if isinstance(event, Shared)}
        assert files == archive_of(self.world).files.keys() == {file.id for file in self.shared}
        assert [line for line in self.witness.lines() if not line.startswith((" * ", "[", "-> "))] == lobby

    def check_lines(self, program: Program, journal: Mapping[str, Sequence[Stored]]) -> None:
        """Check that the lines of a program, and those that it has read, are in the *journal*."""
        for room in ROOMS:
            stored = {event.seq: event for event in journal[room]}
            lines = [sent for sent in program.sent if sent.room == room]
            numbers = {event.uid: seq for seq, event in stored.items()}
            for sent in lines:
                seq = numbers[sent.uid]
                assert sent.seq in {0, seq}
                assert (stored[seq].text, type(stored[seq]).__name__) == (sent.text, KINDS[sent.method])
            in_order = [numbers[sent.uid] for sent in lines if sent.uid not in self.refused]
            assert in_order == sorted(in_order), "the order of the author"
            for seq, line in program.read[room].items():
                assert line == Line(stored[seq].nick, stored[seq].text, stored[seq].uid)


def read_room(world: World, name: str) -> Sequence[Stored]:
    """Return all lines of the room *name* in the journal."""
    answers: list[Any] = []
    if (room := world.hub.rooms.get(name)) is not None:
        room.history(1, 10**6, answers.append)
        world.settle()
        lines: Sequence[Stored] = answers[0]
        return lines
    world.journal.open_room(name, 10**6, answers.append)
    world.settle()
    opened: OpenedRoom = answers[0]
    opened.log.close()
    return opened.recent


MODEL = settings(
    max_examples=3_000 if LONG else 50,
    stateful_step_count=80 if LONG else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_programs_miss_nothing_and_know_who_is_here() -> None:
    run_machine(Model, settings=MODEL)
