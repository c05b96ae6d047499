"""Sends the bytes of a file to the web port of the server, over as many connections as it takes.

The protocol is HTTP/1.1: ``PUT`` with a token. After a lost connection, ``HEAD`` tells how many bytes the server has,
and a ``PUT`` with ``Content-Range`` sends the others. ``DELETE`` gives up.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import suppress
from hashlib import file_digest
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from mimetypes import guess_type
from pathlib import Path
from random import SystemRandom
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeAlias, cast
from urllib.parse import urlsplit

from broadcast.client.address import show_address
from broadcast.client.certificates import CertificateError
from broadcast.client.protocol.errors import FILE_REJECTED, FileRejected, Unreachable, Untrusted, UploadFailed
from broadcast.client.protocol.session import Backoff
from broadcast.client.streams import describe_failure, open_stream
from broadcast.client.tls import Trust, unchecked_context

if TYPE_CHECKING:
    from socket import socket

    from broadcast.client.protocol.requests import Slot

Progress: TypeAlias = Callable[[int, int], None]
"""Takes the number of bytes that are sent, and the number of all."""

CHUNK: Final = 65536
"""The number of bytes that are read and sent at once."""
CONNECT_SECONDS: Final = 30.0
"""The time limit of an attempt to connect."""
EXPECT_SECONDS: Final = 1.0
"""The time to wait for ``100 Continue``, or for a refusal, before the bytes are sent."""
DELETE_SECONDS: Final = 3.0
"""The time limit of the end of a slot."""
SILENCE_SECONDS: Final = 60.0
"""The time limit of sending a chunk, and of the server's answer behind the last one, which waits for its disk."""
PATIENCE_SECONDS: Final = 120.0
"""The time after which an upload that makes no progress is given up. The session notices a dead connection before."""
LONGEST_PAUSE: Final = 8.0
"""The longest pause between two attempts, in seconds."""
MAX_HASHED: Final = 256 * 1024 * 1024
"""The largest file whose SHA-256 the client computes. Most servers refuse a larger one."""
MAX_ANSWER: Final = 65536
"""The most bytes of an answer."""
MAX_SENTENCE: Final = 500
"""The most characters of the sentence of an answer."""
RETRIED: Final = frozenset({408, 409, 416, 429, 502, 503, 504})
"""The statuses after which another attempt may succeed."""
MAX_REFUSALS: Final = 5
"""The number of answers with such a status after which the client gives up."""
GONE: Final = frozenset({401, 403, 404, 410})
"""The statuses of a slot that the server does not know: it is used, too old, or from before a restart."""


_in_a_header: Final = re.compile(r"[!-~]+")
"""The characters that have no meaning for the lines of a request."""
_interim: Final = re.compile(rb"HTTP/1\.\d 1\d\d\b")
"""The first line of an answer that another one follows."""
_no_body: Final = re.compile(rb"HTTP/1\.\d (?:204|304)\b")
"""The first line of an answer that has no body."""
_content_length: Final = re.compile(rb"\r\ncontent-length: *(\d{1,9})(?:\r\n|$)", re.IGNORECASE)


class SlotGone(Exception):
    """The server does not know the slot any more."""


class LocalFile:
    """The file to send, at *path*. Raises ``UploadFailed`` if it cannot be read."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lock = Lock()
        self.path = Path(path)
        self.name = self.path.name
        self.type = guess_type(self.name)[0] or "application/octet-stream"
        try:
            # To open a named pipe would wait for its other end.
            if not self.path.is_file():
                self.path.stat()
                raise UploadFailed(f"{self.path} is not a file but a folder or a device")
            self._file = self.path.open("rb")
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise self._unreadable(error) from None

    def hash(self) -> str:
        """Return the SHA-256 of the file, or an empty text if it is too large to be read twice."""
        try:
            return file_digest(self._file, "sha256").hexdigest() if self.size <= MAX_HASHED else ""
        except OSError as error:
            raise self._unreadable(error) from None

    def read(self, start: int) -> bytes:
        """Return a chunk of the file."""
        try:
            with self._lock:  # the thread of a cancelled read may still run
                self._file.seek(start)
                return self._file.read(min(CHUNK, self.size - start))
        except OSError as error:
            raise self._unreadable(error) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _unreadable(self, error: OSError) -> UploadFailed:
        return UploadFailed(f"{self.path} cannot be read: {error.strerror or error}")


class Sender:
    """Sends *file* to *slot*. *make_trust* returns the check of the certificate of a host."""

    def __init__(
        self, slot: Slot, file: LocalFile, make_trust: Callable[[str], Trust | None], progress: Progress
    ) -> None:
        host, port = None, None
        with suppress(ValueError):
            url = urlsplit(slot.url)
            host, port = url.hostname, url.port
        if not host or url.scheme not in {"http", "https"} or not _in_a_header.fullmatch(slot.url + slot.token):
            raise Unreachable(f"the server takes files at an address that cannot be used: {slot.url}")
        is_secure = url.scheme == "https"
        trust = make_trust(host)
        if trust is not None and not is_secure:
            raise Unreachable(f"the server takes files only without encryption, at {slot.url}, so nothing was sent")
        self._host = host
        self._port = port or (443 if is_secure else 80)
        self._place = show_address(host, self._port)
        # Without TLS, anybody on the way can replace the address of the slot, so its certificate proves nothing.
        self._trust = (trust or Trust(host, context=unchecked_context())) if is_secure else None
        self._path = url.path + (f"?{url.query}" if url.query else "")
        self._netloc = url.netloc
        self._token = slot.token
        self._file = file
        self._progress = progress
        self._sent = 0
        """The number of bytes that are sent."""
        self._failures = self._refusals = 0
        self._moved_at: float | None = None
        """The time of the latest progress, or None before the first connection."""

    async def send(self) -> None:
        """Send the file, and return when the server has confirmed that it has all of it."""
        try:
            await self._send()
        except (asyncio.CancelledError, FileRejected, UploadFailed):
            # Until the slot ends, the server counts it as an upload of the user.
            with suppress(OSError, HTTPException, CertificateError):
                async with asyncio.timeout(DELETE_SECONDS):
                    await self._exchange("DELETE")
            raise

    async def _send(self) -> None:
        while True:
            try:
                if self._failures:
                    await self._ask()
                response, problem = await self._exchange("PUT")
                if 200 <= response.status < 300:
                    return
                self._refuse(response.status, problem)
            except (OSError, HTTPException) as error:
                problem = _describe(error)
            except CertificateError as error:
                raise Untrusted(error.problem, error.fingerprint, error.known, self._place) from None
            self._failures += 1
            problem = f"no connection to {self._place} for files: {problem}"
            if self._moved_at is None:
                raise Unreachable(problem)
            if monotonic() > self._moved_at + PATIENCE_SECONDS:
                raise UploadFailed(problem)
            await asyncio.sleep(Backoff(longest=LONGEST_PAUSE).delay(self._failures, SystemRandom().random()))

    def _refuse(self, status: int, text: str) -> None:
        """Raise the reason if no other attempt can change the server's answer."""
        if status in GONE:
            raise SlotGone(text)
        self._refusals += 1
        if status not in RETRIED or self._refusals > MAX_REFUSALS:
            raise FileRejected(FILE_REJECTED, text, {"status": status})

    async def _ask(self) -> None:
        """Ask how many bytes the server has."""
        response, text = await self._exchange("HEAD")
        offset = response.getheader("Upload-Offset", "")
        if response.status != 204 or not offset.isdecimal() or int(offset) > self._file.size:
            self._refuse(response.status, text)
            raise OSError(text)
        self._sent = int(offset)
        if 0 < self._sent == self._file.size:
            # The slot ends when the server has written the file to its disk.
            raise OSError("the server does not finish the file")

    async def _exchange(self, method: str) -> tuple[HTTPResponse, str]:
        """Return the answer to a request, and its sentence."""
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await open_stream(self._host, self._port, self._trust)
        self._moved_at = self._moved_at or monotonic()
        received, has_answer = bytearray(), asyncio.Event()
        answer = asyncio.ensure_future(_read(method, reader, received, has_answer))
        sending = asyncio.ensure_future(self._send_all(method, writer, received, has_answer))
        try:
            await asyncio.wait({answer, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and isinstance(failure := sending.exception(), UploadFailed | TimeoutError):
                raise failure
            # A server may refuse a file and close in the middle of it. Its answer counts, and not the lost rest.
            async with asyncio.timeout(SILENCE_SECONDS):
                await answer
            return _parse(method, bytes(received))
        finally:
            for task in (answer, sending):
                task.cancel()
            await asyncio.gather(answer, sending, return_exceptions=True)
            writer.transport.abort()

    async def _send_all(
        self, method: str, writer: asyncio.StreamWriter, received: bytearray, has_answer: asyncio.Event
    ) -> None:
        """Send a request. Stop before its body if the server has answered anything but ``100 Continue`` by then."""
        file, start = self._file, self._sent
        head = [f"{method} {self._path} HTTP/1.1", f"Host: {self._netloc}", f"Authorization: Bearer {self._token}"]
        if method == "PUT":
            head += [f"Content-Length: {file.size - start}", f"Content-Type: {file.type}", "Expect: 100-continue"]
            if start:
                head.append(f"Content-Range: bytes {start}-{file.size - 1}/{file.size}")
        writer.write("\r\n".join([*head, "Connection: close", "", ""]).encode())
        with suppress(TimeoutError):
            await asyncio.wait_for(has_answer.wait(), EXPECT_SECONDS)
        if received and not received.startswith(b"HTTP/1.1 100"):
            return
        while method == "PUT" and self._sent < file.size:
            data = await asyncio.to_thread(file.read, self._sent)
            if not data:
                raise UploadFailed(f"{file.path} has become shorter while it was sent")
            writer.write(data)
            async with asyncio.timeout(SILENCE_SECONDS):
                await writer.drain()
            self._sent += len(data)
            self._failures, self._moved_at = 0, monotonic()
            self._progress(self._sent, file.size)


async def _read(method: str, reader: asyncio.StreamReader, received: bytearray, has_answer: asyncio.Event) -> None:
    """Append the answer to a request to *received*. Set *has_answer* when something is there."""
    while not _is_complete(method, received) and (data := await reader.read(MAX_ANSWER)):
        received += data
        has_answer.set()


def _is_complete(method: str, data: bytes | bytearray) -> bool:
    """Return whether *data* is a whole answer, or too long for one.

    The end of the connection may never come: a load balancer that has passed on a refusal waits for the rest of the
    request.
    """
    if len(data) >= MAX_ANSWER:
        return True
    head, end, body = data.partition(b"\r\n\r\n")
    while end and _interim.match(head):
        head, end, body = body.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _content_length.search(head)
    return method == "HEAD" or bool(_no_body.match(head)) or (length is not None and len(body) >= int(length[1]))


class _Received:
    """Received bytes in the place of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(self._data)


def _parse(method: str, data: bytes) -> tuple[HTTPResponse, str]:
    """Return the answer to a request, and its sentence: the first line of a plain text, or else the status."""
    if not data:
        raise OSError("the server has closed the connection")
    response = HTTPResponse(cast("socket", _Received(data)), method=method)
    response.begin()
    is_plain = response.headers.get_content_type() == "text/plain"
    sentence = response.read().decode("utf-8", "replace").strip().partition("\n")[0] if is_plain else ""
    return response, sentence[:MAX_SENTENCE] or f"{response.status} {response.reason}"


def _describe(error: OSError | HTTPException) -> str:
    """Return the reason of a failed attempt."""
    if isinstance(error, TimeoutError) and not error.errno:
        return "the server does not answer"
    return describe_failure(error) if isinstance(error, OSError) else "its answer is no HTTP"
