"""Bans, mutes, slow mode, and the audit trail of the operators.

Everything is in memory. Bans and the audit trail are also stored, and so survive a restart. There is no clock here:
each time is an argument, in seconds since the epoch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import ceil, inf
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from broadcast.core.decisions import LastingDecision, Mute, SlowMode
from broadcast.core.errors import Banned, Muted, NameRejected, NotPermitted
from broadcast.core.limits import find_source
from broadcast.core.nicknames import casefold_key
from broadcast.core.records import AddAudit, AuditEntry, Ban, DeleteBan, SaveBan

if TYPE_CHECKING:
    from broadcast.core.accounts import Account
    from broadcast.core.errors import JournalError
    from broadcast.core.interfaces import AuditCallback, Records
    from broadcast.core.membership import Member
    from broadcast.core.records import RecordChange, StoredRecords

Network: TypeAlias = IPv4Network | IPv6Network
Target: TypeAlias = Literal["account", "nickname", "address"]
OnWritten: TypeAlias = "Callable[[JournalError | None], None]"
"""Receives None once a change is stored, or the reason why it is not."""

MIN_PREFIX: Final = {4: 16, 6: 32}
"""Length of the shortest prefix that can be banned, by the version of IP."""
CONFIRM_SECONDS: Final = 30
"""Time in which an operator can confirm a ban that reaches others, in seconds."""
TOPICS: Final = ("everybody", "operators")
"""The people who may set a topic."""
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_duration: Final = re.compile("([1-9][0-9]{0,3})([smhdw])", re.ASCII)


def parse_duration(text: str) -> int | None:
    """Return the seconds in *text*, such as ``90s``, ``5m``, ``1h``, ``7d`` or ``2w``; None if it is no duration."""
    match = _duration.fullmatch(text.lower())
    return int(match[1]) * _SECONDS[match[2]] if match else None


def format_time(at: float) -> str:
    """Return the time *at* in UTC, which means the same to people in all time zones."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def format_end(until: float | None) -> str:
    """Return `` until`` and the time, or nothing if there is no end."""
    return "" if until is None else f" until {format_time(until)}"


def with_reason(text: str, why: str) -> str:
    """Return *text* and the reason *why*, if there is one."""
    return f"{text}: {why}" if why else text


# Addresses


def parse_network(text: str) -> Network | None:
    """Return the network in *text*, an address with or without a prefix; None if it is neither.

    An address alone is one IPv4 address, or the IPv6 network of 64 bits in which it is.
    """
    address, slash, _ = text.partition("/")
    try:
        if not slash:
            return network_of(text) or ip_network(text)
        network = ip_network(text, strict=False)
        mapped = None if network.version == 4 else IPv6Address(address).ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return IPv4Network((mapped, network.prefixlen - 96), strict=False)
    except ValueError:
        return None
    return network


def network_of(host: str | None) -> Network | None:
    """Return the network that is banned together with a person at *host*, an IP address.

    It is None for addresses of this machine, and for local sockets.
    """
    source = find_source(host)
    if source is None or isinstance(source, IPv6Network):
        return source
    if isinstance(source, IPv4Address):
        return IPv4Network(source)
    return IPv6Network(int(source))  # a link-local address, without its zone


def check_network(network: Network, own: str | None) -> None:
    """Raise ``RejectedError`` if *network* must not be banned by an operator at the address *own*."""
    shortest = MIN_PREFIX[network.version]
    if network.prefixlen < shortest:
        raise NameRejected(f"{network} is too wide: the prefix has at least {shortest} bits.")
    if network.is_loopback or any(loopback in network for loopback in _LOOPBACKS):
        raise NameRejected(f"{network} holds addresses of this machine, which cannot be banned.")
    if holds(network, own):
        raise NameRejected(f"{network} holds your own address.")


_NETWORKS: Final = {4: IPv4Network, 6: IPv6Network}
_LOOPBACKS: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


def holds(network: Network, host: str | None) -> bool:
    """Return whether *host*, an IP address or None, is in *network*. Addresses of this machine are in none."""
    address = _plain_address(host)
    return address is not None and address in network


def _plain_address(host: str | None) -> IPv4Address | IPv6Address | None:
    """Return the address *host* without a zone, and a mapped IPv4 address as a plain one.

    The result is None for addresses of this machine, and for local sockets.
    """
    if host is None or find_source(host) is None:
        return None
    address = ip_address(host)
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


# Permission


def check_operator(member: Member, command: str) -> Account:
    """Return the account of *member*, an operator on a safe connection. Raises ``NotPermitted``."""
    account = member.account
    if account is None or not account.is_operator:
        raise NotPermitted(f"{command} is for operators.")
    if not member.source.is_safe:
        raise NotPermitted(f"{command} works only over TLS, or on the machine of the server: connect with --tls.")
    return account


def reaches(ban: Ban, member: Member) -> bool:
    """Return whether *ban* ends the session of *member*."""
    if ban.target == "address":
        return holds(ip_network(ban.value), member.source.address)
    if member.account is not None:
        return (ban.target, ban.value) == ("account", str(member.account.id))
    return (ban.target, ban.value) == ("nickname", casefold_key(member.nick))


@dataclass(slots=True)
class _SlowMode:
    """The slow mode of one room."""

    seconds: int
    """Minimum time between two lines of one person."""
    last: dict[tuple[str, int], float] = field(default_factory=dict)
    """Time of each person's last line, in ascending order. Older ones than *seconds* are removed."""


class Moderation:
    """The bans, mutes and slow rooms of a server, and its audit trail in *records*."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._next_ban = self._step = 1
        self._bans: dict[tuple[str, str], Ban] = {}
        """The bans by target and value, in the order in which they were made."""
        self._storing: list[Sequence[RecordChange]] = []
        """The changes that are being stored. Those of other nodes that are taken over meanwhile come before them."""
        self._prefix_lengths: Counter[tuple[int, int]] = Counter()
        """Number of bans of addresses with each version of IP and each length of the prefix."""
        self._mutes: dict[tuple[str, int], float] = {}
        """The ends of mutes by the kind and the number of the muted session or account; infinite for no end."""
        self._slow: dict[str, _SlowMode] = {}
        """The slow modes by the name of the room."""
        self._asked: dict[int, tuple[str, float]] = {}
        """The last ban that an operator has to confirm, and its time, by session."""
        self.is_active = False
        """Whether anybody is muted or any room is slow. Otherwise a line needs no check."""

    def load(self, stored: StoredRecords) -> None:
        """Take over the bans that are stored. Called once, first."""
        self._next_ban, self._step = stored.next_ban, stored.step
        for ban in stored.bans:
            self._insert(ban)

    def compare(self, stored: StoredRecords) -> Iterator[RecordChange]:
        """Yield the changes of other nodes that lead to the bans in *stored*, and continue with its ids."""
        self._next_ban, self._step = stored.next_ban, stored.step
        bans = {ban.id: ban for ban in stored.bans}
        known = {ban.id: ban for ban in self._bans.values()}
        yield from [DeleteBan(number) for number in known if number not in bans]
        yield from [SaveBan(ban) for number, ban in bans.items() if known.get(number) != ban]

    # The audit trail

    def write(
        self, entry: AuditEntry, changes: Sequence[RecordChange] = (), on_written: OnWritten = lambda _error: None
    ) -> None:
        """Store *entry* of the audit trail together with *changes*."""
        self._storing.append(changes)

        def written(error: JournalError | None) -> None:
            self._storing = [each for each in self._storing if each is not changes]
            on_written(error)

        self._records.write((*changes, AddAudit(entry)), written)

    def read_audit(self, limit: int, on_result: AuditCallback) -> None:
        """Read the newest *limit* entries of the audit trail."""
        self._records.read_audit(limit, on_result)

    # Bans

    def bans(self, at: float) -> list[Ban]:
        """Return the bans that hold at the time *at*, in the order in which they were made."""
        return [ban for ban in self._bans.values() if _holds_at(ban, at)]

    def ban(
        self, target: Target, value: str, name: str, reason: str, by: str, at: float, until: float | None
    ) -> RecordChange:
        """Ban *value* at once, in place of an earlier ban of it. Return the change to store. See ``records.Ban``."""
        before = self._bans.get((target, value))
        if before is None:
            number = self._next_ban
            self._next_ban += self._step
        else:
            number = before.id
        ban = Ban(number, target, value, name, reason, by, at, until)
        self._insert(ban)
        return SaveBan(ban)

    def unban(self, name: str, account: int | None) -> list[RecordChange]:
        """End the bans of *name*: a nickname as it was banned, the number of its account, an address or a network.

        A ban of a nickname also ends for the address that was banned with it. Return the changes to store.
        """
        key = casefold_key(name)
        network = parse_network(name)
        ended = [
            ban
            for ban in self._bans.values()
            if casefold_key(ban.name) == key
            or (ban.target, ban.value) in {("account", str(account)), ("address", str(network))}
        ]
        return [self._remove(ban) for ban in ended]

    def remove_expired(self, at: float) -> list[RecordChange]:
        """Remove the bans that have ended by the time *at*. Return the changes to store."""
        return [self._remove(ban) for ban in list(self._bans.values()) if not _holds_at(ban, at)]

    def take_over(self, change: SaveBan | DeleteBan) -> None:
        """Take over *change*, which another node of a cluster has stored, unless a change of this node replaces it."""
        if any(_replaces(own, change) for changes in self._storing for own in changes):
            return
        number = _ban_id(change)
        for ban in [ban for ban in self._bans.values() if ban.id == number]:
            self._remove(ban)
        if isinstance(change, SaveBan):
            self._insert(change.ban)
            while self._next_ban <= number:
                self._next_ban += self._step

    def _insert(self, ban: Ban) -> None:
        key = ban.target, ban.value
        if ban.target == "address" and key not in self._bans:
            self._prefix_lengths[_prefix_length(ban)] += 1
        self._bans[key] = ban

    def _remove(self, ban: Ban) -> RecordChange:
        del self._bans[ban.target, ban.value]
        if ban.target == "address":
            self._prefix_lengths[_prefix_length(ban)] -= 1
        return DeleteBan(ban.id)

    def check_address(self, host: str | None, at: float) -> None:
        """Raise ``Banned`` if the address *host* is banned at the time *at*."""
        if self._prefix_lengths and (address := _plain_address(host)) is not None:
            for (version, length), count in self._prefix_lengths.items():
                if version == address.version and count:
                    network = _NETWORKS[version]((address, length), strict=False)
                    self._check("address", str(network), "you are", at)

    def check_name(self, nick: str, account: int | None, *, is_registered: bool, at: float) -> None:
        """Raise ``Banned`` if the account with this number, None for no account, or the nickname *nick* is banned.

        A ban of a nickname does not reach a later owner of this nickname: *is_registered* is whether there is one.
        """
        if self._bans:
            self._check("account", str(account), "you are", at)
            if not is_registered:
                self._check("nickname", casefold_key(nick), f"the nickname {nick} is", at)

    def _check(self, target: Target, value: str, subject: str, at: float) -> None:
        ban = self._bans.get((target, value))
        if ban is not None and _holds_at(ban, at):
            text = f"{subject} banned{format_end(ban.until)}"
            raise Banned(f"{text}: {ban.reason}" if ban.reason else f"{text}.", ban.until)

    def confirm(self, session: int, command: str, at: float) -> bool:
        """Return whether the operator *session* gives *command* for the second time within ``CONFIRM_SECONDS``."""
        asked, asked_at = self._asked.pop(session, ("", 0.0))
        if asked == command and 0 <= at - asked_at <= CONFIRM_SECONDS:
            return True
        self._asked[session] = command, at
        return False

    # Mutes

    def load_decisions(self, decisions: Sequence[LastingDecision]) -> None:
        """Take over *decisions* of all nodes of a cluster, which are all that hold now."""
        self._mutes.clear()
        slow = {decision.room for decision in decisions if isinstance(decision, SlowMode)}
        for room in self._slow.keys() - slow:
            del self._slow[room]
        for decision in decisions:
            self.carry_out(decision)
        self._update()

    def carry_out(self, decision: LastingDecision) -> bool:
        """Carry out *decision*. Return whether a mute has ended."""
        match decision:
            case Mute(until=0):
                return self.unmute(decision.session, decision.account)
            case Mute():
                self.mute(decision.session, decision.account, decision.until)
            case _:
                self.set_slow(decision.room, decision.seconds)
        return False

    def mute(self, session: int | None, account: int | None, until: float | None) -> None:
        """Mute the session and the account with these numbers up to the time *until*, None for no end."""
        for key in _keys(session, account):
            self._mutes[key] = inf if until is None else until
        self._update()

    def unmute(self, session: int | None, account: int | None) -> bool:
        """End the mutes of the session and of the account with these numbers. Return whether there was one."""
        ended = [self._mutes.pop(key, None) for key in _keys(session, account)]
        self._update()
        return any(until is not None for until in ended)

    def follow_session(self, member: Member, before: Account | None) -> Mute | None:
        """Return the mute of the account *before* as one of the session of *member*, which has left the account.

        Return None if it would not last longer than the mute that the session has already.
        """
        if before is None or before is member.account:
            return None
        until = self._mutes.get(("account", before.id), 0.0)
        if until <= self._mutes.get(("session", member.id), 0.0):
            return None
        return Mute(member.id, None, None if until == inf else until)

    def forget(self, member: Member) -> None:
        """Forget the session of *member*, which has ended. A mute of its account stays."""
        self._asked.pop(member.id, None)
        if self._mutes.pop(("session", member.id), None) is not None:
            self._update()

    def is_muted(self, member: Member, at: float) -> bool:
        """Return whether *member* is muted at the time *at*."""
        return bool(self._mutes) and self._muted_until(member, at) > at

    def check_speech(self, member: Member, at: float) -> None:
        """Raise ``Muted`` if others must not read texts of *member* at the time *at*."""
        if self.is_muted(member, at):
            until = self._muted_until(member, at)
            if until == inf:
                raise Muted("you are muted until an operator ends it.", None)
            raise Muted(f"you are muted until {format_time(until)}.", until)

    def _muted_until(self, member: Member, at: float) -> float:
        account = None if member.account is None else member.account.id
        keys = [key for key in _keys(member.id, account) if key in self._mutes]
        until = max((self._mutes[key] for key in keys), default=0.0)
        if keys and until <= at:
            for key in keys:
                del self._mutes[key]
            self._update()
        return until

    # Slow mode

    def slow_seconds(self, room: str) -> int:
        """Return the minimum time between two lines of a person in *room*, in seconds; 0 if there is none."""
        return self._slow[room].seconds if room in self._slow else 0

    def set_slow(self, room: str, seconds: int) -> None:
        """Set the minimum time between two lines of a person in *room*, in seconds. 0 ends the slow mode."""
        if seconds != self.slow_seconds(room):  # in a cluster, a decision can come twice
            self._slow.pop(room, None)
            if seconds:
                self._slow[room] = _SlowMode(seconds)
            self._update()

    def check_line(self, member: Member, room: str, at: float) -> None:
        """Count a line of *member* in *room* at the time *at*. Raises ``Muted`` if it is not allowed."""
        self.check_speech(member, at)
        slow = self._slow.get(room)
        account = member.account
        if slow is None or (account is not None and account.is_operator):
            return
        wait = slow.last.get(_slow_key(member), -inf) + slow.seconds - at
        if 0 < wait <= slow.seconds:  # a longer time would come from a jump of the clock
            seconds = ceil(wait)
            raise Muted(
                "this room is in slow mode: this was not said. "
                f"Say it again in {seconds} second{'s' * (seconds != 1)}.",
                at + seconds,
            )
        self.note_line(member, room, at)

    def note_line(self, member: Member, room: str, at: float) -> None:
        """Count a line that *member* has said in *room* at the time *at*, perhaps on another node."""
        slow = self._slow.get(room)
        if slow is not None:
            key = _slow_key(member)
            slow.last.pop(key, None)
            slow.last[key] = at
            for old in _outdated(slow, at):
                del slow.last[old]

    def _update(self) -> None:
        self.is_active = bool(self._mutes or self._slow)


def _ban_id(change: SaveBan | DeleteBan) -> int:
    return change.ban.id if isinstance(change, SaveBan) else change.id


def _replaces(later: RecordChange, change: SaveBan | DeleteBan) -> bool:
    """Return whether nothing of *change* is left after the *later* one."""
    if not isinstance(later, SaveBan | DeleteBan):
        return False
    if isinstance(later, SaveBan) and isinstance(change, SaveBan):
        same_target = (later.ban.target, later.ban.value) == (change.ban.target, change.ban.value)
        return same_target or later.ban.id == change.ban.id
    return _ban_id(later) == _ban_id(change)


def _holds_at(ban: Ban, at: float) -> bool:
    return ban.until is None or at < ban.until


def _prefix_length(ban: Ban) -> tuple[int, int]:
    network = ip_network(ban.value)
    return network.version, network.prefixlen


def _keys(session: int | None, account: int | None) -> Iterator[tuple[str, int]]:
    if session is not None:
        yield "session", session
    if account is not None:
        yield "account", account


def _slow_key(member: Member) -> tuple[str, int]:
    """Return the key of *member* in slow mode: all sessions of an account count together."""
    return ("session", member.id) if member.account is None else ("account", member.account.id)


def _outdated(slow: _SlowMode, at: float) -> list[tuple[str, int]]:
    """Return the people among the first two whose last line is too old to matter.

    Each line adds one entry at most and removes up to two, so the outdated ones become fewer.
    """
    first = [key for key, _ in zip(slow.last, range(2), strict=False)]
    return [key for key in first if not 0 <= at - slow.last[key] < slow.seconds]
