"""The load generator without a C compiler: the same as load.c, which documents it, but slower."""

from __future__ import annotations

import json
import selectors
import signal
import socket
import sys
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import NoReturn

SETTINGS: dict[str, float] = {
    "port": 0, "pid": 0, "people": 10, "first": 0, "senders": 1, "stalled": 0, "arriving": 256, "size": 64, "echo": 0,
    "settle": 0, "fill": 0, "window": 1, "rate": 0, "warm": 0.5, "seconds": 0, "lines": 0, "mark": 0, "hold": 0,
    "limit": 120,
}  # fmt: skip
CHUNK = 1 << 18


@dataclass(slots=True, eq=False)
class Person:
    """A connection."""

    socket: socket.socket
    number: int
    text: bytes = b""
    """The newest text that the connection has received, until all have joined."""
    state: str = "new"
    read: int = 0
    """Number of bytes received."""
    got: int = 0
    own: int = 0
    owed: bytes = b""


class Load:
    """One run with the settings *given*."""

    def __init__(self, dialect: str, given: dict[str, float]) -> None:
        self.dialect = dialect
        self.given = given
        self.readers = int(given["people"])
        self.senders = int(given["senders"])
        self.people: list[Person] = []
        self.selector = selectors.DefaultSelector()
        self.listening = False
        self.running = False
        self.inside = 0
        text = b"x" * (int(given["size"]) - 2) + b"\r\n"
        forms = {"irc": b"PRIVMSG #b :%b", "nats": b"PUB b %d\r\n%%b\r\n" % len(text)}
        self.line = forms.get(dialect, b"%b") % text
        self.delivery = 0
        self.said = self.least = self.total = 0
        self.levels: Counter[int] = Counter()
        self.said_at: deque[float] = deque()
        """The times at which the lines from ``least`` on were sent."""
        self.timed: list[float] | None = None
        self.timed_last: list[float] = []

    # Arriving

    def arrive(self) -> None:
        """Open one more connection."""
        number = len(self.people)
        nick = number + int(self.given["first"])
        connection = socket.create_connection(("127.0.0.1", int(self.given["port"])))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        person = Person(connection, number)
        self.people.append(person)
        self.selector.register(connection, selectors.EVENT_READ, person)
        greetings = {
            "broadcast": f"u{nick:05}\r\n",
            "irc": f"NICK u{nick:05}\r\nUSER u{nick:05} 0 * :u\r\n",
            "nats": 'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\nSUB b 1\r\nPING\r\n',
        }
        if self.dialect == "plain":
            self.enter(person)
        else:
            connection.send(greetings[self.dialect].encode())

    def enter(self, person: Person) -> None:
        """Record that *person* has joined."""
        person.state = "in"
        self.inside += 1
        if person.number >= self.readers:
            self.selector.unregister(person.socket)

    def look(self, person: Person, data: bytes) -> None:
        """Answer pings in *data*, and check whether *person* has joined."""
        person.text = (person.text + data)[-4096:]
        if b"PING" in data and self.dialect in {"irc", "nats"}:
            for line in data.splitlines(keepends=True):
                if line.startswith(b"PING"):
                    person.socket.send(b"PONG" + line[4:])
        needle = {"broadcast": b" * You are ", "nats": b"PONG", "irc": b" 001 "}.get(self.dialect, b"")
        if person.state == "new" and needle in person.text:
            if self.dialect == "irc":
                person.state = "joining"
                person.socket.send(b"JOIN #b\r\n")
            else:
                self.enter(person)
        if person.state == "joining" and b" 366 " in person.text:
            self.enter(person)

    def everybody_hears(self, word: str, author: int) -> None:
        """Send a line with *word* and wait until all readers have it."""
        needle = f"-{word}-".encode()
        line = self.line.replace(b"x" * len(needle), needle, 1)
        for person in self.people:
            person.text = b""
        waiting = [each for each in self.people[: self.readers] if self.given["echo"] or each.number != author]
        again = 0.0
        while waiting:
            if monotonic() >= again:
                self.people[author].socket.send(line)
                again = monotonic() + 0.5 if self.dialect == "plain" else float("inf")
            self.turn(0.1)
            waiting = [each for each in waiting if needle not in each.text]

    def get_ready(self) -> None:
        """Let all clients join, and measure the length of a delivery."""
        began = monotonic()
        everybody = self.readers + int(self.given["stalled"])
        while self.inside < everybody:
            while len(self.people) < everybody and len(self.people) - self.inside < self.given["arriving"]:
                self.arrive()
            self.turn(0.1 if self.inside < everybody else 0)
        self.everybody_hears("first", 0)
        seconds = monotonic() - began
        self.pause(self.given["settle"])
        self.everybody_hears("second", 1 if self.senders > 1 else 0)
        self.pause(0.05)
        before = [person.read for person in self.people[: self.readers]]
        self.everybody_hears("third", 0)
        self.pause(0.05)
        lengths = {p.read - b for p, b in zip(self.people, before, strict=False) if p.number or self.given["echo"]}
        if len(lengths) != 1:
            fail("deliveries have different lengths")
        (self.delivery,) = lengths
        for person in self.people:
            person.read = 0
            person.text = b""
        self.running = True
        self.levels[0] = self.readers
        tell(event="in", people=self.inside, seconds=seconds, delivery_bytes=self.delivery)

    # Talking

    def turn(self, wait: float) -> None:
        """Run one turn of the loop."""
        for key, events in self.selector.select(wait):
            person: Person = key.data
            if events & selectors.EVENT_WRITE:
                self.selector.modify(person.socket, selectors.EVENT_READ, person)
                self.let_out(person)
            if events & selectors.EVENT_READ:
                data = person.socket.recv(CHUNK)
                if not data:
                    fail("the server closed a connection")
                person.read += len(data)
                if self.running:
                    self.counted(person)
                else:
                    self.look(person, data)
        while self.running and self.least < self.said and not self.levels[self.least]:
            del self.levels[self.least]
            if self.timed is not None:
                self.timed_last.append(monotonic() - self.said_at[0])
            self.said_at.popleft()
            self.least += 1

    def counted(self, person: Person) -> None:
        """Count the deliveries that *person* has read."""
        got = person.read // self.delivery
        level, before = got + person.own, person.got + person.own
        if level == before:
            return
        if level > self.said:
            fail("a reader received more lines than were sent")
        if self.timed is not None and person.number >= self.senders:
            now = monotonic()
            self.timed += [now - self.said_at[number - self.least] for number in range(before, level)]
        self.levels[before] -= 1
        self.levels[level] += 1
        self.total += got - person.got
        person.got = got

    def let_out(self, person: Person) -> None:
        """Send the pending bytes of *person*."""
        with suppress(BlockingIOError):
            person.owed = person.owed[person.socket.send(person.owed) :]
        if person.owed:
            self.selector.modify(person.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, person)

    def say(self, at: float) -> None:
        """Let the next author send a line."""
        person = self.people[self.said % self.senders]
        if not self.given["echo"]:
            level = person.got + person.own
            self.levels[level] -= 1
            self.levels[level + 1] += 1
            person.own += 1
        self.said += 1
        self.said_at.append(at)
        person.owed += self.line
        self.let_out(person)

    def closed_loop(self, window: float, lines: float, until: float) -> None:
        """Keep *window* lines outstanding."""
        end = self.said + lines
        mark = self.given["mark"] if self.given["lines"] and self.given["mark"] else float("inf")
        following = mark
        while self.least < end and monotonic() < until:
            while self.said - self.least < window and self.said < end:
                self.say(monotonic())
            self.turn(0.1)
            while self.least >= following:
                tell(event="mark", lines=following)
                following += mark

    def talk(self, seconds: float) -> None:
        """Send lines for *seconds*."""
        until = monotonic() + seconds
        if not self.given["rate"]:
            self.closed_loop(self.given["window"], float("inf"), until)
            return
        due = monotonic()
        while (now := monotonic()) < until:
            while due <= now:
                self.say(due)
                due += 1 / self.given["rate"]
            self.turn(max(0, due - monotonic()))

    def measure(self) -> None:
        """Measure, and report the result."""
        given = self.given
        if given["fill"]:
            self.closed_loop(64, given["fill"], float("inf"))
        if not given["lines"]:
            self.talk(given["warm"])
        self.timed = []
        began, cpu, server = monotonic(), process_time(), self.server_cpu()
        total, least = self.total, self.least
        if given["lines"]:
            self.closed_loop(given["window"], given["lines"], float("inf"))
        else:
            self.talk(given["seconds"])
        seconds = monotonic() - began
        cpu, server, deliveries, lines = (
            process_time() - cpu,
            self.server_cpu() - server,
            self.total - total,
            self.least,
        )
        late = monotonic() + 10
        while self.least < self.said and monotonic() < late:
            self.turn(0.1)
        each, last = sorted(self.timed), sorted(self.timed_last)
        tell(
            event="end", deliveries=deliveries, lines=lines - least, seconds=seconds, server_cpu=server, load_cpu=cpu,
            p50=quantile(each, 0.5), p99=quantile(each, 0.99), worst=quantile(each, 1), p99_last=quantile(last, 0.99),
            exact=all(p.read == (self.said - p.own) * self.delivery for p in self.people[: self.readers]), gone=0,
            stalled_took=-1,
        )  # fmt: skip

    def server_cpu(self) -> float:
        """Return the server's CPU time in seconds, in steps of 10 ms."""
        if not self.given["pid"]:
            return 0.0
        fields = Path(f"/proc/{int(self.given['pid'])}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def pause(self, seconds: float) -> None:
        """Read for *seconds* without sending."""
        until = monotonic() + seconds
        while monotonic() < until:
            self.turn(0.01)


def quantile(ordered: list[float], share: float) -> float:
    """Return a quantile of *ordered* in milliseconds, or -1 if it is empty."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000 if ordered else -1


def tell(**event: object) -> None:
    """Print one event as JSON."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def fail(why: str) -> NoReturn:
    """Report the reason and exit with status 1."""
    tell(event="failed", why=why)
    raise SystemExit(1)


def main(words: list[str]) -> None:
    """Run with the settings in the KEY=VALUE *words*."""
    given = dict(word.split("=", 1) for word in words)
    dialect = given.pop("dialect", "plain")
    load = Load(dialect, SETTINGS | {key: float(value) for key, value in given.items()})
    signal.signal(signal.SIGALRM, lambda *_: fail("the time limit of the load generator"))
    signal.setitimer(signal.ITIMER_REAL, load.given["limit"])
    load.get_ready()
    if load.given["hold"]:
        sys.stdin.readline()
    if load.given["seconds"] or load.given["lines"]:
        load.measure()
        if load.given["hold"]:
            sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1:])
