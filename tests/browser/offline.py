"""Pages without a server: the page's files come from the disk, and its WebSocket is a server inside the page."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser.conftest import Pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "broadcast" / "doors" / "web" / "page"
SERVER = ROOT / "tests" / "page" / "fake_server.js"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'; media-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "worker-src 'self'; require-trusted-types-for 'script'"
)
TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json", ".svg": "image/svg+xml"}


ADDRESS = "http://localhost/"
"""The address of the page. No server listens there."""


class OfflinePages(Pages):
    """Makes pages that talk to a server inside themselves."""

    def __init__(self, browser: Browser) -> None:
        super().__init__(browser, ADDRESS)
        self.files: dict[str, bytes] = {}
        """Shared files, by their path."""

    def context(self, **options: object) -> BrowserContext:
        """Return a new browser profile, by default in English with a clock of 24 hours."""
        context = super().context(**{"locale": "en-GB", "timezone_id": "UTC", **options})
        context.add_init_script(path=SERVER)
        context.route(f"{ADDRESS}**", self._answer)
        return context

    def _answer(self, route: Route) -> None:
        path = unquote(urlsplit(route.request.url).path).lstrip("/") or "index.html"
        file = PAGE / path
        if path in self.files:
            route.fulfill(body=self.files[path], content_type="image/png")
        elif file.is_file():
            kind = TYPES.get(file.suffix) or mimetypes.guess_type(path)[0]
            headers = {"Content-Security-Policy": POLICY, "Content-Type": str(kind)}
            route.fulfill(body=file.read_bytes(), headers=headers)
        else:
            route.fulfill(status=404)

    def chat(self, lines: int = 0, context: BrowserContext | None = None, nick: str = "ann") -> Page:
        """Join the chat, in which *lines* lines have been said before."""
        page = self.open(context)
        run(page, "count => { for (let n = 1; n <= count; n += 1) said(n); }", lines)
        page.get_by_role("textbox", name="Nickname").fill(nick)
        page.get_by_role("button", name="Join", exact=True).click()
        page.get_by_role("textbox", name="Message").wait_for()
        return page


@pytest.fixture
def offline(browser: Browser) -> Iterator[OfflinePages]:
    """Make pages without a server. The test fails if one of them has reported an error."""
    pages = OfflinePages(browser)
    yield pages
    pages.close()
    assert pages.unexpected == []


def run(page: Page, function: str, argument: object = None) -> Any:  # noqa: ANN401 -- any result
    """Run a function in the page. It can use `server`, and `said(n)`, which stores line n of several people."""
    prelude = """
    const said = (n, more = {}) => server.say(["bob", "cleo", "dora"][(n >> 1) % 3], `line ${n}`,
      { at: Date.now() / 1000 - 86400 + n, quiet: true, ...more });
    """
    return page.evaluate(f"(argument) => {{ {prelude} return ({function})(argument); }}", argument)


def settle(page: Page) -> None:
    """Wait until the page has drawn twice."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
