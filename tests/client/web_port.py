"""The part of a web port that takes files, for the fake server of the program protocol."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any
from urllib.parse import quote

from tests.client.protocol.fake_server import FakeConnection, Port, Refusal


@dataclass
class Slot:
    """The place for a file."""

    params: dict[str, Any]
    nick: str
    session: str
    data: bytes = b""


class WebPort:
    """A web port on the loopback interface. ``upload`` of *port* gives slots of it."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.slots: dict[str, Slot] = {}
        self.cuts: list[int] = []
        """The numbers of bytes of files after which the next connections break."""
        self.refusal: tuple[str, str] | None = None
        """The status and the sentence with which uploads are refused."""
        self.closes = True
        """Whether the server closes a connection after its answer. A load balancer may leave it open."""
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.before_answer: Callable[[], None] | None = None
        """Called once, when a file is complete and shared, before its answer."""
        self.is_paused = False
        """Whether the bytes of files are not read."""
        self.seconds_to_finish = 0.0
        """The time that the disk takes. The connection breaks meanwhile."""
        self.scheme = "http"
        self.number = 0
        self._tokens = map("secret-{}".format, count(1))
        self._listening: asyncio.Server | None = None
        port.server.give_slot = self._give_slot

    async def listen(self, context: ssl.SSLContext | None = None) -> WebPort:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.number, ssl=context)
        self.number = self._listening.sockets[0].getsockname()[1]
        self.scheme = "https" if context else "http"
        return self

    def close(self) -> None:
        assert self._listening
        self._listening.close()

    def _give_slot(self, connection: FakeConnection, params: dict[str, Any]) -> dict[str, Any]:
        if params["size"] > 25_000_000:
            raise Refusal(1030, "file-too-large")
        for line in self.port.server.lines[params["room"]]:
            if line.get("uid") == params["uid"]:
                return {"file": line["file"], "seq": line["seq"], "at": line["at"]}
        same = [token for token, slot in self.slots.items() if slot.params["uid"] == params["uid"]]
        token = same[0] if same else next(self._tokens)
        self.slots.setdefault(token, Slot(params, connection.me.nick, connection.me.session))
        url = f"{self.scheme}://127.0.0.1:{self.number}/files/{quote(params['name'])}"
        return {"url": url, "token": token, "expires": 600.0}

    def share(self, token: str) -> None:
        """Tell the room of a complete file."""
        slot = self.slots.pop(token)
        params, server = slot.params, self.port.server
        url = f"{self.scheme}://127.0.0.1:{self.number}/files/k3x/{quote(params['name'])}"
        file = {"id": "k3x", "name": params["name"], "size": params["size"], "type": params["type"], "url": url}
        file["sha256"] = sha256(slot.data).hexdigest()
        assert file["sha256"] == params["sha256"]
        more = {"file": file, "session": slot.session, "uid": params["uid"]}
        server.store("shared", params["room"], file["name"], slot.nick, **more)
        self.port.flush()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            answer = await self._answer(head, reader, writer)
            if answer is None:
                writer.transport.abort()
            else:
                writer.write(answer.encode())
                await writer.drain()
                while not self.closes and await reader.read(4096):
                    pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(  # noqa: C901, PLR0911, PLR0912 -- a table
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str | None:
        """Return the answer to a request, or None if the connection breaks."""
        first, *rows = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(row.split(": ", 1) for row in rows)
        self.requests.append((f"{method} {path}", headers))
        token = headers["Authorization"].removeprefix("Bearer ")
        slot = self.slots.get(token)
        if self.refusal is not None:
            return _response(*self.refusal)
        if slot is None:
            return _response("410 Gone", "This upload is over, or there was none.")
        if method == "DELETE":
            del self.slots[token]
            return "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        if method == "HEAD":
            return f"HTTP/1.1 204 No Content\r\nUpload-Offset: {len(slot.data)}\r\nConnection: close\r\n\r\n"
        length, size = int(headers["Content-Length"]), slot.params["size"]
        if (place := headers.get("Content-Range")) is None:
            slot.data = b""
        elif place != f"bytes {len(slot.data)}-{size - 1}/{size}" or length != size - len(slot.data):
            return _response("416 Range Not Satisfiable", "The upload goes on elsewhere.")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        cut = self.cuts.pop(0) if self.cuts else None
        while self.is_paused:
            await asyncio.sleep(0.001)
        while length:
            data = await reader.read(min(length, 4096 if cut is None else max(1, min(cut, 4096))))
            if not data:
                return None
            slot.data += data
            length -= len(data)
            if cut is not None:
                cut -= len(data)
                if cut <= 0:
                    return None
        if self.seconds_to_finish:
            asyncio.get_running_loop().call_later(self.seconds_to_finish, self.share, token)
            return None
        self.share(token)
        if self.before_answer is not None:
            act, self.before_answer = self.before_answer, None
            act()
            return None
        return _response("201 Created", "")


def _response(status: str, text: str) -> str:
    body = f"{text}\n" if text else ""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
