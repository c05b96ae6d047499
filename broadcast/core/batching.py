"""Preparation of a batch: many joins or leaves become a count, and single sessions receive overrides."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from broadcast.core.events import (
    STORED,
    Action,
    Announced,
    AwayChanged,
    Barrier,
    Event,
    JoinCount,
    Joined,
    LeaveCount,
    Left,
    Message,
    PrivateMessage,
    Receipt,
    Renamed,
    Repeated,
    Shared,
    StoreFailed,
    TopicChanged,
)
from broadcast.core.interfaces import Batch, Override
from broadcast.core.nicknames import casefold_key

if TYPE_CHECKING:
    from broadcast.core.membership import Member, Membership

_PRESENCE = (Joined, JoinCount, Left, LeaveCount)
_LINES = (Message, Action)
_SAME_FOR_ALL = (Announced, AwayChanged, Barrier, Repeated, TopicChanged, Shared)
"""Events without overrides."""
_IGNORABLE = (*STORED, TopicChanged)
"""Events that members do not receive from the nicknames that they ignore."""
_SHOWN_TO_AUTHOR = (TopicChanged, Shared)
"""Those that their authors receive, whatever they ignore."""
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


class _PresenceOverrides:
    """The overrides of the joins and leaves in a batch, which are produced in the order of the shown events.

    The batch consists of *unannounced* and *events*.
    """

    def __init__(self, events: Sequence[Event], unannounced: Sequence[Sequence[Joined | Left]]) -> None:
        self._events = events
        self._everything = [*chain.from_iterable(unannounced), *events]
        self._known: dict[int, tuple[int, int]] = {}
        """The numbers of joins and leaves up to the end of its own group, for each newcomer."""
        self._joins = self._leaves = 0
        """Numbers of joins and leaves shown so far."""
        joins = leaves = 0
        for group in unannounced:
            joins += sum(isinstance(event, Joined) for event in group)
            leaves += sum(isinstance(event, Left) for event in group)
            for event in group:
                if isinstance(event, Joined):
                    self._known[event.session] = joins, leaves
                else:
                    self._known.pop(event.session, None)

    def of(self, event: Joined | JoinCount | Left | LeaveCount) -> Iterator[tuple[int, Event | None]]:
        """Yield the sessions that receive something else in the place of *event*, each with its replacement."""
        match event:
            case Joined():
                self._joins += 1
                yield from ((session, None) for session, (joins, _) in self._known.items() if joins >= self._joins)
            case Left(session=leaver):
                self._leaves += 1
                for session, (_, leaves) in self._known.items():
                    if leaves >= self._leaves and session != leaver:
                        yield session, None
                yield leaver, None
            case JoinCount(count=count):
                for session, (joins, _) in self._known.items():
                    yield session, self._rest(Joined, JoinCount, count - joins)
            case _:  # LeaveCount
                leavers = {left.session for left in self._events if isinstance(left, Left)}
                yield from ((leaver, None) for leaver in leavers)
                for session, (_, leaves) in self._known.items():
                    if leaves and session not in leavers:
                        yield session, self._rest(Left, LeaveCount, event.count - leaves)

    def _rest(self, kind: type[Joined | Left], count_kind: type[JoinCount | LeaveCount], count: int) -> Event | None:
        """Return the last *count* joins or leaves as one event, None if there are none."""
        if count == 1:
            return next(event for event in reversed(self._everything) if type(event) is kind)
        return count_kind(count) if count else None


def build_batch(
    events: Sequence[Event],
    members: Mapping[int, Membership],
    ignoring: Collection[Member],
    last_seq: int = 0,
    unannounced: Sequence[Sequence[Joined | Left]] = (),
) -> Batch:
    """Build the batch for *unannounced* joins and leaves, and *events*, which the journal has returned.

    The former are groups that have taken effect one after the other.

    The overrides for single members:

    * An author receives a receipt in place of the own line, or nothing if receipts are off.
    * Members receive nothing about their own leave and rename.
    * Programs (``Member.receives_own``) receive their own lines and renames as everybody does.
    * Only the recipient receives a private message, and only the author a failure to store.
    * Newcomers among *unannounced* receive only the joins and leaves after their own group.
    * Members in *ignoring* do not receive the lines, files and topics of the nicknames that they ignore.

    *last_seq* is the number of the last stored event before the batch. The cost grows with the events and the
    overrides, never with subscribers times events.
    """
    everything = [*chain.from_iterable(unannounced), *events] if unannounced else events
    shown = coalesce_presence(everything)
    presence: _PresenceOverrides | None = None
    overrides: dict[int, list[Override]] = {}
    authors: dict[int, list[Override]] = {}
    """The overrides of those authors that do not receive their own lines."""
    names = _RenameTracker()
    for index, event in enumerate(shown):
        if isinstance(event, _LINES):
            session = event.session
            own = authors.get(session)
            if own is None:
                membership = members.get(session)
                if membership is None or membership.member.receives_own:
                    continue
                own = authors[session] = overrides.setdefault(session, [])
            own.append((index, Receipt(event.seq) if event.receipt else None))
        elif not isinstance(event, _SAME_FOR_ALL):
            if isinstance(event, _PRESENCE):
                presence = presence or _PresenceOverrides(events, unannounced)
                replacements = presence.of(event)
            else:
                replacements = _recipient_overrides(event, members, names)
            for session, replacement in replacements:
                overrides.setdefault(session, []).append((index, replacement))
    if ignoring:
        _apply_ignores(shown, ignoring, overrides)
    return Batch(shown, overrides, last_seq)


def _recipient_overrides(
    event: Renamed | PrivateMessage | StoreFailed,
    members: Mapping[int, Membership],
    names: _RenameTracker,
) -> Iterator[tuple[int, Event | None]]:
    """Yield the sessions that receive something else in the place of *event*, each with its replacement."""
    match event:
        case Renamed(session=session):
            names.record(event)
            renamed = members.get(session)
            if not event.unasked and (renamed is None or not renamed.member.receives_own):
                yield session, None
        case StoreFailed(session=session):
            if event.event.on_stored is None:
                yield session, event
        case _:  # PrivateMessage
            recipient = members.get(event.to)
            keys = names.keys_before(event.nick)
            if recipient is not None and not ignores(recipient.member, event.session, keys):
                yield recipient.member.id, event


def ignores(member: Member, author: int, keys: Iterable[str]) -> bool:
    """Return whether *member* ignores the session *author*, which has the comparison keys *keys*."""
    return author != member.id and not member.ignored.keys().isdisjoint(keys)


def _apply_ignores(shown: Sequence[Event], ignoring: Iterable[Member], overrides: dict[int, list[Override]]) -> None:
    """Hide from each *ignoring* member the lines, files and topics of the nicknames that it ignores.

    Members that ignore the same authors share one list, so it is built once, however many they are.
    """
    lines: dict[str, list[int]] | None = None
    shown_to_author = [(index, event) for index, event in enumerate(shown) if isinstance(event, _SHOWN_TO_AUTHOR)]
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
        # A member may have taken a nickname that it ignores: its own lines remain receipts, and it sees its own topics
        # and files.
        own = [*overrides.get(member.id, ()), *(event for event in shown_to_author if event[1].session == member.id)]
        if own:
            hidden = sorted((dict(hidden) | dict(own)).items(), key=lambda override: override[0])
        overrides[member.id] = hidden


def _lines_by_author(shown: Sequence[Event]) -> dict[str, list[int]]:
    """Return the indexes of lines, files and topics by the comparison keys under which their author may be ignored."""
    names = _RenameTracker()
    lines: dict[str, list[int]] = {}
    for index, event in enumerate(shown):
        if isinstance(event, Renamed):
            names.record(event)
        elif isinstance(event, _IGNORABLE):
            for key in names.keys_before(event.nick):
                lines.setdefault(key, []).append(index)
    return lines
