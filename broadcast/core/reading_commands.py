"""The commands that read what is stored: ``/inbox``, ``/history``, ``/search`` and ``/files``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from broadcast.core.command_context import Command, UsageError, reply_lines, require_argument
from broadcast.core.errors import JournalError, RejectedError
from broadcast.core.events import ErrorReply, HistoryLine
from broadcast.core.private_commands import show_found, show_history, show_inbox
from broadcast.core.search_query import parse_query
from broadcast.core.stats import Rejection

if TYPE_CHECKING:
    from broadcast.core.command_context import CommandContext
    from broadcast.core.events import Stored
    from broadcast.core.interfaces import ReadCallback

HISTORY_DEFAULT_LINES: Final = 20
"""Number of lines that ``/history`` shows without an argument."""
HISTORY_MAX_LINES: Final = 1000
"""Maximum number of lines that ``/history`` shows."""
PAGE_LINES: Final = 16
"""Number of lines in a page of results, at most 64 KiB. The next page follows when the peer is not congested."""
SEARCH_MAX_LINES: Final = 50
"""Maximum number of lines that ``/search`` shows."""
LISTED_FILES: Final = 20
"""Number of files that ``/files`` lists."""

Query: TypeAlias = "Callable[[ReadCallback], None]"
"""Starts one query of the journal, whose result the callback receives."""


def _parse_range(argument: str) -> Callable[[int], tuple[int, int]]:
    """Return a function that takes the number of the newest line and returns the first and last number to show."""
    argument = argument.strip()
    if span := re.fullmatch(r"#([0-9]{1,18})(?:-#?([0-9]{1,18}))?", argument):
        first, last = sorted((int(span[1]), int(span[2] or span[1])))
        if last - first >= HISTORY_MAX_LINES:
            raise RejectedError(
                f"at most {HISTORY_MAX_LINES} lines at once: /history #{first}-#{first + HISTORY_MAX_LINES - 1}"
            )
        return lambda _newest: (first, last)
    if re.fullmatch(r"|[1-9][0-9]{0,17}", argument):
        lines = min(int(argument or HISTORY_DEFAULT_LINES), HISTORY_MAX_LINES)
        return lambda newest: (newest - lines + 1, newest)
    raise UsageError


class _PagedReply:
    """The reply to a command that runs *queries* one by one and sends the lines that they find, page by page.

    The queries run and the pages are sent while the peer is not congested. *if_none* is the reply if there are no
    lines. *if_failed* precedes the reason of an error. Then the session accepts the next line.
    """

    def __init__(self, context: CommandContext, if_none: str, if_failed: str) -> None:
        self._context = context
        self._if_none = if_none
        self._if_failed = if_failed
        self._queries: list[Query] = []
        self._found_any = False

    def start(self, build_queries: Callable[[], Iterable[Query]]) -> None:
        """Call *build_queries* when all earlier lines have been delivered, so that the queries find them."""
        self._context.pause()
        self._context.room.after_barrier(partial(self._run, build_queries))

    def _run(self, build_queries: Callable[[], Iterable[Query]]) -> None:
        self._queries = list(build_queries())
        self._queries.reverse()
        self._run_next()

    def _run_next(self) -> None:
        self._queries.pop()(self._on_result)

    def _on_result(self, result: Sequence[Stored] | JournalError) -> None:
        context = self._context
        if isinstance(result, JournalError):
            context.hub.rejections[Rejection.NOT_FOUND] += 1
            context.peer.send(ErrorReply(f"{self._if_failed}: {result}"))
            context.resume()
        else:
            self._send_page(result)

    def _send_page(self, lines: Sequence[Stored]) -> None:
        context = self._context
        self._found_any = self._found_any or bool(lines)
        context.peer.send(*map(HistoryLine, lines[:PAGE_LINES]))
        if rest := lines[PAGE_LINES:]:
            context.peer.when_writable(partial(self._send_page, rest))
        elif self._queries:
            context.peer.when_writable(self._run_next)
        else:
            if not self._found_any:
                reply_lines(context, self._if_none)
            context.resume()


def _history(context: CommandContext, argument: str, at: float) -> None:
    if argument.strip().startswith("@"):
        show_history(context, argument)
        return
    to_range = _parse_range(argument)
    room = context.room

    def build_queries() -> list[Query]:
        first, last = to_range(room.last_seq)
        first, last = max(first, 1), min(last, room.last_seq)
        return [
            partial(room.history, page, min(page + PAGE_LINES - 1, last))
            for page in range(first, max(first, last) + 1, PAGE_LINES)
        ]

    reply = _PagedReply(context, if_none="nothing was said yet.", if_failed="the history cannot be read")
    reply.start(build_queries)


def _search(context: CommandContext, argument: str, at: float) -> None:
    if show_found(context, argument):
        return
    query = partial(context.room.search, parse_query(require_argument(argument)), SEARCH_MAX_LINES)
    reply = _PagedReply(context, if_none="nothing found.", if_failed="this server cannot search")
    reply.start(lambda: [query])


def _files(context: CommandContext, argument: str, at: float) -> None:
    query = partial(context.room.files, LISTED_FILES)
    reply = _PagedReply(context, if_none="nobody has shared a file here.", if_failed="the files cannot be listed")
    reply.start(lambda: [query])


READING_COMMANDS: Final = (
    Command("inbox", "", "the last stored messages to you; /history @NAME shows those with NAME", show_inbox),
    Command("history", "[N]", "the last N lines, or those of a range: /history #10-#30", _history),
    Command("search", "WORDS", 'the last lines that hold all WORDS: /search "the build" red', _search),
    Command("files", "", f"lists the last {LISTED_FILES} files of the room", _files),
)
