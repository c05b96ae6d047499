"""``python -m benchmarks.scale``: how many people several servers with one database can carry.

The tables are computed: with constants that were measured on one machine, and for one busy room with a simulation.
``docs/scale.rst`` explains them. With ``--measure``, the constants are measured on this machine first.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, Final

from benchmarks import cluster, report, scenarios
from benchmarks.peers import OURS, Peer, find
from benchmarks.processes import BenchmarkError
from benchmarks.simulation import Constants, simulate
from benchmarks.tools import build
from broadcast.core.directory import Person

if TYPE_CHECKING:
    import psycopg

    from tests.postgres import PostgresServer

LARGE = 64
"""Number of lines in the larger of the two batches that are measured."""
CALLS = 1000
"""Number of calls of each kind that are measured."""
LISTENERS = 64
PEOPLE = 20_000
"""Number of people of other servers that are measured in memory."""
PER_NODE = 10_000
"""Number of people at one server; the benchmark ``crowd`` connects so many."""
ROOM = 50
"""Number of people in a usual room."""
PER_MINUTE = 0.2
"""Number of lines that a person says in a minute."""
VISIT_MINUTES = 60
"""Duration of a visit."""
TARGET = 0.5
"""Share of a processor that should be in use: above that, the waiting time grows."""


MEASURED: Final = Constants(
    append_us=1724.26, append_line_us=17.03, append_cpu_us=1330.0, tail_us=580.0, tail_line_us=5.4, notify_us=31.32,
    line_us=128.64, send_us=22.11, send_line_us=0.02, person_us=15.35, person_bytes=784.79,
)  # fmt: skip
"""The constants of ``docs/scale.rst``."""


def main() -> int:
    """Print the constants and the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the constants on this machine first")
    options = parser.parse_args()
    try:
        constants = measure() if options.measure else MEASURED
    except BenchmarkError as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 1
    tables = [_constants_table(constants), _people_table(constants), _room_table(constants)]
    sys.stdout.write("\n\n".join(report.grid(table) for table in tables) + "\n")
    return 0


# Measuring


def measure() -> Constants:
    """Measure the constants on this machine. Raises ``BenchmarkError``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="broadcast-scale-")))
        tools = build(folder)
        (peer,) = find(tools, folder, [OURS])
        if not isinstance(peer, Peer):
            raise BenchmarkError("broadcast is not installed here")
        database = stack.enter_context(cluster.database())
        peer = cluster.on_database(peer, database.url(), "one")
        bench = scenarios.Bench(tools, scenarios.FULL, folder)
        pair = scenarios.talk(bench, peer, people=2, senders=1, window=16)  # its server creates the tables
        append, append_cpu = _measure_append(database, 1)
        large, _ = _measure_append(database, LARGE)
        tail, tail_large = (_measure_tail(database, lines) for lines in (1, LARGE))
        one, two = (scenarios.talk(bench, peer, window=window) for window in (1, LARGE))
        send_line = (two.cpu * LARGE - one.cpu) / (LARGE - 1)
        person_us, person_bytes = _measure_people()
        return Constants(
            append, (large - append) / (LARGE - 1), append_cpu, tail, (tail_large - tail) / (LARGE - 1),
            _measure_notify(database), pair.server_cpu / pair.lines * 1e6, one.cpu - send_line, send_line,
            person_us, person_bytes,
        )  # fmt: skip


@contextmanager
def _backend(database: PostgresServer) -> Iterator[tuple[psycopg.Connection[Any], Callable[[], float]]]:
    """Connect as a server does. The function returns the seconds of CPU time of the database's process."""
    with cluster.connected(database) as db:
        path = Path(f"/proc/{db.info.backend_pid}/stat")

        def processor() -> float:
            words = path.read_text().rpartition(")")[2].split()
            return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

        yield db, processor


def _measure_append(database: PostgresServer, lines: int) -> tuple[float, float]:
    """Return the duration and the CPU time of a call with so many *lines*."""
    events = cluster.encode_lines(lines)
    with _backend(database) as (db, processor):
        db.execute("DELETE FROM writers WHERE node = 'scale'")
        db.execute("SELECT enroll('scale')")
        times, before = [], processor()
        for batch in range(1, CALLS + 1):
            began = perf_counter()
            db.execute("SELECT append('scale', 1, %s, ARRAY['scale'], %s::jsonb)", (batch, events))
            times.append(perf_counter() - began)
        return median(times) * 1e6, (processor() - before) / CALLS * 1e6


def _measure_tail(database: PostgresServer, lines: int) -> float:
    """Return the CPU time of the query that reads so many new *lines* of one room."""
    from broadcast.journals.postgres.tail import READ  # noqa: PLC0415 - it needs psycopg

    with _backend(database) as (db, processor):
        row = db.execute("SELECT last, place FROM rooms WHERE name = 'scale'").fetchone()
        assert row is not None
        values = ("scale", ["scale"], [row[0] - lines], [row[1]])
        before = processor()
        for _ in range(CALLS):
            assert len(db.execute(READ.encode(), values).fetchall()) == lines
        return (processor() - before) / CALLS * 1e6


def _measure_notify(database: PostgresServer) -> float:
    """Return the time that each listener adds to a transaction with a notification."""

    def transactions() -> float:
        script = database.folder / "notify.sql"
        script.write_text("SELECT pg_notify('scale', :client_id::text);\n")
        command = [str(database.programs / "pgbench"), "-n", "-c1", "-T3", f"-f{script}", database.url()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
        if rate is None:
            raise BenchmarkError(f"pgbench failed: {done.stderr.strip()}")
        return float(rate[1])

    alone = transactions()
    with ExitStack() as stack:
        listeners = [stack.enter_context(cluster.connected(database)) for _ in range(LISTENERS)]
        for listener in listeners:
            listener.execute("LISTEN scale")
        ends: list[bool] = []
        reader = Thread(target=_read_notifications, args=(listeners, ends))
        reader.start()
        try:
            with_listeners = transactions()
        finally:
            ends.append(True)
            reader.join()
    return max(0.0, 1e6 / with_listeners - 1e6 / alone) / LISTENERS


def _read_notifications(listeners: Sequence[psycopg.Connection[Any]], ends: Sequence[bool]) -> None:
    """Read what the database sends to *listeners*, until *ends* is not empty."""
    by_number = {listener.fileno(): listener for listener in listeners}
    while not ends:
        for number in select.select(by_number, [], [], 0.1)[0]:
            by_number[number].pgconn.consume_input()
            while by_number[number].pgconn.notifies() is not None:
                pass


def _measure_people() -> tuple[float, float]:
    """Return the CPU time and the memory that a person of another server takes."""
    from tests.cluster.nodes import Cluster  # noqa: PLC0415 - only this needs the tests

    nodes = Cluster(1).nodes[0].hub.other_nodes
    people = [Person(number, f"person{number}", address="192.0.2.1") for number in range(PEOPLE)]
    memory, began = _memory(), process_time()
    for person in people:
        nodes.person_changed(person)
    return (process_time() - began) / PEOPLE * 1e6, (_memory() - memory) / PEOPLE


def _memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Tables


def _constants_table(constants: Constants) -> list[list[str]]:
    return [
        ["constant", "value"],
        *([field.name, f"{getattr(constants, field.name):,.2f}"] for field in fields(constants)),
    ]


def _people_table(constants: Constants) -> list[list[str]]:
    """Return what so many people need, in usual rooms."""
    rows = [
        [
            "people",
            "servers",
            "lines/s",
            "database",
            "of it for notifications",
            "each server",
            "memory for people",
            "start",
        ]
    ]
    for people in (10_000, 100_000, 1_000_000):
        nodes = people // PER_NODE
        lines = people * PER_MINUTE / 60
        # Each line is a batch of its own: at each server, lines are rarer than commits are slow.
        readers = min(nodes, ROOM)
        notices = constants.notify_us * nodes * lines
        database = lines * (constants.append_cpu_us + constants.tail_us * readers) + notices
        deliveries = ROOM / readers * (constants.send_us + constants.send_line_us)
        visits = 2 * people / (VISIT_MINUTES * 60)
        node = lines / nodes * constants.line_us + lines * readers / nodes * deliveries + visits * constants.person_us
        rows.append([
            f"{people:,}", str(nodes), f"{lines:,.0f}", f"{database / 1e6 / TARGET:.1f} processors",
            f"{notices / 1e6 / TARGET:.1f}", f"{node / 1e6:.0%} of one",
            f"{people * constants.person_bytes / 2**20:,.0f} MiB", f"{people * constants.person_us / 1e6:.1f} s",
        ])  # fmt: skip
    return rows


def _room_table(constants: Constants) -> list[list[str]]:
    """Return how long a line takes in a busy room with 100 people at each server."""
    rates = (10, 100, 500, 2000, 5000)
    rows = [["servers", "processors of the database", *(f"{rate:,} lines/s" for rate in rates)]]
    for nodes, processors in ((1, 4), (4, 4), (16, 8), (100, 16)):
        waits = [simulate(constants, nodes, rate, 100 * nodes, processors) for rate in rates]
        cells = ["too many" if worst == float("inf") else f"{middle:,.1f} / {worst:,.1f}" for middle, worst in waits]
        rows.append([str(nodes), str(processors), *cells])
    return rows


if __name__ == "__main__":
    sys.exit(main())
