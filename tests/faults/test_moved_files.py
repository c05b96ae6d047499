"""The journal's files are moved or removed under a live server: no confirmed line is lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from tests.real.programs import TWISTD, Programs, Server, Talker

NOT_KEPT = "-> Error: not kept: the journal cannot be written: "
MOVED = "journal.sqlite was removed, moved or replaced"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let anybody move an open file")


async def confirmed(person: Talker, text: str) -> bool:
    """Let *person*, who has receipts on, say *text*, and return whether it was stored."""
    before = len(person.seen)
    person.say(text)

    def answer() -> re.Match[str] | None:
        return re.search(r"^-> (#\d+|Error: not kept: .*)\r\n", person.seen[before:].decode(), re.MULTILINE)

    await person.when(lambda: answer() is not None)
    found = answer()
    assert found is not None
    return found[1].startswith("#")


async def until_confirmed(programs: Programs, person: Talker, text: str) -> None:
    """Let *person* say *text* again and again until it is stored."""
    while not await confirmed(person, text):
        await deferLater(programs.clock, 0.1)


async def start(programs: Programs, data: Path, command: Sequence[str] = (TWISTD,)) -> tuple[Server, Talker]:
    server = await programs.server("--data", str(data), "--limits", "off", command=command)
    ann = await programs.talker(server.port, "ann")
    ann.say("/receipts on")
    await ann.until("-> receipts are on.\r\n")
    assert await confirmed(ann, "before")
    return server, ann


async def lines_after_restart(programs: Programs, server: Server, data: Path) -> list[str]:
    """Kill the server, start another one on *data*, and return the lines that it shows."""
    await server.program.stop()
    again = await programs.server("--data", str(data))
    bob = await programs.talker(again.port, "bob")
    bob.say("/history", "/ping")
    await bob.until("-> pong\r\n")
    return re.findall(r"^-> #\d+ \[[0-9:]+\] \w+: (.*)\r$", bob.seen.decode(), re.MULTILINE)


@ensureDeferred
async def test_moved_folder_is_reported_once_and_used_again_when_it_is_back(programs: Programs, tmp_path: Path) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    server, ann = await start(programs, data)
    data.rename(away)
    await server.program.until(f"Nothing that is said is kept: the journal cannot be written: {MOVED}.")
    for text in ("lost", "lost again"):
        assert not await confirmed(ann, text)
    assert f"{NOT_KEPT}{MOVED}\r\n" in ann.seen.decode()
    assert not data.exists()
    away.rename(data)
    await server.program.until("What is said is kept again.")
    assert await confirmed(ann, "after")
    assert server.program.text().count("Nothing that is said is kept") == 1
    assert await lines_after_restart(programs, server, data) == ["before", "after"]


@ensureDeferred
async def test_lines_of_a_removed_write_ahead_log_survive_a_kill(programs: Programs, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server, ann = await start(programs, data)
    (data / "journal.sqlite-wal").unlink()
    await until_confirmed(programs, ann, "after")
    assert await lines_after_restart(programs, server, data) == ["before", "after"]


@ensureDeferred
async def test_lines_after_the_removal_of_the_index_of_the_log_survive_a_kill(
    programs: Programs, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    server, ann = await start(programs, data)
    (data / "journal.sqlite-shm").unlink()
    checkpoint = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint(TRUNCATE)')"
    subprocess.run([sys.executable, "-c", checkpoint, str(data / "journal.sqlite")], check=True, timeout=200)  # noqa: S603
    await until_confirmed(programs, ann, "after")
    assert await lines_after_restart(programs, server, data) == ["before", "after"]


@pytest.mark.parametrize("removed", [["lock"], ["journal.sqlite-shm", "lock"]])
@ensureDeferred
async def test_two_servers_without_a_lock_delete_nothing_of_each_other(
    programs: Programs, tmp_path: Path, removed: Sequence[str]
) -> None:
    data = tmp_path / "data"
    server, ann = await start(programs, data)
    os.kill(server.pid, SIGSTOP)  # it would lock the folder again within seconds
    for name in removed:
        (data / name).unlink()
    second = await programs.server("--data", str(data))
    bob = await programs.talker(second.port, "bob")
    bob.say("/receipts on", "mine")
    await bob.until("-> #2\r\n")
    os.kill(server.pid, SIGCONT)
    assert not await confirmed(ann, "refused")
    await server.program.until(
        "Nothing that is said is kept: the journal cannot be written: another server has opened it."
    )
    await second.program.stop()
    await server.program.until("another program has written #2 to it.")
    assert "What is said is kept again." not in server.program.text()
    assert not await confirmed(ann, "refused again")
    assert f"{NOT_KEPT}another program has written #2 to it\r\n" in ann.seen.decode()
    assert await lines_after_restart(programs, server, data) == ["before", "mine"]


@ensureDeferred
async def test_lines_lost_with_the_log_are_named_at_the_start_and_in_the_history(
    programs: Programs, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    server, ann = await start(programs, data)
    for text in "bcd":
        assert await confirmed(ann, text)
    await server.program.stop()
    (data / "journal.sqlite-wal").unlink()
    again = await programs.server("--data", str(data))
    await again.program.until("#1-#4 are missing: the journal had lost them when the server started.")
    bob = await programs.talker(again.port, "bob")
    assert "server: #1-#4 are missing: " in bob.seen.decode()
    bob.say("/receipts on", "next", "/history #1-#9", "/ping")
    await bob.until("-> pong\r\n")
    assert "-> #5\r\n" in bob.seen.decode()
    assert re.findall(r"^-> (#\d) \[", bob.seen.decode(), re.MULTILINE) == ["#4", "#5"]


class Mounted:
    """A file system of its own for the data folder, which only the server and its children see."""

    def __init__(self, data: Path) -> None:
        script = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
        command = ("unshare", "-rm", "sh", "-c", script, str(data))
        if shutil.which("unshare") is None or shutil.which("nsenter") is None:
            pytest.skip("unshare or nsenter is not installed")
        data.mkdir()
        trial = subprocess.run([*command, "true"], capture_output=True, text=True, check=False, timeout=200)  # noqa: S603
        if trial.returncode:
            pytest.skip(f"no file system can be mounted here: {trial.stderr.strip()}")
        self.command = (*command, TWISTD)

    def run(self, server: Server, *command: str) -> None:
        """Run *command* where the server sees the file system."""
        enter = ("nsenter", f"--target={server.pid}", "--user", "--mount", "--preserve-credentials")
        subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=200)  # noqa: S603


@ensureDeferred
async def test_unmounted_folder_is_noticed(programs: Programs, tmp_path: Path) -> None:
    data = tmp_path / "data"
    mounted = Mounted(data)
    server, ann = await start(programs, data, mounted.command)
    mounted.run(server, "umount", "--lazy", str(data))
    assert not await confirmed(ann, "lost")
    assert f"{NOT_KEPT}{MOVED}\r\n" in ann.seen.decode()
    assert list(data.iterdir()) == []


@ensureDeferred
async def test_folder_hidden_by_another_mount_is_used_again_after_its_end(programs: Programs, tmp_path: Path) -> None:
    data = tmp_path / "data"
    mounted = Mounted(data)
    server, ann = await start(programs, data, mounted.command)
    mounted.run(server, "mount", "-t", "tmpfs", "tmpfs", str(data))
    assert not await confirmed(ann, "lost")
    mounted.run(server, "umount", str(data))
    await until_confirmed(programs, ann, "after")
    ann.say("/history", "/ping")
    await ann.until("-> pong\r\n")
    assert re.findall(r"^-> #\d \[[0-9:]+\] ann: (.*)\r$", ann.seen.decode(), re.MULTILINE) == ["before", "after"]
