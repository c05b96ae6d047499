"""A client that shares files over HTTP, as fast as the server takes them."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.processes import BenchmarkError

TIMEOUT = 60.0


def upload(line_port: int, web_port: int, path: Path, times: int) -> Sequence[float]:
    """Share the file *path* so often, one upload after the other. Return the seconds that each has taken.

    Each has a person of its own, because the server limits the number of files of one person, and a content of its
    own, because the server stores the same content only once.
    """
    try:
        return [_upload(line_port, web_port, path, f"sender{number}") for number in range(times)]
    except OSError as error:
        raise BenchmarkError(f"a file could not be uploaded: {error}") from error


def _upload(line_port: int, web_port: int, path: Path, nick: str) -> float:
    with socket.create_connection(("127.0.0.1", line_port), TIMEOUT) as person:
        person.sendall(f"{nick}\r\n/upload-link\r\n".encode())
        token = _read_until(person, rb"Bearer (\S+?)'")
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(nick.encode())
        head = (
            f"PUT /files/{path.name} HTTP/1.1\r\nHost: 127.0.0.1:{web_port}\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: {size}\r\n\r\n"
        )
        began = perf_counter()
        with socket.create_connection(("127.0.0.1", web_port), TIMEOUT) as web, path.open("rb") as file:
            web.sendall(head.encode())
            web.sendfile(file)
            status = _read_until(web, rb"HTTP/1\.1 (\d+)[^\0]*Shared ")
        if status != "201":
            raise BenchmarkError(f"a file was refused with the status {status}")
        return perf_counter() - began


def _read_until(connection: socket.socket, pattern: bytes) -> str:
    """Return the first group of *pattern*, once *connection* has received it."""
    seen = b""
    while (match := re.search(pattern, seen)) is None:
        if not (data := connection.recv(65536)):
            raise BenchmarkError(f"the server has closed the connection: {seen[-200:]!r}")
        seen += data
    return match[1].decode()
