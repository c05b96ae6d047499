"""Sharing files from the page: the button, drag and drop, a pasted picture, progress, cancelling, and refusals."""

from __future__ import annotations

import re
import socket
import struct
import urllib.request
import zlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Pages
from tests.browser.people import Person, Program, Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

LINK = re.compile(r"ann shared (.+) \(([^)]+)\): (http://\S+)")
PASTE = """([name, type, content]) => {
  const data = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  data.items.add(new File([bytes], name, { type }));
  return data;
}"""


def png(width: int, height: int) -> bytes:
    """Return a grey picture with a text chunk, as a camera or a painting program writes it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = zlib.compress(b"\0" * (width + 1) * height)
    text = chunk(b"tEXt", b"Comment\0made at home")
    return b"\x89PNG\r\n\x1a\n" + header + text + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def choose(page: Page, name: str, content: bytes, type_: str = "application/octet-stream") -> None:
    """Choose a file with the button, which asks."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Share a file").click()
    chooser.value.set_files({"name": name, "mimeType": type_, "buffer": content})


def choose_file(page: Page, path: Path) -> None:
    """Choose a file on the disk, which Playwright does not have to send to the browser."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Share a file").click()
    chooser.value.set_files(path)


def confirm(page: Page) -> None:
    """Confirm the question."""
    page.get_by_role("dialog").get_by_role("button", name="Share", exact=True).click()


def give(page: Page, event: str, selector: str, name: str, content: bytes, type_: str) -> None:
    """Drop or paste a file on the element *selector*."""
    handle = page.evaluate_handle(PASTE, [name, type_, b64encode(content).decode()])
    key = "clipboardData" if event == "paste" else "dataTransfer"
    page.evaluate(
        "([selector, event, key, data]) => document.querySelector(selector).dispatchEvent(event === 'paste'"
        " ? new ClipboardEvent(event, { [key]: data, bubbles: true, cancelable: true })"
        " : new DragEvent(event, { [key]: data, bubbles: true, cancelable: true }))",
        [selector, event, key, handle],
    )


def download(person: Person, name: str) -> bytes:
    """Return the file *name*, from the address that *person* has received."""
    person.until(f"ann shared {name} (")
    match = next(match for match in LINK.finditer(person.seen) if match[1] == name)
    with urllib.request.urlopen(match[3]) as answer:  # noqa: S310 -- an address of this machine
        return bytes(answer.read())


def test_a_file_is_shared_with_everybody(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    choose(ann, "report.pdf", b"%PDF-1.7 \x00\xff")
    dialog = ann.get_by_role("dialog")
    expect(dialog).to_contain_text("Share with lobby?")
    dialog.get_by_role("textbox", name="Name").fill("minutes.pdf")
    dialog.get_by_role("textbox", name="Text to go with it").fill("as you asked")
    confirm(ann)
    link = ann.get_by_role("log").get_by_role("link", name="minutes.pdf")
    expect(link).to_be_visible()
    assert download(bob, "minutes.pdf") == b"%PDF-1.7 \x00\xff"
    shared = robot.until(lambda message: message.get("method") == "shared")
    assert shared["params"]["file"]["name"] == "minutes.pdf"
    bob.until("ann: as you asked")
    with ann.expect_download() as download_:
        link.click()
    assert download_.value.suggested_filename == "minutes.pdf"


def test_a_pasted_picture_is_a_thumbnail_and_its_metadata_can_be_removed(pages: Pages, bob: Person) -> None:
    ann = pages.join("ann")
    give(ann, "paste", "#message", "picture.png", png(600, 400), "image/png")
    ann.get_by_role("checkbox", name="Remove its metadata").check()
    confirm(ann)
    image = ann.locator("img.thumbnail")
    expect(image).to_have_js_property("naturalWidth", 600)
    assert image.bounding_box()["height"] == pytest.approx(320 * 400 / 600, abs=1)  # type: ignore[index]  # visible
    assert b"made at home" not in download(bob, "picture.png")
    give(ann, "drop", "#conversation", "again.png", png(600, 400), "image/png")
    confirm(ann)
    assert b"made at home" in download(bob, "again.png")


def test_nothing_is_shared_without_a_yes(pages: Pages, bob: Person) -> None:
    ann = pages.join("ann")
    give(ann, "drop", "#room", "secret.txt", b"x", "text/plain")
    ann.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    ann.get_by_role("textbox", name="Message").fill("done")
    ann.keyboard.press("Enter")
    bob.until("ann: done")
    assert "secret" not in bob.seen


class CuttingProxy:
    """A proxy in front of the web port. While ``is_cutting``, it resets connections that send more than *limit* bytes.

    One reset is not enough, because the browser itself repeats a request whose connection was open before.
    """

    def __init__(self, port: int, limit: int) -> None:
        self._port = port
        self._limit = limit
        self.is_cutting = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.requests = bytearray()
        """Everything that clients have sent."""
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._port))
                Thread(target=self._copy, args=(far, near, False), daemon=True).start()
                Thread(target=self._copy, args=(near, far, True), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        count = 0
        with suppress(OSError), source, target:
            while data := source.recv(65536):
                target.sendall(data)
                count += len(data)
                if is_request:
                    self.requests += data
                    if count > self._limit and self.is_cutting:
                        source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()


def test_an_interrupted_upload_goes_on_where_it_broke(browser: Browser, server: Server, bob: Person) -> None:
    proxy = CuttingProxy(server.web_port, 500_000)
    pages = Pages(browser, server.address)
    page = pages.context().new_page()
    page.goto(proxy.address)
    page.get_by_role("textbox", name="Nickname").fill("ann")
    page.get_by_role("button", name="Join", exact=True).click()
    content = bytes(range(256)) * 4096
    choose(page, "large.bin", content)
    confirm(page)
    expect(page.get_by_text("The connection was lost. It goes on soon.")).to_be_visible()
    proxy.is_cutting = False
    assert download(bob, "large.bin") == content
    match = re.search(rb"content-range: bytes (\d+)-1048575/1048576", proxy.requests, re.IGNORECASE)
    assert match is not None
    assert int(match[1]) > 0
    pages.close()
    proxy.close()


def test_a_cancelled_upload_gives_its_place_back(pages: Pages, bob: Person) -> None:
    ann = pages.join("ann")
    held: list[Route] = []
    ann.route(
        "**/files/upload", lambda route: held.append(route) if route.request.method == "PUT" else route.continue_()
    )
    for number in range(4):
        choose(ann, f"held{number}.bin", b"x" * 1000)
        confirm(ann)
    uploads = ann.get_by_role("list", name="Uploads").get_by_role("listitem")
    expect(uploads).to_have_count(4)
    with ann.expect_request(lambda request: request.method == "DELETE") as cancelled:
        ann.get_by_role("button", name="Cancel the upload of held0.bin").click()
    answer = cancelled.value.response()
    assert answer is not None
    assert answer.status == 204
    expect(uploads).to_have_count(3)
    ann.unroute("**/files/upload")
    choose(ann, "fifth.bin", b"y")
    confirm(ann)
    assert download(bob, "fifth.bin") == b"y"


def test_too_large_a_file_is_refused_before_the_question(browser: Browser, make_server: Callable[..., Server]) -> None:
    server = make_server("--file-bytes", "1024")
    pages = Pages(browser, server.address)
    ann = pages.join("ann")
    choose(ann, "huge.bin", b"x" * 2000)
    row = ann.get_by_role("list", name="Uploads").get_by_role("listitem")
    expect(row).to_contain_text("Not shared: it has 2.0 kB, and a file here has at most 1.0 kB.")
    expect(ann.get_by_role("dialog")).to_be_hidden()
    row.get_by_role("button", name="Close").click()
    expect(row).to_have_count(0)
    pages.close()
    assert pages.unexpected == []
