"""The rows below the typed line: the state of the connection, and the views with the number of unread lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from prompt_toolkit.formatted_text import StyleAndTextTuples

from broadcast.client.session.conversation import Conversation, State
from broadcast.client.session.views import View
from broadcast.client.terminal.graphemes import beginning, width
from broadcast.client.text import printable, progress_bar, sign

SLOW_SECONDS: Final = 1.0
"""The least round-trip time that is shown."""
SILENCE_SECONDS: Final = 3.0
"""The least silence of the server that is shown."""
LONGEST_NAME: Final = 24
CUT_NAME: Final = 4
"""The columns of a name in a line of views that is too long."""


def shorten(text: str, columns: int, end: str = "…") -> str:
    """Return *text*, cut to at most *columns* columns. *end* then ends it."""
    if width(text) <= columns:
        return text
    return (beginning(text, columns - width(end)) + end)[: max(0, columns)]


def state_of(conversation: Conversation, now: float) -> str:
    """Return the state of the connection in words, or an empty string while everything is well.

    *now* is on the clock of ``Conversation.retry_at``.
    """
    state = conversation.state
    if conversation.retry_at is not None:
        seconds = math.ceil(conversation.retry_at - now)
        attempt = f"no connection, next try in {seconds} s" if seconds > 0 else State.CONNECTING.value
        return f"leaving: {attempt}; Ctrl-D leaves at once" if state is State.LEAVING else attempt
    if state is not State.ONLINE:
        return "" if state is State.ASKING else state.value
    if conversation.silence >= SILENCE_SECONDS:
        return f"no answer for {conversation.silence:.0f} s"
    if conversation.round_trip >= SLOW_SECONDS:
        return f"{conversation.round_trip:.1f} s"
    return ""


def progress_of(conversation: Conversation) -> str:
    """Return the progress of the uploads in words and as a bar, or an empty string without any."""
    uploads = conversation.uploads
    if not uploads:
        return ""
    sent, size = sum(upload.sent for upload in uploads), sum(upload.size for upload in uploads)
    name = shorten(uploads[0].name, LONGEST_NAME) if len(uploads) == 1 else f"{len(uploads)} files"
    return f"{name} {progress_bar(sent, size)}"


def status(conversation: Conversation, server: str, now: float) -> list[str]:
    """Return the facts of the status line, the most important one first."""
    view = conversation.current
    state = state_of(conversation, now)
    if conversation.state in {State.CONNECTING, State.ASKING}:
        return [*filter(None, [state]), server]
    nick = conversation.nick if conversation.away is None else f"{conversation.nick} (away)"
    people = [f"{view.count} here"] if view.count and not view.is_private else []
    return [nick, *filter(None, [state, progress_of(conversation)]), view.title, *people, server]


def status_row(facts: Sequence[str], columns: int, encoding: str = "utf-8") -> str:
    """Return the status line in at most *columns* - 1 columns."""
    text = f" {sign('·', encoding, '|')} ".join(printable(fact, encoding) for fact in facts)
    return f" {shorten(text, max(1, columns - 3), sign('…', encoding, '~'))} "


def views_row(views: Sequence[View], current: View, columns: int, encoding: str = "utf-8") -> StyleAndTextTuples:
    """Return the line of views in at most *columns* - 1 columns, or nothing if there is only one view.

    If it is too long, only the current view and those with something new have names. If this is not enough, the others
    are left out, and then the names are cut.
    """
    if len(views) < 2:
        return []
    important = [view for view in views if view is current or view.unread]
    shown: list[tuple[View, str]] = []
    for wanted, named, length in (
        (views, views, columns), (views, important, columns), (important, important, columns),
        (important, important, CUT_NAME), (important, [current], CUT_NAME),
    ):  # fmt: skip
        numbered = [(number, view) for number, view in enumerate(views, 1) if view in wanted]
        shown = [(view, _label(number, view, length * (view in named), encoding)) for number, view in numbered]
        if sum(2 + width(label) for _, label in shown) <= columns:
            break
    pieces: StyleAndTextTuples = []
    for view, label in shown:
        style = "class:views.current" if view is current else "class:views.unread" if view.unread else "class:views"
        pieces += [("class:views", "  " if pieces else " "), (style, label)]
    return pieces


def _label(number: int, view: View, columns: int, encoding: str) -> str:
    """Return the text for a view. Its name has at most *columns* columns; with 0 columns, it is left out."""
    name = shorten(printable(view.title, encoding), columns, sign("…", encoding, "~"))
    unread = f" ({view.unread}{'!' if view.is_urgent else ''})" if view.unread else ""
    return f"{number}{name and ' '}{name}{unread}"
