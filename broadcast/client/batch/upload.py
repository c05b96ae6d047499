"""``--upload``: share a file, print its address, and leave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from random import SystemRandom
from typing import TYPE_CHECKING, Final

import msgspec

from broadcast import __version__, standard_streams
from broadcast.client import exit_status
from broadcast.client.aio import Chat
from broadcast.client.known_hosts import known_keys, refusal
from broadcast.client.nicknames import propose_nicknames
from broadcast.client.options import TIMEOUT_SECONDS
from broadcast.client.password_file import PASSWORD_HINT, read_password
from broadcast.client.protocol import errors
from broadcast.client.protocol.session import Session
from broadcast.client.text import progress_bar
from broadcast.client.uploading import LocalFile

if TYPE_CHECKING:
    from broadcast.client.aio import Shared
    from broadcast.client.options import Options
    from broadcast.client.protocol.requests import Progress

RETRY_SECONDS: Final = 1.0
"""The pause between two attempts at the first connection."""


def upload(options: Options) -> tuple[int, str]:
    """Share the file of *options*. Return the exit status and its reason for people, empty for 0."""
    path = options.upload or ""
    try:
        LocalFile(path).close()  # before anybody sees the client come and go
    except errors.UploadFailed as error:
        return exit_status.USAGE, str(error)
    password = read_password(options)
    bar = Bar()
    try:
        shared = asyncio.run(_share(options, path, password, bar.show))
    except asyncio.CancelledError:
        return exit_status.TERMINATED, ""
    except TimeoutError:
        return exit_status.LOST, "the server has confirmed nothing for too long"
    except errors.ChatError as error:
        return _explain(error, options)
    finally:
        bar.clear()
    if isinstance(shared, errors.Rejected):
        return exit_status.REFUSED, str(shared)
    return _print_receipt(shared, as_json=options.json)


def _print_receipt(shared: Shared, *, as_json: bool) -> tuple[int, str]:
    text = msgspec.json.encode({"seq": shared.seq, "file": shared.file}).decode() if as_json else shared.file.url
    try:
        standard_streams.write(1, f"{text or ''}\n".encode())
    except OSError as error:
        return exit_status.explain_write_error(error)
    return exit_status.DONE, ""


class Bar:
    """The progress, on the standard error if that is a terminal."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, sent: int, size: int) -> None:
        """Show the progress."""
        bar = progress_bar(sent, size)
        if bar != self._shown:
            self._write(f"\r{bar}")
            self._shown = bar

    def clear(self) -> None:
        """Remove the bar."""
        self._write(f"\r{' ' * len(self._shown)}\r")

    def _write(self, text: str) -> None:
        with suppress(OSError):
            if os.isatty(2):
                standard_streams.write(2, text.encode())


async def _share(options: Options, path: str, password: str, show: Progress) -> Shared | errors.Rejected:
    """Share the file. Return the event, or the server's refusal.

    A time-out without progress raises ``TimeoutError``, and SIGTERM cancels.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task and sys.platform != "win32" and signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    patience = TIMEOUT_SECONDS if options.timeout is None else options.timeout
    async with asyncio.timeout(patience) as limit:

        def progress(sent: int, size: int) -> None:
            limit.reschedule(loop.time() + patience)
            show(sent, size)

        nicks = propose_nicknames(os.environ) if options.nick is None else iter((options.nick,))
        nick = next(nicks)
        while True:
            session = Session(
                nick, options.rooms[:1] or None, SystemRandom(),
                password=password, private=False, client=f"broadcast-client/{__version__}",
            )  # fmt: skip
            chat = Chat(session, options.host, options.port, options.tls, "", known_keys(options))
            try:
                async with chat:
                    try:
                        return await chat.upload(path, chat.joined[0], progress=progress)
                    except errors.Rejected as refused:
                        return refused
            except errors.Unreachable as error:
                if options.timeout is None or session.welcome or isinstance(error, errors.Untrusted):
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            except (errors.NickRejected, errors.PasswordNeeded):
                following = next(nicks, None)
                if following is None or session.welcome:
                    raise
                nick = following


def _explain(error: errors.ChatError, options: Options) -> tuple[int, str]:
    """Return the exit status of an *error* of the session, and the reason."""
    match error:
        case errors.Untrusted():
            return exit_status.UNTRUSTED, str(error) if error.place else " ".join(refusal(error, options))
        case errors.Unreachable():
            return exit_status.NO_CONNECTION, str(error)
        case errors.RoomRejected():
            return exit_status.REFUSED, f"the room was refused: {error}"
        case errors.Rejected():
            hint = f" {PASSWORD_HINT}" if isinstance(error, errors.PasswordNeeded) else ""
            return exit_status.NICKNAME_REFUSED, f"the nickname was refused: {error}{hint}"
        case _:
            return exit_status.LOST, str(error)
