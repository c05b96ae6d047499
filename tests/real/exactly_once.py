"""Clients that lose their connections and the server again and again, and what each of them has said and read.

Between the server and its clients is a ``Relay``, which can cut their connections. All of this runs in one loop of
asyncio, the server in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from random import Random
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from broadcast.client.aio import Chat, Emoted, Gap, Reconnected, Said
from broadcast.client.protocol.errors import Rejected
from broadcast.client.protocol.session import Session
from broadcast.journals.sqlite.room_record import MAX_SEQ, SEQ_BITS
from tests.browser.people import Server as Process
from tests.postgres import SHARED, PostgresServer
from tests.relay import Relay

ROOMS = "lobby", "kitchen"
PATIENCE = 120
"""Maximum number of seconds for anything that takes seconds at most."""
MOST_UNCONFIRMED = 20
"""Number of lines that a speaker sends before it waits for an answer."""
MAX_LINE = 1 << 19
"""Maximum length of a line from the server, in bytes; a message of the program protocol has up to 256 KiB."""
PAGE = 1000
"""Number of lines that are asked for at once."""
NOT_KEPT = 1001, 1014, -32603
"""The codes of the errors that a line was not stored, or that the server cannot find out whether it was before."""
LATER = "nick-refused", "going-down", "busy", "room-refused"
"""The reasons for which a greeting may be refused. The last two say that the database cannot be reached."""
SOON = 0.01
"""Time until the next attempt to connect, in seconds."""


_STORED = """
SELECT name, seq, nick, text, uid FROM broadcast.lines JOIN broadcast.rooms ON rooms.id = lines.room ORDER BY seq
"""


class Line(NamedTuple):
    """One line, as the journal has it and as each reader must read it."""

    nick: str
    text: str
    uid: str | None


async def until(condition: Callable[[], object]) -> None:
    """Wait for *condition*."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


class Server:
    """The installed server with its journal in *folder* or *postgres*. It is started and ended many times."""

    def __init__(self, folder: Path, relay: Relay, postgres: PostgresServer | None = None) -> None:
        options = () if postgres is None else ("--journal", postgres.url(), "--node", "one")
        self._process = Process(folder, "--limits", "off", *options)
        self._postgres = postgres
        self._folder = folder
        relay.target = self._process.port

    @property
    def output(self) -> bytes:
        """The output of all processes."""
        return self._process.output().encode()

    @property
    def may_refuse(self) -> bool:
        """Whether the journal is in a database, which can be away."""
        return self._postgres is not None

    async def start(self) -> None:
        """Start the server, and wait until it listens."""
        await asyncio.to_thread(self._process.start)

    async def end(self, number: signal.Signals) -> None:
        """End the process with a signal."""
        await asyncio.to_thread(self._process.stop, number)

    def stored(self) -> dict[str, dict[int, Line]]:
        """Return all lines of the journal by room and number."""
        if self._postgres is not None:
            return stored_lines(self._postgres)
        lines: dict[str, dict[int, Line]] = {room: {} for room in ROOMS}
        with closing(sqlite3.connect(self._folder / "data" / "journal.sqlite")) as db:
            names = dict(db.execute("SELECT id, name FROM rooms"))
            for key, *line in db.execute("SELECT seq, nick, text, uid FROM events ORDER BY seq"):
                lines[names[key >> SEQ_BITS]][key & MAX_SEQ] = Line(*line)
        return lines


def stored_lines(postgres: PostgresServer) -> dict[str, dict[int, Line]]:
    """Return all lines in the database ``SHARED`` by room and number."""
    lines: dict[str, dict[int, Line]] = {room: {} for room in ROOMS}
    for room, seq, *line in postgres.execute(_STORED, database=SHARED):
        lines[room][seq] = Line(*line)
    return lines


class Client:
    """A reader, and what it has read: each line once, under its number."""

    rooms: Sequence[str] = ROOMS
    may_refuse = False
    """Whether the server may be unable to store a line."""

    def __init__(self, nick: str, port: int, random: Random) -> None:
        self.nick = nick
        self.port = port
        self.random = random
        self.read: dict[str, dict[int, Line]] = {room: {} for room in self.rooms}
        self.messages = 0
        """Number of messages from the server so far."""

    @property
    def current_nick(self) -> str:
        """The nickname that it has now."""
        return self.nick

    def take(self, room: str, seq: int, line: Line) -> None:
        """Take in a line, which must be new."""
        assert seq not in self.read[room], f"{room} #{seq} has come twice"
        self.read[room][seq] = line

    async def run(self) -> None:
        """Connect, and connect again, until the task is cancelled."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=MAX_LINE)
                try:
                    await self.talk(reader, writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(SOON)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use one connection to its end."""
        raise NotImplementedError


class Speaker(Client):
    """A client that says lines in all rooms."""

    def __init__(self, nick: str, port: int, random: Random) -> None:
        super().__init__(nick, port, random)
        self.is_quiet = False
        """Whether it is to say no further line."""
        self.said: dict[str, tuple[str, str]] = {}
        """Room and text of each line by its uid, in the order of saying."""
        self.seqs: dict[str, int] = {}
        """The numbers of the confirmed lines by uid."""
        self.refused: set[str] = set()
        """The uids of the lines that the server could not store at first, so that later lines may come before them."""
        self.unconfirmed: dict[str, None] = {}
        """The uids of the lines that the server has not confirmed, in the order of saying."""

    def new_line(self) -> str:
        """Return the uid of a new line."""
        number = len(self.said)
        uid = f"{self.nick}-{number}"
        text = f"line {number} of {self.nick}" + " and much more" * self.random.choice((0, 0, 0, 20))
        self.said[uid] = self.random.choice(ROOMS), text
        self.unconfirmed[uid] = None
        return uid

    def confirm(self, uid: str, seq: int) -> None:
        """Note the number of a line. It must be the same each time."""
        assert self.seqs.setdefault(uid, seq) == seq, f"{uid} is #{self.seqs[uid]}, and now #{seq}"
        self.unconfirmed.pop(uid, None)


class Program(Speaker):
    """A program that uses sockets and JSON alone. It asks for the lines that a gap names."""

    def __init__(self, nick: str, port: int, random: Random) -> None:
        super().__init__(nick, port, random)
        self.resumed = 0
        """Number of connections that have continued the session."""
        self._seen: dict[str, int] = {}
        self._session: dict[str, Any] = {}
        """Token, journal and attempt."""
        self._holes: set[tuple[str, int, int]] = set()
        """The lines that are to be asked for: room, first and last number."""
        self._asked: set[tuple[str, int, int]] = set()
        self._answers: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._last_id = 0
        self._to_repeat: list[str] = []
        """The uids of lines that were not stored."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._to_repeat.clear()
        self._answers.clear()
        self._asked.clear()
        params: dict[str, Any] = {"protocol": 1, "nick": self.nick, "rooms": ROOMS, "replay": 0}
        if self._session:
            self._session["attempt"] += 1
            params["resume"] = self._session | {"rooms": self._seen}
        hello = self._send(writer, "hello", params)
        is_online = False
        while True:
            line = await reader.readuntil(b"\n")
            if not line.startswith(b"{"):
                continue
            self.messages += 1
            message = json.loads(line)
            if "method" in message:
                self._take(message["method"], message["params"])
            elif message["id"] != hello:
                self._answers.pop(message["id"])(message)
            elif "error" in message:
                assert message["error"]["data"]["reason"] in LATER[: None if self.may_refuse else 2], message
                return
            else:
                self._welcome(message["result"])
                is_online = True
                confirmed = [*self.seqs]
                for uid in (*self.random.sample(confirmed, min(3, len(confirmed))), *self.unconfirmed):
                    self._say(writer, uid)
            if is_online:
                self._go_on(writer)

    def _go_on(self, writer: asyncio.StreamWriter) -> None:
        repeated, self._to_repeat = self._to_repeat, []
        for uid in repeated:
            self._say(writer, uid)
        for hole in self._holes - self._asked:
            self._ask(writer, *hole)
        while not self.is_quiet and len(self.unconfirmed) < MOST_UNCONFIRMED:
            self._say(writer, self.new_line())

    def _welcome(self, welcome: dict[str, Any]) -> None:
        self.resumed += welcome["resumed"]
        attempt = self._session["attempt"] if welcome["resumed"] else 0
        self._session = {"token": welcome["token"], "journal": welcome["journal"], "attempt": attempt}
        for room, snapshot in welcome["rooms"].items():
            if room not in self._seen:  # the first time
                self._seen[room] = snapshot["last"]
                if snapshot["last"]:
                    self._holes.add((room, 1, snapshot["last"]))
            for event in snapshot["events"]:
                self._take(event["method"], event)
            assert self._seen[room] == snapshot["last"]

    def _take(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "said" | "emoted":
                room, seq = params["room"], params["seq"]
                if seq <= self._seen[room]:  # the answer to a notification with a line that was said before
                    self.confirm(params["uid"], seq)
                    return
                assert seq == self._seen[room] + 1, f"{room} #{seq} follows #{self._seen[room]}"
                self._seen[room] = seq
                self._take_line(params)
            case "gap":
                room, first, last = params["room"], params["first"], params["last"]
                assert first == self._seen[room] + 1
                self._seen[room] = last
                self._holes.add((room, first, last))
            case "refused":
                assert params["code"] in NOT_KEPT, params
                self._note_refusal(params["uid"])

    def _take_line(self, params: dict[str, Any]) -> None:
        uid = params.get("uid")
        self.take(params["room"], params["seq"], Line(params["nick"], params["text"], uid))
        if uid in self.said:
            self.confirm(uid, params["seq"])

    def _send(self, writer: asyncio.StreamWriter, method: str, params: object, *, notify: bool = False) -> int:
        self._last_id += 1
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if not notify:
            message["id"] = self._last_id
        writer.write(json.dumps(message).encode() + b"\n")
        return self._last_id

    def _say(self, writer: asyncio.StreamWriter, uid: str) -> None:
        """Say a line, as a request or as a notification."""
        room, text = self.said[uid]
        is_notification = self.random.random() < 0.5
        number = self._send(writer, "say", {"room": room, "text": text, "uid": uid}, notify=is_notification)

        def answer(message: dict[str, Any]) -> None:
            if "error" in message:
                assert message["error"]["code"] in NOT_KEPT, message
                self._note_refusal(uid)
            else:
                self.confirm(uid, message["result"]["seq"])

        if not is_notification:
            self._answers[number] = answer

    def _note_refusal(self, uid: str) -> None:
        """Note that the line was not stored. It is said again soon."""
        assert self.may_refuse
        self.refused.add(uid)
        self._to_repeat.append(uid)

    def _ask(self, writer: asyncio.StreamWriter, room: str, first: int, last: int) -> None:
        hole = room, first, last

        def answer(message: dict[str, Any]) -> None:
            events = message["result"]["events"]
            following = first + len(events)
            assert [event["seq"] for event in events] == [*range(first, following)] != []
            self._holes.remove(hole)
            for event in events:
                self._take_line(event)
            if following <= last:
                self._holes.add((room, following, last))

        self._asked.add(hole)
        params = {"room": room, "after": first - 1, "count": min(PAGE, last - first + 1)}
        self._answers[self._send(writer, "history", params)] = answer


class Bot(Speaker):
    """A program that uses the library."""

    async def run(self) -> None:
        session = Session(self.nick, ROOMS, self.random, replay=PAGE, longest_pause=4 * SOON)
        async with Chat(session, "127.0.0.1", self.port, None, ROOMS[0]) as chat, asyncio.TaskGroup() as tasks:
            for _ in range(MOST_UNCONFIRMED):
                tasks.create_task(self._say(chat))
            async for event in chat:
                self.messages += 1
                match event:
                    case Said(room=room, seq=seq) | Emoted(room=room, seq=seq):
                        assert seq == len(self.read[room]) + 1
                        self.take(room, seq, Line(event.nick, event.text, event.uid))
                    case Gap() | Reconnected(same_journal=False):
                        raise AssertionError(event)

    async def _say(self, chat: Chat) -> None:
        while not self.is_quiet:
            uid = self.new_line()
            room, text = self.said[uid]
            while uid in self.unconfirmed:
                try:
                    self.confirm(uid, await chat.say(text, room, uid=uid))
                except Rejected as error:
                    if not self.may_refuse or error.code not in NOT_KEPT:
                        raise
                    self.refused.add(uid)
                    await asyncio.sleep(SOON)


class Person(Client):
    """A person at the line door, in the first room. ``/history`` has what was said meanwhile."""

    rooms = ROOMS[:1]

    def __init__(self, nick: str, port: int, random: Random) -> None:
        super().__init__(nick, port, random)
        self._visits = 0
        self._complete = 0
        """The number of the last line before which none is missing."""

    @property
    def current_nick(self) -> str:
        """The nickname of this visit."""
        return f"{self.nick}{self._visits}"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._visits += 1  # the last nickname may still be in use
        writer.write(f"{self.current_nick}\n/history 1\n".encode())
        live: list[str] = []
        """What was said since the arrival, and the replay before that."""
        base: int | None = None
        """The number of the line before these, once it is known."""
        while True:
            text = (await reader.readuntil(b"\n")).decode().removesuffix("\r\n")
            self.messages += 1
            assert "You missed" not in text, "a reader that is fast enough misses nothing"
            if old := re.fullmatch(r"-> #(\d+) \[[^]]+\] (.+)", text):
                seq, old_text = int(old[1]), old[2]
                if base is None:
                    base = seq - 1 - live.index(old_text)
                    for at, line in enumerate(live, base + 1):
                        self._take(at, line)
                    self._ask(writer, base)
                else:
                    self._take(seq, old_text)
            elif text.startswith(("-> Error: ", "-> nothing was said yet")):
                return  # and ask again on another connection
            elif said := re.fullmatch(r"(?:Nickname: )?(?:\[[^]]+\] )?(\w+: line \d+ .+)", text):
                live.append(said[1])
                if base is not None:
                    self._take(base + len(live), said[1])

    def _ask(self, writer: asyncio.StreamWriter, last: int) -> None:
        """Ask for the missing lines up to *last*."""
        lines = self.read[ROOMS[0]]
        while self._complete + 1 in lines:
            self._complete += 1
        for first in range(self._complete + 1, last + 1, PAGE):
            writer.write(f"/history #{first}-#{min(first + PAGE - 1, last)}\n".encode())

    def _take(self, seq: int, text: str) -> None:
        """Take in a line of the stream or of the history, which may have it a second time."""
        nick, _, said = text.partition(": ")
        line = Line(nick, said, None)
        assert self.read[ROOMS[0]].setdefault(seq, line) == line


class Storage(Protocol):
    """What a ``World`` needs of its server, or servers."""

    @property
    def output(self) -> bytes:
        """The output of all processes."""

    @property
    def may_refuse(self) -> bool:
        """Whether there may be no place to store a line for a while."""

    async def start(self) -> None:
        """Start, and wait until clients can connect."""

    async def end(self, number: signal.Signals) -> None:
        """End all processes with a signal."""

    def stored(self) -> dict[str, dict[int, Line]]:
        """Return all lines of the journal by room and number."""


S = TypeVar("S", bound=Storage)


class World(Generic[S]):
    """A server and its clients, which connect to *relay*."""

    def __init__(self, random: Random, relay: Relay, server: S) -> None:
        self.random = random
        self.relay = relay
        self.server = server
        self.clients: list[Client] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def speakers(self) -> list[Speaker]:
        """The clients that say lines."""
        return [client for client in self.clients if isinstance(client, Speaker)]

    def add(self, kind: type[Client], tasks: asyncio.TaskGroup) -> None:
        """Let a client come."""
        random = Random(self.random.random())  # noqa: S311 -- what it says is no secret
        client = kind(f"p{len(self.clients)}", self.relay.port, random)
        client.may_refuse = self.server.may_refuse
        self.clients.append(client)
        self._tasks.append(tasks.create_task(client.run()))

    async def messages(self, count: int) -> None:
        """Wait until the clients have received *count* more messages."""
        end = sum(client.messages for client in self.clients) + count
        await until(lambda: sum(client.messages for client in self.clients) >= end)

    async def finish(self) -> None:
        """Wait until all lines are confirmed, and until each client has read all of them."""
        for speaker in self.speakers:
            speaker.is_quiet = True
        await until(lambda: not any(speaker.unconfirmed for speaker in self.speakers))
        said = [room for speaker in self.speakers for room, _ in speaker.said.values()]
        counts = {room: said.count(room) for room in ROOMS}
        try:
            await until(lambda: all(len(c.read[room]) >= counts[room] for c in self.clients for room in c.rooms))
        except TimeoutError:
            have = [{room: len(lines) for room, lines in client.read.items()} for client in self.clients]
            raise AssertionError(f"of {counts}, the clients have {have}") from None
        for task in self._tasks:
            task.cancel()

    def check(self) -> None:
        """Check the journal and what the clients have read and said."""
        stored = self.server.stored()
        for room, lines in stored.items():
            assert [*lines] == [*range(1, len(lines) + 1)], f"the numbers of {room} are dense"
        expected = {uid: (s.nick, room, text) for s in self.speakers for uid, (room, text) in s.said.items()}
        found = {line.uid: (line.nick, room, line.text) for room in ROOMS for line in stored[room].values()}
        assert found == expected
        assert sum(map(len, stored.values())) == len(expected), "no line is stored twice"
        for speaker in self.speakers:
            for room in ROOMS:
                seqs = {uid: speaker.seqs[uid] for uid, (said_in, _) in speaker.said.items() if said_in == room}
                numbers = [*seqs.values()]
                in_order = [seq for uid, seq in seqs.items() if uid not in speaker.refused]
                assert in_order == sorted(in_order), f"{room} has the lines of {speaker.nick} in their order"
                assert {stored[room][seq].uid for seq in numbers} == {
                    uid for uid, (said_in, _) in speaker.said.items() if said_in == room
                }
        for client in self.clients:
            for room, lines in client.read.items():
                has_uids = not isinstance(client, Person)
                known = {seq: line if has_uids else line._replace(uid=None) for seq, line in stored[room].items()}
                wrong = {seq: (lines.get(seq), known.get(seq)) for seq in lines.keys() | known.keys()}
                wrong = {seq: both for seq, both in sorted(wrong.items()) if both[0] != both[1]}
                assert not wrong, f"{client.current_nick} has read, and {room} has: {wrong}"
        problems = re.findall(r".*Traceback[^\0]{0,3000}", self.server.output.decode())
        assert not problems, problems[0]


@asynccontextmanager
async def running(
    folder: Path, random: Random, clients: Sequence[type[Client]], postgres: PostgresServer | None = None
) -> AsyncIterator[World[Server]]:
    """Run a server and its *clients*. At the end, everything that they have said is confirmed, read, and checked."""
    relay = Relay(random)
    world = World(random, relay, Server(folder, relay, postgres))
    async with crowded(world, clients):
        yield world


@asynccontextmanager
async def crowded(world: World[S], clients: Sequence[type[Client]]) -> AsyncIterator[None]:
    """Run the *clients* of *world*. At the end, everything that they have said is confirmed, read, and checked."""
    await world.relay.listen()
    try:
        async with asyncio.TaskGroup() as tasks:
            await world.server.start()
            for kind in clients:
                world.add(kind, tasks)
            yield
            await world.finish()
        await world.server.end(signal.SIGTERM)
        world.check()
    finally:
        await world.server.end(signal.SIGKILL)
        await world.relay.close()
