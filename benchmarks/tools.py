"""The C programs of the benchmarks, compiled for this machine, and their replacement without a compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkError

HERE = Path(__file__).parent
NO_COMPILER = "no C compiler (cc) is installed"


@dataclass(frozen=True, slots=True)
class Tools:
    """The load generator and the floor."""

    load: list[str]
    """Command of the load generator."""
    floor: str | None
    """Path of the floor, or None without a compiler."""
    programs: str | None
    """Path of the programs that resume their sessions, or None without a compiler."""
    notes: list[str]
    """Remarks to print with the results."""
    compiler: str
    """Name and version of the compiler."""


def build(folder: Path) -> Tools:
    """Compile the C programs into *folder* and return the tools."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        reason = NO_COMPILER if compiler is None else "the C programs need Linux"
        note = f"The load generator was the one in Python, because {reason}. It is slow and may be the bottleneck."
        return Tools([sys.executable, str(HERE / "load.py")], None, None, [note], "none")
    for name in ("floor", "load", "programs"):
        command = [compiler, "-O2", "-o", str(folder / name), str(HERE / f"{name}.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise BenchmarkError(f"{name}.c could not be compiled: {done.stderr[:500]}")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    floor, programs = str(folder / "floor"), str(folder / "programs")
    return Tools([str(folder / "load")], floor, programs, [], version.stdout.splitlines()[0])
