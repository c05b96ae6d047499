"""The scenario ``cluster``: servers that share a PostgreSQL database, started for the measurement.

The commands of PostgreSQL's own benchmark, pgbench, show how much the database alone can do with the same batches.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import quantiles
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.peers import Peer, Started, started
from benchmarks.processes import PATIENCE, BenchmarkError

if TYPE_CHECKING:
    import psycopg

    from tests.postgres import PostgresServer

NODES = 4
WINDOW = 64
"""Number of lines of each program that are outstanding in the busy room."""
RATE = 200
"""Lines per second of all programs together, in open loop."""
TEXT_CHARS = 64
ROOM = "lobby"
SCHEMA = "broadcast"
SETTINGS = {"fsync": "on", "autovacuum": "on", "shared_buffers": "256MB", "max_connections": "100"}
"""Settings of PostgreSQL that differ from those of the tests."""

_nicks: Final = count()
"""The numbers in the nicknames. The servers may not have noticed yet that the programs before have left."""
_SCRIPT = r"""\set batch :batch + 1
SELECT append('bench' || :client_id, 1, :batch, ARRAY['pgbench'], '{events}');
"""


@contextmanager
def database() -> Iterator[PostgresServer]:
    """Start PostgreSQL, and end it at the end of the context. Raises ``BenchmarkError``."""
    try:
        from tests.postgres import PostgresServer, find_programs  # noqa: PLC0415 - only this scenario needs pytest
    except ImportError as error:
        raise BenchmarkError(f"the package {error.name} is not installed") from error
    programs = find_programs()
    if programs is None:
        raise BenchmarkError("PostgreSQL is not installed")
    server = PostgresServer(programs, None, **SETTINGS)
    try:
        yield server
    finally:
        server.close()


def on_database(peer: Peer, url: str, node: str) -> Peer:
    """Return *peer* as the server *node* with its journal in the database at *url*."""
    return replace(peer, command=lambda folder, port: [*peer.command(folder, port), "--journal", url, "--node", node])


@contextmanager
def started_nodes(peer: Peer, url: str, fresh: Callable[[], Path]) -> Iterator[Sequence[Started]]:
    """Start ``NODES`` servers with the database at *url*, each in a *fresh* folder."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(started(on_database(peer, url, f"node{number}"), fresh())) for number in range(NODES)
        ]


class Program:
    """A program that is connected to *node*, and talks and reads in one room."""

    def __init__(self, node: Started, number: int) -> None:
        self.number = number
        self.socket = socket.create_connection(("127.0.0.1", node.port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self.said = 0
        """Number of its requests."""
        self.stored = 0
        """Number of the replies to them."""
        nick = f"program{next(_nicks)}"
        self.request(
            "hello", {"protocol": 1, "client": "benchmark/1", "nick": nick, "rooms": [ROOM], "replay": 0, "grace": 0}
        )
        while b'"token"' not in (read := self.read()):
            if b'"error"' in read:
                raise BenchmarkError(f"a program was refused: {read.decode(errors='replace')}")

    def request(self, method: str, params: Mapping[str, Any]) -> None:
        """Send a request."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def say(self, text: str) -> None:
        """Say *text*."""
        self.said += 1
        self.request("say", {"room": ROOM, "text": text})

    def read(self) -> bytes:
        """Return the next complete lines, perhaps none. Count the replies."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise BenchmarkError("a server has closed the connection of a program")
        lines, end, self._rest = (self._rest + data).rpartition(b"\n")
        if b'"error"' in lines:
            raise BenchmarkError(f"a line was refused: {lines.decode(errors='replace')[:500]}")
        self.stored += lines.count(b'"result"')
        return lines + end


@contextmanager
def _programs(nodes: Sequence[Started]) -> Iterator[tuple[Sequence[Program], selectors.BaseSelector]]:
    """Connect one program to each of *nodes*."""
    programs: list[Program] = []
    with selectors.DefaultSelector() as selector:
        try:
            for number, node in enumerate(nodes):
                programs.append(Program(node, number))
                selector.register(programs[-1].socket, selectors.EVENT_READ, programs[-1])
            for program in programs:
                program.stored = 0
            yield programs, selector
        finally:
            for program in programs:
                program.socket.close()


def busy_room(nodes: Sequence[Started], warm: float, seconds: float) -> float:
    """Return the number of lines per second in one room in which the programs of all *nodes* talk.

    It is counted at the first one, which reads all of them.
    """
    text = "x" * TEXT_CHARS
    with _programs(nodes) as (programs, selector):
        begin = monotonic() + warm
        lines, began, ended = 0, 0.0, 0.0
        while not ended:
            for program in programs:
                while program.said - program.stored < WINDOW:
                    program.say(text)
            for key, _ in selector.select(PATIENCE):
                said = key.data.read().count(b'"said"')
                now = monotonic()
                if key.data is programs[0] and now >= begin:
                    lines += said if began else 0
                    began = began or now
                    ended = now if now - began >= seconds else 0.0
    return lines / (ended - began)


def latencies(nodes: Sequence[Started], seconds: float) -> Sequence[float]:
    """Return the milliseconds from when a line was due until a program on another one of *nodes* has read it.

    The programs talk in turn, ``RATE`` lines per second in all.
    """
    found: list[float] = []
    with _programs(nodes) as (programs, selector):
        began = perf_counter()
        total = max(int(seconds * RATE), len(programs))
        due = [began + 0.1 + number / RATE for number in range(total)]
        sent = 0
        while len(found) < total * (len(programs) - 1):
            now = perf_counter()
            while sent < total and due[sent] <= now:
                programs[sent % len(programs)].say(f"number {sent} ")
                sent += 1
            if now > due[-1] + PATIENCE:
                raise BenchmarkError("some lines did not arrive at all servers")
            for key, _ in selector.select(max(due[sent] - now, 0.0) if sent < total else 1.0):
                numbers = map(int, re.findall(rb'"text":"number (\d+)', key.data.read()))
                now = perf_counter()
                found += [1000 * (now - due[n]) for n in numbers if n % len(programs) != key.data.number]
    return found


def percentile_99(values: Sequence[float]) -> float:
    """Return the 99th percentile of *values*."""
    return quantiles(values, n=100)[-1]


def lines_per_batch(server: PostgresServer) -> float:
    """Return the average number of lines in a batch so far."""
    with connected(server) as db:
        row = db.execute("SELECT (SELECT sum(last) FROM rooms), (SELECT sum(batch) FROM writers)").fetchone()
    assert row is not None
    return float(row[0]) / float(row[1])


def encode_lines(number: int) -> str:
    """Return so many lines of one room as ``append`` takes them."""
    return json.dumps([[0, "said", 1, "program", "x" * TEXT_CHARS, 1.5, None, None]] * number)


def database_alone(server: PostgresServer, lines: int, seconds: float, folder: Path) -> float:
    """Return the lines per second that ``NODES`` clients store in one room, with *lines* in each call of ``append``."""
    with connected(server) as db:
        for number in range(NODES):
            db.execute("DELETE FROM writers WHERE node = %s", (f"bench{number}",))
            db.execute("SELECT enroll(%s)", (f"bench{number}",))
    events = encode_lines(lines)
    folder.mkdir(parents=True)
    script = folder / "append.sql"
    script.write_text(_SCRIPT.format(events=events))
    command = [
        str(server.programs / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={NODES}", "--jobs=2",
        f"--time={max(int(seconds), 1)}", "--define=batch=0", f"--file={script}",
        f"{server.url()}&options=-csearch_path%3D{SCHEMA}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + PATIENCE)
    rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if done.returncode or rate is None:
        raise BenchmarkError(f"pgbench failed: {done.stderr.strip()}")
    return float(rate[1]) * lines


@contextmanager
def connected(server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """Connect to the database of the servers, as their role."""
    from tests.postgres import OWNER, SHARED  # noqa: PLC0415 - as above

    with server.connect(SHARED, OWNER) as db:
        db.execute(f"SET search_path = {SCHEMA}".encode())
        yield db
