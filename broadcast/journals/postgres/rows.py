"""The events of a batch as the function ``append`` of the schema takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from msgspec import json

from broadcast.core.events import (
    STORED,
    Action,
    Announced,
    AwayChanged,
    Event,
    FileInfo,
    Joined,
    Left,
    Message,
    Renamed,
    Shared,
    TopicChanged,
)
from broadcast.journals.postgres.database import from_text, to_text
from broadcast.journals.postgres.decisions import decode_decision, encode_decision

Row: TypeAlias = tuple[Any, ...]
"""Index of the room, kind, session, nickname; for a line also text, time, uid, file."""

_FIELDS: Final[dict[type[Any], tuple[str, ...]]] = {
    Joined: ("session", "nick", "generation"),
    Left: ("session", "nick", "reason", "by", "ends_session", "generation"),
    Renamed: ("session", "nick", "new", "unasked"),
    AwayChanged: ("session", "nick", "away", "reason"),
    TopicChanged: ("session", "nick", "text"),
}
_LINES: dict[type[Any], str] = {Message: "said", Action: "emoted", Shared: "shared"}
_KINDS = {
    Joined: "joined",
    Left: "left",
    Renamed: "renamed",
    AwayChanged: "away",
    TopicChanged: "topic",
    Announced: "announced",
}
_TYPES = {kind: event_type for event_type, kind in _KINDS.items()}

DURABLE: Final = frozenset({"said", "emoted", "shared", "topic"})
"""The kinds of rows that a commit makes durable."""


def to_row(index: int, event: Event) -> Row | None:
    """Return the row of *event* in the room with this *index*, None if the event is of no interest to other nodes."""
    kind = type(event)
    if isinstance(event, STORED):
        at = event.at if event.at - event.at == 0 else str(event.at)  # JSON knows no infinity
        file = _to_file(event.file) if isinstance(event, Shared) else None
        return index, _LINES[kind], event.session, event.nick, event.text, at, event.uid or None, file
    if not is_streamed(event):
        return None
    if isinstance(event, Announced):
        return index, _KINDS[kind], event.text, [*map(encode_decision, event.decisions)]
    return index, _KINDS[kind], *(getattr(event, field) for field in _FIELDS[kind])


def is_streamed(event: Event) -> bool:
    """Return whether *event*, which has no number, is one that other nodes receive."""
    return type(event) in _KINDS and not (isinstance(event, Announced) and event.is_local)


def _to_file(file: FileInfo) -> dict[str, Any]:
    names = ("id", "size", "type", "sha256", "width", "height")
    return {name: getattr(file, name) for name in names}


def encode(rows: Sequence[Row]) -> str:
    """Return *rows* as JSON."""
    data = json.encode(rows)
    if b"\\u0000" in data or b"\\u001a" in data:  # rare, because no door lets them through
        data = json.encode([_escape(row) for row in rows])
    return data.decode()


def _escape(value: Any) -> Any:  # noqa: ANN401 - any value of a row
    if isinstance(value, str):
        return to_text(value)
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    return [*map(_escape, value)] if isinstance(value, tuple) else value


def to_event(kind: str, *values: Any) -> Event:  # noqa: ANN401 - the fields of the event
    """Return the event of the table ``stream`` with this *kind*."""
    if kind == _KINDS[Announced]:
        text, decisions = values
        return Announced(from_text(text), decisions=tuple(decode_decision(*decision) for decision in decisions))
    event: Event = _TYPES[kind](*(from_text(value) if isinstance(value, str) else value for value in values))
    return event
