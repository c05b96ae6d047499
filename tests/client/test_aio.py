"""The library for asyncio against the fake server on a real port."""

from __future__ import annotations

import asyncio
import errno
import functools
import inspect
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeVar

import pytest

from broadcast.client import aio, streams
from broadcast.client.aio import (
    Disconnected,
    Ended,
    NickRejected,
    Reconnected,
    Rejected,
    RoomRejected,
    Said,
    Told,
    UidReused,
    Unreachable,
    Untrusted,
    connect,
)
from broadcast.client.protocol import inbox, requests, session
from tests.client.protocol.fake_server import Port, PortConnection
from tests.client.tls_servers import Identity
from tests.platforms import IS_REFUSED, needs_unix_sockets

E = TypeVar("E")

PATIENCE = 30
"""Maximum number of seconds for anything that takes milliseconds."""


class Immediately(SystemRandom):
    """Chance without delays."""

    def random(self) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "_random", Immediately)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def with_port(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test with a port, its first argument, in a loop of its own. No task may be left at its end."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:  # noqa: ANN401 -- pytest's fixtures
        async def main() -> None:
            port = await Port().listen()
            async with asyncio.timeout(PATIENCE):
                await test(port, **fixtures)
                port.close()
                await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

        asyncio.run(main())

    # pytest asks for the fixtures by their names.
    signature = inspect.signature(test)
    _, *others = signature.parameters.values()
    run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    return run


async def next_of(chat: aio.Chat, kind: type[E]) -> E:
    async for event in chat:
        if isinstance(event, kind):
            return event
    raise AssertionError("the events have ended")


async def texts(chat: aio.Chat, count: int) -> list[str]:
    return [(await next_of(chat, Said)).text for _ in range(count)]


def bot(port: Port, nick: str = "bot", **options: Any) -> AbstractAsyncContextManager[aio.Chat]:  # noqa: ANN401
    return connect("127.0.0.1", port.number, nick=nick, **options)


@with_port
async def test_a_bot_says_lines_and_gets_events(port: Port) -> None:
    async with bot(port) as chat:
        assert chat.is_connected
        assert chat.nickname == "bot"
        assert chat.joined == ["lobby"]
        assert chat.welcome.server == "fake"
        assert await chat.say("hi") == 1
        assert await chat.emote("waves") == 2
        port.say("hello")
        seen = []
        async for event in chat:
            match event:
                case Said(room="lobby", text=text):
                    seen.append((text, chat.is_own(event)))
            if len(seen) == 2:
                break
        assert seen == [("hi", True), ("hello", False)]
    assert not port.server.sessions
    assert port.server.calls[-1][0] == "quit"
    with pytest.raises(Ended):
        await chat.say("too late")


@with_port
async def test_the_other_methods(port: Port) -> None:
    async with bot(port) as chat:
        for number in range(5):
            await chat.say(f"line {number}")
        assert await chat.tell("away", "psst") == "lunch"
        assert await chat.tell("ann", "psst") is None
        assert (await chat.join("kitchen")).room == "kitchen"
        await chat.topic("soup", "kitchen")
        assert [room.room for room in await chat.rooms()] == ["lobby", "kitchen"]
        await chat.leave("kitchen", "hungry")
        await chat.away("lunch")
        (person,) = await chat.members()
        assert (person.nick, person.away) == ("bot", "lunch")
        assert await chat.nick("robot") == chat.nickname == "robot"
        assert [line.text for line in await chat.search("line 3")] == ["line 3"]
        ranges: list[tuple[dict[str, Any], list[int]]] = [
            ({"last": 2}, [4, 5]),
            ({"before": 3, "count": 1}, [2]),
            ({"after": 3, "count": 1}, [4]),
            ({"first": 2, "to": 4}, [2, 3, 4]),
            ({}, [1, 2, 3, 4, 5]),
        ]
        for which, numbers in ranges:
            assert [line.seq for line in await chat.history(**which)] == numbers
        with pytest.raises(Rejected, match=r"This is refused: not-here\."):
            await chat.tell("nobody", "psst")
        assert (await chat.call(requests.Command("lobby", "/names"))).lines == ("lobby: /names",)
    async with bot(port, rooms=[]) as chat:
        with pytest.raises(ValueError, match="name a room"):
            await chat.say("where?")


@with_port
async def test_the_members_of_a_large_room_are_read_page_by_page(port: Port) -> None:
    async with AsyncExitStack() as stack:
        chats = [await stack.enter_async_context(bot(port, f"bot{number}")) for number in range(5)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aio, "_PAGE_OF_MEMBERS", 2)
            assert [person.nick for person in await chats[0].members()] == [f"bot{number}" for number in range(5)]


@needs_unix_sockets
def test_a_unix_socket(tmp_path: Path) -> None:
    async def main() -> None:
        port = await Port().listen(path=tmp_path / "chat")
        async with connect(f"unix:{tmp_path / 'chat'}", nick="bot") as chat:
            assert await chat.say("hi") == 1
        port.close()

    asyncio.run(main())


@asynccontextmanager
async def tls_port(identity: Identity) -> AsyncIterator[Port]:
    port = await Port().listen(context=identity.context())
    try:
        yield port
    finally:
        port.close()


def test_tls(tmp_path: Path) -> None:
    async def main() -> None:
        identity = Identity(tmp_path)
        async with tls_port(identity) as port:
            async with bot(port, ssl=ssl.create_default_context(cafile=str(identity.path))) as chat:
                assert await chat.say("hi") == 1
            async with bot(port, fingerprint=identity.fingerprint.upper()) as chat:
                assert await chat.say("hi") == 2
            with pytest.raises(Untrusted) as error:
                async with bot(port, ssl=True):
                    pass
            assert (error.value.problem, error.value.fingerprint) == ("is self-signed", identity.fingerprint)
            assert (
                str(error.value) == f"the certificate of the server is self-signed; its key is {identity.fingerprint}"
            )
            other = "SHA256:" + "a1" * 32
            with pytest.raises(Untrusted) as error:
                async with bot(port, fingerprint=other):
                    pass
            assert error.value.known == (other,)
            assert str(error.value) == f"the key of the server is {identity.fingerprint}, and not {other}"
            assert [method for method, _ in port.server.calls].count("hello") == 2

    asyncio.run(main())


def test_a_renewed_certificate_is_no_alarm_but_another_key_ends_the_session(tmp_path: Path) -> None:
    async def main() -> None:
        old = Identity(tmp_path)
        new, other = Identity(tmp_path, key=old.key), Identity(tmp_path)

        async def use(identity: Identity) -> None:
            port.close()
            port.abort()
            await port.listen(context=identity.context())

        async with tls_port(old) as port:
            async with bot(port, fingerprint=old.fingerprint) as chat:
                await use(new)
                assert await chat.say("hi") == 1
                await use(other)
                with pytest.raises(Untrusted) as error:
                    await chat.say("not for others")
                assert error.value.fingerprint == other.fingerprint
                with pytest.raises(Untrusted):
                    async for _ in chat:
                        pass
            assert [params["text"] for method, params in port.server.calls if method == "say"] == ["hi"]

    asyncio.run(main())


def test_a_port_with_tls_and_one_without_are_told_apart(tmp_path: Path) -> None:
    async def main() -> None:
        plain = await Port().listen()
        with pytest.raises(Unreachable, match="the port does not speak TLS: "):
            async with bot(plain, ssl=True):
                pass
        plain.close()
        async with tls_port(Identity(tmp_path)) as port:
            with pytest.raises(Unreachable, match=r"connect with --tls$"):
                async with bot(port):
                    pass

    asyncio.run(main())


def test_tls_has_a_port_of_its_own_and_no_unix_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[int] = []

    async def refuse(_host: str, port: int, **_: object) -> None:
        ports.append(port)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    async def attempt(host: str, **options: Any) -> None:  # noqa: ANN401 -- those of connect
        async with connect(host, nick="bot", **options):
            pass

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    for options in ({}, {"ssl": True}, {"fingerprint": "a1" * 32}):
        with pytest.raises(Unreachable):
            asyncio.run(attempt("localhost", **options))
    assert ports == [5555, 5556, 5556]
    for options in ({"ssl": True}, {"fingerprint": "a1" * 32}):
        with pytest.raises(ValueError, match="a unix socket has no TLS"):
            asyncio.run(attempt("unix:chat.sock", **options))
    monkeypatch.undo()
    with pytest.raises(Unreachable, match=r"there is no such host$"):
        asyncio.run(attempt("a..b", ssl=True))


@pytest.mark.parametrize("host", ["localhost:23021", "[::1]:23021", ":23021"])
def test_a_port_is_the_second_argument(host: str) -> None:
    async def attempt() -> None:
        async with connect(host, nick="bot"):
            pass

    with pytest.raises(ValueError, match=r"is no host: give the port as the second argument$"):
        asyncio.run(attempt())


@with_port
async def test_tasks_send_their_requests_in_the_order_in_which_they_were_made(port: Port) -> None:
    async with bot(port) as chat:
        texts = [str(number) for number in range(50)]
        calls = [asyncio.create_task(chat.say(text)) for text in texts]
        assert [await call for call in calls] == list(range(1, 51))
        assert [line["text"] for line in port.server.lines["lobby"]] == texts


@with_port
async def test_the_silence_of_a_server_and_the_round_trip_are_measured(port: Port) -> None:
    async with bot(port) as chat:
        assert chat.unanswered_for == chat.round_trip == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PortConnection, "flush", lambda _: None)
            call = asyncio.create_task(chat.call(requests.CheckConnection()))
            await until(lambda: port.server.calls[-1][0] == "ping")
            asked = time.monotonic()
            patch.setattr("broadcast.client.aio.monotonic", lambda: asked + 12)
            assert 12 <= chat.unanswered_for < 12 + PATIENCE
        port.flush()
        await call
        assert 0 < chat.round_trip < PATIENCE
        assert chat.unanswered_for == 0
        port.abort()
        again = asyncio.create_task(chat.call(requests.CheckConnection()))
        await again
        assert chat.unanswered_for == 0
        round_trip = chat.round_trip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PortConnection, "flush", lambda _: None)
            topic = asyncio.create_task(chat.topic("news"))
            await until(lambda: port.server.calls[-1][0] == "topic")
        port.abort()
        await topic
        assert chat.round_trip == round_trip


# The first connection


@with_port
async def test_a_first_connection_that_fails_raises(port: Port) -> None:
    port.close()
    with pytest.raises(Unreachable, match=rf"no connection to 127\.0\.0\.1 port {port.number}: {IS_REFUSED}"):
        async with bot(port):
            pass


@needs_unix_sockets
@with_port
async def test_a_unix_socket_that_is_missing_raises(port: Port) -> None:
    with pytest.raises(Unreachable, match="no connection to unix:/nowhere/at/all: No such file or directory"):
        async with connect("unix:/nowhere/at/all", nick="bot"):
            pass


@with_port
async def test_a_server_that_does_not_answer_is_unreachable(port: Port) -> None:
    port.is_mute = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "GREETING_SECONDS", 0.01)
        with pytest.raises(Unreachable, match=r"no connection to .*nobody answers there"):
            async with bot(port):
                pass


@with_port
async def test_an_attempt_to_connect_has_a_time_limit(port: Port) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CONNECT_SECONDS", 0)
        with pytest.raises(Unreachable, match="does not answer"):
            async with bot(port):
                pass


@with_port
async def test_a_refused_nickname_or_room_raises_the_servers_sentence(port: Port) -> None:
    async with bot(port):
        with pytest.raises(NickRejected, match="This is refused") as caught:
            async with bot(port):
                pass
        assert caught.value.why == "taken"
    async with bot(port) as chat:
        with pytest.raises(RoomRejected):
            await chat.join("closed")


# Lost connections


@with_port
async def test_a_lost_connection_is_resumed(port: Port) -> None:
    async with bot(port) as chat:
        port.abort()
        saying = asyncio.create_task(chat.say("mine"))
        assert isinstance(await next_of(chat, Disconnected), Disconnected)
        assert await next_of(chat, Reconnected) == Reconnected(resumed=True, same_journal=True)
        assert await saying == 1
        port.say("theirs")
        assert await texts(chat, 2) == ["mine", "theirs"]


@with_port
async def test_a_line_that_was_stored_under_an_earlier_nickname_is_confirmed(port: Port) -> None:
    async with bot(port) as chat:
        await chat.say("first")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PortConnection, "flush", lambda _: None)
            calls = [asyncio.create_task(call) for call in (chat.say("mine"), chat.emote("waves"), chat.nick("robot"))]
            await until(lambda: port.server.calls[-1][0] == "nick")
            port.abort()
        assert [await call for call in calls] == [2, 3, "robot"]
        with pytest.raises(UidReused):
            await chat.say("another", uid=port.server.lines["lobby"][0]["uid"])
    assert [line["text"] for line in port.server.lines["lobby"]] == ["first", "mine", "waves"]


@with_port
async def test_each_line_is_said_once_wherever_the_connection_breaks(port: Port) -> None:
    async with bot(port) as chat:
        for cut in range(1, 1300, 37):
            port.cut_after = cut
            port.abort()
            saying = asyncio.create_task(chat.say(f"cut after {cut} bytes"))
            await until(lambda: port.server.calls[-1][0] in ("hello", "say"))
            port.cut_after = None
            port.flush()
            # A connection that was cut is gone by itself; one that was not goes on.
            await saying
        lines = [line["text"] for line in port.server.lines["lobby"]]
        assert lines == [f"cut after {cut} bytes" for cut in range(1, 1300, 37)]
        assert await texts(chat, len(lines)) == lines


@with_port
async def test_a_server_that_is_down_for_a_while(port: Port) -> None:
    async with bot(port) as chat:
        port.close()
        port.server.lose_sessions()
        port.abort()
        for _ in range(3):
            await next_of(chat, Disconnected)
        assert not chat.is_connected
        saying = asyncio.create_task(chat.say("later"))
        await port.listen()
        assert await next_of(chat, Reconnected) == Reconnected(resumed=False, same_journal=True)
        assert await saying == 1


@with_port
async def test_a_silent_connection_is_replaced(port: Port) -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with bot(port) as chat:
            patch.setattr(session, "SILENCE_SECONDS", 0.01)
            port.say("wakes the reader, which then waits for 0.01 s")
            assert (await next_of(chat, Disconnected)).reason == "the server has fallen silent"
            patch.undo()
            await next_of(chat, Reconnected)


@with_port
async def test_a_server_that_sends_away_for_good_ends_the_events_and_the_calls(port: Port) -> None:
    async with bot(port) as chat:
        port.server.announce({"method": "goodbye", "reason": "You are banned.", "reconnect": False})
        port.flush()
        port.hang_up()
        with pytest.raises(Ended, match="banned"):
            await next_of(chat, Reconnected)
        with pytest.raises(Ended, match="banned"):
            await chat.say("but")


@with_port
async def test_a_later_program_goes_on_where_an_earlier_one_was_killed(port: Port) -> None:
    async with bot(port) as chat:
        port.say("one")
        assert await texts(chat, 1) == ["one"]
        saved = chat.resume
        port.say("two")
        chat._runner.cancel()  # type: ignore[union-attr]
        await until(lambda: not port.connections)
    async with bot(port, resume=saved) as later:
        assert await texts(later, 1) == ["two"]


@with_port
async def test_a_program_that_was_resumed_very_often_from_the_same_state_is_resumed_at_once(port: Port) -> None:
    async with bot(port) as chat:
        saved = chat.resume
        chat._runner.cancel()  # type: ignore[union-attr]
        await until(lambda: not port.connections)
    [session] = port.server.sessions.values()
    session.attempt = 100_000
    port.server.calls.clear()
    async with bot(port, resume=saved) as later:
        assert later.welcome.resumed
    assert [method for method, _ in port.server.calls] == ["hello", "quit"]


# Back-pressure


@with_port
async def test_a_program_that_does_not_take_its_events_stops_the_server_and_misses_no_line(port: Port) -> None:
    async with bot(port) as chat:
        number = 0
        while not port.connections[0].is_paused:
            port.say(*[f"{number + index} {'x' * 1000}" for index in range(100)])
            number += 100
            await asyncio.sleep(0)
        assert len(chat._session._inbox._queue) <= inbox.MAX_EVENTS
        for expected in range(number):
            assert (await next_of(chat, Said)).text.startswith(f"{expected} ")


@with_port
async def test_a_program_that_only_speaks_needs_no_events(port: Port) -> None:
    async with bot(port) as chat:
        chat._session._inbox._max_events = 5
        for number in range(50):
            assert await chat.say("hi") == number + 1
        assert len(chat._session._inbox._queue) == 5
        assert await texts(chat, 50) == ["hi"] * 50


# The end


@with_port
async def test_close_ends_the_iteration(port: Port) -> None:
    async with bot(port) as chat:
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(chat.close("bye")))
        assert [event async for event in chat] == []
        await chat.close()
    assert port.server.calls[-1] == ("quit", {"reason": "bye"})


@with_port
async def test_an_error_of_the_library_is_not_hidden(port: Port) -> None:
    async def run() -> None:
        async with bot(port) as chat:
            chat._session.receive = None  # type: ignore[method-assign, assignment]
            port.say("hi")
            async for _ in chat:
                pass

    with pytest.raises(TypeError):
        await run()


@with_port
async def test_an_error_of_the_program_leaves_the_server(port: Port) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bot(port):
            raise ZeroDivisionError
    assert not port.server.sessions


@with_port
async def test_a_cancelled_program_leaves_the_server(port: Port) -> None:
    async def run() -> None:
        async with bot(port) as chat:
            async for _ in chat:
                pass

    task = asyncio.create_task(run())
    await until(lambda: port.server.calls)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not port.server.sessions
    assert [method for method, _ in port.server.calls] == ["hello", "quit"]


@with_port
async def test_a_program_that_is_cancelled_while_it_connects(port: Port) -> None:
    port.is_mute = True

    async def run() -> None:
        async with bot(port):
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aio, "QUIT_SECONDS", 0.01)
        task = asyncio.create_task(run())
        await until(lambda: port.connections and port.connections[0].received)
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    await until(lambda: not port.connections)


@with_port
async def test_a_cancelled_line_is_not_said_again(port: Port) -> None:
    async with bot(port) as chat:
        port.abort()
        await next_of(chat, Disconnected)
        port.close()
        saying = asyncio.create_task(chat.say("never mind"))
        await asyncio.sleep(0)
        saying.cancel()
        await asyncio.wait([saying])
        await port.listen()
        await next_of(chat, Reconnected)
        assert await chat.say("this") == 1


@with_port
async def test_the_end_does_not_wait_for_a_server_that_does_not_answer(port: Port) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aio, "QUIT_SECONDS", 0.01)
        async with bot(port) as chat:
            port.connections[0]._fake = None
            saying = asyncio.create_task(chat.say("hi"))
            await asyncio.sleep(0)
        with pytest.raises(Ended):
            await saying


@with_port
async def test_the_end_of_a_program_that_is_disconnected(port: Port) -> None:
    async with bot(port) as chat:
        port.close()
        port.abort()
        await next_of(chat, Disconnected)
    with pytest.raises(Ended):
        await chat.say("hi")


@with_port
async def test_a_private_message_arrives(port: Port) -> None:
    async with bot(port) as chat:
        port.server.tell("bot", "psst")
        port.flush()
        assert (await next_of(chat, Told)).text == "psst"


# Passwords


SECRET, OTHER = "correct horse", "battery staple"


@with_port
async def test_a_bot_registers_and_comes_back_with_the_password(port: Port) -> None:
    async with bot(port) as chat:
        await chat.register(SECRET)
        assert chat.account == "bot"
        await chat.set_password(SECRET, OTHER)
        assert await chat.logout() == "bot2"
        assert await chat.login(OTHER, "bot") == "bot"
        port.server.sessions.clear()
        port.abort()
        await next_of(chat, Reconnected)
        assert (chat.account, chat.nickname) == ("bot", "bot")
    for password, error in (("", aio.PasswordNeeded), (SECRET, aio.WrongPassword)):
        with pytest.raises(error):
            async with bot(port, password=password):
                pass
    async with bot(port, password=OTHER) as chat:
        await chat.drop(OTHER)
        assert chat.account is None


@with_port
async def test_a_function_is_asked_for_the_password_when_the_server_needs_it(port: Port) -> None:
    answers = iter([OTHER, SECRET])

    async def ask() -> str:
        return next(answers)

    async with bot(port, password=ask):
        pass
    port.server.passwords["bot"] = SECRET
    async with bot(port, password=ask) as chat:
        assert chat.account == "bot"
        port.server.passwords["bot"] = OTHER
        port.server.sessions.clear()
        answers = iter([OTHER])
        port.abort()
        await next_of(chat, Reconnected)
    async with bot(port, password=lambda: OTHER) as chat:
        assert chat.account == "bot"


@with_port
async def test_the_error_of_the_function_ends_the_attempt(port: Port) -> None:
    port.server.passwords["bot"] = SECRET

    def fail() -> str:
        raise EOFError

    with pytest.raises(EOFError):
        async with bot(port, password=fail):
            pass
