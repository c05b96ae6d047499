"""The doors that the scenarios use, people in the room, and what the server logs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher

import tests.harness
from broadcast.core.interfaces import Journal
from broadcast.core.time_slice import CallSoon
from broadcast.journals.postgres.database import Database
from broadcast.journals.postgres.journal import PostgresJournal
from tests.harness import DirectWorld, Person, World
from tests.postgres import PostgresServer

Opens: TypeAlias = Callable[..., World]
"""Starts a server. The arguments are those of ``World``."""


def open_with_tls(*arguments: Any, **options: Any) -> World:  # noqa: ANN401 -- the arguments of ``World``
    """Start a server with TLS. Skip the test if cryptography cannot be loaded, as under wine 8."""
    tls = pytest.importorskip("tests.tls", exc_type=ImportError)
    return cast(World, tls.TlsWorld(*arguments, **options))


DOORS: dict[str, Opens] = {"line": World, "line, direct": DirectWorld, "line, TLS": open_with_tls}
"""The doors, over both kinds of writer."""
ON_POSTGRES = "line, PostgreSQL"
"""With ``BROADCAST_LONG=1``, the scenarios also run at the line door with a journal in PostgreSQL."""
LONG = bool(os.environ.get("BROADCAST_LONG"))
OVER_EACH_DOOR = ("arriving", "ghosts", "going_down", "leaving", "limits", "log", "talking")
"""The modules of scenarios in which the way of the bytes matters. With ``BROADCAST_LONG=1``, all do this."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a scenario over each door, or over the first one."""
    if "open_world" in metafunc.fixturenames:
        is_over_each = metafunc.module.__name__.rpartition(".test_")[2] in OVER_EACH_DOOR
        is_over_each = LONG or (is_over_each and not metafunc.definition.get_closest_marker("one_door"))
        doors = [*DOORS, *[ON_POSTGRES] * LONG] if is_over_each else [*DOORS][:1]
        metafunc.parametrize("open_world", doors, indirect=True)


@pytest.fixture
def open_world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opens]:
    """Start a server behind the door under test."""
    if request.param != ON_POSTGRES:
        yield DOORS[request.param]
        return
    if request.node.get_closest_marker("one_turn"):
        pytest.skip("this journal answers in a later turn")
    postgres: PostgresServer = request.getfixturevalue("postgres")
    opened: list[Journal] = []

    def make(call_soon: CallSoon) -> Journal:
        if not opened:
            postgres.empty()
        opened.append(PostgresJournal(Database(postgres.url()), call_soon))
        return opened[-1]

    monkeypatch.setattr(tests.harness, "make_threaded_journal", make)
    yield World
    for journal in opened:
        journal.close()


@pytest.fixture
def world(open_world: Opens) -> World:
    """A server with the default settings and without limits on people."""
    return open_world()


@pytest.fixture
def carol(world: World, ann: Person, bob: Person) -> Person:
    """The third person in the room."""
    (carol,) = world.join("carol")
    ann.read()
    bob.read()
    return carol


def newcomer(world: World) -> Person:
    """Return somebody who has read the welcome and is asked for a nickname."""
    person = world.connect()
    person.read()
    return person


def is_aborted(person: Person) -> bool:
    """Return whether the server has aborted the connection of *person*."""
    return person.transport.aborted


def at_once(*typed: tuple[Any, ...]) -> None:
    """Have people type lines before the server delivers any of them; then let everything happen.

    Each of *typed* is a person and their lines.
    """
    for person, *lines in typed:
        person.put("".join(f"{line}\r\n" for line in lines))
    typed[0][0].world.settle()


@pytest.fixture(autouse=True)
def log() -> Iterator[list[str]]:
    """The log of the server, an entry each. A warning or an error in it fails the test."""
    lines: list[str] = []
    warnings: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))
        if event["log_level"] >= LogLevel.warn:
            warnings.append(event)

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)
    assert warnings == []
