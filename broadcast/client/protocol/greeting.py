"""The text that the other side of a connection sends before its first message, read for an error.

``--send`` waits for this module, so it imports nothing.
"""

from __future__ import annotations

LINE_PROTOCOL = "this server speaks only the line protocol (broadcast 0.1): use telnet or nc, or update it"
"""The error about a server that has read the first request as a nickname."""
TLS = "the port speaks TLS: connect with --tls"
"""The error about a server that has answered the first request with an alert of TLS."""
TLS_HINT = "; if it is a TLS port, connect with --tls"
"""The end of the error about a server that closes a connection without TLS, and has sent nothing."""
_ALERT = b"\x15\x03"
_PROMPT = b"Nickname: "
_ERROR = b"-> Error: "
_NOTICE = b" * "
BAN = "You are banned"
"""The start of the notice with which a server rejects a connection from a banned address."""
_MAX_BYTES = 400


class Greeting:
    """The text before the first message. *text* is its first line, or the last notice of a broadcast server."""

    def __init__(self) -> None:
        self.text = b""
        self.is_line_protocol = False
        """Whether the other side has read the first request as a nickname, as servers of version 0.1 do."""

    @property
    def is_ban(self) -> bool:
        """Whether the server has rejected the connection because the address is banned."""
        return self.text.startswith(_NOTICE + BAN.encode())

    def add(self, line: bytes) -> None:
        """Add a line, which may lack its end if it is the last one."""
        self.is_line_protocol |= line.removeprefix(_PROMPT).startswith(_ERROR)
        if line.strip() and (not self.text or line.startswith(_NOTICE)):
            self.text = line[:_MAX_BYTES]

    def explain(self, reason: str) -> str:
        """Return why the connection has failed: the text if it explains that, otherwise *reason*."""
        text = " ".join(self.text.decode("utf-8", "replace").split())
        text = "".join(character if character.isprintable() else "\ufffd" for character in text)
        if self.is_line_protocol:
            return LINE_PROTOCOL
        if self.text.startswith(_ALERT):
            return TLS
        if text.startswith("* "):
            return text.removeprefix("* ")
        if text and not text.startswith("Welcome "):
            return f"this is no broadcast server; it says: {text}"
        return reason
