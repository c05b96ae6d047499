from __future__ import annotations

from errno import ECONNREFUSED
from os import strerror
from socket import EAI_NONAME, gaierror

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as TimedOut
from twisted.python.failure import Failure

from broadcast.client.reasons import because


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionDone(), "done"),
        (ConnectionLost(), "the connection broke"),
        (DNSLookupError(), "there is no such host"),
        (gaierror(EAI_NONAME, "Name or service not known"), "there is no such host"),
        (TimedOut(), "it does not answer"),  # type: ignore[no-untyped-call]
        (Refused(osError=ECONNREFUSED), strerror(ECONNREFUSED)),  # type: ignore[no-untyped-call]
        (ValueError(" two\nlines "), "two lines"),
        (KeyError(), "KeyError"),
    ],
)
def test_the_reason_is_one_line_for_people(error: Exception, why: str) -> None:
    assert because(Failure(error), "done") == why  # type: ignore[no-untyped-call]
