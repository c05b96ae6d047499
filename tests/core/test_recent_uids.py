"""A line with a uid is stored once, however often its program sends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from broadcast.core.errors import JournalError, UidReused
from broadcast.core.events import Action, Line, Message, Stored, StoreFailed
from broadcast.core.interfaces import ReadCallback, UidsCallback
from broadcast.core.recent_uids import REMEMBERED_LINES, RecentUids

Answers = list[Stored | StoreFailed | UidReused | JournalError]


class Log:
    """A log whose stored lines are *lines*. It answers in ``turn``."""

    def __init__(self, lines: Sequence[Stored] = ()) -> None:
        self.lines = {line.seq: line for line in lines}
        self.error: JournalError | None = None
        self.uid_reads: list[tuple[int, int]] = []
        self._soon: list[Callable[[], None]] = []

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        found = [self.lines[seq] for seq in range(first, last + 1) if seq in self.lines]
        self._soon.append(lambda: on_result(self.error or found))

    def read_uids(self, first: int, last: int, on_result: UidsCallback) -> None:
        self.uid_reads.append((first, last))
        found = [(line.uid, seq) for seq, line in self.lines.items() if first <= seq <= last and line.uid]
        self._soon.append(lambda: on_result(self.error or found))

    def turn(self) -> None:
        soon, self._soon = self._soon, []
        for call in soon:
            call()


class Uids(RecentUids):
    """The uids of a room whose log stores each line at once, and which has *last* lines."""

    def __init__(self, log: Log, last: int = 0) -> None:
        super().__init__(log)
        self.log = log
        self.last = last
        self.answers: Answers = []

    def load_now(self) -> list[JournalError | None]:
        loaded: list[JournalError | None] = []
        self.load(self.last, loaded.append)
        self.log.turn()
        return loaded

    def send(self, text: str, uid: str, nick: str = "bot", kind: type[Line] = Message) -> Stored | None:
        """Return the line that is to be stored now, or None for a repetition."""
        line = kind(1, nick, text, 0.0, uid=uid)
        return None if self.is_repetition(line, self.answers.append) else line

    def store(self, line: Stored | None) -> Stored:
        assert line is not None
        self.last += 1
        line.seq = self.last
        self.log.lines[line.seq] = line
        for call in self.record(line):
            call()
        return line


@pytest.fixture
def uids() -> Uids:
    uids = Uids(Log())
    assert uids.load_now() == [None]
    return uids


def test_repetition_is_answered_with_the_first_line(uids: Uids) -> None:
    first = uids.store(uids.send("hi", "a"))
    assert uids.send("hi", "a") is None
    assert uids.answers == []
    uids.log.turn()
    assert uids.answers == [first]
    assert uids.send("hi", "b") is not None


def test_question_for_a_repetition_does_not_claim_the_uid(uids: Uids) -> None:
    line = Message(1, "bot", "hi", 0.0, uid="a")
    assert not uids.answer_repetition(line, uids.answers.append)
    first = uids.store(uids.send("hi", "a"))
    assert uids.answer_repetition(line, uids.answers.append)
    uids.log.turn()
    assert uids.answers == [first]


def test_repetition_waits_while_the_first_line_is_being_stored(uids: Uids) -> None:
    line = uids.send("hi", "a")
    assert uids.send("hi", "a") is None
    assert uids.send("ho", "a") is None
    assert uids.answers == []
    first = uids.store(line)
    reused = uids.answers.pop()
    assert isinstance(reused, UidReused)
    assert (str(reused), reused.seq) == ("line #1 has the same uid, but another text or author.", 1)
    assert uids.answers == [first]


def test_line_that_could_not_be_stored_can_be_sent_again(uids: Uids) -> None:
    line = uids.send("hi", "a")
    assert line is not None
    assert uids.send("hi", "a") is None
    failure = StoreFailed(line, "disk full")
    for call in uids.forget(failure, "a") or ():
        call()
    assert uids.answers == [failure]
    assert uids.store(uids.send("hi", "a")).seq == 1


@pytest.mark.parametrize(
    ("text", "nick", "kind"), [("ho", "bot", Message), ("hi", "other", Message), ("hi", "bot", Action)]
)
def test_uid_of_another_line_is_refused(uids: Uids, text: str, nick: str, kind: type[Line]) -> None:
    uids.store(uids.send("hi", "a"))
    assert uids.send(text, "a", nick, kind) is None
    uids.log.turn()
    assert [type(answer) for answer in uids.answers] == [UidReused]


def test_uids_in_the_journal_are_known_once_they_are_loaded() -> None:
    lines: list[Stored] = [
        Message(0, "bot", "hi", 0.0, 1, uid="a"),
        Message(0, "bot", "ho", 0.0, 2),
        Action(0, "bot", "x", 0.0, 3),
    ]
    uids = Uids(Log(lines), 3)
    loaded: list[JournalError | None] = []
    uids.load(3, loaded.append)
    uids.load(3, loaded.append)
    assert (uids.loaded, loaded) == (False, [])
    uids.log.turn()
    assert (uids.loaded, loaded) == (True, [None, None])
    assert uids.log.uid_reads == [(1, 3)]
    assert uids.send("hi", "a") is None
    uids.log.turn()
    assert uids.answers == [lines[0]]


def test_failed_load_is_reported_and_can_be_repeated() -> None:
    uids = Uids(Log())
    uids.log.error = error = JournalError("disk gone")
    assert uids.load_now() == [error]
    assert not uids.loaded
    uids.log.error = None
    assert uids.load_now() == [None]
    assert uids.loaded


def test_line_that_cannot_be_read_is_reported(uids: Uids) -> None:
    uids.store(uids.send("hi", "a"))
    uids.log.error = error = JournalError("disk gone")
    assert uids.send("hi", "a") is None
    uids.log.turn()
    uids.log.error = None
    uids.log.lines.clear()
    assert uids.send("hi", "a") is None
    uids.log.turn()
    assert uids.answers[0] is error
    assert str(uids.answers[1]) == "the line with this uid cannot be read"


def test_only_the_recent_lines_of_the_journal_are_read() -> None:
    last = 5 * REMEMBERED_LINES
    uids = Uids(Log(), last)
    uids.load_now()
    assert uids.log.uid_reads == [(4 * REMEMBERED_LINES + 1, last)]


@pytest.mark.parametrize("start", [0, 7 * REMEMBERED_LINES])
def test_uids_of_the_last_lines_are_known_and_those_of_much_older_ones_forgotten(start: int) -> None:
    lines = [Message(0, "bot", "old", 0.0, start, uid="old")] if start else []
    uids = Uids(Log(lines), start)
    uids.load_now()
    sent = range(start + 1, start + 4 * REMEMBERED_LINES, 20_000)
    for seq in sent:
        uids.last = seq - 1
        uids.store(uids.send(f"line {seq}", f"u{seq}"))
        known = {number for number in sent if number <= seq and uids.send(f"line {number}", f"u{number}") is None}
        assert {number for number in sent if seq - REMEMBERED_LINES < number <= seq} <= known
        assert len(known) <= 2 * REMEMBERED_LINES / 20_000 + 2
        for number in sent:
            uids._pending.pop(f"u{number}", None)
    assert uids.send("old", "old") is not None
