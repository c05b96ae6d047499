"""The installed client on a pseudo-terminal, against a real server: what its user sees, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP, ITransport
from twisted.internet.protocol import Factory, Protocol

from tests.real.programs import Programs, Talker
from tests.real.terminals import CTRL_C, CTRL_D, CTRL_Z, ENTER, LEFT, TAB, UP, Terminal, client, terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")


async def arrived(programs: Programs, port: int, *options: str, **how: object) -> Terminal:
    """Return the client of ann, who has joined on a terminal of her own."""
    ann = client(programs, port, "--nick", "ann", *options, **how)  # type: ignore[arg-type]  # sizes and environment
    await ann.shows("You are ann.", " ann · ")
    return ann


async def leave(ann: Terminal, keys: str = CTRL_D, status: int = 0) -> None:
    """Let ann type *keys*, and check that she leaves with a goodbye and that the terminal is as it was."""
    ann.write(keys)
    assert await ann.end() == status
    assert ann.settings() == ann.before
    assert " * Goodbye, ann." in ann.model.shown
    assert not any(" ann · " in line for line in ann.model.shown), "no status line is left"
    assert modes(ann.output) == {}
    ann.close()


@pytest.fixture
def port(programs: Programs) -> int:
    """The port of a server in this process."""
    return programs.room("--limits", "off")


@async_yield_fixture
async def bob(programs: Programs, port: int) -> AsyncIterator[Talker]:
    """A client in the room on a socket."""
    yield await programs.talker(port, "bob")


@async_yield_fixture
async def ann(programs: Programs, port: int, bob: Talker) -> AsyncIterator[Terminal]:
    """Ann, beside bob, on a terminal. At the end of the test, she leaves properly."""
    ann = await arrived(programs, port)
    yield ann
    await leave(ann)


def modes(output: bytes) -> dict[bytes, bytes]:
    """Return the modes of the terminal (bracketed paste, alternate screen, mouse ...) that *output* has changed."""
    usual = {b"25": b"h", b"7": b"h"}  # the cursor is visible, lines wrap
    last = dict(re.findall(rb"\x1b\[\?(\d+)([hl])", output))
    return {mode: state for mode, state in last.items() if state != usual.get(mode, b"l")}


# Typing


@ensureDeferred
async def test_unfinished_line_stays_in_place_while_200_lines_arrive(
    programs: Programs, port: int, bob: Talker
) -> None:
    ann = await arrived(programs, port)
    ann.write("half a li")
    await ann.shows_line("> half a li")
    bob.say(*(f"line {number}" for number in range(100)))
    ann.write("ne, and")
    bob.say(*(f"line {number}" for number in range(100, 200)))
    ann.write(" the rest")
    await ann.shows("bob: line 199")
    await ann.until_true(lambda: ann.model.shown[-2:-1] == ["> half a line, and the rest"], "the whole line")
    assert ann.model.cursor[0] == len("> half a line, and the rest")
    arrived_lines = [line for line in ann.model.everything if line.startswith("bob: ")]
    assert arrived_lines == [f"bob: line {number}" for number in range(200)]
    ann.write(ENTER)
    await bob.until("ann: half a line, and the rest\r\n")
    await ann.shows_line("ann: half a line, and the rest")
    await leave(ann)
    assert not any(line.startswith("> ") for line in ann.model.everything), (
        "what was typed leaves no trace but the line"
    )


@ensureDeferred
async def test_wide_and_combining_characters_are_edited_inside_a_line(ann: Terminal, bob: Talker) -> None:
    ann.write("日本語 cafe\u0301 ok" + LEFT * 3 + "\x7f" + "e" + "\x01" + "\x1b[C" * 2 + "\x1b[3~" + "x")
    await ann.shows("日本x cafe ok")
    await ann.until_true(lambda: ann.model.cursor[0] == 2 + 5, "the cursor is behind the x")
    bob.say("日本語 cafe\u0301")
    await ann.shows("bob: 日本語 café")
    await ann.shows_line("> 日本x cafe ok")
    await ann.until_true(lambda: ann.model.cursor[0] == 2 + 5, "the cursor is there again")
    ann.write(ENTER)
    await bob.until("ann: 日本x cafe ok\r\n")


@ensureDeferred
async def test_pasted_and_typed_lines_are_sent_in_order_and_shown_as_others_see_them(
    ann: Terminal, bob: Talker
) -> None:
    ann.write("\x1b[200~one\rtwo\rthr\x1b[201~ee" + ENTER + "four\nfive\n")
    for line in ("/me waves", "//usr/bin", "/say quit", "/names"):
        ann.write(line + ENTER)
    own = [*(f"ann: {text}" for text in ("one", "two", "three", "four", "five")), "** ann waves"]
    own += ["ann: /usr/bin", "ann: quit"]
    await bob.until("".join(f"{line}\r\n" for line in own))
    # The server answers /names at once, perhaps before the lines have come back from the journal. Until then, the
    # client shows at most three of them.
    await ann.shows("/names", "-> 2 here: bob, ann")
    await ann.until_true(lambda: [line for line in ann.model.shown if line in own] == own, "all lines in order")


@ensureDeferred
async def test_commands_and_nicknames_are_completed(programs: Programs, port: int, ann: Terminal) -> None:
    await programs.talker(port, "roberta")
    # Its answer comes after the answers to the commands that the client sends by itself.
    ann.write("/ping" + ENTER)
    await ann.shows("-> pong")
    ann.write("/uptim" + TAB)
    await ann.shows_line("> /uptime")
    ann.write(ENTER)
    await ann.shows("-> up ")
    ann.write("rob" + TAB)
    await ann.shows_line("> roberta:")
    ann.write(CTRL_C + "/" + TAB)
    await ann.shows("/msg NAME TEXT", "private to one person")
    ann.write(CTRL_C)
    await ann.until_true(lambda: not any("/msg NAME TEXT" in line for line in ann.model.shown), "the menu is gone")
    assert not any("-> /msg" in line for line in ann.model.everything), "the answer to /help is not shown"
    assert len([line for line in ann.model.everything if "pong" in line]) == 1


# Leaving


@pytest.mark.parametrize(
    ("keys", "said", "end", "status"),
    [
        ("oops" + CTRL_C + "better" + ENTER, "ann: better\r\n", CTRL_C, 0),
        ("last words" + ENTER + CTRL_D, "ann: last words\r\n * ann left.\r\n", "", 0),
        ("/say bye" + ENTER, "ann: bye\r\n", "quit" + ENTER, 0),
        ("hi" + ENTER, "ann: hi\r\n", "TERM", 143),
    ],
    ids=["Ctrl-C clears the line and leaves on an empty one", "Ctrl-D", "quit", "SIGTERM"],
)
@ensureDeferred
async def test_client_leaves_with_goodbye_after_everything_is_said(
    programs: Programs, port: int, bob: Talker, keys: str, said: str, end: str, status: int
) -> None:
    ann = await arrived(programs, port)
    ann.write(keys)
    await bob.until(said)
    if status:
        ann.process.signalProcess(end)
    await leave(ann, "" if status else end, status)
    await bob.until(" * ann left.\r\n")
    assert said.splitlines()[0] in ann.model.shown


@ensureDeferred
async def test_ctrl_z_restores_the_terminal_and_fg_continues(programs: Programs, port: int, bob: Talker) -> None:
    shell = terminal(programs, "/bin/bash", "--norc", "--noprofile", "-i", PS1="sh> ")

    def prompts() -> Deferred[None]:
        return shell.until_true(lambda: shell.model.shown[-1] == "sh>", "the shell's prompt")

    await prompts()
    command = f"{sys.executable} -m broadcast.client 127.0.0.1:{port} --nick ann"
    shell.write(command + ENTER)
    await shell.shows("You are ann.", " ann · ")
    shell.write("half a li")
    await shell.shows_line("> half a li")
    shell.write(CTRL_Z)
    await shell.shows("Stopped")
    await prompts()
    bob.say("are you there, ann?")
    shell.write("echo it is $((1 + 1))" + ENTER)
    await shell.shows_line("it is 2")
    shell.write("fg" + ENTER)
    await shell.shows("bob: are you there, ann?", "> half a li", " ann · ")
    shell.write("ne" + ENTER)
    await bob.until("ann: half a line\r\n")
    shell.write(CTRL_D)
    await shell.shows("Goodbye, ann.")
    await prompts()  # the client would read earlier input
    shell.write("exit" + ENTER)
    await shell.end()
    shell.close()


# The size of the terminal


@ensureDeferred
async def test_resized_terminal_keeps_the_unfinished_line(ann: Terminal, bob: Talker) -> None:
    ann.write("what is typed here is longer than forty columns")
    await ann.shows_line("> what is typed here is longer than forty columns")
    ann.resize(40, 15)
    await ann.shows("> what is typed here is longer than fort", "y columns", " ann · ")
    bob.say("x" * 50)
    await ann.shows("bob: " + "x" * 35, "> what is typed here is longer than fort")
    ann.resize(100, 30)
    await ann.shows_line("> what is typed here is longer than forty columns")
    ann.write(ENTER)
    await bob.until("ann: what is typed here is longer than forty columns\r\n")
    ann.resize(20, 3)
    ann.write("tiny" + ENTER)
    await bob.until("ann: tiny\r\n")
    ann.resize(80, 24)
    await ann.shows(" ann · ")


@pytest.mark.parametrize(("columns", "rows", "term"), [(80, 24, "dumb"), (80, 2, "xterm"), (8, 24, "xterm")])
@ensureDeferred
async def test_dumb_or_tiny_terminal_gets_plain_lines(
    programs: Programs, port: int, bob: Talker, columns: int, rows: int, term: str
) -> None:
    ann = client(programs, port, columns=columns, rows=rows, TERM=term)
    await ann.until("Nickname [user]: ")
    ann.write("ann\n")
    await ann.until("You are ann.")
    bob.say("hi ann")
    await ann.until("bob: hi ann\r\n")
    ann.write("hi bob\n")
    await bob.until("ann: hi bob\r\n")
    ann.write(CTRL_D)
    await bob.until(" * ann left.\r\n")
    assert await ann.end() == 0
    assert b"\x1b" not in ann.output
    assert ann.settings() == ann.before
    ann.close()


# The connection


@ensureDeferred
async def test_restarted_server_shows_each_line_once_and_keeps_the_typed_one(
    programs: Programs, tmp_path: Path
) -> None:
    data = str(tmp_path / "data")
    server = await programs.server("--data", data)
    ann = await arrived(programs, server.port)
    bob = await programs.talker(server.port, "bob")
    bob.say("before")
    await ann.shows_line("bob: before")
    ann.write("half a li")
    await ann.shows_line("> half a li")
    await server.program.stop("KILL")
    await ann.shows(" no connection, next try in ")
    ann.write(ENTER)
    await ann.shows_line("> half a li")
    again = await programs.server("--data", data, port=server.port)
    bob = await programs.talker(again.port, "bob")
    bob.say("meanwhile")
    await ann.shows("bob: meanwhile", " ann · 2 here")
    bob.say("afterwards")
    await ann.shows("bob: afterwards")
    ann.write("ne" + ENTER)
    await bob.until("ann: half a line\r\n")
    await ann.shows_line("ann: half a line")
    text = "\n".join(ann.model.everything)
    for once in ("bob: before", "bob: meanwhile", "bob: afterwards", "ann: half a line"):
        assert text.count(once) == 1, once
    await leave(ann)


@ensureDeferred
async def test_choices_are_made_again_on_a_server_without_memory_of_them(programs: Programs) -> None:
    server = await programs.server("--ephemeral")
    await programs.talker(server.port, "eve")
    ann = await arrived(programs, server.port)
    for line in ("/ignore eve", "/timestamp on", "/quiet on", "/away lunch"):
        ann.write(line + ENTER)
    await ann.shows("-> You are away: lunch", " ann (away) · 127.0.0.1:")
    await server.program.stop("KILL")
    await ann.shows(" no connection, next try in ")
    again = await programs.server("--ephemeral", port=server.port)
    bob = await programs.talker(again.port, "bob")
    if b"here: ann." not in bob.seen:
        await bob.until(" * ann joined.")
    await ann.shows(" ann (away) · 127.0.0.1:")
    bob.say("/msg ann are you there?")
    await bob.until("-> sent to ann, who is away: lunch")
    eve = await programs.talker(again.port, "eve")
    eve.say("spam", "/msg ann spam")
    await eve.until("-> sent to ann")
    bob.say("the end")
    await ann.shows("[bob] are you there?", "] bob: the end")
    assert not [line for line in ann.model.shown if "spam" in line or "joined" in line]
    assert len([line for line in ann.model.everything if line.startswith("-> ")]) == 4, "no answer is shown again"
    await leave(ann)


@ensureDeferred
async def test_lost_connection_ends_the_client_with_no_reconnect(programs: Programs) -> None:
    server = await programs.server("--ephemeral")
    ann = await arrived(programs, server.port, "--no-reconnect")
    await server.program.stop("KILL")
    assert await ann.end() == 4
    assert ann.settings() == ann.before
    assert any("connection" in line for line in ann.model.shown)
    ann.close()


@ensureDeferred
async def test_missing_server_is_reported_in_one_line(programs: Programs) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # it does not listen, so that connections are refused
        ann = client(programs, reserved.getsockname()[1])
        assert await ann.end() == 2
    assert ann.settings() == ann.before
    assert [line for line in ann.model.shown if "o connection to 127.0.0.1" in line]
    assert "Traceback" not in ann.text()
    ann.close()


@ensureDeferred
async def test_rejected_nickname_is_asked_for_again(programs: Programs, port: int) -> None:
    await programs.talker(port, "user")
    await programs.talker(port, "bob")
    ann = client(programs, port)
    await ann.shows("Welcome to Broadcast. Type a nickname and press Enter.", "Nickname [user]:")
    ann.write(ENTER)
    await ann.shows("-> Error: user is taken.", "Nickname:")
    ann.write("bob" + ENTER)
    await ann.shows("-> Error: bob is taken.")
    await ann.until_true(lambda: ann.model.shown[-2] == "Nickname:", "the prompt again")
    ann.write("ann" + ENTER)
    await ann.shows("You are ann. 2 others are here: user, bob.", " ann · 3 here · 127.0.0.1:")
    ann.write(UP)
    ann.write("x")
    await ann.shows_line("> x")
    await leave(ann, CTRL_C + CTRL_D)


# Colors, bells and the history


@pytest.mark.parametrize(
    ("options", "environment", "colored", "bells"),
    [([], {}, True, 2), (["--no-color", "--no-bell"], {}, False, 0), ([], {"NO_COLOR": "1"}, False, 2)],
)
@ensureDeferred
async def test_colors_and_bells_are_off_by_option_or_environment(
    programs: Programs,
    port: int,
    bob: Talker,
    options: Sequence[str],
    environment: dict[str, str],
    colored: bool,
    bells: int,
) -> None:
    """The bell rings for private messages and for lines with the client's own nickname."""
    bob.say("ann, this was before you came")
    ann = await arrived(programs, port, *options, **environment)
    bob.say("hi", "hi Ann", "banner", "/msg ann psst", "the end")
    await ann.shows("[bob] psst", "bob: the end", "this was before")
    assert (re.search(rb"\x1b\[[0-9;]*(?:3[0-8]|4[0-8]|9[0-7])(?:;[0-9;]*)?m", ann.output) is not None) is colored
    assert ann.output.count(b"\x07") == bells
    await leave(ann)


@ensureDeferred
async def test_typed_lines_are_in_the_history_of_the_next_run(programs: Programs, port: int) -> None:
    ann = await arrived(programs, port)
    ann.write("remember 日本" + ENTER)
    await ann.shows("ann: remember 日本")
    await leave(ann)
    path = programs.folder / "state" / "broadcast" / "history"
    assert path.read_text("utf-8") == "remember 日本\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ann = await arrived(programs, port)
    ann.write(UP)
    await ann.shows_line("> remember 日本")
    await leave(ann, CTRL_C + CTRL_D)


# A hostile server

HOSTILE = (
    b"\x1b]52;c;ZXZpbA==\x07",
    b"\x1b]0;evil\x07",
    b"\x1b[2J\x1b[1;1Hevil",
    b"\x1bP+q\x1b\\",
    b"\xc2\x9b2J",
    b"\xc2\x9d52;c;x\xc2\x9c",
    b"\x0e\x08\x08\x08",
    b"\xe2\x80\xaeevil",
    b"\x9b2J",
    b"\x1b[6n",
    b"\x1b[?1049h",
    b"\x05",
)
"""Sequences that control a terminal: clipboard, title, clearing, DCS, C1, backspaces, bidi, queries, another screen."""


class Hostile(Protocol):
    """A server that sends all of them wherever a server may send text."""

    def connectionMade(self) -> None:
        for payload in HOSTILE:
            cast(ITransport, self.transport).write(b"Welcome " + payload + b"\r\n")
        cast(ITransport, self.transport).write(b"Nickname: ")
        self.answered = 0

    def dataReceived(self, data: bytes) -> None:
        for line in data.splitlines():
            self.answered += 1
            self.answer(line)

    def answer(self, line: bytes) -> None:
        transport = cast(ITransport, self.transport)
        if line == b"quit":
            transport.write(b" * Goodbye, ann.\r\n")
            transport.loseConnection()
        elif line == b"/receipts on":
            transport.write(b"-> receipts are on.\r\n")
        elif line.startswith(b"/history"):
            transport.write(b"-> nothing was said yet.\r\n")
        elif line == b"/help":
            for payload in HOSTILE:
                transport.write(b"-> /x" + payload + b" " + payload + b"   " + payload + b"\r\n")
        elif line == b"/ping":
            transport.write(b"-> pong\r\n")
        elif line == b"ann":
            names = b", ".join(payload.replace(b":", b"") for payload in HOSTILE)
            transport.write(b" * You are ann. 12 others are here: " + names + b". /help lists the commands.\r\n")
        else:
            for form in (b"bob: %s", b"%s: hi", b"** bob %s", b" * %s joined.", b" * bob left: %s", b"[bob] %s",
                         b"[%s] hi", b"-> %s", b"-> Error: %s", b"-> #12 [14:02] bob: %s", b" * %s", b"%s",
                         b"[%s] bob: hi", b" * bob is now %s."):  # fmt: skip
                for payload in HOSTILE:
                    transport.write(form % payload + b"\r\n")
            transport.write(b"bob: the end\r\n")


@ensureDeferred
async def test_output_of_a_hostile_server_never_controls_the_terminal(programs: Programs) -> None:
    factory = cast(Any, Factory.forProtocol(Hostile))
    listening = cast(IReactorTCP, programs.reactor).listenTCP(0, factory, interface="127.0.0.1")
    try:
        ann = client(programs, cast(IPv4Address, listening.getHost()).port, "--no-bell")
        await ann.shows("Nickname [user]:")
        ann.write("ann" + ENTER)
        await ann.shows(" ann · ")
        ann.write("attack" + ENTER)
        await ann.shows("bob: the end")
        ann.write("/" + TAB)
        await ann.shows("> /")
        ann.write(CTRL_C)
        await ann.shows_line(">")
        ann.write(CTRL_D)
        await ann.shows(" * Goodbye, ann.")
        assert await ann.end() == 0
        for payload in HOSTILE:
            assert payload not in ann.output
        for sequence in (b"\x07", b"\x05", b"\x0e", b"\x1b]", b"\x1bP", b"\xc2\x9b", b"\xc2\x9d", b"\xe2\x80\xae",
                         b"\x1b[6n", b"\x1b[1;1H", b"\x1b[?1049h"):  # fmt: skip
            assert sequence not in ann.output
        assert "bob: \ufffd]0;evil\ufffd" in ann.model.everything
        assert ann.settings() == ann.before
        ann.close()
    finally:
        await cast("Deferred[None]", listening.stopListening())


@ensureDeferred
async def test_closed_terminal_takes_its_user_out_of_the_room(programs: Programs, port: int, bob: Talker) -> None:
    ann = await arrived(programs, port)
    os.kill(cast(int, ann.process.pid), signal.SIGHUP)
    await bob.until(" * ann left")
    ann.close()
