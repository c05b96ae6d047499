"""``python -m tests.fuzz NAME --seconds 60`` looks for an input that breaks what must hold for every input.

Such an input is written to ``tests/fuzz/found/NAME``. The tests run it from then on, also after the fix.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.inputs import FOUND, HARNESSES, SEEDS

MAX_BYTES = 512
"""Maximum size of an input. Shorter inputs run faster, and no known failure needs a longer one."""
INPUT_SECONDS = 20
"""Time for one input. An input that takes longer is a failure."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz until the time is over (exit status 0) or an input fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", choices=HARNESSES)
    parser.add_argument("--seconds", type=int, default=60, help="how long (60; 36000 is a night)")
    parser.add_argument("--corpus", type=Path, help="folder for inputs that reach new code (.fuzz/NAME)")
    options = parser.parse_args(arguments)
    try:
        import atheris  # noqa: PLC0415 -- nothing else needs it
    except ImportError:
        sys.exit("tests.fuzz needs atheris, which there is for Linux: pip install -e '.[fuzz]'")
    # The harness is instrumented too: where the code is a regular expression, only its branches show new behaviour.
    with atheris.instrument_imports(include=["broadcast", "tests"]):
        harness = importlib.import_module(f"tests.fuzz.{options.name}")
    corpus = options.corpus or Path(".fuzz", options.name)
    found = FOUND / options.name
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "max_total_time": options.seconds,
        "max_len": MAX_BYTES,
        "timeout": INPUT_SECONDS,
        "print_final_stats": 1,
        "artifact_prefix": f"{found}/",
    }
    flags = [f"-{name}={value}" for name, value in settings.items()]
    atheris.Setup([sys.argv[0], *flags, *map(str, (corpus, SEEDS / options.name, found))], harness.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
