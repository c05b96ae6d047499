"""The surroundings of all tests, and the fixtures that they share."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import FrameType

import hypothesis
import pytest
import pytest_twisted

from tests.harness import Person, World
from tests.postgres import PostgresServer, need_postgres
from tests.real.programs import Programs

# A slow machine must not fail a test, so examples have no deadline. They are the same in each run, so that only a
# change of the code changes the result. .ci/long looks for new ones.
hypothesis.settings.register_profile("broadcast", deadline=None, derandomize=not os.environ.get("BROADCAST_LONG"))
hypothesis.settings.load_profile("broadcast")


def _receive_ignored_signal(_number: int, _frame: FrameType | None) -> None:
    """Do nothing, as before."""


def _forget_surroundings() -> None:
    """Give the tests, and the programs that they start, the same surroundings whatever started pytest.

    A background job of a script ignores SIGINT, and nohup and cron ignore SIGHUP. A child process inherits an ignored
    signal, but not a handler: so an empty handler protects pytest as before, and its children have the default. Python
    itself ignores SIGPIPE and SIGXFSZ, and ``subprocess`` restores both.
    """
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _receive_ignored_signal)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    os.environ |= {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
    time.tzset()
    # Without bytecode, each started program would compile all modules anew.
    for name in ("COLORTERM", "NO_COLOR", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(name, None)
    # Of a service manager or a socket unit that has started pytest.
    for name in ("LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"):
        os.environ.pop(name, None)


if os.name != "nt":
    _forget_surroundings()


@pytest.fixture(autouse=True, scope="session")
def _keep_clock() -> Iterator[None]:
    """Let servers in this process leave the clock of its reactor as it is.

    Theirs would take each long test for a pause of the process, and log it during a later one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("broadcast.service.use_monotonic_clock", lambda *_arguments: None)
        yield


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of workers for ``-n auto``: two more than there are cores, for some tests mostly wait.

    A single file is run in this process, without the seconds that workers take to start.
    """
    if len(config.args) == 1 and config.args[0].partition("::")[0].endswith(".py"):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 2


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses a PostgreSQL server, and measure no coverage where it would only double a test's time.

    A test with random examples executes the same lines many times. The scenarios execute the same lines of the core
    over each kind of writer.
    """
    for item in items:
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")
        if isinstance(item, pytest.Function):
            door = item.callspec.params.get("open_world") if hasattr(item, "callspec") else None
            if getattr(item.obj, "is_hypothesis_test", False) or door in {"line, direct", "line, TLS"}:
                item.add_marker("no_cover")


@pytest.fixture(autouse=True)
def wakeup_descriptor() -> Iterator[None]:
    """Give the reactor its wake-up descriptor back, which asyncio removes with its last signal handler.

    Without it, the reactor would not learn that a process has ended.
    """
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    yield
    if descriptor != -1:
        signal.set_wakeup_fd(descriptor)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests of this process share. A test must leave it running."""
    server = PostgresServer(need_postgres())
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of a database that holds an empty journal, or none yet."""
    postgres.empty()
    return postgres.url()


@pytest_twisted.async_yield_fixture
async def programs(tmp_path: Path) -> AsyncIterator[Programs]:
    """Programs that end with the test."""
    from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

    started = Programs(reactor, tmp_path)
    yield started
    await started.stop()


@pytest.fixture
def ann(world: World) -> Person:
    """The first person in the room of *world*, a fixture of the test's module. She has read everything so far."""
    return world.join("ann")[0]


@pytest.fixture
def bob(world: World, ann: Person) -> Person:
    """The second person in the room."""
    (bob,) = world.join("bob")
    ann.read()
    return bob
