"""The measured servers: finding them, configuring them without flood control, and starting them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.processes import Running, free_port
from benchmarks.tools import HERE, NO_COMPILER, Tools

OURS, LIMITED = "broadcast", "with limits"
"""Names of broadcast with ``--limits off``, and with its limits on."""
UWEBSOCKETS, WEBSOCKETS = "uWebSockets", "websockets"
"""Names of the servers that pass messages on over WebSockets."""
MAX_ROOMS = "2000"
"""Maximum number of rooms of broadcast."""
LIFETIME = "900"
"""Seconds after which the peers in this folder end by themselves."""

_NGIRCD = """\
[Global]
Name = bench.local
Info = benchmark
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = hello
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxPenaltyTime = 0
PingTimeout = 86400
PongTimeout = 86400
[Options]
IncludeDir = {folder}
DNS = no
Ident = no
PAM = no
"""

_INSPIRCD = """\
<config format="xml">
<server name="bench.local" description="benchmark" network="bench" id="001">
<bind address="127.0.0.1" port="{port}" type="clients">
<connect name="all" allow="*" timeout="600" threshold="1000000000" commandrate="1000000000" fakelag="no"
 pingfreq="86400" softsendq="1000000000" hardsendq="1000000000" recvq="1000000000" localmax="1000000"
 globalmax="1000000" limit="1000000" resolvehostnames="no" useident="no" maxchans="10">
<performance somaxconn="4096" softlimit="1000000" netbuffersize="65534">
<pid file="{folder}/inspircd.pid">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{folder}/inspircd.log">
"""

_NATS = """\
listen: "127.0.0.1:{port}"
ping_interval: "24h"
max_connections: 1000000
max_pending: 1GB
write_deadline: "60s"
"""

# Taken up by Ergo on top of its own defaults: only what must be said, and what holds clients back.
_ERGO = """\
network: {{name: bench}}
server:
    name: bench.local
    listeners: {{"127.0.0.1:{port}": {{}}}}
    casemapping: ascii
    lookup-hostnames: false
    check-ident: false
    motd: ""
    max-sendq: 1000000k
    ip-limits: {{count: false, throttle: false}}
    ip-cloaking: {{enabled: false}}
accounts: {{authentication-enabled: true, registration: {{enabled: false}}}}
channels: {{default-modes: +n, max-channels-per-client: 10}}
datastore: {{path: "{folder}/ircd.db", autoupgrade: true}}
fakelag: {{enabled: false}}
limits: {{nicklen: 32, identlen: 20, realnamelen: 150, channellen: 64, awaylen: 390, kicklen: 390, topiclen: 390,
    monitor-entries: 100, whowas-entries: 100, chan-list-modes: 100, registration-messages: 1024,
    multiline: {{max-bytes: 4096, max-lines: 100}}}}
history: {{enabled: false}}
logging: [{{method: stderr, type: "*", level: warn}}]
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to measure. *command* prepares an empty folder and returns the command to run there."""

    name: str
    dialect: str
    version: str
    command: Callable[[Path, int], Sequence[str]]
    echo: bool = False
    """Whether authors receive their own lines, too."""
    settle: float = 0.0
    """Seconds after which the server sends nothing more on its own."""
    arriving: int = 256
    """Number of clients that join at once: below the backlog, and enough to hide the server's timers."""
    websocket: bool = False
    """Whether its clients come over WebSockets. Then only the scenario ``websocket`` measures it, unless it is ours."""
    in_memory: Peer | None = None
    """The same server without a journal on disk, for broadcast."""

    @property
    def ours(self) -> bool:
        """Whether it is broadcast, however configured."""
        return self.dialect == "broadcast"


@dataclass(frozen=True, slots=True)
class Absent:
    """A peer that cannot be measured here, with the reason."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Started:
    """A running peer."""

    peer: Peer
    server: Running
    port: int


@contextmanager
def started(peer: Peer, folder: Path) -> Iterator[Started]:
    """Start *peer* in the empty *folder*, and end it at the end of the context."""
    folder.mkdir(parents=True)
    port = free_port()
    server = Running(peer.command(folder, port), folder)
    try:
        server.wait_for(port)
        yield Started(peer, server, port)
    finally:
        server.end()


def find(tools: Tools, folder: Path, wanted: Collection[str] = ()) -> list[Peer | Absent]:
    """Broadcast, the floor, and everything else that can be started here; a reason for what cannot.

    *folder* is one where twistd finds the installed broadcast, and no other. If some are *wanted*, by their names in
    lower case, look only for these.
    """
    known: dict[str, Callable[[], Peer | Absent]] = {
        OURS: lambda: _broadcast(folder, OURS, ("--limits", "off")),
        LIMITED: lambda: _broadcast(folder, LIMITED, _COUNTED),
        "floor": lambda: _floor(tools),
        "naive Twisted": lambda: _ours("naive Twisted", "naive"),
        "thread per client": lambda: _ours("thread per client", "threads"),
        UWEBSOCKETS: lambda: _websocket_server(tools, UWEBSOCKETS, "uwebsockets", "socketify"),
        WEBSOCKETS: lambda: _websocket_server(tools, WEBSOCKETS, "websockets_broadcast", "websockets"),
        **{program[0]: partial(_installed, *program) for program in _PROGRAMS},
    }
    return [find_one() for name, find_one in known.items() if not wanted or name.casefold() in wanted]


_COUNTED = ("--paste-lines", "100000", "--lines-per-second", "1000000")
"""All limits on, and the one on lines so high that the load generator does not meet it: what it costs to count."""


def _version(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return _version_in(done.stdout + done.stderr)


def _version_in(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else "unknown"


def _program(name: str) -> str | None:
    # Debian keeps servers where not everybody's path leads.
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def _broadcast(folder: Path, name: str, limits: Sequence[str]) -> Peer | Absent:
    twistd = shutil.which("twistd", path=str(Path(sys.executable).parent)) or shutil.which("twistd")
    if twistd is None:
        return Absent(name, "twistd is not installed")
    asked = subprocess.run(
        [twistd, "broadcast", "--version"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    if asked.returncode:
        return Absent(name, f"twistd has no working broadcast: {asked.stderr.strip().rpartition(chr(10))[2]}")

    def command(port: int, *storage: str) -> Sequence[str]:
        return [
            twistd,
            "-n",
            "--pidfile=",
            "broadcast",
            "--port",
            str(port),
            "--max-rooms",
            MAX_ROOMS,
            *storage,
            *limits,
        ]

    ours = _version_in(asked.stdout)
    in_memory = Peer(name, "broadcast", ours, lambda _, port: command(port, "--ephemeral"))
    on_disk = Peer(name, "broadcast", ours, lambda folder, port: command(port, "--data", str(folder / "data")))
    return replace(on_disk, in_memory=in_memory)


def _floor(tools: Tools) -> Peer | Absent:
    program = tools.floor
    if program is None:
        return Absent("floor", NO_COMPILER)
    return Peer("floor", "plain", tools.compiler, lambda _, port: [program, str(port), LIFETIME], echo=True)


def _ours(name: str, module: str) -> Peer:
    python = f"Python {sys.version.split()[0]}"
    return Peer(
        name, "plain", python, lambda _, port: [sys.executable, str(HERE / f"{module}.py"), str(port), LIFETIME]
    )


def _websocket_server(tools: Tools, name: str, module: str, package: str) -> Peer | Absent:
    if tools.floor is None:
        return Absent(name, "only load.c speaks WebSocket")
    try:
        found = version(package)
    except PackageNotFoundError:
        return Absent(name, f"the package {package} is not installed")
    return replace(_ours(name, module), version=found, echo=True, websocket=True)


def _installed(
    name: str, program: str, dialect: str, config: str, argv: Sequence[str], settle: float, arriving: int
) -> Peer | Absent:
    path = _program(program)
    if path is None:
        return Absent(name, "it is not installed")

    def command(folder: Path, port: int) -> Sequence[str]:
        folder.chmod(0o755)  # some change to another user
        file = folder / "config"
        file.write_text(config.format(folder=folder, port=port))
        return [path, *(str(file) if word == "CONFIG" else word for word in argv)]

    return Peer(name, dialect, _version(path, "--version"), command, settle=settle, arriving=arriving)


_PROGRAMS: list[tuple[str, str, str, str, Sequence[str], float, int]] = [
    ("ngIRCd", "ngircd", "irc", _NGIRCD, ("-n", "-f", "CONFIG"), 0.0, 8),
    ("InspIRCd", "inspircd", "irc", _INSPIRCD, ("--nofork", "--runasroot", "--config", "CONFIG"), 0.0, 1000),
    ("Ergo", "ergo", "irc", _ERGO, ("run", "--conf", "CONFIG"), 0.0, 32),
    ("NATS", "nats-server", "nats", _NATS, ("-c", "CONFIG"), 3.0, 32),
]
