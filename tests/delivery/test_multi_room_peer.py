"""A program reads each of its rooms whole, once and in order, and its responses before the events that wait."""

from __future__ import annotations

import gc
import weakref
from typing import cast

import pytest

from broadcast.core.limits import DEFAULTS
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.shared_writer import Share
from tests.delivery.programs import Program, ProgramWorld
from tests.delivery.subscribers import KINDS


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> ProgramWorld:
    """A world with writers of each kind."""
    return ProgramWorld(request.param)


@pytest.fixture
def direct() -> ProgramWorld:
    """A world whose writers send to sockets."""
    return ProgramWorld()


def by_room(lines: list[str]) -> dict[str, list[str]]:
    """Return the lines of each room, and of the responses, in order."""
    rooms: dict[str, list[str]] = {}
    for line in lines:
        name, text = line.split(" ", 1)
        rooms.setdefault(name, []).append(text)
    return rooms


# A program that reads


def test_program_reads_the_rooms_it_is_in(world: ProgramWorld) -> None:
    program = Program(world)
    a, b = world.rooms("a", "b")
    a.say("before")
    program.enter(a, b)
    a.say("1", "2", private={program.session: "psst", 99: "not for us"})
    b.say("1")
    program.answer("re one", "re two")
    program.peer.send_bytes(b"re three\n")
    a.say("3")
    program.leave(a)
    a.say("after")
    b.say("2")
    expected = ["a 1", "a 2", "a [psst]", "b 1", "re one", "re two", "re three", "a 3", "b 2"]
    assert program.lines() == expected
    assert (program.peer.congested, program.peer.lagging) == (False, False)


def test_room_that_is_held_begins_at_its_subscription_after_the_response(world: ProgramWorld) -> None:
    program = Program(world)
    (a,) = world.rooms("a")
    a.say("before")
    release = program.enter(a, held=True)
    a.say("1", private={program.session: "psst"})
    a.say("2")
    assert program.lines() == []
    program.answer("re joined")
    release()
    release()
    a.say("3")
    assert program.lines() == ["re joined", "a 1", "a [psst]", "a 2", "a 3"]
    assert world.dispatcher.lagging_count == 0


def test_room_that_is_held_too_long_begins_with_a_gap(world: ProgramWorld) -> None:
    program = Program(world)
    (a,) = world.rooms("a", events=2)
    a.say()
    release = program.enter(a, held=True)
    for _ in range(2, 7):
        a.say()
    release()
    assert program.lines() == ["a missed 2-4", "a 5", "a 6"]


def test_room_that_is_left_while_held_sends_nothing(world: ProgramWorld) -> None:
    program = Program(world)
    (a,) = world.rooms("a")
    release = program.enter(a, held=True)
    a.say("lost", private={program.session: "psst"})
    program.leave(a)
    release()
    program.enter(a)
    a.say("seen")
    assert program.lines() == ["a seen"]
    assert (program.peer.congested, world.dispatcher.lagging_count) == (False, 0)


def test_second_subscription_to_a_room_changes_nothing(world: ProgramWorld) -> None:
    program = Program(world)
    (a,) = world.rooms("a")
    program.enter(a, a)
    program.enter(a, held=True)
    a.say("once")
    assert program.lines() == ["a once"]


def test_release_of_a_stream_that_has_ended_does_not_release_the_next_one(world: ProgramWorld) -> None:
    program = Program(world)
    (a,) = world.rooms("a")
    release_first = program.enter(a, held=True)
    a.say("for the first")
    program.leave(a)
    release_second = program.enter(a, held=True)
    a.say("for the second")
    release_first()
    assert program.lines() == []
    release_second()
    assert program.lines() == ["a for the second"]
    assert world.dispatcher.lagging_count == 0


# A program that lags


@pytest.mark.parametrize("room", range(0, 90, 2))
@pytest.mark.parametrize("steps", [None, 7])
def test_streams_continue_whole_wherever_they_were_cut(direct: ProgramWorld, room: int, steps: int | None) -> None:
    program = Program(direct)
    a, b, c = direct.rooms("a", "b", "c")
    program.enter(a, b)
    program.stop_reading(room)
    a.say("one", "two", private={program.session: "psst"})
    b.say("one")
    program.answer("re one", "re two")
    a.say("three")
    program.answer("re three")
    release = program.enter(c, held=True)
    c.say("one")
    program.answer("re joined")
    release()
    b.say("two", "three", private={program.session: "psst"})
    for _ in range(30 if steps else 0):
        program.read_on(steps)
    a.say("four")
    program.read_on()
    c.say("two")
    lines = program.lines()
    assert by_room(lines) == {
        "a": ["one", "two", "[psst]", "three", "four"],
        "b": ["one", "two", "three", "[psst]"],
        "c": ["one", "two"],
        "re": ["one", "two", "three", "joined"],
    }
    assert lines.index("re joined") < lines.index("c one")
    assert (program.peer.lagging, direct.dispatcher.lagging_count) == (False, 0)


def test_responses_go_before_all_events_that_wait(world: ProgramWorld) -> None:
    program = Program(world)
    rooms = world.rooms("a", "b", "c")
    program.enter(*rooms)
    program.stop()
    program.answer("re one")
    for room in rooms * 3:
        room.say()
    program.answer("re two")
    program.read_on()
    lines = program.read_lines()
    assert lines[:2] == ["re one", "re two"]
    assert by_room(lines[2:]) == {name: ["1", "2", "3"] for name in "abc"}


def test_rooms_take_turns_while_the_program_lags(direct: ProgramWorld) -> None:
    """A busy room does not withhold the others from a program that reads slowly."""
    program = Program(direct)
    busy, quiet = direct.rooms("busy", "quiet")
    program.enter(busy, quiet)
    program.stop_reading()
    busy.say("x" * 100)
    quiet.say("seen")
    for _ in range(20):
        busy.say("x" * 100)
        program.read_on(60)
    assert b"quiet seen\n" in program.transport.sent


def test_slow_program_misses_what_the_replay_buffer_of_a_room_has_dropped(direct: ProgramWorld) -> None:
    program = Program(direct)
    a, b = direct.rooms("a", "b", events=2)
    program.enter(a, b)
    program.stop_reading()
    for _ in range(6):
        a.say()
    b.say()
    program.read_on()
    assert by_room(program.lines()) == {"a": ["1", "missed 2-4", "5", "6"], "b": ["1"]}


def test_program_in_many_rooms_holds_one_event_of_each(direct: ProgramWorld) -> None:
    program = Program(direct)
    rooms = direct.rooms(*(f"room{number}" for number in range(50)))
    program.enter(*rooms)
    program.stop_reading()
    for _ in range(20):
        for room in rooms:
            room.say("x" * 1000)
    held = sum(len(cast(Share, subscriber.writer).rest) for subscriber in program.peer._rooms.values())
    assert held + len(program.transport.held) <= 50 * 1010
    assert not program.peer.congested
    program.read_on()
    lines = by_room(program.lines())
    assert {tuple(text[:11] for text in texts) for texts in lines.values()} == {
        ("x" * 11, "missed 2-12", *["x" * 11] * 8)
    }


def test_private_queues_of_all_rooms_count_together(direct: ProgramWorld) -> None:
    program = Program(direct)
    rooms = direct.rooms("a", "b", "c", "d")
    program.enter(*rooms)
    program.stop_reading()
    sent = 0
    while not program.peer.congested:
        rooms[sent % 4].say(private={program.session: "x" * 1000})
        sent += 1
    assert sent <= DEFAULTS.private_queue_bytes // 1000 + 4
    calls: list[str] = []
    program.peer.when_writable(lambda: calls.append("writable"))
    assert (calls, program.ready_calls) == ([], 1)
    program.read_on()
    assert (calls, program.ready_calls) == (["writable"], 2)
    assert sum("[xxx" in line for line in program.lines()) == sent


# Rooms that are left


@pytest.mark.parametrize("room", range(0, 40, 2))
def test_room_that_is_left_and_joined_again_while_the_program_lags(direct: ProgramWorld, room: int) -> None:
    program = Program(direct)
    a, b = direct.rooms("a", "b")
    program.enter(a, b)
    program.stop_reading(room)
    for visit in range(3):
        a.say(f"seen {visit}", private={program.session: f"psst {visit}"})
        program.leave(a)
        a.say("not seen")
        release = program.enter(a, held=visit == 1)
        if visit == 1:
            a.say("held")
            release()
    b.say("one")
    program.read_on()
    a.say("last")
    assert by_room(program.lines()) == {
        "a": ["seen 0", "[psst 0]", "seen 1", "[psst 1]", "held", "seen 2", "[psst 2]", "last"],
        "b": ["one"],
    }
    assert (program.peer.congested, direct.dispatcher.lagging_count) == (False, 0)


def test_program_is_congested_until_it_has_read_a_room_that_it_left(direct: ProgramWorld) -> None:
    program = Program(direct)
    (a,) = direct.rooms("a")
    program.enter(a)
    program.stop_reading()
    a.say()
    congested = [program.peer.congested]
    program.leave(a)
    congested.append(program.peer.congested)
    program.read_on()
    assert [*congested, program.peer.congested] == [False, True, False]
    assert program.ready_calls == 1


def test_batch_in_delivery_reaches_the_program_that_leaves_before_its_turn(world: ProgramWorld) -> None:
    programs = [Program(world) for _ in range(3)]
    (a,) = world.rooms("a")
    for program in programs:
        program.enter(a)
    world.tick = SLICE_SECONDS
    a.say("1", private={program.session: "psst" for program in programs})
    for program in programs:
        program.leave(a)
        program.enter(a)
    world.settle()
    a.say("2")
    world.settle()
    assert [program.lines() for program in programs] == [["a 1", "a [psst]", "a 2"]] * 3


# The end


@pytest.mark.parametrize("lags", [False, True])
def test_closing_sends_all_rooms_and_then_the_last_lines(world: ProgramWorld, lags: bool) -> None:
    program = Program(world)
    a, b, c = world.rooms("a", "b", "c")
    program.enter(a, b)
    program.enter(c, held=True)
    if lags:
        program.stop()
    for room in (a, b, c):
        room.say()
    program.answer("re quit")
    program.peer.close(b"bye now\n")
    a.say("too late")
    program.answer("too late")
    program.enter(c)
    assert program.transport.finished is not lags
    assert len(world.clock.getDelayedCalls()) == 1, "the linger time-out"
    program.read_on()
    lines = program.read_lines()
    assert by_room(lines) == {"a": ["1"], "b": ["1"], "re": ["quit"], "bye": ["now"]}
    assert lines[-1] == "bye now"
    assert (program.transport.finished, program.transport.aborted) == (True, False)


@pytest.mark.parametrize("lags", [False, True])
def test_lost_peer_accepts_every_call_and_holds_nothing(world: ProgramWorld, lags: bool) -> None:
    program = Program(world)
    a, b, c = world.rooms("a", "b", "c")
    program.enter(a, b)
    release = program.enter(c, held=True)
    if lags:
        program.stop()
    program.answer("re one")
    for room in (a, b, c):
        room.say(private={program.session: "psst"})
    program.leave(b)
    program.peer.connection_lost()
    sent = bytes(program.transport.sent)
    program.enter(a, b)
    program.leave(a)
    release()
    program.answer("re two")
    for room in (a, b, c):
        room.say()
    program.peer.close(b"bye\n")
    assert program.transport.sent == sent
    assert (program.peer.congested, program.peer.lagging, world.dispatcher.lagging_count) == (False, False, 0)
    assert not any(room.fanout._subscribers or any(room.fanout._current.values()) for room in (a, b, c))
    assert not world.clock.getDelayedCalls()


@pytest.mark.parametrize("lags", [False, True])
def test_lost_peer_is_freed_at_once(world: ProgramWorld, lags: bool) -> None:
    program = Program(world)
    rooms = a, b = world.rooms("a", "b")
    program.enter(*rooms)
    if lags:
        program.stop()
    for room in rooms:
        room.say(private={program.session: "psst"})
    program.read_on(100)
    program.leave(b)
    world.settle()
    program.peer.connection_lost()
    program.peer.drop_callbacks()
    program.transport.producer = None
    a.say()
    gc.collect()
    gc.disable()
    try:
        peer = weakref.ref(program.peer)
        del program
        assert peer() is None
    finally:
        gc.enable()
