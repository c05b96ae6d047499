"""A reader gets their stream whole, once and in order, however they read; what they lost is named, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import SupportsIndex

import pytest

from broadcast.core.events import Announced, Barrier, CommandReply, Joined, PrivateMessage, Receipt
from broadcast.core.interfaces import Override, View
from broadcast.core.limits import DEFAULTS
from broadcast.delivery.cursor import RUN_BATCHES, RUN_BYTES
from broadcast.delivery.private_queue import CHUNK_OVERHEAD
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.delivery.subscriber import LAZY_CHUNK_BYTES
from tests.harness import ROOM_FOR_OUTPUT
from tests.listeners import KINDS, Hall, Kind, Listener, PlainWire


@pytest.fixture(params=KINDS)
def hall(request: pytest.FixtureRequest) -> Hall:
    """A room with an outlet of each kind, and a window of 8 events."""
    return Hall(request.param, ReplayBuffer(max_events=8))


@pytest.fixture
def straight() -> Hall:
    """The one that sends to the sockets."""
    return Hall("direct", ReplayBuffer(max_events=8))


def choke(listener: Listener) -> None:
    """Let *listener* stop reading, and the transport, if there is one, take no more."""
    listener.stop()
    if listener.hall.kind == "transport":
        listener.show("x" * ROOM_FOR_OUTPUT)
        assert not listener.reader.lagging


def lines(listener: Listener) -> list[str]:
    """What came, but for what ``choke`` had to send."""
    return [line for line in listener.lines() if not line.startswith("xxx")]


# Who keeps up


def test_answers_and_bursts_are_one_stream(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    ann.show("one")
    hall.tell("two", "three")
    ann.show("four", "five")
    assert ann.lines() == ["one", "two", "three", "four", "five"]
    assert not ann.reader.lagging
    assert not ann.reader.congested


def test_nothing_is_told_to_who_does_not_listen_yet(hall: Hall) -> None:
    ann = hall.connect()
    hall.tell("before")
    ann.show("hello")
    ann.reader.subscribe(hall.wire)
    hall.tell("after")
    assert ann.lines() == ["hello", "after"]


def test_listening_again_changes_the_view(hall: Hall) -> None:
    ann, bob = hall.listeners(2)
    ann.reader.subscribe(PlainWire(View(quiet=True)))
    hall.tell(Joined(9, "zoe"), "hi")
    assert (ann.lines(), bob.lines()) == (["hi"], ["+zoe", "hi"])


# Who does not


@pytest.mark.parametrize("room", range(20))
def test_a_burst_that_was_taken_in_part_is_completed_wherever_it_was_cut(straight: Hall, room: int) -> None:
    (ann,) = straight.listeners(1)
    ann.stop(room)
    straight.tell("one", Barrier(), "zwölf", Joined(9, "zoe"), "two")
    straight.tell("three")
    ann.go_on()
    assert ann.lines() == ["one", "zwölf", "+zoe", "two", "three"]
    straight.tell("four")
    assert ann.lines() == ["four"]


@pytest.mark.parametrize("room", range(12))
def test_an_answer_that_was_taken_in_part_is_completed_wherever_it_was_cut(straight: Hall, room: int) -> None:
    (ann,) = straight.listeners(1)
    ann.stop(room)
    ann.show("one", "zwölf", "")
    ann.show("two")
    straight.tell("three")
    ann.go_on()
    assert ann.lines() == ["one", "zwölf", "", "two", "three"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_who_reads_byte_by_byte_gets_the_same(straight: Hall, step: int) -> None:
    (ann,) = straight.listeners(1)
    ann.stop()
    said = [f"ö{number}" for number in range(7)]
    for text in said:
        straight.tell(text)
        ann.show(f"answer {text}")
    for _ in range(1000):
        ann.go_on(step)
    expected = [line for text in said for line in (text, f"answer {text}")]
    assert ann.lines() == expected
    assert not ann.reader.lagging
    assert ann.transport.producer is None


def test_who_lags_holds_one_unfinished_line_of_what_everybody_gets(straight: Hall) -> None:
    (ann,) = straight.listeners(1)
    ann.stop(3)
    straight.tell("x" * 50, "y" * 5000)
    straight.tell("z" * 5000)
    assert ann.held == 51 - 3


def test_who_lags_is_offered_nothing_until_the_transport_asks(straight: Hall) -> None:
    ann, bob = straight.listeners(2)
    ann.stop()
    for number in range(5):
        straight.tell(f"{number}")
    assert ann.outlet.send.__self__.sends == 1  # type: ignore[attr-defined]  # the fake socket's
    assert bob.outlet.send.__self__.sends == 5  # type: ignore[attr-defined]


def test_what_waits_in_the_window_is_sent_in_large_pieces_and_always_a_whole_line() -> None:
    hall = Hall("direct")
    (ann,) = hall.listeners(1)
    ann.stop()
    hall.tell("first", *(f"{number:9}" for number in range(20_000)), "x" * 3 * RUN_BYTES, "last")
    before = ann.outlet.send.__self__.sends  # type: ignore[attr-defined]
    ann.go_on()
    assert ann.lines() == ["first", *(f"{number:9}" for number in range(20_000)), "x" * 3 * RUN_BYTES, "last"]
    assert ann.outlet.send.__self__.sends - before <= 200_000 // RUN_BYTES + 6  # type: ignore[attr-defined]


def test_many_small_bursts_that_wait_are_joined_to_few_offers() -> None:
    hall = Hall("direct")
    (ann,) = hall.listeners(1)
    ann.stop()
    for number in range(1000):
        hall.tell(f"{number}")
    before = ann.outlet.send.__self__.offers  # type: ignore[attr-defined]
    ann.go_on()
    assert ann.lines() == [f"{number}" for number in range(1000)]
    offers = ann.outlet.send.__self__.offers - before  # type: ignore[attr-defined]
    assert 1000 // RUN_BATCHES <= offers <= 1000 // RUN_BATCHES + 2


@pytest.mark.parametrize("room", range(40))
def test_joined_bursts_that_are_taken_in_part_are_completed_wherever_they_were_cut(straight: Hall, room: int) -> None:
    (ann,) = straight.listeners(1)
    ann.stop()
    straight.tell("one")
    straight.tell(Barrier())
    straight.say(ann, "own")
    straight.tell("two", "own", "zwölf", "own", edits={ann: [(1, None), (3, None)]})
    straight.tell("three")
    ann.go_on(room)
    ann.go_on()
    assert ann.lines() == ["one", "two", "zwölf", "three"]


def test_bursts_are_joined_up_to_an_answer_that_waits_between_them(straight: Hall) -> None:
    (ann,) = straight.listeners(1)
    ann.stop()
    for text in "abc":
        straight.tell(text)
    ann.show("answer")
    for text in "def":
        straight.tell(text)
    before = ann.outlet.send.__self__.offers  # type: ignore[attr-defined]
    ann.go_on()
    assert ann.lines() == ["a", "b", "c", "answer", "d", "e", "f"]
    assert ann.outlet.send.__self__.offers - before == 3  # type: ignore[attr-defined]


# What is made when it can be sent


def made(texts: Sequence[str], log: list[str]) -> Iterator[bytes]:
    """The lines of *texts*; each stands in *log* when it was made."""
    for text in texts:
        log.append(text)
        yield f"{text}\n".encode()


def test_lines_are_made_when_those_before_them_were_taken(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    choke(ann)
    log: list[str] = []
    texts = [f"{number:1000}" for number in range(600)]
    ann.reader.send_lazily(made(texts, log))
    hall.tell("after")
    held = ann.held
    ann.show("answer")
    assert len(log) < 2 * LAZY_CHUNK_BYTES // 1000 + 2
    assert held < 4 * LAZY_CHUNK_BYTES + ROOM_FOR_OUTPUT * (hall.kind == "transport") * 2
    ann.go_on()
    assert log == texts
    assert lines(ann) == [*texts, "after", "answer"]
    assert not ann.reader.lagging
    assert ann.reader._queue.size == 0


def test_who_reads_gets_them_at_once_and_is_current(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    ann.reader.send_lazily(made([], []))
    texts = [f"{number:100}" for number in range(500)]
    ann.reader.send_lazily(made(texts, []))
    assert not ann.reader.lagging
    hall.tell("after")
    assert ann.lines() == [*texts, "after"]


def test_few_of_them_are_one_offer(straight: Hall) -> None:
    (ann,) = straight.listeners(1)
    ann.reader.send_lazily(made([f"{number:100}" for number in range(20)], []))
    assert ann.outlet.send.__self__.offers == 1  # type: ignore[attr-defined]


def test_who_lags_already_gets_them_in_their_place(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    choke(ann)
    hall.tell("before")
    texts = [f"{number:100}" for number in range(500)]
    ann.reader.send_lazily(made(texts, []))
    hall.tell("after")
    ann.go_on()
    assert lines(ann) == ["before", *texts, "after"]


@pytest.mark.parametrize("room", [0, 1, 150, 5000, 9000])
def test_they_stand_where_they_were_shown_however_the_reader_stops(straight: Hall, room: int) -> None:
    (ann,) = straight.listeners(1)
    ann.stop(room)
    texts = [f"{number:100}" for number in range(100)]
    ann.reader.send_lazily(made(texts, []))
    straight.tell("after")
    for _ in range(10):
        ann.go_on(1777)
    ann.go_on()
    assert ann.lines() == [*texts, "after"]


def test_answers_and_private_lines_keep_their_place(hall: Hall) -> None:
    ann, bob = hall.listeners(2)
    choke(ann)
    hall.tell("1")
    ann.show("2")
    hall.tell("3", PrivateMessage(2, "bob", 1, "4"), "5", edits={ann: [(1, PrivateMessage(2, "bob", 1, "4"))]})
    ann.show("6", "7")
    hall.say(ann, "8", receipt=True)
    hall.say(ann, "own")
    hall.tell("9", "own", "10", edits={ann: [(1, None)]})
    ann.go_on()
    assert lines(ann) == ["1", "2", "3", "[4]", "5", "6", "7", "#4", "9", "10"]
    assert bob.lines() == ["1", "3", "5", "8", "own", "9", "own", "10"]


@pytest.mark.parametrize("room", range(30))
def test_what_differs_for_an_author_who_does_not_take_all_of_it_keeps_its_place(straight: Hall, room: int) -> None:
    ann, _ = straight.listeners(2)
    ann.stop(room)
    private = PrivateMessage(2, "bob", 1, "psst")
    edits = {ann: [(0, None), (2, Receipt(3)), (3, private), (5, None)]}
    straight.tell("own", "a", "own", private, "b", "own", edits=edits)
    straight.tell("c")
    ann.go_on()
    assert ann.lines() == ["a", "#3", "[psst]", "b", "c"]
    straight.say(ann, "own", receipt=True)
    assert ann.lines() == ["#7"]


@pytest.mark.parametrize("room", range(45))
def test_an_answer_of_several_lines_that_waited_is_completed_wherever_it_was_cut(straight: Hall, room: int) -> None:
    (ann,) = straight.listeners(1)
    ann.stop()
    straight.tell("one")
    ann.show("two", "three", "four")
    ann.show("and", "so", "on")
    straight.tell("five")
    ann.show("six")
    ann.go_on(room)
    straight.tell("seven")
    ann.show("eight")
    ann.go_on()
    assert ann.lines() == ["one", "two", "three", "four", "and", "so", "on", "five", "six", "seven", "eight"]


def test_the_calls_to_catch_up_grow_with_what_was_missed_however_much_of_it_is_their_own(straight: Hall) -> None:
    """Ten thousand own lines in one burst, and the same again: twice the work, not four times."""
    (ann,) = straight.listeners(1)
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

        ann.stop()
        straight.tell("x", *["own"] * count, edits={ann: Edits((at, None) for at in range(1, count + 1))})
        ann.go_on()
        assert ann.lines() == ["x"]
        steps.append(looked)
    assert steps[1] < 3 * steps[0]


def test_a_burst_of_nothing_but_own_lines_is_no_offer(straight: Hall) -> None:
    (ann,) = straight.listeners(1)
    straight.tell("a", "b", edits={ann: [(0, None), (1, None)]})
    assert ann.outlet.send.__self__.offers == 0  # type: ignore[attr-defined]
    straight.tell("c")
    assert ann.lines() == ["c"]


def test_who_lagged_before_they_listened_gets_what_they_were_shown_and_then_the_room(hall: Hall) -> None:
    ann = hall.connect()
    choke(ann)
    ann.show("one", "two")
    hall.tell("before")
    ann.show("three")
    ann.reader.subscribe(hall.wire)
    hall.tell("after")
    ann.go_on()
    assert lines(ann) == ["one", "two", "three", "after"]
    hall.tell("and on")
    assert ann.lines() == ["and on"]


def test_who_lagged_and_does_not_listen_is_not_told_what_was_said(hall: Hall) -> None:
    ann = hall.connect()
    choke(ann)
    ann.show("one")
    hall.tell("before")
    ann.show("two")
    ann.go_on()
    assert lines(ann) == ["one", "two"]
    assert not ann.reader.lagging


def test_the_view_may_be_changed_while_lagging(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    choke(ann)
    hall.tell("one")
    ann.reader.subscribe(PlainWire(View(quiet=True)))
    ann.show("quiet")
    hall.tell(Joined(9, "zoe"), "two")
    hall.say(ann, "own", receipt=True)
    ann.go_on()
    assert lines(ann) == ["one", "quiet", "two", "#3"]
    hall.tell(Joined(9, "zoe"), "three")
    assert ann.lines() == ["three"]


# What the window has lost


def test_lines_that_the_window_has_lost_are_named(straight: Hall) -> None:
    (ann,) = straight.listeners(1)
    straight.tell("1", "2")
    ann.stop()
    for number in range(3, 21):
        straight.tell(f"{number}")
    ann.go_on()
    assert ann.lines() == ["1", "2", "3", "missed 4-12", *(f"{number}" for number in range(13, 21))]


def test_a_second_time_is_a_second_notice(straight: Hall) -> None:
    (ann,) = straight.listeners(1)
    for _ in range(2):
        ann.stop()
        for _ in range(20):
            straight.tell("x")
        ann.go_on()
    seen = ann.lines()
    assert [line for line in seen if line != "x"] == ["missed 2-12", "missed 22-32"]
    assert len(seen) == 20


def test_when_only_passing_events_are_lost_nothing_is_named(straight: Hall) -> None:
    (ann,) = straight.listeners(1)
    ann.stop()
    straight.tell("1")
    for _ in range(20):
        straight.tell(Joined(9, "zoe"))
    straight.tell("2")
    ann.go_on()
    assert ann.lines() == ["1", *["+zoe"] * 7, "2"]


def test_answers_and_private_lines_stand_among_the_lost_lines(straight: Hall) -> None:
    (ann,) = straight.listeners(1)
    ann.stop()
    straight.tell("1")
    straight.tell("2")
    ann.show("answer")
    ann.show("another")
    straight.tell("3", PrivateMessage(2, "bob", 1, "psst"), edits={ann: [(1, PrivateMessage(2, "bob", 1, "psst"))]})
    for _ in range(4, 21):
        straight.tell("x")
    ann.go_on()
    assert ann.lines() == ["1", "missed 2-2", "answer", "another", "missed 3-3", "[psst]", "missed 4-12", *["x"] * 8]


@pytest.mark.parametrize("room", range(2, 20))
def test_a_notice_that_is_taken_in_part_is_completed(straight: Hall, room: int) -> None:
    (ann,) = straight.listeners(1)
    ann.stop()
    for number in range(1, 21):
        straight.tell(f"{number}")
    ann.go_on(room)
    straight.tell("21")
    ann.go_on()
    seen = ann.lines()
    assert seen[:2] == ["1", "missed 2-12"]
    assert seen[2:] in (
        [f"{number}" for number in range(13, 22)],
        ["missed 13-13", *(f"{number}" for number in range(14, 22))],
    )


# What is for them alone


def test_past_so_much_that_is_for_them_alone_they_are_full(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    choke(ann)
    full = []
    for _ in range(3):
        ann.show("y" * (DEFAULTS.private_queue_bytes // 2))
        full.append(ann.reader.congested)
    ann.show("z")
    assert full[0] is False
    assert full[-1] is True
    relieved = [ann.relieved]
    ann.go_on()
    relieved.append(ann.relieved)
    assert not ann.reader.congested
    assert relieved == [0, 1]
    assert [line[:1] for line in lines(ann)] == ["y", "y", "y", "z"]


def test_many_tiny_ones_fill_them_too(hall: Hall) -> None:
    """Each takes more memory than its bytes."""
    (ann,) = hall.listeners(1)
    choke(ann)
    shown = 0
    while not ann.reader.congested:
        ann.show("z")
        shown += 1
    assert shown <= DEFAULTS.private_queue_bytes // CHUNK_OVERHEAD + 1
    ann.go_on()
    assert len(lines(ann)) == shown
    assert ann.reader._queue.size == 0


def test_what_everybody_is_told_makes_nobody_full(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    choke(ann)
    hall.tell("x" * 1_000_000)
    hall.tell("y" * 1_000_000)
    assert not ann.reader.congested


def test_who_was_not_full_is_not_relieved(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    choke(ann)
    ann.show("one")
    ann.show("two")
    ann.go_on()
    assert ann.relieved == 0


def test_receipts_and_private_lines_of_one_burst_may_fill_an_author_who_is_relieved_later(straight: Hall) -> None:
    (ann,) = straight.listeners(1)
    ann.stop(10)
    private = [PrivateMessage(2, "bob", 1, f"{number} " + "x" * 4000) for number in range(20)]
    straight.tell(*private, edits={ann: list(enumerate(private))})
    assert ann.reader.congested
    ann.go_on()
    assert ann.lines() == [f"[{number} " + "x" * 4000 + "]" for number in range(20)]
    assert ann.relieved == 1


# The end


def test_who_has_read_everything_is_finished_at_once(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    ann.show("bye")
    ann.reader.close_when_drained()
    hall.tell("too late")
    assert ann.lines() == ["bye"]
    assert ann.transport.finished


def test_who_lags_gets_everything_up_to_their_goodbye_and_is_finished_then(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    choke(ann)
    hall.tell("one")
    ann.show("bye")
    ann.reader.close_when_drained()
    hall.tell("too late")
    finished = [ann.transport.finished]
    ann.go_on()
    finished.append(ann.transport.finished)
    assert lines(ann) == ["one", "bye"]
    assert finished == [False, True]
    assert not ann.transport.aborted


@pytest.mark.parametrize("goodbye", [(), ("bye",)])
def test_who_has_left_has_missed_nothing_of_what_came_afterwards(straight: Hall, goodbye: Sequence[str]) -> None:
    (ann,) = straight.listeners(1)
    ann.stop()
    straight.tell("1")
    straight.tell("2")
    straight.tell("3")
    ann.show(*goodbye)
    ann.reader.close_when_drained()
    for _ in range(20):
        straight.tell("x")
    ann.go_on()
    assert ann.lines() == ["1", "missed 2-3", *goodbye]
    assert ann.transport.finished


def test_who_lags_and_leaves_has_ten_seconds_in_all(hall: Hall) -> None:
    (ann,) = hall.listeners(1)
    choke(ann)
    hall.tell("one")
    ann.reader.close_when_drained()
    hall.clock.advance(DEFAULTS.linger_seconds - 1)
    aborted = [ann.transport.aborted]
    hall.clock.advance(1)
    aborted.append(ann.transport.aborted)
    assert aborted == [False, True]
    ann.reader.connection_lost()
    assert not hall.clock.getDelayedCalls()


def test_who_never_listened_is_finished_too(hall: Hall) -> None:
    ann = hall.connect()
    choke(ann)
    ann.show("sorry")
    ann.reader.close_when_drained()
    hall.tell("hi")
    ann.go_on()
    assert lines(ann) == ["sorry"]
    assert ann.transport.finished


def test_a_lost_reader_is_told_nothing_and_holds_nothing(hall: Hall) -> None:
    ann, bob = hall.listeners(2)
    choke(ann)
    ann.show("y" * DEFAULTS.private_queue_bytes)
    ann.show("y" * DEFAULTS.private_queue_bytes)
    ann.reader.connection_lost()
    held = ann.held
    hall.tell("hi", Announced("x"), edits={ann: [(0, None)]})
    assert not ann.reader.congested
    assert ann.held == held
    assert ann.reader._queue.size == 0
    assert bob.lines() == ["hi"]


@pytest.mark.parametrize("kind", KINDS)
def test_many_who_lag_share_one_rendering(kind: Kind) -> None:
    hall = Hall(kind)
    listeners = hall.listeners(20)
    for listener in listeners:
        choke(listener)
    for _ in range(10):
        hall.tell("a", "b")
    for listener in listeners:
        listener.go_on()
        assert lines(listener) == ["a", "b"] * 10
    assert len([event for event in hall.wire.encoded if not isinstance(event, CommandReply)]) == 20
