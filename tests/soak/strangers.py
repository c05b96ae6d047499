"""People who do not behave: they break off, vanish, say nothing, or send what no person would."""

from __future__ import annotations

import re
from time import monotonic
from typing import Final

from tests.soak.model import Author, Unexplained
from tests.soak.world import Person

NICKNAME_SECONDS: Final = 60
"""Who has no nickname then is shown the door (HARDENING)."""
AWAY_SECONDS: Final = 180.0
"""Whose network has stopped is gone for all after 150 s (HARDENING); this is when they come back and look."""


class Resetter(Person):
    """Breaks the connection at any point; some wait for the same moment."""

    kind = "resetter"

    def come(self) -> None:
        self._author = Author(self.nick)
        form = self.world.random.randrange(4)
        if form:
            self.introduce(self._author)
            for _ in range(form - 1):
                self.write(self.remark(self._author))
        wait = self.world.one_of(0, 3)
        if self.number % 2:
            wait = 10 - monotonic() % 10  # with all the others
        self.later(wait, wait, self._break)

    def _break(self) -> None:
        self.world.counts["resets"] += 1
        self.drop()

    def gone(self) -> None:
        super().gone()
        self.again(1, 10)


class HalfOpen(Person):
    """Takes a nickname; then the network stops, and nobody is told. When it is there again, they are long gone."""

    kind = "halfopen"

    def come(self) -> None:
        self._back = False
        self._author = Author(self.nick)
        self.introduce(self._author)
        self.later(2, 60, self._lose_network)

    def _lose_network(self) -> None:
        assert self.connection is not None
        self.world.counts["networks stopped"] += 1
        self.world.vanished[self._author.nick] = monotonic()
        self.connection.lose_network()
        self.later(AWAY_SECONDS, AWAY_SECONDS, self._find_network)

    def _find_network(self) -> None:
        assert self.connection is not None
        self._back = True
        self.connection.find_network()
        self.write(b"/ping")  # which the server's system, that knows of no such connection, answers with a reset

    def received(self, data: bytes, now: float) -> None:
        if self._back:
            raise Unexplained(f"{self._author.nick.decode()} was away for {AWAY_SECONDS} s, and is still told {data!r}")

    def closed(self, why: str) -> None:
        if not self._back:
            raise Unexplained(f"{self._author.nick.decode()} was cut off: {why}")
        self.world.counts["cut off when they were back"] += 1
        super().closed(why)
        self.again(1, 10)

    def gone(self) -> None:
        self.world.vanished.pop(self._author.nick, None)
        super().gone()


class Silent(Person):
    """Connects, and never gives a nickname."""

    kind = "silent"

    def come(self) -> None:
        self._read = b""

    def received(self, data: bytes, now: float) -> None:
        self._read += data

    def closed(self, why: str) -> None:
        farewell = b"Nickname:  * No nickname in %d seconds.\r\n" % NICKNAME_SECONDS
        if not self._read.endswith(farewell):
            raise Unexplained(f"who gives no nickname is told {self._read!r} {why}")
        self.world.counts["shown the door without a nickname"] += 1
        super().closed(why)
        self.again(1, 10)


class Garbage(Person):
    """Sends what no person would."""

    kind = "garbage"

    def come(self) -> None:
        self._read = b""
        self._speaks = ""
        random = self.world.random
        self.world.counts["nicknames asked for"] += 1  # who knows what random bytes are
        form = random.randrange(7)
        if form == 0:
            self._speaks = "HTTP"
            data = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
        elif form == 1:
            self._speaks = "TLS"
            data = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500)
        elif form == 2:
            data = random.randbytes(random.randrange(1, 8192))
        elif form == 3:
            data = bytes(random.choice((255, 251, 252, 253, 254, 250, 240, 1, 31)) for _ in range(8000))
        elif form == 4:
            data = b"n" * 65536
        else:
            author = Author(self.nick, free=True)
            self.world.quiet.owners[author.nick] = author
            junk = b"\r\n".join(map(self._junk, range(15)))
            data = author.nick + b"\r\n" + (junk if form == 5 else b"m" * 65536) + b"\r\n"
        assert self.connection is not None
        self.connection.send(data)
        self.later(0.5, 6, self.connection.end)

    def _junk(self, number: int) -> bytes:
        """A line that is no other line: the replay is looked up by its text."""
        junk = self.world.random.randbytes(self.world.random.randrange(60))
        return b"\xff\xfd\x01\xff\xf6!%d " % number + re.sub(rb"[\r\n\xff]", b"", junk)

    def received(self, data: bytes, now: float) -> None:
        self._read = (self._read + data)[-2048:]

    def closed(self, why: str) -> None:
        # What is still unread when it closes, the system answers with a reset.
        if self._speaks and not why and f"not {self._speaks}: connect with telnet or nc.".encode() not in self._read:
            raise Unexplained(f"who speaks {self._speaks} is told {self._read!r}")
        self.world.counts["garbage answered"] += bool(self._read)
        super().closed(why)
        self.again(1, 10)
