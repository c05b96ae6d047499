"""Hashing of passwords with argon2id (RFC 9106), on threads of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

from argon2 import extract_parameters
from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type, hash_secret, verify_secret

from broadcast.core.errors import Busy
from broadcast.core.login_interfaces import PasswordHasher
from broadcast.core.passwords import Password
from broadcast.core.time_slice import CallSoon
from broadcast.threads import WorkerThreads

THREADS = max(1, min(2, (os.cpu_count() or 1) - 1))
"""Number of threads. They leave a processor to the reactor if there are several."""
MAX_WAITING = 128
"""Maximum number of passwords that wait for a thread. The last one waits for about ten seconds."""
BUSY_WAITING = 32
"""Number of waiting passwords from which on the hasher is busy, but takes more of them."""
MAX_SECONDS = 0.1
"""Time that a hash may take on this machine, unless ``PARAMETERS`` has no cheaper one."""
NICENESS = 5
"""Scheduling priority of the threads on Linux, after the reactor's thread.

With 15, a login takes a minute while the machine is busy with other programs.
"""
_SALT_BYTES = 16
_HASH_BYTES = 32


class Parameters(NamedTuple):
    """The parameters of argon2id, as in RFC 9106."""

    memory: int
    """Size of the memory, in KiB."""
    passes: int
    lanes: int


PARAMETERS = [
    Parameters(65536, 3, 1),  # the second recommended option of RFC 9106, with one lane
    Parameters(65536, 2, 1),
    Parameters(47104, 2, 1),
    Parameters(32768, 2, 1),
    Parameters(19456, 2, 1),  # the minimum that OWASP's Password Storage Cheat Sheet recommends
]
"""The parameters to choose from, the strongest first.

Four lanes would start 48 threads in place of 12 for each hash, which doubles the latency of the others on a machine
with two processors.
"""


class Hasher:
    """A hasher of passwords on threads, which start with the first password.

    The hasher then measures which of ``PARAMETERS`` this machine computes fast enough, unless *parameters* are given.
    A hash with other parameters stays valid. *report* receives one line if a hash cannot be computed.
    """

    def __init__(
        self, call_soon: CallSoon, report: Callable[[str], object] = str, parameters: Parameters | None = None
    ) -> None:
        self._threads = WorkerThreads(call_soon, "password hasher", THREADS, NICENESS)
        self._report = report
        self._parameters = parameters
        self._decoy = ""
        """The hash that is checked for an account that does not exist, so that this takes as long.

        It is the last one that was checked, because accounts can have other parameters than new hashes. At first, it is
        that of a random password.
        """
        self._preparing = Lock()
        self._unfinished = 0
        """Number of jobs whose results have not been delivered."""
        self._closed = False

    @property
    def is_busy(self) -> bool:
        """Whether a client that can try again later should do that."""
        return self._unfinished >= BUSY_WAITING + THREADS

    def hash(self, password: Password, on_result: Callable[[str | None], None]) -> None:
        """Compute a hash of *password*. Raises ``Busy``."""
        self._submit(partial(self._hash, password), on_result)

    def verify(
        self, stored: str | None, password: Password, on_result: Callable[[bool | None, str | None], None]
    ) -> None:
        """Check *password*, and hash it again if *stored* is weaker than a new hash. Raises ``Busy``."""
        self._submit(partial(self._verify, stored, password), lambda result: on_result(*(result or (None, None))))

    def close(self) -> None:
        """End the threads without waiting for them. Results that were not delivered are dropped."""
        self._closed = True
        self._threads.close()

    def _submit(self, compute: Callable[[], Any], on_result: Callable[[Any], None]) -> None:
        if self._unfinished >= MAX_WAITING + THREADS:
            raise Busy
        self._unfinished += 1
        self._threads.run(partial(self._compute_if_open, compute), partial(self._deliver, on_result))

    def _compute_if_open(self, compute: Callable[[], Any]) -> Any:  # noqa: ANN401 - the result of the job
        return None if self._closed else compute()

    def _deliver(self, on_result: Callable[[Any], None], result: object) -> None:
        self._unfinished -= 1
        if isinstance(result, Exception):
            self._report(f"a password could not be hashed: {str(result) or type(result).__name__}")
            result = None
        on_result(result)

    def _prepare(self) -> Parameters:
        """Return the parameters. The first call measures them and makes the decoy."""
        with self._preparing:
            if self._parameters is None:
                self._parameters = measure()
            if not self._decoy:
                self._decoy = _compute(os.urandom(_HASH_BYTES), self._parameters)
            return self._parameters

    def _hash(self, password: Password) -> str:
        return _compute(password.encoded, self._prepare())

    def _verify(self, stored: str | None, password: Password) -> tuple[bool, str | None]:
        parameters = self._prepare()
        is_right = _fits(stored or self._decoy, password)
        if not stored:
            return False, None
        self._decoy = stored
        if not is_right:
            return False, None
        return True, _compute(password.encoded, parameters) if _is_weaker(stored, parameters) else None


def measure(parameters: list[Parameters] = PARAMETERS, max_seconds: float = MAX_SECONDS) -> Parameters:
    """Return the strongest of *parameters* with which a hash takes at most *max_seconds*, or the last of them.

    A hash takes about as much longer as its memory times its passes is greater, so parameters that would take too long
    are not tried. The first password waits for this function.
    """
    chosen = parameters[-1]
    seconds = _measure_hash(chosen)
    for candidate in reversed(parameters[:-1]):
        expected = seconds * candidate.memory * candidate.passes / (chosen.memory * chosen.passes)
        if expected > max_seconds or (seconds := _measure_hash(candidate)) > max_seconds:
            break
        chosen = candidate
    return chosen


def _measure_hash(parameters: Parameters) -> float:
    """Return the shortest of the times of three hashes, in seconds. The first one also allocates the memory."""
    times: list[float] = []
    for _ in range(3):
        began = perf_counter()
        _compute(bytes(_HASH_BYTES), parameters)
        times.append(perf_counter() - began)
    return min(times)


def _compute(secret: bytes, parameters: Parameters) -> str:
    memory, passes, lanes = parameters
    return hash_secret(secret, os.urandom(_SALT_BYTES), passes, memory, lanes, _HASH_BYTES, Type.ID).decode()


def _fits(stored: str, password: Password) -> bool:
    try:
        return verify_secret(stored.encode(), password.encoded, Type.ID)
    except VerifyMismatchError:
        return False


def _is_weaker(stored: str, parameters: Parameters) -> bool:
    """Return whether the hash *stored* takes an attacker less work than one with *parameters*.

    A stronger one stays, so that a start on a busy machine, which measures longer times, weakens no hash.
    """
    found = extract_parameters(stored)
    return found.memory_cost * found.time_cost < parameters.memory * parameters.passes


_conforms: type[PasswordHasher] = Hasher
