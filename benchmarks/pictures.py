"""The results as pictures. Needs matplotlib."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.results import Results


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw the results into *folder* and return the files. Without matplotlib, print a note and return none."""
    try:
        import_module("matplotlib").use("Agg")
    except ImportError:
        sys.stderr.write("No pictures: matplotlib is not installed (pip install '.[bench]').\n")
        return []
    folder.mkdir(parents=True, exist_ok=True)
    return [path for path in (_cost(results, folder), _growth(results, folder)) if path is not None]


def _pyplot() -> Any:  # noqa: ANN401 - matplotlib is optional, also for the type checker
    return import_module("matplotlib.pyplot")


def _cost(results: Results, folder: Path) -> Path | None:
    """Draw deliveries per second against CPU time per delivery."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    drawn = False
    for number, peer in enumerate(results.peers):
        for scenario, marker in (("unloaded", "o"), ("loaded", "s")):
            rate = results.summary(f"{scenario} deliveries/s", peer.name)
            cost = results.summary(f"{scenario} CPU µs", peer.name)
            if rate is None or cost is None:
                continue
            drawn = True
            label = peer.name if scenario == "loaded" else None
            axes.plot(cost.median, rate.median, marker, color=f"C{number}", markersize=9, label=label)
    axes.set(
        xscale="log", yscale="log", xlabel="server CPU per delivery, µs", ylabel="deliveries/s",
        title=f"{results.plan.people} connections, circles: one line outstanding, squares: 64",
    )  # fmt: skip
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend()
    path = folder / "deliveries.png"
    if drawn:
        figure.savefig(path, dpi=110)
    plt.close(figure)
    return path if drawn else None


def _growth(results: Results, folder: Path) -> Path | None:
    """Draw the 99th percentile of a delivery against the number of connections."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    drawn = False
    for number, peer in enumerate(results.peers):
        points = [(people, results.summary(f"growth {people} p99 ms", peer.name)) for people in results.plan.growth]
        known = [(people, summary.median) for people, summary in points if summary is not None]
        if known:
            drawn = True
            axes.plot(*zip(*known, strict=True), "o-", color=f"C{number}", label=peer.name)
    axes.set(
        xscale="log", yscale="log", xlabel="connections", ylabel="p99 of a delivery, ms",
        title="200 lines/s, but at most 200,000 deliveries/s",
    )  # fmt: skip
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend()
    path = folder / "latency.png"
    if drawn:
        figure.savefig(path, dpi=110)
    plt.close(figure)
    return path if drawn else None
