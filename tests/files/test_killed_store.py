"""``kill -9`` of a real process in the middle of uploads."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.files.killed_store import content
from tests.files.stores import StoreWorld

KILLS = 100 if os.environ.get("BROADCAST_LONG") else 8


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_every_announced_file_survives_kill_and_nothing_unfinished_does(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    announced: dict[str, int] = {}
    for turn in range(KILLS):
        with subprocess.Popen(  # noqa: S603 -- this very Python
            [sys.executable, "-m", "tests.files.killed_store", str(folder)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(1 + turn)]  # another moment each time
            process.kill()
            lines += process.stdout
        complete = [line.split() for line in lines if line.endswith("\n")]
        assert len(complete) > turn
        announced |= {file_id: int(number) for file_id, number in complete}
        world = StoreWorld(folder)
        assert world.reports == []
        files = world.store._files
        assert announced.keys() <= files.keys()
        for file_id, number in announced.items():
            assert world.read(files[file_id]) == content(number)
        contents = {file.sha256 for file in files.values()}
        assert world.names() == contents | {f"{file_id}.json" for file_id in files}
        assert all(sha256((folder / each).read_bytes()).hexdigest() == each for each in contents)
