"""``--upload`` against a fake server on real ports, which runs in a thread."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broadcast.client.batch.upload import upload
from broadcast.client.options import Options
from tests.client.protocol.fake_server import FakeServer, Port, Refusal
from tests.client.tls_servers import Identity
from tests.client.web_port import WebPort
from tests.platforms import IS_REFUSED, not_on_windows
from tests.real.programs import PATIENCE

DATA = os.urandom(300_000)


class World:
    """The server in its thread, and the client."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity: Identity | None = None
        self.web_identity: Identity | None = None
        """That of the web port, if it has one of its own."""
        self.web: WebPort
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def start(self) -> FakeServer:
        """Listen on both ports."""

        async def listen() -> None:
            context = self.identity.context() if self.identity else None
            web_context = self.web_identity.context() if self.web_identity else context
            self.web = await WebPort(await Port().listen(context=context)).listen(web_context)

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(PATIENCE)
        return self.web.port.server

    def run(self, act: Callable[[], object]) -> None:
        """Let the thread of the server act."""

        async def call() -> None:
            act()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE)

    def stop(self) -> None:
        """End the server."""

        async def close() -> None:
            self.web.close()
            self.web.port.close()
            self.web.port.abort()
            await asyncio.sleep(0.01)

        if hasattr(self, "web"):
            asyncio.run_coroutine_threadsafe(close(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def upload(self, **fields: Any) -> tuple[int, str]:  # noqa: ANN401 -- those of Options
        given = {"host": "127.0.0.1", "port": self.web.port.number, "upload": str(self.path)}
        return upload(Options(**{**given, **fields}))

    @property
    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "broadcast.client",
            "127.0.0.1",
            str(self.web.port.number),
            "--upload",
            str(self.path),
        ]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("USER", "ann")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "state"))
    path = tmp_path / "report.pdf"
    path.write_bytes(DATA)
    world = World(path)
    yield world
    world.stop()


def test_the_address_of_the_file_is_printed(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    server = world.start()
    assert world.upload(rooms=("Kitchen", "hall"), nick="builder") == (0, "")
    assert capfd.readouterr() == (f"http://127.0.0.1:{world.web.number}/files/k3x/report.pdf\n", "")
    (line,) = server.lines["kitchen"]
    assert (line["nick"], line["file"]["size"]) == ("builder", len(DATA))
    assert [method for method, _ in server.calls] == ["hello", "upload", "upload", "quit"]
    assert server.calls[0][1]["private"] is False


def test_the_receipt_can_be_json(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.start().say("earlier")
    assert world.upload(json=True) == (0, "")
    receipt = json.loads(capfd.readouterr().out)
    assert receipt["seq"] == 2
    assert receipt["file"]["url"].endswith("/files/k3x/report.pdf")


def test_a_lost_connection_costs_nothing(world: World) -> None:
    server = world.start()
    world.web.cuts = [1, 100_000]
    assert world.upload() == (0, "")
    assert len(server.lines["lobby"]) == 1


def test_a_taken_nickname_of_the_user_gets_a_number(world: World) -> None:
    server = world.start()
    world.run(lambda: server.connect().do_hello(1, "x", "ann"))
    assert world.upload() == (0, "")
    assert server.lines["lobby"][0]["nick"] == "ann2"
    assert world.upload(nick="ann") == (3, "the nickname was refused: This is refused: nick-refused.")


def test_a_registered_nickname_needs_its_password(world: World, tmp_path: Path) -> None:
    server = world.start()
    server.passwords["ann"] = "secret"
    hint = "This is refused: password-needed. --password-file FILE gives it."
    assert world.upload(nick="ann") == (3, f"the nickname was refused: {hint}")
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("secret")
    assert world.upload(nick="ann", password_file=str(file)) == (0, "")
    file.write_text("wrong")
    assert world.upload(nick="ann", password_file=str(file))[0] == 3


def test_what_the_server_refuses_is_status_5(world: World) -> None:
    server = world.start()
    world.web.refusal = ("507 Insufficient Storage", "the files on this server take 1 GB, which is the limit.")
    assert world.upload() == (5, "the files on this server take 1 GB, which is the limit.")
    server.fails["upload"] = Refusal(1030, "too-many-files")
    assert world.upload() == (5, "This is refused: too-many-files.")
    server.refused_rooms = {"cellar"}
    assert world.upload(rooms=("cellar",)) == (5, "the room was refused: This is refused: no-such-room.")


def test_a_file_that_cannot_be_read_is_status_1_and_nobody_sees_the_client(world: World, tmp_path: Path) -> None:
    server = world.start()
    assert world.upload(upload=str(tmp_path / "missing"))[0] == 1
    assert world.upload(upload=str(tmp_path)) == (1, f"{tmp_path} is not a file but a folder or a device")
    assert server.calls == []


def test_a_server_that_is_not_there_is_status_2(world: World) -> None:
    world.start()
    world.run(world.web.close)
    place = f"127.0.0.1:{world.web.number}"
    status, why = world.upload()
    assert status == 2
    assert re.fullmatch(f"no connection to {place} for files: {IS_REFUSED}", why)
    world.run(world.web.port.close)
    assert world.upload()[0] == 2
    assert world.upload(timeout=0.1) == (4, "the server has confirmed nothing for too long")


def test_a_server_that_ends_the_session_is_status_4(world: World) -> None:
    server = world.start()
    give_slot = server.give_slot
    assert give_slot

    def kick(connection: Any, params: Any) -> Any:  # noqa: ANN401
        server.announce({"method": "goodbye", "reason": "kicked by bob", "reconnect": False})
        connection.close()
        return give_slot(connection, params)

    server.give_slot = kick
    assert world.upload() == (4, "kicked by bob")


def test_an_upload_without_progress_is_status_4(world: World) -> None:
    world.start()
    world.web.is_paused = True
    assert world.upload(timeout=0.3) == (4, "the server has confirmed nothing for too long")
    world.web.is_paused = False


def test_the_key_of_the_server_is_checked(world: World, tmp_path: Path) -> None:
    world.identity = Identity(tmp_path)
    world.start()
    assert world.upload(tls=True, fingerprint=world.identity.fingerprint) == (0, "")
    status, reason = world.upload(tls=True)
    assert status == 7
    assert f"accept it with --fingerprint {world.identity.fingerprint}" in reason
    assert world.upload(tls=True, fingerprint=f"SHA256:{'a1' * 32}")[0] == 7


def test_the_key_of_the_web_port_is_checked(world: World, tmp_path: Path) -> None:
    world.identity, world.web_identity = Identity(tmp_path), Identity(tmp_path)
    world.start()
    ours, theirs = world.identity.fingerprint, world.web_identity.fingerprint
    reason = f"the key of 127.0.0.1:{world.web.number} is {theirs}, and not {ours}"
    assert world.upload(tls=True, fingerprint=ours) == (7, reason)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_output_that_cannot_be_written_is_status_6(world: World) -> None:
    world.start()
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device
        process = subprocess.run(world.command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)  # noqa: PLW1510, S603
    assert process.returncode == 6
    assert "the standard output cannot be written" in process.stderr


@not_on_windows("Windows has no signals for other processes")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_cancels_the_upload_and_leaves(world: World, number: signal.Signals, status: int) -> None:
    server = world.start()
    world.web.is_paused = True
    process = subprocess.Popen(world.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
    while not world.web.requests:
        assert process.poll() is None
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE) == (b"", b"")
    world.web.is_paused = False
    assert process.returncode == status
    assert server.lines["lobby"] == []
    assert server.calls[-1][0] == "quit"


@not_on_windows("Windows' Python has no pseudo-terminals")
def test_the_progress_is_on_a_terminal_only_and_is_removed(world: World) -> None:
    world.start()
    ours, theirs = os.openpty()
    process = subprocess.Popen(  # noqa: S603 -- the test's own command
        world.command, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "PYTHONIOENCODING": "utf-8"}
    )
    out, _ = process.communicate(timeout=PATIENCE)
    os.close(theirs)
    progress = os.read(ours, 65536).decode()
    os.close(ours)
    assert out.startswith(b"http://")
    bar = "[##########] 100%"
    assert f"\r{bar}" in progress
    assert progress.endswith(f"\r{' ' * len(bar)}\r")
