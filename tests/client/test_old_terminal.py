"""The front end as a whole, in this process: on a model of a terminal, against a server made of a few lines."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prompt_toolkit.input import PipeInput, create_pipe_input
from twisted.internet.asyncioreactor import AsyncioSelectorReactor

from broadcast.client import old_terminal as terminal
from broadcast.client.options import Options
from broadcast.client.screen import Screen
from tests.client.model import PATIENCE, Model

ANSWERS = {
    "quit": " * Goodbye, ann.",
    "/receipts on": "-> receipts are on.",
    "/history 1": "-> nothing was said yet.",
    "/help": "-> /names   who is here",
    "/ping": "-> pong",
    "hi": "-> #1",
}


class Server:
    """Serves one client after the other, until it is closed."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.heard: list[str] = []
        self.deaf = False
        """Whether it answers nothing."""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("r", encoding="utf-8", newline="") as lines:
                connection.sendall(b"Welcome\r\nNickname: ")
                for line in lines:
                    if not self.deaf:
                        self.heard.append(line.strip())
                        answer = ANSWERS.get(line.strip(), " * You are ann. Nobody else is here.")
                        connection.sendall(f"{answer}\r\n".encode())
                        if self.heard[-1] == "quit":
                            break

    def close(self) -> None:
        self._listening.close()


class Run:
    """The front end, running in a thread of its own."""

    def __init__(self, port: int, keys: PipeInput, model: Model) -> None:
        self.keys = keys
        self.model = model
        self.results: list[object] = []
        options = Options(host="127.0.0.1", port=port)
        self._thread = threading.Thread(target=self._run, args=[options], daemon=True)
        self._thread.start()

    def _run(self, options: Options) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            self.results.append(terminal.run(options, AsyncioSelectorReactor(loop)))
        except BaseException as failure:  # noqa: BLE001 -- the test looks at it
            self.results.append(failure)
        finally:
            loop.close()

    def shows(self, text: str) -> None:
        """Wait until *text* has been shown."""
        self.until(lambda: any(text in line for line in self.model.everything))

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is *true*."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, "\n".join(self.model.everything)
            time.sleep(0.01)

    def end(self) -> object:
        """What comes of it."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.results[0]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts the front end on a model of a terminal."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("USER", "ann")
    monkeypatch.setenv("TERM", "xterm")
    # Twisted's log can be begun only once in a process.
    monkeypatch.setattr(terminal, "_log_to", id)
    with create_pipe_input() as keys:

        def start(port: int, model: Model | None = None) -> Run:
            on = model or Model()
            monkeypatch.setattr(terminal, "create_input", lambda: keys)
            monkeypatch.setattr(terminal, "create_output", on.output)
            return Run(port, keys, on)

        yield start


Start = Callable[..., Run]


def test_a_visit_from_the_nickname_to_the_goodbye(start: Start, server: Server) -> None:
    run = start(server.port)
    run.shows("Nickname [ann]:")
    run.keys.send_text("\r")
    run.shows("You are ann.")
    run.keys.send_text("hi\r")
    run.shows("ann: hi")
    run.keys.send_text("/ping\r")
    run.shows("-> pong")  # behind the answers to what the client asks by itself
    run.keys.send_text("/na\t")
    run.shows("> /names")
    run.keys.send_text("\x03\x03")
    assert run.end() == 0
    assert server.heard == ["ann", "/receipts on", "/history 1", "/help", "/ping", "hi", "/ping", "quit"]
    assert run.model.shown[-1] == " * Goodbye, ann."


def test_a_server_that_is_not_there_is_the_end(start: Start, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    run = start(port)
    assert run.end() == 2
    assert any(f"o connection to 127.0.0.1:{port}" in line for line in run.model.shown)


def test_the_end_of_the_input_leaves(start: Start, server: Server) -> None:
    run = start(server.port)
    run.shows("Nickname [ann]:")
    run.keys.close()
    assert run.end() == 0
    assert server.heard == ["quit"]


def test_whoever_leaves_twice_does_not_wait_for_the_server(
    start: Start, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.deaf = True
    run = start(server.port)
    run.shows("Nickname [ann]:")
    run.keys.send_text("\x04")
    run.shows("leaving")
    run.keys.send_text("\x04")
    assert run.end() == 0


def test_a_failure_of_the_program_is_not_swallowed(
    start: Start, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(screen: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Screen, "run", fail)
    assert isinstance(start(server.port).end(), ZeroDivisionError)


@pytest.mark.parametrize("model", [Model(80, 2), Model(9, 24)], ids=["low", "narrow"])
def test_a_terminal_that_is_too_small_gets_plain_lines(
    start: Start, server: Server, monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    source, keys = os.pipe()
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: source))
    monkeypatch.setattr(sys, "stdout", output)
    run = start(server.port, model)
    run.until(lambda: "Nickname [ann]: " in output.getvalue())
    os.write(keys, b"\n")
    run.until(lambda: "You are ann." in output.getvalue())
    os.write(keys, b"hi\n")
    run.until(lambda: "ann: hi\n" in output.getvalue())
    os.close(keys)
    assert run.end() == 0
    assert model.written == ""
    os.close(source)
