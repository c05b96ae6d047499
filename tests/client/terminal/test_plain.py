from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from broadcast.client.protocol import errors
from broadcast.client.session.conversation import Conversation, State
from broadcast.client.session.questions import Question
from broadcast.client.terminal.rendering import Renderer
from tests.client.model import PATIENCE, run_in_thread
from tests.client.session.fakes import NOW, Talk

termios = pytest.importorskip("termios", reason="Windows has no such terminals")
from broadcast.client.terminal import plain  # noqa: E402 -- it needs them

SECRET = "hunter2hunter2"
REFUSAL = errors.PasswordNeeded(1020, "ann is registered: it needs its password.")


class Stage:
    """A plain screen, whose terminal is a pipe and a text."""

    def __init__(self, *rooms: str, is_connected: bool = True, encoding: str = "utf-8") -> None:
        self.server = Talk(*rooms, is_connected=is_connected)
        self.server.choices.update(bell=True, notify=False)
        self.talk: Conversation = self.server.talk
        self.output = io.StringIO()
        source, self._typing = os.pipe()
        day = datetime.fromtimestamp(NOW, UTC).astimezone().date()
        renderer = Renderer(has_times=lambda: False, encoding=encoding, day=day)
        self.screen = plain.PlainScreen(self.talk, renderer, source, self.output)
        self.talk.front = self.screen

    def type(self, text: str) -> None:
        """Type a line, which the terminal shows."""
        self.output.write(text)
        os.write(self._typing, text.encode())

    def hang_up(self) -> None:
        """End the input."""
        os.close(self._typing)

    @property
    def shown(self) -> list[str]:
        """The lines on the terminal."""
        return self.output.getvalue().split("\n")

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                await asyncio.sleep(0.005)

    async def shows(self, *lines: str) -> None:
        """Wait until exactly these lines are on the terminal."""
        await self.until(lambda: self.shown == list(lines))


def act(stage: Stage, scene: Callable[[Stage], Coroutine[object, object, None]]) -> None:
    """Play a scene, and end the screen."""

    async def play() -> None:
        running = asyncio.ensure_future(stage.screen.run())
        await asyncio.sleep(0)
        try:
            await scene(stage)
        finally:
            stage.screen.stop()
            await running

    run_in_thread(play())


def test_what_is_typed_is_sent_and_what_is_stored_is_printed() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("hi\n")
        await stage.until(lambda: bool(stage.server.server.requests))
        stage.server.store()
        stage.server.said("hello ann", "bob")
        await stage.shows("hi", "ann: hi", ">> bob: hello ann", "\a")

    act(Stage(), scene)


def test_a_command_is_on_the_terminal_once() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("/unknown\n")
        await stage.until(lambda: bool(stage.server.server.requests))
        stage.server.server.answer(error=errors.Rejected(-1, "There is no such command.", {}))
        await stage.shows("/unknown", "-> Error: There is no such command.", "")

    act(Stage(), scene)


def test_a_line_that_is_not_stored_soon_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "SENDING_SECONDS", 0.01)

    async def scene(stage: Stage) -> None:
        stage.type("one\n")
        await stage.shows("one", " * Sending 1 line.", "")
        stage.type("two\nthree\n")
        await stage.shows("one", " * Sending 1 line.", "two", "three", " * Sending 3 lines.", "")
        stage.server.server.answer(error=errors.Rejected(1001, "The disk is full.", {}))
        await stage.until(lambda: "Not said: one -- The disk is full." in stage.shown)

    act(Stage(), scene)


def test_a_silent_server_is_reported_once() -> None:
    async def scene(stage: Stage) -> None:
        for seconds in (9.0, 10.0, 11.0):
            stage.talk.silence = seconds
            stage.screen.update()
        await stage.shows(" * There is no answer for 10 s.", "")

    act(Stage(), scene)


def test_a_key_is_asked_about_until_the_user_decides() -> None:
    answers: list[bool] = []

    async def scene(stage: Stage) -> None:
        stage.talk.ask_trust(["Its key:"], answers.append)
        await stage.shows(" * Its key:", "Trust this key? (yes or no): ")
        stage.type("\n")
        await stage.until(lambda: "-> Error: Type yes to trust this key from now on, or no to leave." in stage.shown)
        assert stage.shown[-1] == "Trust this key? (yes or no): "
        stage.type("yes\n")
        await stage.until(lambda: answers == [True])

    act(Stage(is_connected=False), scene)


def test_the_nickname_is_asked_for_and_enter_takes_the_proposed_one() -> None:
    nicks: list[str] = []

    async def scene(stage: Stage) -> None:
        stage.talk.ask_nick(Question("ann", ()), "", nicks.append)
        stage.screen.update()
        assert stage.shown == ["Nickname [ann]: "]
        stage.type("\n")
        await stage.until(lambda: nicks == ["ann"])
        stage.talk.ask_nick(Question("", ("ann_", "ann2")), "ann is taken.", nicks.append)
        await stage.shows("Nickname [ann]: ", "-> Error: ann is taken.", "Nickname [ann_] (or ann2): ")
        stage.type("\n")
        await stage.until(lambda: nicks == ["ann", "ann_"])

    act(Stage(is_connected=False), scene)


def test_a_switch_prints_the_heading_and_what_is_new() -> None:
    async def scene(stage: Stage) -> None:
        stage.server.said("old", room="kitchen")
        stage.talk.select(stage.talk.views[1])
        stage.talk.select(stage.talk.views[0])
        stage.server.said("new", room="kitchen")
        stage.output.truncate(0)
        stage.output.seek(0)
        stage.talk.select(stage.talk.views[1])
        assert stage.shown == ["=== kitchen (2 here) ===", "--- new ---", "bob: new", ""]

    act(Stage("lobby", "kitchen"), scene)


def test_a_mention_in_another_room_is_printed_with_the_room() -> None:
    async def scene(stage: Stage) -> None:
        stage.server.said("ann?", room="kitchen")
        assert stage.shown == ["[kitchen] >> bob: ann?", "\a"]

    act(Stage("lobby", "kitchen"), scene)


def test_an_interrupt_cancels_an_upload() -> None:
    async def scene(stage: Stage) -> None:
        stage.talk.submit("/upload a.txt")
        stage.screen._interrupt()
        assert stage.shown[-2:] == [" * The upload of a.txt is cancelled.", ""]
        assert stage.talk.state is State.ONLINE

    act(Stage(), scene)


def test_a_second_interrupt_leaves() -> None:
    async def scene(stage: Stage) -> None:
        stage.screen._interrupt()
        assert stage.shown == [" * Press Ctrl-C again to leave.", ""]
        states = [stage.talk.state]
        stage.screen._interrupt()
        assert [*states, stage.talk.state] == [State.ONLINE, State.LEAVING]

    act(Stage(), scene)


def test_an_encoding_without_a_character_gets_an_escape() -> None:
    async def scene(stage: Stage) -> None:
        stage.server.said("caf\xe9 \u65e5")
        assert stage.shown == ["bob: caf\\xe9 \\u65e5", ""]

    act(Stage(encoding="ascii"), scene)


def test_the_end_of_the_input_is_an_error() -> None:
    stage = Stage()
    stage.hang_up()

    async def play() -> None:
        with pytest.raises(EOFError):
            await stage.screen.run()

    run_in_thread(play())


def test_a_simple_terminal_does_not_show_a_password() -> None:
    answers: list[str] = []
    master, slave = os.openpty()

    def echoes() -> bool:
        return bool(termios.tcgetattr(slave)[3] & termios.ECHO)

    async def scene(stage: Stage) -> None:
        assert echoes()
        stage.talk.ask_password(REFUSAL, answers.append)
        assert not echoes()
        os.write(master, f"{SECRET}\n".encode())
        await stage.until(lambda: answers == [SECRET])
        assert echoes()
        notice = " * ann is registered: it needs its password. An empty line goes back to the nickname."
        await stage.shows(notice, "Password: ", "")
        stage.talk.ask_password(errors.WrongPassword(1021, "Wrong password."), answers.append)
        stage.screen._interrupt()
        await stage.until(lambda: answers == [SECRET, ""])
        assert echoes()
        stage.talk.ask_password(REFUSAL, answers.append)
        assert not echoes()
        modes = termios.tcgetattr(slave)
        modes[3] |= termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        stage.screen._resume()  # as after Ctrl-Z and fg
        assert not echoes()

    stage = Stage(is_connected=False)
    stage.screen = plain.PlainScreen(stage.talk, stage.screen._renderer, slave, stage.output)
    stage.talk.front = stage.screen
    try:
        act(stage, scene)
        assert echoes(), "the end restores the terminal"
    finally:
        for descriptor in (master, slave):
            with suppress(OSError):
                os.close(descriptor)
