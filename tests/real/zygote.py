"""A process that has imported the server, and forks one for each start.

A start then takes a fifth of the CPU time. Tests of the command itself start ``twistd`` (see ``Programs.start``).
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.internet.process import Process

IS_LINUX = platform.system() == "Linux"
"""Whether this process can take over processes of others."""
ROOT = str(Path(__file__).parents[2])
IMPORTED = (
    "twisted.internet.epollreactor",
    "twisted.scripts.twistd",
    "broadcast.service",
    "broadcast.doors.web.door",
    "broadcast.server.certificate_keeper",
)
PR_SET_CHILD_SUBREAPER = 36
MAX_REQUEST = 1 << 17


class Zygote:
    """Starts servers as children of this process. Linux only."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-m", "tests.real.zygote", str(number)]
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            self._process = subprocess.Popen(  # noqa: S603 -- this file
                command, pass_fds=[number], stdin=subprocess.DEVNULL, cwd=ROOT, env=environment
            )
        self._prctl = ctypes.CDLL(None).prctl
        atexit.register(self.close)

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: str, descriptors: Sequence[int]
    ) -> int:
        """Start a server, with *descriptors* as its standard input, output and error. Return the number of its process.

        A process in between ends at once. Its child becomes one of this process, which can so wait for its end.
        """
        request = json.dumps([list(arguments), dict(environment), folder]).encode()
        assert len(request) <= MAX_REQUEST
        self._prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self._connection, [request], descriptors)
            number = int(self._connection.recv(20))
            self._connection.recv(20)
        finally:
            self._prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return number

    def close(self) -> None:
        """End the zygote."""
        self._connection.close()
        self._process.wait()


@cache
def zygote() -> Zygote:
    """Return the only zygote of this process."""
    return Zygote()


def start_server(arguments: Sequence[str], environment: Mapping[str, str], folder: str, output: int) -> int:
    """Start a server that writes to the file *output*. Return the number of its process, for which the caller waits."""
    if IS_LINUX:
        with open(os.devnull) as empty:  # noqa: PTH123 -- as short as it gets
            return zygote().start(arguments, environment, folder, [empty.fileno(), output, output])
    process = subprocess.Popen(  # noqa: S603 -- the test's own command
        arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=environment
    )
    process.returncode = 0  # so that it does not warn about a process that still runs
    return process.pid


class ForkedProcess(Process):
    """A process transport of a server that the zygote has started."""

    def _trySpawnInsteadOfFork(  # noqa: N802 -- Twisted's name
        self,
        path: str,
        uid: int | None,
        gid: int | None,
        executable: str,
        args: Sequence[str],
        environment: Mapping[str, str],
        kwargs: Mapping[str, Any],
    ) -> bool:
        self.pid = zygote().start(args, environment, path, [kwargs["fdmap"][number] for number in range(3)])
        self.status = -1
        return True


def _become(request: bytes, descriptors: Sequence[int]) -> None:
    """Be the server from now on."""
    from twisted.scripts.twistd import run  # noqa: PLC0415 -- only the zygote needs it

    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, 100)
    sys.argv, environment, folder = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.path[0] = str(Path(sys.argv[0]).parent)
    sys.exit(run())  # type: ignore[no-untyped-call]  # Twisted's own is not annotated


def main() -> None:
    """Fork a server for each request, until the tests end."""
    # No reactor: its descriptors must belong to one process alone.
    from twisted.application.service import IServiceMaker  # noqa: PLC0415 -- only the zygote needs it
    from twisted.plugin import getPlugins  # noqa: PLC0415 -- the same

    from broadcast.accounts import hashing  # noqa: PLC0415 -- the same

    for name in IMPORTED:
        import_module(name)
    list(getPlugins(IServiceMaker))  # twistd imports them when it starts
    # With its first password, each server would measure for a second which hashes this machine can afford.
    hashing.measure = partial(hashing.Parameters, 64, 2, 1)
    assert "twisted.internet.reactor" not in sys.modules
    gc.freeze()
    connection = socket.socket(fileno=int(sys.argv[1]))
    while True:
        request, descriptors, _flags, _address = socket.recv_fds(connection, MAX_REQUEST, 3)
        if not request:
            return
        if between := os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            os.waitpid(between, 0)
            connection.send(b"it is yours")
        elif number := os.fork():
            connection.send(str(number).encode())
            os._exit(0)
        else:
            _become(request, descriptors)


if __name__ == "__main__":
    main()
