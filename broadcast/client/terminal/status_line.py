"""The rows below the typed line: the state of the connection, and the views with the number of unread lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_to_text

from broadcast.client.session.conversation import State
from broadcast.client.terminal.graphemes import boundary, width
from broadcast.client.text import printable, sign

if TYPE_CHECKING:
    from broadcast.client.session.conversation import Conversation
    from broadcast.client.session.views import View

SLOW_SECONDS: Final = 1.0
"""The least round-trip time that is shown."""
SILENCE_SECONDS: Final = 3.0
"""The least silence of the server that is shown."""
SHORTEST_NAME: Final = 3
"""The least number of columns of a shortened name in the line of views."""


def shorten(text: str, columns: int, end: str = "…") -> str:
    """Return *text*, cut to at most *columns* columns. *end* then ends it."""
    if width(text) <= columns:
        return text
    while text and width(text) + width(end) > columns:
        text = text[: boundary(text, len(text) - 1, after=False)]
    return (text + end)[: max(0, columns)]


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


def status(conversation: Conversation, server: str, now: float) -> list[str]:
    """Return the facts of the status line, the most important one first."""
    view = conversation.current
    state = state_of(conversation, now)
    if conversation.state in {State.CONNECTING, State.ASKING}:
        return [*filter(None, [state]), server]
    nick = conversation.nick if conversation.away is None else f"{conversation.nick} (away)"
    people = [f"{view.count} here"] if view.count and not view.is_private else []
    return [nick, *filter(None, [state]), view.title, *people, server]


def status_row(facts: Sequence[str], columns: int, encoding: str = "utf-8") -> str:
    """Return the status line in at most *columns* - 1 columns."""
    text = f" {sign('·', encoding, '|')} ".join(printable(fact, encoding) for fact in facts)
    return f" {shorten(text, max(1, columns - 3), sign('…', encoding, '~'))} "


def views_row(views: Sequence[View], current: View, columns: int, encoding: str = "utf-8") -> StyleAndTextTuples:
    """Return the line of views in at most *columns* - 1 columns, or nothing if there is only one view.

    If it is too long, the names become shorter. If this is not enough, views are left out: those without anything new
    first.
    """

    def row(shown: Iterable[View], name_columns: int) -> StyleAndTextTuples:
        pieces: StyleAndTextTuples = []
        for view in views:
            if view in shown:
                style = "class:views.current" if view is current else "class:views.unread" if view.unread else ""
                name = shorten(printable(view.title, encoding), name_columns, sign("…", encoding, "~"))
                urgent = "!" if view.is_private or view.mentions else ""
                unread = f" ({view.unread}{urgent})" if view.unread else ""
                pieces += [("", "  " if pieces else " "), (style, f"{views.index(view) + 1} {name}{unread}")]
        return pieces

    if len(views) < 2:
        return []
    for name_columns in range(max(width(view.title) for view in views), SHORTEST_NAME - 1, -1):
        if _width_of(pieces := row(views, name_columns)) < columns:
            return pieces
    # sorted() is stable: of two views with the same importance, the last one goes first.
    shown = sorted(views, key=lambda view: (view is not current, not view.unread))
    while len(shown) > 1 and _width_of(row(shown, SHORTEST_NAME)) >= columns:
        shown.pop()
    return row(shown, SHORTEST_NAME)


def _width_of(pieces: StyleAndTextTuples) -> int:
    return width(fragment_list_to_text(pieces))
