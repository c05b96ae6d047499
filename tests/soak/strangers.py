"""People that misbehave: they reset, vanish, say nothing, or send garbage."""

from __future__ import annotations

import re
from time import monotonic
from typing import Final

from tests.soak.model import Author, Unexplained
from tests.soak.world import Person

NICKNAME_SECONDS: Final = 60
"""Seconds after which the server disconnects a client without a nickname."""
AWAY_SECONDS: Final = 180.0
"""Seconds for which a network stops. After 150 s without a sign of life, everybody has been told of the leave."""
FOREIGN: Final = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,
}
"""How programs begin that speak another protocol."""
TELNET: Final = (255, 251, 252, 253, 254, 250, 240, 1, 31)


class Stranger(Person):
    """A person that comes again after the server has closed the connection."""

    def come(self) -> None:
        self._tail = b""

    def received(self, data: bytes, now: float) -> None:
        self._tail = (self._tail + data)[-2048:]

    def closed(self, why: str) -> None:
        super().closed(why)
        self.again(1, 10)


class Resetter(Person):
    """Resets the connection at any point. Half of the resetters do so at the same moment."""

    kind = "resetter"

    def come(self) -> None:
        lines = self.world.random.randrange(4)
        if lines:
            self.introduce(Author(self.nick))
        for _ in range(lines - 1):
            self.write(self.remark())
        wait = 10 - monotonic() % 10 if self.number % 2 else self.world.random.uniform(0, 3)
        self.later(wait, wait, self._break)

    def _break(self) -> None:
        self.world.counts["resets"] += 1
        self.drop()

    def gone(self) -> None:
        super().gone()
        self.again(1, 10)


class HalfOpen(Stranger):
    """Takes a nickname. Then its network stops without a word, and starts again when the server has given up."""

    kind = "halfopen"

    def come(self) -> None:
        self._back = False
        self.introduce(Author(self.nick))
        self.later(2, 60, self._lose_network)

    def _lose_network(self) -> None:
        assert self.connection is not None
        self.world.counts["networks stopped"] += 1
        self.world.vanished[self.nick] = monotonic()
        self.connection.stop_network()
        self.later(AWAY_SECONDS, AWAY_SECONDS, self._find_network)

    def _find_network(self) -> None:
        assert self.connection is not None
        self._back = True
        self.connection.start_network()
        self.write(b"/ping")  # The server's system no longer knows the connection, and answers with a reset.

    def received(self, data: bytes, now: float) -> None:
        if self._back:
            raise Unexplained(f"{self.nick.decode()} still receives {data!r} after {AWAY_SECONDS} s without a network")

    def closed(self, why: str) -> None:
        if not self._back:
            raise Unexplained(f"{self.nick.decode()} was cut off: {why}")
        self.world.counts["cut off when they were back"] += 1
        super().closed(why)

    def gone(self) -> None:
        self.world.vanished.pop(self.nick, None)
        super().gone()


class Silent(Stranger):
    """Connects, and never gives a nickname."""

    kind = "silent"

    def closed(self, why: str) -> None:
        if not self._tail.endswith(b"Nickname:  * No nickname in %d seconds.\r\n" % NICKNAME_SECONDS):
            raise Unexplained(f"a client without a nickname received {self._tail!r} {why}")
        self.world.counts["shown the door without a nickname"] += 1
        super().closed(why)


class Garbage(Stranger):
    """Sends what no person would."""

    kind = "garbage"

    def come(self) -> None:
        super().come()
        random = self.world.random
        self.world.counts["nicknames asked for"] += 1  # Random bytes may hold a nickname.
        form = random.choice((*FOREIGN, "bytes", "telnet", "one line", "junk", "long line"))
        self._protocol = form if form in FOREIGN else ""
        if form in {"junk", "long line"}:
            author = self.world.quiet.owners[self.nick] = Author(self.nick, free=True)
            junk = b"m" * 65536 if form == "long line" else b"\r\n".join(map(self._junk, range(15)))
            data = author.nick + b"\r\n" + junk + b"\r\n"
        else:
            data = {
                **FOREIGN,
                "bytes": random.randbytes(random.randrange(1, 8192)),
                "telnet": bytes(random.choices(TELNET, k=8000)),
                "one line": b"n" * 65536,
            }[form]
        assert self.connection is not None
        self.send(data)
        self.later(0.5, 6, self.connection.end)

    def _junk(self, number: int) -> bytes:
        """Return a line that occurs once: the model finds lines by their text."""
        junk = self.world.random.randbytes(self.world.random.randrange(60))
        return b"\xff\xfd\x01\xff\xf6!%d " % number + re.sub(rb"[\r\n\xff]", b"", junk)

    def closed(self, why: str) -> None:
        # If the server closes with unread input, the system sends a reset, which may overtake the reply.
        wanted = f"not {self._protocol}: connect with telnet or nc.".encode()
        if self._protocol and not why and wanted not in self._tail:
            raise Unexplained(f"a client that speaks {self._protocol} received {self._tail!r}")
        self.world.counts["garbage answered"] += bool(self._tail)
        super().closed(why)
