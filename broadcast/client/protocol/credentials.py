"""The account of a session, its password, and the requests that change them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UnsetType

from broadcast.client.protocol import errors, requests


class Credentials:
    """The account to which the session is logged in, and the password for the next ``hello``.

    Before the answer to the first ``hello``, the password may be one that the program has given.
    """

    def __init__(self, password: str) -> None:
        self.account: str | None = None
        self.password = password
        self.refusal: errors.Rejected | None = None
        """The reason why the next ``hello`` needs another password, or None."""

    def set_account(self, account: str | None) -> None:
        """Take the account that the server says. The password of an account that has ended is forgotten."""
        self.account = account
        if account is None:
            self.password = ""

    def take_login(self, account: str | None) -> None:
        """Take the account after a login without a password. The password of another account is forgotten."""
        if account != self.account:
            self.account, self.password = account, ""

    def take(self, request: requests.Request[Any], result: Any) -> None:  # noqa: ANN401 -- any type
        """Take the successful end of *request*."""
        match request:
            case requests.Register(password=password) | requests.Login(password=password):
                self.account, self.password = result.account, password
            case requests.Logout() | requests.Drop():
                self.set_account(result.account)
            case requests.SetPassword(new=password):
                self.password = password

    def outcome(self, request: requests.Request[Any], nick: str) -> requests.Account | errors.Unconfirmed | None:
        """Return the end of a *request* that the last connection has left unanswered, if the session's state tells it.

        *nick* is the own nickname. The result is None if the request is to be repeated.
        """
        match request:
            case requests.Register() | requests.Login(nick=UnsetType()):
                is_done = _is_same(self.account, nick)
            case requests.Login(nick=wanted):
                is_done = _is_same(self.account, str(wanted))
            case requests.Logout() | requests.Drop():
                is_done = self.account is None
            case requests.SetPassword():
                return errors.Unconfirmed("the connection was lost before the server confirmed the new password")
            case _:
                return None
        return requests.Account(nick, self.account) if is_done else None


def unconfirmed_password(sent: Iterable[requests.Request[Any]]) -> str:
    """Return the password with which one of the *sent* requests may have registered the nickname, or an empty text."""
    return next((request.password for request in sent if isinstance(request, requests.Register)), "")


def _is_same(account: str | None, nick: str) -> bool:
    return account is not None and account.casefold() == nick.strip().casefold()
