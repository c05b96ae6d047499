"""``python -m tests.soak``: thousands of mixed clients for an hour against the real server; 1 if anything is wrong."""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from tests.soak import report
from tests.soak.run import Soak
from tests.soak.server import SoakError

SPARE = 200
"""File descriptors for everything but the people."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.write is not None:
            report.check_pictures()
        _raise_file_limit(options.people + SPARE)
    except SoakError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the server is ended then too
    folder = Path(mkdtemp(prefix="broadcast-soak-"))
    keep = True
    try:
        soak = Soak(options.people, options.seconds, options.seed, folder)
        outcome = soak.run()
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
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for the server too
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SoakError(f"the system allows a process {hard} files, this needs {needed}: choose fewer --people")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--people", type=_people, default=2000, help="how many clients there are at a time (2000)")
    parser.add_argument("--seconds", type=_seconds, default=3600.0, help="how long the long part lasts (3600)")
    parser.add_argument(
        "--seed", type=int, default=1, help="what is left to chance is the same for the same number (1)"
    )
    parser.add_argument(
        "--write", type=Path, metavar="DIR", help="write soak.rst and soak.png into DIR, if all is well"
    )
    return parser


def _people(text: str) -> int:
    number = int(text)
    if number < 50:
        raise argparse.ArgumentTypeError("at least 50, for there are many kinds")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
