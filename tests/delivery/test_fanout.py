"""A burst is rendered once for each view, and every reader is offered exactly their own stream of it, once."""

from __future__ import annotations

import errno
import gc
import os
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from functools import partial
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.events import Barrier, CommandReply, Event, Joined, Message, PrivateMessage, Receipt, StoreFailed
from broadcast.core.interfaces import Batch, Callback, Override, Publisher, View
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.cursor import RUN_BYTES
from broadcast.delivery.fanout import SENDS_PER_SLICE, SLICE_BYTES, Fanout
from broadcast.delivery.replay_buffer import ReplayBuffer
from tests.harness import SocketTransport
from tests.listeners import KINDS, Hall, Kind, Listener, PlainWire
from tests.sockets import FakeSocket

_audience: type[Publisher] = Fanout

BURSTS = 10_000 if os.environ.get("BROADCAST_LONG") else 3_000
"""How many bursts a crowd that does not read is offered."""


def socket_of(listener: Listener) -> FakeSocket:
    assert isinstance(listener.transport, SocketTransport)
    return listener.transport.socket


@pytest.fixture
def hall() -> Hall:
    """A room whose people are sent to directly."""
    return Hall()


@pytest.fixture(params=KINDS)
def either(request: pytest.FixtureRequest) -> Hall:
    """A room with an outlet of each kind."""
    return Hall(request.param)


# Once for each view, once for each reader


def test_every_reader_is_offered_the_same_bytes_object_once(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    offers: list[object] = []

    def send(self: FakeSocket, data: bytes) -> int:
        offers.append(data)
        return len(data)

    monkeypatch.setattr(FakeSocket, "send", send)
    hall.listeners(3)
    hall.tell("a", "b")
    assert offers == [b"a\nb\n"] * 3
    assert all(offer is offers[0] for offer in offers)
    assert len(hall.wire.encoded) == 2


def test_who_gets_something_else_gets_it_in_its_place(either: Hall) -> None:
    people = either.listeners(6)
    edits: dict[Listener, Sequence[Override]] = {
        people[0]: [(0, None)],
        people[1]: [(1, Receipt(7))],
        people[2]: [(2, None)],
        people[3]: [(0, Receipt(1)), (1, None), (2, Receipt(3))],
        people[4]: [(0, None), (2, CommandReply("x"))],
    }
    either.tell("a", "b", "c", edits=edits)
    assert ["".join(person.lines()) for person in people] == ["bc", "a#7c", "ab", "#1#3", "bx", "abc"]


def test_private_events_show_only_where_an_edit_puts_them(either: Hall) -> None:
    ann, bob, carol = either.listeners(3)
    psst, lost = PrivateMessage(9, "zoe", 0, "psst"), StoreFailed(Message(1, "ann", "x", 0.0), "full")
    either.tell(psst, "a", lost, Barrier(), edits={ann: [(0, psst)], bob: [(2, CommandReply("lost"))]})
    assert (ann.lines(), bob.lines(), carol.lines()) == (["[psst]", "a"], ["a", "lost"], ["a"])


def test_nobody_is_offered_nothing(hall: Hall) -> None:
    ann, bob = hall.listeners(2)
    hall.tell(Barrier(), "a", edits={ann: [(1, None)]})
    hall.tell(Barrier())
    assert (socket_of(ann).offers, socket_of(bob).offers) == (0, 1)
    assert hall.told == 2


def test_edits_for_who_is_no_reader_change_nothing(either: Hall) -> None:
    (ann,) = either.listeners(1)
    either.tell("a", edits={either.connect(): [(0, None)]})
    assert ann.lines() == ["a"]


@given(
    texts=st.lists(st.text("abc", max_size=3), max_size=6),
    edits=st.dictionaries(
        st.integers(0, 3), st.dictionaries(st.integers(0, 5), st.none() | st.just(Receipt(1))), max_size=4
    ),
    kind=st.sampled_from(KINDS),
)
def test_cutting_out_is_the_same_as_rendering_for_each_reader(
    texts: list[str], edits: dict[int, dict[int, Receipt | None]], kind: Kind
) -> None:
    hall = Hall(kind)
    people = hall.listeners(4)
    fitting: dict[Listener, Sequence[Override]] = {
        people[reader]: sorted((at, event) for at, event in changes.items() if at < len(texts))
        for reader, changes in edits.items()
    }
    hall.tell(*texts, edits=fitting)
    for person in people:
        changed = dict(fitting.get(person, ()))
        stream = [changed.get(at, CommandReply(text)) for at, text in enumerate(texts)]
        expected = b"".join(PlainWire().encode(event) for event in stream if event is not None)
        assert person.transport.sent == expected
        if kind == "direct":
            assert socket_of(person).offers <= 1


def test_each_view_is_rendered_once(hall: Hall) -> None:
    wires = [PlainWire(), PlainWire(View(quiet=True))]
    people = [hall.listener(wires[number % 2]) for number in range(10)]
    hall.tell("a", Joined(9, "zoe"))
    assert [len(wire.encoded) for wire in wires] == [2, 2]
    assert [person.lines() for person in people] == [["a", "+zoe"], ["a"]] * 5


def test_who_has_parted_gets_nothing_more(either: Hall) -> None:
    ann, bob = either.listeners(2)
    ann.reader.close_when_drained()
    bob.reader.connection_lost()
    either.tell("a", edits={ann: [(0, Receipt(1))]})
    either.fanout.unsubscribe(ann.reader)
    assert ann.lines() == bob.lines() == []


def test_the_first_in_their_view_may_lag_and_be_an_author(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    ann.stop()
    hall.tell("a")
    ann.reader.subscribe(PlainWire(View(quiet=True)))
    hall.say(ann, "own", receipt=True)
    ann.go_on()
    assert ann.lines() == ["a", "#2"]


# What it costs


def calls(hall: Hall, *texts: str, edits: dict[Listener, Sequence[Override]] | None = None) -> int:
    """How many functions of ours one burst takes, without those of the fake sockets."""
    count = 0

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        if event == "call" and frame.f_globals["__name__"].startswith("broadcast."):
            count += 1

    sys.setprofile(profile)
    try:
        hall.tell(*texts, edits=edits)
    finally:
        sys.setprofile(None)
    return count


def test_a_burst_is_one_offer_to_each_reader_and_no_call_of_ours_for_any_of_them(hall: Hall) -> None:
    people = hall.listeners(100)
    few = calls(hall, *"abc")
    people += hall.listeners(900)
    many = calls(hall, *"abc")
    assert many - few <= 4 * (900 // SENDS_PER_SLICE + 1), "for a slice, not for a reader"
    assert [socket_of(person).offers for person in people] == [2] * 100 + [1] * 900


def test_the_calls_of_a_burst_grow_with_its_lines_and_its_authors_not_with_lines_times_readers(hall: Hall) -> None:
    people = hall.listeners(500)
    cost = calls(hall, *["x"] * 1000)
    assert cost <= 4 * 1000
    everybody: dict[Listener, Sequence[Override]] = {person: [(at, None)] for at, person in enumerate(people)}
    cost = calls(hall, *["x"] * 500, edits=everybody)
    assert cost <= 4 * 500 + 20 * 500
    assert [socket_of(person).offers for person in people] == [2] * 500


def test_who_lags_costs_no_offer_and_no_call(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    hall.tell("0")
    few = calls(hall, "a")
    lagging = hall.listeners(1000)
    for listener in lagging:
        listener.stop()
    hall.tell("b")
    assert calls(hall, "c") <= few
    assert [socket_of(listener).offers for listener in lagging] == [1] * 1000
    assert ann.lines() == ["0", "a", "b", "c"]


def test_everybody_talks_at_once_and_each_gets_all_but_their_own_lines_in_one_offer(hall: Hall) -> None:
    people = hall.listeners(500)
    texts = [f"{number % 500} says {number}" for number in range(1000)]
    edits: dict[Listener, Sequence[Override]] = {
        person: [(at, Receipt(at + 1) if at % 2 else None), (at + 500, Receipt(at + 501))]
        for at, person in enumerate(people)
    }
    hall.tell(*texts, edits=edits)
    for at, person in enumerate(people):
        expected = list(texts)
        expected[at + 500] = f"#{at + 501}"
        expected[at : at + 1] = [f"#{at + 1}"] if at % 2 else []
        assert person.lines() == expected
        assert (socket_of(person).sends, socket_of(person).sendmsgs) == (0, 1)


def test_an_author_of_more_lines_than_the_kernel_takes_pieces_gets_one_offer_too(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    texts = [f"{number}" for number in range(3000)]
    hall.tell(*texts, edits={ann: [(at, Receipt(at + 1)) for at in range(0, 3000, 2)]})
    assert ann.lines() == [f"{at}" if at % 2 else f"#{at + 1}" for at in range(3000)]
    assert socket_of(ann).offers == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_who_do_not_read_cost_no_memory_however_much_is_said(kind: Kind) -> None:
    """Lines in bursts of 10: what is held when the window has filled is all that is ever held."""
    hall = Hall(kind, ReplayBuffer(max_events=1000))
    people = hall.listeners(1000)
    (ann,) = hall.listeners(1)
    for person in people:
        person.stop()

    def say(bursts: int) -> int:
        for number in range(bursts):
            hall.tell(*(f"{number} {line}" + "x" * 50 for line in range(10)))
            hall.wire.encoded.clear()
            ann.transport.sent.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    held_by_transports = 0 if kind == "direct" else 110  # bursts, until they all ask for a pause
    tracemalloc.start()
    try:
        full = say(200 + held_by_transports)
        peak = say(BURSTS - 200 - held_by_transports)
    finally:
        tracemalloc.stop()
    assert peak - full < 52 * BURSTS
    assert all(person.held <= (64 if kind == "direct" else 68 * 1024) for person in people)


# Sockets that break


@pytest.mark.parametrize("code", [errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.ENOBUFS])
@pytest.mark.parametrize("author", [False, True])
def test_a_socket_that_breaks_in_mid_loop_costs_nobody_else_anything(hall: Hall, code: int, author: bool) -> None:
    people = hall.listeners(5)
    broken = people[2]
    socket_of(broken).fault = OSError(code, "broken")
    hall.tell("a", "b", edits={broken: [(0, Receipt(1))]} if author else {})
    hall.tell("c")
    assert [person.lines() for person in people if person is not broken] == [["a", "b", "c"]] * 4
    assert socket_of(broken).offers == 1
    if code == errno.ECONNRESET:
        assert broken.transport.aborted, "the system has said why, and will not say it again"
    else:
        # The transport has something to send, and so finds out.
        assert not broken.transport.aborted
        assert bytes(broken.transport.held) == (b"#1\n" if author else b"a\n")
    broken.reader.connection_lost()
    hall.tell("d")
    assert [person.lines() for person in people if person is not broken] == [["d"]] * 4


def test_a_socket_that_is_only_full_goes_on_where_it_was(hall: Hall) -> None:
    people = hall.listeners(3)
    people[1].stop()
    hall.tell("a", "b")
    hall.tell("c")
    people[1].go_on()
    assert [person.lines() for person in people] == [["a", "b", "c"]] * 3


# Turns


def slow(hall: Hall, people: int) -> list[Listener]:
    """So many people, of whom one slice is offered the burst in each turn."""
    listeners = hall.listeners(people)
    hall.tick = SLICE_SECONDS
    return listeners


def test_a_flush_over_many_readers_lets_the_reactor_go_on(either: Hall) -> None:
    people = slow(either, 3 * SENDS_PER_SLICE + 5)
    either.tell("a")
    reached = []
    while True:
        reached.append(sum(bool(person.transport.sent) for person in people))
        if either.told:
            break
        assert either.turn()
    assert reached == [
        SENDS_PER_SLICE,
        2 * SENDS_PER_SLICE,
        3 * SENDS_PER_SLICE,
        3 * SENDS_PER_SLICE + 5,
        3 * SENDS_PER_SLICE + 5,
    ]
    assert [person.lines() for person in people] == [["a"]] * len(people)


def test_a_flush_over_many_views_lets_the_reactor_go_on_too(hall: Hall) -> None:
    people = [hall.listener(PlainWire()) for _ in range(10)]
    hall.tick = SLICE_SECONDS
    hall.tell("a")
    turns = 0
    while not hall.told:
        assert hall.turn()
        turns += 1
    assert turns == 10
    assert [person.lines() for person in people] == [["a"]] * 10
    assert hall.told == 1


def test_a_flush_over_few_readers_is_one_turn(either: Hall) -> None:
    either.listeners(2 * SENDS_PER_SLICE)
    either.tell("a")
    assert either.told == 1
    assert either.turn()
    assert not either.soon, "one look whether anything is left, and no more"


def in_between(hall: Hall) -> tuple[list[Listener], list[Listener]]:
    """Begin to tell "a"; who has it, and who is still to get it."""
    people = slow(hall, 2 * SENDS_PER_SLICE)
    hall.tell("a")
    assert not hall.told
    had = [person for person in people if person.transport.sent]
    return had, [person for person in people if person not in had]


def test_who_joins_between_two_turns_gets_what_comes_after_the_burst(either: Hall) -> None:
    in_between(either)
    newcomer = either.listener()
    either.settle()
    either.tell("b")
    either.settle()
    assert newcomer.lines() == ["b"]


def test_who_leaves_between_two_turns_gets_the_burst_first(either: Hall) -> None:
    had, to_come = in_between(either)
    for person in (had[0], to_come[0], to_come[1]):
        person.reader.close_when_drained()
    either.settle()
    either.tell("b")
    either.settle()
    assert (had[0].lines(), to_come[0].lines(), to_come[1].lines()) == (["a"], ["a"], ["a"])
    assert to_come[0].transport.finished


def test_who_leaves_between_two_turns_and_does_not_read_gets_the_burst_when_they_do(hall: Hall) -> None:
    _, to_come = in_between(hall)
    to_come[0].stop(1)
    to_come[0].reader.close_when_drained()
    hall.settle()
    hall.tell("b")
    hall.settle()
    assert not to_come[0].transport.finished
    to_come[0].go_on()
    hall.settle()
    assert to_come[0].lines() == ["a"]
    assert to_come[0].transport.finished


def test_who_changes_their_view_between_two_turns_neither_misses_nor_doubles_anything(either: Hall) -> None:
    had, to_come = in_between(either)
    quiet = PlainWire(View(quiet=True))
    for person in (had[0], to_come[0]):
        person.reader.subscribe(quiet)
        person.show("quiet")
    either.settle()
    either.tell(Joined(9, "zoe"), "b")
    either.settle()
    assert had[0].lines() == to_come[0].lines() == ["a", "quiet", "b"]
    assert to_come[1].lines() == ["a", "+zoe", "b"]


def test_an_answer_between_two_turns_stands_before_or_after_the_burst(either: Hall) -> None:
    had, to_come = in_between(either)
    had[0].show("answer")
    to_come[0].show("answer")
    either.settle()
    either.tell("b")
    either.settle()
    assert had[0].lines() == ["a", "answer", "b"]
    assert to_come[0].lines() == ["answer", "a", "b"]


@pytest.mark.parametrize("room", range(9))
def test_an_answer_between_two_turns_that_is_not_taken_whole_comes_before_the_burst(hall: Hall, room: int) -> None:
    _, to_come = in_between(hall)
    to_come[0].stop(room)
    to_come[0].show("one", "two")
    hall.settle()
    to_come[0].go_on()
    hall.tell("b")
    hall.settle()
    assert to_come[0].lines() == ["one", "two", "a", "b"]


def test_who_is_answered_between_two_turns_and_does_not_read_is_told_exactly_what_they_missed() -> None:
    hall = Hall("direct", ReplayBuffer(max_events=2))
    _, to_come = in_between(hall)
    person = to_come[0]
    person.stop()
    person.show("one", "two")
    hall.settle()
    for text in "bcd":
        hall.tell(text)
        hall.settle()
    person.go_on()
    hall.settle()
    assert person.lines() == ["one", "two", "missed 1-2", "c", "d"]


def test_who_is_lost_between_two_turns_is_offered_nothing(hall: Hall) -> None:
    had, to_come = in_between(hall)
    for person in (had[0], to_come[0]):
        person.reader.connection_lost()
    hall.settle()
    assert (socket_of(had[0]).offers, socket_of(to_come[0]).offers) == (1, 0)
    assert hall.told == 1


def test_when_all_who_are_left_are_lost_the_burst_is_told(either: Hall) -> None:
    _, to_come = in_between(either)
    for person in to_come:
        person.reader.connection_lost()
    either.settle()
    assert either.told == 1


def test_who_catches_up_between_two_turns_gets_the_burst_once(hall: Hall) -> None:
    people = hall.listeners(2 * SENDS_PER_SLICE)
    late, early = people[-1], people[0]  # whichever of them comes first
    for person in (late, early):
        person.stop()
    hall.tell("a")
    hall.tick = SLICE_SECONDS
    hall.tell("b")
    for person in (late, early):
        person.go_on()
    hall.settle()
    hall.tell("c")
    hall.settle()
    assert late.lines() == early.lines() == ["a", "b", "c"]


def test_authors_come_first_and_let_the_reactor_go_on_too(either: Hall) -> None:
    people = slow(either, 3)
    edits: dict[Listener, Sequence[Override]] = {people[2]: [(0, None)], people[0]: [(1, Receipt(2))]}
    either.tell("a", "b", edits=edits)
    had = [bool(person.transport.sent) for person in people]
    assert had in ([True, False, False], [False, False, True])
    either.turn()
    assert [bool(person.transport.sent) for person in people] == [True, False, True]
    either.settle()
    assert [person.lines() for person in people] == [["a", "#2"], ["a", "b"], ["b"]]
    either.tell("c")
    either.settle()
    assert [person.lines() for person in people] == [["c"]] * 3


def authors_in_between(hall: Hall) -> list[Listener]:
    """Begin to tell "a", "own" and "b" to six authors of "own"; those who are still to get it, with a receipt."""
    people = slow(hall, 6)
    hall.tell("a", "own", "b", edits={person: [(1, Receipt(2))] for person in people})
    waiting = [person for person in people if not person.transport.sent]
    assert len(waiting) == 5
    return waiting


def test_an_author_who_waits_for_their_turn_may_be_answered_leave_look_elsewhere_or_be_lost(either: Hall) -> None:
    answered, leaves, looks, is_lost, waits = authors_in_between(either)
    answered.show("answer")
    leaves.reader.close_when_drained()
    looks.reader.subscribe(PlainWire(View(quiet=True)))
    is_lost.reader.connection_lost()
    either.settle()
    either.tell(Joined(9, "zoe"), "c")
    either.settle()
    assert answered.lines() == ["answer", "a", "#2", "b", "+zoe", "c"]
    assert leaves.lines() == ["a", "#2", "b"]
    assert leaves.transport.finished
    assert looks.lines() == ["a", "#2", "b", "c"]
    assert is_lost.lines() == []
    assert waits.lines() == ["a", "#2", "b", "+zoe", "c"]


@pytest.mark.parametrize("room", range(12))
def test_an_author_who_waits_for_their_turn_and_does_not_read_gets_it_all_in_order(hall: Hall, room: int) -> None:
    answered, leaves, waits = authors_in_between(hall)[:3]
    for person in (answered, leaves, waits):
        person.stop(room)
    answered.show("one", "two")
    leaves.reader.close_when_drained()
    hall.settle()
    hall.tell("c")
    hall.settle()
    for person in (answered, leaves, waits):
        person.go_on()
    hall.settle()
    assert answered.lines() == ["one", "two", "a", "#2", "b", "c"]
    assert leaves.lines() == ["a", "#2", "b"]
    assert leaves.transport.finished
    assert waits.lines() == ["a", "#2", "b", "c"]


def test_a_large_burst_is_offered_to_few_between_two_looks_at_the_clock(hall: Hall) -> None:
    people = slow(hall, 9)
    hall.tell("x" * (SLICE_BYTES // 4))
    reached = []
    while True:
        reached.append(sum(bool(person.transport.sent) for person in people))
        if reached[-1] == len(people):
            break
        assert hall.turn()
    assert reached == [3, 6, 9]


def test_what_follows_from_a_burst_lets_the_reactor_go_on_after_each_step(hall: Hall) -> None:
    slow(hall, 1)
    steps: list[int] = []
    then = (partial(steps.append, number) for number in range(3))
    hall.fanout.publish(Batch([Barrier()], {}), then)
    counts = [len(steps)]
    while hall.turn():
        counts.append(len(steps))
    assert counts[:3] == [1, 2, 3]


def test_a_step_that_fails_keeps_nothing_else_from_being_done(hall: Hall) -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("a step")

    steps = [fail, lambda: done.append("the next step")]
    with pytest.raises(RuntimeError, match="a step"):
        hall.fanout.publish(Batch([Barrier()], {}), iter(steps))
    hall.settle()
    hall.fanout.publish(Batch([Barrier()], {}), iter([lambda: done.append("the next burst")]))
    assert done == ["the next step", "the next burst"]


def test_whoever_cannot_be_served_the_others_are_told(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = hall.listeners(2)
    edits = {ann: [(0, Receipt(1))]}
    with monkeypatch.context() as patched:
        patched.setattr(ann.reader, "send_batch", lambda _told: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            hall.tell("a", edits=edits)
        hall.settle()
    hall.tell("b", edits=edits)
    assert bob.lines() == ["a", "b"]
    assert hall.told == 2


def test_the_end_of_a_telling_may_tell_the_next_burst(hall: Hall) -> None:
    (ann,) = hall.listeners(1)

    def then() -> Iterator[Callback]:
        yield lambda: None
        hall.fanout.publish(Batch([Message(0, "eve", "b", 0.0, 2)], {}), iter([]))

    hall.fanout.publish(Batch([Message(0, "eve", "a", 0.0, 1)], {}), then())
    hall.settle()
    assert ann.lines() == ["a", "b"]


# What each of many may have to do


def test_those_who_catch_up_take_turns_and_let_the_reactor_go_on() -> None:
    hall = Hall()
    people = hall.listeners(3)
    for person in people:
        person.stop()
    text = "x" * RUN_BYTES
    for _ in range(4):
        hall.tell(text)
    hall.tick = SLICE_SECONDS
    for person in people:
        person.go_on()
    got = []
    while True:
        got.append([len(person.transport.sent) // RUN_BYTES for person in people])
        if not hall.turn():
            break
    assert got[:5] == [[2, 1, 1], [3, 1, 1], [3, 2, 1], [3, 2, 2], [4, 2, 2]]
    assert [person.lines() for person in people] == [[text] * 4] * 3
    assert not any(person.reader.lagging for person in people)


def test_a_step_that_fails_costs_the_others_nothing(hall: Hall) -> None:
    done = []

    def fail() -> bool:
        hall.fanout.schedule(after)
        raise ZeroDivisionError

    def after() -> bool:
        done.append("after")
        return len(done) < 2

    with pytest.raises(ZeroDivisionError):
        hall.fanout.schedule(fail)
    hall.settle()
    assert done == ["after", "after"]


def test_the_window_lets_go_of_nothing_while_a_burst_is_told() -> None:
    hall = Hall("direct", ReplayBuffer(max_events=2))
    people = slow(hall, 2 * SENDS_PER_SLICE)
    hall.tell("a", "b", "c")
    person = next(person for person in people if not person.transport.sent)
    person.stop()
    person.show("x")
    hall.settle()
    person.go_on()
    hall.settle()
    assert person.lines() == ["x", "a", "b", "c"]


def test_what_differs_is_held_for_those_only_who_have_not_taken_it(either: Hall) -> None:
    """Else five hundred who ignore one who floods would take hundreds of megabytes."""
    ann, bob, carol = either.listeners(3)
    carol.stop()
    held: list[set[int]] = []
    for text in ("one", "two"):
        either.tell(text, edits={person: [(0, None)] for person in (ann, bob, carol)})
        either.settle()
        (told,) = either.fanout.replay_buffer.from_offset(either.fanout.replay_buffer.end - 1, 1)
        held.append(set(told.overrides))
        either.tell("x" * 200_000)  # more than a transport takes
        either.settle()
    assert held == [set(), {carol.reader.session}], "nobody lags at first: there was nothing to take"
    carol.go_on()
    either.settle()
    assert carol.lines() == ["x" * 200_000] * 2


def test_a_fan_out_makes_its_own_window() -> None:
    fanout = Fanout(lambda _call: None, lambda: 0.0)
    events: list[Event] = [Barrier()]
    then = iter([lambda: None])
    fanout.publish(Batch(events, {}), then)
    assert next(then, "exhausted") == "exhausted"
    assert fanout.replay_buffer.end == 1


# What is counted


def test_every_line_that_a_reader_took_is_a_delivery_and_every_byte_is_counted(either: Hall) -> None:
    people = either.listeners(3)
    quiet = either.listener(PlainWire(View(quiet=True)))
    psst = PrivateMessage(9, "zoe", 0, "psst")
    edits: dict[Listener, Sequence[Override]] = {people[0]: [(0, Receipt(1)), (1, psst), (3, None)]}
    either.tell("a", psst, Joined(9, "zoe"), "b", Barrier(), edits=edits)
    # One who has said both lines, two who see all three events, and one who hides joins.
    assert either.fanout.deliveries == 1 + 3 + 3 + 2
    either.tell("c")
    assert either.fanout.deliveries == 9 + 4
    people[1].show("answer", "another")
    assert either.fanout.sent_bytes == sum(len(person.transport.sent) for person in [*people, quiet])
    assert (either.fanout.lagging_count, either.fanout.missed_messages) == (0, 0)


@pytest.mark.parametrize("room", range(0, 30, 3))
def test_bytes_are_counted_once_however_many_of_them_a_reader_takes_at_a_time(hall: Hall, room: int) -> None:
    ann, bob = hall.listeners(2)
    ann.stop(room)
    hall.tell("one", "two", edits={bob: [(0, None)]})
    ann.show("three", "four")
    hall.tell("five", "six", edits={ann: [(1, Receipt(6))]})
    lagging = hall.fanout.lagging_count
    while hall.fanout.lagging_count:
        ann.go_on(1)
    assert (lagging, ann.lines(), bob.lines()) == (
        1 if room < 27 else 0,
        ["one", "two", "three", "four", "five", "#6"],
        ["two", "five", "six"],
    )
    assert hall.fanout.sent_bytes == len("one\ntwo\nthree\nfour\nfive\n#6\n" + "two\nfive\nsix\n")


def test_missed_lines_are_counted_for_each_who_missed_them() -> None:
    hall = Hall("direct", ReplayBuffer(max_events=3))
    ann, bob, eve = hall.listeners(3)
    ann.stop()
    bob.stop()
    for number in range(1, 8):
        hall.tell(str(number))
    assert (hall.fanout.lagging_count, hall.fanout.missed_messages) == (2, 0)
    ann.go_on()
    bob.go_on()
    assert ann.lines() == bob.lines() == ["1", "missed 2-4", "5", "6", "7"]
    assert (hall.fanout.lagging_count, hall.fanout.missed_messages) == (0, 6)
    assert len(eve.lines()) == 7
