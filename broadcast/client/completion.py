"""Completion with Tab: the commands from the server's ``/help``, and the nicknames that were seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

NICKNAMES = 1000
"""The most nicknames that are remembered. Those that were not seen for the longest time are forgotten first."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the server: ``/msg``, ``NAME TEXT``, ``private to one person``."""

    word: str
    usage: str
    help: str

    @classmethod
    def parse(cls, line: str) -> Command | None:
        """Return the command of a *line* of the answer to ``/help``, without ``-> ``, or None.

        Such a line is ``/msg NAME TEXT   private to one person``.
        """
        told = re.fullmatch(r"(/\S+)((?: ?\S+)*?)(?:\s{2,}(.*))?", line.strip())
        return cls(told[1], told[2].strip(), told[3] or "") if told else None


class Known:
    """The commands and nicknames that are known so far."""

    def __init__(self) -> None:
        self.commands: dict[str, Command] = {}
        self.own = ""
        """The own nickname, which is not completed."""
        self._nicknames: dict[str, str] = {}

    def learn(self, help_lines: Iterable[str]) -> None:
        """Add the commands of the answer to ``/help``, whose lines come without ``-> ``."""
        for line in help_lines:
            command = Command.parse(line)
            if command is not None:
                self.commands[command.word] = command

    def seen(self, *nicknames: str) -> None:
        """Add nicknames that were just seen."""
        for nick in nicknames:
            self._nicknames.pop(nick.casefold(), None)
            self._nicknames[nick.casefold()] = nick
        while len(self._nicknames) > NICKNAMES:
            del self._nicknames[next(iter(self._nicknames))]

    def gone(self, nickname: str) -> None:
        """Forget *nickname*, which nobody has any more."""
        self._nicknames.pop(nickname.casefold(), None)

    @property
    def nicknames(self) -> list[str]:
        """The nicknames, the last seen one first."""
        return list(reversed(self._nicknames.values()))


class LineCompleter(Completer):
    """Completion of the word before the cursor: a command, a word of its usage, or another person's nickname."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002 -- prompt_toolkit's
    ) -> Iterator[Completion]:
        """Yield the completions of the word before the cursor."""
        before = document.text_before_cursor
        word = before.rpartition(" ")[2]
        words = before.split(" ")
        if len(words) == 1 and word.startswith("/") and not word.startswith("//"):
            yield from self._commands(word)
            return
        command = self._known.commands.get(words[0].lower())
        if command is not None and command.word == "/help" and len(words) == 2:
            yield from self._commands(f"/{word.removeprefix('/')}", len(word))
            return
        if command is not None and len(words) == 2:
            for switch in re.findall(r"[a-z]+", command.usage):
                if switch.startswith(word.casefold()):
                    yield Completion(switch, -len(word))
        # An empty word is completed only where a command takes a nickname. Otherwise Tab would offer everybody after
        # every blank.
        named = command is not None and len(words) == 2 and re.match(r"\[?NAME\b", command.usage) is not None
        if word or named:
            behind = " " if named or len(words) > 1 else ": "
            yield from self._nicknames(word, behind)

    def _commands(self, word: str, typed: int | None = None) -> Iterator[Completion]:
        for command in self._known.commands.values():
            if command.word.startswith(word.casefold()):
                yield Completion(
                    command.word + (" " if command.usage and typed is None else ""),
                    -(len(word) if typed is None else typed),
                    display=f"{command.word} {command.usage}".rstrip(),
                    display_meta=command.help,
                )

    def _nicknames(self, word: str, behind: str) -> Iterator[Completion]:
        for nick in self._known.nicknames:
            if nick.casefold().startswith(word.casefold()) and nick != self._known.own:
                yield Completion(nick + behind, -len(word), display=nick)
