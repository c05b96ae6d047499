"""The decisions of operators that all nodes of a cluster carry out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Mute:
    """A mute of a session or of an account, up to the time *until*: None for no end, 0 if the mute ends now."""

    session: int | None
    account: int | None
    until: float | None
    number: int = field(default=0, compare=False)
    """A number that no other decision of any node has; see ``Hub.next_decision_number``."""

    @property
    def key(self) -> str:
        """The session or the account. A later mute with this key replaces the one before."""
        return f"account {self.account}" if self.session is None else f"session {self.session}"


@dataclass(frozen=True, slots=True)
class SlowMode:
    """The minimum time between two lines of a person in *room*, in seconds; 0 for none."""

    room: str
    seconds: int
    number: int = field(default=0, compare=False)
    """As in ``Mute``."""

    @property
    def key(self) -> str:
        """The room. A later slow mode with this key replaces the one before."""
        return f"room {self.room}"


@dataclass(frozen=True, slots=True)
class Announcement:
    """A text of an operator in all rooms."""

    text: str


LastingDecision: TypeAlias = Mute | SlowMode
"""A decision that holds until another one ends it. The database has it for nodes that start later."""
Decision: TypeAlias = LastingDecision | Announcement
"""A decision of an operator."""
