"""The room and the one nickname space that all doors share, and what everybody may know of the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broadcast.core import nicknames
from broadcast.core.errors import NicknameRefused, RefusedError
from broadcast.core.interfaces import Journal, Publisher
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Member, MemberListener
from broadcast.core.room import Room
from broadcast.core.stats import Rejection

GOING_DOWN = "The server is going down."


@dataclass(frozen=True, slots=True)
class Settings:
    """What the one who runs the server decides."""

    name: str = "Broadcast"
    """Stands in the first line that anybody sees."""
    version: str = ""
    """What ``/version`` answers behind the program's name."""
    motd: tuple[str, ...] = ()
    """The lines of the message of the day."""
    replay: int = 20
    """How many lines a newcomer is shown; 0 or more."""
    unicode_nicknames: bool = False
    """Whether nicknames may hold letters and digits of any script."""
    limits: Limits = DEFAULTS


class Hub:
    """Where every session finds the room, and every nickname its owner.

    *started* is when the server started, in seconds since the epoch.
    """

    def __init__(self, journal: Journal, publisher: Publisher, settings: Settings, started: float) -> None:
        self.settings = settings
        self.started = started
        self.room = Room(journal, publisher, settings.replay, settings.limits)
        self.session_count = 0
        """How many sessions there have been."""
        self.rejections = dict.fromkeys(Rejection, 0)
        """How often what was refused."""
        self._owners: dict[str, Member] = {}
        self._skeletons: dict[str, Member] = {}

    def open(self) -> None:
        """Open the journal; raises ``JournalError``."""
        self.room.open()

    def close(self, delivered: Callable[[], None]) -> None:
        """Tell everybody that the server is going down; *told* is called when all that was taken in has been told."""
        self.room.announce(GOING_DOWN)
        self.room.after_barrier(delivered)

    def next_session_id(self) -> int:
        """An id that no other session of this process has."""
        self.session_count += 1
        return self.session_count

    def admit(self, session: int, name: str, listener: MemberListener) -> Member:
        """Give *name* to a newcomer and let them into the room; raises ``RefusedError``."""
        nick = self._validate_nick(name, None)
        member = Member(session, nick, listener)
        self._claim(member)
        self.room.enter(member)
        return member

    def rename(self, member: Member, name: str) -> None:
        """Give *member* another nickname; raises ``RefusedError``."""
        nick = self._validate_nick(name, member)
        if nick == member.nick:
            return
        self._release(member)
        self.room.rename(member, nick)
        self._claim(member)

    def remove(self, member: Member, why: str) -> None:
        """Let *member* leave; the nickname is free at once, for in the stream its next owner comes later."""
        self._release(member)
        self.room.leave(member, why)

    def find(self, name: str) -> Member:
        """The one who is here under *name*; raises ``RefusedError``."""
        member = self._owners.get(nicknames.casefold_key(name))
        if member is None or not member.announced_nick:
            raise RefusedError(f"{name[: nicknames.MAX_NICKNAME_CHARS]} is not here.")
        return member

    def member_by_session(self, session: int) -> Member | None:
        """The one whose session this is; None where they have left, or are just leaving."""
        member = self.room.members.get(session)
        return member if member and self._owners.get(nicknames.casefold_key(member.nick)) is member else None

    def _validate_nick(self, name: str, owner: Member | None) -> str:
        """*name* as a nickname that nobody but *owner* has."""
        nick = nicknames.validate(name, unicode=self.settings.unicode_nicknames)
        if self._owners.get(nicknames.casefold_key(nick), owner) is not owner:
            raise NicknameRefused(f"{nick} is taken.")
        if self.settings.unicode_nicknames:
            like = self._skeletons.get(nicknames.skeleton(nick))
            if like is not None and like is not owner:
                raise NicknameRefused(f"{nick} looks too much like {like.nick}, who is here.")
        return nick

    def _claim(self, member: Member) -> None:
        self._owners[nicknames.casefold_key(member.nick)] = member
        if self.settings.unicode_nicknames:
            self._skeletons[nicknames.skeleton(member.nick)] = member

    def _release(self, member: Member) -> None:
        del self._owners[nicknames.casefold_key(member.nick)]
        if self.settings.unicode_nicknames:
            del self._skeletons[nicknames.skeleton(member.nick)]
