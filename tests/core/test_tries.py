"""Only wrong passwords count, and nobody can keep others from their accounts by trying passwords."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.core import tries
from broadcast.core.errors import RejectedError, TooManyRegistrations, TooManyTries
from broadcast.core.tries import RegistrationLimiter, TryLimiter

HOME, OFFICE = "192.0.2.1", "198.51.100.7"


def wrong(limiter: TryLimiter, account: int | None, host: str | None, now: float) -> None:
    limiter.begin(account, host, now).fail(now)


def right(limiter: TryLimiter, account: int, host: str | None, now: float) -> None:
    limiter.begin(account, host, now).succeed()


def test_sixth_wrong_password_a_minute_for_an_account_from_an_address_is_not_checked() -> None:
    limiter = TryLimiter()
    for second in range(5):
        wrong(limiter, 1, HOME, float(second))
    with pytest.raises(TooManyTries, match=r"^too many wrong passwords: try again in 20 s\.$") as caught:
        limiter.begin(1, HOME, 40.0)
    assert caught.value.retry == 20
    wrong(limiter, 1, OFFICE, 40.0)
    wrong(limiter, 2, HOME, 40.0)
    wrong(limiter, 1, HOME, 60.0)
    with pytest.raises(TooManyTries, match="in 1 s"):
        limiter.begin(1, HOME, 60.5)


def test_right_password_does_not_count() -> None:
    limiter = TryLimiter()
    for account in range(200):
        right(limiter, account, HOME, 1.0)
        right(limiter, account, HOME, 1.0)
    for _ in range(50):
        right(limiter, 1, HOME, 2.0)
    wrong(limiter, 1, HOME, 3.0)


def test_twenty_first_wrong_password_a_minute_from_an_address_is_not_checked() -> None:
    limiter = TryLimiter()
    for account in range(20):
        wrong(limiter, account, "2001:db8::1", 1.0)
    with pytest.raises(TooManyTries, match="in 60 s"):
        limiter.begin(99, "2001:db8::ffff:1", 1.0)
    limiter.begin(99, "2001:db8:0:1::1", 1.0)
    limiter.begin(99, HOME, 1.0)
    limiter.begin(99, "2001:db8::1", 61.0)


def test_wrong_passwords_from_elsewhere_do_not_lock_out_the_owner() -> None:
    limiter = TryLimiter()
    right(limiter, 1, HOME, 0.0)
    for number in range(100):
        wrong(limiter, 1, f"198.51.100.{number}", 10.0)
    with pytest.raises(TooManyTries, match="in 60 min"):
        limiter.begin(1, "203.0.113.1", 10.0)
    right(limiter, 1, HOME, 11.0)
    wrong(limiter, 1, HOME, 12.0)
    right(limiter, 2, "203.0.113.1", 13.0)
    right(limiter, 1, "203.0.113.1", 3610.0)


def test_passwords_sent_at_once_count_until_they_are_checked() -> None:
    limiter = TryLimiter()
    attempts = [limiter.begin(1, HOME, 1.0) for _ in range(5)]
    with pytest.raises(TooManyTries):
        limiter.begin(1, HOME, 1.0)
    attempts[0].cancel()
    attempts[1].succeed()
    attempts.append(limiter.begin(1, HOME, 2.0))
    attempts.append(limiter.begin(1, HOME, 2.0))
    with pytest.raises(TooManyTries):
        limiter.begin(1, HOME, 3.0)
    limiter.begin(1, HOME, 61.0)
    attempts[2].cancel()


def test_hundred_people_behind_one_address_log_in_at_once() -> None:
    limiter = TryLimiter()
    for attempt in [limiter.begin(account, HOME, 1.0) for account in range(100)]:
        attempt.succeed()


@pytest.mark.parametrize("host", [None, "127.0.0.1", "::1", "/run/broadcast.sock"])
def test_this_machine_is_no_address_that_many_share(host: str | None) -> None:
    limiter = TryLimiter()
    for account in range(120):
        wrong(limiter, account, host, 1.0)
    for _ in range(4):
        wrong(limiter, 1, host, 1.0)
    with pytest.raises(TooManyTries):
        limiter.begin(1, host, 1.0)


def test_names_without_an_account_count_as_one() -> None:
    limiter = TryLimiter()
    for _ in range(5):
        wrong(limiter, None, HOME, 1.0)
    with pytest.raises(TooManyTries):
        limiter.begin(None, HOME, 1.0)
    limiter.begin(None, OFFICE, 1.0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "MAX_KEYS", 10)
    limiter = TryLimiter()
    for account in range(100):
        host = f"198.51.100.{account}"
        wrong(limiter, account, host, 1.0)
        right(limiter, account, host, 1.0)
        right(limiter, 0, HOME, 1.0)
    counters = (limiter._pairs, limiter._sources, limiter._accounts)
    assert all(len(counter._times) <= 10 for counter in counters)
    assert len(limiter._known) == 10
    assert (0, next(iter(limiter._known))[1]) not in limiter._known
    for number in range(5):
        wrong(limiter, 1, HOME, 100.0 + number)
    with pytest.raises(TooManyTries):
        limiter.begin(1, HOME, 105.0)


class NaiveLimiter:
    """A model of ``TryLimiter`` that remembers every try."""

    def __init__(self) -> None:
        self.wrong: list[tuple[float, int, str, bool]] = []
        self.known: set[tuple[int, str]] = set()

    def retry(self, account: int, host: str, now: float) -> int:
        """Return the seconds after which a password is checked; 0 if it is checked now."""
        pair = [at for at, a, h, _ in self.wrong if (a, h) == (account, host)]
        source = [at for at, _, h, _ in self.wrong if h == host]
        new = [at for at, a, _, is_new in self.wrong if a == account and is_new]
        limits = [(pair, 5, 60.0), (source, 20, 60.0)]
        if (account, host) not in self.known:
            limits.append((new, 100, 3600.0))
        waits = [times[-size] + seconds - now for times, size, seconds in limits if len(times) >= size]
        return ceil(max([0.0, *waits]))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.integers(0, 40).map("192.0.2.{}".format),
            st.sampled_from([True, *[False] * 20]),
            st.sampled_from([0.0, 0.0, 0.25, 1.0, 13.0, 60.0, 1000.0]),
            st.integers(1, 30),
        ),
        max_size=40,
    )
)
def test_tries_are_rejected_like_in_the_naive_model(steps: list[tuple[int, str, bool, float, int]]) -> None:
    limiter, model, now = TryLimiter(), NaiveLimiter(), 0.0
    for account, host, is_right, pause, times in steps:
        for _ in range(times):
            now += pause
            retry = model.retry(account, host, now)
            if retry:
                with pytest.raises(TooManyTries) as caught:
                    limiter.begin(account, host, now)
                assert caught.value.retry == retry
                continue
            attempt = limiter.begin(account, host, now)
            if is_right:
                attempt.succeed()
                model.known.add((account, host))
            else:
                attempt.fail(now)
                model.wrong.append((now, account, host, (account, host) not in model.known))


def test_fourth_registration_an_hour_from_an_address_is_rejected() -> None:
    limiter = RegistrationLimiter()
    for second in range(3):
        limiter.count(HOME, float(second))
    with pytest.raises(TooManyRegistrations, match=r"^too many registrations: try again in 59 min\.$") as caught:
        limiter.count(HOME, 60.5)
    assert caught.value.retry == 3540
    limiter.count(OFFICE, 61.0)
    limiter.count(HOME, 3600.0)
    with pytest.raises(TooManyRegistrations, match="in 1 s"):
        limiter.count(HOME, 3600.5)


def test_failed_registration_does_not_count() -> None:
    limiter = RegistrationLimiter()
    for number in range(3):
        limiter.count(HOME, float(number))
    limiter.uncount(HOME, 1.0)
    limiter.uncount(HOME, 99.0)
    limiter.uncount(None, 99.0)
    limiter.count(HOME, 3.0)
    with pytest.raises(RejectedError):
        limiter.count(HOME, 4.0)


def test_thousand_and_first_registration_a_day_is_rejected() -> None:
    limiter = RegistrationLimiter()
    for number in range(900):
        limiter.count(f"10.0.{number // 200}.{number % 200}", 0.0)
    for _ in range(100):
        limiter.count(None, 10.0)
    with pytest.raises(TooManyRegistrations):
        limiter.count(None, 86399.0)
    limiter.count(HOME, 86400.0)
