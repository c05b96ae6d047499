"""One run of the load generator, as the events that it reports."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import Started
from benchmarks.processes import BenchmarkError
from benchmarks.tools import Tools


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run found out; times in seconds unless a name says otherwise."""

    deliveries: int
    lines: int
    seconds: float
    server_cpu: float
    load_cpu: float
    p50: float
    """Milliseconds from when a line was said (open loop: due) until a reader had it."""
    p99: float
    worst: float
    p99_last: float
    """The same until the last reader had it."""
    exact: bool
    gone: int
    stalled_took: float
    """Which part of what was said the kernel still took in for those who never read; -1: not known."""

    @property
    def rate(self) -> float:
        """Deliveries a second."""
        return self.deliveries / self.seconds

    @property
    def cpu(self) -> float:
        """Microseconds of the server's processor time for one delivery."""
        return self.server_cpu / self.deliveries * 1e6

    @property
    def load_share(self) -> float:
        """How much of one processor the load generator took."""
        return self.load_cpu / self.seconds


class Generator:
    """A load generator that runs."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the event *name*; raises ``BenchmarkError`` when something else happened."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise BenchmarkError("the load generator ended without a word")
        event: dict[str, Any] = json.loads(line)
        if event["event"] != name:
            why = [str(event.pop("why"))] if "why" in event else []
            details = ", ".join(why + [f"{key} {value}" for key, value in event.items() if key != "event"])
            raise BenchmarkError(details or f"the load generator did not get as far as {name!r}")
        return event

    def measured(self) -> Measured:
        """Wait for the end; raises ``BenchmarkError``, also when what was said did not arrive."""
        event = self.event("end")
        del event["event"]
        measured = Measured(**event)
        if not measured.deliveries:
            raise BenchmarkError("nothing was delivered in the time")
        if not measured.exact:
            raise BenchmarkError(f"not everything that was said arrived; {measured.gone} connections were cut off")
        return measured

    def go_on(self) -> None:
        """Let it go on after a hold."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()


@contextmanager
def generate(tools: Tools, started: Started, **settings: float) -> Iterator[Generator]:
    """Run the load generator against *started* with *settings* (those of load.c); it is gone afterwards."""
    peer = started.peer
    everything = {
        "port": started.port, "pid": started.server.pid, "echo": int(peer.echo), "settle": peer.settle,
        "arriving": peer.arriving,
        "limit": 300,
    }  # fmt: skip
    words = [f"{key}={value}" for key, value in (everything | settings).items()]
    popen = subprocess.Popen(
        [*tools.load, f"dialect={peer.dialect}", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Generator(popen)
    finally:
        popen.kill()
        popen.communicate()
