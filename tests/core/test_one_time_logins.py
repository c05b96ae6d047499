"""A one-time login is valid once, and for a short time."""

from __future__ import annotations

from itertools import count

from broadcast.core.one_time_logins import ONE_TIME_SECONDS, OneTimeLogins
from tests.identities import identity

ANN, BOB = identity("ann"), identity("bob")


class Time:
    """Monotonic seconds that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_time_login_is_valid_once_and_for_a_minute() -> None:
    time, numbers = Time(), count()
    logins = OneTimeLogins(time, lambda: f"secret{next(numbers)}")
    first, second = logins.add(ANN), logins.add(BOB)
    assert logins.take("another") is None
    assert logins.take("\ud800") is None
    assert logins.take(second) == BOB
    assert logins.take(second) is None
    time.now += 1
    third = logins.add(BOB)
    time.now += ONE_TIME_SECONDS - 1
    assert logins.take(first) is None
    assert logins.take(third) == BOB
    assert not logins._identities
