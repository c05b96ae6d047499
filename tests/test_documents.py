"""The commands in the documents use existing options, and the systemd units fit the server."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from twisted.python import usage
from twisted.scripts._twistd_unix import ServerOptions

from broadcast.client.options import help_text
from broadcast.server.lifecycle import STOP_SECONDS
from broadcast.server.options import Options
from tests.real.programs import PATIENCE, found

CHECKOUT = Path(__file__).parents[1]
UNITS = CHECKOUT / "contrib" / "systemd"
DOCUMENTS = sorted([*CHECKOUT.glob("*.rst"), *CHECKOUT.glob("docs/*.rst"), *UNITS.glob("*.service")])

_QUOTED = re.compile(r"``([^`]+)``|^ +(\S(?:\\\n|.)*)|^ExecStart=(.*)", re.MULTILINE)
"""A literal between double backquotes, a line of a literal block, or the command of a unit."""
_TWISTD = re.compile(r"\btwistd((?: +-[^ ]*| +\"[^\"]*\")*) +broadcast\b([^|;&#]*)")
_CLIENT = re.compile(r"\bbroadcast-client\b([^|;&#]*)")


class Command(NamedTuple):
    """The words after the name of *program* in a command of a document."""

    program: str
    words: Sequence[str]

    def __str__(self) -> str:
        return " ".join([self.program, *self.words])


def commands(text: str) -> Iterator[Command]:
    """Yield the commands of this project in *text*."""
    for quoted in _QUOTED.finditer(text):
        line = " ".join("".join(group or "" for group in quoted.groups()).replace("\\\n", " ").split())
        for command in _TWISTD.finditer(line):
            yield Command("twistd", command[1].split())
            yield Command("twistd broadcast", command[2].split())
        for command in _CLIENT.finditer(line):
            yield Command("broadcast-client", command[1].split())


def options(command: Command) -> list[str]:
    """Return the names of the options in *command*, with their dashes."""
    return [word.strip("'\".,:)").partition("=")[0] for word in command.words if re.match(r"-\w|--\w", word)]


def client_options() -> set[str]:
    """Return the names of the client's options, from its help."""
    return set(re.findall(r"(?<!\S)--?\w[\w-]*", help_text()))


def option_names(options: usage.Options) -> set[str]:
    """Return the names of all *options*, with their dashes."""
    return {f"--{name.rstrip('=')}" for name in options.longOpt} | {
        f"-{name}" for name in options.shortOpt.replace(":", "")
    }


KNOWN: Mapping[str, set[str]] = {
    "twistd": option_names(ServerOptions()),  # type: ignore[no-untyped-call]
    "twistd broadcast": option_names(Options()),
    "broadcast-client": client_options(),
}
DOCUMENTED = {
    f"{path.relative_to(CHECKOUT)}: {command}": command
    for path in DOCUMENTS
    for command in commands(path.read_text("utf-8"))
    if options(command)
}


@pytest.mark.parametrize("command", DOCUMENTED.values(), ids=DOCUMENTED)
def test_every_documented_option_exists(command: Command) -> None:
    assert set(options(command)) <= KNOWN[command.program]


def test_commands_are_found_in_every_notation() -> None:
    """If no command was found, the test above would pass."""
    assert {command.program for command in DOCUMENTED.values()} == KNOWN.keys()
    text = """
Start it with ``twistd -n
broadcast --one``, or::

    .venv/bin/twistd --nodaemon --pidfile= broadcast -p 5 \\
        --two=x | tee log --no    # --neither
    printf 'x' | nc localhost && broadcast-client --three 'a b'

ExecStart=/opt/bin/twistd --four broadcast --five systemd:index=0 $MORE
"""
    assert [" ".join(options(command)) for command in commands(text)] == [
        "-n",
        "--one",
        "--nodaemon --pidfile",
        "-p --two",
        "--three",
        "--four",
        "--five",
    ]


# The units


def unit(name: str) -> dict[str, list[str]]:
    """Return the settings of the unit *name* by ``Section.Key``. A key that occurs twice has two values."""
    settings: dict[str, list[str]] = {}
    section = ""
    for line in (UNITS / name).read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
            continue
        key, equals, value = line.partition("=")
        assert (section, equals) != ("", ""), line
        settings.setdefault(f"{section}.{key}", []).append(value)
    return settings


def test_service_unit_starts_the_server_with_valid_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    service = unit("broadcast.service")
    (start,) = service["Service.ExecStart"]
    (more,) = service["Service.Environment"]
    assert more == "BROADCAST_OPTIONS="
    program, *words = shlex.split(start.replace("%S", "/var/lib").replace("$BROADCAST_OPTIONS", ""))
    assert program == "/opt/broadcast/bin/twistd"
    twistd = ServerOptions()  # type: ignore[no-untyped-call]
    twistd.parseOptions(words)  # type: ignore[no-untyped-call]
    assert twistd.subCommand == "broadcast"
    assert (twistd["nodaemon"], twistd["pidfile"]) == (1, "")
    config = twistd.subOptions.config
    assert config.ports == ("systemd:domain=INET:index=0",)
    assert config.data == Path("/var/lib") / service["Service.StateDirectory"][0]


def test_units_give_the_server_time_to_stop_and_a_local_socket() -> None:
    service = unit("broadcast.service")
    assert service["Service.Type"] == ["notify"]
    assert int(service["Service.TimeoutStopSec"][0]) > STOP_SECONDS
    assert service["Service.KillSignal"] == ["SIGTERM"]
    assert int(service["Service.WatchdogSec"][0]) >= 10
    assert unit("broadcast.socket")["Socket.ListenStream"] == ["127.0.0.1:5555"]


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = found("systemd-analyze")
    for path in UNITS.iterdir():
        text = path.read_text("utf-8").replace("/opt/broadcast/bin/twistd", str(Path(sys.executable)))
        (tmp_path / path.name).write_text(text)
    process = subprocess.run(  # noqa: S603 -- the test's own text
        [analyze, "verify", "--man=no", "--recursive-errors=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
