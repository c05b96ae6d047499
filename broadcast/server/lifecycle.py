"""The running server: it starts in an order that leaves nothing half open, and stops in one that loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeAlias, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from broadcast.core.errors import JournalError
from broadcast.core.events import ServerNotice
from broadcast.core.hub import GOING_DOWN, Hub
from broadcast.net.endpoints import Listener, close_now

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime

    from broadcast.core.interfaces import Journal
    from broadcast.doors.line.protocol import BroadcastFactory, BroadcastProtocol
    from broadcast.net.keepalive import DeadPeerDetector
    from broadcast.net.writers import StreamTransport
    from broadcast.server.sd_notify import SdNotifier

STOP_SECONDS: Final = 10.0
"""The end comes at most so long after the signal, whatever anybody does (HARDENING)."""
DRAIN_SECONDS: Final = 3.0
"""Of these, for what has come in and was not worked on yet."""
KEEP_SECONDS: Final = 1.0
"""Of these, at the end, for the journal alone."""
LINGER_SECONDS: Final = 1.0
"""How long those who were told of the end may take to close their side; nearly all do so at once."""

GiveUp: TypeAlias = Callable[[str], NoReturn]
"""Ends the process, before the reactor runs, with one line that says why."""


@dataclass(frozen=True, slots=True)
class ProcessContext:
    """What a server needs from the process that it runs in."""

    give_up: GiveUp
    clock: IReactorTime
    """The reactor's; no step of the wall clock changes its seconds."""
    terminate: Callable[[], None]
    """Ends the process while the reactor runs, with an exit status that is not 0."""
    notifier: SdNotifier
    take_signals: Callable[[], None]
    """Makes one signal enough to end the process, and further ones harmless; called once the reactor runs."""
    log: ILogObserver | None = None
    """Where the log goes; None: where twistd sends it."""


class Monitor(Protocol):
    """Shows what goes on, at a place of its own that is the last to close."""

    @property
    def listener(self) -> Listener:
        """Where to listen."""

    @property
    def factory(self) -> IProtocolFactory:
        """What to do there."""

    def start(self) -> None:
        """The reactor is about to run; twistd has forked."""

    def stop(self) -> None:
        """Nothing is left to show."""


class Server(Service):
    """Listens at *places*; *keeps* says, as one line for the log, what becomes of what is said."""

    _log = Logger()

    def __init__(
        self,
        journal: Journal,
        factory: BroadcastFactory,
        listeners: Sequence[Listener],
        storage_note: str,
        context: ProcessContext,
        dead_peers: DeadPeerDetector,
        monitor: Monitor | None = None,
    ) -> None:
        self._journal = journal
        self._factory = factory
        self._hub: Hub = factory.hub
        self._listeners = listeners
        self._storage_note = storage_note
        self._context = context
        self._monitor = monitor
        self._dead_peers = dead_peers
        self._ports: list[IListeningPort] = []
        self._monitor_ports: list[IListeningPort] = []
        self._lines: list[str] = []
        self._listen_error: str | None = None
        self._attempts: list[Deferred[None]] = []
        self._stopping = False

    # The start

    def setServiceParent(self, parent: Any) -> None:  # noqa: ANN401, N802 - Twisted's
        """Become a part of twistd's application *parent*.

        It takes its log from the application, if that has one, and reads that right after this call: so twistd's own
        first lines go there too, which it has held back until then. ``makeService`` does not see the application, and
        an observer that is added later misses them, beside the one that twistd has chosen.
        """
        if self._context.log is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._context.log)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Bind the ports, while twistd still has the rights for low numbers.

        Nobody is let in before the journal is open: the reactor does not run yet, and the system lets people wait.
        """
        for place in self._listeners:
            self._open(place, self._factory, self._ports)
        if self._monitor is not None:
            self._open(self._monitor.listener, self._monitor.factory, self._monitor_ports)

    def startService(self) -> None:
        """Open the journal, as the user that the server will run as: files in its folder shall be theirs."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._hub.open()
        except JournalError as error:
            self._give_up(str(error))
        for line in self._lines:
            self._log.info("{line}", line=line)
        self._log.info("{line}", line=self._storage_note)
        self._dead_peers.start()
        if self._monitor is not None:
            self._monitor.start()
        # Not now: what is said to be ready shall answer, and the reactor does not run yet.
        self._factory.call_soon(self._context.take_signals)
        DeferredList(self._attempts).addCallback(lambda _all: self._factory.call_soon(self._ready))

    def _ready(self) -> None:
        """Every port listens, or one never will."""
        if self._listen_error is None and not self._stopping:
            self._context.notifier.ready(lambda: f"{len(self._factory.connections)} connected.")

    def _open(self, place: Listener, factory: IProtocolFactory, opened: list[IListeningPort]) -> None:
        listening = place.listen(factory).addCallback(self._listens, place, opened)
        listening.addErrback(self._does_not_listen)
        if self._listen_error is not None:
            self._give_up(self._listen_error)
        self._attempts.append(listening)

    def _listens(self, ports: Sequence[IListeningPort], place: Listener, opened: list[IListeningPort]) -> None:
        opened += ports
        line = place.describe(ports)
        if self.running:
            self._log.info("{line}", line=line)
        else:
            self._lines.append(line)

    def _does_not_listen(self, failure: Failure) -> None:
        if self._stopping:
            return
        self._listen_error = str(failure.value)
        if self.running:
            self._log.critical("{line}", line=self._listen_error)
            self._context.terminate()

    def _give_up(self, line: str) -> NoReturn:
        close_now(self._ports + self._monitor_ports)
        self._context.give_up(line)

    # The end

    def stopService(self) -> Deferred[None]:
        """Tell everybody, keep and deliver what was taken in; fires when all that is done, or the time is over."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        end = self._context.clock.seconds() + STOP_SECONDS
        self._stopping = True
        self._dead_peers.stop()
        line = f"Going down: {len(self._factory.connections)} connected."
        self._log.info("{line}", line=line)
        self._context.notifier.stopping(line)
        for listening in self._attempts:
            listening.cancel()  # does nothing to those that have come to something
        closed = [maybeDeferred(port.stopListening) for port in self._ports]
        await self._with_timeout(DRAIN_SECONDS, DeferredList(closed, consumeErrors=True))
        await self._with_timeout(DRAIN_SECONDS, self._factory.drain())
        told: Deferred[None] = Deferred()
        self._hub.close(partial(told.callback, None))
        if not await self._before(end - KEEP_SECONDS - LINGER_SECONDS, told):
            # The journal is stuck, and with it all that is told to the room.
            for connection in self._factory.connections:
                if connection.session.nick:
                    connection.session.peer.send(ServerNotice(GOING_DOWN))
        await self._disconnect(end - KEEP_SECONDS)
        if not await self._before(end, self._in_thread(self._journal.close)):
            self._log.error("The journal did not close in time; what it had not kept, nobody has read.")
        if self._monitor is not None:
            self._monitor.stop()
        await DeferredList([maybeDeferred(port.stopListening) for port in self._monitor_ports], consumeErrors=True)

    async def _disconnect(self, end: float) -> None:
        """Close all connections, the slowest at the time *end*."""
        connections = self._factory.connections
        gone = self._factory.disconnect()
        if await self._with_timeout(LINGER_SECONDS, gone):
            return
        # Some programs keep their side open for as long as their user likes. Those who have been sent everything are
        # closed now, and the system delivers what it still holds for them. loseConnection waits for the others.
        for connection in list(connections):
            _transport(connection).loseConnection()
        if await self._before(end, gone):
            return
        self._log.warn("Cutting off those who have not read everything: {count}.", count=len(connections))
        for connection in list(connections):
            _transport(connection).abortConnection()
        await self._with_timeout(KEEP_SECONDS / 2, gone)

    async def _before(self, end: float, event: Deferred[Any]) -> bool:
        """Wait for *event* until the time *end*; whether it came."""
        return await self._with_timeout(max(0.0, end - self._context.clock.seconds()), event)

    def _with_timeout(self, seconds: float, event: Deferred[Any]) -> Deferred[bool]:
        """Fires with whether *event* came within *seconds*."""
        came: Deferred[bool] = Deferred()

        def expire() -> None:
            if not came.called:
                came.callback(False)

        def arrive(_result: object) -> None:
            if not came.called:
                expiry.cancel()
                came.callback(True)

        expiry = self._context.clock.callLater(seconds, expire)
        event.addBoth(arrive)
        return came

    def _in_thread(self, work: Callable[[], None]) -> Deferred[None]:
        """Fires when *work* is done, in a thread that does not hold the process if it never is.

        (The reactor's own pool would: it is waited for when the reactor stops.)
        """
        done: Deferred[None] = Deferred()

        def run() -> None:
            try:
                work()
            finally:
                self._factory.call_soon(partial(done.callback, None))

        Thread(target=run, name="journal closer", daemon=True).start()
        return done


def _transport(connection: BroadcastProtocol) -> StreamTransport:
    return cast("StreamTransport", connection.transport)
