"""The people on the other nodes of a cluster: their members here, and the calls to and from these nodes.

No database, no network: ``Directory`` hides them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

from broadcast.core import nicknames
from broadcast.core.accounts import Authenticator
from broadcast.core.decision_order import DecisionOrder
from broadcast.core.decisions import Announcement, Decision, LastingDecision
from broadcast.core.directory import (
    Directory,
    Expulsion,
    Handover,
    NodeListener,
    NodeMessage,
    OnDirectory,
    Person,
    Return,
    SharedSessions,
)
from broadcast.core.errors import Banned, NicknameRejected, NotHere, RejectedError
from broadcast.core.events import STORED, Announced, Event, Joined, Left, PrivateMessage, Stored
from broadcast.core.interfaces import Callback
from broadcast.core.membership import Member, MemberListener
from broadcast.core.private_messages import PrivateMessages
from broadcast.core.records import RecordChange, StoredRecords
from broadcast.core.remote_listener import RemoteListener, ignore_outcome
from broadcast.core.room import Room
from broadcast.core.rooms import Rooms, call_after_barriers
from broadcast.core.shared_records import RecordHub, SharedRecords
from broadcast.core.source import Source


class LocalHub(RecordHub, Protocol):
    """The parts of the hub of this node that a call of another node can change."""

    authenticator: Authenticator
    private_messages: PrivateMessages
    rooms: Rooms

    def check_address(self, host: str | None) -> None:
        """Raise ``Banned`` if the IP address *host* is banned now."""

    def carry_out(self, decision: Decision) -> bool:
        """Carry out *decision* on this node. Return whether a mute has ended."""

    def end_uploads(self, session: int) -> None:
        """End the uploads of *session* that this node receives."""


class OtherNodes:
    """The way from *hub* to the other nodes, and the calls of *directory* about them.

    A server that is alone has no directory. It alone decides whether a nickname is free.
    """

    def __init__(self, directory: Directory | None, hub: LocalHub) -> None:
        self.remote_count = 0
        """Number of members that are on other nodes."""
        self._directory = directory
        self._hub = hub
        self._people = hub.people
        self._records = SharedRecords(hub)
        self._decisions = DecisionOrder(hub.moderation)
        self._releasing: dict[str, list[Callback]] = {}
        """The calls of ``take`` that wait until a nickname is free, by its key. A member has just given it up."""
        self._calls_after_leave: dict[int, list[Callback]] = {}
        """The functions to call when a session has left, by session; see ``call_after_leave``."""
        self._remote: WeakValueDictionary[int, Member] = WeakValueDictionary()
        """The members on other nodes by session id, as long as the directory or the stream of a room has them."""

    def watch(self) -> None:
        """Receive the people and messages of the other nodes from now on."""
        if self._directory is not None:
            self._directory.watch(self)

    def forget_all(self) -> None:
        """Forget all people. ``watch`` receives them again."""
        self.remote_count = 0
        self._releasing.clear()
        self._calls_after_leave.clear()
        self._remote.clear()
        self._decisions.forget_all()

    # Calls to the other nodes

    def take(self, member: Member, nick: str, on_taken: OnDirectory) -> None:
        """Take *nick*, which is free here, for *member*, and call *on_taken* with the result.

        A server that is alone calls it at once. In a cluster, the directory answers later. The nickname may have been
        registered or banned meanwhile, so it is validated again.
        """
        directory = self._directory
        if directory is None:
            on_taken(None)
            return

        def check(error: RejectedError | None) -> None:
            if error is None:
                try:
                    self._hub.check_address(member.source.address)
                    self._people.check_right(nick, member.account)
                except RejectedError as rejection:
                    error = rejection
                    directory.release(member.id, nick, member.generation)
            on_taken(error)

        take = partial(directory.take, _describe(member, nick), check)
        releasing = self._releasing.get(nicknames.casefold_key(nick))
        if releasing is None:
            take()
        else:
            releasing.append(take)

    def release_after(self, rooms: Sequence[Room], member: Member, nick: str) -> None:
        """Free *nick* of *member* on all nodes after the events of *rooms*, so that its next owner joins after them.

        The journal frees it together with the last of these events; see ``Directory``.
        """
        directory, key = self._directory, nicknames.casefold_key(nick)
        if directory is None:
            return

        def call_waiting() -> None:
            if not rooms:
                directory.release(member.id, nick, member.generation)
            for take in self._releasing.pop(key):
                take()

        self._releasing[key] = []
        call_after_barriers(rooms, call_waiting)

    def release(self, member: Member, nick: str) -> None:
        """Free *nick* of *member* on all nodes at once. There must be a directory."""
        self._existing_directory.release(member.id, nick, member.generation)

    def send(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Send *message* to the other node on which its recipient is; see ``Directory.send``."""
        self._existing_directory.send(message, on_taken)

    def call_after_leave(self, session: int, call: Callback) -> None:
        """Call *call* when *session*, which is on another node, has left."""
        self._calls_after_leave.setdefault(session, []).append(call)

    def cancel_call_after_leave(self, session: int, call: Callback) -> None:
        """Do not call *call* when *session* leaves. Has no effect if *session* has left already."""
        calls = self._calls_after_leave.get(session, [])
        if call in calls:
            calls.remove(call)
            if not calls:
                del self._calls_after_leave[session]

    def is_certain(self, name: str) -> bool:
        """Return whether the owner of *name* in the copy of the people is the one that users of this node have read of.

        It always is if it is on this node. Otherwise, the streams of all its rooms must have shown this nickname.
        """
        if self._directory is None:
            return True
        member = self._people.owner_of(name)
        if member is None or not member.is_remote:
            return member is not None
        keys = {nicknames.casefold_key(membership.announced_nick) for membership in member.memberships.values()}
        return keys == {nicknames.casefold_key(name.strip())}

    def look_up(self, names: Sequence[str], call: Callback) -> None:
        """Update the copy of the people with the nicknames *names* if the database answers. Then call *call*."""

        def looked_up(found: Mapping[str, int] | RejectedError) -> None:
            if not isinstance(found, RejectedError):
                for name in names:
                    owner = self._people.owner_of(name)
                    # During a rename, a session has two nicknames.
                    if owner is not None and owner.is_remote and found.get(nicknames.casefold_key(name)) != owner.id:
                        self.person_left(owner.id, name)
            call()

        self._existing_directory.look_up(names, looked_up)

    def look_up_rivals(self, name: str, error: RejectedError, again: Callback) -> bool:
        """If *error* rejects the nickname *name*, and an outdated copy may be the reason, update it, and call *again*.

        The copy is that of the people who have the nickname, and of the bans. Return whether *again* will be called.
        Without this, users could not take a nickname although they have read that its owner has given it up.
        """
        rivals = self._people.remote_rivals(name)
        is_doubtful = isinstance(error, Banned) or (isinstance(error, NicknameRejected) and bool(rivals))
        if self._directory is None or not is_doubtful:
            return False
        self.look_up([name.strip(), *rivals], again)
        return True

    def follow_events(self, room: str, events: Iterable[Event]) -> None:
        """Update people and moderation after *events* of other nodes, which are about to be delivered in *room*."""
        moderation = self._hub.moderation
        for event in events:
            if isinstance(event, STORED):
                if moderation.is_active:
                    self.note_recent(room, (event,))
            elif isinstance(event, (Joined, Left)):
                self._lose_session(event)
            elif isinstance(event, Announced):
                for decision in event.decisions:
                    self._decisions.read(decision)

    def _lose_session(self, event: Joined | Left) -> None:
        """Note that another node has claimed the session of *event* after this node, if its generation says so.

        This node may have claimed the session before it reads the last events of an earlier node.
        """
        member = self._people.members.get(event.session)
        if member is None or member.is_remote or member.resumable is None:
            return
        if event.generation > member.generation:
            member.resumable.lose()
            self.look_up([member.nick], lambda: None)  # it may have left already

    def note_recent(self, room: str, lines: Iterable[Stored]) -> None:
        """Count the recent *lines* of *room* in slow mode. Any node may have stored them."""
        for line in lines:
            if (author := self._people.members.get(line.session)) is not None:
                self._hub.moderation.note_line(author, room, line.at)

    def update(self, member: Member) -> None:
        """Publish the account of *member*, and whether it is away, to the other nodes."""
        if self._directory is not None:
            self._directory.update(_describe(member, member.nick))

    def publish(self, decision: Decision) -> None:
        """Let all other nodes carry out *decision*, which this node carries out at once."""
        if self._directory is None:
            return
        if isinstance(decision, Announcement):
            self._directory.publish(decision, ignore_outcome)
            return

        def published(error: RejectedError | None) -> None:
            if error is not None:
                self._decisions.end(decision)

        self._decisions.begin(decision)
        self._directory.publish(decision, published)

    def find_remote(self, session: int, nick: str) -> Member:
        """Return the member *session*, which is on another node. *nick* is its nickname in the stream of a room.

        The stream of a room and the directory can be ahead of each other. The one that comes first creates the member.
        """
        member = self._remote.get(session)
        if member is None:
            listener = RemoteListener(self._existing_directory)
            member = self._remote[session] = Member(session, nick, listener, receives_own=True, is_remote=True)
            member.last_active = self._hub.authenticator.time_of_day
        return member

    @property
    def sessions(self) -> SharedSessions | None:
        """The sessions of all nodes that a token can resume; None if the server is alone."""
        return None if self._directory is None else self._directory.sessions

    def adopt(self, person: Person, generation: int, listener: MemberListener, source: Source) -> Member:
        """Return the member *person*, which is on this node from now on. All its rooms are open.

        Other people do not notice.
        """
        member = self._people.members[person.session]
        self._move(member, is_remote=False)
        del self._remote[member.id]
        member.generation, member.listener, member.source = generation, listener, source
        return member

    def give_away(self, member: Member) -> None:
        """Note that *member* has moved from this node to another one, or is parked."""
        member.listener, member.link, member.resumable = RemoteListener(self._existing_directory), None, None
        self._remote[member.id] = member
        self._move(member, is_remote=True)

    def _move(self, member: Member, *, is_remote: bool) -> None:
        member.is_remote = is_remote
        self.remote_count += 1 if is_remote else -1
        for name in member.memberships:
            self._hub.rooms[name].move_member(is_remote=is_remote)

    @property
    def _existing_directory(self) -> Directory:
        """The directory. It exists if a member is on another node, or was there."""
        assert self._directory is not None
        return self._directory

    # Calls of the other nodes; see ``NodeListener``

    def person_changed(self, person: Person) -> None:
        """Note that *person* is on another node, or has changed; see ``NodeListener``."""
        own = self._people.members.get(person.session)
        if own is not None and not own.is_remote:
            if own.resumable is not None and person.generation > own.generation:
                own.resumable.lose()
            else:
                return  # this news is older than the claim of the session
        member = self.find_remote(person.session, person.nick)
        if person.session not in self._people.members:
            self._people.members[person.session] = member
            self.remote_count += 1
        if person.nick != member.nick:
            self._people.follow_rename(member, person.nick)
            member.nick = person.nick
        self._people.claim(member)
        member.account, member.source = self._hub.accounts.get(person.account), Source(person.address, is_local=False)
        if not member.memberships:  # otherwise the streams of its rooms tell it in the order in which users read them
            member.away, member.away_reason = person.away, person.away_reason
        member.generation = person.generation
        member.arrived = True

    def person_left(self, session: int, nick: str) -> None:
        """Note that *session* of another node no longer has the nickname *nick*; see ``NodeListener``."""
        member = self._people.members.get(session)
        if member is None or not member.is_remote:
            return
        self._people.release(member, nick)
        if nicknames.casefold_key(nick) == nicknames.casefold_key(member.nick):
            del self._people.members[session]
            self.remote_count -= 1
            self._hub.moderation.forget(member)
            self._hub.end_uploads(session)
            for call in self._calls_after_leave.pop(session, ()):
                call()

    def receive(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Handle *message* of another node; see ``NodeListener``."""
        member = self._people.member_by_session(message.to)
        if member is None:
            on_taken(NotHere("the recipient is not here any more."))
            return
        if member.is_remote:
            self._receive_for_other(message, on_taken)
            return
        match message:
            case Handover() | Return():
                self._receive_request(message, member, on_taken)
                return
            case Expulsion():
                rooms = self._rooms_of(member)  # before it leaves them
                member.removed_by = message.by
                member.listener.disconnect(message.reason, message.notice)
                call_after_barriers(rooms, partial(on_taken, None))  # the nickname is free by then
                return
            case PrivateMessage(line=line) if line is not None and self._hub.private_lines.was_sent(line):
                pass  # the recipient has just logged in, and the line was among those that waited
            case _:  # any other private message
                try:
                    self._hub.private_messages.check_reading(member)
                except RejectedError as error:
                    on_taken(error)
                    return
                self._hub.private_messages.deliver(message, member, self._people.members.get(message.session))
        on_taken(None)

    def _receive_request(self, request: Handover | Return, member: Member, on_taken: OnDirectory) -> None:
        """Handle *request* of another node, to which the user of *member* has come back."""
        link = member.link
        if isinstance(request, Handover) and member.resumable is not None:
            member.resumable.hand_over(request.attempt, on_taken)
        elif isinstance(request, Return) and link is not None and link.is_replaced_from(request.address):
            rooms = self._rooms_of(member)
            link.end()
            call_after_barriers(rooms, partial(on_taken, None))  # the nickname is free by then
        else:
            on_taken(NicknameRejected(f"{member.nick} is taken.", "taken"))

    def _rooms_of(self, member: Member) -> list[Room]:
        return [self._hub.rooms[name] for name in member.memberships]

    def _receive_for_other(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Handle *message* to a session that has moved to another node, or is parked."""
        match message:
            case Handover():
                on_taken(None)
            case Return():
                on_taken(NotHere("the recipient is not here any more."))
            case _:
                self._existing_directory.send(message, on_taken)

    def carry_out(self, decision: Decision) -> None:
        """Carry out *decision* of an operator; see ``NodeListener``."""
        if isinstance(decision, Announcement):
            self._hub.carry_out(decision)
        else:
            self._decisions.receive(decision)

    def decisions_loaded(self, decisions: Sequence[LastingDecision]) -> None:
        """Carry out *decisions*, which are all that hold; see ``NodeListener``."""
        self._hub.moderation.load_decisions(decisions)
        for room in self._hub.rooms.values():
            self.note_recent(room.name, room.recent_lines)

    def records_changed(self, changes: Sequence[RecordChange]) -> None:
        """Take over *changes* that another node has stored; see ``NodeListener``."""
        self._records.take_over(changes)

    def records_reloaded(self, stored: StoredRecords) -> None:
        """Take over *stored*, because changes of other nodes were missed; see ``NodeListener``."""
        self._records.reload(stored)


def _describe(member: Member, nick: str) -> Person:
    """Return *member* with the nickname *nick*, as other nodes know it."""
    account = 0 if member.account is None else member.account.id
    address = member.source.address
    return Person(member.id, nick, account, member.away, member.away_reason, address, member.generation)


_conforms: type[NodeListener] = OtherNodes
