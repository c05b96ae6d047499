"""The reason why there is no connection, as one line for people."""

from __future__ import annotations

import os
from socket import gaierror
from typing import TYPE_CHECKING

from twisted.internet import error as errors
from twisted.internet.error import ConnectError, ConnectionClosed, ConnectionDone, DNSLookupError

if TYPE_CHECKING:
    from twisted.python.failure import Failure


def because(failure: Failure, done: str) -> str:
    """Return the reason of *failure*, or *done* if the connection was closed in good order."""
    error = failure.value
    match error:
        case ConnectionDone():
            return done
        case DNSLookupError() | gaierror():
            return "there is no such host"
        case errors.TimeoutError():
            return "it does not answer"
        case ConnectError(osError=int(number)):
            return os.strerror(number)
        case ConnectionClosed():
            return "the connection broke"
        case _:
            return " ".join(str(error).split()) or type(error).__name__
