"""``--send`` against the fake server in memory. Time passes only where the client waits."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

import broadcast
from broadcast.client.batch import exchange, send
from broadcast.client.batch.exchange import Lost
from broadcast.client.options import TIMEOUT_SECONDS, Options
from tests.client.protocol.fake_server import FakeConnection, FakeServer, Refusal

USER_NAMES = ["ann", *(f"ann{number}" for number in range(2, 10))]


class FakeSocket:
    """A connection to the fake server. *cut_after* is the number of received bytes after which it breaks."""

    def __init__(self, connection: FakeConnection, cut_after: int | None, *, has_ghosts: bool) -> None:
        self.connection = connection
        self.cut_after = cut_after
        self._has_ghosts = has_ghosts

    def setblocking(self, _blocking: bool) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        return -1

    def send(self, data: bytes) -> int:
        self.connection.receive(bytes(data[:1000]))
        return min(len(data), 1000)

    def recv(self, size: int) -> bytes:
        data = bytes(self.connection.output[:size])
        if self.cut_after is not None:
            if self.cut_after <= 0:
                raise ConnectionResetError(errno.ECONNRESET, "reset")
            data = data[: self.cut_after]
            self.cut_after -= len(data)
        del self.connection.output[: len(data)]
        if not data and not self.connection.is_closed:
            raise BlockingIOError
        return data

    def close(self) -> None:
        if not self._has_ghosts:
            self.connection.close()


class World:
    """The server, the time, and the standard input of the client."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.server = FakeServer()
        self.now = 1000.0
        self.sockets: list[FakeSocket] = []
        self.cuts: list[int] = []
        """The numbers of bytes after which the next connections break."""
        self.refusals = 0
        """The number of next attempts to connect that fail."""
        self.stdin: list[bytes | Callable[[], None]] = []
        """Chunks of the input, and things that happen while it is waited for. The end of the list is the end."""
        self.was_read_at: list[int] = []
        """The numbers of stored lines when chunks were read."""
        self.has_ghosts = False
        """Whether the server does not notice that a connection is lost."""
        patch.setattr(exchange, "_connect", self._connect)
        patch.setattr(exchange.Connection, "_poll", partialmethod(_poll, self))
        for module in (exchange, send):
            patch.setattr(module, "monotonic", lambda: self.now)
        patch.setattr(send, "sleep", self.advance)
        patch.setattr(send, "_read_input", self._read)
        patch.setenv("USER", "ann")

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def send(self, text: str = "-", **fields: Any) -> tuple[int, str]:  # noqa: ANN401 -- those of Options
        return send.send(Options(**{"host": "there", "send": text, **fields}))

    @property
    def stored(self) -> list[str]:
        return [line["text"] for line in self.server.lines["lobby"]]

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.server.calls]

    def restart(self) -> None:
        self.server.lose_sessions()

    def _connect(self, _host: str, _port: int, _deadline: float) -> FakeSocket:
        if self.refusals:
            self.refusals -= 1
            raise Lost("Connection refused")
        cut = self.cuts.pop(0) if self.cuts else None
        self.sockets.append(FakeSocket(self.server.connect(), cut, has_ghosts=self.has_ghosts))
        return self.sockets[-1]

    def poll(self, seconds: float) -> None:
        connection = self.sockets[-1].connection
        if not (connection.output or connection.is_closed) and self.sockets[-1].cut_after is None:
            self.advance(seconds)

    def _read(self) -> bytes:
        while self.stdin and callable(self.stdin[0]):
            self.stdin.pop(0)()  # type: ignore[operator]
        self.was_read_at.append(len(self.stored))
        chunk = self.stdin.pop(0) if self.stdin else b""
        assert isinstance(chunk, bytes)
        return chunk


def _poll(connection: exchange.Connection, world: World, seconds: float) -> None:
    if not connection._unsent:
        world.poll(seconds)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


# Lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a", ["a"]),
        ("a\n\n \nb\r\nc\rd\n", ["a", "b", "c", "d"]),
        ("  a ", ["  a "]),
        ("quit\n/names\n- -- --nick", ["quit", "/names", "- -- --nick"]),
        ("caf\udce9", ["caf\ufffd"]),
    ],
)
def test_each_line_of_a_text_is_said(world: World, text: str, lines: list[str]) -> None:
    assert world.send(text) == (0, "")
    assert world.stored == lines
    assert world.methods[-1] == "quit"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_each_line_of_the_standard_input_is_said_however_it_is_cut(world: World, size: int) -> None:
    data = "\r\na\r\n\r\nbé\rc\n last".encode()
    world.stdin += [data[at : at + size] for at in range(0, len(data), size)]
    assert world.send() == (0, "")
    assert world.stored == ["a", "bé", "c", " last"]


def test_an_empty_standard_input_is_a_success_and_an_empty_text_is_wrong(world: World) -> None:
    assert world.send() == (0, "")
    assert world.send("\n \n") == (1, "there is nothing to send")
    assert world.methods == ["hello", "quit"]


def test_lines_of_which_the_server_leaves_nothing_are_skipped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    say = FakeConnection.do_say

    def strip(self: FakeConnection, room: str, text: str, uid: str) -> dict[str, Any]:
        if text == "\x1b":
            raise Refusal(1009, "empty")
        return say(self, room, text, uid)

    monkeypatch.setattr(FakeConnection, "do_say", strip)
    assert world.send("a\n\x1b\nb") == (0, "")
    assert world.stored == ["a", "b"]
    assert world.send("\x1b") == (1, "there is nothing to send")
    world.stdin = [b"\x1b\nc\n", b"d\n", b"x" * 5000]
    assert world.send() == (5, "line 4 of the input holds more than 4,096 bytes; 2 of 2 lines are known to be stored")
    assert world.stored == ["a", "b", "c", "d"]


def test_the_room_and_the_nickname_are_those_of_the_options(world: World) -> None:
    assert world.send("hi", nick="builder", rooms=("Kitchen", "hall")) == (0, "")
    (line,) = world.server.lines["kitchen"]
    assert (line["nick"], line["text"]) == ("builder", "hi")
    assert world.server.calls[0][1] | {"client": ""} == {
        "protocol": 1, "client": "", "nick": "builder", "rooms": ["Kitchen"], "replay": 0, "grace": 0
    }  # fmt: skip


def test_stored_lines_are_printed_as_json(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.server.say("earlier")
    assert world.send('é "quoted"\n x', json=True) == (0, "")
    output = capfd.readouterr().out
    assert output.startswith('{"seq": 2, "text": "é')
    assert [json.loads(line) for line in output.splitlines()] == [
        {"seq": 2, "text": 'é "quoted"'},
        {"seq": 3, "text": " x"},
    ]


@pytest.mark.parametrize(
    ("number", "ending"),
    [
        (errno.EPIPE, (141, "")),
        (errno.ENOSPC, (6, f"the standard output cannot be written: {os.strerror(errno.ENOSPC)}")),
    ],
)
def test_an_output_that_cannot_be_written_ends_the_client(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int, ending: tuple[int, str]
) -> None:
    def fail(_line: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(send, "_print", fail)
    assert world.send("a\nb", json=True) == ending


def test_an_input_that_cannot_be_read_ends_the_client_after_the_lines_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = world._read

    def fail() -> bytes:
        if not world.stdin:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read()

    monkeypatch.setattr(send, "_read_input", fail)
    world.stdin = [b"one\nhalf of a li"]
    reason = f"the standard input cannot be read: {os.strerror(errno.EIO)}; 1 of 1 line known to be stored"
    assert world.send() == (6, reason.replace("line known", "line is known"))
    assert world.stored == ["one"]


def test_the_input_is_read_as_fast_as_lines_are_stored(world: World) -> None:
    world.stdin = [b"x\n" * 600, b"y\n", b"z\n"]
    assert world.send() == (0, "")
    assert len(world.stored) == 602
    assert world.was_read_at == [0, 600, 601, 602]


# Refusals


def test_nothing_of_a_text_is_said_if_a_line_is_too_long(world: World) -> None:
    status, reason = world.send("a\n" + "é" * 2049)
    assert (status, world.stored) == (5, [])
    assert reason == "line 2 of the input holds more than 4,096 bytes; 0 of 1 line is known to be stored"


def test_the_lines_before_one_that_is_too_long_are_said(world: World) -> None:
    world.stdin = [b"a\n\n" + b"x" * 4097 + b"\nb\n"]
    reason = "line 3 of the input holds more than 4,096 bytes; 1 of 1 line is known to be stored"
    assert world.send() == (5, reason)
    assert world.stored == ["a"]


def test_an_endless_line_is_not_held_in_memory(world: World) -> None:
    world.stdin = [b"x" * 3000] * 3
    status, reason = world.send()
    assert status == 5
    assert reason == "line 1 of the input holds more than 4,096 bytes"
    assert world.stdin


def test_a_line_that_becomes_too_long_as_json_is_refused(world: World) -> None:
    world.stdin = [b"a\n" + b"\x01" * 4000 + b"\n"]
    status, reason = world.send()
    assert (status, world.stored) == (5, ["a"])
    assert reason.endswith("makes a request of more than 16,384 bytes; 1 of 2 lines are known to be stored")


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Refusal(1005, "not-in-room"), "This is refused: not-in-room"),
        (Refusal(1012, "uid-reused"), "This is refused: uid-reused"),
        (Refusal(1008, "too-long"), "This is refused: too-long"),
    ],
)
def test_a_refused_line_is_the_end_after_all_sent_ones_are_answered(
    world: World, refusal: Refusal, reason: str
) -> None:
    world.server.fails["say"] = refusal
    assert world.send("a\nb") == (5, f"{reason}; 0 of 2 lines are known to be stored")


def test_nicknames_of_the_user_are_tried_one_after_the_other(world: World) -> None:
    for name in USER_NAMES[:2]:
        holder = world.server.connect()
        holder.do_hello(1, "x", name)
    assert world.send("x") == (0, "")
    assert world.server.lines["lobby"][0]["nick"] == "ann3"


@pytest.mark.parametrize("fields", [{"nick": "ann"}, {}])
def test_a_refused_nickname_is_status_3(world: World, fields: dict[str, str]) -> None:
    for name in USER_NAMES:
        world.server.connect().do_hello(1, "x", name)
    world.stdin = [b"not read\n"]
    assert world.send(**fields) == (3, "the nickname was refused: This is refused: nick-refused.")
    assert world.was_read_at == []


def test_a_refused_room_is_status_5(world: World) -> None:
    world.server.fails["hello"] = Refusal(1004, "room-refused")
    assert world.send("x", rooms=("a b",)) == (5, "the room was refused: This is refused: room-refused.")


# The first connection


def test_a_first_connection_that_fails_is_status_2_at_once(world: World) -> None:
    world.refusals = 1
    assert world.send("x") == (2, "no connection to there:5555: Connection refused")
    assert world.now == 1000


def test_with_a_timeout_the_first_connection_is_tried_again(world: World) -> None:
    world.refusals = 3
    assert world.send("x", timeout=20.0) == (0, "")
    world.refusals = 1000
    before = world.now
    assert world.send("x", timeout=20.0) == (2, "no connection to there:5555: Connection refused")
    assert before < world.now <= before + 20


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "this is no broadcast server; it says: SSH-2.0-OpenSSH_9.2"),
        (b" * This server is full. Try again later.\r\n", "This server is full. Try again later."),
        (b"", "the server closed the connection; if it is a TLS port, connect with --tls"),
        (b"\x15\x03\x03\0\2\2\x46", "the port speaks TLS: connect with --tls"),
        (b'{"id": 0}\n', "the server has sent a message that cannot be understood"),
        (b"{[]\n", "the server has sent a line that is no message"),
        (b"{}\n[]\n", "the server has sent a message that cannot be understood"),
    ],
)
def test_another_service_on_the_port_is_status_2(world: World, greeting: bytes, reason: str) -> None:
    world.server.greeting = greeting
    world.cuts = [1000]
    connect = world.server.connect

    def close_at_once() -> FakeConnection:
        connection = connect()
        connection.close()
        return connection

    world.server.connect = close_at_once  # type: ignore[method-assign]  # this server ends at once
    assert world.send("x") == (2, f"no connection to there:5555: {reason}")


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_ban_of_the_address_is_status_3_at_once(world: World, timeout: float | None) -> None:
    world.server.greeting = b" * You are banned.\r\n"
    world.cuts = [1000]
    connect = world.server.connect

    def close_at_once() -> FakeConnection:
        connection = connect()
        connection.close()
        return connection

    world.server.connect = close_at_once  # type: ignore[method-assign]  # this server ends at once
    assert world.send("x", timeout=timeout) == (3, "no connection to there:5555: You are banned.")
    assert world.now == 1000


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_server_of_version_0_1_is_status_2_at_once(world: World, timeout: float | None) -> None:
    world.server.greeting = b"Welcome to Broadcast.\r\nNickname: -> Error: a nickname has at most 24 characters.\r\nNi"
    status, reason = world.send("x", timeout=timeout)
    assert status == 2
    assert "this server speaks only the line protocol (broadcast 0.1)" in reason
    assert world.now == 1000


def test_a_silent_service_is_status_2_after_30_seconds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeConnection, "receive", lambda *_: None)
    world.server.greeting = b""
    assert world.send("x") == (
        2, "no connection to there:5555: nobody answers there, or it is no broadcast server"
    )  # fmt: skip
    assert world.now == 1030


# Lost connections


@pytest.mark.parametrize("has_ghosts", [True, False])
def test_each_line_is_said_once_and_in_order_wherever_connections_break(
    world: World, capfd: pytest.CaptureFixture[str], has_ghosts: bool
) -> None:
    world.has_ghosts = has_ghosts
    texts = [f"line {number}" for number in range(20)]
    for cut in range(900, 6000, 83):
        world.server = FakeServer()
        world.cuts = [cut, 700, cut // 2, cut]
        world.stdin = ["\n".join(texts[:10]).encode(), ("\n" + "\n".join(texts[10:])).encode()]
        assert world.send(json=True) == (0, "")
        assert world.stored == texts
        assert {line["nick"] for line in world.server.lines["lobby"]} == {"ann"}
        printed = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert printed == [{"seq": number, "text": text} for number, text in enumerate(texts, 1)]


def test_a_restart_of_the_server_while_the_input_is_waited_for_is_survived(world: World) -> None:
    def stop() -> None:
        world.restart()
        world.refusals = 3

    world.stdin = [b"a\n", lambda: world.advance(1000), stop, b"b\n"]
    assert world.send() == (0, "")
    assert world.stored == ["a", "b"]


def test_a_line_that_was_stored_under_another_nickname_is_confirmed(world: World) -> None:
    world.server.fails["say"] = Refusal(1012, "uid-reused", seq=7)
    assert world.send("a") == (0, "")


def test_a_goodbye_says_when_to_come_back(world: World) -> None:
    def stop() -> None:
        world.server.announce({"method": "goodbye", "reason": "Down.", "reconnect": True, "after": 7.5})
        world.restart()

    world.stdin = [b"a\n", stop, b"b\n"]
    assert world.send() == (0, "")
    assert world.now == 1007.5


def test_a_goodbye_for_good_is_the_end(world: World) -> None:
    def ban() -> None:
        world.server.announce({"method": "goodbye", "reason": "You are banned.", "reconnect": False})
        world.restart()

    world.stdin = [b"a\n", ban, b"b\n"]
    reason = "the connection to there:5555 was lost: You are banned; 1 of 2 lines are known to be stored"
    assert world.send() == (4, reason)


def test_a_server_that_stays_away_is_given_up_after_the_timeout(world: World) -> None:
    def stop() -> None:
        world.restart()
        world.refusals = 1000

    world.stdin = [b"a\n", lambda: world.advance(1000), stop, b"b\n"]
    reason = "the connection to there:5555 was lost: Connection refused; 1 of 2 lines are known to be stored"
    assert world.send() == (4, reason)
    assert 2059 < world.now <= 2060


def test_while_no_line_waits_a_server_that_stays_away_does_not_matter(world: World) -> None:
    def stop() -> None:
        world.restart()
        world.refusals = 1000

    world.stdin = [b"a\n", stop]
    assert world.send() == (0, "")


@pytest.mark.parametrize(("refusal", "why"), [(1001, "not-kept"), (1011, "going-down"), (-32603, "fault")])
def test_lines_that_cannot_be_stored_now_are_sent_again_until_the_timeout(
    world: World, monkeypatch: pytest.MonkeyPatch, refusal: int, why: str
) -> None:
    say = FakeConnection.do_say

    def fail(self: FakeConnection, room: str, text: str, uid: str) -> dict[str, Any]:
        if world.now < until and text != "a":
            raise Refusal(refusal, why)
        return say(self, room, text, uid)

    monkeypatch.setattr(FakeConnection, "do_say", fail)
    until = world.now + 30
    assert world.send("a\nb\nc") == (0, "")
    assert world.stored == ["a", "b", "c"]
    assert 1030 <= world.now < 1060
    until = world.now + 1000
    lost = f"the connection to there:5555 was lost: This is refused: {why}"
    assert world.send("a\nb\nc") == (4, f"{lost}; 1 of 3 lines are known to be stored")
    assert world.now < until


def test_a_server_that_falls_silent_is_left_for_another_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = FakeConnection.receive

    def hear(self: FakeConnection, data: bytes) -> None:
        if b'"say"' not in data or len(world.sockets) > 1:
            receive(self, data)

    monkeypatch.setattr(FakeConnection, "receive", hear)
    world.has_ghosts = True
    assert world.send("a\nb") == (0, "")
    assert world.stored == ["a", "b"]
    assert 1000 + send.ANSWER_SECONDS <= world.now < 1000 + TIMEOUT_SECONDS
    assert [line["nick"] for line in world.server.lines["lobby"]] == ["ann", "ann"]


def test_a_server_that_never_answers_is_status_4_after_the_timeout(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = FakeConnection.receive
    monkeypatch.setattr(FakeConnection, "receive", lambda self, data: b'"say"' in data or receive(self, data))
    reason = "the connection to there:5555 was lost: it has fallen silent; 0 of 1 line is known to be stored"
    assert world.send("a") == (4, reason)
    assert 1040 <= world.now <= 1060


def test_one_who_waits_for_input_stays_as_long_as_the_server_pings(world: World) -> None:
    def ping() -> None:
        world.advance(60)
        world.server.announce({"method": "ping"})

    world.stdin = [*[ping] * 10, b"late\n"]
    assert world.send() == (0, "")
    assert world.methods == ["hello", "say", "quit"]


def test_a_nickname_that_is_taken_by_another_person_meanwhile_is_waited_for(world: World) -> None:
    def take() -> None:
        world.restart()
        world.server.connect().do_hello(1, "x", "ann")

    world.stdin = [b"a\n", take, b"b\n"]
    status, reason = world.send()
    assert status == 4
    assert reason.startswith("the connection to there:5555 was lost: This is refused: nick-refused; 1 of 2")


def test_another_journal_begins_anew(world: World) -> None:
    world.stdin = [b"a\n", world.server.lose_journal, b"b\n"]
    assert world.send() == (0, "")
    assert world.stored == ["b"]


def test_a_server_that_never_says_goodbye_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = FakeConnection.receive
    monkeypatch.setattr(FakeConnection, "receive", lambda self, data: b'"quit"' in data or receive(self, data))
    world.stdin = [b"a\n"]
    assert world.send() == (0, "")
    assert world.now == 1000 + send.LEAVE_SECONDS


@pytest.mark.parametrize("ignored", [False, True])
def test_sigterm_ends_the_client_unless_it_is_ignored(world: World, ignored: bool) -> None:
    if ignored:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    world.stdin = [b"a\n", lambda: signal.raise_signal(signal.SIGTERM), b"b\n"]
    assert world.send() == ((0, "") if ignored else (143, ""))
    assert world.stored == (["a", "b"] if ignored else ["a"])


def test_the_end_skips_the_slow_way_out_of_the_interpreter() -> None:
    code = "import atexit; from broadcast.client.__main__ import main; atexit.register(print, 'slow')\n"
    command = [sys.executable, "-c", f"{code}main(['127.0.0.1:1', '--send', 'x'])"]
    environment = {**os.environ, "PYTHONPATH": str(Path(broadcast.__file__).parents[1])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)  # noqa: S603
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("broadcast-client: no connection to 127.0.0.1:1: ")


def test_the_start_imports_nothing_slow() -> None:
    """``python -c pass`` takes 14 ms; each of these takes 5 to 60 ms more."""
    code = "import sys, broadcast.client.__main__, broadcast.client.batch.send; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(broadcast.__file__).parents[1])}
    command = [sys.executable, "-S", "-c", code]
    found = subprocess.run(  # noqa: S603
        command, env=environment, capture_output=True, text=True, check=True, timeout=200
    ).stdout.split()
    assert "broadcast.client.batch.send" in found
    slow = {"argparse", "asyncio", "dataclasses", "inspect", "msgspec", "prompt_toolkit", "socket", "twisted", "typing"}
    assert not slow & set(found)


# Passwords


def with_password(world: World, tmp_path: Path, password: str = "correct horse") -> dict[str, Any]:
    """Register ann, and return the options of a client that has *password* in a file."""
    world.server.passwords["ann"] = "correct horse"
    path = tmp_path / "password"
    path.write_text(f"{password}\n")
    path.chmod(0o600)
    return {"nick": "ann", "password_file": str(path)}


def test_the_password_is_sent_at_each_hello(world: World, tmp_path: Path) -> None:
    world.cuts = [2000]
    world.stdin = [b"one\n", world.restart, b"two\n"]
    assert world.send(**with_password(world, tmp_path)) == (0, "")
    assert world.stored == ["one", "two"]
    assert all(params["password"] for method, params in world.server.calls if method == "hello")


def test_a_ban_is_a_refused_nickname(world: World) -> None:
    world.server.fails["hello"] = Refusal(1026, "banned", until=None)
    assert world.send("hi", nick="ann") == (3, "the nickname was refused: This is refused: banned.")
    assert world.stored == []


def test_a_missing_or_wrong_password_is_a_refused_nickname(world: World, tmp_path: Path) -> None:
    options = with_password(world, tmp_path, "battery staple")
    assert world.send("hi", **options) == (3, "the nickname was refused: This is refused: wrong-password.")
    assert world.send("hi", nick="ann") == (
        3,
        "the nickname was refused: This is refused: password-needed. --password-file FILE gives it.",
    )
    assert world.stored == []


def test_without_a_nickname_a_registered_one_is_passed_over(world: World, tmp_path: Path) -> None:
    with_password(world, tmp_path)
    assert world.send("hi") == (0, "")
    assert world.server.lines["lobby"][0]["nick"] == "ann2"


def test_a_password_that_is_changed_meanwhile_ends_the_client(world: World, tmp_path: Path) -> None:
    def change() -> None:
        world.server.passwords["ann"] = "battery staple"
        world.restart()

    world.stdin = [b"one\n", change, b"two\n"]
    status, why = world.send(**with_password(world, tmp_path))
    assert (status, why) == (
        3,
        "the nickname was refused: This is refused: wrong-password; 1 of 2 lines are known to be stored",
    )


def test_a_busy_server_is_tried_again_when_it_says(world: World, tmp_path: Path) -> None:
    world.server.fails["hello"] = Refusal(1028, "busy", retry=7)
    before = world.now
    assert world.send("hi", timeout=20.0, **with_password(world, tmp_path))[0] == 2
    assert world.now - before >= 14
