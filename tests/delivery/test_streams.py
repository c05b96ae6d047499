"""What readers get who stop and go on at random places, against a model that knows nothing of windows and cursors.

Every line is received whole, once and in order, or named in exactly one notice; own lines never; answers and private
lines stand in their place; and the server never holds more for one reader than the cap:

* 64 KiB of answers and private lines (``Limits.pending_bytes``), and what was under way when that was reached: nobody
  is read from, and nobody is whispered to, whose 64 KiB are full, but one answer (at most 16 lines of a history) may be
  larger than what was left, and private lines may have been sent, and not told (64 Ki characters);
* the rest of one line that the socket took in part;
* where the bytes go through a transport, what that takes before it asks for a pause: at most 128 KiB, and one line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias
from unittest import mock

from hypothesis import event, given, settings
from hypothesis import strategies as st

import broadcast.delivery.cursor
import broadcast.delivery.fanout
import broadcast.delivery.private_queue
import broadcast.delivery.subscriber
import broadcast.net.writers
import tests.harness
from broadcast.core.events import Event, Joined, Message, PrivateMessage, Receipt
from broadcast.core.interfaces import Override, View
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.replay_buffer import ReplayBuffer
from tests.delivery.subscribers import KINDS, Kind, PlainEncoder, SubscriberWorld
from tests.harness import DirectWorld, Person, World

LONG = bool(os.environ.get("BROADCAST_LONG"))
PENDING = 60
"""Small, so that few lines reach it."""
HELD = 50
"""When a transport asks for a pause, likewise."""
READERS = 4
LINE = 40
"""The longest line here, in bytes."""
ITEM = 5
"""What something that waits counts for besides its bytes, likewise small."""
PIECE = 20
"""So much is made at once of what is made when it can be sent."""


@contextmanager
def small() -> Iterator[None]:
    """Everything that has a limit has a small one, and each reader a turn of their own."""
    with ExitStack() as stack:
        for module, name, value in (
            (broadcast.delivery.cursor, "RUN_BYTES", 30),
            (broadcast.delivery.cursor, "RUN_BATCHES", 3),
            (broadcast.delivery.private_queue, "CHUNK_OVERHEAD", ITEM),
            (broadcast.delivery.subscriber, "LAZY_CHUNK_BYTES", PIECE),
            (broadcast.net.writers, "_CHUNK_BYTES", HELD),
            (broadcast.delivery.fanout, "SENDS_PER_SLICE", 1),
            (tests.harness, "ROOM_FOR_OUTPUT", HELD),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        yield


@dataclass(frozen=True)
class Line:
    """Said by the reader *author*, or by somebody who is not here; with a receipt, or not."""

    author: int | None
    receipt: bool
    padding: str


@dataclass(frozen=True)
class Join:
    """Somebody came."""


@dataclass(frozen=True)
class Private:
    """A private line to the reader *to*."""

    to: int
    padding: str


@dataclass(frozen=True)
class Tell:
    """A burst begins to be told."""

    what: Sequence[Line | Join | Private]


@dataclass(frozen=True)
class Turn:
    """The next reader has their turn."""


@dataclass(frozen=True)
class Show:
    """The reader *to* is answered with so many *lines*, each made when it can be sent, or all at once."""

    to: int
    lines: int
    each: bool


@dataclass(frozen=True)
class Room:
    """The reader *whose* takes so many bytes more, and then no more; None: all from here on."""

    whose: int
    bytes: int | None
    at_once: bool
    """Whether what waits for them in the transport goes now."""


@dataclass(frozen=True)
class Look:
    """The reader *who* changes their view."""

    who: int
    quiet: bool


@dataclass(frozen=True)
class Finish:
    """The reader *who* leaves."""

    who: int


@dataclass(frozen=True)
class Lose:
    """The connection of the reader *who* breaks."""

    who: int


Step: TypeAlias = Tell | Turn | Show | Room | Look | Finish | Lose

readers = st.integers(0, READERS - 1)
paddings = st.text("xé✓", max_size=6)
lines = st.builds(Line, st.none(), st.just(value=False), paddings) | st.builds(Line, readers, st.booleans(), paddings)
items = st.one_of(
    lines,
    st.builds(Join),
    st.builds(Private, readers, paddings),
)
rooms = st.one_of(
    st.builds(Room, readers, st.just(0), st.just(value=False)),
    st.builds(Room, readers, st.integers(0, 30), st.booleans()),
    st.builds(Room, readers, st.none() | st.integers(0, 200), st.booleans()),
)
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(Tell, st.lists(items, min_size=1, max_size=6)),
    st.builds(Tell, st.lists(items, min_size=1, max_size=3)),
    st.builds(Tell, st.lists(lines, min_size=3, max_size=6)),
    st.builds(Turn),
    st.builds(Show, readers, st.integers(1, 3), st.just(value=False)),
    st.builds(Show, readers, st.integers(1, 30), st.just(value=True)),
    rooms,
    rooms,
    st.builds(Look, readers, st.booleans()),
    st.builds(Finish, readers) | st.builds(Lose, readers),
)
plays = st.integers(5, 40).flatmap(lambda length: st.lists(steps, min_size=length, max_size=60))
"""Long ones are as likely as short ones."""


@dataclass
class Ours:
    """Something that one reader is to get: *burst* is the number of the burst that it is part of, or comes after.

    An answer while a burst is told (*loose*) stands in front of the burst or behind it.
    """

    number: int
    """They are numbered in the order in which they happened."""
    burst: int
    kind: str
    seq: int = 0
    loose: bool = False


@dataclass
class Model:
    """One reader: what they are to get, in order."""

    expected: dict[str, Ours] = field(default_factory=dict)
    own: set[int] = field(default_factory=set)
    here: bool = True
    lost: bool = False
    quiet: bool = False

    def check(self, lines: Sequence[str], *, complete: bool, all_of_it: bool) -> None:
        """Judge what came; *complete*: nothing is on its way; *all_of_it*: the window has lost nothing."""
        seen: list[Ours] = []
        named: list[range] = []
        for line in lines:
            if notice := re.fullmatch(r"missed (\d+)-(\d+)", line):
                lost = range(int(notice[1]), int(notice[2]) + 1)
                assert lost
                assert not all_of_it
                assert all(ours.seq < lost[0] for ours in seen), "a notice comes after what it names"
                named.append(lost)
                continue
            assert line in self.expected, f"{line!r} is half a line, or somebody else's, or came twice"
            ours = self.expected.pop(line)
            assert not ours.seq or all(ours.seq > lost[-1] for lost in named), "it came, and was named as missed"
            seen.append(ours)
        self._check_order(seen)
        numbers = [number for lost in named for number in lost]
        assert numbers == sorted(set(numbers)), "nothing is named twice"
        if complete:
            for line, ours in self.expected.items():
                if ours.kind == "line":
                    assert ours.seq in numbers, f"{line!r} neither came nor is it named"
                else:
                    assert ours.kind == "join", f"{line!r} did not come"
                    assert self.quiet or not all_of_it, f"{line!r} did not come"
            told = {ours.seq for ours in [*seen, *self.expected.values()] if ours.kind == "line"} | self.own
            assert set(numbers) <= told, "what is named was said while they were here"

    @staticmethod
    def _check_order(seen: Sequence[Ours]) -> None:
        answers = [ours.number for ours in seen if ours.kind == "answer"]
        assert answers == sorted(answers)
        others = [ours.number for ours in seen if ours.kind != "answer"]
        assert others == sorted(others)
        for at, ours in enumerate(seen):
            if ours.kind != "answer":
                continue
            before = [other.burst for other in seen[:at] if other.kind != "answer"]
            after = [other.burst for other in seen[at:] if other.kind != "answer"]
            if ours.loose:
                assert all(burst <= ours.burst for burst in before)
                assert all(burst >= ours.burst for burst in after)
                assert not (ours.burst in before and ours.burst in after), "an answer stands in mid-burst"
            else:
                assert all(burst <= ours.burst for burst in before)
                assert all(burst > ours.burst for burst in after)


class Play:
    """Plays the steps with real readers, and writes down what each is to get."""

    def __init__(self, kind: Kind, window: ReplayBuffer) -> None:
        self.world = SubscriberWorld(kind, window)
        self.world.fanout.private_queue_bytes = PENDING
        self.world.tick = SLICE_SECONDS
        self.people = self.world.subscribers(READERS)
        self.models = [Model() for _ in range(READERS)]
        self.wires = {quiet: PlainEncoder(View(quiet=quiet)) for quiet in (False, True)}
        self.bursts = self.count = self.happened = 0
        transport = 2 * HELD + LINE if kind == "transport" else 0
        self.cap = PENDING + LINE + ITEM + transport
        self.under_way = [0] * READERS

    def do(self, step: Step) -> None:  # noqa: C901, PLR0912 -- a table
        """One step; then the cap."""
        match step:
            case Tell(what=what):
                self._tell(what)
            case Turn():
                self.world.turn()
            case Show(to=at, lines=lines, each=each) if (
                self.models[at].here and not self.people[at].subscriber.congested
            ):
                texts = [self._text("a", "") for _ in range(lines)]
                for text in texts:
                    self._expect(at, text, "answer", loose=self.world.delivered < self.bursts)
                show, size = self.people[at].answer, ITEM + sum(len(text) + 1 for text in texts)
                if each:
                    show, size = self.people[at].answer_lazily, 2 * (ITEM + PIECE + LINE)
                show(*texts)
                self.under_way[at] = max(self.under_way[at], size)
            case Room(whose=at, bytes=most, at_once=at_once) if not self.models[at].lost:
                if at_once:
                    self.people[at].read_on(most)
                else:
                    self.people[at].transport.room = most
            case Look(who=at, quiet=quiet) if self.models[at].here:
                self.models[at].quiet |= quiet
                self.people[at].subscriber.subscribe(self.wires[quiet])
            case Finish(who=at) if self.models[at].here:
                self.models[at].here = False
                self.people[at].subscriber.close_when_drained()
            case Lose(who=at) if not self.models[at].lost:
                self.models[at].here = False
                self.models[at].lost = True
                self.people[at].subscriber.connection_lost()
            case _:
                pass
        for person, model, under_way in zip(self.people, self.models, self.under_way, strict=True):
            if not model.lost:
                assert person.held_bytes <= self.cap + under_way

    def _tell(self, what: Sequence[Line | Join | Private]) -> None:  # noqa: C901 -- a table
        self.world.settle()
        assert self.world.delivered == self.bursts
        self.bursts += 1
        events: list[Event] = []
        edits: dict[int, list[Override]] = {}
        alone = [0] * READERS
        seq = self.world.last_seq
        for item in what:
            match item:
                case Line(author=author, receipt=receipt, padding=padding):
                    if author is not None and not self._may(author):
                        continue
                    seq += 1
                    text = self._text("L", padding)
                    if author is not None:
                        edits.setdefault(author, []).append((len(events), Receipt(seq) if receipt else None))
                        self.models[author].own.add(seq)
                        alone[author] += ITEM + len(f"#{seq}\n") if receipt else 0
                    for at in range(READERS):
                        if at != author:
                            self._expect(at, text, "line", seq)
                        elif receipt:
                            self._expect(at, f"#{seq}", "receipt")
                    events.append(Message(0, "", text, 0.0))
                case Join():
                    text = self._text("j", "")
                    for at in range(READERS):
                        self._expect(at, f"+{text}", "join")
                    events.append(Joined(0, text))
                case Private(to=to, padding=padding):
                    if self._may(to):
                        private = PrivateMessage(0, "", to, self._text("p", padding))
                        self._expect(to, f"[{private.text}]", "private")
                        edits.setdefault(to, []).append((len(events), private))
                        alone[to] += ITEM + len(private.text.encode()) + 3
                        events.append(private)
        self.under_way = [max(pair) for pair in zip(self.under_way, alone, strict=True)]
        self.world.publish(*events, overrides={self.people[at]: given for at, given in edits.items()})

    def _may(self, at: int) -> bool:
        """Whether they are read from, and may be whispered to."""
        return self.models[at].here and not self.people[at].subscriber.congested

    def _text(self, kind: str, padding: str) -> str:
        self.count += 1
        return f"{kind}{self.count}{padding}"

    def _expect(self, at: int, line: str, kind: str, seq: int = 0, *, loose: bool = False) -> None:
        if self.models[at].here:
            expected = self.models[at].expected
            self.happened += 1
            expected[line] = Ours(self.happened, self.bursts, kind, seq, loose)

    def end(self, *, all_of_it: bool) -> None:
        """Let everybody read everything, and judge it."""
        for person, model in zip(self.people, self.models, strict=True):
            if not model.lost:
                person.read_on()
        self.world.settle()
        for person, model in zip(self.people, self.models, strict=True):
            if model.lost:
                whole = bytes(person.transport.sent).split(b"\n")[:-1]
                model.check([line.decode() for line in whole], complete=False, all_of_it=all_of_it)
                continue
            person.read_on()
            lines = person.lines()
            if any(line.startswith("missed") for line in lines):
                event("somebody missed something")
            model.check(lines, complete=True, all_of_it=all_of_it)
            assert not person.subscriber.lagging
            assert person.held_bytes == 0
            assert person.transport.finished is not model.here


@settings(max_examples=3_000 if LONG else 100)
@given(st.sampled_from(KINDS), plays)
def test_who_stops_and_goes_on_at_random_places_gets_every_line_or_is_told_that_they_missed_it(
    kind: Kind, what: Sequence[Step]
) -> None:
    with small():
        play = Play(kind, ReplayBuffer(7, 100))
        for step in what:
            play.do(step)
        play.end(all_of_it=False)


@settings(max_examples=3_000 if LONG else 100)
@given(st.sampled_from(KINDS), plays)
def test_while_the_window_holds_everything_nobody_misses_anything(kind: Kind, what: Sequence[Step]) -> None:
    with small():
        play = Play(kind, ReplayBuffer())
        for step in what:
            play.do(step)
        play.end(all_of_it=True)


# With the whole server

CAP = 64 * 1024 + 16 * (4096 + 64) + 64 * 1024 + 4096
"""What the module's docstring says, of 4,096 bytes a line; no line here is longer than that in ASCII."""
TRANSPORTS = 128 * 1024 + 4096

asked = st.sampled_from(
    [
        "/help",
        "/names",
        "/history",
        "/history 1000",
        "/ping",
        "/receipts on",
        "/receipts off",
        "/timestamp",
        "x",
        "y" * 4090,
    ]
)


@settings(max_examples=400 if LONG else 40)
@given(
    st.sampled_from([World, DirectWorld]),
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 3), asked, st.integers(1, 60)),
            st.tuples(
                st.integers(0, 3), st.integers(0, 3).map(lambda to: f"/msg p{to} " + "z" * 4000), st.integers(1, 60)
            ),
            st.tuples(st.integers(0, 3), st.just(""), st.sampled_from([0, 1, 5000, 100_000])),
        ),
        max_size=30,
    ),
)
def test_the_bytes_held_for_a_peer_never_exceed_the_cap(
    kind: type[World], what: Sequence[tuple[int, str, int]]
) -> None:
    world = kind()
    people = world.join(*(f"p{number}" for number in range(4)))
    cap = CAP + (0 if kind is DirectWorld else TRANSPORTS)

    def look() -> None:
        for person in people:
            assert len(person.transport.held) + person.protocol._peer._subscriber._queue.size <= cap

    for number, line, times in what:
        person = people[number]
        if not line:
            person.transport.take_again(times)
        elif person.transport.reading:
            person.put(f"{line}\r\n" * times)
        look()
        while world.turn():
            look()
    for _ in range(100):
        for person in people:
            person.transport.take_again()
        world.settle()
    assert [len(person.transport.held) + person.protocol._peer._subscriber._queue.size for person in people] == [0] * 4
    assert all(person.transport.reading for person in people)


@settings(max_examples=500 if LONG else 50)
@given(
    st.sampled_from([World, DirectWorld]),
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["", "/me ", "//", "/say "]), st.text("ab /é\t\x1b", min_size=1)),
        max_size=60,
    ),
)
def test_the_history_gives_back_what_a_reader_saw_who_never_lagged(
    kind: type[World], what: Sequence[tuple[int, str, str]]
) -> None:
    world = kind()
    watcher, *people = world.join("watcher", "p0", "p1", "p2")
    watcher.say("/timestamp on")
    watcher.read()
    people[2].transport.takes = False  # how somebody else reads makes no difference
    for number, how, text in what:
        people[number].put(f"{how}{text}\r\n")
        if len(text) % 2:
            world.settle()
    world.settle()
    seen = watcher.lines()
    last = world.hub.room.last_seq
    assert len(seen) == last
    if last:
        assert _history(world, watcher, last) == seen


def _history(world: World, watcher: Person, last: int) -> list[str]:
    """The lines 1 to *last*, as they were shown when they were said."""
    watcher.say(f"/history #1-#{last}")
    recalled = [line.split(" ", 2) for line in watcher.lines()]
    assert [number for _arrow, number, _line in recalled] == [f"#{number}" for number in range(1, last + 1)]
    return [line for _arrow, _number, line in recalled]
