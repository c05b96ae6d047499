"""Several installed servers that share a PostgreSQL database, and HAProxy in front of them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from benchmarks.processes import free_port
from tests.browser.people import Server, wait_until
from tests.real.programs import PATIENCE, found

HAPROXY = Path(__file__).parents[2] / "contrib/haproxy/haproxy.cfg"
PEOPLE = "SELECT nick FROM broadcast.people ORDER BY nick"
GONE_SECONDS = 15
"""Maximum number of seconds until all people of a dead server are gone, those with a token after their grace."""


class Node(Server):
    """One server of a cluster. It can be killed, suspended, and started again, on the same ports."""

    def __init__(self, folder: Path, name: str, url: str, *options: str) -> None:
        self.name = name
        self.proxied_port = free_port()
        """The port for HAProxy."""
        self.health_port = free_port()
        shared = ("--journal", url, "--node", name, "--limits", "off", "--metrics", str(self.health_port))
        proxied = ("--port", f"haproxy:tcp:{self.proxied_port}:interface=127.0.0.1", "--trusted-proxy", "127.0.0.1")
        super().__init__(folder, *shared, *proxied, *options)

    def health(self) -> str:
        """Return status and text of ``/healthz``, or why it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.health_port}/healthz", timeout=PATIENCE) as answer:
                return f"{answer.status} {answer.read().decode().strip()}"
        except HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode().strip()}"
        except OSError as error:
            return str(error)

    def wait(self) -> None:
        """Wait until the ports listen, and until the server can store lines."""
        super().wait()

        def is_healthy() -> bool:
            assert not self.has_ended(), self.output()
            return self.health() == "200 ok"

        wait_until(is_healthy, self.health, pause=0.05)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)


class Cluster:
    """Servers that share the database at *url*, each with a folder of its own in *folder*."""

    def __init__(self, folder: Path, url: str, names: Sequence[str], *options: str) -> None:
        self.folder = folder
        self.url = url
        self.nodes: list[Node] = []
        for name in names:
            (folder / name).mkdir()
            self.nodes.append(Node(folder / name, name, url, *options))

    def start(self) -> None:
        """Start all servers at once."""
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            node.wait()

    def stop(self) -> None:
        """Kill all servers that run."""
        for node in self.nodes:
            node.stop(signal.SIGKILL)

    def number(self, query: str) -> int:
        """Return the number that *query* finds in the database."""
        import psycopg  # noqa: PLC0415 -- it may be missing

        with psycopg.connect(self.url, options="-c search_path=broadcast") as db:
            row = db.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def problems(self) -> list[str]:
        """Return the lines of all logs that must not be there."""
        return [
            f"{node.name}: {line}"
            for node in self.nodes
            for line in node.output().splitlines()
            if re.search(r"Traceback|Unhandled|#critical", line)
        ]


class Balancer:
    """HAProxy with the settings of ``contrib/haproxy``, which *change* may change, in front of two *nodes*."""

    def __init__(
        self,
        folder: Path,
        nodes: Sequence[Node],
        change: Callable[[str], str] = lambda settings: settings,
        web_port: int | None = None,
    ) -> None:
        self.port, self.web_port = free_port(), web_port or free_port()
        ports = defaultdict(free_port, {5555: self.port, 8080: self.web_port})
        for number, node in enumerate(nodes, 1):
            ports |= {6000 + number: node.proxied_port, 8000 + number: node.web_port, 9000 + number: node.health_port}
        text = change(HAPROXY.read_text())
        settings = re.sub(r"(127\.0\.0\.1}?:| port )(\d+)", lambda m: f"{m[1]}{ports[int(m[2])]}", text)
        (folder / "haproxy.cfg").write_text(settings)
        self._log = (folder / "haproxy.log").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 -- found
            [found("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], stdout=self._log, stderr=self._log
        )

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.web_port}/"

    def wait(self) -> None:
        """Wait until both ports listen."""
        for port in (self.port, self.web_port):
            wait_until(lambda port=port: listens(port), lambda: "HAProxy does not listen")  # type: ignore[misc]

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()


def listens(port: int) -> bool:
    """Return whether somebody listens at *port* of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
