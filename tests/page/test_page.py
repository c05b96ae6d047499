"""The page's modules, in Node."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.real.programs import PATIENCE, found

FOLDER = Path(__file__).parent


def test_the_modules_of_the_page_pass_their_tests_in_node() -> None:
    files = sorted(map(str, FOLDER.glob("*.test.js")))
    command = [found("node"), "--test", *files]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603
    assert ran.returncode == 0, ran.stdout + ran.stderr
