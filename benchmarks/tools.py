"""The C programs of the benchmarks, compiled for this machine, and their replacement without a compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkError

HERE = Path(__file__).parent
_OPENSSL = ["-lssl", "-lcrypto"]
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
    handshakes: str | None
    """Path of the clients with TLS; None without a compiler or the headers of OpenSSL. Then load speaks no TLS."""
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
        return Tools([sys.executable, str(HERE / "load.py")], None, None, None, [note], "none")
    notes: list[str] = []
    with_tls = not _compile(compiler, folder, "handshakes", _OPENSSL)
    if not with_tls:
        notes.append("The headers of OpenSSL (libssl-dev) are missing, so nothing with TLS was measured.")
    for name in ("floor", "load", "programs"):
        if errors := _compile(compiler, folder, name, ["-DWITH_TLS", *_OPENSSL] if with_tls and name == "load" else []):
            raise BenchmarkError(f"{name}.c could not be compiled: {errors[:500]}")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    floor, programs, handshakes = (str(folder / name) for name in ("floor", "programs", "handshakes"))
    first_line = version.stdout.splitlines()[0]
    return Tools([str(folder / "load")], floor, programs, handshakes if with_tls else None, notes, first_line)


def _compile(compiler: str, folder: Path, name: str, options: Sequence[str]) -> str:
    """Compile the program *name* into *folder*. Return the errors, empty if there are none."""
    command = [compiler, "-O2", "-o", str(folder / name), str(HERE / f"{name}.c"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.stderr or "unknown" if done.returncode else ""
