"""The page in a browser: joining and talking with people on the line port and a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.people import Person, Program

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Pages


def say(page: Page, text: str) -> None:
    """Type a message, and send it."""
    page.get_by_role("textbox", name="Message").fill(text)
    page.get_by_role("textbox", name="Message").press("Enter")


def until_shown(page: Page, text: str) -> None:
    """Wait until the conversation shows *text*."""
    page.get_by_role("log", name="Conversation").get_by_text(text, exact=True).first.wait_for()


def test_everybody_reads_everybody(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    bob.until(" * ann ")
    say(ann, "hello from a browser")
    bob.until("ann: hello from a browser")
    assert robot.said("hello from a browser")["nick"] == "ann"
    bob.say("hello from telnet")
    until_shown(ann, "hello from telnet")
    robot.call("say", room="lobby", text="hello from a program")
    until_shown(ann, "hello from a program")
    until_shown(ann, "hello from a browser")
