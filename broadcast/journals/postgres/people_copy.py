"""The people of other nodes, as far as a node knows them: a copy of the table ``people``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from broadcast.core.directory import NodeListener, Person
from broadcast.core.nicknames import casefold_key, skeleton
from broadcast.journals.postgres.database import Connection

Notify: TypeAlias = Callable[[Callable[[NodeListener], None]], None]
"""Calls a function with the listener of the node, in a later turn of the reactor."""

_PEOPLE = """SELECT node, session, nick, account, away, away_reason, address, generation
    FROM people ORDER BY node, session"""


class PeopleCopy:
    """The people of the nodes other than *node*. Each difference is reported with *notify*. Only one thread uses it."""

    def __init__(self, node: str, notify: Notify) -> None:
        self._node = node
        self._notify = notify
        self._known: dict[str, Person] = {}
        """The people that the listener knows, by the keys of their nicknames."""

    def forget(self) -> None:
        """Forget all people, as the listener has done."""
        self._known.clear()

    def take(self, row: Mapping[str, Any]) -> None:
        """Take over *row* of a person who has come or changed."""
        if row["node"] == self._node:
            self._take_own(row["key"], row["session"])
        else:
            self._change(row["key"], msgspec.convert(row, Person))

    def _take_own(self, key: str, session: int) -> None:
        """Note that *session* is on this node. If it was on another one before, the listener is told by the claim."""
        known = self._known.get(key)
        if known is not None and known.session == session:
            del self._known[key]

    def remove(self, session: int, nick: str) -> None:
        """Note that *session* no longer has the nickname *nick*."""
        key = casefold_key(nick)
        known = self._known.get(key)
        if known is not None and known.session == session:
            self._leave(key)

    def compare(self, db: Connection) -> None:
        """Report all differences between the database and the copy. Raises ``psycopg.Error``."""
        people: dict[str, Person] = {}
        for node, *values in db.execute(_PEOPLE):
            person = Person(*values)
            if node == self._node:
                self._take_own(casefold_key(person.nick), person.session)
            else:
                people[casefold_key(person.nick)] = person
        for key, person in list(self._known.items()):
            if key not in people or people[key].session != person.session:
                self._leave(key)
        for key, person in people.items():
            if self._known.get(key) != person:
                self._change(key, person)

    def look_up(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Take over *rows*, which were looked up, and return the sessions by key. Known rows are reported again.

        The people that the listener knows may differ from the copy, because it also reads the streams of the rooms.
        """
        for row in rows:
            self.take(row)
        return {row["key"]: row["session"] for row in rows}

    def _change(self, key: str, person: Person) -> None:
        self._known[key] = person
        self._notify(lambda listener: listener.person_changed(person))

    def _leave(self, key: str) -> None:
        person = self._known.pop(key)
        self._notify(lambda listener: listener.person_left(person.session, person.nick))


def describe(person: Person, *, unicode: bool) -> dict[str, Any]:
    """Return the row of *person* for the database. With *unicode*, nicknames must not look alike."""
    look = skeleton(person.nick) if unicode else None
    return {"key": casefold_key(person.nick), "look": look, **msgspec.to_builtins(person)}
