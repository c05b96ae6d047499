"""One-time logins: secrets with which a page logs in once, right after its user has come back from a provider."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from broadcast.core.login_interfaces import Identity

ONE_TIME_SECONDS: Final = 60.0
"""Time for which a one-time login is valid."""


class OneTimeLogins:
    """The one-time logins that were not used yet, in memory. *now* and *make_secret* are as in ``Authenticator``."""

    def __init__(self, now: Callable[[], float], make_secret: Callable[[], str]) -> None:
        self._now = now
        self._make_secret = make_secret
        self._identities: dict[bytes, tuple[float, Identity]] = {}
        """The end of each login and its person, by the hash of its secret. The oldest comes first."""

    def add(self, identity: Identity) -> str:
        """Return a secret that logs *identity* in once."""
        secret = self._make_secret()
        self._identities[_hash(secret)] = self._now() + ONE_TIME_SECONDS, identity
        return secret

    def take(self, secret: str) -> Identity | None:
        """Return the person whom *secret* logs in, which is not valid any more. None if it was not valid."""
        while self._identities:
            first = next(iter(self._identities))
            if self._identities[first][0] > self._now():
                break
            del self._identities[first]
        # A hash is looked up, because the time of a look-up depends on the key.
        _, identity = self._identities.pop(_hash(secret), (0.0, None))
        return identity


def _hash(secret: str) -> bytes:
    return sha256(secret.encode(errors="replace")).digest()
