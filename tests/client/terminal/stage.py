"""A screen of the conversation of ann, on a model of a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeAlias

from prompt_toolkit.completion import DummyCompleter
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput

from broadcast.client.session.views import View
from broadcast.client.terminal.rendering import Renderer
from broadcast.client.terminal.screen import Screen
from tests.client.model import Model, played
from tests.client.session.fakes import NOW, Talk

ENTER, TAB, SHIFT_TAB, UP, ESCAPE = "\r", "\t", "\x1b[Z", "\x1b[A", "\x1b"
CTRL_C, CTRL_D, CTRL_L, CTRL_N, CTRL_P, CTRL_R = "\x03", "\x04", "\x0c", "\x0e", "\x10", "\x12"
PAGE_UP, PAGE_DOWN, HOME, END = "\x1b[5~", "\x1b[6~", "\x1b[H", "\x1b[F"
STATUS = " ann · lobby · 2 here · localhost:5555"
Scene: TypeAlias = Callable[["Stage"], Coroutine[object, object, None]]


class Stage:
    """A screen, its terminal, and the server."""

    def __init__(self, model: Model, rooms: tuple[str, ...], *, is_connected: bool, is_colored: bool) -> None:
        self.model = model
        self.server = Talk(*rooms, is_connected=is_connected)
        self.talk = self.server.talk
        for view in self.talk.views:
            view.entries.clear()
        choices = {"times": False, "color": is_colored, "bell": True, "notify": False, "quiet": False}
        self.server.choices.update(choices)
        self.keys: PipeInput
        self.screen: Screen

    def type(self, text: str) -> None:
        """Press keys."""
        self.keys.send_text(text)

    def say(self, *texts: str, room: str = "lobby", nick: str = "bob") -> None:
        """Let somebody say lines."""
        for text in texts:
            self.server.said(text, nick, room)

    def lines(self, first: int, last: int, room: str = "lobby") -> None:
        """Let bob say numbered lines."""
        self.say(*(f"line {number}" for number in range(first, last + 1)), room=room)

    async def shows(self, *lines: str) -> None:
        """Wait until exactly these lines are on the terminal."""
        await self.model.shows(*lines)

    async def has(self, *lines: str) -> None:
        """Wait until each of these lines is on the terminal."""
        await self.model.until(lambda: all(line in self.model.shown for line in lines))

    @property
    def view(self) -> View:
        """The current view."""
        return self.talk.current


def act(
    scene: Scene,
    model: Model | None = None,
    *rooms: str,
    is_connected: bool = True,
    is_colored: bool = True,
    encoding: str = "utf-8",
    **options: Any,  # noqa: ANN401 -- those of the screen
) -> Stage:
    """Play a scene, end the screen, and return what is left."""
    stage = Stage(model or Model(), rooms, is_connected=is_connected, is_colored=is_colored)

    async def play(keys: PipeInput) -> None:
        stage.keys = keys
        day = datetime.fromtimestamp(NOW, UTC).astimezone().date()
        renderer = Renderer(has_times=lambda: stage.server.choices["times"], encoding=encoding, day=day)
        stage.screen = Screen(
            stage.talk, renderer, DummyCompleter(), InMemoryHistory(), keys, stage.model.output(),
            server="localhost:5555", is_reflowing=False, **options,
        )  # fmt: skip
        stage.talk.front = stage.screen
        running = asyncio.ensure_future(stage.screen.run())
        await asyncio.sleep(0)
        try:
            await scene(stage)
        finally:
            stage.screen.stop()
            await running

    played(play, stage.model)
    return stage


def numbered(first: int, last: int) -> list[str]:
    """Return the rows of ``Stage.lines``."""
    return [f"bob: line {number}" for number in range(first, last + 1)]
