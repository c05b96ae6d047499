"""Each batch is encoded once per view and offered once to each subscriber, which receives exactly its own stream."""

from __future__ import annotations

import errno
import gc
import os
import sys
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import TypeAlias

import pytest

from broadcast.core.events import Barrier, CommandReply, Joined, Message, PrivateMessage, Receipt, StoreFailed
from broadcast.core.interfaces import Batch, Callback, Override, Publisher, View
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.cursor import RUN_BYTES
from broadcast.delivery.fanout import SENDS_PER_SLICE, SLICE_BYTES, Fanout
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.delivery.subscriber import Subscriber
from tests.delivery.subscribers import KINDS, Kind, PlainEncoder, SubscriberClient, SubscriberWorld
from tests.harness import SocketTransport
from tests.sockets import FakeSocket

_publisher: type[Publisher] = Fanout

Overrides: TypeAlias = Mapping[SubscriberClient, Sequence[Override]]

BATCHES = 10_000 if os.environ.get("BROADCAST_LONG") else 1_500
"""Number of batches that are published to subscribers that read nothing."""


def socket_of(client: SubscriberClient) -> FakeSocket:
    assert isinstance(client.transport, SocketTransport)
    return client.transport.socket


def slow_subscribers(world: SubscriberWorld, count: int) -> list[SubscriberClient]:
    """Return *count* subscribers, of whom each turn of the reactor serves one slice."""
    clients = world.subscribers(count)
    world.tick = SLICE_SECONDS
    return clients


def reached(clients: Sequence[SubscriberClient]) -> int:
    """Return how many of *clients* have been sent anything."""
    return sum(bool(client.transport.sent) for client in clients)


def half_delivered(
    world: SubscriberWorld, *, authors: bool = False
) -> tuple[list[SubscriberClient], list[SubscriberClient]]:
    """Deliver "a", "x" and "b" to some subscribers. Return these, and those that have not received the batch yet.

    Each of *authors* has an override: the second event is the receipt "#2". There are at least five of either group.
    """
    clients = slow_subscribers(world, 10 if authors else 2 * SENDS_PER_SLICE)
    world.publish("a", "x", "b", overrides={client: [(1, Receipt(2))] for client in clients if authors})
    world.until(lambda: reached(clients) >= 5)
    assert not world.delivered
    received = [client for client in clients if client.transport.sent]
    return received, [client for client in clients if client not in received]


@pytest.fixture
def world() -> SubscriberWorld:
    """A fan-out that sends to the sockets directly."""
    return SubscriberWorld()


@pytest.fixture(params=KINDS)
def each_world(request: pytest.FixtureRequest) -> SubscriberWorld:
    """A fan-out with writers of each kind."""
    return SubscriberWorld(request.param)


# Encoding and overrides


def test_batch_is_encoded_once_per_view_and_sent_as_one_object(
    world: SubscriberWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers: list[bytes] = []

    def send(_self: FakeSocket, data: bytes) -> int:
        offers.append(data)
        return len(data)

    monkeypatch.setattr(FakeSocket, "send", send)
    encoders = [PlainEncoder(), PlainEncoder(View(quiet=True))]
    for number in range(6):
        world.subscribe(encoders[number % 2])
    world.publish("a", Joined(9, "zoe"))
    assert sorted(offers) == [b"a\n"] * 3 + [b"a\n+zoe\n"] * 3
    assert len({id(offer) for offer in offers}) == 2
    assert [len(encoder.encoded) for encoder in encoders] == [2, 2]


def test_overrides_change_the_batch_for_their_subscriber_alone(each_world: SubscriberWorld) -> None:
    clients = each_world.subscribers(6)
    psst, failed = PrivateMessage(9, "zoe", 0, "psst"), StoreFailed(Message(1, "ann", "x", 0.0), "full")
    overrides: Overrides = {
        clients[0]: [(0, None)],
        clients[1]: [(1, Receipt(7))],
        clients[2]: [(2, None), (3, psst)],
        clients[3]: [(0, Receipt(1)), (1, None), (2, Receipt(3))],
        clients[4]: [(0, None), (2, CommandReply("x")), (4, CommandReply("failed"))],
        each_world.connect_subscriber(): [(0, None)],  # has not subscribed
    }
    each_world.publish("a", "b", "c", psst, failed, Barrier(), overrides=overrides)
    streams = ["".join(client.lines()) for client in clients]
    assert streams == ["bc", "a#7c", "ab[psst]", "#1#3", "bxfailed", "abc"], "private events show only by override"


def test_subscriber_without_visible_events_is_offered_nothing(world: SubscriberWorld) -> None:
    ann, bob = world.subscribers(2)
    world.publish(Barrier(), "a", overrides={ann: [(1, None)]})
    world.publish(Barrier())
    assert (socket_of(ann).offers, socket_of(bob).offers) == (0, 1)
    assert world.delivered == 2


# Cost


def calls(world: SubscriberWorld, *texts: str, overrides: Overrides | None = None) -> int:
    """Publish *texts*. Return the number of calls to functions of the server."""
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


def test_batch_costs_one_send_and_no_other_call_per_subscriber(world: SubscriberWorld) -> None:
    clients = world.subscribers(100)
    few = calls(world, *"abc")
    clients += world.subscribers(900)
    many = calls(world, *"abc")
    assert many - few <= 5 * (900 // SENDS_PER_SLICE + 1), "calls per slice, not per subscriber"
    assert [socket_of(client).offers for client in clients] == [2] * 100 + [1] * 900


def test_calls_grow_with_events_and_with_authors_not_with_their_product(world: SubscriberWorld) -> None:
    clients = world.subscribers(500)
    assert calls(world, *["x"] * 1000) <= 4 * 1000
    overrides: Overrides = {client: [(index, None)] for index, client in enumerate(clients)}
    assert calls(world, *["x"] * 500, overrides=overrides) <= 4 * 500 + 20 * 500
    assert [socket_of(client).offers for client in clients] == [2] * 500


def test_lagging_subscribers_cost_no_send_and_no_call(world: SubscriberWorld) -> None:
    ann, bob = world.subscribers(2)
    bob.stop_reading()
    world.publish("0")
    few = calls(world, "a")
    lagging = world.subscribers(1000)
    for client in lagging:
        client.stop_reading()
    world.publish("b")
    assert calls(world, "c") <= few
    assert [socket_of(client).offers for client in lagging] == [1] * 1000
    assert ann.lines() == ["0", "a", "b", "c"]


def test_author_of_thousands_of_lines_gets_one_offer(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)
    overrides: Overrides = {ann: [(index, Receipt(index + 1)) for index in range(0, 3000, 2)]}
    world.publish(*map(str, range(3000)), overrides=overrides)
    assert ann.lines() == [f"{index}" if index % 2 else f"#{index + 1}" for index in range(3000)]
    assert socket_of(ann).offers == 1


@pytest.mark.parametrize("kind", KINDS)
def test_thousand_subscribers_that_read_nothing_take_no_more_memory(kind: Kind) -> None:
    """Once the replay buffer is full, memory does not grow. Each batch has ten lines."""
    world = SubscriberWorld(kind, ReplayBuffer(max_events=1000))
    clients = world.subscribers(1000)
    (ann,) = world.subscribers(1)
    for client in clients:
        client.stop_reading()

    def memory_after(batches: int) -> int:
        for number in range(batches):
            world.publish(*(f"{number} {line}" + "x" * 50 for line in range(10)))
            world.encoder.encoded.clear()
            ann.transport.sent.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    filling = 200 if kind == "direct" else 310  # a transport accepts 110 batches before it pauses the writer
    tracemalloc.start()
    try:
        full = memory_after(filling)
        end = memory_after(BATCHES - filling)
    finally:
        tracemalloc.stop()
    assert end - full < 52 * BATCHES
    assert all(client.held_bytes <= (64 if kind == "direct" else 68 * 1024) for client in clients)


# Broken sockets


@pytest.mark.parametrize("code", [errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.ENOBUFS])
@pytest.mark.parametrize("author", [False, True])
def test_broken_socket_affects_no_other_subscriber(world: SubscriberWorld, code: int, author: bool) -> None:
    clients = world.subscribers(5)
    broken = clients.pop(2)
    socket_of(broken).fault = OSError(code, "broken")
    world.publish("a", "b", overrides={broken: [(0, Receipt(1))]} if author else {})
    world.publish("c")
    assert [client.lines() for client in clients] == [["a", "b", "c"]] * 4
    assert socket_of(broken).offers == 1
    if code == errno.ECONNRESET:
        assert broken.transport.aborted, "the system reports the reset only once"
    else:
        # The transport has something to send, and so notices the error.
        assert not broken.transport.aborted
        assert bytes(broken.transport.held) == (b"#1\n" if author else b"a\n")
    broken.lose()
    world.publish("d")
    assert [client.lines() for client in clients] == [["d"]] * 4


# Time slices


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("subscribers", "views", "text", "expected"),
    [
        (
            3 * SENDS_PER_SLICE + 5,
            1,
            "a",
            [SENDS_PER_SLICE, 2 * SENDS_PER_SLICE, 3 * SENDS_PER_SLICE, *[3 * SENDS_PER_SLICE + 5] * 2],
        ),
        (10, 10, "a", [*range(1, 11), 10]),
        (9, 1, "x" * (SLICE_BYTES // 4), [3, 6, 9, 9]),
    ],
    ids=["many subscribers", "many views", "large batch"],
)
def test_delivery_yields_to_the_reactor_after_each_slice(
    kind: Kind, subscribers: int, views: int, text: str, expected: list[int]
) -> None:
    world = SubscriberWorld(kind)
    encoders = [PlainEncoder() for _ in range(views)]
    clients = [world.subscribe(encoders[number % views]) for number in range(subscribers)]
    world.tick = SLICE_SECONDS
    world.publish(text)
    counts = [reached(clients)]
    while not world.delivered:
        assert world.turn()
        counts.append(reached(clients))
    assert counts == expected
    if text == "a":  # a transport accepts less than the whole large batch
        assert [client.lines() for client in clients] == [["a"]] * subscribers
    assert world.delivered == 1


def test_delivery_to_few_subscribers_takes_one_turn(each_world: SubscriberWorld) -> None:
    each_world.subscribers(2 * SENDS_PER_SLICE)
    each_world.publish("a")
    assert each_world.delivered == 1
    assert not each_world._soon, "the delivery uses no other turn"


def test_authors_are_served_first_and_one_per_slice(each_world: SubscriberWorld) -> None:
    clients = slow_subscribers(each_world, 3)
    each_world.publish("a", "b", overrides={clients[2]: [(0, None)], clients[0]: [(1, Receipt(2))]})
    assert [bool(client.transport.sent) for client in clients] in ([True, False, False], [False, False, True])
    each_world.turn()
    assert [bool(client.transport.sent) for client in clients] == [True, False, True]
    each_world.settle()
    each_world.publish("c")
    each_world.settle()
    assert [client.lines() for client in clients] == [["a", "#2", "c"], ["a", "b", "c"], ["b", "c"]]


@pytest.mark.parametrize("authors", [False, True])
def test_changes_between_slices_lose_and_repeat_nothing(each_world: SubscriberWorld, authors: bool) -> None:
    received, pending = half_delivered(each_world, authors=authors)
    newcomer = each_world.subscribe()
    quiet = PlainEncoder(View(quiet=True))
    for _unchanged, replied, closed, quieted, lost in (received[:5], pending[:5]):
        replied.answer("reply")
        closed.close()
        quieted.subscriber.subscribe(quiet)
        quieted.answer("quiet")
        lost.lose()
    each_world.settle()
    each_world.publish(Joined(9, "zoe"), "c")
    each_world.settle()
    batch = ["a", "#2" if authors else "x", "b"]
    assert [client.lines() for client in received[:5]] == [
        [*batch, "+zoe", "c"],
        [*batch, "reply", "+zoe", "c"],
        batch,
        [*batch, "quiet", "c"],
        batch,
    ]
    assert [client.lines() for client in pending[:5]] == [
        [*batch, "+zoe", "c"],
        ["reply", *batch, "+zoe", "c"],
        batch,
        [*batch, "quiet", "c"],
        [],
    ]
    assert newcomer.lines() == ["+zoe", "c"]
    assert pending[2].transport.finished
    assert each_world.delivered == 2


@pytest.mark.parametrize("authors", [False, True])
@pytest.mark.parametrize("room", range(12))
def test_pending_subscriber_that_stops_reading_gets_all_in_order(
    world: SubscriberWorld, room: int, authors: bool
) -> None:
    clients = replied, closed, unchanged = half_delivered(world, authors=authors)[1][:3]
    for client in clients:
        client.stop_reading(room)
    replied.answer("one", "two")
    closed.close()
    world.settle()
    world.publish("c")
    world.settle()
    for client in clients:
        client.read_on()
    world.settle()
    batch = ["a", "#2" if authors else "x", "b"]
    assert replied.lines() == ["one", "two", *batch, "c"]
    assert closed.lines() == batch
    assert closed.transport.finished
    assert unchanged.lines() == [*batch, "c"]


@pytest.mark.parametrize(
    ("later", "expected"),
    [("", ["a", "x", "b"]), ("c", ["missed 1-3", "c"]), ("cde", ["missed 1-4", "d", "e"])],
)
def test_pending_subscriber_reads_which_lines_the_buffer_has_dropped(later: str, expected: list[str]) -> None:
    world = SubscriberWorld("direct", ReplayBuffer(max_events=2))
    client = half_delivered(world)[1][0]
    client.stop_reading()
    client.answer("one", "two")
    world.settle()
    for text in later:
        world.publish(text)
        world.settle()
    client.read_on()
    world.settle()
    assert client.lines() == ["one", "two", *expected]


def test_delivery_ends_when_all_pending_subscribers_are_lost(each_world: SubscriberWorld) -> None:
    for client in half_delivered(each_world)[1]:
        client.lose()
    each_world.settle()
    assert each_world.delivered == 1


def test_subscriber_that_catches_up_between_slices_gets_the_batch_once(world: SubscriberWorld) -> None:
    clients = world.subscribers(2 * SENDS_PER_SLICE)
    ends = clients[-1], clients[0]  # the delivery begins at one of them
    for client in ends:
        client.stop_reading()
    world.publish("a")
    world.tick = SLICE_SECONDS
    world.publish("b")
    for client in ends:
        client.read_on()
    world.settle()
    world.publish("c")
    world.settle()
    assert [client.lines() for client in ends] == [["a", "b", "c"]] * 2


# Callbacks, steps and errors


def test_callbacks_of_a_batch_yield_to_the_reactor_after_each(world: SubscriberWorld) -> None:
    slow_subscribers(world, 1)
    called: list[int] = []
    world.fanout.publish(Batch([Barrier()], {}), (partial(called.append, number) for number in range(3)))
    counts = [len(called)]
    while world.turn():
        counts.append(len(called))
    assert counts[:3] == [1, 2, 3]


def test_last_callback_may_publish_the_next_batch(world: SubscriberWorld) -> None:
    (ann,) = world.subscribers(1)

    def callbacks() -> Iterator[Callback]:
        yield lambda: None
        world.fanout.publish(Batch([Message(0, "eve", "b", 0.0, 2)], {}), iter([]))

    world.fanout.publish(Batch([Message(0, "eve", "a", 0.0, 1)], {}), callbacks())
    world.settle()
    assert ann.lines() == ["a", "b"]


def test_callback_that_fails_stops_no_other_callback(world: SubscriberWorld) -> None:
    called: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.fanout.publish(Batch([Barrier()], {}), iter([fail, lambda: called.append("next")]))
    world.settle()
    world.fanout.publish(Batch([Barrier()], {}), iter([lambda: called.append("next batch")]))
    assert called == ["next", "next batch"]


def test_subscriber_that_fails_withholds_the_batch_from_no_other(
    world: SubscriberWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = world.subscribers(2)
    overrides: Overrides = {ann: [(0, Receipt(1))]}
    with monkeypatch.context() as patched:
        patched.setattr(Subscriber, "send_batch", lambda *_arguments: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            world.publish("a", overrides=overrides)
        world.settle()
    world.publish("b", overrides=overrides)
    assert bob.lines() == ["a", "b"]
    assert world.delivered == 2


def test_subscribers_that_catch_up_take_turns_and_yield_to_the_reactor(world: SubscriberWorld) -> None:
    clients = world.subscribers(3)
    for client in clients:
        client.stop_reading()
    text = "x" * RUN_BYTES
    for _ in range(4):
        world.publish(text)
    world.tick = SLICE_SECONDS
    for client in clients:
        client.read_on()
    runs = []
    while True:
        runs.append([len(client.transport.sent) // RUN_BYTES for client in clients])
        if not world.turn():
            break
    assert runs[:5] == [[2, 1, 1], [3, 1, 1], [3, 2, 1], [3, 2, 2], [4, 2, 2]]
    assert [client.lines() for client in clients] == [[text] * 4] * 3
    assert not any(client.subscriber.lagging for client in clients)


# Memory and counters


def test_overrides_are_held_only_for_subscribers_that_still_need_them(each_world: SubscriberWorld) -> None:
    """Otherwise 500 people who ignore somebody who floods would take hundreds of megabytes."""
    clients = each_world.subscribers(3)
    carol = clients[2]
    carol.stop_reading()
    buffer = each_world.fanout.replay_buffer
    held: list[set[int]] = []
    for text in ("one", "two"):
        each_world.publish(text, overrides={client: [(0, None)] for client in clients})
        each_world.settle()
        (batch,) = buffer.from_offset(buffer.end - 1, 1)
        held.append(set(batch.overrides))
        each_world.publish("x" * 200_000)  # more than a transport accepts
        each_world.settle()
    assert held == [set(), {carol.subscriber.session}], "at first nobody lags"
    carol.read_on()
    each_world.settle()
    assert carol.lines() == ["x" * 200_000] * 2


def test_deliveries_and_sent_bytes_are_counted_per_subscriber(each_world: SubscriberWorld) -> None:
    clients = each_world.subscribers(3)
    quiet = each_world.subscribe(PlainEncoder(View(quiet=True)))
    psst = PrivateMessage(9, "zoe", 0, "psst")
    overrides: Overrides = {clients[0]: [(0, Receipt(1)), (1, psst), (3, None)]}
    each_world.publish("a", psst, Joined(9, "zoe"), "b", Barrier(), overrides=overrides)
    # The author of both lines accepts one event, two subscribers all three, and one does not show joins.
    assert each_world.dispatcher.deliveries == 1 + 3 + 3 + 2
    each_world.publish("c")
    assert each_world.dispatcher.deliveries == 9 + 4
    clients[1].answer("answer", "another")
    assert each_world.dispatcher.sent_bytes == sum(len(client.transport.sent) for client in [*clients, quiet])
    assert (each_world.dispatcher.lagging_count, each_world.dispatcher.missed_messages) == (0, 0)


@pytest.mark.parametrize("room", range(0, 30, 3))
def test_sent_bytes_are_counted_once_however_few_are_read_at_a_time(world: SubscriberWorld, room: int) -> None:
    ann, bob = world.subscribers(2)
    ann.stop_reading(room)
    world.publish("one", "two", overrides={bob: [(0, None)]})
    ann.answer("three", "four")
    world.publish("five", "six", overrides={ann: [(1, Receipt(6))]})
    assert world.dispatcher.lagging_count == (1 if room < 27 else 0)
    while world.dispatcher.lagging_count:
        ann.read_on(1)
    assert ann.lines() == ["one", "two", "three", "four", "five", "#6"]
    assert bob.lines() == ["two", "five", "six"]
    assert world.dispatcher.sent_bytes == len("one\ntwo\nthree\nfour\nfive\n#6\n" + "two\nfive\nsix\n")


def test_missed_messages_are_counted_for_each_subscriber() -> None:
    world = SubscriberWorld("direct", ReplayBuffer(max_events=3))
    ann, bob, eve = world.subscribers(3)
    for lagging in (ann, bob):
        lagging.stop_reading()
    for number in range(1, 8):
        world.publish(str(number))
    assert (world.dispatcher.lagging_count, world.dispatcher.missed_messages) == (2, 0)
    for lagging in (ann, bob):
        lagging.read_on()
    assert ann.lines() == bob.lines() == ["1", "missed 2-4", "5", "6", "7"]
    assert (world.dispatcher.lagging_count, world.dispatcher.missed_messages) == (0, 6)
    assert len(eve.lines()) == 7
