"""The own nickname: the current one, the wanted one, and the one to propose next. No connection."""

from __future__ import annotations

from typing import Final

from broadcast.client.nicknames import numbered

RETAKE_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""The pauses, in seconds, before the earlier nickname is proposed again while the lost connection holds it. The server
closes the connection at the tenth refusal, and after 60 seconds."""


class Naming:
    """The own nickname, over connections that come and go. *nick* is the first wanted one, or empty."""

    def __init__(self, nick: str) -> None:
        self.nick = nick
        """The current or wanted nickname, or empty before the first proposal."""
        self.wished = nick
        """The nickname to propose again after a lost connection."""
        self.proposed = ""
        """The nickname that was proposed since the server asked, or empty."""
        self.refusal = ""
        """The reason why the server has refused it, or empty."""
        self._retakes = self._suffix = 0

    def begin(self) -> None:
        """Forget the proposals of the last connection."""
        self.proposed = self.refusal = ""
        self._retakes = self._suffix = 0

    @property
    def answered(self) -> bool:
        """Whether no proposal waits for the server's answer."""
        return not self.proposed or bool(self.refusal)

    def asked(self) -> str:
        """Begin a new proposal, and return the refused one, or an empty text at first."""
        refused, self.proposed = self.proposed, ""
        return refused

    def wish(self, nick: str) -> None:
        """Set the wanted nickname."""
        self.nick = self.wished = nick

    def propose(self, nick: str) -> None:
        """Record that the client has proposed *nick*."""
        self.proposed, self.refusal = nick, ""

    def next_try(self, refused: str) -> tuple[float, str]:
        """Return a pause in seconds and the nickname to propose after it, when the client comes back to a server.

        It is the earlier nickname. While the lost connection holds it, the same follows after pauses, then similar
        ones. *refused* is the nickname that the server has just refused, or empty.
        """
        if not refused:
            return 0, self.wished
        if self._retakes < len(RETAKE_PAUSES):
            self._retakes += 1
            return RETAKE_PAUSES[self._retakes - 1], self.wished
        self._suffix += 1
        return 0, numbered(self.wished, self._suffix + 1)

    def arrive(self, nick: str, *, again: bool) -> None:
        """Set the accepted nickname. *again* is true after a lost connection: the wanted nickname stays."""
        self.nick = nick
        if not again:
            self.wished = nick
