"""The interfaces of the core to the work behind a login: hashing passwords, and asking an OpenID Connect provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from broadcast.core.errors import RejectedError
from broadcast.core.interfaces import Callback
from broadcast.core.passwords import Password


class PasswordHasher(Protocol):
    """Slow hashing of passwords, on threads of its own.

    Both methods raise ``Busy`` if too many passwords wait already. A result of None means that the work has failed: the
    password was not checked, and another try may succeed.
    """

    @property
    def is_busy(self) -> bool:
        """Whether so many passwords wait that a client that can try again later should do that."""

    def hash(self, password: Password, on_result: Callable[[str | None], None]) -> None:
        """Call *on_result* in a later turn with the hash of *password*, as text in PHC string format."""

    def verify(
        self, stored: str | None, password: Password, on_result: Callable[[bool | None, str | None], None]
    ) -> None:
        """Call *on_result* in a later turn with whether *password* is the one whose hash is *stored*.

        The second argument is a stronger hash to store in its place, if there should be one. If *stored* is None or
        empty, the result is False after the same work.
        """


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """The code with which a user confirms a login in a browser (RFC 8628)."""

    user_code: str
    verification_uri: str
    """The page of the provider where the user types the code."""
    seconds: int
    """Time for which the code is valid."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A person, as an OpenID Connect provider knows them."""

    issuer: str
    subject: str
    """The identifier of the person. The issuer never gives it to anybody else."""
    name: str
    """A text from which to make a nickname. Other people may have the same."""


@dataclass(frozen=True, slots=True)
class PageLogin:
    """A login on a page of the provider, with the authorization code flow and PKCE (RFC 6749 and 7636)."""

    redirect_uri: str
    """The address of this server to which the provider sends the browser back."""
    state: str = field(repr=False)
    """A random text that comes back with the browser."""
    nonce: str = field(repr=False)
    """A random text that comes back in the ID token."""
    verifier: str = field(repr=False)
    """A random text whose hash the provider gets first. It redeems the code."""


class IdentityProvider(Protocol):
    """An OpenID Connect provider. All work with the network happens on other threads."""

    def begin(
        self,
        on_code: Callable[[DeviceCode], None],
        on_identity: Callable[[Identity | RejectedError], None],
    ) -> Callback:
        """Begin a login, and return a function that cancels it. Raises ``Busy``.

        In later turns, *on_code* is called with the code to show, then *on_identity* with the result. After a failure,
        *on_identity* is called with the reason, perhaps without a call of *on_code*.
        """

    def begin_on_page(self, login: PageLogin, on_url: Callable[[str | RejectedError], None]) -> None:
        """Call *on_url* in a later turn with the address of the provider's page for *login*. Raises ``Busy``."""

    def finish_on_page(
        self, login: PageLogin, answer: Mapping[str, str], on_identity: Callable[[Identity | RejectedError], None]
    ) -> None:
        """Call *on_identity* in a later turn with the user who has confirmed *login*. Raises ``Busy``.

        *answer* holds the parameters with which the provider has sent the browser back.
        """
