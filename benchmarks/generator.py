"""One run of the load generator, and the events that it reports."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

from benchmarks.peers import Started
from benchmarks.processes import BenchmarkError
from benchmarks.tools import Tools

_first_numbers: Final = cycle((0, 50_000))
"""The number in the first nickname of a run. The server may not have noticed yet that the people before have left."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of one run. Times are in seconds unless noted."""

    deliveries: int
    lines: int
    seconds: float
    server_cpu: float
    load_cpu: float
    p50: float
    """Milliseconds from sending a line (in open loop: from when it was due) until a subscriber has read it."""
    p99: float
    worst: float
    p99_last: float
    """The same, until the last subscriber has read it."""
    exact: bool
    gone: int
    stalled_took: float
    """Share of the sent bytes that the kernel accepted for clients that never read; -1 if unknown."""

    @property
    def rate(self) -> float:
        """Deliveries per second."""
        return self.deliveries / self.seconds

    @property
    def cpu(self) -> float:
        """Microseconds of the server's CPU time per delivery."""
        return self.server_cpu / self.deliveries * 1e6

    @property
    def load_share(self) -> float:
        """Share of one processor that the load generator used."""
        return self.load_cpu / self.seconds


class Generator:
    """A running load generator."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the event *name* and return it. Raise ``BenchmarkError`` if another event arrives."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise BenchmarkError("the load generator ended without a report")
        event: dict[str, Any] = json.loads(line)
        if event["event"] != name:
            reasons = [str(event.pop("why"))] if "why" in event else []
            details = ", ".join(reasons + [f"{key} {value}" for key, value in event.items() if key != "event"])
            raise BenchmarkError(details or f"the load generator did not get as far as {name!r}")
        return event

    def measured(self) -> Measured:
        """Wait for the end and return the result. Raise ``BenchmarkError``, also if lines are missing."""
        event = self.event("end")
        del event["event"]
        measured = Measured(**event)
        if not measured.deliveries:
            raise BenchmarkError("no line was delivered in time")
        if not measured.exact:
            raise BenchmarkError(f"some lines did not arrive; {measured.gone} connections were closed")
        return measured

    def go_on(self) -> None:
        """Let the generator continue after a hold."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()


@contextmanager
def generate(tools: Tools, started: Started, **settings: float) -> Iterator[Generator]:
    """Run the load generator against *started* with *settings* (see load.c), and kill it at the end."""
    peer = started.peer
    first = next(_first_numbers)
    everything = {
        "port": started.port, "pid": started.server.pid, "first": first, "echo": int(peer.echo), "settle": peer.settle,
        "arriving": peer.arriving, "websocket": int(peer.websocket),
        "limit": 300,
    }  # fmt: skip
    with _running([*tools.load, f"dialect={peer.dialect}"], everything | settings) as generator:
        yield generator


@contextmanager
def resume_programs(tools: Tools, started: Started, **settings: str | float) -> Iterator[Generator]:
    """Run the programs that resume their sessions against *started* with *settings* (see programs.c)."""
    assert tools.programs is not None
    everything = {"port": started.port, "pid": started.server.pid, "limit": 300}
    with _running([tools.programs], everything | settings) as generator:
        yield generator


@contextmanager
def shake_hands(tools: Tools, **settings: int) -> Iterator[Generator]:
    """Run the clients that connect at the same time, with *settings* (see handshakes.c)."""
    assert tools.handshakes is not None
    with _running([tools.handshakes], settings) as generator:
        yield generator


@contextmanager
def _running(command: Sequence[str], settings: Mapping[str, str | float]) -> Iterator[Generator]:
    """Run *command* with *settings*, and kill it at the end."""
    words = [f"{key}={value}" for key, value in settings.items()]
    popen = subprocess.Popen([*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Generator(popen)
    finally:
        popen.kill()
        popen.communicate()
