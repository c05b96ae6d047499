"""What goes on, for Prometheus, and whether all is well, for whoever asks; the one module that knows prometheus_client.

It is imported where ``--metrics`` is given and nowhere else. The parts count for themselves, in plain numbers
(``core/stats.py``); they are read when somebody looks, and only then made into anything.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from itertools import accumulate
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from twisted.copyright import version as twisted_version
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from broadcast import __version__
from broadcast.core.stats import Histogram
from broadcast.net.endpoints import format_address, is_public

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IReactorTime

    from broadcast.core.interfaces import Journal
    from broadcast.core.time_slice import CallSoon
    from broadcast.doors.line.protocol import BroadcastFactory
    from broadcast.net.endpoints import Listener

SAMPLE_SECONDS: Final = 0.25
"""How often the reactor's delay is measured."""
MAX_CONNECTIONS: Final = 20
"""So many may look at once: those who look and do not read must not take the files away that people need."""
DELAY_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""No turn should take longer than 20 ms (PERFORMANCE)."""

RunInThread: TypeAlias = Callable[[Callable[[], bytes]], Deferred[bytes]]
"""Does some work in another thread."""


class MetricsCollector(Collector):
    """The server's figures as they are when they are asked for; in the reactor's thread, for it looks at each reader.

    *delays* is what a ``Sampler`` adds to, *now* tells seconds that never go back.
    """

    def __init__(
        self, factory: BroadcastFactory, journal: Journal, delays: Histogram, now: Callable[[], float]
    ) -> None:
        self._factory = factory
        self._journal = journal
        self._delays = delays
        self._now = now
        self._began = now()

    def collect(self) -> Iterator[Metric]:
        """Every figure; ``docs/metrics.rst`` says what to make of them."""
        factory, hub, fanout = self._factory, self._factory.hub, self._factory.fanout
        room, keeping = hub.room, self._journal.commit_stats
        yield InfoMetricFamily(
            "broadcast",
            "What runs here.",
            {"version": __version__, "python": platform.python_version(), "twisted": twisted_version},
        )
        yield _gauge("uptime_seconds", "Since when the server runs.", self._now() - self._began)
        yield _gauge("people", "People in the room.", len(room.members))
        yield _gauge("connections", "Open connections.", len(factory.connections))
        yield _counter("sessions", "Connections that have come.", hub.session_count)
        yield _counter("lines_received", "Lines that people typed, commands and nicknames too.", factory.line_count)
        yield _counter("slowed", "Pauses in reading from somebody who types too fast.", factory.throttle_count)
        yield _counter("lines_told", "Lines that were kept and told to the room.", room.message_count)
        yield _counter(
            "deliveries", "Lines that readers took as they were told, each once a reader.", fanout.deliveries
        )
        yield _counter("sent_bytes", "Bytes sent to people.", fanout.sent_bytes)
        yield _gauge("readers_lagging", "Readers who have not taken all that was told.", fanout.lagging_count)
        yield _counter(
            "missed_lines", "Lines that lagging readers have missed, each once a reader.", fanout.missed_messages
        )
        yield _gauge(
            "keeping", "1 while the journal keeps what is said, 0 after a failed commit.", not keeping.last_error
        )
        yield _histogram("commit_seconds", "How long the journal's commits took that succeeded.", keeping.durations)
        yield _counter("commit_failures", "Commits of the journal that failed.", keeping.failed_commits)
        yield _gauge("journal_queue_events", "Events that wait for the journal.", room.queued_events)
        yield _gauge(
            "journal_queue_characters", "Characters of text that wait for the journal.", room.queued_characters
        )
        refusals = CounterMetricFamily("broadcast_refusals", "What was refused to people.", labels=["kind"])
        for kind, times in hub.rejections.items():
            refusals.add_metric([kind.value], times)
        refusals.add_metric(["not_kept"], keeping.failed_events)
        yield refusals
        yield _histogram(
            "reactor_delay_seconds", "How long what comes in waits until the reactor gets to it.", self._delays
        )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"broadcast_{name}", meaning, value)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"broadcast_{name}", meaning, value)


def _histogram(name: str, meaning: str, histogram: Histogram) -> Metric:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(f"broadcast_{name}", meaning, buckets, histogram.sum)


class LoopLagSampler:
    """Measures how late the reactor is, now and then, from a thread of its own.

    Somebody's line comes at any moment of a turn, and waits until the reactor gets to it. So does what this hands to
    *soon* (``reactor.callFromThread``): the time until it is run, as *now* tells it, is added to *delays*. That is the
    rest of the turn under way and all that stands in front of it; long turns are met more often than short ones, as
    people meet them. On the reactor's side, the length of each turn would have to be measured in every turn. One sample
    at a time: a reactor that hangs for a minute is one sample of a minute.
    """

    def __init__(self, soon: CallSoon, now: Callable[[], float], delays: Histogram) -> None:
        self._soon = soon
        self._now = now
        self._delays = delays
        self._over = Event()
        self._waiting = False

    def start(self) -> None:
        """Begin; after twistd has forked."""
        Thread(target=self._run, name="metrics sampler", daemon=True).start()

    def stop(self) -> None:
        """Do not take another sample."""
        self._over.set()

    def sample(self) -> None:
        """Take a sample, unless the last one has not come back yet."""
        if not self._waiting:
            self._waiting = True
            self._soon(partial(self._arrive, self._now()))

    def _arrive(self, asked: float) -> None:
        self._delays.add(self._now() - asked)
        self._waiting = False

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.sample()


def health_problem(factory: BroadcastFactory, journal: Journal) -> str:
    """Why nobody should be sent here now, as one line; empty where all is well."""
    if factory.stopping:
        return "the server is going down"
    why = journal.commit_stats.last_error
    return f"nothing is kept: {why}" if why else ""


class _Pages(Resource):
    """``/metrics``, the figures of the server and of its process; and ``/healthz``: 200 and ``ok``, or 503 and why."""

    isLeaf = True  # noqa: N815 - Twisted's name
    _log = Logger()

    def __init__(self, figures: MetricsCollector, trouble: Callable[[], str], aside: RunInThread) -> None:
        super().__init__()
        self._figures = CollectorRegistry(auto_describe=False)
        self._figures.register(figures)
        # They are read from /proc, which lists the open files, as many as there are connections: not in the reactor.
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        self._trouble = trouble
        self._aside = aside

    def render(self, request: Request) -> int:
        """Answer; Twisted's own way would answer in HTML to what is not there."""
        if request.method not in {b"GET", b"HEAD"}:
            request.setHeader(b"allow", b"GET, HEAD")
            _answer(request, 405, b"There is nothing to do here but look.\n")
        elif request.path == b"/metrics":
            self._show_figures(request)
        elif request.path == b"/healthz":
            why = self._trouble()
            _answer(request, 503 if why else 200, f"{why or 'ok'}\n".encode())
        else:
            _answer(request, 404, b"There are /metrics and /healthz.\n")
        return NOT_DONE_YET

    def _show_figures(self, request: Request) -> None:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        figures = generate_latest(self._figures)

        def answer(process: bytes) -> None:
            if not gone:
                _answer(request, 200, figures + process, CONTENT_TYPE_PLAIN_0_0_4)

        def fail(failure: object) -> bytes:
            self._log.warn("No figures of the process: {failure}", failure=failure)
            return b""

        self._aside(partial(generate_latest, self._process)).addErrback(fail).addCallback(answer)


def _answer(request: Request, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
    request.setResponseCode(status)
    request.setHeader(b"content-type", kind.encode())
    request.setHeader(b"content-length", str(len(body)).encode())
    request.write(body)  # nothing, where it is a HEAD
    request.finish()


class _Request(Request):
    """One whose body nobody wants: it is not stored, neither in memory nor on the disk."""

    def gotLength(self, length: int | None) -> None:  # noqa: ARG002, N802 - Twisted's
        """Make no file for it."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Drop it."""


class _Site(Site):
    """The two pages; a look at them is no line in the log."""

    noisy = False
    requestFactory = _Request  # noqa: N815

    def log(self, request: object) -> None:
        """Nothing."""


class _ConnectionCap(WrappingFactory):
    """Lets a few look at once. When one more comes, who has been there longest goes: a look takes milliseconds."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper | None:  # type: ignore[override]  # as Twisted's limits do
        """Nobody where many come at once: Twisted takes them in before any of those that were ended is gone."""
        return super().buildProtocol(addr) if len(self.protocols) < 2 * MAX_CONNECTIONS else None

    def registerProtocol(self, p: ProtocolWrapper) -> None:  # noqa: N802
        """One more has come."""
        super().registerProtocol(p)
        for oldest in list(self.protocols)[:-MAX_CONNECTIONS]:
            oldest.abortConnection()  # in the next turn; to ask again changes nothing


class MetricsListener:
    """Where the log says that figures can be had: *place*, for whom it is a place of another kind."""

    def __init__(self, place: Listener) -> None:
        self._place = place

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen there."""
        return self._place.listen(factory)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """The addresses, and whom they let in."""
        hint = ": whoever can reach this machine can read them." if is_public(ports) else "."
        return f"Metrics on {' and '.join(_address(port.getHost()) for port in ports)}{hint}"


def _address(host: object) -> str:
    match host:
        case IPv4Address(host=name, port=port):
            return f"http://{name}:{port}/metrics"
        case IPv6Address(host=name, port=port):
            return f"http://[{name}]:{port}/metrics"
        case _:
            return format_address(host)


class Monitor:
    """Shows what goes on at *place*, from the start of the server to its end.

    *soon* runs a function in a later turn of the reactor, *aside* in another thread; *now* tells seconds that never go
    back.
    """

    def __init__(
        self,
        place: Listener,
        factory: BroadcastFactory,
        journal: Journal,
        clock: IReactorTime,
        soon: CallSoon,
        aside: RunInThread,
        now: Callable[[], float],
    ) -> None:
        delays = Histogram(DELAY_SECONDS)
        pages = _Pages(
            MetricsCollector(factory, journal, delays, now), partial(health_problem, factory, journal), aside
        )
        self.listener: Listener = MetricsListener(place)
        self.factory: IProtocolFactory = _ConnectionCap(_Site(pages, parsePOSTFormSubmission=False, reactor=clock))
        self._sampler = LoopLagSampler(soon, now, delays)

    def start(self) -> None:
        """Begin to measure."""
        self._sampler.start()

    def stop(self) -> None:
        """Measure no more."""
        self._sampler.stop()
