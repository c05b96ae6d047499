"""The rooms and the nickname space that all doors share, and the settings and counters of the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, TypeAlias
from weakref import WeakValueDictionary

from broadcast.core import nicknames
from broadcast.core.accounts import DROPPED, PASSWORD_CHANGED, Account, Accounts, Authenticator
from broadcast.core.backlog import Backlog
from broadcast.core.batching import ignores
from broadcast.core.directory import RemoteListener, ignore_outcome
from broadcast.core.errors import (
    FileRejected,
    JournalError,
    NicknameRejected,
    NotHere,
    NotPermitted,
    NotStored,
    PasswordNeeded,
    RecipientNotReading,
    RejectedError,
    RoomRejected,
)
from broadcast.core.events import FileInfo, OnStored, PrivateMessage
from broadcast.core.interfaces import (
    Announcement,
    Callback,
    CallLater,
    Decision,
    Directory,
    Expulsion,
    Journal,
    Mute,
    NodeMessage,
    OnDirectory,
    OpenedRoom,
    Person,
    Publisher,
    SlowMode,
)
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Link, Member, MemberListener
from broadcast.core.moderation import Moderation, check_operator, reaches, with_reason
from broadcast.core.private_lines import PrivateLines
from broadcast.core.records import (
    AddPrivate,
    AuditEntry,
    ChangeAccount,
    DeleteAccount,
    DeleteBan,
    MarkDelivered,
    PrivateLine,
    RecordChange,
    SaveAccount,
    SaveBan,
    StoredRecords,
)
from broadcast.core.room import Room, RoomContext
from broadcast.core.source import Source
from broadcast.core.stats import Rejection
from broadcast.core.uploads import Uploads

GOING_DOWN = "The server is going down."
"""The announcement of the shutdown in each room, and the reason that clients without a nickname receive."""
TAKEN_OVER: Final = "taken over by another connection"
"""The leave reason of a session whose nickname another session of its owner has taken over."""
FREE_NAME_DIGITS: Final = 6
"""Number of characters that a free nickname has room for, after the stem of the old one."""
MAX_ROOM_NAME_CHARS: Final = 32
"""Maximum length of a room's name, in characters."""
_room_name: Final = re.compile(f"[a-z0-9_-]{{1,{MAX_ROOM_NAME_CHARS}}}")


def fold_room_name(typed: str) -> str:
    """Return the room name *typed* as it is looked up: in lower case, without surrounding blanks."""
    return typed.strip().lower()


def room_name(typed: str) -> str | None:
    """Return the name of the room that is *typed* in any case, or None if it cannot be one."""
    name = fold_room_name(typed)
    return name if _room_name.fullmatch(name) else None


OnRoom: TypeAlias = Callable[[Room | RejectedError], None]
"""Receives an open room, or the reason why it cannot be opened."""
OnRooms: TypeAlias = Callable[[Sequence[Room] | RejectedError], None]
"""Receives open rooms, or the reason why one of them cannot be opened."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Server settings that the operator chooses."""

    name: str = "Broadcast"
    """Name of the server, shown in the first line of every connection."""
    version: str = ""
    """Version of the program, as ``/version`` shows it."""
    motd: tuple[str, ...] = ()
    """Lines of the message of the day."""
    replay: int = 20
    """Number of stored events that a new member receives; 0 or more."""
    unicode_nicknames: bool = False
    """Whether nicknames may contain letters and digits of any script."""
    lobby: str = "lobby"
    """Name of the room in which people arrive."""
    fixed_rooms: tuple[str, ...] | None = None
    """Names of all other rooms; None if anybody may open a room by joining it."""
    accounts: str = "open"
    """Who gets an account: one of ``accounts.ACCOUNT_MODES``."""
    account_days: int = 0
    """Days after which an account that nobody has used is deleted; 0 for never."""
    passwords: str = "warn"
    """``warn`` or ``tls``: a password over a connection that others may read is warned about, or refused."""
    topics: str = "everybody"
    """Who may set a topic: one of ``moderation.TOPICS``."""
    limits: Limits = DEFAULTS


class Sent(NamedTuple):
    """A private message that was sent to *name*, or is stored for this account."""

    name: str
    to: Member | None = None
    """The recipient; None if the recipient is not here."""
    room: Room | None = None
    """The room in whose stream it travels; None if it was sent at once."""


OnSent: TypeAlias = Callable[[Sent | RejectedError], None]
"""Receives how a private message was sent, or the reason why it was not. Called in a later turn of the reactor."""
OnAdmitted: TypeAlias = Callable[[Member | RejectedError], None]
"""Receives a new member, or the reason why it was rejected after all. That is never within the call that asked."""
OnRenamed: TypeAlias = Callable[[RejectedError | None], None]
"""Receives None once a member has its new nickname, or the reason why it has not."""


class Hub:
    """The rooms, the owner of each nickname, and the counters of sessions and rejections.

    *make_publisher* makes the publisher of one room. *authenticator* has the accounts, which ``open`` loads. *started*
    is the start of the server, in seconds since the epoch. *call_later* is for the rooms. Session ids begin after
    *first_session*. *directory* has the people of the other nodes, if the server is one of a cluster.
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
        self.uploads: Uploads | None = None
        """The uploads of files; None if the server takes no files. It is set after the hub is made."""
        self.started = started
        self.rooms: dict[str, Room] = {}
        """The open rooms by name: those with members, the lobby, and those of ``Settings.fixed_rooms``."""
        self.backlog = Backlog(settings.limits)
        self.session_count = 0
        """Number of sessions since the start."""
        self.rejections = dict.fromkeys(Rejection, 0)
        """Number of rejections of each kind."""
        self.members: dict[int, Member] = {}
        """The members by session id, from ``admit`` to ``remove``, and those of the other nodes."""
        self.remote_count = 0
        """Number of those."""
        self._first_session = first_session
        self._journal = journal
        self._directory = directory
        self._make_publisher = make_publisher
        self._room_context = RoomContext(
            journal.commit_stats, self.backlog, settings.replay, self._close_room, call_later, self._find_remote
        )
        self._opening: dict[str, list[OnRoom]] = {}
        """The callbacks that wait until the journal has opened a room, by the name of the room."""
        self._permanent = {settings.lobby, *(settings.fixed_rooms or ())}
        self._owners: dict[str, Member] = {}
        self._skeletons: dict[str, Member] = {}
        self._ignoring: set[Member] = set()
        self._releasing: dict[str, list[Callback]] = {}
        """The calls that take nicknames, by key, that a member has given up and that are not free yet."""
        self._remote: WeakValueDictionary[int, Member] = WeakValueDictionary()
        """The members on other nodes by session id, as long as the directory or the stream of a room has them."""

    def open(self, on_room: OnRoom) -> None:
        """Open the journal and the lobby, and begin to open all fixed rooms. Raises ``JournalError``.

        Call *on_room* later with each fixed room, or with the reason why it cannot be opened.
        """
        lobby = self.settings.lobby
        self._add_room(lobby, self._journal.open(lobby, self._tail))
        records = self._journal.records.load()
        self.accounts.load(records)
        self.private_lines.load(records)
        self.moderation.load(records)
        if self._directory is not None:
            self._directory.watch(self)
        for name in self.settings.fixed_rooms or ():
            self.open_room(name, on_room)

    def close(self, delivered: Callable[[], None]) -> None:
        """Announce that the server is going down. Call *delivered* once this and all earlier events are delivered."""
        rooms = list(self.rooms.values())
        for room in rooms:
            room.announce(GOING_DOWN, is_local=True)
        _call_after_barriers(rooms, delivered)

    @property
    def journal_id(self) -> str:
        """The id of the journal; see ``Journal.id``."""
        return self._journal.id

    # Rooms

    @property
    def lobby(self) -> Room:
        """The room in which all people arrive. It is open from ``open`` on."""
        return self.rooms[self.settings.lobby]

    def open_room(self, typed: str, on_room: OnRoom) -> None:
        """Open the room with the name *typed*, and call *on_room* with it or with the reason of a failure.

        The call comes at once if the room is open already. A room that has no members after the call is closed again.
        """
        try:
            name = self._validate_room(typed)
        except RoomRejected as error:
            on_room(error)
            return
        if name in self.rooms:
            on_room(self.rooms[name])
        elif name in self._opening:
            self._opening[name].append(on_room)
        else:
            self._opening[name] = [on_room]
            self._journal.open_room(name, self._tail, partial(self._on_opened, name))

    def open_rooms(self, typed: Sequence[str], on_rooms: OnRooms) -> None:
        """Open all rooms with the names *typed*, and call *on_rooms* with them or with the reason of a failure.

        The rooms that have no members after the call are closed again.
        """
        self._open_next(typed, [], on_rooms)

    def _open_next(
        self, typed: Sequence[str], rooms: list[Room], on_rooms: OnRooms, opened: Room | RejectedError | None = None
    ) -> None:
        """Add *opened* to *rooms*, and open the next one of the rooms *typed*."""
        if isinstance(opened, Room):
            self.reserve([opened])
            rooms.append(opened)
        if isinstance(opened, RejectedError) or len(rooms) == len(typed):
            on_rooms(opened if isinstance(opened, RejectedError) else rooms)
            self.end_reservations(rooms)
        else:
            self.open_room(typed[len(rooms)], partial(self._open_next, typed, rooms, on_rooms))

    def _on_opened(self, name: str, opened: OpenedRoom | JournalError) -> None:
        callbacks = self._opening.pop(name)
        room: Room | RejectedError
        if isinstance(opened, JournalError):
            room = RoomRejected(f"the room {name} cannot be opened: {opened}", "room-refused", name)
        else:
            room = self._add_room(name, opened)
            self.reserve([room])  # otherwise the first callback could close the room before the second one
        for on_room in callbacks:
            on_room(room)
        if isinstance(room, Room):
            self.end_reservations([room])

    def reserve(self, rooms: Iterable[Room]) -> None:
        """Let *rooms* stay open for one more member until ``end_reservations``."""
        for room in rooms:
            room.reservations += 1

    def end_reservations(self, rooms: Iterable[Room]) -> None:
        """Expect one member less in *rooms*, and close those that are unused."""
        for room in rooms:
            room.reservations -= 1
            if room.is_unused:
                self._close_room(room)

    def _validate_room(self, typed: str) -> str:
        """Return the name of the room in *typed*. Raises ``RoomRejected`` unless it may be open."""
        name = room_name(typed)
        if name is None:
            msg = f"a room's name has 1 to {MAX_ROOM_NAME_CHARS} of a-z, 0-9, _ and -."
            raise RoomRejected(msg, "room-refused", typed)
        if name in self.rooms or name in self._opening or name in self._permanent:
            return name
        if self.settings.fixed_rooms is not None:
            msg = f"there is no room {name}. /rooms lists the rooms of this server."
            raise RoomRejected(msg, "no-such-room", typed)
        most = self.settings.limits.rooms
        if len(self.rooms) + len(self._opening) >= most:
            msg = f"this server has {most} open rooms, which is its limit. /rooms lists them."
            raise RoomRejected(msg, "room-refused", typed)
        return name

    @property
    def _tail(self) -> int:
        return max(self.settings.replay, 1)

    def _add_room(self, name: str, opened: OpenedRoom) -> Room:
        room = self.rooms[name] = Room(name, opened, self._make_publisher(), self._room_context)
        return room

    def _close_room(self, room: Room) -> None:
        """Close *room*, unless it is permanent or closed already."""
        if room.name not in self._permanent and self.rooms.get(room.name) is room:
            del self.rooms[room.name]
            room.close()

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
        self.check_address(source.address)
        if account is None and self.authenticator.is_required:
            self._validate_nick(name, None, link)  # the first reason that a user can change
            raise NotPermitted("only people with an account get in here: ask the administrator for one.")
        if account is not None and self.accounts.find(name) is account:
            self._end_owner(account)
        nick = self._validate_nick(name, None, link, account)
        member = Member(session, nick, listener, link, account, source, receives_own)

        def on_taken(error: RejectedError | None) -> None:
            if error is None:
                self.members[session] = member
                self._claim(member)
            on_admitted(error or member)

        self._take(member, nick, on_taken)

    def _take(self, member: Member, nick: str, on_taken: OnDirectory) -> None:
        """Take *nick*, which is free here, for *member*. Call *on_taken* at once, unless there are other nodes.

        Then the nickname may have been registered or banned meanwhile.
        """
        directory = self._directory
        if directory is None:
            on_taken(None)
            return

        def check(error: RejectedError | None) -> None:
            if error is None:
                try:
                    self.check_address(member.source.address)
                    self._validate_nick(nick, member, member.link, member.account)
                except RejectedError as rejection:
                    error = rejection
                    directory.release(member.id, nick)
            on_taken(error)

        take = partial(directory.take, _describe(member, nick), check)
        releasing = self._releasing.get(nicknames.casefold_key(nick))
        if releasing is None:
            take()
        else:
            releasing.append(take)

    def _free(self, member: Member, nick: str, rooms: Iterable[Room]) -> None:
        """Free *nick* on all nodes, after the events of *rooms*: there, the next owner joins after that."""
        directory, key = self._directory, nicknames.casefold_key(nick)
        if directory is None:
            return

        def free() -> None:
            directory.release(member.id, nick)
            for take in self._releasing.pop(key):
                take()

        self._releasing[key] = []
        _call_after_barriers([*rooms], free)

    @property
    def _others(self) -> Directory:
        """The directory, which there is if some member is on another node."""
        assert self._directory is not None
        return self._directory

    # Accounts

    def log_in(self, member: Member, account: Account, on_done: OnRenamed = ignore_outcome) -> bool:
        """Log *member* in to *account*, whose password was right, and give it the registered nickname.

        Another session that uses this nickname ends. Raises ``NicknameRejected`` if the nickname is not free otherwise.
        *on_done* and the result are as in ``rename``.
        """
        owner = self._owners.get(nicknames.casefold_key(account.name))
        if owner is not None and owner is not member:
            self._end_owner(account)
        before, member.account = member.account, account

        def renamed(error: RejectedError | None) -> None:
            if error is None:
                self.update(member)
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
        if self.members.get(member.id) is member:
            member.account = account
            self.update(member)
        owner = self._owners.get(nicknames.casefold_key(account.name))
        if owner is not None:
            self.leave_registered_name(owner, unasked=True)

    def log_out(self, member: Member, on_done: OnRenamed = ignore_outcome) -> bool:
        """Log *member* out of its account. If its nickname is registered, it gets another one.

        *on_done* and the result are as in ``rename``.
        """
        self.moderation.follow_logout(member)
        member.account = None
        self.update(member)
        return self.leave_registered_name(member, on_done)

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
        free = self.free_name(member.nick, member, refused)

        def renamed(error: RejectedError | None) -> None:
            if isinstance(error, NicknameRejected):
                self.leave_registered_name(member, on_done, unasked=unasked, refused=[*refused, free])
            else:
                on_done(error)

        return self.rename(member, free, renamed, unasked=unasked)

    def free_name(self, text: str, owner: Member | None, refused: Sequence[str] = ()) -> str:
        """Return a nickname like *text* that is not registered, and that nobody has but *owner*, with a number.

        It is none of those that other nodes have *refused*.
        """
        stem = nicknames.make_stem(text, nicknames.MAX_NICKNAME_CHARS - FREE_NAME_DIGITS)
        name, number = stem, 1
        while True:
            try:
                free = self._validate_nick(name, owner, None)
            except RejectedError:
                pass
            else:
                if free not in refused:
                    return free
            number += 1
            name = f"{stem}{number}"

    def leave_accounts(self, account: Account, reason: str, notice: str, but: Member | None = None) -> None:
        """End the sessions of *account* on this node, except that of *but*. See ``MemberListener.disconnect``.

        The other nodes do the same when they learn of the change.
        """
        for member in [member for member in self._own_members() if member.account is account and member is not but]:
            member.listener.disconnect(reason, notice)

    def announce_role(self, account: Account) -> None:
        """Send the sessions of *account* on this node what its new role means to them."""
        text = "You are no operator any more."
        if account.is_operator:
            text = "You are an operator now. /help lists your commands."
        for member in self._own_members():
            if member.account is account:
                member.listener.notify(text)

    def _end_owner(self, account: Account) -> None:
        """End the session that uses the nickname of *account*, if there is one."""
        owner = self._owners.get(nicknames.casefold_key(account.name))
        if owner is not None:
            notice = f"{account.name} has logged in on another connection."
            if account.queued.password_hash:
                notice += " If that was not you, log in and change your password with /passwd."
            owner.listener.disconnect(TAKEN_OVER, notice)
            if owner.is_remote:  # the other node may take a moment, or be dead
                self._others.release(owner.id, owner.nick)
                self.person_left(owner.id, owner.nick)

    def rename(
        self, member: Member, name: str, on_renamed: OnRenamed = ignore_outcome, *, unasked: bool = False
    ) -> bool:
        """Give *member* another nickname, which it reads itself if it is *unasked*. Raises ``RejectedError``.

        Call *on_renamed* at once, and return True. If other nodes have to be asked, it is called later. Then return
        False, and handle no further line of *member* until then.
        """
        nick = self._validate_nick(name, member, member.link, member.account)
        if nick == member.nick:
            on_renamed(None)
            return True
        is_done = False

        def on_taken(error: RejectedError | None) -> None:
            nonlocal is_done
            is_done = True
            if error is None and self.members.get(member.id) is not member:
                self._others.release(member.id, nick)
                error = NotHere("you are not here any more.")
            if error is None:
                self._change_nick(member, nick, unasked=unasked)
            on_renamed(error)

        self._take(member, nick, on_taken)
        return is_done

    def _change_nick(self, member: Member, nick: str, *, unasked: bool) -> None:
        """Give *member* the nickname *nick*, which was taken for it, and announce that."""
        before = member.nick
        self._release(member, before)
        for room in self.rooms_of(member):
            room.rename(member, nick, unasked=unasked)
        self._follow_rename(member, nick)
        member.nick = nick
        self._claim(member)
        if nicknames.casefold_key(before) != nicknames.casefold_key(nick):
            self._free(member, before, self.rooms_of(member))

    def _follow_rename(self, member: Member, nick: str) -> None:
        """Let members that ignore *member* ignore its new nickname *nick*, if no room announces it to them."""
        for ignoring in self._ignoring:
            if ignoring is not member and ignoring.memberships.keys().isdisjoint(member.memberships):
                ignoring.follow_rename(member.nick, nick)

    def remove(self, member: Member, reason: str) -> None:
        """Let *member* leave all rooms. The nickname is free at once: in the streams, its next owner joins after that.

        ``leave_delivered`` of its listener is called for each room.
        """
        self._release(member, member.nick)
        if member.cancel_login is not None:
            member.cancel_login()
        del self.members[member.id]
        self.moderation.forget(member)
        if self.uploads is not None:
            self.uploads.end_session(member)
        self._ignoring.discard(member)
        rooms = list(self.rooms_of(member))
        for room in rooms:
            room.leave(member, reason)
        self._free(member, member.nick, rooms)

    def update(self, member: Member) -> None:
        """Publish the account of *member*, and whether it is away, to the other nodes."""
        if self._directory is not None:
            self._directory.update(_describe(member, member.nick))

    def rooms_of(self, member: Member) -> Iterator[Room]:
        """Yield the rooms of *member*, except those that it is leaving."""
        return map(self.rooms.__getitem__, member.memberships)

    def find(self, name: str) -> Member:
        """Return the member with the nickname *name*, if others can know it. Raises ``NotHere``.

        Surrounding blanks do not count, as in ``nicknames.validate``.
        """
        name = name.strip()
        member = self._owners.get(nicknames.casefold_key(name))
        if member is None or not member.arrived:
            raise NotHere(f"{name[: nicknames.MAX_NICKNAME_CHARS]} is not here.")
        return member

    def owner_of(self, name: str) -> Member | None:
        """Return the member that has the nickname *name*, even if others do not know it yet; None if nobody has it."""
        return self._owners.get(nicknames.casefold_key(name.strip()))

    def member_by_session(self, session: int) -> Member | None:
        """Return the member with this session, if others can know it; None if it has left or is leaving."""
        member = self.members.get(session)
        return member if member and member.arrived else None

    def set_away(self, member: Member, away: bool, reason: str = "") -> None:
        """Note that *member* is away, or is back, and announce it in its rooms."""
        member.away, member.away_reason = away, reason
        self.update(member)
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
            self._ignoring.add(member)
        else:
            self._ignoring.discard(member)
        for room in self.rooms_of(member):
            room.update_ignoring(member)

    # Private messages

    def find_recipient(self, name: str) -> Member | Account:
        """Return the member with the nickname *name*, or else the account with it. Raises ``NotHere``.

        If the owner of the account is here under another nickname, return this member.
        """
        try:
            return self.find(name)
        except NotHere:
            account = self.accounts.find(name)
            if account is None:
                raise
            return self.find_session(account) or account

    def find_account(self, name: str) -> Account | None:
        """Return the account of the person *name*: of the member with this nickname, or else the registered one."""
        member = self._owners.get(nicknames.casefold_key(name.strip()))
        return (member.account if member else None) or self.accounts.find(name)

    def find_session(self, account: Account) -> Member | None:
        """Return a member that is logged in to *account*, the one with its nickname if possible."""
        owner = self._owners.get(nicknames.casefold_key(account.name))
        if owner is not None and owner.account is account:
            return owner
        return next((member for member in self.members.values() if member.account is account), None)

    def send_private(
        self, member: Member, to: Member | Account, text: str, at: float, on_sent: OnSent, uid: str = ""
    ) -> Sent | None:
        """Send the private message *text* from *member* to *to*. Raises ``RecipientNotReading``.

        A message between two accounts, or to an account that is not here, is stored first. One to another node is sent
        when this node has taken it. Then return None, and call *on_sent* later. Handle no further line of *member*
        until then: it could overtake the message.
        """
        recipient = to.account if isinstance(to, Member) else to
        waits = True
        if isinstance(to, Member):
            if to.listener.congested or to.private_in_flight >= self.settings.limits.private_queue_bytes:
                raise _not_reading(to)
            if not (self._exists(recipient) and self._exists(member.account)):
                number = 0 if member.account is None else member.account.id
                message = PrivateMessage(member.id, member.nick, to.id, text, at, number)
                if to.is_remote:
                    self._pass_on(message, to, on_sent)
                    return None
                return Sent(to.nick, to, self._deliver_private(message, to, member))
            waits = not ignores(to, member.id, (nicknames.casefold_key(member.nick),))
        else:
            self.private_lines.check_space(member, to)
        assert recipient is not None
        on_stored = partial(self._on_private_stored, member, to, recipient, on_sent)
        self.private_lines.store(member, recipient, text, at, on_stored, waits=waits, uid=uid)
        return None

    def _exists(self, account: Account | None) -> bool:
        return account is not None and self.accounts.get(account.id) is account

    def _on_private_stored(
        self, member: Member, to: Member | Account, recipient: Account, on_sent: OnSent, line: PrivateLine | NotStored
    ) -> None:
        """Deliver *line* if the recipient is here now. Otherwise it waits."""
        if isinstance(line, NotStored):
            on_sent(line)
            return
        if not isinstance(to, Member) or to.account is not recipient or self.members.get(to.id) is not to:
            here = self.find_session(recipient)
        else:
            here = to
        if here is None:
            on_sent(Sent(recipient.name))
        else:
            message = PrivateMessage(
                member.id, line.sender, here.id, line.text, line.at, account=line.sender_account, line=line
            )
            if here.is_remote:
                self._pass_on(message, here, on_sent)
            else:
                on_sent(Sent(here.nick, here, self._deliver_private(message, here, member)))

    def _pass_on(self, message: PrivateMessage, to: Member, on_sent: OnSent) -> None:
        """Send *message* to the other node on which *to* is. A stored line waits if that is impossible."""

        def on_taken(error: RejectedError | None) -> None:
            if error is None:
                on_sent(Sent(to.nick, to))
            elif message.line is not None:
                on_sent(Sent(message.line.recipient))
            else:
                on_sent(error)

        self._others.send(message, on_taken)

    def _deliver_private(self, message: PrivateMessage, to: Member, member: Member | None) -> Room | None:
        """Deliver *message* from *member* to *to*.

        It travels through the stream of a room of both, or else of the recipient, so that people read it in the order
        of the lines around it. Return this room. To programs, to members without a room, and to those that are moving
        to another one, it is sent at once.
        """
        # A recipient whose join of a room is not in delivery yet does not receive the stream of this room.
        names = [name for name, membership in to.memberships.items() if membership.announced_nick]
        if to.receives_own or to.is_moving or not names:
            if not ignores(to, message.session, (nicknames.casefold_key(message.nick),)):
                to.note_private(message)
                to.listener.receive_private(message)
            return None
        shared = () if member is None else member.memberships
        room = self.rooms[next((name for name in names if name in shared), names[0])]
        to.private_in_flight += len(message.text)
        room.append_private(message)
        return room

    def should_throttle_sender(self, to: Member) -> bool:
        """Return whether a sender should wait until the private messages to *to* have been delivered."""
        return to.private_in_flight >= self.settings.limits.private_queue_bytes // 2

    # Moderation

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

    def expel(self, member: Member, action: str, operator: str, why: str) -> None:
        """End the session of *member* because of the *action* of *operator*, such as ``kicked``."""
        member.removed_by = operator
        text = with_reason(f"{action} by {operator}", why)
        if member.is_remote:
            self._others.send(Expulsion(member.id, text, f"You were {text}", operator), ignore_outcome)
        else:
            member.listener.disconnect(text, f"You were {text}")

    # Other nodes

    def person_changed(self, person: Person) -> None:
        """Note that *person* is on another node, or has changed; see ``NodeListener``."""
        member = self._find_remote(person.session, person.nick)
        if person.session not in self.members:
            self.members[person.session] = member
            self.remote_count += 1
        if person.nick != member.nick:
            self._follow_rename(member, person.nick)
            member.nick = person.nick
        self._claim(member)
        member.account, member.source = self.accounts.get(person.account), Source(person.address, is_local=False)
        member.away, member.away_reason = person.away, person.away_reason
        member.arrived = True

    def person_left(self, session: int, nick: str) -> None:
        """Note that *session* of another node has the nickname *nick* no more; see ``NodeListener``."""
        member = self.members.get(session)
        if member is None or not member.is_remote:
            return
        self._release(member, nick)
        if nicknames.casefold_key(nick) == nicknames.casefold_key(member.nick):
            del self.members[session]
            self.remote_count -= 1
            self.moderation.forget(member)

    def receive(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Handle *message* of another node; see ``NodeListener``."""
        member = self.member_by_session(message.to)
        if member is None or member.is_remote:
            on_taken(NotHere("the recipient is not here any more."))
            return
        match message:
            case Expulsion():
                member.removed_by = message.by
                member.listener.disconnect(message.reason, message.notice)
            case PrivateMessage():
                if member.listener.congested or member.private_in_flight >= self.settings.limits.private_queue_bytes:
                    on_taken(_not_reading(member))
                    return
                self._deliver_private(message, member, self.members.get(message.session))
            case _:
                member.listener.notify(message.text)
        on_taken(None)

    def mute(self, mute: Mute) -> bool:
        """Carry out *mute* on all nodes. Return whether a mute has ended."""
        if self._directory is not None:
            self._directory.publish(mute)
        return self._mute(mute)

    def _mute(self, mute: Mute) -> bool:
        if mute.until == 0:
            return self.moderation.unmute(mute.session, mute.account)
        self.moderation.mute(mute.session, mute.account, mute.until)
        return False

    def set_slow(self, slow: SlowMode) -> None:
        """Carry out *slow* on all nodes."""
        if self._directory is not None:
            self._directory.publish(slow)
        self.moderation.set_slow(slow.room, slow.seconds)

    def announce(self, text: str) -> None:
        """Announce *text* in all rooms of all nodes."""
        if self._directory is not None:
            self._directory.publish(Announcement(text))
        self._announce(text)

    def _announce(self, text: str) -> None:
        for room in self.rooms.values():
            room.announce(text, is_local=True)  # each node announces it in its open rooms

    def carry_out(self, decision: Decision) -> None:
        """Carry out *decision* of an operator on another node; see ``NodeListener``."""
        match decision:
            case Mute():
                self._mute(decision)
            case SlowMode():
                self.moderation.set_slow(decision.room, decision.seconds)
            case _:
                self._announce(decision.text)

    def records_changed(self, changes: Sequence[RecordChange]) -> None:
        """Take over *changes* that another node has stored; see ``NodeListener``."""
        for change in changes:
            match change:
                case SaveAccount(account=record):
                    self._take_over_account(change, record.id)
                case ChangeAccount() | DeleteAccount():
                    self._take_over_account(change, change.id)
                case SaveBan(ban=ban):
                    self.moderation.take_over(change)
                    for member in [member for member in self._own_members() if reaches(ban, member)]:
                        self.expel(member, "banned", ban.by, ban.reason)
                case DeleteBan():
                    self.moderation.take_over(change)
                case AddPrivate() | MarkDelivered():
                    self.private_lines.take_over(change)
                case _:  # the audit trail is not in memory
                    pass

    def records_reloaded(self, stored: StoredRecords) -> None:
        """Take over *stored*, because changes of other nodes were missed; see ``NodeListener``."""
        self.records_changed([*self.accounts.compare(stored), *self.moderation.compare(stored)])
        self.private_lines.load(stored)

    def _take_over_account(self, change: SaveAccount | ChangeAccount | DeleteAccount, number: int) -> None:
        """Take over *change* of the account *number*, and let its sessions on this node follow."""
        account = self.accounts.get(number)
        before = None if account is None else account.record
        self.accounts.take_over(change)
        after = self.accounts.get(number)
        if after is not None and (before is None or before.name != after.name):
            self._follow_account_name(after, "" if before is None else before.name)
        if account is None or before is None:
            return
        if after is None:
            self.leave_accounts(account, DROPPED, f"The account {account.name} was deleted.")
        elif before.role != after.record.role:
            self.announce_role(after)
        elif isinstance(change, ChangeAccount) and change.values.keys() >= {"password_hash", "logins"}:
            self.leave_accounts(after, PASSWORD_CHANGED, "Your password was changed: log in again.")

    def _follow_account_name(self, account: Account, before: str) -> None:
        """Let the sessions on this node follow the new name of *account*, which was *before*, or empty."""
        owner = self._owners.get(nicknames.casefold_key(account.name))
        if owner is not None and owner.account is not account:
            self.leave_registered_name(owner, unasked=True)
        for member in [member for member in self._own_members() if member.account is account]:
            if nicknames.casefold_key(member.nick) == nicknames.casefold_key(before):
                with suppress(RejectedError):  # somebody who is here has a nickname that looks like it
                    self.rename(member, account.name, unasked=True)

    def _own_members(self) -> Iterator[Member]:
        return (member for member in self.members.values() if not member.is_remote)

    def _find_remote(self, session: int, nick: str) -> Member:
        """Return the member *session*, which is on another node. *nick* is its nickname in the stream of a room.

        The stream of a room and the directory can be ahead of each other.
        """
        member = self._remote.get(session)
        if member is None:
            listener = RemoteListener(self._others, session)
            member = self._remote[session] = Member(session, nick, listener, receives_own=True, is_remote=True)
            member.last_active = self.authenticator.time_of_day
        return member

    # Files

    def file_url(self, file: FileInfo) -> str:
        """Return the address of *file*, empty if it is no longer there."""
        return "" if self.uploads is None else self.uploads.file_url(file)

    def require_uploads(self) -> Uploads:
        """Return the uploads of files. Raises ``FileRejected`` if the server takes no files."""
        if self.uploads is None:
            raise FileRejected("this server takes no files.", "no-files")
        return self.uploads

    # Nicknames

    def _validate_nick(self, name: str, owner: Member | None, link: Link | None, account: Account | None = None) -> str:
        """Return the nickname in *name*. Raises ``NicknameRejected`` unless it is free or belongs to *owner*.

        It becomes free if *link* has replaced the connection of its present owner. Raises ``PasswordNeeded`` if it is
        registered, but not to *account*.
        """
        nick = nicknames.validate(name, unicode=self.settings.unicode_nicknames)
        registered = self.accounts.find(nick)
        if registered is not None and registered is not account:
            raise PasswordNeeded(nick)
        number = None if account is None else account.id
        self.moderation.check_name(
            nick, number, is_registered=registered is not None, at=self.authenticator.time_of_day
        )
        other = self._owners.get(nicknames.casefold_key(nick), owner)
        if other is not None and other is not owner and not _end_replaced(other, link):
            raise NicknameRejected(f"{nick} is taken.", "taken")
        if self.settings.unicode_nicknames:
            lookalike = self._skeletons.get(nicknames.skeleton(nick))
            if lookalike is not None and lookalike is not owner:
                raise NicknameRejected(f"{nick} looks too much like {lookalike.nick}, who is here.", "looks-like")
        return nick

    def _claim(self, member: Member) -> None:
        self._owners[nicknames.casefold_key(member.nick)] = member
        if self.settings.unicode_nicknames:
            self._skeletons[nicknames.skeleton(member.nick)] = member

    def _release(self, member: Member, nick: str) -> None:
        """Free *nick*, unless another node has given it to somebody else already."""
        key = nicknames.casefold_key(nick)
        if self._owners.get(key) is member:
            del self._owners[key]
        if self.settings.unicode_nicknames:
            key = nicknames.skeleton(nick)
            if self._skeletons.get(key) is member:
                del self._skeletons[key]


def _call_after_barriers(rooms: Sequence[Room], call: Callback) -> None:
    """Call *call* once all events that were appended to *rooms* are delivered, or at once if there are no rooms."""
    undelivered = len(rooms)

    def count() -> None:
        nonlocal undelivered
        undelivered -= 1
        if not undelivered:
            call()

    for room in rooms:
        room.after_barrier(count)
    if not rooms:
        call()


def _describe(member: Member, nick: str) -> Person:
    """Return *member* with the nickname *nick*, as other nodes know it."""
    account = 0 if member.account is None else member.account.id
    return Person(member.id, nick, account, member.away, member.away_reason, member.source.address)


def _not_reading(member: Member) -> RecipientNotReading:
    return RecipientNotReading(f"{member.nick} does not read what is sent to them.")


def _end_replaced(member: Member, link: Link | None) -> bool:
    """End the session of *member* if *link* has replaced its connection. Return whether it has."""
    if link is None or member.link is None or not link.has_replaced(member.link):
        return False
    member.link.end()
    return True
