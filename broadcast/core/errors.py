"""What can go wrong, as one shallow tree; each door puts it into its own words.

::

    BroadcastError
    ├── RefusedError        somebody asked for what they cannot have; the text says why
    │   ├── NicknameRefused a nickname
    │   ├── DoesNotRead     that somebody is told who does not read
    │   └── TooManyConnections  a connection above a limit
    ├── JournalError        the record of the room cannot be used
    │   ├── JournalInUse    another server holds it open
    │   ├── JournalDamaged  its contents cannot be trusted
    │   └── JournalTooNew   a newer version of this program wrote it
    └── CannotStart         the server cannot start with these settings
"""

from __future__ import annotations

from broadcast.core.stats import Rejection


class BroadcastError(Exception):
    """Anything that this package raises on purpose; its text is one line for people."""


class RefusedError(BroadcastError):
    """Somebody asked for what they cannot have; nothing was changed."""

    kind = Rejection.COMMAND
    """What it counts as."""


class NicknameRefused(RefusedError):
    """Nobody can have this nickname, or somebody has it."""

    kind = Rejection.NICKNAME


class RecipientNotReading(RefusedError):
    """Nothing can be told to somebody who does not read what they are sent."""

    kind = Rejection.UNREAD


class TooManyConnections(RefusedError):
    """The number of connections, in total or from one address, is at its limit."""

    kind = Rejection.FULL


class JournalError(BroadcastError):
    """The record of the room cannot be used."""


class JournalInUse(JournalError):
    """Another server holds the journal open."""


class JournalDamaged(JournalError):
    """The journal's contents cannot be trusted."""


class JournalTooNew(JournalError):
    """A newer version of this program wrote the journal."""


class StartupError(BroadcastError):
    """The server cannot start; the text is one line that says why, and what to do."""
