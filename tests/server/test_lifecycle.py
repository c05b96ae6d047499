"""The server starts and stops its parts in order and within its time limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Event as ThreadEvent
from time import monotonic, sleep
from typing import IO, NoReturn, cast

import pytest
from twisted.application.service import Application, IService, MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher, textFileLogObserver
from twisted.python.failure import Failure

from broadcast.core.errors import JournalError, StartupError
from broadcast.core.events import Event
from broadcast.core.interfaces import OpenedRoom
from broadcast.core.settings import Settings
from broadcast.journals.memory import MemoryJournal, MemoryRoomLog
from broadcast.net.keepalive import DeadPeerDetector
from broadcast.net.tcp_info import KeepalivePolicy, read_tcp_info
from broadcast.server.lifecycle import (
    JOURNAL_SECONDS,
    STOP_SECONDS,
    Entrance,
    Monitor,
    ProcessContext,
    Server,
)
from broadcast.server.log_writer import LogWriter
from broadcast.server.logging import ProcessLog
from broadcast.server.sd_notify import SdNotifier
from broadcast.server.visits import LINGER_SECONDS, RETIRE_SECONDS
from tests.harness import World

TIMEOUT = 60
"""Seconds after which a test gives up waiting for a thread."""
DOWN = " * The server is going down."


class GaveUpError(Exception):
    """Raised where the process would end."""


class FakePort:
    """A port that listens until it is stopped."""

    def __init__(self) -> None:
        self.open: bool = True

    def stopListening(self) -> None:  # noqa: N802 -- Twisted's name
        self.open = False


class FakeListener:
    """A listener that succeeds or fails when the test says so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = FakePort()
        self.factory: IProtocolFactory | None = None
        self.listening: Deferred[Sequence[IListeningPort]] = Deferred()

    def succeed(self) -> FakeListener:
        """Let it listen. May be called before ``listen``."""
        self.listening.callback([cast(IListeningPort, self.port)])
        return self

    def fail(self) -> FakeListener:
        """Let it fail."""
        self.listening.errback(Failure(StartupError(f"{self.name} is in use")))  # type: ignore[no-untyped-call]
        return self

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        self.factory = factory
        return self.listening

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        return f"Listening on {self.name}."


class FakeMonitor:
    """A monitor that records whether it runs."""

    def __init__(self) -> None:
        self.listener = FakeListener("the monitor")
        self.factory: IProtocolFactory = Factory()
        self.measures = False

    def start(self) -> None:
        self.measures = True

    def stop(self) -> None:
        self.measures = False


class TestedJournal(MemoryJournal):
    """A journal that records what happens to it, and fails or hangs when the test says so."""

    __test__ = False
    open_error = room_error = ""
    opened = closed = stuck = False
    may_close = ThreadEvent()

    def open(self, name: str, tail: int) -> OpenedRoom:
        self.opened = True
        if self.open_error:
            raise JournalError(self.open_error)
        return super().open(name, tail)

    def open_room(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        self.add_step(lambda: on_result(JournalError(self.room_error) if self.room_error else self.open(name, tail)))

    def append(self, log: MemoryRoomLog, event: Event) -> None:
        if not self.stuck:
            super().append(log, event)

    def close(self) -> None:
        assert self.may_close.wait(TIMEOUT)
        super().close()
        self.closed = True


class FakeSharedJournal:
    """A journal that other servers can also use. It retires when the test says so."""

    def __init__(self, *, has_other_nodes: bool = True) -> None:
        self.has_other_nodes = has_other_nodes
        self.retiring: list[Callable[[], None]] = []

    def retire(self, on_retired: Callable[[], None]) -> None:
        self.retiring.append(on_retired)


class RecordingNotifier(SdNotifier):
    """A notifier that records its notifications."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.status: Callable[[], str] = str

    def ready(self, status: Callable[[], str]) -> None:
        self.sent.append("ready")
        self.status = status

    def stopping(self, status: str) -> None:
        self.sent.append(status)


class Running:
    """A server on fake ports. The time limits of its stop have their own clock."""

    def __init__(
        self,
        *listeners: FakeListener,
        monitor: FakeMonitor | None = None,
        log: ProcessLog | None = None,
        settings: Settings | None = None,
        shared: FakeSharedJournal | None = None,
    ) -> None:
        self.world = World(settings, journal=TestedJournal)
        self.journal = cast(TestedJournal, self.world.journal)
        self.journal.opened = False
        self.journal.may_close = ThreadEvent()
        self.journal.may_close.set()
        self.clock = Clock()
        self.terminated = 0
        self.gave_up: list[str] = []
        self.manager = RecordingNotifier()
        self.signals: list[str] = []
        self.collector: list[str] = []
        self.probe_clock = Clock()
        context = ProcessContext(
            self._give_up,
            self.clock,
            self.world._soon.append,
            self._terminate,
            self.manager,
            lambda: self.signals.append("installed"),
            lambda: self.collector.append("limited"),
            log=log,
        )
        detector = DeadPeerDetector(
            self.world.connections,
            KeepalivePolicy(60, 150),
            read_tcp_info,
            self.probe_clock,
            self.world._soon.append,
        )
        self.prepared: list[IListeningPort] = []
        entrances = [Entrance(listener, self.world.factory, self.prepared.append) for listener in listeners]
        self.server = Server(
            self.journal,
            self.world.hub,
            self.world.connections,
            entrances,
            "Nothing is kept.",
            context,
            detector,
            monitor=monitor,
            shared=shared,
        )
        self.stopped: list[None] = []

    def start(self) -> None:
        """Start as twistd does."""
        self.server.privilegedStartService()
        self.server.startService()

    def stop(self) -> None:
        """Start to stop as twistd does."""
        self.server.stopService().addCallback(self.stopped.append)
        self.world.settle()

    def settle(self) -> None:
        """Run the reactor and the threads until the server has stopped."""
        until = monotonic() + TIMEOUT
        while not self.stopped:
            assert monotonic() < until
            self.world.settle()
            sleep(0.001)

    def advance(self, seconds: float) -> None:
        """Advance the clock of the stop."""
        self.clock.advance(seconds)
        self.world.settle()

    def _give_up(self, line: str) -> NoReturn:
        self.gave_up.append(line)
        raise GaveUpError

    def _terminate(self) -> None:
        self.terminated += 1


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines that this package logs."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("broadcast."):
            lines.append(formatEvent(event))

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)


def test_start_listens_before_it_opens_the_journal_and_logs_both(logged: list[str]) -> None:
    running = Running(FakeListener("here").succeed(), FakeListener("there").succeed())
    running.server.privilegedStartService()
    opened_before, logged_before = running.journal.opened, list(logged)
    running.server.startService()
    assert (opened_before, running.journal.opened) == (False, True)
    assert logged_before == []
    assert logged == ["Listening on here.", "Listening on there.", "Nothing is kept."]


def test_dead_peer_detector_runs_from_start_to_stop() -> None:
    running = Running(FakeListener("here").succeed())
    running.server.privilegedStartService()
    timers = [len(running.probe_clock.getDelayedCalls())]
    running.server.startService()
    timers.append(len(running.probe_clock.getDelayedCalls()))
    running.stop()
    assert [*timers, len(running.probe_clock.getDelayedCalls())] == [0, 1, 0]
    running.settle()


def test_port_in_use_ends_the_start_before_the_journal_is_opened(logged: list[str]) -> None:
    running = Running(FakeListener("here").succeed(), FakeListener("there").fail())
    with pytest.raises(GaveUpError):
        running.start()
    assert running.gave_up == ["there is in use"]
    assert not running.journal.opened
    assert logged == []


def test_journal_that_cannot_be_opened_ends_the_start(logged: list[str]) -> None:
    running = Running(FakeListener("here").succeed())
    running.journal.open_error = "another server has it open"
    with pytest.raises(GaveUpError):
        running.start()
    assert running.gave_up == ["another server has it open"]
    assert logged == []


def test_fixed_room_that_cannot_be_opened_is_logged(logged: list[str]) -> None:
    running = Running(settings=Settings(fixed_rooms=("kitchen",)))
    running.journal.room_error = "it lacks some of its lines"
    running.start()
    running.world.settle()
    assert logged == ["Nothing is kept.", "The room kitchen cannot be opened: it lacks some of its lines."]
    running.journal.room_error = ""
    (ann,) = running.world.join_sessions("ann")
    ann.say("/join kitchen")
    assert ann.session.room.name == "kitchen"


def test_slow_port_is_logged_when_it_listens(logged: list[str]) -> None:
    listener = FakeListener("slow")
    running = Running(listener)
    running.start()
    assert logged == ["Nothing is kept."]
    assert running.prepared == []
    listener.succeed()
    assert logged[1:] == ["Listening on slow."]
    assert running.prepared == [cast(IListeningPort, listener.port)]
    running.stop()
    running.settle()
    assert not listener.port.open


def test_port_that_fails_late_terminates_the_process(logged: list[str]) -> None:
    listener = FakeListener("slow")
    running = Running(listener)
    running.start()
    listener.fail()
    assert logged[-1] == "slow is in use"
    assert running.terminated == 1


def test_slow_port_does_not_disturb_the_stop() -> None:
    running = Running(FakeListener("slow"))
    running.start()
    running.stop()
    running.settle()
    assert running.terminated == 0


def test_server_is_ready_once_all_ports_listen_and_the_reactor_runs() -> None:
    slow = FakeListener("slow")
    running = Running(FakeListener("here").succeed(), slow)
    running.start()
    assert running.signals == []
    running.world.settle()
    assert (running.signals, running.manager.sent) == (["installed"], [])
    slow.succeed()
    assert running.manager.sent == []
    running.world.settle()
    assert running.manager.sent == ["ready"]
    running.world.join("ann", "bob")
    assert running.manager.status() == "2 connected."


@pytest.mark.parametrize("listens", [True, False, None], ids=["listens", "fails", "neither"])
def test_server_without_a_port_or_already_stopping_is_never_ready(listens: bool | None) -> None:
    listener = FakeListener("late")
    running = Running(listener)
    running.start()
    running.world.settle()
    if listens:
        listener.succeed()  # the report is for the next turn, in which the server stops already
    elif listens is False:
        listener.fail()
        running.world.settle()
    running.stop()
    running.settle()
    assert running.manager.sent == ["Going down: 0 connected."]


def test_stop_notifies_all_clients_with_and_without_a_nickname(logged: list[str]) -> None:
    listener = FakeListener("here").succeed()
    running = Running(listener)
    running.start()
    ann, bob = running.world.join("ann", "bob")
    stranger = running.world.connect()
    stranger.read()
    running.stop()
    assert not listener.port.open
    assert "Going down: 3 connected." in logged
    for person in (ann, bob, stranger):
        assert person.lines()[-1] == DOWN
        assert person.transport.finished
        assert not running.stopped
        person.vanish(clean=True)
    running.settle()
    assert running.journal.closed


def test_stop_delivers_earlier_messages_first() -> None:
    running = Running()
    running.start()
    ann, bob = running.world.join("ann", "bob")
    bob.read()
    ann.protocol.dataReceived(b"one\r\ntwo\r\n")
    running.stop()
    assert bob.lines() == ["ann: one", "ann: two", DOWN]


@pytest.mark.parametrize(
    ("has_other_nodes", "line"),
    [(False, DOWN), (True, " * The server is going down. Connect again to reach another one.")],
)
def test_stop_of_one_of_several_servers_asks_to_connect_again(has_other_nodes: bool, line: str) -> None:
    shared = FakeSharedJournal(has_other_nodes=has_other_nodes)
    running = Running(shared=shared)
    running.start()
    (ann,), newcomer = running.world.join("ann"), running.world.connect()
    running.stop()
    shared.retiring.pop()()
    for person in (ann, newcomer):
        assert person.lines()[-1].endswith(line)
        person.hang_up()
    running.settle()


@pytest.mark.parametrize("in_time", [True, False])
def test_connections_close_once_other_servers_can_have_the_nicknames(in_time: bool) -> None:
    shared = FakeSharedJournal(has_other_nodes=False)
    running = Running(shared=shared)
    running.start()
    (ann,) = running.world.join("ann")
    running.stop()
    assert ann.lines() == [DOWN]
    assert not bool(ann.transport.finished)
    if in_time:
        (on_retired,) = shared.retiring
        on_retired()
    else:
        running.advance(RETIRE_SECONDS)
    assert ann.transport.finished
    ann.hang_up()
    running.settle()


def test_stop_without_clients_does_not_wait() -> None:
    running = Running(FakeListener("here").succeed())
    running.start()
    running.stop()
    running.settle()
    assert running.clock.seconds() == 0
    assert running.clock.getDelayedCalls() == []


def test_stop_closes_clients_that_do_not_close_within_the_linger_time() -> None:
    running = Running()
    running.start()
    (ann,) = running.world.join("ann")
    running.stop()
    running.advance(LINGER_SECONDS - 0.1)
    assert (ann.transport.finished, ann.transport.closed) == (True, False)
    running.advance(0.1)
    assert (ann.transport.closed, ann.transport.aborted) == (True, False)
    ann.vanish(clean=True)
    running.settle()


def test_stop_aborts_clients_that_do_not_read_before_the_journal_closes(logged: list[str]) -> None:
    running = Running()
    running.start()
    (ann,) = running.world.join("ann")
    ann.transport.takes = False
    running.stop()
    running.advance(LINGER_SECONDS)
    running.advance(STOP_SECONDS - JOURNAL_SECONDS - LINGER_SECONDS - 0.1)
    assert (ann.transport.closed, ann.transport.aborted) == (True, False)
    running.advance(0.1)
    assert (ann.transport.closed, ann.transport.aborted) == (True, True)
    assert logged[-1] == "Aborting connections that have not received everything: 1."
    ann.vanish()
    running.settle()
    assert running.journal.closed


def test_stuck_journal_does_not_delay_the_notice_or_the_stop() -> None:
    running = Running()
    running.start()
    (ann,) = running.world.join("ann")
    running.journal.stuck = True
    running.stop()
    assert ann.lines() == []
    running.advance(STOP_SECONDS - JOURNAL_SECONDS - LINGER_SECONDS)
    assert ann.lines() == [DOWN]
    running.advance(LINGER_SECONDS)
    running.advance(0)
    running.advance(JOURNAL_SECONDS / 2)
    running.settle()


def test_journal_that_does_not_close_does_not_delay_the_stop(logged: list[str]) -> None:
    running = Running()
    running.start()
    running.journal.may_close.clear()
    running.stop()
    running.advance(STOP_SECONDS)
    assert running.stopped
    assert logged[-1] == "The journal did not close in time. Messages that it had not stored reached nobody."
    running.journal.may_close.set()


# The monitor


_monitor: type[Monitor] = FakeMonitor


def test_monitor_has_its_own_listener_and_runs_from_the_start(logged: list[str]) -> None:
    here, monitor = FakeListener("here").succeed(), FakeMonitor()
    monitor.listener.succeed()
    running = Running(here, monitor=monitor)
    running.server.privilegedStartService()
    before = monitor.measures
    running.server.startService()
    assert (before, monitor.measures) == (False, True)
    assert (here.factory, monitor.listener.factory) == (running.world.factory, monitor.factory)
    assert logged == ["Listening on here.", "Listening on the monitor.", "Nothing is kept."]


def test_monitor_is_closed_last() -> None:
    here, monitor = FakeListener("here").succeed(), FakeMonitor()
    monitor.listener.succeed()
    running = Running(here, monitor=monitor)
    running.start()
    (ann,) = running.world.join("ann")
    running.stop()
    assert (here.port.open, monitor.listener.port.open, monitor.measures) == (False, True, True)
    ann.vanish(clean=True)
    running.settle()
    assert running.journal.closed
    assert (monitor.listener.port.open, monitor.measures) == (False, False)


def test_monitor_that_cannot_listen_ends_the_start() -> None:
    monitor = FakeMonitor()
    monitor.listener.fail()
    running = Running(FakeListener("here").succeed(), monitor=monitor)
    with pytest.raises(GaveUpError):
        running.start()
    assert running.gave_up == ["the monitor is in use"]
    assert not monitor.measures


# The log


class FakeOutput:
    """A destination of the log that keeps what is written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def reopen(self) -> None:
        """Do nothing."""

    def rotate(self) -> None:
        """Do nothing."""


def process_log(output: FakeOutput) -> ProcessLog:
    writer = LogWriter(output)
    return ProcessLog(textFileLogObserver(cast(IO[str], writer)), writer)


def test_application_takes_its_log_observer_from_the_server() -> None:
    for log in (process_log(FakeOutput()), None):
        application = Application("x")  # type: ignore[no-untyped-call]
        server = Running(log=log).server
        server.setServiceParent(application)
        assert application.getComponent(ILogObserver, None) is (log and log.observer)
        assert list(cast(MultiService, IService(application))) == [server]


def test_server_can_be_part_of_another_service() -> None:
    services = MultiService()  # type: ignore[no-untyped-call]
    server = Running(log=process_log(FakeOutput())).server
    server.setServiceParent(services)
    assert list(services) == [server]


def test_log_is_written_before_the_start_is_complete() -> None:
    output = FakeOutput()
    log = process_log(output)
    globalLogPublisher.addObserver(log.observer)
    try:
        Running(FakeListener("here").succeed(), log=log).start()
    finally:
        globalLogPublisher.removeObserver(log.observer)
    assert output.written.endswith(b"Nothing is kept.\n")
