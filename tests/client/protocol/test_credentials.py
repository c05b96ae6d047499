"""The client uses a password for its own account only."""

from __future__ import annotations

from broadcast.client.protocol import requests
from broadcast.client.protocol.credentials import Credentials


def test_login_without_a_password_forgets_that_of_another_account() -> None:
    credentials = Credentials("")
    credentials.take(requests.Login("correct horse"), requests.Account("ann", "ann"))
    credentials.take_login("ann")
    assert (credentials.account, credentials.password) == ("ann", "correct horse")
    credentials.take_login("bob")
    assert (credentials.account, credentials.password) == ("bob", "")
