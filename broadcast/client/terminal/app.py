"""The client on a terminal: it connects the conversation, the session on the server, and the screen."""

from __future__ import annotations

import asyncio
import codecs
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final, TypeVar

from prompt_toolkit.input import create_input
from prompt_toolkit.output import create_output
from prompt_toolkit.utils import is_dumb_terminal

from broadcast.client import exit_status
from broadcast.client.known_hosts import KnownHosts, introduction, known_keys, refusal
from broadcast.client.nicknames import LONGEST, fit, numbered, propose_nicknames
from broadcast.client.options import SettingsError
from broadcast.client.password_file import read_password
from broadcast.client.protocol import errors, events, requests
from broadcast.client.session.conversation import Conversation, State
from broadcast.client.session.entries import Notice, Problem
from broadcast.client.session.interfaces import Front
from broadcast.client.session.questions import Question
from broadcast.client.settings import Choices, state_folder
from broadcast.client.terminal import links
from broadcast.client.terminal.bottom import reflows
from broadcast.client.terminal.completion import ConversationCompleter
from broadcast.client.terminal.history import DraftHistory
from broadcast.client.terminal.rendering import Renderer
from broadcast.client.terminal.screen import Screen
from broadcast.client.terminal.scrolling import has_alternate_screen

if TYPE_CHECKING:
    from broadcast.client.aio import Chat
    from broadcast.client.options import Options
    from broadcast.client.protocol.session import Session

T = TypeVar("T")

IDLE_SECONDS: Final = 15.0
"""The time without input after which the client checks the connection."""
SLOW_SECONDS: Final = 1.0
"""The round-trip time after which the client checks the connection more often, as the status line shows the time."""
TICK_SECONDS: Final = 1.0
"""The time between two updates of the status line, which shows durations."""
NICK_TRIES: Final = 3
"""The number of refusals after which the client takes a similar nickname. Its lost session may hold the old one."""
LEAVE_SECONDS: Final = 12.0
"""The time limit for leaving after the terminal has gone."""
QUIT_SECONDS: Final = 0.3
SMALLEST: Final = (10, 3)
"""A terminal of fewer columns or rows than these gets lines, and no editor."""


def run(options: Options) -> int:
    """Run the client on this terminal until the user leaves, or the session ends. Return the exit status."""
    if isinstance(sys.stdin, TextIOWrapper) and codecs.lookup(sys.stdin.encoding).name == "ascii":
        # Most terminals send UTF-8, also with LANG=C.
        sys.stdin.reconfigure(encoding="utf-8")
    app = App(options, Choices(options), partial(_make_screen, options), read_password(options))
    return asyncio.run(app.run())


def _make_screen(options: Options, conversation: Conversation) -> Front:
    """Make the screen that fits the terminal."""
    output = create_output()
    size = output.get_size()
    renderer = Renderer(has_times=lambda: conversation.choices["times"], encoding=sys.stdout.encoding)
    is_plain = is_dumb_terminal() or size.columns < SMALLEST[0] or size.rows < SMALLEST[1]
    # Windows has no such terminals, and its event loop cannot wait for what is typed into one.
    if is_plain and sys.platform != "win32":
        from broadcast.client.terminal.plain import PlainScreen  # noqa: PLC0415 -- Windows lacks what it needs

        return PlainScreen(conversation, renderer, sys.stdin.fileno(), sys.stdout, sys.stdin.encoding)
    renderer.has_links = links.are_supported()
    return Screen(
        conversation,
        renderer,
        ConversationCompleter(conversation),
        DraftHistory(Path(state_folder(), "history")),
        create_input(),
        output,
        server=options.server,
        is_reflowing=reflows(),
        has_alternate_screen=has_alternate_screen(),
    )


class App:
    """A conversation on a terminal: the ``Server`` of the conversation. *make_screen* makes its screen.

    *password* is that of the first nickname, or empty.
    """

    def __init__(
        self,
        options: Options,
        choices: Choices,
        make_screen: Callable[[Conversation], Front],
        password: str = "",
    ) -> None:
        self._options = options
        self._password = password
        self._chat: Chat | None = None
        self._known_keys = known_keys(options)
        self._ended = asyncio.Event()
        self._status_of_signal = 0
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._talk = Conversation(
            self,
            choices,
            rooms=options.rooms,
            make_uid=partial(secrets.token_hex, 16),
            now=time.time,
            on_end=self._on_end,
        )
        self._screen = self._talk.front = make_screen(self._talk)

    async def run(self) -> int:
        """Run until the user leaves, or the session ends. Return the exit status."""
        self._handle_signals()
        self._start(self._run_session())
        self._start(self._run_clock())
        try:
            await self._screen.run()
        except (EOFError, OSError):
            # The terminal is gone. The others see that the user leaves.
            self._leave_once()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LEAVE_SECONDS)
            self._talk.ended(None)
        for task in self._tasks:
            task.cancel()
        # A task that still waits for the answer to quit is cancelled again at the end of the loop.
        await asyncio.wait(self._tasks, timeout=QUIT_SECONDS)
        if self._failure is not None:
            raise self._failure
        return self._status_of_signal or self._talk.status

    # The server of the conversation

    def request(self, request: requests.Request[Any], on_end: requests.OnEnd) -> None:
        """Send a request, over as many connections as it takes."""
        assert self._chat is not None
        self._call(self._chat.call(request), on_end)

    def upload(
        self, room: str, path: str, on_progress: requests.Progress, on_end: requests.OnEnd
    ) -> Callable[[], object]:
        """Share the file at *path* in a room, over as many connections as it takes. ``~`` is the home folder."""
        assert self._chat is not None
        local = os.path.expanduser(path)  # noqa: PTH111 -- Path has an error for ~ and an unknown user
        return self._call(self._chat.upload(local, room, progress=on_progress), on_end).cancel

    def _call(self, result: Coroutine[Any, Any, Any], on_end: requests.OnEnd) -> asyncio.Task[None]:
        async def call() -> None:
            outcome: Any = None
            error = None
            try:
                outcome = await result
            except errors.ChatError as caught:
                error = caught
            on_end(outcome, error)

        return self._start(call())

    def is_own(self, event: events.Line) -> bool:
        """Return whether the user has said a line."""
        assert self._chat is not None
        return self._chat.is_own(event)

    def quit(self, reason: str) -> None:
        """Leave the server."""
        assert self._chat is not None
        self._start(self._chat.close(reason or None))

    # The session

    async def _run_session(self) -> None:
        """Connect, and pass the events to the conversation, until the session ends."""
        from broadcast.client.aio import Chat  # noqa: PLC0415 -- the first prompt need not wait for ssl
        from broadcast.client.protocol.session import Session  # noqa: PLC0415

        options = self._options
        user = next(propose_nicknames(os.environ))
        nick = options.nick or await self._ask_nick(Question(user), "")
        rooms: Sequence[str] = options.rooms
        password, resume = self._password, None
        while not self._ended.is_set():
            self._talk.nick = nick
            session = Session(nick, rooms or None, SystemRandom(), replay=None, resume=resume, password=password)
            session.has_fallback = True
            password = ""
            try:
                tls, keys = options.tls, self._known_keys
                async with Chat(session, options.host, options.port, tls, "", keys, self._ask_password) as chat:
                    self._chat = chat
                    self._talk.connected(chat.welcome)
                    await self._read(chat, session)
                self._talk.ended(None)
            except errors.Untrusted as error:
                await self._decide(error)
                password = self._password  # it was not sent
            except errors.NickRejected as error:
                nick = await self._ask_nick(Question("", similar(nick)), str(error))
            except errors.PASSWORD_ERRORS:
                rooms, resume = session.rooms or rooms, session.resume
                nick = await self._ask_nick(Question("", similar(nick)), "")
            except errors.Ended as error:
                self._talk.ended(error, exit_status.LOST)
            except (errors.Banned, errors.NotPermitted) as error:
                self._talk.ended(error, exit_status.NICKNAME_REFUSED)
            except errors.ChatError as error:
                is_room = isinstance(error, errors.RoomRejected)
                self._talk.ended(error, exit_status.REFUSED if is_room else exit_status.NO_CONNECTION)

    async def _decide(self, error: errors.Untrusted) -> None:
        """Let the user decide about the key of a new server. End the conversation if another key is expected."""
        options, talk = self._options, self._talk
        if self._chat is not None or error.known or not error.fingerprint:
            first, *others = refusal(error, options)
            talk.add(talk.current, Problem(first[:1].upper() + first[1:]), *map(Notice, others))
            talk.ended(None, exit_status.UNTRUSTED)
            return
        if not await _answered(partial(talk.ask_trust, introduction(error, options))):
            talk.add(talk.current, Notice("The key is not trusted. Nothing was sent."))
            talk.ended(None, exit_status.UNTRUSTED)
            return
        self._known_keys = (error.fingerprint,)
        try:
            KnownHosts().add(options.server, error.fingerprint)
        except SettingsError as problem:
            talk.add(talk.current, Problem(f"{problem}. The key is trusted for this time only."))

    async def _read(self, chat: Chat, session: Session) -> None:
        """Pass the events to the conversation. Raise ``Ended`` if the server ends the session."""
        refusals = 0
        async for event in chat:
            match event:
                case events.Disconnected(reason=reason) if not self._options.reconnect:
                    raise errors.Ended(f"the connection to {self._options.server} was lost: {reason}")
                case events.Disconnected(reason=reason, after=after, nick_refusal=why):
                    self._talk.lost(reason, asyncio.get_running_loop().time() + after, is_refusal=bool(why))
                    refusals += bool(why)
                    if why and refusals >= NICK_TRIES:
                        number = refusals - NICK_TRIES  # ann_, then ann2, ann3 and so on
                        nick = self._talk.nick
                        session.nick = numbered(nick, number + 1) if number else similar(nick)[0]
                case events.Reconnected():
                    refusals = 0
                    self._talk.connected(chat.welcome)
            self._talk.handle(event)

    async def _ask_nick(self, question: Question, why: str) -> str:
        return await _answered(partial(self._talk.ask_nick, question, why))

    async def _ask_password(self, refusal: errors.Rejected) -> str | None:
        return await _answered(partial(self._talk.ask_password, refusal)) or None

    # Liveness

    async def _run_clock(self) -> None:
        """Keep the numbers of the status line up to date, and check the connection while nothing else does."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            talk, chat, before = self._talk, self._chat, self._talk.silence
            if chat is None:
                continue
            talk.silence, talk.round_trip = chat.unanswered_for, chat.round_trip
            if talk.silence or before or talk.retry_at is not None:
                self._screen.update()
            pause = 2 * SLOW_SECONDS if talk.round_trip >= SLOW_SECONDS else IDLE_SECONDS
            if talk.state is State.ONLINE and not talk.silence and time.monotonic() >= chat.heard_at + pause:
                self.request(requests.CheckConnection(), lambda _result, _error: None)

    # Ends

    def _handle_signals(self) -> None:
        """Leave properly at SIGTERM, a second time at once; and at SIGHUP, which comes if the terminal is gone."""

        def terminate() -> None:
            self._status_of_signal = exit_status.TERMINATED
            self._talk.leave()

        if sys.platform != "win32":
            for number, handler in ((signal.SIGTERM, terminate), (signal.SIGHUP, self._leave_once)):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    asyncio.get_running_loop().add_signal_handler(number, handler)

    def _leave_once(self) -> None:
        if self._talk.state is not State.LEAVING:
            self._talk.leave()

    def _on_end(self) -> None:
        self._ended.set()
        self._screen.stop()

    def _start(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = self._failure or failure
            self._screen.stop()


async def _answered(ask: Callable[[Callable[[T], None]], None]) -> T:
    """Return the value with which *ask* calls the function that it gets."""
    answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    ask(answer.set_result)
    return await answer


def similar(nick: str) -> tuple[str, ...]:
    """Return nicknames to take in place of a refused one."""
    fitting = fit(nick)
    if fitting != nick:
        return (fitting,)
    return f"{fitting[: LONGEST - 1]}_", numbered(fitting, 2)
