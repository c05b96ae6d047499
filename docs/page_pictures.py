#!/usr/bin/env python3
"""Take pictures of the page: light, dark, on a phone, and beside telnet.

``python docs/page_pictures.py`` starts the installed server with its web page, lets people talk on the line port, and
joins with Chromium. It writes ``docs/page-light.png``, ``docs/page-dark.png``, ``docs/page-phone.png``
and ``docs/page-telnet.png``. It needs Chromium, playwright and telnet.
"""

from __future__ import annotations

import json
import shutil
import socket
import struct
import sys
import urllib.request
import zlib
from base64 import b64encode
from datetime import UTC, datetime
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from terminals import Terminal, server

DOCS = Path(__file__).parent
PORT, WEB_PORT = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (5555, 8080)
ADDRESS = f"http://localhost:{WEB_PORT}/"
BESIDE = """<style>
  body { display: flex; gap: 28px; margin: 28px; background: #dfe5ee; }
  img, pre { margin: 0; border-radius: 12px; box-shadow: 0 6px 24px #0005; }
  pre { flex: 1; padding: 20px; background: #16181d; color: #e8eaee; font: 14px/1.5 "DejaVu Sans Mono", monospace;
    white-space: pre-wrap; overflow-wrap: anywhere; }
</style>
"""


class Program:
    """Somebody who talks with JSON-RPC on the line port."""

    def __init__(self, nick: str) -> None:
        self._ids = count(1)
        self._file = socket.create_connection(("127.0.0.1", PORT)).makefile("rwb")
        self.call("hello", protocol=1, nick=nick, rooms=["lobby", "kitchen"])

    def call(self, method: str, **params: object) -> Any:  # noqa: ANN401 -- any result
        """Send a request, and return its result."""
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        self._file.write(json.dumps(request).encode() + b"\n")
        self._file.flush()
        for line in self._file:
            if line.startswith(b"{") and (message := json.loads(line)).get("id") == request["id"]:
                return message["result"]
        raise SystemExit("The server has closed the connection.")

    def say(self, text: str, room: str = "lobby") -> None:
        """Say a line."""
        self.call("say", room=room, text=text)

    def share(self, name: str, kind: str, data: bytes) -> None:
        """Share a file in the lobby."""
        slot = self.call("upload", room="lobby", name=name, size=len(data), type=kind, uid=name.partition(".")[0])
        url = ADDRESS + slot["url"].split("/", 3)[3]
        headers = {"Authorization": f"Bearer {slot['token']}"}
        request = urllib.request.Request(url, data, headers, method="PUT")  # noqa: S310 -- our own address
        urllib.request.urlopen(request).close()  # noqa: S310


def painting(width: int = 320, height: int = 150) -> bytes:
    """Return a PNG: the sun over hills."""

    def pixel(x: int, y: int) -> tuple[int, int, int]:
        for hill, (base, slope, colour) in enumerate([(116, 12, (46, 92, 78)), (92, 20, (78, 134, 112))]):
            wave = abs((x + 90 * hill) % 220 - 110) / 110
            if y > base + slope * wave:
                return colour
        if (x - 225) ** 2 + (y - 50) ** 2 < 22**2:
            return (255, 214, 120)
        blend = y / height
        return (round(120 + 135 * blend), round(170 + 40 * blend), round(225 - 60 * blend))

    rows = b"".join(b"\0" + bytes(part for x in range(width) for part in pixel(x, y)) for y in range(height))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def join(browser: Browser, nick: str, width: int, height: int, **options: Any) -> Page:  # noqa: ANN401 -- Playwright's
    """Join in a browser in whose time zone it is the afternoon."""
    offset = datetime.now(UTC).hour - 14
    zone = f"Etc/GMT{offset:+}"
    size = {"width": width, "height": height}
    page = browser.new_context(locale="en-GB", timezone_id=zone, viewport=size, **options).new_page()
    # Chromium without a window has no notifications. On the pictures, the page is as in a browser that has them.
    page.add_init_script("Object.defineProperty(Notification, 'permission', { value: 'default' })")
    page.goto(ADDRESS)
    page.get_by_role("textbox", name="Nickname").fill(nick)
    page.get_by_role("button", name="Join", exact=True).click()
    page.get_by_role("textbox", name="Message").wait_for()
    return page


def talk(browser: Browser) -> None:
    """Talk, and take the pictures."""
    ann, bob, carol = Program("ann"), Program("bob"), Program("carol")
    ann.call("topic", room="lobby", text="Street party on Saturday, from two o'clock")
    ann.say("Good afternoon! The tables are booked: https://example.org/tables?day=saturday")
    bob.say("I bring the grill")
    bob.say("and charcoal for twenty people")
    carol.share("playlist.pdf", "application/pdf", bytes(48_200))
    page = join(browser, "dora", 1200, 780)
    page.get_by_role("button", name="Join a room").click()
    page.get_by_role("textbox", name="Room").fill("kitchen")
    page.get_by_role("dialog").get_by_role("button", name="Join", exact=True).click()
    page.get_by_role("heading", name="kitchen").wait_for()
    page.get_by_role("list", name="Rooms").get_by_role("button", name="lobby").click()
    message = page.get_by_role("textbox", name="Message")
    message.fill("I can bake two cakes and take care of the lemonade.")
    message.press("Enter")
    page.get_by_text("Stored").wait_for()
    guests = [Program(nick) for nick in ("erik", "fay", "gus")]
    guests[2].call("quit")
    carol.call("emote", room="lobby", text="hangs up the lanterns")
    carol.share("hill.png", "image/png", painting())
    page.locator("img.thumbnail").wait_for()
    ann.say("Lovely. dora, is one of the cakes without nuts?")
    bob.say("See you on the hill!")
    bob.say("Who has the key of the shed?", room="kitchen")
    bob.call("away", reason="fetching charcoal")
    page.get_by_text("See you on the hill!", exact=True).wait_for()
    page.locator("body").evaluate("() => new Promise(done => setTimeout(done, 500))")
    page.mouse.move(0, 600)
    message.focus()
    page.screenshot(path=DOCS / "page-light.png")
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=DOCS / "page-dark.png")
    page.context.close()
    phone = join(browser, "hana", 390, 760, has_touch=True, is_mobile=True)
    phone.get_by_text("See you on the hill!", exact=True).wait_for()
    phone.locator("body").evaluate("() => new Promise(done => setTimeout(done, 500))")
    phone.mouse.move(0, 0)
    phone.screenshot(path=DOCS / "page-phone.png")
    phone.context.close()


def talk_beside_telnet(browser: Browser) -> None:
    """Talk on the page and on telnet, and take a picture of both."""
    telnet = Terminal("telnet", "localhost", str(PORT))
    telnet.wait_for("Nickname:")
    telnet.type("bob")
    telnet.wait_for("You are bob.")
    page = join(browser, "ann", 700, 560)
    telnet.wait_for("ann joined.")
    message = page.get_by_role("textbox", name="Message")
    message.fill("Hi bob! I am in a browser. And you?")
    message.press("Enter")
    telnet.wait_for("And you?")
    telnet.type("On telnet, ann. Do you have the picture?")
    page.get_by_role("log").get_by_text("Do you have the picture?").wait_for()
    page.locator("#files").set_input_files({"name": "hill.png", "mimeType": "image/png", "buffer": painting()})
    page.get_by_role("dialog").get_by_role("button", name="Share", exact=True).click()
    telnet.wait_for("hill.png\r\n")
    page.locator("img.thumbnail").wait_for()
    telnet.type("/me opens the link")
    page.get_by_role("log").get_by_text("opens the link").wait_for()
    telnet.look(1.0)
    page.locator("body").evaluate("() => new Promise(done => setTimeout(done, 500))")
    page.mouse.move(0, 0)
    picture = b64encode(page.screenshot()).decode()
    both = browser.new_page(viewport={"width": 1280, "height": 616})
    both.set_content(f'{BESIDE}<img src="data:image/png;base64,{picture}"><pre>{escape(telnet.shown())}</pre>')
    both.screenshot(path=DOCS / "page-telnet.png")
    telnet.type("quit")
    telnet.wait_for("Goodbye")


def main() -> None:
    """Start the server and the browser."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for session in (talk, talk_beside_telnet):
            with server("--web", f"tcp:{WEB_PORT}:interface=127.0.0.1", port=PORT):
                session(browser)
        browser.close()


main()
