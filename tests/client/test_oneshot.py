from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from broadcast.client.console import Console
from broadcast.client.heartbeat import PATIENCE, PROMPT_SECONDS, SILENCE
from broadcast.client.oneshot import LEAVE_SECONDS, LONGEST, WINDOW, OneShot, Splitter, printed, split
from broadcast.client.stdio import Stdio

PROMPT = "Welcome to Broadcast.\r\nNickname: "
ARRIVED = " * You are ann. Nobody else is here.\r\n"


class Input:
    """A standard input; only whether it may be read counts."""

    reading = True

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True


class Wire(StringTransport):
    """Twisted's, with types."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's own is not annotated

    def taken(self) -> bytes:
        """What was written since the last time."""
        written = cast(bytes, self.value())  # type: ignore[no-untyped-call]  # the same
        self.clear()  # type: ignore[no-untyped-call]  # the same
        return written


class Play:
    """One shot, and the script of a server."""

    def __init__(self, *lines: str, nicks: Sequence[str] = ("ann",), stdin: bool = False) -> None:
        self.clock = Clock()
        self.input = Input()
        self.told: list[tuple[int, str]] = []
        self.receipts: list[tuple[int, str]] = []
        self.wire = Wire()
        self.tell: Callable[[int, str], None] = lambda seq, text: self.receipts.append((seq, text))

        def attach(_protocol: IProtocol) -> Stdio:
            return cast(Stdio, self.input)

        self.shot = OneShot(
            "there:5555",
            iter(nicks),
            self.clock,
            attach if stdin else None,
            lambda status, why: self.told.append((status, why)),
            lines,
            self._told,
        )
        self.shot.makeConnection(self.wire)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated

    def _told(self, seq: int, text: str) -> None:
        self.tell(seq, text)

    def answer(self, *lines: str) -> list[str]:
        """The server writes *lines*; what it was sent until then."""
        self.shot.dataReceived("".join(line + "\r\n" for line in lines).encode())
        return self.sent()

    def arrive(self) -> Play:
        self.shot.dataReceived(PROMPT.encode())
        assert self.sent() == ["ann"]
        self.shot.dataReceived(ARRIVED.encode())
        assert self.sent() == ["/receipts on"]
        return self

    def sent(self) -> list[str]:
        return self.wire.taken().decode().splitlines()

    def cut(self, *, clean: bool = False) -> tuple[int, str]:
        why = ConnectionDone() if clean else ConnectionLost()
        self.shot.connectionLost(Failure(why))  # type: ignore[no-untyped-call]
        assert len(self.told) == 1
        return self.told[0]


def test_keys_and_colors_in_a_text_are_not_sent() -> None:
    """A server would take Ctrl-U as a key that erases the /say."""
    play = Play("\x15quit", "a\b\x7f\x17b\x1b[31mc\x1b[m").arrive()
    assert play.answer("-> receipts are on.") == ["/say quit", "/say abc"]


def test_nothing_is_posted_before_the_server_has_agreed_to_receipts() -> None:
    play = Play("hello", "quit").arrive()
    assert play.answer("[14:02] bob: earlier", "bob: hi") == []
    assert play.answer("-> receipts are on.") == ["/say hello", "/say quit"]
    assert play.answer("-> #7") == []
    assert play.answer("-> #8") == ["quit"]
    assert play.receipts == [(7, "hello"), (8, "quit")]
    assert play.told == []
    assert play.cut(clean=True) == (0, "")


def test_who_is_turned_away_at_the_door_says_why() -> None:
    play = Play("hello")
    assert play.answer(" * This server is full. Try again later.") == []
    assert play.cut(clean=True) == (2, "no connection to there:5555: This server is full. Try again later")


def test_what_others_say_is_no_receipt() -> None:
    play = Play("hello").arrive()
    play.answer("-> receipts are on.")
    assert play.answer("bob: -> #7", "** bob -> #7", "[bob] -> #7", "[14:02] bob: -> #7", " * bob left: -> #7") == []
    assert play.receipts == []
    assert play.cut()[0] == 4


def test_a_server_without_receipts_gets_no_line() -> None:
    play = Play("hello").arrive()
    assert play.answer("-> Error: there is no /receipts.") == ["quit"]
    assert play.cut(clean=True) == (5, "there is no /receipts; 0 of 1 line is known to be kept")


def test_a_refusal_ends_it_once_everything_that_was_sent_is_answered() -> None:
    play = Play("a", "b", "c").arrive()
    play.answer("-> receipts are on.")
    assert play.answer("-> #1", "-> Error: not kept: the disk is full.") == []
    assert play.answer("-> #2") == ["quit"]
    assert play.cut(clean=True) == (5, "not kept: the disk is full; 2 of 3 lines are known to be kept")


def test_a_refusal_that_overtakes_receipts_is_that_of_the_line_it_is_about() -> None:
    play = Play("a", "b" * 100, "c").arrive()
    play.answer("-> receipts are on.")
    assert play.answer("-> Error: a line holds at most 100 bytes.", "-> #1", "-> #2") == ["quit"]
    assert play.receipts == [(1, "a"), (2, "c")]
    why = f"a line holds at most 95 bytes here; that with '{'b' * 30}' has 100"
    assert play.cut(clean=True) == (5, f"{why}; 2 of 3 lines are known to be kept")


def test_an_input_that_cannot_be_read_to_its_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(stdin=True).arrive()
    play.answer("-> receipts are on.")
    play.shot.typed(b"one\nhalf of a li")
    monkeypatch.setattr(Console, "unreadable", OSError(errno.EIO, os.strerror(errno.EIO)))
    play.shot.typed_all()
    assert play.sent() == ["/say one"]
    assert play.answer("-> #1") == ["quit"]
    why = f"the standard input cannot be read: {os.strerror(errno.EIO)}; 1 of 1 line is known to be kept"
    assert play.cut(clean=True) == (6, why)


def test_a_lost_connection_tells_how_much_is_known() -> None:
    play = Play("a", "b", "c").arrive()
    play.answer("-> receipts are on.", "-> #1")
    status, why = play.cut()
    assert status == 4
    assert why.startswith("the connection to there:5555 was lost: ")
    assert why.endswith("; 1 of 3 lines are known to be kept")


def test_a_server_that_never_says_goodbye_changes_nothing() -> None:
    play = Play("a").arrive()
    assert play.answer("-> receipts are on.", "-> #1") == ["/say a", "quit"]
    play.clock.advance(LEAVE_SECONDS)
    assert play.wire.disconnecting or play.wire.disconnected
    assert play.cut() == (0, "")


def test_a_bounded_number_of_lines_is_sent_ahead() -> None:
    play = Play(*map(str, range(WINDOW + 10))).arrive()
    assert len(play.answer("-> receipts are on.")) == WINDOW
    assert play.answer("-> #1") == [f"/say {WINDOW}"]
    assert len(play.answer(*(f"-> #{seq}" for seq in range(2, WINDOW + 10)))) == 9
    assert play.answer(f"-> #{WINDOW + 10}") == ["quit"]


def test_the_standard_input_is_read_only_while_its_lines_can_be_sent() -> None:
    play = Play(stdin=True).arrive()
    states = [play.input.reading]
    play.answer("-> receipts are on.")
    states.append(play.input.reading)
    play.shot.typed(b"".join(b"%d\n" % number for number in range(WINDOW + 1)))
    assert len(play.sent()) == WINDOW
    states.append(play.input.reading)
    play.answer("-> #1")
    states.append(play.input.reading)
    assert states == [False, True, False, True]
    play.shot.typed_all()
    assert play.answer(*(f"-> #{seq}" for seq in range(2, WINDOW + 2))) == ["quit"]
    assert play.cut(clean=True) == (0, "")


def test_an_empty_standard_input_is_all_kept() -> None:
    play = Play(stdin=True).arrive()
    play.answer("-> receipts are on.")
    play.shot.typed_all()
    assert play.sent() == ["quit"]
    assert play.cut(clean=True) == (0, "")


def test_a_line_of_the_standard_input_that_is_too_long_ends_it_after_those_before_it() -> None:
    play = Play(stdin=True).arrive()
    play.answer("-> receipts are on.")
    play.shot.typed(b"a\n\n" + b"x" * (LONGEST + 1) + b"\nb\n")
    assert play.sent() == ["/say a"]
    assert play.answer("-> #1") == ["quit"]
    status, why = play.cut(clean=True)
    assert status == 5
    assert why == "line 3 of the input holds more than 4,091 bytes; 1 of 1 line is known to be kept"


def test_nicknames_are_tried_one_after_the_other() -> None:
    play = Play("a", nicks=("ann", "ann2"))
    assert play.answer(PROMPT.removesuffix("Nickname: ").strip()) == []
    play.shot.dataReceived(b"Nickname: ")
    assert play.sent() == ["ann"]
    play.shot.dataReceived(b"-> Error: ann is taken.\r\nNickname: ")
    assert play.sent() == ["ann2"]
    play.shot.dataReceived(b"-> Error: ann2 is taken.\r\nNickname: ")
    assert play.cut(clean=True) == (3, "the nickname was refused: ann2 is taken.")


def test_who_does_not_ask_for_a_nickname_is_no_server() -> None:
    play = Play("a")
    play.clock.advance(PROMPT_SECONDS)
    status, why = play.cut()
    assert status == 2
    assert why.endswith("nobody asks for a nickname there")


def test_a_server_that_asks_for_a_nickname_and_then_says_nothing_is_not_waited_for() -> None:
    play = Play("a")
    play.clock.advance(PROMPT_SECONDS - 1)
    play.shot.dataReceived(PROMPT.encode())
    play.clock.advance(PROMPT_SECONDS)
    assert play.cut() == (2, "no connection to there:5555: the server does not answer")


def test_a_server_that_falls_silent_is_asked_and_then_not_waited_for() -> None:
    play = Play("a", "b").arrive()
    assert play.answer("-> receipts are on.", "-> #1") == ["/say a", "/say b"]
    play.clock.advance(SILENCE)
    assert play.sent() == ["/ping"]
    assert play.answer("-> pong") == []
    play.clock.advance(SILENCE)
    assert play.sent() == ["/ping"]
    play.clock.advance(PATIENCE)
    assert play.wire.disconnecting
    assert play.cut() == (
        4, "the connection to there:5555 was lost: it has fallen silent; 1 of 2 lines are known to be kept"
    )  # fmt: skip


def test_one_who_waits_for_input_stays_as_long_as_the_server_answers() -> None:
    play = Play(stdin=True).arrive()
    play.answer("-> receipts are on.")
    for _ in range(10):
        play.clock.advance(SILENCE)
        assert play.sent() == ["/ping"]
        play.answer("-> pong")
    play.shot.typed(b"late\n")
    assert play.sent() == ["/say late"]
    play.shot.typed_all()
    assert play.answer("-> #1") == ["quit"]
    assert play.cut(clean=True) == (0, "")
    assert play.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("number", "status"), [(errno.EPIPE, 141), (errno.ENOSPC, 6)])
def test_receipts_that_cannot_be_printed_end_it(number: int, status: int) -> None:
    play = Play("a", "b").arrive()

    def fails(_seq: int, _text: str) -> None:
        raise OSError(number, os.strerror(number))

    play.tell = fails
    play.answer("-> receipts are on.", "-> #1")
    assert play.cut()[0] == status


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a", ["a"]),
        ("a\n\n \nb\r\nc\rd\n", ["a", "b", "c", "d"]),
        ("  a ", ["  a "]),
        ("\ufeff\na\n\x1b\n\u200b \n\ufffd", ["a", "\ufffd"]),
    ],
)
def test_each_line_of_a_text_is_one(text: str, lines: list[str]) -> None:
    assert split(text) == lines


@pytest.mark.parametrize("text", ["", " \n ", "x" * (LONGEST + 1), "a\n" + "é" * LONGEST])
def test_what_cannot_be_posted_is_refused_before_anything_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"nothing to send|at most 4,091 bytes"):
        split(text)


def test_a_text_that_is_no_utf8_is_posted_as_the_server_would_read_it() -> None:
    assert split(os.fsdecode(b"caf\xe9")) == ["caf\ufffd"]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_however_the_standard_input_is_cut_its_lines_are_the_same(size: int) -> None:
    splitter = Splitter()
    data = "\ufeff\r\na\r\n\r\n\u200b\nbé\rc\n last".encode()
    lines = [line for at in range(0, len(data), size) for line in splitter.feed(data[at : at + size])]
    assert lines + splitter.rest() == ["a", "bé", "c", " last"]


def test_an_endless_line_is_not_held() -> None:
    splitter = Splitter()
    splitter.feed(b"x" * (LONGEST + 2))
    assert splitter.problem
    assert splitter.rest() == []


def test_a_receipt_is_printed_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    printed(12, 'é "quoted"')
    assert json.loads(capfd.readouterr().out) == {"seq": 12, "text": 'é "quoted"'}
