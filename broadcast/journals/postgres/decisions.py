"""The decisions of operators in PostgreSQL: their JSON, and the changes of the table ``decisions``."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from broadcast.core.decisions import Announcement, Decision, LastingDecision, Mute, SlowMode

_KINDS: Final[dict[str, Any]] = {kind.__name__: kind for kind in (Mute, SlowMode, Announcement)}


class StoredDecision(NamedTuple):
    """A change of the table ``decisions``."""

    key: str
    """The room, account or session of the decision. A later decision with this key replaces it."""
    body: tuple[str, Any] | None
    """The decision; None if it ends an earlier one."""
    session: int | None
    """The muted session; None for a room or an account. The database deletes the row some time after the session."""


def encode_decision(decision: Decision) -> tuple[str, Any]:
    """Return the kind and the values of *decision*, for JSON."""
    return type(decision).__name__, msgspec.to_builtins(decision)


def decode_decision(kind: str, values: Any) -> Any:  # noqa: ANN401 - JSON, and one of several classes
    """Return the decision with this *kind* and these *values*."""
    return msgspec.convert(values, _KINDS[kind])


def stored_decision(decision: LastingDecision) -> StoredDecision:
    """Return the change of the database for *decision*, which replaces the one before with the same key."""
    if isinstance(decision, SlowMode):
        return StoredDecision(decision.key, encode_decision(decision) if decision.seconds else None, None)
    return StoredDecision(decision.key, None if decision.until == 0 else encode_decision(decision), decision.session)
