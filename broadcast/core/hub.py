"""The hub: all parts of the chat, and the arrival, rename and departure of its members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

from broadcast.core import nicknames
from broadcast.core.accounts import Account, Accounts, Authenticator
from broadcast.core.backlog import Backlog
from broadcast.core.decisions import Announcement, Decision
from broadcast.core.directory import Directory, Expulsion, OnDirectory
from broadcast.core.errors import FileRejected, NicknameRejected, NotHere, NotPermitted, RejectedError
from broadcast.core.events import FileInfo, OnStored
from broadcast.core.ghost_return import GhostReturn, may_be_ghost
from broadcast.core.interfaces import CallLater, Journal, OpenedRoom, Publisher
from broadcast.core.membership import Link, Member, MemberListener
from broadcast.core.moderation import Moderation, check_operator, with_reason
from broadcast.core.other_nodes import OtherNodes
from broadcast.core.people import People
from broadcast.core.private_lines import PrivateLines
from broadcast.core.private_messages import PrivateMessages
from broadcast.core.records import AuditEntry
from broadcast.core.remote_listener import ignore_outcome
from broadcast.core.room import Room
from broadcast.core.rooms import OnRoom, Rooms, call_after_barriers
from broadcast.core.settings import Settings
from broadcast.core.source import Source
from broadcast.core.stats import Rejection
from broadcast.core.uploads import Uploads

GOING_DOWN = "The server is going down."
"""The announcement of the shutdown in each room, and the reason that clients without a nickname receive."""
GO_ELSEWHERE: Final = f"{GOING_DOWN} Connect again to reach another one."
"""The same text while other servers of the cluster run."""
TAKEN_OVER: Final = "taken over by another connection"
"""The leave reason of a session whose nickname another session of its owner has taken over."""
OnAdmitted: TypeAlias = Callable[[Member | RejectedError], None]
"""Receives a new member, or the reason why it was rejected after all. That is never within the call that asked."""
OnRenamed: TypeAlias = Callable[[RejectedError | None], None]
"""Receives None once a member has its new nickname, or the reason why it has not."""


class Hub:
    """The parts of the chat, and the counters of sessions and rejections.

    *make_publisher* makes the publisher of one room. *authenticator* has the accounts, which ``open`` loads. *started*
    is the start of the server, in seconds since the epoch. *call_later* times the rooms, and the notice to a user who
    waits for a nickname. Session ids begin after *first_session*. *directory* has the people of the other nodes, if the
    server is one of a cluster.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server
        self,
        journal: Journal,
        make_publisher: Callable[[], Publisher],
        settings: Settings,
        started: float,
        authenticator: Authenticator,
        call_later: CallLater | None = None,
        first_session: int = 0,
        directory: Directory | None = None,
    ) -> None:
        self.settings = settings
        self.authenticator = authenticator
        self.accounts: Accounts = authenticator.accounts
        self.private_lines = PrivateLines(journal.records)
        self.moderation = Moderation(journal.records)
        self.people = People(authenticator, self.moderation, unicode=settings.unicode_nicknames)
        self.other_nodes = OtherNodes(directory, self)
        self.backlog = Backlog(settings.limits)
        self.rooms = Rooms(journal, make_publisher, settings, self.backlog, call_later, self.other_nodes)
        self.private_messages = PrivateMessages(
            self.people,
            self.accounts,
            self.rooms,
            self.private_lines,
            self.other_nodes.send,
            settings.limits.private_queue_bytes,
        )
        self.uploads: Uploads | None = None
        """The uploads of files; None if the server takes no files. It is set after the hub is made."""
        self.started = started
        self.session_count = 0
        """Number of sessions since the start."""
        self.rejections = dict.fromkeys(Rejection, 0)
        """Number of rejections of each kind."""
        self._first_session = first_session
        self._decision_count = 0
        self._journal = journal
        self._call_later = call_later

    def open(self, on_room: OnRoom) -> None:
        """Open the journal and the lobby, and begin to open all fixed rooms. Raises ``JournalError``.

        Call *on_room* later with each fixed room, or with the reason why it cannot be opened.
        """
        self.rooms.open_journal()
        records = self._journal.records.load()
        self.accounts.load(records)
        self.private_lines.load(records)
        self.moderation.load(records)
        self._begin(on_room)

    def start_anew(self, lobby: OpenedRoom, on_room: OnRoom) -> None:
        """Forget all people and rooms of this node of a cluster, whose journal has started anew, and open the *lobby*.

        All connections are closed. *on_room* is as in ``open``.
        """
        for member in self.people.own_members():
            self._end_requests(member)
            self.moderation.forget(member)
        self.people.forget_all()
        self.other_nodes.forget_all()
        self.backlog.forget_all()
        self.rooms.start_anew(lobby)
        self._begin(on_room)

    def _begin(self, on_room: OnRoom) -> None:
        self.other_nodes.watch()
        for name in self.settings.fixed_rooms or ():
            self.rooms.open(name, on_room)

    def close(self, delivered: Callable[[], None], text: str = GOING_DOWN) -> None:
        """Announce *text*, the last line of all visits. Call *delivered* once all events are delivered.

        Then other nodes can take over the sessions that a token can resume.
        """
        rooms = list(self.rooms.values())
        for room in rooms:
            room.announce(text, is_local=True)

        def stop_sessions() -> None:
            for member in self.people.own_members():
                if member.resumable is not None:
                    member.resumable.stop()
            delivered()

        call_after_barriers(rooms, stop_sessions)

    @property
    def journal_id(self) -> str:
        """The id of the journal; see ``Journal.id``."""
        return self._journal.id

    @property
    def lobby(self) -> Room:
        """The room in which all people arrive. It is open from ``open`` on."""
        return self.rooms.lobby

    def next_decision_number(self) -> int:
        """Return a number that no other decision of an operator has, on any node."""
        self._decision_count += 1
        return self._first_session + self._decision_count

    # Members

    def next_session_id(self) -> int:
        """Return an id that no other session has."""
        self.session_count += 1
        return self._first_session + self.session_count

    def admit(  # noqa: PLR0913 - each is a property of the session
        self,
        session: int,
        name: str,
        listener: MemberListener,
        on_admitted: OnAdmitted,
        *,
        source: Source,
        link: Link | None = None,
        receives_own: bool = False,
        account: Account | None = None,
    ) -> None:
        """Give the nickname *name* to *session*, which is in no room yet. Raises ``RejectedError``.

        *on_admitted* is called with the member: at once, unless other nodes have to be asked.

        A nickname whose owner has lost its connection without a notice, and has come back over *link*, is free. A
        registered nickname is free for its *account*, to which the session has logged in: a session that uses it ends.
        """
        member = Member(session, "", listener, link, account, source, receives_own)
        try:
            self._admit(member, name, on_admitted)
        except RejectedError as error:
            if not self.other_nodes.look_up_rivals(name, error, partial(self._admit_again, member, name, on_admitted)):
                raise

    def _admit_again(self, member: Member, name: str, on_admitted: OnAdmitted) -> None:
        """Give *member* the nickname *name*, if the database does not confirm the reason why it was rejected."""
        try:
            self._admit(member, name, on_admitted)
        except RejectedError as error:
            owner = self.people.owner_of(name)
            if owner is not None and may_be_ghost(owner, member):
                admit = partial(self._admit, member, name, on_admitted)
                on_end = partial(_call_or_reject, admit, on_admitted)
                GhostReturn(self.other_nodes, member, owner, self._call_later, on_end).run()
            else:
                on_admitted(error)

    def _admit(self, member: Member, name: str, on_admitted: OnAdmitted) -> None:
        """Give *member* the nickname *name*; see ``admit``."""
        account, link = member.account, member.link
        self.check_address(member.source.address)
        if account is None and self.authenticator.is_required:
            self.people.validate(name, None, link)  # the first reason that a user can change
            raise NotPermitted("only people with an account get in here: ask the administrator for one.")
        if account is not None and self.accounts.find(name) is account:
            again = partial(self._admit, member, name, on_admitted)
            if not self._end_owner(account, member, again, on_admitted):
                return
        nick = member.nick = self.people.validate(name, None, link, account)

        def on_taken(error: RejectedError | None) -> None:
            if error is None:
                self.people.members[member.id] = member
                self.people.claim(member)
            on_admitted(error or member)

        self.other_nodes.take(member, nick, on_taken)

    # Accounts

    def log_in(self, member: Member, account: Account, on_done: OnRenamed = ignore_outcome) -> bool:
        """Log *member* in to *account*, whose password was right, and give it the registered nickname.

        Another session that uses this nickname ends. Raises ``NicknameRejected`` if the nickname is not free otherwise.
        *on_done* and the result are as in ``rename``.
        """
        if not self._end_owner(account, member, partial(self.log_in, member, account, on_done), on_done):
            return False
        before, member.account = member.account, account

        def renamed(error: RejectedError | None) -> None:
            if error is None:
                self._account_changed(member, before)
            else:
                member.account = before
            on_done(error)

        try:
            return self.rename(member, account.name, renamed)
        except RejectedError:
            member.account = before
            raise

    def log_in_registered(self, member: Member, account: Account) -> None:
        """Log *member* in to *account*, which was made for its nickname.

        If *member* has left meanwhile, a session that has the nickname now gets another one.
        """
        if self.people.members.get(member.id) is member:
            before, member.account = member.account, account
            self._account_changed(member, before)
        owner = self.people.owner_of(account.name)
        if owner is not None:
            self.leave_registered_name(owner, unasked=True)

    def log_out(self, member: Member, on_done: OnRenamed = ignore_outcome) -> bool:
        """Log *member* out of its account. If its nickname is registered, it gets another one.

        *on_done* and the result are as in ``rename``.
        """
        before, member.account = member.account, None
        self._account_changed(member, before)
        return self.leave_registered_name(member, on_done)

    def _account_changed(self, member: Member, before: Account | None) -> None:
        """Tell the other nodes the account of *member*. A mute of the account *before* stays with the session."""
        if (mute := self.moderation.follow_session(member, before)) is not None:
            self.decide(replace(mute, number=self.next_decision_number()))
        self.other_nodes.update(member)

    def leave_registered_name(
        self, member: Member, on_done: OnRenamed = ignore_outcome, *, unasked: bool = False, refused: Sequence[str] = ()
    ) -> bool:
        """Give *member* a free nickname if its own is registered and it is not logged in to that account.

        *on_done*, *unasked* and the result are as in ``rename``. Other nodes have *refused* nicknames that look free.
        """
        account = self.accounts.find(member.nick)
        if account is None or account is member.account or member.is_remote:
            on_done(None)
            return True
        free = self.people.find_free_name(member.nick, member, refused)

        def renamed(error: RejectedError | None) -> None:
            if isinstance(error, NicknameRejected):
                self.leave_registered_name(member, on_done, unasked=unasked, refused=[*refused, free])
            else:
                on_done(error)

        return self.rename(member, free, renamed, unasked=unasked)

    def leave_accounts(self, account: Account, reason: str, notice: str, but: Member | None = None) -> None:
        """End the sessions of *account* on this node, except that of *but*. See ``MemberListener.disconnect``.

        The other nodes do the same when they learn of the change.
        """
        members = [member for member in self.people.own_members() if member.account is account]
        for member in members:
            if member is not but:
                member.listener.disconnect(reason, notice)

    def announce_role(self, account: Account) -> None:
        """Send the sessions of *account* on this node what its new role means to them."""
        text = "You are no operator any more."
        if account.is_operator:
            text = "You are an operator now. /help lists your commands."
        for member in self.people.own_members():
            if member.account is account:
                member.listener.notify(text)

    def _end_owner(
        self,
        account: Account,
        member: Member,
        again: Callable[[], object],
        on_rejected: Callable[[RejectedError], object],
    ) -> bool:
        """End the session that uses the nickname of *account*, unless it is *member*. Return whether that is done.

        If the session is on another node, call *again* later, once others can have read that it has left, or if its
        node does not answer. *on_rejected* receives the ``RejectedError`` that *again* raises.
        """
        owner = self.people.owner_of(account.name)
        if owner is None or owner is member:
            return True
        notice = f"{account.name} has logged in on another connection."
        if account.queued.password_hash:
            notice += " If that was not you, log in and change your password with /passwd."
        if not owner.is_remote:
            owner.listener.disconnect(TAKEN_OVER, notice)
            return True

        def on_ended(_error: RejectedError | None) -> None:
            self.other_nodes.release(owner, account.name)  # the other node may be dead
            self.other_nodes.person_left(owner.id, account.name)
            _call_or_reject(again, on_rejected)

        self.other_nodes.send(Expulsion(owner.id, TAKEN_OVER, notice), on_ended)
        return False

    def rename(
        self, member: Member, name: str, on_renamed: OnRenamed = ignore_outcome, *, unasked: bool = False
    ) -> bool:
        """Give *member* another nickname, which it reads itself if it is *unasked*. Raises ``RejectedError``.

        Call *on_renamed* at once, and return True. If other nodes have to be asked, it is called later. Then return
        False, and handle no further line of *member* until then.
        """
        try:
            return self._rename(member, name, on_renamed, unasked=unasked)
        except RejectedError as error:
            rename = partial(self._rename, member, name, on_renamed, unasked=unasked)
            if not self.other_nodes.look_up_rivals(name, error, partial(_call_or_reject, rename, on_renamed)):
                raise
            return False

    def _rename(self, member: Member, name: str, on_renamed: OnRenamed, *, unasked: bool) -> bool:
        """Give *member* another nickname, unless the copy of the people says that it is not free; see ``rename``."""
        nick = self.people.validate(name, member, member.link, member.account)
        if nick == member.nick:
            on_renamed(None)
            return True
        is_done = False

        def on_taken(error: RejectedError | None) -> None:
            nonlocal is_done
            is_done = True
            if error is None and self.people.members.get(member.id) is not member:
                self.other_nodes.release(member, nick)
                error = NotHere("you are not here any more.")
            if error is None:
                self._change_nick(member, nick, unasked=unasked)
            on_renamed(error)

        self.other_nodes.take(member, nick, on_taken)
        return is_done

    def _change_nick(self, member: Member, nick: str, *, unasked: bool) -> None:
        """Give *member* the nickname *nick*, which was taken for it, and announce that."""
        before = member.nick
        self.people.release(member, before)
        for room in self.rooms_of(member):
            room.rename(member, nick, unasked=unasked)
        self.people.follow_rename(member, nick)
        member.nick = nick
        self.people.claim(member)
        if nicknames.casefold_key(before) != nicknames.casefold_key(nick):
            self.other_nodes.release_after([*self.rooms_of(member)], member, before)

    def remove(self, member: Member, reason: str) -> None:
        """Let *member* leave all rooms. The nickname is free at once: in the streams, its next owner joins after that.

        ``leave_delivered`` of its listener is called for each room.
        """
        self.people.release(member, member.nick)
        self._end_requests(member)
        self.end_uploads(member.id)
        del self.people.members[member.id]
        self.moderation.forget(member)
        rooms = list(self.rooms_of(member))
        for room in rooms:
            room.leave(member, reason, ends_session=True)
        self.other_nodes.release_after(rooms, member, member.nick)

    def _end_requests(self, member: Member) -> None:
        """End what this node does for *member*: its login, and what it ignores."""
        if member.cancel_login is not None:
            member.cancel_login()
        self.people.ignoring.discard(member)

    def give_away(self, member: Member) -> None:
        """Keep *member*, whose session goes on elsewhere, as one of another node. The others notice nothing."""
        self._end_requests(member)
        rooms = list(self.rooms_of(member))
        self.rooms.reserve(rooms)
        self.other_nodes.give_away(member)
        self.rooms.end_reservations(rooms)  # closes the rooms in which nobody of this node is left

    def rooms_of(self, member: Member) -> Iterator[Room]:
        """Yield the rooms of *member*, except those that it is leaving."""
        return map(self.rooms.__getitem__, member.memberships)

    def set_away(self, member: Member, away: bool, reason: str = "") -> None:
        """Note that *member* is away, or is back, and announce it in its rooms."""
        member.away, member.away_reason = away, reason
        self.other_nodes.update(member)
        for room in self.rooms_of(member):
            room.change_away(member)

    def ignore(self, member: Member, name: str) -> None:
        """Hide from *member* the lines of the nickname *name*."""
        member.ignored[nicknames.casefold_key(name)] = name
        self._update_ignoring(member)

    def unignore(self, member: Member, name: str) -> str | None:
        """Undo ``ignore``. Return the name that was ignored, or None if it was not."""
        ignored_name = member.ignored.pop(nicknames.casefold_key(name), None)
        self._update_ignoring(member)
        return ignored_name

    def _update_ignoring(self, member: Member) -> None:
        if member.ignored:
            self.people.ignoring.add(member)
        else:
            self.people.ignoring.discard(member)
        for room in self.rooms_of(member):
            room.update_ignoring(member)

    # Moderation

    def check_return(self, member: Member, source: Source) -> None:
        """Raise ``Banned`` if *member*, which no node has now, must not come back from *source*."""
        self.check_address(source.address)
        number = None if member.account is None else member.account.id
        is_registered = self.accounts.find(member.nick) is not None
        at = self.authenticator.time_of_day
        self.moderation.check_name(member.nick, number, is_registered=is_registered, at=at)

    def check_address(self, host: str | None) -> None:
        """Raise ``Banned`` if the IP address *host* is banned now."""
        self.moderation.check_address(host, self.authenticator.time_of_day)

    def change_topic(self, member: Member, room: Room, text: str, at: float, on_stored: OnStored | None = None) -> None:
        """Change the topic of *room* to *text*, if *member* may do that. Raises ``RejectedError``."""
        self.moderation.check_speech(member, at)
        if self.settings.topics == "operators":
            operator = check_operator(member, "/topic with a text")
            self.moderation.write(AuditEntry(at, operator.name, "topic", room.name, text))
        room.change_topic(member, text, on_stored)

    def check_joining(self, member: Member, name: str, at: float) -> None:
        """Raise ``Muted`` if *member* is muted and would open the room *name*, because others would read that name."""
        if name not in self.rooms:
            self.moderation.check_speech(member, at)

    def expel(
        self, member: Member, action: str, operator: str, why: str, on_done: OnDirectory = ignore_outcome
    ) -> None:
        """End the session of *member* because of the *action* of *operator*, such as ``kicked``.

        Call *on_done* at once, or once the node of *member* has answered.
        """
        member.removed_by = operator
        text = with_reason(f"{action} by {operator}", why)
        if member.is_remote:
            self.other_nodes.send(Expulsion(member.id, text, f"You were {text}", operator), on_done)
        else:
            member.listener.disconnect(text, f"You were {text}")
            on_done(None)

    def decide(self, decision: Decision) -> bool:
        """Carry out *decision* of an operator on all nodes. Return whether a mute has ended."""
        self.other_nodes.publish(decision)
        return self.carry_out(decision)

    def carry_out(self, decision: Decision) -> bool:
        """Carry out *decision* on this node. Return whether a mute has ended."""
        if not isinstance(decision, Announcement):
            return self.moderation.carry_out(decision)
        for room in self.rooms.values():
            room.announce(decision.text, is_local=True)  # each node announces it in its open rooms
        return False

    # Files

    def file_url(self, file: FileInfo) -> str:
        """Return the address of *file*, empty if it is no longer there."""
        return "" if self.uploads is None else self.uploads.file_url(file)

    def end_uploads(self, session: int) -> None:
        """End the uploads of *session*, which has ended here or on another node."""
        if self.uploads is not None:
            self.uploads.end_session(session)

    def require_uploads(self) -> Uploads:
        """Return the uploads of files. Raises ``FileRejected`` if the server takes no files."""
        if self.uploads is None:
            raise FileRejected("this server takes no files.", "no-files")
        return self.uploads


def _call_or_reject(call: Callable[[], object], on_rejected: Callable[[RejectedError], object]) -> None:
    """Call *call*. If it raises a ``RejectedError``, call *on_rejected* with that."""
    try:
        call()
    except RejectedError as error:
        on_rejected(error)
