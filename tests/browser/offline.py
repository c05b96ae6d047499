"""Pages without a chat server: the page's files come from the disk, and its WebSocket is a server inside the page."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser.conftest import Pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "broadcast" / "doors" / "web" / "page"
SERVER = ROOT / "tests" / "page" / "fake_server.js"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'; media-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "worker-src 'self'; require-trusted-types-for 'script'"
)
TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json", ".svg": "image/svg+xml"}


class Site(ThreadingHTTPServer):
    """Serves the page's files. Answers of Playwright would take three times as much CPU time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.files: dict[str, bytes] = {}
        """Shared files, by their path."""


class Request(BaseHTTPRequestHandler):
    """A request for a file."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Site

    def do_GET(self) -> None:
        """Answer with the file, or with status 404."""
        path = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        file = PAGE / path
        content = self.server.files.get(path) or (file.read_bytes() if file.is_file() else None)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Content-Type", TYPES.get(file.suffix) or str(mimetypes.guess_type(path)[0]))
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing."""


@contextmanager
def serve_page() -> Iterator[Site]:
    """Serve the page's files on a free port until the end of the block."""
    with Site() as site:
        thread = Thread(target=site.serve_forever, args=(0.05,))
        thread.start()
        yield site
        site.shutdown()
        thread.join()


class OfflinePages(Pages):
    """Makes pages that talk to a server inside themselves."""

    def __init__(self, browser: Browser, site: Site) -> None:
        super().__init__(browser, f"http://localhost:{site.server_port}/")
        self.files = site.files

    def context(self, **options: object) -> BrowserContext:
        """Return a new browser profile, by default in English with a clock of 24 hours."""
        context = super().context(**{"locale": "en-GB", "timezone_id": "UTC", **options})
        context.add_init_script(path=SERVER)
        return context

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
    """Make pages without a chat server. The test fails if one of them has reported an error."""
    with serve_page() as site:
        pages = OfflinePages(browser, site)
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
