"""The copy of the people of other nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from broadcast.core.directory import NodeListener, Person
from broadcast.journals.postgres.database import Connection
from broadcast.journals.postgres.people_copy import PeopleCopy


class Changes:
    """A listener that records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def notify(self, call: Callable[[NodeListener], None]) -> None:
        call(cast("NodeListener", self))

    def person_changed(self, person: Person) -> None:
        self.calls.append(f"{person.nick} is elsewhere")

    def person_left(self, _session: int, nick: str) -> None:
        self.calls.append(f"{nick} left")


class Table:
    """The table ``people``."""

    def __init__(self, *rows: tuple[Any, ...]) -> None:
        self.rows = rows

    def execute(self, _query: object) -> tuple[tuple[Any, ...], ...]:
        return self.rows


def row(node: str, session: int, nick: str) -> tuple[Any, ...]:
    return node, session, nick, None, False, "", None, 0


def test_session_that_this_node_has_claimed_has_not_left() -> None:
    changes = Changes()
    copy = PeopleCopy("here", changes.notify)
    copy.compare(cast("Connection", Table(row("there", 1, "ann"), row("there", 2, "bob"), row("here", 3, "zoe"))))
    assert changes.calls == ["ann is elsewhere", "bob is elsewhere"]
    copy.compare(cast("Connection", Table(row("here", 1, "ann"))))
    assert changes.calls[2:] == ["bob left"]
    copy.compare(cast("Connection", Table(row("there", 1, "ann"))))
    assert changes.calls[3:] == ["ann is elsewhere"]
