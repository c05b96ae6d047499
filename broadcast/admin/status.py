"""How the command ends: its exit statuses, and the errors that lead to them."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
REJECTED: Final = 1
USAGE: Final = 2
UNUSABLE: Final = 3
DAMAGED: Final = 4
UNKNOWN: Final = 5
STREAM: Final = 6
INTERRUPTED: Final = 130
"""Ctrl-C: 128 and the number of SIGINT, as a shell shows it."""
CLOSED_OUTPUT: Final = 141
"""Nobody reads the standard output any more: 128 and the number of SIGPIPE, likewise."""

STATUSES: Final = {
    DONE: "success",
    REJECTED: "the request was rejected, and nothing was changed",
    USAGE: "wrong usage",
    UNUSABLE: "the data folder, the journal or the backup cannot be used",
    DAMAGED: "the journal or a shared file is damaged",
    UNKNOWN: "the server has not answered, so the change may have been made or not",
    STREAM: "the standard output cannot be written, or the standard input cannot be read",
    INTERRUPTED: "Ctrl-C",
    CLOSED_OUTPUT: "nobody reads the standard output any more",
}
"""The exit statuses and their meanings, for the help and the man page."""


class AdminError(Exception):
    """The command failed with the exit status *status*. The text is one line that says why and what to do."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
