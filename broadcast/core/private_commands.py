"""The commands that show stored private messages: ``/inbox``, ``/history @NAME`` and ``/search @NAME WORDS``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from broadcast.core.account_commands import require_account
from broadcast.core.command_context import UsageError, reply_lines
from broadcast.core.errors import JournalError, RejectedError
from broadcast.core.events import ErrorReply, PrivateHistoryLine
from broadcast.core.nicknames import MAX_NICKNAME_CHARS, casefold_key
from broadcast.core.search_query import parse_query
from broadcast.core.stats import Rejection

if TYPE_CHECKING:
    from broadcast.core.accounts import Account
    from broadcast.core.command_context import CommandContext
    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import PrivateLinesCallback
    from broadcast.core.records import PrivateLine

DEFAULT_LINES: Final = 20
"""Number of lines that ``/history @NAME`` shows without another number."""
MAX_LINES: Final = 200
"""Maximum number of lines that ``/history @NAME`` shows."""
MAX_FOUND: Final = 50
"""Maximum number of lines that ``/search @NAME`` shows."""
_history: Final = re.compile(r"@(\S+)(?:\s+([1-9][0-9]{0,17}))?", re.ASCII)
_search: Final = re.compile(r"@(\S+)\s+(.+)")


def find_partner(hub: Hub, name: str) -> Account:
    """Return the account of the person *name*. Raises ``RejectedError`` if the person has none."""
    account = hub.people.find_account(name)
    if account is None:
        name = name[:MAX_NICKNAME_CHARS]
        raise RejectedError(f"private messages with {name} are not stored, because {name} is not registered.")
    return account


def show_history(context: CommandContext, argument: str) -> None:
    """Show the lines with the person for whom *argument* asks. Raises ``UsageError`` if it has another form."""
    match = _history.fullmatch(argument.strip())
    if match is None:
        raise UsageError
    account = require_account(context.member)
    limit = min(int(match[2] or DEFAULT_LINES), MAX_LINES)
    read = partial(context.hub.private_lines.read_with, account, find_partner(context.hub, match[1]), None, limit)
    _reply(context, read, if_none="no private messages with this person are stored.", if_failed=_UNREADABLE)


def show_found(context: CommandContext, argument: str) -> bool:
    """Search the lines with the person for whom *argument* asks. Return False if it is about the room."""
    match = _search.fullmatch(argument.strip())
    if match is None:
        return False
    account = require_account(context.member)
    query, other = parse_query(match[2]), find_partner(context.hub, match[1])
    read = partial(context.hub.private_lines.search, account, other, query, MAX_FOUND)
    _reply(context, read, if_none="nothing found.", if_failed="this server cannot search")
    return True


def show_inbox(context: CommandContext, argument: str, at: float) -> None:
    """Show the last private messages that were delivered."""
    account = require_account(context.member)
    read = partial(context.hub.private_lines.read_inbox, account)
    _reply(context, read, if_none="no private messages to you are stored.", if_failed=_UNREADABLE, to_user=True)


_UNREADABLE: Final = "the private messages cannot be read"


def _reply(
    context: CommandContext,
    read: Callable[[PrivateLinesCallback], None],
    *,
    if_none: str,
    if_failed: str,
    to_user: bool = False,
) -> None:
    """Reply with the lines that *read* finds. With *to_user*, leave out those of people whom the user ignores."""

    def on_result(lines: Sequence[PrivateLine] | JournalError) -> None:
        if isinstance(lines, JournalError):
            context.hub.rejections[Rejection.NOT_FOUND] += 1
            context.peer.send(ErrorReply(f"{if_failed}: {lines}"))
        else:
            ignored = context.member.ignored if to_user else ()
            shown = [line for line in lines if casefold_key(line.sender) not in ignored]
            if not shown:
                reply_lines(context, if_none)
            context.peer.send_lazily(PrivateHistoryLine(line.sender, line.text, line.at) for line in shown)
        context.resume()

    context.pause()
    read(on_result)
