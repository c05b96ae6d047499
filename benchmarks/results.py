"""The results of one invocation: all values, their medians and ratios, and the goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.peers import LIMITED, OURS, UWEBSOCKETS, WEBSOCKETS, Absent, Peer
from benchmarks.scenarios import BOTTLENECK, FULL, TINY, Plan, one_room_name, one_room_windows, room_name


@dataclass(frozen=True, slots=True)
class Summary:
    """The values of one figure over all runs."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """Median of the values."""
        return median(self.values)


class Results:
    """All figures of one invocation."""

    def __init__(self, plan: Plan, peers: Sequence[Peer], notes: Sequence[str]) -> None:
        self.plan = plan
        self.peers = peers
        self.notes = notes
        self.absent: Sequence[Absent] = ()
        self.wanted: Sequence[str] = ()
        """Names of the requested scenarios."""
        self.failures: dict[tuple[str, str], str] = {}
        """Reason for each scenario and peer that could not be measured."""
        self._figures: dict[tuple[str, str], dict[int, float]] = {}

    def record(self, run: int, peer: str, figures: Mapping[str, float]) -> None:
        """Record the *figures* of *peer* in *run*."""
        for name, value in figures.items():
            self._figures.setdefault((name, peer), {})[run] = value

    def summary(self, figure: str, peer: str) -> Summary | None:
        """Return all values of *figure* for *peer*, or None if there are none."""
        values = self._figures.get((figure, peer))
        return Summary(list(values.values())) if values else None

    def ratio(self, figure: str, one: str, other: str) -> Summary | None:
        """Return *figure* of *one* divided by that of *other*, per run, or None without a common run."""
        ones, others = self._figures.get((figure, one), {}), self._figures.get((figure, other), {})
        ratios = [ones[run] / others[run] for run in ones if others.get(run)]
        return Summary(ratios) if ratios else None

    def bottleneck(self, scenario: str, peer: str) -> bool:
        """Return whether the load generator was the bottleneck: nearly always busy, and busier than *peer*."""
        load, server = self.summary(f"{scenario} load", peer), self.summary(f"{scenario} server", peer)
        return load is not None and server is not None and load.median > max(BOTTLENECK, server.median)


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal for a figure: at most *must*, or at least *must* if *more* is better."""

    what: str
    command: str
    unit: str
    must: float
    aim: float
    of: Callable[[Results], Summary | None]
    more: bool = False
    full_size: bool = False
    """Whether the goal holds only for the full size. No goal holds for the tiny size."""

    def verdict(self, results: Results) -> str:
        """Return the verdict on the median."""
        summary = self.of(results)
        if summary is None:
            return "not measured"
        if results.plan is TINY or (self.full_size and results.plan is not FULL):
            return f"smaller ({results.plan.name})"
        value = summary.median
        if self.more:
            return "aim" if value >= self.aim else "must" if value >= self.must else "MISSED"
        return "aim" if value <= self.aim else "must" if value <= self.must else "MISSED"


def _against(figure: str, other: str) -> Callable[[Results], Summary | None]:
    return lambda results: results.ratio(figure, OURS, other)


def _own(figure: str) -> Callable[[Results], Summary | None]:
    return lambda results: results.summary(figure, OURS)


def _of(peer: str, figure: str) -> Callable[[Results], Summary | None]:
    return lambda results: results.ratio(figure, peer, OURS)


GOALS = (
    Goal(
        "unloaded: CPU per delivery, against the floor", "unloaded", "x", 1.5, 1.2,
        _against("unloaded CPU µs", "floor"),
    ),
    Goal("loaded: CPU per delivery, against the floor", "loaded", "x", 1.7, 1.2, _against("loaded CPU µs", "floor")),
    *(
        Goal(
            f"{people:,} people, {senders} talk: CPU for a line, against the floor", "small", "x", must, aim,
            _against(f"{room_name(people, senders)} CPU µs", "floor"),
        )
        for people, senders, must, aim in ((5, 5, 6, 3.5), (50, 10, 2.5, 1.5), (2000, 100, 1.8, 1.4))
    ),
    *(
        Goal(f"loaded: deliveries/s, against {peer}", "loaded", "x", 3, 5, _against("loaded deliveries/s", peer), True)
        for peer in ("NATS", "InspIRCd", "ngIRCd")
    ),
    Goal(
        "loaded: deliveries/s, against a thread per client", "loaded", "x", 6, 10,
        _against("loaded deliveries/s", "thread per client"), more=True,
    ),
    Goal(
        "unloaded: CPU per delivery with the limits counted, against --limits off", "unloaded", "x", 1.05, 1.02,
        lambda results: results.ratio("unloaded CPU µs", LIMITED, OURS),
    ),
    Goal(
        "loaded: CPU per delivery with the limits counted, against --limits off", "loaded", "x", 1.05, 1.02,
        lambda results: results.ratio("loaded CPU µs", LIMITED, OURS),
    ),
    *(
        Goal(
            f"1,000 rooms of 5, 64 outstanding: CPU for a line, against one room with {window}", "rooms", "x", 1.3, 1.1,
            _own(f"{one_room_name(window)} ratio"), full_size=True,
        )
        for window in one_room_windows(FULL)
    ),
    Goal("500 programs, loaded: CPU per delivery, against 500 people", "json", "x", 1.5, 1.1, _own("json ratio")),
    Goal(
        "500 programs over WebSockets, loaded: CPU per delivery, against the JSON-RPC door", "websocket", "x", 1.2,
        1.05, _own("websocket ratio"),
    ),
    *(
        Goal(
            f"{peer}: CPU per delivery, loaded, against that of these programs", "websocket", "x", must, aim,
            _of(peer, "websocket CPU µs"), more=True,
        )
        for peer, must, aim in ((UWEBSOCKETS, 5, 10), (WEBSOCKETS, 20, 40))
    ),
    Goal("a uid on each line, loaded: CPU per delivery, against none", "uid", "x", 1.1, 1.03, _own("uid ratio")),
    *(
        Goal(
            f"500 people with TLS, {how}: CPU per delivery, against plain", "tls", "x", 2, 1.5,
            _own(f"tls {how} ratio"),
        )
        for how in ("unloaded", "loaded")
    ),
    Goal(
        "p99 of 50 people while 500 clients begin TLS at once, against before", "handshakes", "x", 1.5, 1.3,
        _own("handshakes ratio"), full_size=True,
    ),
    Goal(
        "p99 of 50 people while 100 others log in at once, against before", "logins", "x", 1.3, 1.1,
        _own("logins ratio"), full_size=True,
    ),
    Goal(
        "p99 of 50 people while files of 25 MiB are uploaded at full speed, against before", "upload", "x", 1.3, 1.1,
        _own("upload ratio"), full_size=True,
    ),
    Goal(
        "500 people, loaded, one server: CPU for a line with PostgreSQL, against SQLite", "cluster", "x", 1.5, 1.2,
        _own("cluster one ratio"),
    ),
    Goal(
        "4 servers, one busy room: lines/s, against pgbench alone", "cluster", "x", 0.6, 0.9, _own("cluster share"),
        more=True,
    ),
    Goal(
        "4 servers, 200 lines/s: p99 of a line between them", "cluster", "ms", 50, 15, _own("cluster p99 ms"),
        full_size=True,
    ),
    Goal("2,000 programs resume at once: until all are back", "resume", "s", 5, 2, _own("resume s"), full_size=True),
    Goal("the others' p99 meanwhile", "resume", "ms", 50, 20, _own("resume p99 ms"), full_size=True),
    Goal("memory of an idle connection, 10,000 of them", "crowd", "KiB", 6, 4, _own("crowd KiB"), full_size=True),
    Goal("10,000 people join", "crowd", "s", 4, 2, _own("crowd join s"), full_size=True),
    *(
        Goal(
            f"p99 of 50 people while visitors join and {how} in a loop, against without", "churn", "x", 1.5, 1.2,
            _own(f"churn {how} ratio"), full_size=True,
        )
        for how in ("quit", "reset")
    ),
    Goal(
        "p99 of 100 readers with 1,000 who never read, against without", "stalled", "x", 1.3, 1.1,
        _own("stalled ratio"), full_size=True,
    ),
    Goal(
        "memory with those 1,000 and a million lines, above the full window's", "memory", "MiB", 8, 2,
        _own("memory growth MiB"), full_size=True,
    ),
    Goal("p99 of a line, 500 people, 200 lines/s", "latency", "ms", 15, 8, _own("steady p99 ms"), full_size=True),
    Goal(
        "p99 of a line, 50 people, 200 lines/s, against --ephemeral", "disk", "x", 2, 1.3, _own("disk ratio"),
        full_size=True,
    ),
    Goal("start-up with a million events in the journal", "startup", "s", 0.7, 0.4, _own("startup s"), full_size=True),
)  # fmt: skip
