"""That the model complains: about each way in which a stream can be wrong, and about nothing else."""

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


class Room:
    """A log that grows as people talk, and readers of it."""

    def __init__(self) -> None:
        self.log = Log()
        self.people: dict[bytes, Author] = {}

    def author(self, nick: bytes) -> Author:
        if nick not in self.people:
            self.people[nick] = self.log.owners[nick] = Author(nick, self.log)
        return self.people[nick]

    def say(self, nick: bytes, *texts: bytes, receipt: bool = False) -> None:
        author = self.author(nick)
        for text in texts:
            author.unseen.append(Remark(False, text, 0.0, receipt))
            self.log.record(nick + b": " + text + b"\r\n")

    def rename(self, nick: bytes, new: bytes) -> None:
        author = self.author(nick)
        author.renames.append(new)
        self.log.owners[new] = author
        self.log.record(b" * %b is now %b.\r\n" % (nick, new))

    def reader(self, nick: bytes) -> Stream:
        """Somebody who has come in, and hides joins and leaves."""
        stream = Stream(self.log, self.author(nick))
        stream.feed(WELCOME % nick)
        stream.noisy = False
        return stream


@pytest.fixture
def room() -> Room:
    return Room()


def lines(*texts: bytes) -> bytes:
    return b"".join(text + b"\r\n" for text in texts)


def feed(stream: Stream, data: bytes, size: int) -> None:
    """Let it come in in pieces."""
    for at in range(0, len(data), size):
        stream.feed(data[at : at + size])


THREE = lines(b"ann: one", b"ann: two", b"ann: three")


@pytest.fixture
def three(room: Room) -> Stream:
    """bob, in a room in which ann says three lines after he came."""
    stream = room.reader(b"bob")
    room.say(b"ann", b"one", b"two", b"three")
    return stream


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_what_was_said_is_explained_however_it_is_cut(three: Stream, size: int) -> None:
    feed(three, THREE, size)
    assert three.received == 3
    assert not three.waits
    assert not three.held


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lines(b"ann: one", b"ann: three"), id="lost"),
        pytest.param(lines(b"ann: two"), id="the first is lost"),
        pytest.param(lines(b"ann: one", b"ann: one", b"ann: two"), id="doubled"),
        pytest.param(lines(b"ann: one", b"ann: three", b"ann: two"), id="swapped"),
        pytest.param(lines(b"ann: one", b"ann: twa"), id="changed"),
        pytest.param(lines(b"ann: one", b"ann: tw", b"ann: three"), id="cut short"),
        pytest.param(b"ann: one\nann: two\r\n", id="another line end"),
        pytest.param(b"ann: one\r\n\r\n", id="an empty line"),
        pytest.param(lines(b"ann: one", b" * carl joined."), id="a join for who hides joins"),
        pytest.param(lines(b"ann: one", b"-> pong"), id="an answer that nobody asked for"),
        pytest.param(lines(b"ann: one", b"-> #1"), id="a receipt for another's line"),
        pytest.param(lines(b"ann: one", b" * You missed 1 line (#3-#3).", b"ann: two"), id="named as missed: too late"),
        pytest.param(
            lines(b"ann: one", b"ann: two", b" * You missed 2 lines (#2-#3)."), id="shown and named as missed"
        ),
        pytest.param(lines(b"ann: one", b" * You missed 5 lines (#2-#3)."), id="a notice that does not add up"),
        pytest.param(lines(b"ann: one", b" * You missed 1 line (#2-#2).", b"ann: two"), id="missed, then shown"),
        pytest.param(lines(b"ann: one", b" * Goodbye, bob.", b"ann: two"), id="something after the goodbye"),
        pytest.param(lines(b"ann: one", b" * Goodbye, ann."), id="another's goodbye"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_wrong_stream_is_found(three: Stream, wrong: bytes, size: int) -> None:
    with pytest.raises(Unexplained, match="bob"):
        feed(three, wrong, size)


def test_what_is_not_in_the_log_yet_waits(room: Room) -> None:
    bob = room.reader(b"bob")
    bob.feed(b"ann: one\r\nann: t")
    assert (bob.waits, bob.received) == (True, 0)
    room.say(b"ann", b"one")
    bob.go_on()
    assert (bob.waits, bob.received) == (False, 1)
    room.say(b"ann", b"two")
    with pytest.raises(Unexplained, match="twx"):
        bob.feed(b"wx\r\n")


def test_people_never_see_their_own_lines(room: Room) -> None:
    ann, bob = room.reader(b"ann"), room.reader(b"bob")
    room.say(b"bob", b"one")
    room.say(b"ann", b"mine")
    room.say(b"bob", b"two")
    ann.feed(lines(b"bob: one", b"bob: two"))
    bob.feed(lines(b"ann: mine"))
    assert (ann.received, bob.received) == (2, 1)
    room.say(b"ann", b"mine, too")
    room.say(b"bob", b"three")
    ann.feed(lines(b"bob: three"))
    assert ann.received == 3
    again = room.reader(b"ann")
    with pytest.raises(Unexplained, match="ann"):
        again.feed(lines(b"bob: one", b"ann: mine", b"bob: two"))


def test_a_receipt_stands_in_the_place_of_each_line(room: Room) -> None:
    ann = room.reader(b"ann")
    room.say(b"bob", b"one")
    room.say(b"ann", b"mine", receipt=True)
    room.say(b"bob", b"two")
    ann.feed(lines(b"bob: one", b"-> #2", b"bob: two"))
    assert ann.receipts == 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lines(b"bob: one", b"bob: two"), id="none"),
        pytest.param(lines(b"-> #2", b"bob: one"), id="too early"),
        pytest.param(lines(b"bob: one", b"-> #1"), id="another number"),
        pytest.param(lines(b"bob: one", b"-> #2", b"-> #2"), id="twice"),
        pytest.param(lines(b"bob: one", b"bob: two", b"-> #2"), id="too late"),
    ],
)
def test_a_wrong_receipt_is_found(room: Room, wrong: bytes) -> None:
    ann = room.reader(b"ann")
    room.say(b"bob", b"one")
    room.say(b"ann", b"mine", receipt=True)
    room.say(b"bob", b"two")
    with pytest.raises(Unexplained, match="ann"):
        ann.feed(wrong)


def test_what_is_named_as_missed_is_explained(three: Stream, room: Room) -> None:
    three.feed(lines(b"ann: one"))
    room.rename(b"ann", b"eve")
    room.say(b"eve", b"four")
    three.feed(lines(b" * You missed 2 lines (#2-#3).", b"eve: four"))
    assert (three.received, three.missed, three.notices) == (2, 2, 1)


def test_ones_own_lines_may_be_among_what_one_missed_but_not_their_receipts(room: Room) -> None:
    ann = room.reader(b"ann")
    room.say(b"bob", b"one", b"two")
    room.say(b"ann", b"mine", receipt=True)
    room.say(b"bob", b"three", b"four")
    ann.feed(lines(b" * You missed 2 lines (#1-#2).", b"-> #3", b" * You missed 2 lines (#3-#4).", b"bob: four"))
    assert (ann.received, ann.receipts) == (1, 1)
    other = room.reader(b"ann")
    other.feed(lines(b" * You missed 4 lines (#1-#4).", b"bob: four", b" * Goodbye, ann."))
    with pytest.raises(Unexplained, match="receipts"):
        other.end()


def test_ones_own_change_of_name_is_not_shown(room: Room) -> None:
    ann, bob = room.reader(b"ann"), room.reader(b"bob")
    room.rename(b"ann", b"eve")
    room.say(b"carl", b"hi")
    ann.feed(lines(b"carl: hi"))
    bob.feed(lines(b" * ann is now eve.", b"carl: hi"))
    late = room.reader(b"dan")
    late.feed(lines(b"carl: hi"))
    room.rename(b"eve", b"ida")
    room.say(b"carl", b"ho")
    with pytest.raises(Unexplained, match="is now ida"):
        late.feed(lines(b"carl: ho"))


def test_who_comes_later_is_shown_what_was_said_and_goes_on_from_there(room: Room) -> None:
    room.say(b"ann", *(b"%d" % number for number in range(1, 31)))
    bob = room.reader(b"bob")
    bob.feed(b"".join(b"[14:02] ann: %d\r\n" % number for number in range(11, 31)))
    room.say(b"ann", b"31")
    bob.feed(lines(b"ann: 31"))
    assert bob.received == 1


@pytest.mark.parametrize("shown", [range(11, 30), range(12, 31), [*range(10, 20), *range(21, 31)]])
def test_a_wrong_replay_is_found(room: Room, shown: Sequence[int]) -> None:
    room.say(b"ann", *(b"%d" % number for number in range(1, 31)))
    bob = room.reader(b"bob")
    bob.feed(b"".join(b"[14:02] ann: %d\r\n" % number for number in shown))
    room.say(b"ann", b"31")
    with pytest.raises(Unexplained, match="bob"):
        bob.feed(lines(b"ann: 31"))


def test_answers_are_what_was_asked_for(three: Stream) -> None:
    heard: list[bytes] = []
    three.answers.append(Answer(b"pong", heard.append))
    three.feed(lines(b"ann: one", b"-> pong", b"ann: two"))
    assert heard == [b"pong"]
    three.answers.append(Answer(b"pong"))
    with pytest.raises(Unexplained, match="pang"):
        three.feed(lines(b"-> pang"))


def test_names_are_as_many_as_they_say(three: Stream) -> None:
    three.answers += [Names(), Answer(b"pong")]
    three.feed(lines(b"-> 4 here: ann (away: lunch, idle 12m), bob,", b"-> carol, dan (idle 5m)", b"-> pong"))
    assert not three.answers
    three.answers.append(Names())
    with pytest.raises(Unexplained, match="carol"):
        three.feed(lines(b"-> 4 here: ann, bob,", b"-> carol"))


def test_the_history_is_what_was_said(three: Stream) -> None:
    three.answers += [Recall(2), Answer(b"pong")]
    three.feed(lines(b"-> #2 [14:02] ann: two", b"-> #3 [14:02] ann: three", b"-> pong", b"ann: one"))
    assert not three.answers
    three.answers += [Recall(2), Answer(b"pong")]
    with pytest.raises(Unexplained, match="history"):
        three.feed(lines(b"-> #2 [14:02] ann: three"))


@pytest.mark.parametrize("shown", [[3], [1, 2, 3], [1, 3], []])
def test_a_wrong_history_is_found(three: Stream, shown: list[int]) -> None:
    three.answers += [Recall(2), Answer(b"pong")]
    texts = (b"one", b"two", b"three")
    with pytest.raises(Unexplained, match="bob"):
        three.feed(lines(*(b"-> #%d [14:02] ann: %b" % (seq, texts[seq - 1]) for seq in shown), b"-> pong"))


def test_what_is_found_holds_the_word(three: Stream) -> None:
    three.answers += [Recall(50, b"t"), Answer(b"pong")]
    three.feed(lines(b"-> #2 [14:02] ann: two", b"-> #3 [14:02] ann: three", b"-> pong"))
    three.answers += [Recall(50, b"none"), Answer(b"pong")]
    three.feed(lines(b"-> nothing found.", b"-> pong"))
    three.answers += [Recall(50, b"t"), Answer(b"pong")]
    with pytest.raises(Unexplained, match="bob"):
        three.feed(lines(b"-> #1 [14:02] ann: one"))


def test_case_and_accents_make_no_difference_to_what_is_found(room: Room) -> None:
    room.say(b"ann", "HÍ".encode())
    bob = room.reader(b"bob")
    bob.answers += [Recall(50, b"hi"), Answer(b"pong")]
    bob.feed(lines("-> #1 [14:02] ann: HÍ".encode(), b"-> pong"))
    assert not bob.answers


@pytest.mark.parametrize("notice", [b" * 9 people left.", b" * bob left: tired", b" * bob left."])
def test_only_who_leaves_may_not_be_told_of_it_or_of_a_crowd_that_left(
    room: Room, three: Stream, notice: bytes
) -> None:
    room.log.pass_by(notice + b"\r\n", None)
    room.say(b"ann", b"four")
    three.feed(THREE)
    with pytest.raises(Unexplained, match="left"):
        three.feed(lines(b"ann: four"))
    three.leaving = True
    three.feed(lines(b" * Goodbye, bob."))  # the line is still there to be judged
    assert three.over


def test_who_leaves_has_read_everything(three: Stream) -> None:
    three.must_reach = len(three.log.text)
    three.feed(lines(b"ann: one", b"ann: two"))
    with pytest.raises(Unexplained, match="goodbye before"):
        three.feed(lines(b" * Goodbye, bob."))


@pytest.mark.parametrize("said", [b"", THREE, THREE + b"ann"])
def test_nobody_is_cut_off(three: Stream, said: bytes) -> None:
    three.feed(said)
    with pytest.raises(Unexplained, match="bob"):
        three.end()


def test_a_proper_end(three: Stream) -> None:
    three.feed(THREE + lines(b" * Goodbye, bob."))
    three.end()
    assert three.over
    assert three.author.left_well


# The log itself


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"ann: two\r\n", id="one left out"),
        pytest.param(b"** ann one\r\n", id="done instead of said"),
        pytest.param(b"ann: one \r\n", id="changed"),
        pytest.param(b"bob: one\r\n", id="another's"),
        pytest.param(b"ann: \x1b[2J\r\n", id="a control character"),
        pytest.param(b"ann: \xff\r\n", id="no UTF-8"),
        pytest.param(b" * ann is now eve.\r\n", id="a name that they did not ask for"),
        pytest.param(b"what is this\r\n", id="nothing"),
    ],
)
def test_the_log_takes_only_what_was_said(room: Room, line: bytes) -> None:
    room.author(b"bob")
    room.author(b"ann").unseen.extend([Remark(False, b"one"), Remark(False, b"two")])
    with pytest.raises(Unexplained):
        room.log.record(line)


def test_a_line_is_in_the_log_once(room: Room) -> None:
    room.say(b"ann", b"one")
    with pytest.raises(Unexplained, match="all that they said"):
        room.log.record(b"ann: one\r\n")


def test_nobody_may_speak_between_two_visits_of_the_reference(room: Room) -> None:
    room.say(b"ann", b"one")
    back = Reference(room.log, room.author(b"reference"))
    back.feed(WELCOME % b"reference" + lines(b"[14:02] ann: one"))
    back.noisy = False
    room.author(b"ann").unseen.append(Remark(False, b"two"))
    back.feed(lines(b"ann: two"))
    assert room.log.last == 2
    third = Reference(room.log, room.author(b"reference"))
    third.feed(WELCOME % b"reference" + lines(b"[14:02] ann: one"))
    with pytest.raises(Unexplained, match="reference"):
        third.feed(lines(b"ann: three"))


def test_joins_and_leaves_are_counted_and_each_name_comes_and_goes_once() -> None:
    attendance = Attendance({b"ann"})
    for line in (b" * ann joined.", b" * 6 people joined.", b" * ann left: connection lost", b" * 6 people left."):
        attendance.note(line + b"\r\n")
    assert (attendance.joined, attendance.left, attendance.crowds) == (7, 7, 2)
    with pytest.raises(Unexplained, match="twice"):
        attendance.note(b" * ann left.\r\n")
    for _ in range(2):
        attendance.note(b" * who joined.\r\n")
    with pytest.raises(Unexplained, match="crowd"):
        attendance.note(b" * 1 people left.\r\n")


def test_attendance_says_who_left_how() -> None:
    left: list[tuple[bytes, bytes]] = []
    attendance = Attendance({b"ann", b"bob"}, lambda nick, how: left.append((nick, how)))
    for line in (b"ann joined.", b"ann left.", b"bob left: connection lost", b"who left.", b"7 people left."):
        attendance.note(b" * " + line + b"\r\n")
    assert left == [(b"ann", b""), (b"bob", b"connection lost")]


def test_those_who_see_joins_read_one_log_of_their_own(room: Room) -> None:
    loud_log, attendance = Log(), Attendance({b"bob"})
    loud = LoudReference(room.log, loud_log, attendance, room.author(b"loud"))
    loud.feed(WELCOME % b"loud")
    room.say(b"ann", b"one")
    loud.feed(lines(b" * bob joined.", b"ann: one", b" * bob left."))
    assert bytes(loud_log.text) == lines(b" * bob joined.", b"ann: one", b" * bob left.")
    assert (attendance.joined, attendance.left) == (1, 1)
    carl = Stream(loud_log, Author(b"carl", loud_log))
    carl.noisy = False
    carl.feed(WELCOME % b"carl")
    carl.feed(lines(b" * bob joined.", b"ann: one"))
    with pytest.raises(Unexplained, match="bob left"):
        carl.feed(lines(b" * dan left."))
    room.say(b"ann", b"two")
    with pytest.raises(Unexplained, match="loud"):
        loud.feed(lines(b"ann: three"))


def test_the_journal_holds_what_was_read(room: Room) -> None:
    room.say(b"ann", b"one", b"two")
    rows = [(1, "said", "ann", "one"), (2, "said", "ann", "two")]
    assert compare(room.log, rows) is None
    for wrong in (rows[:1], rows[1:], [rows[0], (3, "said", "ann", "two")], [rows[0], (2, "emoted", "ann", "two")]):
        assert compare(room.log, wrong) is not None
    assert compare(room.log, [*rows, (3, "said", "ann", "three")]) is not None
