"""The front end on a terminal: what arrives scrolls by, and the line that is being typed stays whole."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, cast

from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_input
from prompt_toolkit.output import create_output
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import is_dumb_terminal
from twisted.internet.interfaces import IReactorTime
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from broadcast.client import colors
from broadcast.client.completion import Known, LineCompleter
from broadcast.client.connection import Connection
from broadcast.client.conversation import Conversation
from broadcast.client.endpoint import server_endpoint
from broadcast.client.history import TypedLines, state_folder
from broadcast.client.nicknames import of_user
from broadcast.client.plain import PlainScreen
from broadcast.client.screen import Screen
from broadcast.client.status import TERMINATED

if TYPE_CHECKING:
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

    from broadcast.client.options import Options

SMALLEST = (10, 3)
"""A terminal of fewer columns or rows than these gets lines, and no editor."""
PATIENCE = 12
"""How long, in seconds, a proper leave may take when there is nobody any more who could say that it takes too long."""


def run(options: Options, reactor: AsyncioSelectorReactor) -> int:
    """Talk on this terminal until somebody leaves; returns the exit status (``status``).

    *reactor* is installed and not running.
    """
    known = Known()
    history = TypedLines(state_folder() / "history")
    user = next(of_user(os.environ))
    clock = cast(IReactorTime, reactor)
    talk = Conversation(options.server, user, known, history.append_string, clock, bell=options.bell)
    endpoint = server_endpoint(reactor, options.host, options.port)
    talk.connection = Connection(
        talk, endpoint, clock, random.random, options.server, options.nick, reconnect=options.reconnect
    )
    with create_app_session(create_input(), create_output()) as session:
        size = session.output.get_size()
        bare = is_dumb_terminal() or size.columns < SMALLEST[0] or size.rows < SMALLEST[1]
        # Windows has no such terminals, and its event loop cannot wait for what is typed into one.
        if bare and sys.platform != "win32":
            talk.display = PlainScreen(talk, sys.stdin.fileno(), sys.stdout)
            terminated = _serve(talk, reactor)
        else:
            colored = colors.wanted(refused=not options.color)
            completer = LineCompleter(known)
            talk.display = Screen(talk, completer, history, session.input, session.output, colored=colored)
            with patch_stdout():
                terminated = _serve(talk, reactor)
    return TERMINATED if terminated else talk.status_at_end


def _serve(talk: Conversation, reactor: AsyncioSelectorReactor) -> bool:
    """Run the reactor until *talk* has ended; whether SIGTERM has ended it."""
    tasks: list[asyncio.Task[None]] = []
    failures: list[BaseException] = []
    terminated: list[bool] = []

    def terminate() -> None:
        terminated.append(True)
        talk.leave()

    async def serve() -> None:
        with suppress(NotImplementedError, RuntimeError):  # on Windows, and where this is not the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        talk.connection.start()
        try:
            await talk.display.run()
        except (EOFError, OSError):
            # The terminal is gone; those who are still there learn properly that somebody has left.
            talk.leave()
            await _until(lambda: talk.over, PATIENCE)

    def ended(task: asyncio.Task[None]) -> None:
        if (failure := task.exception()) is not None:
            failures.append(failure)
        reactor.stop()  # type: ignore[no-untyped-call]  # Twisted's own is not annotated

    def begin() -> None:
        # Held here, because the loop holds a task only weakly.
        tasks.append(asyncio.ensure_future(serve()))
        tasks[0].add_done_callback(ended)

    _log_to(sys.stderr)
    # Not callWhenRunning: that is before asyncio's loop runs.
    cast(IReactorTime, reactor).callLater(0, begin)
    # prompt_toolkit and asyncio have handlers of their own; Twisted's would take their place.
    reactor.run(installSignalHandlers=False)  # type: ignore[no-untyped-call]  # the same
    if failures:
        raise failures[0]
    return bool(terminated)


async def _until(true: Callable[[], bool], seconds: float) -> None:
    for _ in range(int(seconds * 10)):
        if true():
            return
        await asyncio.sleep(0.1)


def _log_to(stream: TextIO) -> None:
    """Of what Twisted logs, only what must not happen reaches somebody's screen."""
    critical = LogLevelFilterPredicate(LogLevel.critical)
    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(textFileLogObserver(stream), [critical])], redirectStandardIO=False, discardBuffer=True
    )
