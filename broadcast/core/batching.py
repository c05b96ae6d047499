"""Preparation of a batch: many joins or leaves become a count, and single sessions receive overrides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from broadcast.core.events import (
    STORED,
    Announced,
    Barrier,
    Event,
    JoinCount,
    Joined,
    LeaveCount,
    Left,
    PrivateMessage,
    Receipt,
    Renamed,
    StoreFailed,
)
from broadcast.core.interfaces import Batch, Override
from broadcast.core.nicknames import casefold_key

if TYPE_CHECKING:
    from broadcast.core.membership import Member

_SAME_FOR_ALL = (Joined, JoinCount, Announced, Barrier)
"""Events without overrides."""
COALESCE_ABOVE = 5
"""Maximum number of joins, and of leaves, that one batch shows one by one."""


def coalesce_presence(events: Sequence[Event]) -> Sequence[Event]:
    """Replace many joins by a count in the place of the first, and many leaves by a count in the place of the last.

    So no member's lines appear before its join or after its leave.
    """
    if not {Joined, Left} & set(map(type, events)):
        return events
    joins = [index for index, event in enumerate(events) if type(event) is Joined]
    leaves = [index for index, event in enumerate(events) if type(event) is Left]
    replaced: dict[int, Event | None] = {}
    if len(joins) > COALESCE_ABOVE:
        replaced |= dict.fromkeys(joins)
        replaced[joins[0]] = JoinCount(len(joins))
    if len(leaves) > COALESCE_ABOVE:
        replaced |= dict.fromkeys(leaves)
        replaced[leaves[-1]] = LeaveCount(len(leaves))
    if not replaced:
        return events
    shown = (replaced.get(index, event) for index, event in enumerate(events))
    return [event for event in shown if event is not None]


class _RenameTracker:
    """The nicknames of members that were renamed in this batch. An ignore entry follows the member to the new one."""

    def __init__(self) -> None:
        self._keys: dict[str, frozenset[str]] = {}

    def keys_before(self, nick: str) -> frozenset[str]:
        """Return the comparison keys under which the member that is now *nick* may be ignored."""
        key = casefold_key(nick)
        return self._keys.get(key, frozenset((key,)))

    def record(self, event: Renamed) -> None:
        """Follow one rename.

        Ignore entries for either nickname apply to the new one. A later user of the old one is another member.
        """
        keys = self.keys_before(event.nick) | self.keys_before(event.new)
        self._keys[casefold_key(event.nick)] = frozenset()
        self._keys[casefold_key(event.new)] = keys


def build_batch(
    events: Sequence[Event], members: Mapping[int, Member], ignoring: Iterable[Member], last_seq: int = 0
) -> Batch:
    """Build the batch for *events*, which the journal has returned.

    The overrides for single members:

    * An author receives a receipt in place of the own line, or nothing if receipts are off.
    * Members receive nothing about their own leave and rename.
    * Only the recipient receives a private message, and only the author a failure to store.
    * Members in *ignoring* do not receive the lines of the nicknames that they ignore.

    *last_seq* is the number of the last stored event before the batch. The cost grows with the events and the
    overrides, never with subscribers times events.
    """
    shown = coalesce_presence(events)
    overrides: dict[int, list[Override]] = {}
    names = _RenameTracker()
    for index, event in enumerate(shown):
        if isinstance(event, STORED):
            session = event.session
            own = overrides.get(session)
            if own is None:
                if session not in members:
                    continue
                own = overrides[session] = []
            own.append((index, Receipt(event.seq) if event.receipt else None))
        elif not isinstance(event, _SAME_FOR_ALL):
            for session, replacement in _recipient_overrides(event, events, members, names):
                overrides.setdefault(session, []).append((index, replacement))
    _apply_ignores(shown, ignoring, overrides)
    return Batch(shown, overrides, last_seq)


def _recipient_overrides(
    event: Left | Renamed | PrivateMessage | StoreFailed | LeaveCount,
    events: Sequence[Event],
    members: Mapping[int, Member],
    names: _RenameTracker,
) -> Iterator[tuple[int, Event | None]]:
    """Yield the sessions that receive something else in the place of *event*, each with its replacement."""
    match event:
        case Left(session=session):
            yield session, None
        case LeaveCount():
            for left in events:
                if isinstance(left, Left):
                    yield left.session, None
        case Renamed(session=session):
            names.record(event)
            yield session, None
        case StoreFailed(session=session):
            yield session, event
        case _:  # PrivateMessage
            recipient = members.get(event.to)
            if recipient is not None and not ignores(recipient, event.session, names.keys_before(event.nick)):
                yield recipient.id, event


def ignores(member: Member, author: int, keys: Iterable[str]) -> bool:
    """Return whether *member* ignores the session *author*, which has the comparison keys *keys*."""
    return author != member.id and not member.ignored.keys().isdisjoint(keys)


def _apply_ignores(shown: Sequence[Event], ignoring: Iterable[Member], overrides: dict[int, list[Override]]) -> None:
    """Hide from each *ignoring* member the lines of the nicknames that it ignores.

    Members that ignore the same authors share one list, so it is built once, however many they are.
    """
    lines: dict[str, list[int]] | None = None
    shared: dict[frozenset[str], list[Override]] = {}
    for member in ignoring:
        if lines is None:
            lines = _lines_by_author(shown)
        keys = frozenset(member.ignored.keys() & lines.keys())
        if not keys:
            continue
        hidden = shared.get(keys)
        if hidden is None:
            hidden = shared[keys] = [(index, None) for index in sorted({index for key in keys for index in lines[key]})]
        own = overrides.get(member.id)
        if own is not None:
            # A member may have taken a nickname that it ignores: its own lines remain receipts.
            hidden = sorted((dict(hidden) | dict(own)).items(), key=lambda override: override[0])
        overrides[member.id] = hidden


def _lines_by_author(shown: Sequence[Event]) -> dict[str, list[int]]:
    """Return the indexes of stored events by the comparison keys under which their author may be ignored."""
    names = _RenameTracker()
    lines: dict[str, list[int]] = {}
    for index, event in enumerate(shown):
        if isinstance(event, Renamed):
            names.record(event)
        elif isinstance(event, STORED):
            for key in names.keys_before(event.nick):
                lines.setdefault(key, []).append(index)
    return lines
