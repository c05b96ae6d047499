"""The people of the server: its members, and the one nickname space that all doors share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from broadcast.core import nicknames
from broadcast.core.accounts import Account, Authenticator
from broadcast.core.errors import NicknameRejected, NotHere, PasswordNeeded, RejectedError
from broadcast.core.membership import Link, Member
from broadcast.core.moderation import Moderation

FREE_NAME_DIGITS: Final = 6
"""Maximum number of characters that a free nickname has after the stem of the old one."""


class People:
    """The members, and the owner of each nickname.

    *unicode* tells whether nicknames may contain letters and digits of any script.
    """

    def __init__(self, authenticator: Authenticator, moderation: Moderation, *, unicode: bool) -> None:
        self.members: dict[int, Member] = {}
        """The members by session id, from ``Hub.admit`` to ``Hub.remove``, and those of the other nodes."""
        self.ignoring: set[Member] = set()
        """The members that ignore somebody."""
        self._authenticator = authenticator
        self._moderation = moderation
        self._unicode = unicode
        self._owners: dict[str, Member] = {}
        """The owner of each nickname, by ``nicknames.casefold_key``."""
        self._skeletons: dict[str, Member] = {}
        """The owner of each nickname, by ``nicknames.skeleton``. It is empty without *unicode*."""

    def forget_all(self) -> None:
        """Forget all members, because nobody is here any more."""
        for state in (self.members, self.ignoring, self._owners, self._skeletons):
            state.clear()

    # Finding

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

    def find_recipient(self, name: str) -> Member | Account:
        """Return the member with the nickname *name*, or else the account with it. Raises ``NotHere``.

        If the owner of the account is here under another nickname, return this member.
        """
        try:
            return self.find(name)
        except NotHere:
            account = self._authenticator.accounts.find(name)
            if account is None:
                raise
            return self.find_member_of(account) or account

    def find_account(self, name: str) -> Account | None:
        """Return the account of the person *name*: of the member with this nickname, or else the registered one."""
        member = self._owners.get(nicknames.casefold_key(name.strip()))
        return (member.account if member else None) or self._authenticator.accounts.find(name)

    def find_member_of(self, account: Account) -> Member | None:
        """Return a member that is logged in to *account*, the one with its nickname if possible."""
        owner = self._owners.get(nicknames.casefold_key(account.name))
        if owner is not None and owner.account is account:
            return owner
        return next((member for member in self.members.values() if member.account is account), None)

    def own_members(self) -> Iterator[Member]:
        """Yield the members on this node."""
        return (member for member in self.members.values() if not member.is_remote)

    # Nicknames

    def validate(self, name: str, owner: Member | None, link: Link | None, account: Account | None = None) -> str:
        """Return the nickname in *name*. Raises ``NicknameRejected`` unless it is free or belongs to *owner*.

        It becomes free if *link* has replaced the connection of its present owner. Raises ``PasswordNeeded`` if it is
        registered, but not to *account*.
        """
        nick = nicknames.validate(name, unicode=self._unicode)
        self.check_right(nick, account)
        other = self._owners.get(nicknames.casefold_key(nick), owner)
        if other is not None and other is not owner and not _end_replaced(other, link):
            raise NicknameRejected(f"{nick} is taken.", "taken")
        if self._unicode:
            lookalike = self._skeletons.get(nicknames.skeleton(nick))
            if lookalike is not None and lookalike is not owner:
                raise NicknameRejected(f"{nick} looks too much like {lookalike.nick}, who is here.", "looks-like")
        return nick

    def check_right(self, nick: str, account: Account | None) -> None:
        """Raise ``PasswordNeeded`` or ``Banned`` if somebody who is logged in to *account* must not have *nick*."""
        registered = self._authenticator.accounts.find(nick)
        if registered is not None and registered is not account:
            raise PasswordNeeded(nick)
        number = None if account is None else account.id
        self._moderation.check_name(
            nick, number, is_registered=registered is not None, at=self._authenticator.time_of_day
        )

    def remote_rivals(self, name: str) -> list[str]:
        """Return the nicknames of the members on other nodes that have the nickname *name*, or one that looks alike."""
        name = name.strip()
        rivals = [self._owners.get(nicknames.casefold_key(name)), self._skeletons.get(nicknames.skeleton(name))]
        return [rival.nick for rival in rivals if rival is not None and rival.is_remote]

    def find_free_name(self, text: str, owner: Member | None, refused: Sequence[str] = ()) -> str:
        """Return a nickname like *text* that is not registered, and that nobody has but *owner*.

        It has a number at its end if need be. It is none of those that other nodes have *refused*.
        """
        stem = nicknames.make_stem(text, nicknames.MAX_NICKNAME_CHARS - FREE_NAME_DIGITS)
        name, number = stem, 1
        while True:
            try:
                free = self.validate(name, owner, None)
            except RejectedError:
                pass
            else:
                if free not in refused:
                    return free
            number += 1
            name = f"{stem}{number}"

    def claim(self, member: Member) -> None:
        """Make *member* the owner of its nickname.

        A member on another node does not replace one of this node: the directory has given the nickname to this one,
        so the news is older.
        """
        _claim(self._owners, nicknames.casefold_key(member.nick), member)
        if self._unicode:
            _claim(self._skeletons, nicknames.skeleton(member.nick), member)

    def release(self, member: Member, nick: str) -> None:
        """Free *nick*, unless another node has given it to somebody else already."""
        key = nicknames.casefold_key(nick)
        if self._owners.get(key) is member:
            del self._owners[key]
        if self._unicode:
            key = nicknames.skeleton(nick)
            if self._skeletons.get(key) is member:
                del self._skeletons[key]

    def follow_rename(self, member: Member, nick: str) -> None:
        """Let members that ignore *member* ignore its new nickname *nick*, if no room announces it to them."""
        for ignoring in self.ignoring:
            if ignoring is not member and ignoring.memberships.keys().isdisjoint(member.memberships):
                ignoring.follow_rename(member.nick, nick)


def _claim(owners: dict[str, Member], key: str, member: Member) -> None:
    owner = owners.get(key)
    if owner is None or owner.is_remote or not member.is_remote:
        owners[key] = member


def _end_replaced(member: Member, link: Link | None) -> bool:
    """End the session of *member* if *link* has replaced its connection. Return whether it has."""
    if link is None or member.link is None or not link.has_replaced(member.link):
        return False
    member.link.end()
    return True
