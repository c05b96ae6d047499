"""Clients of the line door that log in: many at once, or one after the other with refused passwords."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from time import perf_counter

from benchmarks.processes import BenchmarkError

PASSWORD = "correct horse"  # noqa: S105 - of the accounts of a benchmark
WRONG = "wrong horse"
RETRY = 1.0
"""Seconds after which a person types the password again, if the server was busy."""
TIMEOUT = 120.0


def account_name(number: int) -> str:
    """Return the name of an account."""
    return f"p{number:05}"


def log_in(port: int, people: int) -> tuple[Sequence[float], int]:
    """Log *people* in to an account each, at once. Return the sorted times, and how often a password was typed again.

    A time is the number of seconds from the connection until the client has joined.
    """

    async def all_at_once() -> list[tuple[float, int]]:
        return await asyncio.gather(*(_log_in(port, account_name(number)) for number in range(people)))

    try:
        results = asyncio.run(asyncio.wait_for(all_at_once(), TIMEOUT))
    except (OSError, EOFError, TimeoutError) as error:
        raise BenchmarkError(f"not all people could log in: {error!r}") from error
    return sorted(seconds for seconds, _ in results), sum(again for _, again in results)


async def _log_in(port: int, name: str) -> tuple[float, int]:
    again = 0
    began = perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.readuntil(b"Nickname:")
        writer.write(name.encode() + b"\r\n")
        await reader.readuntil(b"Password:")
        while True:
            writer.write(PASSWORD.encode() + b"\r\n")
            answer = b""
            while b"Password:" not in answer and b" * You are " not in answer:
                if not (data := await reader.read(4096)):
                    raise BenchmarkError(f"{name} was disconnected: {answer[-200:]!r}")
                answer += data
            if b" * You are " in answer:
                return perf_counter() - began, again
            if b"busy" not in answer:
                raise BenchmarkError(f"{name} could not log in")
            again += 1
            await asyncio.sleep(RETRY)
    finally:
        writer.close()


class Proxied:
    """A connection to a port behind a proxy (``haproxy:``) on this machine, from an address of its own.

    The server limits wrong passwords from one address. So each try comes from another one.
    """

    _last = 0

    def __init__(self, port: int) -> None:
        Proxied._last += 1
        self._read = b""
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = f"10.0.{Proxied._last >> 8}.{Proxied._last & 255}"
        self.say(f"PROXY TCP4 {address} 127.0.0.1 40000 {port}", "")

    def say(self, line: str, until: str) -> None:
        """Send *line*, and read until the text *until* comes."""
        self._socket.sendall(line.encode() + b"\r\n")
        while until.encode() not in self._read:
            if not (data := self._socket.recv(4096)):
                raise BenchmarkError(f"the server has closed the connection: {self._read[-200:]!r}")
            self._read += data
        self._read = self._read.partition(until.encode())[2] if until else self._read

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def register(port: int, name: str) -> None:
    """Register *name*."""
    person = Proxied(port)
    person.say(name, " * You are ")
    person.say("/register", "Password:")
    person.say(PASSWORD, "Once more:")
    person.say(PASSWORD, "is registered")
    person.say("quit", "Goodbye")
    person.close()


def refused(port: int, name: str) -> float:
    """Return the number of seconds until the server refuses a wrong password for *name*."""
    person = Proxied(port)
    person.say(f"/login {name}", "Password:")
    began = perf_counter()
    person.say(WRONG, "wrong password")
    seconds = perf_counter() - began
    person.close()
    return seconds
