"""The surroundings of all tests, and the fixtures that they share."""

from __future__ import annotations

import gc
import os
import pkgutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import pytest
import pytest_twisted
from coverage import Coverage

import broadcast.core
from broadcast.accounts.hashing import Parameters
from tests.harness import Person, World
from tests.postgres import PostgresServer, need_postgres
from tests.real.programs import Programs

LONG = bool(os.environ.get("BROADCAST_LONG"))

# A slow machine must not fail a test, so examples have no deadline. They are few, and the same in each run, so that
# only a change of the code changes the result. .ci/long looks for new ones.
hypothesis.settings.register_profile("broadcast", deadline=None, derandomize=not LONG, max_examples=300 if LONG else 40)
hypothesis.settings.load_profile("broadcast")

WAITING = ("soak", "benchmarks", "real", "browser", "faults")
"""The folders with the tests that wait for processes and clocks, the slowest first."""

COVER_CORE = (
    "tests/cluster/",
    "tests/core/",
    "tests/scenarios/",
    *(f"tests/doors/jsonrpc/test_{name}.py" for name in ("accounts", "moderation", "remembered_logins")),
)
"""The beginnings of the ids of the tests that together execute each line and each branch of the core."""
REPEAT_CORE = ("tests/core/test_sanitize.py",)
"""Tests among them that take long, and execute no line that the others leave out."""


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


if os.name == "nt":
    import twisted.internet.default

    from tests import iocpreactor

    twisted.internet.default.install = iocpreactor.install
else:
    _forget_surroundings()


@pytest.fixture(autouse=True, scope="session")
def _keep_clock() -> Iterator[None]:
    """Let servers in this process leave the clock of its reactor as it is.

    Theirs would take each long test for a pause of the process, and log it during a later one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("broadcast.service.use_monotonic_clock", lambda *_arguments: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _hash_cheaply() -> Iterator[None]:
    """Let no server in this process measure for a second which password hashes this machine can afford."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("broadcast.accounts.hashing.measure", lambda: Parameters(64, 2, 1))
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Let asyncio of Windows leave a connection to the collector that ends together with its loop."""
    if os.name == "nt":
        config.addinivalue_line("filterwarnings", "ignore:unclosed (transport|<socket.socket):ResourceWarning")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of workers for ``-n auto``: two more than there are cores, for some tests mostly wait.

    A single file is run in this process, without the seconds that workers take to start.
    """
    if len(config.args) == 1 and config.args[0].partition("::")[0].endswith(".py"):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 2


def _measure_core(config: pytest.Config, *, on: bool) -> None:
    """Measure the coverage from now on, or with ``on=False`` no more, because that takes time in each line.

    Has no effect unless pytest-cov measures the core alone.
    """
    if config.getoption("cov_source", None) == ["broadcast.core"]:
        plugin: Any = config.pluginmanager.get_plugin("_cov")
        controller = plugin.cov_controller
        if controller is not None and controller.started != on:
            (controller.resume if on else controller.pause)()
        if not on and (unused := Coverage.current()) is not None:
            unused.stop()  # pytest-cov starts one in each worker before that of the worker


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import this worker's share of all test modules before the collection imports the rest.

    Pytest compiles a test module when it is first imported, which takes long, and stores the bytecode. Without this,
    all workers would compile all modules of a new checkout at the same time.
    """
    gc.disable()  # until the tests run, because the modules and the tests stay until the end
    # The modules of the core are imported while the coverage is measured, because an import executes lines, too.
    for module in pkgutil.iter_modules(broadcast.core.__path__, "broadcast.core."):
        import_module(module.name)
    _measure_core(session.config, on=False)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1 and session.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        root = session.config.rootpath
        paths = sorted(Path(__file__).parent.rglob("test_*.py"))
        for path in paths[int(os.environ["PYTEST_XDIST_WORKER"][2:]) :: workers]:
            with suppress(Exception, pytest.skip.Exception):  # the collection reports it
                import_module(".".join(path.relative_to(root).with_suffix("").parts))


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses a PostgreSQL server, and let those that wait for a long time come first.

    Xdist gives each worker a few at a time. The others then fill the processors until the end, where all workers but
    one would wait for a slow test otherwise.
    """
    tests = Path(__file__).parent
    order = {tests / folder: number for number, folder in enumerate(WAITING)}
    items.sort(key=lambda item: order.get(item.path.parent, len(WAITING)))
    for item in items:
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Measure the coverage of this test and of its fixtures, or of neither, if only that of the core is measured.

    A test with random examples executes the same lines many times, and the scenarios execute the same lines of the core
    over each kind of writer.
    """
    on = False
    name = item.nodeid
    if isinstance(item, pytest.Function) and name.startswith(COVER_CORE) and not name.startswith(REPEAT_CORE):
        door = item.callspec.params.get("open_world") if hasattr(item, "callspec") else None
        on = not getattr(item.obj, "is_hypothesis_test", False) and door not in {"line, direct", "line, TLS"}
    _measure_core(item.config, on=on)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Let the garbage collector never examine the modules and the collected tests: they stay until the end."""
    gc.freeze()
    gc.enable()


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
