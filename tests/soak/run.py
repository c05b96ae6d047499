"""The soak itself: a warm-up, the long part, and what must be true after each."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic, process_time

from tests.soak.crowd import LINES_A_SECOND, crowd
from tests.soak.loop import Connection, Loop
from tests.soak.model import Unexplained, compare
from tests.soak.people import Behaved, LoudWrittenDown, Talker, WrittenDown
from tests.soak.server import Server, SoakError, Vitals
from tests.soak.world import World

ARRIVALS = 250
"""So many people come in a second, at first."""
PASTES = 250
"""So many pastes of 40 lines, 10,000 events, fill the part of the stream that the server keeps in memory."""
PATIENCE = 300.0
"""Seconds that anything may take that has an end."""
SETTLE = 60.0
"""Seconds that the server may take to close what is closed."""
TOLERANCE = 32 * 1024 * 1024
"""So many bytes more than after the warm-up may be in use in the end (PERFORMANCE: once the window has filled)."""
PROGRESS = 5
"""Seconds between two lines that say how it goes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One second."""

    at: float
    """Seconds since the long part began."""
    here: int
    lines: int
    p50: float
    """Seconds from when a line was said until a reader had it, in this second; 0: no line was said."""
    p99: float
    lag: float
    """Seconds until a ping was answered."""
    turn: float
    """The longest that the soak itself was busy, in seconds: so much of the latency may be its own."""
    server: float
    """How much of one processor the server took."""
    soak: float
    """How much of one processor the soak took."""
    vitals: Vitals


@dataclass(slots=True)
class Outcome:
    """What was found."""

    people: int
    seconds: float
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    absences: list[float] = field(default_factory=list)
    """Seconds from when somebody's network stopped until the others were told that they had left."""
    wrong: list[str] = field(default_factory=list)
    """Whatever must not be; the first is the first difference."""
    base: Vitals | None = None
    after: Vitals | None = None
    log_tail: str = ""
    kept: int = 0
    """Lines in the journal."""


class Soak:
    """One run, in *folder*; how it goes is said on stderr."""

    def __init__(self, people: int, seconds: float, seed: int, folder: Path) -> None:
        self.outcome = Outcome(people, seconds, seed)
        self.server = Server(folder)
        self.loop = Loop()
        self.world = World(self.loop, Random(seed), self.server.port)  # noqa: S311 -- what they do is no secret
        self.crowd = crowd(self.world, people)
        self.written_down = WrittenDown(self.world, 0)
        self.loud = LoudWrittenDown(self.world, 0)
        talkers = sum(isinstance(person, Talker) for person in self.crowd)
        self.world.interval = max(1.0, talkers / LINES_A_SECOND)
        self.world.stall = min(900.0, 0.7 * seconds)
        self._began = 0.0
        self._sampled = (0.0, 0.0, 0.0)
        self._sampling = False

    def run(self) -> Outcome:
        """Do all of it; whatever goes wrong stands in the outcome."""
        outcome = self.outcome
        try:
            self._progress("warm-up")
            self._cycle(min(15.0, outcome.seconds / 4), PASTES)
            outcome.base = self._settled(None)
            self._count_anew()
            self._progress("the long part")
            self._cycle(outcome.seconds, 0)
            outcome.after = self._settled(outcome.base)
            self._compare_vitals()
            self._last_visit()
        except Unexplained as error:
            outcome.wrong.append(str(error))
        except SoakError as error:
            outcome.wrong.append(str(error))
        finally:
            self.loop.close()
            outcome.wrong += self.server.stop()
            outcome.log_tail = self.server.log_tail()
        outcome.counts.update(self.world.counts)
        outcome.absences += self.world.absences
        if not outcome.wrong:
            rows = self.server.journal()
            outcome.kept = len(rows)
            if (difference := compare(self.world.quiet, rows)) is not None:
                outcome.wrong.append(difference)
        outcome.counts["strangers"] = self.world.quiet.strangers
        outcome.counts["renames"] = self.world.quiet.renames
        outcome.counts["crowds"] = self.world.attendance.crowds
        return outcome

    def _count_anew(self) -> None:
        """What was counted in the warm-up does not count, but for the number of pairs that still matter."""
        self.outcome.counts["lines of the warm-up"] = self.world.quiet.last
        self.world.counts.clear()
        self.world.absences.clear()
        self.world.attendance.crowds = 0
        self.world.quiet.renames = 0

    # A cycle: everybody comes, time passes, everybody goes

    def _cycle(self, seconds: float, pastes: int) -> None:
        world = self.world
        world.closing, world.pastes = False, pastes
        for reader in (self.written_down, self.loud):
            reader.arrive()
            self._wait(partial(_is_ready, reader), f"{reader.kind} does not get in")
            assert reader.connection is not None
            self.loop.first.append(reader.connection)
        world.attendance.forget()
        arrived, asked = world.counts["arrived"], world.counts["nicknames asked for"]
        for number, person in enumerate(self.crowd):
            self.loop.later(number / ARRIVALS, person.arrive)
        coming = len(self.crowd) / ARRIVALS
        self._began = monotonic() + coming
        self._start_sampling()
        self.loop.run(lambda: False, coming + seconds)
        self._sampling = False
        self._wind_down()
        attendance = world.attendance
        self._wait(lambda: attendance.left >= attendance.joined, "not everybody who joined is told to have left")
        self._check_attendance(world.counts["arrived"] - arrived, world.counts["nicknames asked for"] - asked)
        idle = rb"(?: \(idle \w+\))?"  # after minutes: they only read
        names = (re.escape(self.written_down.author.nick), idle, re.escape(self.loud.author.nick), idle)
        self.loud.command(b"/names", b"2 here: %b%b, %b%b" % names)
        # So that the server has opened, in the warm-up already, all that it opens only when it is needed.
        self.loud.look_back(100)
        self.loud.search(b"hi")
        self.loop.first.clear()
        for reader in (self.loud, self.written_down):
            reader.leave()
            self._wait(partial(_is_gone, reader), f"{reader.kind} does not get out")
            reader.reap()
        self._check_rest()

    def _wind_down(self) -> None:
        """Bring everybody to rest, let everybody read everything, then let them leave."""
        self.world.closing = True
        self._progress("winding down")
        for person in self.crowd:
            person.begin_to_leave()
        self._wait_for_all("have not read everything")
        self._progress("leaving")
        for person in self.crowd:
            person.leave()
        self._wait(lambda: all(person.connection is None for person in self.crowd), "some do not get out")
        for person in self.crowd:
            if isinstance(person, Behaved):
                person.reap()

    def _wait_for_all(self, what: str) -> None:
        self.loop.run(lambda: all(person.at_rest for person in self.crowd), PATIENCE)
        late = [person for person in self.crowd if not person.at_rest]
        if late:
            raise SoakError(f"{len(late)} {what}, the first: {late[0].nick.decode()}")

    def _wait(self, done: Callable[[], bool], problem: str) -> None:
        if not self.loop.run(done, PATIENCE):
            raise SoakError(problem)

    def _check_attendance(self, arrived: int, asked: int) -> None:
        attendance, counts = self.world.attendance, self.world.counts
        if attendance.joined != attendance.left:
            raise SoakError(f"{attendance.joined} joined, but {attendance.left} left")
        if not arrived <= attendance.joined <= asked:
            raise SoakError(f"{attendance.joined} joins were told; {arrived} arrived, {asked} asked for a nickname")
        counts["joins told"] += attendance.joined
        counts["leaves told"] += attendance.left

    def _check_rest(self) -> None:
        """Everybody is gone: what must be settled now."""
        world = self.world
        if world.waiting:
            stream = next(iter(world.waiting))
            raise SoakError(f"{stream.author.nick.decode()} has read what the reference has not: {stream.held} bytes")
        for author in world.owing:
            if author.left_well and author.unseen:
                raise SoakError(f"{author.nick.decode()} said {author.unseen[0].text.decode()!r}, and nobody read it")
            world.counts["lines lost with a connection that was reset"] += len(author.unseen)
        world.owing.clear()
        for (author, to), texts in world.whispers.items():
            if texts:
                raise SoakError(
                    f"{author.nick.decode()} whispered {texts[0]!r} to {to.nick.decode()}, who never read it"
                )
        world.whispers.clear()

    # What the system says

    def _settled(self, base: Vitals | None) -> Vitals:
        """The server at rest: when it has closed what is closed."""
        end = monotonic() + SETTLE
        self.loop.run(lambda: False, 3)
        vitals = self.server.vitals()
        while monotonic() < end:
            self.loop.run(lambda: False, 1)
            before, vitals = vitals, self.server.vitals()
            if vitals.files == before.files and (base is None or vitals.files <= base.files):
                break
        return vitals

    def _compare_vitals(self) -> None:
        base, after = self.outcome.base, self.outcome.after
        assert base is not None
        assert after is not None
        wrong = self.outcome.wrong
        if after.files > base.files:
            wrong.append(f"{after.files} files are open in the end, {base.files} were after the warm-up")
        if after.threads > base.threads:
            wrong.append(f"{after.threads} threads run in the end, {base.threads} did after the warm-up")
        if after.proportional > base.proportional + TOLERANCE:
            wrong.append(f"{after.proportional:,} bytes are in use, {base.proportional:,} were after the warm-up")

    def _last_visit(self) -> None:
        """Somebody looks around in the empty room."""
        visitor = _LastVisitor()
        visitor.connection = Connection(self.loop, self.server.port, visitor)
        visitor.connection.send(b"last\r\n/names\r\n")
        self._wait(lambda: b"\r\n-> " in visitor.read, "the last visitor is not answered")
        if b"-> 1 here: last\r\n" not in visitor.read or b"Nobody else is here." not in visitor.read:
            raise SoakError(f"the last visitor is not alone: {visitor.read!r}")

    # How it goes

    def _start_sampling(self) -> None:
        self._sampling = True
        self._sampled = (monotonic(), process_time(), self.server.vitals().cpu)
        self.loop.later(1, self._sample)

    def _sample(self) -> None:
        if not self._sampling:
            return
        self.loop.later(1, self._sample)
        world, outcome = self.world, self.outcome
        vitals = self.server.vitals()
        was, own, server = self._sampled
        now, own_now = monotonic(), process_time()
        self._sampled = (now, own_now, vitals.cpu)
        delays = sorted(world.latencies)
        sample = Sample(
            at=now - self._began,
            here=len(world.here),
            lines=world.quiet.last,
            p50=delays[len(delays) // 2] if delays else 0.0,
            p99=delays[len(delays) * 99 // 100] if delays else 0.0,
            lag=max(world.lags, default=0.0),
            turn=self.loop.longest,
            server=(vitals.cpu - server) / (now - was),
            soak=(own_now - own) / (now - was),
            vitals=vitals,
        )
        world.counts["latencies"] += len(delays)
        world.latencies.clear()
        world.lags.clear()
        self.loop.longest = 0.0
        if outcome.base is not None:
            outcome.samples.append(sample)
        if int(now - self._began) % PROGRESS == 0:
            self._progress(
                f"{sample.at:5.0f} s: {sample.here} here, #{sample.lines}, p99 {sample.p99 * 1e3:.1f} ms, "
                f"ping {sample.lag * 1e3:.1f} ms, server {sample.server:.0%} {vitals.proportional >> 20} MiB "
                f"{vitals.files} files, soak {sample.soak:.0%}"
            )

    def _progress(self, text: str) -> None:
        sys.stderr.write(f"soak: {text}\n")
        sys.stderr.flush()


def _is_ready(person: Behaved) -> bool:
    return person.ready


def _is_gone(person: Behaved) -> bool:
    return person.connection is None


class _LastVisitor:
    """Reads."""

    connection: Connection | None = None
    read = b""

    def received(self, data: bytes, now: float) -> None:
        self.read += data

    def closed(self, why: str) -> None:
        self.connection = None


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which *part* (0 to 1) of *values* lie; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0
