"""The scenarios. Each starts a server of its own and returns its results by name."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from shutil import rmtree
from statistics import median
from time import monotonic, sleep, time
from typing import Any, Literal, TypeVar

from benchmarks import cluster as shared
from benchmarks.generator import Generator, Measured, generate, resume_programs, shake_hands
from benchmarks.logins import PASSWORD, account_name, log_in, refused, register
from benchmarks.peers import Peer, Started, started
from benchmarks.processes import PATIENCE, BenchmarkError, Running, free_port
from benchmarks.tools import Tools
from benchmarks.uploads import upload as share

T = TypeVar("T")
U = TypeVar("U")
KIB, MIB = 1 << 10, 1 << 20
OUTSTANDING = 64
RATE = 200
"""Lines per second in open loop."""
CHURN_PEOPLE, CHURN_RATE = 50, 95
"""Number of people in the room with visitors, and of their lines per second."""
CHURN_SECONDS = 2.0
"""Minimum duration of that measurement: a visit takes a while on a busy machine."""
ROOM_PEOPLE = 5
"""Number of people in each room of ``rooms``."""
RESUME_PEOPLE, RESUME_LINES = 50, 20
"""Number of people in the other room of ``resume``, and of lines per second in the room of the programs."""
TRIES_PER_ACCOUNT = 90
"""Number of tries for each account in ``refusals``. The server takes 100 an hour from new addresses."""
VISITORS = 60
"""Number of connections that join and leave in a loop."""
SETTLED = 0.3
"""Seconds to wait before a server's memory is read."""
FULL_ENOUGH = 0.05
"""Sockets that accept more than this share of the sent bytes are not full."""
BOTTLENECK = 0.9
"""Share of one processor above which the load generator may be the bottleneck."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes and durations of all scenarios."""

    name: str
    runs: int
    people: int = 500
    senders: int = 20
    warm: float = 1.0
    seconds: float = 3.0
    open_seconds: float = 10.0
    crowd: int = 10_000
    stalled: int = 1000
    hearers: int = 100
    fill: int = 50_000
    """Number of lines that fill the sockets of clients that never read."""
    said: int = 1_000_000
    filled: int = 200_000
    """Number of lines after which the replay buffer counts as full."""
    journal: int = 1_000_000
    seldom: int = 2
    """Number of runs of the peers in long scenarios without a ratio."""
    growth: tuple[int, ...] = (50, 200, 500, 1000, 2000, 5000)
    rooms: tuple[tuple[int, int, int], ...] = ((5, 5, 16), (50, 50, 64), (50, 10, 64), (2000, 100, 64))
    """People, senders and outstanding lines of the rooms in ``small``."""
    disk: int = 50
    """Number of people in ``disk``."""
    many_rooms: int = 1000
    """Number of rooms in ``rooms``."""
    programs: int = 2000
    """Number of programs in ``resume``."""
    handshakes: int = 500
    """Number of clients in ``handshakes``."""
    logins: int = 100
    """Number of people who log in at once."""
    refusals: int = 500
    """Number of tries of each kind in ``refusals``."""
    uploads: int = 20
    """Number of uploads in ``upload``, one after the other."""
    upload_bytes: int = 25 * MIB
    """Size of each."""


FULL = Plan("full", runs=5)
QUICK = Plan(
    "quick", 1, warm=0.3, seconds=1.0, open_seconds=2.0, crowd=2000, seldom=0, fill=50_000, said=60_000, filled=20_000,
    journal=100_000, growth=(50, 500, 2000), rooms=((5, 5, 16), (50, 50, 64), (50, 10, 64)),
    many_rooms=200, programs=500, handshakes=100,
    logins=40, refusals=50, uploads=5,
)  # fmt: skip
TINY = Plan(
    "tiny", 1, people=10, senders=2, warm=0.05, seconds=0.2, open_seconds=0.3, crowd=50, stalled=3, hearers=5,
    fill=50, said=400, filled=200, journal=100, growth=(5, 10), rooms=((5, 5, 4),), disk=5, many_rooms=3, programs=10,
    handshakes=5, logins=5, refusals=4, uploads=1, upload_bytes=MIB,
)  # fmt: skip


class Bench:
    """What all scenarios share."""

    def __init__(self, tools: Tools, plan: Plan, folder: Path) -> None:
        self.tools = tools
        self.plan = plan
        self._folder = folder
        self._numbers = count(1)
        self.journal: Path | None = None

    def fresh(self) -> Path:
        """Return a folder that does not exist yet."""
        return self._folder / f"server-{next(self._numbers)}"


Figures = Mapping[str, float]


def talk(bench: Bench, peer: Peer, **settings: float) -> Measured:
    """Measure *peer* once with the plan's values, overridden by *settings* of the load generator."""
    plan = bench.plan
    folder = bench.fresh()
    everything = {"people": plan.people, "senders": plan.senders, "warm": plan.warm, "seconds": plan.seconds}
    try:
        with (
            started(peer, folder) as there,
            generate(bench.tools, there, **(everything | settings)) as load,
        ):
            load.event("in")
            return load.measured()
    finally:
        rmtree(folder, ignore_errors=True)


def _figures(name: str, measured: Measured) -> Figures:
    return {
        f"{name} deliveries/s": measured.rate,
        f"{name} CPU µs": measured.cpu,
        f"{name} p50 ms": measured.p50,
        f"{name} p99 ms": measured.p99,
        f"{name} load": measured.load_share,
        f"{name} server": measured.server_cpu / measured.seconds,
    }


def unloaded(bench: Bench, peer: Peer) -> Figures:
    """Measure with one line outstanding: the next is sent when all clients have the last."""
    return _figures("unloaded", talk(bench, peer, window=1))


def loaded(bench: Bench, peer: Peer) -> Figures:
    """Measure with so many lines outstanding that the server is never idle."""
    return _figures("loaded", talk(bench, peer, window=OUTSTANDING))


def latency(bench: Bench, peer: Peer) -> Figures:
    """Measure the latency with a constant rate of lines (open loop)."""
    return _figures("steady", talk(bench, peer, rate=RATE, seconds=bench.plan.open_seconds))


def small(bench: Bench, peer: Peer) -> Figures:
    """Measure the CPU time of a line, with its commit and all its deliveries, in small rooms with many senders."""
    figures = {}
    for people, senders, window in bench.plan.rooms:
        measured = talk(bench, peer, people=people, senders=senders, window=window)
        name = room_name(people, senders)
        figures[f"{name} CPU µs"] = measured.server_cpu / measured.lines * 1e6
        figures[f"{name} lines/s"] = measured.lines / measured.seconds
        figures[f"{name} load"] = measured.load_share
        figures[f"{name} server"] = measured.server_cpu / measured.seconds
    return figures


def room_name(people: int, senders: int) -> str:
    """Return the name of a room of *people* of whom *senders* talk."""
    return f"room {people:,}/{senders}"


def rooms(bench: Bench, peer: Peer) -> Figures:
    """Measure the CPU time of a line in many rooms of 5, and in one room of 5.

    All people talk in turn, and consecutive lines go to different rooms. ``OUTSTANDING`` lines are outstanding in all,
    so each room has at most one of them. Each line is then a batch of its own for 4 subscribers. It is compared with
    three runs of one room of 5, which differ in the number of outstanding lines:

    * 1: each line is a batch of its own, too, but also a commit of its own.
    * the number in the small room of ``small``
    * ``OUTSTANDING``: dozens of lines share one commit, one batch and 4 sends. So the ratio of the two runs with the
      same number of outstanding lines is mostly the price of separate sends.
    """
    if bench.tools.floor is None:
        raise BenchmarkError("only load.c counts the lines of several rooms")
    plan = bench.plan
    figures = {}
    runs = [("many rooms", plan.many_rooms, OUTSTANDING), *((one_room_name(w), 1, w) for w in one_room_windows(plan))]
    for name, number, window in runs:
        people = number * ROOM_PEOPLE
        measured = talk(bench, peer, people=people, senders=people, rooms=number, window=window)
        figures[f"{name} CPU µs"] = measured.server_cpu / measured.lines * 1e6
        figures[f"{name} lines/s"] = measured.lines / measured.seconds
        figures[f"{name} load"] = measured.load_share
    for name, _, _ in runs[1:]:
        figures[f"{name} ratio"] = figures["many rooms CPU µs"] / figures[f"{name} CPU µs"]
    return figures


def one_room_windows(plan: Plan) -> Sequence[int]:
    """Return the numbers of outstanding lines in the one room of ``rooms``."""
    return sorted({1, plan.rooms[0][2], OUTSTANDING})


def one_room_name(window: int) -> str:
    """Return the name of the one room of ``rooms`` with *window* lines outstanding."""
    return f"one room ({window} outstanding)"


def json(bench: Bench, peer: Peer) -> Figures:
    """Measure ``loaded`` with programs on the JSON-RPC door, and with people on the line door.

    Programs send their lines as notifications, and receive their own lines like those of others.
    """
    programs = talk(bench, _for_programs(bench, peer), window=OUTSTANDING)
    people = talk(bench, peer, window=OUTSTANDING)
    figures = {**_figures("json", programs), **_figures("json line", people)}
    return figures | {"json ratio": programs.cpu / people.cpu}


def uid(bench: Bench, peer: Peer) -> Figures:
    """Measure ``loaded`` with programs that give each line a random uid of 128 bits, and with programs that do not.

    A uid has 32 hexadecimal digits, so each delivery is 41 bytes longer.
    """
    programs = _for_programs(bench, peer)
    without = talk(bench, programs, window=OUTSTANDING)
    with_uid = talk(bench, programs, window=OUTSTANDING, uid=1)
    figures = {**_figures("uid", with_uid), **_figures("uid none", without)}
    return figures | {"uid ratio": with_uid.cpu / without.cpu, "uid rate ratio": without.rate / with_uid.rate}


def _for_programs(bench: Bench, peer: Peer) -> Peer:
    """Return *peer* with the protocol for programs."""
    if bench.tools.floor is None:
        raise BenchmarkError("only load.c speaks JSON-RPC")
    return replace(peer, dialect="json", echo=True)


def websocket(bench: Bench, peer: Peer) -> Figures:
    """Measure ``loaded`` with programs over WebSockets, and with programs on the JSON-RPC door.

    The other servers pass each message on to all clients, as 64 bytes. Ours are longer: they say who has spoken.
    """
    if not peer.ours:
        return _figures("websocket", talk(bench, peer, window=OUTSTANDING))
    programs = _for_programs(bench, peer)
    web = replace(
        programs,
        command=lambda folder, port: [*peer.command(folder, free_port()), "--web", _local(port)],
        websocket=True,
    )
    over_websockets = talk(bench, web, window=OUTSTANDING)
    on_lines = talk(bench, programs, window=OUTSTANDING)
    figures = {**_figures("websocket", over_websockets), **_figures("websocket lines", on_lines)}
    return figures | {"websocket ratio": over_websockets.cpu / on_lines.cpu}


def resume(bench: Bench, peer: Peer) -> Figures:
    """Measure how long many programs take to come back after all their connections were reset at once.

    Meanwhile, 50 people talk on the line door in another room, in open loop. Their latency is measured until all
    programs are back. It is compared with the latency while the programs are connected and silent.
    """
    if bench.tools.programs is None:
        raise BenchmarkError("only a C program resumes sessions")
    plan = bench.plan
    folder = bench.fresh()
    try:
        with (
            started(peer, folder) as there,
            resume_programs(bench.tools, there, programs=plan.programs, rate=RESUME_LINES) as programs,
        ):
            programs.event("in")
            alone, among, back = _before_and_during(bench, there, partial(_release, programs, "back"))
    finally:
        rmtree(folder, ignore_errors=True)
    for fault in ("not_resumed", "gaps", "wrong", "late"):
        if back[fault]:
            raise BenchmarkError(f"the programs did not all receive each line once: {fault} {back[fault]}")
    return {
        "resume s": back["seconds"],
        "resume median s": back["median"],
        "resume attempts": back["attempts"],
        "resume server": back["server_cpu"] / back["seconds"],
        "resume load": back["load_cpu"] / back["seconds"],
        "resume p99 ms": among.p99,
        "resume alone p99 ms": alone.p99,
        "resume ratio": among.p99 / alone.p99,
    }


def _release(generator: Generator, last: str) -> dict[str, Any]:
    """Let *generator* continue, and return its event *last*."""
    generator.go_on()
    return generator.event(last)


def _before_and_during(
    bench: Bench, there: Started, work: Callable[[], T], **more: float
) -> tuple[Measured, Measured, T]:
    """Measure 50 people who talk in open loop, for ``open_seconds`` before *work*, then during it.

    Return both measurements and the result of *work*.
    """
    plan = bench.plan
    settings = {
        "people": RESUME_PEOPLE, "senders": min(plan.senders, RESUME_PEOPLE // 2), "rate": RATE, "warm": plan.warm,
        "seconds": 200, "stop": 1, **more,
    }  # fmt: skip

    def measure(during: Callable[[], U]) -> tuple[Measured, U]:
        with generate(bench.tools, there, **settings) as load:
            load.event("in")
            load.event("begin")
            result = during()
            load.go_on()
            return load.measured(), result

    before, _ = measure(lambda: sleep(plan.open_seconds))
    meanwhile, result = measure(work)
    return before, meanwhile, result


def tls(bench: Bench, peer: Peer) -> Figures:
    """Measure ``unloaded`` and ``loaded`` with TLS and without."""
    if bench.tools.handshakes is None:
        return {}
    secure = replace(peer, command=lambda folder, port: [*peer.command(folder, free_port()), "--tls", _local(port)])
    figures: dict[str, float] = {}
    for name, window in (("unloaded", 1), ("loaded", OUTSTANDING)):
        plain, encrypted = talk(bench, peer, window=window), talk(bench, secure, window=window, tls=1)
        figures |= {**_figures(f"tls {name}", encrypted), **_figures(f"tls {name} plain", plain)}
        figures[f"tls {name} ratio"] = encrypted.cpu / plain.cpu
    return figures


def _local(port: int) -> str:
    return f"tcp:{port}:interface=127.0.0.1"


def handshakes(bench: Bench, peer: Peer) -> Figures:
    """Measure the latency of 50 people, in open loop, without and with many clients that begin TLS at once."""
    if bench.tools.handshakes is None:
        return {}
    plan = bench.plan
    tls_port = free_port()
    secure = replace(peer, command=lambda folder, port: [*peer.command(folder, port), "--tls", _local(tls_port)])
    folder = bench.fresh()
    try:
        with (
            started(secure, folder) as there,
            shake_hands(bench.tools, port=tls_port, clients=plan.handshakes) as clients,
        ):
            clients.event("in")
            alone, among, done = _before_and_during(bench, there, partial(_release, clients, "done"))
    finally:
        rmtree(folder, ignore_errors=True)
    return {
        "handshakes s": done["seconds"],
        "handshakes p99 ms": among.p99,
        "handshakes alone p99 ms": alone.p99,
        "handshakes ratio": among.p99 / alone.p99,
    }


def logins(bench: Bench, peer: Peer) -> Figures:
    """Measure the latency of 50 people, in open loop, without and with many others who log in at once.

    The 50 talk in a room of their own. The parameters of the hashes are those that this machine computes in 100 ms.
    """
    if bench.tools.floor is None:
        raise BenchmarkError("only the people of load.c move to a room of their own")
    plan = bench.plan
    folder = bench.fresh()

    def command(folder: Path, port: int) -> Sequence[str]:
        _write_accounts(folder / "data" / "journal.sqlite", plan.logins)
        return peer.command(folder, port)

    try:
        with started(replace(peer, command=command), folder) as there:
            log_all_in = partial(log_in, there.port, plan.logins)
            alone, among, (seconds, again) = _before_and_during(bench, there, log_all_in, apart=1)
    finally:
        rmtree(folder, ignore_errors=True)
    return {
        "logins s": seconds[-1],
        "logins median s": median(seconds),
        "logins again": again,
        "logins server": among.server_cpu / among.seconds,
        "logins p99 ms": among.p99,
        "logins alone p99 ms": alone.p99,
        "logins ratio": among.p99 / alone.p99,
    }


def upload(bench: Bench, peer: Peer) -> Figures:
    """Measure the latency of 50 people, in open loop, without and with uploads of a file at full speed.

    The 50 talk in a room of their own.
    """
    if bench.tools.floor is None:
        raise BenchmarkError("only the people of load.c move to a room of their own")
    plan = bench.plan
    web_port = free_port()
    with_page = replace(peer, command=lambda folder, port: [*peer.command(folder, port), "--web", _local(web_port)])
    folder = bench.fresh()
    try:
        with started(with_page, folder) as there:
            path = folder / "file.bin"
            path.write_bytes(bytes(plan.upload_bytes))
            send = partial(share, there.port, web_port, path, plan.uploads)
            alone, among, seconds = _before_and_during(bench, there, send, apart=1)
    finally:
        rmtree(folder, ignore_errors=True)
    return {
        "upload MiB/s": plan.upload_bytes / MIB / median(seconds),
        "upload server": among.server_cpu / among.seconds,
        "upload p99 ms": among.p99,
        "upload alone p99 ms": alone.p99,
        "upload ratio": among.p99 / alone.p99,
    }


def cluster(bench: Bench, peer: Peer) -> Figures:
    """Measure one server with its journal in PostgreSQL and with SQLite, and four servers that share a database."""
    plan = bench.plan
    with ExitStack() as stack:
        database = stack.enter_context(shared.database())
        file = talk(bench, peer, window=OUTSTANDING)
        one = talk(bench, shared.on_database(peer, database.url(), "one"), window=OUTSTANDING)
        database.empty()
        nodes = stack.enter_context(shared.started_nodes(peer, database.url(), bench.fresh))
        rate = shared.busy_room(nodes, plan.warm, plan.seconds)
        lines = max(1, round(shared.lines_per_batch(database)))
        alone = shared.database_alone(database, lines, plan.seconds, bench.fresh())
        times = shared.latencies(nodes, plan.open_seconds)
    return {
        "cluster one CPU µs": one.server_cpu / one.lines * 1e6,
        "cluster file CPU µs": file.server_cpu / file.lines * 1e6,
        "cluster one ratio": one.server_cpu / one.lines / (file.server_cpu / file.lines),
        "cluster lines/s": rate,
        "cluster lines": lines,
        "cluster alone lines/s": alone,
        "cluster share": rate / alone,
        "cluster p50 ms": median(times),
        "cluster p99 ms": shared.percentile_99(times),
    }


def _write_accounts(path: Path, number: int) -> None:
    """Make the journal *path* with *number* accounts."""
    from argon2 import PasswordHasher  # noqa: PLC0415 - the other scenarios do without it

    from broadcast.accounts.hashing import measure  # noqa: PLC0415 - likewise
    from broadcast.journals.sqlite.opening import open_database  # noqa: PLC0415

    memory, passes, lanes = measure()
    hashed = PasswordHasher(passes, memory, lanes).hash(PASSWORD)
    path.parent.mkdir(mode=0o700)
    db = open_database(path, 0).db
    try:
        rows = ((account_name(each), hashed, "", time(), time(), "", "") for each in range(number))
        db.execute("BEGIN")
        db.executemany("INSERT INTO accounts VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, '')", rows)
        db.execute("COMMIT")
    finally:
        db.close()


def refusals(bench: Bench, peer: Peer) -> Figures:
    """Measure the times to refuse an unknown name, and a wrong password.

    The two are tried in turn. Each try has a connection of its own, from an address of its own.
    """
    tries = bench.plan.refusals

    def command(folder: Path, port: int) -> Sequence[str]:
        return [f"haproxy:{_local(port)}" if word == str(port) else word for word in peer.command(folder, port)]

    folder = bench.fresh()
    known = [account_name(number) for number in range(1 + tries // TRIES_PER_ACCOUNT)]
    times: dict[bool, list[float]] = {True: [], False: []}
    try:
        with started(replace(peer, command=command), folder) as there:
            for name in known:
                register(there.port, name)
            for number in range(2 * tries):
                is_known = number % 4 in {1, 2}  # in turn, and both come first equally often
                name = known[number % len(known)] if is_known else f"x{number:05}"
                times[is_known].append(refused(there.port, name))
    finally:
        rmtree(folder, ignore_errors=True)
    unknown, wrong = median(times[False]), median(times[True])
    return {
        "refusals unknown ms": unknown * 1e3, "refusals wrong ms": wrong * 1e3, "refusals ratio": unknown / wrong
    }  # fmt: skip


def disk(bench: Bench, peer: Peer) -> Figures:
    """Measure the latency with the journal on disk, and with the one in memory."""
    assert peer.in_memory is not None
    people = bench.plan.disk
    settings = {
        "people": people, "senders": min(bench.plan.senders, people // 2), "rate": RATE,
        "seconds": bench.plan.open_seconds,
    }  # fmt: skip
    on_disk, in_memory = (talk(bench, variant, **settings).p99 for variant in (peer, peer.in_memory))
    return {"disk p99 ms": on_disk, "in memory p99 ms": in_memory, "disk ratio": on_disk / in_memory}


def growth(bench: Bench, peer: Peer) -> Figures:
    """Measure the latency with few and with many people, and at most 200,000 deliveries per second."""
    figures = {}
    for people in bench.plan.growth:
        rate = min(RATE, 200_000 / people)
        senders = min(bench.plan.senders, people // 2)
        seconds = bench.plan.open_seconds / 2
        measured = talk(bench, peer, people=people, senders=senders, rate=rate, seconds=seconds)
        figures[f"growth {people} p99 ms"] = measured.p99
    return figures


def crowd(bench: Bench, peer: Peer) -> Figures:
    """Measure how long many people take to join, and the memory of idle connections."""
    folder = bench.fresh()
    plan = bench.plan
    try:
        with started(peer, folder) as there:
            sleep(SETTLED)
            before = there.server.memory()
            with generate(bench.tools, there, people=plan.crowd, senders=2, hold=1, limit=300) as load:
                came = load.event("in")
                sleep(SETTLED)
                after = there.server.memory()
    finally:
        rmtree(folder, ignore_errors=True)
    return {"crowd join s": came["seconds"], "crowd KiB": (after - before) / plan.crowd / KIB}


def stalled(bench: Bench, peer: Peer) -> Figures:
    """Measure the latency of readers with and without many clients that never read."""
    plan = bench.plan
    settings = {
        "people": plan.hearers, "senders": min(plan.senders, plan.hearers // 2), "fill": plan.fill, "rate": RATE,
        "seconds": plan.open_seconds,
    }  # fmt: skip
    alone = talk(bench, peer, **settings)
    among = talk(bench, peer, stalled=plan.stalled, **settings)
    if plan is not TINY and among.stalled_took < 0:
        raise BenchmarkError("whether the sockets of those who never read were full is known to load.c only")
    if plan is not TINY and among.stalled_took > FULL_ENOUGH:
        raise BenchmarkError("those who never read still took something in: they were not full")
    return {"stalled p99 ms": among.p99, "alone p99 ms": alone.p99, "stalled ratio": among.p99 / alone.p99}


def churn(bench: Bench, peer: Peer) -> Figures:
    """Measure the latency of a room with and without a client whose visitors join and leave in a loop."""
    if bench.tools.floor is None:
        raise BenchmarkError("only load.c has visitors")
    figures = {}
    for name, reset in (("alone", None), ("quit", 0), ("reset", 1)):
        measured, visits = _talk_among_visitors(bench, peer, reset)
        figures[f"churn {name} p99 ms"] = measured.p99
        if reset is not None:
            figures[f"churn {name} ratio"] = measured.p99 / figures["churn alone p99 ms"]
            figures[f"churn {name} visits/s"] = visits
    return figures


def _talk_among_visitors(bench: Bench, peer: Peer, reset: int | None) -> tuple[Measured, float]:
    """Measure a room, and the number of visits per second. *reset* is how visitors leave; None for no visitors."""
    plan = bench.plan
    folder = bench.fresh()
    people = min(CHURN_PEOPLE, plan.people)
    settings = {
        "people": people, "senders": min(plan.senders, people // 2), "rate": CHURN_RATE, "warm": plan.warm,
        "seconds": max(plan.open_seconds, CHURN_SECONDS), "notices": 1, "hold": 1,
    }  # fmt: skip
    try:
        with started(peer, folder) as there, generate(bench.tools, there, **settings) as load:
            load.event("in")
            if reset is None:
                load.go_on()
                return load.measured(), 0.0
            seconds = settings["warm"] + settings["seconds"]
            with generate(bench.tools, there, visitors=VISITORS, reset=reset, seconds=seconds) as visitors:
                visitors.event("in")
                load.go_on()
                measured = load.measured()
                visits = visitors.event("visits")
            if visits["refused"]:
                raise BenchmarkError(f"{visits['refused']} visitors did not get in")
            return measured, visits["count"] / visits["seconds"]
    finally:
        rmtree(folder, ignore_errors=True)


def memory(bench: Bench, peer: Peer) -> Figures:
    """Measure the memory while many lines are sent and many clients never read."""
    plan = bench.plan
    folder = bench.fresh()
    sizes = {}
    try:
        with started(peer, folder) as there:
            settings = {
                "people": plan.hearers, "senders": min(plan.senders, plan.hearers // 2), "stalled": plan.stalled,
                "window": 512, "lines": plan.said, "mark": plan.filled, "hold": 1, "limit": 900,
            }  # fmt: skip
            with generate(bench.tools, there, **settings) as load:
                load.event("in")
                load.go_on()
                for mark in range(plan.filled, plan.said + 1, plan.filled):
                    load.event("mark")
                    sizes[mark] = there.server.memory()
                load.measured()
                sleep(SETTLED)
                sizes[plan.said + 1] = there.server.memory()
    finally:
        rmtree(folder, ignore_errors=True)
    full = sizes.pop(plan.filled)
    return {"memory full MiB": full / MIB, "memory growth MiB": (max(sizes.values()) - full) / MIB}


def startup(bench: Bench, peer: Peer) -> Figures:
    """Measure the time from the command to the first greeting, with a long journal and without one."""
    folder = bench.journal or _long_journal(bench, peer)
    bench.journal = folder
    empty = bench.fresh()
    try:
        return {"startup s": _greeted(peer, folder), "startup empty s": _greeted(peer, empty)}
    finally:
        rmtree(empty, ignore_errors=True)


def _greeted(peer: Peer, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    port = free_port()
    began = monotonic()
    server = Running(peer.command(folder, port), folder)
    try:
        while monotonic() < began + PATIENCE:
            try:
                with socket.create_connection(("127.0.0.1", port), PATIENCE) as there:
                    if there.recv(1):
                        return monotonic() - began
            except OSError:
                sleep(0.001)
        raise BenchmarkError(f"the server does not answer: {server.last_words()}")
    finally:
        server.end()


def _long_journal(bench: Bench, peer: Peer) -> Path:
    """Return a data folder of *peer* with a journal of the plan's length."""
    from broadcast.core.events import Message  # noqa: PLC0415 - the other scenarios do without the package
    from broadcast.journals.sqlite.database import to_row  # noqa: PLC0415
    from broadcast.journals.sqlite.opening import open_database  # noqa: PLC0415

    folder = bench.fresh()
    _greeted(peer, folder)  # makes the journal
    path = folder / "data" / "journal.sqlite"
    opened = open_database(path, 0)
    db, last = opened.db, opened.room.last
    try:
        db.execute("BEGIN")
        text, now = "x" * 62, time()
        rows = (to_row(Message(0, f"u{n % 500:05}", text, now, n)) for n in range(last + 1, bench.plan.journal + 1))
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, nullif(?, ''), ?)", rows)
        db.execute("COMMIT")
    finally:
        db.close()
    return folder


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named measurement. *others* is how often servers other than broadcast are measured."""

    name: str
    measure: Callable[[Bench, Peer], Figures]
    others: Literal["always", "seldom", "never"]


SCENARIOS = (
    Scenario("unloaded", unloaded, "always"),
    Scenario("loaded", loaded, "always"),
    Scenario("small", small, "always"),
    Scenario("rooms", rooms, "never"),
    Scenario("json", json, "never"),
    Scenario("uid", uid, "never"),
    Scenario("websocket", websocket, "always"),
    Scenario("tls", tls, "never"),
    Scenario("handshakes", handshakes, "never"),
    Scenario("logins", logins, "never"),
    Scenario("refusals", refusals, "never"),
    Scenario("upload", upload, "never"),
    Scenario("resume", resume, "never"),
    Scenario("cluster", cluster, "never"),
    Scenario("latency", latency, "always"),
    Scenario("disk", disk, "never"),
    Scenario("crowd", crowd, "seldom"),
    Scenario("churn", churn, "never"),
    Scenario("stalled", stalled, "never"),
    Scenario("memory", memory, "never"),
    Scenario("startup", startup, "never"),
    Scenario("growth", growth, "seldom"),
)
