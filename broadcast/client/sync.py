"""The library for scripts without asyncio: a thread runs the session of ``broadcast.client.aio``.

::

    with connect("chat.example.org", nick="builder") as chat:
        chat.say("the nightly build has failed")

Events and errors are those of ``broadcast.client.aio``.
"""

from __future__ import annotations

import asyncio
import os
import ssl as tls
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar

from broadcast.client import aio
from broadcast.client.protocol.errors import Ended, PasswordNeeded, WrongPassword
from broadcast.client.protocol.events import Event, Line, Shared
from broadcast.client.protocol.requests import Person, Request, Resume, Room, RoomSummary

__all__ = ["Chat", "connect"]

R = TypeVar("R")

STOP_SECONDS: Final = 2 * aio.QUIT_SECONDS
"""The time for cancelled calls to end."""


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
    fill_gaps: bool = True,
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
                fill_gaps=fill_gaps, grace=grace, password=text,
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
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._stopped = asyncio.Event()
        self._lock = threading.Lock()
        self._is_over = False
        self._calls: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="broadcast-client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop = self._started.result()
        return self

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._is_over = True
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

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

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._started.set_result(asyncio.get_running_loop())
        await self._stopped.wait()
        # A cancelled attempt to connect waits for the answer to quit. A connection that is aborted before may lose
        # quit on its way, and the server then holds the nickname. Ctrl-C may have come too early to cancel the call.
        for call in self._calls:
            if not call.cancelling():
                call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=STOP_SECONDS)


class Chat:
    """A session. Iterate over it for its events. The methods are those of ``aio.Chat``; any thread may call them."""

    def __init__(self, chat: aio.Chat, loop: _LoopThread) -> None:
        self._chat = chat
        self._loop = loop

    @property
    def nickname(self) -> str:
        """The own nickname."""
        return self._chat.nickname

    @property
    def joined(self) -> list[str]:
        """The rooms that the session is in."""
        return self._chat.joined

    @property
    def account(self) -> str | None:
        """The registered nickname of the account to which the session is logged in, or None."""
        return self._chat.account

    @property
    def resume(self) -> Resume | None:
        """The state from which a later program can continue. It holds a secret."""
        return self._chat.resume

    def is_own(self, event: Line) -> bool:
        """Return whether this program has said a line."""
        return self._chat.is_own(event)

    def say(self, text: str, room: str | None = None, *, uid: str = "") -> int:
        """Say a line. Return its number: the line is stored."""
        return self._loop.wait_for(self._chat.say(text, room, uid=uid))

    def emote(self, text: str, room: str | None = None, *, uid: str = "") -> int:
        """Say an action, such as *waves*. Return its number."""
        return self._loop.wait_for(self._chat.emote(text, room, uid=uid))

    def tell(self, to: str, text: str, *, uid: str = "") -> str | None:
        """Send a private message. Return the reason why its recipient is away, or None."""
        return self._loop.wait_for(self._chat.tell(to, text, uid=uid))

    def upload(
        self,
        path: str | os.PathLike[str],
        room: str | None = None,
        *,
        uid: str = "",
        progress: Callable[[int, int], None] = lambda _sent, _size: None,
    ) -> Shared:
        """Share the file at *path* in a room. Return the event that the room gets. Another thread calls *progress*."""
        return self._loop.wait_for(self._chat.upload(path, room, uid=uid, progress=progress))

    def join(self, room: str, *, replay: int = 0) -> Room:
        """Join a room. Its *replay* last lines are its first events."""
        return self._loop.wait_for(self._chat.join(room, replay=replay))

    def leave(self, room: str, reason: str | None = None) -> None:
        """Leave a room."""
        self._loop.wait_for(self._chat.leave(room, reason))

    def history(self, room: str | None = None, **which: int) -> list[Line]:
        """Return old lines. The parameters are those of ``aio.Chat.history``."""
        return self._loop.wait_for(self._chat.history(room, **which))

    def search(self, words: str, room: str | None = None, *, count: int = 50) -> list[Line]:
        """Return the newest lines of a room that contain all *words*, 50 at most."""
        return self._loop.wait_for(self._chat.search(words, room, count=count))

    def members(self, room: str | None = None) -> list[Person]:
        """Return all people in a room, by nickname."""
        return self._loop.wait_for(self._chat.members(room))

    def rooms(self) -> list[RoomSummary]:
        """Return the rooms of the server."""
        return self._loop.wait_for(self._chat.rooms())

    def topic(self, text: str | None, room: str | None = None) -> None:
        """Set the topic of a room, or remove it with None."""
        self._loop.wait_for(self._chat.topic(text, room))

    def away(self, reason: str | None) -> None:
        """Set the own state to away for *reason*, or to back with None."""
        self._loop.wait_for(self._chat.away(reason))

    def nick(self, nick: str) -> str:
        """Change the own nickname. Return it in the server's spelling."""
        return self._loop.wait_for(self._chat.nick(nick))

    def register(self, password: str) -> None:
        """Register the own nickname, and log in. From then on, the nickname needs the password."""
        self._loop.wait_for(self._chat.register(password))

    def login(self, password: str, nick: str | None = None) -> str:
        """Log in, and take the registered nickname *nick*, by default the own one. Return it."""
        return self._loop.wait_for(self._chat.login(password, nick))

    def logout(self) -> str:
        """Log out. Return the own nickname, which is another one."""
        return self._loop.wait_for(self._chat.logout())

    def set_password(self, old: str, new: str) -> None:
        """Change the password. All other sessions of the account end."""
        self._loop.wait_for(self._chat.set_password(old, new))

    def drop(self, password: str) -> None:
        """Delete the account."""
        self._loop.wait_for(self._chat.drop(password))

    def call(self, request: Request[R]) -> R:
        """Send any request and return its result."""
        return self._loop.wait_for(self._chat.call(request))

    def close(self, reason: str | None = None) -> None:
        """Leave the server."""
        self._loop.wait_for(self._chat.close(reason))

    def __iter__(self) -> Iterator[Event]:
        """Yield the events, until ``close``. Raise ``Ended`` if the server ends the session."""
        while (event := self._loop.wait_for(self._next())) is not None:
            yield event

    async def _next(self) -> Event | None:
        return await anext(self._chat, None)
