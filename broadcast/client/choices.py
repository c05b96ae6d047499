"""What one has chosen with commands, as far as the server has agreed, so that another can be asked for it.

It is what ``/timestamp``, ``/quiet``, ``/away`` and ``/ignore`` change. A server is asked on each new connection, and
hides nothing before it has agreed; whom one ignores, it ignores only while they are here. Until then it is hidden here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from broadcast.client.answers import Expected, expected
from broadcast.client.lines import Crowd, Emoted, Event, Joined, Left, Renamed, Said, Whispered

Ask = Callable[[str, Expected], None]
"""Sends a command, and awaits its answer quietly."""


class Choices:
    """The choices of one person, over connections that come and go."""

    def __init__(self) -> None:
        self._times = self._quiet = False
        self.away: str | None = None
        """Why one is away, perhaps without a reason; None: one is here."""
        self._ignored: dict[str, str] = {}
        """Nicknames by their key."""
        self._unheeded: dict[str, str] = {}
        """Those of them whom this server is not known to ignore."""
        self._asked: set[str] = set()
        """Those of whom it has been told, and has not answered yet."""
        self._unquiet = False
        """Whether this server is not known to hide joins and leaves, and should."""

    @property
    def quiet(self) -> bool:
        """Whether the server does not tell who comes and goes."""
        return self._quiet and not self._unquiet

    # What is chosen

    def answer_to(self, line: str) -> Expected | None:  # noqa: PLR0911 -- a table
        """The answer to *line*, if it is a command that chooses something."""
        verb, _, words = line.partition(" ")
        verb, words = verb.casefold(), words.strip()
        misused = rf".*{re.escape(verb)}\b.*"
        match verb:
            case "/timestamp":
                return expected(r"timestamps are (on|off)\.", self._set_times, misused)
            case "/quiet":
                return expected(r"joins and leaves are (on|off)\.", self._set_quiet, misused)
            case "/away":
                return expected(r"you are away(?:\.|: .*)", lambda _found: self._set_away(words), misused)
            case "/back":
                return expected(r"welcome back\.", lambda _found: self._set_away(None), misused)
            case "/ignore" if words:
                return self._ignoring(words)
            case "/unignore" if words:
                nick = re.escape(words)
                no_longer, never = rf"you no longer ignore ({nick})\.", rf"you do not ignore ({nick})\."
                return expected(no_longer, self._unignore, never, self._unignore)
            case _:
                return None

    def unignored_here(self, line: str) -> str | None:
        """The nickname that *line* no longer ignores, if only this side knows that it was ignored."""
        verb, _, words = line.partition(" ")
        key = words.strip().casefold()
        if verb.casefold() != "/unignore" or key not in self._unheeded or key in self._asked:
            return None
        del self._unheeded[key]
        return self._ignored.pop(key)

    def _set_times(self, found: re.Match[str]) -> None:
        self._times = found[1].casefold() == "on"

    def _set_quiet(self, found: re.Match[str]) -> None:
        self._quiet = found[1].casefold() == "off"
        self._unquiet = False

    def _set_away(self, why: str | None) -> None:
        self.away = why

    def _ignoring(self, nick: str) -> Expected:
        """The answer to ``/ignore`` *nick*."""
        name = re.escape(nick)
        done, refused = rf"you ignore ({name})\.(?: .*)?", rf"{name} is not here\.|.*/ignore\b.*"
        return expected(done, self._ignore, refused, lambda _found: self._asked.discard(nick.casefold()))

    def _ignore(self, found: re.Match[str]) -> None:
        key = found[1].casefold()
        self._ignored[key] = found[1]
        self._unheeded.pop(key, None)
        self._asked.discard(key)

    def _unignore(self, found: re.Match[str]) -> None:
        key = found[1].casefold()
        self._ignored.pop(key, None)
        self._unheeded.pop(key, None)

    # Another connection

    def arrive(self) -> None:
        """This is a server that knows nothing of what was chosen."""
        self._unheeded = dict(self._ignored)
        self._unquiet = self._quiet
        self._asked.clear()

    def restore(self, ask: Ask) -> None:
        """Ask it for all that was chosen."""
        commands = [
            *(["/quiet on"] if self._quiet else []),
            *(["/timestamp on"] if self._times else []),
            *([f"/away {self.away}".rstrip()] if self.away is not None else []),
        ]
        for nick in self._ignored.values():
            self._ask_to_ignore(nick, ask)
        for command in commands:
            answer = self.answer_to(command)
            assert answer is not None
            ask(command, answer)

    def met(self, event: Event, ask: Ask) -> None:
        """Ask it to ignore whom *event* shows to be here, where it does not although it should."""
        match event:
            case Joined(nick=nick) | Renamed(new=nick) | Said(nick=nick) | Emoted(nick=nick) | Whispered(nick=nick):
                key = nick.casefold()
                if key in self._unheeded and key not in self._asked:
                    self._ask_to_ignore(nick, ask)
            case _:
                return

    def hides(self, event: Event) -> bool:
        """Whether the server would not have told *event*, if it knew what was chosen."""
        match event:
            case Said(nick=nick, own=False) | Emoted(nick=nick, own=False) | Whispered(nick=nick):
                return nick.casefold() in self._unheeded
            case Joined() | Left() | Crowd():
                return self._unquiet
            case _:
                return False

    def _ask_to_ignore(self, nick: str, ask: Ask) -> None:
        self._asked.add(nick.casefold())
        ask(f"/ignore {nick}", self._ignoring(nick))
