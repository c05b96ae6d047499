"""The library for scripts without asyncio: a thread runs the session of ``broadcast.client.aio``.

::

    with connect("chat.example.org", nick="builder") as chat:
        chat.say("the nightly build has failed")

Events and errors are those of ``broadcast.client.aio``.
"""

from __future__ import annotations

import asyncio
import ssl as tls
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from broadcast.client import aio
from broadcast.client.protocol.errors import Ended, PasswordNeeded, WrongPassword
from broadcast.client.protocol.events import Event
from broadcast.client.protocol.requests import Request, Resume

__all__ = ["Chat", "connect"]

P = ParamSpec("P")
R = TypeVar("R")

STOP_SECONDS: Final = 2 * aio.QUIT_SECONDS


@contextmanager
def connect(  # noqa: PLR0913 -- as in aio
    host: str,
    port: int | None = None,
    *,
    nick: str,
    rooms: Sequence[str] = ("lobby",),
    ssl: tls.SSLContext | bool | None = None,
    fingerprint: str = "",
    replay: int = 0,
    resume: Resume | None = None,
    grace: float | None = None,
    password: str | Callable[[], str] = "",
) -> Iterator[Chat]:
    """Join the *rooms* of a server as *nick*, and leave when the block ends. See ``aio.connect``.

    If *password* is a function, such as ``getpass.getpass``, the calling thread calls it, and only before the block.
    """
    text = password if isinstance(password, str) else ""
    with _LoopThread() as loop:
        while True:
            connection = aio.connect(
                host, port, nick=nick, rooms=rooms, ssl=ssl, fingerprint=fingerprint, replay=replay, resume=resume,
                grace=grace, password=text,
            )  # fmt: skip
            try:
                chat = loop.wait_for(connection.__aenter__())
            except (PasswordNeeded, WrongPassword):
                if isinstance(password, str):
                    raise
                text = password()
                continue
            try:
                yield Chat(chat, loop)
            finally:
                loop.wait_for(connection.__aexit__(None, None, None))
            return


class _LoopThread:
    """An event loop in a daemon thread, which does not keep a script from ending."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._lock = threading.Lock()
        self._is_over = False
        self._calls: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broadcast-client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._is_over = True
        asyncio.run_coroutine_threadsafe(self._end_calls(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._runner.close()

    def wait_for(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run *coroutine* in the thread, and return its result. Ctrl-C cancels it."""
        with self._lock:
            if self._is_over:
                coroutine.close()
                raise Ended("the session has ended")
            future = asyncio.run_coroutine_threadsafe(self._call(coroutine), self._loop)
        try:
            return future.result()
        except CancelledError:
            # Another thread has left the block.
            raise Ended("the session has ended") from None
        except BaseException:
            future.cancel()
            raise

    async def _call(self, coroutine: Coroutine[Any, Any, R]) -> R:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            return await coroutine
        finally:
            self._calls.remove(task)

    async def _end_calls(self) -> None:
        # A cancelled attempt to connect waits for the answer to quit. A connection that is aborted before may lose
        # quit on its way, and the server then holds the nickname. Ctrl-C may have come too early to cancel the call.
        for call in self._calls:
            if not call.cancelling():
                call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=STOP_SECONDS)


def _wait(method: Callable[Concatenate[aio.Chat, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Chat, P], R]:
    """Return a method that waits for the end of *method* of ``aio.Chat``."""

    @wraps(method)
    def call(chat: Chat, /, *args: P.args, **options: P.kwargs) -> R:
        return chat._loop.wait_for(method(chat._chat, *args, **options))  # noqa: SLF001 -- it is a method of Chat

    return call


class Chat(aio.ChatState):
    """A session. Iterate over it for its events. The methods are those of ``aio.Chat``; any thread may call them.

    The thread of the session calls the function *progress* of ``upload``.
    """

    def __init__(self, chat: aio.Chat, loop: _LoopThread) -> None:
        super().__init__(chat._session)  # noqa: SLF001 -- both are of one library
        self._chat = chat
        self._loop = loop

    say = _wait(aio.Chat.say)
    emote = _wait(aio.Chat.emote)
    tell = _wait(aio.Chat.tell)
    upload = _wait(aio.Chat.upload)
    join = _wait(aio.Chat.join)
    leave = _wait(aio.Chat.leave)
    history = _wait(aio.Chat.history)
    search = _wait(aio.Chat.search)
    members = _wait(aio.Chat.members)
    rooms = _wait(aio.Chat.rooms)
    topic = _wait(aio.Chat.topic)
    away = _wait(aio.Chat.away)
    nick = _wait(aio.Chat.nick)
    register = _wait(aio.Chat.register)
    login = _wait(aio.Chat.login)
    logout = _wait(aio.Chat.logout)
    set_password = _wait(aio.Chat.set_password)
    drop = _wait(aio.Chat.drop)
    close = _wait(aio.Chat.close)

    def call(self, request: Request[R]) -> R:
        """Send any request and return its result."""
        return self._loop.wait_for(self._chat.call(request))

    def __iter__(self) -> Iterator[Event]:
        """Yield the events, until ``close``. Raise ``Ended`` if the server ends the session."""
        while (event := self._loop.wait_for(self._next())) is not None:
            yield event

    async def _next(self) -> Event | None:
        return await anext(self._chat, None)
