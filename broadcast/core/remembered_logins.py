"""Remembered logins: secrets that a client sends in place of a password, so that nothing stores the password itself.

An account holds the hashes of its secrets and when they expire, as text: ``HASH:SECONDS HASH:SECONDS``. A secret has
256 random bits, so a fast hash suffices: guessing one is not feasible.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

LOGIN_SECONDS: Final = 30 * 24 * 3600
"""Time after which a login has to be remembered again, in seconds."""
MAX_LOGINS: Final = 10
"""Maximum number of remembered logins of an account. Above it, the oldest are removed."""


def add_login(logins: str, secret: str, now: float) -> str:
    """Return *logins* with *secret*, and without those that have expired at the time *now*."""
    valid = [f"{hashed}:{expires}" for hashed, expires in _parse(logins) if expires > now]
    return " ".join([*valid, f"{_hash(secret)}:{int(now) + LOGIN_SECONDS}"][-MAX_LOGINS:])


def remove_login(logins: str, secret: str) -> str:
    """Return *logins* without *secret*."""
    return " ".join(f"{hashed}:{expires}" for hashed, expires in _parse(logins) if hashed != _hash(secret))


def is_login(logins: str, secret: str, now: float) -> bool:
    """Return whether *secret* is one of *logins* and has not expired at the time *now*."""
    hashed = _hash(secret)
    return any(hmac.compare_digest(known, hashed) and expires > now for known, expires in _parse(logins))


def _hash(secret: str) -> str:
    return sha256(secret.encode(errors="replace")).hexdigest()


def _parse(logins: str) -> Iterator[tuple[str, int]]:
    for login in logins.split():
        hashed, _, expires = login.partition(":")
        yield hashed, int(expires)
