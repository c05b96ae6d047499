"""The sessions that a token can resume, in PostgreSQL. Each call becomes a change of the directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from broadcast.core.directory import FoundSession, KeptSession, OnClaimed, OnDirectory, OnFound, SharedSessions
from broadcast.core.errors import NotHere, RejectedError

AddChange: TypeAlias = Callable[[tuple[Any, ...], Callable[[Any], None]], None]
"""Makes a change, after those before it. The function receives the answer, or the reason why there is none."""


class PostgresSessions:
    """The sessions that a token can resume. *add* makes a change of the directory."""

    def __init__(self, add: AddChange) -> None:
        self._add = add

    def keep(self, session: KeptSession, on_kept: OnDirectory) -> None:
        """Store a session."""

        def answered(answer: Any) -> None:  # noqa: ANN401 - a value of the database
            on_kept(NotHere("another server has the session.") if answer is False else answer)

        self._add(("keep", msgspec.to_builtins(session)), answered)

    def end(self, session: int) -> None:
        """Void a token."""
        self._add(("end", {"session": session}), ignore_answer)

    def park(self, session: int, memory: str, on_parked: OnDirectory) -> None:
        """Park a session."""

        def answered(answer: Any) -> None:  # noqa: ANN401 - likewise
            on_parked(NotHere("the session is not to be moved now.") if answer is False else answer)

        self._add(("park", {"session": session, "memory": memory}), answered)

    def find(self, token: str, attempt: int, on_found: OnFound, *, force: bool = False) -> None:
        """Find a session by the hash of its token."""

        def answered(answer: Any) -> None:  # noqa: ANN401 - likewise
            on_found(msgspec.convert(answer, FoundSession) if isinstance(answer, dict) else answer)

        self._add(("find", {"token": token, "attempt": attempt, "force": force}), answered)

    def claim(self, found: FoundSession, attempt: int, address: str | None, on_claimed: OnClaimed) -> None:
        """Take a parked session over."""

        def answered(answer: Any) -> None:  # noqa: ANN401 - likewise
            if isinstance(answer, RejectedError):  # the claim may have taken effect, if the connection was lost
                self.park(found.session, found.memory, ignore_answer)
            on_claimed(answer)

        generation = found.person.generation
        item = {"session": found.session, "generation": generation, "attempt": attempt, "address": address}
        self._add(("claim", item), answered)


def ignore_answer(_answer: object) -> None:
    """Ignore the answer to a change."""


_conforms: type[SharedSessions] = PostgresSessions
