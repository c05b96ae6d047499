"""The server and the people beside the browser: on the line port by hand, and as a program."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.real.programs import PATIENCE, TWISTD

LISTENING = re.compile(r"Listening on 127\.0\.0\.1 port (\d+)")
PAGE = Path(__file__).parents[2] / "broadcast" / "doors" / "web" / "page"


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """The installed server in a process of its own, with a web port. It can be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.web_port = free_port()
        self._options = options
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.web_port}/"

    @property
    def pid(self) -> int:
        """The number of the server's process."""
        return self._processes[0].pid

    def start(self) -> None:
        """Start, and wait until both ports listen."""
        command = [TWISTD, "-n", "--pidfile=", "broadcast", "--port", f"tcp:{self.port}:interface=127.0.0.1"]
        data = ["--data", str(self.folder / "data")]
        bridge = os.environ.get("BROADCAST_TEST_BRIDGE", "")
        web = [] if bridge else ["--web", f"tcp:{self.web_port}:interface=127.0.0.1"]
        self._run(*command, *data, *web, *self._options)
        if bridge:
            self._run(sys.executable, bridge, str(self.web_port), str(self.port), str(PAGE))
        for port in (self.port, self.web_port):
            self._wait_for(port)

    def _run(self, *command: str) -> None:
        with (self.folder / "output").open("ab") as output:
            self._processes.append(
                subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder)  # noqa: S603
            )

    def _wait_for(self, port: int) -> None:
        def listens() -> bool:
            assert all(process.poll() is None for process in self._processes), self.output()
            with socket.socket() as connection:
                return connection.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, lambda: f"port {port} does not listen: {self.output()}")

    def output(self) -> str:
        """Return everything that the processes have written."""
        return (self.folder / "output").read_text()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the processes with a signal, and wait until they have ended."""
        for process in self._processes:
            process.send_signal(number)
        for process in self._processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


def wait_until(is_true: Callable[[], bool], problem: Callable[[], str] = lambda: "it did not happen") -> None:
    """Wait until *is_true*, for ``PATIENCE`` at most."""
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end, problem()
        time.sleep(0.01)


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
    """A program on the line port that speaks JSON-RPC."""

    def __init__(self, port: int, nick: str, *rooms: str) -> None:
        self.notifications: list[dict[str, Any]] = []
        self._ids = count(1)
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._socket.makefile("rwb")
        self.welcome = self.call("hello", protocol=1, nick=nick, rooms=list(rooms) or ["lobby"])

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
