"""What the client is told on its command line."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

import broadcast
from broadcast import __version__
from broadcast.client.options import Options, address, parse


@pytest.mark.parametrize(
    ("arguments", "host", "port"),
    [
        ([], "localhost", 5555),
        (["chat.example"], "chat.example", 5555),
        (["chat.example:23"], "chat.example", 23),
        (["chat.example", "23"], "chat.example", 23),
        ([":23"], "localhost", 23),
        (["23"], "localhost", 23),
        (["::1"], "::1", 5555),
        (["::1", "23"], "::1", 23),
        (["[::1]"], "::1", 5555),
        (["[::1]:23"], "::1", 23),
        (["[::1]", "65535"], "::1", 65535),
        (["[fe80::7%eth7]:23"], "fe80::7%eth7", 23),
        (["fe80::7%7"], "fe80::7%7", 5555),
        (["unix:/run/chat.sock"], "unix:/run/chat.sock", 5555),
        (["unix:a:1"], "unix:a:1", 5555),
    ],
)
def test_the_server_is_named_by_host_and_port(arguments: list[str], host: str, port: int) -> None:
    found = parse(arguments)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        ("h:1", "2", "the port is given twice"),
        ("[::1]:1", "2", "the port is given twice"),
        ("h", "0", "no port: 0"),
        ("h", "65536", "no port: 65536"),
        ("h:", None, "no port: "),
        ("h:x", None, "no port: x"),
        ("h", "٣", "no port: ٣"),
        ("h", "123456", "no port: 123456"),
        ("[]", None, r"no host: \[\]"),
        ("[::1]x", None, r"no host: \[::1\]x"),
        ("fe80::7", None, "fe80::7 needs the network interface behind it, as in fe80::7%eth0"),
        ("[fe80::7]:23", None, "fe80::7 needs the network interface behind it, as in fe80::7%eth0"),
        ("unix:", None, "no path: unix:"),
        ("unix:chat.sock", "23", "a unix socket has no port"),
    ],
)
def test_an_address_that_is_none_says_why(host: str, port: str | None, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        address(host, port)


def test_unix_socket_is_named_by_its_path() -> None:
    assert parse(["unix:chat.sock"]).server == "unix:chat.sock"


def test_system_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ValueError, match=r"^this system has no unix sockets$"):
        address("unix:chat.sock", None)


def test_everything_is_as_it_is_said_to_be_without_options() -> None:
    assert parse([]) == Options()


def test_all_options_are_heard() -> None:
    told = ["h:1", "--nick", " ann ", "--send", "-", "--json", "--no-reconnect", "--no-color", "--no-bell"]
    assert parse(told) == Options("h", 1, "ann", "-", json=True, reconnect=False, color=False, bell=False)


def test_the_server_is_shown_as_it_is_typed() -> None:
    assert Options().server == "localhost:5555"
    assert Options(host="::1", port=23).server == "[::1]:23"


@pytest.mark.parametrize(
    "arguments",
    [
        ["h:1", "2"],
        ["--json"],
        ["--nick", " "],
        ["--nick", "a\nb"],
        ["--nick"],
        ["--no-such"],
        ["--sen", "x"],
        ["a", "1", "b"],
    ],
)
def test_wrong_usage_is_one_line_and_status_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("broadcast-client: ")
    assert said.err.count("\n") == 1


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"broadcast-client {__version__}\n"


def test_help_lists_every_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert all(f"\n  {status} " in told for status in (0, 1, 2, 3, 4, 5, 130))


def test_python_without_twisted_says_what_to_start(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "twisted").mkdir(parents=True)  # as in a clone, a package without modules
    (clone / "broadcast").symlink_to(Path(broadcast.__file__).parent, target_is_directory=True)
    command = [sys.executable, "-S", "-m", "broadcast.client"]  # -S hides the installed packages
    ended = subprocess.run(command, cwd=clone, input="", capture_output=True, text=True, check=False)  # noqa: S603 -- constant
    assert ended.returncode == 1
    assert ended.stderr == (
        "broadcast-client: this Python has no Twisted: start .venv/bin/broadcast-client, or pip install Twisted\n"
    )
