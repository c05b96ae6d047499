"""A room: its members and its stream of events. No bytes, no texts for people.

Every event passes through the journal, which returns it in order. All events that have returned when the publisher is
free form the next batch. The listeners of the members that joined are called first, because their streams begin after
the batch. Then the batch is delivered to the subscribers. The listeners of the members that left are called last.

A join or leave that follows others closely takes effect at once, but its notice waits for a line or for a moment. So a
rush of arrivals costs each subscriber a few notices, and neither the newcomers nor the lines wait for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

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
    Transient,
    text_length,
)
from broadcast.core.interfaces import Batch, Callback, CallLater, Journal, Publisher, ReadCallback
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Member
from broadcast.core.nicknames import casefold_key
from broadcast.core.search_query import SearchQuery

MAX_BATCH_EVENTS = 1_000
"""Maximum number of events in a batch. It limits each step that handles a whole batch to a few milliseconds."""
FAST_COMMIT_SECONDS = 0.02
"""Duration of commits, in seconds, above which delivery does not wait for the next commit.

Slow commits gather enough events by themselves.
"""
PRESENCE_SECONDS = 0.02
"""Minimum time between two batches that hold nothing but joins and leaves, in seconds, from the end of the first."""
PRESENCE_SECONDS_PER_MEMBER = 100e-6
"""The same for each member, if that is longer: a send takes 10 µs, so such batches take a tenth of the time at most."""
_PRESENCE = (Joined, Left)


class Room:
    """One room: its members, its stream, and its most recent stored events.

    *replay* (0 or more) is the number of stored events that a new member receives. Without *call_later*, no join or
    leave waits for further ones.
    """

    def __init__(
        self,
        journal: Journal,
        publisher: Publisher,
        replay: int,
        limits: Limits = DEFAULTS,
        call_later: CallLater | None = None,
    ) -> None:
        self.members: dict[int, Member] = {}
        """Members by session id, in the order of joining. Joins and leaves count once their delivery has begun."""
        self.last_seq = 0
        """Number of the last stored event whose delivery has begun; after ``open``, of the last one in the journal."""
        self.message_count = 0
        """Number of stored events delivered since the start."""
        self.queued_events = 0
        """Number of events that the journal has not returned yet."""
        self.queued_characters = 0
        """Number of characters of text in them."""
        self._journal = journal
        self._publisher = publisher
        self._limits = limits
        self._recent: deque[Stored] = deque(maxlen=replay)
        """Stored events for new members. The replay buffer for subscribers that lag is in ``delivery``."""
        self._joining: dict[int, Member] = {}
        """Members by session id whose join is not in delivery yet."""
        self._leaving: dict[int, Member] = {}
        """Members by session id whose leave is in delivery."""
        self._ignoring: set[Member] = set()
        """Members that ignore a nickname. A batch needs only these, not all members."""
        self._barrier_callbacks: deque[Callable[[], None]] = deque()
        """Callbacks of the barriers that have not been delivered, in the same order."""
        self._delivery_callbacks: list[Callable[[], None]] = []
        """Callbacks that wait for the end of the current delivery."""
        self._committed: list[Event] = []
        """Events that the journal has returned and that are not in delivery yet."""
        self._committed_text = 0
        """Number of characters of text in them."""
        self._delivering = False
        """True while a batch has been delivered to some subscribers but not to all."""
        self._publishing = False
        """True while a batch is in delivery or its callbacks are running."""
        self._deferred_once = False
        """Whether delivery has already waited for one more commit."""
        self._call_later = call_later
        self._holds_presence = False
        """True for a moment after the delivery of a join or leave. The notices of others wait for a line or the end."""
        self._extends_hold = False
        """Whether a line has taken notices along meanwhile. Then another such moment follows."""
        self._unannounced: list[Sequence[Joined | Left]] = []
        """Joins and leaves that have taken effect and whose notices wait, in groups that took effect together."""
        self._paused_authors: deque[Callable[[], None]] = deque()
        """Callbacks of authors that wait until the undelivered events are below the low-water mark."""

    def open(self, name: str = "lobby") -> None:
        """Open the journal and its room *name*. Raises ``JournalError``."""
        opened = self._journal.open(name, self._recent.maxlen or 0)
        self.last_seq = opened.last_seq
        self._recent.extend(opened.recent)
        self._log = opened.log
        self._log.subscribe(self._on_committed)

    def enter(self, member: Member) -> None:
        """Add *member*. ``joined`` of its listener is called when the delivery of the event begins."""
        self._joining[member.id] = member
        self._append(Joined(member.id, member.nick))

    def leave(self, member: Member, reason: str) -> None:
        """Remove *member*. ``leave_delivered`` of its listener is called once every subscriber has the event."""
        self._append(Left(member.id, member.nick, reason))

    def say(self, member: Member, text: str, at: float) -> None:
        """Append a message. *text* is one sanitized line, *at* is in seconds since the epoch."""
        # With ``receipt=``, creating the event would take nearly twice the time.
        self._append(Message(member.id, member.nick, text, at, 0, member.receipts))

    def act(self, member: Member, text: str, at: float) -> None:
        """Append an action. The parameters are those of ``say``."""
        self._append(Action(member.id, member.nick, text, at, receipt=member.receipts))

    def send_private(self, member: Member, to: Member, text: str) -> None:
        """Append a private message from *member* to *to*."""
        to.private_in_flight += len(text)
        self._append(PrivateMessage(member.id, member.nick, to.id, text))

    def can_receive_private(self, to: Member) -> bool:
        """Return whether *to* reads fast enough to receive another private message."""
        return not to.listener.congested and to.private_in_flight < self._limits.private_queue_bytes

    def should_throttle_sender(self, to: Member) -> bool:
        """Return whether a sender should wait until the private messages to *to* have been delivered."""
        return to.private_in_flight >= self._limits.private_queue_bytes // 2

    def rename(self, member: Member, new: str) -> None:
        """Change the nickname of *member* to *new*."""
        self._append(Renamed(member.id, member.nick, new))
        member.nick = new

    def announce(self, text: str) -> None:
        """Append an announcement of the server to everybody."""
        self._append(Announced(text))

    def after_barrier(self, call: Callable[[], None]) -> None:
        """Call *call* once all events appended so far have been delivered."""
        self._barrier_callbacks.append(call)
        self._append(Barrier())

    @property
    def delivering(self) -> bool:
        """Whether some subscribers have not been sent a join, a leave or another event that has taken effect."""
        return self._delivering or bool(self._unannounced)

    def when_delivered(self, call: Callable[[], None]) -> None:
        """Call *call* once these events have been delivered to all subscribers. Only while ``delivering``."""
        if self._unannounced:
            self.after_barrier(call)
        else:
            self._delivery_callbacks.append(call)

    def ignore(self, member: Member, name: str) -> None:
        """Hide from *member* the lines of the nickname *name*."""
        member.ignored[casefold_key(name)] = name
        self._ignoring.add(member)

    def unignore(self, member: Member, name: str) -> str | None:
        """Undo ``ignore``. Return the name that was ignored, or None if it was not."""
        ignored_name = member.ignored.pop(casefold_key(name), None)
        if not member.ignored:
            self._ignoring.discard(member)
        return ignored_name

    def history(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Read the stored events *first* to *last*, except those that are not in delivery yet."""
        self._log.read(max(first, 1), min(last, self.last_seq), on_result)

    def search(self, query: SearchQuery, limit: int, on_result: ReadCallback) -> None:
        """Find the newest *limit* stored events that match *query*, except those that are not in delivery yet."""
        self._log.search(query, self.last_seq, limit, on_result)

    @property
    def above_high_water(self) -> bool:
        """Whether the undelivered events have reached the high-water mark. Then their authors should pause.

        Events that the journal has returned count until their delivery begins, because delivery to many subscribers
        takes longer than a commit, and input continues meanwhile.
        """
        return (
            self.queued_events + len(self._committed) >= self._limits.high_water_events
            or self.queued_characters + self._committed_text >= self._limits.high_water_bytes
        )

    def when_below_low_water(self, call: Callable[[], None]) -> None:
        """Call *call* once half of the high-water mark is free again. Only while ``above_high_water``.

        The calls are made in the order in which they were requested.
        """
        self._paused_authors.append(call)

    @property
    def _below_low_water(self) -> bool:
        """Whether the undelivered events take at most half of the high-water mark."""
        return (
            2 * (self.queued_events + len(self._committed)) <= self._limits.high_water_events
            and 2 * (self.queued_characters + self._committed_text) <= self._limits.high_water_bytes
        )

    def _append(self, event: Event) -> None:
        self.queued_events += 1
        self.queued_characters += text_length(event)
        self._log.append(event)

    def _on_committed(self, events: Sequence[Event]) -> None:
        """Deliver *events* at once, or together with the next commit."""
        text = sum(map(text_length, events))
        self._committed.extend(events)
        self._committed_text += text
        self.queued_events -= len(events)
        self.queued_characters -= text
        if not self._publishing:
            # The events still queued return within one commit. Waiting for them once, and delivering both together,
            # halves the cost of delivery. Otherwise the first of many events would go to every subscriber alone.
            stats = self._journal.commit_stats
            next_is_soon = stats.last_duration < FAST_COMMIT_SECONDS and not stats.last_error
            self._deferred_once = self.queued_events > 0 and next_is_soon and not self._deferred_once
            if not self._deferred_once:
                self._deliver_next()

    def _deliver_next(self) -> None:
        """Deliver the committed events as one batch. Events that are committed meanwhile form the next one."""
        is_quiet = self._holds_presence and self._is_only_presence()
        if not self._committed and (is_quiet or not self._unannounced):
            return
        if len(self._committed) <= MAX_BATCH_EVENTS:
            events, self._committed = self._committed, []
            self._committed_text = 0
        else:
            events, self._committed = self._committed[:MAX_BATCH_EVENTS], self._committed[MAX_BATCH_EVENTS:]
            self._committed_text -= sum(map(text_length, events))
        if is_quiet:
            batch = Batch((Barrier(),), {}, self.last_seq)
        else:
            batch = build_batch(events, self.members, self._ignoring, self.last_seq, self._unannounced)
        stored = [event for event in events if isinstance(event, STORED)]
        if stored:
            self.last_seq = stored[-1].seq
            self.message_count += len(stored)
            self._recent.extend(stored)
        # Most batches hold stored events only, and the other events are few. Only these change the state of the room.
        transient = [event for event in events if not isinstance(event, STORED)] if len(stored) < len(events) else ()
        presence = [event for event in transient if isinstance(event, _PRESENCE)]
        holds_presence = not is_quiet and bool(presence or self._unannounced)
        self._unannounced = [*self._unannounced, presence] if is_quiet else []
        self._apply_before_delivery(transient, batch)
        self._publishing = self._delivering = True
        steps = self._finish_delivery(transient, holds_presence=holds_presence)
        self._publisher.publish(batch, steps, self._calls_of_joined(transient))

    def _is_only_presence(self) -> bool:
        """Return whether the committed events are nothing but joins and leaves, and fill no batch with those before."""
        committed = self._committed
        return len(committed) + sum(map(len, self._unannounced)) < MAX_BATCH_EVENTS and all(
            isinstance(event, _PRESENCE) for event in committed
        )

    def _hold_presence(self) -> None:
        """Let the notices of joins and leaves wait for others, from now on."""
        self._extends_hold = self._holds_presence
        if self._call_later is not None and not self._holds_presence:
            self._holds_presence = True
            seconds = max(PRESENCE_SECONDS, PRESENCE_SECONDS_PER_MEMBER * len(self.members))
            self._call_later(seconds, self._release_presence)

    def _release_presence(self) -> None:
        self._holds_presence = False
        if self._extends_hold:
            self._hold_presence()
        elif not self._publishing:
            self._deliver_next()

    def _apply_before_delivery(self, events: Sequence[Transient], batch: Batch) -> None:
        """Update the state that a member can act on as soon as it has received the batch.

        Other members may receive it several turns of the reactor later.
        """
        for event in events:
            if isinstance(event, Joined):
                member = self.members[event.session] = self._joining.pop(event.session)
                member.announced_nick = event.nick
            elif isinstance(event, Left):
                self._leaving[event.session] = self.members.pop(event.session)
            elif isinstance(event, Renamed):
                self._member_in_delivery(event.session).announced_nick = event.new
        for recipient in {event.to for event in events if isinstance(event, PrivateMessage)}:
            for _, shown in batch.overrides.get(recipient, ()):
                if isinstance(shown, PrivateMessage):
                    # A message of an ignored member has no override, so ``/reply`` does not go to that member.
                    self._member_in_delivery(recipient).last_private_sender = shown.session

    def _calls_of_joined(self, events: Sequence[Transient]) -> Iterator[Callback]:
        """Yield the calls for the members that joined. All events of the batch count as delivered to them."""
        for event in events:
            if isinstance(event, Joined):
                yield partial(self._call_joined, self._member_in_delivery(event.session))

    def _call_joined(self, member: Member) -> None:
        member.listener.joined(self.members, self._replay())

    def _member_in_delivery(self, session: int) -> Member:
        """Return the member with this session, which may leave with the batch in delivery."""
        return self.members.get(session) or self._leaving[session]

    def _finish_delivery(self, events: Sequence[Transient], *, holds_presence: bool) -> Iterator[Callback]:
        """Yield the callbacks of delivered *events* one by one, then those that wait for the low-water mark.

        The next batch starts only after the last callback, so a new member's stream begins with that batch.
        """
        try:
            callbacks = [*self._apply_after_delivery(events), *self._delivery_callbacks]
            self._delivery_callbacks.clear()
            self._delivering = False
            if holds_presence:
                self._hold_presence()
            yield from callbacks
            while self._paused_authors and self._below_low_water:
                yield self._paused_authors.popleft()
        finally:
            self._publishing = False
        self._deliver_next()

    def _apply_after_delivery(self, events: Sequence[Transient]) -> Sequence[Callable[[], None]]:
        """Update the state that depends on the delivery to all subscribers. Return the callbacks of *events*."""
        callbacks: list[Callable[[], None]] = []
        for event in events:
            if isinstance(event, Left):
                member = self._leaving.pop(event.session)
                self._ignoring.discard(member)
                callbacks.append(member.listener.leave_delivered)
            elif isinstance(event, PrivateMessage):
                recipient = self.members.get(event.to)
                if recipient is not None:
                    recipient.private_in_flight -= len(event.text)
            elif isinstance(event, Renamed):
                self._follow_rename(event)
            elif isinstance(event, Barrier):
                callbacks.append(self._barrier_callbacks.popleft())
        return callbacks

    def _replay(self) -> Iterator[ReplayLine | Gap]:
        """Return the replay for a new member: the recent events up to now."""
        return self._replay_range(self._recent[0].seq if self._recent else self.last_seq + 1, self.last_seq)

    def _replay_range(self, seq: int, last: int) -> Iterator[ReplayLine | Gap]:
        """Yield the events *seq* to *last*. A gap replaces those that are no longer in memory when they are needed."""
        while seq <= last:
            oldest = self._recent[0].seq
            if seq < oldest:
                gap = Gap(seq, min(oldest - 1, last))
                yield gap
                seq = gap.last + 1
            else:
                yield ReplayLine(self._recent[seq - oldest])
                seq += 1

    def _follow_rename(self, event: Renamed) -> None:
        """Move the entries of the old nickname in all ignore lists to the new one."""
        old, new = casefold_key(event.nick), casefold_key(event.new)
        for member in self._ignoring:
            if old in member.ignored and member.id != event.session:
                del member.ignored[old]
                member.ignored[new] = event.new
