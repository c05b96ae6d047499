"""What a person does on the page, and sees there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def say(page: Page, text: str) -> None:
    """Type a message, and send it."""
    box = page.get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")


def line(page: Page, text: str) -> Locator:
    """Return the line of the conversation with *text*."""
    pattern = re.compile(rf"^{re.escape(text)}( \(mentions you\))?$")
    return page.get_by_role("log", name="Conversation").get_by_text(pattern)


def expect_shown(page: Page, *texts: str) -> None:
    """Wait until the conversation shows each of *texts*, once."""
    for text in texts:
        line(page, text).wait_for()


def expect_people(page: Page, *nicks: str) -> None:
    """Wait until the list of people has exactly *nicks*, in this order."""
    rows = page.get_by_role("list", name="People").get_by_role("listitem")
    expect(rows).to_have_text([re.compile(rf"^{nick}") for nick in nicks])


def reconnect(page: Page) -> None:
    """Let a page whose connection is lost try again at once, unless it has."""
    page.locator("#reconnect").dispatch_event("click")
