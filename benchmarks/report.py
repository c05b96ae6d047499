"""The results as tables, on the terminal and between the two marks in README.rst."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

from benchmarks.cluster import NODES, WINDOW
from benchmarks.peers import LIMITED, OURS, Peer
from benchmarks.results import GOALS, Results, Summary
from benchmarks.scenarios import (
    CHURN_PEOPLE,
    CHURN_RATE,
    FULL,
    MIB,
    OUTSTANDING,
    RATE,
    RESUME_PEOPLE,
    ROOM_PEOPLE,
    VISITORS,
    Plan,
    one_room_name,
    one_room_windows,
    room_name,
)

BEGIN, END = ".. table begins: written by python -m benchmarks --write", ".. table ends"

Row = tuple[str, str, str]
"""Name of the figure, its scenario, and its label in the table."""


def brief(figures: Mapping[str, float]) -> str:
    """Return the *figures* of one run in one line."""
    return ", ".join(f"{name.partition(' ')[2]} {_number(value)}" for name, value in figures.items())


def text(results: Results) -> str:
    """Return the whole report as reStructuredText."""
    plan = results.plan
    parts = [_conditions(results)]
    if plan is not FULL:
        parts.append(
            f"This was the {plan.name} form: fewer runs, shorter ones and smaller crowds. Its figures are rough."
        )
    parts += results.notes
    goals = _goals(results)
    if len(goals) > 1:
        parts.append(grid(goals))
    parts.append("Each cell: the median, and in brackets the lowest and the highest of the runs.")
    parts += [grid(rows) for rows in _tables(results)]
    parts += _remarks(results)
    return "\n\n".join(parts) + "\n"


def write(results: Results, path: Path, drawn: Sequence[Path]) -> None:
    """Write the tables and the pictures *drawn* between the marks of the page at *path*."""
    page = path.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    pictures = "".join(f"\n.. image:: {picture.name}\n" for picture in drawn)
    path.write_text(f"{before}{BEGIN}\n\n{text(results)}{pictures}\n{END}{after}")


def _conditions(results: Results) -> str:
    versions = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    for package in ("Twisted", "Automat"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    versions += [f"{peer.name}: {peer.version}" for peer in results.peers if peer.dialect != "plain"]
    versions += [f"C: {peer.version}" for peer in results.peers if peer.name == "floor"]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.release()} on {platform.machine()}, "
        f"{os.cpu_count()} processors{_processor()}, {memory:.0f} GiB; {'; '.join(versions)}."
    )


def _processor() -> str:
    """Return the processor's name in brackets. A delivery is mostly kernel work, whose cost depends on it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f" ({' '.join(line.partition(':')[2].split())})"
    return ""


def _goals(results: Results) -> list[list[str]]:
    rows = [["figure of broadcast", "measured", "must", "aim", "reached", "``--only``"]]
    for goal in GOALS:
        if goal.command not in results.wanted:
            continue
        sign = ">=" if goal.more else "<="
        summary = goal.of(results)
        measured = f"{_spread(summary)} {goal.unit}" if summary else "not measured"
        reached = goal.verdict(results)
        rows.append(
            [
                goal.what,
                measured,
                f"{sign} {goal.must:g}",
                f"{sign} {goal.aim:g}",
                reached if summary else "",
                goal.command,
            ]
        )
    return rows


def _shared(plan: Plan) -> list[Row]:
    """Return the rows for all peers."""
    return [
        *(
            (f"{name} {figure}", name, f"{name}: {figure}")
            for name in ("unloaded", "loaded")
            for figure in ("deliveries/s", "CPU µs", "p50 ms", "p99 ms", "load")
        ),
        *(
            (f"websocket {figure}", "websocket", f"loaded, over WebSockets: {figure}")
            for figure in ("deliveries/s", "CPU µs", "p50 ms", "p99 ms", "load")
        ),
        *(
            (f"{room_name(people, senders)} {figure}", "small", f"{people:,} people, {senders} talk: {label}")
            for people, senders, _ in plan.rooms
            for figure, label in (("CPU µs", "CPU µs for a line"), ("lines/s", "lines/s"))
        ),
        *((f"steady {figure}", "latency", f"{RATE} lines/s: {figure}") for figure in ("p50 ms", "p99 ms")),
        ("crowd join s", "crowd", f"{plan.crowd:,} join: s"),
        ("crowd KiB", "crowd", f"{plan.crowd:,} idle: KiB each"),
        *((f"growth {people} p99 ms", "growth", f"{people:,} people: p99 ms") for people in plan.growth),
    ]


def _own(plan: Plan) -> list[Row]:
    """Return the rows for broadcast only."""
    return [
        *(
            (
                f"many rooms {figure}",
                "rooms",
                f"{plan.many_rooms:,} rooms of {ROOM_PEOPLE}, {OUTSTANDING} outstanding: {label}",
            )
            for figure, label in (("CPU µs", "CPU µs for a line"), ("lines/s", "lines/s"), ("load", "load"))
        ),
        *(
            row
            for window in one_room_windows(plan)
            for row in (
                (
                    f"{one_room_name(window)} CPU µs",
                    "rooms",
                    f"one room of {ROOM_PEOPLE}, {window} outstanding: CPU µs for a line",
                ),
                (f"{one_room_name(window)} ratio", "rooms", "the first by this, run by run"),
            )
        ),
        *(
            (f"{name} {figure}", scenario, f"{label}: {figure}")
            for name, scenario, label in (
                ("json", "json", f"{plan.people} programs, {plan.senders} talk"),
                ("json line", "json", "the same with people on the line door"),
                ("uid", "uid", "programs, a uid on each line"),
                ("uid none", "uid", "programs, no uids"),
                ("websocket lines", "websocket", f"{plan.people} programs, {plan.senders} talk, once more"),
            )
            for figure in ("deliveries/s", "CPU µs", "p99 ms", "load")
        ),
        ("websocket ratio", "websocket", "CPU of programs over WebSockets by that of these, run by run"),
        ("json ratio", "json", "CPU of programs by that of people, run by run"),
        ("uid ratio", "uid", "CPU with uids by that without, run by run"),
        ("uid rate ratio", "uid", "deliveries/s without uids by those with, run by run"),
        *(
            row
            for how in ("unloaded", "loaded")
            for row in (
                *(
                    (f"tls {how}{kind} {figure}", "tls", f"{plan.people} people {label}, {how}: {figure}")
                    for kind, label in (("", "with TLS"), (" plain", "without TLS"))
                    for figure in ("deliveries/s", "CPU µs", "p99 ms", "load")
                ),
                (f"tls {how} ratio", "tls", "CPU with TLS by that without, run by run"),
            )
        ),
        ("handshakes s", "handshakes", f"{plan.handshakes} clients begin TLS at once, until all have the welcome: s"),
        ("handshakes alone p99 ms", "handshakes", f"{RESUME_PEOPLE} people, {RATE} lines/s, before: p99 ms"),
        ("handshakes p99 ms", "handshakes", "the same meanwhile: p99 ms"),
        ("handshakes ratio", "handshakes", "the second by the first, run by run"),
        ("logins s", "logins", f"{plan.logins} people log in at once, until all have joined: s"),
        ("logins median s", "logins", "until half of them have joined: s"),
        ("logins again", "logins", "number of passwords that were typed again, because the server was busy"),
        ("logins server", "logins", "the server's share of a processor meanwhile"),
        ("logins alone p99 ms", "logins", f"{RESUME_PEOPLE} people in another room, {RATE} lines/s, before: p99 ms"),
        ("logins p99 ms", "logins", "the same meanwhile: p99 ms"),
        ("logins ratio", "logins", "the second by the first, run by run"),
        ("refusals unknown ms", "refusals", f"{plan.refusals} unknown names, until refused: ms (median)"),
        ("refusals wrong ms", "refusals", f"{plan.refusals} wrong passwords, until refused: ms (median)"),
        ("refusals ratio", "refusals", "the first by the second, run by run"),
        ("upload MiB/s", "upload", f"{plan.uploads} files of {plan.upload_bytes // MIB} MiB, each: MiB/s (median)"),
        ("upload server", "upload", "the server's share of a processor meanwhile"),
        ("upload alone p99 ms", "upload", f"{RESUME_PEOPLE} people in another room, {RATE} lines/s, before: p99 ms"),
        ("upload p99 ms", "upload", "the same meanwhile: p99 ms"),
        ("upload ratio", "upload", "the second by the first, run by run"),
        ("resume s", "resume", f"{plan.programs:,} programs resume at once, until all are back: s"),
        ("resume median s", "resume", "until half of them are back: s"),
        ("resume attempts", "resume", "number of attempts"),
        ("resume server", "resume", "the server's share of a processor meanwhile"),
        ("resume load", "resume", "that of the programs"),
        ("resume alone p99 ms", "resume", f"{RESUME_PEOPLE} people in another room, {RATE} lines/s, before: p99 ms"),
        ("resume p99 ms", "resume", "the same meanwhile: p99 ms"),
        ("resume ratio", "resume", "the second by the first, run by run"),
        (
            "cluster file CPU µs",
            "cluster",
            f"{plan.people} people, {OUTSTANDING} outstanding, SQLite: CPU µs for a line",
        ),
        ("cluster one CPU µs", "cluster", "the same with PostgreSQL: CPU µs for a line, without the database"),
        ("cluster one ratio", "cluster", "the second by the first, run by run"),
        ("cluster lines/s", "cluster", f"{NODES} servers, {WINDOW} lines outstanding at each, one room: lines/s"),
        ("cluster lines", "cluster", "lines in a batch (mean)"),
        ("cluster alone lines/s", "cluster", "pgbench with such batches, and no server: lines/s"),
        ("cluster share", "cluster", "the first by this, run by run"),
        ("cluster p50 ms", "cluster", f"{NODES} servers, {RATE} lines/s in all, until another one delivers: p50 ms"),
        ("cluster p99 ms", "cluster", "the same: p99 ms"),
        ("disk p99 ms", "disk", f"{plan.disk} people at {RATE} lines/s: p99 ms"),
        ("in memory p99 ms", "disk", "the same with --ephemeral: p99 ms"),
        ("disk ratio", "disk", "the first by the second, run by run"),
        ("churn alone p99 ms", "churn", f"{CHURN_PEOPLE} people, {CHURN_RATE} lines/s: p99 ms"),
        *(
            row
            for how in ("quit", "reset")
            for row in (
                (f"churn {how} p99 ms", "churn", f"the same with {VISITORS} who join and {how} in a loop: p99 ms"),
                (f"churn {how} ratio", "churn", "the second by the first, run by run"),
                (f"churn {how} visits/s", "churn", "visits per second"),
            )
        ),
        ("alone p99 ms", "stalled", f"{plan.hearers} readers at {RATE} lines/s: p99 ms"),
        ("stalled p99 ms", "stalled", f"the same with {plan.stalled:,} who never read: p99 ms"),
        ("stalled ratio", "stalled", "the second by the first, run by run"),
        ("memory full MiB", "memory", f"memory after {plan.filled:,} lines with those {plan.stalled:,}: MiB"),
        ("memory growth MiB", "memory", f"the most that it grew by until {plan.said:,} lines: MiB"),
        ("startup s", "startup", f"start-up, {plan.journal:,} events in the journal: s"),
        ("startup empty s", "startup", "start-up, no journal: s"),
    ]


_NO_RATIO = (
    "load",
    "growth MiB",
    "stalled ratio",
    "disk ratio",
    "quit ratio",
    "reset ratio",
    ") ratio",
    "json ratio",
    "loaded ratio",
    "handshakes ratio",
    "logins ratio",
    "logins again",
    "logins server",
    "refusals ratio",
    "upload server",
    "upload ratio",
    "uid ratio",
    "websocket ratio",
    "rate ratio",
    "resume ratio",
    "resume server",
    "one ratio",
    "cluster lines",
    "cluster share",
)
"""Ends of names whose ratio means nothing: shares, differences near zero, and ratios."""


def _tables(results: Results) -> list[list[list[str]]]:
    plan = results.plan
    ours = [peer for peer in results.peers if peer.ours]
    tables = [
        _columns(f"{plan.people} people, {plan.senders} senders", _shared(plan), results, results.peers),
        _columns("broadcast alone", _own(plan), results, ours),
        _limits(_shared(plan) + _own(plan), results),
    ]
    return [table for table in tables if len(table) > 1]


def _columns(what: str, rows: Sequence[Row], results: Results, peers: Sequence[Peer]) -> list[list[str]]:
    """Return a table with a column per peer and those of *rows* that are not empty."""
    table = [[what, *(peer.name for peer in peers)]]
    for figure, scenario, label in rows:
        cells = [_cell(results, figure, scenario, peer.name) for peer in peers]
        if any(cells):
            table.append([label, *cells])
    return table


def _limits(rows: Sequence[Row], results: Results) -> list[list[str]]:
    """Return a table of the ratios with and without limits."""
    table = [["with limits, by ``--limits off``, run by run", "x"]]
    for figure, _, label in rows:
        ratio = results.ratio(figure, LIMITED, OURS)
        if ratio and not figure.endswith(_NO_RATIO):
            table.append([label, _spread(ratio)])
    return table


def _cell(results: Results, figure: str, scenario: str, peer: str) -> str:
    if (scenario, peer) in results.failures:
        return "could not run"
    summary = results.summary(figure, peer)
    mark = "\\*" if figure.endswith("deliveries/s") and results.bottleneck(scenario, peer) else ""
    return _spread(summary) + mark if summary else ""


def _remarks(results: Results) -> list[str]:
    legend = (
        f"*unloaded*: one line outstanding; *loaded*: {OUTSTANDING}. CPU: the server's user and system time for one "
        "delivery, all its threads. load: the load generator's share of one processor."
    )
    remarks = [legend]
    limited = [
        f"{scenario} of {peer.name}"
        for scenario in ("unloaded", "loaded", "json", "json line", "uid", "uid none", "websocket", "websocket lines")
        for peer in results.peers
        if results.bottleneck(scenario, peer.name)
    ]
    if limited:
        remarks.append(f"\\* The load generator was the bottleneck: {', '.join(limited)} could be more.")
    remarks += [f"Not measured: {absent.name}, because {absent.why}." for absent in results.absent]
    remarks += [f"Could not run: {name} of {peer}: {why}." for (name, peer), why in results.failures.items()]
    return remarks


def _number(value: float) -> str:
    for limit, form in ((1000, ",.0f"), (100, ".0f"), (10, ".1f"), (0, ".2f")):
        if abs(value) >= limit:
            return format(value, form)
    return format(value, ".2f")


def _spread(summary: Summary) -> str:
    if len(summary.values) == 1:
        return _number(summary.median)
    return f"{_number(summary.median)} ({_number(min(summary.values))} - {_number(max(summary.values))})"


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* as a simple table of reStructuredText. The first row is the header."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    pad: Callable[[Sequence[str]], str] = lambda row: "  ".join(  # noqa: E731
        cell.ljust(width) for cell, width in zip(row, widths, strict=True)
    ).rstrip()
    lines = [pad(row) for row in rows]
    assert all(len(one) == len(other) for one, other in pairwise(rows))
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])
