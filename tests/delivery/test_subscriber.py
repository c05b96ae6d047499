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
from tests.harness import ROOM_FOR_OUTPUT, SocketTransport
from tests.listeners import KINDS, Hall, Kind, Listener, PlainWire

PRIVATE = PrivateMessage(2, "bob", 1, "psst")
Script: TypeAlias = Callable[[Hall, Listener], object]


@pytest.fixture(params=KINDS)
def hall(request: pytest.FixtureRequest) -> Hall:
    """A fan-out with a writer of each kind, and a replay buffer of 8 events."""
    return Hall(request.param, ReplayBuffer(max_events=8))


@pytest.fixture
def direct() -> Hall:
    """The same, where the writers send to sockets."""
    return Hall("direct", ReplayBuffer(max_events=8))


def stop(listener: Listener) -> None:
    """Let *listener* stop reading, and its transport, if there is one, hold as much as it does."""
    listener.stop()
    if listener.hall.kind == "transport":
        listener.show("x" * ROOM_FOR_OUTPUT)
        assert not listener.reader.lagging


def lines(listener: Listener) -> list[str]:
    """Return the lines that came, without those that ``stop`` had to send."""
    return [line for line in listener.lines() if not line.startswith("xxx")]


def offers(listener: Listener) -> int:
    """Return how often the socket was offered bytes."""
    assert isinstance(listener.transport, SocketTransport)
    return listener.transport.socket.offers


def encoding(texts: Sequence[str], log: list[str]) -> Iterator[bytes]:
    """Yield the lines of *texts*; each is in *log* once it was encoded."""
    for text in texts:
        log.append(text)
        yield f"{text}\n".encode()


# A subscriber that keeps up


def test_replies_and_batches_are_one_stream_from_subscription_on(hall: Hall) -> None:
    ann, quiet = hall.connect(), hall.listener()
    hall.tell("before")
    ann.show("one")
    ann.reader.subscribe(hall.wire)
    quiet.reader.subscribe(PlainWire(View(quiet=True)))
    hall.tell("two", Joined(9, "zoe"))
    ann.show("three", "four")
    ann.reader.send_lazily(iter(()))
    ann.reader.send_lazily(encoding(["five", "six"], []))
    assert (ann.lines(), quiet.lines()) == (["one", "two", "+zoe", "three", "four", "five", "six"], ["before", "two"])
    assert (ann.reader.lagging, ann.reader.congested) == (False, False)


def test_batch_of_own_messages_only_is_not_offered(direct: Hall) -> None:
    (ann,) = direct.listeners(1)
    direct.tell("a", "b", edits={ann: [(0, None), (1, None)]})
    assert offers(ann) == 0


# A writer that accepts only a part


def batch(hall: Hall, ann: Listener) -> None:
    hall.tell("one", Barrier(), "zwölf", Joined(9, "zoe"), "two")


def reply(hall: Hall, ann: Listener) -> None:
    ann.show("one", "zwölf", "", "two")


def lazy_reply(hall: Hall, ann: Listener) -> None:
    ann.reader.send_lazily(encoding(["one", "zwölf", "", "two"], []))


def batch_with_overrides(hall: Hall, ann: Listener) -> None:
    overrides = [(0, None), (2, Receipt(3)), (3, PRIVATE), (5, None)]
    hall.tell("own", "a", "own", PRIVATE, "b", "own", edits={ann: overrides})


def batches_while_lagging(hall: Hall, ann: Listener) -> None:
    hall.tell("one")
    hall.tell(Barrier())
    hall.say(ann, "own")
    hall.tell("two", "own", "zwölf", "own", edits={ann: [(1, None), (3, None)]})


def replies_while_lagging(hall: Hall, ann: Listener) -> None:
    hall.tell("one")
    ann.show("two", "three")
    ann.show("and")
    hall.tell("four")
    ann.show("five")


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
@pytest.mark.parametrize("room", range(36))
@pytest.mark.parametrize("later", [False, True], ids=["at once", "on draining"])
def test_stream_continues_wherever_it_was_cut(
    direct: Hall, script: Script, expected: list[str], room: int, later: bool
) -> None:
    (ann,) = direct.listeners(1)
    ann.stop(0 if later else room)
    script(direct, ann)
    if later:
        ann.go_on(room)
    direct.tell("then")
    ann.show("at last")
    ann.go_on()
    assert ann.lines() == [*expected, "then", "at last"]
    direct.tell("current")
    assert ann.lines() == ["current"]
    assert ann.reader._queue.size == 0


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_stream_is_the_same_however_few_bytes_are_read_at_a_time(direct: Hall, step: int) -> None:
    (ann,) = direct.listeners(1)
    ann.stop()
    texts = [f"ö{number}" for number in range(7)]
    for text in texts:
        direct.tell(text)
        ann.show(f"reply {text}")
    for _ in range(1000):
        ann.go_on(step)
    assert ann.lines() == [line for text in texts for line in (text, f"reply {text}")]
    assert (ann.reader.lagging, ann.transport.producer) == (False, None)


def test_lagging_subscriber_holds_the_rest_of_one_event_and_is_offered_nothing(direct: Hall) -> None:
    ann, bob = direct.listeners(2)
    ann.stop(3)
    direct.tell("x" * 50, "y" * 5000)
    for _ in range(4):
        direct.tell("z" * 5000)
    assert ann.held == 51 - 3
    assert (offers(ann), offers(bob)) == (1, 5)


def test_lagging_subscriber_is_not_congested_by_what_all_are_sent(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    stop(ann)
    hall.tell("x" * 1_000_000)
    hall.tell("y" * 1_000_000)
    assert not ann.reader.congested


# Catching up


def test_runs_are_large_and_hold_whole_events() -> None:
    hall = Hall("direct")
    (ann,) = hall.listeners(1)
    ann.stop()
    texts = ["first", *(f"{number:9}" for number in range(20_000)), "x" * 3 * RUN_BYTES, "last"]
    hall.tell(*texts)
    before = offers(ann)
    ann.go_on()
    assert ann.lines() == texts
    assert offers(ann) - before <= 200_000 // RUN_BYTES + 6


def test_small_batches_are_joined_up_to_a_private_chunk() -> None:
    hall = Hall("direct")
    (ann,) = hall.listeners(1)
    ann.stop()
    for number in range(1000):
        hall.tell(f"{number}")
    ann.show("reply")
    hall.tell("a")
    hall.tell("b")
    before = offers(ann)
    ann.go_on()
    assert ann.lines() == [*(f"{number}" for number in range(1000)), "reply", "a", "b"]
    runs = 1000 // RUN_BATCHES
    assert runs + 2 <= offers(ann) - before <= runs + 4


def test_work_of_catching_up_grows_with_overrides_not_with_their_square(direct: Hall) -> None:
    (ann,) = direct.listeners(1)
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

        ann.stop()
        direct.tell("x", *["own"] * count, edits={ann: Overrides((index, None) for index in range(1, count + 1))})
        ann.go_on()
        assert ann.lines() == ["x"]
        work.append(looks)
    assert work[1] < 3 * work[0]


@pytest.mark.parametrize("kind", KINDS)
def test_lagging_subscribers_share_one_encoded_batch(kind: Kind) -> None:
    hall = Hall(kind)
    listeners = hall.listeners(20)
    for listener in listeners:
        stop(listener)
    for _ in range(10):
        hall.tell("a", "b")
    for listener in listeners:
        listener.go_on()
        assert lines(listener) == ["a", "b"] * 10
    assert len([event for event in hall.wire.encoded if not isinstance(event, CommandReply)]) == 20


def test_private_chunks_keep_their_place_among_the_events(hall: Hall) -> None:
    ann, bob = hall.listeners(2)
    stop(ann)
    hall.tell("1")
    ann.show("2")
    hall.tell("3", PRIVATE, "4", edits={ann: [(1, PRIVATE)]})
    ann.show("5", "6")
    hall.say(ann, "7", receipt=True)
    hall.say(ann, "own")
    hall.tell("8", "own", "9", edits={ann: [(1, None)]})
    ann.go_on()
    assert lines(ann) == ["1", "2", "3", "[psst]", "4", "5", "6", "#4", "8", "9"]
    assert bob.lines() == ["1", "3", "4", "7", "own", "8", "own", "9"]


def test_view_can_change_while_lagging(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    stop(ann)
    hall.tell("one")
    ann.reader.subscribe(PlainWire(View(quiet=True)))
    ann.show("quiet")
    hall.tell(Joined(9, "zoe"), "two")
    hall.say(ann, "own", receipt=True)
    ann.go_on()
    hall.tell(Joined(9, "zoe"), "three")
    assert lines(ann) == ["one", "quiet", "two", "#3", "three"]


@pytest.mark.parametrize("subscribes", [False, True])
def test_peer_that_lags_before_it_subscribes_gets_replies_and_then_the_room(hall: Hall, subscribes: bool) -> None:
    ann = hall.connect()
    stop(ann)
    ann.show("one", "two")
    hall.tell("before")
    ann.show("three")
    if subscribes:
        ann.reader.subscribe(hall.wire)
    hall.tell("after")
    ann.go_on()
    hall.tell("and on")
    assert lines(ann) == ["one", "two", "three", *(["after", "and on"] if subscribes else [])]
    assert not ann.reader.lagging


# Lazy replies


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("lags", [False, True])
def test_lazy_reply_is_encoded_when_the_pieces_before_it_were_accepted(hall: Hall, reads: bool, lags: bool) -> None:
    (ann,) = hall.listeners(1)
    if not reads:
        stop(ann)
    if lags:
        ann.show("x" * 100)
    log: list[str] = []
    texts = [f"{number:1000}" for number in range(600)]
    ann.reader.send_lazily(encoding(texts, log))
    hall.tell("after")
    if not reads:
        assert len(log) < 2 * LAZY_CHUNK_BYTES // 1000 + 2
        assert ann.held < 4 * LAZY_CHUNK_BYTES + ROOM_FOR_OUTPUT * (hall.kind == "transport") * 2
    ann.show("reply")
    ann.go_on()
    assert log == texts
    assert lines(ann) == [*texts, "after", "reply"]
    assert (ann.reader.lagging, ann.reader._queue.size) == (False, 0)


def test_short_lazy_reply_is_one_offer(direct: Hall) -> None:
    (ann,) = direct.listeners(1)
    ann.reader.send_lazily(encoding([f"{number:100}" for number in range(20)], []))
    assert offers(ann) == 1


@pytest.mark.parametrize("room", [0, 1, 150, 5000, 9000])
def test_long_lazy_reply_keeps_its_place_however_it_is_read(direct: Hall, room: int) -> None:
    (ann,) = direct.listeners(1)
    ann.stop(room)
    texts = [f"{number:100}" for number in range(100)]
    ann.reader.send_lazily(encoding(texts, []))
    direct.tell("after")
    for _ in range(10):
        ann.go_on(1777)
    ann.go_on()
    assert ann.lines() == [*texts, "after"]


# Gaps


def test_gap_names_the_messages_that_the_replay_buffer_dropped(direct: Hall) -> None:
    (ann,) = direct.listeners(1)
    for first in (1, 21):
        ann.stop()
        for number in range(first, first + 20):
            direct.tell(f"{number}")
        ann.go_on()
        kept = [f"{number}" for number in range(first + 12, first + 20)]
        assert ann.lines() == [f"{first}", f"missed {first + 1}-{first + 11}", *kept]


def test_gap_of_transient_events_only_is_silent(direct: Hall) -> None:
    (ann,) = direct.listeners(1)
    ann.stop()
    direct.tell("1")
    for _ in range(20):
        direct.tell(Joined(9, "zoe"))
    direct.tell("2")
    ann.go_on()
    assert ann.lines() == ["1", *["+zoe"] * 7, "2"]


def test_private_chunks_stand_between_the_gaps(direct: Hall) -> None:
    (ann,) = direct.listeners(1)
    ann.stop()
    direct.tell("1")
    direct.tell("2")
    ann.show("reply")
    ann.show("another")
    direct.tell("3", PRIVATE, edits={ann: [(1, PRIVATE)]})
    for _ in range(4, 21):
        direct.tell("x")
    ann.go_on()
    assert ann.lines() == ["1", "missed 2-2", "reply", "another", "missed 3-3", "[psst]", "missed 4-12", *["x"] * 8]


@pytest.mark.parametrize("room", range(2, 20))
def test_gap_notice_that_is_cut_is_completed(direct: Hall, room: int) -> None:
    (ann,) = direct.listeners(1)
    ann.stop()
    for number in range(1, 21):
        direct.tell(f"{number}")
    ann.go_on(room)
    direct.tell("21")
    ann.go_on()
    seen = ann.lines()
    assert seen[:2] == ["1", "missed 2-12"]
    complete = [f"{number}" for number in range(13, 22)]
    assert seen[2:] in (complete, ["missed 13-13", *complete[1:]])


# Congestion


def test_full_private_queue_is_congested_until_it_is_sent(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    stop(ann)
    ann.show("a")
    ann.show("b")
    ann.go_on()
    assert (ann.reader.congested, ann.relieved) == (False, 0)
    stop(ann)
    congested = []
    for _ in range(3):
        ann.show("y" * (DEFAULTS.private_queue_bytes // 2))
        congested.append(ann.reader.congested)
    ann.show("z")
    assert (congested[0], congested[-1], ann.relieved) == (False, True, 0)
    ann.go_on()
    assert (ann.reader.congested, ann.relieved) == (False, 1)
    assert [line[:1] for line in lines(ann)] == ["a", "b", "y", "y", "y", "z"]


def test_tiny_replies_congest_by_their_memory(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    stop(ann)
    count = 0
    while not ann.reader.congested:
        ann.show("z")
        count += 1
    assert count <= DEFAULTS.private_queue_bytes // CHUNK_OVERHEAD + 1
    ann.go_on()
    assert (len(lines(ann)), ann.reader._queue.size) == (count, 0)


def test_overrides_of_one_batch_can_congest_their_author(direct: Hall) -> None:
    (ann,) = direct.listeners(1)
    ann.stop(10)
    private = [PrivateMessage(2, "bob", 1, f"{number} " + "x" * 4000) for number in range(20)]
    direct.tell(*private, edits={ann: list(enumerate(private))})
    assert ann.reader.congested
    ann.go_on()
    assert ann.lines() == [f"[{event.text}]" for event in private]
    assert ann.relieved == 1


# The end


@pytest.mark.parametrize("subscribed", [True, False])
@pytest.mark.parametrize("lags", [False, True])
def test_closing_sends_everything_up_to_it(hall: Hall, subscribed: bool, lags: bool) -> None:
    ann = hall.listener() if subscribed else hall.connect()
    if lags:
        stop(ann)
    hall.tell("one")
    ann.show("bye")
    ann.reader.close_when_drained()
    hall.tell("too late")
    assert ann.transport.finished is not lags
    ann.go_on()
    assert lines(ann) == [*(["one"] if subscribed else []), "bye"]
    assert (ann.transport.finished, ann.transport.aborted) == (True, False)


@pytest.mark.parametrize("goodbye", [(), ("bye",)])
def test_gap_ends_where_the_subscription_ended(direct: Hall, goodbye: Sequence[str]) -> None:
    (ann,) = direct.listeners(1)
    ann.stop()
    for text in "123":
        direct.tell(text)
    ann.show(*goodbye)
    ann.reader.close_when_drained()
    for _ in range(20):
        direct.tell("x")
    ann.go_on()
    assert ann.lines() == ["1", "missed 2-3", *goodbye]
    assert ann.transport.finished


def test_closing_a_lagging_subscriber_aborts_after_the_linger_time(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    stop(ann)
    hall.tell("one")
    ann.reader.close_when_drained()
    aborted = []
    for seconds in (DEFAULTS.linger_seconds - 1, 1):
        hall.clock.advance(seconds)
        aborted.append(ann.transport.aborted)
    assert aborted == [False, True]
    ann.reader.connection_lost()
    assert not hall.clock.getDelayedCalls()


def test_lost_subscriber_holds_nothing_and_is_sent_nothing(hall: Hall) -> None:
    ann, bob = hall.listeners(2)
    stop(ann)
    ann.show("y" * DEFAULTS.private_queue_bytes)
    ann.show("y" * DEFAULTS.private_queue_bytes)
    ann.reader.connection_lost()
    held = ann.held
    hall.tell("hi", Announced("x"), edits={ann: [(0, None)]})
    assert (ann.reader.congested, ann.held, ann.reader._queue.size) == (False, held, 0)
    assert bob.lines() == ["hi"]
