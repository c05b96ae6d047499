"""Nothing that a program does leaves a reference cycle.

A full collection freezes the objects that it finds alive, so that later ones need not look at them. While the server
has many connections, a frozen cycle stays in memory (see ``server/gc_pauses.py``). It may hold the lines of a snapshot,
a megabyte.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from twisted.logger import Logger, LogPublisher

from broadcast.doors.jsonrpc.protocol import ProgramConnection
from broadcast.doors.jsonrpc.sessions import Sessions
from broadcast.doors.line.protocol import BroadcastProtocol
from tests.doors.jsonrpc.programs import Program, ProgramWorld
from tests.harness import PASSWORD


@pytest.fixture
def cycles(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """A function that returns the types of the project's objects that only the garbage collector has freed."""
    # Until logging begins, Twisted keeps all log events, and with them the objects that have logged them.
    for cls in (ProgramConnection, Sessions, BroadcastProtocol):
        monkeypatch.setattr(cls, "_log", Logger(observer=LogPublisher()))

    def collect() -> list[str]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        found = [type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("broadcast.")]
        gc.garbage.clear()
        return [name for name in found if name != "TransportWriter"]  # the transport of the tests keeps its producer

    gc.collect()
    gc.disable()
    yield collect
    gc.enable()


def test_requests_leave_no_reference_cycle(cycles: Callable[[], list[str]]) -> None:
    world = ProgramWorld()
    world.program("ann").call("say", room="lobby", text="x")
    bot = world.program("bot")
    found = {"hello": cycles()}
    for method, params in (
        ("join", {"room": "kitchen"}),
        ("join", {"room": "kitchen", "after": 0}),
        ("say", {"room": "kitchen", "text": "x", "uid": "u-1"}),
        ("say", {"room": "kitchen", "text": "x", "uid": "u-1"}),
        ("tell", {"to": "ann", "text": "psst", "uid": "u-1"}),
        ("topic", {"room": "kitchen", "text": "tea"}),
        ("history", {"room": "lobby", "last": 5}),
        ("search", {"room": "lobby", "words": "x"}),
        ("members", {"room": "lobby"}),
        ("rooms", {}),
        ("away", {"reason": "lunch"}),
        ("nick", {"nick": "bob"}),
        ("command", {"room": "lobby", "line": "/names"}),
        ("register", {"password": PASSWORD}),
        ("inbox", {}),
        ("logout", {}),
        ("login", {"nick": "bob", "password": PASSWORD}),
        ("leave", {"room": "kitchen"}),
    ):
        bot.call(method, **params)
        found[f"{method} {params}"] = cycles()
    bot.fail("nick", nick="ann")
    found["an error"] = cycles()
    assert not {name: types for name, types in found.items() if types}


def test_connections_leave_no_reference_cycle(cycles: Callable[[], list[str]]) -> None:
    world = ProgramWorld()
    bot = world.program("bot")
    bot.vanish()
    found = {"a lost connection": cycles()}
    backs: list[Program] = []
    for attempt in (1, 2):
        backs.append(world.open_program())
        backs[-1].call("hello", protocol=1, resume=bot.resume | {"attempt": attempt})
        found[f"attempt {attempt}"] = cycles()
    backs.append(world.open_program())
    backs[-1].fail("hello", protocol=1, nick="bot")
    found["a refusal"] = cycles()
    backs[1].call("quit")
    del bot
    backs.clear()
    found["quit"] = cycles()
    assert not {name: types for name, types in found.items() if types}
