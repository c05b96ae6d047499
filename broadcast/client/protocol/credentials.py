"""The account of a session, its password, and the requests that change them."""

from __future__ import annotations

from typing import Any

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
