"""The decisions of operators in PostgreSQL: as JSON, and by what they are about."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from broadcast.core.decisions import Announcement, Decision, LastingDecision, Mute, SlowMode

_KINDS: Final[dict[str, Any]] = {kind.__name__: kind for kind in (Mute, SlowMode, Announcement)}


class StoredDecision(NamedTuple):
    """A change of the table ``decisions``."""

    key: str
    """What the decision is about."""
    body: tuple[str, Any] | None
    """The decision; None if it ends an earlier one."""
    session: int | None


def encode_decision(decision: Decision) -> tuple[str, Any]:
    """Return the kind and the values of *decision*, for JSON."""
    return type(decision).__name__, msgspec.to_builtins(decision)


def decode_decision(kind: str, values: Any) -> Any:  # noqa: ANN401 - JSON, and one of several classes
    """Return the decision with this *kind* and these *values*."""
    return msgspec.convert(values, _KINDS[kind])


def stored_decision(decision: LastingDecision) -> StoredDecision:
    """Return the change with which the database keeps *decision*."""
    if isinstance(decision, SlowMode):
        return StoredDecision(f"room {decision.room}", encode_decision(decision) if decision.seconds else None, None)
    key = f"account {decision.account}" if decision.session is None else f"session {decision.session}"
    return StoredDecision(key, None if decision.until == 0 else encode_decision(decision), decision.session)
