"""A session against the real server in memory."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from tests.client.protocol.links import STEPS, check
from tests.client.protocol.real_server import RealServer


@given(STEPS)
def test_whatever_is_lost_each_line_is_said_once_and_comes_once_in_order(steps: list[tuple[str, Any]]) -> None:
    check(steps, RealServer())
