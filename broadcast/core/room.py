"""Who is present in a room, and the stream of what happens there; no bytes, no words for people.

Everything that happens goes to the journal and comes back from it, in order. What has come back when the audience is
free is the next burst: it is told to the readers first, then to those it is about (who came, who left).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from broadcast.core.batching import build_batch
from broadcast.core.events import (
    STORED,
    Action,
    Announced,
    Barrier,
    Event,
    Gap,
    Joined,
    Left,
    Message,
    PrivateMessage,
    Renamed,
    ReplayLine,
    Stored,
    text_length,
)
from broadcast.core.interfaces import Batch, Callback, Journal, Publisher, ReadCallback
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Member
from broadcast.core.nicknames import casefold_key
from broadcast.core.search_query import SearchQuery

MAX_BATCH_EVENTS = 1_000
"""So many events are told at once, at most: all that has to be done with a burst in one go takes milliseconds."""
FAST_COMMIT_SECONDS = 0.02
"""Commits that take longer, in seconds, are not waited for: on a slow disk enough gathers in one by itself."""


class Room:
    """One room: its members, its stream, and the last lines that were said in it.

    *replay* (0 or more) is how many lines a newcomer is shown.
    """

    def __init__(self, journal: Journal, audience: Publisher, replay: int, limits: Limits = DEFAULTS) -> None:
        self.members: dict[int, Member] = {}
        """Who is present, by session, in the order of coming: those whose join was told and whose leave was not."""
        self.last_seq = 0
        """The number of the last line that was told."""
        self.message_count = 0
        """How many lines were told."""
        self.delivering = False
        """Whether some may have been told already what others are still to be told."""
        self.queued_events = 0
        """How many events wait for the journal..."""
        self.queued_characters = 0
        """...and how many characters of text are in them."""
        self._journal = journal
        self._publisher = audience
        self._limits = limits
        self._recent: deque[Stored] = deque(maxlen=replay)
        self._joining: dict[int, Member] = {}
        self._ignoring: set[Member] = set()
        self._barrier_callbacks: deque[Callable[[], None]] = deque()
        self._delivery_callbacks: list[Callable[[], None]] = []
        self._committed: list[Event] = []
        self._committed_text = 0
        self._delivery_active = False
        self._deferred_once = False
        self._paused_writers: deque[Callable[[], None]] = deque()

    def open(self) -> None:
        """Open the journal; raises ``JournalError``."""
        tail = self._journal.open(max(self._recent.maxlen or 0, 1))
        self.last_seq = tail[-1].seq if tail else 0
        self._recent.extend(tail)
        self._journal.subscribe(self._on_committed)

    def enter(self, member: Member) -> None:
        """Let *member* in; ``visitor.arrived`` is called once everybody has been told."""
        self._joining[member.id] = member
        self._append(Joined(member.id, member.nick))

    def leave(self, member: Member, why: str) -> None:
        """Let *member* out; ``visitor.departed`` is called once everybody has been told."""
        self._append(Left(member.id, member.nick, why))

    def say(self, member: Member, text: str, at: float) -> None:
        """*member* says *text* (clean, one line) at the time *at* (seconds since the epoch)."""
        self._append(Message(member.id, member.nick, text, at, receipt=member.receipts))

    def act(self, member: Member, text: str, at: float) -> None:
        """*member* does *text*, likewise."""
        self._append(Action(member.id, member.nick, text, at, receipt=member.receipts))

    def whisper(self, member: Member, to: Member, text: str) -> None:
        """*member* says *text* to *to* alone."""
        to.private_in_flight += len(text)
        self._append(PrivateMessage(member.id, member.nick, to.id, text))

    def can_receive_private(self, to: Member) -> bool:
        """Whether *to* may be told anything in private: they read what they are told."""
        return not to.listener.congested and to.private_in_flight < self._limits.private_queue_bytes

    def should_throttle_sender(self, to: Member) -> bool:
        """Whether so much is on its way to *to* that whoever whispers is to wait until it was told."""
        return to.private_in_flight >= self._limits.private_queue_bytes // 2

    def rename(self, member: Member, new: str) -> None:
        """*member* is called *new* from here on."""
        self._append(Renamed(member.id, member.nick, new))
        member.nick = new

    def announce(self, text: str) -> None:
        """The server says *text* to everybody."""
        self._append(Announced(text))

    def after_barrier(self, call: Callable[[], None]) -> None:
        """Call *call* once everything that has happened up to now has been told."""
        self._barrier_callbacks.append(call)
        self._append(Barrier())

    def when_delivered(self, call: Callable[[], None]) -> None:
        """Call *call* once everybody has been told what some know already; only while ``reaching``."""
        self._delivery_callbacks.append(call)

    def ignore(self, member: Member, name: str) -> None:
        """Hide from *member* what is said under *name*."""
        member.ignored[casefold_key(name)] = name
        self._ignoring.add(member)

    def unignore(self, member: Member, name: str) -> str | None:
        """Show it again; the name as it was ignored, or None where it was not."""
        was = member.ignored.pop(casefold_key(name), None)
        if not member.ignored:
            self._ignoring.discard(member)
        return was

    def history(self, first: int, last: int, found: ReadCallback) -> None:
        """Find the lines *first* to *last*, as far as they were told."""
        self._journal.read(max(first, 1), min(last, self.last_seq), found)

    def search(self, query: SearchQuery, limit: int, found: ReadCallback) -> None:
        """Find the newest *most* lines that hold all of *words*, among those that were told."""
        self._journal.search(query, self.last_seq, limit, found)

    @property
    def above_high_water(self) -> bool:
        """Whether so much waits for the journal, or to be told, that nobody should say more."""
        return (
            self._undelivered >= self._limits.high_water_events
            or self._undelivered_text >= self._limits.high_water_bytes
        )

    def when_below_low_water(self, call: Callable[[], None]) -> None:
        """Call *call* once half of it is kept and told; only while ``full``. Whoever came first goes on first."""
        self._paused_writers.append(call)

    @property
    def _undelivered(self) -> int:
        """How many events are in the room that nobody has been told: with the journal, or back from it.

        Telling many people takes longer than keeping, and what they say meanwhile comes in all the same.
        """
        return self.queued_events + len(self._committed)

    @property
    def _undelivered_text(self) -> int:
        """How many characters of text are in them."""
        return self.queued_characters + self._committed_text

    def _append(self, event: Event) -> None:
        self.queued_events += 1
        self.queued_characters += text_length(event)
        self._journal.append(event)

    def _on_committed(self, events: Sequence[Event]) -> None:
        text = sum(map(text_length, events))
        self._committed.extend(events)
        self._committed_text += text
        self.queued_events -= len(events)
        self.queued_characters -= text
        if not self._delivery_active:
            # What is with the journal comes back within a commit. To wait for it once, and tell both at once, halves
            # what telling costs: else the first lines of a rush are told alone, to everybody, while the rest gather.
            keeping = self._journal.commit_stats
            soon = keeping.last_duration < FAST_COMMIT_SECONDS and not keeping.last_error
            self._deferred_once = self.queued_events > 0 and soon and not self._deferred_once
            if not self._deferred_once:
                self._deliver_next()

    def _deliver_next(self) -> None:
        """Tell what has come back as one burst; what comes back meanwhile is the next."""
        if not self._committed:
            return
        events, self._committed = self._committed[:MAX_BATCH_EVENTS], self._committed[MAX_BATCH_EVENTS:]
        self._committed_text -= sum(map(text_length, events))
        burst = build_batch(events, self.members, self._ignoring, self.last_seq)
        kept = [event for event in events if isinstance(event, STORED)]
        if kept:
            self.last_seq = kept[-1].seq
            self.message_count += len(kept)
            self._recent.extend(kept)
        self._apply_before_delivery(events, burst)
        self._delivery_active = self.delivering = True
        self._publisher.publish(burst, self._finish_delivery(events))

    def _apply_before_delivery(self, events: Sequence[Event], burst: Batch) -> None:
        """Take in what those may act on at once who are told first: others may be told many turns later."""
        for event in events:
            if isinstance(event, Joined):
                self._joining[event.session].announced_nick = event.nick
        for to in {event.to for event in events if isinstance(event, PrivateMessage)}:
            for _, shown in burst.overrides.get(to, ()):
                if isinstance(shown, PrivateMessage):
                    self.members[to].last_private_sender = shown.session

    def _finish_delivery(self, events: Sequence[Event]) -> Iterator[Callback]:
        """Everybody has been told of *events*: now those whom they are about, one at a step, then those who stalled.

        Nothing else is told before they all know: what a newcomer is told begins with the next burst.
        """
        try:
            visits = [*self._apply_presence(events), *self._delivery_callbacks]
            self._delivery_callbacks.clear()
            self.delivering = False
            yield from visits
            events_left, bytes_left = self._limits.high_water_events // 2, self._limits.high_water_bytes // 2
            while self._paused_writers and self._undelivered <= events_left and self._undelivered_text <= bytes_left:
                yield self._paused_writers.popleft()
        finally:
            self._delivery_active = False
        self._deliver_next()

    def _apply_presence(self, events: Sequence[Event]) -> Sequence[Callable[[], None]]:
        """Take in what *events* mean for who is present; what is to be done then for those whom they are about."""
        visits: list[Callable[[], None]] = []
        for event in events:
            if isinstance(event, Joined):
                visits.append(self._add_member(self._joining.pop(event.session)))
            elif isinstance(event, Left):
                member = self.members.pop(event.session)
                self._ignoring.discard(member)
                visits.append(member.listener.leave_delivered)
            elif isinstance(event, PrivateMessage):
                to = self.members.get(event.to)
                if to is not None:
                    to.private_in_flight -= len(event.text)
            elif isinstance(event, Renamed):
                self.members[event.session].announced_nick = event.new
                self._follow_rename(event)
            elif isinstance(event, Barrier):
                visits.append(self._barrier_callbacks.popleft())
        return visits

    def _add_member(self, member: Member) -> Callable[[], None]:
        self.members[member.id] = member
        return lambda: member.listener.join_delivered(self.members, self._replay())

    def _replay(self) -> Iterator[ReplayLine | Gap]:
        """What a newcomer is shown of the lines up to now."""
        return self._replay_range(self._recent[0].seq if self._recent else self.last_seq + 1, self.last_seq)

    def _replay_range(self, seq: int, last: int) -> Iterator[ReplayLine | Gap]:
        """The lines *seq* to *last*, each when it is asked for; those that are not remembered any more by number."""
        while seq <= last:
            oldest = self._recent[0].seq
            if seq < oldest:
                missed = Gap(seq, min(oldest - 1, last))
                yield missed
                seq = missed.last + 1
            else:
                yield ReplayLine(self._recent[seq - oldest])
                seq += 1

    def _follow_rename(self, event: Renamed) -> None:
        """Whoever ignored the old name goes on ignoring the same person under the new one."""
        old, new = casefold_key(event.nick), casefold_key(event.new)
        for member in self._ignoring:
            if old in member.ignored and member.id != event.session:
                del member.ignored[old]
                member.ignored[new] = event.new
