"""Who is present in a room, and the stream of what happens there; no bytes, no words for people.

Everything that happens goes to the journal and comes back from it, in order. What has come back when the audience is
free is the next burst: it is told to the readers first, then to those it is about (who came, who left).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from broadcast.core.batching import plan
from broadcast.core.events import (
    KEPT,
    Announced,
    Emoted,
    Event,
    Joined,
    Kept,
    Left,
    Marked,
    Missed,
    Renamed,
    Replayed,
    Said,
    Whispered,
    written,
)
from broadcast.core.interfaces import Audience, Burst, Found, Journal, Step
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Member
from broadcast.core.nicknames import key
from broadcast.core.search_query import Words

BURST = 1_000
"""So many events are told at once, at most: all that has to be done with a burst in one go takes milliseconds."""
SOON = 0.02
"""Commits that take longer, in seconds, are not waited for: on a slow disk enough gathers in one by itself."""


class Room:
    """One room: its members, its stream, and the last lines that were said in it.

    *replay* (0 or more) is how many lines a newcomer is shown.
    """

    def __init__(self, journal: Journal, audience: Audience, replay: int, limits: Limits = DEFAULTS) -> None:
        self.members: dict[int, Member] = {}
        """Who is present, by session, in the order of coming: those whose join was told and whose leave was not."""
        self.last = 0
        """The number of the last line that was told."""
        self.lines = 0
        """How many lines were told."""
        self.reaching = False
        """Whether some may have been told already what others are still to be told."""
        self.queued = 0
        """How many events wait for the journal..."""
        self.queued_text = 0
        """...and how many characters of text are in them."""
        self._journal = journal
        self._audience = audience
        self._limits = limits
        self._recent: deque[Kept] = deque(maxlen=replay)
        self._expected: dict[int, Member] = {}
        self._ignoring: set[Member] = set()
        self._waiting: deque[Callable[[], None]] = deque()
        self._until_reached: list[Callable[[], None]] = []
        self._returned: list[Event] = []
        self._returned_text = 0
        self._telling = False
        self._waited = False
        self._stalled: deque[Callable[[], None]] = deque()

    def open(self) -> None:
        """Open the journal; raises ``JournalError``."""
        tail = self._journal.open(max(self._recent.maxlen or 0, 1))
        self.last = tail[-1].seq if tail else 0
        self._recent.extend(tail)
        self._journal.listen(self._take)

    def enter(self, member: Member) -> None:
        """Let *member* in; ``visitor.arrived`` is called once everybody has been told."""
        self._expected[member.id] = member
        self._append(Joined(member.id, member.nick))

    def leave(self, member: Member, why: str) -> None:
        """Let *member* out; ``visitor.departed`` is called once everybody has been told."""
        self._append(Left(member.id, member.nick, why))

    def say(self, member: Member, text: str, at: float) -> None:
        """*member* says *text* (clean, one line) at the time *at* (seconds since the epoch)."""
        self._append(Said(member.id, member.nick, text, at, receipt=member.receipts))

    def emote(self, member: Member, text: str, at: float) -> None:
        """*member* does *text*, likewise."""
        self._append(Emoted(member.id, member.nick, text, at, receipt=member.receipts))

    def whisper(self, member: Member, to: Member, text: str) -> None:
        """*member* says *text* to *to* alone."""
        to.coming += len(text)
        self._append(Whispered(member.id, member.nick, to.id, text))

    def reaches(self, to: Member) -> bool:
        """Whether *to* may be told anything in private: they read what they are told."""
        return not to.visitor.full and to.coming < self._limits.pending_bytes

    def presses(self, to: Member) -> bool:
        """Whether so much is on its way to *to* that whoever whispers is to wait until it was told."""
        return to.coming >= self._limits.pending_bytes // 2

    def rename(self, member: Member, new: str) -> None:
        """*member* is called *new* from here on."""
        self._append(Renamed(member.id, member.nick, new))
        member.nick = new

    def announce(self, text: str) -> None:
        """The server says *text* to everybody."""
        self._append(Announced(text))

    def when_told(self, call: Callable[[], None]) -> None:
        """Call *call* once everything that has happened up to now has been told."""
        self._waiting.append(call)
        self._append(Marked())

    def when_reached(self, call: Callable[[], None]) -> None:
        """Call *call* once everybody has been told what some know already; only while ``reaching``."""
        self._until_reached.append(call)

    def ignore(self, member: Member, name: str) -> None:
        """Hide from *member* what is said under *name*."""
        member.ignored[key(name)] = name
        self._ignoring.add(member)

    def unignore(self, member: Member, name: str) -> str | None:
        """Show it again; the name as it was ignored, or None where it was not."""
        was = member.ignored.pop(key(name), None)
        if not member.ignored:
            self._ignoring.discard(member)
        return was

    def history(self, first: int, last: int, found: Found) -> None:
        """Find the lines *first* to *last*, as far as they were told."""
        self._journal.read(max(first, 1), min(last, self.last), found)

    def search(self, words: Words, most: int, found: Found) -> None:
        """Find the newest *most* lines that hold all of *words*, among those that were told."""
        self._journal.search(words, self.last, most, found)

    @property
    def full(self) -> bool:
        """Whether so much waits for the journal, or to be told, that nobody should say more."""
        return self._untold >= self._limits.queue_events or self._untold_text >= self._limits.queue_bytes

    def when_roomy(self, call: Callable[[], None]) -> None:
        """Call *call* once half of it is kept and told; only while ``full``. Whoever came first goes on first."""
        self._stalled.append(call)

    @property
    def _untold(self) -> int:
        """How many events are in the room that nobody has been told: with the journal, or back from it.

        Telling many people takes longer than keeping, and what they say meanwhile comes in all the same.
        """
        return self.queued + len(self._returned)

    @property
    def _untold_text(self) -> int:
        """How many characters of text are in them."""
        return self.queued_text + self._returned_text

    def _append(self, event: Event) -> None:
        self.queued += 1
        self.queued_text += written(event)
        self._journal.append(event)

    def _take(self, events: Sequence[Event]) -> None:
        text = sum(map(written, events))
        self._returned.extend(events)
        self._returned_text += text
        self.queued -= len(events)
        self.queued_text -= text
        if not self._telling:
            # What is with the journal comes back within a commit. To wait for it once, and tell both at once, halves
            # what telling costs: else the first lines of a rush are told alone, to everybody, while the rest gather.
            keeping = self._journal.keeping
            soon = keeping.took < SOON and not keeping.trouble
            self._waited = self.queued > 0 and soon and not self._waited
            if not self._waited:
                self._tell()

    def _tell(self) -> None:
        """Tell what has come back as one burst; what comes back meanwhile is the next."""
        if not self._returned:
            return
        events, self._returned = self._returned[:BURST], self._returned[BURST:]
        self._returned_text -= sum(map(written, events))
        burst = plan(events, self.members, self._ignoring, self.last)
        kept = [event for event in events if isinstance(event, KEPT)]
        if kept:
            self.last = kept[-1].seq
            self.lines += len(kept)
            self._recent.extend(kept)
        self._foretell(events, burst)
        self._telling = self.reaching = True
        self._audience.tell(burst, self._told(events))

    def _foretell(self, events: Sequence[Event], burst: Burst) -> None:
        """Take in what those may act on at once who are told first: others may be told many turns later."""
        for event in events:
            if isinstance(event, Joined):
                self._expected[event.who].told = event.nick
        for to in {event.to for event in events if isinstance(event, Whispered)}:
            for _, shown in burst.edits.get(to, ()):
                if isinstance(shown, Whispered):
                    self.members[to].correspondent = shown.who

    def _told(self, events: Sequence[Event]) -> Iterator[Step]:
        """Everybody has been told of *events*: now those whom they are about, one at a step, then those who stalled.

        Nothing else is told before they all know: what a newcomer is told begins with the next burst.
        """
        try:
            visits = [*self._visits(events), *self._until_reached]
            self._until_reached.clear()
            self.reaching = False
            yield from visits
            events_left, bytes_left = self._limits.queue_events // 2, self._limits.queue_bytes // 2
            while self._stalled and self._untold <= events_left and self._untold_text <= bytes_left:
                yield self._stalled.popleft()
        finally:
            self._telling = False
        self._tell()

    def _visits(self, events: Sequence[Event]) -> Sequence[Callable[[], None]]:
        """Take in what *events* mean for who is present; what is to be done then for those whom they are about."""
        visits: list[Callable[[], None]] = []
        for event in events:
            if isinstance(event, Joined):
                visits.append(self._admit(self._expected.pop(event.who)))
            elif isinstance(event, Left):
                member = self.members.pop(event.who)
                self._ignoring.discard(member)
                visits.append(member.visitor.departed)
            elif isinstance(event, Whispered):
                to = self.members.get(event.to)
                if to is not None:
                    to.coming -= len(event.text)
            elif isinstance(event, Renamed):
                self.members[event.who].told = event.new
                self._follow(event)
            elif isinstance(event, Marked):
                visits.append(self._waiting.popleft())
        return visits

    def _admit(self, member: Member) -> Callable[[], None]:
        self.members[member.id] = member
        return lambda: member.visitor.arrived(self.members, self._replay())

    def _replay(self) -> Iterator[Replayed | Missed]:
        """What a newcomer is shown of the lines up to now."""
        return self._recall(self._recent[0].seq if self._recent else self.last + 1, self.last)

    def _recall(self, seq: int, last: int) -> Iterator[Replayed | Missed]:
        """The lines *seq* to *last*, each when it is asked for; those that are not remembered any more by number."""
        while seq <= last:
            oldest = self._recent[0].seq
            if seq < oldest:
                missed = Missed(seq, min(oldest - 1, last))
                yield missed
                seq = missed.last + 1
            else:
                yield Replayed(self._recent[seq - oldest])
                seq += 1

    def _follow(self, event: Renamed) -> None:
        """Whoever ignored the old name goes on ignoring the same person under the new one."""
        old, new = key(event.nick), key(event.new)
        for member in self._ignoring:
            if old in member.ignored and member.id != event.who:
                del member.ignored[old]
                member.ignored[new] = event.new
