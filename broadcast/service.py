"""The twistd service: the only place where the parts of the server are connected."""

from __future__ import annotations

import atexit
import os
import random
import re
import secrets
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from socket import gethostname
from time import monotonic, thread_time, time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

from twisted.internet.tcp import Port
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from broadcast import __version__
from broadcast.accounts.hashing import Hasher
from broadcast.core.accounts import Accounts, Authenticator
from broadcast.core.errors import StartupError
from broadcast.core.events import ServerNotice
from broadcast.core.hub import Hub
from broadcast.core.interfaces import View
from broadcast.core.limits import SERVER_FULL
from broadcast.core.sanitize import sanitize
from broadcast.core.settings import Settings
from broadcast.core.slots import MemorySlots, Slots, UploadClock
from broadcast.core.stats import CommitStats
from broadcast.core.uploads import Uploads
from broadcast.delivery.dispatcher import Dispatcher
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.doors.jsonrpc.protocol import DoorContext, take_over
from broadcast.doors.jsonrpc.sessions import Sessions
from broadcast.doors.line.protocol import BroadcastFactory
from broadcast.files.contents import FOLDER as FILES_FOLDER
from broadcast.files.store import THREADS as FILE_THREADS
from broadcast.files.store import FileStore
from broadcast.journals.memory import MemoryJournal
from broadcast.journals.sqlite.data_dir import DirectoryLock
from broadcast.journals.sqlite.journal import SqliteJournal
from broadcast.net.accept_pacing import AcceptPacer
from broadcast.net.connections import Connections
from broadcast.net.endpoints import parse_listener
from broadcast.net.fd_reserve import install_fd_reserve
from broadcast.net.handshake_pacing import HandshakePacer
from broadcast.net.keepalive import DeadPeerDetector
from broadcast.net.tcp_info import KeepalivePolicy, read_tcp_info
from broadcast.net.tls import INTERNAL_ERROR_ALERT, NO_TLS, TlsListener
from broadcast.net.unix_sockets import UNIX_FAMILY
from broadcast.net.writers import writer_for
from broadcast.server.admin_socket import AdminPort, AdminSocket
from broadcast.server.administration import Administration
from broadcast.server.capacity import install_reactor, most_connections, raise_file_limit
from broadcast.server.config import Config
from broadcast.server.fresh_start import FreshStart
from broadcast.server.gc_pauses import GcPauseLimiter
from broadcast.server.lifecycle import STOP_SECONDS, Entrance, ProcessContext, Server
from broadcast.server.logging import ProcessLog, open_log
from broadcast.server.options import Options
from broadcast.server.reactor import call_last, shorten_turns, use_monotonic_clock
from broadcast.server.reload import Reloader
from broadcast.server.sd_notify import SdNotifier
from broadcast.server.signals import ControlSignals, ShutdownSignalFilter
from broadcast.server.startup import format_for_stderr, give_up, keep_stderr
from broadcast.server.visits import Visits
from broadcast.threads import WorkerThreads

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort, IReactorTime

    from broadcast.core.directory import Directory
    from broadcast.core.interfaces import Journal
    from broadcast.core.time_slice import CallSoon
    from broadcast.doors.web.door import WebDoor
    from broadcast.journals.postgres.database import Database
    from broadcast.journals.postgres.journal import PostgresJournal
    from broadcast.net.endpoints import Listener
    from broadcast.net.writers import StreamTransport, Writer
    from broadcast.server.certificate_keeper import CertificateKeeper
    from broadcast.server.lifecycle import Monitor

TOKEN_BYTES: Final = 16
"""Number of random bytes in the secret that resumes a session."""
_log = Logger()


def makeService(options: Options) -> Server:
    """Create the server that *options* describe."""
    install_reactor()
    from twisted.internet import reactor as installed  # noqa: PLC0415 - importing it would install Twisted's default

    # No interface has all methods of a reactor.
    reactor = cast(Any, installed)
    use_monotonic_clock(reactor, time, monotonic)
    shorten_turns(reactor)
    call_soon: CallSoon = reactor.callFromThread
    config = options.config
    twistd: Mapping[str, Any] = options.parent or {}
    for line in config.warnings:
        _log.warn("{line}", line=line)
    try:
        storage = _make_storage(config, call_soon)
        journal, storage_note = storage.journal, storage.note
        highest = most_connections(config.limits.connections, raise_file_limit(), reactor)
        limits = replace(config.limits, connections=highest)
        if limits.lines_per_second == inf:
            storage_note += " The limits on people and addresses are off."
        settings = Settings(
            name=config.name,
            version=__version__,
            motd=config.motd,
            replay=config.replay,
            unicode_nicknames=config.unicode_nicknames,
            lobby=config.lobby,
            fixed_rooms=config.fixed_rooms,
            accounts=config.accounts,
            account_days=config.account_days,
            passwords=config.passwords,
            topics=config.topics,
            limits=limits,
        )
        dispatcher = Dispatcher(call_last(reactor), monotonic, limits.private_queue_bytes)

        def make_fanout() -> Fanout:
            return Fanout(dispatcher, ReplayBuffer(limits.replay_events, limits.replay_bytes))

        first_session = secrets.randbits(31) << 32  # no other process has the same ids; SQLite stores 63 bits
        authenticator = _make_authenticator(config, journal, reactor)
        hub = Hub(
            journal, make_fanout, settings, time(), authenticator, reactor.callLater, first_session, storage.directory
        )
        connections = Connections(limits, reactor, hub.check_address)
        make_writer = partial(writer_for, reactor, linger=limits.linger_seconds)
        factory = BroadcastFactory(hub, connections, reactor, call_soon, time, make_writer)
        encode_notice = factory.encoder_for(View()).encode
        sessions = Sessions(
            hub,
            reactor,
            call_soon,
            time,
            partial(secrets.token_urlsafe, TOKEN_BYTES),
            connections.limiter,
            factory.visit_log,
        )
        programs = DoorContext(sessions, connections, random.random, encode_notice)
        factory.hand_over = partial(take_over, programs)
        certificate = _make_certificate(config, reactor) if config.tls or config.web_tls else None
        web = _make_web_door(config, programs, hub, reactor, make_writer) if config.web or config.web_tls else None
        if web is not None and config.oidc is not None:
            _offer_login(config.oidc, web, hub)
        entrances = _make_entrances(config, reactor, connections, hub, factory, web, certificate)
        files = None if web is None else _make_file_store(config, web, hub, reactor, storage.directory)
        monitor = None
        if config.metrics is not None:
            monitor = _make_monitor(reactor, config.metrics, connections, hub, dispatcher, storage)
        log = open_log(twistd, config.log_format) if twistd else None
    except StartupError as error:
        raise SystemExit(format_for_stderr(str(error))) from error
    context = _make_context(reactor, twistd, config, hub, connections, log, certificate)
    # twistd stops the service before this phase of the shutdown, so all visits have ended.
    reactor.addSystemEventTrigger("during", "shutdown", factory.visit_log.flush)
    # A journal in a file locks its folder itself.
    folder = None if config.database is None or config.data is None else DirectoryLock(config.data.absolute())
    policy = KeepalivePolicy(config.probe, config.gone)
    dead_peers = DeadPeerDetector(connections, policy, read_tcp_info, reactor, call_last(reactor))
    administration = Administration(authenticator, journal.records, time, lambda: hub.require_uploads().archive, hub)
    return Server(
        journal,
        hub,
        connections,
        entrances,
        storage_note,
        context,
        dead_peers,
        monitor=monitor,
        certificate=certificate,
        files=files,
        folder=folder,
        fresh_start=_make_fresh_start(storage.shared, hub, connections, sessions, context),
        shared=storage.shared,
        admin=_make_admin_socket(reactor, config.data, administration),
    )


def _make_entrances(
    config: Config,
    reactor: Any,  # noqa: ANN401 - as in makeService
    connections: Connections,
    hub: Hub,
    factory: BroadcastFactory,
    web: WebDoor | None,
    certificate: CertificateKeeper | None,
) -> list[Entrance]:
    """Return all places at which clients connect. Raises ``StartupError``."""
    limiter = connections.limiter
    pacer = AcceptPacer(reactor, thread_time, lambda: hub.backlog.message_count)
    handshake_pacer = HandshakePacer(reactor, thread_time, pacer.is_talking)
    prepare = partial(_prepare_port, pacer, reactor)

    def listen(port: str, option: str) -> Listener:
        return parse_listener(reactor, port, config.interface, option, limiter)

    def listen_with_tls(port: str, option: str, no_tls: bytes) -> Listener:
        assert certificate is not None
        return TlsListener(listen(port, option), certificate.get_context, reactor, limiter, handshake_pacer, no_tls)

    full = partial(prepare, factory.encoder_for(View()).encode(ServerNotice(SERVER_FULL)))
    alert = partial(prepare, INTERNAL_ERROR_ALERT)

    def prepare_lines(port: IListeningPort) -> None:
        full(port)
        if web is not None:
            web.add_line_port(port)

    entrances = [Entrance(listen(port, "--port"), factory, prepare_lines) for port in config.ports]
    entrances += [Entrance(listen_with_tls(port, "--tls", NO_TLS), factory, alert) for port in config.tls]
    if web is not None:
        tls_pages = [
            Entrance(web.serve_at(listen_with_tls(port, "--web-tls", web.no_tls), "https"), web.factory, alert)
            for port in config.web_tls
        ]
        web_full = partial(prepare, web.full)
        pages = [Entrance(web.serve_at(listen(port, "--web"), "http"), web.factory, web_full) for port in config.web]
        # Links to files have the address of the first. Programs like curl refuse a self-signed certificate. Slots of
        # programs over TLS have that of the first with TLS.
        entrances += tls_pages + pages if config.cert else pages + tls_pages
    return entrances


def _prepare_port(pacer: AcceptPacer, reactor: IReactorTime, last_words: bytes, port: IListeningPort) -> None:
    """Let *port* accept at the pace of *pacer*, and send *last_words* to clients without a free file descriptor."""
    if isinstance(port, Port):
        install_fd_reserve(port, last_words, reactor)
        pacer.install(port)
    elif hasattr(port, "handleAccept"):  # a port of the reactor IOCP, whose classes exist on Windows only
        pacer.install_iocp(port)
    # Ports of other packages keep their own ways.


def _make_fresh_start(
    journal: PostgresJournal | None, hub: Hub, connections: Connections, sessions: Sessions, context: ProcessContext
) -> FreshStart | None:
    """Return the new start of a server that others with the same *journal* have removed; None if there are none."""
    if journal is None:
        return None
    visits = Visits(hub, connections, context.clock)
    fresh_start = FreshStart(journal, hub, connections, visits, sessions.forget_all, context.clock, context.terminate)
    journal.on_lost = fresh_start.begin
    return fresh_start


def _make_admin_socket(
    reactor: Any,  # noqa: ANN401 - as in makeService
    directory: Path | None,
    administration: Administration,
) -> AdminSocket | None:
    """Return the admin socket in *directory*, or what the system has in its place. Return None without a directory."""
    if directory is None:
        return None
    admin_class = AdminPort if UNIX_FAMILY is None else AdminSocket
    return admin_class(directory, administration, reactor)


class _Storage(NamedTuple):
    """Where the server stores messages."""

    journal: Journal
    note: str
    """A line for the log about it."""
    directory: Directory | None = None
    """The people of the other servers with the same journal, if there can be some."""
    shared: PostgresJournal | None = None
    """The journal, if there can be other servers."""


def _make_storage(config: Config, call_soon: CallSoon) -> _Storage:
    """Return the journal and what belongs to it. Raises ``StartupError``."""
    stats = CommitStats(monotonic, lambda error: call_soon(partial(_log_storage_change, error)))
    if config.database is not None:
        return _make_shared_storage(config, call_soon, stats)
    if config.data is None:
        note = "Nothing is kept (--ephemeral): what is said is gone when the server stops."
        return _Storage(MemoryJournal(call_soon), note)
    journal = SqliteJournal(config.data, call_soon, stats, _log_missing_lines)
    return _Storage(journal, f"What is said is kept in {sanitize(str(config.data))}.")


def _make_shared_storage(config: Config, call_soon: CallSoon, stats: CommitStats) -> _Storage:
    """Return the journal in the PostgreSQL database. Raises ``StartupError``."""
    database = _make_database(config)
    from broadcast.journals.postgres.journal import PostgresJournal  # noqa: PLC0415 - optional

    kept = f"What is said is kept in {sanitize(database.description)}."
    note = f"{kept} The name of this server there is {database.node}."
    journal = PostgresJournal(database, call_soon, stats, _log_risk)
    return _Storage(journal, note, journal.make_directory(unicode=config.unicode_nicknames), journal)


def _make_database(config: Config) -> Database:
    """Return the PostgreSQL database that *config* names. Raises ``StartupError``."""
    install = _pip_install("psycopg[binary]")
    advice = f"--journal postgresql: needs psycopg: run pip install '.[postgres]' in the checkout, or {install}"
    with _optional("psycopg", "", advice=advice):  # the error has no name if there is no libpq
        from broadcast.journals.postgres.database import Database  # noqa: PLC0415 - optional
    number = re.search(r"(?:^|\btcp6?:)(\d+)", config.ports[0])
    node = config.node or sanitize(f"{gethostname()}:{number[1] if number else config.ports[0]}")
    database = Database(config.database or "", config.schema, node)
    if problem := database.find_problem():
        raise StartupError(f"--journal is not a URL that PostgreSQL understands: {problem}.")
    return database


@contextmanager
def _optional(*modules: str, advice: str) -> Iterator[None]:
    """Raise ``StartupError`` with *advice* if one of *modules*, which an import in the context needs, is missing."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in modules:
            raise
        raise StartupError(advice) from error


def _pip_install(*packages: str) -> str:
    """Return the command that installs *packages* for the Python that runs the server."""
    return shlex.join([sys.executable, "-m", "pip", "install", *packages])


def _make_monitor(
    reactor: Any,  # noqa: ANN401 - as in makeService
    port: str,
    connections: Connections,
    hub: Hub,
    dispatcher: Dispatcher,
    storage: _Storage,
) -> Monitor:
    """Return the monitor that serves metrics at *port*; raises ``StartupError``."""
    advice = f"--metrics needs prometheus_client: {_pip_install('prometheus_client')}"
    with _optional("prometheus_client", advice=advice):
        from broadcast.server import metrics  # noqa: PLC0415 - slow to import, and its dependency is optional
    listener = parse_listener(reactor, port, "127.0.0.1", "--metrics")
    sources = metrics.Sources(connections, hub, dispatcher, storage.journal, storage.shared)

    def run_in_thread(work: Callable[[], bytes]) -> Deferred[bytes]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    return metrics.Monitor(listener, sources, reactor, reactor.callFromThread, run_in_thread, monotonic)


def _make_web_door(
    config: Config,
    programs: DoorContext,
    hub: Hub,
    reactor: Any,  # noqa: ANN401 - as in makeService
    make_writer: Callable[[StreamTransport], Writer],
) -> WebDoor:
    """Return the door for the web page. Raises ``StartupError``."""
    install = _pip_install("h11", "websockets")
    advice = f"--web needs h11 and websockets: run pip install '.[web]' in the checkout, or {install}"
    with _optional("h11", "websockets", advice=advice):
        from broadcast.doors.web.door import WebDoor, WebSettings  # noqa: PLC0415 - optional, as above
    settings = WebSettings(config.web_path, config.web_url, config.web_origins, config.trusted_proxies, config.web_hsts)
    return WebDoor(programs, hub, reactor, reactor.callFromThread, time, make_writer, settings, gethostname())


def _offer_login(issuer: str, web: WebDoor, hub: Hub) -> None:
    """Let people log in on the page with the provider *issuer*."""
    from broadcast.doors.web.login import LoginPages  # noqa: PLC0415 - optional, as above

    pages = LoginPages(hub, web.address, monotonic, secrets.token_urlsafe)
    web.offer_login(pages, urlsplit(issuer).hostname or issuer)


def _make_file_store(
    config: Config,
    web: WebDoor,
    hub: Hub,
    reactor: Any,  # noqa: ANN401 - as in makeService
    directory: Directory | None,
) -> FileStore | None:
    """Let people share files. Return None if the server takes no files.

    They are stored in the data folder, or in the database. With a *directory*, its slots are those of all servers.
    """
    limits = config.limits
    if config.data is None or not limits.files_total:
        return None
    from broadcast.doors.web.uploads import files_handler  # noqa: PLC0415 - optional, as above

    contents = None
    if config.database is not None:
        from broadcast.journals.postgres.files import PostgresContents  # noqa: PLC0415 - optional

        contents = PostgresContents(_make_database(config))
    threads = WorkerThreads(reactor.callFromThread, "files", FILE_THREADS)
    folder, days = config.data / FILES_FOLDER, limits.file_days
    store = FileStore(folder, threads, reactor.callLater, time, days=days, report=_log_file_fault, contents=contents)
    slots: Slots = MemorySlots(store, limits, UploadClock(monotonic, time, reactor.callLater))
    if directory is not None:
        slots = directory.make_slots(limits)
    make_token = partial(secrets.token_urlsafe, TOKEN_BYTES)
    uploads = Uploads(hub.rooms, hub.people, hub.moderation, store, slots, limits, time, make_token)
    hub.uploads = uploads

    def set_addresses() -> None:
        uploads.base_url, uploads.secure_base_url = web.address.url, web.address.secure_url

    web.address.on_known = set_addresses
    web.site.routes["/files/"] = files_handler(uploads, store)
    return store


def _log_file_fault(line: str) -> None:
    _log.error("{line}", line=sanitize(line))


def _make_authenticator(config: Config, journal: Journal, reactor: Any) -> Authenticator:  # noqa: ANN401 - as above
    """Return the accounts and the checks of their owners. Raises ``StartupError``."""
    call_soon: CallSoon = reactor.callFromThread
    accounts = Accounts(journal.records)
    authenticator = Authenticator(accounts, Hasher(call_soon), monotonic, time, secrets.token_urlsafe, config.accounts)
    if config.oidc is not None:
        with _optional("jwt", "cryptography", advice=f"--oidc needs PyJWT: {_pip_install('PyJWT[crypto]')}"):
            from broadcast.accounts.oidc import OidcClient  # noqa: PLC0415 - optional, as above
            from broadcast.accounts.oidc_threads import OidcProvider  # noqa: PLC0415 - likewise
        client = OidcClient(config.oidc, config.oidc_client_id, config.oidc_secret, monotonic)
        authenticator.provider = OidcProvider(client, call_soon, reactor.callLater, monotonic, _log_provider_failure)
    return authenticator


def _log_provider_failure(why: str) -> None:
    _log.warn("The OpenID Connect provider has failed: {why}.", why=sanitize(why))


def _make_certificate(config: Config, reactor: Any) -> CertificateKeeper:  # noqa: ANN401 - as in makeService
    """Return the certificate for TLS. If the operator gives one, it is loaded here, before twistd changes the user.

    Raises ``StartupError``.
    """
    for option, port in [*(("--tls", port) for port in config.tls), *(("--web-tls", port) for port in config.web_tls)]:
        if port.startswith(("ssl:", "tls:")):
            raise StartupError(f"{option} {port}: this would encrypt twice. Write tcp: and --cert, or use --port.")
    option = "--tls" if config.tls else "--web-tls"
    with _optional("cryptography", advice=f"{option} needs cryptography: {_pip_install('cryptography')}"):
        from broadcast.server.certificate_keeper import CertificateKeeper  # noqa: PLC0415 - optional, as above
    certificate = CertificateKeeper(config.cert, config.key, config.data, reactor, reactor.callFromThread, time)
    if certificate.is_given:
        certificate.get_context()
    return certificate


def _make_context(
    reactor: Any,  # noqa: ANN401 - as in makeService
    twistd: Mapping[str, Any],
    config: Config,
    hub: Hub,
    connections: Connections,
    log: ProcessLog | None,
    certificate: CertificateKeeper | None,
) -> ProcessContext:
    """Return the services of the process: its signals, its log, its manager, and its garbage collector."""
    call_soon: CallSoon = reactor.callFromThread
    notifier = SdNotifier(os.environ, reactor)
    terminate = partial(signal.raise_signal, signal.SIGTERM)
    writer = None if log is None else log.writer
    if writer is not None:
        # Both are needed. After a signal, twistd ends the process by that signal, and Python calls no exit handler. If
        # the start fails, the reactor never runs.
        reactor.addSystemEventTrigger("after", "shutdown", writer.finish)
        atexit.register(writer.finish)
    reloader = Reloader(hub, config.read_motd, writer, notifier, call_soon, certificate)
    control_signals = ControlSignals(call_soon, reloader.reload, writer, terminate, not twistd.get("nodaemon"))
    return ProcessContext(
        give_up=partial(give_up, twistd, log, keep_stderr(reactor, twistd)),
        clock=reactor,
        call_soon=call_soon,
        terminate=terminate,
        notifier=notifier,
        filter_shutdown_signals=ShutdownSignalFilter(call_soon, STOP_SECONDS).install,
        limit_gc_pauses=GcPauseLimiter(connections, monotonic).start,
        handle_signals=control_signals.install,
        log=log,
    )


def _log_storage_change(error: str) -> None:
    """Log that the journal cannot store messages, because of *error*, or that it can again."""
    if error:
        _log.error("Nothing that is said is kept: {why}.", why=error)
    else:
        _log.info("What is said is kept again.")


def _log_risk(line: str) -> None:
    _log.warn("{line}.", line=sanitize(line))


def _log_missing_lines(line: str) -> None:
    _log.error("{line}", line=line)
