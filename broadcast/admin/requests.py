"""Changes of accounts and files: asked of the server while one runs, else made in its folder by the same code."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from hmac import compare_digest
from math import inf
from pathlib import Path
from queue import SimpleQueue
from secrets import token_urlsafe
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import msgspec

from broadcast.accounts.hashing import Hasher
from broadcast.admin.status import REJECTED, UNKNOWN, UNUSABLE, AdminError
from broadcast.core.accounts import Accounts, Authenticator
from broadcast.core.errors import JournalError, JournalInUse, RejectedError, StartupError
from broadcast.core.interfaces import Journal
from broadcast.files.contents import FOLDER
from broadcast.files.store import ContentStore, FileStore
from broadcast.journals.sqlite.data_dir import LOBBY
from broadcast.journals.sqlite.journal import SqliteJournal
from broadcast.net.unix_sockets import UNIX_FAMILY, own_user, peer_user, unix_socket
from broadcast.server.admin_access import PORT_FILE, AdminAccess
from broadcast.server.administration import SOCKET, Administration, encode_request

if TYPE_CHECKING:
    from broadcast.journals.postgres.database import Database

T = TypeVar("T")

ANSWER_SECONDS: Final = 130.0
"""Maximum time until the server answers a request, in seconds: a little longer than the server itself allows."""
START_SECONDS: Final = 5.0
"""Maximum time, in seconds, for a server that starts or stops, and so holds the lock but has no socket.

A server at a port has the same time to answer with its secret.
"""
RETRY_SECONDS: Final = 0.1
"""Time between two tries, in seconds."""
MAX_ANSWER_BYTES: Final = 64 * 1024
"""Maximum size of an answer."""

_Calls: TypeAlias = SimpleQueue[Callable[[], None]]
"""The calls that a journal has scheduled."""


class _NoServer(Exception):
    """No server listens at the admin socket. The text gives the symptom, and what to do if a server runs."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; stop it, or start it again")


def request(folder: Path, method: str, params: Mapping[str, str], report: Callable[[str], object]) -> str:
    """Have *method* done, and return one line about what was done. Raises ``AdminError`` or ``JournalError``.

    *report* is called with a line if the journal, which no server uses, lacks lines.
    """
    line = encode_request(method, params)
    deadline = monotonic() + START_SECONDS
    while True:
        try:
            return _decode(_ask_server(folder, line))
        except _NoServer as error:
            why = str(error)
        try:
            return _decode(_ask_journal(folder, line, report))
        except JournalInUse:
            if monotonic() > deadline:
                raise AdminError(UNUSABLE, f"a server has {folder} open, but does not answer: {why}") from None
        sleep(RETRY_SECONDS)


def _ask_server(folder: Path, line: bytes) -> bytes:
    """Return the answer of the server to *line*. Raises ``_NoServer`` or ``AdminError``."""
    if UNIX_FAMILY is None:
        return _ask_port(folder / PORT_FILE, line)
    path = folder / SOCKET
    with unix_socket() as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(os.fspath(path))
        except FileNotFoundError:
            raise _NoServer(f"there is no {path}") from None
        except ConnectionRefusedError:
            raise _NoServer(f"nothing listens at {path}") from None
        except OSError as error:
            if error.errno is None:
                length = len(os.fsencode(path))
                raise _NoServer(f"{path} has {length} bytes, too many for a unix socket") from None
            why = f"{error.strerror}; run this command as the user of the server, or as root"
            raise AdminError(UNUSABLE, f"cannot use {path}: {why}") from None
        if peer_user(connection) not in {0, own_user(), folder.stat().st_uid}:
            raise AdminError(UNUSABLE, f"a process of another user listens at {path}: nothing was sent to it")
        return _exchange(connection, line)


def _ask_port(path: Path, line: bytes) -> bytes:
    """Return the answer of the server whose port is in the file *path*. Raises ``_NoServer`` or ``AdminError``.

    *line*, which may hold a password, is sent only to a program that has answered with the server's secret.
    """
    try:
        access = AdminAccess.read(path)
    except FileNotFoundError:
        raise _NoServer(f"there is no {path}") from None
    except ValueError as error:
        raise _NoServer(str(error)) from None
    except OSError as error:
        why = f"{error.strerror}; run this command as the user of the server, or as administrator"
        raise AdminError(UNUSABLE, f"cannot read {path}: {why}") from None
    with socket.socket() as connection:
        connection.settimeout(START_SECONDS)
        try:
            connection.connect(("127.0.0.1", access.port))
            answer = _exchange(connection, access.client_secret + b"\n")
        except (OSError, AdminError):  # nothing listens there, or a program that is not the server
            answer = b""
        if not compare_digest(answer, access.server_secret + b"\n"):
            raise _NoServer(f"no server answers at port {access.port}, the one in {path}")
        connection.settimeout(ANSWER_SECONDS)
        return _exchange(connection, line)


def _exchange(connection: socket.socket, line: bytes) -> bytes:
    """Send *line*, and return the line that comes back. Raises ``AdminError``."""
    answer = b""
    try:
        with suppress(BrokenPipeError):  # the server may have answered already, for example that this is another user
            connection.sendall(line)
        while not answer.endswith(b"\n") and len(answer) < MAX_ANSWER_BYTES:
            data = connection.recv(MAX_ANSWER_BYTES)
            if not data:
                raise AdminError(UNKNOWN, "the server has closed the connection without an answer: it may have stopped")
            answer += data
    except TimeoutError:
        text = f"the server has not answered within {ANSWER_SECONDS:.0f} seconds"
        raise AdminError(UNKNOWN, text) from None
    except OSError as error:
        raise AdminError(UNKNOWN, f"the connection to the server was lost: {error.strerror or error}") from None
    return answer


def _ask_journal(folder: Path, line: bytes, report: Callable[[str], object]) -> bytes:
    """Return the answer to *line* after the change in the journal of *folder*. Raises ``JournalError``."""
    calls: _Calls = SimpleQueue()
    with _as_owner(folder):
        journal = SqliteJournal(folder, calls.put, report=report)
        return _change(journal, calls, partial(_open_files, folder / FOLDER, report), line)


def _change(journal: Journal, calls: _Calls, find_archive: Callable[[], FileStore], line: bytes) -> bytes:
    """Return the answer to *line* after the change in *journal*. Raises ``JournalError``."""
    answers: list[bytes] = []
    try:
        journal.open(LOBBY, 1)
        hasher = Hasher(calls.put)
        authenticator = Authenticator(Accounts(journal.records), hasher, monotonic, time, token_urlsafe)
        authenticator.accounts.load(journal.records.load())
        Administration(authenticator, journal.records, time, find_archive).handle(line, answers.append)
        while not answers:
            calls.get()()
    finally:
        journal.close()
    return answers[0]


def request_of_database(
    folder: Path, database: Database, method: str, params: Mapping[str, str], report: Callable[[str], object]
) -> str:
    """Have *method* done in the journal of *database*, and return one line about what was done.

    The server in *folder* does it. Without one, the change is made in the database, from which servers elsewhere learn
    of it. *report* receives a line about each fault of the shared files. Raises ``AdminError`` or ``JournalError``.
    """
    from broadcast.admin.postgres import find_id  # noqa: PLC0415 - optional
    from broadcast.journals.postgres.files import PostgresContents  # noqa: PLC0415 - optional
    from broadcast.journals.postgres.journal import PostgresJournal  # noqa: PLC0415 - optional

    line = encode_request(method, params)
    journal_id = find_id(database)
    with suppress(_NoServer):
        if _decode(_ask_server(folder, encode_request("journal", {}))) != journal_id:
            text = f"the server of {folder} has another journal: give --data the data folder of a server of this one"
            raise AdminError(UNUSABLE, text)
        return _decode(_ask_server(folder, line))
    calls: _Calls = SimpleQueue()
    with closing(PostgresContents(database)) as contents:
        find_archive = partial(_open_files, folder / FOLDER, report, contents)
        return _decode(_change(PostgresJournal(database, calls.put), calls, find_archive, line))


class _SameThread:
    """A ``Worker`` without threads, because nobody else waits."""

    def run(self, work: Callable[[], T], on_result: Callable[[T | Exception], None]) -> None:
        """Call *work*, then *on_result*."""
        try:
            result: T | Exception = work()
        except (OSError, JournalError) as error:
            result = error
        on_result(result)

    def close(self) -> None:
        """Do nothing."""


def _open_files(folder: Path, report: Callable[[str], object], contents: ContentStore | None = None) -> FileStore:
    """Return the shared files in *folder*, or *contents*. *report* receives a line about each fault."""
    worker = _SameThread()
    store = FileStore(folder, worker, lambda _seconds, _call: None, time, days=inf, report=report, contents=contents)
    try:
        store.start()
    except StartupError as error:
        raise RejectedError(str(error)) from error
    return store


@contextmanager
def _as_owner(folder: Path) -> Iterator[None]:
    """Let root act as the owner of *folder* in the block, so that the server can use the files that are created."""
    status = folder.stat()
    if sys.platform == "win32" or own_user() != 0 or status.st_uid == 0:
        yield
    else:
        group = os.getegid()
        os.setegid(status.st_gid)
        os.seteuid(status.st_uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(group)


def _decode(answer: bytes) -> str:
    """Return the result in *answer*. Raises ``AdminError``."""
    try:
        message = msgspec.json.decode(answer, type=dict[str, object])
    except msgspec.DecodeError:
        raise AdminError(UNKNOWN, "the server has sent an answer that this version does not know") from None
    if "result" in message:
        return str(message["result"])
    error = message.get("error")
    text = str(error.get("message")) if isinstance(error, dict) else "the server has sent no reason"
    raise AdminError(REJECTED, re.sub(r"(?<! )\.$", "", text))  # one after a blank ends a list of characters
