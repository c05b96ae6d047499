"""``python -m benchmarks.page HOST:PORT http://HOST:WEB-PORT/``: the speed of the page, with a server that runs there.

The server needs ``--limits off``. First the page is reloaded several times, and the time until it shows a line is
measured. Then two people say 200 lines a second for a minute while a person types on the page, and the longest tasks of
the page's thread are measured. The CPU time of a task does not count what other programs take from the machine.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RELOADS: Final = 10
SECONDS: Final = 60
LINES_PER_SECOND: Final = 200
SHOWN: Final = 5
"""Number of the longest tasks that are printed."""
WORDS: Final = "typing goes on "
WATCH: Final = """
new MutationObserver(() => {
  const row = document.querySelector("#conversation .spoken");
  if (row?.checkVisibility()) requestAnimationFrame(() => (window.shownAt ??= performance.now()));
}).observe(document, { childList: true, subtree: true, attributes: true });
"""
"""Note when the page first shows a line, in milliseconds since its navigation began."""


def main(line_address: str, page_address: str) -> None:
    """Measure, and print the results."""
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        print(f"Chromium {browser.version}")
        page = browser.new_page()
        page.add_init_script(WATCH)
        page.goto(page_address)
        page.get_by_role("textbox", name="Nickname").fill(f"reader{time.time_ns() % 10**6}")
        page.keyboard.press("Enter")
        page.get_by_role("textbox", name="Message").fill("hello")
        page.keyboard.press("Enter")
        page.get_by_text("Stored").first.wait_for()
        measure_reloads(page)
        measure_flood(browser, page, line_address)
        browser.close()


def measure_reloads(page: Page) -> None:
    """Print the time from a reload to the first visible line."""
    times: list[float] = []
    for _ in range(RELOADS):
        page.reload()
        page.locator("#conversation .spoken").first.wait_for()
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        times.append(page.evaluate("shownAt"))
    print(f"first line after a reload: {median(times):.0f} ms ({min(times):.0f} - {max(times):.0f})")


def measure_flood(browser: Browser, page: Page, line_address: str) -> None:
    """Print the longest tasks while many lines arrive."""
    message = page.get_by_role("textbox", name="Message")
    browser.start_tracing(page=page, categories=["toplevel"])
    with talking(line_address):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            message.fill("")
            message.press_sequentially(WORDS, delay=60)
            assert message.input_value() == WORDS, message.input_value()
    events: list[dict[str, Any]] = json.loads(browser.stop_tracing())["traceEvents"]
    threads = {place(one) for one in events if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"}
    tasks = [one for one in events if one["name"].endswith("RunTask") and "tdur" in one and place(one) in threads]
    for name, key in (("CPU time", "tdur"), ("time", "dur")):
        longest = sorted((one[key] / 1000 for one in tasks), reverse=True)[:SHOWN]
        print(f"longest tasks, {name}: {', '.join(f'{ms:.0f}' for ms in longest)} ms")
    busy = sum(one["tdur"] for one in tasks) / SECONDS / 1e6
    print(f"CPU time of the page's thread: {busy:.0%}")


def place(event: dict[str, Any]) -> tuple[int, int]:
    """Return the process and the thread of a trace event."""
    return event["pid"], event["tid"]


@contextmanager
def talking(address: str) -> Iterator[None]:
    """Let two people say lines, until the context ends."""
    host, _, port = address.rpartition(":")
    people = [socket.create_connection((host, int(port))) for _ in range(2)]
    is_over = threading.Event()
    for number, person in enumerate(people):
        person.sendall(f"talker{time.time_ns() % 10**6}{number}\n".encode())
        threading.Thread(target=drain, args=(person,), daemon=True).start()

    def talk() -> None:
        began = time.monotonic()
        count = 0
        while not is_over.wait(max(0, began + count / LINES_PER_SECOND - time.monotonic())):
            people[(count >> 2) % 2].sendall(f"line {count} see https://example.org/ for more\n".encode())
            count += 1

    talker = threading.Thread(target=talk)
    talker.start()
    yield
    is_over.set()
    talker.join()


def drain(person: socket.socket) -> None:
    """Read and drop everything that arrives."""
    while person.recv(65536):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
