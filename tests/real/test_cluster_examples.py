"""The commands of the documentation and of ``contrib`` start two servers behind HAProxy."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from urllib.request import urlopen

import pytest

from benchmarks.processes import free_port
from tests.browser.people import Person, wait_until
from tests.postgres import SHARED, PostgresServer
from tests.real.cluster import HAPROXY, listens
from tests.real.programs import PATIENCE, TWISTD, found
from tests.real.test_cluster import PASSWORD, make_operator, register

ROOT = Path(__file__).parents[2]
PORTS = r"\b(555[56]|6[01]0[12]|[89]00[12]|8080)\b"
"""The ports in the documentation and in the files of ``contrib``."""


class Example:
    """Two servers and HAProxy that start with the *commands* of an example, on free ports."""

    def __init__(self, stack: ExitStack, folder: Path, url: str, commands: Sequence[str]) -> None:
        self._ports: defaultdict[str, str] = defaultdict(lambda: str(free_port()))
        self._folder = folder
        (folder / "haproxy.cfg").write_text(self.replace_ports(HAPROXY.read_text()))
        names = {".venv/bin/twistd": TWISTD, "twistd": TWISTD, "contrib/haproxy/haproxy.cfg": "haproxy.cfg"}
        names |= {f"postgresql://chat@{host}/chat": url for host in ("localhost", "database")}
        names |= {name: found(name) for name in ("haproxy", "openssl")}
        self._log = stack.enter_context((folder / "log").open("wb"))
        for command in commands:
            words = [names.get(word, word) for word in shlex.split(self.replace_ports(command))]
            if command.startswith("haproxy"):  # a human is slower than the servers
                for port in ("9001", "9002"):
                    wait_until(lambda port=port: self._is_healthy(port), self._read_log)  # type: ignore[misc]
            process = subprocess.Popen(words, cwd=folder, stdout=self._log, stderr=self._log)  # noqa: S603 -- as documented
            if command.startswith("openssl"):
                assert process.wait() == 0, self._read_log()
            stack.callback(process.wait)
            stack.callback(process.kill)
        wait_until(lambda: listens(self.port("5555")), self._read_log)

    def port(self, documented: str) -> int:
        """Return the port that stands for the one in the documentation."""
        return int(self._ports[documented])

    def replace_ports(self, text: str) -> str:
        """Return *text* with the ports of this example."""
        return re.sub(PORTS, lambda match: self._ports[match[0]], text)

    def _is_healthy(self, port: str) -> bool:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port(port)}/healthz", timeout=PATIENCE) as reply:
            return bool(reply.read() == b"ok\n")
        return False

    def _read_log(self) -> str:
        return (self._folder / "log").read_text()


def commands_of_documentation() -> list[str]:
    """Return the commands for two servers in ``docs/cluster.rst``."""
    page = (ROOT / "docs/cluster.rst").read_text().replace("\\\n", "")
    section = page.partition("\nSeveral servers\n")[2].partition("\nThe address of the database\n")[0]
    commands = re.findall(r"^    ((?:openssl req|\.venv/bin/twistd|haproxy) .*)$", section, re.MULTILINE)
    assert len(commands) == 4
    return commands


def commands_of_compose() -> list[str]:
    """Return the commands of the containers in ``contrib/compose``, and that of HAProxy."""
    text = (ROOT / "contrib/compose/compose.yaml").read_text()
    commands = re.findall(r"^    command: >-\n((?:      .*\n)+)", text, re.MULTILINE)
    assert len(commands) == 2
    return [*commands, "haproxy -f contrib/haproxy/haproxy.cfg"]


@pytest.mark.parametrize("commands", [commands_of_documentation, commands_of_compose])
def test_commands_of_the_examples_start_two_servers_behind_haproxy(
    postgres: PostgresServer, postgres_url: str, tmp_path: Path, commands: Callable[[], list[str]]
) -> None:
    with ExitStack() as stack:
        example = Example(stack, tmp_path, postgres_url, commands())
        ann, bob = [stack.enter_context(Person(example.port("5555"), nick)) for nick in ("ann", "bob")]
        bob.until("1 other is here: ann.")
        ann.say("hi")
        bob.until("ann: hi\r\n")
        page_of = urlopen(f"http://127.0.0.1:{example.port('8080')}/", timeout=PATIENCE)
        with page_of:
            assert page_of.status == 200
        guests = count(1)

        def both_have_people() -> bool:
            stack.enter_context(Person(example.port("5555"), f"guest{next(guests)}"))
            nodes = postgres.execute("SELECT count(DISTINCT node) FROM broadcast.people", database=SHARED)
            return nodes == [(2,)]

        # On a busy machine, HAProxy may take a server for dead for a while.
        wait_until(both_have_people, pause=0.5)
        if commands is commands_of_documentation:
            check_operators(example, stack, tmp_path, postgres_url)


def check_operators(example: Example, stack: ExitStack, folder: Path, url: str) -> None:
    """Check that an operator can announce something at the port with TLS, but not at the other one."""
    encrypted = free_port()
    target = f"OPENSSL:localhost:{example.port('5556')},cafile=chat.pem"
    socat = subprocess.Popen(  # noqa: S603 -- found
        [found("socat"), f"TCP-LISTEN:{encrypted},fork,reuseaddr", target], cwd=folder
    )
    stack.callback(socat.wait)
    stack.callback(socat.kill)
    wait_until(lambda: listens(encrypted))
    olga = stack.enter_context(Person(encrypted, "olga"))
    register(olga)
    make_operator(folder / "one", url, "olga")
    olga.until("You are an operator now.")
    olga.say("/announce tea")
    olga.until(" * olga announces: tea\r\n")
    plain = stack.enter_context(Person(example.port("5555"), "peter"))
    plain.say("/login olga")
    plain.read_until("Password: ")
    plain.say(PASSWORD)
    plain.until("-> You are logged in as olga.")
    plain.say("/announce coffee")
    plain.until("-> Error: ")
