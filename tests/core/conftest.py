"""Fixtures that several tests of the core share."""

from __future__ import annotations

import pytest

from broadcast.core.events import PasswordPrompt
from tests.harness import PASSWORD, SessionClient, World


@pytest.fixture(params=["nickname", "room"])
def asked(request: pytest.FixtureRequest, world: World) -> SessionClient:
    """A session that has asked for the password of ann, before its nickname or in the room."""
    (ann,) = world.join_sessions("ann")
    ann.say("/register", PASSWORD, PASSWORD, "quit")
    client = world.open_session() if request.param == "nickname" else world.join_sessions("bob")[0]
    client.say("/login ann")
    assert client.read() == [PasswordPrompt("Password:")]
    return client
