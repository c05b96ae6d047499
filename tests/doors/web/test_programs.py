"""The tests of the JSON-RPC door for programs that come over a WebSocket."""
# ruff: noqa: F403, F821 - the tests are those of another door, except for a few

from __future__ import annotations

import os

import pytest

from tests.doors.jsonrpc.test_connection import *
from tests.doors.jsonrpc.test_hello import *
from tests.doors.jsonrpc.test_reading import *
from tests.doors.jsonrpc.test_resume import *
from tests.doors.web.websockets import DirectWebSocketWorld, WebSockets

if os.environ.get("BROADCAST_LONG"):  # where the way of the bytes matters little
    from tests.doors.jsonrpc.test_commands import *
    from tests.doors.jsonrpc.test_methods import *
    from tests.doors.jsonrpc.test_rooms import *


@pytest.fixture
def world() -> WebSockets:
    """A server with nobody in it, over one kind of writer: the tests of the JSON-RPC door cover both."""
    return DirectWebSocketWorld()


# These send lines that no message can hold.
del test_end_of_input_is_after_everything_was_answered
del test_five_bad_lines_in_a_row_close
del test_endless_line_takes_no_more_memory_than_its_maximum
del test_first_line_can_be_as_long_as_any_other
del test_junk_that_begins_like_json_has_an_error
del test_only_the_very_first_byte_counts
del test_any_input_is_answered_and_nothing_fails  # Hypothesis runs a test in one module only
