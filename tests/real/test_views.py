"""The views and the status line of the installed client on a pseudo-terminal, in two sizes."""

from __future__ import annotations

import sys

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs, Talker
from tests.real.terminals import CTRL_C, CTRL_D, ENTER, Terminal, client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")

ALT_1, ALT_A, HOME, END, PAGE_UP = "\x1b1", "\x1ba", "\x1b[H", "\x1b[F", "\x1b[5~"
SIZES = pytest.mark.parametrize(("columns", "rows"), [(80, 24), (20, 6)])


async def arrived(programs: Programs, port: int, columns: int, rows: int, *options: str) -> Terminal:
    """Return the client of ann, who has joined on a terminal of her own."""
    options = ("--nick", "ann", "--no-times", "--no-color", *options)
    ann = client(programs, port, *options, columns=columns, rows=rows)
    await ann.shows(" ann ·")
    return ann


async def leave(ann: Terminal) -> None:
    """Let ann leave, and check that nothing of the bottom of her screen is left."""
    ann.write(CTRL_C + CTRL_D)
    assert await ann.end() == 0
    assert not [row for row in ann.model.everything if " ann ·" in row or row.split(" ")[0] == ">"]
    ann.close()


async def has(ann: Terminal, *rows: str) -> None:
    """Wait until all of these rows are on the terminal or in its scrollback, or their beginnings if they are long."""
    wanted = [row[: ann.model.columns] for row in rows]
    await ann.until_true(lambda: set(wanted) <= set(ann.model.everything), repr(wanted))


@SIZES
@ensureDeferred
async def test_alt_a_shows_the_room_with_new_lines(
    programs: Programs, port: int, bob: Talker, columns: int, rows: int
) -> None:
    ann = await arrived(programs, port, columns, rows, "--room", "lobby", "--room", "kitchen")
    bob.say("/join kitchen", "tea?", "ann?")
    await ann.shows("(2!)")
    ann.write(ALT_A)
    await ann.shows(" ann · kitchen ·"[: columns - 4])
    await has(ann, "--- new ---", "bob: tea?", ">> bob: ann?")
    ann.write("yes" + ENTER)
    await bob.until("ann: yes\r\n")
    ann.write(ALT_1)
    await ann.shows(" ann · lobby ·")
    ann.write("nobody here" + ENTER)
    await ann.shows("ann: nobody here")
    assert "nobody here" not in bob.text()
    await leave(ann)


@SIZES
@ensureDeferred
async def test_page_up_reads_lines_that_the_client_has_never_shown(
    programs: Programs, port: int, bob: Talker, columns: int, rows: int
) -> None:
    carol = await programs.talker(port, "carol")
    bob.say(*(f"line {number}" for number in range(1, 301)))
    await carol.until("bob: line 300\r\n")
    ann = await arrived(programs, port, columns, rows)
    await ann.shows("bob: line 300")
    # 20 lines came with the arrival, and the client asks for 200 at once.
    for key, number in ((PAGE_UP + HOME, 280), (HOME, 80), (HOME, 1)):
        ann.write(key)
        await ann.shows_line(f"bob: line {number}")
        await ann.shows("End returns")
    bob.say("line 301")
    await ann.shows(" 1 new")
    ann.write(END)
    await ann.shows("bob: line 301", " ann ·")
    await leave(ann)
    assert "bob: line 1" not in ann.model.everything
