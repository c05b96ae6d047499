"""The decisions of operators that all nodes of a cluster carry out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Mute:
    """A mute of a session or of an account, up to the time *until*: None for no end, 0 if the mute ends now."""

    session: int | None
    account: int | None
    until: float | None


@dataclass(frozen=True, slots=True)
class SlowMode:
    """The minimum time between two lines of a person in *room*, in seconds; 0 for none."""

    room: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Announcement:
    """A text of an operator in all rooms."""

    text: str


LastingDecision: TypeAlias = Mute | SlowMode
"""A decision that holds until another one ends it. The database has it for nodes that start later."""
Decision: TypeAlias = LastingDecision | Announcement
"""A decision of an operator."""
