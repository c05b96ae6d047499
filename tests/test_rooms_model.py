"""People who move between rooms at any moment, against a model of what each of them must read.

``BROADCAST_LONG=1`` tries many more examples.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import broadcast.core.room
from broadcast.core.batching import build_batch
from broadcast.core.events import Event, Joined, Left, Message
from broadcast.core.interfaces import Batch
from broadcast.core.membership import Membership
from broadcast.core.settings import Settings
from tests.harness import DirectWorld, Person, World, logged

LONG = bool(os.environ.get("BROADCAST_LONG"))
ROOMS = ["lobby", "kitchen", "attic"]
REPLAY = 4
MOST_PEOPLE = 8

ARRIVAL = re.compile(r" \* You are (?:in )?(\w+)\. (?:Nobody else is|\d+ others? (?:is|are)) here(?:: ([\w, ]+))?\..*")
REPLAYED = re.compile(r"\[\d\d:\d\d\] (\w+): (w\d+)")
SAID = re.compile(r"(\w+): (w\d+)")
PRIVATE = re.compile(r"\[(\w+)\] (w\d+)")
RECEIPT = re.compile(r"-> #(\d+)")
JOINED = re.compile(r" \* (\w+) joined\.")
LEFT = re.compile(r" \* (\w+) left(?:\.|: .*)")
COUNTED = re.compile(r" \* \d+ people (?:joined|left)\.")
SENT = re.compile(r"-> sent to \w+\.")
NOT_SENT = re.compile(r"-> Error: \w+ (?:is not here|does not read what is sent to them)\.")


@dataclass
class Stay:
    """What a person has read between the arrival in a room and the departure."""

    room: str
    present: set[str]
    """The others, as far as the arrival and the notices of joins and leaves tell."""
    replay: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    names_all: bool = True
    """Whether every join and leave was shown with its nickname."""


@dataclass(eq=False)
class Talker:
    """A person, and what they have typed."""

    person: Person
    nick: str
    room: str = "lobby"
    """The room in which the next line is said."""
    said: list[tuple[str, str]] = field(default_factory=list)
    """Rooms and words, in order."""
    whispered: list[tuple[str, str]] = field(default_factory=list)
    """Recipients and words, in order."""
    is_leaving: bool = False
    is_lost: bool = False
    """Whether the connection was lost, so that not everything was read."""


@dataclass
class Heard:
    """What a person has read, sorted."""

    stays: list[Stay] = field(default_factory=list)
    private: list[tuple[str, str]] = field(default_factory=list)
    receipts: list[int] = field(default_factory=list)
    answers: list[bool] = field(default_factory=list)
    """For each private line: whether it was sent."""


class Movers(RuleBasedStateMachine):
    """People of one server. Nobody misses anything, because the replay buffers are large."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(logged())
        self.stack.enter_context(mock.patch.object(broadcast.core.room, "build_batch", self.record))
        self.log: dict[str, list[Event]] = defaultdict(list)
        """The events of each room."""
        self.talkers: list[Talker] = []
        self.numbers = count(1)

    @initialize(kind=st.sampled_from([World, DirectWorld]), slow_delivery=st.booleans())
    def begin(self, kind: type[World], slow_delivery: bool) -> None:
        """Start a server that makes, if *slow_delivery*, one step of its work each turn."""
        self.world = kind(Settings(version="0.0", replay=REPLAY))
        self.world.tick = 1.0 if slow_delivery else 0.0
        self.come()
        self.come()

    def record(self, events: Sequence[Event], members: Mapping[int, Membership], *rest: Any) -> Batch:  # noqa: ANN401 -- the rest does not matter
        """Stand in for ``build_batch``: the events are stored, and about to be delivered."""
        (name,) = (room.name for room in self.world.hub.rooms.values() if room.members is members)
        self.log[name] += events
        return build_batch(events, members, *rest)

    def active(self) -> list[Talker]:
        return [each for each in self.talkers if not each.is_leaving and each.person.transport.reading]

    def word(self) -> str:
        return f"w{next(self.numbers)}"

    def draw(self, data: st.DataObject) -> Talker:
        return data.draw(st.sampled_from(self.active()), label="talker")

    # What people do

    @precondition(lambda self: len([each for each in self.talkers if not each.is_leaving]) < MOST_PEOPLE)
    @rule()
    def come(self) -> None:
        talker = Talker(self.world.connect(), f"p{len(self.talkers)}")
        self.talkers.append(talker)
        talker.person.put(f"{talker.nick}\r\n/receipts on\r\n")

    @precondition(lambda self: bool(self.active()))
    @rule(data=st.data(), steps=st.lists(st.sampled_from(["say", "/leave", *ROOMS]), min_size=1, max_size=6))
    def talk_and_move(self, data: st.DataObject, steps: list[str]) -> None:
        """Let somebody paste lines and moves in one chunk."""
        talker = self.draw(data)
        typed = []
        for step in steps:
            if step == "say":
                word = self.word()
                talker.said.append((talker.room, word))
                typed.append(word)
            elif step == "/leave":
                talker.room = "lobby"
                typed.append(step)
            else:
                talker.room = step
                typed.append(f"/join {step}")
        talker.person.put("".join(f"{line}\r\n" for line in typed))

    @precondition(lambda self: bool(self.active()))
    @rule(data=st.data(), number=st.integers(0, MOST_PEOPLE), times=st.integers(1, 3))
    def whisper(self, data: st.DataObject, number: int, times: int) -> None:
        talker = self.draw(data)
        words = [self.word() for _ in range(times)]
        talker.whispered += [(f"p{number}", word) for word in words]
        talker.person.put("".join(f"/msg p{number} {word}\r\n" for word in words))

    @precondition(lambda self: len(self.active()) > 2)
    @rule(data=st.data(), how=st.sampled_from(["quit", "end of input", "lost"]))
    def leave(self, data: st.DataObject, how: str) -> None:
        talker = self.draw(data)
        talker.is_leaving = True
        if how == "quit":
            talker.person.put("quit\r\n")
        elif how == "end of input":
            talker.person.protocol.readConnectionLost()
        else:
            talker.is_lost = True
            talker.person.vanish()

    @precondition(lambda self: bool(self.active()))
    @rule(data=st.data(), room=st.none() | st.integers(0, 100))
    def read_less_or_more(self, data: st.DataObject, room: int | None) -> None:
        talker = self.draw(data)
        if room is None:
            talker.person.transport.take_again()
        else:
            talker.person.transport.room = room

    @rule(turns=st.integers(1, 5))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.world.turn()

    @rule()
    def settle(self) -> None:
        self.world.settle()

    # What holds in the end

    def teardown(self) -> None:
        try:
            if self.talkers:
                self.finish()
                self.check_rooms()
                self.check_people()
        finally:
            self.stack.close()

    def finish(self) -> None:
        """Let everybody read everything."""
        readers = [each for each in self.talkers if not each.is_lost]
        for _ in range(300):
            for talker in readers:
                talker.person.transport.take_again()
            self.world.settle()
            if all(each.person.transport.finished if each.is_leaving else self.is_idle(each) for each in readers):
                return
        raise AssertionError("nothing goes on")

    def is_idle(self, talker: Talker) -> bool:
        protocol = talker.person.protocol
        return protocol.session.ready and not protocol.buffered_bytes and not protocol.peer.lagging

    def messages(self, room: str) -> list[Message]:
        return [event for event in self.log[room] if isinstance(event, Message)]

    def check_rooms(self) -> None:
        """Check that presence is balanced, numbers are dense, and nothing is left of empty rooms."""
        hub = self.world.hub
        stay = {each.person.protocol.session.id: each for each in self.talkers if not each.is_leaving}
        for name in ROOMS:
            present: list[int] = []
            for event in self.log[name]:
                if isinstance(event, Joined):
                    assert event.session not in present
                    present.append(event.session)
                elif isinstance(event, Left):
                    present.remove(event.session)
                elif isinstance(event, Message):
                    assert event.session in present, "a line of somebody who is not here"
            assert set(present) == {key for key, each in stay.items() if each.room == name}
            assert list(hub.rooms[name].members if name in hub.rooms else []) == present
            assert [message.seq for message in self.messages(name)] == list(range(1, len(self.messages(name)) + 1))
        assert set(hub.rooms) == {"lobby"} | {each.room for each in stay.values()}
        assert set(hub.people.members) == set(stay)
        assert not any(member.private_in_flight or member.is_moving for member in hub.people.members.values())
        backlog = hub.backlog
        assert (backlog.queued_events, backlog.committed_events, backlog.queued_characters) == (0, 0, 0)

    def check_people(self) -> None:
        said = {(message.nick, message.text): (room, message.seq) for room in ROOMS for message in self.messages(room)}
        assert len(said) == sum(len(self.messages(room)) for room in ROOMS), "nothing is said twice"
        sent: dict[tuple[str, str], list[str]] = defaultdict(list)
        lost = {each.nick for each in self.talkers if each.is_lost}
        heard = {each.nick: sort_lines(each) for each in self.talkers if not each.is_lost}
        for talker in self.talkers:
            places = [said[talker.nick, word] for _, word in talker.said]
            assert [room for room, _ in places] == [room for room, _ in talker.said], "said in another room"
            if talker.nick in heard:
                mine = heard[talker.nick]
                assert mine.receipts == [seq for _, seq in places]
                for (to, word), was_sent in zip(talker.whispered, mine.answers, strict=True):
                    if was_sent:
                        sent[talker.nick, to].append(word)
        for talker in self.talkers:
            if talker.nick in heard:
                self.check_stays(talker, heard[talker.nick].stays)
                for sender in {each.nick for each in self.talkers} - lost:
                    words = [word for author, word in heard[talker.nick].private if author == sender]
                    assert words == sent[sender, talker.nick], "private lines are lost, doubled or out of order"

    def check_stays(self, talker: Talker, stays: list[Stay]) -> None:
        """Check that each stay shows the lines of the room from its replay on, and the last one all of them."""
        for stay in stays:
            texts = [message.text for message in self.messages(stay.room)]
            start = texts.index(stay.replay[-1]) + 1 if stay.replay else 0
            assert texts[max(start - REPLAY, 0) : start] == stay.replay
            rest = [message.text for message in self.messages(stay.room)[start:] if message.nick != talker.nick]
            assert stay.said == (rest[: len(stay.said)] if talker.is_leaving or stay is not stays[-1] else rest)
        if not talker.is_leaving and stays[-1].names_all:
            members = self.world.hub.rooms[stays[-1].room].members.values()
            assert stays[-1].present == {each.member.nick for each in members} - {talker.nick}


def sort_lines(talker: Talker) -> Heard:  # noqa: C901 -- one branch for each kind of line
    """Return what *talker* has read."""
    heard = Heard()
    for line in talker.person.read().removeprefix("Welcome to Broadcast.").split("\r\n")[1:]:
        text = line.removeprefix("Nickname: ")
        stay = heard.stays[-1] if heard.stays else Stay("", set())
        if match := ARRIVAL.fullmatch(text):
            room = match[1] if match[1] in ROOMS else "lobby"
            heard.stays.append(Stay(room, set((match[2] or "").split(", ")) - {""}))
        elif match := REPLAYED.fullmatch(text):
            assert not stay.said, "the replay comes first"
            stay.replay.append(match[2])
        elif match := SAID.fullmatch(text):
            stay.said.append(match[2])
        elif match := PRIVATE.fullmatch(text):
            heard.private.append((match[1], match[2]))
        elif match := RECEIPT.fullmatch(text):
            heard.receipts.append(int(match[1]))
        elif match := JOINED.fullmatch(text):
            assert not stay.names_all or match[1] not in stay.present
            stay.present.add(match[1])
        elif match := LEFT.fullmatch(text):
            assert not stay.names_all or match[1] in stay.present
            stay.present.discard(match[1])
        elif COUNTED.fullmatch(text):
            stay.names_all = False
        elif SENT.fullmatch(text) or NOT_SENT.fullmatch(text):
            heard.answers.append(text.startswith("-> sent"))
        else:
            known = ("-> receipts are on.", "-> Error: you are in ", " * Goodbye, ", "")
            assert text.startswith(known[:-1]) or not text, text
    return heard


MODEL = settings(
    max_examples=2_000 if LONG else 50,
    stateful_step_count=100 if LONG else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_nothing_is_lost_between_rooms() -> None:
    run_state_machine_as_test(Movers, settings=MODEL)
