"""A subscriber gets its stream whole, once and in order, however it reads; gap notices name exactly what it missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import SupportsIndex, TypeAlias

import pytest

from broadcast.core.events import Announced, Barrier, CommandReply, Joined, PrivateMessage, Receipt
from broadcast.core.interfaces import Override, View
from broadcast.core.limits import DEFAULTS
from broadcast.delivery.cursor import RUN_BATCHES, RUN_BYTES
from broadcast.delivery.private_queue import CHUNK_OVERHEAD
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.delivery.subscriber import LAZY_CHUNK_BYTES
from tests.delivery.subscribers import KINDS, Kind, PlainEncoder, SubscriberClient, SubscriberWorld
from tests.harness import ROOM_FOR_OUTPUT, SocketTransport

PRIVATE = PrivateMessage(2, "bob", 1, "psst")
Script: TypeAlias = Callable[[SubscriberWorld, SubscriberClient], object]


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> SubscriberWorld:
    """A fan-out with a writer of each kind, and a replay buffer of 8 events."""
    return SubscriberWorld(request.param, ReplayBuffer(max_events=8))


def direct_world() -> SubscriberWorld:
    """Return a world with a small buffer, where the writers send to sockets."""
    return SubscriberWorld("direct", ReplayBuffer(max_events=8))


@pytest.fixture
def direct() -> SubscriberWorld:
    """The same, for each test."""
    return direct_world()


def stop(client: SubscriberClient) -> None:
    """Let *client* stop reading, and its transport, if there is one, hold as much as it does."""
    client.stop_reading()
    if not client.world.direct:
        client.answer("x" * ROOM_FOR_OUTPUT)
        assert not client.subscriber.lagging


def lines(client: SubscriberClient) -> list[str]:
    """Return the lines that came, without those that ``stop`` had to send."""
    return [line for line in client.lines() if not line.startswith("xxx")]


def offers(client: SubscriberClient) -> int:
    """Return how often the socket was offered bytes."""
    assert isinstance(client.transport, SocketTransport)
    return client.transport.socket.offers


def encoding(texts: Sequence[str], log: list[str]) -> Iterator[bytes]:
    """Yield the lines of *texts*; each is in *log* once it was encoded."""
    for text in texts:
        log.append(text)
        yield f"{text}\n".encode()


# A subscriber that keeps up


def test_replies_and_batches_are_one_stream_from_subscription_on(world: SubscriberWorld) -> None:
    ann, quiet = world.connect_subscriber(), world.subscribe()
    world.publish("before")
    ann.answer("one")
    ann.subscriber.subscribe(world.encoder)
    quiet.subscriber.subscribe(PlainEncoder(View(quiet=True)))
    world.publish("two", Joined(9, "zoe"))
    ann.answer("three", "four")
    ann.subscriber.send_lazily(iter(()))
    ann.subscriber.send_lazily(encoding(["five", "six"], []))
    assert (ann.lines(), quiet.lines()) == (["one", "two", "+zoe", "three", "four", "five", "six"], ["before", "two"])
    assert (ann.subscriber.lagging, ann.subscriber.congested) == (False, False)


# A writer that accepts only a part


def batch(world: SubscriberWorld, ann: SubscriberClient) -> None:
    world.publish("one", Barrier(), "zwölf", Joined(9, "zoe"), "two")


def reply(world: SubscriberWorld, ann: SubscriberClient) -> None:
    ann.answer("one", "zwölf", "", "two")


def lazy_reply(world: SubscriberWorld, ann: SubscriberClient) -> None:
    ann.subscriber.send_lazily(encoding(["one", "zwölf", "", "two"], []))


def batch_with_overrides(world: SubscriberWorld, ann: SubscriberClient) -> None:
    overrides = [(0, None), (2, Receipt(3)), (3, PRIVATE), (5, None)]
    world.publish("own", "a", "own", PRIVATE, "b", "own", overrides={ann: overrides})


def batches_while_lagging(world: SubscriberWorld, ann: SubscriberClient) -> None:
    world.publish("one")
    world.publish(Barrier())
    world.say(ann, "own")
    world.publish("two", "own", "zwölf", "own", overrides={ann: [(1, None), (3, None)]})


def replies_while_lagging(world: SubscriberWorld, ann: SubscriberClient) -> None:
    world.publish("one")
    ann.answer("two", "three")
    ann.answer("and")
    world.publish("four")
    ann.answer("five")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (batch, ["one", "zwölf", "+zoe", "two"]),
        (reply, ["one", "zwölf", "", "two"]),
        (lazy_reply, ["one", "zwölf", "", "two"]),
        (batch_with_overrides, ["a", "#3", "[psst]", "b"]),
        (batches_while_lagging, ["one", "two", "zwölf"]),
        (replies_while_lagging, ["one", "two", "three", "and", "four", "five"]),
    ],
)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "on draining"])
def test_stream_continues_wherever_it_was_cut(script: Script, expected: list[str], later: bool) -> None:
    for room in range(36):
        world = direct_world()
        (ann,) = world.subscribers(1)
        ann.stop_reading(0 if later else room)
        script(world, ann)
        if later:
            ann.read_on(room)
        world.publish("then")
        ann.answer("at last")
        ann.read_on()
        assert ann.lines() == [*expected, "then", "at last"], room
        world.publish("current")
        assert ann.lines() == ["current"]
        assert ann.subscriber._queue.size == 0


def test_lagging_subscriber_holds_the_rest_of_one_event_and_is_offered_nothing(direct: SubscriberWorld) -> None:
    ann, bob = direct.subscribers(2)
    ann.stop_reading(3)
    direct.publish("x" * 50, "y" * 5000)
    for _ in range(4):
        direct.publish("z" * 5000)
    assert ann.held_bytes == 51 - 3
    assert (offers(ann), offers(bob)) == (1, 5)


def test_lagging_subscriber_is_not_congested_by_what_all_are_sent(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    stop(ann)
    world.publish("x" * 1_000_000)
    world.publish("y" * 1_000_000)
    assert not ann.subscriber.congested


# Catching up


def test_runs_are_large_and_hold_whole_events() -> None:
    world = SubscriberWorld("direct")
    (ann,) = world.subscribers(1)
    ann.stop_reading()
    texts = ["first", *(f"{number:9}" for number in range(20_000)), "x" * 3 * RUN_BYTES, "last"]
    world.publish(*texts)
    before = offers(ann)
    ann.read_on()
    assert ann.lines() == texts
    assert offers(ann) - before <= 200_000 // RUN_BYTES + 6


def test_small_batches_are_joined_up_to_a_private_chunk() -> None:
    world = SubscriberWorld("direct")
    (ann,) = world.subscribers(1)
    ann.stop_reading()
    for number in range(1000):
        world.publish(f"{number}")
    ann.answer("reply")
    world.publish("a")
    world.publish("b")
    before = offers(ann)
    ann.read_on()
    assert ann.lines() == [*(f"{number}" for number in range(1000)), "reply", "a", "b"]
    runs = 1000 // RUN_BATCHES
    assert runs + 2 <= offers(ann) - before <= runs + 4


def test_work_of_catching_up_grows_with_overrides_not_with_their_square(direct: SubscriberWorld) -> None:
    (ann,) = direct.subscribers(1)
    work = []
    for count in (1000, 2000):
        looks = 0

        class Overrides(list[Override]):
            """Counts the looks at its items."""

            def __getitem__(self, index: SupportsIndex) -> Override:  # type: ignore[override]  # nobody slices it
                nonlocal looks
                looks += 1
                return super().__getitem__(index)

            def __iter__(self) -> Iterator[Override]:
                nonlocal looks
                for override in super().__iter__():
                    looks += 1
                    yield override

        ann.stop_reading()
        direct.publish(
            "x", *["own"] * count, overrides={ann: Overrides((index, None) for index in range(1, count + 1))}
        )
        ann.read_on()
        assert ann.lines() == ["x"]
        work.append(looks)
    assert work[1] < 3 * work[0]


@pytest.mark.parametrize("kind", KINDS)
def test_lagging_subscribers_share_one_encoded_batch(kind: Kind) -> None:
    world = SubscriberWorld(kind)
    listeners = world.subscribers(20)
    for client in listeners:
        stop(client)
    for _ in range(10):
        world.publish("a", "b")
    for client in listeners:
        client.read_on()
        assert lines(client) == ["a", "b"] * 10
    assert len([event for event in world.encoder.encoded if not isinstance(event, CommandReply)]) == 20


def test_private_chunks_keep_their_place_among_the_events(world: SubscriberWorld) -> None:
    ann, bob = world.subscribers(2)
    stop(ann)
    world.publish("1")
    ann.answer("2")
    world.publish("3", PRIVATE, "4", overrides={ann: [(1, PRIVATE)]})
    ann.answer("5", "6")
    world.say(ann, "7", receipt=True)
    world.say(ann, "own")
    world.publish("8", "own", "9", overrides={ann: [(1, None)]})
    ann.read_on()
    assert lines(ann) == ["1", "2", "3", "[psst]", "4", "5", "6", "#4", "8", "9"]
    assert bob.lines() == ["1", "3", "4", "7", "own", "8", "own", "9"]


def test_view_can_change_while_lagging(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    stop(ann)
    world.publish("one")
    ann.subscriber.subscribe(PlainEncoder(View(quiet=True)))
    ann.answer("quiet")
    world.publish(Joined(9, "zoe"), "two")
    world.say(ann, "own", receipt=True)
    ann.read_on()
    world.publish(Joined(9, "zoe"), "three")
    assert lines(ann) == ["one", "quiet", "two", "#3", "three"]


@pytest.mark.parametrize("subscribes", [False, True])
def test_peer_that_lags_before_it_subscribes_gets_replies_and_then_the_room(
    world: SubscriberWorld, subscribes: bool
) -> None:
    ann = world.connect_subscriber()
    stop(ann)
    ann.answer("one", "two")
    world.publish("before")
    ann.answer("three")
    if subscribes:
        ann.subscriber.subscribe(world.encoder)
    world.publish("after")
    ann.read_on()
    world.publish("and on")
    assert lines(ann) == ["one", "two", "three", *(["after", "and on"] if subscribes else [])]
    assert not ann.subscriber.lagging


# Lazy replies


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("lags", [False, True])
def test_lazy_reply_is_encoded_when_the_pieces_before_it_were_accepted(
    world: SubscriberWorld, reads: bool, lags: bool
) -> None:
    (ann,) = world.subscribers(1)
    if not reads:
        stop(ann)
    if lags:
        ann.answer("x" * 100)
    log: list[str] = []
    texts = [f"{number:1000}" for number in range(600)]
    ann.subscriber.send_lazily(encoding(texts, log))
    world.publish("after")
    if not reads:
        assert len(log) < 2 * LAZY_CHUNK_BYTES // 1000 + 2
        assert ann.held_bytes < 4 * LAZY_CHUNK_BYTES + ROOM_FOR_OUTPUT * (not world.direct) * 2
    ann.answer("reply")
    ann.read_on()
    assert log == texts
    assert lines(ann) == [*texts, "after", "reply"]
    assert (ann.subscriber.lagging, ann.subscriber._queue.size) == (False, 0)


def test_short_lazy_reply_is_one_offer(direct: SubscriberWorld) -> None:
    (ann,) = direct.subscribers(1)
    ann.subscriber.send_lazily(encoding([f"{number:100}" for number in range(20)], []))
    assert offers(ann) == 1


@pytest.mark.parametrize("room", [0, 1, 150, 5000, 9000])
def test_long_lazy_reply_keeps_its_place_however_it_is_read(direct: SubscriberWorld, room: int) -> None:
    (ann,) = direct.subscribers(1)
    ann.stop_reading(room)
    texts = [f"{number:100}" for number in range(100)]
    ann.subscriber.send_lazily(encoding(texts, []))
    direct.publish("after")
    for _ in range(10):
        ann.read_on(1777)
    ann.read_on()
    assert ann.lines() == [*texts, "after"]


# Gaps


def test_gap_names_the_messages_that_the_replay_buffer_dropped(direct: SubscriberWorld) -> None:
    (ann,) = direct.subscribers(1)
    for first in (1, 21):
        ann.stop_reading()
        for number in range(first, first + 20):
            direct.publish(f"{number}")
        ann.read_on()
        kept = [f"{number}" for number in range(first + 12, first + 20)]
        assert ann.lines() == [f"{first}", f"missed {first + 1}-{first + 11}", *kept]


def test_gap_of_transient_events_only_is_silent(direct: SubscriberWorld) -> None:
    (ann,) = direct.subscribers(1)
    ann.stop_reading()
    direct.publish("1")
    for _ in range(20):
        direct.publish(Joined(9, "zoe"))
    direct.publish("2")
    ann.read_on()
    assert ann.lines() == ["1", *["+zoe"] * 7, "2"]


def test_private_chunks_stand_between_the_gaps(direct: SubscriberWorld) -> None:
    (ann,) = direct.subscribers(1)
    ann.stop_reading()
    direct.publish("1")
    direct.publish("2")
    ann.answer("reply")
    ann.answer("another")
    direct.publish("3", PRIVATE, overrides={ann: [(1, PRIVATE)]})
    for _ in range(4, 21):
        direct.publish("x")
    ann.read_on()
    assert ann.lines() == ["1", "missed 2-2", "reply", "another", "missed 3-3", "[psst]", "missed 4-12", *["x"] * 8]


@pytest.mark.parametrize("room", range(2, 20))
def test_gap_notice_that_is_cut_is_completed(direct: SubscriberWorld, room: int) -> None:
    (ann,) = direct.subscribers(1)
    ann.stop_reading()
    for number in range(1, 21):
        direct.publish(f"{number}")
    ann.read_on(room)
    direct.publish("21")
    ann.read_on()
    seen = ann.lines()
    assert seen[:2] == ["1", "missed 2-12"]
    complete = [f"{number}" for number in range(13, 22)]
    assert seen[2:] in (complete, ["missed 13-13", *complete[1:]])


# Congestion


def test_full_private_queue_is_congested_until_it_is_sent(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    stop(ann)
    ann.answer("a")
    ann.answer("b")
    ann.read_on()
    assert (ann.subscriber.congested, ann.writable_calls) == (False, 0)
    stop(ann)
    congested = []
    for _ in range(3):
        ann.answer("y" * (DEFAULTS.private_queue_bytes // 2))
        congested.append(ann.subscriber.congested)
    ann.answer("z")
    assert (congested[0], congested[-1], ann.writable_calls) == (False, True, 0)
    ann.read_on()
    assert (ann.subscriber.congested, ann.writable_calls) == (False, 1)
    assert [line[:1] for line in lines(ann)] == ["a", "b", "y", "y", "y", "z"]


def test_tiny_replies_congest_by_their_memory(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    stop(ann)
    count = 0
    while not ann.subscriber.congested:
        ann.answer("z")
        count += 1
    assert count <= DEFAULTS.private_queue_bytes // CHUNK_OVERHEAD + 1
    ann.read_on()
    assert (len(lines(ann)), ann.subscriber._queue.size) == (count, 0)


def test_overrides_of_one_batch_can_congest_their_author(direct: SubscriberWorld) -> None:
    (ann,) = direct.subscribers(1)
    ann.stop_reading(10)
    private = [PrivateMessage(2, "bob", 1, f"{number} " + "x" * 4000) for number in range(20)]
    direct.publish(*private, overrides={ann: list(enumerate(private))})
    assert ann.subscriber.congested
    ann.read_on()
    assert ann.lines() == [f"[{event.text}]" for event in private]
    assert ann.writable_calls == 1


# The end


@pytest.mark.parametrize("subscribed", [True, False])
@pytest.mark.parametrize("lags", [False, True])
def test_closing_sends_everything_up_to_it(world: SubscriberWorld, subscribed: bool, lags: bool) -> None:
    ann = world.subscribe() if subscribed else world.connect_subscriber()
    if lags:
        stop(ann)
    world.publish("one")
    ann.answer("bye")
    ann.close()
    world.publish("too late")
    assert ann.transport.finished is not lags
    ann.read_on()
    assert lines(ann) == [*(["one"] if subscribed else []), "bye"]
    assert (ann.transport.finished, ann.transport.aborted) == (True, False)


@pytest.mark.parametrize("goodbye", [(), ("bye",)])
def test_gap_ends_where_the_subscription_ended(direct: SubscriberWorld, goodbye: Sequence[str]) -> None:
    (ann,) = direct.subscribers(1)
    ann.stop_reading()
    for text in "123":
        direct.publish(text)
    ann.answer(*goodbye)
    ann.close()
    for _ in range(20):
        direct.publish("x")
    ann.read_on()
    assert ann.lines() == ["1", "missed 2-3", *goodbye]
    assert ann.transport.finished


def test_closing_a_lagging_subscriber_aborts_after_the_linger_time(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    stop(ann)
    world.publish("one")
    ann.close()
    aborted = []
    for seconds in (DEFAULTS.linger_seconds - 1, 1):
        world.clock.advance(seconds)
        aborted.append(ann.transport.aborted)
    assert aborted == [False, True]
    ann.lose()
    assert not world.clock.getDelayedCalls()


def test_lost_subscriber_holds_nothing_and_is_sent_nothing(world: SubscriberWorld) -> None:
    ann, bob = world.subscribers(2)
    stop(ann)
    ann.answer("y" * DEFAULTS.private_queue_bytes)
    ann.answer("y" * DEFAULTS.private_queue_bytes)
    ann.lose()
    held = ann.held_bytes
    world.publish("hi", Announced("x"), overrides={ann: [(0, None)]})
    assert (ann.subscriber.congested, ann.held_bytes, ann.subscriber._queue.size) == (False, held, 0)
    assert bob.lines() == ["hi"]
