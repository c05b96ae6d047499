"""Fixtures of the tests of the web door."""

from __future__ import annotations

import pytest

from tests.doors.jsonrpc.conftest import ann, bob
from tests.doors.web.websockets import DirectWebSocketWorld, WebSockets, WebSocketWorld

__all__ = ["ann", "bob"]


@pytest.fixture(params=[WebSocketWorld, DirectWebSocketWorld])
def world(request: pytest.FixtureRequest) -> WebSockets:
    """A server with nobody in it, over each kind of writer."""
    world: WebSockets = request.param()
    return world
