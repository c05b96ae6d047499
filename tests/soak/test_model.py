"""The model rejects each way in which a stream can be wrong, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.soak.model import (
    Answer,
    Attendance,
    Author,
    Log,
    LoudReference,
    Names,
    Recall,
    Reference,
    Remark,
    Stream,
    Unexplained,
    compare,
)

WELCOME = (
    b"Welcome to Broadcast.\r\nNickname:  * You are %b. Nobody else is here. /help lists the commands, quit leaves.\r\n"
)


def lines(*texts: str) -> bytes:
    return "".join(text + "\r\n" for text in texts).encode()


class Room:
    """A log that grows as people talk, and its readers."""

    def __init__(self) -> None:
        self.log = Log()
        self.people: dict[bytes, Author] = {}

    def author(self, name: str) -> Author:
        nick = name.encode()
        if nick not in self.people:
            self.people[nick] = self.log.owners[nick] = Author(nick, self.log)
        return self.people[nick]

    def say(self, nick: str, *texts: str, receipt: bool = False) -> None:
        for text in texts:
            self.author(nick).unseen.append(Remark(False, text.encode(), 0.0, receipt))
            self.log.record(lines(f"{nick}: {text}"))

    def rename(self, nick: str, new: str) -> None:
        author = self.author(nick)
        author.renames.append(new.encode())
        self.log.owners[new.encode()] = author
        self.log.record(lines(f" * {nick} is now {new}."))

    def reader(self, nick: str) -> Stream:
        """Return a reader that has come in and hides joins and leaves."""
        stream = Stream(self.log, self.author(nick))
        stream.feed(WELCOME % nick.encode())
        stream.noisy = False
        return stream

    def reference(self, *replay: str) -> Reference:
        stream = Reference(self.log, self.author("reference"))
        stream.feed(WELCOME % b"reference" + lines(*replay))
        return stream


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def bob(room: Room) -> Stream:
    """A reader, after whose arrival ann says three lines."""
    stream = room.reader("bob")
    room.say("ann", "one", "two", "three")
    return stream


THREE = ("ann: one", "ann: two", "ann: three")


def feed(stream: Stream, data: bytes, size: int) -> None:
    """Feed *data* in pieces of *size* bytes."""
    for at in range(0, len(data), size):
        stream.feed(data[at : at + size])


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_lines_of_log_are_explained_however_they_are_cut(bob: Stream, size: int) -> None:
    feed(bob, lines(*THREE), size)
    assert (bob.received, bob.waits) == (3, False)


WRONG = {
    "lost": ["ann: one", "ann: three"],
    "the first is lost": ["ann: two"],
    "doubled": ["ann: one", "ann: one", "ann: two"],
    "swapped": ["ann: one", "ann: three", "ann: two"],
    "changed": ["ann: one", "ann: twa"],
    "cut short": ["ann: one", "ann: tw", "ann: three"],
    "another line end": ["ann: one\nann: two"],
    "an empty line": ["ann: one", ""],
    "a hidden join": ["ann: one", " * carl joined."],
    "an answer that nobody asked for": ["ann: one", "-> pong"],
    "a receipt for another's line": ["ann: one", "-> #1"],
    "a private line that is none": ["ann: one", "[bob]"],
    "a gap notice that is too late": ["ann: one", " * You missed 1 line (#3-#3).", "ann: two"],
    "received and named as missed": ["ann: one", "ann: two", " * You missed 2 lines (#2-#3)."],
    "a gap notice with a wrong count": ["ann: one", " * You missed 5 lines (#2-#3)."],
    "named as missed, then received": ["ann: one", " * You missed 1 line (#2-#2).", "ann: two"],
    "a line after the goodbye": ["ann: one", " * Goodbye, bob.", "ann: two"],
    "another's goodbye": ["ann: one", " * Goodbye, ann."],
}


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_stream_is_rejected(bob: Stream, wrong: list[str], size: int) -> None:
    with pytest.raises(Unexplained, match="bob"):
        feed(bob, lines(*wrong), size)


def test_line_that_log_does_not_hold_yet_waits(room: Room) -> None:
    bob = room.reader("bob")
    bob.feed(b"ann: one\r\nann: t")
    assert (bob.waits, bob.received) == (True, 0)
    room.say("ann", "one")
    bob.go_on()
    assert (bob.waits, bob.received) == (False, 1)
    room.say("ann", "two")
    with pytest.raises(Unexplained, match="twx"):
        bob.feed(b"wx\r\n")


def test_own_lines_and_renames_are_not_received(room: Room) -> None:
    ann, bob, late = room.reader("ann"), room.reader("bob"), room.reader("dan")
    room.say("bob", "one")
    room.say("ann", "mine")
    room.rename("ann", "eve")
    room.say("bob", "two")
    ann.feed(lines("bob: one", "bob: two"))
    bob.feed(lines("ann: mine", " * ann is now eve."))
    assert (ann.received, bob.received) == (2, 2)
    with pytest.raises(Unexplained, match="ann: mine"):
        room.reader("ann").feed(lines("bob: one", "ann: mine"))
    late.feed(lines("bob: one", "ann: mine"))
    with pytest.raises(Unexplained, match="is now eve"):
        late.feed(lines("bob: two"))


RECEIPTS = {
    "right": (["bob: one", "-> #2", "bob: two"], True),
    "none": (["bob: one", "bob: two"], False),
    "too early": (["-> #2", "bob: one"], False),
    "another number": (["bob: one", "-> #1"], False),
    "twice": (["bob: one", "-> #2", "-> #2"], False),
    "too late": (["bob: one", "bob: two", "-> #2"], False),
}


@pytest.mark.parametrize(("received", "right"), RECEIPTS.values(), ids=RECEIPTS)
def test_receipt_stands_in_place_of_own_line(room: Room, received: list[str], right: bool) -> None:
    ann = room.reader("ann")
    room.say("bob", "one")
    room.say("ann", "mine", receipt=True)
    room.say("bob", "two")
    if right:
        ann.feed(lines(*received))
        assert ann.receipts == 1
    else:
        with pytest.raises(Unexplained, match="ann"):
            ann.feed(lines(*received))


def test_gap_notice_explains_lines_and_renames(bob: Stream, room: Room) -> None:
    bob.feed(lines("ann: one"))
    room.rename("ann", "eve")
    room.say("eve", "four")
    bob.feed(lines(" * You missed 2 lines (#2-#3).", "eve: four"))
    assert (bob.received, bob.missed, bob.notices) == (2, 2, 1)


def test_gap_may_hold_own_lines_but_not_their_receipts(room: Room) -> None:
    ann = room.reader("ann")
    room.say("bob", "one", "two")
    room.say("ann", "mine", receipt=True)
    room.say("bob", "three", "four")
    ann.feed(lines(" * You missed 2 lines (#1-#2).", "-> #3", " * You missed 2 lines (#3-#4).", "bob: four"))
    assert (ann.received, ann.receipts) == (1, 1)
    other = room.reader("ann")
    other.feed(lines(" * You missed 4 lines (#1-#4).", "bob: four", " * Goodbye, ann."))
    with pytest.raises(Unexplained, match="receipts"):
        other.end()


@pytest.mark.parametrize(
    ("shown", "right"),
    [(range(11, 31), True), (range(11, 30), False), (range(12, 31), False), ([*range(10, 20), *range(21, 31)], False)],
)
def test_newcomer_gets_last_twenty_lines(room: Room, shown: Sequence[int], right: bool) -> None:
    room.say("ann", *map(str, range(1, 31)))
    bob = room.reader("bob")
    bob.feed(lines(*(f"[14:02] ann: {number}" for number in shown)))
    room.say("ann", "31")
    if right:
        bob.feed(lines("ann: 31"))
        assert bob.received == 1
    else:
        with pytest.raises(Unexplained, match="bob"):
            bob.feed(lines("ann: 31"))


def test_answer_matches_what_was_asked(bob: Stream) -> None:
    heard: list[bytes] = []
    bob.answers.append(Answer(b"pong", heard.append))
    bob.feed(lines("ann: one", "-> pong", "ann: two"))
    assert heard == [b"pong"]
    bob.answers += [Names(), Answer(b"pong")]
    bob.feed(lines("-> 4 here: ann (away: lunch, idle 12m), bob,", "-> carol, dan (idle 5m)", "-> pong"))
    assert not bob.answers
    bob.answers.append(Answer(b"pong"))
    with pytest.raises(Unexplained, match="pang"):
        bob.feed(lines("-> pang"))


def test_wrong_number_of_names_is_rejected(bob: Stream) -> None:
    bob.answers.append(Names())
    with pytest.raises(Unexplained, match="carol"):
        bob.feed(lines("-> 4 here: ann, bob,", "-> carol"))


ONE, TWO, LAST, HI = (f"#{seq} [14:02] ann: {text}" for seq, text in enumerate(("one", "two", "three", "HÍ"), 1))
RECALLS = {
    "history": (Recall(2), [LAST, HI], True),
    "history lacks the first": (Recall(2), [HI], False),
    "history is too long": (Recall(2), [TWO, LAST, HI], False),
    "history has a hole": (Recall(2), [ONE, LAST], False),
    "history is empty": (Recall(2), [], False),
    "history is changed": (Recall(2), [LAST, HI.replace("Í", "I")], False),
    "history ends early": (Recall(2), ["nothing was said yet."], True),
    "search": (Recall(50, b"t"), [TWO, LAST], True),
    "search ignores case and accents": (Recall(50, b"hi"), [HI], True),
    "search finds nothing": (Recall(50, b"none"), ["nothing found."], True),
    "search finds something and nothing": (Recall(50, b"t"), [TWO, "nothing found."], False),
    "search shows a line without the word": (Recall(50, b"t"), [ONE], False),
    "search shows the last line first": (Recall(50, b"t"), [LAST, TWO], False),
    "search shows too much": (Recall(1, b"t"), [TWO, LAST], False),
}


@pytest.mark.parametrize(("asked", "shown", "right"), RECALLS.values(), ids=RECALLS)
def test_history_and_search_show_lines_of_log(
    bob: Stream, room: Room, asked: Recall, shown: list[str], right: bool
) -> None:
    room.say("ann", "HÍ")
    bob.answers.append(asked)
    answer = lines(*(f"-> {text}" for text in shown), "-> pong")
    if right:
        bob.feed(answer + lines("ann: one"))
        assert not bob.answers
    else:
        with pytest.raises(Unexplained, match="bob"):
            bob.feed(answer)


@pytest.mark.parametrize("early", ["-> #4 [14:02] ann: four", "-> #4", " * You missed 4 lines (#1-#4)."])
def test_line_that_names_unknown_number_waits(bob: Stream, room: Room, early: str) -> None:
    bob.answers.append(Recall(1))
    bob.feed(lines(early))
    assert bob.waits
    room.say("bob" if early == "-> #4" else "ann", "four", receipt=True)
    if early == "-> #4":
        bob.loose = False
        with pytest.raises(Unexplained, match="too early"):
            bob.go_on()
    else:
        bob.go_on()
        assert not bob.waits


@pytest.mark.parametrize("notice", [" * 9 people left.", " * bob left: tired", " * bob left."])
def test_only_leaving_reader_may_lack_its_own_leave(room: Room, bob: Stream, notice: str) -> None:
    room.log.add_notice(lines(notice), None)
    room.say("ann", "four")
    bob.feed(lines(*THREE))
    with pytest.raises(Unexplained, match="left"):
        bob.feed(lines("ann: four"))
    bob.leaving = True
    bob.feed(lines(" * Goodbye, bob."))  # The rejected line is judged again.
    assert bob.over


def test_goodbye_comes_after_everything_that_was_said_before(bob: Stream) -> None:
    bob.must_reach = len(bob.log.lines)
    bob.feed(lines("ann: one", "ann: two"))
    with pytest.raises(Unexplained, match="goodbye"):
        bob.feed(lines(" * Goodbye, bob."))


@pytest.mark.parametrize("received", [b"", lines(*THREE), lines(*THREE) + b"ann"])
def test_end_without_goodbye_is_rejected(bob: Stream, received: bytes) -> None:
    bob.feed(received)
    with pytest.raises(Unexplained, match="bob"):
        bob.end()


def test_end_after_goodbye_is_right_unless_an_answer_is_missing(bob: Stream) -> None:
    bob.feed(lines(*THREE, " * Goodbye, bob."))
    bob.end()
    assert bob.author.left_well
    bob.answers.append(Answer(b"pong"))
    with pytest.raises(Unexplained, match="pong"):
        bob.end()


# The log itself

UNSAID = {
    "one is left out": "ann: two",
    "emoted, not said": "** ann one",
    "changed": "ann: one ",
    "cut": "ann: on",
    "another's": "bob: one",
    "a control character": "ann: \x1b[2J",
    "a nickname that nobody asked for": " * ann is now eve.",
    "nothing of the protocol": "what is this",
}


@pytest.mark.parametrize("line", [*map(lines, UNSAID.values()), b"ann: \xff\r\n"], ids=[*UNSAID, "no UTF-8"])
def test_log_rejects_what_nobody_said(room: Room, line: bytes) -> None:
    room.author("bob")
    room.author("ann").unseen.extend([Remark(False, b"one"), Remark(False, b"two")])
    with pytest.raises(Unexplained):
        room.log.record(line)


def test_log_holds_each_line_once(room: Room) -> None:
    room.say("ann", "one")
    with pytest.raises(Unexplained, match="said everything"):
        room.log.record(lines("ann: one"))


@pytest.mark.parametrize("shown", ["1 zz", "1 zzz é", "1 zzz \ufffd"])
def test_last_line_before_reset_may_be_cut(room: Room, shown: str) -> None:
    ann = room.author("ann")
    ann.unseen.extend([Remark(False, "1 zzz éé".encode()), Remark(False, b"2 zzz")])
    ann.reset = True
    room.log.record(lines(f"ann: {shown}"))
    with pytest.raises(Unexplained, match="said everything"):
        room.log.record(lines("ann: 2 zzz"))


@pytest.mark.parametrize("shown", ["ann: 1 zzy", "** ann 1 zz", "ann: zzz"])
def test_line_changed_before_reset_is_rejected(room: Room, shown: str) -> None:
    ann = room.author("ann")
    ann.unseen.append(Remark(False, b"1 zzz"))
    ann.reset = True
    with pytest.raises(Unexplained, match="ann"):
        room.log.record(lines(shown))


def test_nobody_speaks_between_two_visits_of_reference(room: Room) -> None:
    room.say("ann", "one")
    back = room.reference("[14:02] ann: one")
    back.noisy = False
    room.author("ann").unseen.append(Remark(False, b"two"))
    back.feed(lines("ann: two"))
    assert room.log.last == 2
    with pytest.raises(Unexplained, match="reference"):
        room.reference("[14:02] ann: one").feed(lines("ann: three"))


@pytest.mark.parametrize("loud", [False, True])
def test_reference_must_not_lag(room: Room, loud: bool) -> None:
    author = room.author("bob")
    loud_reference = LoudReference(room.log, author, lambda _kind, _parts: None, Log(), Attendance({}))
    stream = loud_reference if loud else Reference(room.log, author)
    with pytest.raises(Unexplained, match="too slow"):
        stream.feed(WELCOME % b"bob" + lines(" * You missed 1 line (#1-#1)."))


def test_attendance_counts_joins_and_leaves_and_knows_who_left_how() -> None:
    left: list[tuple[bytes, bytes]] = []
    attendance = Attendance({b"ann", b"bob"}, lambda nick, reason: left.append((nick, reason)))
    for text in (
        "ann joined",
        "6 people joined",
        "bob joined",
        "ann left",
        "bob left: connection lost",
        "7 people left",
    ):
        attendance.note(lines(f" * {text}" + "." * (":" not in text)))
    assert (attendance.joined, attendance.left, attendance.crowds) == (8, 9, 2)
    assert left == [(b"ann", b""), (b"bob", b"connection lost")]
    for _ in range(2):  # A stranger may come twice.
        attendance.note(lines(" * eve joined."))
    for wrong, why in (("ann left", "twice"), ("1 people left", "crowd")):
        with pytest.raises(Unexplained, match=why):
            attendance.note(lines(f" * {wrong}."))


def test_readers_that_see_joins_read_one_log_of_their_own(room: Room) -> None:
    loud_log, attendance = Log(), Attendance({b"bob"})
    loud = LoudReference(room.log, room.author("loud"), lambda _kind, _parts: None, loud_log, attendance)
    loud.feed(WELCOME % b"loud")
    room.say("ann", "one")
    seen = lines(" * bob joined.", "ann: one", " * bob left.")
    loud.feed(seen)
    assert b"".join(loud_log.lines) == seen
    assert (attendance.joined, attendance.left) == (1, 1)
    carl = Stream(loud_log, Author(b"carl", loud_log))
    carl.noisy = False
    carl.feed(WELCOME % b"carl" + lines(" * bob joined.", "ann: one"))
    with pytest.raises(Unexplained, match="bob left"):
        carl.feed(lines(" * dan left."))
    room.say("ann", "two")
    with pytest.raises(Unexplained, match="loud"):
        loud.feed(lines("ann: three"))


def test_journal_is_compared_with_log(room: Room) -> None:
    room.say("ann", "one", "two")
    first, second, third = ((number, "said", "ann", text) for number, text in enumerate(("one", "two", "three"), 1))
    assert compare(room.log, [first, second]) is None
    for wrong in (
        [first],
        [second],
        [first, (3, "said", "ann", "two")],
        [first, (2, "emoted", "ann", "two")],
        [first, second, third],
    ):
        assert compare(room.log, wrong) is not None
