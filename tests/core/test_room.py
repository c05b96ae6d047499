"""A room publishes everything in order, and then calls those whom it is about."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, count, islice

import pytest

from broadcast.core.backlog import Backlog
from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.events import (
    Announced,
    Barrier,
    Event,
    Gap,
    JoinCount,
    Joined,
    Left,
    Message,
    PrivateMessage,
    Renamed,
    ReplayLine,
    Stored,
)
from broadcast.core.interfaces import Batch, Callback, CallLater, Journal, OpenedRoom
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Member
from broadcast.core.records import PrivateLine
from broadcast.core.room import (
    FAST_COMMIT_SECONDS,
    PRESENCE_SECONDS,
    PRESENCE_SECONDS_PER_MEMBER,
    Room,
    RoomContext,
)
from broadcast.core.search_query import parse_query
from broadcast.core.time_slice import CallSoon
from broadcast.journals.memory import MemoryJournal, MemoryRoomLog
from tests.harness import NOON


class RecordedRoom(Room):
    """An open room that is its own publisher and records the batches. While *busy*, no delivery is finished."""

    def __init__(
        self,
        limits: Limits = DEFAULTS,
        journal: Callable[[CallSoon], Journal] = MemoryJournal,
        replay: int = 20,
        call_later: CallLater | None = None,
    ) -> None:
        self.batches: list[Batch] = []
        self.busy = False
        self.unfinished: list[Iterator[Callback]] = []
        self.closed: list[Room] = []
        """The rooms that have become empty."""
        self._soon: list[Callable[[], None]] = []
        self._ids = count(1)
        log = journal(self._soon.append)
        self.backlog = Backlog(limits)
        context = RoomContext(log.commit_stats, self.backlog, replay, self.closed.append, call_later)
        super().__init__("lobby", log.open("lobby", replay), self, context)

    def publish(self, batch: Batch, steps: Iterator[Callback], first: Iterable[Callback] = (), /) -> None:
        self.batches.append(batch)
        self.unfinished.append(chain(first, steps))
        if not self.busy:
            self.finish()

    def finish(self) -> None:
        """Finish the delivery, then settle."""
        self.busy = False
        for step in self.unfinished.pop():
            step()
        self.settle()

    def settle(self) -> None:
        """Run turns until nothing is left to do."""
        while self._soon:
            self._soon.pop(0)()

    def come(self, *nicks: str) -> list[Visitor]:
        """Let people with the session ids 1, 2, 3, ... enter, without a turn."""
        visitors = [Visitor(next(self._ids), nick, self) for nick in nicks]
        for visitor in visitors:
            self.enter(visitor)
        return visitors

    def join(self, *nicks: str) -> list[Visitor]:
        """Let people enter, then settle."""
        visitors = self.come(*nicks)
        self.settle()
        return visitors

    def send_private(self, member: Member, to: Member, text: str) -> None:
        """Send a private message, as the hub does."""
        to.private_in_flight += len(text)
        self.append_private(PrivateMessage(member.id, member.nick, to.id, text))

    def rename(self, member: Member, new: str, *, unasked: bool = False) -> None:
        """Give a member another nickname, as the hub does."""
        super().rename(member, new, unasked=unasked)
        member.nick = new

    def ignore(self, member: Member, name: str) -> None:
        """Let a member ignore a nickname, as the hub does."""
        member.ignored[name.casefold()] = name
        self.update_ignoring(member)

    def events(self) -> list[list[Event]]:
        """Return the events of each batch."""
        return [list(batch.events) for batch in self.batches]


class Visitor(Member):
    """A member who is their own listener and records the calls."""

    congested = False

    def __init__(self, id_: int, nick: str, room: Room) -> None:
        super().__init__(id_, nick, self)
        self.room = room
        self.calls: list[object] = []

    def joined(self, room: str, replay: Iterator[ReplayLine | Gap]) -> None:
        assert room == self.room.name
        nicks = [membership.announced_nick for membership in self.room.members.values()]
        self.calls.append((nicks, shown(replay)))

    def leave_delivered(self, room: str) -> None:
        self.calls.append("left")

    def notify(self, text: str) -> None:
        raise AssertionError(text)

    def private_sent(self, line: PrivateLine) -> None:
        raise AssertionError(line)

    def receive_private(self, message: PrivateMessage) -> None:
        raise NotImplementedError

    def disconnect(self, reason: str, notice: str) -> None:
        raise NotImplementedError


@pytest.fixture
def room() -> RecordedRoom:
    return RecordedRoom()


def present(room: Room) -> dict[int, Member]:
    return {session: membership.member for session, membership in room.members.items()}


def shown(replay: Iterator[ReplayLine | Gap]) -> list[str | Gap]:
    return [line.event.text if isinstance(line, ReplayLine) else line for line in replay]


def texts(lines: Sequence[Stored] | JournalError) -> list[str]:
    assert not isinstance(lines, JournalError)
    return [line.text for line in lines]


# The journal


class OldJournal(MemoryJournal):
    """A journal that holds lines already, or that cannot be opened."""

    def __init__(self, stored: Sequence[Stored] | JournalError, call_soon: CallSoon) -> None:
        super().__init__(call_soon)
        self._old = stored

    def open(self, name: str, tail: int) -> OpenedRoom:
        if isinstance(self._old, JournalError):
            raise self._old
        recent = self._old[max(len(self._old) - tail, 0) :]
        return super().open(name, tail)._replace(last_seq=len(self._old), recent=recent)


@pytest.mark.parametrize(("replay", "lines"), [(0, []), (1, ["c"]), (2, ["b", "c"])])
def test_room_continues_where_its_journal_ends(replay: int, lines: list[str]) -> None:
    stored = [Message(0, "zoe", text, NOON, seq) for seq, text in enumerate("abc", 1)]
    room = RecordedRoom(journal=partial(OldJournal, stored), replay=replay)
    assert room.last_seq == 3
    (ann,) = room.join("ann")
    assert ann.calls == [(["ann"], lines)]


def test_room_does_not_open_without_its_journal() -> None:
    with pytest.raises(JournalDamaged, match="it is damaged"):
        RecordedRoom(journal=partial(OldJournal, JournalDamaged("it is damaged")))


@pytest.mark.parametrize(
    ("first", "last", "lines"),
    [(1, 3, ["a", "b", "c"]), (-5, 1, ["a"]), (2, 99, ["b", "c"]), (3, 2, []), (4, 9, [])],
)
def test_history_and_search_find_only_what_was_delivered(
    room: RecordedRoom, first: int, last: int, lines: list[str]
) -> None:
    (ann,) = room.come("ann")
    for text in "abc":
        room.say(ann, text, NOON)
    room.settle()
    room.say(ann, "a, which was stored but not delivered", NOON)
    found: list[list[str]] = []
    room.history(first, last, lambda lines: found.append(texts(lines)))
    room.search(parse_query("a"), 50, lambda lines: found.append(texts(lines)))
    room.settle()
    assert found == [lines, ["a"]]
    room.search(parse_query("a"), 1, lambda lines: found.append(texts(lines)))
    room.settle()
    assert found[2] == ["a, which was stored but not delivered"]


# Presence


def test_members_are_present_from_the_delivery_of_the_join_to_that_of_the_leave(room: RecordedRoom) -> None:
    (ann,) = room.come("ann")
    assert not room.members
    room.busy = True
    room.settle()
    assert (present(room), ann.calls) == ({1: ann}, [])
    room.finish()
    assert (present(room), ann.calls) == ({1: ann}, [(["ann"], [])])
    room.leave(ann, "tired")
    assert room.members
    room.settle()
    assert not room.members
    assert ann.calls[1:] == ["left"]
    assert room.events() == [[Joined(1, "ann")], [Left(1, "ann", "tired")]]


def test_room_closes_before_the_notice_of_a_leave_has_come_back(room: RecordedRoom) -> None:
    ann, bob = room.join("ann", "bob")
    room.leave(ann, "")
    room.close()
    assert ann.memberships == bob.memberships == {}


def test_ignoring_follows_a_rename_but_never_to_oneself(room: RecordedRoom) -> None:
    ann, bob = room.join("ann", "bob")
    room.ignore(ann, "Bob")
    room.ignore(ann, "zed")
    room.ignore(bob, "zoe")
    room.rename(bob, "zoe")
    room.rename(bob, "rob")
    room.settle()
    assert (ann.ignored, bob.ignored) == ({"zed": "zed", "rob": "rob"}, {"zoe": "zoe"})
    assert room._ignoring == {ann, bob}
    ann.ignored.clear()
    room.update_ignoring(ann)
    assert room._ignoring == {bob}
    room.leave(bob, "")
    room.settle()
    assert room._ignoring == set()


# Batches


def test_events_and_barriers_come_back_in_the_order_of_the_calls(room: RecordedRoom) -> None:
    ann, bob = room.join("ann", "bob")
    ann.receipts = True
    calls: list[int] = []
    room.say(ann, "hi", NOON)
    room.send_private(ann, bob, "psst")
    room.rename(ann, "anna")
    room.act(ann, "waves", NOON)
    room.announce("tea")
    room.after_barrier(lambda: calls.append(len(room.batches)))
    room.after_barrier(lambda: calls.append(-1))
    assert calls == []
    room.settle()
    message, *others = room.events()[-1]
    assert message == Message(1, "ann", "hi", NOON, 1, receipt=True)
    assert others[:2] == [PrivateMessage(1, "ann", 2, "psst"), Renamed(1, "ann", "anna")]
    assert others[3:] == [Announced("tea"), Barrier(), Barrier()]
    assert (room.last_seq, calls) == (2, [2, -1])


def test_events_that_come_back_during_a_delivery_form_the_next_batch(
    room: RecordedRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broadcast.core.room.MAX_BATCH_EVENTS", 3)
    room.busy = True
    for text in "abcdefgh":
        room.announce(text)
        room.settle()
    assert room.events() == [[Announced("a")]]
    room.finish()
    assert ["".join(event.text for event in batch if isinstance(event, Announced)) for batch in room.events()[1:]] == [
        "bcd", "efg", "h",
    ]  # fmt: skip


def test_newcomers_join_one_a_step_and_the_next_batch_waits_for_all(room: RecordedRoom) -> None:
    """A step that fails, here the first, changes nothing for the others."""
    room.busy = True
    visitors = room.join("p1", "p2", "p3")
    joined = []
    _failed = next(room.unfinished[0])
    for step in room.unfinished.pop():
        step()
        room.announce("later")
        room.settle()
        joined.append([len(visitor.calls) for visitor in visitors])
        assert len(room.batches) == 1
    assert joined == [[0, 1, 0], [0, 1, 1]]
    assert visitors[1].calls == visitors[2].calls == [(["p1", "p2", "p3"], [])]
    assert [len(batch) for batch in room.events()] == [3, 2]


def test_room_continues_after_a_step_that_fails(room: RecordedRoom) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    room.busy = True
    room.after_barrier(fail)
    room.settle()
    with pytest.raises(ZeroDivisionError):
        room.finish()
    room.announce("on")
    room.settle()
    assert room.events()[-1] == [Announced("on")]


def test_replay_may_be_read_late_and_names_the_lines_that_are_gone(
    room: RecordedRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ann,) = room.join("ann")

    def say(texts: str) -> None:
        for text in texts:
            room.say(ann, text, NOON)
        room.settle()

    monkeypatch.setattr(room, "_recent", deque(maxlen=4))
    replays = [room._replay()]
    say("123")
    replays += [room._replay() for _ in range(4)]
    parts = [shown(islice(replays[1], 1)), shown(islice(replays[2], 2))]
    say("45")
    parts += [shown(replays[1]), shown(replays[3])]
    say("6789")
    parts += [shown(replays[2]), shown(replays[4]), shown(replays[0])]
    assert parts == [["1"], ["1", "2"], ["2", "3"], [Gap(1, 1), "2", "3"], [Gap(3, 3)], [Gap(1, 3)], []]


# High-water marks


def test_every_event_counts_until_it_has_come_back() -> None:
    room = RecordedRoom(Limits(high_water_events=4))
    ann, bob = room.join("ann", "bob")
    acts: list[Callable[[], None]] = [
        lambda: room.say(ann, "x", NOON),
        lambda: room.act(ann, "x", NOON),
        lambda: room.send_private(ann, bob, "x"),
        lambda: room.rename(ann, "anna"),
        room.settle,
    ]
    above = []
    for act in acts:
        above.append(room.backlog.above_high_water)
        act()
    assert [*above, room.backlog.above_high_water] == [False] * 4 + [True, False]


def test_text_counts_even_if_it_is_private_or_cannot_be_stored() -> None:
    room = RecordedRoom(Limits(high_water_bytes=20))
    ann, bob = room.join("ann", "bob")
    room.say(ann, "x" * 10, NOON)
    above = [room.backlog.above_high_water]
    room.send_private(ann, bob, "x" * 10)
    above.append(room.backlog.above_high_water)
    calls: list[str] = []
    room.backlog.when_below_low_water(lambda: calls.append("below"))
    room.settle()
    assert calls == ["below"]
    above.append(room.backlog.above_high_water)
    room.say(ann, "\ud800" * 20, NOON)
    above.append(room.backlog.above_high_water)
    room.settle()
    assert [*above, room.backlog.above_high_water] == [False, True, False, True, False]


@pytest.mark.parametrize("limits", [Limits(high_water_events=4), Limits(high_water_bytes=4)], ids=["events", "text"])
def test_stored_lines_count_until_they_are_delivered(limits: Limits) -> None:
    room = RecordedRoom(limits)
    (ann,) = room.join("ann")
    room.busy = True
    above = []
    for text in "wxyz-":
        above.append(room.backlog.above_high_water)
        room.say(ann, text, NOON)
        room.settle()
    calls: list[int] = []
    room.backlog.when_below_low_water(lambda: calls.append(len(room.batches)))
    assert [*above, room.queued_events, room.backlog.above_high_water, calls] == [False] * 5 + [0, True, []]
    room.finish()
    assert (room.backlog.above_high_water, calls) == (False, [3]), "the first batch leaves more than half of it"


# Commits that come back in parts


class ManualJournal(MemoryJournal):
    """A journal that returns only as many events as the test says."""

    def __init__(self, _call_soon: CallSoon) -> None:
        super().__init__(lambda call: call())
        self._appended: list[tuple[MemoryRoomLog, Event]] = []

    def append(self, log: MemoryRoomLog, event: Event) -> None:
        assert isinstance(event, Message)
        log.store(event)
        self._appended.append((log, event))

    def give(self, count: int) -> None:
        """Return the next *count* events."""
        now, self._appended[:count] = self._appended[:count], []
        now[0][0].deliver([event for _, event in now])


@pytest.fixture
def journal() -> ManualJournal:
    return ManualJournal(lambda _call: None)


@pytest.fixture
def batch_sizes(journal: ManualJournal) -> Callable[[], list[int]]:
    """The sizes of the batches of a room in which six lines were said, which the journal has not returned."""
    room = RecordedRoom(journal=lambda _call_soon: journal)
    for number in range(6):
        room.say(Visitor(1, "ann", room), str(number), NOON)
    return lambda: [len(batch) for batch in room.events()]


def test_batch_waits_once_for_what_the_journal_still_holds(
    journal: ManualJournal, batch_sizes: Callable[[], list[int]]
) -> None:
    sizes = []
    for number in (1, 1, 1, 2, 1):
        journal.give(number)
        sizes.append(batch_sizes())
    assert sizes == [[], [2], [2], [2, 3], [2, 3, 1]]


def test_batch_does_not_wait_for_a_slow_or_failing_journal(
    journal: ManualJournal, batch_sizes: Callable[[], list[int]]
) -> None:
    journal.commit_stats.record_success(FAST_COMMIT_SECONDS)
    journal.give(1)
    assert batch_sizes() == [1]
    journal.commit_stats.record_success(FAST_COMMIT_SECONDS / 2)
    journal.commit_stats.record_failure("another program has locked the journal", 1)
    journal.give(1)
    assert batch_sizes() == [1, 1]
    journal.commit_stats.record_success(FAST_COMMIT_SECONDS / 2)
    journal.give(1)
    assert batch_sizes() == [1, 1]


# Rushes


class Rush(RecordedRoom):
    """A room in which joins and leaves wait for others. It records the timers."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []
        self.seconds = PRESENCE_SECONDS
        super().__init__(call_later=self._start_timer)

    def _start_timer(self, seconds: float, call: Callable[[], None]) -> None:
        assert seconds == self.seconds
        self.timers.append(call)

    def elapse(self) -> None:
        """Let the time of the timer pass, then settle."""
        self.timers.pop()()
        self.settle()


def test_joins_and_leaves_that_follow_others_take_effect_at_once_and_are_announced_after_a_moment() -> None:
    rush = Rush()
    (ann,) = rush.join("ann")
    bob, carol = rush.join("bob", "carol")
    rush.leave(ann, "")
    rush.settle()
    assert rush.events() == [[Joined(1, "ann")], [Barrier()], [Barrier()]]
    assert (bob.calls, carol.calls) == ([(["ann", "bob", "carol"], [])], [(["ann", "bob", "carol"], [])])
    assert ann.calls[1:] == ["left"]
    assert list(rush.members) == [2, 3]
    rush.elapse()
    assert rush.events()[3:] == [[Joined(2, "bob"), Joined(3, "carol"), Left(1, "ann")]]
    assert rush.batches[3].overrides == {2: [(0, None), (1, None)], 3: [(0, None), (1, None)], 1: [(2, None)]}
    rush.elapse()
    assert not rush.timers
    rush.join("dave")
    assert rush.events()[4:] == [[Joined(4, "dave")]]


def test_while_people_talk_the_notices_come_with_lines_only() -> None:
    rush = Rush()
    (ann,) = rush.join("ann")
    rush.join("bob")
    rush.say(ann, "hi", NOON)
    rush.settle()
    rush.join("carol")
    rush.elapse()
    assert rush.events()[2:] == [[Joined(2, "bob"), Message(1, "ann", "hi", NOON, 1)], [Barrier()]]
    rush.elapse()
    assert rush.events()[4:] == [[Joined(3, "carol")]]


def test_notices_are_rarer_the_more_members_there_are() -> None:
    rush = Rush()
    rush.seconds = 1000 * PRESENCE_SECONDS_PER_MEMBER
    rush.join(*(f"p{number}" for number in range(1000)))
    assert rush.timers


def test_a_list_of_members_waits_for_the_notices() -> None:
    rush = Rush()
    rush.join("ann")
    rush.join("bob")
    assert rush.delivering
    calls: list[Sequence[Event]] = []
    rush.when_delivered(lambda: calls.append(rush.batches[-1].events))
    rush.settle()
    assert calls == [[Joined(2, "bob"), Barrier()]]


def test_a_line_takes_the_joins_before_it_along() -> None:
    rush = Rush()
    (ann,) = rush.join("ann")
    (bob,) = rush.join("bob")
    rush.say(ann, "hi", NOON)
    rush.settle()
    assert rush.events()[2:] == [[Joined(2, "bob"), Message(1, "ann", "hi", NOON, 1)]]
    assert rush.batches[2].overrides == {2: [(0, None)], 1: [(1, None)]}
    assert bob.calls == [(["ann", "bob"], [])]


def test_notices_do_not_wait_longer_if_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broadcast.core.room.MAX_PRESENCE_EVENTS", 20)
    rush = Rush()
    rush.join("ann")
    rush.join("bob")
    rush.join(*(f"p{number}" for number in range(18)))
    assert rush.events()[1:] == [[Barrier()], [Barrier()]]
    rush.join("eve")
    assert rush.events()[3:] == [[JoinCount(20)]]


def test_time_that_passes_during_a_delivery_does_not_start_another() -> None:
    rush = Rush()
    rush.join("ann")
    rush.busy = True
    rush.announce("tea")
    rush.settle()
    rush.join("bob")
    rush.elapse()
    assert len(rush.batches) == 2
    rush.finish()
    assert rush.events()[2:] == [[Joined(2, "bob")]]
