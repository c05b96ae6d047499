"""What ``twistd broadcast`` runs: the options, and the one place where everything is put together."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python import usage

from broadcast import __version__
from broadcast.core.errors import StartupError
from broadcast.core.events import ServerNotice
from broadcast.core.hub import Hub, Settings
from broadcast.core.interfaces import View
from broadcast.core.limits import SERVER_FULL
from broadcast.core.sanitize import sanitize
from broadcast.core.stats import CommitStats
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.doors.line.protocol import BroadcastFactory
from broadcast.journals.memory import MemoryJournal
from broadcast.journals.sqlite.journal import SqliteJournal
from broadcast.net.connections import Connections
from broadcast.net.endpoints import parse_listener
from broadcast.net.fd_reserve import FdReserveListener
from broadcast.net.keepalive import DeadPeerDetector
from broadcast.net.tcp_info import KeepalivePolicy, read_tcp_info
from broadcast.net.writers import writer_for
from broadcast.server.config import GONE_LIMIT, LIMITS, LOG_FORMATS, PROBE_LIMIT, REPLAY_LIMIT, Config, load_config
from broadcast.server.lifecycle import STOP_SECONDS, Entrance, ProcessContext, Server
from broadcast.server.logging import json_log
from broadcast.server.monotonic_clock import use_monotonic_clock
from broadcast.server.sd_notify import SdNotifier
from broadcast.server.shutdown_signals import ShutdownSignalFilter

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from broadcast.core.interfaces import Journal
    from broadcast.core.time_slice import CallSoon
    from broadcast.server.lifecycle import Monitor

_DEFAULTS: Final = Config()
_INTERFACE: Final = (
    "The address on which port numbers listen; 0.0.0.0 lets others in. By default 127.0.0.1 and ::1: this machine only."
)
OTHER_FILES: Final = 64
"""So many of the files that may be open are not for connections (HARDENING): the journal, the log, what listens."""
_METRICS: Final = (
    "Where to show figures to Prometheus, at /metrics, and at /healthz whether all is well: a number, on this machine "
    "only, or an endpoint description. By default nowhere."
)
_log = Logger()


class Options(usage.Options):
    """The command line of ``twistd broadcast``: it holds what was given, under the options' names, and nothing else."""

    synopsis = "[options]"
    longdesc = (
        "The config file has the same names: port = [5555, 'unix:chat.sock'] or ephemeral = true. What stands on the "
        "command line wins. All paths start from the folder in which twistd is started."
    )
    optParameters = (  # noqa: N815 - Twisted's name, as those below
        ("interface", "i", None, _INTERFACE),
        ("name", None, _DEFAULTS.name, "The server's name, in the first line that people see."),
        (
            "motd",
            None,
            None,
            "A text file that people are shown when they come, the message of the day. By default none.",
        ),
        ("replay", None, _DEFAULTS.replay, f"How many of the last lines a newcomer is shown, 0 to {REPLAY_LIMIT}."),
        (
            "probe",
            None,
            _DEFAULTS.probe,
            f"After how many seconds of silence somebody is asked for a sign of life, up to {PROBE_LIMIT}; 0: never.",
        ),
        (
            "gone",
            None,
            _DEFAULTS.gone,
            f"After how many seconds without a sign of life somebody has left, up to {GONE_LIMIT}.",
        ),
        ("data", None, _DEFAULTS.data, "The folder in which what is said is kept; made for its owner alone."),
        ("metrics", None, None, _METRICS),
        ("log-format", None, _DEFAULTS.log_format, f"How the log is written: {' or '.join(LOG_FORMATS)}."),
        ("config", None, None, "A TOML file with settings, see below. By default none."),
        (
            "limits",
            None,
            "on",
            "off lifts those on people and addresses: for benchmarks, and a room of trusted programs.",
        ),
        *((name, None, getattr(_DEFAULTS.limits, limit.field), limit.help) for name, limit in LIMITS.items()),
    )
    optFlags = (  # noqa: N815
        ("unicode-nicknames", None, "Nicknames may have letters of any script. By default only ASCII."),
        ("ephemeral", None, "Keep what is said in memory, and write nothing. By default it is kept in --data."),
    )

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.defaults["port"] = _DEFAULTS.ports[0]  # the others are there; they are for --help only
        self.clear()
        self.config = _DEFAULTS
        """The settings, once the options have been parsed."""

    def opt_port(self, port: str) -> None:
        """Where to listen: a number, 0 for a free one, or a Twisted endpoint description such as
        tcp:5555:interface=0.0.0.0, unix:chat.sock or haproxy:tcp:5555. Can be given several times.
        """  # noqa: D205 - --help shows all of it
        self.setdefault("port", []).append(port)

    opt_p = opt_port

    def opt_version(self) -> NoReturn:
        """Display the version and exit."""
        sys.stdout.write(f"broadcast {__version__}\n")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """Take options only."""
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is not an option (a port is given as --port 5555)")

    def parseOptions(self, options: Sequence[str] | None = None) -> None:  # noqa: N802
        """Parse *options*; whatever is wrong ends the process with one line on stderr.

        Left to twistd, it would stand on stdout, below the whole help.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            raise SystemExit(_line(f"{error}; twistd broadcast --help lists the options.")) from error
        except StartupError as error:
            raise SystemExit(_line(str(error))) from error

    def postOptions(self) -> None:
        """Check everything, and read the files, while the folder is the one that twistd was started in."""
        given: dict[str, object] = dict(self)
        for flag, *_ in self.optFlags:
            if flag in given:
                given[flag] = True
        for name in given.keys() & {"replay", "probe", "gone", *LIMITS}:
            given[name] = _number(self[name])
        self.config = load_config(given, Path.cwd())


def makeService(options: Options) -> Server:
    """Put the server together as *options* say."""
    from twisted.internet import reactor as installed  # noqa: PLC0415 - nowhere else, and not before twistd chose it

    # No interface has all that the reactors have.
    reactor = cast(Any, installed)
    use_monotonic_clock(reactor, time, monotonic)
    config = options.config
    soon: CallSoon = reactor.callFromThread
    journal: Journal
    if config.data is None:
        journal = MemoryJournal(soon)
        keeps = "Nothing is kept (--ephemeral): what is said is gone when the server stops."
    else:
        keeping = CommitStats(monotonic, lambda trouble: soon(partial(_tell, trouble)))
        journal = SqliteJournal(config.data, soon, keeping)
        keeps = f"What is said is kept in {sanitize(str(config.data))}."
    limits = config.limits
    if limits.lines_per_second == inf:
        keeps += " The limits on people and addresses are off."
    try:
        limits = replace(limits, connections=most_connections(limits.connections, raise_file_limit()))
    except StartupError as error:
        raise SystemExit(_line(str(error))) from error
    fanout = Fanout(
        soon, monotonic, ReplayBuffer(limits.replay_events, limits.replay_bytes), limits.private_queue_bytes
    )
    settings = Settings(
        name=config.name,
        version=__version__,
        motd=config.motd,
        replay=config.replay,
        unicode_nicknames=config.unicode_nicknames,
        limits=limits,
    )
    hub = Hub(journal, fanout, settings, started=time())
    outlet = partial(writer_for, reactor, linger=limits.linger_seconds)
    connections = Connections(limits)
    factory = BroadcastFactory(hub, fanout, connections, reactor, soon, time, outlet)
    full = factory.encoder_for(View()).encode(ServerNotice(SERVER_FULL))
    twistd: Mapping[str, Any] = options.parent or {}
    try:
        places = [
            FdReserveListener(
                parse_listener(reactor, port, config.interface, connection_limiter=connections.limiter),
                full,
                reactor,
            )
            for port in config.ports
        ]
        monitor = (
            None if config.metrics is None else _monitor(reactor, config.metrics, connections, hub, fanout, journal)
        )
        log = json_log(twistd, soon) if config.log_format == "json" else None
    except StartupError as error:
        raise SystemExit(_line(str(error))) from error
    around = ProcessContext(
        give_up=partial(give_up, twistd),
        clock=reactor,
        call_soon=soon,
        terminate=partial(signal.raise_signal, signal.SIGTERM),
        notifier=SdNotifier(os.environ, reactor),
        take_signals=ShutdownSignalFilter(soon, STOP_SECONDS).install,
        log=log,
    )
    patience = KeepalivePolicy(config.probe, config.gone)
    heartbeat = DeadPeerDetector(connections, patience, read_tcp_info, reactor, soon)
    entrances = [Entrance(place, factory) for place in places]
    return Server(journal, hub, connections, entrances, keeps, around, heartbeat, monitor=monitor)


def _monitor(
    reactor: Any,  # noqa: ANN401 - as in makeService
    port: str,
    connections: Connections,
    hub: Hub,
    fanout: Fanout,
    journal: Journal,
) -> Monitor:
    """What shows figures at *port*; raises ``CannotStart``."""
    try:
        from broadcast.server import metrics  # noqa: PLC0415 - what it imports need not be installed, and takes its time
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise StartupError("--metrics needs prometheus_client: pip install prometheus_client") from error
    where = parse_listener(reactor, port, "127.0.0.1", "--metrics")

    def aside(work: Callable[[], bytes]) -> Deferred[bytes]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    sources = metrics.Sources(connections, hub, fanout, journal)
    return metrics.Monitor(where, sources, reactor, reactor.callFromThread, aside, monotonic)


def _tell(trouble: str) -> None:
    """Log that keeping goes wrong, and why, or that it goes right again."""
    if trouble:
        _log.error("Nothing that is said is kept: {why}.", why=trouble)
    else:
        _log.info("What is said is kept again.")


def give_up(twistd: Mapping[str, Any], line: str) -> NoReturn:
    """End the process, before the reactor runs, with *line* for whoever started it; *twistd* are twistd's options.

    An exception that twistd knows would print a traceback, and for one that it does not know it leaves its pid file
    behind. So what it would do is done here.
    """
    if twistd.get("pidfile"):
        with suppress(OSError):
            Path(twistd["pidfile"]).unlink()
    status = twistd.get("statusPipe")
    if status is not None or twistd.get("syslog") or twistd.get("logfile") not in (None, "-"):
        _log.critical("{line}", line=sanitize(line))
    if status is not None:
        # A daemon has no stderr. The one who started it waits for this, prints it, and exits with status 1; more than
        # 100 bytes it does not read, and refers to the log for the rest.
        os.write(status, f"1 {line}".encode("ascii", "replace")[:100])
    elif sys.__stderr__ is not None:
        # Not sys.stderr: twistd has turned that into the log.
        sys.__stderr__.write(f"{_line(line)}\n")
        sys.__stderr__.flush()
    raise SystemExit(1)


def most_connections(wanted: int | None, files: int | None) -> int | None:
    """How many connections there may be, where *files* can be open at once (None: any number).

    *wanted* of them, or as many as there can be. Raises ``CannotStart``.
    """
    if files is None:
        return wanted
    most = max(files - OTHER_FILES, 1)
    if wanted is not None and wanted > most:
        raise StartupError(
            f"--connections {wanted} is more than the file limit allows, which is {files}: raise it to "
            f"{wanted + OTHER_FILES} (ulimit -n, LimitNOFILE), or choose at most {most}."
        )
    return wanted or most


def raise_file_limit() -> int | None:
    """Let this process have as many files, and so connections, as the system allows it; often it begins with 1,024.

    How many these are; None where there is no limit.
    """
    try:
        import resource  # noqa: PLC0415 - Windows has none, and no such limit
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says that there is no limit, and refuses more than its OPEN_MAX.
    for limit in (hard, max(soft, 10240)):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _number(text: str) -> float | str:
    """*text* as the number that it is; who checks it says what it should have been."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return text
    return float(text) if "." in text else int(text)


def _line(text: str) -> str:
    """*text* for whoever starts the server; one line, whatever is in it."""
    return f"broadcast: {sanitize(text)}"
