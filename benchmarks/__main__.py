"""``python -m benchmarks``: run each scenario for each peer in turn, and print the results."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from benchmarks import pictures, report
from benchmarks.peers import OURS, Absent, Peer, find
from benchmarks.processes import BenchmarkError
from benchmarks.results import Results
from benchmarks.scenarios import FULL, QUICK, SCENARIOS, TINY, Bench, Scenario
from benchmarks.tools import HERE, build


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks. Return 1 if broadcast or the floor could not be measured, otherwise 0."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write and (options.tiny or options.only or options.peers):
        parser.error("--write needs all scenarios and peers: leave out --tiny, --only and --peers")
    if options.tiny and not options.peers:
        options.peers = ["broadcast", "with limits", "floor", "naive twisted"]
    plan = TINY if options.tiny else QUICK if options.quick else FULL
    wanted = [scenario for scenario in SCENARIOS if not options.only or scenario.name in options.only]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # exit normally, so that the started servers end too
    with TemporaryDirectory(prefix="broadcast-benchmarks-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # ngIRCd reads its configuration as another user
        try:
            tools = build(folder)
        except BenchmarkError as error:
            sys.stderr.write(f"benchmarks: {error}\n")
            return 1
        found = find(tools, folder, options.peers or ())
        results = Results(plan, [peer for peer in found if isinstance(peer, Peer)], tools.notes)
        results.wanted = [scenario.name for scenario in wanted]
        results.absent = [peer for peer in found if isinstance(peer, Absent)]
        bench = Bench(tools, plan, folder)
        for scenario in wanted:
            _run(bench, scenario, results, options.runs)
    sys.stdout.write("\n" + report.text(results))
    drawn: Sequence[Path] = ()
    if options.write or options.pictures:
        drawn = pictures.draw(results, HERE if options.write else options.pictures)
    if options.write:
        report.write(results, HERE / "README.rst", drawn)
    missing = {peer for _, peer in results.failures} | {peer.name for peer in results.absent if peer.name == OURS}
    return 1 if missing & {OURS, "floor"} else 0


def _run(bench: Bench, scenario: Scenario, results: Results, runs: int | None) -> None:
    """Run *scenario* once for each peer, then again, until all runs are complete."""
    times = runs or bench.plan.runs
    others = {"always": times, "seldom": min(times, bench.plan.seldom), "never": 0}[scenario.others]
    for run in range(times):
        for peer in results.peers:
            if not peer.ours and (run >= others or peer.websocket is not (scenario.name == "websocket")):
                continue
            if (scenario.name, peer.name) in results.failures:
                continue
            _progress(f"{scenario.name} {run + 1}/{times}: {peer.name} ... ")
            began = monotonic()
            try:
                figures = scenario.measure(bench, peer)
            except BenchmarkError as error:
                results.failures[scenario.name, peer.name] = str(error)
                _progress(f"could not run: {error}\n")
            else:
                results.record(run, peer.name, figures)
                _progress(f"{report.brief(figures)} ({monotonic() - began:.1f} s)\n")


def _progress(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="one smaller run, in about two minutes")
    sizes.add_argument("--tiny", action="store_true", help="the smallest run, which only shows that everything works")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", action="append", choices=names, help="run only this scenario; can be repeated")
    parser.add_argument("--peers", type=_names, help="run only these servers, separated by commas; by default all")
    parser.add_argument("--runs", type=_positive, help="number of runs; by default 5, with --quick 1")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw the pictures, as PNG files, into DIR")
    parser.add_argument("--write", action="store_true", help="write the tables and the pictures into benchmarks/")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip().casefold() for name in text.split(",")]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
