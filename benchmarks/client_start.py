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
CLIENT: Final = str(Path(sys.executable).with_name("broadcast-client"))


def main(address: str) -> None:
    """Measure, and print the medians."""
    # Without their compiled form, the client's modules would be compiled at each start.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    rows: list[tuple[float, float, float, float]] = []
    with TemporaryDirectory() as home:
        environment |= {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_STATE_HOME": home, "TERM": "xterm-256color"}
        for _ in range(ROUNDS + 1):
            empty = run([*PYTHON, "pass"], environment)
            send = run([CLIENT, address, "--nick", "starter", "--send", "started"], environment)
            library = run([*PYTHON, "import prompt_toolkit"], environment)
            rows.append((empty, send, library, until_prompt([CLIENT, address], environment)))
    del rows[0]  # the modules are compiled and cached after the first round
    empty, send, library, prompt = (median(column) * 1000 for column in zip(*rows, strict=True))
    print(f"python -c pass                     {empty:6.1f} ms")
    print(f"broadcast-client --send            {send:6.1f} ms  {median(row[1] / row[0] for row in rows):.2f} times")
    print(f"python -c 'import prompt_toolkit'  {library:6.1f} ms")
    print(f"broadcast-client, first prompt     {prompt:6.1f} ms  {median(row[3] / row[2] for row in rows):.2f} times")


def run(command: Sequence[str], environment: dict[str, str]) -> float:
    """Return the seconds that *command* takes."""
    start = perf_counter()
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL)
    return perf_counter() - start


def until_prompt(command: Sequence[str], environment: dict[str, str]) -> float:
    """Return the seconds from the start of the client on a terminal to its question for a nickname."""
    main_side, terminal = pty.openpty()
    start = perf_counter()
    client = subprocess.Popen(command, env=environment, stdin=terminal, stdout=terminal, start_new_session=True)
    os.close(terminal)
    shown = b""
    while b"Nickname" not in shown:
        shown += os.read(main_side, 65536)
    taken = perf_counter() - start
    client.kill()
    client.wait()
    os.close(main_side)
    return taken


if __name__ == "__main__":
    main(sys.argv[1])
