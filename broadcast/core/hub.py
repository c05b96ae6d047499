"""The room and the nickname space that all doors share, and the settings and counters of the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broadcast.core import nicknames
from broadcast.core.errors import NicknameRejected, RejectedError
from broadcast.core.interfaces import CallLater, Journal, Publisher
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Member, MemberListener
from broadcast.core.room import Room
from broadcast.core.stats import Rejection

GOING_DOWN = "The server is going down."
"""The announcement of the shutdown in the room, and the reason that clients without a nickname receive."""


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
    limits: Limits = DEFAULTS


class Hub:
    """The room, the owner of each nickname, and the counters of sessions and rejections.

    *started* is the start of the server, in seconds since the epoch. *call_later* is for the room.
    """

    def __init__(
        self,
        journal: Journal,
        publisher: Publisher,
        settings: Settings,
        started: float,
        call_later: CallLater | None = None,
    ) -> None:
        self.settings = settings
        self.started = started
        self.room = Room(journal, publisher, settings.replay, settings.limits, call_later)
        self.session_count = 0
        """Number of sessions since the start."""
        self.rejections = dict.fromkeys(Rejection, 0)
        """Number of rejections of each kind."""
        self._owners: dict[str, Member] = {}
        self._skeletons: dict[str, Member] = {}

    def open(self) -> None:
        """Open the journal. Raises ``JournalError``."""
        self.room.open()

    def close(self, delivered: Callable[[], None]) -> None:
        """Announce that the server is going down. Call *delivered* once this and all earlier events are delivered."""
        self.room.announce(GOING_DOWN)
        self.room.after_barrier(delivered)

    def next_session_id(self) -> int:
        """Return an id that no other session of this process has."""
        self.session_count += 1
        return self.session_count

    def admit(self, session: int, name: str, listener: MemberListener) -> Member:
        """Give the nickname *name* to *session* and let it into the room. Raises ``RejectedError``."""
        nick = self._validate_nick(name, None)
        member = Member(session, nick, listener)
        self._claim(member)
        self.room.enter(member)
        return member

    def rename(self, member: Member, name: str) -> None:
        """Give *member* another nickname. Raises ``RejectedError``."""
        nick = self._validate_nick(name, member)
        if nick == member.nick:
            return
        self._release(member)
        self.room.rename(member, nick)
        self._claim(member)

    def remove(self, member: Member, reason: str) -> None:
        """Let *member* leave. The nickname is free at once: in the stream, the next owner joins after this leave."""
        self._release(member)
        self.room.leave(member, reason)

    def find(self, name: str) -> Member:
        """Return the member with the nickname *name*, if its join was announced. Raises ``RejectedError``."""
        member = self._owners.get(nicknames.casefold_key(name))
        if member is None or not member.announced_nick:
            raise RejectedError(f"{name[: nicknames.MAX_NICKNAME_CHARS]} is not here.")
        return member

    def member_by_session(self, session: int) -> Member | None:
        """Return the member with this session, or None if it has left or is leaving."""
        member = self.room.members.get(session)
        return member if member and self._owners.get(nicknames.casefold_key(member.nick)) is member else None

    def _validate_nick(self, name: str, owner: Member | None) -> str:
        """Return the nickname in *name*. Raises ``NicknameRejected`` unless it is free or belongs to *owner*."""
        nick = nicknames.validate(name, unicode=self.settings.unicode_nicknames)
        if self._owners.get(nicknames.casefold_key(nick), owner) is not owner:
            raise NicknameRejected(f"{nick} is taken.")
        if self.settings.unicode_nicknames:
            lookalike = self._skeletons.get(nicknames.skeleton(nick))
            if lookalike is not None and lookalike is not owner:
                raise NicknameRejected(f"{nick} looks too much like {lookalike.nick}, who is here.")
        return nick

    def _claim(self, member: Member) -> None:
        self._owners[nicknames.casefold_key(member.nick)] = member
        if self.settings.unicode_nicknames:
            self._skeletons[nicknames.skeleton(member.nick)] = member

    def _release(self, member: Member) -> None:
        del self._owners[nicknames.casefold_key(member.nick)]
        if self.settings.unicode_nicknames:
            del self._skeletons[nicknames.skeleton(member.nick)]
