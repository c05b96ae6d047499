"""How the events of one burst are told: crowds as a number, and who gets something else than everybody."""

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
"""What is the same for everybody."""
COALESCE_ABOVE = 5
"""Up to so many joins (or leaves) in one burst are told one by one (PROTOCOL)."""


def coalesce_presence(events: Sequence[Event]) -> Sequence[Event]:
    """Tell a crowd's joins as one number where the first stood, its leaves where the last stood.

    So nobody speaks before they came or after they left.
    """
    joins = [at for at, event in enumerate(events) if type(event) is Joined]
    leaves = [at for at, event in enumerate(events) if type(event) is Left]
    instead: dict[int, Event | None] = {}
    if len(joins) > COALESCE_ABOVE:
        instead |= dict.fromkeys(joins)
        instead[joins[0]] = JoinCount(len(joins))
    if len(leaves) > COALESCE_ABOVE:
        instead |= dict.fromkeys(leaves)
        instead[leaves[-1]] = LeaveCount(len(leaves))
    if not instead:
        return events
    told = (instead.get(at, event) for at, event in enumerate(events))
    return [event for event in told if event is not None]


class _RenameTracker:
    """Under which names somebody may be ignored who was renamed in this burst: whoever is ignored stays so."""

    def __init__(self) -> None:
        self._before: dict[str, frozenset[str]] = {}

    def keys_before(self, nick: str) -> frozenset[str]:
        """The comparison keys that *nick* had before the burst, or that were ignored for their own sake."""
        name = casefold_key(nick)
        return self._before.get(name, frozenset((name,)))

    def record(self, event: Renamed) -> None:
        """From here on the new name is the same person; whoever takes the old one is somebody else."""
        either = self.keys_before(event.nick) | self.keys_before(event.new)
        self._before[casefold_key(event.nick)] = frozenset()
        self._before[casefold_key(event.new)] = either


def build_batch(
    events: Sequence[Event], members: Mapping[int, Member], ignoring: Iterable[Member], last: int = 0
) -> Batch:
    """Turn what has come back from the journal into what the readers are told.

    Nobody gets their own line back: a receipt stands in its place for who asked for receipts. Nor are people told that
    they left or that their own name changed. Private lines and what could not be kept show to one reader. *ignoring*
    are the members who hide somebody, *last* the number of the last line before. The cost is that of the
    events and of what differs, never readers times events.
    """
    shown = coalesce_presence(events)
    edits: dict[int, list[Override]] = {}
    names = _RenameTracker()
    for at, event in enumerate(shown):
        if isinstance(event, STORED):
            if event.session in members:
                edits.setdefault(event.session, []).append((at, Receipt(event.seq) if event.receipt else None))
        elif not isinstance(event, _SAME_FOR_ALL):
            for reader, instead in _recipient_overrides(event, events, members, names):
                edits.setdefault(reader, []).append((at, instead))
    _apply_ignores(shown, ignoring, edits)
    return Batch(shown, edits, last)


def _recipient_overrides(
    event: Left | Renamed | PrivateMessage | StoreFailed | LeaveCount,
    events: Sequence[Event],
    members: Mapping[int, Member],
    names: _RenameTracker,
) -> Iterator[tuple[int, Event | None]]:
    """Who sees something else than everybody in the place of *event*, and what."""
    match event:
        case Left(session=who):
            yield who, None
        case Renamed(session=who):
            names.record(event)
            yield who, None
        case LeaveCount():
            yield from ((left.session, None) for left in events if isinstance(left, Left))
        case StoreFailed(session=who):
            yield who, event
        case _:
            to = members.get(event.to)
            if to is not None and not ignores(to, event.session, names.keys_before(event.nick)):
                yield to.id, event


def ignores(member: Member, who: int, names: Iterable[str]) -> bool:
    """Whether *member* hides what the session *who* says, which has the comparison keys *names*."""
    return who != member.id and not member.ignored.keys().isdisjoint(names)


def _apply_ignores(shown: Sequence[Event], ignoring: Iterable[Member], edits: dict[int, list[Override]]) -> None:
    """Take out of each *ignoring* member's stream what is said by those they ignore.

    What a hundred members hide alike is put together once, for all of them.
    """
    spoken: dict[str, list[int]] | None = None
    alike: dict[frozenset[str], list[Override]] = {}
    for member in ignoring:
        if spoken is None:
            spoken = _messages_by_author(shown)
        names = frozenset(member.ignored.keys() & spoken.keys())
        if not names:
            continue
        hidden = alike.get(names)
        if hidden is None:
            hidden = alike[names] = [(at, None) for at in sorted({at for name in names for at in spoken[name]})]
        own = edits.get(member.id)
        if own is not None:
            # Their own lines stay receipts, should they have taken a name that they ignore.
            hidden = sorted((dict(hidden) | dict(own)).items(), key=lambda edit: edit[0])
        edits[member.id] = hidden


def _messages_by_author(shown: Sequence[Event]) -> dict[str, list[int]]:
    """What is said, by the names under which it may be ignored."""
    names = _RenameTracker()
    spoken: dict[str, list[int]] = {}
    for at, event in enumerate(shown):
        if isinstance(event, Renamed):
            names.record(event)
        elif isinstance(event, STORED):
            for name in names.keys_before(event.nick):
                spoken.setdefault(name, []).append(at)
    return spoken
