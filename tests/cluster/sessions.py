"""The sessions that a token can resume, for the servers that share a database in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from broadcast.core.directory import FoundSession, KeptSession, OnClaimed, OnDirectory, OnFound, SharedSessions
from broadcast.core.errors import DatabaseAway, NotHere
from tests.cluster.database import Database, StoredSession


class SessionNode(Protocol):
    """A server, as its sessions see it."""

    number: int
    directory: Any
    shared: Any

    def soon(self, call: Callable[[], None]) -> None:
        """Run *call* in a later turn of this node."""


class NodeSessions:
    """The sessions that a token can resume, for one node."""

    def __init__(self, node: SessionNode) -> None:
        self._node = node

    @property
    def _database(self) -> Database:
        database: Database = self._node.shared.database
        return database

    def _enqueue(self, commit: Callable[[], None]) -> None:
        """Let *commit* change the database in a later turn, unless the others have removed the node by then."""
        self._node.shared.enqueue(lambda: None if self._node.shared.is_lost else commit())

    def keep(self, session: KeptSession, on_kept: OnDirectory) -> None:
        """Store a session in a later turn."""

        def commit() -> None:
            if self._node.shared.is_lost:
                self._node.soon(lambda: on_kept(DatabaseAway()))
                return
            stored = self._database.sessions.setdefault(session.session, StoredSession(session, self._node))
            if stored.node is not self._node:
                self._node.soon(lambda: on_kept(NotHere("another server has the session.")))
                return
            stored.kept = session
            stored.until = self._database.now + session.grace if session.waits else None
            self._node.soon(lambda: on_kept(None))

        self._node.shared.enqueue(commit)

    def end(self, session: int) -> None:
        """Void a token in a later turn."""

        def commit() -> None:
            if session in self._database.sessions and self._database.sessions[session].node is self._node:
                del self._database.sessions[session]

        self._enqueue(commit)

    def park(self, session: int, memory: str, on_parked: OnDirectory) -> None:
        """Park a session in a later turn."""

        def commit() -> None:
            stored = self._database.sessions.get(session)
            done = stored is not None and stored.node is self._node and self._database.park(session, memory)
            self._node.soon(lambda: on_parked(None if done else NotHere("the session is not to be moved now.")))

        self._enqueue(commit)

    def find(self, token: str, attempt: int, on_found: OnFound, *, force: bool = False) -> None:
        """Find a session in a later turn."""

        def commit() -> None:
            found = self._database.find(self._node, token, attempt, force=force)
            self._node.soon(lambda: on_found(found))

        self._enqueue(commit)

    def claim(self, found: FoundSession, attempt: int, address: str | None, on_claimed: OnClaimed) -> None:
        """Claim a session in a later turn, and receive what waits for it."""

        def commit() -> None:
            generation = self._database.claim(self._node, found, attempt, address)
            self._node.soon(lambda: on_claimed(generation))
            if generation is not None:
                self._node.directory.take_mail(found.session)

        self._enqueue(commit)


_conforms: type[SharedSessions] = NodeSessions
