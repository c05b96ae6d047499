"""An OpenID Connect provider in memory, which answers when the test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from broadcast.core.errors import Busy, RejectedError
from broadcast.core.login_interfaces import DeviceCode, Identity, IdentityProvider, PageLogin

if TYPE_CHECKING:
    from broadcast.core.interfaces import Callback
    from tests.harness import World

ISSUER: Final = "https://login.example"
CODE: Final = DeviceCode("WDJB-MJHT", f"{ISSUER}/device", 600)


def identity(subject: str, name: str | None = None) -> Identity:
    """Return the identity of the person *subject*, whose name is the same by default."""
    return Identity(ISSUER, subject, subject if name is None else name)


class FakeProvider:
    """A provider without a network. ``logins`` holds the logins that were begun, the last one at the end.

    ``urls`` and ``answers`` hold the same for logins on a page: those that wait for the address, and for the person.
    """

    def __init__(self) -> None:
        self.logins: list[FakeLogin] = []
        self.urls: list[tuple[PageLogin, Callable[[str | RejectedError], None]]] = []
        self.answers: list[tuple[PageLogin, Mapping[str, str], Callable[[Identity | RejectedError], None]]] = []
        self.is_busy = False

    def begin(
        self, on_code: Callable[[DeviceCode], None], on_identity: Callable[[Identity | RejectedError], None]
    ) -> Callback:
        if self.is_busy:
            raise Busy
        login = FakeLogin(on_code, on_identity)
        self.logins.append(login)
        return login.cancel

    def begin_on_page(self, login: PageLogin, on_url: Callable[[str | RejectedError], None]) -> None:
        if self.is_busy:
            raise Busy
        self.urls.append((login, on_url))

    def finish_on_page(
        self, login: PageLogin, answer: Mapping[str, str], on_identity: Callable[[Identity | RejectedError], None]
    ) -> None:
        if self.is_busy:
            raise Busy
        self.answers.append((login, answer, on_identity))

    @property
    def last(self) -> FakeLogin:
        return self.logins[-1]


class FakeLogin:
    """One login, whose calls come even after it was cancelled: a thread may be about to make them."""

    def __init__(self, show: Callable[[DeviceCode], None], answer: Callable[[Identity | RejectedError], None]) -> None:
        self.show_code = show
        self.answer = answer
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


def add_provider(world: World) -> FakeProvider:
    """Give the server of *world* a provider, and return it."""
    provider = FakeProvider()
    world.hub.authenticator.provider = provider
    return provider


_conforms: type[IdentityProvider] = FakeProvider
