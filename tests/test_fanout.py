"""A burst is rendered once for each view, and every reader is offered exactly their own stream of it, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.events import Answered, Event, Joined, Marked, Notice, NotKept, Receipt, Said, Whispered
from broadcast.core.interfaces import Burst, Edit, View
from broadcast.fanout import Fanout, Readers


class CountingWire:
    """Renders an event as its name; in a quiet view, joins are hidden."""

    def __init__(self, view: View | None = None) -> None:
        self.view = view or View()
        self.encoded: list[Event | Notice] = []

    def encode(self, event: Event | Notice) -> bytes:
        self.encoded.append(event)
        match event:
            case Said(text=text) | Answered(text=text) | Whispered(text=text):
                return f"<{text}>".encode()
            case Receipt(seq=seq):
                return f"<#{seq}>".encode()
            case NotKept():
                return b"<not kept>"
            case Joined(nick=nick) if not self.view.quiet:
                return f"<+{nick}>".encode()
            case _:
                return b""


class Bytes:
    """An outlet that keeps what it was offered."""

    def __init__(self) -> None:
        self.offers: list[bytes] = []

    def offer(self, data: bytes) -> int:
        self.offers.append(data)
        return len(data)

    def finish(self) -> None:
        raise NotImplementedError

    def lost(self) -> None:
        raise NotImplementedError


def said(*texts: str) -> list[Event]:
    return [Said(0, "ann", text, 0.0) for text in texts]


def flush(
    readers: int, events: Sequence[Event], edits: Mapping[int, Sequence[Edit]]
) -> tuple[CountingWire, list[list[bytes]]]:
    """What the readers 0, 1, 2 … are offered of one burst."""
    wire = CountingWire()
    fanout = Fanout(wire)
    outlets = [Bytes() for _ in range(readers)]
    fanout.readers.update(enumerate(outlets))
    fanout.flush(Burst(events, edits))
    assert set(fanout.readers) == set(range(readers))
    return wire, [outlet.offers for outlet in outlets]


def test_every_reader_is_offered_the_same_bytes_object_once() -> None:
    wire, offers = flush(3, said("a", "b"), {})
    assert offers == [[b"<a><b>"]] * 3
    assert offers[0][0] is offers[1][0] is offers[2][0]
    assert len(wire.encoded) == 2


def test_who_gets_something_else_gets_it_in_its_place() -> None:
    events = said("a", "b", "c")
    edits: dict[int, list[Edit]] = {
        0: [(0, None)],
        1: [(1, Receipt(7))],
        2: [(2, None)],
        3: [(0, Receipt(1)), (1, None), (2, Receipt(3))],
        4: [(0, None), (2, Answered("x"))],
    }
    _, offers = flush(6, events, edits)
    assert offers == [
        [b"<b><c>"],
        [b"<a><#7><c>"],
        [b"<a><b>"],
        [b"<#1><#3>"],
        [b"<b><x>"],
        [b"<a><b><c>"],
    ]


def test_private_events_show_only_where_an_edit_puts_them() -> None:
    psst, lost = Whispered(9, "zoe", 0, "psst"), NotKept(Said(1, "ann", "x", 0.0), "full")
    _, offers = flush(3, [psst, *said("a"), lost, Marked()], {0: [(0, psst)], 1: [(2, lost)]})
    assert offers == [[b"<psst><a>"], [b"<a><not kept>"], [b"<a>"]]


def test_nobody_is_offered_nothing() -> None:
    _, offers = flush(2, [Marked(), *said("a")], {0: [(1, None)]})
    assert offers == [[], [b"<a>"]]
    _, offers = flush(2, [Marked()], {})
    assert offers == [[], []]


def test_edits_for_who_is_no_reader_change_nothing() -> None:
    _, offers = flush(1, said("a"), {7: [(0, None)]})
    assert offers == [[b"<a>"]]


@given(
    texts=st.lists(st.text("abc", max_size=3), max_size=6),
    edits=st.dictionaries(
        st.integers(0, 3), st.dictionaries(st.integers(0, 5), st.none() | st.just(Receipt(1))), max_size=4
    ),
)
def test_cutting_out_is_the_same_as_rendering_for_each_reader(
    texts: list[str], edits: dict[int, dict[int, Receipt | None]]
) -> None:
    events = said(*texts)
    fitting: dict[int, Sequence[Edit]] = {
        reader: sorted((at, event) for at, event in changes.items() if at < len(events))
        for reader, changes in edits.items()
    }
    _, offers = flush(4, events, fitting)
    for reader, offered in enumerate(offers):
        changed = dict(fitting.get(reader, ()))
        stream = [changed.get(at, event) for at, event in enumerate(events)]
        expected = b"".join(CountingWire().encode(event) for event in stream if event is not None)
        assert b"".join(offered) == expected
        assert len(offered) <= 1


def test_readers_get_the_burst_in_the_view_they_were_placed_in_last() -> None:
    plain, quiet = CountingWire(), CountingWire(View(quiet=True))
    readers, ann, bob = Readers(), Bytes(), Bytes()
    told: list[str] = []
    readers.place(1, plain, ann)
    readers.place(2, plain, bob)
    readers.place(2, quiet, bob)
    readers.tell(Burst([Joined(3, "eve"), *said("a")], {}), lambda: told.append("told"))
    assert (ann.offers, bob.offers) == ([b"<+eve><a>"], [b"<a>"])
    assert told == ["told"]


def test_each_view_is_rendered_once() -> None:
    wires = [CountingWire(), CountingWire(View(times=True))]
    readers = Readers()
    for reader in range(10):
        readers.place(reader, wires[reader % 2], Bytes())
    readers.tell(Burst(said("a", "b"), {}), lambda: None)
    assert [len(wire.encoded) for wire in wires] == [2, 2]


def test_who_was_removed_gets_nothing_more() -> None:
    readers, ann = Readers(), Bytes()
    readers.place(1, CountingWire(), ann)
    readers.remove(1)
    readers.remove(1)
    readers.remove(2)
    readers.tell(Burst(said("a"), {1: [(0, Receipt(1))]}), lambda: None)
    assert ann.offers == []


def test_the_order_of_the_offers_is_that_of_the_bursts() -> None:
    readers, ann = Readers(), Bytes()
    readers.place(1, CountingWire(), ann)
    for text in "abc":
        readers.tell(Burst(said(text), {1: [(0, Receipt(1))]} if text == "b" else {}), lambda: None)
    assert ann.offers == [b"<a>", b"<#1>", b"<c>"]
