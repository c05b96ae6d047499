"""The origin of a connection, as far as it decides what its user may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of a connection. Without arguments, a connection of this machine."""

    address: str | None = None
    """IP address of the client; None if it has none, as on a unix socket."""
    is_local: bool = True
    """Whether the client is on this machine, and no proxy has forwarded the connection."""
    is_encrypted: bool = False

    @property
    def is_safe(self) -> bool:
        """Whether nobody on the way can read a password."""
        return self.is_local or self.is_encrypted


UNKNOWN: Final = Source(is_local=False)
"""An origin of which nothing is known, so that it is not safe."""
