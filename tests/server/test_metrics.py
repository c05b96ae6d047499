"""The metrics and the health page show the state of the server, and requests do not disturb clients."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

import broadcast
from broadcast import __version__
from broadcast.core.hub import GO_ELSEWHERE, GOING_DOWN
from broadcast.core.stats import Histogram, Rejection
from broadcast.net.endpoints import Listener
from broadcast.server import metrics
from broadcast.server.fresh_start import LAST_LINE
from broadcast.server.lifecycle import Monitor as IsMonitor
from broadcast.server.metrics import LoopLagSampler, MetricsListener, Monitor, SharedJournal, Sources
from tests.files import StoredFile, archive_of, open_slot, take_files
from tests.harness import DirectWorld, logged

DOCS = Path(broadcast.__file__).parents[1] / "docs" / "metrics.rst"
_conforms: type[IsMonitor] = Monitor


class FakePort:
    """A port on *host*."""

    def __init__(self, host: object) -> None:
        self.host = host

    def getHost(self) -> object:
        return self.host


class FakeListener:
    """A listener without ports."""

    def listen(self, factory: IProtocolFactory) -> Deferred[list[IListeningPort]]:
        return succeed([])

    def describe(self, ports: object) -> str:
        return "Listening: people can talk here."


class Watched:
    """A server in memory and its monitor."""

    def __init__(self, shared: SharedJournal | None = None) -> None:
        self.world = DirectWorld()
        self.now = 100.0
        self.run_in_thread: Callable[[Callable[[], bytes]], Deferred[bytes]] = lambda work: succeed(work())
        """Runs work that must not run on the reactor's thread."""
        self.monitor = Monitor(
            cast(Listener, FakeListener()),
            Sources(self.world.connections, self.world.hub, self.world.dispatcher, self.world.journal, shared),
            self.world.clock,
            self.world._soon.append,
            self._run_in_thread,
            lambda: self.now,
        )

    def _run_in_thread(self, work: Callable[[], bytes]) -> Deferred[bytes]:
        return self.run_in_thread(work)

    def connect(self) -> tuple[Protocol, StringTransport]:
        """Connect an HTTP client."""
        protocol = cast(Protocol, self.monitor.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40001)))
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, path: str, method: str = "GET", rest: bytes = b"") -> tuple[int, dict[str, str], str]:
        """Send a request and return the status, the headers and the body of the answer."""
        protocol, transport = self.connect()
        protocol.dataReceived(f"{method} {path} HTTP/1.0\r\n".encode() + rest + b"\r\n" * (not rest))
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        status, *headers = head.split("\r\n")
        return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in headers), body

    def metrics(self, page: str = "/metrics") -> dict[str, float]:
        """Return every metric by its name and labels, a second later."""
        self.now += metrics.MAX_AGE_SECONDS
        status, headers, body = self.ask(page)
        assert status == 200
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {
            sample.name.removeprefix("broadcast_")
            + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }


@pytest.fixture
def watched() -> Watched:
    """A server without clients."""
    return Watched()


def test_metrics_show_the_counters_of_the_parts(watched: Watched) -> None:
    world = watched.world
    ann, bob, _carol = world.join("ann", "bob", "carol")
    world.connect()
    world.connections.resumed_count = 1
    before = watched.metrics()
    assert before["resumed_total"] == 1
    bob.transport.takes = False
    ann.say("one", "/me two", "three", "/nonsense")
    bob.say("/msg zoe hi")
    watched.now += 58
    now = watched.metrics()
    assert {name: now[name] for name in ("people", "connections", "sessions_total", "uptime_seconds", "keeping")} == {
        "people": 3,
        "connections": 4,
        "sessions_total": 4,
        "uptime_seconds": 60,
        "keeping": 1,
    }
    totals = [name for name in now if "_total" in name and not name.startswith("process_")]
    grown = {name: now[name] - before[name] for name in totals if now[name] != before[name]}
    assert grown.pop("sent_bytes_total") >= len("ann: one\r\nann: three\r\n")
    assert grown == {
        "lines_received_total": 5,
        "lines_told_total": 3,
        "deliveries_total": 3,
        "refusals_total kind=command": 2,
    }
    assert now["readers_lagging"] == 1
    assert now["lines_told_total"] == 3


def test_ten_largest_rooms_are_named_on_request(watched: Watched) -> None:
    people = watched.world.join(*(f"p{number}" for number in range(15)))
    for number, person in enumerate(people[2:]):
        person.say(f"/join room{number % 12}")
    assert watched.metrics()["rooms"] == 13
    assert not [name for name in watched.metrics() if name.startswith("room_people")]
    named = {
        name: value for name, value in watched.metrics("/metrics?rooms=1").items() if name.startswith("room_people")
    }
    assert len(named) == 10
    assert named["room_people room=lobby"] == 2
    assert watched.metrics("/metrics?rooms=1")["rooms"] == 13


def test_every_kind_of_rejection_is_shown_from_the_start(watched: Watched) -> None:
    watched.world.connect().say("<b>x</b>", "ann", '/a"b', "/\u00e9")
    kinds = {name for name in watched.metrics() if name.startswith("refusals_total")}
    assert kinds == {f"refusals_total kind={kind}" for kind in [*(kind.value for kind in Rejection), "not_kept"]}


def test_metrics_show_no_text_of_clients(watched: Watched) -> None:
    (ann,) = watched.world.join("zanzibar")
    ann.say("zanzibar", "/zanzibar", "/nick zanzibar2", "/quit zanzibar")
    assert "zanzibar" not in watched.ask("/metrics")[2]


def test_metrics_show_commits_and_failures(watched: Watched) -> None:
    stats = watched.world.journal.commit_stats
    for seconds in (0.0004, 0.004, 0.0045, 30.0):
        stats.record_success(seconds)
    stats.record_failure("the disk is full", 7)
    now = watched.metrics()
    assert now["commit_seconds_count"] == now["commit_seconds_bucket le=+Inf"] == 4
    assert now["commit_seconds_sum"] == pytest.approx(30.0089)
    assert [now[f"commit_seconds_bucket le={bound}"] for bound in ("0.0005", "0.002", "0.005", "2.0")] == [1, 1, 3, 3]
    assert (now["keeping"], now["commit_failures_total"], now["refusals_total kind=not_kept"]) == (0, 1, 7)


def test_metrics_show_the_journal_queue(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    (ann,) = watched.world.join("ann")
    monkeypatch.setattr(watched.world.room._log, "append", lambda _event: None)
    ann.say("hello", "world!")
    now = watched.metrics()
    assert (now["journal_queue_events"], now["journal_queue_characters"]) == (2, 11)


def test_metrics_show_shared_files_only_if_the_server_takes_files(watched: Watched) -> None:
    assert not watched.metrics().keys() & {"files_bytes", "uploads"}
    (ann,) = watched.world.join("ann")
    uploads = take_files(watched.world)
    archive_of(watched.world).files["id"] = StoredFile("somebody", 1234)
    open_slot(uploads, ann.protocol.session.member, watched.world.room)
    now = watched.metrics()
    assert (now["files_bytes"], now["uploads"]) == (1234, 1)


class FakeShared:
    """A journal that other servers use."""

    lease_seconds = 8.5
    tail_seconds = 0.25


def test_metrics_show_the_state_among_other_servers_only_if_there_can_be_some(watched: Watched) -> None:
    names = {"people_elsewhere", "lease_seconds", "tail_seconds"}
    assert not watched.metrics().keys() & names
    now = Watched(FakeShared()).metrics()
    assert {name: now[name] for name in names} == {"people_elsewhere": 0, "lease_seconds": 8.5, "tail_seconds": 0.25}


def test_metrics_show_the_version(watched: Watched) -> None:
    (info,) = [name for name in watched.metrics() if name.startswith("info ")]
    assert f" version={__version__}" in info


def test_documentation_lists_exactly_the_metrics_with_their_types() -> None:
    watched = Watched(FakeShared())
    take_files(watched.world)
    shown = {
        (name, kind)
        for name, kind in re.findall(r"^# TYPE (broadcast_\w+) (\w+)$", watched.ask("/metrics")[2], re.MULTILINE)
    }
    explained = set(
        re.findall(
            r"^``(broadcast_\w+)``(?:\s+\{kind\})?\s+(gauge|counter|histogram)", DOCS.read_text("utf-8"), re.MULTILINE
        )
    )
    assert explained == shown


def test_process_metrics_are_read_in_another_thread(watched: Watched) -> None:
    works: list[Callable[[], bytes]] = []
    done: Deferred[bytes] = Deferred()

    def run_in_thread(work: Callable[[], bytes]) -> Deferred[bytes]:
        works.append(work)
        return done

    watched.run_in_thread = run_in_thread
    protocol, transport = watched.connect()
    protocol.dataReceived(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert transport.value() == b""
    done.callback(works[0]())
    body = transport.value()
    assert b"broadcast_people 0.0\n" in body
    if Path("/proc/self/stat").exists():
        assert b"process_open_fds " in body


def test_client_that_disconnects_early_causes_no_error(watched: Watched) -> None:
    done: Deferred[bytes] = Deferred()
    watched.run_in_thread = lambda _work: done
    protocol, transport = watched.connect()
    with logged():
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        protocol.connectionLost(Failure(ConnectionDone()))
        done.callback(b"late 1\n")
    assert transport.value() == b""


def test_other_metrics_are_shown_without_process_metrics(watched: Watched) -> None:
    def run_in_thread(_work: Callable[[], bytes]) -> Deferred[bytes]:
        failed: Deferred[bytes] = Deferred()
        failed.errback(OSError("too many open files"))
        return failed

    watched.run_in_thread = run_in_thread
    with capturedLogs() as events:
        assert watched.metrics()["people"] == 0
    assert [event["log_level"].name for event in events] == ["warn"]


def test_requests_within_a_second_get_the_same_text(watched: Watched) -> None:
    first = watched.ask("/metrics")
    watched.world.join("ann")
    watched.now += 0.9
    assert watched.ask("/metrics")[2] == first[2]
    watched.now += 0.2
    assert "broadcast_people 1.0" in watched.ask("/metrics")[2]


def test_requests_at_the_same_time_share_one_reading(watched: Watched) -> None:
    works: list[Callable[[], bytes]] = []
    done: Deferred[bytes] = Deferred()

    def run_in_thread(work: Callable[[], bytes]) -> Deferred[bytes]:
        works.append(work)
        return done

    watched.run_in_thread = run_in_thread
    transports = []
    for _ in range(3):
        protocol, transport = watched.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.0\r\n\r\n")
        transports.append(transport)
        watched.now += 2  # the process metrics take longer than a second
    assert len(works) == 1
    done.callback(b"process 1\n")
    assert all(transport.value().endswith(b"process 1\n") for transport in transports)


# Health


def test_health_follows_the_last_commit(watched: Watched) -> None:
    stats = watched.world.journal.commit_stats
    well = (200, "ok\n")
    asked = [watched.ask("/healthz")]
    stats.record_failure("the disk is full", 1)
    asked.append(watched.ask("/healthz"))
    stats.record_success(0.1)
    asked.append(watched.ask("/healthz"))
    assert [(status, body) for status, _, body in asked] == [
        well, (503, "nothing is kept: the disk is full\n"), well
    ]  # fmt: skip
    assert {headers["content-type"] for _, headers, _ in asked} == {"text/plain; charset=utf-8"}


@pytest.mark.parametrize(
    ("last_line", "problem"),
    [
        (GOING_DOWN, "the server is going down"),
        (GO_ELSEWHERE, "the server is going down"),
        (LAST_LINE, "the server starts anew"),
    ],
)
def test_server_that_ends_all_visits_is_not_healthy(watched: Watched, last_line: str, problem: str) -> None:
    watched.world.connections.drain(last_line)
    status, _, body = watched.ask("/healthz")
    assert (status, body) == (503, f"{problem}\n")


# The pages


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_pages_allow_only_get_and_head(watched: Watched, path: str) -> None:
    asked = watched.ask(path)
    looked = watched.ask(path, "HEAD")
    assert (looked[0], looked[1]["content-type"], looked[2]) == (200, asked[1]["content-type"], "")
    assert [watched.ask(path, method)[0] for method in ("POST", "PUT", "DELETE", "NONSENSE")] == [405] * 4
    assert watched.ask(f"{path}/x")[0] == 404


def test_other_paths_are_not_found(watched: Watched) -> None:
    assert [watched.ask(path)[0] for path in ("/", "/x", "/metricsx", "//metrics")] == [404] * 4


def test_request_body_is_not_stored(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol, transport = watched.connect()
    monkeypatch.setattr("tempfile.TemporaryFile", None)
    protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
    for _ in range(100):
        protocol.dataReceived(b"x" * 100_000)
    assert transport.value().endswith(b"ok\n")


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\xff" * 70000]
)
def test_malformed_request_causes_no_error(watched: Watched, data: bytes) -> None:
    protocol, _ = watched.connect()
    with logged():
        protocol.dataReceived(data)
        protocol.connectionLost(Failure(ConnectionDone()))


def test_requests_are_not_logged(watched: Watched) -> None:
    with capturedLogs() as events:
        watched.monitor.factory.doStart()
        watched.ask("/metrics")
        watched.ask("/nowhere")
        watched.monitor.factory.doStop()
    assert events == []


def test_oldest_connection_is_closed_above_the_limit(watched: Watched) -> None:
    """Idle HTTP connections must not use up the descriptors of clients, nor block other requests."""
    people = [watched.connect() for _ in range(metrics.MAX_CONNECTIONS)]
    before = [transport.disconnected for _protocol, transport in people]
    assert watched.ask("/healthz")[0] == 200
    assert not any(before)
    assert [transport.disconnected for _protocol, transport in people] == [True] + [False] * (len(people) - 1)
    people[0][0].connectionLost(Failure(ConnectionDone()))
    watched.connect()
    assert [transport.disconnected for _protocol, transport in people[1:]] == [True] + [False] * (len(people) - 2)


def test_connections_far_above_the_limit_are_rejected_at_once(watched: Watched) -> None:
    """Within one reactor turn, no closed connection has released its descriptor yet."""
    for _ in range(2 * metrics.MAX_CONNECTIONS):
        watched.connect()
    assert watched.monitor.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40001)) is None


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nowhere"])
def test_requests_above_the_rate_wait_in_order(watched: Watched, path: str) -> None:
    protocol, transport = watched.connect()
    protocol.dataReceived(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 1000)
    other, waiting = watched.connect()
    other.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    gone, _ = watched.connect()
    gone.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    gone.connectionLost(Failure(ConnectionDone()))

    def answers(transport: StringTransport) -> int:
        return len(transport.value().split(b"HTTP/1.1 ")) - 1

    assert (answers(transport), answers(waiting)) == (metrics.REQUESTS_PER_SECOND, 0)
    for passed, expected in ((1, (1, 0)), (1, (1, 1)), (3, (4, 1))):
        watched.now += passed / metrics.REQUESTS_PER_SECOND
        watched.world.clock.advance(passed / metrics.REQUESTS_PER_SECOND)
        assert (answers(transport) - metrics.REQUESTS_PER_SECOND, answers(waiting)) == expected


# The log line


@pytest.mark.parametrize(
    ("hosts", "line"),
    [
        ([IPv4Address("TCP", "127.0.0.1", 9464)], "Metrics on http://127.0.0.1:9464/metrics."),
        (
            [IPv6Address("TCP", "::", 9464)],
            "Metrics on http://[::]:9464/metrics: everybody who can reach this machine can read them.",
        ),
        ([UNIXAddress(b"metrics.sock")], "Metrics on metrics.sock."),
    ],
)
def test_log_shows_the_address_and_who_can_reach_it(hosts: list[object], line: str) -> None:
    listener = MetricsListener(cast(Listener, FakeListener()))
    ports = [cast(IListeningPort, FakePort(host)) for host in hosts]
    assert listener.describe(ports) == line
    assert listener.listen(Factory()).called


# The delay of the reactor


def test_sample_measures_the_delay_and_only_one_is_pending() -> None:
    calls: list[Callable[[], None]] = []
    now = 0.0
    delays = Histogram((0.1, 1.0))
    sampler = LoopLagSampler(calls.append, lambda: now, delays)
    sampler.sample()
    now = 0.5
    sampler.sample()
    calls.pop()()
    assert calls == []
    assert (delays.counts, delays.sum) == ([0, 1, 0], 0.5)
    sampler.sample()
    calls.pop()()
    assert delays.counts == [1, 1, 0]


def test_samples_are_taken_from_start_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SAMPLE_SECONDS", 0.001)
    calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
    delays = Histogram((1.0,))
    sampler = LoopLagSampler(calls.put, lambda: 0.0, delays)
    sampler.start()
    for _ in range(3):
        calls.get(timeout=60)()
    sampler.stop()
    assert delays.counts == [3, 0]


def test_metrics_show_the_samples(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SAMPLE_SECONDS", 3600.0)
    watched.monitor.start()
    watched.monitor._sampler.sample()
    watched.now += 0.015
    watched.world.settle()
    now = watched.metrics()
    assert (now["reactor_delay_seconds_bucket le=0.01"], now["reactor_delay_seconds_bucket le=0.02"]) == (0, 1)
    watched.monitor.stop()
