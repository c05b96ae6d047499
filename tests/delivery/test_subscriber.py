"""A reader gets their stream whole, once and in order, however they read; what they lost is named, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import SupportsIndex

import pytest

from broadcast.core.events import Announced, Barrier, CommandReply, Joined, PrivateMessage, Receipt
from broadcast.core.interfaces import Override, View
from broadcast.core.limits import DEFAULTS
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.delivery.subscriber import ITEM_OVERHEAD, LAZY_CHUNK_BYTES, SEND_BATCHES, SEND_BYTES
from tests.delivery.subscribers import KINDS, Kind, PlainEncoder, SubscriberClient, SubscriberWorld
from tests.harness import ROOM_FOR_OUTPUT


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> SubscriberWorld:
    """A room with an outlet of each kind, and a window of 8 events."""
    return SubscriberWorld(request.param, ReplayBuffer(events=8))


@pytest.fixture
def straight() -> SubscriberWorld:
    """The one that sends to the sockets."""
    return SubscriberWorld("direct", ReplayBuffer(events=8))


def choke(client: SubscriberClient) -> None:
    """Let *client* stop reading, and the transport, if there is one, take no more."""
    client.stop_reading()
    if not client.world.direct:
        client.answer("x" * ROOM_FOR_OUTPUT)
        assert not client.subscriber.lagging


def lines(client: SubscriberClient) -> list[str]:
    """What came, but for what ``choke`` had to send."""
    return [line for line in client.lines() if not line.startswith("xxx")]


# Who keeps up


def test_answers_and_bursts_are_one_stream(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    ann.answer("one")
    world.publish("two", "three")
    ann.answer("four", "five")
    assert ann.lines() == ["one", "two", "three", "four", "five"]
    assert not ann.subscriber.lagging
    assert not ann.subscriber.congested


def test_nothing_is_told_to_who_does_not_listen_yet(world: SubscriberWorld) -> None:
    ann = world.connect_subscriber()
    world.publish("before")
    ann.answer("hello")
    ann.subscriber.subscribe(world.encoder)
    world.publish("after")
    assert ann.lines() == ["hello", "after"]


def test_listening_again_changes_the_view(world: SubscriberWorld) -> None:
    ann, bob = world.subscribers(2)
    ann.subscriber.subscribe(PlainEncoder(View(quiet=True)))
    world.publish(Joined(9, "zoe"), "hi")
    assert (ann.lines(), bob.lines()) == (["hi"], ["+zoe", "hi"])


# Who does not


@pytest.mark.parametrize("room", range(20))
def test_a_burst_that_was_taken_in_part_is_completed_wherever_it_was_cut(straight: SubscriberWorld, room: int) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading(room)
    straight.publish("one", Barrier(), "zwölf", Joined(9, "zoe"), "two")
    straight.publish("three")
    ann.read_on()
    assert ann.lines() == ["one", "zwölf", "+zoe", "two", "three"]
    straight.publish("four")
    assert ann.lines() == ["four"]


@pytest.mark.parametrize("room", range(12))
def test_an_answer_that_was_taken_in_part_is_completed_wherever_it_was_cut(
    straight: SubscriberWorld, room: int
) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading(room)
    ann.answer("one", "zwölf", "")
    ann.answer("two")
    straight.publish("three")
    ann.read_on()
    assert ann.lines() == ["one", "zwölf", "", "two", "three"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_who_reads_byte_by_byte_gets_the_same(straight: SubscriberWorld, step: int) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading()
    said = [f"ö{number}" for number in range(7)]
    for text in said:
        straight.publish(text)
        ann.answer(f"answer {text}")
    for _ in range(1000):
        ann.read_on(step)
    expected = [line for text in said for line in (text, f"answer {text}")]
    assert ann.lines() == expected
    assert not ann.subscriber.lagging
    assert ann.transport.producer is None


def test_who_lags_holds_one_unfinished_line_of_what_everybody_gets(straight: SubscriberWorld) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading(3)
    straight.publish("x" * 50, "y" * 5000)
    straight.publish("z" * 5000)
    assert ann.held_bytes == 51 - 3


def test_who_lags_is_offered_nothing_until_the_transport_asks(straight: SubscriberWorld) -> None:
    ann, bob = straight.subscribers(2)
    ann.stop_reading()
    for number in range(5):
        straight.publish(f"{number}")
    assert ann.writer.send.__self__.sends == 1  # type: ignore[attr-defined]  # the fake socket's
    assert bob.writer.send.__self__.sends == 5  # type: ignore[attr-defined]


def test_what_waits_in_the_window_is_sent_in_large_pieces_and_always_a_whole_line() -> None:
    world = SubscriberWorld("direct")
    (ann,) = world.subscribers(1)
    ann.stop_reading()
    world.publish("first", *(f"{number:9}" for number in range(20_000)), "x" * 3 * SEND_BYTES, "last")
    before = ann.writer.send.__self__.sends  # type: ignore[attr-defined]
    ann.read_on()
    assert ann.lines() == ["first", *(f"{number:9}" for number in range(20_000)), "x" * 3 * SEND_BYTES, "last"]
    assert ann.writer.send.__self__.sends - before <= 200_000 // SEND_BYTES + 6  # type: ignore[attr-defined]


def test_many_small_bursts_that_wait_are_joined_to_few_offers() -> None:
    world = SubscriberWorld("direct")
    (ann,) = world.subscribers(1)
    ann.stop_reading()
    for number in range(1000):
        world.publish(f"{number}")
    before = ann.writer.send.__self__.offers  # type: ignore[attr-defined]
    ann.read_on()
    assert ann.lines() == [f"{number}" for number in range(1000)]
    offers = ann.writer.send.__self__.offers - before  # type: ignore[attr-defined]
    assert 1000 // SEND_BATCHES <= offers <= 1000 // SEND_BATCHES + 2


@pytest.mark.parametrize("room", range(40))
def test_joined_bursts_that_are_taken_in_part_are_completed_wherever_they_were_cut(
    straight: SubscriberWorld, room: int
) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading()
    straight.publish("one")
    straight.publish(Barrier())
    straight.say(ann, "own")
    straight.publish("two", "own", "zwölf", "own", overrides={ann: [(1, None), (3, None)]})
    straight.publish("three")
    ann.read_on(room)
    ann.read_on()
    assert ann.lines() == ["one", "two", "zwölf", "three"]


def test_bursts_are_joined_up_to_an_answer_that_waits_between_them(straight: SubscriberWorld) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading()
    for text in "abc":
        straight.publish(text)
    ann.answer("answer")
    for text in "def":
        straight.publish(text)
    before = ann.writer.send.__self__.offers  # type: ignore[attr-defined]
    ann.read_on()
    assert ann.lines() == ["a", "b", "c", "answer", "d", "e", "f"]
    assert ann.writer.send.__self__.offers - before == 3  # type: ignore[attr-defined]


# What is made when it can be sent


def made(texts: Sequence[str], log: list[str]) -> Iterator[bytes]:
    """The lines of *texts*; each stands in *log* when it was made."""
    for text in texts:
        log.append(text)
        yield f"{text}\n".encode()


def test_lines_are_made_when_those_before_them_were_taken(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    choke(ann)
    log: list[str] = []
    texts = [f"{number:1000}" for number in range(600)]
    ann.subscriber.send_lazily(made(texts, log))
    world.publish("after")
    held = ann.held_bytes
    ann.answer("answer")
    assert len(log) < 2 * LAZY_CHUNK_BYTES // 1000 + 2
    assert held < 4 * LAZY_CHUNK_BYTES + ROOM_FOR_OUTPUT * (not world.direct) * 2
    ann.read_on()
    assert log == texts
    assert lines(ann) == [*texts, "after", "answer"]
    assert not ann.subscriber.lagging
    assert ann.subscriber._queued_bytes == 0


def test_who_reads_gets_them_at_once_and_is_current(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    ann.subscriber.send_lazily(made([], []))
    texts = [f"{number:100}" for number in range(500)]
    ann.subscriber.send_lazily(made(texts, []))
    assert not ann.subscriber.lagging
    world.publish("after")
    assert ann.lines() == [*texts, "after"]


def test_few_of_them_are_one_offer(straight: SubscriberWorld) -> None:
    (ann,) = straight.subscribers(1)
    ann.subscriber.send_lazily(made([f"{number:100}" for number in range(20)], []))
    assert ann.writer.send.__self__.offers == 1  # type: ignore[attr-defined]


def test_who_lags_already_gets_them_in_their_place(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    choke(ann)
    world.publish("before")
    texts = [f"{number:100}" for number in range(500)]
    ann.subscriber.send_lazily(made(texts, []))
    world.publish("after")
    ann.read_on()
    assert lines(ann) == ["before", *texts, "after"]


@pytest.mark.parametrize("room", [0, 1, 150, 5000, 9000])
def test_they_stand_where_they_were_shown_however_the_reader_stops(straight: SubscriberWorld, room: int) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading(room)
    texts = [f"{number:100}" for number in range(100)]
    ann.subscriber.send_lazily(made(texts, []))
    straight.publish("after")
    for _ in range(10):
        ann.read_on(1777)
    ann.read_on()
    assert ann.lines() == [*texts, "after"]


def test_answers_and_private_lines_keep_their_place(world: SubscriberWorld) -> None:
    ann, bob = world.subscribers(2)
    choke(ann)
    world.publish("1")
    ann.answer("2")
    world.publish("3", PrivateMessage(2, "bob", 1, "4"), "5", overrides={ann: [(1, PrivateMessage(2, "bob", 1, "4"))]})
    ann.answer("6", "7")
    world.say(ann, "8", receipt=True)
    world.say(ann, "own")
    world.publish("9", "own", "10", overrides={ann: [(1, None)]})
    ann.read_on()
    assert lines(ann) == ["1", "2", "3", "[4]", "5", "6", "7", "#4", "9", "10"]
    assert bob.lines() == ["1", "3", "5", "8", "own", "9", "own", "10"]


@pytest.mark.parametrize("room", range(30))
def test_what_differs_for_an_author_who_does_not_take_all_of_it_keeps_its_place(
    straight: SubscriberWorld, room: int
) -> None:
    ann, _ = straight.subscribers(2)
    ann.stop_reading(room)
    private = PrivateMessage(2, "bob", 1, "psst")
    edits = {ann: [(0, None), (2, Receipt(3)), (3, private), (5, None)]}
    straight.publish("own", "a", "own", private, "b", "own", overrides=edits)
    straight.publish("c")
    ann.read_on()
    assert ann.lines() == ["a", "#3", "[psst]", "b", "c"]
    straight.say(ann, "own", receipt=True)
    assert ann.lines() == ["#7"]


@pytest.mark.parametrize("room", range(45))
def test_an_answer_of_several_lines_that_waited_is_completed_wherever_it_was_cut(
    straight: SubscriberWorld, room: int
) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading()
    straight.publish("one")
    ann.answer("two", "three", "four")
    ann.answer("and", "so", "on")
    straight.publish("five")
    ann.answer("six")
    ann.read_on(room)
    straight.publish("seven")
    ann.answer("eight")
    ann.read_on()
    assert ann.lines() == ["one", "two", "three", "four", "and", "so", "on", "five", "six", "seven", "eight"]


def test_the_calls_to_catch_up_grow_with_what_was_missed_however_much_of_it_is_their_own(
    straight: SubscriberWorld,
) -> None:
    """Ten thousand own lines in one burst, and the same again: twice the work, not four times."""
    (ann,) = straight.subscribers(1)
    steps = []
    for count in (1000, 2000):
        looked = 0

        class Edits(list[Override]):
            """Counts the looks."""

            def __getitem__(self, at: SupportsIndex) -> Override:  # type: ignore[override]  # nobody slices it
                nonlocal looked
                looked += 1
                return super().__getitem__(at)

            def __iter__(self) -> Iterator[Override]:
                nonlocal looked
                for edit in super().__iter__():
                    looked += 1
                    yield edit

        ann.stop_reading()
        straight.publish("x", *["own"] * count, overrides={ann: Edits((at, None) for at in range(1, count + 1))})
        ann.read_on()
        assert ann.lines() == ["x"]
        steps.append(looked)
    assert steps[1] < 3 * steps[0]


def test_a_burst_of_nothing_but_own_lines_is_no_offer(straight: SubscriberWorld) -> None:
    (ann,) = straight.subscribers(1)
    straight.publish("a", "b", overrides={ann: [(0, None), (1, None)]})
    assert ann.writer.send.__self__.offers == 0  # type: ignore[attr-defined]
    straight.publish("c")
    assert ann.lines() == ["c"]


def test_who_lagged_before_they_listened_gets_what_they_were_shown_and_then_the_room(world: SubscriberWorld) -> None:
    ann = world.connect_subscriber()
    choke(ann)
    ann.answer("one", "two")
    world.publish("before")
    ann.answer("three")
    ann.subscriber.subscribe(world.encoder)
    world.publish("after")
    ann.read_on()
    assert lines(ann) == ["one", "two", "three", "after"]
    world.publish("and on")
    assert ann.lines() == ["and on"]


def test_who_lagged_and_does_not_listen_is_not_told_what_was_said(world: SubscriberWorld) -> None:
    ann = world.connect_subscriber()
    choke(ann)
    ann.answer("one")
    world.publish("before")
    ann.answer("two")
    ann.read_on()
    assert lines(ann) == ["one", "two"]
    assert not ann.subscriber.lagging


def test_the_view_may_be_changed_while_lagging(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    choke(ann)
    world.publish("one")
    ann.subscriber.subscribe(PlainEncoder(View(quiet=True)))
    ann.answer("quiet")
    world.publish(Joined(9, "zoe"), "two")
    world.say(ann, "own", receipt=True)
    ann.read_on()
    assert lines(ann) == ["one", "quiet", "two", "#3"]
    world.publish(Joined(9, "zoe"), "three")
    assert ann.lines() == ["three"]


# What the window has lost


def test_lines_that_the_window_has_lost_are_named(straight: SubscriberWorld) -> None:
    (ann,) = straight.subscribers(1)
    straight.publish("1", "2")
    ann.stop_reading()
    for number in range(3, 21):
        straight.publish(f"{number}")
    ann.read_on()
    assert ann.lines() == ["1", "2", "3", "missed 4-12", *(f"{number}" for number in range(13, 21))]


def test_a_second_time_is_a_second_notice(straight: SubscriberWorld) -> None:
    (ann,) = straight.subscribers(1)
    for _ in range(2):
        ann.stop_reading()
        for _ in range(20):
            straight.publish("x")
        ann.read_on()
    seen = ann.lines()
    assert [line for line in seen if line != "x"] == ["missed 2-12", "missed 22-32"]
    assert len(seen) == 20


def test_when_only_passing_events_are_lost_nothing_is_named(straight: SubscriberWorld) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading()
    straight.publish("1")
    for _ in range(20):
        straight.publish(Joined(9, "zoe"))
    straight.publish("2")
    ann.read_on()
    assert ann.lines() == ["1", *["+zoe"] * 7, "2"]


def test_answers_and_private_lines_stand_among_the_lost_lines(straight: SubscriberWorld) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading()
    straight.publish("1")
    straight.publish("2")
    ann.answer("answer")
    ann.answer("another")
    straight.publish(
        "3", PrivateMessage(2, "bob", 1, "psst"), overrides={ann: [(1, PrivateMessage(2, "bob", 1, "psst"))]}
    )
    for _ in range(4, 21):
        straight.publish("x")
    ann.read_on()
    assert ann.lines() == ["1", "missed 2-2", "answer", "another", "missed 3-3", "[psst]", "missed 4-12", *["x"] * 8]


@pytest.mark.parametrize("room", range(2, 20))
def test_a_notice_that_is_taken_in_part_is_completed(straight: SubscriberWorld, room: int) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading()
    for number in range(1, 21):
        straight.publish(f"{number}")
    ann.read_on(room)
    straight.publish("21")
    ann.read_on()
    seen = ann.lines()
    assert seen[:2] == ["1", "missed 2-12"]
    assert seen[2:] in (
        [f"{number}" for number in range(13, 22)],
        ["missed 13-13", *(f"{number}" for number in range(14, 22))],
    )


# What is for them alone


def test_past_so_much_that_is_for_them_alone_they_are_full(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    choke(ann)
    full = []
    for _ in range(3):
        ann.answer("y" * (DEFAULTS.private_queue_bytes // 2))
        full.append(ann.subscriber.congested)
    ann.answer("z")
    assert full[0] is False
    assert full[-1] is True
    relieved = [ann.writable_calls]
    ann.read_on()
    relieved.append(ann.writable_calls)
    assert not ann.subscriber.congested
    assert relieved == [0, 1]
    assert [line[:1] for line in lines(ann)] == ["y", "y", "y", "z"]


def test_many_tiny_ones_fill_them_too(world: SubscriberWorld) -> None:
    """Each takes more memory than its bytes."""
    (ann,) = world.subscribers(1)
    choke(ann)
    shown = 0
    while not ann.subscriber.congested:
        ann.answer("z")
        shown += 1
    assert shown <= DEFAULTS.private_queue_bytes // ITEM_OVERHEAD + 1
    ann.read_on()
    assert len(lines(ann)) == shown
    assert ann.subscriber._queued_bytes == 0


def test_what_everybody_is_told_makes_nobody_full(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    choke(ann)
    world.publish("x" * 1_000_000)
    world.publish("y" * 1_000_000)
    assert not ann.subscriber.congested


def test_who_was_not_full_is_not_relieved(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    choke(ann)
    ann.answer("one")
    ann.answer("two")
    ann.read_on()
    assert ann.writable_calls == 0


def test_receipts_and_private_lines_of_one_burst_may_fill_an_author_who_is_relieved_later(
    straight: SubscriberWorld,
) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading(10)
    private = [PrivateMessage(2, "bob", 1, f"{number} " + "x" * 4000) for number in range(20)]
    straight.publish(*private, overrides={ann: list(enumerate(private))})
    assert ann.subscriber.congested
    ann.read_on()
    assert ann.lines() == [f"[{number} " + "x" * 4000 + "]" for number in range(20)]
    assert ann.writable_calls == 1


# The end


def test_who_has_read_everything_is_finished_at_once(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    ann.answer("bye")
    ann.subscriber.close_when_drained()
    world.publish("too late")
    assert ann.lines() == ["bye"]
    assert ann.transport.finished


def test_who_lags_gets_everything_up_to_their_goodbye_and_is_finished_then(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    choke(ann)
    world.publish("one")
    ann.answer("bye")
    ann.subscriber.close_when_drained()
    world.publish("too late")
    finished = [ann.transport.finished]
    ann.read_on()
    finished.append(ann.transport.finished)
    assert lines(ann) == ["one", "bye"]
    assert finished == [False, True]
    assert not ann.transport.aborted


@pytest.mark.parametrize("goodbye", [(), ("bye",)])
def test_who_has_left_has_missed_nothing_of_what_came_afterwards(
    straight: SubscriberWorld, goodbye: Sequence[str]
) -> None:
    (ann,) = straight.subscribers(1)
    ann.stop_reading()
    straight.publish("1")
    straight.publish("2")
    straight.publish("3")
    ann.answer(*goodbye)
    ann.subscriber.close_when_drained()
    for _ in range(20):
        straight.publish("x")
    ann.read_on()
    assert ann.lines() == ["1", "missed 2-3", *goodbye]
    assert ann.transport.finished


def test_who_lags_and_leaves_has_ten_seconds_in_all(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    choke(ann)
    world.publish("one")
    ann.subscriber.close_when_drained()
    world.clock.advance(DEFAULTS.linger_seconds - 1)
    aborted = [ann.transport.aborted]
    world.clock.advance(1)
    aborted.append(ann.transport.aborted)
    assert aborted == [False, True]
    ann.subscriber.connection_lost()
    assert not world.clock.getDelayedCalls()


def test_who_never_listened_is_finished_too(world: SubscriberWorld) -> None:
    ann = world.connect_subscriber()
    choke(ann)
    ann.answer("sorry")
    ann.subscriber.close_when_drained()
    world.publish("hi")
    ann.read_on()
    assert lines(ann) == ["sorry"]
    assert ann.transport.finished


def test_a_lost_reader_is_told_nothing_and_holds_nothing(world: SubscriberWorld) -> None:
    ann, bob = world.subscribers(2)
    choke(ann)
    ann.answer("y" * DEFAULTS.private_queue_bytes)
    ann.answer("y" * DEFAULTS.private_queue_bytes)
    ann.subscriber.connection_lost()
    held = ann.held_bytes
    world.publish("hi", Announced("x"), overrides={ann: [(0, None)]})
    assert not ann.subscriber.congested
    assert ann.held_bytes == held
    assert ann.subscriber._queued_bytes == 0
    assert bob.lines() == ["hi"]


@pytest.mark.parametrize("kind", KINDS)
def test_many_who_lag_share_one_rendering(kind: Kind) -> None:
    world = SubscriberWorld(kind)
    listeners = world.subscribers(20)
    for client in listeners:
        choke(client)
    for _ in range(10):
        world.publish("a", "b")
    for client in listeners:
        client.read_on()
        assert lines(client) == ["a", "b"] * 10
    assert len([event for event in world.encoder.encoded if not isinstance(event, CommandReply)]) == 20
