"""The contract suite of the journals, and the harness that runs a journal without a reactor."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from queue import Empty, SimpleQueue
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broadcast.core.errors import JournalError
from broadcast.core.events import (
    STORED,
    Action,
    Announced,
    AwayChanged,
    Event,
    FileInfo,
    Joined,
    Left,
    Message,
    PrivateMessage,
    Renamed,
    Shared,
    Stored,
    StoreFailed,
    TopicChanged,
)
from broadcast.core.interfaces import Journal, OpenedRoom
from broadcast.core.search_query import MAX_QUERY_CHARS, SearchQuery, parse_query
from broadcast.core.time_slice import CallSoon

LONG = bool(os.environ.get("BROADCAST_LONG"))
TIMEOUT = 60.0
"""Seconds after which a test gives up waiting for another thread."""


class ReactorCalls:
    """The calls that a journal scheduled on the reactor. They run when the test runs them."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Run calls in order, waiting for new ones, until *condition* holds."""
        while not condition():
            self.queue.get(timeout=TIMEOUT)()

    def run_pending(self) -> None:
        """Run all calls that are in the queue, and those that they add."""
        while True:
            try:
                call = self.queue.get_nowait()
            except Empty:
                return
            call()


class RoomHarness:
    """An open room of a journal and the events that the journal has delivered to it."""

    def __init__(self, opened: OpenedRoom, calls: ReactorCalls) -> None:
        self.calls = calls
        self.log, self.last_seq, self.topic, self.tail = opened
        self.delivered: list[Event] = []
        self.batches = 0
        self.log.subscribe(self._receive)

    def _receive(self, events: Sequence[Event], foreign: Sequence[Event] = ()) -> None:
        self.delivered.extend(events)
        self.batches += 1

    def append(self, *events: Event) -> list[Event]:
        """Append *events* and return what the journal delivers for them."""
        before = len(self.delivered)
        for event in events:
            self.log.append(event)
        self.calls.run_until(lambda: len(self.delivered) >= before + len(events))
        return self.delivered[before:]

    def append_texts(self, texts: Iterable[str]) -> list[Event]:
        """Append one message for each of *texts*."""
        return self.append(*map(message, texts))

    def try_read(self, first: int, last: int) -> Sequence[Stored] | JournalError:
        """Return the answer to a read, which may be an error."""
        answers: list[Sequence[Stored] | JournalError] = []
        self.log.read(first, last, answers.append)
        self.calls.run_until(lambda: bool(answers))
        return answers[0]

    def try_search(self, query: SearchQuery, last: int, limit: int) -> Sequence[Stored] | JournalError:
        """Return the answer to a search, which may be an error."""
        answers: list[Sequence[Stored] | JournalError] = []
        self.log.search(query, last, limit, answers.append)
        assert answers == []
        self.calls.run_until(lambda: bool(answers))
        return answers[0]

    def read_uids(self, first: int, last: int) -> Sequence[tuple[str, int]]:
        """Return the identifiers that a read of them finds."""
        answers: list[Sequence[tuple[str, int]] | JournalError] = []
        self.log.read_uids(first, last, answers.append)
        assert answers == []
        self.calls.run_until(lambda: bool(answers))
        assert not isinstance(answers[0], JournalError), answers
        return answers[0]

    def read_files(self, last: int = 10**30, limit: int = 20) -> Sequence[Stored]:
        """Return the events that share a file."""
        answers: list[Sequence[Stored] | JournalError] = []
        self.log.read_files(last, limit, answers.append)
        assert answers == []
        self.calls.run_until(lambda: bool(answers))
        assert not isinstance(answers[0], JournalError), answers
        return answers[0]

    def read(self, first: int, last: int) -> Sequence[Stored]:
        """Return the events that a read finds."""
        answer = self.try_read(first, last)
        assert not isinstance(answer, JournalError), answer
        return answer

    def search(self, line: str, last: int = 10**30, limit: int = 50) -> Sequence[Stored]:
        """Return the events that a search for *line*, as a person types it, finds."""
        answer = self.try_search(parse_query(line), last, limit)
        assert not isinstance(answer, JournalError), answer
        return answer

    def matches(self, line: str, last: int = 10**30, limit: int = 50) -> list[int]:
        """Return the numbers of the events that a search for *line* finds."""
        return seqs(self.search(line, last, limit))


class Harness(RoomHarness):
    """An open journal, and its default room."""

    def __init__(self, journal: Journal, calls: ReactorCalls, tail: int = 0, name: str = "lobby") -> None:
        super().__init__(journal.open(name, tail), calls)
        self.journal = journal

    def try_open_room(self, name: str, tail: int = 0) -> OpenedRoom | JournalError:
        """Return the answer to a request to open the room *name*, which may be an error."""
        answers: list[OpenedRoom | JournalError] = []
        self.journal.open_room(name, tail, answers.append)
        assert answers == []
        self.calls.run_until(lambda: bool(answers))
        return answers[0]

    def open_room(self, name: str, tail: int = 0) -> RoomHarness:
        """Open the room *name*."""
        opened = self.try_open_room(name, tail)
        assert not isinstance(opened, JournalError), opened
        return RoomHarness(opened, self.calls)


@contextmanager
def open_journal(
    make: Callable[[CallSoon], Journal], tail: int = 0, kind: type[Harness] = Harness, name: str = "lobby"
) -> Iterator[Harness]:
    """Open the journal that *make* returns for a ``call_soon``, and close it at the end."""
    calls = ReactorCalls()
    journal = make(calls.queue.put)
    try:
        yield kind(journal, calls, tail, name)
    finally:
        journal.close()


def message(text: str, seq: int = 0) -> Message:
    return Message(7, "ann", text, 1_700_000_000.25, seq)


def shared(name: str, seq: int = 0, uid: str = "") -> Shared:
    file = FileInfo("k3x", name, 5 * 2**40, "text/plain; charset=utf-8", "ab" * 32, 1920, 1080)
    return Shared(7, "ann", file, 1_700_000_000.25, seq, uid)


def seqs(events: Iterable[Event]) -> list[int]:
    """Return the numbers of the stored ones among *events*."""
    return [event.seq for event in events if isinstance(event, STORED)]


UIDS = ["", "b", "", "d-_9", ""]
TRANSIENT: list[Event] = [
    Joined(1, "ann"),
    Left(1, "ann", "tired"),
    Renamed(1, "ann", "bob"),
    Announced("closing"),
    PrivateMessage(1, "ann", 2, "psst"),
    StoreFailed(message("x"), "because"),
    AwayChanged(1, "ann", away=True, reason="lunch"),
]

_texts = st.text(st.characters(exclude_categories=["Cs"]))
_sizes = st.integers(0, 2**62)
_files = st.builds(FileInfo, st.just("id"), _texts, _sizes, st.text("a/; ", min_size=1), st.just("ab"), _sizes, _sizes)
_stored_events: st.SearchStrategy[Stored] = st.one_of(
    st.builds(
        lambda kind, session, nick, text, at: kind(session, nick, text, at),
        st.sampled_from([Message, Action]),
        st.integers(0, 2**63 - 1),
        _texts,
        _texts,
        st.floats(allow_nan=False),
    ),
    st.builds(Shared, st.integers(0, 2**63 - 1), _texts, _files, st.floats(allow_nan=False)),
)

SEARCHED_LINES = [
    "The build is red",
    "the BUILD is green, is it not?",
    "Crème brûlée; naïve façade. Ångström ẞ",
    "don't touch src/parser.py: it's ann@example.org's",
    "你好，世界。今天天气很好",
    "Привет, мир! Ёлка",
    "NOT and OR near NEAR(a b) text:x ^y z* {q}",
    "😀 🚀 ok",
    "build the red",
    "e\u0301a and pi\u00f1ata",
    "",
    "!!! ... ---",
    "private \ue000\ue001 use, ½ and 42nd",
]
QUERIES_BY_MATCHES: list[tuple[list[int], list[str]]] = [
    ([1, 2, 9], ["build", "!!! build !!!", ' " build " ']),
    ([1, 2], ['"the build"', '"the build', "the\0build", "the\ud800build", "is is is"]),
    ([1, 9], ["BuIlD ReD"]),
    ([2], ['"the build" green', 'green"the build"is']),
    ([3], ["creme BRULEE", "crème", "cre\u0300me", "angstrom"]),
    ([4], ["don't", "parser.py", "src/parser", "parser src", "example.org"]),
    ([5], ["你好"]),
    ([6], ["ПРИВЕТ", "Мир"]),
    ([2, 7], ["NOT"]),
    ([7], ["and OR near", "NEAR(a b)", "near(a", "text:x", "^y", "z*", "{q}", "a + b"]),
    ([8], ["🚀 ok"]),
    ([9], ['"build the"']),
    ([10], ["éa", "pinata"]),
    ([13], ["\ue000\ue001", "42ND"]),
    ([], ["buil", "dont", "org.example", "你", "build NOT red", "nick:x", "bu*", "build\0red", '"is is"']),
    ([], ["😀", "!!!", '"..." "---"', '""', '"', '"""', '"" ""', '" "', "\0", "\x01\x1b", "\ud800"]),
    ([], ["'; DROP TABLE events; --"]),
]
"""The numbers of the ``SEARCHED_LINES`` that match, and queries that match just these."""

_searched_text = st.text(st.sampled_from("aAbBzZéÉüçÑž19_-'.,:!*^()你好жЖ😀 "), max_size=12)


def _model_words(text: str) -> list[str]:
    """Return the words of *text*; exact for the characters of ``_searched_text``."""
    plain = re.sub("[\u0300-\u036f]", "", normalize("NFD", text)).casefold()
    return re.findall(r"[^\W_]+", plain)


def _model_matches(text: str, query: SearchQuery) -> bool:
    """Return whether *text* matches *query*, by the words of ``_model_words``."""
    words = _model_words(text)
    phrases = [phrase for phrase in map(_model_words, query.phrases) if phrase]
    return bool(phrases) and all(
        phrase in [words[start : start + len(phrase)] for start in range(len(words))] for phrase in phrases
    )


class SearchContract:
    """The promises about searches. Each implementation, and each state of an index, runs them."""

    def fresh(self) -> AbstractContextManager[Harness]:
        """Open a new, empty journal."""
        raise NotImplementedError

    @pytest.fixture
    def run(self) -> Iterator[Harness]:
        with self.fresh() as run:
            yield run

    def test_search_finds_lines_with_all_words_and_phrases(self, run: Harness) -> None:
        run.append_texts(SEARCHED_LINES)
        found = [
            (expected, {query: run.matches(query) for query in queries}) for expected, queries in QUERIES_BY_MATCHES
        ]
        assert found == [(expected, dict.fromkeys(queries, expected)) for expected, queries in QUERIES_BY_MATCHES]

    def test_search_returns_the_same_events_as_read(self, run: Harness) -> None:
        assert run.search("line") == []
        events = run.append(message("a line"), Action(8, "line", "waves", 2.0), Action(8, "bob", "draws a line", 3.0))
        assert run.search("line") == [events[0], events[2]]
        assert run.search("ann") == []

    def test_search_returns_newest_matches_up_to_last_in_order(self, run: Harness) -> None:
        run.append_texts(f"line {number % 3}" for number in range(1, 31))
        assert run.matches("line", limit=4) == [27, 28, 29, 30]
        assert run.matches("line", limit=1) == [30]
        assert run.matches("1", limit=4) == [19, 22, 25, 28]
        assert run.matches("1", limit=99) == list(range(1, 31, 3))
        assert run.matches("line", last=5, limit=2) == [4, 5]
        assert run.matches("line", last=9, limit=1) == [9]
        assert run.matches("line", last=0) == run.matches("line", last=-(10**30)) == []

    def test_line_is_found_as_soon_as_it_is_delivered(self, run: Harness) -> None:
        for number in range(1, 30):
            run.append_texts([f"line{number}"])
            assert run.matches(f"line{number}") == [number]

    def test_longest_query_is_answered(self, run: Harness) -> None:
        found = (*(piece * MAX_QUERY_CHARS for piece in ("a", "a ", "1 2 3 4 5 ")), '"' + "a " * MAX_QUERY_CHARS)
        for seq, line in enumerate(found, 1):
            run.append_texts([line])
            assert run.matches(line[:MAX_QUERY_CHARS], limit=1) == [seq], line[:10]
        for mark in '"()*^:+-\\':
            run.append_texts([mark * MAX_QUERY_CHARS])
            assert run.matches(mark * MAX_QUERY_CHARS) == [], mark

    def test_search_covers_thousands_of_lines(self, run: Harness) -> None:
        run.append_texts("rare" if number % 4000 == 1 else "common" for number in range(1, 10_001))
        assert run.matches("RARE") == [1, 4001, 8001]
        assert run.matches("common", limit=2, last=8001) == [7999, 8000]
        assert run.search("common rare") == []

    def test_search_splits_words_like_the_tokenizer(self) -> None:
        parts = st.one_of(_searched_text, _searched_text.map('"{}"'.format))

        @settings(max_examples=600 if LONG else 10, deadline=None)
        @given(st.lists(_searched_text, min_size=1, max_size=12), st.lists(parts, max_size=3))
        def check(lines: list[str], parts: list[str]) -> None:
            query = " ".join(parts)
            with self.fresh() as run:
                run.append_texts(lines)
                matching = [line for line in lines if _model_matches(line, parse_query(query))]
                assert [event.text for event in run.search(query, 99, 99)] == matching

        check()

    def test_any_text_is_a_valid_query_and_finds_itself(self) -> None:
        anything = st.text(max_size=MAX_QUERY_CHARS)

        @settings(max_examples=600 if LONG else 10, deadline=None)
        @given(anything.filter(lambda text: max(text, default="") < "\ud800" or text.isprintable()), anything)
        @example("a", 'a" OR "b')
        @example("a", '\ud800\0"')
        def check(text: str, other: str) -> None:
            with self.fresh() as run:
                (event,) = run.append_texts([text])
                run.search(other)
                if not isinstance(event, StoreFailed):
                    found = [event.text for event in run.search(text)]
                    assert found in ([text], [])
                    assert found or not re.search("[0-9A-Za-z]", text)

        check()


class JournalContract(SearchContract):
    """All promises of a journal. The test class of each implementation inherits them."""

    def test_events_are_delivered_in_order_and_stored_ones_are_read_back(self) -> None:
        # The property is a local function: pytest-twisted would wrap a @given method once for each inheriting class.
        @settings(max_examples=400 if LONG else 10, deadline=None)
        @given(st.lists(st.one_of(_stored_events, st.sampled_from(TRANSIENT)), min_size=1, max_size=40))
        @example([*TRANSIENT[:3], message("a"), *TRANSIENT[3:], Action(8, "bob", "waves", 2.0), message("c")])
        @example([message("a\0b \U0001f600 \U0010ffff \ufeff \u2028 é e\u0301")])
        def check(events: list[Event]) -> None:
            with self.fresh() as run:
                assert (run.tail, run.read(1, 100)) == ([], [])
                expected: list[Event] = []
                stored: list[Stored] = []
                for event in events:
                    if isinstance(event, STORED):
                        stored.append(replace(event, seq=len(stored) + 1))
                        expected.append(stored[-1])
                    else:
                        expected.append(event)
                assert run.append(*events) == expected
                assert run.read(1, len(stored)) == stored

        check()

    def test_thousands_of_events_are_delivered_in_order(self, run: Harness) -> None:
        texts = [str(number) for number in range(3000)]
        assert run.append_texts(texts) == [message(text, seq) for seq, text in enumerate(texts, 1)]

    def test_event_that_is_not_unicode_is_counted_and_not_stored(self, run: Harness) -> None:
        invalid: list[Event] = [message("\ud800"), Action(1, "\udfff", "waves", 1.0)]
        first, *failed, last = run.append(message("a"), *invalid, *TRANSIENT, message("b"))
        assert (first, last) == (message("a", 1), message("b", 2))
        for event, failure in zip(invalid, failed[:2], strict=True):
            assert isinstance(failure, StoreFailed)
            assert failure.event == event
            assert failure.reason
            assert "\n" not in failure.reason
        assert seqs(run.read(1, 9)) == [1, 2]
        assert (run.journal.commit_stats.failed_events, run.journal.commit_stats.last_error) == (2, "")

    def test_read_takes_any_range_and_includes_both_ends(self, run: Harness) -> None:
        stored = run.append_texts("abcde")
        assert run.read(2, 4) == stored[1:4]
        assert run.read(5, 5) == stored[4:]
        assert run.read(4, 99) == stored[3:]
        assert run.read(-5, 2) == stored[:2]
        assert run.read(-(10**30), 10**30) == stored
        for first, last in ((6, 9), (-9, 0), (2, 1), (10**29, 10**30), (-(10**30), -(10**29))):
            assert run.read(first, last) == []

    def test_callbacks_run_later_and_on_the_reactor_thread(self, run: Harness) -> None:
        threads: list[int] = []
        run.log.subscribe(lambda _, foreign=(): threads.append(threading.get_ident()))  # noqa: ARG005
        run.log.append(message("a"))
        run.log.read(1, 1, lambda _: threads.append(threading.get_ident()))
        assert threads == []
        run.calls.run_until(lambda: len(threads) == 2)
        assert set(threads) == {threading.get_ident()}

    def test_events_of_one_turn_are_delivered_together(self, run: Harness) -> None:
        for _ in range(2):
            before = run.batches
            assert run.append_texts("abcdef") == run.delivered[-6:]
            assert run.batches == before + 1
            assert run.calls.queue.empty()

    def test_close_ends_deliveries_and_later_calls_do_no_harm(self, run: Harness) -> None:
        for number in range(1000):
            run.log.append(message(str(number)))
        run.journal.close()
        run.journal.close()
        run.log.append(message("a"))
        assert isinstance(run.try_read(1, 1), (list, JournalError))
        assert isinstance(run.try_search(parse_query("a"), 1, 1), (list, JournalError))
        run.calls.run_pending()
        assert run.delivered == []

    # Rooms

    def test_each_room_has_its_own_numbers_history_and_search(self, run: Harness) -> None:
        kitchen = run.open_room("kitchen")
        assert (kitchen.last_seq, kitchen.topic, kitchen.tail) == (0, "", [])
        assert run.append_texts(["red", "blue"]) == [message("red", 1), message("blue", 2)]
        assert kitchen.append_texts(["a red pot"]) == [message("a red pot", 1)]
        assert run.append_texts(["red again"]) == [message("red again", 3)]
        assert ([event.text for event in run.read(1, 9)], run.matches("red")) == (["red", "blue", "red again"], [1, 3])
        assert ([event.text for event in kitchen.read(-9, 10**30)], kitchen.matches("red")) == (["a red pot"], [1])

    def test_rooms_receive_only_their_own_events_in_order(self) -> None:
        @settings(max_examples=200 if LONG else 8, deadline=None)
        @given(st.lists(st.tuples(st.integers(0, 3), st.one_of(_stored_events, st.sampled_from(TRANSIENT)))))
        def check(events: list[tuple[int, Event]]) -> None:
            with self.fresh() as run:
                rooms: list[RoomHarness] = [run, *(run.open_room(name) for name in ("a", "b", "c"))]
                expected: list[list[Event]] = [[] for _ in rooms]
                for number, event in events:
                    seq = 1 + sum(isinstance(earlier, STORED) for earlier in expected[number])
                    copy = replace(event, seq=seq) if isinstance(event, STORED) else replace(event)
                    expected[number].append(copy)
                    rooms[number].log.append(replace(event))
                run.calls.run_until(lambda: sum(len(room.delivered) for room in rooms) == len(events))
                assert [room.delivered for room in rooms] == expected
                for room, delivered in zip(rooms, expected, strict=True):
                    stored = [event for event in delivered if isinstance(event, STORED)]
                    assert room.read(1, len(events)) == stored

        check()

    def test_room_opens_again_with_its_topic_and_its_last_events(self, run: Harness) -> None:
        room = run.open_room("kitchen")
        room.append(TopicChanged(1, "ann", "lunch"), *map(message, "abc"))
        room.log.close()
        room = run.open_room("kitchen", tail=2)
        assert (room.last_seq, room.topic, seqs(room.tail)) == (3, "lunch", [2, 3])
        assert room.append_texts("d") == [message("d", 4)]
        room.log.close()
        room = run.open_room("kitchen")
        assert (room.last_seq, room.topic, room.tail) == (4, "lunch", [])
        assert [event.text for event in room.read(1, 9)] == list("abcd")
        assert run.open_room("other").last_seq == 0

    def test_room_in_which_nothing_was_stored_leaves_no_trace(self, run: Harness) -> None:
        for _ in range(3):
            room = run.open_room("kitchen", tail=5)
            assert (room.last_seq, room.topic, room.tail) == (0, "", [])
            assert room.append(Joined(1, "ann"), Left(1, "ann")) == [Joined(1, "ann"), Left(1, "ann")]
            room.log.close()

    def test_topic_is_stored_for_each_room_until_it_is_removed(self, run: Harness) -> None:
        room = run.open_room("kitchen")
        for log, texts in ((run, ["x", "y"]), (room, ["lunch", "dinner \0 \U0001f600", ""]), (run, ["z"])):
            for text in texts:
                assert log.append(TopicChanged(1, "ann", text)) == [TopicChanged(1, "ann", text)]
        events: list[Event] = [TopicChanged(1, "ann", "tea"), message("a"), TopicChanged(1, "ann", "x"), message("b")]
        assert seqs(run.append(*events)) == [1, 2]
        room.log.close()
        assert run.open_room("kitchen").topic == ""

        (failure,) = run.append(TopicChanged(1, "ann", "\ud800"))
        assert isinstance(failure, StoreFailed)
        assert failure.event == TopicChanged(1, "ann", "\ud800")
        assert run.journal.commit_stats.failed_events == 1

    def test_uids_are_stored_and_read_back_in_order(self, run: Harness) -> None:
        room = run.open_room("kitchen")
        for each in (run, room):
            each.append(*(Message(1, "ann", f"line {number}", 1.0, uid=uid) for number, uid in enumerate(UIDS)))
            each.append(Action(1, "ann", "waves", 1.0, uid="action"))
        assert room.read_uids(1, 99) == run.read_uids(-(10**30), 10**30) == [("b", 2), ("d-_9", 4), ("action", 6)]
        assert run.read_uids(3, 5) == [("d-_9", 4)]
        assert run.read_uids(5, 5) == run.read_uids(7, 99) == run.read_uids(4, 3) == run.read_uids(-5, 0) == []
        assert [event.uid for event in run.read(1, 9)] == [*UIDS, "action"]

    def test_files_are_stored_with_their_events_and_found(self, run: Harness) -> None:
        room = run.open_room("kitchen")
        assert (run.read_files(), room.read_files()) == ([], [])
        for each in (run, room):
            assert each.append(message("report"), shared("report a.pdf", uid="u"), shared("b c.png")) == [
                *(message("report", 1), shared("report a.pdf", 2, "u"), shared("b c.png", 3))
            ]
        assert run.read(2, 3) == run.read_files() == [shared("report a.pdf", 2, "u"), shared("b c.png", 3)]
        assert run.read_files(limit=1) == run.read_files(last=3, limit=1) == [shared("b c.png", 3)]
        assert (run.read_files(last=2), run.read_files(last=1)) == ([shared("report a.pdf", 2, "u")], [])
        assert (run.matches("report"), run.matches("c.png"), run.read_uids(1, 9)) == ([1, 2], [3], [("u", 2)])
        room.log.close()
        assert run.open_room("kitchen", tail=2).tail == run.read(2, 3)

    def test_file_with_a_name_that_is_not_unicode_is_not_stored(self, run: Harness) -> None:
        (failure,) = run.append(shared("\ud800"))
        assert isinstance(failure, StoreFailed)
        assert failure.event == shared("\ud800")
        assert run.read_files() == []

    def test_uids_of_many_lines_are_found(self, run: Harness) -> None:
        run.append(*(Message(1, "ann", "x", 1.0, uid=str(number) if number % 3 else "") for number in range(5000)))
        expected = [(str(number), number + 1) for number in range(5000) if number % 3]
        assert run.read_uids(1, 5000) == expected

    def test_closed_journal_opens_no_room(self, run: Harness) -> None:
        run.journal.close()
        answers: list[OpenedRoom | JournalError] = []
        run.journal.open_room("kitchen", 1, answers.append)
        assert answers == []
        run.calls.run_until(lambda: bool(answers))

    def test_journal_has_a_random_id(self, run: Harness) -> None:
        assert re.fullmatch("[0-9a-f]{32}", run.journal.id)
        with self.fresh() as other:
            assert other.journal.id != run.journal.id

    def test_names_may_be_long_and_hold_anything(self, run: Harness) -> None:
        names = [
            "x" * 32,
            "x" * 33,
            "",
            "Lobby",
            "lobby ",
            "\0",
            "'; DROP TABLE rooms; --",
            "\U0001f600",
            "é",
            "e\u0301",
        ]
        rooms = [run.open_room(name) for name in names]
        assert [seqs(room.append_texts(["a"])) for room in rooms] == [[1]] * len(rooms)
        for room, name in zip(rooms, names, strict=True):
            room.log.close()
            assert run.open_room(name).last_seq == 1
