"""The installed client without a terminal, against a real server: every exit status, and the stored lines."""

from __future__ import annotations

import errno
import os
import shlex
import struct
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.task import deferLater

from tests.real.programs import Program, Programs

CLIENT = Path(sys.executable).with_name("broadcast-client")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests speak to a Unix shell")


def shell(programs: Programs, port: int, command: str) -> Program:
    """Run *command*, in which CLIENT is the client that connects to *port*. Its errors are part of its output."""
    client = f"{shlex.quote(str(CLIENT))} 127.0.0.1:{port}"
    return programs.run("/bin/sh", "-c", command.replace("CLIENT", client))


def waiting(pipe: int) -> int:
    """Return the number of bytes in *pipe*."""
    from fcntl import ioctl  # noqa: PLC0415 -- only Unix has it
    from termios import FIONREAD  # noqa: PLC0415 -- the same

    return int(struct.unpack("i", ioctl(pipe, FIONREAD, bytes(4)))[0])


async def history(programs: Programs, port: int, room: str = "lobby") -> list[str]:
    """Return the stored lines of *room*."""
    reader = await programs.talker(port, "historian")
    reader.say(f"/join {room}", "/history 1000", "quit")
    await reader.lost
    return [line.partition("] ")[2] for line in reader.whole_lines() if line.startswith("-> #")]


# In a pipe


@pytest.mark.parametrize("arguments", ["--send x", "--send -", ""])
@ensureDeferred
async def test_no_connection_is_status_2(programs: Programs, arguments: str) -> None:
    nobody = shell(programs, 1, f"CLIENT {arguments} < /dev/null")
    assert await nobody.end() == 2
    assert nobody.text() == "broadcast-client: no connection to 127.0.0.1:1: Connection refused\n"


@pytest.mark.parametrize("command", ["cat notes | CLIENT --nick ann | cat", "CLIENT --nick ann < notes"])
@ensureDeferred
async def test_piped_lines_are_said_and_every_answer_is_printed(programs: Programs, command: str) -> None:
    """Threads read and write pipes and files alike."""
    (programs.folder / "notes").write_text("one\n/names\nlast words")
    port = programs.room()
    ann = shell(programs, port, command)
    assert await ann.end() == 0
    assert ann.text() == (
        "Welcome to Broadcast. Type a nickname and press Enter.\n"
        "Nickname:  * You are ann. Nobody else is here. /help lists the commands, quit leaves.\n"
        "-> 1 here: ann\n * Goodbye, ann.\n"
    )
    assert await history(programs, port) == ["ann: one", "ann: last words"]


@pytest.mark.parametrize("rooms", ["--room kitchen", "--room Kitchen --room hall"])
@ensureDeferred
async def test_piped_lines_are_said_in_the_first_room_of_the_options(programs: Programs, rooms: str) -> None:
    (programs.folder / "notes").write_text("one\n/names\ntwo\n")
    port = programs.room()
    ann = shell(programs, port, f"CLIENT {rooms} --nick ann < notes")
    assert await ann.end() == 0
    answers = " * You are in kitchen. Nobody else is here.\n-> 1 here: ann\n * Goodbye, ann.\n"
    assert ann.text().partition("leaves.\n")[2] == answers
    assert await history(programs, port, "kitchen") == ["ann: one", "ann: two"]


@ensureDeferred
async def test_pipe_may_name_the_first_room_and_ends_with_status_5_without_a_room(programs: Programs) -> None:
    port = programs.room()
    first = shell(programs, port, "echo one | CLIENT --nick ann --room lobby")
    assert await first.end() == 0
    refused = shell(programs, port, "echo two | CLIENT --nick ann --room 'no room'")
    assert await refused.end() == 5
    assert "\nbroadcast-client: the room was refused: " in refused.text()
    assert await history(programs, port) == ["ann: one"]


@ensureDeferred
async def test_output_file_has_everything_until_the_server_stops(programs: Programs) -> None:
    server = await programs.server("--ephemeral")
    bob = await programs.talker(server.port, "bob")
    logger = shell(programs, server.port, "CLIENT --nick logger > log")
    await bob.until("logger joined.")
    bob.say("hi")
    bob.say("/names")
    await bob.until("-> 2 here")
    await server.program.stop("TERM")
    assert await logger.end() == 4
    assert logger.text().startswith("broadcast-client: the connection to 127.0.0.1:")
    log = (programs.folder / "log").read_bytes()
    assert b"bob: hi\r\n" in log
    assert log.endswith(b" * The server is going down.\r\n")


@ensureDeferred
async def test_closed_output_pipe_ends_the_client_without_a_message(programs: Programs) -> None:
    port = programs.room()
    piped = shell(programs, port, "{ CLIENT --nick ann; echo status $? >&2; } | head -1")
    await piped.until("status 141\n")
    assert await piped.end() == 0
    assert "Traceback" not in piped.text()
    assert piped.text().count("\n") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("how", ["--nick ann < notes", "--nick ann --json --send x", "--help"])
@ensureDeferred
async def test_full_disk_is_status_6_with_the_reason(programs: Programs, how: str) -> None:
    (programs.folder / "notes").write_text("one\n/names\n")
    port = programs.room()
    # Without Python's buffer, argparse ignores that --help cannot be written.
    full = shell(programs, port, f"PYTHONUNBUFFERED= CLIENT {how} > /dev/full")
    assert await full.end() == 6
    reason = os.strerror(errno.ENOSPC)
    assert full.text() == f"broadcast-client: the standard output cannot be written: {reason}\n"


@ensureDeferred
async def test_ctrl_c_is_status_130_without_a_message(programs: Programs) -> None:
    port = programs.room()
    ann = programs.run(str(CLIENT), f"127.0.0.1:{port}", "--nick", "ann")
    await ann.until("You are ann.")
    ann.process.signalProcess("INT")
    assert await ann.end() == 130
    assert "Traceback" not in ann.text()


@ensureDeferred
async def test_pipes_are_blocking_again_afterwards(programs: Programs) -> None:
    port = programs.room()
    check = f"{shlex.quote(sys.executable)} -c 'import os; print(os.get_blocking(0), os.get_blocking(1))'"
    both = shell(programs, port, f"printf x | {{ CLIENT --nick ann; {check}; }} | cat")
    assert await both.end() == 0
    assert both.text().endswith("\nTrue True\n")


@ensureDeferred
async def test_client_works_with_closed_standard_descriptors(programs: Programs) -> None:
    port = programs.room()
    assert await shell(programs, port, "CLIENT --nick ann --send x <&- >&- 2>&-").end() == 0
    assert await shell(programs, port, "CLIENT --nick ann <&- >&- 2>&-").end() == 0


@ensureDeferred
async def test_client_waits_for_non_blocking_input(programs: Programs) -> None:
    port = programs.room()
    unblock = f"{shlex.quote(sys.executable)} -c 'import os; os.set_blocking(0, False)'"
    client = shell(programs, port, f"{{ {unblock}; CLIENT --nick ann --json --send -; }}")
    talker = await programs.talker(port, "bob")
    await talker.until("ann")  # before or after it
    client.write("late\n")
    await client.until('{"seq": 1, "text": "late"}')
    client.close_input()
    assert await client.end() == 0


@ensureDeferred
async def test_second_signal_ends_a_client_whose_output_nobody_reads(programs: Programs) -> None:
    port = programs.room("--limits", "off")
    (programs.folder / "notes").write_text(("x" * 1000 + "\n") * 100)
    unread = programs.folder / "unread"
    os.mkfifo(unread)
    descriptor = os.open(unread, os.O_RDWR)
    try:
        client = shell(programs, port, "exec CLIENT --nick ann --json --send - < notes > unread")
        ended = client.end()
        seen = 0
        while not ended.called and (not seen or waiting(descriptor) > seen):  # until the pipe is full
            seen = waiting(descriptor)
            await deferLater(programs.clock, 0.5)
        while not ended.called:
            with suppress(ProcessExitedAlready):
                client.process.signalProcess("TERM")
            await deferLater(programs.clock, 0.1)  # two signals at once count as one
        # The signal ends it; or 143, if this machine was too slow for the client to be blocked yet.
        assert await ended in {None, 143}
    finally:
        os.close(descriptor)


@ensureDeferred
async def test_ignored_sigint_stays_ignored(programs: Programs) -> None:
    port = programs.room()
    client = shell(programs, port, "trap '' INT; exec CLIENT --nick ann")
    await client.until("You are ann.")
    client.process.signalProcess("INT")
    client.write("still here\nquit\n")
    assert await client.end() == 0


@pytest.mark.parametrize(("signal", "status"), [("INT", 130), ("TERM", 143)])
@pytest.mark.parametrize("how", [("--send", "-", "--json"), ()], ids=["one shot", "pipe"])
@ensureDeferred
async def test_signal_ends_the_client_at_any_time(
    programs: Programs, signal: str, status: int, how: tuple[str, ...]
) -> None:
    port = programs.room()
    client = programs.run(str(CLIENT), f"127.0.0.1:{port}", "--nick", "ann", *how)
    client.write("one\n")
    await client.until('{"seq": 1, "text": "one"}' if how else " * You are ann.")
    client.process.signalProcess(signal)
    assert await client.end() == status
    assert "Traceback" not in client.text()
    assert "broadcast-client: " not in client.text()
