"""``python -m tests.fuzz NAME --seconds 60``: look for an input that breaks what must hold for every input.

One that does is written to ``tests/fuzz/found/NAME``, where the tests find it; it stays there when it is fixed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.inputs import FOUND, HARNESSES, SEEDS

LONGEST = 512
"""In bytes: what is there to be found needs no more, and of shorter ones a second holds more."""
PATIENCE = 20
"""In seconds: an input that takes longer is one that was looked for too."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz until the time is over (exit status 0) or something is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", choices=HARNESSES)
    parser.add_argument("--seconds", type=int, default=60, help="how long (60; 36000 is a night)")
    parser.add_argument("--corpus", type=Path, help="where inputs that lead to new places are kept (.fuzz/NAME)")
    options = parser.parse_args(arguments)
    try:
        import atheris  # noqa: PLC0415 -- nothing else needs it
    except ImportError:
        sys.exit("tests.fuzz needs atheris, which there is for Linux: pip install -e '.[fuzz]'")
    # The harness too: where the code is regular expressions, it is there that what is new shows.
    with atheris.instrument_imports(include=["broadcast", "tests"]):
        harness = importlib.import_module(f"tests.fuzz.{options.name}")
    corpus = options.corpus or Path(".fuzz", options.name)
    found = FOUND / options.name
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "max_total_time": options.seconds,
        "max_len": LONGEST,
        "timeout": PATIENCE,
        "print_final_stats": 1,
        "artifact_prefix": f"{found}/",
    }
    flags = [f"-{name}={value}" for name, value in settings.items()]
    atheris.Setup([sys.argv[0], *flags, *map(str, (corpus, SEEDS / options.name, found))], harness.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
