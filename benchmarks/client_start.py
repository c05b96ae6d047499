"""``python -m benchmarks.client_start HOST:PORT``: the start-up times of the client, with a server that runs there.

The commands run in turn, so that other load on the machine affects all of them. A ratio is computed per round.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

ROUNDS: Final = 40
PYTHON: Final = (sys.executable, "-c")
ROWS: Final = (
    ("python -c pass", 0, 0),
    ("broadcast-client --send", 1, 0),
    ("python -c 'import prompt_toolkit'", 2, 2),
    ("broadcast-client, first prompt", 3, 2),
)
"""The name of each command, its place in a round, and the place of the command that it is compared with."""
Times = tuple[float, float]
"""The wall time and the CPU time of a process, in seconds."""
CLIENT: Final = str(Path(sys.executable).with_name("broadcast-client"))


def main(address: str) -> None:
    """Measure, and print the medians."""
    # Without their compiled form, the client's modules would be compiled at each start.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    rounds: list[tuple[Times, ...]] = []
    with TemporaryDirectory() as home:
        environment |= {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_STATE_HOME": home, "TERM": "xterm-256color"}
        for _ in range(ROUNDS + 1):
            empty = run([*PYTHON, "pass"], environment)
            send = run([CLIENT, address, "--nick", "starter", "--send", "started"], environment)
            library = run([*PYTHON, "import prompt_toolkit"], environment)
            rounds.append((empty, send, library, run_until_prompt([CLIENT, address], environment)))
    del rounds[0]  # the modules are compiled and cached after the first round
    print("                                  wall time        CPU time")
    for name, number, base in ROWS:
        wall, cpu = (median(row[number][kind] for row in rounds) * 1000 for kind in (0, 1))
        wall_ratio, cpu_ratio = (median(row[number][kind] / row[base][kind] for row in rounds) for kind in (0, 1))
        print(f"{name:32}{wall:6.1f} ms {wall_ratio:5.2f} {cpu:6.1f} ms {cpu_ratio:5.2f}")


def run(command: Sequence[str], environment: dict[str, str]) -> Times:
    """Run *command*, and return how long it takes."""
    start = perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    return wait(process, start)


def run_until_prompt(command: Sequence[str], environment: dict[str, str]) -> Times:
    """Run the client on a terminal until its question for a nickname, and return how long that takes."""
    main_side, terminal = pty.openpty()
    start = perf_counter()
    client = subprocess.Popen(command, env=environment, stdin=terminal, stdout=terminal, start_new_session=True)
    os.close(terminal)
    shown = b""
    while b"Nickname" not in shown:
        shown += os.read(main_side, 65536)
    client.kill()
    times = wait(client, start)
    os.close(main_side)
    return times


def wait(process: subprocess.Popen[bytes], start: float) -> Times:
    """Wait for the end of a process that has started at *start*."""
    _, process.returncode, usage = os.wait4(process.pid, 0)
    return perf_counter() - start, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(sys.argv[1])
