"""The benchmarks run in their smallest form, and the tables show what was measured. No test asserts a time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.peers import Absent, Peer
from benchmarks.results import GOALS, Results
from benchmarks.scenarios import FULL, QUICK, SCENARIOS, Plan

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("BROADCAST_LONG"))
PEERS = () if LONG else ("--peers", "broadcast,floor")
"""Each server and scenario takes a second or more, so only .ci/long runs all of them."""
NAMES = {scenario.name for scenario in SCENARIOS} if LONG else {"loaded", "websocket", "upload", "refusals"}
TIMEOUT = 240
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks need /proc and epoll")


def run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with *arguments*, perhaps with another search path for programs."""
    environment = os.environ if path is None else os.environ | {"PATH": path}
    return subprocess.run(  # noqa: S603 -- this very Python
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )


@linux
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_every_scenario_runs() -> None:
    only = [word for name in sorted(NAMES) for word in ("--only", name)]
    process = run("-m", "benchmarks", "--tiny", *PEERS, *only)
    assert process.returncode == 0, process.stderr
    for name in NAMES:
        assert f"{name} 1/1: broadcast ... " in process.stderr
        assert not LONG or f"{name} 1/1: with limits ... " in process.stderr
    assert "could not run" not in process.stderr + process.stdout
    assert "loaded: CPU per delivery, against the floor" in process.stdout
    assert "This was the tiny form" in process.stdout
    assert "MISSED" not in process.stdout
    assert "smaller (tiny)" in process.stdout
    for kind in ("unknown names", "wrong passwords"):
        assert re.search(rf"^\d+ {kind}, until refused: ms \(median\) +\d", process.stdout, re.MULTILINE)


@linux
def test_benchmarks_without_a_compiler_say_what_they_did_not_measure(tmp_path: Path) -> None:
    scenarios = ("--only", "loaded")
    peers = ("--peers", "with limits,floor")
    process = run("-m", "benchmarks", "--tiny", *peers, *scenarios, path=str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert "loaded 1/1: with limits ... " in process.stderr
    assert "could not run" not in process.stderr + process.stdout
    assert "The load generator was the one in Python, because no C compiler (cc) is installed" in process.stdout
    assert "Not measured: floor, because no C compiler (cc) is installed." in process.stdout


@linux
def test_every_case_of_long_turns_runs() -> None:
    process = run("benchmarks/turns.py", "--tiny")
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("longest turn") == 9
    assert not process.stderr


def test_page_is_written_only_from_all_scenarios() -> None:
    process = run("-m", "benchmarks", "--write", "--only", "loaded")
    assert process.returncode == 2
    assert "--write needs all scenarios and peers" in process.stderr


def results_of(*names: str, plan: Plan = FULL) -> Results:
    results = Results(plan, [Peer(name, "plain", "1", lambda *_: []) for name in names], [])
    results.wanted = [scenario.name for scenario in SCENARIOS]
    return results


def test_ratio_pairs_the_values_of_one_run() -> None:
    results = results_of("broadcast", "floor")
    for turn, (ours, floor) in enumerate([(2, 1), (30, 10), (8, 2)]):
        results.record(turn, "broadcast", {"loaded CPU µs": ours})
        results.record(turn, "floor", {"loaded CPU µs": floor})
    results.record(3, "broadcast", {"loaded CPU µs": 99})  # the floor's fourth run failed
    ratio = results.ratio("loaded CPU µs", "broadcast", "floor")
    assert ratio is not None
    assert ratio.values == [2, 3, 4]
    assert ratio.median == 3


def test_goal_is_judged_by_the_median_and_only_at_full_size() -> None:
    goal = next(goal for goal in GOALS if goal.command == "startup")
    results = results_of("broadcast")
    assert goal.verdict(results) == "not measured"
    for verdict, seconds in (("aim", 0.4), ("must", 0.7), ("MISSED", 0.8)):
        results.record(0, "broadcast", {"startup s": seconds})
        assert goal.verdict(results) == verdict
    quick = results_of("broadcast", plan=QUICK)
    quick.record(0, "broadcast", {"startup s": 0.1})
    assert goal.verdict(quick) == "smaller (quick)"


def test_goal_for_deliveries_demands_more_than_the_other_server() -> None:
    goal = next(goal for goal in GOALS if goal.what == "loaded: deliveries/s, against NATS")
    results = results_of("broadcast", "NATS")
    results.record(0, "NATS", {"loaded deliveries/s": 10})
    for verdict, rate in (("MISSED", 29), ("must", 30), ("aim", 50)):
        results.record(0, "broadcast", {"loaded deliveries/s": rate})
        assert goal.verdict(results) == verdict


def test_tables_compare_runs_with_and_without_limits() -> None:
    results = results_of()
    results.peers = [Peer(name, "broadcast", "1", lambda *_: []) for name in ("broadcast", "with limits")]
    for turn, (off, on) in enumerate([(2.0, 2.2), (10.0, 9.0), (4.0, 4.0)]):
        for name, value in (("broadcast", off), ("with limits", on)):
            results.record(turn, name, {"startup s": value, "stalled ratio": value, "loaded CPU µs": value})
    tables = report.text(results).split("\n\n")
    own = next(table for table in tables if "broadcast alone  " in table)
    assert "4.00 (2.00 - 10.0)  4.00 (2.20 - 9.00)" in own
    ratios = next(table for table in tables if "with limits, by" in table)
    assert ratios.count("1.00 (0.90 - 1.10)") == 2
    assert "the second by the first" in own
    assert "the second by the first" not in ratios


def test_report_names_what_was_not_measured_and_a_busy_load_generator() -> None:
    results = results_of("broadcast", "NATS")
    results.absent = [Absent("Ergo", "it is not installed")]
    results.failures["loaded", "NATS"] = "it fell over"
    results.record(0, "broadcast", {"loaded deliveries/s": 1234.5, "loaded load": 0.97, "loaded server": 0.8})
    page = report.text(results)
    assert "Not measured: Ergo, because it is not installed." in page
    assert "Could not run: loaded of NATS: it fell over." in page
    row = next(line for line in page.splitlines() if line.startswith("loaded: deliveries/s   "))
    assert row.split("  ")[-1] == "could not run"
    assert "1,23" in row
    assert "The load generator was the bottleneck: loaded of broadcast" in page
    results.record(0, "broadcast", {"loaded load": 0.97, "loaded server": 0.99})
    assert "bottleneck" not in report.text(results)


def test_only_the_text_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "README.rst"
    page.write_text(f"before\n\n{report.BEGIN}\n\nold\n\n{report.END}\nafter\n")
    results = results_of("broadcast")
    results.record(0, "broadcast", {"startup s": 0.5})
    report.write(results, page, [tmp_path / "deliveries.png"])
    written = page.read_text()
    assert written.startswith(f"before\n\n{report.BEGIN}\n")
    assert written.endswith(f"\n.. image:: deliveries.png\n\n{report.END}\nafter\n")
    assert "old" not in written
    assert "0.50 s" in written
