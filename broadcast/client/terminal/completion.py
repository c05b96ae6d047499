"""Completion with Tab: commands, their arguments, and nicknames."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, TypeVar

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from broadcast.client.protocol import requests
from broadcast.client.protocol.errors import ChatError
from broadcast.client.session import commands
from broadcast.client.session.conversation import Conversation, State
from broadcast.client.session.entries import Line
from broadcast.client.text import printable

R = TypeVar("R")

PATIENCE: Final = 1.0
"""The most time that Tab waits for an answer of the server, in seconds."""
MOST_PATHS: Final = 200
_HELP: Final = re.compile(r"/(\S+)((?: ?\S+)*?)(?:\s{2,}(.*))?")


class ConversationCompleter(Completer):
    """Completion of the word before the cursor.

    At the first completion of a command, it asks the server for its commands; for a room, each time for the rooms.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._commands = {command.name: (command.usage, command.help) for command in commands.COMMANDS}
        """The usage and the help text of each command, by its name."""
        self._rooms: list[str] = []
        self._knows_commands = False
        """Whether ``_commands`` has those of the server. Before, they are the ones that this client knows."""

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """Yield the completions, after the server has told what is not known yet."""
        line = document.current_line_before_cursor
        verb = line.partition(" ")[0].removeprefix("/").casefold()
        if line.startswith("/") and (" " not in line or verb not in commands.BY_NAME) and not self._knows_commands:
            room = self._conversation.room_of(self._conversation.current).name
            await self._ask(requests.Command(room, "/help"), self._learn_commands)
        if self._kind(line) == "ROOM":
            await self._ask(requests.ListRooms(), self._learn_rooms)
        if self._kind(line) == "PATH":
            for path in await asyncio.to_thread(complete_path, line.partition(" ")[2]):
                yield path
            return
        for completion in self.get_completions(document, complete_event):
            yield completion

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002 -- prompt_toolkit gives it
    ) -> Iterator[Completion]:
        """Yield the completions from what is known."""
        line = document.current_line_before_cursor
        *before, word = line.split(" ")
        match self._kind(line):
            case "COMMAND":
                yield from self._complete_command(word, is_argument=bool(before))
            case "NAME":
                yield from _matching(self._names(before[0].casefold()), word, " ")
            case "ROOM":
                joined = (view.name for view in self._conversation.views if not view.is_private)
                yield from _matching(dict.fromkeys([*self._rooms, *joined]), word)
            case switch if "/" in switch and switch.islower():
                yield from _matching(switch.split("/"), word)
            case _ if word:
                # Without a beginning, Tab would offer everybody after each blank.
                yield from _matching(self._nicknames(), word, " " if before else ": ")

    def _kind(self, line: str) -> str:
        """Return the word of the usage for the last word of *line*, such as ``NAME`` or ``on/off``, or an empty one."""
        verb, *arguments = line.split(" ")
        if not verb.startswith("/") or verb.startswith("//"):
            return ""
        if not arguments:
            return "COMMAND"
        verb = verb[1:].casefold()
        own = commands.BY_NAME.get(verb)
        usage = re.findall(r"[\w/]+", own.usage if own else self._commands.get(verb, ("", ""))[0])
        if usage == ["PATH"]:
            return "PATH"
        return usage[len(arguments) - 1] if len(arguments) <= len(usage) else ""

    def _complete_command(self, word: str, *, is_argument: bool) -> Iterator[Completion]:
        for name, (usage, help_text) in self._commands.items():
            if name.startswith(word.removeprefix("/").casefold()):
                yield Completion(
                    f"/{name}{' ' if usage and not is_argument else ''}",
                    -len(word),
                    display=f"/{name} {usage}".rstrip(),
                    display_meta=help_text,
                )

    def _names(self, verb: str) -> Iterable[str]:
        """Return the names for a command: of choices, of ignored people, or of all other people."""
        conversation = self._conversation
        special: dict[str, Iterable[str]] = {
            "/set": conversation.choices,
            "/unignore": conversation.ignored.values(),
            "/nick": (),
        }
        return special[verb] if verb in special else self._nicknames()

    def _nicknames(self) -> list[str]:
        """Return the nicknames of other people, beginning with those who spoke last in the current view."""
        spoken = (entry.nick for entry in reversed(self._conversation.current.entries) if isinstance(entry, Line))
        rank = {nick: place for place, nick in enumerate(dict.fromkeys(spoken))}
        return sorted(self._conversation.nicknames, key=lambda nick: rank.get(nick, len(rank)))

    async def _ask(self, request: requests.Request[R], learn: Callable[[R], None]) -> None:
        """Ask the server, and wait for a moment. An answer that comes later is for the next completion."""
        if self._conversation.state is not State.ONLINE:
            return
        answered = asyncio.Event()

        def take(result: R, error: ChatError | None) -> None:
            if error is None:
                learn(result)
            answered.set()

        self._conversation.server.request(request, take)
        with suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), PATIENCE)

    def _learn_commands(self, answer: requests.Output) -> None:
        """Add the commands of the answer to ``/help``: ``/msg NAME TEXT   private to one person``."""
        self._knows_commands = True
        known, self._commands = self._commands, {}
        for line in answer.lines:
            if found := _HELP.fullmatch(printable(line).strip()):
                usage, help_text = known.get(found[1], (found[2].strip(), ""))
                self._commands[found[1]] = usage, help_text or found[3] or ""
        self._commands |= {name: known[name] for name in known if name not in self._commands}

    def _learn_rooms(self, rooms: Iterable[requests.RoomSummary]) -> None:
        self._rooms = [room.room for room in rooms]


def complete_path(typed: str) -> list[Completion]:
    """Return the files and folders whose paths begin as *typed*, with or without an opening quote.

    Hidden ones need their dot. Names that the typed line could not hold are left out.
    """
    # On Windows, both / and the backslash separate names.
    folder, separator, beginning = typed.lstrip("'\"").replace(os.sep, "/").rpartition("/")
    place = os.path.expanduser(f"{folder}/" if separator else ".")  # noqa: PTH111 -- as in App.upload
    found = []
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            name = f"{entry.name}/" if entry.is_dir() else entry.name
            is_wanted = name.startswith(beginning) and name.startswith(".") <= beginning.startswith(".")
            if is_wanted and name.isprintable():
                found.append(Completion(name, -len(beginning), display=name))
    return sorted(found, key=lambda completion: completion.text)[:MOST_PATHS]


def _matching(words: Iterable[str], beginning: str, end: str = "") -> Iterator[Completion]:
    """Yield the completions among *words*. Each is followed by *end*."""
    for word in words:
        if word.casefold().startswith(beginning.casefold()):
            yield Completion(word + end, -len(beginning), display=word)
