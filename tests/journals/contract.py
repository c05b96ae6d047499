"""What every journal promises, as tests that each implementation runs."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from queue import Empty, SimpleQueue
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broadcast.core.errors import JournalError
from broadcast.core.events import (
    Action,
    Announced,
    Event,
    Joined,
    Left,
    Message,
    PrivateMessage,
    Renamed,
    Stored,
    StoreFailed,
)
from broadcast.core.interfaces import Journal
from broadcast.core.search_query import MAX_QUERY_CHARS, SearchQuery, parse_query

LONG = bool(os.environ.get("BROADCAST_LONG"))
PATIENCE = 60.0
"""Seconds after which a test gives up waiting."""


class Turns:
    """Stands in for the reactor: what was asked for waits here until the test lets it run."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def wake(self, call: Callable[[], None]) -> None:
        self.calls.put(call)

    def until(self, done: Callable[[], bool]) -> None:
        """Run what was asked for until *done*."""
        while not done():
            self.calls.get(timeout=PATIENCE)()

    def settle(self) -> None:
        """Run what was asked for so far."""
        while True:
            try:
                call = self.calls.get_nowait()
            except Empty:
                return
            call()


class Harness:
    """A journal in use, and what has come back from it."""

    def __init__(self, journal: Journal, turns: Turns, tail: int = 0) -> None:
        self.journal = journal
        self.turns = turns
        self.tail = journal.open(tail)
        self.back: list[Event] = []
        self.batches = 0
        journal.subscribe(self._take)

    def _take(self, events: Sequence[Event]) -> None:
        self.back.extend(events)
        self.batches += 1

    def append(self, *events: Event) -> list[Event]:
        """Append *events*; what comes back for them."""
        before = len(self.back)
        for event in events:
            self.journal.append(event)
        self.turns.until(lambda: len(self.back) >= before + len(events))
        return self.back[before:]

    def ask(self, first: int, last: int) -> Sequence[Stored] | JournalError:
        """The answer to a read."""
        answers: list[Sequence[Stored] | JournalError] = []
        self.journal.read(first, last, answers.append)
        self.turns.until(lambda: bool(answers))
        return answers[0]

    def search_for(self, words: SearchQuery, last: int, most: int) -> Sequence[Stored] | JournalError:
        """The answer to a search."""
        answers: list[Sequence[Stored] | JournalError] = []
        self.journal.search(words, last, most, answers.append)
        assert answers == []
        self.turns.until(lambda: bool(answers))
        return answers[0]

    def search(self, line: str, last: int = 10**30, most: int = 50) -> Sequence[Stored]:
        """The same, as people ask, where it must not be an error."""
        answer = self.search_for(parse_query(line), last, most)
        assert not isinstance(answer, JournalError), answer
        return answer

    def read(self, first: int, last: int) -> Sequence[Stored]:
        """The same, where it must not be an error."""
        answer = self.ask(first, last)
        assert not isinstance(answer, JournalError), answer
        return answer


@contextmanager
def opened(journal: Journal, turns: Turns, tail: int = 0, kind: type[Harness] = Harness) -> Iterator[Harness]:
    """*journal*, open, and closed at the end."""
    try:
        yield kind(journal, turns, tail)
    finally:
        journal.close()


def said(text: str, who: int = 7) -> Message:
    return Message(who, "ann", text, 1_700_000_000.25)


def recalled(event: Event) -> Stored:
    """A kept event as a journal reads it: the session is not remembered."""
    assert isinstance(event, (Message, Action))
    return type(event)(0, event.nick, event.text, event.at, event.seq)


PASSING: list[Event] = [
    Joined(1, "ann"),
    Left(1, "ann", "tired"),
    Renamed(1, "ann", "bob"),
    Announced("closing"),
    PrivateMessage(1, "ann", 2, "psst"),
    StoreFailed(said("x"), "because"),
]

texts = st.text(st.characters(exclude_categories=["Cs"]))
kept_events = st.builds(
    lambda kind, who, nick, text, at: kind(who, nick, text, at),
    st.sampled_from([Message, Action]),
    st.integers(0, 2**70),
    texts,
    texts,
    st.floats(allow_nan=False),
)


SAID = [
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
FOUND: dict[str, list[int]] = {
    "build": [1, 2, 9],
    "BuIlD ReD": [1, 9],
    '"the build"': [1, 2],
    '"build the"': [9],
    '"the build" green': [2],
    'green"the build"is': [2],
    '"the build': [1, 2],
    "buil": [],
    "creme BRULEE": [3],
    "crème": [3],
    "cre\u0300me": [3],
    "angstrom": [3],
    "éa": [10],
    "pinata": [10],
    "don't": [4],
    "dont": [],
    "parser.py": [4],
    "src/parser": [4],
    "parser src": [4],
    "example.org": [4],
    "org.example": [],
    "你好": [5],
    "你": [],
    "ПРИВЕТ": [6],
    "Мир": [6],
    "NOT": [2, 7],
    "build NOT red": [],
    "and OR near": [7],
    "NEAR(a b)": [7],
    "near(a": [7],
    "text:x": [7],
    "nick:x": [],
    "^y": [7],
    "bu*": [],
    "z*": [7],
    "{q}": [7],
    "a + b": [7],
    "😀": [],
    "🚀 ok": [8],
    "!!!": [],
    "!!! build !!!": [1, 2, 9],
    '"..." "---"': [],
    '""': [],
    '"': [],
    '"""': [],
    '"" ""': [],
    '" "': [],
    ' " build " ': [1, 2, 9],
    "'; DROP TABLE events; --": [],
    "build\0red": [],
    "the\0build": [1, 2],
    "\0": [],
    "\x01\x1b": [],
    "the\ud800build": [1, 2],
    "\ud800": [],
    "\ue000\ue001": [13],
    "42ND": [13],
    "is is is": [1, 2],
    '"is is"': [],
}
"""What is asked, and the numbers of the lines of ``SAID`` that hold it."""

_LETTERS = "aAbBzZéÉüçÑž19"
_spelled = st.text(st.sampled_from(_LETTERS + "_-'.,:!*^()你好жЖ😀 "), max_size=12)


def _model(text: str) -> list[str]:
    """The words of *text*, as far as the characters of ``_spelled`` go."""
    plain = re.sub("[\u0300-\u036f]", "", normalize("NFD", text)).casefold()
    return re.findall(r"[^\W_]+", plain)


def _holds(text: str, wanted: SearchQuery) -> bool:
    """Whether *text* holds *wanted*, likewise."""
    words = _model(text)
    phrases = [phrase for phrase in map(_model, wanted.phrases) if phrase]
    spans = [[words[at : at + len(phrase)] for at in range(len(words))] for phrase in phrases]
    return bool(phrases) and all(phrase in span for phrase, span in zip(phrases, spans, strict=True))


class SearchContract:
    """What a search finds, mixed into the test class of each implementation and of each way that it searches."""

    def fresh(self) -> AbstractContextManager[Harness]:
        """A new, empty journal in use."""
        raise NotImplementedError

    def test_it_finds_the_lines_that_hold_all_words_whatever_is_asked(self) -> None:
        with self.fresh() as run:
            run.append(*map(said, SAID))
            assert {line: [event.seq for event in run.search(line)] for line in FOUND} == FOUND

    def test_it_finds_events_as_a_read_does(self) -> None:
        with self.fresh() as run:
            back = run.append(said("a line"), Action(8, "line", "waves", 2.0), Action(8, "bob", "draws a line", 3.0))
            assert run.search("line") == [recalled(back[0]), recalled(back[2])]
            assert run.search("ann") == []

    def test_it_finds_the_newest_and_hands_them_back_ascending(self) -> None:
        with self.fresh() as run:
            run.append(*(said(f"line {number % 3}") for number in range(1, 31)))
            assert [event.seq for event in run.search("line", most=4)] == [27, 28, 29, 30]
            assert [event.seq for event in run.search("1", most=4)] == [19, 22, 25, 28]
            assert [event.seq for event in run.search("1", most=99)] == list(range(1, 31, 3))
            assert [event.seq for event in run.search("line", most=1)] == [30]

    def test_it_finds_nothing_beyond_the_last_that_it_is_given(self) -> None:
        with self.fresh() as run:
            run.append(*(said("x") for _ in range(9)))
            assert [event.seq for event in run.search("x", last=5, most=2)] == [4, 5]
            assert [event.seq for event in run.search("x", last=9, most=1)] == [9]
            assert run.search("x", last=0) == run.search("x", last=-(10**30)) == []

    def test_a_journal_without_lines_holds_nothing(self) -> None:
        with self.fresh() as run:
            assert run.search("x") == []

    def test_a_line_is_found_as_soon_as_it_has_come_back(self) -> None:
        with self.fresh() as run:
            for number in range(1, 30):
                run.append(said(f"line{number}"))
                assert [event.seq for event in run.search(f"line{number}")] == [number]

    @pytest.mark.parametrize(
        "line",
        ["a " * MAX_QUERY_CHARS, f'"{"a " * MAX_QUERY_CHARS}', "a" * MAX_QUERY_CHARS, "1 2 3 4 5 " * MAX_QUERY_CHARS],
    )
    def test_the_longest_questions_are_answered(self, line: str) -> None:
        with self.fresh() as run:
            run.append(said("b"), said(line))
            assert [event.seq for event in run.search(line[:MAX_QUERY_CHARS])] == [2]

    @pytest.mark.parametrize("character", '"()*^:+-\\')
    def test_the_longest_questions_for_nothing_are_answered(self, character: str) -> None:
        with self.fresh() as run:
            run.append(said("b"), said(character * MAX_QUERY_CHARS))
            assert run.search(character * MAX_QUERY_CHARS) == []

    def test_many_thousand_lines_are_all_looked_through(self) -> None:
        with self.fresh() as run:
            run.append(*(said("rare" if number % 4000 == 1 else "common") for number in range(1, 10_001)))
            assert [event.seq for event in run.search("RARE")] == [1, 4001, 8001]
            assert [event.seq for event in run.search("common", most=2, last=8001)] == [7999, 8000]
            assert run.search("common rare") == []

    def test_after_close_it_neither_raises_nor_blocks(self) -> None:
        with self.fresh() as run:
            run.append(said("a"))
            run.journal.close()
            assert isinstance(run.search_for(parse_query("a"), 1, 1), (list, JournalError))

    def test_words_are_what_the_tokenizer_takes_for_words(self) -> None:
        phrase = _spelled.map('"{}"'.format)

        @settings(max_examples=600 if LONG else 25, deadline=None)
        @given(st.lists(_spelled, min_size=1, max_size=12), st.lists(st.one_of(_spelled, phrase), max_size=3))
        def check(lines: list[str], parts: list[str]) -> None:
            wanted = parse_query(" ".join(parts))
            with self.fresh() as run:
                run.append(*map(said, lines))
                answer = run.search_for(wanted, 99, 99)
                assert not isinstance(answer, JournalError), answer
                assert [event.text for event in answer] == [line for line in lines if _holds(line, wanted)]

        check()

    def test_no_question_is_an_error_and_a_line_is_found_by_itself(self) -> None:
        anything = st.text(max_size=MAX_QUERY_CHARS)

        @settings(max_examples=600 if LONG else 25, deadline=None)
        @given(anything.filter(lambda text: max(text, default="") < "\ud800" or text.isprintable()), anything)
        @example("a", 'a" OR "b')
        @example("a", '\ud800\0"')
        def check(text: str, other: str) -> None:
            with self.fresh() as run:
                (back,) = run.append(said(text))
                run.search(other)
                if not isinstance(back, StoreFailed):
                    found = [event.text for event in run.search(text)]
                    assert found in ([text], [])
                    assert found or not re.search("[0-9A-Za-z]", text)

        check()


class JournalContract(SearchContract):
    """Mixed into the test class of each implementation."""

    def fresh(self) -> AbstractContextManager[Harness]:
        """A new, empty journal in use."""
        raise NotImplementedError

    def test_a_new_journal_is_empty(self) -> None:
        with self.fresh() as run:
            assert run.tail == []
            assert run.read(1, 100) == []

    def test_kept_events_come_back_with_dense_numbers_from_one(self) -> None:
        with self.fresh() as run:
            back = run.append(said("a"), Action(8, "bob", "waves", 2.0), said("c"))
            assert back == [said("a").with_seq(1), Action(8, "bob", "waves", 2.0, 2), said("c").with_seq(3)]

    def test_thousands_of_events_come_back_in_the_order_of_the_calls(self) -> None:
        events = [said(str(number)) for number in range(3000)]
        with self.fresh() as run:
            assert run.append(*events) == [event.with_seq(seq) for seq, event in enumerate(events, 1)]

    def test_passing_events_keep_their_place_and_take_no_number(self) -> None:
        with self.fresh() as run:
            back = run.append(*PASSING[:3], said("a"), *PASSING[3:], said("b"))
            assert back == [*PASSING[:3], said("a").with_seq(1), *PASSING[3:], said("b").with_seq(2)]
            assert [event.text for event in run.read(1, 9)] == ["a", "b"]

    def test_whatever_is_appended_comes_back_and_is_read_as_it_was(self) -> None:
        # The property stands inside: pytest-twisted would wrap a @given method once for each class that inherits it.
        @settings(max_examples=400 if LONG else 25, deadline=None)
        @given(st.lists(st.one_of(kept_events, st.sampled_from(PASSING)), min_size=1, max_size=40))
        def check(events: list[Event]) -> None:
            with self.fresh() as run:
                back = run.append(*events)
                seq = 0
                for event, returned in zip(events, back, strict=True):
                    if isinstance(event, (Message, Action)):
                        seq += 1
                        assert returned == event.with_seq(seq)
                    else:
                        assert returned == event
                kept = [recalled(event) for event in back if isinstance(event, (Message, Action))]
                assert run.read(1, seq) == kept

        check()

    def test_nul_and_characters_beyond_the_basic_plane_are_kept_as_they_are(self) -> None:
        text = "a\0b \U0001f600 \U0010ffff \ufeff \u2028 é e\u0301"
        with self.fresh() as run:
            run.append(said(text))
            assert [event.text for event in run.read(1, 1)] == [text]

    def test_what_is_not_unicode_is_not_kept_and_its_neighbours_are(self) -> None:
        with self.fresh() as run:
            broken, nameless = said("\ud800"), Action(1, "\udfff", "waves", 1.0)
            first, second, third, fourth = run.append(said("a"), broken, nameless, said("b"))
            assert (first, fourth) == (said("a").with_seq(1), said("b").with_seq(2))
            for event, back in ((broken, second), (nameless, third)):
                assert isinstance(back, StoreFailed)
                assert back.event == event
                assert back.reason
                assert "\n" not in back.reason
            assert [event.seq for event in run.read(1, 9)] == [1, 2]

    def test_a_read_includes_both_ends_and_leaves_out_numbers_never_given(self) -> None:
        with self.fresh() as run:
            kept = [recalled(event) for event in run.append(*(said(letter) for letter in "abcde"))]
            assert run.read(2, 4) == kept[1:4]
            assert run.read(5, 5) == kept[4:]
            assert run.read(4, 99) == kept[3:]
            assert run.read(-5, 2) == kept[:2]
            assert run.read(6, 9) == []
            assert run.read(-9, 0) == []

    def test_a_read_from_behind_its_end_finds_nothing(self) -> None:
        with self.fresh() as run:
            run.append(said("a"), said("b"))
            assert run.read(2, 1) == []

    def test_a_read_takes_numbers_of_any_size(self) -> None:
        with self.fresh() as run:
            run.append(said("a"))
            assert len(run.read(-(10**30), 10**30)) == 1
            assert run.read(10**29, 10**30) == []
            assert run.read(-(10**30), -(10**29)) == []

    def test_whoever_reads_learns_no_sessions(self) -> None:
        with self.fresh() as run:
            run.append(said("a", who=3))
            assert [event.session for event in run.read(1, 1)] == [0]

    def test_no_answer_comes_from_within_the_call_that_asked(self) -> None:
        with self.fresh() as run:
            answers: list[object] = []
            run.journal.append(said("a"))
            run.journal.read(1, 1, answers.append)
            assert run.back == []
            assert answers == []
            run.turns.until(lambda: bool(run.back and answers))

    def test_answers_come_on_the_thread_that_runs_the_turns_and_on_no_other(self) -> None:
        with self.fresh() as run:
            threads: list[int] = []
            run.journal.subscribe(lambda _: threads.append(threading.get_ident()))
            run.journal.append(said("a"))
            run.turns.until(lambda: len(threads) == 1)
            run.journal.read(1, 1, lambda _: threads.append(threading.get_ident()))
            run.turns.until(lambda: len(threads) == 2)
            assert set(threads) == {threading.get_ident()}

    def test_while_a_flush_is_pending_no_second_one_is_asked_for(self) -> None:
        with self.fresh() as run:
            run.journal.append(said("a"))
            flush = run.turns.calls.get(timeout=PATIENCE)
            for text in "bcdef":
                run.journal.append(said(text))
            deadline = time.monotonic() + PATIENCE
            while len(run.read(1, 6)) < 6:  # the turns that this takes would run a second flush, were there one
                assert time.monotonic() < deadline
            assert run.batches == 0
            flush()
            run.turns.until(lambda: len(run.back) == 6)
            assert [event.text for event in run.back if isinstance(event, Message)] == list("abcdef")

    def test_after_a_flush_the_next_event_asks_for_another(self) -> None:
        with self.fresh() as run:
            run.append(said("a"))
            assert run.batches == 1
            run.append(said("b"))
            assert run.batches == 2
            assert run.turns.calls.empty()

    def test_nothing_is_told_after_close(self) -> None:
        with self.fresh() as run:
            for number in range(1000):
                run.journal.append(said(str(number)))
            run.journal.close()
            run.turns.settle()
            assert run.back == []

    def test_calls_after_close_neither_raise_nor_block(self) -> None:
        with self.fresh() as run:
            run.journal.close()
            run.journal.close()
            run.journal.append(said("a"))
            assert isinstance(run.ask(1, 1), (list, JournalError))
            run.turns.settle()
            assert run.back == []

    def test_it_counts_what_it_could_not_keep(self) -> None:
        with self.fresh() as run:
            run.append(said("a"), said("\ud800"), *PASSING, said("b"))
            assert (run.journal.commit_stats.failed_events, run.journal.commit_stats.last_error) == (1, "")
