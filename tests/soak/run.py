"""A run of the soak: the server, a warm-up, the long part, and the conditions that must hold after each."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic, process_time, sleep
from typing import Any

from benchmarks.processes import PATIENCE as START_SECONDS
from benchmarks.processes import BenchmarkError, Running
from broadcast.journals.sqlite.room_record import MAX_SEQ, SEQ_BITS
from tests.soak.model import Unexplained, compare
from tests.soak.people import (
    Comer,
    Flooder,
    Garbage,
    HalfOpen,
    Loud,
    Paster,
    Person,
    Prober,
    Reader,
    Resetter,
    Silent,
    Staller,
    Talker,
    Watcher,
    World,
    why_no_filters,
)
from tests.soak.programs import GRACE, LOBBY, Crew, Row

SHARES: dict[type[Person], float] = {
    Talker: 0.25,
    Loud: 0.02,
    Comer: 0.10,
    Staller: 0.05,
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
LINES_A_SECOND = 5.0
"""Number of lines that all talkers together say in a second."""
ARRIVALS = 250
"""Number of people that arrive in a second at first."""
PASTES = 250
"""Number of pastes of 40 lines in the warm-up. They fill the replay buffer, which holds 10,000 events."""
PATIENCE = 300.0
"""Maximum number of seconds for anything that has an end."""
SETTLE = 60
"""Maximum number of seconds that the server may take to close descriptors of closed connections."""
TOLERANCE = 32 << 20
"""Number of bytes by which memory may have grown since the warm-up."""
_LISTENING = re.compile(r"Listening on 127\.0\.0\.1 port (\d+)")
_PROBLEM = re.compile(r"Traceback|Unhandled|Exception|never retrieved|Fatal|#error|#critical")


class SoakError(Exception):
    """The soak cannot be run, or something that it requires does not hold; the text says what."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the server uses at one moment."""

    cpu: float
    """Processor seconds of all its threads so far."""
    memory: int
    """Bytes, with memory that it shares with other processes divided among them."""
    files: int
    threads: int

    def __str__(self) -> str:
        return f"{self.memory / (1 << 20):.1f} MiB, {self.files} files, {self.threads} threads"


class Server:
    """The installed ``twistd -n broadcast`` with its default options, on a free port, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        twistd = shutil.which("twistd", path=str(Path(sys.executable).parent)) or "twistd"
        self._journal = folder / "broadcast-data" / "journal.sqlite"
        self._running = Running([twistd, "-n", "broadcast", "--port", "0", "--grace", str(GRACE)], folder)
        end = monotonic() + START_SECONDS
        while (found := _LISTENING.search(self.log())) is None:
            if monotonic() > end:
                self.stop()
                raise SoakError(f"the server does not listen: {self._running.last_words()}")
            sleep(0.02)
        self.port = int(found[1])

    def log(self) -> str:
        """Return its log."""
        return self._running.log.read_text(errors="replace")

    def vitals(self) -> Vitals:
        """Return what it uses now; raise ``SoakError`` if it has ended."""
        process = Path(f"/proc/{self._running.pid}")
        try:
            files, threads = (len(os.listdir(process / name)) for name in ("fd", "task"))  # noqa: PTH208 -- thousands
            return Vitals(self._running.processor(), self._running.memory(), files, threads)
        except (OSError, BenchmarkError, IndexError) as error:
            raise SoakError(f"the server has ended: {self._running.last_words()}") from error

    def stop(self) -> list[str]:
        """End it with SIGTERM. Return what is wrong with its end and in its log."""
        status = self._running.end()
        wrong = [] if status in {0, -signal.SIGTERM} else [f"after SIGTERM the server ended with {status}"]
        lines = enumerate(self.log().splitlines(), 1)
        return wrong + [f"line {at} of the server's log: {line}" for at, line in lines if _PROBLEM.search(line)]

    def journal(self) -> list[Row]:
        """Return the journal's lines, after its end."""
        query = f"""SELECT name, seq & {MAX_SEQ}, kind, nick, text, printf('%x', session), uid
            FROM events JOIN rooms ON rooms.id = seq >> {SEQ_BITS} ORDER BY seq"""  # noqa: S608 - constant numbers
        with closing(sqlite3.connect(f"{self._journal.as_uri()}?mode=ro", uri=True)) as db:
            return [Row(*row) for row in db.execute(query)]


class Soak:
    """One run in *folder*. It reports its progress on stderr."""

    def __init__(self, people: int, programs: int, seconds: float, seed: int, folder: Path) -> None:
        self._seconds = seconds
        self._server = Server(folder)
        self._world = World(Random(seed), self._server.port)  # noqa: S311 -- their choices are no secret
        self._crowd = make_crowd(self._world, people)
        self._watcher = Watcher(self._world, 0)
        self._crew = Crew(self._world, programs)
        talkers = sum(isinstance(person, Talker) for person in self._crowd)
        self._world.interval = max(1.0, talkers / LINES_A_SECOND)
        self._world.stall = min(900.0, 0.7 * seconds)
        self._problem: BaseException | None = None
        self._samples: list[tuple[float, float, float, int]] = []
        """Of each second: time until a ping was answered, processor time of the server and of the soak, memory."""
        self.rows: dict[str, str] = {}
        """The measurements, by their names."""

    async def run(self) -> list[str]:
        """Run everything. Return what is wrong; the first entry is the first difference."""
        world, watcher = self._world, self._watcher
        world.loop.set_exception_handler(self._fail)
        sampling = asyncio.ensure_future(self._sample())
        wrong: list[str] = []
        try:
            watcher.arrive()
            await self._wait(lambda: watcher.connected and watcher.ready, "the reference waits")
            self._progress("warm-up")
            await self._cycle(min(15.0, self._seconds / 4), PASTES)
            base = await self._settled(None)
            self._samples.clear()
            self._progress("the long part")
            await self._cycle(self._seconds, 0)
            after = await self._settled(base)
            for what, was, now in (
                ("files are open", base.files, after.files),
                ("threads run", base.threads, after.threads),
                ("bytes are in use", base.memory + TOLERANCE, after.memory),
            ):
                if now > was:
                    wrong.append(f"{now:,} {what} at the end; after the warm-up, at most {was:,} are expected")
            watcher.leave()
            await self._wait(lambda: not watcher.present, "the reference does not get out")
            self.rows["the empty server after the warm-up"] = str(base)
            self.rows["the empty server in the end"] = str(after)
        except (Unexplained, SoakError) as error:
            wrong.append(str(error))
        finally:
            sampling.cancel()
            wrong += self._server.stop()
        journal = self._server.journal()
        lobby = [(row.seq, row.kind, row.nick, row.text) for row in journal if row.room == LOBBY]
        if not wrong and (difference := compare(world.log, lobby) or self._crew.ledger.compare(journal)):
            wrong.append(difference)
        self.rows = {"lines in the journal": f"{len(journal):,}", **self._measurements(), **self.rows}
        return wrong

    def log_tail(self) -> str:
        """Return the end of the server's log."""
        return "\n".join(self._server.log().splitlines()[-20:])

    # A cycle: everybody arrives, time passes, everybody leaves.

    async def _cycle(self, seconds: float, pastes: int) -> None:
        world, watcher = self._world, self._watcher
        world.closing, world.pastes = False, pastes
        for number, person in enumerate(self._crowd):
            world.loop.call_later(number / ARRIVALS, person.arrive)
        await self._crew.arrive(len(self._crowd) / ARRIVALS)
        end = world.loop.time() + len(self._crowd) / ARRIVALS + seconds
        await self._wait(lambda: world.loop.time() >= end)
        world.closing = True
        self._progress("winding down")
        for person in self._crowd:
            person.begin_to_leave()
        self._crew.begin_to_leave()
        await self._wait(lambda: all(person.at_rest for person in self._crowd), "some have not read everything")
        await self._wait(lambda: self._crew.at_rest, "some programs have not read everything")
        self._progress("leaving")
        for person in self._crowd:
            person.leave()
        await self._crew.leave()
        await self._wait(lambda: not any(person.present for person in self._crowd), "some do not get out")
        await asyncio.sleep(GRACE + 1)  # until then, there may be sessions that no program knows of
        seen = watcher.stream.counts
        await self._wait(lambda: seen["left"] >= seen["joined"], "some that joined are not said to have left")
        if not world.counts["arrivals"] <= seen["joined"] == seen["left"] <= world.counts["nicknames asked for"]:
            raise SoakError(f"{seen} were shown, but {world.counts}")
        watcher.stream.quiet = False
        watcher.command(b"/names", rb"1 here: %b(?: \(idle \w+\))?" % re.escape(watcher.author.nick))
        watcher.command(b"/rooms", rb"lobby: 1 here \(you are in it\)")
        # In the warm-up, this opens everything that the server opens on demand.
        watcher.look_back(100)
        watcher.search(b"hi")
        await self._wait(lambda: not watcher.stream.answers, "the reference is not answered")
        for stream in world.visits:
            stream.finish()
            if stream.author.unseen:
                raise SoakError(f"{stream.author.nick.decode()} said {stream.author.unseen[0]!r}, and nobody read it")
            world.counts.update(stream.counts)
        world.visits.clear()

    async def _wait(self, done: Callable[[], bool], problem: str = "") -> None:
        """Wait until *done*; if there is a *problem* to raise instead, at most for ``PATIENCE``."""
        end = self._world.loop.time() + PATIENCE
        while not done():
            if self._problem is not None:
                raise self._problem
            if problem and self._world.loop.time() > end:
                raise SoakError(problem)
            await asyncio.sleep(0.05)

    def _fail(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Note the first error of a callback."""
        self._problem = self._problem or context.get("exception") or SoakError(context["message"])

    # The system's numbers

    async def _settled(self, base: Vitals | None) -> Vitals:
        """Return what the server uses after it has closed everything that is not needed."""
        await asyncio.sleep(3)
        vitals = self._server.vitals()
        for _ in range(SETTLE):
            await asyncio.sleep(1)
            before, vitals = vitals, self._server.vitals()
            if vitals.files == before.files and (base is None or vitals.files <= base.files):
                break
        return vitals

    async def _sample(self) -> None:
        """Measure every second, and report the progress every five."""
        world, vitals, own = self._world, self._server.vitals(), process_time()
        while True:
            began, was, own_was = world.loop.time(), vitals, own
            await asyncio.sleep(1)
            vitals, own, passed = self._server.vitals(), process_time(), world.loop.time() - began
            shares = (vitals.cpu - was.cpu) / passed, (own - own_was) / passed
            self._samples.append((max(world.pings, default=0.0), *shares, vitals.memory))
            world.pings.clear()
            if len(self._samples) % 5 == 0:
                here = sum(person.present for person in self._crowd)
                ping, server, soak, _memory = self._samples[-1]
                self._progress(
                    f"{len(self._samples):5} s: {here} here, #{len(world.log.lines)}, ping {ping * 1e3:.1f} ms, "
                    f"server {server:.0%} {vitals}, soak {soak:.0%}"
                )

    def _measurements(self) -> dict[str, str]:
        world = self._world
        counts = world.counts + world.log.counts
        kinds = sorted({person.kind for person in self._crowd})
        visits = ", ".join(f"{kind} {counts.pop(f'{kind} visits', 0):,}" for kind in kinds)
        rows = {"visits": visits, **{name: f"{count:,}" for name, count in sorted(counts.items())}}
        if self._samples:
            pings, server, soak, memory = zip(*self._samples, strict=True)
            middle, high = (percentile(pings, part) * 1e3 for part in (0.5, 0.99))
            rows["a ping"] = f"median {middle:.1f} ms, 99th percentile {high:.1f} ms, worst {max(pings) * 1e3:.1f} ms"
            rows["processor: server, soak"] = " and ".join(
                f"{sum(shares) / len(shares):.0%} (most in a second {max(shares):.0%})" for shares in (server, soak)
            )
            rows["server's memory"] = f"at most {max(memory) / (1 << 20):.1f} MiB"
        if absences := world.absences:
            rows["seconds until a half-open client was shown as gone"] = (
                f"median {percentile(absences, 0.5):.0f}, at most {max(absences):.0f}, of {len(absences):,}"
            )
        return rows

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


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which *part* (0 to 1) of *values* lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def table(rows: dict[str, str]) -> str:
    """Return *rows* as a simple table of reStructuredText, at most 120 characters wide, as in ``docs/soak.rst``."""
    first = max(map(len, rows))
    second = 118 - first
    line = f"{'=' * first}  {'=' * second}\n"
    cells = [
        f"{name if not number else '':{first}}  {part}\n"
        for name, value in rows.items()
        for number, part in enumerate(textwrap.wrap(value, second))
    ]
    return line + "".join(cells) + line
