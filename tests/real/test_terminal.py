"""The installed client on a pseudo-terminal, against a real server: what its user sees, and what it leaves behind."""

from __future__ import annotations

import json
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
    ann = client(programs, port, "--nick", "ann", "--no-times", *options, **how)  # type: ignore[arg-type]  # sizes and environment
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
    own += ["/names", "-> 2 here: bob, ann"]
    await ann.until_true(lambda: [line for line in ann.model.shown if line in own] == own, "all lines in order")


@ensureDeferred
async def test_commands_and_nicknames_are_completed(programs: Programs, port: int, ann: Terminal) -> None:
    await programs.talker(port, "roberta")
    ann.write("/uptim" + TAB)
    await ann.shows_line("> /uptime")
    ann.write(ENTER)
    await ann.shows("-> up ")
    ann.write("rob" + TAB)
    await ann.shows_line("> roberta:")
    ann.write(CTRL_C + "/" + TAB)
    await ann.shows("/msg NAME", "private to one person")
    ann.write(CTRL_C)
    await ann.until_true(lambda: not any("/msg NAME" in line for line in ann.model.shown), "the menu is gone")
    assert not any("-> /msg" in line for line in ann.model.everything), "the answer to /help is not shown"


# Leaving


@pytest.mark.parametrize(
    ("keys", "said", "end", "status"),
    [
        ("oops" + CTRL_C + "better" + ENTER, "ann: better\r\n", CTRL_C + CTRL_C, 0),
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
async def test_restarted_server_shows_each_line_once_and_gets_the_typed_ones(
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
    ann.write("ne" + ENTER)
    await ann.shows_line("\u2026 half a line")
    ann.write("half an")
    again = await programs.server("--data", data, port=server.port)
    bob = await programs.talker(again.port, "bob")
    bob.say("meanwhile")
    await bob.until("ann: half a line\r\n")
    await ann.shows("bob: meanwhile", " ann · lobby · 2 here", "ann: half a line")
    bob.say("afterwards")
    await ann.shows("bob: afterwards", "> half an")
    ann.write("other" + ENTER)
    await bob.until("ann: half another\r\n")
    await ann.shows_line("ann: half another")
    text = "\n".join(ann.model.everything)
    for once in ("bob: before", "bob: meanwhile", "bob: afterwards", "ann: half a line", "ann: half another"):
        assert text.count(once) == 1, once
    await leave(ann)


@ensureDeferred
async def test_choices_hold_on_a_server_without_memory_of_them(programs: Programs) -> None:
    server = await programs.server("--ephemeral")
    await programs.talker(server.port, "eve")
    ann = await arrived(programs, server.port)
    for line in ("/ignore eve", "/timestamp on", "/quiet on", "/away lunch"):
        ann.write(line + ENTER)
    await ann.shows("-> You are away: lunch", " ann (away) · ")
    await server.program.stop("KILL")
    await ann.shows(" no connection, next try in ")
    again = await programs.server("--ephemeral", port=server.port)
    bob = await programs.talker(again.port, "bob")
    if b"here: ann." not in bob.seen:
        await bob.until(" * ann joined.")
    await ann.shows(" ann (away) · lobby · ")
    bob.say("/msg ann are you there?")
    await bob.until("-> sent to ann, who is away: lunch")
    eve = await programs.talker(again.port, "eve")
    eve.say("spam", "/msg ann spam")
    await eve.until("-> sent to ann")
    bob.say("the end")
    await ann.shows("[bob] are you there?", " bob: the end")
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
        ann = client(programs, reserved.getsockname()[1], "--nick", "ann")
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
    await ann.shows("Nickname [user]:")
    ann.write(ENTER)
    await ann.shows("-> Error: user is taken.", "Nickname (Tab: user_, Shift-Tab: user2):")
    ann.write("bob" + ENTER)
    await ann.shows("-> Error: bob is taken.", "Nickname (Tab: bob_, Shift-Tab: bob2):")
    ann.write("ann" + ENTER)
    await ann.shows("You are ann. 2 others are here: bob, user.", " ann · lobby · 3 here · 127.0.0.1:")
    ann.write(UP)
    ann.write("x")
    await ann.shows_line("> x")
    await leave(ann, CTRL_C + CTRL_D)


@ensureDeferred
async def test_one_key_takes_a_similar_nickname(programs: Programs, port: int) -> None:
    await programs.talker(port, "ann")
    ann = client(programs, port, "--nick", "ann")
    await ann.shows("-> Error: ann is taken.", "Nickname (Tab: ann_, Shift-Tab: ann2):")
    ann.write(TAB)
    await ann.shows("You are ann_. 1 other is here: ann.")
    ann.write(CTRL_D)
    assert await ann.end() == 0
    ann.close()


# Colors, bells and the history


@pytest.mark.parametrize(
    ("options", "environment", "colored", "bells"),
    [([], {}, True, 1), (["--no-color", "--no-bell"], {}, False, 0), ([], {"NO_COLOR": "1"}, False, 1)],
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
    """The bell rings for private messages and for lines with the client's own nickname, once a second."""
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
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]0;evil\x07",
    "\x1b[2J\x1b[1;1Hevil",
    "\x1bP+q\x1b\\",
    "\x9b2J",
    "\x9d52;c;x\x9c",
    "\x0e\x08\x08\x08",
    "\u202eevil",
    "\x1b[6n",
    "\x1b[?1049h",
    "\x05",
    "a\r\nb",
)
"""Sequences that control a terminal: clipboard, title, clearing, DCS, C1, backspaces, bidi, queries, another screen."""


class Hostile(Protocol):
    """A server that sends all of them wherever a server may send text."""

    def connectionMade(self) -> None:
        self.seq = 0

    def dataReceived(self, data: bytes) -> None:
        for line in data.splitlines():
            message = json.loads(line)
            self.answer(message["id"], message["method"], message["params"])

    def send(self, **message: object) -> None:
        cast(ITransport, self.transport).write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def notify(self, method: str, **params: object) -> None:
        self.send(method=method, params={"room": "lobby", "session": "s", **params})

    def say(self, nick: str, text: str, method: str = "said") -> None:
        self.seq += 1
        self.notify(method, seq=self.seq, at=0, nick=nick, text=text)

    def answer(self, number: int, method: str, params: dict[str, Any]) -> None:
        people = [{"nick": payload, "session": str(index)} for index, payload in enumerate(HOSTILE)]
        match method:
            case "hello":
                rooms = {
                    name: {"room": name, "count": 12, "topic": payload, "members": people}
                    for name, payload in zip(("lobby", *HOSTILE), (HOSTILE[0], *HOSTILE), strict=True)
                }
                motd = "\n".join(HOSTILE)
                ids = {"session": "own", "token": "t", "journal": "j"}
                self.send(id=number, result={**ids, "nick": "ann", "motd": motd, "rooms": rooms})
            case "command":
                self.send(id=number, result={"lines": [f"/x{payload} {payload}   {payload}" for payload in HOSTILE]})
            case "say" if params["text"] == "attack":
                self.send(id=number, error={"code": 1001, "message": "".join(HOSTILE)})
                self.attack()
            case "quit":
                self.send(id=number, result={})
                cast(ITransport, self.transport).loseConnection()
            case _:
                self.send(id=number, result={})

    def attack(self) -> None:
        for number, payload in enumerate(HOSTILE, 1):
            self.say("bob", payload)
            self.say(payload, "hi")
            self.say(payload, payload, "emoted")
            self.notify("joined", nick=payload)
            self.notify("left", nick="bob", reason=payload)
            self.notify("renamed", old=payload, nick=payload)
            self.notify("topic", nick=payload, text=payload)
            self.notify("away", nick=payload, reason=payload)
            self.notify("announced", text=payload)
            self.notify("told", id=number, nick=payload, at=0, text=payload)
        self.say("bob", "the end")


@ensureDeferred
async def test_output_of_a_hostile_server_never_controls_the_terminal(programs: Programs) -> None:
    factory = cast(Any, Factory.forProtocol(Hostile))
    listening = cast(IReactorTCP, programs.reactor).listenTCP(0, factory, interface="127.0.0.1")
    try:
        port = cast(IPv4Address, listening.getHost()).port
        ann = client(programs, port, "--nick", "ann", "--no-bell", "--no-times")
        await ann.shows(" ann · ")
        ann.write("attack" + ENTER)
        await ann.shows("bob: the end")
        ann.write("/" + TAB)
        await ann.shows("> /")
        ann.write(CTRL_C + "e" + TAB)
        await ann.shows("> e")
        ann.write(CTRL_C + "/names" + ENTER)
        await ann.shows("-> /x")
        ann.write("\x0e\x0c")
        await ann.shows("===")
        ann.write(CTRL_D)
        await ann.shows(" * Goodbye, ann.")
        assert await ann.end() == 0
        for payload in HOSTILE:
            assert payload.encode() not in ann.output
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
