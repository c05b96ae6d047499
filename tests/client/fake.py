"""A chat server in memory that keeps to the line protocol, a front end that remembers, and what is between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from broadcast.client.connection import Connection
from broadcast.client.lines import Emoted, Event, Notice, Said

REPLAY = 20


@dataclass
class Line:
    """What the room has kept."""

    nick: str
    text: str
    emote: bool = False

    def __str__(self) -> str:
        return f"** {self.nick} {self.text}" if self.emote else f"{self.nick}: {self.text}"


class Room:
    """What the server knows."""

    def __init__(self, *texts: str) -> None:
        self.kept = [Line("bob", text) for text in texts]
        self.ends: list[End] = []
        self.motd = b""
        self.reserved: set[str] = set()
        self.password = ""
        self.history = True
        self.numbered = True
        self.full_disk = False
        self.greets = True
        self.answers = True
        """Whether anything that is sent from now on is even read."""
        self.line_bytes = 4096
        self.absent: set[str] = set()
        """Nobody has these names, whoever may have said something."""
        self.pings = True
        self.rooms = {"lobby": self}

    def open(self, name: str, *texts: str) -> Room:
        """Open another room."""
        room = self.rooms[name] = Room(*texts)
        room.rooms = self.rooms
        return room

    @property
    def names(self) -> list[str]:
        return [end.nick for end in self.ends if end.nick]

    def said(self, nick: str, text: str, *, emote: bool = False, by: End | None = None) -> None:
        line = Line(nick, text, emote)
        self.kept.append(line)
        for end in self.ends:
            if end is by:
                if end.receipts:
                    end.tell(f"-> #{len(self.kept)}")
            elif end.nick and nick not in end.ignored:
                end.hear(line, len(self.kept))

    def tell(self, line: str) -> None:
        for end in self.ends:
            end.tell(line)

    def join(self, nick: str) -> None:
        self.absent.discard(nick)
        for end in self.ends:
            if not end.quiet:
                end.tell(f" * {nick} joined.")


class End:
    """The server's end of one connection; what it writes is delivered by ``Wire``."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.nick = ""
        self.receipts = False
        self.ignored: set[str] = set()
        self.times = self.quiet = False
        self.away: str | None = None
        self.taken: list[str] = []
        """The lines that came in the room."""
        self.mute = False
        self.skipping: tuple[int, int] | None = None
        self.out = b""
        self.closed = False
        self.refusals = 0
        self.authenticated = not room.password
        if room.greets:
            self.out += b"Welcome to Fake.\r\n" + room.motd + (b"Nickname: " if self.authenticated else b"Password: ")
        room.ends.append(self)

    def tell(self, line: str) -> None:
        self.out += line.encode() + b"\r\n"

    def hear(self, line: Line, seq: int) -> None:
        if self.skipping:
            self.skipping = self.skipping[0], seq
        else:
            self.tell(f"[14:02] {line}" if self.times else str(line))

    def skip(self) -> None:
        """From here on, this client reads too slowly."""
        self.skipping = len(self.room.kept) + 1, 0

    def caught_up(self) -> None:
        assert self.skipping is not None
        first, last = self.skipping
        self.skipping = None
        self.tell(f" * You missed {last - first + 1} lines (#{first}-#{last}).")

    def leave(self) -> None:
        self.closed = True
        self.nick = ""
        if self in self.room.ends:
            self.room.ends.remove(self)

    def take(self, line: str) -> None:
        if not self.room.answers:
            return
        if not self.authenticated:
            self.authenticated = line == self.room.password
            self.out += b"Nickname: " if self.authenticated else b"-> Error: wrong.\r\nPassword: "
        elif not self.nick:
            self._named(line)
        elif not self.mute:
            self.taken.append(line)
            if len(line.encode()) > self.room.line_bytes:
                self.tell(f"-> Error: a line holds at most {self.room.line_bytes} bytes.")
            else:
                self._talk(line)

    def _named(self, nick: str) -> None:
        if nick == "quit":
            self.tell(" * Goodbye.")
            self.leave()
        elif nick in self.room.names or nick in self.room.reserved:
            self.refusals += 1
            self.tell(f"-> Error: {nick} is taken.")
            if self.refusals == 10:
                self.leave()
            else:
                self.out += b"Nickname: "
        else:
            others = self.room.names
            company = f"{len(others)} others are here: {', '.join(others)}." if others else "Nobody else is here."
            self.nick = nick
            self.tell(f" * You are {nick}. {company} /help lists the commands, quit leaves.")
            for line in self.room.kept[-REPLAY:]:
                self.tell(f"[14:02] {line}")

    def _talk(self, line: str) -> None:
        verb, _, words = line.partition(" ")
        verb = verb.casefold()
        if line in {"quit", "/quit"}:
            self.tell(f" * Goodbye, {self.nick}.")
            self.leave()
        elif verb == "/history":
            self._history(words)
        elif verb in {"/join", "/leave"}:
            self._move(words.casefold() or "lobby")
        elif verb in {"/ignore", "/unignore"}:
            self._ignore(verb, words)
        elif verb in {"/say", "/me"}:
            self._say(words, emote=verb == "/me")
        elif line.startswith("/") and not line.startswith("//"):
            self.tell(f"-> {self._answer(verb, words)}")
        elif line.strip():
            self._say(line.removeprefix("/"), emote=False)

    def _move(self, name: str) -> None:
        room = self.room.rooms.get(name)
        if room is None:
            self.tell(f"-> Error: there is no room {name}.")
        elif room is self.room:
            self.tell(f"-> Error: you are in {name} already.")
        else:
            others = room.names
            company = f"{len(others)} others are here: {', '.join(others)}." if others else "Nobody else is here."
            self.room.ends.remove(self)
            self.room = room
            room.ends.append(self)
            self.tell(f" * You are in {name}. {company}")
            self.tell(f" * Topic: {name}")
            for line in room.kept[-REPLAY:]:
                self.tell(f"[14:02] {line}")

    def _answer(self, verb: str, words: str) -> str:  # noqa: PLR0911 -- a table
        match verb:
            case "/receipts" if self.room.numbered:
                self.receipts = words == "on"
                return f"receipts are {words}."
            case "/nick" if words in self.room.names or words in self.room.reserved:
                return f"Error: {words} is taken."
            case "/nick":
                self.nick = words
                return f"You are {words}."
            case "/timestamp":
                self.times = words == "on" if words else not self.times
                return f"timestamps are {'on' if self.times else 'off'}."
            case "/quiet":
                self.quiet = words == "on" if words else not self.quiet
                return f"joins and leaves are {'off' if self.quiet else 'on'}."
            case "/away" | "/back":
                self.away = words if verb == "/away" else None
                if self.away is None:
                    return "Welcome back."
                return f"You are away: {words}" if words else "You are away."
            case "/names" | "/who":
                here = [*self.room.names, *(name for name in ("bob", "eve") if name not in self.room.absent)]
                return f"{len(here)} here: {', '.join(here)}"
            case "/ping" if self.room.pings:
                return "pong"
            case _:
                return f"Error: unknown command {verb}."

    def _ignore(self, verb: str, name: str) -> None:
        if verb == "/ignore" and name in self.room.absent:
            self.tell(f"-> Error: {name} is not here.")
        elif verb == "/ignore":
            self.ignored.add(name)
            self.tell(f"-> you ignore {name}. /unignore {name} ends that.")
        elif name in self.ignored:
            self.ignored.discard(name)
            self.tell(f"-> you no longer ignore {name}.")
        else:
            self.tell(f"-> Error: you do not ignore {name}.")

    def _say(self, text: str, *, emote: bool) -> None:
        if self.room.full_disk:
            self.tell("-> Error: not kept: the disk is full.")
        else:
            self.room.said(self.nick, text, emote=emote, by=self)

    def _history(self, words: str) -> None:
        kept = self.room.kept
        if not self.room.history:
            self.tell("-> Error: the history cannot be read: it burnt.")
            return
        if span := re.fullmatch(r"#(\d+)-#(\d+)", words):
            first, last = int(span[1]), min(int(span[2]), len(kept))
            assert int(span[2]) - first < 1000
        else:
            first, last = max(len(kept) - int(words) + 1, 1), len(kept)
        for seq in range(first, last + 1):
            self.tell(f"-> #{seq} [14:02] {kept[seq - 1]}")
        if last < first:
            self.tell("-> nothing was said yet.")


@implementer(ITransport)
class Wire:
    """One connection, from the client to an ``End``; bytes move when they are told to."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.protocol: Protocol | None = None
        self.up = b""
        self.lost = False

    def write(self, data: bytes) -> None:
        self.up += data

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def getPeer(self) -> IAddress:
        raise NotImplementedError

    def getHost(self) -> IAddress:
        raise NotImplementedError

    def loseConnection(self) -> None:
        self.cut()

    def abortConnection(self) -> None:
        self.cut()

    def carry_up(self) -> None:
        """Let the server take in the next line."""
        line, _, self.up = self.up.partition(b"\r\n")
        self.end.take(line.decode())

    def carry_down(self, size: int | None = None) -> None:
        """Let the client take in some bytes."""
        data, self.end.out = self.end.out[:size], self.end.out[len(self.end.out) if size is None else size :]
        assert self.protocol is not None
        self.protocol.dataReceived(data)

    def cut(self, *, clean: bool = False, linger: bool = False) -> None:
        """Lose the connection, and what is on its way; *linger*: the server does not notice."""
        if not self.lost:
            self.lost = True
            if not linger:
                self.end.leave()
            assert self.protocol is not None
            self.protocol.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))  # type: ignore[no-untyped-call]


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects to *room*, unless it is told to fail."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.failure: Exception | None = None
        self.hangs = False
        self.wires: list[Wire] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 -- Twisted's name
        if self.hangs:
            return Deferred()
        if self.failure is not None:
            return fail(self.failure)
        wire = Wire(End(self.room))
        protocol = cast(Protocol, protocolFactory.buildProtocol(cast("Callable[..., object]", None)))  # type: ignore[arg-type]
        wire.protocol = protocol
        self.wires.append(wire)
        protocol.makeConnection(cast(ITransport, wire))  # type: ignore[no-untyped-call]
        return succeed(cast(IProtocol, protocol))


class Front:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.nicks: list[str | None] = []
        self.attempts: list[int] = []
        self.refused: list[tuple[str, str]] = []
        self.prompts: list[str] = []
        self.arrivals: list[tuple[str, bool]] = []
        self.events: list[Event] = []
        self.unsaids: list[str] = []
        self.losses: list[tuple[str, float | None]] = []
        self.ends: list[tuple[int, str]] = []
        self.changes = 0

    def connecting(self, attempt: int) -> None:
        self.attempts.append(attempt)

    def nickname_wanted(self, refused: str, why: str) -> str | None:
        self.refused.append((refused, why))
        return self.nicks.pop(0) if self.nicks else None

    def asked(self, prompt: str) -> None:
        self.prompts.append(prompt)

    def arrived(self, nick: str, names: Sequence[str], others: int, *, again: bool) -> None:
        self.arrivals.append((nick, again))

    def shown(self, event: Event) -> None:
        self.events.append(event)

    def unsaid(self, lines: Sequence[str]) -> None:
        self.unsaids.extend(lines)

    def changed(self) -> None:
        self.changes += 1

    def lost(self, why: str, pause: float | None) -> None:
        self.losses.append((why, pause))

    def ended(self, status: int, why: str) -> None:
        self.ends.append((status, why))

    @property
    def said(self) -> list[str]:
        """The lines that people said, as shown."""
        return [str(event) for event in self.events if isinstance(event, Said | Emoted)]

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]

    @property
    def others(self) -> list[Event]:
        """What else was shown, but notices."""
        return [event for event in self.events if not isinstance(event, Said | Emoted | Notice)]


class Play:
    """A client in front of a room."""

    def __init__(self, *texts: str, nick: str | None = "ann", reconnect: bool = True, random: float = 0.5) -> None:
        self.room = Room(*texts)
        self.clock = Clock()
        self.endpoint = Endpoint(self.room)
        self.front = Front()
        self.connection = Connection(
            self.front, self.endpoint, self.clock, lambda: random, "fake:5555", nick, reconnect=reconnect
        )

    @property
    def wire(self) -> Wire:
        return self.endpoint.wires[-1]

    @property
    def end(self) -> End:
        return self.wire.end

    def settle(self) -> None:
        """Let everything arrive that is on its way, and the server close what it has closed."""
        wire = self.wire
        while not wire.lost and (wire.up or wire.end.out):
            if wire.up and not wire.end.closed:
                wire.carry_up()
            elif wire.end.out:
                wire.carry_down()
            else:
                break
        if wire.end.closed:
            wire.cut(clean=True)
        self.clock.advance(0)

    def start(self) -> Play:
        self.connection.start()
        self.settle()
        return self

    def say(self, *lines: str) -> None:
        for line in lines:
            self.connection.say(line)
            self.settle()

    def bob(self, *texts: str) -> None:
        for text in texts:
            self.room.said("bob", text)
        self.settle()

    def back(self) -> None:
        """Let the pause pass, and come back."""
        self.clock.advance(self.front.losses[-1][1] or 0)
        self.settle()

    @property
    def kept(self) -> list[str]:
        return [str(line) for line in self.room.kept]
