"""Passwords are hashed on threads, as slowly for a name that does not exist, and a limited number at a time."""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from argon2.low_level import Type, verify_secret

from broadcast.accounts import hashing
from broadcast.accounts.hashing import BUSY_WAITING, MAX_WAITING, PARAMETERS, THREADS, Hasher, Parameters, measure
from broadcast.core.errors import Busy
from broadcast.core.passwords import Password
from tests.journals.contract import LONG, TIMEOUT, ReactorCalls

CHEAP = Parameters(64, 2, 1)
RIGHT, WRONG = Password.parse("right password"), Password.parse("wrong password")


class HasherHarness:
    """A hasher with cheap parameters. Each method waits for the result."""

    def __init__(self, parameters: Parameters | None = CHEAP) -> None:
        self.calls = ReactorCalls()
        self.reports: list[str] = []
        self.hasher = Hasher(self.calls.queue.put, self.reports.append, parameters)

    def hash(self, password: Password) -> str | None:
        """Return the hash of *password*."""
        results: list[str | None] = []
        self.hasher.hash(password, results.append)
        assert results == []
        self.calls.run_until(lambda: bool(results))
        return results[0]

    def verify(self, stored: str | None, password: Password) -> tuple[bool | None, str | None]:
        """Return the result of a check of *password*."""
        results: list[tuple[bool | None, str | None]] = []
        self.hasher.verify(stored, password, lambda *result: results.append(result))
        assert results == []
        self.calls.run_until(lambda: bool(results))
        return results[0]


@pytest.fixture
def run() -> Iterator[HasherHarness]:
    harness = HasherHarness()
    yield harness
    harness.hasher.close()


class ManualWork:
    """A replacement of ``_compute`` that waits for permission."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = threading.Semaphore(0)
        self.permitted = threading.Semaphore(0)
        monkeypatch.setattr(hashing, "_compute", self._compute)

    def _compute(self, _secret: bytes, _parameters: Parameters) -> str:
        self.started.release()
        assert self.permitted.acquire(timeout=TIMEOUT)
        return "hash"


def test_only_the_right_password_fits_the_hash(run: HasherHarness) -> None:
    stored = run.hash(RIGHT)
    assert stored is not None
    assert stored.startswith("$argon2id$v=19$m=64,t=2,p=1$")
    assert run.verify(stored, RIGHT) == (True, None)
    assert run.verify(stored, WRONG) == (False, None)
    assert run.hash(RIGHT) != stored, "each hash has its own salt"


@pytest.mark.parametrize("stored", [None, ""])
def test_no_password_fits_what_has_no_hash(run: HasherHarness, stored: str | None) -> None:
    assert run.verify(stored, RIGHT) == (False, None)


def test_unknown_name_takes_the_same_work_as_a_wrong_password(
    run: HasherHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: list[tuple[str, Password | bytes]] = []
    stored = run.hash(RIGHT)
    run.verify(None, WRONG)  # makes the decoy

    def verify(hashed: bytes, secret: bytes, kind: Type) -> bool:
        work.append((hashed.decode().rpartition("$")[0].rpartition("$")[0], secret))
        return verify_secret(hashed, secret, kind)

    monkeypatch.setattr(hashing, "verify_secret", verify)
    assert run.verify(stored, WRONG) == run.verify(None, WRONG) == run.verify("", WRONG) == (False, None)
    assert work == [("$argon2id$v=19$m=64,t=2,p=1", b"wrong password")] * 3


def test_unknown_name_takes_the_work_of_an_older_hash(run: HasherHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    other = HasherHarness(Parameters(64, 3, 1))
    stored = other.hash(RIGHT)
    other.hasher.close()
    run.verify(stored, WRONG)
    checked: list[str] = []

    def verify(hashed: bytes, secret: bytes, kind: Type) -> bool:
        checked.append(hashed.decode())
        return verify_secret(hashed, secret, kind)

    monkeypatch.setattr(hashing, "verify_secret", verify)
    for password in (WRONG, RIGHT):
        for nothing in (None, ""):
            assert run.verify(nothing, password) == (False, None)
    assert checked == [stored] * 4


def test_weaker_hash_is_replaced_at_the_next_right_password(run: HasherHarness) -> None:
    stronger = HasherHarness(Parameters(64, 3, 1))
    weak, strong = run.hash(RIGHT), stronger.hash(RIGHT)
    is_right, better = stronger.verify(weak, RIGHT)
    assert is_right
    assert better is not None
    assert "m=64,t=3,p=1" in better
    assert stronger.verify(better, RIGHT) == (True, None)
    assert stronger.verify(weak, WRONG) == (False, None)
    assert run.verify(strong, RIGHT) == (True, None), "a stronger one stays"
    stronger.hasher.close()


def test_damaged_hash_fits_no_password_and_is_reported(run: HasherHarness) -> None:
    assert run.verify("$argon2id$v=19$nonsense", RIGHT) == (None, None)
    assert len(run.reports) == 1
    assert run.reports[0].startswith("a password could not be hashed: ")
    assert run.hash(RIGHT)


def test_failed_work_is_neither_right_nor_wrong_and_the_threads_go_on(
    run: HasherHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    stored = run.hash(RIGHT)
    with monkeypatch.context() as patch:
        patch.setattr(hashing, "_compute", fail)
        patch.setattr(hashing, "verify_secret", fail)
        for _ in range(2 * THREADS):
            assert run.hash(RIGHT) is None
            assert run.verify(stored, RIGHT) == (None, None)
    assert run.reports == ["a password could not be hashed: MemoryError"] * 4 * THREADS
    assert run.verify(stored, RIGHT) == (True, None)


def test_each_thread_hashes_one_password_128_wait_and_more_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    run = HasherHarness()
    run.hash(RIGHT)
    work = ManualWork(monkeypatch)
    results: list[str | None] = []
    for number in range(THREADS + MAX_WAITING):
        assert run.hasher.is_busy == (number >= THREADS + BUSY_WAITING)
        run.hasher.hash(RIGHT, results.append)
    for attempt in (run.hasher.hash, lambda *arguments: run.hasher.verify(None, *arguments)):
        with pytest.raises(Busy, match=r"^busy, try again\.$"):
            attempt(RIGHT, results.append)
    for _ in range(THREADS):
        assert work.started.acquire(timeout=TIMEOUT)
    assert not work.started.acquire(blocking=False)
    work.permitted.release()
    run.calls.run_until(lambda: bool(results))
    run.hasher.hash(RIGHT, results.append)
    for _ in range(THREADS + MAX_WAITING):
        work.permitted.release()
    run.calls.run_until(lambda: len(results) == THREADS + MAX_WAITING + 1)
    run.hasher.close()


def test_close_waits_for_nothing_and_drops_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    run = HasherHarness()
    run.hash(RIGHT)
    work = ManualWork(monkeypatch)
    results: list[str | None] = []
    for _ in range(5):
        run.hasher.hash(RIGHT, results.append)
    for _ in range(THREADS):
        assert work.started.acquire(timeout=TIMEOUT)
    run.hasher.close()
    for _ in range(5):
        work.permitted.release()
    for _ in range(THREADS):
        run.calls.queue.get(timeout=TIMEOUT)()
    assert results == []
    assert not work.started.acquire(blocking=False), "queued passwords are not hashed any more"


def test_threads_start_with_the_first_password() -> None:
    before = threading.active_count()
    run = HasherHarness()
    assert threading.active_count() == before
    run.hasher.close()


def test_strongest_parameters_that_are_fast_enough_are_chosen() -> None:
    cheap = [Parameters(800, 1, 1), Parameters(80, 1, 1), Parameters(8, 1, 1)]
    assert measure(cheap, 60.0) == cheap[0]
    assert measure(cheap, 0.0) == cheap[-1]
    assert measure(cheap[-1:], 0.0) == cheap[-1]


def test_no_parameters_are_below_the_minimum() -> None:
    assert PARAMETERS[0] == Parameters(64 * 1024, 3, 1)
    assert min(PARAMETERS) == PARAMETERS[-1] == Parameters(19 * 1024, 2, 1)
    assert all(memory >= 19 * 1024 and passes >= 2 and lanes >= 1 for memory, passes, lanes in PARAMETERS)


def test_hasher_without_parameters_measures_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Parameters] = []

    def measure_cheap() -> Parameters:
        measured.append(CHEAP)
        return CHEAP

    monkeypatch.setattr(hashing, "measure", measure_cheap)
    run = HasherHarness(None)
    results: list[object] = []
    for _ in range(4):
        run.hasher.hash(RIGHT, results.append)
    run.calls.run_until(lambda: len(results) == 4)
    assert measured == [CHEAP]
    run.hasher.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_reactor_goes_before_the_hashing_threads(run: HasherHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    priorities: list[int] = []

    def compute(*_: object) -> str:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return "hash"

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    monkeypatch.setattr(hashing, "_compute", compute)
    run.hash(RIGHT)
    assert priorities[-1] == max(own, hashing.NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


@pytest.mark.skipif(not LONG, reason="it takes a minute, and depends on the machine")
def test_refusals_of_an_unknown_name_and_a_wrong_password_take_the_same_time() -> None:
    run = HasherHarness(PARAMETERS[-1])
    stored = run.hash(RIGHT)
    times: dict[str | None, list[float]] = {stored: [], None: []}
    for _ in range(500):
        for name, taken in times.items():
            began = time.perf_counter()
            assert run.verify(name, WRONG) == (False, None)
            taken.append(time.perf_counter() - began)
    wrong, unknown = map(statistics.median, times.values())
    assert unknown == pytest.approx(wrong, rel=0.03)
    run.hasher.close()
