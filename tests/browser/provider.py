"""A real OpenID Connect provider beside the server, and what a person does on its pages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.people import wait_until
from tests.real.programs import found

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCRIPT = Path(__file__).parents[1] / "real" / "oidc_provider.mjs"
SECRET = "hush-hush-hush"


class Provider:
    """The provider at *port* in a process of its own. It knows the server as the client of the page at *page*."""

    def __init__(self, port: int, page: str) -> None:
        self.port = port
        self._command = [found("node"), str(SCRIPT), str(port), "600", f"{page}login/callback"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 -- the test's own command
                self._command,
                env=os.environ,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
            )
            wait_until(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def freeze(self) -> None:
        """Answer nothing more."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End the process, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def log_in(page: Page, name: str) -> None:
    """Log in as *name* on the page of the provider, and agree."""
    page.get_by_placeholder("Enter any login").fill(name)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    agree(page)


def agree(page: Page) -> None:
    """Agree on the page of the provider."""
    page.get_by_role("button", name="Continue").click()


def refuse(page: Page) -> None:
    """Refuse the login on the page of the provider."""
    page.get_by_role("link", name="Cancel").click()
