"""A run of the soak: a warm-up, the long part, and what must hold after each."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic, process_time
from typing import Final

from tests.soak.loop import Connection, Loop, why_no_filters
from tests.soak.model import Unexplained, compare
from tests.soak.people import (
    Comer,
    Flooder,
    Loud,
    LoudReader,
    Paster,
    Prober,
    QuietReference,
    Reader,
    Sipper,
    Staller,
    Talker,
    Typist,
    WellBehaved,
)
from tests.soak.server import Server, SoakError, Vitals
from tests.soak.strangers import Garbage, HalfOpen, Resetter, Silent
from tests.soak.world import Person, World

SHARES: Final[dict[type[Person], float]] = {
    Talker: 0.25,
    Loud: 0.02,
    Comer: 0.10,
    Staller: 0.05,
    Sipper: 0.02,
    Typist: 0.02,
    Paster: 0.02,
    Flooder: 0.0015,
    Resetter: 0.03,
    HalfOpen: 0.02,
    Silent: 0.005,
    Garbage: 0.015,
    Prober: 0.0005,
}
"""The share of each kind; at least one person is of each kind, and all others are readers.

Where this user may not stop a network, nobody is half-open.
"""
LINES_A_SECOND: Final = 5.0
"""Number of lines that all talkers together say in a second."""
ARRIVALS = 250
"""Number of people that arrive in a second at first."""
PASTES = 250
"""Number of pastes of 40 lines in the warm-up. They fill the replay buffer, which holds 10,000 events."""
PATIENCE = 300.0
"""Maximum number of seconds for anything that has an end."""
SETTLE = 60.0
"""Maximum number of seconds that the server may take to close descriptors of closed connections."""
TOLERANCE = 32 * 1024 * 1024
"""Number of bytes by which memory may have grown since the warm-up."""
PROGRESS = 5
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The measurements of one second."""

    at: float
    """Seconds since the long part began."""
    here: int
    lines: int
    p99: float
    """The 99th percentile of the seconds between sending and reading a line; 0: there was none."""
    lag: float
    """Seconds until a ping was answered."""
    turn: float
    """The longest turn of the soak in seconds: this part of a latency may be its own."""
    server: float
    """The server's share of one processor."""
    soak: float
    """The soak's share of one processor."""
    vitals: Vitals


@dataclass(slots=True)
class Outcome:
    """The result of a run."""

    people: int
    seconds: float
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    absences: list[float] = field(default_factory=list)
    """Seconds between the stop of a network and the notice of the leave."""
    wrong: list[str] = field(default_factory=list)
    """Everything that is wrong; the first entry is the first difference."""
    base: Vitals | None = None
    after: Vitals | None = None
    log_tail: str = ""
    kept: int = 0
    """Number of lines in the journal."""


class Soak:
    """One run in *folder*. It reports its progress on stderr."""

    def __init__(self, people: int, seconds: float, seed: int, folder: Path) -> None:
        self.outcome = Outcome(people, seconds, seed)
        self.server = Server(folder)
        self.loop = Loop()
        self.world = World(self.loop, Random(seed), self.server.port)  # noqa: S311 -- their choices are no secret
        self.crowd = make_crowd(self.world, people)
        self.references: tuple[WellBehaved, ...] = (QuietReference(self.world, 0), LoudReader(self.world, 0))
        talkers = sum(isinstance(person, Talker) for person in self.crowd)
        self.world.interval = max(1.0, talkers / LINES_A_SECOND)
        self.world.stall = min(900.0, 0.7 * seconds)
        self._began = 0.0
        self._sampled = (0.0, 0.0, 0.0)
        self._sampling = False

    def run(self) -> Outcome:
        """Run everything. The outcome says what is wrong."""
        outcome, world = self.outcome, self.world
        try:
            self._progress("warm-up")
            self._cycle(min(15.0, outcome.seconds / 4), PASTES)
            outcome.base = self._settled(None)
            outcome.counts["lines of the warm-up"] = world.quiet.last
            world.counts.clear()
            world.absences.clear()
            world.attendance.crowds = world.quiet.renames = 0
            self._progress("the long part")
            self._cycle(outcome.seconds, 0)
            outcome.after = self._settled(outcome.base)
            self._compare_vitals(outcome.base, outcome.after)
            self._visit_empty_room()
        except (Unexplained, SoakError) as error:
            outcome.wrong.append(str(error))
        finally:
            self.loop.close()
            outcome.wrong += self.server.stop()
            outcome.log_tail = self.server.log_tail()
        outcome.counts.update(world.counts)
        outcome.absences += world.absences
        rows = self.server.journal()
        outcome.kept = len(rows)
        if not outcome.wrong and (difference := compare(world.quiet, rows)) is not None:
            outcome.wrong.append(difference)
        outcome.counts["strangers"] = world.quiet.strangers
        outcome.counts["renames"] = world.quiet.renames
        outcome.counts["crowds"] = world.attendance.crowds
        return outcome

    # A cycle: everybody arrives, time passes, everybody leaves.

    def _cycle(self, seconds: float, pastes: int) -> None:
        world = self.world
        quiet, loud = self.references
        world.closing, world.pastes = False, 0
        for reader in self.references:
            reader.arrive()
            self._wait(lambda: all(each.ready for each in self.references if each.connection), f"{reader.kind} waits")
            assert reader.connection is not None
            self.loop.first.append(reader.connection)
        world.pastes = pastes
        world.attendance.clear()
        arrived, asked = world.counts["arrived"], world.counts["nicknames asked for"]
        for number, person in enumerate(self.crowd):
            self.loop.later(number / ARRIVALS, person.arrive)
        coming = len(self.crowd) / ARRIVALS
        self._start_sampling(monotonic() + coming)
        self.loop.run(lambda: False, coming + seconds)
        self._sampling = False
        self._wind_down()
        attendance = world.attendance
        self._wait(lambda: attendance.left >= attendance.joined, "some that joined are not said to have left")
        self._check_attendance(world.counts["arrived"] - arrived, world.counts["nicknames asked for"] - asked)
        idle = rb"(?: \(idle \w+\))?"  # after minutes, because they only read
        loud.command(b"/names", b"2 here: %b%b, %b%b" % (re.escape(quiet.nick), idle, re.escape(loud.nick), idle))
        # In the warm-up, this opens everything that the server opens on demand.
        loud.look_back(100)
        loud.search(b"hi")
        self.loop.first.clear()
        for reader in (loud, quiet):
            reader.leave()
            self._wait(lambda reader=reader: reader.connection is None, f"{reader.kind} does not get out")  # type: ignore[misc]
        self._check_rest()

    def _wind_down(self) -> None:
        """Bring everybody to rest, let everybody read everything, and let everybody leave."""
        self.world.closing = True
        self._progress("winding down")
        for person in self.crowd:
            person.begin_to_leave()
        self.loop.run(lambda: all(person.at_rest for person in self.crowd), PATIENCE)
        if late := [person for person in self.crowd if not person.at_rest]:
            raise SoakError(f"{len(late)} have not read everything, the first: {late[0].nick.decode()}")
        self._progress("leaving")
        for person in self.crowd:
            person.leave()
        self._wait(lambda: all(person.connection is None for person in self.crowd), "some do not get out")

    def _wait(self, done: Callable[[], bool], problem: str) -> None:
        if not self.loop.run(done, PATIENCE):
            raise SoakError(problem)

    def _check_attendance(self, arrived: int, asked: int) -> None:
        joined, left = self.world.attendance.joined, self.world.attendance.left
        if joined != left:
            raise SoakError(f"{joined} joined, but {left} left")
        if not arrived <= joined <= asked:
            raise SoakError(f"{joined} joins were shown; {arrived} arrived, {asked} asked for a nickname")
        self.world.counts["joins told"] += joined
        self.world.counts["leaves told"] += left

    def _check_rest(self) -> None:
        """Check what must hold after everybody has left."""
        world = self.world
        for stream in world.waiting:
            raise SoakError(f"{stream.author.nick.decode()} has read what the reference has not")
        for stream in world.visits:
            author = stream.author
            if author.left_well and author.unseen:
                raise SoakError(f"{author.nick.decode()} said {author.unseen[0].text.decode()!r}, and nobody read it")
            world.counts["lines lost with a connection that was reset"] += len(author.unseen)
            for name in ("received", "missed", "notices", "private", "receipts"):
                world.counts[name] += getattr(stream, name)
        world.visits.clear()
        for (author, to), texts in world.private.items():
            if texts:
                raise SoakError(f"{author.nick.decode()} sent {texts[0]!r} to {to.nick.decode()}, who never read it")
        world.private.clear()

    # The system's numbers

    def _settled(self, base: Vitals | None) -> Vitals:
        """Return what the server uses after it has closed everything that is not needed."""
        end = monotonic() + SETTLE
        self.loop.run(lambda: False, 3)
        vitals = self.server.vitals()
        while monotonic() < end:
            self.loop.run(lambda: False, 1)
            before, vitals = vitals, self.server.vitals()
            if vitals.files == before.files and (base is None or vitals.files <= base.files):
                break
        return vitals

    def _compare_vitals(self, base: Vitals, after: Vitals) -> None:
        for what, was, now, allowed in (
            ("files are open", base.files, after.files, 0),
            ("threads run", base.threads, after.threads, 0),
            ("bytes are in use", base.proportional, after.proportional, TOLERANCE),
        ):
            if now > was + allowed:
                self.outcome.wrong.append(f"{now:,} {what} at the end; after the warm-up, the number was {was:,}")

    def _visit_empty_room(self) -> None:
        visitor = _Visitor()
        connection = Connection(self.loop, self.server.port, visitor)
        connection.send(b"last\r\n/names\r\n")
        self._wait(lambda: b"\r\n-> " in visitor.seen, "the last visitor is not answered")
        if b"-> 1 here: last\r\n" not in visitor.seen or b"Nobody else is here." not in visitor.seen:
            raise SoakError(f"the last visitor is not alone: {visitor.seen!r}")

    # Samples and progress

    def _start_sampling(self, began: float) -> None:
        self._began = began
        self._sampling = True
        self._sampled = (monotonic(), process_time(), self.server.vitals().cpu)
        self.loop.later(1, self._sample)

    def _sample(self) -> None:
        if not self._sampling:
            return
        self.loop.later(1, self._sample)
        world, vitals = self.world, self.server.vitals()
        was, own_was, cpu_was = self._sampled
        now, own, _cpu = self._sampled = (monotonic(), process_time(), vitals.cpu)
        sample = Sample(
            at=now - self._began,
            here=len(world.here),
            lines=world.quiet.last,
            p99=percentile(world.latencies, 0.99),
            lag=max(world.lags, default=0.0),
            turn=self.loop.longest,
            server=(vitals.cpu - cpu_was) / (now - was),
            soak=(own - own_was) / (now - was),
            vitals=vitals,
        )
        world.counts["latencies"] += len(world.latencies)
        world.latencies.clear()
        world.lags.clear()
        self.loop.longest = 0.0
        if self.outcome.base is not None:
            self.outcome.samples.append(sample)
        if int(sample.at) % PROGRESS == 0:
            self._progress(
                f"{sample.at:5.0f} s: {sample.here} here, #{sample.lines}, p99 {sample.p99 * 1e3:.1f} ms, "
                f"ping {sample.lag * 1e3:.1f} ms, server {sample.server:.0%} {vitals.proportional >> 20} MiB "
                f"{vitals.files} files, soak {sample.soak:.0%}"
            )

    def _progress(self, text: str) -> None:
        sys.stderr.write(f"soak: {text}\n")
        sys.stderr.flush()


def make_crowd(world: World, people: int) -> list[Person]:
    """Return *people* people in the order in which they arrive."""
    kinds = {kind: share for kind, share in SHARES.items() if kind is not HalfOpen or not why_no_filters()}
    crowd = [kind(world, number) for kind, share in kinds.items() for number in range(max(1, round(share * people)))]
    crowd += [Reader(world, number) for number in range(people - len(crowd))]
    world.random.shuffle(crowd)
    return crowd


class _Visitor:
    """Remembers what it receives."""

    seen = b""

    def received(self, data: bytes, now: float) -> None:
        self.seen += data

    def closed(self, why: str) -> None:
        """Wait in vain."""


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which *part* (0 to 1) of *values* lie; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0
