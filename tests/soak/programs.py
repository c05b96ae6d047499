"""Programs of the client library: bots and scripts in several rooms that lose their connections, and their check.

Each program checks what it reads while it runs: in each room, the next line follows the last one, and all readers get
the same lines, live and from the history. At the end, the journal must hold exactly these lines, and each line that a
program has said once, under the number that was confirmed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from random import Random
from threading import Thread
from time import monotonic, sleep, time
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from broadcast.client import sync
from broadcast.client.aio import (
    Chat,
    Crowd,
    Disconnected,
    Emoted,
    Ended,
    Event,
    Gap,
    Joined,
    Left,
    Line,
    NickRejected,
    NotHere,
    NotInRoom,
    Reconnected,
    Rejected,
    Renamed,
    Resume,
    Said,
    Skipped,
    Told,
    UidReused,
    Unconfirmed,
    Unreachable,
)
from broadcast.client.protocol.session import Session
from tests.relay import Relay
from tests.soak.model import Unexplained
from tests.soak.people import World

T = TypeVar("T")

LOBBY = "lobby"
MIN_ROOMS = 12
PROGRAMS_PER_ROOM = 33
"""Number of programs for each room, beyond ``MIN_ROOMS``. The work for a room grows with the square of its people."""
ACTIONS = 12.0
"""Number of actions of all programs together in a second."""
MEAN_BYTES = 100_000
"""Mean number of bytes after which a connection is cut."""
PATIENCE = 300.0
"""Maximum number of seconds for anything that has an end. The server notices a dead network after 150 s."""
GRACE = 10
"""The server's ``--grace``, in seconds. It is short, so that many sessions end before their programs come back."""
SCRIPTS = 3
"""Number of programs that use the library without asyncio."""
AWAY = {1001, 1004, 1011, 1014, 1028, -32603}
"""The codes of errors while the database of several servers is away, or a server ends."""
RETRY = 0.5
"""Seconds after which a program repeats a line that could not be stored."""


class Row(NamedTuple):
    """A line of the journal."""

    room: str
    seq: int
    kind: str
    nick: str
    text: str
    session: str
    uid: str | None


@dataclass(slots=True)
class Sent:
    """A line that a program has said, or tried to say."""

    author: object
    room: str
    kind: str
    seq: int = 0
    """The number that the server has confirmed; 0 before that."""
    was_refused: bool = False
    """Whether it could not be stored at first, so that later lines may have lower numbers."""


class Ledger:
    """The lines that the programs have said and read."""

    def __init__(self) -> None:
        self.read: dict[tuple[str, int], Row] = {}
        """The lines that any program has read, by room and number."""
        self.sent: dict[str, Sent] = {}
        """The lines that the programs have said, by their texts, which are all different."""
        self.last: Counter[str] = Counter()
        """The number of the last line of each room that any program has read, or that was confirmed."""

    def take(self, line: Line) -> None:
        """Take in a line that a program has read."""
        kind = "said" if isinstance(line, Said) else "emoted"
        row = Row(line.room, line.seq, kind, line.nick, line.text, line.session, line.uid)
        if (known := self.read.setdefault(row[:2], row)) != row:
            raise Unexplained(f"one program has read {known}, and another one {row}")
        self.last[line.room] = max(self.last[line.room], line.seq)

    def confirm(self, text: str, seq: int) -> None:
        """Note the number of a line, which must be the same each time."""
        sent = self.sent[text]
        if sent.seq not in {0, seq}:
            raise Unexplained(f"{text!r} is #{sent.seq} of {sent.room}, and now #{seq}")
        sent.seq = seq
        self.last[sent.room] = max(self.last[sent.room], seq)

    def compare(self, rows: Sequence[Row]) -> str:
        """Return the first difference between the journal's *rows* and what was said and read, or ""."""
        stored = {row[:2]: row for row in rows}
        last: Counter[str] = Counter()
        texts = Counter(row.text for row in rows if row.room != LOBBY)
        for row in rows:
            last[row.room] += 1
            if row.seq != last[row.room]:
                return f"the journal's line after #{last[row.room] - 1} of {row.room} is #{row.seq}"
            sent = self.sent.get(row.text)
            if row.room != LOBBY and (
                sent is None or texts[row.text] != 1 or (sent.room, sent.kind) != (row.room, row.kind)
            ):
                return f"the journal has {row}, but {sent} was said, and {row.text!r} is in it {texts[row.text]} times"
        for place, row in self.read.items():
            if stored.get(place) != row:
                return f"{row} was read, but the journal has {stored.get(place)}"
        for text, sent in self.sent.items():
            if sent.seq and ((sent.room, sent.seq) not in stored or stored[sent.room, sent.seq].text != text):
                return f"{text!r} was confirmed as {sent}, but the journal does not have it there"
        return ""


class Crew:
    """All programs. They share *world* with the people.

    They connect through a relay to the server of the world, or through *relay* to several servers, whose database can
    be away.
    """

    def __init__(self, world: World, size: int, relay: Relay | None = None) -> None:
        self.world = world
        self.ledger = Ledger()
        self.rooms = [f"room{number}" for number in range(max(MIN_ROOMS, size // PROGRAMS_PER_ROOM))]
        self.is_cluster = relay is not None
        """Whether requests may be refused for a while, and whether each server may lag a little."""
        self.relay = relay or Relay(world.random, MEAN_BYTES)
        self.relay.target = world.port
        self.programs = [Program(self, number) for number in range(size)]
        self.scripts = [Script(self, number) for number in range(min(SCRIPTS, size))]
        self.interval = max(1.0, size / ACTIONS)
        """Mean number of seconds between two actions of one program."""
        self.closing = asyncio.Event()
        """Set when the programs have to come to rest."""
        self.leaving = asyncio.Event()
        """Set when they have to leave."""
        self.quiet = asyncio.Event()
        """Set when no program says or changes anything any more."""
        self.database_changes = 0
        """Number of times that the database has gone and has come back: odd while it is away."""
        self._tasks: list[asyncio.Future[None]] = []
        self._numbers = count(1)

    async def arrive(self, seconds: float) -> None:
        """Let all programs come within *seconds*."""
        await self.relay.listen()
        self.relay.cuts_connections = True
        self.closing.clear()
        self.leaving.clear()
        self.quiet.clear()
        lives = [*(each.live(seconds) for each in self.programs), *(each.live() for each in self.scripts)]
        self._tasks = [asyncio.ensure_future(life) for life in lives]
        for task in self._tasks:
            task.add_done_callback(self._report)

    def _report(self, task: asyncio.Future[None]) -> None:
        """Report the first error of a program."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.loop.call_exception_handler({"message": "a program has failed", "exception": error})

    def begin_to_leave(self) -> None:
        """Let all programs come to rest."""
        self.relay.cuts_connections = False
        self.closing.set()

    @property
    def at_rest(self) -> bool:
        """Whether all programs have checked everything."""
        return all(each.is_checked for each in self.programs)

    def explain_unrest(self) -> str:
        """Return how many programs have not checked everything, and the lines that the first one still has to read."""
        waiting = [each for each in self.programs if not each.is_checked]
        scripts = sum(not each.is_quiet for each in self.scripts)
        states = [f"{each.nick} has yet to read {each.behind}, {each.people_problem}" for each in waiting[:3]]
        return f"{len(waiting)} programs and {scripts} scripts are not at rest: {'; '.join(states)}"

    def excuses(self, error: Rejected) -> bool:
        """Return whether *error* only says that the database is away. If not, it is a fault."""
        is_excused = self.is_cluster and error.code in AWAY
        self.world.counts["requests refused without a database"] += is_excused
        return is_excused

    def note_quiet(self, member: Program | Script) -> None:
        """Note that *member* says and changes nothing any more."""
        member.is_quiet = True
        if all(each.is_quiet for each in self.programs) and all(each.is_quiet for each in self.scripts):
            self.quiet.set()

    async def leave(self) -> None:
        """Let all programs leave."""
        self.leaving.set()
        for task in self._tasks:
            with suppress(BaseException):  # it has been reported
                await task
        self.world.counts["cut connections of programs"] += self.relay.cuts
        self.relay.cuts = 0
        await self.relay.close()

    def unique(self) -> int:
        """Return a number that no other call returns. Any thread may call this."""
        return next(self._numbers)

    async def pause(self, seconds: float) -> None:
        """Wait, but not any longer when the programs have to come to rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closing.wait()

    async def until(self, condition: Callable[[], bool], problem: str) -> None:
        """Wait until *condition* holds; raise ``Unexplained`` with the *problem* if that takes too long."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Unexplained(problem) from None


@dataclass(slots=True)
class View:
    """A room, as a program knows it."""

    seen: int | None = None
    """Number of the last line; None before the first one."""
    people: dict[str, str] | None = None
    """The nicknames of the people by session; None if they are not known."""


class Program:
    """A bot. It comes, acts at random, goes or breaks down, and comes again."""

    def __init__(self, crew: Crew, number: int) -> None:
        self.nick = f"prog{number}"
        self.is_quiet = self.is_checked = False
        self.people_problem = ""
        """The difference between the people that it knows and those that its server shows, at the end."""
        self._crew = crew
        self._ledger = crew.ledger
        self._counts = crew.world.counts
        self._random = Random(crew.world.random.random())  # noqa: S311 -- its choices are no secret
        self._views: dict[str, View] = {}
        self._left: set[str] = set()
        """The rooms that it has left on this visit. Its queue may still hold their events."""
        self._resume: Resume | None = None
        """The state of the last visit, after a breakdown."""
        self._unfinished: tuple[str, str] | None = None
        """Uid and text of the line that it was saying at the breakdown."""
        self._stall = 0.0
        """Seconds for which it takes no event."""
        self._told: set[str] = set()

    async def live(self, seconds: float) -> None:
        """Come and go until everybody has to leave."""
        self.is_quiet = self.is_checked = False
        await self._crew.pause(self._random.uniform(0, seconds))
        while not self.is_checked:
            try:
                await self._visit()
            except (Unreachable, NickRejected) as error:
                # If the answer to hello was lost, the server holds the nickname for a session that cannot be resumed.
                self._counts["greetings of programs that were cut"] += isinstance(error, Unreachable)
                if self._resume is None or isinstance(error, NickRejected):
                    self.nick = self._new_nick()
            except Rejected as error:
                if not self._crew.excuses(error):
                    raise
                await self._crew.pause(RETRY)
            except Ended as error:
                # The answer was lost ten times, and each time the program has begun from the same state.
                if self._resume is None or "10 attempts" not in str(error):
                    raise
                self._resume = self._unfinished = None
                self.nick = self._new_nick()
        self._resume = None

    async def _visit(self) -> None:
        random = self._random
        rooms = [*self._views] if self._resume else random.sample(self._crew.rooms, random.randrange(1, 4))
        if not self._resume and random.random() < 0.25:
            rooms.append(LOBBY)
        replay = random.choice((0, 20))
        resume = self._resume
        if resume is not None:  # an attempt from the same state may have come before, without an answer
            resume = replace(resume, attempt=max(resume.attempt, int(1000 * time())))
        session = Session(self.nick, rooms, random, replay=replay, resume=resume, longest_pause=5.0)
        self._count_lobby(rooms)
        async with Chat(session, "127.0.0.1", self._crew.relay.port, None, rooms[0]) as chat:
            self._counts["visits of programs"] += 1
            if not self._resume:
                last = {name: room.last for name, room in chat.welcome.rooms.items()}
                self._views = {room: View(max(last[room] - replay, 0)) for room in rooms}
            else:
                self._counts["programs that continued a session"] += chat.welcome.resumed
                self._forget_people()
            self._left.clear()
            self._resume = None
            reading: asyncio.Future[None] = asyncio.ensure_future(self._read(chat))
            acting = asyncio.ensure_future(self._act(chat))
            try:
                await asyncio.wait((reading, acting), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    reading.result()
                    raise Unexplained(f"the session of {self.nick} has ended")
                breaks_down = acting.result()
                if self._crew.closing.is_set() and not breaks_down:
                    reading = await self._rest(chat, reading)
            finally:
                for task in (reading, acting):
                    task.cancel()
                await asyncio.wait((reading, acting))
            if breaks_down:
                self._counts["breakdowns of programs"] += 1
                self._resume = chat.resume
                await chat._stop()
        if not self.is_checked:
            ranges = ((0, 3), (0, GRACE), (GRACE + 1, 3 * GRACE)) if self._resume else ((0, GRACE),)
            await self._crew.pause(random.uniform(*random.choice(ranges)))

    def _count_lobby(self, rooms: Sequence[str]) -> None:
        """Count a connection that may join the lobby, so that the people's model knows how many may come."""
        self._counts["nicknames asked for"] += LOBBY in rooms

    # Reading

    async def _read(self, chat: Chat) -> None:
        async for event in chat:
            self._take(chat, event)
            # The lobby may hold thousands, and to list them takes long. So it is compared at the end only.
            with_lobby = self._crew.closing.is_set()
            await self._learn_people(chat, [room for room in self._views if room != LOBBY or with_lobby])
            if self._stall:
                stall, self._stall = self._stall, 0.0
                await self._crew.pause(stall)

    def _take(self, chat: Chat, event: Event) -> None:  # noqa: C901, PLR0912 -- a case for each kind of event
        match event:
            case Said() | Emoted():
                self._take_line(chat, event)
            case Gap(room=room, last=last) if self._crew.is_cluster and room in self._views:
                self._views[room].seen = last  # the lines could not be read while the database was away
                self._counts["gaps of programs"] += 1
            case Gap() | Reconnected(same_journal=False):
                raise Unexplained(f"{self.nick} received {event}")
            case Disconnected():
                self._count_lobby(chat.joined)
            case Reconnected(resumed=resumed):
                self._counts["sessions that were resumed" if resumed else "sessions that began anew"] += 1
                self._forget_people()
            case Skipped(room=None):
                self._forget_people()
            case Skipped(room=room) | Crowd(room=room) if room in self._views:
                self._views[room].people = None
            case Joined(room=room, session=session, nick=nick) | Renamed(room=room, session=session, nick=nick):
                if room in self._views and (people := self._views[room].people) is not None:
                    people[session] = nick
            case Left(room=room, session=session):
                if room in self._views and (people := self._views[room].people) is not None:
                    people.pop(session, None)
            case Told(text=text):
                if text in self._told:
                    raise Unexplained(f"{self.nick} received {text!r} twice")
                self._told.add(text)
                self._counts["private messages read by programs"] += 1

    def _take_line(self, chat: Chat, line: Line) -> None:
        view = self._views.get(line.room)
        if view is None:
            return
        if view.seen is not None and line.seq != view.seen + 1:
            raise Unexplained(f"{self.nick} received #{line.seq} of {line.room} after #{view.seen}: {line}")
        view.seen = line.seq
        self._ledger.take(line)
        self._counts["lines read by programs"] += 1
        sent = self._ledger.sent.get(line.text)
        is_own = sent is not None and sent.author is self
        if is_own is not chat.is_own(line) and (not is_own or line.nick == chat.nickname):
            raise Unexplained(f"{self.nick} takes {line} for {'the line of another one' if is_own else 'its own'}")

    def _forget_people(self) -> None:
        for view in self._views.values():
            view.people = None

    async def _learn_people(self, chat: Chat, rooms: Sequence[str]) -> None:
        """Ask for the people of *rooms* that are not known. Meanwhile, no event may be taken."""
        for room in rooms:
            view = self._views.get(room)
            if view is not None and view.people is None and room in chat.joined:
                with suppress(NotInRoom):  # the program leaves the room at this moment
                    view.people = {person.session: person.nick for person in await chat.members(room)}

    # Acting

    async def _act(self, chat: Chat) -> bool:
        """Do something now and then. Return whether the program breaks down now."""
        random, crew = self._random, self._crew
        if self._unfinished is not None:
            await self._say_again(chat, *self._unfinished)
        actions: list[Callable[[Chat], Awaitable[object]]] = [
            *[self._say] * 10, *[self._say_many] * 2, *[self._join] * 2, *[self._leave] * 2, self._tell, self._rename,
            self._go_away, self._set_topic, self._look_back, self._look_back, self._search, self._sleep,
        ]  # fmt: skip
        while True:
            await crew.pause(random.expovariate(1 / crew.interval))
            if crew.closing.is_set():
                return False
            chance = random.random()
            if chance < 0.04:
                await self._begin_to_say(chat)
                return True
            if chance < 0.06:
                return False
            try:
                await random.choice(actions)(chat)
            except Rejected as error:
                if not crew.excuses(error):
                    raise

    def _new_line(self, chat: Chat) -> tuple[str, str, str]:
        """Return the room, the kind and the text of a new line."""
        room = self._random.choice([room for room in chat.joined if room != LOBBY])
        kind = self._random.choice(("said", "said", "emoted"))
        filler = self._random.choice(("hi", "so what", "日本語もどうぞ", "x" * 64, "y" * 900))
        text = f"line{self._crew.unique()} {filler}"
        self._ledger.sent[text] = Sent(self, room, kind)
        return room, kind, text

    async def _say(self, chat: Chat) -> None:
        room, kind, text = self._new_line(chat)
        uid = self._random.choice(("", f"{self._random.getrandbits(128):x}"))
        await self._post(chat, room, kind, text, uid)

    async def _post(self, chat: Chat, room: str, kind: str, text: str, uid: str) -> None:
        uid = uid or f"{self._random.getrandbits(128):x}" * self._crew.is_cluster
        while True:
            try:
                seq = await (chat.say if kind == "said" else chat.emote)(text, room, uid=uid)
            except UidReused as error:  # the first line has the nickname from before a rename
                seq = int(error.data["seq"])
            except Rejected as error:
                if not self._crew.excuses(error):
                    raise
                self._ledger.sent[text].was_refused = True
                await asyncio.sleep(RETRY)
                continue
            break
        self._ledger.confirm(text, seq)
        self._counts["lines confirmed to programs"] += 1

    async def _say_many(self, chat: Chat) -> None:
        changes = self._crew.database_changes
        lines = [self._new_line(chat) for _ in range(self._random.randrange(2, 20))]
        await asyncio.gather(*(self._post(chat, *line, "") for line in lines))
        if changes % 2 or self._crew.database_changes != changes:
            return  # a connection may have ended before a refusal arrived, and the line was sent again after others
        for room in {room for room, *_ in lines}:
            sent = [self._ledger.sent[text] for said_in, _, text in lines if said_in == room]
            seqs = [each.seq for each in sent if not each.was_refused]
            if seqs != sorted(seqs):
                raise Unexplained(f"the lines of {self.nick} in {room} have the numbers {seqs}")

    async def _begin_to_say(self, chat: Chat) -> None:
        """Break down while a line is being said."""
        room, kind, text = self._new_line(chat)
        uid = f"{self._random.getrandbits(128):x}"
        self._unfinished = uid, text
        saying = asyncio.ensure_future(self._post(chat, room, kind, text, uid))
        await asyncio.wait((saying,), timeout=self._random.choice((0.0, 0.001, 0.01)))
        saying.cancel()
        await asyncio.wait((saying,))

    async def _say_again(self, chat: Chat, uid: str, text: str) -> None:
        sent = self._ledger.sent[text]
        await self._post(chat, sent.room, sent.kind, text, uid)
        self._unfinished = None

    async def _join(self, chat: Chat) -> None:
        rooms = [room for room in self._crew.rooms if room not in self._views and room not in self._left]
        if rooms and len(chat.joined) < 8:
            room = self._random.choice(rooms)
            self._views[room] = View()
            try:
                await chat.join(room, replay=self._random.choice((0, 0, 20)))
            except Rejected:
                del self._views[room]
                raise

    async def _leave(self, chat: Chat) -> None:
        rooms = [room for room in chat.joined if room != LOBBY]
        if len(rooms) > 1:
            room = self._random.choice(rooms)
            await chat.leave(room, self._random.choice((None, "tired")))
            del self._views[room]
            self._left.add(room)

    async def _tell(self, chat: Chat) -> None:
        other = self._random.choice(self._crew.programs)
        if other is not self:
            with suppress(NotHere, Unconfirmed):
                await chat.tell(other.nick, f"psst {self._crew.unique()}")
                self._counts["private messages sent by programs"] += 1

    def _new_nick(self) -> str:
        return f"{self.nick.partition('.')[0]}.{self._crew.unique()}"

    async def _rename(self, chat: Chat) -> None:
        new = self._new_nick()
        if LOBBY in chat.joined:
            self._crew.world.log.renames.add(f" * {self.nick} is now {new}.\r\n".encode())
        self.nick = await chat.nick(new)

    async def _go_away(self, chat: Chat) -> None:
        await chat.away("lunch")
        await chat.away(None)

    async def _set_topic(self, chat: Chat) -> None:
        with suppress(Unconfirmed):
            room = self._random.choice([room for room in chat.joined if room != LOBBY])
            await chat.topic(self._random.choice((None, f"topic {self._crew.unique()}")), room)

    async def _look_back(self, chat: Chat) -> None:
        room = self._random.choice(chat.joined)
        if last := self._last_of(room):
            first = self._random.randrange(max(1, last - 1000), last + 1)
            lines = await chat.history(room, first=first, to=min(last, first + 50))
            if [line.seq for line in lines] != [*range(first, min(last, first + 50) + 1)]:
                raise Unexplained(f"the history of {room} from #{first} on has {lines}")
            self._compare(lines)

    async def _search(self, chat: Chat) -> None:
        last = {room: self._last_of(room) for room in chat.joined}
        texts = [text for text, sent in self._ledger.sent.items() if 0 < sent.seq <= last.get(sent.room, 0)]
        if texts:
            text = self._random.choice(texts)
            lines = await chat.search(text.partition(" ")[0], self._ledger.sent[text].room)
            if [line.seq for line in lines] != [self._ledger.sent[text].seq]:
                raise Unexplained(f"the search for {text!r} finds {lines}")
            self._compare(lines)

    def _last_of(self, room: str) -> int:
        """Return the number of the last line in *room* that the server of this program must know."""
        view = self._views.get(room)
        return (view.seen if view is not None else 0) or 0 if self._crew.is_cluster else self._ledger.last[room]

    def _compare(self, lines: Sequence[Line]) -> None:
        for line in lines:
            self._ledger.take(line)
        self._counts["old lines read by programs"] += len(lines)

    async def _sleep(self, _chat: Chat) -> None:
        self._stall = self._random.uniform(1, 30)

    # Leaving

    @property
    def behind(self) -> dict[str, tuple[int, int]]:
        """The rooms with lines that it has not read, with the numbers of its last line and of the room's last line."""
        last = self._ledger.last
        return {
            room: (view.seen, last[room])
            for room, view in self._views.items()
            if view.seen is not None and view.seen < last[room]
        }

    async def _rest(self, chat: Chat, reading: asyncio.Future[None]) -> asyncio.Future[None]:
        """Read everything and compare the people. Return when everybody leaves, with the task that reads."""
        crew, views = self._crew, self._views

        def has_everything() -> bool:
            if reading.done():
                reading.result()
            return not self.behind

        crew.note_quiet(self)
        await crew.until(crew.quiet.is_set, "some programs do not come to rest")
        await crew.until(has_everything, f"{self.nick} does not read everything: {views}")
        reading.cancel()
        await asyncio.wait((reading,))
        await self._learn_people(chat, [*views])
        reading = asyncio.ensure_future(self._read(chat))
        for room, view in views.items():
            deadline = crew.world.loop.time() + PATIENCE
            while (people := await _people_of(chat, room)) != view.people:
                known = set((view.people or {}).items())
                self.people_problem = (
                    f"knows {known - people.items()} in {room}, and does not know {people.items() - known}"
                )
                if crew.world.loop.time() > deadline:
                    raise Unexplained(f"{self.nick} {self.people_problem}")
                await asyncio.sleep(0.5)
        last = {summary.room: summary.last for summary in await chat.rooms()}
        if any(view.seen not in {None, last[room]} for room, view in views.items() if room != LOBBY):
            raise Unexplained(f"{self.nick} has read {views}, but the server has {last}")
        self._counts["rooms whose people a program has compared"] += len(views)
        self.is_checked = True
        await crew.leaving.wait()
        has_everything()
        return reading


async def _people_of(chat: Chat, room: str) -> dict[str, str]:
    """Return the nicknames in *room* by session."""
    try:
        return {member.session: member.nick for member in await chat.members(room)}
    except NotInRoom:  # the session has just begun anew, and will join its rooms again
        return {}


async def in_thread(call: Callable[[], T]) -> T:
    """Return the result of *call*, which runs in a thread that does not keep this process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            loop.call_soon_threadsafe(future.set_result, call())
        except Exception as error:  # noqa: BLE001 -- the caller gets it
            loop.call_soon_threadsafe(future.set_exception, error)

    Thread(target=run, daemon=True).start()
    return await future


class Script:
    """A script with the library without asyncio. It says lines, and reads everything up to its own line."""

    def __init__(self, crew: Crew, number: int) -> None:
        self.is_quiet = False
        self._crew = crew
        self._number = number
        self._random = Random(crew.world.random.random())  # noqa: S311 -- its choices are no secret

    async def live(self) -> None:
        """Run until everybody has to leave."""
        self.is_quiet = False
        while not self._crew.closing.is_set():
            said, lines = await in_thread(self._run)
            self._crew.ledger.sent.update(said)
            for line in lines:
                self._crew.ledger.take(line)
            self._crew.world.counts["runs of scripts"] += 1
        self._crew.note_quiet(self)

    def _say(self, chat: sync.Chat, room: str, text: str) -> int:
        """Say a line until it is stored. Return its number."""
        uid = f"{self._random.getrandbits(128):x}" * self._crew.is_cluster
        while True:
            try:
                return chat.say(text, room, uid=uid)
            except Rejected as error:
                if not self._crew.excuses(error):
                    raise
                sleep(RETRY)

    def _run(self) -> tuple[dict[str, Sent], list[Line]]:
        """Connect, say some lines, and leave. Return what was said, by its text, and the lines that have come."""
        room, port = self._random.choice(self._crew.rooms), self._crew.relay.port
        said: dict[str, Sent] = {}
        lines: list[Line] = []
        try:
            with sync.connect("127.0.0.1", port, nick=f"script{self._number}", rooms=[room]) as chat:
                self._talk(chat, room, said, lines)
        except (Unreachable, NickRejected):
            pass
        except Rejected as error:
            if not self._crew.excuses(error):
                raise
        return said, lines

    def _talk(self, chat: sync.Chat, room: str, said: dict[str, Sent], lines: list[Line]) -> None:
        for _ in range(self._random.randrange(1, 30)):
            text = f"line{self._crew.unique()} of a script"
            seq = self._say(chat, room, text)
            said[text] = Sent(self, room, "said", seq)
            for event in chat:
                if isinstance(event, Gap):
                    raise Unexplained(f"a script received {event}")
                if isinstance(event, Said | Emoted):
                    if lines and event.seq != lines[-1].seq + 1:
                        raise Unexplained(f"a script received {event} after {lines[-1]}")
                    lines.append(event)
                    if event.text == text:
                        break
            if lines[-1].seq != seq or [line.seq for line in chat.history(first=seq, to=seq)] != [seq]:
                raise Unexplained(f"a script received {lines[-1]} as #{seq}")
            end = monotonic() + self._random.expovariate(1 / self._crew.interval)
            while monotonic() < end and not self._crew.closing.is_set():
                sleep(0.1)
            if self._crew.closing.is_set():
                break
