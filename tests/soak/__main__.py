"""``python -m tests.soak``: thousands of mixed clients for an hour against the real server; 1 if anything is wrong."""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import sys
from pathlib import Path
from tempfile import mkdtemp

from tests.soak import report
from tests.soak.run import Soak
from tests.soak.server import SoakError

SPARE = 200
"""File descriptors for everything but the people."""


def main() -> int:
    """Run the soak as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--people", type=int, default=2000, help="number of clients at a time (2000; at least 50)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="duration of the long part (3600; at least 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (1)")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write soak.rst and soak.png to DIR if all is well")
    options = parser.parse_args()
    if options.people < 50 or options.seconds < 1:
        parser.error("--people must be at least 50, for there are many kinds, and --seconds at least 1")
    try:
        if options.write is not None:
            report.check_pictures()
        _raise_file_limit(options.people + SPARE)
    except SoakError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # This ends the server too.
    folder = Path(mkdtemp(prefix="broadcast-soak-"))
    keep = True
    try:
        outcome = Soak(options.people, options.seconds, options.seed, folder).run()
        sys.stdout.write("\n" + report.text(outcome))
        keep = bool(outcome.wrong)
        if not keep and options.write is not None:
            report.write(outcome, options.write)
    except SoakError as error:
        sys.stderr.write(f"soak: {error}\n")
    finally:
        if keep:
            sys.stderr.write(f"soak: the server's log and journal are in {folder}\n")
        else:
            shutil.rmtree(folder)
    return int(keep)


def _raise_file_limit(needed: int) -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # The server inherits it.
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SoakError(f"the system allows a process {hard} files, this needs {needed}: choose fewer --people")


if __name__ == "__main__":
    sys.exit(main())
