from __future__ import annotations

import asyncio
import io
import os
import pty
import sys
import termios
import threading
from collections.abc import Callable

import pytest

from broadcast.client.display import Line
from broadcast.client.plain import PlainScreen


class Typist:
    """Remembers what was typed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.asked = ""
        self.standing = True
        self.done: Callable[[], None] = lambda: None

    def asking(self) -> bool:
        return bool(self.asked)

    def prompt(self) -> Line:
        return [("", self.asked or "> ")]

    def secret(self) -> bool:
        return self.asked == "Password: "

    def waiting(self) -> list[Line]:
        raise NotImplementedError

    def status(self, columns: int) -> Line:
        raise NotImplementedError

    def typed(self, text: str) -> str:
        self.lines.append(text)
        if text == "stop":
            self.done()
        return "" if self.standing else text

    def leave(self) -> None:
        raise NotImplementedError


def run(typist: Typist, typed: bytes, *, end: bool = False) -> str:
    """What is printed when *typed* is entered, and then nothing more, or the *end* of the input."""
    source, keys = os.pipe()
    output = io.StringIO()
    failures: list[BaseException] = []

    async def play() -> None:
        screen = PlainScreen(typist, source, output)
        screen.stop()
        typist.done = screen.stop
        screen.refresh()
        screen.show([("bold", "bob:"), ("", " h\x1bi")])
        screen.echo([("", "what the terminal has shown already")])
        os.write(keys, typed)
        if end:
            os.close(keys)
        await screen.run()
        screen.stop()
        screen.ring()

    def played() -> None:
        try:
            asyncio.run(play())
        except BaseException as failure:  # noqa: BLE001 -- it is raised below
            failures.append(failure)

    thread = threading.Thread(target=played)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    os.close(source)
    if not end:
        os.close(keys)
    if failures:
        raise failures[0]
    return output.getvalue()


def test_lines_are_printed_and_taken_and_nothing_else() -> None:
    typist = Typist()
    assert run(typist, "日本\nstop\n".encode()) == "bob: h\ufffdi\n\a"
    assert typist.lines == ["日本", "stop"]


def test_a_prompt_that_waits_for_an_answer_is_printed_once() -> None:
    typist = Typist()
    typist.asked = "Nickname: "
    assert run(typist, b"stop\n") == "Nickname: bob: h\ufffdi\n\a"


def test_a_line_that_could_not_be_sent_is_told() -> None:
    typist = Typist()
    typist.standing = False
    assert "Not sent: there is no connection.\n" in run(typist, b"stop\n")


def test_the_end_of_the_input_is_told() -> None:
    typist = Typist()
    with pytest.raises(EOFError):
        run(typist, b"last\nunfinished", end=True)
    assert typist.lines == ["last"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_the_terminal_does_not_echo_a_password_and_everything_else_again() -> None:
    """The terminal itself echoes: what it writes is what a master reads."""
    master, slave = pty.openpty()
    typist = Typist()
    typist.asked = "Password: "
    before = termios.tcgetattr(slave)
    echoes: list[bool] = []

    async def play() -> None:
        screen = PlainScreen(typist, slave, io.StringIO())

        def done() -> None:
            typist.asked = ""
            echoes.append(bool(termios.tcgetattr(slave)[3] & termios.ECHO))
            screen.stop()

        typist.done = done
        screen.refresh()
        echoes.append(bool(termios.tcgetattr(slave)[3] & termios.ECHO))
        os.write(master, b"stop\n")
        await screen.run()

    thread = threading.Thread(target=asyncio.run, args=[play()])
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert echoes == [False, True]
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
