"""The life cycle of the server process: a start that leaves nothing half open, and a stop that loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol, TypeAlias

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from broadcast.core.errors import JournalError, StartupError
from broadcast.core.hub import GO_ELSEWHERE, GOING_DOWN
from broadcast.net.endpoints import close_now
from broadcast.server.fresh_start import log_if_rejected
from broadcast.server.visits import DRAIN_SECONDS, Visits, with_timeout

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime

    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Journal
    from broadcast.core.time_slice import CallSoon
    from broadcast.net.connections import Connections
    from broadcast.net.endpoints import Listener
    from broadcast.net.keepalive import DeadPeerDetector
    from broadcast.server.certificate_keeper import CertificateKeeper
    from broadcast.server.fresh_start import FreshStart
    from broadcast.server.logging import ProcessLog
    from broadcast.server.sd_notify import SdNotifier

STOP_SECONDS: Final = 10.0
"""Maximum duration of a stop, whatever the clients and the journal do."""
JOURNAL_SECONDS: Final = 1.0
"""Last part of ``STOP_SECONDS``, for the journal."""

GiveUp: TypeAlias = Callable[[str], NoReturn]
"""Ends the process before the reactor runs, with one line that gives the reason."""


@dataclass(frozen=True, slots=True)
class ProcessContext:
    """The services of the process that a server runs in."""

    give_up: GiveUp
    clock: IReactorTime
    """The reactor's clock, which is monotonic."""
    call_soon: CallSoon
    """Runs a function in a later turn of the reactor; any thread may call it."""
    terminate: Callable[[], None]
    """Ends the process while the reactor runs, with a non-zero exit status."""
    notifier: SdNotifier
    filter_shutdown_signals: Callable[[], None]
    """Makes the second shutdown signal harmless. Called once the reactor runs and has installed its handlers."""
    limit_gc_pauses: Callable[[], None]
    """Shortens the pauses of the garbage collector. Called after twistd has forked."""
    handle_signals: Callable[[], None] = lambda: None
    """Installs the handlers of all other signals. Called once twistd has forked."""
    log: ProcessLog | None = None
    """The log; None for one of twistd."""


class Monitor(Protocol):
    """A source of metrics with a listener of its own, which closes last."""

    @property
    def listener(self) -> Listener:
        """Where to listen."""

    @property
    def factory(self) -> IProtocolFactory:
        """The factory for the connections of that listener."""

    def start(self) -> None:
        """Start measuring. The reactor is about to run, and twistd has forked."""

    def stop(self) -> None:
        """Stop measuring."""


class AdminDoor(Protocol):
    """The place at which the administrator changes accounts."""

    def start(self) -> None:
        """Begin to listen. The journal is open. Does not raise."""

    def stop(self) -> None:
        """Stop listening, and close all connections."""


class FolderLock(Protocol):
    """The lock on the folder of this server's own files."""

    def acquire(self) -> None:
        """Lock the folder, which is created if need be. Raises ``JournalError``."""

    def release(self) -> None:
        """Release the lock if it is held."""


class FileArchive(Protocol):
    """The files that people have shared."""

    def start(self) -> None:
        """Read what there is. The journal is open, and its folder locked. May block. Raises ``StartupError``."""

    def close(self) -> None:
        """Stop all work on the files."""


class SharedJournal(Protocol):
    """A journal that other servers can also use."""

    @property
    def has_other_nodes(self) -> bool:
        """Whether another server uses it now, as far as this one knows."""

    def retire(self, on_retired: Callable[[], None]) -> None:
        """Store all queued events, then give the nicknames and sessions of this server to the others.

        Does not block. Call *on_retired* in a later turn. Nothing is stored after that.
        """


class Entrance(NamedTuple):
    """One place at which clients connect."""

    listener: Listener
    factory: IProtocolFactory
    """The factory of the door that the connections are for."""
    prepare: Callable[[IListeningPort], object] = lambda _port: None
    """Called with each port of the listener before the port accepts connections."""


class Server(Service):
    """The service that twistd runs. It logs *storage_note*, one line about where messages are stored, at the start.

    *folder* is the lock on the folder of its files, if the journal does not lock this folder itself. *shared* is the
    journal, if other servers can also use it.
    """

    _log = Logger()

    def __init__(  # noqa: PLR0913 - the parts of a server
        self,
        journal: Journal,
        hub: Hub,
        connections: Connections,
        entrances: Sequence[Entrance],
        storage_note: str,
        context: ProcessContext,
        dead_peers: DeadPeerDetector,
        *,
        monitor: Monitor | None = None,
        admin: AdminDoor | None = None,
        certificate: CertificateKeeper | None = None,
        files: FileArchive | None = None,
        folder: FolderLock | None = None,
        fresh_start: FreshStart | None = None,
        shared: SharedJournal | None = None,
    ) -> None:
        self._journal = journal
        self._hub = hub
        self._connections = connections
        self._entrances = entrances
        self._storage_note = storage_note
        self._context = context
        self._monitor = monitor
        self._admin = admin
        self._certificate = certificate
        self._files = files
        self._folder = folder
        self._fresh_start = fresh_start
        self._shared = shared
        self._dead_peers = dead_peers
        self._visits = Visits(hub, connections, context.clock)
        self._ports: list[IListeningPort] = []
        self._monitor_ports: list[IListeningPort] = []
        self._listen_lines: list[str] = []
        self._listen_error: str | None = None
        self._attempts: list[Deferred[None]] = []

    # Start

    def setServiceParent(self, parent: Any) -> None:  # noqa: ANN401, N802 - Twisted's
        """Become a part of *parent*, and give it the log observer if it is twistd's application.

        twistd looks for an observer in its application right after this call, then writes the lines that it has held
        back until then. An observer that is added later would miss these lines, and would run beside twistd's own.
        ``makeService`` cannot add one because it does not see the application.
        """
        if self._context.log is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._context.log.observer)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Bind the ports while twistd still has the privileges for low port numbers.

        No connection is accepted before the journal is open, because the reactor does not run yet. Until then, clients
        wait in the kernel's queue.
        """
        self._context.handle_signals()
        if self._context.log is not None:
            self._context.log.writer.start()
        for entrance in self._entrances:
            self._listen(entrance, self._ports)
        if self._monitor is not None:
            self._listen(Entrance(self._monitor.listener, self._monitor.factory), self._monitor_ports)

    def startService(self) -> None:
        """Open the journal, as the user that the server runs as, because this user must own the files."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            if self._folder is not None:
                self._folder.acquire()
            self._hub.open(log_if_rejected)
            if self._certificate is not None:
                self._certificate.start()
            if self._files is not None:
                self._files.start()
        except (JournalError, StartupError) as error:
            self._give_up(str(error))
        for line in self._listen_lines:
            self._log.info("{line}", line=line)
        self._log.info("{line}", line=self._storage_note)
        if self._context.log is not None:
            # The command that starts a daemon returns now. The log must show by then what the daemon did.
            self._context.log.writer.wait()
        self._context.limit_gc_pauses()
        self._dead_peers.start()
        if self._monitor is not None:
            self._monitor.start()
        if self._admin is not None:
            self._admin.start()
        # The reactor does not run yet. Both calls wait for it: a server that reports to be ready must answer.
        self._context.call_soon(self._context.filter_shutdown_signals)
        DeferredList(self._attempts).addCallback(lambda _all: self._context.call_soon(self._report_ready))

    def _report_ready(self) -> None:
        """Tell the service manager that the server is ready, unless a port could not be opened or it stops already."""
        if self._listen_error is None and self.running:
            self._context.notifier.ready(lambda: f"{len(self._connections)} connected.")

    def _listen(self, entrance: Entrance, opened: list[IListeningPort]) -> None:
        """Listen at *entrance*, now or, with some endpoints, later. The ports are added to *opened*."""
        attempt = entrance.listener.listen(entrance.factory).addCallback(self._add_ports, entrance, opened)
        attempt.addErrback(self._handle_listen_error)
        if self._listen_error is not None:
            self._give_up(self._listen_error)
        self._attempts.append(attempt)

    def _add_ports(self, ports: Sequence[IListeningPort], entrance: Entrance, opened: list[IListeningPort]) -> None:
        opened += ports
        for port in ports:
            entrance.prepare(port)
        line = entrance.listener.describe(ports)
        if self.running:
            self._log.info("{line}", line=line)
        else:
            self._listen_lines.append(line)

    def _handle_listen_error(self, failure: Failure) -> None:
        self._listen_error = str(failure.value)
        if self.running:
            self._log.critical("{line}", line=self._listen_error)
            self._context.terminate()

    def _give_up(self, line: str) -> NoReturn:
        close_now(self._ports + self._monitor_ports)
        self._context.give_up(line)

    # Stop

    def stopService(self) -> Deferred[None]:
        """Notify all clients, and store and deliver all input received. The result fires at the end of ``_stop``."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        deadline = self._context.clock.seconds() + STOP_SECONDS
        self._dead_peers.stop()
        if self._certificate is not None:
            self._certificate.stop()
        line = f"Going down: {len(self._connections)} connected."
        self._log.info("{line}", line=line)
        self._context.notifier.stopping(line)
        for attempt in self._attempts:
            attempt.cancel()  # has no effect on attempts that have finished
        closed = [maybeDeferred(port.stopListening) for port in self._ports]
        await with_timeout(self._context.clock, DRAIN_SECONDS, DeferredList(closed, consumeErrors=True))
        if self._fresh_start is not None:
            await self._fresh_start.stop()
        shared = self._shared
        text = GO_ELSEWHERE if shared is not None and shared.has_other_nodes else GOING_DOWN
        await self._visits.end_all(deadline - JOURNAL_SECONDS, text, None if shared is None else shared.retire)
        if self._files is not None:
            self._files.close()
        if self._admin is not None:
            self._admin.stop()  # while this process holds the lock: after that, the socket may be another server's
        left = max(0.0, deadline - self._context.clock.seconds())
        if not await with_timeout(self._context.clock, left, self._close_journal()):
            self._log.error("The journal did not close in time. Messages that it had not stored reached nobody.")
        if self._folder is not None:
            self._folder.release()
        if self._monitor is not None:
            self._monitor.stop()
        await DeferredList([maybeDeferred(port.stopListening) for port in self._monitor_ports], consumeErrors=True)

    def _close_journal(self) -> Deferred[None]:
        """Close the journal in a daemon thread, and return a Deferred that fires at its end.

        The reactor waits for the threads of its own pool when it stops. A daemon thread that hangs does not prevent the
        end of the process.
        """
        closed: Deferred[None] = Deferred()

        def close() -> None:
            try:
                self._journal.close()
            finally:
                self._context.call_soon(partial(closed.callback, None))

        Thread(target=close, name="journal closer", daemon=True).start()
        return closed
