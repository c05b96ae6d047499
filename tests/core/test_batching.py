"""Each subscriber gets only the events of a batch that are for it, and many joins or leaves as a number."""

from __future__ import annotations

import pytest

from broadcast.core.batching import COALESCE_ABOVE, build_batch, coalesce_presence
from broadcast.core.events import (
    Announced,
    Barrier,
    Event,
    FileInfo,
    JoinCount,
    Joined,
    LeaveCount,
    Left,
    Message,
    Notice,
    PrivateMessage,
    Renamed,
    Shared,
    StoreFailed,
)
from broadcast.core.interfaces import Batch
from broadcast.core.membership import Member, Membership
from broadcast.core.records import PrivateLine

ANN, BOB, CAROL, DAVE = 1, 2, 3, 4


class Listener:
    """A listener that is not called."""

    congested = False

    def joined(self, room: str, replay: object) -> None:
        raise NotImplementedError

    def leave_delivered(self, room: str) -> None:
        raise NotImplementedError

    def notify(self, text: str) -> None:
        raise AssertionError(text)

    def private_sent(self, line: PrivateLine) -> None:
        raise AssertionError(line)

    def receive_private(self, message: PrivateMessage) -> None:
        raise NotImplementedError

    def disconnect(self, reason: str, notice: str) -> None:
        raise NotImplementedError


@pytest.fixture
def room() -> dict[int, Membership]:
    return {
        id_: Membership(Member(id_, nick, Listener())) for id_, nick in enumerate(("ann", "bob", "carol", "dave"), 1)
    }


def ignore(room: dict[int, Membership], member: int, *names: str) -> None:
    room[member].member.ignored |= {name.casefold(): name for name in names}


def message(session: int, nick: str, text: str, seq: int = 0) -> Message:
    return Message(session, nick, text, 0.0, seq)


def build(room: dict[int, Membership], *events: Event) -> Batch:
    return build_batch(events, room, [each.member for each in room.values() if each.member.ignored])


def seen(batch: Batch, session: int) -> list[Event | Notice]:
    """Return the events of *batch* that the subscriber with *session* gets."""
    overrides = dict(batch.overrides.get(session, ()))
    stream = [overrides.get(at, event) for at, event in enumerate(batch.events)]
    private = (StoreFailed, PrivateMessage)
    shown = [event for event in stream if event is not None and not isinstance(event, Barrier)]
    return [event for event in shown if not isinstance(event, private) or event in overrides.values()]


# Joins and leaves


def test_few_joins_and_leaves_stay_as_they_are() -> None:
    events: list[Event] = [Joined(n, f"p{n}") for n in range(COALESCE_ABOVE)]
    events += [Left(n, f"p{n}") for n in range(COALESCE_ABOVE)]
    assert coalesce_presence(events) is events


def test_many_joins_coalesce_at_the_first_and_many_leaves_at_the_last() -> None:
    hi, ho = message(1, "p1", "hi"), message(2, "p2", "ho")
    joins: list[Event] = [Joined(n, f"p{n}") for n in range(6)]
    leaves: list[Event] = [Left(n, f"p{n}") for n in range(6)]
    events = [ho, *joins[:2], hi, *joins[2:], *leaves[:5], ho, leaves[5], hi]
    assert coalesce_presence(events) == [ho, JoinCount(6), hi, ho, LeaveCount(6), hi]
    assert coalesce_presence([*joins, leaves[0]]) == [JoinCount(6), leaves[0]]
    assert coalesce_presence([*leaves, joins[0]]) == [LeaveCount(6), joins[0]]


def test_members_read_nothing_about_their_own_leave_however_many_leave(room: dict[int, Membership]) -> None:
    batch = build(room, *[Left(n, f"p{n}") for n in range(BOB, BOB + 6)], Announced("tea"))
    assert seen(batch, ANN) == [LeaveCount(6), Announced("tea")]
    assert seen(batch, BOB) == seen(batch, BOB + 5) == [Announced("tea")]


# Overrides


def test_events_without_a_subscriber_of_their_own_are_the_same_for_all(room: dict[int, Membership]) -> None:
    """A message with another session was stored by another server."""
    events: list[Event] = [message(0, "zoe", "hi", 1), Joined(ANN, "ann"), Announced("tea"), Barrier()]
    assert build_batch(events, room, ()) == Batch(events, {})
    assert build(room, PrivateMessage(ANN, "ann", 9, "psst")).overrides == {}


# Ignored names


def test_overrides_are_in_the_order_of_the_batch(room: dict[int, Membership]) -> None:
    ignore(room, ANN, "carol", "bob")
    events = [message(id_, nick, "x") for id_, nick in ((2, "bob"), (1, "ann"), (3, "carol"), (2, "bob"))]
    assert build(room, *events, Left(1, "ann")).overrides[ANN] == [(at, None) for at in range(5)]


def test_file_is_shown_to_its_author_but_not_to_those_who_ignore_them(room: dict[int, Membership]) -> None:
    file = Shared(ANN, "ann", FileInfo("k3x", "a", 5, "text/plain", ""), 0.0, 1)
    ignore(room, BOB, "ann")
    ignore(room, ANN, "ann")
    batch = build(room, file, message(ANN, "ann", "hi", 2))
    assert seen(batch, ANN) == [file]
    assert seen(batch, BOB) == []
    assert seen(batch, CAROL) == [file, message(ANN, "ann", "hi", 2)]


def test_members_who_ignore_the_same_people_share_their_overrides(room: dict[int, Membership]) -> None:
    ignore(room, ANN, "bob", "silent")
    ignore(room, CAROL, "bob", "somebody silent")
    ignore(room, DAVE, "ann", "bob", "zoe")
    events = [message(BOB, "bob", "one", 1), message(ANN, "ann", "two", 2), message(BOB, "bob", "three", 3)]
    batch = build(room, *events)
    assert [seen(batch, id_) for id_ in (ANN, CAROL, DAVE)] == [[], [events[1]], []]
    batch = build(room, *events[::2])
    assert batch.overrides[ANN] is batch.overrides[CAROL]


def test_ignoring_somebody_silent_makes_no_override(room: dict[int, Membership]) -> None:
    ignore(room, ANN, "zoe")
    assert build(room, message(BOB, "bob", "hi")).overrides == {BOB: [(0, None)]}


def test_newcomers_receive_the_joins_and_leaves_after_their_own_join(room: dict[int, Membership]) -> None:
    unannounced: list[Joined | Left] = [Joined(4, "dave"), Left(9, "zed", ""), Joined(5, "eve")]
    events: list[Event] = [message(7, "ann", "ho"), Joined(6, "fay"), Left(4, "dave", "")]
    batch = build_batch(events, room, (), 0, [[event] for event in unannounced])
    assert batch.events == [*unannounced, *events]
    assert batch.overrides[5] == [(0, None), (1, None), (2, None)]
    assert batch.overrides[4] == [(0, None), (5, None)]


def test_program_receives_its_own_line_also_in_the_batch_that_announces_its_join(room: dict[int, Membership]) -> None:
    room[DAVE].member.receives_own = True
    said = [message(DAVE, "dave", "hi"), message(ANN, "ann", "ho")]
    batch = build_batch(said, room, (), 0, [[Joined(DAVE, "dave")], [Joined(ANN, "ann")]])
    assert batch.overrides == {DAVE: [(0, None)], ANN: [(0, None), (1, None), (3, None)]}


def test_newcomers_receive_their_own_counts(room: dict[int, Membership]) -> None:
    joins = [Joined(10 + number, f"p{number}") for number in range(COALESCE_ABOVE + 1)]
    leaves: list[Joined | Left] = [Left(30 + number, f"q{number}", "") for number in range(COALESCE_ABOVE)]
    groups: list[list[Joined | Left]] = [[joins[0]], [joins[1]], [joins[2]], leaves, [joins[3]], [joins[4], joins[5]]]
    batch = build_batch([Left(10, "p0", "")], room, (), 0, groups)
    assert batch.events == [JoinCount(6), LeaveCount(6)]
    assert batch.overrides == {
        10: [(0, JoinCount(5)), (1, None)],
        11: [(0, JoinCount(4))],
        12: [(0, JoinCount(3))],
        13: [(0, JoinCount(2)), (1, Left(10, "p0", ""))],
        14: [(0, None), (1, Left(10, "p0", ""))],
        15: [(0, None), (1, Left(10, "p0", ""))],
    }


def test_a_member_reads_of_its_own_rename_only_if_the_server_made_it(room: dict[int, Membership]) -> None:
    assert build(room, Renamed(ANN, "ann", "nia")).overrides == {ANN: [(0, None)]}
    assert build(room, Renamed(ANN, "ann", "ann2", unasked=True)).overrides == {}
