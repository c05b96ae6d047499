"""A room tells what happens in order, the readers first and then those it is about."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import pytest

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.events import (
    Announced,
    Barrier,
    Event,
    Gap,
    Joined,
    Left,
    Message,
    PrivateMessage,
    Renamed,
    ReplayLine,
    Stored,
)
from broadcast.core.hub import Settings
from broadcast.core.interfaces import Batch, Callback
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Member
from broadcast.core.room import FAST_COMMIT_SECONDS, Room
from broadcast.core.search_query import parse_query
from broadcast.journals.memory import MemoryJournal
from tests.core.stage import AT, Stage


class Listener:
    """Notes what the room tells."""

    def __init__(self) -> None:
        self.visits: list[object] = []

    congested = False

    def join_delivered(self, others: Mapping[int, Member], replay: Iterator[ReplayLine | Gap]) -> None:
        shown = [line.event.text if isinstance(line, ReplayLine) else line for line in replay]
        self.visits.append(([other.announced_nick for other in others.values()], shown))

    def leave_delivered(self) -> None:
        self.visits.append("departed")


def come(room: Room, id_: int, nick: str) -> tuple[Member, Listener]:
    """Somebody on their way into *room*."""
    visitor = Listener()
    member = Member(id_, nick, visitor)
    room.enter(member)
    return member, visitor


@pytest.fixture
def stage() -> Stage:
    """An open room."""
    stage = Stage()
    stage.hub.open()
    return stage


def texts(lines: Sequence[Stored] | JournalError) -> list[str]:
    assert not isinstance(lines, JournalError)
    return [line.text for line in lines]


class OldJournal(MemoryJournal):
    """One that holds lines from before, or that cannot be opened."""

    kept: Sequence[Stored] | JournalError = ()
    tail = -1

    def open(self, tail: int) -> Sequence[Stored]:
        if isinstance(self.kept, JournalError):
            raise self.kept
        self.tail = tail
        return self.kept[-tail:]


@pytest.mark.parametrize(("replay", "tail", "shown"), [(0, 1, []), (1, 1, ["c"]), (2, 2, ["b", "c"])])
def test_a_room_goes_on_where_its_journal_ends(replay: int, tail: int, shown: list[str]) -> None:
    stage = Stage()
    journal = OldJournal(stage._soon.append)
    journal.kept = [Message(0, "zoe", text, AT, seq) for seq, text in enumerate("abc", 1)]
    room = Room(journal, stage, replay)
    room.open()
    assert (room.last_seq, journal.tail) == (3, tail)
    _, visitor = come(room, 1, "ann")
    stage.settle()
    assert visitor.visits == [(["ann"], shown)]


def test_a_search_finds_what_was_told_and_nothing_else(stage: Stage) -> None:
    ann, _ = come(stage.room, 1, "ann")
    stage.settle()
    stage.room.say(ann, "one line", AT)
    stage.settle()
    stage.room.say(ann, "another line", AT)
    answers: list[Sequence[Stored] | JournalError] = []
    stage.room.search(parse_query("line"), 50, answers.append)
    stage.settle()
    assert [texts(answer) for answer in answers] == [["one line"]]
    stage.room.search(parse_query("line"), 1, answers.append)
    stage.settle()
    assert texts(answers[1]) == ["another line"]


def test_a_journal_that_cannot_be_used_is_the_openers_to_handle(stage: Stage) -> None:
    journal = OldJournal(stage._soon.append)
    journal.kept = JournalDamaged("it is damaged")
    with pytest.raises(JournalDamaged, match="it is damaged"):
        Room(journal, stage, 1).open()


def test_who_enters_is_present_once_everybody_was_told(stage: Stage) -> None:
    ann, visitor = come(stage.room, 1, "ann")
    assert not stage.room.members
    stage.settle()
    assert stage.room.members == {1: ann}
    assert visitor.visits == [(["ann"], [])]
    stage.room.leave(ann, "tired")
    assert stage.room.members
    stage.settle()
    assert not stage.room.members
    assert visitor.visits[1:] == ["departed"]
    assert [event for burst in stage.bursts for event in burst.events] == [Joined(1, "ann"), Left(1, "ann", "tired")]


def test_who_enters_and_leaves_at_once_arrives_and_departs(stage: Stage) -> None:
    ann, visitor = come(stage.room, 1, "ann")
    stage.room.leave(ann, "")
    stage.settle()
    assert visitor.visits == [([], []), "departed"]
    assert not stage.room.members


def test_everything_comes_back_in_the_order_of_the_calls(stage: Stage) -> None:
    ann, _ = come(stage.room, 1, "ann")
    bob, _ = come(stage.room, 2, "bob")
    stage.settle()
    ann.receipts = True
    stage.room.say(ann, "hi", AT)
    stage.room.send_private(ann, bob, "psst")
    stage.room.rename(ann, "anna")
    stage.room.act(ann, "waves", AT)
    stage.room.announce("tea")
    stage.settle()
    assert [type(event).__name__ for event in stage.bursts[-1].events] == [
        "Message", "PrivateMessage", "Renamed", "Action", "Announced",
    ]  # fmt: skip
    assert stage.bursts[-1].events[0] == Message(1, "ann", "hi", AT, 1, receipt=True)
    assert stage.bursts[-1].events[1:3] == [PrivateMessage(1, "ann", 2, "psst"), Renamed(1, "ann", "anna")]
    assert stage.room.last_seq == 2


def test_what_comes_back_while_the_audience_is_busy_is_the_next_burst(stage: Stage) -> None:
    stage.holds = True
    stage.room.announce("one")
    stage.settle()
    stage.room.announce("two")
    stage.settle()
    stage.room.announce("three")
    stage.settle()
    assert [list(burst.events) for burst in stage.bursts] == [[Announced("one")]]
    stage.go_on()
    assert [list(burst.events) for burst in stage.bursts[1:]] == [[Announced("two"), Announced("three")]]


def test_whoever_cannot_arrive_the_others_do(stage: Stage) -> None:
    stage.holds = True
    come(stage.room, 1, "ann")
    _, bob = come(stage.room, 2, "bob")
    stage.settle()
    _fails, *steps = stage.held.pop()
    for step in steps:
        step()
    assert bob.visits == [(["ann", "bob"], [])]


def test_a_newcomer_arrives_when_the_audience_has_finished(stage: Stage) -> None:
    stage.holds = True
    _, visitor = come(stage.room, 1, "ann")
    stage.settle()
    assert visitor.visits == []
    stage.go_on()
    assert visitor.visits == [(["ann"], [])]


def test_when_told_calls_after_everything_before_and_nothing_else(stage: Stage) -> None:
    calls: list[int] = []
    stage.room.announce("before")
    stage.room.after_barrier(lambda: calls.append(len(stage.bursts)))
    stage.room.after_barrier(lambda: calls.append(-1))
    assert calls == []
    stage.settle()
    assert calls == [1, -1]
    assert stage.bursts[0].events == [Announced("before"), Barrier(), Barrier()]


def test_a_newcomer_finds_who_is_being_renamed_under_the_name_that_was_told(stage: Stage) -> None:
    ann, _ = come(stage.room, 1, "ann")
    stage.room.rename(ann, "anna")
    stage.settle()
    stage.holds = True
    _, visitor = come(stage.room, 2, "bob")
    stage.settle()
    stage.room.rename(ann, "anne")
    stage.go_on()
    assert visitor.visits == [(["anna", "bob"], [])]
    assert stage.bursts[-1].events == [Renamed(1, "anna", "anne")]
    assert ann.announced_nick == "anne"


def test_ignoring_follows_a_rename_but_never_to_oneself(stage: Stage) -> None:
    ann, _ = come(stage.room, 1, "ann")
    bob, _ = come(stage.room, 2, "bob")
    stage.settle()
    stage.room.ignore(ann, "Bob")
    stage.room.ignore(bob, "zoe")
    stage.room.rename(bob, "zoe")
    stage.room.rename(bob, "rob")
    stage.settle()
    assert ann.ignored == {"rob": "rob"}
    assert bob.ignored == {"zoe": "zoe"}
    assert stage.room.unignore(ann, "ROB") == "rob"
    assert stage.room.unignore(ann, "rob") is None
    assert stage.room._ignoring == {bob}


def test_who_ignores_two_still_ignores_one_after_the_other(stage: Stage) -> None:
    ann, _ = come(stage.room, 1, "ann")
    stage.settle()
    stage.room.ignore(ann, "bob")
    stage.room.ignore(ann, "carol")
    assert stage.room.unignore(ann, "bob") == "bob"
    assert stage.room._ignoring == {ann}
    stage.room.leave(ann, "")
    stage.settle()
    assert stage.room._ignoring == set()


def test_the_correspondent_is_who_whispered_last_and_is_not_ignored(stage: Stage) -> None:
    ann, _ = come(stage.room, 1, "ann")
    bob, _ = come(stage.room, 2, "bob")
    carol, _ = come(stage.room, 3, "carol")
    stage.settle()
    stage.room.ignore(ann, "carol")
    stage.room.send_private(bob, ann, "psst")
    stage.room.send_private(carol, ann, "psst")
    stage.room.send_private(ann, Member(9, "gone", Listener()), "psst")
    stage.settle()
    assert (ann.last_private_sender, bob.last_private_sender) == (2, 0)


@pytest.mark.parametrize(
    ("first", "last", "lines"),
    [(1, 3, ["a", "b", "c"]), (-5, 1, ["a"]), (2, 99, ["b", "c"]), (3, 2, []), (4, 9, [])],
)
def test_history_is_what_was_told(stage: Stage, first: int, last: int, lines: list[str]) -> None:
    ann, _ = come(stage.room, 1, "ann")
    for text in "abc":
        stage.room.say(ann, text, AT)
    stage.settle()
    stage.room.say(ann, "kept, but not told yet", AT)
    found: list[str] = []
    stage.room.history(first, last, lambda lines: found.extend(texts(lines)))
    stage.settle()
    assert found == lines


# Many at once


def test_of_many_events_some_are_told_at_once_and_then_the_next(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broadcast.core.room.MAX_BATCH_EVENTS", 3)
    for number in range(7):
        stage.room.announce(f"{number}")
    stage.settle()
    events = [[event.text for event in burst.events if isinstance(event, Announced)] for burst in stage.bursts]
    assert events == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


def test_newcomers_arrive_one_at_a_step_and_nothing_is_told_before_all_have(stage: Stage) -> None:
    stage.holds = True
    visitors = [come(stage.room, number, f"p{number}")[1] for number in range(1, 4)]
    stage.settle()
    (then,) = stage.held
    arrived = []
    for step in then:
        step()
        stage.room.announce("later")
        stage.settle()
        arrived.append([len(visitor.visits) for visitor in visitors])
        assert len(stage.bursts) == 1
    assert arrived == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert all(visitor.visits == [(["p1", "p2", "p3"], [])] for visitor in visitors)
    assert [len(burst.events) for burst in stage.bursts] == [3, 3]


def test_a_visit_that_fails_does_not_stop_the_room(stage: Stage) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    stage.holds = True
    stage.room.after_barrier(fail)
    stage.settle()
    with pytest.raises(ZeroDivisionError):
        stage.go_on()
    stage.room.announce("on")
    stage.settle()
    assert stage.bursts[-1].events == [Announced("on")]


def test_what_a_newcomer_is_shown_may_be_asked_for_late_and_what_is_gone_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, _ = come(stage.room, 1, "ann")
    stage.settle()
    replays: list[Iterator[ReplayLine | Gap]] = []

    def say(*texts: str) -> None:
        for text in texts:
            stage.room.say(ann, text, AT)
        stage.settle()

    def look(some: Iterator[ReplayLine | Gap]) -> list[str | Gap]:
        return [line.event.text if isinstance(line, ReplayLine) else line for line in some]

    monkeypatch.setattr(stage.room, "_recent", deque(maxlen=4))
    replays.append(stage.room._replay())
    say("1", "2", "3")
    replays += [stage.room._replay() for _ in range(4)]
    some = [look(islice(replays[1], 1)), look(islice(replays[2], 2))]
    say("4", "5")
    some += [look(replays[1]), look(replays[3])]
    say("6", "7", "8", "9")
    some += [look(replays[2]), look(replays[4]), look(replays[0])]
    assert some == [["1"], ["1", "2"], ["2", "3"], [Gap(1, 1), "2", "3"], [Gap(3, 3)], [Gap(1, 3)], []]


# Too much


def limited(limits: Limits) -> Stage:
    """A room with other limits."""
    stage = Stage(Settings(limits=limits))
    stage.hub.open()
    return stage


def test_everything_that_somebody_does_counts_until_it_has_come_back() -> None:
    stage = limited(Limits(high_water_events=4))
    ann, bob = (seat.session.member for seat in stage.join("ann", "bob"))
    room = stage.room
    acts: list[Callable[[], None]] = [
        lambda: room.say(ann, "x", 0.0),
        lambda: room.act(ann, "x", 0.0),
        lambda: room.send_private(ann, bob, "x"),
        lambda: room.rename(ann, "anna"),
        stage.settle,
    ]
    full = []
    for act in acts:
        full.append(room.above_high_water)
        act()
    assert [*full, room.above_high_water] == [False] * 4 + [True, False]


def test_the_text_of_lines_and_private_lines_counts_too() -> None:
    stage = limited(Limits(high_water_bytes=20))
    ann, bob = (seat.session.member for seat in stage.join("ann", "bob"))
    stage.room.say(ann, "x" * 10, 0.0)
    full = [stage.room.above_high_water]
    stage.room.send_private(ann, bob, "x" * 10)
    full.append(stage.room.above_high_water)
    called: list[str] = []
    stage.room.when_below_low_water(lambda: called.append("roomy"))
    stage.settle()
    assert called == ["roomy"]
    assert [*full, stage.room.above_high_water] == [False, True, False]


@pytest.mark.parametrize("limits", [Limits(high_water_events=4), Limits(high_water_bytes=4)], ids=["events", "text"])
def test_what_was_kept_counts_until_it_is_told(limits: Limits) -> None:
    stage = limited(limits)
    (ann,) = (seat.session.member for seat in stage.join("ann"))
    room = stage.room
    stage.holds = True
    full = []
    for text in "wxyz-":
        full.append(room.above_high_water)
        room.say(ann, text, 0.0)
        stage.settle()
    called: list[str] = []
    room.when_below_low_water(lambda: called.append("roomy"))
    assert [*full, room.queued_events, room.above_high_water, called] == [False] * 5 + [0, True, []]
    stage.go_on()
    assert (room.above_high_water, called) == (False, ["roomy"])


def test_what_could_not_be_kept_has_come_back_too() -> None:
    stage = limited(Limits(high_water_bytes=20))
    (ann,) = (seat.session.member for seat in stage.join("ann"))
    stage.room.say(ann, "\ud800" * 20, 0.0)
    full = [stage.room.above_high_water]
    stage.settle()
    assert [*full, stage.room.above_high_water] == [True, False]


def test_who_whispers_is_to_wait_for_what_is_on_its_way_and_is_refused_past_the_limit(stage: Stage) -> None:
    ann, bob = (seat.session.member for seat in stage.join("ann", "bob"))
    room = stage.room
    room.send_private(ann, bob, "x" * (DEFAULTS.private_queue_bytes // 2 - 1))
    states = [(room.can_receive_private(bob), room.should_throttle_sender(bob))]
    room.send_private(ann, bob, "x")
    states.append((room.can_receive_private(bob), room.should_throttle_sender(bob)))
    room.send_private(ann, bob, "x" * (DEFAULTS.private_queue_bytes // 2))
    states.append((room.can_receive_private(bob), room.should_throttle_sender(bob)))
    stage.settle()
    states.append((room.can_receive_private(bob), room.should_throttle_sender(bob)))
    assert states == [(True, False), (True, True), (False, True), (True, False)]


def test_a_whisper_to_who_has_left_meanwhile_is_over(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    bob.session.leave("")
    stage.room.send_private(ann.session.member, bob.session.member, "x")
    stage.settle()
    assert not stage.room.above_high_water


# What comes back in parts


class InParts(MemoryJournal):
    """A journal that gives back as much at a time as the test says."""

    def __init__(self) -> None:
        super().__init__(lambda call: call())
        self.kept: list[Event] = []

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        super().subscribe(self.kept.extend)
        self.listener = listener

    def give(self, count: int) -> None:
        """Give back the next *count* events."""
        now, self.kept[:count] = self.kept[:count], []
        self.listener(now)


class Publisher:
    """An audience of nobody."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def publish(self, burst: Batch, then: Iterator[Callback]) -> None:
        self.sizes.append(len(burst.events))
        for step in then:
            step()


def rush(lines: int) -> tuple[InParts, Publisher]:
    """A room in which so many *lines* were said, all of which are with the journal."""
    journal, audience = InParts(), Publisher()
    room = Room(journal, audience, 20)
    room.open()
    member = Member(1, "ann", Listener())
    for number in range(lines):
        room.say(member, str(number), AT)
    return journal, audience


def test_a_burst_waits_once_for_what_is_with_the_journal() -> None:
    journal, audience = rush(6)
    told = []
    for count in (1, 1, 1, 2, 1):
        journal.give(count)
        told.append(list(audience.sizes))
    assert told == [[], [2], [2], [2, 3], [2, 3, 1]]


def test_on_a_slow_disk_it_does_not_wait_for_the_next_commit() -> None:
    journal, audience = rush(3)
    journal.commit_stats.record_success(FAST_COMMIT_SECONDS)
    journal.give(1)
    told = list(audience.sizes)
    journal.commit_stats.record_success(FAST_COMMIT_SECONDS / 2)
    journal.give(1)
    assert (told, audience.sizes) == ([1], [1])


def test_a_journal_in_trouble_is_not_waited_for_however_fast_it_was() -> None:
    journal, audience = rush(3)
    journal.commit_stats.record_success(FAST_COMMIT_SECONDS / 2)
    journal.commit_stats.record_failure("another program has locked the journal", 1)
    journal.give(1)
    assert audience.sizes == [1]
