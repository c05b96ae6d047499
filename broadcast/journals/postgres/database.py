"""The connections to the database, with time-outs for every call, and the texts of their errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from broadcast.core.errors import JournalError, JournalInUse
from broadcast.journals.postgres.schema import LEASE_LOST, STALE

CONNECT_SECONDS = 2
"""Time for a connection to one host."""
CALL_SECONDS = 6.0
"""Time after which a call closes its connection. It is longer than the time-outs of the server."""
MINIMUM_VERSION = 14
"""The oldest version of PostgreSQL that the journal can use."""

_OPTIONS = {
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "3s",
    "jit": "off",  # its compilation takes longer than any statement of a journal, half a second or more
}
_SOCKET = {"tcp_user_timeout": 5000, "keepalives": 1, "keepalives_idle": 3, "keepalives_interval": 2}
_UNREACHABLE = "the database cannot be reached"
_REASONS: dict[type[Exception], str] = {
    errors.LockNotAvailable: "another program has locked the journal",
    errors.QueryCanceled: "the database takes too long",
    errors.DiskFull: "the disk is full",
    errors.ReadOnlySqlTransaction: "the database accepts no changes",
    errors.TooManyConnections: "the database accepts no more connections",
}
_ADVICE = {
    "password authentication failed": "correct the password in ~/.pgpass, or in the file that PGPASSFILE names",
    "no password supplied": (
        "write the password into ~/.pgpass, or into the file that PGPASSFILE names; its mode must be 0600"
    ),
    "session is read-only": "name all hosts of the database in the URL of the journal, so that one accepts changes",
    "permission denied for schema": "grant the rights that the documentation lists to the role in the URL",
}
_DEFAULT_ADVICE = "check the URL of the journal, and whether PostgreSQL runs there"

RV = TypeVar("RV")


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that closes itself if a call takes too long. Each statement is a transaction."""

    def wait(self, gen: PQGen[RV], interval: float = 1.0, timeout: float | None = None) -> RV:
        """Wait for the result of a call. Raises ``OperationalError`` after ``CALL_SECONDS``, or after *timeout*."""
        try:
            return super().wait(gen, interval, timeout or CALL_SECONDS)
        except psycopg.Error as error:
            if error.sqlstate is None and timeout is None:  # the server has not answered
                self.close()
            raise

    def is_open(self) -> bool:
        """Return whether the connection is not known to be lost. A call that is not sent has no unknown outcome."""
        try:
            self.pgconn.consume_input()  # perhaps the server's last words
            self.pgconn.consume_input()
        except psycopg.Error:
            return False
        return not self.closed


@dataclass(frozen=True, slots=True)
class Database:
    """The database at *url*, a connection string of libpq, for the server *node*."""

    url: str = field(repr=False)  # it may hold a password
    schema: str = "broadcast"
    node: str = "broadcast"

    @property
    def description(self) -> str:
        """The names of the database, its host and the schema, for people."""
        given = conninfo_to_dict(self.url)
        name, host, service = given.get("dbname"), given.get("host"), given.get("service")
        parts = ["the PostgreSQL database", f" {name}" * bool(name), f" on {host}" * bool(host)]
        return "".join(parts) + f" of the service {service}" * bool(service) + f", in the schema {self.schema}"

    def find_problem(self) -> str:
        """Return why libpq does not understand the URL, without a part of it, or an empty text."""
        try:
            given = conninfo_to_dict(self.url)
        except psycopg.ProgrammingError as error:
            return str(error).partition(': "')[0]
        return "a password with @ in it has %40 there" * ("@" in str(given.get("host")))

    def connect(self) -> Connection:
        """Return a new connection. Raises ``psycopg.Error``."""
        given = conninfo_to_dict(self.url)
        search_path = '"' + self.schema.replace('"', '""') + '"'
        settings = _OPTIONS | {"search_path": search_path.replace("\\", "\\\\").replace(" ", "\\ ")}
        options = [str(given.get("options") or ""), *(f"-c {name}={value}" for name, value in settings.items())]
        defaults: dict[str, Any] = {"target_session_attrs": "read-write", "application_name": f"broadcast {self.node}"}
        conninfo = make_conninfo("", **(defaults | _SOCKET | {"connect_timeout": CONNECT_SECONDS} | given))
        return Connection.connect(conninfo, autocommit=True, options=" ".join(options).strip(), client_encoding="utf-8")

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Turn errors of the database into ``JournalError``, for the start of the server."""
        try:
            yield
        except errors.LockNotAvailable as error:
            msg = f"another program has locked the schema {self.schema} of the journal: end it and try again"
            raise JournalInUse(msg) from error
        except (psycopg.Error, UnicodeError) as error:
            reason = _one_line(error)
            advice = next((advice for text, advice in _ADVICE.items() if text in reason), _DEFAULT_ADVICE)
            msg = f"cannot use the database: {reason}; {advice}"
            raise JournalError(msg) from error


def describe_error(error: Exception) -> str:
    """Return why an event was not stored, as one short line."""
    if is_lease_lost(error):
        return "this server has lost its lease"
    if isinstance(error, psycopg.OperationalError) and (error.sqlstate is None or is_fatal(error)):
        return _UNREACHABLE
    return _REASONS.get(type(error)) or f"the journal cannot be written: {_one_line(error)}"


def is_fatal(error: Exception) -> bool:
    """Return whether the server has closed the connection with *error*."""
    return isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized in ("FATAL", "PANIC")


def is_stale(error: Exception) -> bool:
    """Return whether *error* says that a call is not valid any more, and can never take effect."""
    return isinstance(error, psycopg.Error) and error.sqlstate in {STALE, LEASE_LOST}


def is_lease_lost(error: Exception) -> bool:
    """Return whether *error* says that other servers have removed this one."""
    return isinstance(error, psycopg.Error) and error.sqlstate == LEASE_LOST


def is_timeout(error: Exception) -> bool:
    """Return whether *error* says that a call took too long, so that the same call may succeed later."""
    return isinstance(error, errors.QueryCanceled | errors.LockNotAvailable)


def is_deadlock(error: Exception) -> bool:
    """Return whether *error* says that the database has undone a call, because it and another waited for each other."""
    return isinstance(error, errors.DeadlockDetected)


def _one_line(error: Exception) -> str:
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = " ".join(str(primary or error).split())
    # libpq asks questions, and psycopg repeats the errors of all hosts.
    return re.split(r" Is the server running | Multiple connection attempts failed\.", text, maxsplit=1)[0]


def to_text(text: str) -> str:
    """Return *text* as the database stores it. PostgreSQL stores no NUL."""
    return text.replace("\x1a", "\x1a\x1a").replace("\0", "\x1a0") if "\0" in text or "\x1a" in text else text


def from_text(text: str) -> str:
    """Return the text that ``to_text`` has converted to *text*."""
    if "\x1a" not in text:
        return text
    return "\x1a".join(part.replace("\x1a0", "\0") for part in text.split("\x1a\x1a"))
