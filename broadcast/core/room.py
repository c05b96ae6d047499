"""A room: its members and its stream of events. No bytes, no texts for people.

Every event passes through the room's log, a part of the journal, which returns it in order. All events that have
returned when the publisher is free form the next batch. The listeners of the members that joined are called first,
because their streams begin after the batch. Then the batch is delivered to the subscribers. The listeners of the
members that left are called last.

A join or leave that follows others closely takes effect at once, but its notice waits for a line or for a moment. So a
rush of arrivals costs each subscriber a few notices, and neither the newcomers nor the lines wait for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from broadcast.core.backlog import Backlog
from broadcast.core.batching import build_batch
from broadcast.core.decisions import LastingDecision
from broadcast.core.errors import JournalError
from broadcast.core.events import (
    STORED,
    Action,
    Announced,
    AwayChanged,
    Barrier,
    Event,
    Gap,
    Joined,
    Left,
    Message,
    OnStored,
    PrivateMessage,
    Renamed,
    Repeated,
    ReplayLine,
    Stored,
    StoreFailed,
    TopicChanged,
    Transient,
    text_length,
)
from broadcast.core.interfaces import Batch, Callback, CallLater, OpenedRoom, Publisher, ReadCallback
from broadcast.core.membership import Member, Membership
from broadcast.core.recent_uids import Answer, RecentUids
from broadcast.core.search_query import SearchQuery
from broadcast.core.stats import CommitStats

MAX_BATCH_EVENTS = 1_000
"""Maximum number of events in a batch. It limits each step that handles a whole batch to a few milliseconds."""
FAST_COMMIT_SECONDS = 0.02
"""Duration of commits, in seconds, above which delivery does not wait for the next commit.

Slow commits gather enough events by themselves.
"""
PRESENCE_SECONDS = 0.02
"""Minimum time between two batches that hold nothing but joins and leaves, in seconds, from the end of the first."""
PRESENCE_SECONDS_PER_MEMBER = 300e-6
"""The same for each member, if that is longer. A send takes 10 µs, so such batches take a thirtieth of the time."""
MAX_PRESENCE_EVENTS = 4_000
"""Number of joins and leaves whose notices do not wait longer. To prepare a batch of them takes about 10 ms."""
_PRESENCE = (Joined, Left)
_OF_MEMBERS = (Joined, Left, Renamed, AwayChanged)
"""Events that change the list of members."""


@dataclass(frozen=True, slots=True)
class RoomContext:
    """The parts that all rooms share."""

    commit_stats: CommitStats
    """Those of the journal."""
    backlog: Backlog
    replay: int
    """Number of stored events that a new member receives; 0 or more."""
    on_empty: Callable[[Room], None] = lambda _room: None
    """Called with a room when its last member has left and everything is delivered."""
    call_later: CallLater | None = None
    """Without it, no join or leave waits for further ones."""
    find_remote: Callable[[int, str], Member] | None = None
    """Returns the member with this session and nickname, which is on another node. Only a cluster needs it."""
    on_foreign: Callable[[str, Sequence[Event]], None] = lambda _room, _events: None
    """Receives the name of a room, and events of other nodes that will be in delivery there.

    A member that joins or leaves with them is on another node after the call, if its session can be resumed there, and
    unless this node has claimed the session since.
    """


class Room:
    """One room: its members, its stream, and its most recent stored events. *opened* is what the journal holds."""

    def __init__(  # noqa: PLR0915 - one for each attribute
        self, name: str, opened: OpenedRoom, publisher: Publisher, context: RoomContext
    ) -> None:
        self.name = name
        self.publisher = publisher
        """The delivery to the subscribers."""
        self.topic = opened.topic
        """The topic in the stream so far; empty if there is none."""
        self.members: dict[int, Membership] = {}
        """Memberships by session id, in the order of joining. Joins and leaves count once their delivery has begun."""
        self.presence_version = 0
        """A number that changes with the members, their nicknames, and their absence."""
        self.reservations = 0
        """Number of sessions that are about to join. The room stays open for them."""
        self.last_seq = opened.last_seq
        """Number of the last stored event whose delivery has begun; at first, of the last one in the journal."""
        self.queued_events = 0
        """Number of events that the journal has not returned yet."""
        self._log = opened.log
        self._commit_stats = context.commit_stats
        self._backlog = context.backlog
        self._on_empty = context.on_empty
        self._recent: deque[Stored] = deque(opened.recent, maxlen=context.replay)
        """Stored events for new members. The replay buffer for subscribers that lag is in ``delivery``."""
        self._joining: deque[Membership] = deque()
        """Memberships whose join is not in delivery yet, in the order of the joins."""
        self._leaving: dict[int, Membership] = {}
        """Memberships by session id whose leave is in delivery."""
        self._ignoring: set[Member] = set()
        """Members that ignore a nickname. A batch needs only these, not all members."""
        self._barrier_callbacks: deque[Callable[[], None]] = deque()
        """Callbacks of the barriers that have not been delivered, in the same order."""
        self._delivery_callbacks: list[Callable[[], None]] = []
        """Callbacks that wait for the end of the current delivery."""
        self._committed: list[Event] = []
        """Events that the journal has returned and that are not in delivery yet."""
        self._committed_characters = 0
        """Number of characters of text in them."""
        self._delivering = False
        """True while a batch has been delivered to some subscribers but not to all."""
        self._publishing = False
        """True while a batch is in delivery or its callbacks are running."""
        self._deferred_once = False
        """Whether delivery has already waited for one more commit."""
        self._call_later = context.call_later
        self._holds_presence = False
        """True for a moment after the delivery of a join or leave. The notices of others wait for a line or the end."""
        self._extends_hold = False
        """Whether a line has taken notices along meanwhile. Then another such moment follows."""
        self._unannounced: list[Sequence[Joined | Left]] = []
        """Joins and leaves that have taken effect and whose notices wait, in groups that took effect together."""
        self._unannounced_count = 0
        """Number of them."""
        self._uids = RecentUids(opened.log)
        self._find_remote = context.find_remote
        self._on_foreign = context.on_foreign
        self._remote_count = 0
        """Number of members that are on other nodes."""
        self._log.subscribe(self._on_committed)

    @property
    def is_unused(self) -> bool:
        """Whether the room has no members here and expects none, and nothing is left to store or to deliver."""
        return not (
            len(self.members) > self._remote_count
            or self.reservations
            or self._joining
            or self._leaving
            or self.queued_events
            or self._committed
            or self._unannounced
            or self._publishing
        )

    def close(self) -> None:
        """Release what the journal holds for this room. This is the last call.

        The room is unused, or the node starts anew. Then the notice of a member who has left may not have come back.
        """
        for membership in self.members.values():
            membership.member.memberships.pop(self.name, None)
        self._log.close()

    def move_member(self, *, is_remote: bool) -> None:
        """Note that a member is on another node from now on, or is not any more."""
        self._remote_count += 1 if is_remote else -1

    def enter(self, member: Member) -> None:
        """Add *member*. ``joined`` of its listener is called when the delivery of the event begins."""
        membership = member.memberships[self.name] = Membership(member)
        self._joining.append(membership)
        self._append(Joined(member.id, member.nick, member.generation))
        if member.away:
            self.change_away(member)  # the join does not say that

    def leave(self, member: Member, reason: str, *, ends_session: bool = False) -> None:
        """Remove *member*. ``leave_delivered`` of its listener is called once every subscriber has the event.

        *ends_session* is as in ``Left``.
        """
        del member.memberships[self.name]
        self._append(Left(member.id, member.nick, reason, member.removed_by, ends_session, member.generation))

    def say(self, member: Member, text: str, at: float) -> None:
        """Append a message. *text* is one sanitized line, *at* is in seconds since the epoch."""
        # With ``receipt=``, creating the event would take nearly twice the time.
        self._append(Message(member.id, member.nick, text, at, 0, member.receipts), len(text))

    def act(self, member: Member, text: str, at: float) -> None:
        """Append an action. The parameters are those of ``say``."""
        self._append(Action(member.id, member.nick, text, at, receipt=member.receipts), len(text))

    def post(self, event: Stored, on_repetition: Answer) -> None:
        """Append *event*, a line of a program, unless the room has its uid already.

        In that case *on_repetition* is called with the first line, perhaps later, or with the reason why it is another
        one. A line with a uid may come only while ``knows_uids``.
        """
        if not event.uid or not self._uids.is_repetition(event, on_repetition):
            self._append(event, len(event.text))

    def answer_repetition(self, event: Stored, answer: Answer) -> bool:
        """Return whether the room knows a line with the uid of *event*. If so, *answer* is called as in ``post``."""
        return self._uids.answer_repetition(event, answer)

    @property
    def knows_uids(self) -> bool:
        """Whether the uids of the recent lines are known."""
        return self._uids.loaded

    def load_uids(self, on_loaded: Callable[[JournalError | None], None]) -> None:
        """Read the uids of the recent lines, then call *on_loaded* with None or with the reason of a failure."""
        # Lines that are being stored have no uid yet, because such lines wait for this call.
        self._uids.load(self.last_seq + self.queued_events + len(self._committed), on_loaded)

    def append_private(self, message: PrivateMessage) -> None:
        """Append *message*, whose recipient is a member of this room."""
        self._append(message, len(message.text))

    def rename(self, member: Member, new: str, *, unasked: bool = False) -> None:
        """Announce that the nickname of *member* changes to *new*, also to itself if the change is *unasked*."""
        self._append(Renamed(member.id, member.nick, new, unasked))

    def change_away(self, member: Member) -> None:
        """Announce that *member* is away, or is back."""
        self._append(AwayChanged(member.id, member.nick, member.away, member.away_reason))

    def change_topic(self, member: Member, text: str, on_stored: OnStored | None = None) -> None:
        """Change the topic to *text*, one sanitized line; empty for none."""
        self._append(TopicChanged(member.id, member.nick, text, on_stored), len(text))

    def announce(self, text: str, *decisions: LastingDecision, is_local: bool = False) -> None:
        """Append an announcement of the server to everybody, or to everybody on this node of a cluster.

        It announces *decisions*, if any, which this node has carried out.
        """
        self._append(Announced(text, is_local, decisions))

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

    def update_ignoring(self, member: Member) -> None:
        """Hide from *member* the lines of the nicknames that it ignores now."""
        if member.ignored:
            self._ignoring.add(member)
        else:
            self._ignoring.discard(member)

    def history(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Read the stored events *first* to *last*, except those that are not in delivery yet."""
        self._log.read(max(first, 1), min(last, self.last_seq), on_result)

    def read_journal(self, seq: int, on_result: ReadCallback) -> None:
        """Read the stored event *seq*, also if it is not in delivery yet."""
        self._log.read(seq, seq, on_result)

    def search(self, query: SearchQuery, limit: int, on_result: ReadCallback) -> None:
        """Find the newest *limit* stored events that match *query*, except those that are not in delivery yet."""
        self._log.search(query, self.last_seq, limit, on_result)

    def files(self, limit: int, on_result: ReadCallback) -> None:
        """Find the newest *limit* events that share a file, except those that are not in delivery yet."""
        self._log.read_files(self.last_seq, limit, on_result)

    def _append(self, event: Event, characters: int = 0) -> None:
        """Append *event*, of whose text a member wrote *characters*."""
        backlog = self._backlog
        backlog.events += 1
        backlog.characters += characters
        self.queued_events += 1
        self._log.append(event)

    def _on_committed(self, events: Sequence[Event], foreign: Sequence[Event] = ()) -> None:
        """Deliver *events* at once, or together with the next commit. Other nodes have appended *foreign* of them."""
        if foreign:
            self.reservations += 1  # the last member here may have moved to another node
            self._on_foreign(self.name, foreign)
            self.reservations -= 1
            own = {id(event) for event in foreign if isinstance(event, Left) and self._is_own(event.session)}
            if own:
                events, foreign = ([event for event in each if id(event) not in own] for each in (events, foreign))
            self._count_foreign(foreign)
        self._committed.extend(events)
        self.queued_events -= len(events)
        characters = sum(map(text_length, events))
        self._committed_characters += characters
        self._backlog.move_to_committed(len(events), characters)
        if not self._publishing:
            # The events still queued return within one commit. Waiting for them once, and delivering both together,
            # halves the cost of delivery. Otherwise the first of many events would go to every subscriber alone.
            stats = self._commit_stats
            next_is_soon = stats.last_duration < FAST_COMMIT_SECONDS and not stats.last_error
            self._deferred_once = self.queued_events > 0 and next_is_soon and not self._deferred_once
            if not self._deferred_once:
                self._deliver_next()

    def _is_own(self, session: int) -> bool:
        """Return whether *session* is on this node. ``on_foreign`` has already moved the sessions that can be resumed.

        Another node lets such a session leave only if the other nodes consider this one dead. This node learns that
        soon, and then ends its sessions itself.
        """
        joining = (membership for membership in self._joining if membership.member.id == session)
        membership = self.members.get(session) or next(joining, None)
        return membership is not None and not membership.member.is_remote

    def _count_foreign(self, events: Sequence[Event]) -> None:
        """Count *events* of other nodes as if they had been appended here. Their authors are not idle."""
        self._backlog.events += len(events)
        self._backlog.characters += sum(map(text_length, events))
        self.queued_events += len(events)
        for event in events:
            if isinstance(event, STORED) and (membership := self.members.get(event.session)) is not None:
                membership.member.last_active = event.at

    def _deliver_next(self) -> None:
        """Deliver the committed events as one batch. Events that are committed meanwhile form the next one."""
        is_quiet = self._holds_presence and self._is_only_presence()
        if not self._committed and (is_quiet or not self._unannounced):
            return
        events, self._committed = self._committed[:MAX_BATCH_EVENTS], self._committed[MAX_BATCH_EVENTS:]
        characters = sum(map(text_length, events)) if self._committed else self._committed_characters
        self._committed_characters -= characters
        self._backlog.remove(len(events), characters)
        stored = [event for event in events if isinstance(event, STORED)]
        if len(stored) < len(events):
            events = self._drop_outdated(events)
        if is_quiet:
            batch = Batch((Barrier(),), {}, self.last_seq)
        else:
            batch = build_batch(events, self.members, self._ignoring, self.last_seq, self._unannounced)
        if stored:
            self.last_seq = stored[-1].seq
            self._backlog.message_count += len(stored)
            self._recent.extend(stored)
        # Most batches hold stored events only, and the other events are few. Only these change the state of the room.
        transient = [event for event in events if not isinstance(event, STORED)] if len(stored) < len(events) else ()
        presence = [event for event in transient if isinstance(event, _PRESENCE)]
        holds_presence = not is_quiet and bool(presence or self._unannounced)
        if is_quiet:
            self._unannounced.append(presence)
            self._unannounced_count += len(presence)
        else:
            self._unannounced, self._unannounced_count = [], 0
        self._apply_before_delivery(transient, batch)
        self._publishing = self._delivering = True
        answers = self._take_answers(stored, transient)
        steps = self._finish_delivery(transient, answers, holds_presence=holds_presence)
        self.publisher.publish(batch, steps, self._calls_of_joined(transient))

    def _drop_outdated(self, events: Sequence[Event]) -> list[Event]:
        """Return *events* without those of members that have left already, and without joins of those that are here.

        A member can leave on this node while another node continues its session. So events of both can come here.
        """
        present: dict[int, bool] = {}
        kept: list[Event] = []
        for event in events:
            if isinstance(event, _OF_MEMBERS):
                is_present = present.get(event.session, event.session in self.members)
                if is_present == isinstance(event, Joined):
                    continue
                present[event.session] = not isinstance(event, Left)
            kept.append(event)
        return kept

    def _is_only_presence(self) -> bool:
        """Return whether the committed events are nothing but joins and leaves, and not too many with those before."""
        committed = self._committed
        return len(committed) + self._unannounced_count < MAX_PRESENCE_EVENTS and all(
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

    def _take_answers(self, stored: Sequence[Stored], events: Sequence[Transient]) -> list[Callback]:
        """Return the calls that tell authors whether their lines and topics among *stored* and *events* are stored."""
        answers: list[Callback] = []
        for line in stored:
            if line.on_stored is not None:
                answers.append(partial(line.on_stored, line))
            if line.uid:
                answers.extend(self._uids.record(line))
        for event in events:
            if isinstance(event, TopicChanged) and event.on_stored is not None:
                answers.append(partial(event.on_stored, event))
            elif isinstance(event, Repeated):
                answers.extend(self._uids.repeat(event))
            elif isinstance(event, StoreFailed):
                answers.extend(self._take_answers_to_failure(event))
        return answers

    def _take_answers_to_failure(self, failure: StoreFailed) -> list[Callback]:
        lost = failure.event
        repetitions = self._uids.forget(failure, lost.uid) if isinstance(lost, STORED) and lost.uid else []
        if repetitions is None:
            return []
        return [partial(lost.on_stored, failure), *repetitions] if lost.on_stored is not None else repetitions

    def _apply_before_delivery(self, events: Sequence[Transient], batch: Batch) -> None:
        """Update the state that a member can act on as soon as it has received the batch.

        Other members may receive it several turns of the reactor later.
        """
        self.presence_version += sum(isinstance(event, _OF_MEMBERS) for event in events)
        for event in events:
            self._apply(event)
        for recipient in {event.to for event in events if isinstance(event, PrivateMessage)}:
            for _, shown in batch.overrides.get(recipient, ()):
                if isinstance(shown, PrivateMessage):
                    # A message of an ignored member has no override, so ``/reply`` does not go to that member.
                    member = self._in_delivery(recipient).member
                    member.note_private(shown)
                    if shown.line is not None:
                        member.listener.private_sent(shown.line)

    def _apply(self, event: Transient) -> None:
        match event:
            case Joined():
                self._apply_join(event)
            case Left():
                self._apply_leave(event)
            case Renamed():
                self._in_delivery(event.session).announced_nick = event.new
            case AwayChanged():
                self._apply_absence(event)
            case TopicChanged():
                self.topic = event.text
            case _:  # no other one changes the state of the room
                pass

    def _apply_join(self, event: Joined) -> None:
        if self._joining and self._joining[0].member.id == event.session:
            membership = self._joining.popleft()
            membership.member.arrived = True
            self.update_ignoring(membership.member)
        else:
            assert self._find_remote is not None
            member = self._find_remote(event.session, event.nick)
            membership = member.memberships[self.name] = Membership(member)
            self._remote_count += 1
        membership.announced_nick = event.nick
        self.members[event.session] = membership

    def _apply_leave(self, event: Left) -> None:
        membership = self._leaving[event.session] = self.members.pop(event.session)
        memberships = membership.member.memberships
        # It is not there if the member left here, and then its session moved to another node.
        if membership.member.is_remote and memberships.get(self.name) is membership:
            del memberships[self.name]
            self._remote_count -= 1

    def _apply_absence(self, event: AwayChanged) -> None:
        """Note whether a member on another node is away. The directory may be behind the stream, or ahead of it."""
        member = self._in_delivery(event.session).member
        if member.is_remote:
            member.away, member.away_reason = event.away, event.reason

    def _calls_of_joined(self, events: Sequence[Transient]) -> Iterator[Callback]:
        """Yield the calls for the members that joined. All events of the batch count as delivered to them."""
        for event in events:
            if isinstance(event, Joined):
                yield partial(self._call_joined, self._in_delivery(event.session).member)

    def _call_joined(self, member: Member) -> None:
        member.listener.joined(self.name, self._replay())

    def _in_delivery(self, session: int) -> Membership:
        """Return the membership of this session, which may leave with the batch in delivery."""
        return self.members.get(session) or self._leaving[session]

    def _finish_delivery(
        self, events: Sequence[Transient], answers: Sequence[Callback], *, holds_presence: bool
    ) -> Iterator[Callback]:
        """Yield *answers* and the callbacks of delivered *events* one by one, then those of paused authors.

        The next batch starts only after the last callback, so a new member's stream begins with that batch.
        """
        try:
            callbacks = [*answers, *self._apply_after_delivery(events), *self._delivery_callbacks]
            self._delivery_callbacks.clear()
            self._delivering = False
            if holds_presence:
                self._hold_presence()
            yield from callbacks
            yield from self._backlog.take_resumable()
        finally:
            self._publishing = False
        if self.is_unused:
            self._on_empty(self)
        else:
            self._deliver_next()

    def _apply_after_delivery(self, events: Sequence[Transient]) -> Sequence[Callable[[], None]]:
        """Update the state that depends on the delivery to all subscribers. Return the callbacks of *events*."""
        callbacks: list[Callable[[], None]] = []
        for event in events:
            if isinstance(event, Left):
                member = self._leaving[event.session].member
                if event.session not in self.members:  # otherwise the same batch holds its return
                    self._ignoring.discard(member)
                callbacks.append(partial(member.listener.leave_delivered, self.name))
            elif isinstance(event, PrivateMessage):
                self._in_delivery(event.to).member.private_in_flight -= len(event.text)
            elif isinstance(event, Renamed):
                for ignoring in self._ignoring:
                    if ignoring.id != event.session:
                        ignoring.follow_rename(event.nick, event.new)
            elif isinstance(event, Barrier):
                callbacks.append(self._barrier_callbacks.popleft())
        self._leaving.clear()
        return callbacks

    @property
    def recent_lines(self) -> Sequence[Stored]:
        """The newest stored events in delivery or delivered, ascending, as many as a new member receives."""
        return self._recent

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
