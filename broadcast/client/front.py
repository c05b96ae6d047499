"""What a front end is told, and what it can ask: the contract between a connection and what shows it to somebody.

A front end that runs on a terminal is one function, in ``broadcast.client.terminal``::

    def run(options: Options, reactor: Reactor) -> int

It is called once, with the reactor installed but not running (on a terminal that is Twisted's asyncio reactor, which
``__main__`` has installed). It makes its ``Front`` and a ``Connection``, calls ``connection.start()``, runs the
reactor, stops it when it is told that everything has ``ended``, writes why to stderr, and returns the exit status.
``Options`` has ``host``, ``port``, ``nick`` (None: to be asked), ``reconnect``, ``color`` and ``bell``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from broadcast.client.lines import Event


class Front(Protocol):
    """What a ``Connection`` tells whoever shows it, in the reactor's thread.

    Nothing is called from within ``Connection.say`` but ``shown``. Texts are as the server sent them: what is written
    to a terminal passes ``lines.printable`` first.
    """

    def connecting(self, attempt: int) -> None:
        """The client begins to connect; *attempt* is 1 at first, and 1 again after a connection that stood was lost."""

    def nickname_wanted(self, refused: str, why: str) -> str | None:
        """The server asks for a nickname. *refused* is the one that was refused just now, and *why*; empty before that.

        Returns one to try at once; None: ``Connection.propose`` is called later, or ``Connection.leave``. Not called
        while the client takes the nickname again that it had before the connection was lost.
        """

    def asked(self, prompt: str) -> None:
        """The server asks for something else, such as a password.

        What is passed to ``Connection.say`` next is the answer, is sent at once, and belongs in no history.
        """

    def arrived(self, nick: str, names: Sequence[str], others: int, *, again: bool) -> None:
        """You are in the room as *nick*; *names* are of those who are here, at most twenty of the *others*.

        *again*: the connection was lost before. What was said meanwhile is shown next, each line with its time.
        """

    def shown(self, event: Event) -> None:
        """Show *event*: what arrived; and one's own lines (``own``), once they are kept, in their place."""

    def unsaid(self, lines: Sequence[str]) -> None:
        """The connection was lost before these lines of one's own (as typed) were confirmed.

        They are not among what was kept, as far as the client can see; they are not sent again by themselves.
        """

    def changed(self) -> None:
        """``Connection.nick``, ``away``, ``names``, ``here``, ``room`` or ``standing`` has changed."""

    def lost(self, why: str, pause: float | None) -> None:
        """The connection was lost, or a new attempt failed: *why* is one line for people.

        The next attempt is in *pause* seconds; None: there is none, and ``ended`` follows.
        """

    def ended(self, status: int, why: str) -> None:
        """It is over, and nothing else will be told.

        *status* is the exit status (0 done, 2 no connection, 3 nickname refused, 4 connection lost), *why* one line for
        people, empty for 0.
        """
