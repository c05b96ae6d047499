"""The page's modules, in Node."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

from tests.real.programs import PATIENCE, found

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "broadcast" / "doors" / "web" / "page"
MAX_SOURCE_BYTES = 187 * 1024
MAX_SENT_BYTES = 68 * 1024
"""What a browser downloads at its first visit. Both limits are near the present sizes."""


def test_the_modules_of_the_page_pass_their_tests_in_node() -> None:
    files = sorted(map(str, FOLDER.glob("*.test.js")))
    # One process runs all files: node --test would start one for each, for twice the CPU time.
    each = "for (const file of process.argv.slice(1)) await import(file);"
    command = [found("node"), "--input-type=module", "--eval", each, *files]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_page_stays_small() -> None:
    contents = [path.read_bytes() for path in PAGE.iterdir()]
    assert sum(map(len, contents)) <= MAX_SOURCE_BYTES
    assert sum(min(len(content), len(gzip.compress(content))) for content in contents) <= MAX_SENT_BYTES
