"""Server settings."""

from __future__ import annotations

from dataclasses import dataclass

from broadcast.core.limits import DEFAULTS, Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """Server settings that the operator chooses."""

    name: str = "Broadcast"
    """Name of the server, shown in the first line of every connection."""
    version: str = ""
    """Version of the program, as ``/version`` shows it."""
    motd: tuple[str, ...] = ()
    """Lines of the message of the day."""
    replay: int = 20
    """Number of stored events that a new member receives; 0 or more."""
    unicode_nicknames: bool = False
    """Whether nicknames may contain letters and digits of any script."""
    lobby: str = "lobby"
    """Name of the room in which people arrive."""
    fixed_rooms: tuple[str, ...] | None = None
    """Names of all other rooms; None if anybody may open a room by joining it."""
    accounts: str = "open"
    """Who gets an account: one of ``accounts.ACCOUNT_MODES``."""
    account_days: int = 0
    """Days after which an account that nobody has used is deleted; 0 for never."""
    passwords: str = "warn"
    """``warn`` or ``tls``: a password over a connection that others may read is warned about, or refused."""
    topics: str = "everybody"
    """Who may set a topic: one of ``moderation.TOPICS``."""
    limits: Limits = DEFAULTS
