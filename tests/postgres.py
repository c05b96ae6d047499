"""A PostgreSQL server of the tests' own, in a temporary folder.

The fixtures ``postgres``, one server for each process of pytest, and ``postgres_url``, an empty journal for each test,
are in ``tests/conftest.py``. A test that uses one of them has the mark ``postgres``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.processes import free_port
from tests.real.programs import PATIENCE

if TYPE_CHECKING:
    import psycopg

PASSWORD = "correct-horse"
"""The password of all roles. A connection to the Unix socket needs none."""
ADMINISTRATOR = "postgres"
"""The superuser of the server."""
OWNER = "chat"
"""The role that owns the databases of the tests. It has no other rights."""
SHARED = "shared"
"""The database that most tests use, one after the other: a new one takes 300 ms of processor time."""

_USERS = ("postgres", "nobody")
"""Users that run the server if the tests run as root, which PostgreSQL refuses. The first that exists is used."""
_SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",  # tests kill processes, but never the machine
    "max_connections": "60",
    "shared_buffers": "16MB",
}
_EMPTY = """
DO $$
DECLARE
    name regclass;
BEGIN
    SET LOCAL session_replication_role = replica;  -- without triggers and foreign keys
    FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relname <> 'journal'
        AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$')
    LOOP
        IF pg_relation_size(name) > 1000000 THEN
            EXECUTE 'TRUNCATE ' || name || ' CASCADE';
        ELSE
            EXECUTE 'DELETE FROM ' || name;  -- 50 times faster
        END IF;
    END LOOP;
END
$$
"""
_GUARD = """
trap '' INT HUP TERM
read -r _
if read -r server <"$0/data/postmaster.pid"; then
    kill -s QUIT "$server"
    while kill -s 0 "$server"; do sleep 0.1; done
fi 2>/dev/null
rm -rf "$0"
"""
"""A shell script. When its input ends, even with a killed test, it ends the server and removes the server's folder."""


@cache
def find_programs() -> Path | None:
    """Return the folder with PostgreSQL's programs, None if there is none.

    The order is that of ``PATH``, then ``pg_config``, then the newest of Debian's folders.
    """
    if os.name == "nt":
        return None  # the tests start it as on Unix, and wine would find the programs of Linux
    folders = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    if (config := shutil.which("pg_config")) is not None:
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603 -- found
        folders.append(Path(answer.stdout.strip()))
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(debian, key=lambda folder: [*map(int, re.findall(r"\d+", str(folder)))], reverse=True)
    return next((each for each in folders if (each / "initdb").exists() and (each / "postgres").exists()), None)


def need_postgres() -> Path:
    """Return the folder with PostgreSQL's programs.

    Without them, or without psycopg, skip the test, or let it fail where that is not accepted.
    """
    folder = find_programs()
    reason = "" if folder else "PostgreSQL is not installed"
    try:
        import psycopg  # noqa: F401, PLC0415 -- it may be missing
    except ImportError:
        reason = "psycopg is not installed"
    if reason and os.environ.get("BROADCAST_REQUIRE_PROGRAMS"):
        pytest.fail(reason)
    if reason or folder is None:
        pytest.skip(reason)
    return folder


def wait_for(is_true: Callable[[], bool], problem: str) -> None:
    """Wait until *is_true*, for ``PATIENCE`` at most."""
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end, problem
        time.sleep(0.01)


class PostgresServer:
    """A PostgreSQL server, which ``start`` starts. ``close`` removes it with all that it stores.

    It listens on 127.0.0.1:``port``, where a password is needed, and on a Unix socket in ``folder``, where none is.
    """

    def __init__(self, programs: Path, primary: PostgresServer | None = None, **settings: str) -> None:
        """Start a server: a streaming standby of *primary*, if that is given."""
        self.programs = programs
        # The path of a Unix socket must be short, and another user must reach it: this excludes pytest's folders.
        self.folder = Path(tempfile.mkdtemp(prefix="broadcast-postgres-", dir="/tmp"))
        self._guard = subprocess.Popen(  # noqa: S603 -- its own text
            ["/bin/sh", "-c", _GUARD, str(self.folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        self._data = self.folder / "data"
        self._log = (self.folder / "log").open("ab")
        self._settings = _SETTINGS | settings
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            user, group = next(ids for ids in map(_find_user, _USERS) if ids is not None)
            self._as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
            os.chown(self.folder, user, group)
        self.port = free_port()
        if primary is not None:
            backup = ["--pgdata", str(self._data), "--host", str(primary.folder), "--port", str(primary.port)]
            backup += ["--username", ADMINISTRATOR, "--write-recovery-conf", "--checkpoint=fast"]
            self._run("pg_basebackup", *backup)
            self.start()
            return
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD)
        initdb = ["--pgdata", str(self._data), "--username", ADMINISTRATOR, "--pwfile", str(password_file)]
        initdb += ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", *initdb)
        self.start()
        self.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD '{PASSWORD}'")
        self.execute(f"CREATE DATABASE {SHARED} OWNER {OWNER}")

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        settings = self._settings | {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = self._command("postgres", "-D", str(self._data), *options)
        process = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd="/", start_new_session=True)  # noqa: S603
        self._process = process
        wait_for(lambda: self._is_ready() or process.poll() is not None, "the server does not start")
        assert process.poll() is None, self.log

    def stop(self) -> None:
        """Shut the server down, as an operator does who waits for nobody ("fast")."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server and all its processes at once, as the kernel does without memory."""
        assert self._process is not None
        processes = [self._process.pid, *self.children()]
        for process in processes:
            os.kill(process, signal.SIGSTOP)  # nobody starts a new one
        all_processes = {*processes, *self.children()}
        for process in all_processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()
        self._process = None
        # The server does not start again while one of them still has its shared memory.
        wait_for(lambda: all(map(_has_ended, all_processes)), "the processes of the server do not end")

    def children(self) -> list[int]:
        """Return the process ids of the server's own processes and of its backends (on Linux)."""
        assert self._process is not None
        pid = self._process.pid
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def close(self) -> None:
        """End the server, and remove all its files."""
        if self._process is not None:
            self._end(signal.SIGQUIT)
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        self._log.close()
        self._guard.communicate()

    def url(self, database: str = SHARED, role: str = OWNER) -> str:
        """Return the URL of *database* through the Unix socket."""
        return f"postgresql://{role}@/{database}?host={self.folder}&port={self.port}"

    def tcp_url(self, database: str = SHARED, role: str = OWNER, port: int | None = None) -> str:
        """Return the URL of *database* through *port*, or the server's own. The password comes from elsewhere."""
        return f"postgresql://{role}@127.0.0.1:{port or self.port}/{database}"

    def empty(self) -> None:
        """Remove all rows from the tables of ``SHARED``, except the row that says which journal it is."""
        with self.connect(SHARED) as connection:
            connection.execute(_EMPTY)

    def create_database(self) -> str:
        """Create an empty database of ``OWNER``, and return its name."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove the database *name*, and end its connections."""
        self.execute(f"DROP DATABASE {name} (FORCE)")

    def connect(self, database: str = "postgres", role: str = ADMINISTRATOR) -> psycopg.Connection[Any]:
        """Return a connection that commits each statement."""
        import psycopg  # noqa: PLC0415 -- it may be missing

        return psycopg.connect(self.url(database, role), autocommit=True)

    def execute(
        self,
        statement: str,
        values: Sequence[object] | None = None,
        database: str = "postgres",
        role: str = ADMINISTRATOR,
    ) -> list[Any]:
        """Run *statement* on a connection of its own, and return its rows."""
        with self.connect(database, role) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def _is_ready(self) -> bool:
        import psycopg  # noqa: PLC0415 -- it may be missing

        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(PATIENCE)
        self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        command = self._command(program, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")  # noqa: S603 -- found
        assert done.returncode == 0, done.stderr

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [*self._as_user, str(self.programs / program), *arguments]


def _has_ended(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


def _find_user(name: str) -> tuple[int, int] | None:
    """Return the ids of the user *name* and of its group, None if there is no such user."""
    import pwd  # noqa: PLC0415 -- not on Windows

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid
