"""``python -m tests.soak``: thousands of mixed clients for an hour against the real server; 1 if anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import signal
import sys
from pathlib import Path
from tempfile import mkdtemp

from tests.soak.cluster import ClusterSoak
from tests.soak.run import Soak, SoakError, table

SPARE_FILES = 200
"""File descriptors for everything but the people."""


async def soak(options: argparse.Namespace, folder: Path) -> list[str]:
    """Run the soak, print its outcome, and return what is wrong."""
    what = options.programs, options.seconds, options.seed, folder
    run = ClusterSoak(options.nodes, *what) if options.nodes > 1 else Soak(options.people, *what)
    size = f"--nodes {options.nodes}" if options.nodes > 1 else f"--people {options.people}"
    wrong = await run.run()
    sys.stdout.write(f"\n{table(run.rows)}\n")
    if wrong:
        shown = "".join(f"  {each}\n" for each in wrong[:10])
        sys.stdout.write(
            f"NOT AS IT SHOULD BE ({len(wrong)}):\n{shown}\nTo repeat it: python -m tests.soak {size} "
            f"--programs {options.programs} --seconds {options.seconds:g} --seed {options.seed}\n\n"
            f"The end of the server's log:\n{run.log_tail()}\n"
        )
    else:
        sys.stdout.write("Every line that anybody read is explained.\n")
    return wrong


def main() -> int:
    """Run the soak as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--people", type=int, default=2000, help="number of clients at a time (2000; at least 50)")
    parser.add_argument(
        "--nodes",
        type=int,
        default=1,
        help="number of servers (1). Several share a PostgreSQL database, fail in turn, and have no --people",
    )
    parser.add_argument("--programs", type=int, default=200, help="number of programs at a time (200)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="duration of the long part (3600; at least 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (1)")
    options = parser.parse_args()
    if options.people < 50 or options.seconds < 1:
        parser.error("--people must be at least 50, for there are many kinds, and --seconds at least 1")
    needed = options.people + 3 * options.programs + SPARE_FILES
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        parser.error(f"the system allows a process {hard} files, this needs {needed}: choose fewer --people")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # The server inherits it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # This ends the server too.
    folder = Path(mkdtemp(prefix="broadcast-soak-"))
    try:
        if not asyncio.run(soak(options, folder)):
            shutil.rmtree(folder)
            return 0
    except SoakError as error:
        sys.stderr.write(f"soak: {error}\n")
    sys.stderr.write(f"soak: the server's log and journal are in {folder}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
