"""The editor of the installed client on a pseudo-terminal: what its user sees, and what the others get."""

from __future__ import annotations

import sys

import pytest
from pytest_twisted import ensureDeferred

from tests.real.multiplexers import Multiplexer, is_missing
from tests.real.programs import Programs, Talker
from tests.real.terminals import CTRL_C, CTRL_D, ENTER, LEFT, TAB, UP, Terminal, client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")

ALT_ENTER, BACKSPACE, CTRL_R, END, ESCAPE = "\x1b\r", "\x7f", "\x12", "\x1b[F", "\x1b"
FLAG, FAMILY = "🇩🇪", "👩\u200d👩\u200d👧"


async def arrived(programs: Programs, port: int, columns: int = 80, rows: int = 24) -> Terminal:
    """Return the client of ann, who has joined on a terminal of her own."""
    ann = client(programs, port, "--nick", "ann", "--no-times", columns=columns, rows=rows)
    await ann.shows("You are ann", " ann")
    return ann


async def leave(ann: Terminal) -> None:
    """Let ann leave."""
    ann.write(CTRL_C + CTRL_D)
    assert await ann.end() == 0
    ann.close()


def pasted(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


SIZES = pytest.mark.parametrize(("columns", "rows"), [(80, 24), (20, 6)])


@SIZES
@ensureDeferred
async def test_the_cursor_moves_over_a_flag_and_a_family_as_over_one_character(
    programs: Programs, port: int, bob: Talker, columns: int, rows: int
) -> None:
    ann = await arrived(programs, port, columns, rows)
    ann.write(f"a{FLAG}{FAMILY}b")
    await ann.until_true(lambda: ann.model.cursor[0] == 2 + 6, "the cursor is at the end")
    ann.write(LEFT)
    await ann.until_true(lambda: ann.model.cursor[0] == 2 + 5, "the cursor is behind the family")
    ann.write(BACKSPACE)
    await ann.until_true(lambda: ann.model.cursor[0] == 2 + 3, "the cursor is behind the flag")
    ann.write(LEFT + "x" + ENTER)
    await bob.until(f"ann: ax{FLAG}b\r\n")
    await leave(ann)


@SIZES
@ensureDeferred
async def test_a_long_paste_asks_first_and_then_is_said_in_its_lines(
    programs: Programs, port: int, bob: Talker, columns: int, rows: int
) -> None:
    ann = await arrived(programs, port, columns, rows)
    ann.write(pasted("".join(f"line {number}\r" for number in range(12))))
    await ann.shows("Send 12 lines? Enter")
    ann.write(ESCAPE)
    await ann.until_true(lambda: not any("Send 12" in line for line in ann.model.shown), "the question is gone")
    assert b"ann: " not in bob.seen
    ann.write("!" + ENTER)
    await bob.until("".join(f"ann: line {number}\r\n" for number in range(11)) + "ann: line 11!\r\n")
    await ann.shows("ann: line 11!")
    await leave(ann)


@pytest.mark.parametrize("name", ["tmux", "screen"])
@ensureDeferred
async def test_graphemes_and_pastes_are_the_same_in_tmux_and_screen(
    programs: Programs, port: int, bob: Talker, name: str
) -> None:
    if is_missing(name):
        pytest.skip(f"there is no {name}")
    ann = Multiplexer(
        programs, f"127.0.0.1:{port}", "--nick", "ann", "--no-times", screen=name == "screen", columns=20, rows=8
    )
    try:
        await ann.shows("You are ann", " ann ·")
        ann.type(f"a{FLAG}e\u0301b")
        await ann.until(lambda _rows: ann.cursor == 2 + 5)
        ann.press("Left", "Left")
        await ann.until(lambda _rows: ann.cursor == 2 + 3)
        ann.press("BSpace")
        await ann.until(lambda _rows: ann.cursor == 2 + 1)
        ann.press("End")
        ann.paste("".join(f"{number}\n" for number in range(6)))
        await ann.shows("Send 6 lines?")
        ann.press("Enter")
        await bob.until("ann: aéb0\r\nann: 1\r\n")
        await bob.until("ann: 5\r\n")
        ann.type("one")
        ann.press("M-Enter")
        ann.type("two")
        ann.press("Enter")
        await bob.until("ann: one\r\nann: two\r\n")
        await ann.leave()
    finally:
        ann.close()


@ensureDeferred
async def test_a_draft_of_several_lines_comes_back_whole_also_in_the_next_run(
    programs: Programs, port: int, bob: Talker
) -> None:
    ann = await arrived(programs, port)
    ann.write("one" + ALT_ENTER + "two" + ALT_ENTER + "three")
    await ann.shows_line("three")
    ann.write(ENTER)
    await bob.until("ann: one\r\nann: two\r\nann: three\r\n")
    await ann.shows_line("ann: three")
    await leave(ann)
    again = await arrived(programs, port)
    again.write(UP)
    await again.shows("> one", "two", "three")
    await leave(again)


@ensureDeferred
async def test_a_draft_that_is_too_long_is_said_in_parts(programs: Programs, port: int, bob: Talker) -> None:
    ann = await arrived(programs, port)
    ann.write(pasted("some words " * 500 + "end"))
    await ann.shows("5,503/4,096 bytes. Enter sends 2 parts.")
    ann.write(ENTER)
    await bob.until("some words end\r\n")
    said = [line.removeprefix("ann: ") for line in bob.seen.decode().splitlines() if line.startswith("ann: ")]
    assert " ".join(said) == "some words " * 500 + "end"
    assert len(said) == 2
    await leave(ann)


@ensureDeferred
async def test_ctrl_r_searches_the_drafts_and_a_second_one_the_screen(
    programs: Programs, port: int, bob: Talker
) -> None:
    ann = await arrived(programs, port)
    ann.write("deploy at noon" + ENTER)
    await ann.shows_line("ann: deploy at noon")
    bob.say("do not deploy today", *(f"line {number}" for number in range(60)))
    await ann.shows("bob: line 59")
    ann.write(CTRL_R + "deploy")
    await ann.shows("> deploy at noon", "Search: deploy")
    ann.write(CTRL_R)
    await ann.shows("bob: do not deploy today")
    ann.write(END)
    await ann.shows_line(">")
    await leave(ann)


@ensureDeferred
async def test_tab_completes_nicknames_commands_and_their_arguments(programs: Programs, port: int, bob: Talker) -> None:
    ann = await arrived(programs, port)
    for typed, completed in [
        ("bo", "> bob:"),
        ("well bo", "> well bob"),
        ("/upt", "> /uptime"),
        ("/msg b", "> /msg bob"),
        ("/join lo", "> /join lobby"),
        ("/quiet of", "> /quiet off"),
        ("/set ti", "> /set times"),
    ]:
        ann.write(typed + TAB)
        await ann.shows_line(completed)
        ann.write(CTRL_C)
        await ann.shows_line(">")
    await leave(ann)
