"""What the client is told on its command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import broadcast
from broadcast import __version__
from broadcast.client.options import OPTIONS, Options, UsageError, parse
from tests.platforms import needs_unix_sockets

CHECKOUT = Path(broadcast.__file__).parents[1]


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
        pytest.param(["unix:/run/chat.sock"], "unix:/run/chat.sock", 5555, marks=needs_unix_sockets),
        pytest.param(["unix:a:1"], "unix:a:1", 5555, marks=needs_unix_sockets),
    ],
)
def test_the_server_is_named_by_host_and_port(arguments: list[str], host: str, port: int) -> None:
    found = parse(arguments)
    assert (found.host, found.port) == (host, port)


@needs_unix_sockets
def test_unix_socket_is_named_by_its_path() -> None:
    assert parse(["unix:chat.sock"]).server == "unix:chat.sock"


def test_everything_is_as_it_is_said_to_be_without_options() -> None:
    assert vars(parse([])) == {}


def test_each_option_sets_its_field() -> None:
    given = ["h:1", "--nick", " ann ", "--room=a", "--send", "-", "--json", "--timeout", "2.5"]
    assert vars(parse(given)) == vars(
        Options(host="h", port=1, nick="ann", rooms=("a",), send="-", json=True, timeout=2.5)
    )
    given = ["--no-reconnect", "--no-color", "--no-times", "--no-bell", "--notify"]
    assert vars(parse(given)) == vars(Options(reconnect=False, color=False, times=False, bell=False, notify=True))
    assert all(hasattr(Options, option.field) for option in OPTIONS if option.field)


def test_rooms_are_given_one_by_one_after_that_of_the_link() -> None:
    options = parse(["broadcast://h/kitchen", "--room", "hall", "--room", "kitchen"])
    assert options.rooms == ("kitchen", "hall")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--send", "-x"], "-x"),
        (["--send", "--x y"], "--x y"),
        (["--send", "--help me"], "--help me"),
        (["--send=--help"], "--help"),
        (["--send=--send=a"], "--send=a"),
        (["--send", ""], ""),
        (["--send", "--"], "--"),
        (["--send", "---"], "---"),
        (["--send", "-"], "-"),
        (["--send=-"], "-"),
    ],
)
def test_a_text_to_send_may_begin_with_a_dash(arguments: list[str], text: str) -> None:
    assert parse(arguments).send == text


def test_arguments_after_two_dashes_are_no_options() -> None:
    assert vars(parse(["--no-bell", "--", "-x"])) == vars(Options(host="-x", bell=False))


@pytest.mark.parametrize(
    ("arguments", "server"),
    [
        (["--tls"], "localhost:5556"),
        (["--tls", "h"], "h:5556"),
        (["--tls", "h:23"], "h:23"),
        (["h", "23", "--tls"], "h:23"),
        (["--tls", "broadcast://h/kitchen"], "h:5556"),
        (["broadcasts://h/kitchen"], "h:5556"),
        (["broadcasts://h:23"], "h:23"),
        ([f"--fingerprint={'A1:' * 31}A1", "h"], "h:5556"),
        (["secret", "--nick=bob"], "chat.example:5556"),
        (["pinned"], "chat.example:23"),
        (["work", "--tls"], "chat.example:23"),
    ],
)
def test_tls_has_a_port_of_its_own(arguments: list[str], server: str) -> None:
    options = parse(arguments, find_server)
    assert (options.tls, options.server) == (True, server)


def test_a_fingerprint_has_one_form() -> None:
    options = parse(["--fingerprint", "sha256:" + "A1:" * 31 + "A1"])
    assert options.fingerprint == "SHA256:" + "a1" * 32
    assert Options().fingerprint == ""


def find_server(name: str) -> dict[str, object]:
    servers = {
        "work": {"host": "chat.example", "port": 23, "nick": "ann", "rooms": ("a", "b")},
        "secret": {"host": "chat.example", "tls": True},
        "pinned": {"host": "chat.example", "port": 23, "fingerprint": "SHA256:" + "a1" * 32},
    }
    return servers.get(name, {})


def test_a_name_of_the_settings_stands_for_a_server() -> None:
    assert vars(parse(["work"], find_server)) == vars(
        Options(host="chat.example", port=23, nick="ann", rooms=("a", "b"))
    )
    assert vars(parse(["work", "--nick=bob", "--room=c", "--send=x"], find_server)) == vars(
        Options(host="chat.example", port=23, nick="bob", rooms=("c",), send="x")
    )


@pytest.mark.parametrize("arguments", [["work:5555"], ["work", "5555"], ["broadcast://work"], ["workshop"], []])
def test_an_address_is_no_name_of_the_settings(arguments: list[str]) -> None:
    assert parse(arguments, find_server).port == 5555


def test_settings_fill_what_the_command_line_leaves_open() -> None:
    options = parse(["work", "--no-bell"])
    options.fill({"bell": True, "times": False})
    assert (options.bell, options.times) == (False, False)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="no such options: x"):
        Options(x=1)


def test_the_server_is_shown_as_it_is_typed() -> None:
    assert Options().server == "localhost:5555"
    assert Options(host="::1", port=23).server == "[::1]:23"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["h:1", "2"], "the port is given twice"),
        (["--json"], "--json goes with --send or --upload"),
        (["--timeout", "1"], "--timeout goes with --send or --upload"),
        (["--send=x", "--upload=y"], "--send and --upload do not go together"),
        (["--upload"], "--upload needs a value: --upload FILE"),
        (["--upload=y", "--room=a", "--room=b"], "--upload posts to one room"),
        (["--nick", " "], "--nick needs a nickname"),
        (["--nick", "a\nb"], "a nickname is one line"),
        (["--room="], "--room needs a room's name"),
        (["--nick"], "--nick needs a value: --nick NAME"),
        (["--nick", "--json"], "--nick needs a value; if it is --json, write --nick=--json"),
        (["--send"], "--send needs a value: --send TEXT"),
        (["--send", "--json"], "--send needs a value; if it is --json, write --send=--json"),
        (["--send", "--nick=ann"], "--send needs a value; if it is --nick=ann, write --send=--nick=ann"),
        (["--send", "a", "--send", "b"], "--send is given twice"),
        (["--nick=a", "--nick", "b"], "--nick is given twice"),
        (["--no-such"], "there is no option --no-such"),
        (["-x"], "there is no option -x"),
        (["--sen", "x"], "there is no option --sen"),
        (["--sen=x"], "there is no option --sen"),
        (["--json=1", "--send=x"], "--json takes no value"),
        (["--help=1"], "--help takes no value"),
        (["--timeout=soon", "--send=x"], "--timeout needs a number of seconds: soon"),
        (["--timeout=0", "--send=x"], "--timeout needs a number of seconds: 0"),
        (["--timeout=nan", "--send=x"], "--timeout needs a number of seconds: nan"),
        (["--timeout=inf", "--send=x"], "--timeout needs a number of seconds: inf"),
        (["--room=a", "--room=b", "--send=x"], "--send posts to one room"),
        (["broadcast://h/a", "--room=b", "--send=x"], "--send posts to one room"),
        pytest.param(["--tls", "unix:chat.sock"], "a unix socket has no TLS, and needs none", marks=needs_unix_sockets),
        pytest.param(
            ["broadcasts://%2Fchat.sock"], "a unix socket has no TLS, and needs none", marks=needs_unix_sockets
        ),
        (["--fingerprint=a1"], "no fingerprint: a1; it has the form SHA256: and 64 hexadecimal digits"),
        (["a", "1", "b"], "no more than a host and a port name the server: b"),
        (["--send", "a", "b", "c"], "no port: c (a text of several words stands in quotes behind --send)"),
    ],
)
def test_wrong_usage_has_its_reason(arguments: list[str], reason: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(arguments)
    assert str(error.value) == f"{reason}. --help explains."


@pytest.mark.parametrize(
    ("arguments", "encoding", "shown"),
    [
        (["--n\x1b[2Jo"], "utf-8", "there is no option --n\ufffd[2Jo. --help explains."),
        (["h:\u00fc"], "ascii", "no port: \\xfc. --help explains."),
    ],
)
def test_wrong_usage_is_one_line_and_status_1(arguments: list[str], encoding: str, shown: str) -> None:
    command = [sys.executable, "-m", "broadcast.client", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    ended = subprocess.run(  # noqa: S603
        command, cwd=CHECKOUT, env=environment, input=b"", capture_output=True, check=False, timeout=200
    )
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode(encoding) == f"broadcast-client: {shown}\n"


def printed(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 0
    return capfd.readouterr().out


def test_the_version_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(["--no-bell", "--version", "--no-such"], capfd) == f"broadcast-client {__version__}\n"


@pytest.mark.parametrize("name", ["--help", "-h"])
def test_help_lists_every_option_and_exit_status(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = printed([name], capfd)
    assert all(f"\n  {option.name} " in text for option in OPTIONS)
    assert all(f"\n  {status} " in text for status in (0, 1, 2, 3, 4, 5, 6, 130, 141, 143))
    assert max(map(len, text.splitlines())) < 120


def test_python_without_a_package_says_what_to_start(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "broadcast").symlink_to(Path(broadcast.__file__).parent, target_is_directory=True)
    # -S hides the installed packages.
    command = [sys.executable, "-S", "-m", "broadcast.client", "--upload", __file__]
    ended = subprocess.run(command, cwd=clone, input="", capture_output=True, text=True, check=False, timeout=200)  # noqa: S603 -- constant
    assert ended.returncode == 1
    assert ended.stderr == (
        "broadcast-client: this Python has no msgspec: start .venv/bin/broadcast-client, or pip install msgspec\n"
    )


def imported(script: str) -> set[str]:
    """Return the modules of others that *script* imports."""
    script = f"import os, sys; before = set(sys.modules); {script}; print(*(sys.modules.keys() - before))"
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=200)  # noqa: S603 -- constant
    return {name for name in ended.stdout.split() if name.partition(".")[0] != "broadcast"}


def test_parsing_imports_next_to_nothing() -> None:
    """Each of argparse, dataclasses, re and typing would make ``--send`` noticeably slower."""
    parsing = (
        "from broadcast.client.__main__ import parse; parse(['broadcast://h:1/a', '--nick', 'ann', '--send', '-x'])"
    )
    assert imported(parsing) == {"__future__", "errno"}


def test_sending_imports_nothing_heavy() -> None:
    heavy = {
        "argparse",
        "asyncio",
        "dataclasses",
        "hashlib",
        "msgspec",
        "pathlib",
        "socket",
        "ssl",
        "tomllib",
        "twisted",
        "typing",
    }
    assert not imported("import broadcast.client.__main__, broadcast.client.batch.send") & heavy


def test_first_prompt_does_not_wait_for_twisted() -> None:
    assert "twisted" not in imported("import broadcast.client.__main__, broadcast.client.terminal.app")
