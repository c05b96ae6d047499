"""The server and the people beside the browser: on the line port by hand, and as a program."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.processes import free_port
from tests.real.programs import PATIENCE, TWISTD
from tests.real.zygote import start_server


class Server:
    """The installed server in a process of its own, with a web port. It can be killed and started again."""

    def __init__(self, folder: Path, *options: str, web_port: int = 0) -> None:
        self.folder = folder
        self.port = free_port()
        self.web_port = web_port or free_port()
        self._options = options
        self.pid = 0
        """The number of the process, 0 if there is none."""

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.web_port}/"

    def start(self) -> None:
        """Start, and wait until both ports listen."""
        self.spawn()
        self.wait()

    def spawn(self) -> None:
        """Start, without waiting."""
        command = ["-n", "--pidfile=", "broadcast", "--port", f"tcp:{self.port}:interface=127.0.0.1"]
        data = ["--data", str(self.folder / "data")]
        web = ["--web", f"tcp:{self.web_port}:interface=127.0.0.1"]
        with (self.folder / "output").open("ab") as output:
            arguments = [TWISTD, *command, *data, *web, *self._options]
            self.pid = start_server(arguments, os.environ, str(self.folder), output.fileno())

    def wait(self) -> None:
        """Wait until both ports listen."""
        for port in (self.port, self.web_port):
            self._wait_for(port)

    def _wait_for(self, port: int) -> None:
        def listens() -> bool:
            assert not self.has_ended(), self.output()
            with socket.socket() as connection:
                return connection.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, lambda: f"port {port} does not listen: {self.output()}")

    def output(self) -> str:
        """Return everything that the server has written."""
        return (self.folder / "output").read_text()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the process with a signal, and wait until it has ended."""
        if self.pid:
            os.kill(self.pid, number)
            wait_until(self.has_ended, lambda: f"the server does not end: {self.output()}")

    def has_ended(self) -> bool:
        """Return whether there is no process."""
        if self.pid and os.waitpid(self.pid, os.WNOHANG) != (0, 0):
            self.pid = 0
        return not self.pid


def wait_until(
    is_true: Callable[[], bool], problem: Callable[[], str] = lambda: "it did not happen", pause: float = 0.01
) -> None:
    """Wait until *is_true*, for ``PATIENCE`` at most. Ask again after each *pause*, in seconds."""
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end, problem()
        time.sleep(pause)


class Relay:
    """A network between a browser and the server, which can lose its connections without a word."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._connections: list[tuple[socket.socket, socket.socket]] = []
        self._sockets: list[socket.socket] = []
        """The two sides of each WebSocket in turn."""
        self._stalled: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/"

    def stall(self) -> None:
        """Lose all bytes of the present WebSockets from now on. New connections work."""
        self._stalled.update(self._sockets)

    def lose_answers(self) -> None:
        """Lose all bytes from the server on the present WebSockets from now on."""
        self._stalled.update(self._sockets[1::2])

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), PATIENCE)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._connections.append((client, server))
            for pair in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=self._pass_on, args=pair, daemon=True))
                self._threads[-1].start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if data.startswith(b"GET /ws"):
                    self._sockets += [source, target]
                if source not in self._stalled:
                    target.sendall(data)
        if source not in self._stalled:
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End everything."""
        for one in (self._listener, *(side for pair in self._connections for side in pair)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(PATIENCE)


class Person:
    """Somebody on the line port, by hand."""

    def __init__(self, port: int, nick: str) -> None:
        self.nick = nick
        self.seen = ""
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.say(nick)
        self.until(f"You are {nick}.")

    def say(self, *lines: str) -> None:
        """Send whole lines."""
        self._socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def until(self, text: str) -> None:
        """Read until *text* has arrived."""
        while text not in self.seen:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                data = b""
            assert data, f"{self.nick} has not seen {text!r} but {self.seen[-2000:]!r}"
            self.seen += data.decode(errors="replace")

    def read_until(self, text: str) -> str:
        """Read until *text* has arrived, and return all that was seen up to it; it is not looked at again."""
        self.until(text)
        before, _, self.seen = self.seen.partition(text)
        return before

    def until_closed(self) -> None:
        """Read until the server has closed the connection. This side stays open."""
        while data := self._socket.recv(65536):
            self.seen += data.decode(errors="replace")

    def close(self) -> None:
        """Leave without a word."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Program:
    """A program on the line port, or on a Unix socket, that speaks JSON-RPC."""

    def __init__(self, port: int | Path, nick: str, *rooms: str, **hello: object) -> None:
        self.notifications: list[dict[str, Any]] = []
        self._ids = count(1)
        if isinstance(port, Path):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(PATIENCE)
            self._socket.connect(str(port))
        else:
            self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._socket.makefile("rwb")
        try:
            self.welcome = self.call("hello", protocol=1, nick=nick, rooms=list(rooms) or ["lobby"], **hello)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, **params: object) -> Any:  # noqa: ANN401 -- any result
        """Send a request, and return its result."""
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self._file.write(json.dumps(request).encode() + b"\n")
        self._file.flush()
        while True:
            message = self._read()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.notifications.append(message)

    def until(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first notification that *is_wanted*."""
        for message in self.notifications:
            if is_wanted(message):
                return message
        while not is_wanted(message := self._read()):
            self.notifications.append(message)
        self.notifications.append(message)
        return message

    def said(self, text: str) -> dict[str, Any]:
        """Wait for a line with *text*, and return its parameters."""
        line = self.until(lambda message: message.get("params", {}).get("text") == text)
        return dict(line["params"])

    def _read(self) -> dict[str, Any]:
        while line := self._file.readline():
            if line.startswith(b"{"):
                return dict(json.loads(line))
        raise AssertionError("the program was disconnected")

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()
