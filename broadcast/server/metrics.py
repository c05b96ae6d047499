"""Metrics for Prometheus, and a health check.

No other module imports prometheus_client, and this one is only imported if ``--metrics`` is given. The parts of the
server count in plain numbers. A scrape reads them and turns them into metrics.
"""

from __future__ import annotations

import platform
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nlargest
from io import BytesIO
from itertools import accumulate
from math import inf
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

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
from broadcast.core.hub import GOING_DOWN
from broadcast.core.limits import RateLimiter
from broadcast.core.stats import Histogram
from broadcast.net.endpoints import format_address, is_public

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IProtocolFactory, IReactorTime

    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Journal
    from broadcast.core.time_slice import CallSoon
    from broadcast.delivery.dispatcher import Dispatcher
    from broadcast.net.connections import Connections
    from broadcast.net.endpoints import Listener

SAMPLE_SECONDS: Final = 0.25
"""Time between two samples of the reactor's delay."""
MAX_CONNECTIONS: Final = 20
"""Maximum number of open connections for metrics. Clients that do not read must not use up the file descriptors."""
REQUESTS_PER_SECOND: Final = 50
"""Maximum number of answers per second. Further requests wait, because each takes the reactor half a millisecond."""
NAMED_ROOMS: Final = 10
"""Number of the largest rooms that ``/metrics?rooms=1`` names."""
MAX_AGE_SECONDS: Final = 1.0
"""Maximum age of the metrics in an answer. It limits how often they are read."""
DELAY_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Buckets of the reactor's delay. No turn should take longer than 20 ms."""

RunInThread: TypeAlias = Callable[[Callable[[], bytes]], Deferred[bytes]]
"""Runs a function in another thread."""


class SharedJournal(Protocol):
    """A journal that other servers also use."""

    @property
    def lease_seconds(self) -> float:
        """Time until the others remove this server, unless it renews its lease."""

    @property
    def tail_seconds(self) -> float:
        """Time since everything was read that other servers had stored."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts of the server that the metrics are read from."""

    connections: Connections
    hub: Hub
    dispatcher: Dispatcher
    journal: Journal
    shared: SharedJournal | None = None
    """The journal, if there can be other servers."""


class MetricsCollector(Collector):
    """A reader of all metrics from *sources*. Call it in the reactor's thread.

    A ``LoopLagSampler`` adds to *delays*. *now* is a monotonic clock. With *names_rooms*, the metrics include the names
    of the largest rooms.
    """

    def __init__(
        self, sources: Sources, delays: Histogram, now: Callable[[], float], *, names_rooms: bool = False
    ) -> None:
        self._sources = sources
        self._delays = delays
        self._now = now
        self._started = now()
        self._names_rooms = names_rooms

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics. ``docs/metrics.rst`` explains them."""
        connections, hub, dispatcher = self._sources.connections, self._sources.hub, self._sources.dispatcher
        backlog, commits = hub.backlog, self._sources.journal.commit_stats
        yield InfoMetricFamily(
            "broadcast",
            "Versions of the server, Python and Twisted.",
            {"version": __version__, "python": platform.python_version(), "twisted": twisted_version},
        )
        yield _gauge("uptime_seconds", "Time since the start of the server.", self._now() - self._started)
        here = len(hub.people.members) - hub.other_nodes.remote_count
        yield _gauge("people", "People with a nickname, and programs.", here)
        yield _gauge("rooms", "Open rooms.", len(hub.rooms))
        if self._names_rooms:
            people = GaugeMetricFamily("broadcast_room_people", "People in each of the largest rooms.", labels=["room"])
            for room in nlargest(NAMED_ROOMS, hub.rooms.values(), key=lambda room: len(room.members)):
                people.add_metric([room.name], len(room.members))
            yield people
        yield _gauge("connections", "Open connections.", len(connections))
        yield _counter("sessions", "Connections accepted.", connections.accepted_count)
        yield _counter("resumed", "Sessions of programs that were resumed.", connections.resumed_count)
        yield _counter(
            "lines_received", "Lines received, including commands and nicknames.", connections.lines_received
        )
        yield _counter("slowed", "Lines that waited for the rate limit.", connections.throttle_count)
        yield _counter("lines_told", "Lines stored and delivered to the room.", backlog.message_count)
        yield _counter(
            "deliveries",
            "Events that subscribers accepted at their delivery, once per subscriber.",
            dispatcher.deliveries,
        )
        yield _counter("sent_bytes", "Bytes sent to clients.", dispatcher.sent_bytes)
        yield _gauge("readers_lagging", "Subscribers that have not accepted everything yet.", dispatcher.lagging_count)
        yield _counter(
            "missed_lines",
            "Lines that lagging subscribers have missed, once per subscriber.",
            dispatcher.missed_messages,
        )
        yield _gauge("keeping", "1 while the journal stores messages, 0 after a failed commit.", not commits.last_error)
        yield _histogram("commit_seconds", "Duration of successful commits.", commits.durations)
        yield _counter("commit_failures", "Failed commits.", commits.failed_commits)
        yield _gauge("journal_queue_events", "Events that wait for the journal.", backlog.queued_events)
        yield _gauge(
            "journal_queue_characters", "Characters of text that wait for the journal.", backlog.queued_characters
        )
        if (shared := self._sources.shared) is not None:
            yield _gauge("people_elsewhere", "People on the other servers.", hub.other_nodes.remote_count)
            yield _gauge("lease_seconds", "Time until the others count this server as dead.", shared.lease_seconds)
            yield _gauge("tail_seconds", "Time since the lines of the others were read.", shared.tail_seconds)
        if hub.uploads is not None:
            used = hub.uploads.archive.used_bytes
            yield _gauge("files_bytes", "Size of all shared files, as --files-total counts it.", used)
            yield _gauge("uploads", "Uploads that are announced or have begun.", len(hub.uploads.slots))
        rejections = CounterMetricFamily("broadcast_refusals", "Rejections, by kind.", labels=["kind"])
        for kind, count in hub.rejections.items():
            rejections.add_metric([kind.value], count)
        rejections.add_metric(["not_kept"], commits.failed_events)
        yield rejections
        yield _histogram("reactor_delay_seconds", "Delay until the reactor handles an input.", self._delays)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"broadcast_{name}", description, value)


def _counter(name: str, description: str, value: float) -> Metric:
    return CounterMetricFamily(f"broadcast_{name}", description, value)


def _histogram(name: str, description: str, histogram: Histogram) -> Metric:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(f"broadcast_{name}", description, buckets, histogram.sum)


class LoopLagSampler:
    """A regular measurement of the reactor's delay, from a thread of its own.

    The thread hands a function to *call_soon* and measures, with the monotonic clock *now*, the time until it runs. An
    input that arrives at that moment waits as long: for the rest of the current turn, and for the calls before it. Long
    turns are sampled more often than short ones, because they also delay more inputs. A measurement in the reactor's
    own thread would cost time in each turn.

    There is one sample at a time, so a reactor that hangs for a minute adds one sample of a minute to *delays*.
    """

    def __init__(self, call_soon: CallSoon, now: Callable[[], float], delays: Histogram) -> None:
        self._call_soon = call_soon
        self._now = now
        self._delays = delays
        self._stopped = Event()
        self._pending = False

    def start(self) -> None:
        """Start the thread. Call this after twistd has forked."""
        Thread(target=self._run, name="metrics sampler", daemon=True).start()

    def stop(self) -> None:
        """Take no further samples."""
        self._stopped.set()

    def sample(self) -> None:
        """Take a sample, unless the last one is still pending."""
        if not self._pending:
            self._pending = True
            self._call_soon(partial(self._record, self._now()))

    def _record(self, started: float) -> None:
        self._delays.add(self._now() - started)
        self._pending = False

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self.sample()


def health_problem(connections: Connections, journal: Journal) -> str:
    """Return the reason why the server is not healthy, as one line, or an empty string if it is."""
    if connections.stopping:
        return "the server is going down" if connections.last_line.startswith(GOING_DOWN) else "the server starts anew"
    error = journal.commit_stats.last_error
    return f"nothing is kept: {error}" if error else ""


class _MetricsText:
    """The metrics of the server and its process as text. All requests within ``MAX_AGE_SECONDS`` share one text."""

    _log = Logger()

    def __init__(self, collector: MetricsCollector, run_in_thread: RunInThread, now: Callable[[], float]) -> None:
        self._server_metrics = CollectorRegistry(auto_describe=False)
        self._server_metrics.register(collector)
        # Process metrics are read in a thread: they list the open files in /proc, one for each connection.
        self._process_metrics = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process_metrics)
        self._run_in_thread = run_in_thread
        self._now = now
        self._read_at = -inf
        self._text = b""
        self._waiting: list[Callable[[bytes], None]] = []

    def request(self, on_text: Callable[[bytes], None]) -> None:
        """Call *on_text* with the text, at once or when it has been read."""
        is_being_read = bool(self._waiting)
        if not is_being_read and self._now() - self._read_at < MAX_AGE_SECONDS:
            on_text(self._text)
            return
        self._waiting.append(on_text)
        if not is_being_read:
            self._read()

    def _read(self) -> None:
        self._read_at = self._now()
        server_metrics = generate_latest(self._server_metrics)

        def log_failure(failure: object) -> bytes:
            self._log.warn("Cannot read the process metrics: {failure}", failure=failure)
            return b""

        def finish(process_metrics: bytes) -> None:
            self._text = server_metrics + process_metrics
            waiting, self._waiting = self._waiting, []
            for on_text in waiting:
                on_text(self._text)

        metrics = self._run_in_thread(partial(generate_latest, self._process_metrics))
        metrics.addErrback(log_failure).addCallback(finish)


class _Pages(Resource):
    """The pages ``/metrics``, for the server and its process, and ``/healthz``: 200 and ``ok``, or 503 and a reason.

    ``/metrics?rooms=1``, with the text *with_rooms*, also names the largest rooms. Requests above
    ``REQUESTS_PER_SECOND`` wait, in the order of their arrival.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(
        self,
        metrics: _MetricsText,
        with_rooms: _MetricsText,
        health_problem: Callable[[], str],
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        super().__init__()
        self._metrics = metrics
        self._with_rooms = with_rooms
        self._health_problem = health_problem
        self._clock = clock
        self._now = now
        self._limiter = RateLimiter(REQUESTS_PER_SECOND, REQUESTS_PER_SECOND)
        self._waiting: OrderedDict[Request, None] = OrderedDict()
        """Requests that have no answer yet. Clients that disconnect are removed, and so cost no part of the rate."""
        self._timer: IDelayedCall | None = None
        self._answering = False
        """True while requests are answered. The end of an answer can bring the next request of the same client."""

    def render(self, request: Request) -> int:
        """Answer *request*, or let it wait for its turn."""
        self._waiting[request] = None
        request.notifyFinish().addBoth(lambda _result: self._waiting.pop(request, None))
        if self._timer is None and not self._answering:
            self._answer_waiting()
        return NOT_DONE_YET

    def _answer_waiting(self) -> None:
        self._timer = None
        self._answering = True
        try:
            while self._waiting and self._timer is None:
                if wait := self._limiter.delay(self._now()):
                    self._timer = self._clock.callLater(wait, self._answer_waiting)
                else:
                    self._limiter.consume(self._now())
                    self._answer(self._waiting.popitem(last=False)[0])
        finally:
            self._answering = False

    def _answer(self, request: Request) -> None:
        """Answer *request*, also for unknown paths, for which Twisted's resources would answer in HTML."""
        if request.method not in {b"GET", b"HEAD"}:
            request.setHeader(b"allow", b"GET, HEAD")
            _answer(request, 405, b"Only GET and HEAD are allowed.\n")
        elif request.path == b"/metrics":
            self._answer_metrics(request)
        elif request.path == b"/healthz":
            problem = self._health_problem()
            _answer(request, 503 if problem else 200, f"{problem or 'ok'}\n".encode())
        else:
            _answer(request, 404, b"There are /metrics and /healthz.\n")

    def _answer_metrics(self, request: Request) -> None:
        disconnected: list[object] = []
        request.notifyFinish().addErrback(disconnected.append)

        def answer(text: bytes) -> None:
            if not disconnected:
                _answer(request, 200, text, CONTENT_TYPE_PLAIN_0_0_4)

        (self._with_rooms if b"rooms" in (request.args or {}) else self._metrics).request(answer)


def _answer(request: Request, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
    request.setResponseCode(status)
    request.setHeader(b"content-type", content_type.encode())
    request.setHeader(b"content-length", str(len(body)).encode())
    request.write(body)  # without effect for HEAD
    request.finish()


class _Request(Request):
    """A request whose body is dropped instead of stored in memory or on disk."""

    def gotLength(self, length: int | None) -> None:  # noqa: ARG002, N802 - Twisted's
        """Create no temporary file for a body of *length* bytes."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Drop *data*."""


class _Site(Site):
    """The site with the two pages. Requests are not logged."""

    noisy = False
    requestFactory = _Request  # noqa: N815

    def log(self, request: object) -> None:
        """Log nothing."""


class _ConnectionCap(WrappingFactory):
    """A limit on open connections. A further one aborts the oldest, because a request takes only milliseconds."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper | None:  # type: ignore[override]  # as Twisted's limits do
        """Reject connections above twice the limit: Twisted accepts many in one turn, before aborted ones are gone."""
        return super().buildProtocol(addr) if len(self.protocols) < 2 * MAX_CONNECTIONS else None

    def registerProtocol(self, p: ProtocolWrapper) -> None:  # noqa: N802
        """Add *p*, and abort the oldest connections above the limit."""
        super().registerProtocol(p)
        for oldest in list(self.protocols)[:-MAX_CONNECTIONS]:
            oldest.abortConnection()  # in the next turn; a second call has no effect


class MetricsListener:
    """*listener*, which the log describes as the address of the metrics."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen for *factory*."""
        return self._listener.listen(factory)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """Return the URLs for *ports*, with a warning if they are public."""
        hint = ": everybody who can reach this machine can read them." if is_public(ports) else "."
        return f"Metrics on {' and '.join(_metrics_url(port.getHost()) for port in ports)}{hint}"


def _metrics_url(host: object) -> str:
    match host:
        case IPv4Address(host=name, port=port):
            return f"http://{name}:{port}/metrics"
        case IPv6Address(host=name, port=port):
            return f"http://[{name}]:{port}/metrics"
        case _:
            return format_address(host)


class Monitor:
    """The site with the metrics of *sources* at *listener*, from the start of the server to its end."""

    def __init__(
        self,
        listener: Listener,
        sources: Sources,
        clock: IReactorTime,
        call_soon: CallSoon,
        run_in_thread: RunInThread,
        now: Callable[[], float],
    ) -> None:
        delays = Histogram(DELAY_SECONDS)
        problem = partial(health_problem, sources.connections, sources.journal)
        text, with_rooms = (
            _MetricsText(MetricsCollector(sources, delays, now, names_rooms=names_rooms), run_in_thread, now)
            for names_rooms in (False, True)
        )
        pages = _Pages(text, with_rooms, problem, clock, now)
        self.listener: Listener = MetricsListener(listener)
        self.factory: IProtocolFactory = _ConnectionCap(_Site(pages, parsePOSTFormSubmission=False, reactor=clock))
        self._sampler = LoopLagSampler(call_soon, now, delays)

    def start(self) -> None:
        """Start sampling the reactor's delay."""
        self._sampler.start()

    def stop(self) -> None:
        """Stop sampling the reactor's delay."""
        self._sampler.stop()
