"""The bell and the notifications of a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from broadcast.client.session.entries import Entry, Line, PrivateLine
from broadcast.client.session.interfaces import Choices
from broadcast.client.session.views import View
from broadcast.client.text import printable

PAUSE: Final = 1.0
"""The least time between two alerts, in seconds. Nobody else can make the terminal ring all the time."""
_LENGTH: Final = 200


@dataclass
class Alerts:
    """Makes the sequences that tell the user of a mention or a private line.

    The choices *bell* and *notify* say which ones. *now* is a monotonic clock, in seconds.
    """

    choices: Choices
    now: Callable[[], float]
    encoding: str = "utf-8"
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _last: float | None = None

    def sequence(self, view: View, entry: Entry) -> str:
        """Return the sequence to write for *entry* in *view*. It is empty if the user does not want any."""
        if self._last is not None and self.now() < self._last + PAUSE:
            return ""
        self._last = self.now()
        bell = "\a" if self.choices["bell"] else ""
        return notification(view, entry, self.encoding, self.environment) + bell if self.choices["notify"] else bell


def notification(view: View, entry: Entry, encoding: str, environment: Mapping[str, str]) -> str:
    """Return the sequence for a notification of *entry*, or an empty string for a terminal that may print it.

    iTerm2 takes OSC 9. Most other terminals take OSC 777, or ignore it. GNU screen passes the sequence on. tmux does so
    with its option ``allow-passthrough``.
    """
    if not isinstance(entry, Line | PrivateLine) or environment.get("TERM", "dumb").startswith(("dumb", "linux")):
        return ""
    place = "" if view.is_private else f" in {view.title}"
    # A semicolon would separate parameters. The first characters are ours: OSC 9 and a digit is another command.
    text = printable(f"{entry.nick}{place}: {entry.text}", encoding)[:_LENGTH].replace(";", ",")
    is_iterm = "iTerm" in environment.get("LC_TERMINAL", "") + environment.get("TERM_PROGRAM", "")
    sequence = f"\x1b]9;broadcast: {text}\a" if is_iterm else f"\x1b]777;notify;broadcast;{text}\a"
    in_tmux, in_screen = environment.get("TMUX"), environment.get("STY")
    if in_tmux and in_screen:
        return ""  # One of them is inside the other, and would print the form for the other.
    if in_tmux:
        return f"\x1bPtmux;\x1b{sequence}\x1b\\"
    return f"\x1bP{sequence}\x1b\\" if in_screen else sequence
