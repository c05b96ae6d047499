"""The model explains a right stream, and rejects each way in which a stream can be wrong."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.soak.model import Answer, Author, Log, Recall, Reference, Stream, Unexplained, compare

WELCOME = (
    "Welcome to Broadcast. Type a nickname and press Enter.\r\n"
    "Nickname:  * You are {}. Nobody else is here. /help lists the commands, quit leaves."
)


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\r\n" for text in texts).encode()


def ignore_private(_kind: str, _parts: object) -> None:
    """Ignore a line for one reader alone."""


class Room:
    """The log of 30 lines, as a reference has read it: bob says every tenth, with receipts, and ann the others."""

    def __init__(self) -> None:
        self.log = Log()
        self.left: list[tuple[bytes, bytes]] = []
        self.people = {nick: Author(nick.encode()) for nick in ("ann", "bob", "eve")}
        self.log.authors = {author.nick: author for author in self.people.values()}
        self.reference = Reference(self.log, Author(b"first"), ignore_private, lambda *left: self.left.append(left))
        self.reference.feed(lines(WELCOME.format("first")))
        self.bob = Stream(self.log, self.people["bob"], ignore_private)
        self.bob.quiet = True
        for number in range(1, 31):
            self.say("bob" if number % 10 == 0 else "ann", f"{number} hello")

    def say(self, nick: str, text: str) -> None:
        line = lines(f"{nick}: {text}")
        self.people[nick].unseen.append(line)
        if nick == "bob":
            self.bob.own.append(line)
        self.reference.feed(line)

    def read(self, received: list[str]) -> None:
        """Let bob read *received*, byte by byte, after the welcome and the line #7, and leave."""
        for byte in lines(WELCOME.format("bob"), *(f"[14:02] ann: {n} hello" for n in range(1, 8)), *received):
            self.bob.feed(bytes([byte]))
        self.bob.finish()


@pytest.fixture
def room() -> Room:
    return Room()


ANN = [f"ann: {number} hello" for number in range(31)]
ALL = [*ANN[8:10], "-> #10", *ANN[11:20], "-> #20", *ANN[21:30], "-> #30"]
BYE = " * Goodbye, bob."
STREAMS = {
    "everything": ([*ALL, BYE], ""),
    "a gap": (["ann: 8 hello", " * You missed 1 line (#9-#9).", *ALL[2:], BYE], ""),
    "a gap with an own line": ([" * You missed 5 lines (#8-#12).", "-> #10", *ALL[5:], BYE], ""),
    "a receipt, and then a gap with its line": ([*ALL[:3], " * You missed 3 lines (#10-#12).", *ALL[5:], BYE], ""),
    "a rename, a private line and an answer": (
        [ALL[0], " * ann is now eve.", "[ann] psst", "-> pong", *ALL[1:], BYE],
        "",
    ),
    "a lost line": ([*ALL[:5], *ALL[6:], BYE], "13 hello"),
    "a line twice": ([*ALL[:5], *ALL[4:], BYE], "12 hello"),
    "two swapped lines": ([ALL[1], ALL[0], *ALL[2:], BYE], "8 hello"),
    "a changed line": (["ann: 8 hallo", *ALL[1:], BYE], "hallo"),
    "another line end": ([f"{ALL[0]}\n{ALL[1]}", *ALL[2:], BYE], "8 hello"),
    "a hidden join": ([" * carl joined.", *ALL, BYE], "carl joined"),
    "a rename that nobody asked for": ([" * ann is now carl.", *ALL, BYE], "carl"),
    "an answer that nobody asked for": (["-> pong", "-> pong", *ALL, BYE], "asked for nothing"),
    "a wrong answer": (["-> pang", *ALL, BYE], "should be"),
    "no answer": ([*ALL, BYE], "pong' is missing"),
    "a private line that is none": ([*ALL, "[bob]", BYE], r"\[bob\]"),
    "no receipt": ([line for line in ALL if line != "-> #10"] + [BYE], "11 hello"),
    "an own line instead of its receipt": ([*ALL[:2], "bob: 10 hello", *ALL[3:], BYE], "not #20"),
    "an early receipt": ([ALL[0], ALL[2], ALL[1], *ALL[3:], BYE], "too early"),
    "a late receipt": ([*ALL[:2], ALL[3], ALL[2], *ALL[4:], BYE], "11 hello"),
    "a receipt twice": ([*ALL[:3], ALL[2], *ALL[3:], BYE], "not #10"),
    "a receipt for another's line": ([ALL[0], "-> #9", *ALL[2:], BYE], "not #9"),
    "a gap that starts too late": ([" * You missed 2 lines (#11-#12).", *ALL[5:], BYE], "no notice"),
    "a gap with a received line": ([*ALL[:2], " * You missed 2 lines (#9-#10).", *ALL[3:], BYE], "also received"),
    "a gap with a wrong count": ([" * You missed 5 lines (#8-#9).", *ALL[2:], BYE], "#8-#9"),
    "a missed line that comes": ([" * You missed 2 lines (#8-#9).", *ALL[1:], BYE], "9 hello"),
    "an early goodbye": ([*ALL[:-1], BYE], "before it asked"),
    "another's goodbye": ([*ALL, " * Goodbye, ann."], "the last is"),
    "no goodbye": (ALL, "closed the connection"),
    "a line after the goodbye": ([*ALL, BYE, "ann: 31 hello"], "after the goodbye"),
    "an unfinished line": ([*ALL, BYE, "\r"], "after the goodbye"),
}  # fmt: skip


@pytest.mark.parametrize(("received", "problem"), STREAMS.values(), ids=STREAMS)
def test_stream_is_explained_or_its_first_difference_is_named(room: Room, received: list[str], problem: str) -> None:
    room.log.renames.add(lines(" * ann is now eve."))
    room.bob.must_reach = 30
    if "-> pong" in received or "pang" in received[0] or "pong" in problem:
        room.bob.answers.append(Answer(b"pong"))
    if problem:
        with pytest.raises(Unexplained, match=problem):
            room.read(received)
    else:
        room.read(received)
        counts = room.bob.counts
        assert (counts["lines read"] + counts["lines in gap notices"] >= 20, counts["receipts"]) == (True, 3)


def test_wrong_replay_is_rejected(room: Room) -> None:
    room.bob.feed(lines(WELCOME.format("bob"), "[14:02] ann: 1 hello", "[14:02] ann: 3 hello"))
    with pytest.raises(Unexplained, match="replay"):
        room.bob.feed(lines("ann: 4 hello"))


def test_line_that_the_log_does_not_hold_yet_waits(room: Room) -> None:
    room.bob.feed(lines(WELCOME.format("bob"), *(f"[14:02] ann: {n} hello" for n in range(1, 8)), *ALL))
    room.bob.answers.append(Recall(1))
    room.bob.own.clear()
    room.bob.feed(
        lines(
            "-> #32 [14:02] bob: 32 hello", "-> pong", "ann: 31 hello", "-> #32", " * You missed 1 line (#33-#33).", BYE
        )
    )
    assert room.bob.seq == 30
    for nick, number in (("ann", 31), ("bob", 32), ("ann", 33)):
        room.say(nick, f"{number} hello")
    room.bob.finish()
    assert room.bob.seq == 33


@pytest.mark.parametrize(
    ("shown", "search", "right"),
    [
        ([28, 29, 30], False, True),
        ([29, 30], False, False),
        ([27, 28, 30], False, False),
        ([1, 3, 30], True, True),
        ([3, 1], True, False),
    ],
)
def test_history_and_search_show_lines_of_the_log(room: Room, shown: list[int], search: bool, right: bool) -> None:
    asked = Recall(3, search=search)
    with nullcontext() if right else pytest.raises(Unexplained):
        for seq in shown:
            asked.take(f"#{seq} [14:02] ".encode() + room.log.lines[seq - 1][:-2], room.log)
        assert asked.take(b"pong", room.log)


UNSAID = {
    "one left out": "ann: 2",
    "an action, not said": "** ann 1 é",
    "changed": "ann: 1 é ",
    "cut": "ann: 1",
    "another's": "bob: 1 é",
    "a control character": "carl: \x1b[2J",
    "no line of the protocol": "what is this",
    "a person as a number": " * 1 people left.",
}


@pytest.mark.parametrize("line", [*map(lines, UNSAID.values()), b"carl: \xff\r\n"], ids=[*UNSAID, "no UTF-8"])
def test_log_rejects_lines_that_nobody_said(room: Room, line: bytes) -> None:
    room.people["ann"].unseen.extend([lines("ann: 1 é"), lines("ann: 2")])
    with pytest.raises(Unexplained):
        room.reference.feed(line)


def test_last_line_before_a_reset_may_be_cut_and_a_stranger_is_not_predicted(room: Room) -> None:
    room.people["eve"].reset = True
    room.people["eve"].unseen.extend([lines("eve: 1 zé"), lines("eve: 2")])
    room.reference.feed(lines("eve: 1 z\ufffd", "carl: anything"))
    with pytest.raises(Unexplained, match="nothing more"):
        room.reference.feed(lines("eve: 2"))


def test_reference_counts_joins_and_leaves_and_must_not_lag(room: Room) -> None:
    room.reference.feed(
        lines(" * ann joined.", " * 6 people joined.", " * ann left: connection lost", " * 7 people left.")
    )
    counts = room.reference.counts
    assert (counts["joined"], counts["left"], counts["crowds"], room.left) == (7, 8, 2, [(b"ann", b"connection lost")])
    with pytest.raises(Unexplained, match="twice"):
        room.reference.feed(lines(" * ann left."))
    with pytest.raises(Unexplained, match="too slow"):
        Room().reference.feed(lines(" * You missed 1 line (#1-#1)."))


def test_journal_is_compared_with_the_log() -> None:
    room = Room()
    rows = [(n, "said", "bob" if n % 10 == 0 else "ann", f"{n} hello") for n in range(1, 31)]
    assert compare(room.log, rows) == ""
    for wrong in (
        rows[:-1],
        rows[1:],
        [*rows, (31, "said", "ann", "31 hello")],
        [*rows[:-1], (30, "emoted", "bob", "30 hello")],
    ):
        assert compare(room.log, wrong) != ""
