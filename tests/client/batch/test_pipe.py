from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from broadcast.client.batch.pipe import PROMPT_SECONDS, Cleaner, Pipe
from broadcast.client.batch.stdio import Stream
from broadcast.client.protocol.greeting import TLS_HINT

FULL = OSError(errno.ENOSPC, "the disk is full")
GREETING = b"Welcome to Broadcast.\r\nNickname:  * You are ann. Nobody else is here.\r\n"


class Wire(StringTransport):
    """Twisted's, with types, and the attributes of ``ThreadedIO``."""

    failure: OSError | None = None
    unreadable: OSError | None = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's own is not annotated

    def taken(self) -> bytes:
        """What was written since the last time."""
        written = cast(bytes, self.value())  # type: ignore[no-untyped-call]  # the same
        self.clear()  # type: ignore[no-untyped-call]  # the same
        return written


class Play:
    """A pipe between a terminal-less program and the script of a server."""

    def __init__(
        self,
        clean: Callable[[bytes], bytes] | None = None,
        nicks: Sequence[str] = ("ann",),
        room: str = "",
        password: str = "",
    ) -> None:
        self.clock = Clock()
        self.told: list[tuple[int, str]] = []
        self.stdio = Wire()
        self.wire = Wire()
        self.ends: IProtocol | None = None

        def attach(ends: IProtocol) -> Stream:
            self.ends = ends
            return cast(Stream, self.stdio)

        def end(status: int, why: str) -> None:
            self.told.append((status, why))

        self.pipe = Pipe("there:5555", iter(nicks), room, self.clock, attach, end, clean, password=password)
        self.pipe.makeConnection(self.wire)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated

    def cut(self) -> tuple[int, str]:
        self.pipe.connectionLost(Failure(connectionDone.value))  # type: ignore[no-untyped-call]
        assert self.stdio.disconnecting
        assert not self.told, "everything is written first"
        assert self.ends is not None
        self.ends.connectionLost(connectionDone)
        assert len(self.told) == 1
        return self.told[0]


def test_what_arrives_is_passed_on_byte_by_byte() -> None:
    play = Play()
    noise = bytes(range(256)) + b"\r\n"
    play.pipe.dataReceived(GREETING + noise)
    assert play.stdio.taken() == GREETING + noise


def test_nothing_is_read_before_one_is_in_the_room() -> None:
    play = Play()
    assert play.stdio.producerState == "paused"
    play.pipe.dataReceived(b"Welcome to Broadcast.\r\nNickname: ")
    assert play.stdio.producerState == "paused"
    assert play.wire.taken() == b"ann\r\n"
    play.pipe.dataReceived(GREETING.partition(b"Nickname: ")[2])
    assert play.stdio.producerState == "producing"
    assert play.wire.producer is play.stdio
    assert play.stdio.producer is play.wire


def test_nicknames_are_tried_one_after_the_other() -> None:
    play = Play(nicks=("ann", "ann2"))
    play.pipe.dataReceived(b"Welcome.\r\nNickname: ")
    assert play.wire.taken() == b"ann\r\n"
    play.pipe.dataReceived(b"-> Error: ann is taken.\r\nNickname: ")
    assert play.wire.taken() == b"ann2\r\n"
    play.pipe.dataReceived(b"-> Error: ann2 is taken.\r\nNickname: ")
    assert play.wire.disconnecting
    assert play.cut() == (3, "the nickname was refused: ann2 is taken.")
    assert play.clock.getDelayedCalls() == []


def test_a_line_of_the_motd_that_looks_like_a_prompt_is_not_answered() -> None:
    play = Play()
    play.pipe.dataReceived(b"Welcome.\r\nNickname: ")
    play.pipe.dataReceived(b"Nickname: ann is what you are called.\r\n")
    assert play.wire.taken() == b"ann\r\n"


def test_a_client_that_is_turned_away_says_why() -> None:
    play = Play()
    play.pipe.dataReceived(b" * This server is full. Try again later.\r\n")
    assert play.cut() == (2, "no connection to there:5555: This server is full. Try again later")
    play = Play()
    play.pipe.dataReceived(b" * You are banned.\r\n")
    assert play.cut() == (3, "no connection to there:5555: You are banned")
    play = Play()
    play.pipe.dataReceived(b"Nickname: -> Error: go away.\r\n")
    assert play.cut() == (3, "the nickname was refused: go away.")


def test_a_server_that_says_nothing_may_speak_tls() -> None:
    play = Play()
    play.pipe.hint = TLS_HINT
    play.clock.advance(PROMPT_SECONDS)
    reason = "no connection to there:5555: nobody asks for a nickname there; if it is a TLS port, connect with --tls"
    assert play.cut() == (2, reason)
    play = Play()
    play.pipe.hint = TLS_HINT
    play.pipe.dataReceived(b"SSH-2.0-x\r\n")
    play.clock.advance(PROMPT_SECONDS)
    assert play.cut() == (2, "no connection to there:5555: nobody asks for a nickname there")


@pytest.mark.parametrize(
    ("greeting", "problem"),
    [(b"SSH-2.0-x\r\nPassword: ", "nobody asks for a nickname there"), (b"Nickname: ", "the server does not answer")],
)
def test_a_server_has_30_seconds_for_each_answer(greeting: bytes, problem: str) -> None:
    play = Play()
    play.pipe.dataReceived(greeting)
    play.clock.advance(PROMPT_SECONDS)
    assert play.wire.disconnecting
    assert play.cut() == (2, f"no connection to there:5555: {problem}")


@pytest.mark.parametrize(
    "answer", [b" * You are in kitchen. 1 other is here: bob.", b"-> Error: you are in kitchen already."]
)
def test_input_is_read_after_the_room_is_joined(answer: bytes) -> None:
    play = Play(room="Kitchen")
    play.pipe.dataReceived(b"Nickname: ")
    play.wire.taken()
    play.pipe.dataReceived(b" * You are ann. 1 other is here: bob.\r\n * Topic: tea\r\n[14:02] bob: hi\r\n")
    assert play.wire.taken() == b"/join Kitchen\r\n"
    play.pipe.dataReceived(b"bob:  * You are in kitchen. Nobody else is here.\r\nbob: -> Error: no\r\n")
    assert play.stdio.producerState == "paused"
    play.pipe.dataReceived(answer + b"\r\n")
    assert play.stdio.producerState == "producing"
    assert play.clock.getDelayedCalls() == []
    # An answer to a command of the input is no answer to the client.
    play.pipe.dataReceived(b"-> Error: no.\r\n")
    assert play.wire.taken() == b""


def test_a_refused_room_ends_the_pipe_with_status_5() -> None:
    play = Play(room="x y")
    play.pipe.dataReceived(GREETING + b"-> Error: no such room.\r\n")
    assert play.wire.taken() == b"ann\r\n/join x y\r\nquit\r\n"
    play.pipe.dataReceived(b" * Goodbye, ann.\r\n")
    assert play.stdio.producerState == "paused"
    assert play.cut() == (5, "the room was refused: no such room.")
    assert play.clock.getDelayedCalls() == []


def test_a_server_has_30_seconds_to_answer_join() -> None:
    play = Play(room="kitchen")
    play.pipe.dataReceived(GREETING)
    play.clock.advance(PROMPT_SECONDS)
    assert play.cut() == (2, "no connection to there:5555: the server does not answer")


def test_the_end_of_the_input_leaves_on_a_line_of_its_own() -> None:
    play = Play()
    play.pipe.dataReceived(GREETING)
    play.wire.taken()
    play.pipe.input_received(b"a\nb")
    play.pipe.input_ended()
    assert play.wire.taken() == b"a\nb\r\nquit\r\n"


def test_an_input_that_cannot_be_read_leaves_with_the_reason() -> None:
    play = Play()
    play.pipe.dataReceived(GREETING)
    play.stdio.unreadable = OSError(errno.EIO, "broken")
    play.pipe.input_ended()
    play.pipe.dataReceived(b" * Goodbye, ann.\r\n")
    assert play.cut() == (6, "the standard input cannot be read: broken")


def test_a_goodbye_is_a_good_end_and_nothing_else_is() -> None:
    good = Play()
    good.pipe.dataReceived(GREETING + b" * Goodbye, ann.\r\n")
    assert good.cut() == (0, "")
    bad = Play()
    bad.pipe.dataReceived(GREETING + b"bob:  * Goodbye, ann.\r\n * The server is going down.\r\n")
    assert bad.cut() == (4, "the connection to there:5555 was lost: the server closed the connection")


@pytest.mark.parametrize(
    ("error", "ending"),
    [(BrokenPipeError(), (141, "")), (FULL, (6, "the standard output cannot be written: the disk is full"))],
)
def test_an_output_that_cannot_be_written_is_the_end(error: OSError, ending: tuple[int, str]) -> None:
    play = Play()
    play.pipe.dataReceived(GREETING)
    play.pipe.output_failed(error)
    assert play.wire.disconnecting
    assert play.cut() == ending


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (None, (0, "")),
        (BrokenPipeError(), (0, "")),
        (FULL, (6, "the standard output cannot be written: the disk is full")),
    ],
)
def test_last_words_that_are_not_written_though_somebody_reads_are_no_good_end(
    error: OSError | None, ending: tuple[int, str]
) -> None:
    play = Play()
    play.pipe.dataReceived(GREETING + b" * Goodbye, ann.\r\n")
    play.stdio.failure = error
    assert play.cut() == ending


def test_a_terminal_gets_no_escape_sequence() -> None:
    play = Play(Cleaner().clean)
    play.pipe.dataReceived(GREETING + b"bob: \x1b[2J\xc2\x9b\r\n")
    shown = play.stdio.taken().decode()
    assert "\x1b" not in shown
    assert shown.endswith("bob: \ufffd[2J\ufffd\n")


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_however_it_is_cut_a_terminal_gets_the_same(size: int) -> None:
    cleaner = Cleaner()
    data = "a\r\nb\x1b[mé\r\nr\rest\n".encode()
    cleaned = b"".join(cleaner.clean(data[at : at + size]) for at in range(0, len(data), size))
    assert cleaned.decode() == "a\nb\ufffd[mé\nr\ufffdest\n"


# Passwords


HIDE, SHOW = b"\xff\xfb\x01", b"\xff\xfc\x01\r\n"


def test_the_password_answers_the_prompt() -> None:
    play = Play(password="correct horse")
    play.pipe.dataReceived(b"Welcome.\r\nNickname: ")
    assert play.wire.taken() == b"/login ann\r\n"
    play.pipe.dataReceived(HIDE + b"Password: ")
    assert play.wire.taken() == b"correct horse\r\n"
    assert play.stdio.producerState == "paused"
    play.pipe.dataReceived(SHOW + b" * You are ann. Nobody else is here.\r\n")
    assert play.stdio.producerState == "producing"
    assert play.stdio.taken() == b"Welcome.\r\nNickname: Password: \r\n * You are ann. Nobody else is here.\r\n"


@pytest.mark.parametrize("hint", ["", " An empty line ends this."])
def test_a_wrong_password_is_a_refused_nickname(hint: str) -> None:
    play = Play(password="battery staple")
    play.pipe.dataReceived(b"Welcome.\r\nNickname: ")
    play.pipe.dataReceived(HIDE + b"Password: ")
    play.wire.taken()
    play.pipe.dataReceived(SHOW + f"-> Error: wrong password.{hint}\r\n".encode() + HIDE + b"Password: ")
    assert play.wire.taken() == b""
    assert play.wire.disconnecting
    assert play.cut() == (3, "the nickname was refused: wrong password.")


def test_without_a_password_a_registered_nickname_is_refused() -> None:
    play = Play()
    play.pipe.dataReceived(b"Welcome.\r\nNickname: ")
    play.pipe.dataReceived(HIDE + b"Password: ")
    assert play.wire.taken() == b"ann\r\n\r\n"
    play.pipe.dataReceived(SHOW + b"Nickname: ")
    assert play.wire.disconnecting
    why = "the nickname was refused: it is registered, and needs its password. --password-file FILE gives it."
    assert play.cut() == (3, why)


def test_a_registered_nickname_of_the_user_is_passed_over() -> None:
    play = Play(nicks=("ann", "ann2"))
    play.pipe.dataReceived(b"Welcome.\r\nNickname: ")
    play.pipe.dataReceived(HIDE + b"Password: ")
    play.pipe.dataReceived(SHOW + b"Nickname: ")
    assert play.wire.taken() == b"ann\r\n\r\nann2\r\n"


def test_a_line_of_the_motd_that_looks_like_a_prompt_for_a_password_is_not_answered() -> None:
    play = Play(password="correct horse")
    play.pipe.dataReceived(b"Password: is what nobody tells.\r\nNickname: ")
    assert play.wire.taken() == b"/login ann\r\n"
