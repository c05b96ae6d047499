"""The command ``export``: the lines of the journal as text, or as lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Final

import msgspec

from broadcast.admin.output import Progress, format_time, write
from broadcast.admin.reading import JournalReader, RoomSize
from broadcast.admin.status import REJECTED, AdminError
from broadcast.core.events import Action, Message, Shared, Stored
from broadcast.core.file_names import format_size
from broadcast.core.records import PrivateLine

_KINDS: Final = {Message: "said", Action: "emoted", Shared: "shared"}


@dataclass(frozen=True, slots=True)
class Selection:
    """The lines to export."""

    rooms: Sequence[str] = ()
    """Names of the rooms; all of them if there are none."""
    since: float = -inf
    until: float = inf
    """The end of the time, which is not part of it."""
    private: bool = False
    """Whether private lines are exported, too."""
    json: bool = False


def export(journal: JournalReader, selection: Selection) -> None:
    """Write the selected lines to the standard output. The memory that this takes does not depend on their number."""
    rooms = _find_rooms(journal, selection.rooms)
    total, done = sum(room.last for room in rooms), 0
    progress = Progress(lambda: f"{done:,} of {total:,} lines")
    show: Callable[[], object] = int if sys.stdout.isatty() else progress.update  # not between the lines
    line_of: Callable[[str, Stored], str] = _json_line if selection.json else _text_line
    try:
        for room in rooms:
            header = [] if selection.json else [f"== {room.name}{f': {room.topic}' if room.topic else ''}"]
            for lines in journal.lines(room):
                selected = [line for line in lines if selection.since <= line.at < selection.until]
                if selected:
                    write([*header, *(line_of(room.name, line) for line in selected)])
                    header = []
                done = sum(other.last for other in rooms if other.id < room.id) + lines[-1].seq
                show()
        if selection.private:
            _export_private(journal, selection, show)
    finally:
        progress.end()


def _export_private(journal: JournalReader, selection: Selection, show: Callable[[], object]) -> None:
    header = [] if selection.json else ["== private lines"]
    line_of: Callable[[PrivateLine], str] = _private_json_line if selection.json else _private_text_line
    for lines in journal.private_lines():
        selected = [line for line in lines if selection.since <= line.at < selection.until]
        if selected:
            write([*header, *map(line_of, selected)])
            header = []
        show()


def _find_rooms(journal: JournalReader, names: Sequence[str]) -> list[RoomSize]:
    rooms = journal.rooms()
    unknown = set(names) - {room.name for room in rooms}
    if unknown:
        raise AdminError(REJECTED, f"the journal has no room {min(unknown)}")
    return [room for room in rooms if room.name in names or not names]


def _text_line(_room: str, line: Stored) -> str:
    if isinstance(line, Shared):
        said = f"* {line.nick} shared {line.file.name} ({format_size(line.file.size)})"
    else:
        said = f"{line.nick}: {line.text}" if isinstance(line, Message) else f"** {line.nick} {line.text}"
    return f"#{line.seq} [{format_time(line.at)}] {said}"


def _json_line(room: str, line: Stored) -> str:
    kind = _KINDS[type(line)]
    event = {"room": room, "seq": line.seq, "at": round(line.at, 3), "kind": kind, "nick": line.nick}
    file = {"file": asdict(line.file)} if isinstance(line, Shared) else {}
    return _encode({**event, "text": line.text, "uid": line.uid, **file})


def _private_text_line(line: PrivateLine) -> str:
    waiting = "" if line.delivered else " (waiting)"
    return f"#{line.id} [{format_time(line.at)}] {line.sender} to {line.recipient}{waiting}: {line.text}"


def _private_json_line(line: PrivateLine) -> str:
    event = {"room": None, "id": line.id, "at": round(line.at, 3), "kind": "private", "nick": line.sender}
    return _encode(
        {**event, "to": line.recipient, "text": line.text, "uid": line.uid, "delivered": bool(line.delivered)}
    )


def _encode(event: dict[str, object]) -> str:
    return msgspec.json.encode(event).decode()
