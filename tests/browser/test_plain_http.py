"""The page over plain HTTP at an address of a network: browsers trust it less than HTTPS or the machine itself."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.actions import expect_shown, say
from tests.browser.conftest import Pages, find_browser, require
from tests.browser.people import Program, wait_until
from tests.real.networks import NEAR, why_not
from tests.real.programs import PATIENCE, TWISTD

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

SET_UP = f"ip link set lo up && ip address add {NEAR}/24 dev lo && echo made && exec sleep 3600"
RECORD = """
window.sent = [];
const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (text) {
  sent.push(JSON.parse(text));
  send.call(this, text);
};
"""


class Lan:
    """A network namespace with a server and a browser. Unix sockets lead into it."""

    address = f"http://{NEAR}:8080/"

    def __init__(self, folder: Path) -> None:
        self.line_port = folder / "line"
        self._output = folder / "output"
        self._holder = subprocess.Popen(["unshare", "-rn", "sh", "-c", SET_UP], stdout=subprocess.PIPE)  # noqa: S603, S607
        assert self._holder.stdout is not None
        with self._holder.stdout as made:
            assert made.readline() == b"made\n"
        self._inside = ["nsenter", "-t", str(self._holder.pid), "-U", "--preserve-credentials", "-n"]
        doors = ["--port", f"unix:{self.line_port}", "--web", f"tcp:8080:interface={NEAR}"]
        command = [TWISTD, "-n", "--pidfile=", "broadcast", *doors, "--data", str(folder / "data"), "--limits", "off"]
        with self._output.open("ab") as output:
            self._server = subprocess.Popen(  # noqa: S603 -- the test's own command
                [*self._inside, *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=folder
            )
        self.chromium = folder / "chromium"
        """A program that runs Chromium in the namespace."""
        words = [*self._inside, str(find_browser())]
        self.chromium.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        self.chromium.chmod(0o755)

    def wait(self) -> None:
        """Wait until the page can be opened."""
        wait_until(lambda: "The page is at" in self._output.read_text(), self._output.read_text)

    def close(self) -> None:
        """End everything."""
        for process in (self._server, self._holder):
            process.kill()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """A network of its own, where namespaces are allowed. All tests share its server, so each takes other nicknames."""
    require(shutil.which("unshare") and shutil.which("nsenter") and shutil.which("ip"), "iproute2 is not installed")
    if reason := why_not():
        pytest.skip(reason)
    lan = Lan(tmp_path_factory.mktemp("lan"))
    try:
        lan.wait()
        yield lan
    finally:
        lan.close()


@pytest.fixture(scope="module")
def inside(browser: Browser, lan: Lan) -> Iterator[Browser]:
    """A browser of that network."""
    inside = browser.browser_type.launch(executable_path=lan.chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
    yield inside
    inside.close()


@pytest.fixture
def pages(inside: Browser, lan: Lan) -> Iterator[Pages]:
    """Make pages in that browser."""
    pages = Pages(inside, lan.address)
    # Chromium's own note that it ignores a header on such a page.
    pages.allowed.append("Cross-Origin-Opener-Policy header has been ignored")
    yield pages
    pages.close()
    assert pages.unexpected == []


def uids(page: Page) -> list[str]:
    """Return the identifiers of the lines that a page has sent."""
    sent: list[dict[str, Any]] = json.loads(page.evaluate("JSON.stringify(window.sent)"))
    return [request["params"]["uid"] for request in sent if request["method"] == "say"]


def recorded(pages: Pages) -> BrowserContext:
    """Return a browser profile whose pages record what they send."""
    context = pages.context()
    context.add_init_script(RECORD)
    return context


def test_everything_works_that_needs_no_https_and_the_rest_has_a_reason(lan: Lan, pages: Pages) -> None:
    robot = Program(lan.line_port, "robot")
    robot.call("register", password="correct horse")
    ann = pages.join("ann", recorded(pages))
    assert ann.evaluate("[isSecureContext, 'randomUUID' in crypto, crypto.subtle === undefined]") == [
        False,
        False,
        True,
    ]
    expect(ann.get_by_text("Notifications need HTTPS.")).to_be_visible()
    expect(ann.get_by_role("button", name="Notify me")).to_be_hidden()
    for text in ("one", "two"):
        say(ann, text)
        robot.said(text)
    assert [len(uid) for uid in uids(ann)] == [32, 32]
    assert len(set(uids(ann))) == 2
    ann.reload()
    expect_shown(ann, "one", "two")
    say(ann, "three")
    assert robot.said("three")["session"] == robot.said("one")["session"]
    with ann.expect_file_chooser() as chooser:
        ann.get_by_label("Share a file").click()
    chooser.value.set_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"tea at four"})
    ann.get_by_role("dialog").get_by_role("button", name="Share").click()
    shared = robot.until(lambda message: message.get("method") == "shared")
    assert shared["params"]["file"]["name"] == "notes.txt"
    robot.close()


def test_a_duplicated_tab_asks_without_locks(lan: Lan, pages: Pages) -> None:
    first = pages.join("bea")
    with first.expect_popup() as opened:
        first.evaluate("window.open(location.href)")
    opened.value.get_by_role("button", name="Move it here").click()
    opened.value.get_by_role("textbox", name="Message").wait_for()
    first.get_by_text("resumed elsewhere").first.wait_for()


def test_a_password_is_asked_for_with_one_warning(lan: Lan, pages: Pages) -> None:
    cook = Program(lan.line_port, "cook")
    cook.call("register", password="correct horse")
    cook.close()
    page = pages.open()
    page.get_by_role("textbox", name="Nickname").fill("cook")
    page.keyboard.press("Enter")
    page.get_by_label("Password").wait_for()
    assert page.locator("body").inner_text().count("not encrypted") == 1
    page.get_by_label("Password").fill("correct horse")
    page.keyboard.press("Enter")
    page.get_by_role("textbox", name="Message").wait_for()
