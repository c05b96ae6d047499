"""Which nickname one has or would like to have, and which to propose when the server asks for one; no connection."""

from __future__ import annotations

from typing import Final

from broadcast.client.nicknames import numbered

RETAKE_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""After how many seconds the nickname of before is asked for again, while the lost connection still holds it. The
server closes at the tenth refusal, and after 60 seconds."""


class Naming:
    """One's nickname, over connections that come and go. *nick* is wished for at first; empty: none is, yet."""

    def __init__(self, nick: str) -> None:
        self.nick = nick
        """The nickname that one has, or would like to have; empty before one was proposed."""
        self.wished = nick
        """The nickname that is asked for again after the connection was lost."""
        self.proposed = ""
        """What was proposed since the server asked."""
        self.refusal = ""
        """Why that was refused."""
        self._retakes = self._suffix = 0

    def begin(self) -> None:
        """There is a new connection, to a server that knows nothing of all this."""
        self.proposed = self.refusal = ""
        self._retakes = self._suffix = 0

    @property
    def answered(self) -> bool:
        """Whether the server has answered what was proposed, if anything was; otherwise it asks for nothing."""
        return not self.proposed or bool(self.refusal)

    def asked(self) -> str:
        """The server asks; returns what it has refused just now, empty where it asks for the first time."""
        refused, self.proposed = self.proposed, ""
        return refused

    def wish(self, nick: str) -> None:
        """Somebody would like to be called *nick*, or is."""
        self.nick = self.wished = nick

    def propose(self, nick: str) -> None:
        """*nick* is proposed."""
        self.proposed, self.refusal = nick, ""

    def next_try(self, refused: str) -> tuple[float, str]:
        """In how many seconds to propose which nickname to a server that one was on before, and has *refused* one.

        It is that of before; while the lost connection holds it, the same again; then one like it.
        """
        if not refused:
            return 0, self.wished
        if self._retakes < len(RETAKE_PAUSES):
            self._retakes += 1
            return RETAKE_PAUSES[self._retakes - 1], self.wished
        self._suffix += 1
        return 0, numbered(self.wished, self._suffix + 1)

    def arrive(self, nick: str, *, again: bool) -> None:
        """One is in the room as *nick*; *again*: the wish of before stays, whatever one is called now."""
        self.nick = nick
        if not again:
            self.wished = nick
