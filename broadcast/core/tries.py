"""Limits on wrong passwords and on registrations. No clock and no sockets: times are seconds of a monotonic clock.

Only wrong passwords count, so any number of people behind one address can log in at once. If the owner of an account
has logged in at an address before, tries from other addresses do not lock the owner out there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil
from typing import Final, Generic, TypeVar

from broadcast.core.errors import TooManyLogins, TooManyRegistrations, TooManyTries
from broadcast.core.limits import find_source

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0
ACCOUNT_TRIES: Final = 5
"""Maximum number of wrong passwords a minute for one account from one address."""
ADDRESS_TRIES: Final = 20
"""Maximum number of wrong passwords a minute from one IPv4 address or IPv6 network of 64 bits."""
NEW_ADDRESS_TRIES: Final = 100
"""Maximum number of wrong passwords an hour for one account from addresses at which nobody has logged in to it."""
ADDRESS_REGISTRATIONS: Final = 3
"""Maximum number of new accounts an hour from one address."""
REGISTRATIONS: Final = 1_000
"""Maximum number of new accounts a day."""
ADDRESS_CODES: Final = 5
"""Maximum number of logins with OpenID Connect that begin in a minute at one address."""
MAX_KEYS: Final = 10_000
"""Maximum number of addresses, accounts or pairs of them that are known. The least recently used ones are forgotten."""

K = TypeVar("K", bound=Hashable)


class _Counter(Generic[K]):
    """A limit of *size* events in any period of *seconds*, for each key."""

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        self._times: dict[K, deque[float]] = {}
        """The times of the last events of each key, which has at least one. The least recently used key comes first."""

    def delay(self, key: K, now: float) -> float:
        """Return the seconds until one more event is allowed, 0.0 if it is allowed now."""
        times = self._times.get(key)
        if times is None:
            return 0.0
        while times and times[0] + self._seconds <= now:
            times.popleft()
        if not times:
            del self._times[key]
        return 0.0 if len(times) < self._size else times[-self._size] + self._seconds - now

    def add(self, key: K, now: float) -> None:
        """Count an event at the time *now*, even if it is not allowed."""
        times = self._times.pop(key, None) or deque[float](maxlen=self._size)
        times.append(now)
        self._times[key] = times
        if len(self._times) > MAX_KEYS:
            del self._times[next(iter(self._times))]

    def remove(self, key: K, at: float) -> None:
        """Stop counting an event that was counted at the time *at*, if it still counts."""
        times = self._times.get(key)
        if times is not None and at in times:
            times.remove(at)
            if not times:
                del self._times[key]


_Pair = tuple[int | None, Hashable]


@dataclass(slots=True, eq=False)
class Try:
    """A password that is being checked. It counts as wrong for its account and address until the result is known."""

    limiter: TryLimiter
    account: int | None
    source: Hashable
    began: float

    def fail(self, now: float) -> None:
        """Count the password as wrong."""
        self.limiter.count_wrong(self, now)

    def succeed(self) -> None:
        """Count nothing, and remember the address as one of the account's owner."""
        self.cancel()
        self.limiter.know(self)

    def cancel(self) -> None:
        """Count nothing, because the password was not checked."""
        self.limiter.forget(self)


class TryLimiter:
    """The limits on wrong passwords.

    The limit for an account and an address also holds for passwords that are being checked, so that nobody evades it
    by sending many at once. All names without an account count as one account. Addresses of this machine have no limit
    but this one: a proxy may hide many people behind them.
    """

    def __init__(self) -> None:
        self._pairs: _Counter[_Pair] = _Counter(ACCOUNT_TRIES, MINUTE)
        self._sources: _Counter[Hashable] = _Counter(ADDRESS_TRIES, MINUTE)
        self._accounts: _Counter[int] = _Counter(NEW_ADDRESS_TRIES, HOUR)
        self._known: dict[_Pair, None] = {}
        """The accounts and addresses at which a password was right. The least recently used pair comes first."""

    def begin(self, account: int | None, host: str | None, now: float) -> Try:
        """Return the try of a password for *account* from *host* at the time *now*. Raises ``TooManyTries``.

        *account* is the id, or None for a name without an account. *host* is an IP address, or None for a local socket.
        """
        source = find_source(host)
        delay = self._pairs.delay((account, source), now)
        if source is not None:
            delay = max(delay, self._sources.delay(source, now))
        if self._is_from_new_address(account, source) and account is not None:
            delay = max(delay, self._accounts.delay(account, now))
        if delay > 0:
            raise TooManyTries(ceil(delay))
        self._pairs.add((account, source), now)
        return Try(self, account, source, now)

    def _is_from_new_address(self, account: int | None, source: Hashable) -> bool:
        return source is not None and (account, source) not in self._known

    def count_wrong(self, attempt: Try, now: float) -> None:
        """Count the password of *attempt* as wrong."""
        account, source = attempt.account, attempt.source
        if source is not None:
            self._sources.add(source, now)
        if self._is_from_new_address(account, source) and account is not None:
            self._accounts.add(account, now)

    def know(self, attempt: Try) -> None:
        """Remember the address of *attempt* as one of the account's owner."""
        pair = attempt.account, attempt.source
        self._known.pop(pair, None)
        self._known[pair] = None
        if len(self._known) > MAX_KEYS:
            del self._known[next(iter(self._known))]

    def forget(self, attempt: Try) -> None:
        """Stop counting *attempt*."""
        self._pairs.remove((attempt.account, attempt.source), attempt.began)


class CodeLimiter:
    """The limit on logins with OpenID Connect from each address. This machine has none, as in ``TryLimiter``."""

    def __init__(self) -> None:
        self._sources: _Counter[Hashable] = _Counter(ADDRESS_CODES, MINUTE)

    def count(self, host: str | None, now: float) -> None:
        """Count a login that begins at *host* at the time *now*. Raises ``TooManyLogins``."""
        source = find_source(host)
        if source is None:
            return
        if (delay := self._sources.delay(source, now)) > 0:
            raise TooManyLogins(ceil(delay))
        self._sources.add(source, now)


class RegistrationLimiter:
    """The limits on new accounts, from each address and in total. This machine counts toward the total only."""

    def __init__(self) -> None:
        self._sources: _Counter[Hashable] = _Counter(ADDRESS_REGISTRATIONS, HOUR)
        self._total: _Counter[None] = _Counter(REGISTRATIONS, DAY)

    def count(self, host: str | None, now: float) -> None:
        """Count a registration from *host* at the time *now*. Raises ``TooManyRegistrations``."""
        source = find_source(host)
        delay = self._total.delay(None, now)
        if source is not None:
            delay = max(delay, self._sources.delay(source, now))
        if delay > 0:
            raise TooManyRegistrations(ceil(delay))
        self._total.add(None, now)
        if source is not None:
            self._sources.add(source, now)

    def uncount(self, host: str | None, at: float) -> None:
        """Stop counting the registration that was counted at the time *at*, because it has failed."""
        self._total.remove(None, at)
        source = find_source(host)
        if source is not None:
            self._sources.remove(source, at)
