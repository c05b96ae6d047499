"""Clients that come back together share one read of the journal, and each receives exactly its lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from broadcast.core.settings import Settings
from broadcast.doors.jsonrpc.line_reader import LIST_BYTES
from broadcast.doors.jsonrpc.recent_lines import MOST_BYTES, MOST_LINES
from tests.doors.jsonrpc.programs import Program, ProgramWorld


def seqs(program: Program) -> list[int]:
    """Return the numbers of all lines that *program* has received, in the results of requests and as notifications."""
    found: list[int] = []
    for message in program.read():
        for room in message.get("result", {}).get("rooms", {}).values():
            found += [event["seq"] for event in room["events"]]
        if message.get("method") == "said":
            found.append(message["params"]["seq"])
    return found


@pytest.mark.parametrize("replay", [0, 20])
@pytest.mark.parametrize("settled", [True, False])
def test_clients_that_come_back_together_have_each_line_once(replay: int, settled: bool) -> None:
    world = ProgramWorld(Settings(version="0.0", replay=replay))
    ann = world.program("ann")
    bots = []
    for number in range(10):
        bots.append(world.program(f"bot{number}"))
        ann.say(f"{number}")
    for bot in bots:
        bot.vanish()
    ann.say(*map(str, range(10, 200)))
    world.turn()
    reads = 0
    log_read = world.room._log.read

    def count(*arguments: object) -> None:
        nonlocal reads
        reads += 1
        log_read(*arguments)  # type: ignore[arg-type]

    world.room._log.read = count  # type: ignore[method-assign, assignment]
    back = [world.open_program() for _ in bots]
    for number, (old, new) in enumerate(zip(bots, back, strict=True)):
        new.put("hello", {"protocol": 1, "resume": old.resume})
        ann.put("say", {"room": "lobby", "text": "late"}, notify=True)
        if settled or number % 3 == 0:
            world.settle()
    world.settle()
    for number, new in enumerate(back):
        assert seqs(new) == [*range(number + 1, 211)]
    if replay:
        assert reads <= 8, "five pages of 64 lines, and some more for those that come first"


def test_no_more_is_held_than_two_results_take() -> None:
    world = ProgramWorld()
    ann = world.program("ann")
    lines = world.sessions.room_views.recent_lines(world.room)
    for text, most in (("x", 2200), ('"' * 4000, 100)):
        for _ in range(most // 20):
            ann.say(*[text] * 20)
            world.sessions.room_views.recent_lines(world.room)
            assert len(lines._events) <= MOST_LINES
            assert sum(len(memoryview(event)) for event in lines._events) <= MOST_BYTES
    last = world.room.last_seq
    taken = lines.take(last - 40, last, LIST_BYTES)
    assert taken is not None
    assert not taken.complete
    assert taken.first == last - len(taken.events) + 1
    assert sum(len(memoryview(event)) + 1 for event in taken.events) == taken.size <= LIST_BYTES


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12),
    st.integers(1, 200),
    st.integers(0, 200),
    st.integers(0, 9000),
)
def test_lines_are_taken_from_the_newest_on_as_far_as_they_fit(
    bursts: list[int], first: int, count: int, max_bytes: int
) -> None:
    world = ProgramWorld()
    ann = world.program("ann")
    lines = world.sessions.room_views.recent_lines(world.room)
    for burst in bursts:
        ann.say(*("x" * (number * 7 % 50) for number in range(1, burst + 1)))
        world.sessions.room_views.recent_lines(world.room)
    last = min(first + count - 1, world.room.last_seq)
    assume(first <= last)
    taken = lines.take(first, last, max_bytes)
    if taken is None:
        assert first < lines._first
        return
    texts = [json.loads(bytes(memoryview(event)))["seq"] for event in taken.events]
    assert texts == [*range(last - len(texts) + 1, last + 1)]
    assert taken.complete is (texts[:1] == [first])
    size = sum(len(memoryview(event)) + 1 for event in taken.events)
    assert size == taken.size <= max_bytes
