"""The installed client in tmux and in GNU screen: resizes, Ctrl-L and scrolling."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred

from tests.real.multiplexers import Multiplexer, is_missing, numbers
from tests.real.programs import Programs, Talker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")

DRAFT = " ".join(f"w{number:03}" for number in range(60))
"""A draft of 299 characters, which four rows hold."""
STATUS = " ann · lobby ·"


@async_yield_fixture(
    params=[
        pytest.param(name, marks=pytest.mark.skipif(is_missing(name), reason=f"there is no {name}"))
        for name in ("tmux", "screen")
    ]
)
async def ann(programs: Programs, port: int, bob: Talker, request: pytest.FixtureRequest) -> AsyncIterator[Multiplexer]:
    """The client of ann, beside bob."""
    ann = Multiplexer(
        programs, f"127.0.0.1:{port}", "--nick", "ann", "--no-times", "--no-color", screen=request.param == "screen"
    )
    try:
        await ann.shows("You are ann", STATUS)
        yield ann
        await ann.leave()
    finally:
        ann.close()


def say(bob: Talker, first: int, last: int) -> None:
    """Let bob say numbered lines of different lengths."""
    bob.say(*(f"line {number} {'x' * (number * 7 % 90)}" for number in range(first, last + 1)))


async def check(ann: Multiplexer, last: int) -> None:
    """Check that each line is there once, and that nothing else is left in the scrollback and on the screen."""
    rows = await ann.everything()
    found = numbers(rows)
    if ann.is_screen:
        # It loses some rows of its scrollback when it becomes narrower, and joins rows when it becomes wider.
        assert found == sorted(set(found)), "\n".join(rows)
        assert found[-1] == last
    else:
        assert found == list(range(1, last + 1)), "\n".join(rows)
    assert "".join(rows).count("w000") <= "".join(rows).count("w059") == 1, rows
    assert sum("ann ·" in row for row in rows) <= 1, rows
    assert sum("127.0.0.1:" in row for row in rows) <= 1, rows
    assert len([row for row in rows if row.startswith(">")]) <= 1, rows


@ensureDeferred
async def test_resizes_leave_no_old_rows_while_lines_arrive(ann: Multiplexer, bob: Talker) -> None:
    say(bob, 1, 60)
    await ann.shows("line 60")
    ann.type(DRAFT)
    await ann.shows("w000", "w059", STATUS)
    last = 60
    for columns, rows in ((40, 12), (120, 30), (80, 24), (61, 14), (62, 15), (33, 16), (100, 20)):
        ann.resize(columns, rows)
        # The output of this moment would be for the old size, and read after the resize.
        await ann.pause(0.1)
        for _ in range(8):
            last += 1
            say(bob, last, last)
            await ann.pause(0.05)
        await ann.shows(f"line {last} ", "w059", STATUS)
    # The rows are known to be at rest when the screen draws again.
    ann.type("!")
    await ann.shows("w059!", STATUS)
    await check(ann, last)


@ensureDeferred
async def test_ctrl_l_leaves_no_old_rows(ann: Multiplexer, bob: Talker) -> None:
    say(bob, 1, 60)
    await ann.shows("line 60")
    ann.type(DRAFT)
    await ann.shows("w000", "w059", STATUS)
    last = 60
    for size in ((80, 24), (50, 14), (100, 30)):
        ann.resize(*size)
        await ann.pause(0.1)
        for _ in range(3):
            last += 1
            say(bob, last, last)
            await ann.shows(f"line {last} ", "w059", STATUS)
            ann.press("C-l")
            await ann.shows(f"line {last} ", "w059", STATUS)
            await ann.pause(0.1)
    ann.type("!")
    await ann.shows("w059!", STATUS)
    await check(ann, last)


@ensureDeferred
async def test_scrolling_leaves_the_scrollback_complete(ann: Multiplexer, bob: Talker) -> None:
    say(bob, 1, 100)
    await ann.shows("line 100")
    ann.type(DRAFT)
    await ann.shows("w000", "w059", STATUS)
    ann.press("PPage")
    await ann.shows(" lobby: PageUp, PageDown, End returns")
    before = ann.shown[:-1]
    say(bob, 101, 110)
    await ann.shows(" lobby, 10 new:")
    assert ann.shown[:-1] == before
    if not ann.is_screen:  # which has no alternate screen by default
        ann.resize(50, 14)
        await ann.until(lambda rows: len(rows) == 14 and rows[0] == before[0][:50])
        ann.resize(80, 24)
    ann.press("Home")
    await ann.shows("You are ann")
    ann.press("End")
    await ann.shows("w000", "w059", "line 110", STATUS)
    await check(ann, 110)
