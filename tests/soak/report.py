"""The outcome of a run as text, as the page ``soak.rst``, and as a picture."""

from __future__ import annotations

import os
import platform
import sqlite3
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.soak.run import SHARES, TOLERANCE, Outcome, Sample, percentile
from tests.soak.server import SoakError
from tests.soak.strangers import AWAY_SECONDS

_MIB = 1 << 20

_INTRODUCTION = """\
The soak test, ``python -m tests.soak``, starts ``twistd -n broadcast`` with its defaults. Thousands of clients of
many kinds then join, talk, stall, reset their connections and misbehave. They run in one process that shares no code
with the server. The test compares everything that a well-behaved reader receives, byte for byte, with the prediction
of a model (``tests/soak/model.py``).

If the model cannot explain a line, the test prints the first difference, keeps the server's log and journal, and
exits with status 1. ``--seed`` repeats the random choices; the timing depends on the machine. ``.ci/long`` runs five
minutes of the test.
"""


def check_pictures() -> None:
    """Raise ``SoakError`` if matplotlib is missing: the user learns it before the run, not an hour later."""
    try:
        import_module("matplotlib").use("Agg")
    except ImportError as error:
        raise SoakError("--write draws a picture, and matplotlib is not installed (pip install '.[bench]')") from error


def text(outcome: Outcome) -> str:
    """Return the outcome for a terminal."""
    parts = [_conditions(outcome), _table(_rows(outcome))]
    if outcome.wrong:
        wrong = "".join(f"  {each}\n" for each in outcome.wrong[:10])
        more = f"  and {len(outcome.wrong) - 10} more\n" if len(outcome.wrong) > 10 else ""
        parts.append(f"NOT AS IT SHOULD BE:\n{wrong}{more}")
        parts.append(f"To repeat it: {_command(outcome)}\n\nThe end of the server's log:\n{outcome.log_tail}\n")
    else:
        parts.append("Every line that anybody read is explained.\n")
    return "\n".join(parts)


def write(outcome: Outcome, folder: Path) -> None:
    """Write the page and its picture to *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    draw(outcome.samples, folder / "soak.png", f"{outcome.people:,} people")
    kinds = ", ".join(f"{kind.__name__.lower()}s {share:.2%}".replace(".00%", "%") for kind, share in SHARES.items())
    page = [
        "Soak\n====\n",
        _INTRODUCTION,
        "The last run\n------------\n",
        _conditions(outcome) + "\n\n    " + _command(outcome) + "\n",
        _table(_rows(outcome)),
        ".. image:: soak.png\n",
        _filled(
            f"The kinds of clients and their shares (at least one of each; all others only read): {kinds}. "
            "``tests/soak/people.py`` and ``tests/soak/strangers.py`` describe each kind."
        ),
        _filled(
            "During the warm-up, every client joins and leaves once, and 10,000 lines fill the replay buffer. At the "
            f"end, memory may be {TOLERANCE // _MIB} MiB above its value after the warm-up, because allocators return "
            "memory only in large blocks. The numbers of files and threads must not grow."
        ),
        _filled(
            "The latency of a delivery is the time from just before a line is sent until a reader that reads at once "
            "has it. It includes the turn of the test, which shares the machine with the server."
        ),
    ]
    (folder / "soak.rst").write_text("\n".join(page))


def _filled(paragraph: str) -> str:
    return textwrap.fill(paragraph, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def draw(samples: Sequence[Sample], path: Path, title: str) -> None:
    """Draw memory, latency and processor time to *path*."""
    check_pictures()
    plt: Any = import_module("matplotlib.pyplot")
    minutes = [sample.at / 60 for sample in samples]
    figure, (memory, delay, cpu) = plt.subplots(3, 1, figsize=(9, 9), sharex=True, layout="constrained")
    memory.plot(minutes, [sample.vitals.resident / _MIB for sample in samples], label="resident")
    memory.plot(minutes, [sample.vitals.proportional / _MIB for sample in samples], label="proportional")
    memory.set(ylabel="server's memory, MiB", title=title, ylim=(0, None))
    delay.plot(minutes, [sample.p99 * 1e3 or None for sample in samples], label="p99 of a delivery")
    delay.plot(minutes, [sample.lag * 1e3 or None for sample in samples], label="a ping", alpha=0.6)
    delay.set(ylabel="ms", yscale="log")
    cpu.plot(minutes, [sample.server * 100 for sample in samples], label="server")
    cpu.plot(minutes, [sample.soak * 100 for sample in samples], label="soak")
    cpu.set(ylabel="% of a processor", xlabel="minutes", ylim=(0, None))
    for axes in (memory, delay, cpu):
        axes.legend()
        axes.grid(visible=True, alpha=0.2)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _command(outcome: Outcome) -> str:
    return f"python -m tests.soak --people {outcome.people} --seconds {outcome.seconds:g} --seed {outcome.seed}"


def _conditions(outcome: Outcome) -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    return textwrap.fill(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.release()} on {platform.machine()}, "
        f"{os.cpu_count()} processors, {memory:.0f} GiB; broadcast {version('broadcast')}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, Twisted {version('Twisted')}, "
        f"Automat {version('Automat')}. {outcome.people:,} people for {outcome.seconds:,.0f} seconds, after a "
        "warm-up::",
        120,
    )


def _rows(outcome: Outcome) -> dict[str, str]:
    """Return the rows of the table."""
    n = {name: f"{count:,}" for name, count in outcome.counts.items()}
    n = defaultdict(lambda: "0", n)
    return {
        "lines said": f"{n['said']}, of which {outcome.counts['pastes'] * 40:,} in pastes of 40",
        "lines in the journal": f"{outcome.kept:,} with the warm-up's {n['lines of the warm-up']}, each as read",
        "lines read, each compared": n["received"],
        "lines named in gap notices": f"{n['missed']} in {n['notices']} notices",
        "lines for one client only": f"{n['private']}: replies and {n['whispers read']} private lines",
        "receipts, each compared": n["receipts"],
        "nickname changes": n["renames"],
        "joins and leaves told": f"{n['joins told']} and {n['leaves told']}, {n['crowds']} crowds",
        "visits": ", ".join(f"{kind} {n[f'{kind} visits']}" for kind in [*(each.kind for each in SHARES), "reader"]),
        "stalls": n["stalls"],
        "connections reset": f"{n['resets']} by resetters",
        "lines lost by resets": n["lines lost with a connection that was reset"],
        "floods throttled": f"{n['floods slowed']} times a flooder was more than 40 lines ahead",
        "nickname time-outs": f"{n['shown the door without a nickname']} after 60 s without a nickname",
        "garbage": f"{n['garbage visits']} connections, {n['garbage answered']} got a reply",
        "lines by garbage nicknames": n["strangers"],
        "half-open": _absences(outcome),
        **_sample_rows(outcome),
    }


def _absences(outcome: Outcome) -> str:
    counts, absences = outcome.counts, outcome.absences
    fared = f"{counts['networks stopped']:,} networks stopped"
    if absences:
        fared += (
            f"; {len(absences):,} times the others read who had left: after {percentile(absences, 0.5):.0f} s "
            f"(median), {max(absences):.0f} s at most"
        )
    if back := counts["cut off when they were back"]:
        fared += f"; all {back:,} who came back after {AWAY_SECONDS:.0f} s had been disconnected"
    return fared


def _sample_rows(outcome: Outcome) -> dict[str, str]:
    samples, rows = outcome.samples, {}
    if samples:
        lines = (samples[-1].lines - samples[0].lines) / max(samples[-1].at - samples[0].at, 1.0)
        here = percentile([sample.here for sample in samples], 0.5)
        p99s = _spread([sample.p99 for sample in samples if sample.p99])
        cpu = " and ".join(
            f"{sum(shares) / len(shares):.0%} (most in a second {max(shares):.0%})"
            for shares in ([sample.server for sample in samples], [sample.soak for sample in samples])
        )
        rows = {
            "people here at a time": f"{here:,.0f} (who behave; median)",
            "lines a second": f"{lines:.1f}",
            "p99 of a delivery, each second's": f"{p99s}; {outcome.counts['latencies']:,} deliveries timed",
            "a ping": _spread([sample.lag for sample in samples if sample.lag]),
            "the soak's own longest turn": _spread([sample.turn for sample in samples]),
            "processor: server, soak": cpu,
            "server's memory, with everybody here": (
                f"at most {max(sample.vitals.proportional for sample in samples) / _MIB:.1f} MiB"
            ),
        }
    for name, vitals in (("after the warm-up", outcome.base), ("in the end", outcome.after)):
        if vitals is not None:
            memory = f"{vitals.proportional / _MIB:.1f} MiB"
            rows[f"the empty server {name}"] = f"{memory}, {vitals.files} files, {vitals.threads} threads"
    return rows


def _spread(seconds: Sequence[float]) -> str:
    """Return the distribution of *seconds* in milliseconds."""
    middle, high = (percentile(seconds, part) * 1e3 for part in (0.5, 0.99))
    return f"median {middle:.1f} ms, 99th percentile {high:.1f} ms, worst {max(seconds, default=0.0) * 1e3:.1f} ms"


def _table(rows: Mapping[str, str]) -> str:
    """Return *rows* as a simple table of reStructuredText, at most 120 characters wide."""
    first = max(map(len, rows))
    second = 118 - first
    line = f"{'=' * first}  {'=' * second}"
    cells = [line]
    for name, value in rows.items():
        head, *more = textwrap.wrap(value, second) or [""]
        cells += [f"{name:{first}}  {head}", *(f"{'':{first}}  {each}" for each in more)]
    return "\n".join([*cells, line]) + "\n"
