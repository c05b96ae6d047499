"""How the events of one burst are told: crowds as a number, and who gets something else than everybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from broadcast.core.events import (
    KEPT,
    Announced,
    Event,
    Joined,
    Left,
    ManyJoined,
    ManyLeft,
    Marked,
    NotKept,
    Receipt,
    Renamed,
    Whispered,
)
from broadcast.core.interfaces import Burst, Edit
from broadcast.core.nicknames import key

if TYPE_CHECKING:
    from broadcast.core.membership import Member

_ALIKE = (Joined, ManyJoined, Announced, Marked)
"""What is the same for everybody."""
CROWD = 5
"""Up to so many joins (or leaves) in one burst are told one by one (PROTOCOL)."""


def condense(events: Sequence[Event]) -> Sequence[Event]:
    """Tell a crowd's joins as one number where the first stood, its leaves where the last stood.

    So nobody speaks before they came or after they left.
    """
    joins = [at for at, event in enumerate(events) if type(event) is Joined]
    leaves = [at for at, event in enumerate(events) if type(event) is Left]
    instead: dict[int, Event | None] = {}
    if len(joins) > CROWD:
        instead |= dict.fromkeys(joins)
        instead[joins[0]] = ManyJoined(len(joins))
    if len(leaves) > CROWD:
        instead |= dict.fromkeys(leaves)
        instead[leaves[-1]] = ManyLeft(len(leaves))
    if not instead:
        return events
    told = (instead.get(at, event) for at, event in enumerate(events))
    return [event for event in told if event is not None]


class _Names:
    """Under which names somebody may be ignored who was renamed in this burst: whoever is ignored stays so."""

    def __init__(self) -> None:
        self._before: dict[str, frozenset[str]] = {}

    def before(self, nick: str) -> frozenset[str]:
        """The comparison keys that *nick* had before the burst, or that were ignored for their own sake."""
        name = key(nick)
        return self._before.get(name, frozenset((name,)))

    def follow(self, event: Renamed) -> None:
        """From here on the new name is the same person; whoever takes the old one is somebody else."""
        either = self.before(event.nick) | self.before(event.new)
        self._before[key(event.nick)] = frozenset()
        self._before[key(event.new)] = either


def plan(events: Sequence[Event], members: Mapping[int, Member], ignoring: Iterable[Member], last: int = 0) -> Burst:
    """Turn what has come back from the journal into what the readers are told.

    Nobody gets their own line back: a receipt stands in its place for who asked for receipts. Nor are people told that
    they left or that their own name changed. Private lines and what could not be kept show to one reader. *ignoring*
    are the members who hide somebody, *last* the number of the last line before. The cost is that of the
    events and of what differs, never readers times events.
    """
    shown = condense(events)
    edits: dict[int, list[Edit]] = {}
    names = _Names()
    for at, event in enumerate(shown):
        if isinstance(event, KEPT):
            if event.who in members:
                edits.setdefault(event.who, []).append((at, Receipt(event.seq) if event.receipt else None))
        elif not isinstance(event, _ALIKE):
            for reader, instead in _apart(event, events, members, names):
                edits.setdefault(reader, []).append((at, instead))
    _hide(shown, ignoring, edits)
    return Burst(shown, edits, last)


def _apart(
    event: Left | Renamed | Whispered | NotKept | ManyLeft,
    events: Sequence[Event],
    members: Mapping[int, Member],
    names: _Names,
) -> Iterator[tuple[int, Event | None]]:
    """Who sees something else than everybody in the place of *event*, and what."""
    match event:
        case Left(who=who):
            yield who, None
        case Renamed(who=who):
            names.follow(event)
            yield who, None
        case ManyLeft():
            yield from ((left.who, None) for left in events if isinstance(left, Left))
        case NotKept(who=who):
            yield who, event
        case _:
            to = members.get(event.to)
            if to is not None and not ignores(to, event.who, names.before(event.nick)):
                yield to.id, event


def ignores(member: Member, who: int, names: Iterable[str]) -> bool:
    """Whether *member* hides what the session *who* says, which has the comparison keys *names*."""
    return who != member.id and not member.ignored.keys().isdisjoint(names)


def _hide(shown: Sequence[Event], ignoring: Iterable[Member], edits: dict[int, list[Edit]]) -> None:
    """Take out of each *ignoring* member's stream what is said by those they ignore.

    What a hundred members hide alike is put together once, for all of them.
    """
    spoken: dict[str, list[int]] | None = None
    alike: dict[frozenset[str], list[Edit]] = {}
    for member in ignoring:
        if spoken is None:
            spoken = _spoken(shown)
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


def _spoken(shown: Sequence[Event]) -> dict[str, list[int]]:
    """What is said, by the names under which it may be ignored."""
    names = _Names()
    spoken: dict[str, list[int]] = {}
    for at, event in enumerate(shown):
        if isinstance(event, Renamed):
            names.follow(event)
        elif isinstance(event, KEPT):
            for name in names.before(event.nick):
                spoken.setdefault(name, []).append(at)
    return spoken
