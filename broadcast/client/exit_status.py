"""How the client ends: its exit statuses, as ``--help`` lists them."""

from __future__ import annotations

import errno
import sys

DONE = 0
USAGE = 1
NO_CONNECTION = 2
NICKNAME_REFUSED = 3
LOST = 4
REFUSED = 5
STREAM = 6
UNTRUSTED = 7
# 128 and the number of SIGINT, SIGPIPE or SIGTERM, as a shell shows the ends of other programs
INTERRUPTED = 130
CLOSED_OUTPUT = 141
TERMINATED = 143

STATUSES = {
    DONE: "success; with --send or --upload, everything is stored",
    USAGE: "wrong usage, or client.toml or the file of an option cannot be used",
    NO_CONNECTION: "no connection, or no server that this client can talk to",
    NICKNAME_REFUSED: "the server refused the nickname or its password, or has banned the user",
    LOST: "the connection was lost; with --send or --upload, before the confirmation",
    REFUSED: "the server refused the room, a line of --send, or the file of --upload",
    STREAM: "the standard output cannot be written, or the standard input cannot be read",
    UNTRUSTED: "the certificate of the server is not trusted; nothing was sent to it",
    INTERRUPTED: "Ctrl-C",
    CLOSED_OUTPUT: "nobody reads the standard output any more",
    TERMINATED: "SIGTERM",
}


def explain_write_error(error: OSError) -> tuple[int, str]:
    """Return the exit status and the reason after a failed write to the standard output.

    The reason is empty if nobody reads the output any more, because that needs no words.
    """
    # Windows says "invalid argument" of a pipe that nobody reads.
    if isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL):
        return CLOSED_OUTPUT, ""
    return STREAM, f"the standard output cannot be written: {error.strerror or error}"


def explain_read_error(error: OSError) -> tuple[int, str]:
    """Return the exit status and the reason after a failed read of the standard input."""
    return STREAM, f"the standard input cannot be read: {error.strerror or error}"
