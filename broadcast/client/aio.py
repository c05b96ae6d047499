"""The library for asyncio: a session with a server, which survives lost connections.

::

    async with connect("chat.example.org", nick="bot", rooms=["lobby"]) as chat:
        async for event in chat:
            match event:
                case Said(text="!time", room=room):
                    await chat.say(time.ctime(), room)

It needs only the standard library and msgspec.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from random import Random, SystemRandom
from time import monotonic, time
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

from msgspec import UNSET
from msgspec.structs import replace

from broadcast.client.address import PORT, TLS_PORT, UNIX
from broadcast.client.certificates import CertificateError, parse_fingerprint
from broadcast.client.protocol import errors, events, requests
from broadcast.client.protocol.errors import *
from broadcast.client.protocol.events import *
from broadcast.client.protocol.greeting import TLS_HINT
from broadcast.client.protocol.requests import Account, Person, Resume, Room, RoomSummary
from broadcast.client.protocol.session import Session, State
from broadcast.client.streams import describe_failure, open_stream
from broadcast.client.tls import Trust

__all__ = ["Account", "Chat", "Person", "Resume", "Room", "RoomSummary", "connect"]
__all__ += errors.__all__
__all__ += events.__all__

R = TypeVar("R")

AskPassword: TypeAlias = Callable[[], str | Awaitable[str]]
"""Returns a password, when the server asks for one. A coroutine function may take its time."""

QUIT_SECONDS: Final = 3.0
_READ_BYTES: Final = 65536
_PAGE_OF_MEMBERS: Final = 1000
_UPLOAD_TRIES: Final = 3


@asynccontextmanager
async def connect(  # noqa: PLR0913 -- all but the first two are for special cases
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
    password: str | AskPassword = "",
) -> AsyncIterator[Chat]:
    """Join the *rooms* of a server as *nick*, and leave when the block ends.

    *host* is a name, an IP address, or ``unix:`` and the path of a socket. *port* is 5555, or 5556 with TLS, unless it
    is given. With *ssl*, the port speaks TLS: True lets the authorities of the system check the certificate and the
    name, and a context has its own rules. *fingerprint* is ``SHA256:`` and the digits of the server's public key: with
    it, only that key counts.

    Each room begins with the *replay* last lines. *resume* is ``Chat.resume`` of an earlier program, to continue
    exactly where it has ended. After a lost connection, the server holds the session and its nickname for *grace*
    seconds, 0 at least, or for its default time.

    *password* is the password of a registered nickname. The session uses it again after a restart of the server. It can
    be a function, which is called when the server needs a password, and again after a wrong one.

    Raise ``Unreachable`` if there is no connection, its subclass ``Untrusted`` if the certificate is not trusted, and
    ``Rejected`` if the server refuses the nickname or a room; ``PasswordNeeded`` or ``WrongPassword`` because of the
    password. Raise ``ValueError`` if the host contains a port.
    """
    if re.fullmatch(r"(?:[^:]*|\[.*\]):\d+", host):
        raise ValueError(f"{host} is no host: give the port as the second argument")
    if resume is not None:
        # A program that begins again and again with the same state still makes later attempts than before.
        resume = replace(resume, attempt=max(resume.attempt, int(1000 * time())))
    text = password if isinstance(password, str) else ""
    session = Session(nick, rooms, _random(), replay=replay, resume=resume, grace=grace, password=text)

    async def ask(refusal: Rejected) -> str | None:
        if isinstance(password, str) or not isinstance(refusal, PasswordNeeded | WrongPassword):
            return None
        answer = password()
        return await answer if isawaitable(answer) else answer

    known = (parse_fingerprint(fingerprint),) if fingerprint else ()
    if (ssl or known) and host.startswith(UNIX):
        raise ValueError("a unix socket has no TLS, and needs none")
    ssl = ssl or bool(known)
    if port is None:
        port = TLS_PORT if ssl else PORT
    async with Chat(session, host, port, ssl, rooms[0] if rooms else "", known, ask) as chat:
        yield chat


def _random() -> Random:
    return SystemRandom()


class ChatState:
    """The state of a session, as programs with and without asyncio see it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def nickname(self) -> str:
        """The own nickname."""
        return self._session.nick

    @property
    def joined(self) -> list[str]:
        """The rooms that the session is in."""
        return self._session.rooms

    @property
    def account(self) -> str | None:
        """The registered nickname of the account to which the session is logged in, or None."""
        return self._session.account

    @property
    def resume(self) -> Resume | None:
        """The state from which a later program can continue. It holds a secret."""
        return self._session.resume

    def is_own(self, event: Line) -> bool:
        """Return whether this program has said a line."""
        return self._session.is_own(event)


class Chat(ChatState):
    """A session. Iterate over it for its events; call its methods from the tasks of the same loop.

    A method waits for the server's answer, over as many connections as it takes. Use ``asyncio.timeout`` to wait for
    less time. The server may have executed a request that is cancelled. A method raises ``Rejected`` with the
    server's sentence if the server refuses it, and ``Ended`` if the session is over.
    """

    def __init__(
        self,
        session: Session,
        host: str,
        port: int,
        ssl: tls.SSLContext | bool | None,
        room: str,
        known: Sequence[str] = (),
        ask_password: Callable[[Rejected], Awaitable[str | None]] | None = None,
    ) -> None:
        """Make a session. *ask_password* returns a password after a refusal, or None to end the session with it."""
        super().__init__(session)
        session.asks_password = ask_password is not None
        self._ask_password = ask_password
        self._host = host
        self._port = port
        self._ssl = ssl
        self._room = room
        self._known = known
        self._sent: dict[int, float] = {}
        """The times at which the unanswered requests were sent, oldest first."""
        self.heard_at = 0.0
        """The time of the last input from the server, on the clock ``time.monotonic``."""
        self.round_trip = 0.0
        """The time from the latest answered request to its answer, in seconds."""
        self._news = asyncio.Event()
        self._input_wanted = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._runner: asyncio.Task[None] | None = None

    # Properties

    @property
    def welcome(self) -> requests.Welcome:
        """The server's latest answer to ``hello``: its name, version, limits and features."""
        assert self._session.welcome is not None
        return self._session.welcome

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._session.state is State.ONLINE

    @property
    def unanswered_for(self) -> float:
        """The seconds for which the server has been silent while a request waits for its answer.

        It is 0 without such a request, and without a connection. ``requests.CheckConnection`` is a request for this.
        """
        if not self.is_connected or not self._sent:
            return 0.0
        return monotonic() - max(self.heard_at, next(iter(self._sent.values())))

    # Methods of the server

    async def say(self, text: str, room: str | None = None, *, uid: str = "") -> int:
        """Say a line in *room*, or in the first room of ``connect``. Return its number: the line is stored.

        A line is said once, even if the connection is lost in between. If the program chooses the *uid*, this also
        holds when the program is started again.
        """
        return await self._store(requests.Say(self._or_first(room), text, uid))

    async def emote(self, text: str, room: str | None = None, *, uid: str = "") -> int:
        """Say an action, such as *waves*. Return its number, as ``say`` does."""
        return await self._store(requests.Emote(self._or_first(room), text, uid))

    async def _store(self, request: requests.Say | requests.Emote) -> int:
        try:
            return (await self.call(request)).seq
        except UidReused as error:
            if request.uid or "seq" not in error.data:
                raise
            # The library has chosen the uid, so the stored line is this one. The server refuses its repetition
            # because the nickname has changed meanwhile.
            return int(error.data["seq"])

    async def tell(self, to: str, text: str, *, uid: str = "") -> str | None:
        """Send a private message. Return the reason why its recipient is away, or None.

        A message to somebody who has an account and is not here waits for the next login.
        """
        return (await self.call(requests.Tell(to, text, uid))).away

    async def upload(
        self,
        path: str | os.PathLike[str],
        room: str | None = None,
        *,
        uid: str = "",
        progress: requests.Progress = lambda _sent, _size: None,
    ) -> Shared:
        """Share the file at *path* in a room. Return the event that the room gets: the file is stored.

        A lost connection interrupts it, and the next one goes on. It is shared once, as with ``say``. *progress* is
        called with the number of bytes that are sent, and the number of all.

        Raise ``FileRejected`` if the server refuses the file, ``UploadFailed`` if it cannot be read, or cannot be sent
        for too long, ``Unreachable`` if there is no connection to the server's web port at all, and ``Untrusted`` if
        the certificate there is not trusted.
        """
        from broadcast.client import uploading  # noqa: PLC0415 -- few programs need it

        room, uid = self._or_first(room), uid or self._session.make_uid()
        file = await asyncio.to_thread(uploading.LocalFile, path)
        try:
            sha256 = await asyncio.to_thread(file.hash)
            request = requests.Upload(room, file.name, file.size, file.type, sha256 or UNSET, uid)
            sentence = ""
            for _ in range(_UPLOAD_TRIES + 1):
                slot = await self.call(request)
                if slot.file is not None:
                    return Shared(room.lower(), slot.seq, slot.at, self.nickname, slot.file, self.welcome.session, uid)
                try:
                    await uploading.Sender(slot, file, self._trust, progress).send()
                except uploading.SlotGone as error:
                    sentence = str(error)
        finally:
            file.close()
        raise UploadFailed(f"the server has not taken the file: {sentence}")

    async def join(self, room: str, *, replay: int = 0) -> Room:
        """Join a room. Its *replay* last lines are its first events."""
        return await self.call(requests.Join(room, replay=replay))

    async def leave(self, room: str, reason: str | None = None) -> None:
        """Leave a room."""
        await self.call(requests.Leave(room, UNSET if reason is None else reason))

    async def history(
        self,
        room: str | None = None,
        *,
        last: int | None = None,
        before: int | None = None,
        after: int | None = None,
        first: int | None = None,
        to: int | None = None,
        count: int = 50,
    ) -> list[Line]:
        """Return old lines: *count* lines *before* or *after* a number, lines *first* to *to*, or the *last* ones."""
        which: dict[str, int] = {"last": count if last is None else last}
        if first is not None and to is not None:
            which = {"first": first, "to": to}
        elif before is not None:
            which = {"before": before, "count": count}
        elif after is not None:
            which = {"after": after, "count": count}
        return (await self.call(requests.History(self._or_first(room), **which))).lines

    async def search(self, words: str, room: str | None = None, *, count: int = 50) -> list[Line]:
        """Return the newest lines of a room that contain all *words*, 50 at most."""
        return (await self.call(requests.Search(self._or_first(room), words, count))).lines

    async def members(self, room: str | None = None) -> list[Person]:
        """Return all people in a room, by nickname."""
        room = self._or_first(room)
        page = await self.call(requests.ListMembers(room, count=_PAGE_OF_MEMBERS))
        people = list(page.members)
        while page.more and page.members:
            page = await self.call(requests.ListMembers(room, people[-1].nick, _PAGE_OF_MEMBERS))
            people += page.members
        return people

    async def rooms(self) -> list[RoomSummary]:
        """Return the rooms of the server."""
        rooms = await self.call(requests.ListRooms())
        return list(rooms)

    async def topic(self, text: str | None, room: str | None = None) -> None:
        """Set the topic of a room, or remove it with None.

        Raise ``Unconfirmed`` if the connection is lost before the answer, unless the room then has this topic.
        """
        await self.call(requests.Topic(self._or_first(room), text))

    async def away(self, reason: str | None) -> None:
        """Set the own state to away for *reason*, or to back with None."""
        await self.call(requests.Away(reason))

    async def nick(self, nick: str) -> str:
        """Change the own nickname. Return it in the server's spelling."""
        return (await self.call(requests.Nick(nick))).nick

    async def register(self, password: str) -> None:
        """Register the own nickname, and log in. From then on, the nickname needs the password."""
        await self.call(requests.Register(password))

    async def login(self, password: str, nick: str | None = None) -> str:
        """Log in, and take the registered nickname *nick*, by default the own one. Return it."""
        return (await self.call(requests.Login(password, UNSET if nick is None else nick))).nick

    async def logout(self) -> str:
        """Log out. Return the own nickname, which is another one."""
        return (await self.call(requests.Logout())).nick

    async def set_password(self, old: str, new: str) -> None:
        """Change the password. All other sessions of the account end."""
        await self.call(requests.SetPassword(old, new))

    async def drop(self, password: str) -> None:
        """Delete the account."""
        await self.call(requests.Drop(password))

    async def call(self, request: requests.Request[R]) -> R:
        """Send any request and return its result."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()

        def end(result: R, error: ChatError | None) -> None:
            if future.done():
                return  # it was cancelled
            # Without a connection, the session has ended. If it has answered the request itself, after a reconnection,
            # the time is 0.
            if self.is_connected and (seconds := self.heard_at - self._sent[number]):
                self.round_trip = seconds
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        number = self._session.call(request, end)
        self._sent[number] = monotonic()
        self._flush()
        try:
            return await future
        finally:
            self._sent.pop(number, None)
            self._session.forget(number)

    def _or_first(self, room: str | None) -> str:
        if room is None and not self._room:
            raise ValueError("name a room: there is none in connect(..., rooms=...)")
        return self._room if room is None else room

    # Events

    def __aiter__(self) -> Self:
        """Iterate over the events."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event. The iteration ends with ``close``, and raises ``Ended`` if the server ends it."""
        while (event := self._session.next_event()) is None:
            if self._session.ended is not None:
                if self._session.has_quit:
                    raise StopAsyncIteration
                raise self._session.ended
            self._news.clear()
            await self._news.wait()
        self._flush()
        return event

    # The connection

    async def __aenter__(self) -> Self:
        """Connect, and wait for the answer to ``hello``."""
        greeted = asyncio.get_running_loop().create_future()
        self._runner = asyncio.create_task(self._run(greeted))
        try:
            await asyncio.shield(greeted)
        except BaseException:
            greeted.cancel()
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the server."""
        await self.close()

    async def close(self, reason: str | None = None) -> None:
        """Leave the server. Lines that are not confirmed yet fail with ``Ended``, unless the server has read them."""
        try:
            # After hello, the server holds the nickname for a while, unless quit follows.
            if self._session.state in {State.GREETING, State.ONLINE} and not self._session.has_quit:
                with suppress(ChatError, TimeoutError):
                    async with asyncio.timeout(QUIT_SECONDS):
                        await self.call(requests.Quit(UNSET if reason is None else reason))
        finally:
            await self._stop()

    async def _stop(self) -> None:
        if self._runner is None:
            return
        self._runner.cancel()
        await asyncio.wait([self._runner])
        self._session.stop()
        self._news.set()
        if not self._runner.cancelled():
            self._runner.result()

    async def _run(self, greeted: asyncio.Future[None]) -> None:
        """Connect again and again until the session is over."""
        session = self._session
        try:
            while session.ended is None:
                try:
                    reason = await self._run_connection(greeted)
                except CertificateError as error:
                    # Not even a later attempt may go on with another server.
                    session.end(Untrusted(error.problem, error.fingerprint, error.known))
                else:
                    session.connection_lost(reason)
                self._news.set()
                if session.password_refusal is not None and self._ask_password is not None:
                    session.enter_password(await self._ask_password(session.password_refusal))
                elif session.ended is None:
                    await asyncio.sleep(session.retry_after)
            if not greeted.done():
                greeted.set_exception(session.ended)
        finally:
            greeted.cancel()
            session.stop()
            self._news.set()

    async def _run_connection(self, greeted: asyncio.Future[None]) -> str:
        """Run one connection to its end, and return the reason of its end."""
        try:
            reader, writer = await open_stream(self._host, self._port, self._trust(self._host))
        except OSError as error:
            return f"no connection to {self._address}: {describe_failure(error)}"
        self._writer = writer
        try:
            return await self._read(reader, greeted)
        except TimeoutError:
            if self._session.state is State.GREETING:
                return f"no connection to {self._address}: nobody answers there, or it is no broadcast server"
            return "the server has fallen silent"
        except OSError as error:
            return describe_failure(error)
        finally:
            self._writer = None
            # Nothing is left to send. Closing in good order would wait for a server that does not read.
            writer.transport.abort()

    def _trust(self, host: str) -> Trust | None:
        """Return the check of the certificate of *host*, or None if the chat connection has no TLS."""
        context = self._ssl if isinstance(self._ssl, tls.SSLContext) else None
        return Trust(host, self._known, context) if self._ssl else None

    @property
    def _address(self) -> str:
        return self._host if self._host.startswith(UNIX) else f"{self._host} port {self._port}"

    async def _read(self, reader: asyncio.StreamReader, greeted: asyncio.Future[None]) -> str:
        session = self._session
        session.connection_made()
        hint = "" if self._ssl or self._host.startswith(UNIX) else TLS_HINT
        self._flush()
        while not session.must_close:
            while not session.wants_input:
                self._input_wanted.clear()
                await self._input_wanted.wait()
            async with asyncio.timeout(session.patience):
                data = await reader.read(_READ_BYTES)
            if not data:
                return f"the server has closed the connection{hint}"
            hint = ""
            self.heard_at = monotonic()
            if session.state is not State.ONLINE:
                # The session sends all requests on this connection after the answer to hello.
                self._sent = dict.fromkeys(self._sent, self.heard_at)
            session.receive(data)
            self._news.set()
            if session.state is State.ONLINE and not greeted.done():
                greeted.set_result(None)
            self._flush()
        return ""

    def _flush(self) -> None:
        """Send the session's output, and resume reading if the session wants input."""
        writer = self._writer
        if writer is not None and (data := self._session.bytes_to_send()) and not writer.is_closing():
            writer.write(data)  # asyncio would log writes to a lost connection as errors
        if self._session.wants_input:
            self._input_wanted.set()
