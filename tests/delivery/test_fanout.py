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
from tests.delivery.subscribers import KINDS, Kind, PlainEncoder, SubscriberClient, SubscriberWorld
from tests.harness import SocketTransport
from tests.sockets import FakeSocket

_audience: type[Publisher] = Fanout

BURSTS = 10_000 if os.environ.get("BROADCAST_LONG") else 3_000
"""How many bursts a crowd that does not read is offered."""


def socket_of(client: SubscriberClient) -> FakeSocket:
    assert isinstance(client.transport, SocketTransport)
    return client.transport.socket


@pytest.fixture
def world() -> SubscriberWorld:
    """A room whose people are sent to directly."""
    return SubscriberWorld()


@pytest.fixture(params=KINDS)
def either(request: pytest.FixtureRequest) -> SubscriberWorld:
    """A room with an outlet of each kind."""
    return SubscriberWorld(request.param)


# Once for each view, once for each reader


def test_every_reader_is_offered_the_same_bytes_object_once(
    world: SubscriberWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers: list[object] = []

    def send(self: FakeSocket, data: bytes) -> int:
        offers.append(data)
        return len(data)

    monkeypatch.setattr(FakeSocket, "send", send)
    world.subscribers(3)
    world.publish("a", "b")
    assert offers == [b"a\nb\n"] * 3
    assert all(offer is offers[0] for offer in offers)
    assert len(world.encoder.encoded) == 2


def test_who_gets_something_else_gets_it_in_its_place(either: SubscriberWorld) -> None:
    people = either.subscribers(6)
    edits: dict[SubscriberClient, Sequence[Override]] = {
        people[0]: [(0, None)],
        people[1]: [(1, Receipt(7))],
        people[2]: [(2, None)],
        people[3]: [(0, Receipt(1)), (1, None), (2, Receipt(3))],
        people[4]: [(0, None), (2, CommandReply("x"))],
    }
    either.publish("a", "b", "c", overrides=edits)
    assert ["".join(person.lines()) for person in people] == ["bc", "a#7c", "ab", "#1#3", "bx", "abc"]


def test_private_events_show_only_where_an_edit_puts_them(either: SubscriberWorld) -> None:
    ann, bob, carol = either.subscribers(3)
    psst, lost = PrivateMessage(9, "zoe", 0, "psst"), StoreFailed(Message(1, "ann", "x", 0.0), "full")
    either.publish(psst, "a", lost, Barrier(), overrides={ann: [(0, psst)], bob: [(2, CommandReply("lost"))]})
    assert (ann.lines(), bob.lines(), carol.lines()) == (["[psst]", "a"], ["a", "lost"], ["a"])


def test_nobody_is_offered_nothing(world: SubscriberWorld) -> None:
    ann, bob = world.subscribers(2)
    world.publish(Barrier(), "a", overrides={ann: [(1, None)]})
    world.publish(Barrier())
    assert (socket_of(ann).offers, socket_of(bob).offers) == (0, 1)
    assert world.delivered == 2


def test_edits_for_who_is_no_reader_change_nothing(either: SubscriberWorld) -> None:
    (ann,) = either.subscribers(1)
    either.publish("a", overrides={either.connect_subscriber(): [(0, None)]})
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
    world = SubscriberWorld(kind)
    people = world.subscribers(4)
    fitting: dict[SubscriberClient, Sequence[Override]] = {
        people[reader]: sorted((at, event) for at, event in changes.items() if at < len(texts))
        for reader, changes in edits.items()
    }
    world.publish(*texts, overrides=fitting)
    for person in people:
        changed = dict(fitting.get(person, ()))
        stream = [changed.get(at, CommandReply(text)) for at, text in enumerate(texts)]
        expected = b"".join(PlainEncoder().encode(event) for event in stream if event is not None)
        assert person.transport.sent == expected
        if kind == "direct":
            assert socket_of(person).offers <= 1


def test_each_view_is_rendered_once(world: SubscriberWorld) -> None:
    wires = [PlainEncoder(), PlainEncoder(View(quiet=True))]
    people = [world.subscribe(wires[number % 2]) for number in range(10)]
    world.publish("a", Joined(9, "zoe"))
    assert [len(wire.encoded) for wire in wires] == [2, 2]
    assert [person.lines() for person in people] == [["a", "+zoe"], ["a"]] * 5


def test_who_has_parted_gets_nothing_more(either: SubscriberWorld) -> None:
    ann, bob = either.subscribers(2)
    ann.subscriber.close_when_drained()
    bob.subscriber.connection_lost()
    either.publish("a", overrides={ann: [(0, Receipt(1))]})
    either.fanout.unsubscribe(ann.subscriber)
    assert ann.lines() == bob.lines() == []


def test_the_first_in_their_view_may_lag_and_be_an_author(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    ann.stop_reading()
    world.publish("a")
    ann.subscriber.subscribe(PlainEncoder(View(quiet=True)))
    world.say(ann, "own", receipt=True)
    ann.read_on()
    assert ann.lines() == ["a", "#2"]


# What it costs


def calls(
    world: SubscriberWorld, *texts: str, overrides: dict[SubscriberClient, Sequence[Override]] | None = None
) -> int:
    """How many functions of ours one burst takes, without those of the fake sockets."""
    count = 0

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        if event == "call" and frame.f_globals["__name__"].startswith("broadcast."):
            count += 1

    sys.setprofile(profile)
    try:
        world.publish(*texts, overrides=overrides)
    finally:
        sys.setprofile(None)
    return count


def test_a_burst_is_one_offer_to_each_reader_and_no_call_of_ours_for_any_of_them(world: SubscriberWorld) -> None:
    people = world.subscribers(100)
    few = calls(world, *"abc")
    people += world.subscribers(900)
    many = calls(world, *"abc")
    assert many - few <= 4 * (900 // SENDS_PER_SLICE + 1), "for a slice, not for a reader"
    assert [socket_of(person).offers for person in people] == [2] * 100 + [1] * 900


def test_the_calls_of_a_burst_grow_with_its_lines_and_its_authors_not_with_lines_times_readers(
    world: SubscriberWorld,
) -> None:
    people = world.subscribers(500)
    cost = calls(world, *["x"] * 1000)
    assert cost <= 4 * 1000
    everybody: dict[SubscriberClient, Sequence[Override]] = {person: [(at, None)] for at, person in enumerate(people)}
    cost = calls(world, *["x"] * 500, overrides=everybody)
    assert cost <= 4 * 500 + 20 * 500
    assert [socket_of(person).offers for person in people] == [2] * 500


def test_who_lags_costs_no_offer_and_no_call(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    world.publish("0")
    few = calls(world, "a")
    lagging = world.subscribers(1000)
    for client in lagging:
        client.stop_reading()
    world.publish("b")
    assert calls(world, "c") <= few
    assert [socket_of(client).offers for client in lagging] == [1] * 1000
    assert ann.lines() == ["0", "a", "b", "c"]


def test_everybody_talks_at_once_and_each_gets_all_but_their_own_lines_in_one_offer(world: SubscriberWorld) -> None:
    people = world.subscribers(500)
    texts = [f"{number % 500} says {number}" for number in range(1000)]
    edits: dict[SubscriberClient, Sequence[Override]] = {
        person: [(at, Receipt(at + 1) if at % 2 else None), (at + 500, Receipt(at + 501))]
        for at, person in enumerate(people)
    }
    world.publish(*texts, overrides=edits)
    for at, person in enumerate(people):
        expected = list(texts)
        expected[at + 500] = f"#{at + 501}"
        expected[at : at + 1] = [f"#{at + 1}"] if at % 2 else []
        assert person.lines() == expected
        assert (socket_of(person).sends, socket_of(person).sendmsgs) == (0, 1)


def test_an_author_of_more_lines_than_the_kernel_takes_pieces_gets_one_offer_too(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    texts = [f"{number}" for number in range(3000)]
    world.publish(*texts, overrides={ann: [(at, Receipt(at + 1)) for at in range(0, 3000, 2)]})
    assert ann.lines() == [f"{at}" if at % 2 else f"#{at + 1}" for at in range(3000)]
    assert socket_of(ann).offers == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_who_do_not_read_cost_no_memory_however_much_is_said(kind: Kind) -> None:
    """Lines in bursts of 10: what is held when the window has filled is all that is ever held."""
    world = SubscriberWorld(kind, ReplayBuffer(max_events=1000))
    people = world.subscribers(1000)
    (ann,) = world.subscribers(1)
    for person in people:
        person.stop_reading()

    def say(bursts: int) -> int:
        for number in range(bursts):
            world.publish(*(f"{number} {line}" + "x" * 50 for line in range(10)))
            world.encoder.encoded.clear()
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
    assert all(person.held_bytes <= (64 if kind == "direct" else 68 * 1024) for person in people)


# Sockets that break


@pytest.mark.parametrize("code", [errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.ENOBUFS])
@pytest.mark.parametrize("author", [False, True])
def test_a_socket_that_breaks_in_mid_loop_costs_nobody_else_anything(
    world: SubscriberWorld, code: int, author: bool
) -> None:
    people = world.subscribers(5)
    broken = people[2]
    socket_of(broken).fault = OSError(code, "broken")
    world.publish("a", "b", overrides={broken: [(0, Receipt(1))]} if author else {})
    world.publish("c")
    assert [person.lines() for person in people if person is not broken] == [["a", "b", "c"]] * 4
    assert socket_of(broken).offers == 1
    if code == errno.ECONNRESET:
        assert broken.transport.aborted, "the system has said why, and will not say it again"
    else:
        # The transport has something to send, and so finds out.
        assert not broken.transport.aborted
        assert bytes(broken.transport.held) == (b"#1\n" if author else b"a\n")
    broken.subscriber.connection_lost()
    world.publish("d")
    assert [person.lines() for person in people if person is not broken] == [["d"]] * 4


def test_a_socket_that_is_only_full_goes_on_where_it_was(world: SubscriberWorld) -> None:
    people = world.subscribers(3)
    people[1].stop_reading()
    world.publish("a", "b")
    world.publish("c")
    people[1].read_on()
    assert [person.lines() for person in people] == [["a", "b", "c"]] * 3


# Turns


def slow(world: SubscriberWorld, people: int) -> list[SubscriberClient]:
    """So many people, of whom one slice is offered the burst in each turn."""
    listeners = world.subscribers(people)
    world.tick = SLICE_SECONDS
    return listeners


def test_a_flush_over_many_readers_lets_the_reactor_go_on(either: SubscriberWorld) -> None:
    people = slow(either, 3 * SENDS_PER_SLICE + 5)
    either.publish("a")
    reached = []
    while True:
        reached.append(sum(bool(person.transport.sent) for person in people))
        if either.delivered:
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


def test_a_flush_over_many_views_lets_the_reactor_go_on_too(world: SubscriberWorld) -> None:
    people = [world.subscribe(PlainEncoder()) for _ in range(10)]
    world.tick = SLICE_SECONDS
    world.publish("a")
    turns = 0
    while not world.delivered:
        assert world.turn()
        turns += 1
    assert turns == 10
    assert [person.lines() for person in people] == [["a"]] * 10
    assert world.delivered == 1


def test_a_flush_over_few_readers_is_one_turn(either: SubscriberWorld) -> None:
    either.subscribers(2 * SENDS_PER_SLICE)
    either.publish("a")
    assert either.delivered == 1
    assert either.turn()
    assert not either._soon, "one look whether anything is left, and no more"


def in_between(world: SubscriberWorld) -> tuple[list[SubscriberClient], list[SubscriberClient]]:
    """Begin to tell "a"; who has it, and who is still to get it."""
    people = slow(world, 2 * SENDS_PER_SLICE)
    world.publish("a")
    assert not world.delivered
    had = [person for person in people if person.transport.sent]
    return had, [person for person in people if person not in had]


def test_who_joins_between_two_turns_gets_what_comes_after_the_burst(either: SubscriberWorld) -> None:
    in_between(either)
    newcomer = either.subscribe()
    either.settle()
    either.publish("b")
    either.settle()
    assert newcomer.lines() == ["b"]


def test_who_leaves_between_two_turns_gets_the_burst_first(either: SubscriberWorld) -> None:
    had, to_come = in_between(either)
    for person in (had[0], to_come[0], to_come[1]):
        person.subscriber.close_when_drained()
    either.settle()
    either.publish("b")
    either.settle()
    assert (had[0].lines(), to_come[0].lines(), to_come[1].lines()) == (["a"], ["a"], ["a"])
    assert to_come[0].transport.finished


def test_who_leaves_between_two_turns_and_does_not_read_gets_the_burst_when_they_do(world: SubscriberWorld) -> None:
    _, to_come = in_between(world)
    to_come[0].stop_reading(1)
    to_come[0].subscriber.close_when_drained()
    world.settle()
    world.publish("b")
    world.settle()
    assert not to_come[0].transport.finished
    to_come[0].read_on()
    world.settle()
    assert to_come[0].lines() == ["a"]
    assert to_come[0].transport.finished


def test_who_changes_their_view_between_two_turns_neither_misses_nor_doubles_anything(either: SubscriberWorld) -> None:
    had, to_come = in_between(either)
    quiet = PlainEncoder(View(quiet=True))
    for person in (had[0], to_come[0]):
        person.subscriber.subscribe(quiet)
        person.answer("quiet")
    either.settle()
    either.publish(Joined(9, "zoe"), "b")
    either.settle()
    assert had[0].lines() == to_come[0].lines() == ["a", "quiet", "b"]
    assert to_come[1].lines() == ["a", "+zoe", "b"]


def test_an_answer_between_two_turns_stands_before_or_after_the_burst(either: SubscriberWorld) -> None:
    had, to_come = in_between(either)
    had[0].answer("answer")
    to_come[0].answer("answer")
    either.settle()
    either.publish("b")
    either.settle()
    assert had[0].lines() == ["a", "answer", "b"]
    assert to_come[0].lines() == ["answer", "a", "b"]


@pytest.mark.parametrize("room", range(9))
def test_an_answer_between_two_turns_that_is_not_taken_whole_comes_before_the_burst(
    world: SubscriberWorld, room: int
) -> None:
    _, to_come = in_between(world)
    to_come[0].stop_reading(room)
    to_come[0].answer("one", "two")
    world.settle()
    to_come[0].read_on()
    world.publish("b")
    world.settle()
    assert to_come[0].lines() == ["one", "two", "a", "b"]


def test_who_is_answered_between_two_turns_and_does_not_read_is_told_exactly_what_they_missed() -> None:
    world = SubscriberWorld("direct", ReplayBuffer(max_events=2))
    _, to_come = in_between(world)
    person = to_come[0]
    person.stop_reading()
    person.answer("one", "two")
    world.settle()
    for text in "bcd":
        world.publish(text)
        world.settle()
    person.read_on()
    world.settle()
    assert person.lines() == ["one", "two", "missed 1-2", "c", "d"]


def test_who_is_lost_between_two_turns_is_offered_nothing(world: SubscriberWorld) -> None:
    had, to_come = in_between(world)
    for person in (had[0], to_come[0]):
        person.subscriber.connection_lost()
    world.settle()
    assert (socket_of(had[0]).offers, socket_of(to_come[0]).offers) == (1, 0)
    assert world.delivered == 1


def test_when_all_who_are_left_are_lost_the_burst_is_told(either: SubscriberWorld) -> None:
    _, to_come = in_between(either)
    for person in to_come:
        person.subscriber.connection_lost()
    either.settle()
    assert either.delivered == 1


def test_who_catches_up_between_two_turns_gets_the_burst_once(world: SubscriberWorld) -> None:
    people = world.subscribers(2 * SENDS_PER_SLICE)
    late, early = people[-1], people[0]  # whichever of them comes first
    for person in (late, early):
        person.stop_reading()
    world.publish("a")
    world.tick = SLICE_SECONDS
    world.publish("b")
    for person in (late, early):
        person.read_on()
    world.settle()
    world.publish("c")
    world.settle()
    assert late.lines() == early.lines() == ["a", "b", "c"]


def test_authors_come_first_and_let_the_reactor_go_on_too(either: SubscriberWorld) -> None:
    people = slow(either, 3)
    edits: dict[SubscriberClient, Sequence[Override]] = {people[2]: [(0, None)], people[0]: [(1, Receipt(2))]}
    either.publish("a", "b", overrides=edits)
    had = [bool(person.transport.sent) for person in people]
    assert had in ([True, False, False], [False, False, True])
    either.turn()
    assert [bool(person.transport.sent) for person in people] == [True, False, True]
    either.settle()
    assert [person.lines() for person in people] == [["a", "#2"], ["a", "b"], ["b"]]
    either.publish("c")
    either.settle()
    assert [person.lines() for person in people] == [["c"]] * 3


def authors_in_between(world: SubscriberWorld) -> list[SubscriberClient]:
    """Begin to tell "a", "own" and "b" to six authors of "own"; those who are still to get it, with a receipt."""
    people = slow(world, 6)
    world.publish("a", "own", "b", overrides={person: [(1, Receipt(2))] for person in people})
    waiting = [person for person in people if not person.transport.sent]
    assert len(waiting) == 5
    return waiting


def test_an_author_who_waits_for_their_turn_may_be_answered_leave_look_elsewhere_or_be_lost(
    either: SubscriberWorld,
) -> None:
    answered, leaves, looks, is_lost, waits = authors_in_between(either)
    answered.answer("answer")
    leaves.subscriber.close_when_drained()
    looks.subscriber.subscribe(PlainEncoder(View(quiet=True)))
    is_lost.subscriber.connection_lost()
    either.settle()
    either.publish(Joined(9, "zoe"), "c")
    either.settle()
    assert answered.lines() == ["answer", "a", "#2", "b", "+zoe", "c"]
    assert leaves.lines() == ["a", "#2", "b"]
    assert leaves.transport.finished
    assert looks.lines() == ["a", "#2", "b", "c"]
    assert is_lost.lines() == []
    assert waits.lines() == ["a", "#2", "b", "+zoe", "c"]


@pytest.mark.parametrize("room", range(12))
def test_an_author_who_waits_for_their_turn_and_does_not_read_gets_it_all_in_order(
    world: SubscriberWorld, room: int
) -> None:
    answered, leaves, waits = authors_in_between(world)[:3]
    for person in (answered, leaves, waits):
        person.stop_reading(room)
    answered.answer("one", "two")
    leaves.subscriber.close_when_drained()
    world.settle()
    world.publish("c")
    world.settle()
    for person in (answered, leaves, waits):
        person.read_on()
    world.settle()
    assert answered.lines() == ["one", "two", "a", "#2", "b", "c"]
    assert leaves.lines() == ["a", "#2", "b"]
    assert leaves.transport.finished
    assert waits.lines() == ["a", "#2", "b", "c"]


def test_a_large_burst_is_offered_to_few_between_two_looks_at_the_clock(world: SubscriberWorld) -> None:
    people = slow(world, 9)
    world.publish("x" * (SLICE_BYTES // 4))
    reached = []
    while True:
        reached.append(sum(bool(person.transport.sent) for person in people))
        if reached[-1] == len(people):
            break
        assert world.turn()
    assert reached == [3, 6, 9]


def test_what_follows_from_a_burst_lets_the_reactor_go_on_after_each_step(world: SubscriberWorld) -> None:
    slow(world, 1)
    steps: list[int] = []
    then = (partial(steps.append, number) for number in range(3))
    world.fanout.publish(Batch([Barrier()], {}), then)
    counts = [len(steps)]
    while world.turn():
        counts.append(len(steps))
    assert counts[:3] == [1, 2, 3]


def test_a_step_that_fails_keeps_nothing_else_from_being_done(world: SubscriberWorld) -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("a step")

    steps = [fail, lambda: done.append("the next step")]
    with pytest.raises(RuntimeError, match="a step"):
        world.fanout.publish(Batch([Barrier()], {}), iter(steps))
    world.settle()
    world.fanout.publish(Batch([Barrier()], {}), iter([lambda: done.append("the next burst")]))
    assert done == ["the next step", "the next burst"]


def test_whoever_cannot_be_served_the_others_are_told(world: SubscriberWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = world.subscribers(2)
    edits = {ann: [(0, Receipt(1))]}
    with monkeypatch.context() as patched:
        patched.setattr(ann.subscriber, "send_batch", lambda _told: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            world.publish("a", overrides=edits)
        world.settle()
    world.publish("b", overrides=edits)
    assert bob.lines() == ["a", "b"]
    assert world.delivered == 2


def test_the_end_of_a_telling_may_tell_the_next_burst(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)

    def then() -> Iterator[Callback]:
        yield lambda: None
        world.fanout.publish(Batch([Message(0, "eve", "b", 0.0, 2)], {}), iter([]))

    world.fanout.publish(Batch([Message(0, "eve", "a", 0.0, 1)], {}), then())
    world.settle()
    assert ann.lines() == ["a", "b"]


# What each of many may have to do


def test_those_who_catch_up_take_turns_and_let_the_reactor_go_on() -> None:
    world = SubscriberWorld()
    people = world.subscribers(3)
    for person in people:
        person.stop_reading()
    text = "x" * RUN_BYTES
    for _ in range(4):
        world.publish(text)
    world.tick = SLICE_SECONDS
    for person in people:
        person.read_on()
    got = []
    while True:
        got.append([len(person.transport.sent) // RUN_BYTES for person in people])
        if not world.turn():
            break
    assert got[:5] == [[2, 1, 1], [3, 1, 1], [3, 2, 1], [3, 2, 2], [4, 2, 2]]
    assert [person.lines() for person in people] == [[text] * 4] * 3
    assert not any(person.subscriber.lagging for person in people)


def test_a_step_that_fails_costs_the_others_nothing(world: SubscriberWorld) -> None:
    done = []

    def fail() -> bool:
        world.fanout.schedule(after)
        raise ZeroDivisionError

    def after() -> bool:
        done.append("after")
        return len(done) < 2

    with pytest.raises(ZeroDivisionError):
        world.fanout.schedule(fail)
    world.settle()
    assert done == ["after", "after"]


def test_the_window_lets_go_of_nothing_while_a_burst_is_told() -> None:
    world = SubscriberWorld("direct", ReplayBuffer(max_events=2))
    people = slow(world, 2 * SENDS_PER_SLICE)
    world.publish("a", "b", "c")
    person = next(person for person in people if not person.transport.sent)
    person.stop_reading()
    person.answer("x")
    world.settle()
    person.read_on()
    world.settle()
    assert person.lines() == ["x", "a", "b", "c"]


def test_what_differs_is_held_for_those_only_who_have_not_taken_it(either: SubscriberWorld) -> None:
    """Else five hundred who ignore one who floods would take hundreds of megabytes."""
    ann, bob, carol = either.subscribers(3)
    carol.stop_reading()
    held: list[set[int]] = []
    for text in ("one", "two"):
        either.publish(text, overrides={person: [(0, None)] for person in (ann, bob, carol)})
        either.settle()
        (told,) = either.fanout.replay_buffer.from_offset(either.fanout.replay_buffer.end - 1, 1)
        held.append(set(told.overrides))
        either.publish("x" * 200_000)  # more than a transport takes
        either.settle()
    assert held == [set(), {carol.subscriber.session}], "nobody lags at first: there was nothing to take"
    carol.read_on()
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


def test_every_line_that_a_reader_took_is_a_delivery_and_every_byte_is_counted(either: SubscriberWorld) -> None:
    people = either.subscribers(3)
    quiet = either.subscribe(PlainEncoder(View(quiet=True)))
    psst = PrivateMessage(9, "zoe", 0, "psst")
    edits: dict[SubscriberClient, Sequence[Override]] = {people[0]: [(0, Receipt(1)), (1, psst), (3, None)]}
    either.publish("a", psst, Joined(9, "zoe"), "b", Barrier(), overrides=edits)
    # One who has said both lines, two who see all three events, and one who hides joins.
    assert either.fanout.deliveries == 1 + 3 + 3 + 2
    either.publish("c")
    assert either.fanout.deliveries == 9 + 4
    people[1].answer("answer", "another")
    assert either.fanout.sent_bytes == sum(len(person.transport.sent) for person in [*people, quiet])
    assert (either.fanout.lagging_count, either.fanout.missed_messages) == (0, 0)


@pytest.mark.parametrize("room", range(0, 30, 3))
def test_bytes_are_counted_once_however_many_of_them_a_reader_takes_at_a_time(
    world: SubscriberWorld, room: int
) -> None:
    ann, bob = world.subscribers(2)
    ann.stop_reading(room)
    world.publish("one", "two", overrides={bob: [(0, None)]})
    ann.answer("three", "four")
    world.publish("five", "six", overrides={ann: [(1, Receipt(6))]})
    lagging = world.fanout.lagging_count
    while world.fanout.lagging_count:
        ann.read_on(1)
    assert (lagging, ann.lines(), bob.lines()) == (
        1 if room < 27 else 0,
        ["one", "two", "three", "four", "five", "#6"],
        ["two", "five", "six"],
    )
    assert world.fanout.sent_bytes == len("one\ntwo\nthree\nfour\nfive\n#6\n" + "two\nfive\nsix\n")


def test_missed_lines_are_counted_for_each_who_missed_them() -> None:
    world = SubscriberWorld("direct", ReplayBuffer(max_events=3))
    ann, bob, eve = world.subscribers(3)
    ann.stop_reading()
    bob.stop_reading()
    for number in range(1, 8):
        world.publish(str(number))
    assert (world.fanout.lagging_count, world.fanout.missed_messages) == (2, 0)
    ann.read_on()
    bob.read_on()
    assert ann.lines() == bob.lines() == ["1", "missed 2-4", "5", "6", "7"]
    assert (world.fanout.lagging_count, world.fanout.missed_messages) == (0, 6)
    assert len(eve.lines()) == 7
