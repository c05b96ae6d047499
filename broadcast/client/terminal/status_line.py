"""The rows below the typed line: the state of the connection, and the views with the number of unread lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Final

from prompt_toolkit.formatted_text import StyleAndTextTuples
from wcwidth import iter_graphemes

from broadcast.client.session.conversation import Conversation, State
from broadcast.client.session.views import View
from broadcast.client.terminal.graphemes import width
from broadcast.client.text import printable, progress_bar, sign

SLOW_SECONDS: Final = 1.0
"""The least round-trip time that is shown."""
SILENCE_SECONDS: Final = 3.0
"""The least silence of the server that is shown."""
LONGEST_NAME: Final = 24
"""The most columns of the name of an uploaded file."""
SHORTEST_NAME: Final = 3
"""The least number of columns of a shortened name in the line of views."""


def shorten(text: str, columns: int, end: str = "…") -> str:
    """Return *text*, cut to at most *columns* columns. *end* then ends it."""
    if width(text) <= columns:
        return text
    room, length = columns - width(end), 0
    for grapheme in iter_graphemes(text):
        room -= width(grapheme)
        if room < 0:
            break
        length += len(grapheme)
    return (text[:length] + end)[: max(0, columns)]


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


def _label(number: int, view: View, columns: int, encoding: str) -> str:
    """Return the text for a view. Its name has at most *columns* columns; with 0 columns, it is left out."""
    unread = ""
    if view.unread:
        urgent = view.is_private or view.mentions
        unread = f" ({view.unread}{'!' if urgent else ''})"
    name = shorten(printable(view.title, encoding), columns, sign("…", encoding, "~"))
    return f"{number} {name}{unread}" if name else f"{number}{unread}"


def views_row(views: Sequence[View], current: View, columns: int, encoding: str = "utf-8") -> StyleAndTextTuples:
    """Return the line of views in at most *columns* - 1 columns, or nothing if there is only one view.

    If it is too long, the names become shorter, as long as they differ. If this is not enough, the views without
    anything new have only their numbers, except the current one. If this is not enough either, they are left out, and
    then other views. The current one and the first one with something new remain.
    """
    if len(views) < 2:
        return []
    shown = list(enumerate(views, 1))
    lengths = range(max(width(view.title) for view in views), SHORTEST_NAME - 1, -1)
    differing = (length for length in lengths if len({shorten(view.title, length) for view in views}) == len(views))
    # sorted() is stable: of two views with the same importance, the last one goes first.
    by_importance = sorted(shown, key=lambda item: (item[1] is not current, not item[1].unread))

    def labels(named: int, others: int) -> list[str]:
        """Return the texts with names of *named* columns for important views, and *others* for the rest."""
        return [
            _label(number, view, named if view is current or view.unread else others, encoding)
            for number, view in shown
        ]

    choices = chain(((length, length) for length in differing), ((length, 0) for length in lengths))
    fitting = next((choice for choice in choices if _width_of(labels(*choice)) < columns), (SHORTEST_NAME, 0))
    while _width_of(labels(*fitting)) >= columns and len(by_importance) > 2:
        by_importance.pop()
        shown = sorted(by_importance, key=lambda item: item[0])
    if _width_of(labels(*fitting)) >= columns:
        fitting = (0, 0)
    pieces: StyleAndTextTuples = [("class:views", " ")]
    for (_, view), label in zip(shown, labels(*fitting), strict=True):
        if len(pieces) > 1:
            pieces.append(("class:views", "  "))
        style = "class:views.current" if view is current else "class:views.unread" if view.unread else "class:views"
        pieces.append((style, label))
    return pieces


def _width_of(labels: Sequence[str]) -> int:
    return 1 + sum(map(width, labels)) + 2 * (len(labels) - 1)
