"""The interface between a connection and its front end, which shows the conversation to the user.

A front end that runs on a terminal is one function, in ``broadcast.client.old_terminal``::

    def run(options: Options, reactor: Reactor) -> int

It is called once, with the reactor installed but not running (on a terminal that is Twisted's asyncio reactor, which
``__main__`` has installed). It makes its ``Front`` and a ``Connection``, calls ``connection.start()``, runs the
reactor, stops it in ``Front.ended``, writes the reason to stderr, and returns the exit status. ``Options`` has
``host``, ``port``, ``nick`` (None: ask the user), ``reconnect``, ``color`` and ``bell``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from broadcast.client.lines import Event


class Front(Protocol):
    """The calls of a ``Connection`` to its front end, in the reactor's thread.

    ``Connection.say`` itself calls only ``shown``. Texts are as the server has sent them. A terminal passes them
    through ``lines.printable`` first.
    """

    def connecting(self, attempt: int) -> None:
        """The client begins to connect. *attempt* counts from 1, and anew after each arrival in the room."""

    def nickname_wanted(self, refused: str, why: str) -> str | None:
        """Return the nickname to propose, or None if ``Connection.propose`` or ``Connection.leave`` follows.

        *refused* is the nickname that the server has just refused, because of *why*; both are empty at first. After a
        lost connection, the client takes its nickname again without this call.
        """

    def asked(self, prompt: str) -> None:
        """The server asks for something else, such as a password.

        The next line that is passed to ``Connection.say`` is the answer. It is sent at once, and belongs in no history.
        """

    def arrived(self, nick: str, names: Sequence[str], others: int, *, again: bool) -> None:
        """The client is in the room as *nick*. *names* are at most twenty nicknames of the *others*.

        *again* is true after a lost connection. The lines of the meantime are shown next, each with its time.
        """

    def shown(self, event: Event) -> None:
        """Show *event*. Own lines (``own``) are shown when they are stored, in their place among the others."""

    def unsaid(self, lines: Sequence[str]) -> None:
        """The connection was lost before these own lines, as typed, were confirmed.

        The client has not found them among the stored lines. It does not send them again.
        """

    def changed(self) -> None:
        """``Connection.nick``, ``away``, ``names``, ``here``, ``room`` or ``standing`` has changed."""

    def lost(self, why: str, pause: float | None) -> None:
        """The connection was lost, or a new attempt failed: *why* is one line for people.

        The next attempt follows in *pause* seconds. If *pause* is None, ``ended`` follows instead.
        """

    def ended(self, status: int, why: str) -> None:
        """The connection is over. No other call follows.

        *status* is the exit status (0 done, 2 no connection, 3 nickname refused, 4 connection lost). *why* is one line
        for people, empty for 0.
        """
