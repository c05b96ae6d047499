"""The command line, and the real server in a process of its own."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from twisted.logger import capturedLogs, formatEvent
from twisted.python import usage

import broadcast
from broadcast import __version__
from broadcast.core.errors import StartupError
from broadcast.core.limits import Limits
from broadcast.doors.line.protocol import BroadcastFactory
from broadcast.journals.memory import MemoryJournal
from broadcast.journals.sqlite.journal import SqliteJournal
from broadcast.net.tcp_info import KeepalivePolicy
from broadcast.server.config import VALIDATORS, Config
from broadcast.server.lifecycle import Server
from broadcast.server.metrics import Monitor
from broadcast.service import Options, give_up, makeService, most_connections, raise_file_limit

PATIENCE = 60
"""How long, in seconds, anything may take that takes milliseconds; only a hang or a bug takes longer."""
DOWN = b" * The server is going down.\r\n"
CUTTING_OFF = "Aborting connections that have not received everything: "

# Options


def parsed(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(arguments)
    return options


def refused(*arguments: str) -> str:
    """The one line with which these *arguments* end the process."""
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)
    line = ended.value.code
    assert isinstance(line, str)
    assert line.startswith("broadcast: ")
    assert "\n" not in line
    return line


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_options_there_are_defaults(tmp_path: Path) -> None:
    assert parsed().config == Config(data=tmp_path / "broadcast-data")


def test_every_option_has_its_effect(tmp_path: Path) -> None:
    Path("motd").write_text("Hello.\n")
    options = (
        "--port 0 -p unix:a,b -i ::1 --name=Pub --motd motd --replay 7 --probe 30 --gone 90 --unicode-nicknames "
        "--data here --metrics 9464 --log-format json"
    )
    assert parsed(*options.split()).config == Config(
        ("0", "unix:a,b"),
        "::1",
        "Pub",
        ("Hello.",),
        7,
        30,
        90,
        unicode_nicknames=True,
        data=tmp_path / "here",
        metrics="9464",
        log_format="json",
    )
    assert parsed("--ephemeral").config.data is None
    limits = parsed("--paste-lines", "5", "--lines-per-second", "0.5", "--limits", "on").config.limits
    assert limits == Limits(paste_lines=5, lines_per_second=0.5)
    assert parsed("--limits", "off").config.limits == Limits().without_client_limits()


def test_the_command_line_wins_over_the_config_file() -> None:
    Path("chat.toml").write_text("port = [1, 2]\nreplay = 0\nunicode-nicknames = true")
    config = parsed("--config", "chat.toml", "--port", "3").config
    assert (config.ports, config.replay, config.unicode_nicknames) == (("3",), 0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--prot 5", "option --prot not recognized; twistd broadcast --help lists the options."),
        ("--port", "option --port requires argument; "),
        ("--ephemeral=no", "option --ephemeral must not have an argument; "),
        ("5555", "'5555' is not an option (a port is given as --port 5555); "),
        ("--port 99999", "--port takes a number from 0 to 65535 or a Twisted endpoint description"),
        ("--metrics 70000", "--metrics takes a number from 0 to 65535 or a Twisted endpoint description"),
        ("--log-format xml", "--log-format takes text or json, not 'xml'."),
        ("--replay many", "--replay takes a whole number from 0 to 1000, not 'many'."),
        ("--lines-per-second 1e9", "--lines-per-second takes a number from 0.02 to 1000000, not '1e9'."),
        ("--paste-lines 1.5", "--paste-lines takes a whole number from 1 to 100000, not 1.5."),
        ("--limits maybe", "--limits takes on or off, not 'maybe'."),
        ("--replay -1", "--replay takes a whole number from 0 to 1000, not '-1'."),
        ("--replay 99999999999999", "--replay takes a whole number from 0 to 1000"),
        ("--probe soon", "--probe takes a whole number from 0 to 3600, not 'soon'."),
        ("--gone 30", "gone (30) must be more seconds than probe (60): who has been silent is probed"),
        ("--motd nowhere", "--motd: cannot read "),
        ("--config nowhere", "--config: cannot read "),
        ("--ephemeral --data x", "--ephemeral keeps nothing, --data says where to keep it: choose one."),
    ],
)
def test_what_is_wrong_is_one_line(arguments: str, said: str) -> None:
    assert refused(*arguments.split()).startswith(f"broadcast: {said}")


def test_what_is_wrong_is_one_line_whatever_was_typed() -> None:
    assert "\x1b" not in refused("--config", "no\nwhere\x1b[2J")


def test_help_explains_every_option_with_its_default_at_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    with pytest.raises(SystemExit) as ended:
        parsed("--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    for option in [*VALIDATORS, "config"]:
        explained = re.search(rf"--{option}[= ] ?(.*?)(?: -\w, --| --[a-z-]+=? |$)", flat)
        assert explained is not None, option
        assert "default" in explained[1], option


def test_the_version_is_that_of_this_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"broadcast {__version__}\n"


# The wiring


def test_what_is_said_is_kept_in_the_folder_of_the_start(tmp_path: Path) -> None:
    server = makeService(parsed("--name", "Pub", "--replay", "3"))
    assert isinstance(server, Server)
    assert isinstance(server._journal, SqliteJournal)
    assert server._storage_note == f"What is said is kept in {tmp_path / 'broadcast-data'}."
    assert not (tmp_path / "broadcast-data").exists()
    settings = server._hub.settings
    assert (settings.name, settings.replay, settings.version) == ("Pub", 3, __version__)


def test_those_who_are_silent_are_looked_after_as_the_options_say() -> None:
    server = makeService(parsed("--probe", "30", "--gone", "90"))
    assert server._dead_peers._policy == KeepalivePolicy(30, 90)
    assert server._dead_peers._connections is server._connections


def test_that_limits_are_off_is_in_the_log() -> None:
    server = makeService(parsed("--limits", "off", "--ephemeral"))
    assert server._storage_note.endswith("server stops. The limits on people and addresses are off.")


def test_an_ephemeral_server_writes_nothing() -> None:
    server = makeService(parsed("--ephemeral"))
    assert isinstance(server._journal, MemoryJournal)
    assert server._storage_note.startswith("Nothing is kept (--ephemeral)")


def test_a_bad_endpoint_description_is_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^broadcast: --port nonsense:1 cannot be used "):
        makeService(parsed("--port", "nonsense:1"))


def test_as_many_people_can_connect_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        files = raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == hard or soft >= 10240
        assert files == (None if soft == resource.RLIM_INFINITY else soft)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_system_that_refuses_its_own_limit_is_asked_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def setrlimit(_what: int, limits: tuple[int, int]) -> None:
        asked.append(limits)
        if limits[0] == 1 << 62:
            raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 1 << 62))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    raise_file_limit()
    assert asked == [(1 << 62, 1 << 62), (10240, 1 << 62)]


def test_a_system_without_limits_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert raise_file_limit() is None


@pytest.mark.parametrize(
    ("wanted", "files", "most"),
    [(None, 1024, 960), (960, 1024, 960), (10, 1024, 10), (None, 50, 1), (7, None, 7), (None, None, None)],
)
def test_some_files_are_left_for_other_things_than_connections(
    wanted: int | None, files: int | None, most: int | None
) -> None:
    assert most_connections(wanted, files) == most


def test_more_connections_than_files_are_refused_at_the_start() -> None:
    with pytest.raises(
        StartupError, match=r"^--connections 961 .* is 1024: raise it to 1025 .* or choose at most 960\.$"
    ):
        most_connections(961, 1024)


def test_the_limits_reach_what_they_are_about() -> None:
    options = "--ephemeral --window-events 5 --window-bytes 6 --pending-bytes 4096 --queue-events 8 --connections 9"
    server = makeService(parsed(*options.split()))
    factory = server._entrances[0].factory
    assert isinstance(factory, BroadcastFactory)
    fanout, limits = factory.fanout, factory.limits
    assert (fanout.replay_buffer._max_events, fanout.replay_buffer._max_bytes, fanout.private_queue_bytes) == (
        5,
        6,
        4096,
    )
    assert server._hub.room._limits is limits
    assert (limits.high_water_events, limits.connections) == (8, 9)


def test_who_gives_up_in_the_foreground_says_why_and_leaves_no_pid_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pidfile = tmp_path / "twistd.pid"
    pidfile.write_text("1")
    with pytest.raises(SystemExit) as ended:
        give_up({"pidfile": str(pidfile), "logfile": "chat.log"}, "the port\nis in use")
    assert ended.value.code == 1
    assert not pidfile.exists()
    assert "broadcast: the portis in use" in capfd.readouterr().err.splitlines()


def test_a_daemon_that_gives_up_tells_the_one_who_started_it() -> None:
    receive, send = os.pipe()
    with pytest.raises(SystemExit):
        give_up({"pidfile": "gone", "statusPipe": send}, "in use: " + "é" * 200)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        assert pipe.read() == b"1 in use: " + b"?" * 90


# Real processes


class Process:
    """The server, started in the folder where the test runs; ends with the test."""

    def __init__(self, *options: str, twistd: tuple[str, ...] = ("-n", "--pidfile=")) -> None:
        self._log = Path(f"{len(list(Path().glob('*.out')))}.out")
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 -- what the test says
                command(*options, twistd=twistd), stdout=output, stderr=subprocess.STDOUT, env=environment()
            )
        self._until("What is said is kept in|Nothing is kept")
        found = re.search(r"127\.0\.0\.1 port (\d+)", self.text())
        assert found is not None
        self.port = int(found[1])

    def text(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def _until(self, pattern: str) -> None:
        until = monotonic() + PATIENCE
        while not re.search(pattern, self.text()):
            assert self.process.poll() is None, self.text()
            assert monotonic() < until, self.text()
            sleep(0.02)

    def join(self, nick: str, host: str = "127.0.0.1") -> socket.socket:
        """Somebody who has taken *nick*."""
        connection = socket.create_connection((host, self.port), timeout=PATIENCE)
        connection.sendall(f"{nick}\n".encode())
        read_until(connection, b"quit leaves.\r\n")
        return connection

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it as people do; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def environment() -> dict[str, str]:
    """Where the same package is found, installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(broadcast.__file__).parents[1])}


def command(*options: str, twistd: tuple[str, ...]) -> list[str]:
    """``twistd broadcast`` with *options*, and *twistd*'s own."""
    return [str(Path(sys.executable).with_name("twistd")), *twistd, "broadcast", *options]


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes, up to *end*."""
    seen = b""
    while not seen.endswith(end):
        data = connection.recv(4096)
        assert data, seen
        seen += data
    return seen


@pytest.fixture
def start() -> Iterator[type[Process]]:
    """Starts servers."""
    started: list[Process] = []

    class Started(Process):
        def __init__(self, *options: str, twistd: tuple[str, ...] = ("-n", "--pidfile=")) -> None:
            started.append(self)
            super().__init__(*options, twistd=twistd)

    yield Started
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(PATIENCE)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(  # noqa: S603 -- what the test says
        arguments, capture_output=True, check=False, text=True, timeout=PATIENCE, env=environment()
    )


def failed(*options: str, prefix: tuple[str, ...] = ()) -> str:
    """The one line that a server which cannot start leaves on stderr."""
    ended = run(*prefix, *command(*options, twistd=("-n",)))
    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not Path("twistd.pid").exists()
    assert "broadcast: " not in ended.stdout
    return ended.stderr.rstrip("\n")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_in_use_is_named(taken: int) -> None:
    assert failed("--port", str(taken)) == (
        f"broadcast: port {taken} on 127.0.0.1 is in use: stop what listens there, or choose another with --port."
    )


def test_a_port_without_the_right_to_it_is_named() -> None:
    unprivileged = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not unprivileged.exists() or int(unprivileged.read_text()) < 1024:
        pytest.skip("here everybody may listen anywhere")
    without = ("setpriv", "--bounding-set=-net_bind_service") if os.geteuid() == 0 else ()
    if without and (shutil.which("setpriv") is None or run(*without, "true").returncode != 0):
        pytest.skip("root cannot give up the right here")
    assert failed("--port", "1023", prefix=without).startswith(
        "broadcast: port 1023 on 127.0.0.1 is not for this user:"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--prot 5", "option --prot not recognized"),
        ("--port nonsense:1", "--port nonsense:1 cannot be used"),
        ("--motd nowhere", "--motd: cannot read"),
        ("--config wrong.toml", "prot in wrong.toml is not a setting. Did you mean port?"),
        ("--config broken.toml", "broken.toml is not valid TOML: Invalid value (at line 1, column 8)."),
        ("--port 0 --port unix:sock --data wrong.toml/x", "cannot use the folder "),
    ],
)
def test_what_prevents_the_start_is_one_line(options: str, said: str) -> None:
    Path("wrong.toml").write_text("prot = 5\n")
    Path("broken.toml").write_text("port = \n")
    assert failed(*options.split()).startswith(f"broadcast: {said}")
    assert sorted(path.name for path in Path().iterdir()) == ["broken.toml", "wrong.toml"]


def test_a_daemon_that_cannot_start_says_so_where_it_was_started_and_in_its_log(taken: int) -> None:
    ended = run(*command("--port", str(taken), twistd=("--logfile=chat.log",)))
    assert ended.returncode == 1
    line = f"port {taken} on 127.0.0.1 is in use: "
    assert line in ended.stderr
    log = Path("chat.log").read_text()
    assert line in log
    assert "Traceback" not in ended.stdout + ended.stderr + log
    assert not Path("twistd.pid").exists()


def test_everybody_is_told_at_the_end_which_is_quick(start: type[Process]) -> None:
    server = start("--port", "0", "--ephemeral")
    first = server.text().split("[broadcast.")[1]
    assert "this machine only. --interface 0.0.0.0 lets others in." in first
    people = [server.join("ann")]
    if "::1 port" in server.text():
        people.append(server.join("bob", "::1"))
    server.process.send_signal(signal.SIGTERM)
    for person in people:
        assert read_until(person, DOWN).endswith(DOWN)
        assert person.recv(1) == b""
        person.close()
    assert server.process.wait(PATIENCE) == -signal.SIGTERM
    assert CUTTING_OFF not in server.text(), "it does not wait until its time is over"
    assert "Traceback" not in server.text()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_who_keeps_their_side_open_does_not_hold_the_end(start: type[Process]) -> None:
    server = start("--port", "0", "--ephemeral")
    person = server.join("ann")
    assert server.stop(signal.SIGINT) == -signal.SIGINT
    assert CUTTING_OFF not in server.text(), "it does not wait until its time is over"
    assert read_until(person, DOWN).endswith(DOWN)
    person.close()


def test_what_was_said_is_there_after_the_next_start_but_not_in_the_log(start: type[Process]) -> None:
    server = start("--port", "0")
    ann = server.join("ann")
    ann.sendall(b"/receipts on\nsomething secret\n")
    read_until(ann, b"-> #1\r\n")
    ann.close()
    server.stop()
    assert "secret" not in server.text()
    again = start("--port", "0")
    with socket.create_connection(("127.0.0.1", again.port), timeout=PATIENCE) as bob:
        bob.sendall(b"bob\n")
        assert read_until(bob, b"ann: something secret\r\n")


def test_a_second_server_is_refused_the_same_folder(start: type[Process], tmp_path: Path) -> None:
    start("--port", "0", "--data", "kept")
    assert f"another server has {tmp_path / 'kept'} open" in failed("--port", "0", "--data", "kept")


def test_paths_start_from_the_folder_of_the_start_wherever_twistd_goes(start: type[Process], tmp_path: Path) -> None:
    Path("elsewhere").mkdir()
    Path("motd").write_text("Hello.\n")
    start("--port", "0", "--data", "kept", "--motd", "motd", twistd=("-n", "--pidfile=", "--rundir=elsewhere"))
    assert (tmp_path / "kept").is_dir()
    assert list(Path("elsewhere").iterdir()) == []


def test_it_runs_as_a_daemon_too() -> None:
    ended = run(*command("--port", "0", twistd=("--logfile=chat.log",)))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    daemon = int(Path("twistd.pid").read_text())
    try:
        log = Path("chat.log").read_text()
        found = re.search(r"127\.0\.0\.1 port (\d+)", log)
        assert found is not None
        assert "What is said is kept in " in log
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=PATIENCE) as ann:
            ann.sendall(b"ann\nquit\n")
            assert read_until(ann, b"Goodbye, ann.\r\n")
    finally:
        os.kill(daemon, signal.SIGTERM)
        until = monotonic() + PATIENCE
        while Path("twistd.pid").exists():
            assert monotonic() < until
            sleep(0.02)


# Seeing what goes on


def test_where_figures_are_shown_is_wired_and_refused_as_a_port_is() -> None:
    assert makeService(parsed("--ephemeral"))._monitor is None
    monitor = makeService(parsed("--ephemeral", "--metrics", "0"))._monitor
    assert isinstance(monitor, Monitor)
    with pytest.raises(SystemExit, match=r"^broadcast: --metrics nonsense:1 cannot be used "):
        makeService(parsed("--metrics", "nonsense:1"))


@pytest.mark.parametrize(("missing", "error"), [("prometheus_client", SystemExit), ("twisted.web.server", ImportError)])
def test_without_what_figures_need_the_refusal_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, missing: str, error: type[BaseException]
) -> None:
    monkeypatch.delitem(sys.modules, "broadcast.server.metrics")
    monkeypatch.delattr(broadcast.server, "metrics")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(error) as refused:
        makeService(parsed("--ephemeral", "--metrics", "0"))
    if error is SystemExit:
        assert str(refused.value) == "broadcast: --metrics needs prometheus_client: pip install prometheus_client"
    assert makeService(parsed("--ephemeral"))._monitor is None


def test_without_metrics_nothing_of_it_is_imported() -> None:
    """A server without it needs neither the package nor its memory."""
    code = """
import sys
from broadcast.service import Options, makeService
options = Options()
options.parseOptions(["--ephemeral"])
makeService(options)
print({"prometheus_client", "twisted.web.server", "broadcast.server.metrics"} & sys.modules.keys())
"""
    ended = run(sys.executable, "-c", code)
    assert ended.stdout == "set()\n", ended.stderr


def test_a_log_that_cannot_be_is_refused() -> None:
    options: Any = parsed("--ephemeral", "--log-format", "json")
    options.parent = usage.Options()  # type: ignore[no-untyped-call]
    options.parent["syslog"] = 1
    with pytest.raises(SystemExit, match=r"^broadcast: --log-format json writes .* leave out twistd's --syslog\.$"):
        makeService(options)


def test_that_keeping_goes_wrong_and_right_again_is_in_the_log() -> None:
    from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

    soon: list[Callable[[], None]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reactor, "callFromThread", soon.append)
        server = makeService(parsed())
    keeping = server._journal.commit_stats
    with capturedLogs() as events:
        keeping.record_failure("the disk is full", 1)
        keeping.record_success(0.1)
        assert events == []  # it is told by another thread
        for call in soon:
            call()
    assert [(event["log_level"].name, formatEvent(event)) for event in events] == [
        ("error", "Nothing that is said is kept: the disk is full."),
        ("info", "What is said is kept again."),
    ]


def look(server: Process, page: str) -> tuple[int, str]:
    """What a page of a server with ``--metrics`` shows."""
    found = re.search(r"Metrics on (http://127\.0\.0\.1:\d+)/metrics", server.text())
    assert found is not None, server.text()
    try:
        with urlopen(f"{found[1]}/{page}", timeout=PATIENCE) as answer:  # noqa: S310 -- http, as above
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def becomes(server: Process, status: int) -> str:
    """What ``/healthz`` says when its status has become this."""
    until = monotonic() + PATIENCE
    while (answer := look(server, "healthz"))[0] != status:
        assert monotonic() < until, server.text()
        sleep(0.05)
    return answer[1]


def test_figures_and_health_can_be_had_while_the_journal_is_locked_and_afterwards(start: type[Process]) -> None:
    server = start("--port", "0", "--metrics", "0")
    ann = server.join("ann")
    ann.sendall(b"/receipts on\nhello\n")
    read_until(ann, b"-> #1\r\n")
    assert look(server, "healthz") == (200, "ok\n")
    assert "\nbroadcast_lines_told_total 1.0\n" in look(server, "metrics")[1]
    with closing(sqlite3.connect("broadcast-data/journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ann.sendall(b"lost\n")
        read_until(ann, b"-> Error: not kept: another program has locked the journal\r\n")
        assert becomes(server, 503) == "nothing is kept: another program has locked the journal\n"
        figures = look(server, "metrics")[1]
        other.execute("ROLLBACK")
    assert "\nbroadcast_keeping 0.0\n" in figures
    assert '\nbroadcast_refusals_total{kind="not_kept"} 1.0\n' in figures
    assert becomes(server, 200) == "ok\n"  # although nobody says anything
    assert "Nothing that is said is kept: another program has locked the journal." in server.text()
    assert "What is said is kept again." in server.text()
    ann.close()
    assert server.stop() == -signal.SIGTERM
    assert "Traceback" not in server.text()


def test_a_place_for_figures_that_is_taken_leaves_nothing_behind(taken: int) -> None:
    assert failed("--port", "unix:chat.sock", "--metrics", str(taken)) == (
        f"broadcast: port {taken} on 127.0.0.1 is in use: stop what listens there, or choose another with --metrics."
    )
    assert not Path("chat.sock").exists()


def objects(text: str) -> list[dict[str, object]]:
    """The objects that *text* holds, one a line."""
    return [json.loads(line) for line in text.splitlines()]


def test_as_json_every_line_of_the_log_is_an_object_those_of_twistd_too(start: type[Process]) -> None:
    server = start("--port", "0", "--ephemeral", "--log-format", "json")
    ann = server.join("ann")
    ann.sendall(b"/quit tired\n")
    read_until(ann, b"Goodbye, ann.\r\n")
    ann.close()
    server.stop()
    events = objects(server.text())
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


def test_a_daemon_writes_json_to_its_file(taken: int) -> None:
    for options, status in (("--port", str(taken)), 1), (("--ephemeral", "--port", "0"), 0):
        Path("chat.log").unlink(missing_ok=True)
        ended = run(*command(*options, "--log-format=json", twistd=("--logfile=chat.log",)))
        assert ended.returncode == status
        events = objects(Path("chat.log").read_text())
        assert "starting up" in str(events[0]["message"])
    (port,) = re.findall(r"127\.0\.0\.1 port (\d+)", Path("chat.log").read_text())
    with socket.create_connection(("127.0.0.1", int(port)), timeout=PATIENCE) as visitor:
        assert visitor.recv(1)  # the reactor runs: before that, the signal would leave the pid file behind
    os.kill(int(Path("twistd.pid").read_text()), signal.SIGTERM)
    until = monotonic() + PATIENCE
    while Path("twistd.pid").exists():
        assert monotonic() < until
        sleep(0.02)
