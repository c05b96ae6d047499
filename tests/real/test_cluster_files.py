"""Several installed servers with one database, and files: any server takes the bytes, and any server sends them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, cycle
from pathlib import Path
from random import Random
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from benchmarks.processes import free_port
from tests.browser.people import Person, wait_until
from tests.postgres import PostgresServer
from tests.real.cluster import Balancer, Cluster
from tests.real.programs import PATIENCE
from tests.real.test_client import CLIENT
from tests.real.test_cluster import make_operator, register, run_curl
from tests.relay import Relay

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
MIB = 1 << 20
_numbers = count(1)


@pytest.fixture(scope="module")
def web_port() -> int:
    """The port of the page, for a load balancer."""
    return free_port()


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory, web_port: int) -> Iterator[Cluster]:
    """Two servers. Each test has nicknames of its own."""
    name = postgres.create_database()
    folder = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(folder, postgres.url(name), ("one", "two"), "--web-url", f"http://127.0.0.1:{web_port}/")
    try:
        cluster.start()
        yield cluster
        assert cluster.problems() == []
    finally:
        cluster.stop()
        postgres.drop_database(name)


@pytest.fixture
def nick() -> str:
    """A nickname that no other test uses."""
    return f"ann{next(_numbers)}"


def write_file(folder: Path, size: int) -> Path:
    """Return the path of a file of *size* bytes."""
    path = folder / "report.pdf"
    path.write_bytes(os.urandom(size))
    return path


def check_shared(cluster: Cluster, nick: str, path: Path, address: str) -> None:
    """Assert that *nick* has shared the file at *path* once, at *address*, and that both servers send it."""
    lines = f"SELECT count(*) FROM lines WHERE nick = '{nick}' AND kind = 'shared'"  # noqa: S608 -- constants
    assert cluster.number(lines) == 1
    name = address.strip().partition("/files/")[2]
    for node in cluster.nodes:
        with urlopen(f"http://127.0.0.1:{node.web_port}/files/{name}", timeout=PATIENCE) as answer:
            assert answer.read() == path.read_bytes()
    assert cluster.number("SELECT count(*) FROM slots WHERE state IN ('open', 'begun')") == 0


class Alternating(Relay):
    """A load balancer that gives each connection to another one of *ports*, and cuts some of them."""

    def __init__(self, *ports: int) -> None:
        super().__init__(Random(7), mean_bytes=600_000)  # noqa: S311 -- no secret
        self._ports = cycle(ports)

    def choose_target(self) -> int:
        """Return the port of the other server."""
        return next(self._ports)


def test_client_uploads_over_connections_that_break_and_reach_both_servers(
    cluster: Cluster, web_port: int, tmp_path: Path, nick: str
) -> None:
    path = write_file(tmp_path, 5 * MIB)

    async def upload() -> str:
        relay = Alternating(*(node.web_port for node in cluster.nodes))
        relay.cuts_connections = True
        await relay.listen(web_port)
        command = [str(CLIENT), f"127.0.0.1:{cluster.nodes[0].port}", "--nick", nick, "--upload", str(path)]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            async with asyncio.timeout(PATIENCE):
                output, _ = await process.communicate()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await relay.close()
        assert process.returncode == 0
        assert relay.cuts > 3
        return output.decode()

    with Person(cluster.nodes[1].port, f"bob-{nick}") as bob:
        address = asyncio.run(upload())
        bob.until(f" * {nick} shared report.pdf (5.2 MB): {address.strip()}\r\n")
    check_shared(cluster, nick, path, address)


@pytest.mark.parametrize("has_session", [False, True], ids=["receiver", "receiver and session"])
def test_server_is_killed_in_the_middle_of_an_upload_and_the_other_one_takes_the_rest(
    cluster: Cluster, web_port: int, tmp_path: Path, nick: str, has_session: bool
) -> None:
    path = write_file(tmp_path, 24 * MIB)
    one, two = cluster.nodes
    # All connections reach the second server, and the first one when it is dead.
    balancer = Balancer(tmp_path, cluster.nodes, lambda text: re.sub("(server one .*)", r"\1 backup", text), web_port)
    balancer.wait()
    before = cluster.number("SELECT count(*) FROM chunks")
    port = balancer.port if has_session else one.port
    command = [str(CLIENT), f"127.0.0.1:{port}", "--nick", nick, "--upload", str(path)]
    try:
        with (
            Person(one.port, f"bob-{nick}") as bob,
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client,  # noqa: S603 -- the installed client
        ):
            wait_until(lambda: cluster.number("SELECT count(*) FROM chunks") > before + 8)
            two.signal(signal.SIGSTOP)
            assert client.poll() is None, "the upload is not complete"
            assert cluster.number("SELECT count(*) FROM slots WHERE state = 'begun'") == 1
            two.stop(signal.SIGKILL)
            address, _ = client.communicate(timeout=PATIENCE)
            assert client.returncode == 0
            bob.until(f" * {nick} shared report.pdf (25 MB): {address.strip()}\r\n")
            bob.until(f" * {nick} left.\r\n")
            assert bob.seen.count(f" * {nick} ") == 3, "it has joined, shared the file, and left"
    finally:
        balancer.stop()
        if two.has_ended():
            two.start()
    check_shared(cluster, nick, path, address)


@pytest.mark.parametrize("receiver", [0, 1])
def test_link_of_one_server_works_at_any_server(cluster: Cluster, tmp_path: Path, nick: str, receiver: int) -> None:
    path = write_file(tmp_path, MIB)
    one, two = cluster.nodes
    with Person(one.port, nick) as ann, Person(two.port, f"bob-{nick}") as bob:
        ann.say("/join kitchen", "/upload-link")
        token = re.search(r"Bearer (\S+)'", ann.read_until(" minutes."))
        assert token is not None
        authorization = f"-H 'Authorization: Bearer {token[1]}'"
        target = f"{cluster.nodes[receiver].address}files/"
        head = f"-I {authorization} {target}"
        assert "Upload-Offset: 0" in run_curl(tmp_path, head)
        said = run_curl(tmp_path, f"-T {path} {authorization} {target}")
        assert said.startswith("Shared report.pdf (1.0 MB): http://127.0.0.1:")
        with pytest.raises(AssertionError):
            run_curl(tmp_path, f"-f -T {path} {authorization} {target}")
        bob.say("/join kitchen")
        bob.until(f"{nick} shared report.pdf (1.0 MB): ")
    check_shared(cluster, nick, path, said.rpartition(" ")[2])


def test_links_end_with_their_session_at_all_servers(cluster: Cluster, tmp_path: Path, nick: str) -> None:
    path = write_file(tmp_path, 1)
    with Person(cluster.nodes[0].port, nick) as ann:
        ann.say("/upload-link")
        token = re.search(r"Bearer (\S+)'", ann.read_until(" minutes."))
        ann.say("quit")
        ann.until("Goodbye")
    assert token is not None
    for node in cluster.nodes:
        arguments = f"-T {path} -H 'Authorization: Bearer {token[1]}' {node.address}files/"
        assert run_curl(tmp_path, arguments).startswith("This upload is over, or there was none.")


def test_operator_removes_a_file_that_was_uploaded_elsewhere(cluster: Cluster, tmp_path: Path, nick: str) -> None:
    path = write_file(tmp_path, MIB)
    one, two = cluster.nodes
    with Person(one.port, nick) as ann, Person(two.port, f"olga-{nick}") as olga:
        register(olga)
        make_operator(one.folder / "data", cluster.url, olga.nick)
        olga.until("You are an operator now.")
        ann.say("/join kitchen", "/upload-link")
        token = re.search(r"Bearer (\S+)'", ann.read_until(" minutes."))
        assert token is not None
        said = run_curl(tmp_path, f"-T {path} -H 'Authorization: Bearer {token[1]}' {one.address}files/")
        name = said.strip().partition("/files/")[2]
        olga.say(f"/remove-file {two.address}files/{name}")
        olga.until("report.pdf is removed.")
    for node in cluster.nodes:
        wait_until(lambda port=node.web_port: status(port, name) == 404)  # type: ignore[misc]


def status(port: int, name: str) -> int:
    """Return the status of the answer for the file *name*; 0 if it is removed while the server reads it."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/files/{name}", timeout=PATIENCE) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
    except ConnectionResetError:
        return 0


def test_limit_on_all_files_is_one_for_all_servers_and_a_refusal_is_told(
    postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    path, port = write_file(tmp_path, 2 * MIB), free_port()
    cluster = Cluster(
        tmp_path, postgres_url, ("one", "two"), "--web-url", f"http://127.0.0.1:{port}/", "--files-total", str(3 * MIB)
    )
    balancer: Balancer | None = None
    try:
        cluster.start()
        balancer = Balancer(tmp_path, cluster.nodes, lambda text: text, port)
        balancer.wait()
        results = []
        for node, nick in zip(cluster.nodes, ("ann", "bob"), strict=True):
            command = [str(CLIENT), f"127.0.0.1:{node.port}", "--nick", nick, "--upload", str(path)]
            results.append(subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False))  # noqa: S603 -- the installed client
        assert results[0].returncode == 0, results[0].stderr
        assert "The files on this server take 3.1 MB, which is the limit" in results[1].stderr
        assert results[1].returncode != 0
        assert cluster.problems() == []
    finally:
        if balancer is not None:
            balancer.stop()
        cluster.stop()
