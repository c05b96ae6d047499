"""How a burst is told: crowds as a number in the right place, and to each reader only what is for them."""

from __future__ import annotations

from broadcast.core.batching import COALESCE_ABOVE, build_batch, coalesce_presence, ignores
from broadcast.core.events import (
    Action,
    Announced,
    Barrier,
    Event,
    JoinCount,
    Joined,
    LeaveCount,
    Left,
    Message,
    Notice,
    PrivateMessage,
    Receipt,
    Renamed,
    StoreFailed,
)
from broadcast.core.interfaces import Batch
from broadcast.core.membership import Member

ANN, BOB, CAROL = 1, 2, 3


class Nobody:
    """A visitor who is not asked."""

    congested = False

    def join_delivered(self, others: object, replay: object) -> None:
        raise NotImplementedError

    def leave_delivered(self) -> None:
        raise NotImplementedError


def members(*nicks: str) -> dict[int, Member]:
    """People, with the ids 1, 2, 3 and so on."""
    return {id_: Member(id_, nick, Nobody()) for id_, nick in enumerate(nicks, 1)}


def said(who: int, nick: str, text: str, seq: int = 0) -> Message:
    return Message(who, nick, text, 0.0, seq)


def seen(burst: Batch, reader: int) -> list[Event | Notice]:
    """What *reader* is shown; private events show only by an edit."""
    edits = dict(burst.overrides.get(reader, ()))
    stream = [edits.get(at, event) for at, event in enumerate(burst.events)]
    shown = [event for event in stream if event is not None and not isinstance(event, Barrier)]
    return [event for event in shown if not isinstance(event, StoreFailed | PrivateMessage) or event in edits.values()]


def test_a_small_burst_is_told_as_it_is() -> None:
    events: list[Event] = [Joined(n, f"p{n}") for n in range(COALESCE_ABOVE)]
    events += [Left(n, f"p{n}") for n in range(COALESCE_ABOVE)]
    assert coalesce_presence(events) is events


def test_a_crowd_joins_where_the_first_of_it_did_and_leaves_where_the_last_did() -> None:
    hi, ho = said(1, "p1", "hi"), said(2, "p2", "ho")
    joins: list[Event] = [Joined(n, f"p{n}") for n in range(6)]
    leaves: list[Event] = [Left(n, f"p{n}") for n in range(6)]
    events = [ho, *joins[:2], hi, *joins[2:], *leaves[:5], ho, leaves[5], hi]
    assert coalesce_presence(events) == [ho, JoinCount(6), hi, ho, LeaveCount(6), hi]


def test_a_crowd_of_the_one_leaves_those_of_the_other_as_they_are() -> None:
    joins: list[Event] = [Joined(n, f"p{n}") for n in range(6)]
    assert coalesce_presence([*joins, Left(9, "bob", "tired")]) == [JoinCount(6), Left(9, "bob", "tired")]
    leaves: list[Event] = [Left(n, f"p{n}") for n in range(6)]
    assert coalesce_presence([*leaves, Joined(9, "bob")]) == [LeaveCount(6), Joined(9, "bob")]


def test_nobody_gets_their_own_line_back_but_a_receipt_if_they_asked() -> None:
    one, two = said(ANN, "ann", "hi", 1), Action(BOB, "bob", "waves", 0.0, 2, receipt=True)
    burst = build_batch([one, two], members("ann", "bob", "carol"), ())
    assert seen(burst, ANN) == [two]
    assert seen(burst, BOB) == [one, Receipt(2)]
    assert seen(burst, CAROL) == [one, two]
    assert CAROL not in burst.overrides


def test_a_line_of_somebody_who_is_not_here_is_told_to_everybody() -> None:
    """Another server of the same room kept it."""
    line = said(0, "zoe", "hi", 1)
    assert build_batch([line], members("ann"), ()) == Batch([line], {})


def test_nobody_is_told_that_they_left_or_were_renamed() -> None:
    left, renamed = Left(ANN, "ann"), Renamed(BOB, "bob", "rob")
    burst = build_batch([left, renamed], members("ann", "bob", "carol"), ())
    assert seen(burst, ANN) == [renamed]
    assert seen(burst, BOB) == [left]
    assert seen(burst, CAROL) == [left, renamed]


def test_nobody_of_a_crowd_that_leaves_is_told_so() -> None:
    events = [Left(n, f"p{n}") for n in range(1, 7)]
    burst = build_batch(events, members("p1", "p2", "p3", "p4", "p5", "p6", "ann"), ())
    assert [seen(burst, n) for n in range(1, 7)] == [[]] * 6
    assert seen(burst, 7) == [LeaveCount(6)]


def test_joins_announcements_and_marks_are_the_same_for_everybody() -> None:
    events: list[Event] = [Joined(ANN, "ann"), Announced("tea"), Barrier()]
    assert build_batch(events, members("ann"), ()) == Batch(events, {})


def test_only_its_author_is_told_that_a_line_was_not_kept() -> None:
    lost = StoreFailed(said(ANN, "ann", "hi"), "the disk is full")
    burst = build_batch([lost], members("ann", "bob"), ())
    assert seen(burst, ANN) == [lost]
    assert seen(burst, BOB) == []


def test_a_whisper_is_for_the_one_it_is_to() -> None:
    psst = PrivateMessage(ANN, "ann", BOB, "psst")
    burst = build_batch([psst], members("ann", "bob", "carol"), ())
    assert [seen(burst, n) for n in (ANN, BOB, CAROL)] == [[], [psst], []]


def test_a_whisper_to_somebody_who_has_left_is_nothing() -> None:
    assert build_batch([PrivateMessage(ANN, "ann", 9, "psst")], members("ann"), ()).overrides == {}


def test_who_ignores_a_name_is_not_shown_what_it_says_does_and_whispers() -> None:
    room = members("ann", "bob", "carol")
    room[ANN].ignored["bob"] = "Bob"
    left = Left(BOB, "BOB", "tired")
    events: list[Event] = [
        said(BOB, "BOB", "hi"),
        Action(BOB, "BOB", "waves", 0.0),
        PrivateMessage(BOB, "BOB", ANN, "psst"),
        left,
    ]
    burst = build_batch(events, room, [room[ANN]])
    assert seen(burst, ANN) == [left]
    assert seen(burst, CAROL) == [events[0], events[1], left]


def test_what_differs_for_one_reader_is_in_the_order_of_the_burst() -> None:
    room = members("ann", "bob", "carol")
    room[ANN].ignored = {"carol": "carol", "bob": "bob"}
    events: list[Event] = [
        said(2, "bob", "1"),
        said(1, "ann", "2"),
        said(3, "carol", "3"),
        said(2, "bob", "4"),
        Left(1, "ann"),
    ]
    burst = build_batch(events, room, [room[ANN]])
    assert burst.overrides[ANN] == [(0, None), (1, None), (2, None), (3, None), (4, None)]


def test_each_of_those_who_ignore_somebody_has_a_stream_of_their_own() -> None:
    room = members("ann", "bob", "carol")
    room[ANN].ignored["bob"] = "bob"
    room[CAROL].ignored["ann"] = "ann"
    events: list[Event] = [said(ANN, "ann", "hi"), said(BOB, "bob", "ho")]
    burst = build_batch(events, room, [room[ANN], room[CAROL]])
    assert [seen(burst, n) for n in (ANN, BOB, CAROL)] == [[], events[:1], events[1:]]


def test_what_many_hide_alike_is_put_together_once() -> None:
    room = members("ann", "bob", "carol", "dave")
    for ignoring in (ANN, CAROL):
        room[ignoring].ignored = {"bob": "bob", f"silent{ignoring}": "silent"}
    room[4].ignored = {"ann": "ann", "bob": "bob"}
    events = [said(BOB, "bob", "one", 1), said(ANN, "ann", "two", 2), said(BOB, "bob", "three", 3)]
    burst = build_batch(events, room, [room[ANN], room[CAROL], room[4]])
    assert [seen(burst, reader) for reader in (ANN, CAROL, 4)] == [[], [events[1]], []]
    room[ANN].ignored = room[CAROL].ignored
    burst = build_batch(events[::2], room, [room[ANN], room[CAROL]])
    assert burst.overrides[ANN] is burst.overrides[CAROL]


def test_who_ignores_somebody_silent_is_told_what_everybody_is() -> None:
    room = members("ann", "bob")
    room[ANN].ignored["zoe"] = "zoe"
    assert build_batch([said(BOB, "bob", "hi")], room, [room[ANN]]).overrides == {BOB: [(0, None)]}


def test_who_is_ignored_stays_so_from_the_rename_on_and_an_heir_of_the_name_is_not() -> None:
    room = members("ann", "bob", "carol")
    room[ANN].ignored["bob"] = "bob"
    events: list[Event] = [
        Renamed(BOB, "bob", "rob"),
        said(BOB, "rob", "hidden"),
        PrivateMessage(BOB, "rob", ANN, "hidden"),
        Renamed(CAROL, "carol", "bob"),
        said(CAROL, "bob", "shown"),
        Renamed(BOB, "rob", "ROB"),
        said(BOB, "ROB", "hidden"),
    ]
    burst = build_batch(events, room, [room[ANN]])
    assert seen(burst, ANN) == [events[0], events[3], events[4], events[5]]


def test_who_takes_an_ignored_name_is_ignored() -> None:
    room = members("ann", "bob")
    room[ANN].ignored["zoe"] = "zoe"
    renamed = Renamed(BOB, "bob", "zoe")
    burst = build_batch(
        [renamed, said(BOB, "zoe", "hidden"), PrivateMessage(BOB, "zoe", ANN, "hidden")], room, [room[ANN]]
    )
    assert seen(burst, ANN) == [renamed]


def test_nobody_ignores_themselves() -> None:
    room = members("bob")
    room[1].ignored["bob"] = "bob"
    assert ignores(room[1], 2, ["bob"])
    assert not ignores(room[1], 1, ["bob"])
    mine = Message(1, "bob", "hi", 0.0, 1, receipt=True)
    note = PrivateMessage(1, "bob", 1, "note")
    assert seen(build_batch([mine, note], room, [room[1]]), 1) == [Receipt(1), note]
