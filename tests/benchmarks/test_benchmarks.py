"""That the benchmarks run, in their tiniest form, and that the tables say what was measured. No time is asserted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.peers import Absent, Peer
from benchmarks.results import GOALS, Results
from benchmarks.scenarios import FULL, QUICK, SCENARIOS

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("BROADCAST_LONG"))
PEERS = () if LONG else ("--peers", "broadcast,floor")
"""Each server and scenario takes a second or more: .ci/long takes all of them."""
PATIENCE = 240
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks need /proc and epoll")


def run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environment = os.environ if path is None else os.environ | {"PATH": path}
    return subprocess.run(  # noqa: S603 - this very Python
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


@linux
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_every_scenario_runs() -> None:
    done = run("--tiny", *PEERS)
    assert done.returncode == 0, done.stderr
    for scenario in SCENARIOS:
        assert f"{scenario.name} 1/1: broadcast ... " in done.stderr
        assert not LONG or f"{scenario.name} 1/1: with limits ... " in done.stderr
    assert "could not run" not in done.stderr + done.stdout
    assert "loaded: CPU per delivery, against the floor" in done.stdout
    assert "This was the tiny form" in done.stdout
    assert "MISSED" not in done.stdout
    assert "smaller (tiny)" in done.stdout


@linux
def test_without_a_compiler_it_runs_and_says_so(tmp_path: Path) -> None:
    scenarios = ("--only", "loaded", "--only", "latency", "--only", "memory")
    done = run("--tiny", "--peers", "broadcast,with limits,floor", *scenarios, path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "loaded 1/1: with limits ... " in done.stderr
    assert "could not run" not in done.stderr + done.stdout
    assert "The load generator was the one in Python, because no C compiler (cc) is installed" in done.stdout
    assert "Not measured: floor, because no C compiler (cc) is installed." in done.stdout


@linux
def test_every_case_of_long_turns_runs() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "turns.py"), "--tiny"]
    done = subprocess.run(  # noqa: S603 - this very Python
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("longest turn") == 8
    assert not done.stderr


def test_the_page_is_not_written_from_a_part_of_the_scenarios() -> None:
    done = run("--write", "--only", "loaded")
    assert done.returncode == 2
    assert "--write needs all scenarios and peers" in done.stderr


def results(*names: str, plan: object = FULL) -> Results:
    assert plan in {FULL, QUICK}
    made = Results(FULL if plan is FULL else QUICK, [Peer(name, "plain", "1", lambda *_: []) for name in names], [])
    made.wanted = [scenario.name for scenario in SCENARIOS]
    return made


def test_a_ratio_pairs_the_figures_of_one_run() -> None:
    made = results("broadcast", "floor")
    for turn, (ours, floor) in enumerate([(2, 1), (30, 10), (8, 2)]):
        made.record(turn, "broadcast", {"loaded CPU µs": ours})
        made.record(turn, "floor", {"loaded CPU µs": floor})
    made.record(3, "broadcast", {"loaded CPU µs": 99})  # the floor's fourth run failed
    ratio = made.ratio("loaded CPU µs", "broadcast", "floor")
    assert ratio is not None
    assert ratio.values == [2, 3, 4]
    assert ratio.median == 3


def test_a_goal_is_judged_by_the_median_and_only_in_its_full_size() -> None:
    goal = next(goal for goal in GOALS if goal.command == "startup")
    made = results("broadcast")
    assert goal.verdict(made) == "not measured"
    for verdict, seconds in (("aim", 0.7), ("must", 1.5), ("MISSED", 1.6)):
        made.record(0, "broadcast", {"startup s": seconds})
        assert goal.verdict(made) == verdict
    quick = results("broadcast", plan=QUICK)
    quick.record(0, "broadcast", {"startup s": 0.1})
    assert goal.verdict(quick) == "smaller (quick)"


def test_with_and_without_limits_stand_side_by_side_in_every_figure() -> None:
    made = results()
    made.peers = [Peer(name, "broadcast", "1", lambda *_: []) for name in ("broadcast", "with limits")]
    for turn, (off, on) in enumerate([(2.0, 2.2), (10.0, 9.0), (4.0, 4.0)]):
        for name, value in (("broadcast", off), ("with limits", on)):
            made.record(turn, name, {"startup s": value, "stalled ratio": value, "loaded CPU µs": value})
    tables = report.text(made).split("\n\n")
    own = next(table for table in tables if "broadcast alone  " in table)
    assert "4.00 (2.00 - 10.0)  4.00 (2.20 - 9.00)" in own
    ratios = next(table for table in tables if "with limits, by" in table)
    assert ratios.count("1.00 (0.90 - 1.10)") == 2
    assert "the second by the first" in own
    assert "the second by the first" not in ratios


def test_more_is_better_where_deliveries_are_compared() -> None:
    goal = next(goal for goal in GOALS if goal.what == "loaded: deliveries/s, against NATS")
    made = results("broadcast", "NATS")
    made.record(0, "NATS", {"loaded deliveries/s": 10})
    for verdict, rate in (("MISSED", 19), ("must", 20), ("aim", 30)):
        made.record(0, "broadcast", {"loaded deliveries/s": rate})
        assert goal.verdict(made) == verdict


def test_what_was_not_measured_is_not_in_the_table_but_named() -> None:
    made = results("broadcast", "NATS")
    made.absent = [Absent("Ergo", "it is not installed")]
    made.failures["loaded", "NATS"] = "it fell over"
    made.record(0, "broadcast", {"loaded deliveries/s": 1234.5})
    page = report.text(made)
    assert "Not measured: Ergo, because it is not installed." in page
    assert "Could not run: loaded of NATS: it fell over." in page
    row = next(line for line in page.splitlines() if line.startswith("loaded: deliveries/s   "))
    assert row.split("  ")[-1] == "could not run"
    assert "1,23" in row


def test_a_busy_load_generator_is_said_to_be_the_bottleneck() -> None:
    made = results("broadcast")
    made.record(0, "broadcast", {"loaded deliveries/s": 5, "loaded load": 0.97, "loaded server": 0.8})
    assert "The load generator was the bottleneck: loaded of broadcast" in report.text(made)
    made.record(0, "broadcast", {"loaded load": 0.97, "loaded server": 0.99})
    assert "bottleneck" not in report.text(made)


def test_only_what_stands_between_the_marks_is_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "README.rst"
    page.write_text(f"before\n\n{report.BEGIN}\n\nold\n\n{report.END}\nafter\n")
    made = results("broadcast")
    made.record(0, "broadcast", {"startup s": 0.5})
    report.write(made, page, [tmp_path / "deliveries.png"])
    written = page.read_text()
    assert written.startswith(f"before\n\n{report.BEGIN}\n")
    assert written.endswith(f"\n.. image:: deliveries.png\n\n{report.END}\nafter\n")
    assert "old" not in written
    assert "0.50 s" in written
