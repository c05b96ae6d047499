"""The wiring, and the real server in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic, sleep
from typing import Any, cast
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import ServerFactory
from twisted.logger import capturedLogs, formatEvent
from twisted.python import usage

import broadcast
from broadcast import __version__, service
from broadcast.accounts.oidc_threads import OidcProvider
from broadcast.delivery.fanout import Fanout
from broadcast.doors.line.protocol import BroadcastFactory
from broadcast.doors.web.door import WebDoor
from broadcast.journals.memory import MemoryJournal
from broadcast.journals.sqlite.journal import SqliteJournal
from broadcast.net.endpoints import close_now
from broadcast.net.fd_reserve import ReserveSocket
from broadcast.net.tcp_info import KeepalivePolicy
from broadcast.server.lifecycle import Server
from broadcast.server.metrics import Monitor
from broadcast.server.options import Options
from broadcast.service import makeService
from tests.real.programs import TWISTD, Programs
from tests.real.zygote import IS_LINUX, zygote

TIMEOUT = 60
"""Seconds after which a test gives up waiting for another process."""


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def parse(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(arguments)
    return options


def make_service(arguments: str) -> Server:
    return makeService(parse(*arguments.split()))


# The wiring


def test_service_passes_the_settings_to_its_parts(tmp_path: Path) -> None:
    server = make_service("--name Pub --replay 3 --probe 30 --gone 90")
    assert isinstance(server, Server)
    assert isinstance(server._journal, SqliteJournal)
    assert server._storage_note == f"What is said is kept in {tmp_path / 'broadcast-data'}."
    assert not (tmp_path / "broadcast-data").exists()
    settings = server._hub.settings
    assert (settings.name, settings.replay, settings.version) == ("Pub", 3, __version__)
    assert server._dead_peers._policy == KeepalivePolicy(30, 90)
    assert server._dead_peers._connections is server._connections
    assert server._monitor is None


def test_no_other_process_has_the_same_session_ids() -> None:
    servers = [make_service("--ephemeral") for _ in range(4)]
    first, *others = (server._hub.next_session_id() for server in servers)
    assert all(abs(first - other) >= 2**32 for other in others)
    assert all(0 < each < 2**63 for each in (first, *others))  # SQLite's integers have 64 bits with their sign


def test_server_takes_files_if_it_has_a_web_port_a_folder_and_space(tmp_path: Path) -> None:
    data = f"--data {tmp_path / 'data'}"
    for without in (data, "--ephemeral --web 0", f"{data} --web 0 --files-total 0"):
        assert make_service(without)._hub.uploads is None
    uploads = make_service(f"{data} --web 0 --file-bytes 100 --files-total 1000")._hub.uploads
    assert uploads is not None
    assert uploads.max_bytes == 100


def test_service_passes_the_limits_to_its_parts() -> None:
    server = make_service(
        "--ephemeral --window-events 5 --window-bytes 6 --pending-bytes 4096 --queue-events 8 --connections 9"
    )
    factory = server._entrances[0].factory
    assert isinstance(factory, BroadcastFactory)
    limits = factory.limits
    fanout = server._hub.rooms._make_publisher()
    assert isinstance(fanout, Fanout)
    buffer = fanout.replay_buffer
    assert (buffer._max_events, buffer._max_bytes, fanout.dispatcher.private_queue_bytes) == (5, 6, 4096)
    assert server._hub.backlog._limits is limits
    assert (limits.high_water_events, limits.connections) == (8, 9)


def test_ports_have_a_reserve_of_descriptors_and_accept_at_a_pace() -> None:
    from twisted.internet import reactor  # noqa: PLC0415 -- as below

    port: Any = cast(IReactorTCP, reactor).listenTCP(0, ServerFactory(), interface="127.0.0.1")
    try:
        make_service("--ephemeral")._entrances[0].prepare(port)
        assert isinstance(port.socket, ReserveSocket)
        assert "doRead" in vars(port), "the pacer replaces the method of the class"
    finally:
        close_now([port])


def test_ephemeral_service_says_that_it_stores_nothing() -> None:
    server = make_service("--limits off --ephemeral")
    assert isinstance(server._journal, MemoryJournal)
    assert server._storage_note.startswith("Nothing is kept (--ephemeral)")
    assert server._storage_note.endswith("server stops. The limits on people and addresses are off.")


@pytest.mark.parametrize("option", ["--port", "--metrics", "--web"])
def test_invalid_endpoint_is_reported_in_one_line(option: str) -> None:
    with pytest.raises(SystemExit, match=f"^broadcast: {option} nonsense:1 cannot be used "):
        make_service(f"{option} nonsense:1")


def test_storage_failures_and_recovery_are_logged_on_the_reactor_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

    calls: list[Callable[[], None]] = []
    monkeypatch.setattr(reactor, "callFromThread", calls.append)
    stats = make_service("")._journal.commit_stats
    with capturedLogs() as events:
        stats.record_failure("the disk is full", 1)
        stats.record_success(0.1)
        assert events == []
        for call in calls:
            call()
    assert [(event["log_level"].name, formatEvent(event)) for event in events] == [
        ("error", "Nothing that is said is kept: the disk is full."),
        ("info", "What is said is kept again."),
    ]


def test_unusable_json_log_is_reported() -> None:
    options: Any = parse("--ephemeral", "--log-format", "json")
    options.parent = usage.Options()  # type: ignore[no-untyped-call]
    options.parent["syslog"] = 1
    with pytest.raises(SystemExit, match=r"^broadcast: --log-format json writes .* remove twistd's option --syslog\.$"):
        makeService(options)


PIP = re.escape(shlex.join([sys.executable, "-m", "pip"]))


def test_metrics_need_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_service("--ephemeral --metrics 0")._monitor, Monitor)
    for missing, error, message in (
        ("prometheus_client", SystemExit, f"^broadcast: .* needs prometheus_client: {PIP} install prometheus_client$"),
        ("twisted.web.server", ImportError, "twisted.web"),
    ):
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "broadcast.server.metrics")
            patch.delattr(broadcast.server, "metrics")
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(error, match=message):
                make_service("--ephemeral --metrics 0")
            assert make_service("--ephemeral")._monitor is None


@pytest.mark.parametrize("missing", ["h11", "websockets", "websockets.server"])
def test_page_needs_its_packages(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_service("--ephemeral --web 0")
    for module in list(sys.modules):
        if module.startswith("broadcast.doors.web."):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    hint = rf"run pip install '\.\[web\]' in the checkout, or {PIP} install h11 websockets"
    with pytest.raises(SystemExit, match=f"^broadcast: --web needs h11 and websockets: {hint}$"):
        make_service("--ephemeral --web 0")
    make_service("--ephemeral")


def test_page_encrypts_once() -> None:
    with pytest.raises(SystemExit, match=r"^broadcast: --web-tls ssl:8443: this would encrypt twice\."):
        make_service("--ephemeral --web-tls ssl:8443")


def test_provider_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    command_line = "--ephemeral --oidc https://login.example --oidc-client-id chat"
    assert isinstance(make_service(command_line)._hub.authenticator.provider, OidcProvider)
    for module in ("oidc", "oidc_threads"):
        monkeypatch.delitem(sys.modules, f"broadcast.accounts.{module}")
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(SystemExit, match=rf"^broadcast: --oidc needs PyJWT: {PIP} install 'PyJWT\[crypto\]'$"):
        make_service(command_line)
    assert make_service("--ephemeral")._hub.authenticator.provider is None


@pytest.mark.parametrize(("options", "offered"), [("--web 0", ["login.example"]), ("", [])])
def test_page_offers_the_login_with_the_provider(
    monkeypatch: pytest.MonkeyPatch, options: str, offered: list[str]
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(WebDoor, "offer_login", lambda _door, _pages, provider: seen.append(provider))
    make_service(f"--ephemeral --oidc https://login.example:444/x --oidc-client-id chat {options}")
    assert seen == offered


def test_failure_of_the_provider_is_a_warning() -> None:
    with capturedLogs() as events:
        service._log_provider_failure("it lies\x1b[2J")
    assert [(event["log_level"].name, formatEvent(event)) for event in events] == [
        ("warn", "The OpenID Connect provider has failed: it lies."),
    ]


def test_service_without_metrics_does_not_import_them() -> None:
    code = """
import sys
from broadcast.service import Options, makeService
options = Options()
options.parseOptions(["--ephemeral"])
makeService(options)
print({"prometheus_client", "twisted.web.server", "broadcast.server.metrics", "h11"} & sys.modules.keys())
"""
    process = run(sys.executable, "-c", code)
    assert process.stdout == "set()\n", process.stderr


# Real processes


def environment() -> dict[str, str]:
    """Return an environment in which this package is found, whether it is installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(broadcast.__file__).parents[1])}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command until it ends."""
    return subprocess.run(  # noqa: S603 -- the test's own text
        arguments, capture_output=True, check=False, text=True, timeout=TIMEOUT, env=environment()
    )


def run_twistd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``twistd`` with *arguments* until it ends, without the time for its imports where that is possible."""
    if not IS_LINUX:
        return run(TWISTD, *arguments)
    ends: list[int] = []

    def has_ended() -> bool:
        number, status = os.waitpid(pid, os.WNOHANG)
        if number:
            ends.append(os.waitstatus_to_exitcode(status))
        return bool(ends)

    with Path(os.devnull).open() as empty, TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        files = [file.fileno() for file in (empty, output, errors)]
        pid = zygote().start([TWISTD, *arguments], environment(), str(Path.cwd()), files)
        wait_until(has_ended, lambda: f"{arguments} is not over")
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, ends[0], output.read(), errors.read())


def wait_until(condition: Callable[[], bool], describe: Callable[[], str] = str) -> None:
    deadline = monotonic() + TIMEOUT
    while not condition():
        assert monotonic() < deadline, describe()
        sleep(0.02)


def port_in(log: str) -> int:
    """Return the port on which the server with this *log* listens."""
    found = re.search(r"127\.0\.0\.1 port (\d+)", log)
    assert found is not None, log
    return int(found[1])


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Read until *end*."""
    received = b""
    while not received.endswith(end):
        data = connection.recv(4096)
        assert data, received
        received += data
    return received


def stop_daemon() -> None:
    """Stop the daemon of the current directory."""
    pidfile = Path("twistd.pid")
    os.kill(int(pidfile.read_text()), signal.SIGTERM)
    wait_until(lambda: not pidfile.exists())


def startup_error(*options: str, prefix: tuple[str, ...] = ()) -> str:
    """Return the one line that a server which cannot start prints on stderr."""
    arguments = ("-n", "broadcast", *options)
    process = run(*prefix, TWISTD, *arguments) if prefix else run_twistd(*arguments)
    assert process.returncode == 1
    assert "Traceback" not in process.stdout + process.stderr
    assert process.stderr.count("\n") == 1
    assert not Path("twistd.pid").exists()
    assert "broadcast: " not in process.stdout
    return process.stderr.rstrip("\n")


@pytest.fixture
def port_in_use() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_port_in_use_is_reported_and_nothing_is_left_behind(port_in_use: int) -> None:
    message = f"broadcast: port {port_in_use} on 127.0.0.1 is in use: stop what listens there, or choose another with "
    assert startup_error("--port", str(port_in_use)) == f"{message}--port."
    assert startup_error("--port", "unix:chat.sock", "--metrics", str(port_in_use)) == f"{message}--metrics."
    assert not Path("chat.sock").exists()


def test_port_that_needs_privileges_is_reported() -> None:
    unprivileged = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not unprivileged.exists() or int(unprivileged.read_text()) < 1024:
        pytest.skip("every user may listen on every port here")
    prefix = ("setpriv", "--bounding-set=-net_bind_service") if os.geteuid() == 0 else ()
    if prefix and (shutil.which("setpriv") is None or run(*prefix, "true").returncode != 0):
        pytest.skip("root cannot drop the privilege here")
    message = "broadcast: port 1023 on 127.0.0.1 is not for this user:"
    assert startup_error("--port", "1023", prefix=prefix).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--prot 5", "option --prot not recognized"),
        ("--port nonsense:1", "--port nonsense:1 cannot be used"),
        ("--config broken.toml", "broken.toml is not valid TOML: Invalid value (at line 1, column 8)."),
        ("--port 0 --port unix:sock --data broken.toml/x", "cannot use the folder "),
    ],
)
def test_startup_error_is_one_line_and_leaves_no_files(options: str, message: str) -> None:
    Path("broken.toml").write_text("port = \n")
    assert startup_error(*options.split()).startswith(f"broadcast: {message}")
    assert sorted(path.name for path in Path().iterdir()) == ["broken.toml"]


@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--pidfile=nowhere/x.pid", "cannot write the pid file {}/nowhere/x.pid: No such file or directory. "),
        ("--pidfile=empty", "the pid file {}/empty is empty. "),
        ("--pidfile=junk", "the pid file {}/junk does not hold a process number. "),
        ("--logfile=nowhere/chat.log", "cannot write the log nowhere/chat.log: No such file or directory. "),
        ("--rundir=nowhere", "there is no folder nowhere: "),
    ],
)
def test_unusable_path_of_twistd_is_one_line(tmp_path: Path, options: str, message: str, foreground: bool) -> None:
    Path("empty").touch()
    Path("junk").write_text("junk")
    process = run_twistd(*(["-n"] if foreground else []), options, "broadcast", "--ephemeral")
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith(f"broadcast: {message.format(tmp_path)}")
    assert process.stderr.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["empty", "junk"]


def test_daemon_starts_despite_the_pid_file_of_a_dead_one() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    Path("twistd.pid").write_text(str(dead.pid))
    process = run(TWISTD, "broadcast", "--port", "0", "--ephemeral")
    assert (process.returncode, process.stderr) == (0, "")
    stop_daemon()
    line = f"twistd.pid, which a dead server has left: process {dead.pid} does not exist."
    assert line in Path("twistd.log").read_text()


@ensureDeferred
async def test_messages_survive_a_restart_and_are_not_logged(programs: Programs, tmp_path: Path) -> None:
    Path("elsewhere").mkdir()
    Path("motd").write_text("Hello.\n")
    server = await programs.server("--data", "kept", "--motd", "motd", command=(TWISTD, "--rundir=elsewhere"))
    assert "this machine only. --interface 0.0.0.0 lets others in." in server.program.text().split("[broadcast.")[1]
    assert (tmp_path / "kept").is_dir(), "paths are relative to the folder of the start"
    assert list(Path("elsewhere").iterdir()) == []
    ann = await programs.talker(server.port, "ann")
    ann.say("/receipts on", "something secret")
    await ann.until("-> #1\r\n")
    assert f"another server has {tmp_path / 'kept'} open" in startup_error("--port", "0", "--data", "kept")
    await server.program.stop("INT")
    assert ann.text().endswith(" * The server is going down.\n")
    assert "secret" not in server.program.text()
    assert "Traceback" not in server.program.text()
    again = await programs.server("--data", "kept")
    bob = await programs.talker(again.port, "bob")
    await bob.until("ann: something secret\r\n")


@ensureDeferred
async def test_metrics_and_health_show_a_storage_failure_and_its_end(programs: Programs) -> None:
    server = await programs.server("--metrics", "0")
    await server.program.until("What is said is kept in ")
    monitor = re.search(r"Metrics on (http://127\.0\.0\.1:\d+)/metrics", server.program.text())
    assert monitor is not None

    def get(page: str) -> tuple[int, str]:
        try:
            with urlopen(f"{monitor[1]}/{page}", timeout=TIMEOUT) as answer:  # noqa: S310 -- http, as above
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    ann = await programs.talker(server.port, "ann")
    ann.say("/receipts on", "hello")
    await ann.until("-> #1\r\n")
    assert get("healthz") == (200, "ok\n")
    assert "\nbroadcast_lines_told_total 1.0\n" in get("metrics")[1]
    with closing(sqlite3.connect("broadcast-data/journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ann.say("lost")
        await ann.until("-> Error: not kept: another program has locked the journal\r\n")
        wait_until(lambda: get("healthz") == (503, "nothing is kept: another program has locked the journal\n"))
        metrics = get("metrics")[1]
        other.execute("ROLLBACK")
    assert "\nbroadcast_keeping 0.0\n" in metrics
    assert '\nbroadcast_refusals_total{kind="not_kept"} 1.0\n' in metrics
    wait_until(lambda: get("healthz") == (200, "ok\n"))  # although no message arrives
    await server.program.until("Nothing that is said is kept: another program has locked the journal.")
    await server.program.until("What is said is kept again.")
    assert "Traceback" not in server.program.text()


def objects_in(log: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.splitlines()]


@ensureDeferred
async def test_json_log_has_one_object_per_line_including_those_of_twistd(programs: Programs) -> None:
    server = programs.start("--ephemeral", "--log-format", "json")
    await server.until(": this machine only.")
    ann = await programs.talker(port_in(server.text()), "ann")
    ann.say("/quit tired")
    await ann.until("Goodbye, ann.\r\n")
    await server.stop("TERM")
    events = objects_in(server.text())
    assert "starting up" in str(events[0]["message"])
    assert events[-1]["message"] == "Server Shut Down."
    (left,) = [event for event in events if "why" in event]
    assert {name: left[name] for name in ("level", "system", "nick", "why")} == {
        "level": "info",
        "system": "broadcast.doors.line.protocol.BroadcastProtocol",
        "nick": "ann",
        "why": "tired",
    }
    assert all(event.keys() >= {"time", "level", "system", "message"} for event in events)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_daemon_serves_and_logs_to_its_file(log_format: str) -> None:
    process = run(TWISTD, "--logfile=chat.log", "broadcast", "--port", "0", "--log-format", log_format)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    try:
        log = Path("chat.log").read_text()
        assert "What is said is kept in " in log
        assert log_format == "text" or "starting up" in str(objects_in(log)[0]["message"])
        with socket.create_connection(("127.0.0.1", port_in(log)), timeout=TIMEOUT) as ann:
            ann.sendall(b"ann\nquit\n")
            assert read_until(ann, b"Goodbye, ann.\r\n")
    finally:
        stop_daemon()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_daemon_that_cannot_start_reports_to_its_parent_and_its_log(port_in_use: int, log_format: str) -> None:
    options = ("--port", str(port_in_use), "--log-format", log_format)
    process = run_twistd("--logfile=chat.log", "broadcast", *options)
    assert process.returncode == 1
    line, log = f"port {port_in_use} on 127.0.0.1 is in use: ", Path("chat.log").read_text()
    assert line in process.stderr
    assert line in log
    assert log_format == "text" or "starting up" in str(objects_in(log)[0]["message"])
    assert "Traceback" not in process.stdout + process.stderr + log
    assert not Path("twistd.pid").exists()
