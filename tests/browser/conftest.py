"""The fixtures of the tests in a browser: a server, a browser, pages that report their errors, and people."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.people import Person, Program, Relay, Server
from tests.real.programs import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request


REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


ICONS = ("favicon.ico", "icon.svg")
"""The browser loads them on its own, sometimes after the test has ended the server."""


def find_browser() -> str | None:
    """Return the path of a Chromium. The one without windows needs half the CPU time."""
    return next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)


def require(condition: object, reason: str) -> None:
    """Skip the test unless *condition* is true, or fail where all programs must be there."""
    if not condition:
        if os.environ.get("BROADCAST_REQUIRE_PROGRAMS"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. While it runs, this thread has a running event loop, which tests elsewhere must not find."""
    path = find_browser()
    require(path, "chromium is not installed")
    try:
        from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415 -- it may be missing
    except ImportError:
        require(None, "playwright is not installed")
        raise
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server with the given options. Without a *web_port*, it takes a free one."""
    servers: list[Server] = []

    def start(*options: str, web_port: int = 0) -> Server:
        folder = tmp_path / f"server{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, *options, web_port=web_port))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A server without limits."""
    return make_server("--limits", "off")


class Pages:
    """Makes pages, and collects what goes wrong in them: errors, violations of the CSP, requests to elsewhere."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.errors: list[str] = []
        self.allowed: list[str] = []
        """Parts of the errors that the test expects."""
        self._browser = browser
        self.address = address
        """The address of the page."""
        self._contexts: list[BrowserContext] = []

    def context(self, **options: object) -> BrowserContext:
        """Return a new browser profile. See Playwright's ``new_context`` for *options*."""
        context = self._browser.new_context(**options)  # type: ignore[arg-type]  # passed on
        context.set_default_timeout(PATIENCE * 1000)
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.errors.append(f"{error.error}"))
        context.on("request", self._on_request)
        context.on("dialog", lambda dialog: self.errors.append(f"a dialog: {dialog.message}"))
        self._contexts.append(context)
        return context

    def open(self, context: BrowserContext | None = None, path: str = "") -> Page:
        """Open the chat in a new tab, by default of a new profile."""
        page = (context or self.context()).new_page()
        page.goto(self.address + path)
        return page

    def join(self, nick: str, context: BrowserContext | None = None, path: str = "") -> Page:
        """Open the chat in a new tab, and join."""
        page = self.open(context, path)
        self.enter(page, nick)
        return page

    def enter(self, page: Page, nick: str) -> None:
        """Join on a page."""
        page.get_by_role("textbox", name="Nickname").fill(nick)
        page.get_by_role("button", name="Join", exact=True).click()
        page.get_by_role("textbox", name="Message").wait_for()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "assert"} and not message.location.get("url", "").endswith(ICONS):
            self.errors.append(f"{message.text} {message.location}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.errors.append(f"a request to {request.url}")

    def close(self) -> None:
        """Close all pages."""
        while self._contexts:
            self._contexts.pop().close()

    @property
    def unexpected(self) -> list[str]:
        """The errors that the test does not expect."""
        return [error for error in self.errors if not any(part in error for part in self.allowed)]


@pytest.fixture
def pages(browser: Browser, server: Server) -> Iterator[Pages]:
    """Make pages of the server. The test fails if one of them has reported an error."""
    pages = Pages(browser, server.address)
    yield pages
    pages.close()
    assert pages.unexpected == []


@pytest.fixture
def relay(server: Server, pages: Pages) -> Iterator[Relay]:
    """A network between the pages and the server."""
    relay = Relay(server.web_port)
    pages.address = relay.address
    yield relay
    pages.close()
    relay.close()


@pytest.fixture
def bob(server: Server) -> Iterator[Person]:
    """A person on the line port, in the first room."""
    with Person(server.port, "bob") as person:
        yield person


@pytest.fixture
def robot(server: Server) -> Iterator[Program]:
    """A program in the first room."""
    program = Program(server.port, "robot")
    yield program
    program.close()
