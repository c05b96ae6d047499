"""Rooms open with their first member and close with their last one; a session moves between them without a loss."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import ref

import pytest

from broadcast.core.errors import JournalError, RejectedError, RoomRejected
from broadcast.core.events import (
    Action,
    AwayChanged,
    ErrorReply,
    Event,
    Joined,
    Left,
    Message,
    Notice,
    PrivateMessage,
    Renamed,
    RoomEntered,
    ServerNotice,
    TopicChanged,
)
from broadcast.core.hub import GOING_DOWN
from broadcast.core.interfaces import OpenedRoom
from broadcast.core.limits import DEFAULTS
from broadcast.core.room import Room
from broadcast.core.session import CONNECTION_LOST
from broadcast.core.settings import Settings
from broadcast.journals.memory import MemoryJournal
from tests.core.members import admit, is_idle, program
from tests.harness import NOON, SessionClient, World


class SlowJournal(MemoryJournal):
    """A journal that opens a room only when the test says so, or fails."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        super().__init__(call_soon)
        self.asked: list[tuple[str, Callable[[OpenedRoom | JournalError], None]]] = []
        self.closed: list[str] = []

    def open_room(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        self.asked.append((name, on_result))

    def answer(self, error: JournalError | None = None) -> None:
        """Answer the first request."""
        name, on_result = self.asked.pop(0)
        on_result(error or self.open(name, 20))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def slow() -> tuple[World, SlowJournal]:
    world = World(journal=SlowJournal)
    assert isinstance(world.journal, SlowJournal)
    return world, world.journal


def opened(world: World, name: str) -> Room | RejectedError:
    """Return the result of opening a room."""
    results: list[Room | RejectedError] = []
    world.hub.rooms.open(name, results.append)
    world.settle()
    (result,) = results
    return result


def names(world: World) -> set[str]:
    return set(world.hub.rooms)


# Opening and closing


def test_room_without_members_closes_and_leaves_no_memory(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    gc.collect()
    gc.disable()
    try:
        ann.say("/join kitchen", "hi")
        room = ref(world.hub.rooms["kitchen"])
        publisher = ref(world.hub.rooms["kitchen"].publisher)
        ann.say("/leave")
        assert names(world) == {"lobby"}
        assert (room(), publisher()) == (None, None)
    finally:
        gc.enable()
    ann.say("/join kitchen", "/history")
    assert ann.session.room.last_seq == 1


def test_room_that_nobody_enters_is_closed_at_once(world: World) -> None:
    room = opened(world, "kitchen")
    assert isinstance(room, Room)
    assert names(world) == {"lobby"}
    assert isinstance(opened(world, "KITCHEN "), Room)


def test_several_rooms_are_open_together_or_none_is(world: World) -> None:
    hub = world.hub
    opened: list[Sequence[Room] | RejectedError] = []
    hub.rooms.open_all(["lobby", "Kitchen", "attic"], opened.append)
    hub.rooms.open_all(["kitchen", "no good"], opened.append)
    world.settle()
    refused, rooms = opened
    assert isinstance(refused, RoomRejected)
    assert refused.why == "room-refused"
    assert not isinstance(rooms, RejectedError)
    assert [room.name for room in rooms] == ["lobby", "kitchen", "attic"]
    assert [*hub.rooms] == ["lobby"], "nobody has joined the others"

    def enter(rooms: Sequence[Room] | RejectedError) -> None:
        assert not isinstance(rooms, RejectedError)
        rooms[1].enter(hub.people.find("ann"))

    admit(world, "ann")
    world.settle()
    hub.rooms.open_all(["attic", "kitchen"], enter)
    world.settle()
    assert [*hub.rooms] == ["lobby", "kitchen"]
    assert hub.journal_id == world.journal.id


def test_many_events_of_a_closing_room_close_it_once(world: World) -> None:
    member, _ = program(world, "bot", "kitchen")
    room = world.hub.rooms["kitchen"]
    closed: list[Room] = []
    room._on_empty = closed.append
    room.leave(member, "")
    world.turn()
    room.announce("during the delivery")
    world.settle()
    room.after_barrier(lambda: None)
    world.settle()
    assert set(closed) == {room}


def test_room_stays_open_while_it_has_something_to_deliver(world: World) -> None:
    member, _ = program(world, "bot", "kitchen")
    room = world.hub.rooms["kitchen"]
    room.leave(member, "")
    room.announce("late")
    calls: list[bool] = []
    room.after_barrier(lambda: calls.append("kitchen" in world.hub.rooms))
    world.settle()
    assert (calls, names(world)) == ([True], {"lobby"})


def test_two_people_open_the_same_room_at_once(slow: tuple[World, SlowJournal]) -> None:
    world, journal = slow
    ann, bob = world.join_sessions("ann", "bob")
    ann.say("/join kitchen")
    bob.say("/join Kitchen")
    assert len(journal.asked) == 1
    journal.answer()
    world.settle()
    assert ann.session.room is bob.session.room is world.hub.rooms["kitchen"]
    assert bob.read()[-1] == RoomEntered("kitchen", ("ann",), 1)
    assert ann.read()[-1] == RoomEntered("kitchen", ("bob",), 1)


def test_room_whose_opener_has_quit_meanwhile_is_closed_again(slow: tuple[World, SlowJournal]) -> None:
    world, journal = slow
    ann, bob = world.join_sessions("ann", "bob")
    ann.say("/join kitchen")
    ann.session.leave(CONNECTION_LOST)
    world.settle()
    assert ann.closed
    journal.answer()
    assert names(world) == {"lobby"}
    bob.say("/join kitchen")
    bob.session.leave("")  # before the barrier
    world.settle()
    assert bob.closed


def test_leave_before_the_barrier_opens_no_room(slow: tuple[World, SlowJournal]) -> None:
    world, journal = slow
    (ann,) = world.join_sessions("ann")
    ann.session.line("/join kitchen", NOON)
    ann.session.leave("")
    world.settle()
    assert (ann.closed, journal.asked) == (True, [])


def test_room_that_the_journal_cannot_open_changes_nothing(slow: tuple[World, SlowJournal]) -> None:
    world, journal = slow
    ann, bob = world.join_sessions("ann", "bob")
    ann.say("/join kitchen")
    bob.say("/msg ann psst")
    journal.answer(JournalError("the disk is full."))
    assert ann.read() == [
        PrivateMessage(bob.session.id, "bob", ann.session.id, "psst", NOON),
        ErrorReply("the room kitchen cannot be opened: the disk is full."),
    ]
    assert (ann.session.ready, ann.session.room.name, names(world)) == (True, "lobby", {"lobby"})
    assert is_idle(world)
    ann.say("/join kitchen")
    journal.answer()
    world.settle()
    assert ann.session.room.name == "kitchen"


def test_rooms_that_are_being_opened_count_toward_the_limit() -> None:
    world = World(journal=SlowJournal, limits=replace(DEFAULTS, rooms=2))
    ann, bob = world.join_sessions("ann", "bob")
    ann.say("/join kitchen")
    bob.say("/join attic")
    assert bob.read()[-1] == ErrorReply("this server has 2 open rooms, which is its limit. /rooms lists them.")
    bob.say("/join kitchen")
    journal = world.journal
    assert isinstance(journal, SlowJournal)
    journal.answer()
    world.settle()
    assert len(world.hub.rooms["kitchen"].members) == 2


def test_fixed_rooms_stay_open_and_one_that_could_not_be_opened_is_tried_again() -> None:
    world = World(Settings(fixed_rooms=("kitchen", "attic")), journal=SlowJournal)
    journal = world.journal
    assert isinstance(journal, SlowJournal)
    journal.answer()
    journal.answer(JournalError("the disk is full."))
    assert names(world) == {"lobby", "kitchen"}
    assert isinstance(opened_now(world, "cellar"), RoomRejected)
    (ann,) = world.join_sessions("ann")
    ann.say("/join attic")
    journal.answer()
    world.settle()
    ann.say("/leave")
    assert names(world) == {"lobby", "kitchen", "attic"}


def opened_now(world: World, name: str) -> Room | RejectedError:
    results: list[Room | RejectedError] = []
    world.hub.rooms.open(name, results.append)
    return results[0]


def test_close_announces_the_end_in_every_room(world: World) -> None:
    ann, bob = world.join_sessions("ann", "bob")
    ann.say("/join kitchen")
    ann.read()
    bob.read()
    calls: list[str] = []
    world.hub.close(lambda: calls.append("delivered"))
    world.settle()
    assert calls == ["delivered"]
    assert [event.text for client in (ann, bob) for event in client.read() if hasattr(event, "text")] == [
        GOING_DOWN
    ] * 2


# Members in several rooms


def test_rename_and_away_are_announced_in_each_room_of_a_member(world: World) -> None:
    ann, bob = world.join_sessions("ann", "bob")
    bob.say("/join kitchen")
    bot, _ = program(world, "bot", "lobby", "kitchen", "attic")
    ann.read()
    bob.read()
    world.hub.rename(bot, "robot")
    world.hub.set_away(bot, True, "oil")
    world.settle()
    expected = [Renamed(bot.id, "bot", "robot"), AwayChanged(bot.id, "robot", True, "oil")]
    assert ann.read() == bob.read() == expected
    assert {room.members[bot.id].announced_nick for room in world.hub.rooms.values()} == {"robot"}


def test_removed_member_leaves_every_room_and_the_nickname_is_free_at_once(world: World) -> None:
    ann, bob = world.join_sessions("ann", "bob")
    bob.say("/join kitchen")
    bot, listener = program(world, "bot", "lobby", "kitchen", "attic")
    ann.read()
    bob.read()
    world.hub.remove(bot, "done")
    heir, _ = program(world, "bot", "lobby")
    assert ann.read() == [Left(bot.id, "bot", "done"), Joined(heir.id, "bot")]
    assert bob.read() == [Left(bot.id, "bot", "done")]
    assert sorted(map(str, listener.calls[3:])) == [str(("left", name)) for name in ("attic", "kitchen", "lobby")]
    assert names(world) == {"lobby", "kitchen"}


def test_leave_and_return_in_one_batch_keep_the_member_and_what_it_ignores(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    bot, listener = program(world, "bot", "lobby")
    world.hub.ignore(bot, "ann")
    for _ in range(2):
        world.room.leave(bot, "")
        world.room.enter(bot)
    world.settle()
    assert listener.calls == [("joined", "lobby")] * 3 + [("left", "lobby")] * 2
    assert list(world.room.members) == [ann.session.id, bot.id]
    assert bot in world.room._ignoring
    world.hub.remove(bot, "")
    world.settle()
    assert list(world.room.members) == [ann.session.id]
    assert not world.room._ignoring


def test_ignoring_somebody_else_is_not_changed_by_a_rename_in_another_room(world: World) -> None:
    ann, bob, carol = world.join_sessions("ann", "bob", "carol")
    ann.say("/ignore bob")
    carol.say("/join kitchen", "/nick caro")
    assert ann.session.member.ignored == {"bob": "bob"}
    assert bob.session.nick == "bob"


def test_ignored_nickname_follows_a_rename_in_another_room(world: World) -> None:
    ann, bob, carol = world.join_sessions("ann", "bob", "carol")
    ann.say("/ignore bob", "/ignore carol")
    bob.say("/join kitchen")
    bob.say("/nick rob")
    carol.say("/nick caro")
    assert ann.session.member.ignored == {"rob": "rob", "caro": "caro"}
    bob.say("/leave", "hi")
    assert not [event for event in ann.read() if isinstance(event, Message)]


# Lines of programs


def test_author_with_a_uid_is_answered_and_a_repetition_is_not_stored(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    bot, _ = program(world, "bot", "lobby")
    ann.read()
    loaded: list[object] = []
    assert not world.room.knows_uids
    world.room.load_uids(loaded.append)
    world.settle()
    assert (loaded, world.room.knows_uids) == ([None], True)
    answers: list[tuple[str, object]] = []

    def post(text: str, uid: str, kind: type[Message | Action] = Message) -> None:
        line = kind(bot.id, "bot", text, NOON, uid=uid, on_stored=lambda event: answers.append(("stored", event)))
        world.room.post(line, lambda event: answers.append(("again", event)))

    post("hi", "a")
    post("hi", "a")
    post("no uid", "")
    world.settle()
    first, second = ann.read()
    assert answers == [("stored", first), ("again", first), ("stored", second)]
    post("hi", "a")
    world.settle()
    assert answers[3:] == [("again", first)]
    post("\udc80", "b")
    post("\udc80", "b")
    world.settle()
    assert [kind for kind, _ in answers[4:]] == ["stored", "again"]
    post("better", "b", Action)
    world.settle()
    assert ann.read() == [answers[-1][1]]
    assert world.room.last_seq == 3


def test_author_of_a_topic_is_answered(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    bot, _ = program(world, "bot", "lobby")
    ann.read()
    answers: list[object] = []
    world.room.change_topic(bot, "tea", answers.append)
    world.room.change_topic(bot, "\udc80", answers.append)
    world.room.change_topic(bot, "")
    world.settle()
    assert ann.read() == [TopicChanged(bot.id, "bot", "tea"), TopicChanged(bot.id, "bot", "")]
    assert [type(answer).__name__ for answer in answers] == ["TopicChanged", "StoreFailed"]
    assert world.room.topic == ""


# Moves


def moving(world: World) -> tuple[SessionClient, SessionClient, SessionClient, SessionClient]:
    """Return Ann, Bob and Carol in the lobby, and Zoe in the kitchen, who have read everything."""
    ann, bob, carol, zoe = world.join_sessions("ann", "bob", "carol", "zoe")
    zoe.say("/join kitchen")
    for client in (ann, bob, carol, zoe):
        client.read()
    return ann, bob, carol, zoe


def private_texts(events: list[Event | Notice]) -> list[str]:
    return [event.text for event in events if isinstance(event, PrivateMessage)]


@pytest.mark.parametrize("tick", [0.0, 1.0], ids=["fast", "one step a turn"])
@pytest.mark.parametrize("turns", range(12))
def test_no_private_message_is_lost_doubled_or_overtaken_during_a_move(tick: float, turns: int) -> None:
    world = World()
    ann, bob, carol, zoe = moving(world)
    world.tick = tick
    texts = []
    ann.session.line("/join kitchen", NOON)
    for turn in range(25):
        if abs(turn - turns) < 3:
            for sender in (bob, zoe):
                if sender.session.ready:
                    texts.append(f"{turn} {sender.session.nick}")
                    sender.session.line(f"/msg ann {texts[-1]}", NOON)
        world.turn()
    world.settle()
    assert private_texts(ann.read()) == texts
    assert ann.session.room.name == "kitchen"
    assert is_idle(world)
    assert not ann.session.member.is_moving
    assert carol.read() == [Left(ann.session.id, "ann", "to kitchen")]


@pytest.mark.parametrize("turns", range(20))
def test_session_that_ends_during_a_move_leaves_each_room_once_and_says_goodbye_last(turns: int) -> None:
    world = World()
    ann, bob, _, zoe = moving(world)
    world.tick = 1.0
    ann.session.line("/join kitchen", NOON)
    for _ in range(turns):
        world.turn()
    bob.session.line("/msg ann psst", NOON)
    ann.session.leave(CONNECTION_LOST)
    heir = world.open_session()
    heir.session.line("ann", NOON)
    world.settle()
    seen = ann.read()
    assert seen.count(ServerNotice("Goodbye, ann.")) == 1
    assert private_texts(seen) == ["psst"]
    assert ann.closed
    assert heir.session.ready
    joins = {event.session for event in zoe.read() if isinstance(event, Joined)}
    assert joins == ({ann.session.id} if any(isinstance(event, RoomEntered) for event in seen) else joins)
    lobby = [event for event in bob.read() if isinstance(event, Joined | Left)]
    assert [type(event) for event in lobby] == [Left, Joined]
    assert ann.session.id not in {session for room in world.hub.rooms.values() for session in room.members}
    assert is_idle(world)


def test_next_line_waits_until_the_old_room_has_delivered_the_leave() -> None:
    world = World()
    ann, bob, _, _ = moving(world)
    world.tick = 1.0
    bob.session.line("hi", NOON)
    ann.session.line("/join kitchen", NOON)
    world.until(lambda: ann.session.ready)
    assert ann.session.id not in world.room.members
    assert ann.session.id in world.hub.rooms["kitchen"].members


def test_private_messages_held_during_a_move_are_limited(slow: tuple[World, SlowJournal]) -> None:
    world, journal = slow
    ann, bob = world.join_sessions("ann", "bob")
    ann.say("/join kitchen")
    texts = 0
    while not any(isinstance(event, ErrorReply) for event in bob.read()):
        bob.say("/msg ann " + "x" * 4000)
        texts += 1
    assert texts == DEFAULTS.private_queue_bytes // 4000 + 2
    journal.answer()
    world.settle()
    assert len(private_texts(ann.read())) == texts - 1
    assert is_idle(world)
    bob.say("/msg ann hi")
    assert private_texts(ann.read()) == ["hi"]
