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
from email import message_from_string
from email.message import Message
from hashlib import file_digest
from mimetypes import guess_type
from pathlib import Path
from random import SystemRandom
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from broadcast.client.address import show_address
from broadcast.client.certificates import CertificateError
from broadcast.client.protocol.errors import FILE_REJECTED, FileRejected, Unreachable, Untrusted, UploadFailed
from broadcast.client.protocol.session import backoff
from broadcast.client.streams import describe_failure, open_stream
from broadcast.client.tls import Trust, unchecked_context

if TYPE_CHECKING:
    from broadcast.client.protocol.requests import Progress, Slot

CHUNK_BYTES: Final = 65536
CONNECT_SECONDS: Final = 30.0
"""The time limit of an attempt to connect."""
EXPECT_SECONDS: Final = 1.0
"""The time to wait for ``100 Continue``, or for a refusal, before the bytes are sent."""
DELETE_SECONDS: Final = 3.0
"""The time limit of the request that ends a slot."""
SILENCE_SECONDS: Final = 60.0
"""The time limit of sending a chunk, and of the server's answer behind the last one, which waits for its disk."""
PATIENCE_SECONDS: Final = 120.0
"""The time after which an upload that makes no progress is given up. The session notices a dead connection before."""
LONGEST_PAUSE: Final = 8.0
"""The longest pause between two attempts, in seconds."""
MAX_HASHED: Final = 256 * 1024 * 1024
"""The largest file whose SHA-256 the client computes. Most servers refuse a larger one."""
MAX_SENTENCE: Final = 500
"""Maximum number of characters of the sentence of an answer."""
RETRIED: Final = frozenset({408, 409, 416, 429, 502, 503, 504})
"""The statuses after which another attempt may succeed."""
MAX_REFUSALS: Final = 5
"""The number of answers with such a status after which the client gives up."""
GONE: Final = frozenset({401, 403, 404, 410})
"""The statuses of a slot that the server does not know: it is used, too old, or from before a restart."""

_in_a_header: Final = re.compile(r"[!-~]+")
"""The characters that have no meaning for the lines of a request."""
_status_line: Final = re.compile(r"HTTP/1\.[0-9] (([0-9]{3})\b.*)")
"""The first line of an answer. Its groups are the status with its words, and the number of the status."""
_number: Final = re.compile(r"[0-9]{1,15}")
"""A number of bytes. No file has more digits."""
_NO_HTTP: Final = "its answer is no HTTP"


class SlotGone(Exception):
    """The server does not know the slot any more."""


class Answer(NamedTuple):
    """The answer to a request. Its *sentence* is the first line of a plain text, or else the status in words."""

    status: int
    headers: Message
    sentence: str


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
                return self._file.read(min(CHUNK_BYTES, self.size - start))
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
        """The number of bytes that the server has, or that are sent."""
        self._failures = self._refusals = 0
        self._moved_at: float | None = None
        """The time of the latest progress, or None before the first connection."""

    async def send(self) -> None:
        """Send the file, and return when the server has confirmed that it has all of it."""
        try:
            await self._send()
        except (asyncio.CancelledError, FileRejected, UploadFailed):
            # Until the slot ends, the server counts it as an upload of the user.
            with suppress(OSError, CertificateError):
                async with asyncio.timeout(DELETE_SECONDS):
                    await self._exchange("DELETE")
            raise

    async def _send(self) -> None:
        while True:
            try:
                if self._failures:
                    await self._ask()
                answer = await self._exchange("PUT")
                if answer.status < 300:
                    return
                self._refuse(answer)
                problem = answer.sentence
            except OSError as error:
                problem = describe_failure(error)
            except CertificateError as error:
                raise Untrusted(error.problem, error.fingerprint, error.known, self._place) from None
            self._failures += 1
            problem = f"no connection to {self._place} for files: {problem}"
            if self._moved_at is None:
                raise Unreachable(problem)
            if monotonic() > self._moved_at + PATIENCE_SECONDS:
                raise UploadFailed(problem)
            await asyncio.sleep(backoff(self._failures, LONGEST_PAUSE, SystemRandom().random()))

    def _refuse(self, answer: Answer) -> None:
        """Raise the reason if no other attempt can change the server's answer."""
        if answer.status in GONE:
            raise SlotGone(answer.sentence)
        self._refusals += 1
        if answer.status not in RETRIED or self._refusals > MAX_REFUSALS:
            raise FileRejected(FILE_REJECTED, answer.sentence, {"status": answer.status})

    async def _ask(self) -> None:
        """Ask how many bytes the server has."""
        answer = await self._exchange("HEAD")
        offset = answer.headers.get("Upload-Offset", "")
        if answer.status != 204 or not _number.fullmatch(offset) or int(offset) > self._file.size:
            self._refuse(answer)
            raise OSError(answer.sentence)
        self._sent = int(offset)
        if 0 < self._sent == self._file.size:
            # The slot ends when the server has written the file to its disk.
            raise OSError("the server does not finish the file")

    async def _exchange(self, method: str) -> Answer:
        """Return the answer to a request."""
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await open_stream(self._host, self._port, self._trust)
        self._moved_at = self._moved_at or monotonic()
        is_expected = asyncio.Event()
        answer = asyncio.ensure_future(_read_answer(method, reader, is_expected))
        sending = asyncio.ensure_future(self._send_all(method, writer, is_expected))
        try:
            await asyncio.wait({answer, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and isinstance(failure := sending.exception(), UploadFailed | TimeoutError):
                raise failure
            # A server may refuse a file and close in the middle of it. Its answer counts, and not the lost rest.
            async with asyncio.timeout(SILENCE_SECONDS):
                return await answer
        finally:
            for task in (answer, sending):
                task.cancel()
            await asyncio.gather(answer, sending, return_exceptions=True)
            writer.transport.abort()

    async def _send_all(self, method: str, writer: asyncio.StreamWriter, is_expected: asyncio.Event) -> None:
        """Send a request. Its body follows when it *is_expected*, or after ``EXPECT_SECONDS`` without an answer.

        The caller cancels this when the server answers.
        """
        file, start = self._file, self._sent
        head = [f"{method} {self._path} HTTP/1.1", f"Host: {self._netloc}", f"Authorization: Bearer {self._token}"]
        if method == "PUT":
            head += [f"Content-Length: {file.size - start}", f"Content-Type: {file.type}", "Expect: 100-continue"]
            if start:
                head.append(f"Content-Range: bytes {start}-{file.size - 1}/{file.size}")
        writer.write("\r\n".join([*head, "Connection: close", "", ""]).encode())
        if method != "PUT":
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(is_expected.wait(), EXPECT_SECONDS)
        while self._sent < file.size:
            data = await asyncio.to_thread(file.read, self._sent)
            if not data:
                raise UploadFailed(f"{file.path} has become shorter while it was sent")
            writer.write(data)
            async with asyncio.timeout(SILENCE_SECONDS):
                await writer.drain()
            self._sent += len(data)
            self._failures, self._moved_at = 0, monotonic()
            self._progress(self._sent, file.size)


async def _read_answer(method: str, reader: asyncio.StreamReader, is_expected: asyncio.Event) -> Answer:
    """Read the answer to a request. Set *is_expected* at ``100 Continue``, which another answer follows.

    The body is read only if its length is given. The end of the connection may never come: a load balancer that has
    passed on a refusal waits for the rest of the request.
    """
    try:
        while True:
            first, _, fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").partition("\r\n")
            if not (found := _status_line.fullmatch(first)):
                raise OSError(_NO_HTTP)
            if int(found[2]) >= 200:
                break
            is_expected.set()
        headers, sentence = message_from_string(fields), ""
        length = headers.get("Content-Length", "")
        if method != "HEAD" and headers.get_content_type() == "text/plain" and _number.fullmatch(length):
            body = await reader.readexactly(min(int(length), CHUNK_BYTES))
            sentence = body.decode("utf-8", "replace").strip().partition("\n")[0]
        return Answer(int(found[2]), headers, sentence[:MAX_SENTENCE] or found[1])
    except asyncio.IncompleteReadError as error:
        raise OSError(_NO_HTTP if error.partial else "the server has closed the connection") from None
    except asyncio.LimitOverrunError:  # the head is longer than 64 KiB
        raise OSError(_NO_HTTP) from None
