"""The library for scripts, against the fake server in the thread of another loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from broadcast.client import aio
from broadcast.client.aio import ChatError, Disconnected, Ended, NickRejected, Reconnected, Said, Unreachable
from broadcast.client.protocol import requests
from broadcast.client.protocol.session import Session
from broadcast.client.sync import Chat, connect
from tests.client.protocol.fake_server import Port, PortConnection
from tests.client.test_aio import PATIENCE, Immediately
from tests.platforms import not_on_windows

R = TypeVar("R")


class PortInThread:
    """A port whose loop runs in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.port = Port()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.port.listen(), self.loop).result(PATIENCE)

    def do(self, action: Callable[[], R]) -> R:
        async def run() -> R:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE)

    def stop(self) -> None:
        self.do(self.port.abort)
        self.do(self.port.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortInThread]:
    monkeypatch.setattr(aio, "_random", Immediately)
    remote = PortInThread()
    remote.start()
    yield remote
    remote.stop()


def until_said(chat: Chat, count: int) -> list[str]:
    texts: list[str] = []
    for event in chat:
        if isinstance(event, Said):
            texts.append(event.text)
        if len(texts) == count:
            break
    return texts


def test_a_script_says_lines_and_gets_events(remote: PortInThread) -> None:
    threads = threading.active_count()
    with connect("127.0.0.1", remote.port.number, nick="builder") as chat:
        assert chat.say("the nightly build has failed") == 1
        remote.do(lambda: remote.port.say("oh no"))
        assert until_said(chat, 2) == ["the nightly build has failed", "oh no"]
    assert not remote.port.server.sessions
    assert threading.active_count() == threads
    with pytest.raises(Ended):
        chat.say("too late")


def test_all_methods(remote: PortInThread) -> None:
    with connect("127.0.0.1", remote.port.number, nick="builder") as chat:
        chat.say("a word")
        assert chat.emote("waves") == 2
        assert chat.tell("away", "psst") == "lunch"
        assert chat.join("kitchen").room == "kitchen"
        assert chat.joined == ["lobby", "kitchen"]
        assert [room.room for room in chat.rooms()] == ["lobby", "kitchen"]
        chat.leave("kitchen")
        chat.topic("soup")
        chat.away("lunch")
        assert [person.away for person in chat.members()] == ["lunch"]
        assert [line.text for line in chat.search("word")] == ["a word"]
        assert [chat.is_own(line) for line in chat.history(last=2)] == [True, True]
        assert chat.nick("robot") == chat.nickname == "robot"
        assert chat.call(requests.CheckConnection()) == requests.Nothing()
        assert until_said(chat, 1) == ["a word"]
        assert chat.resume
        assert chat.resume.rooms == {"lobby": 1}
        chat.close("bye")
        assert all(not isinstance(event, Disconnected) for event in chat)


def test_a_lost_connection_is_resumed(remote: PortInThread) -> None:
    with connect("127.0.0.1", remote.port.number, nick="builder") as chat:
        remote.do(remote.port.abort)
        for event in chat:
            if isinstance(event, Reconnected):
                break
        assert chat.say("still here") == 1


def test_errors_are_those_of_the_library_for_asyncio(remote: PortInThread) -> None:
    with (
        connect("127.0.0.1", remote.port.number, nick="builder"),
        pytest.raises(NickRejected),
        connect("127.0.0.1", remote.port.number, nick="builder"),
    ):
        pass
    remote.do(remote.port.close)
    with pytest.raises(Unreachable), connect("127.0.0.1", remote.port.number, nick="builder"):
        pass
    remote.port.close()


def test_an_error_of_the_script_leaves_the_server(remote: PortInThread) -> None:
    with pytest.raises(KeyboardInterrupt), connect("127.0.0.1", remote.port.number, nick="builder"):
        raise KeyboardInterrupt
    assert not remote.port.server.sessions


@not_on_windows("Windows has no signals for a thread")
def test_an_interrupted_attempt_to_connect_waits_for_the_answer_to_quit(
    remote: PortInThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    main_thread = threading.get_ident()
    send = PortConnection.flush
    calls = remote.port.server.calls
    answers: list[Any] = []

    class RecordingSession(Session):
        def _answer(self, number: int, result: Any, error: ChatError | None = None) -> None:  # noqa: ANN401
            answers.append(result)
            super()._answer(number, result, error)

    def interrupt_instead_of_answering_hello(connection: PortConnection) -> None:
        match calls:
            case [("hello", _)]:
                signal.pthread_kill(main_thread, signal.SIGTERM)
            case [_, *_]:
                send(connection)

    monkeypatch.setattr(aio, "Session", RecordingSession)
    for name in ("aio.QUIT_SECONDS", "sync.STOP_SECONDS"):  # a busy machine may need more time
        monkeypatch.setattr(f"broadcast.client.{name}", PATIENCE)
    monkeypatch.setattr(PortConnection, "flush", interrupt_instead_of_answering_hello)
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), connect("127.0.0.1", remote.port.number, nick="builder"):
            pass
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert [method for method, _ in calls] == ["hello", "quit"]
    assert answers == [requests.Nothing()]
    assert not remote.port.server.sessions


def test_a_thread_that_waits_ends_with_the_session(remote: PortInThread) -> None:
    ended = []

    def listen(chat: Chat) -> None:
        try:
            for _ in chat:
                pass
        finally:
            ended.append("the thread")

    with connect("127.0.0.1", remote.port.number, nick="builder") as chat:
        listener = threading.Thread(target=listen, args=[chat])
        listener.start()
    listener.join(PATIENCE)
    assert ended == ["the thread"]


def test_the_calling_thread_is_asked_for_the_password(remote: PortInThread) -> None:
    answers = iter(["battery staple", "correct horse"])
    threads = []

    def ask() -> str:
        threads.append(threading.current_thread())
        return next(answers)

    with connect("127.0.0.1", remote.port.number, nick="bot") as chat:
        chat.register("correct horse")
        chat.set_password("correct horse", "correct horse")
        assert chat.logout() == "bot2"
        assert chat.login("correct horse", "bot") == "bot"
    with pytest.raises(aio.PasswordNeeded), connect("127.0.0.1", remote.port.number, nick="bot"):
        pass
    with connect("127.0.0.1", remote.port.number, nick="bot", password=ask) as chat:
        assert chat.account == "bot"
        chat.drop("correct horse")
    assert set(threads) == {threading.current_thread()}
