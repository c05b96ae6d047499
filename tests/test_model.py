"""The whole server against what happened in it: people who talk, stop reading anywhere, and vanish, while time passes.

What each of them must read, line by line, is foretold in ``test_properties.py``, of people who always read. Here nobody
foretells anything. What happens is written down as it comes back from the journal, and afterwards it must explain
everybody's stream: each line came, whole, once and in order, or was named in one notice as missed, and there is no
other line. Windows and buffers are small, so that little is enough to lag behind, to miss something, and not to be read
from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import accumulate, count, repeat
from typing import TypeVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

import broadcast.core.batching
import broadcast.core.room
import broadcast.delivery.cursor
import broadcast.delivery.fanout
import broadcast.delivery.private_queue
import broadcast.delivery.subscriber
import broadcast.net.writers
import tests.harness
from broadcast.core.batching import COALESCE_ABOVE, build_batch
from broadcast.core.commands import COMMANDS
from broadcast.core.events import Action, Event, Gap, Joined, Left, Message, PrivateMessage, Renamed
from broadcast.core.hub import Hub, Settings
from broadcast.core.interfaces import Batch
from broadcast.core.limits import DEFAULTS
from broadcast.core.membership import Member
from broadcast.core.nicknames import casefold_key
from broadcast.core.room import Room
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.cursor import Cursor
from broadcast.delivery.private_queue import PrivateChunk
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.delivery.subscriber import Subscriber
from tests.harness import DirectWorld, Person, World, logged

Rule = TypeVar("Rule", bound=Callable[..., None])

LONG = bool(os.environ.get("BROADCAST_LONG"))

NAMES = ["ann", "Ann", "bob", "rob", "carol", "dave", "eve", "frank", "grace", "heidi", "ivan", "judy"]
REPLAY = 4
PENDING = 100
WINDOW = 6, 300
"""In events and bytes."""

STAMP = r"\[(?:\d{4}-\d\d-\d\d )?\d\d:\d\d\] "
MISSED = re.compile(r" \* You missed (\d+) lines? \(#(\d+)-#(\d+)\)\.")
RECEIPT = re.compile(r"-> #\d+")
RECALLED = re.compile(rf"-> #(\d+) {STAMP}(.+)")
SWITCHED = r"-> (?:timestamps|receipts|joins and leaves) are (?:on|off)\."
RENAMED = r"-> You are \w+\.|-> Error: \w+ is taken\."
SENT = r"-> sent to \w+\.|-> Error: \w+ (?:is not here|does not read what is sent to them)\."
IGNORED = r"-> you ignore \w+\. .+|-> Error: (?:\w+ is not here|you cannot ignore yourself)\."
UNIGNORED = r"-> you no longer ignore \w+\.|-> Error: you do not ignore \w+\."
HELP = r"-> /.+   .+"
IDLE = r"(?: \(idle \w+\))?"
DOOR = re.compile(r"Welcome to Broadcast\.|-> Error: \w+ is taken\.| \* Goodbye\.| \* No nickname in 60 seconds\.")
PASSED = re.compile(
    r" \* (?:(?P<joins>\d+) people joined|(?P<leaves>\d+) people left"
    r"|(?P<joined>\w+) joined|(?P<left>\w+) left(?:: .+|)|(?P<old>\w+) is now (?P<new>\w+))\.?"
)


@dataclass(frozen=True)
class Told:
    """One burst, as it came back from the journal, and whom it was told to: each with the names that they ignored."""

    events: Sequence[Event]
    ignored: Mapping[int, Collection[str]]


@dataclass(frozen=True)
class Item:
    """A line in somebody's stream; *certain* unless it may be left out (True), or must be (False)."""

    line: str
    seq: int = 0
    """The number of what is kept."""
    certain: bool | None = None
    """True: it comes, or its number is missed. False: it does not come. None: either."""


@dataclass(eq=False)
class Guest:
    """Somebody at the door or in the room, what they typed, and what they read."""

    person: Person
    words: list[str] = field(default_factory=list)
    """What they said and did, in order."""
    asked: list[str] = field(default_factory=list)
    """Patterns of what they are answered, in order; ``history N`` stands for a history's lines."""
    leaving: bool = False
    connected: bool = True
    cut: bool = False
    """Whether the connection broke before they had everything."""

    @property
    def id(self) -> int:
        return self.person.protocol.session.id

    @property
    def nick(self) -> str:
        return self.person.protocol.session.nick

    @property
    def may_type(self) -> bool:
        protocol = self.person.protocol
        return self.connected and not self.leaving and not protocol._session_over and self.person.transport.reading

    def read(self) -> list[str]:
        """What came since they connected, as whole lines, without the prompts."""
        whole, _end, rest = self.person.transport.sent.decode().rpartition("\r\n")
        if not self.cut:
            assert rest in {"", "Nickname: "}, "the end of their stream is half a line"
        return [line.removeprefix("Nickname: ") for line in whole.split("\r\n")] if whole else []


def unstamped(line: str) -> str:
    """*line* without the time in front of it, if there is one."""
    return re.sub(f"^{STAMP}", "", line)


def answers(line: str) -> bool:
    """Whether *line* answers a command; receipts have their place among what is told."""
    return line.startswith("-> ") and not RECEIPT.fullmatch(line)


def spoken(event: Message | Action) -> str:
    return f"{event.nick}: {event.text}" if isinstance(event, Message) else f"** {event.nick} {event.text}"


def items(told: Told, who: int) -> Iterator[Item]:  # noqa: C901, PLR0912 -- a table
    """The lines of one burst in the stream of *who*, who was there."""
    joins = [event for event in told.events if isinstance(event, Joined)]
    leaves = [event for event in told.events if isinstance(event, Left)]
    renamed = any(isinstance(event, Renamed) for event in told.events)
    ignored = told.ignored[who]

    def heard(event: Message | Action | PrivateMessage) -> bool | None:
        if event.session == who or not ignored:
            return True
        return None if renamed else casefold_key(event.nick) not in ignored

    for event in told.events:
        match event:
            case Message() | Action() if event.session == who:
                if event.receipt:
                    yield Item(f"-> #{event.seq}", certain=True)
            case Message() | Action():
                yield Item(spoken(event), event.seq, heard(event))
            case PrivateMessage(to=to) if to == who:
                yield Item(f"[{event.nick}] {event.text}", certain=heard(event))
            case Joined() if len(joins) > COALESCE_ABOVE:
                if event is joins[0]:
                    yield Item(f" * {len(joins)} people joined.")
            case Joined():
                yield Item(f" * {event.nick} joined.")
            case Left() if len(leaves) > COALESCE_ABOVE:
                if event is leaves[-1] and all(leave.session != who for leave in leaves):
                    yield Item(f" * {len(leaves)} people left.")
            case Left() if event.session != who:
                yield Item(f" * {event.nick} left: {event.reason}" if event.reason else f" * {event.nick} left.")
            case Renamed() if event.session != who:
                yield Item(f" * {event.nick} is now {event.new}.")
            case _:
                pass


class Witness:
    """Who is here, by nothing but the lines that somebody reads who never lags and never leaves."""

    def __init__(self) -> None:
        self.count = 0
        self.names: set[str] | None = set()
        """None where a crowd has come or gone: it is not named, and told as one, so also before or after a rename."""

    def reads(self, lines: Sequence[str]) -> None:
        if any(" people " in line for line in lines):
            self.names = None
        for line in lines:
            passed = PASSED.fullmatch(line)
            if passed is None:
                continue
            if passed["joins"] or passed["leaves"]:
                self.count += int(passed["joins"] or 0) - int(passed["leaves"] or 0)
            elif passed["new"]:
                self._goes(passed["old"])
                self._comes(passed["new"])
            elif passed["joined"]:
                self._comes(passed["joined"])
            else:
                self._goes(passed["left"])
            assert self.count >= 0, "more have left than came"

    def _comes(self, nick: str) -> None:
        self.count += 1
        if self.names is not None:
            assert nick not in self.names, "came twice"
            self.names.add(nick)

    def _goes(self, nick: str) -> None:
        self.count -= 1
        if self.names is not None:
            assert nick in self.names, "left without having come"
            self.names.remove(nick)


def if_any(guests: Callable[[TheWholeHub], Sequence[Guest]]) -> Callable[[Rule], Rule]:
    """The precondition that there are any such *guests*."""
    return precondition(lambda hub: bool(guests(hub)))


class TheWholeHub(RuleBasedStateMachine):
    """People at the line door of one server, each on a transport that takes as many bytes as they read."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(logged())
        for module, name, value in (
            (broadcast.core.room, "build_batch", self.write_down),
            (broadcast.delivery.cursor, "RUN_BYTES", 60),
            (broadcast.delivery.cursor, "RUN_BATCHES", 3),
            (broadcast.delivery.private_queue, "CHUNK_OVERHEAD", 5),
            (broadcast.delivery.subscriber, "LAZY_CHUNK_BYTES", 40),
            (broadcast.net.writers, "_CHUNK_BYTES", 80),
            (broadcast.delivery.fanout, "SENDS_PER_SLICE", 1),
            (tests.harness, "ROOM_FOR_OUTPUT", 80),
        ):
            self.stack.enter_context(mock.patch.object(module, name, value))
        self.told: list[Told] = []
        self.after: list[Mapping[int, str]] = []
        """After each burst: who is here, by session, in the order of coming."""
        self.numbers = count(1)
        self.guests: list[Guest] = []

    def write_down(
        self, events: Sequence[Event], members: Mapping[int, Member], ignoring: Iterable[Member], last: int
    ) -> Batch:
        """Stand in for ``plan``: where what has come back is about to be told."""
        self.told.append(Told(tuple(events), {who: tuple(member.ignored) for who, member in members.items()}))
        return build_batch(events, members, ignoring, last)

    @initialize(
        kind=st.sampled_from([World, DirectWorld]),
        slow=st.booleans(),
        rooms=st.lists(st.none() | st.integers(0, 150), max_size=4),
    )
    def begin(self, kind: type[World], slow: bool, rooms: list[int | None]) -> None:
        """Some are here, who ignore the first of them, and some of them soon read no more."""
        limits = replace(DEFAULTS.without_client_limits(), private_queue_bytes=PENDING)
        self.world = kind(Settings(version="0.0", replay=REPLAY), limits=limits)
        self.world.fanout.private_queue_bytes = PENDING
        self.world.fanout.replay_buffer = ReplayBuffer(*WINDOW)
        if slow:  # each look at the clock costs a turn's time, so that everybody needs a turn of their own
            for share in (self.world.fanout._delivery_slice, self.world.fanout._step_slice):
                share._now = accumulate(repeat(SLICE_SECONDS)).__next__
        self.witness = self.connect()
        self.witness.person.put("witness\n")
        self.world.settle()
        for name, room in zip(("ann", "bob", "carol", "dave"), rooms, strict=False):
            self.say_name(self.connect(), name, 0, receipts=name < "c")
            self.guests[-1].person.transport.room = room
            self.world.settle()
            if self.guests[-1].may_type and name != "ann":
                self.guests[-1].asked.append(IGNORED)
                self.guests[-1].person.put("/ignore ann\r\n")

    # Who does something

    def typing(self) -> list[Guest]:
        """Those in the room whom the server reads from; but the witness only reads."""
        return [guest for guest in self.others() if guest.nick and guest.may_type]

    def others(self) -> list[Guest]:
        """Everybody who is connected, but for the witness."""
        return [guest for guest in self.guests if guest.connected and guest is not self.witness]

    def one(self, data: st.DataObject, guests: Sequence[Guest]) -> Guest:
        return data.draw(st.sampled_from(guests))

    def word(self) -> str:
        return f"w{next(self.numbers)}w"

    # Coming

    def connect(self) -> Guest:
        guest = Guest(self.world.connect())
        self.guests.append(guest)
        return guest

    @rule()
    def knock(self) -> None:
        self.connect()

    @rule(name=st.sampled_from(NAMES), words=st.integers(0, 2), receipts=st.booleans())
    def come(self, name: str, words: int, receipts: bool) -> None:
        self.say_name(self.connect(), name, words, receipts=receipts)

    def nameless(self) -> list[Guest]:
        return [guest for guest in self.others() if not guest.nick and guest.may_type]

    @if_any(nameless)
    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def give_a_name(self, data: st.DataObject, name: str) -> None:
        self.say_name(self.one(data, self.nameless()), name, 0)

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=6, max_size=9, unique_by=casefold_key))
    def come_in_a_crowd(self, names: list[str]) -> None:
        for name in names:
            self.say_name(self.connect(), name, 0)

    def say_name(self, guest: Guest, name: str, words: int, *, receipts: bool = False) -> None:
        typed = []
        if casefold_key(name) not in self.world.hub._owners:  # else what follows would be another nickname
            guest.words += (typed := [self.word() for _ in range(words)])
            if receipts:
                guest.asked.append(SWITCHED)
                typed = ["/receipts on", *typed]
        guest.person.put("".join(f"{line}\r\n" for line in (name, *typed)))

    # Talking

    @if_any(typing)
    @rule(
        data=st.data(),
        how=st.sampled_from(["", "/say ", "/me "]),
        times=st.integers(1, 9),
        end=st.sampled_from(["\n", "\r\n", "\r"]),
    )
    def say(self, data: st.DataObject, how: str, times: int, end: str) -> None:
        guest = self.one(data, self.typing())
        words = [self.word() for _ in range(times)]
        guest.words += words
        guest.person.put("".join(f"{how}{word}{end}" for word in words))

    @if_any(typing)
    @rule(data=st.data(), times=st.integers(1, 3))
    def whisper(self, data: st.DataObject, times: int) -> None:
        name = self.name(data)
        self.ask(
            self.one(data, self.typing()),
            "\r\n".join(f"/msg {name} {self.word()}" for _ in range(times)),
            *[SENT] * times,
        )

    @if_any(typing)
    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def rename(self, data: st.DataObject, name: str) -> None:
        self.ask(self.one(data, self.typing()), f"/nick {name}", RENAMED)

    @if_any(typing)
    @rule(data=st.data())
    def ignore(self, data: st.DataObject) -> None:
        self.ask(self.one(data, self.typing()), f"/ignore {self.name(data)}", IGNORED)

    @if_any(typing)
    @rule(data=st.data())
    def unignore(self, data: st.DataObject) -> None:
        self.ask(self.one(data, self.typing()), f"/unignore {self.name(data)}", UNIGNORED)

    def name(self, data: st.DataObject) -> str:
        """The nickname of somebody who is here, or of nobody."""
        return data.draw(st.sampled_from([*(guest.nick for guest in self.others() if guest.nick), "nobody"]))

    @if_any(typing)
    @rule(data=st.data(), what=st.sampled_from(["/timestamp", "/receipts", "/quiet"]))
    def switch(self, data: st.DataObject, what: str) -> None:
        self.ask(self.one(data, self.typing()), what, SWITCHED)

    @if_any(typing)
    @rule(data=st.data())
    def ask_for_much(self, data: st.DataObject) -> None:
        self.ask(self.one(data, self.typing()), "/help", *[HELP] * len(COMMANDS))

    @if_any(typing)
    @rule(data=st.data(), lines=st.integers(1, 30), behind=st.booleans())
    def ask_for_the_history(self, data: st.DataObject, lines: int, behind: bool) -> None:
        """What follows waits until it is answered."""
        guest = self.one(data, self.typing())
        words = [self.word()] * behind
        guest.words += words
        guest.asked += [f"history {lines}", "-> pong"]
        guest.person.put("".join(f"{line}\n" for line in (f"/history {lines}", *words, "/ping")))

    @if_any(typing)
    @rule(data=st.data())
    def ask_who_is_here(self, data: st.DataObject) -> None:
        """One for whom so much waits that their lines wait too would be told who is here later."""
        self.everything_happens()
        self.nicknames_are_unique()
        if heard := [guest for guest in self.typing() if not guest.person.protocol._peer.congested]:
            names = self.after[-1].values()
            here = f"-> {len(names)} here: {', '.join(f'{name}{IDLE}' for name in names)}"
            self.ask(self.one(data, heard), "/names", here)

    def ask(self, guest: Guest, line: str, *answers: str) -> None:
        guest.asked += answers
        guest.person.put(f"{line}\r\n")

    # Reading

    @if_any(others)
    @rule(data=st.data(), room=st.integers(0, 60))
    def lag(self, data: st.DataObject, room: int) -> None:
        """They read so many bytes more, and then no more."""
        self.one(data, self.others()).person.transport.room = room

    def lagging(self) -> list[Guest]:
        return [guest for guest in self.others() if guest.person.transport.room is not None]

    @if_any(lagging)
    @rule(data=st.data(), room=st.none() | st.integers(1, 400))
    def read_on(self, data: st.DataObject, room: int | None) -> None:
        self.one(data, self.lagging()).person.transport.take_again(room)

    # Going

    @if_any(others)
    @rule(data=st.data(), how=st.sampled_from(["quit", " EXIT ", "/quit", "/q tired", "half-close", "reset"]))
    def leave(self, data: st.DataObject, how: str) -> None:
        guest = self.one(data, self.others())
        if how == "reset":
            self.lose(guest)
        elif how == "half-close" and not guest.leaving:
            guest.leaving = True
            guest.person.protocol.readConnectionLost()
        elif guest in self.typing():
            guest.leaving = True
            guest.person.put(f"{how}\r\nnever said\r\n")

    @precondition(lambda self: len(self.others()) > COALESCE_ABOVE)
    @rule(data=st.data())
    def reset_many(self, data: st.DataObject) -> None:
        for guest in self.others()[: data.draw(st.integers(COALESCE_ABOVE + 1, len(self.others())))]:
            self.lose(guest)

    def lose(self, guest: Guest) -> None:
        protocol, transport = guest.person.protocol, guest.person.transport
        guest.cut = not protocol._session_over or protocol._peer._subscriber.lagging or bool(transport.held)
        guest.leaving, guest.connected = True, False
        guest.person.protocol.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]

    # Time

    @rule(seconds=st.sampled_from([1, 9, 11, 61]))
    def time_passes(self, seconds: int) -> None:
        """So much time is many turns."""
        self.world.settle()
        self.world.clock.advance(seconds)
        for guest in self.others():
            if guest.person.transport.aborted:
                self.lose(guest)

    @rule()
    def a_turn(self) -> None:
        self.world.turn()

    @rule()
    def everything_happens(self) -> None:
        self.world.settle()

    # What holds at every moment

    @invariant()
    def nicknames_are_unique(self) -> None:
        """Those that people have now, and those that were told, event by event."""
        nicks = [casefold_key(guest.nick) for guest in self.guests if guest.nick and not guest.leaving]
        assert len(set(nicks)) == len(nicks)
        for told in self.told[len(self.after) :]:
            here = dict(self.after[-1]) if self.after else {}
            for event in told.events:
                self.happens(event, here)
                assert len(set(map(casefold_key, here.values()))) == len(here)
            self.after.append(here)

    @staticmethod
    def happens(event: Event, here: dict[int, str]) -> None:
        """Who is *here* after *event*; who does something is here, under the name that they do it under."""
        match event:
            case Joined(session=who, nick=nick):
                assert who not in here
                here[who] = nick
            case Left(session=who, nick=nick):
                assert here.pop(who) == nick
            case Renamed(session=who, nick=nick, new=new):
                assert here[who] == nick
                here[who] = new
            case (
                Message(session=who, nick=nick)
                | Action(session=who, nick=nick)
                | PrivateMessage(session=who, nick=nick)
            ):
                assert here[who] == nick
            case _:
                pass

    # What is explained in the end

    def teardown(self) -> None:
        try:
            if self.guests:
                self.let_everybody_read_everything()
                for guest in self.guests:
                    self.explain(guest)
                self.see_them_all_leave()
        finally:
            self.stack.close()

    def let_everybody_read_everything(self) -> None:
        def read() -> bool:
            connected = [guest for guest in self.guests if guest.connected]
            for guest in connected:
                guest.person.transport.take_again()
            over = [guest.person.protocol._session_over for guest in self.guests if guest.leaving]
            return all(over) and all(guest.person.transport.reading for guest in connected if not guest.leaving)

        self.wait_until(read)
        self.nicknames_are_unique()

    def wait_until(self, done: Callable[[], bool]) -> None:
        for _ in range(1000):
            self.world.settle()
            if done():
                break
            self.world.clock.advance(1)
        else:
            raise AssertionError("nothing goes on")
        self.world.settle()

    def see_them_all_leave(self) -> None:
        """Joins and leaves balance: in the end, by what the witness reads, there is nobody."""
        for guest in self.others():
            self.lose(guest)
        self.wait_until(
            lambda: all(guest.person.protocol._session_over for guest in self.guests if not guest.connected)
        )
        self.nicknames_are_unique()
        assert list(self.after[-1]) == [self.witness.id]
        witness = Witness()
        witness.reads(self.witness.read())
        assert witness.count == 0
        assert not witness.names

    def explain(self, guest: Guest) -> None:
        """Everything that they read follows from what happened; and the other way round, unless they were cut off."""
        read = guest.read()
        door = next((at for at, line in enumerate(read) if not DOOR.fullmatch(line)), len(read))
        assert door or guest.cut
        if not guest.nick:
            assert door == len(read)
            return
        came = next(at for at, here in enumerate(self.after) if guest.id in here)
        arrival = self.arrival(guest, came)
        body = read[door:]
        if body:
            assert body.pop(0) == arrival
            self.explain_replay(guest, body, came)
        if guest.leaving and not guest.cut:
            assert guest.person.transport.finished
            assert body.pop() == f" * Goodbye, {guest.nick}."
        told = [told for told in self.told[came + 1 :] if guest.id in told.ignored]
        self.explain_answers(guest, [line for line in body if answers(line)])
        lines = [line for line in body if not answers(line)]
        if guest is self.witness:
            assert lines == [item.line for burst in told for item in items(burst, guest.id)]
        else:
            self.explain_lines(guest, lines, told)
        assert [event.text for event in self.kept() if event.session == guest.id] == guest.words

    def kept(self) -> Sequence[Message | Action]:
        kept = [event for told in self.told for event in told.events if isinstance(event, Message | Action)]
        assert [event.seq for event in kept] == list(range(1, len(kept) + 1)), "numbers are dense"
        return kept

    def arrival(self, guest: Guest, came: int) -> str:
        """What somebody reads first, who came in the burst *came*."""
        nick = next(event.nick for event in self.done_by(guest) if isinstance(event, Joined))
        others = [other for who, other in self.after[came].items() if who != guest.id]
        company = "Nobody else is here."
        if others:
            verb = "other is" if len(others) == 1 else "others are"
            company = f"{len(others)} {verb} here: {', '.join(others)}."
        return f" * You are {nick}. {company} /help lists the commands, quit leaves."

    def explain_replay(self, guest: Guest, body: list[str], came: int) -> None:
        """Take the last lines before the burst *came* off their stream; some may be missed, of who reads slowly."""
        before = [
            event for told in self.told[: came + 1] for event in told.events if isinstance(event, Message | Action)
        ]
        replay = before[-REPLAY:]
        while replay and body:
            line = body.pop(0)
            if notice := MISSED.fullmatch(line):
                assert replay[0].seq == int(notice[2])
                assert int(notice[1]) == int(notice[3]) - int(notice[2]) + 1 <= len(replay)
                del replay[: int(notice[1])]
            else:
                assert re.match(STAMP, line)
                assert unstamped(line) == spoken(replay.pop(0))
        assert not replay or guest.cut

    def explain_lines(self, guest: Guest, lines: Sequence[str], bursts: Sequence[Told]) -> None:
        """What others said, did and whispered, receipts, and who came and went."""
        expected = [item for told in bursts for item in items(told, guest.id)]
        seen: set[int] = set()
        missed: set[int] = set()
        latest = at = 0
        for line in lines:
            if notice := MISSED.fullmatch(line):
                lost = range(int(notice[2]), int(notice[3]) + 1)
                assert int(notice[1]) == len(lost) > 0
                assert lost[0] > latest, "named twice, or after it came"
                latest = lost[-1]
                missed.update(lost)
                continue
            text = unstamped(line)
            while at < len(expected) and (expected[at].line != text or expected[at].certain is False):
                at += 1
            assert at < len(expected), f"{line!r} came twice, or out of order, or to the wrong one"
            assert not expected[at].seq or expected[at].seq > latest, "it came after it was named as missed"
            latest = expected[at].seq or latest
            seen.add(at)
            at += 1
        for index, item in enumerate(expected[:at] if guest.cut else expected):
            assert index in seen or not item.certain or item.seq in missed, f"{item} neither came nor is named"
        told = {event.seq for burst in bursts for event in burst.events if isinstance(event, Message | Action)}
        assert missed <= told, "what is named was said while they were here"

    def done_by(self, guest: Guest) -> Sequence[Event]:
        return [event for told in self.told for event in told.events if getattr(event, "session", None) == guest.id]

    def explain_answers(self, guest: Guest, answers: Sequence[str]) -> None:
        """Each command was answered, in order, and the answer says what became of it."""
        left = list(answers)
        for asked in guest.asked:
            if not left:
                assert guest.cut
                break
            if asked.startswith("history "):
                self.explain_history(left, int(asked.split()[1]), cut=guest.cut)
            else:
                assert re.fullmatch(asked, left[0]), f"{left[0]!r} does not answer what {asked!r} would"
                left.pop(0)
        assert not left
        nick, *became = [
            event.new if isinstance(event, Renamed) else event.nick
            for event in self.done_by(guest)
            if isinstance(event, Joined | Renamed)
        ]
        told = []
        for line in answers:
            if line.startswith("-> You are ") and line != f"-> You are {nick}.":
                nick = line.removeprefix("-> You are ").removesuffix(".")
                told.append(nick)
        assert told == (became[: len(told)] if guest.cut else became)
        whispers = sum(isinstance(event, PrivateMessage) for event in self.done_by(guest))
        sent = sum(line.startswith("-> sent to ") for line in answers)
        assert sent <= whispers if guest.cut else sent == whispers

    def explain_history(self, left: list[str], most: int, *, cut: bool) -> None:
        """Take a history of at most so many lines off what is *left* of the answers."""
        numbers: list[int] = []
        while left and (recalled := RECALLED.fullmatch(left[0])):
            numbers.append(int(recalled[1]))
            assert spoken(self.kept()[numbers[-1] - 1]) == recalled[2]
            left.pop(0)
        if numbers:
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert len(numbers) == most or (len(numbers) < most and (numbers[0] == 1 or (cut and not left)))
        else:
            assert left.pop(0) == "-> nothing was said yet."


HOW = settings(
    max_examples=3_000 if LONG else 100,
    stateful_step_count=100 if LONG else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_whatever_people_do_what_happened_explains_what_each_of_them_reads() -> None:
    run_state_machine_as_test(TheWholeHub, settings=HOW)


# The test of the test


def forget_private_lines(reader: Subscriber, told: object) -> None:
    """Instead of ``Subscriber.queue_overrides``."""


def forget_a_line(cursor: Cursor, offset: int, seq: int) -> Gap | None:
    """Instead of ``Cursor.skip_to``: the notice begins one line too late."""
    cursor.seq += 1
    return SKIP_TO(cursor, offset, seq)


def forget_the_rest(chunk: PrivateChunk, accepted: int) -> tuple[bytes, PrivateChunk]:
    """Instead of ``PrivateChunk.split``: only the line that was cut is sent to its end."""
    rest, following = SPLIT(chunk, accepted)
    return rest, following._replace(data=b"", ends=[])


def leave_twice(room: Room, member: Member, why: str) -> None:
    """Instead of ``Room.leave``."""
    LEAVE(room, member, why)
    room.announce(f"{member.nick} left.")


def hide_nothing(shown: object, ignoring: object, edits: object) -> None:
    """Instead of ``_apply_ignores``."""


def free(hub: Hub, name: str, owner: Member | None) -> str:
    """Instead of ``Hub._validate_nick``: no nickname is ever taken."""
    return name


SKIP_TO, SPLIT, LEAVE = Cursor.skip_to, PrivateChunk.split, Room.leave


@pytest.mark.skipif(not LONG, reason="it is about the model, not the server: .ci/long runs it")
@pytest.mark.parametrize(
    ("part", "name", "broken"),
    [
        (Subscriber, "queue_overrides", forget_private_lines),
        (Cursor, "skip_to", forget_a_line),
        (PrivateChunk, "split", forget_the_rest),
        (Room, "leave", leave_twice),
        (broadcast.core.batching, "_apply_ignores", hide_nothing),
        (Hub, "_validate_nick", free),
    ],
)
def test_the_model_notices_what_is_broken(part: object, name: str, broken: object) -> None:
    with mock.patch.object(part, name, broken), pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(
            TheWholeHub, settings=settings(HOW, max_examples=1_000, phases=[Phase.generate], database=None)
        )
