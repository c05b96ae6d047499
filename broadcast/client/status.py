"""How the client ends: its exit statuses, as ``--help`` lists them."""

from typing import Final

DONE: Final = 0
USAGE: Final = 1
NO_CONNECTION: Final = 2
NICKNAME_REFUSED: Final = 3
LOST: Final = 4
REFUSED: Final = 5
INTERRUPTED: Final = 130
"""Ctrl-C: 128 and the number of SIGINT, as a shell shows it."""
CLOSED_OUTPUT: Final = 141
"""Nobody reads the standard output any more: 128 and the number of SIGPIPE, as a shell shows it of other filters."""
