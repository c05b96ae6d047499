"""The visit of a pipe, against the script of a server. ``tests/real/test_client.py`` is about its streams."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broadcast.client.batch.pipe import Cleaner, Visit
from broadcast.client.protocol.greeting import TLS_HINT

GREETING = b"Welcome to Broadcast.\r\nNickname:  * You are ann. Nobody else is here.\r\n"


class Play:
    """A visit to the script of a server."""

    def __init__(self, nicks: Sequence[str] = ("ann",), room: str = "", password: str = "", hint: str = "") -> None:
        self._sent: list[bytes] = []
        self.visit = Visit("there:5555", iter(nicks), room, self._sent.append, password=password, hint=hint)

    def sent(self, data: bytes = b"") -> bytes:
        """Return the bytes that the client has sent since the last time, after it has received *data*."""
        if data:
            self.visit.receive(data)
        sent = b"".join(self._sent)
        self._sent.clear()
        return sent

    def is_ready(self) -> bool:
        return self.visit.is_ready

    def is_over(self) -> bool:
        return self.visit.is_over

    def cut(self) -> tuple[int, str]:
        return self.visit.end("the server closed the connection")


def test_nothing_is_read_before_one_is_in_the_room() -> None:
    play = Play()
    assert play.sent(b"Welcome to Broadcast.\r\nNickname: ") == b"ann\r\n"
    assert not play.is_ready()
    play.visit.receive(GREETING.partition(b"Nickname: ")[2])
    assert play.is_ready()


def test_nicknames_are_tried_one_after_the_other() -> None:
    play = Play(nicks=("ann", "ann2"))
    assert play.sent(b"Welcome.\r\nNickname: ") == b"ann\r\n"
    assert play.sent(b"-> Error: ann is taken.\r\nNickname: ") == b"ann2\r\n"
    assert not play.is_over()
    assert play.sent(b"-> Error: ann2 is taken.\r\nNickname: ") == b""
    assert play.is_over()
    assert play.cut() == (3, "the nickname was refused: ann2 is taken.")


def test_a_line_of_the_motd_that_looks_like_a_prompt_is_not_answered() -> None:
    play = Play()
    play.visit.receive(b"Welcome.\r\nNickname: ")
    assert play.sent(b"Nickname: ann is what you are called.\r\n") == b"ann\r\n"


def test_a_client_that_is_turned_away_says_why() -> None:
    for greeting, outcome in (
        (
            b" * This server is full. Try again later.\r\n",
            (2, "no connection to there:5555: This server is full. Try again later"),
        ),
        (b" * You are banned.\r\n", (3, "no connection to there:5555: You are banned")),
        (b"Nickname: -> Error: go away.\r\n", (3, "the nickname was refused: go away.")),
    ):
        play = Play()
        play.visit.receive(greeting)
        assert play.cut() == outcome


def test_a_server_that_says_nothing_may_speak_tls() -> None:
    play = Play(hint=TLS_HINT)
    reason = "no connection to there:5555: nobody asks for a nickname there; if it is a TLS port, connect with --tls"
    assert play.visit.give_up() == (2, reason)
    play = Play(hint=TLS_HINT)
    play.visit.receive(b"SSH-2.0-x\r\n")
    assert play.visit.give_up() == (2, "no connection to there:5555: nobody asks for a nickname there")


@pytest.mark.parametrize(
    ("greeting", "problem"),
    [
        (b"SSH-2.0-x\r\nPassword: ", "nobody asks for a nickname there"),
        (b"Nickname: ", "the server does not answer"),
        (GREETING, "the server does not answer"),
    ],
)
def test_a_server_that_does_not_answer_is_no_connection(greeting: bytes, problem: str) -> None:
    play = Play(room="kitchen")
    play.visit.receive(greeting)
    assert play.visit.give_up() == (2, f"no connection to there:5555: {problem}")


@pytest.mark.parametrize(
    "answer", [b" * You are in kitchen. 1 other is here: bob.", b"-> Error: you are in kitchen already."]
)
def test_input_is_read_after_the_room_is_joined(answer: bytes) -> None:
    play = Play(room="Kitchen")
    play.sent(b"Nickname: ")
    arrival = b" * You are ann. 1 other is here: bob.\r\n * Topic: tea\r\n[14:02] bob: hi\r\n"
    assert play.sent(arrival) == b"/join Kitchen\r\n"
    play.visit.receive(b"bob:  * You are in kitchen. Nobody else is here.\r\nbob: -> Error: no\r\n")
    assert not play.is_ready()
    play.visit.receive(answer + b"\r\n")
    assert play.is_ready()
    # An answer to a command of the input is no answer to the client.
    assert play.sent(b"-> Error: no.\r\n") == b""


def test_a_refused_room_ends_the_pipe_with_status_5() -> None:
    play = Play(room="x y")
    assert play.sent(GREETING + b"-> Error: no such room.\r\n") == b"ann\r\n/join x y\r\nquit\r\n"
    play.visit.receive(b" * Goodbye, ann.\r\n")
    assert not play.is_ready()
    assert play.cut() == (5, "the room was refused: no such room.")


def test_the_end_of_the_input_leaves_on_a_line_of_its_own() -> None:
    play = Play()
    play.sent(GREETING)
    play.visit.send_input(b"a\nb")
    play.visit.send_input(b"")
    assert play.sent() == b"a\nb\r\nquit\r\n"


def test_an_input_that_cannot_be_read_leaves_with_the_reason() -> None:
    play = Play()
    play.sent(GREETING)
    play.visit.finish(6, "the standard input cannot be read: broken")
    play.visit.send_input(b"")
    assert play.sent(b" * Goodbye, ann.\r\n") == b"quit\r\n"
    assert play.cut() == (6, "the standard input cannot be read: broken")


def test_a_goodbye_is_a_good_end_and_nothing_else_is() -> None:
    good = Play()
    good.visit.receive(GREETING + b" * Goodbye, ann.\r\n")
    assert good.cut() == (0, "")
    bad = Play()
    bad.visit.receive(GREETING + b"bob:  * Goodbye, ann.\r\n * The server is going down.\r\n")
    assert bad.cut() == (4, "the connection to there:5555 was lost: the server closed the connection")


def test_a_terminal_gets_no_escape_sequence() -> None:
    shown = Cleaner().clean(GREETING + b"bob: \x1b[2J\xc2\x9b\r\n").decode()
    assert "\x1b" not in shown
    assert shown.endswith("bob: \ufffd[2J\ufffd\n")


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_however_it_is_cut_a_terminal_gets_the_same(size: int) -> None:
    cleaner = Cleaner()
    data = "a\r\nb\x1b[mé\r\nr\rest\n".encode()
    cleaned = b"".join(cleaner.clean(data[at : at + size]) for at in range(0, len(data), size))
    assert cleaned.decode() == "a\nb\ufffd[mé\nr\ufffdest\n"


# Passwords


def test_the_password_answers_the_prompt() -> None:
    play = Play(password="correct horse")
    assert play.sent(b"Welcome.\r\nNickname: ") == b"/login ann\r\n"
    assert play.sent(b"Password: ") == b"correct horse\r\n"
    assert not play.is_ready()
    play.visit.receive(b"\r\n * You are ann. Nobody else is here.\r\n")
    assert play.is_ready()


@pytest.mark.parametrize("hint", ["", " An empty line ends this."])
def test_a_wrong_password_is_a_refused_nickname(hint: str) -> None:
    play = Play(password="battery staple")
    play.sent(b"Welcome.\r\nNickname: ")
    play.sent(b"Password: ")
    assert play.sent(f"\r\n-> Error: wrong password.{hint}\r\nPassword: ".encode()) == b""
    assert play.is_over()
    assert play.cut() == (3, "the nickname was refused: wrong password.")


def test_without_a_password_a_registered_nickname_is_refused() -> None:
    play = Play()
    play.visit.receive(b"Welcome.\r\nNickname: ")
    assert play.sent(b"Password: ") == b"ann\r\n\r\n"
    play.visit.receive(b"\r\nNickname: ")
    assert play.is_over()
    why = "the nickname was refused: it is registered, and needs its password. --password-file FILE gives it."
    assert play.cut() == (3, why)


def test_a_registered_nickname_of_the_user_is_passed_over() -> None:
    play = Play(nicks=("ann", "ann2"))
    play.visit.receive(b"Welcome.\r\nNickname: ")
    play.visit.receive(b"Password: ")
    assert play.sent(b"\r\nNickname: ") == b"ann\r\n\r\nann2\r\n"


def test_a_line_of_the_motd_that_looks_like_a_prompt_for_a_password_is_not_answered() -> None:
    play = Play(password="correct horse")
    assert play.sent(b"Password: is what nobody tells.\r\nNickname: ") == b"/login ann\r\n"
