"""The search in a browser: its results, and the jump to their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Pages
    from tests.browser.people import Person, Program


def search(page: Page, words: str) -> None:
    """Type *words* into the search box, and press Enter."""
    page.get_by_role("searchbox", name="Search").fill(words)
    page.get_by_role("searchbox", name="Search").press("Enter")


def test_a_result_jumps_to_its_place(pages: Pages, robot: Program, bob: Person) -> None:
    for number in range(1, 251):
        robot.call("say", room="lobby", text=f"needle {number}" if number in {7, 245} else f"hay {number}")
    ann = pages.join("ann")
    results = ann.get_by_role("region", name="Search results")
    search(ann, "Needle")
    expect(results.get_by_role("status")).to_have_text("2 lines found in lobby.")
    rows = results.get_by_role("listitem").get_by_role("button")
    expect(rows).to_have_count(2)
    expect(rows.last.locator("mark")).to_have_text("needle")
    rows.last.click()
    place = ann.get_by_role("log").get_by_text("needle 7", exact=True)
    expect(place).to_be_in_viewport()
    rows.first.click()
    expect(ann.get_by_role("log").get_by_text("needle 245", exact=True)).to_be_in_viewport()
    ann.keyboard.press("Escape")  # the focus is in the conversation
    results.get_by_role("button", name="Close").click()
    expect(results).to_be_hidden()
    expect(ann.get_by_role("searchbox", name="Search")).to_be_focused()
    bob.say("still here")
    robot.said("still here")


def test_a_search_by_keyboard_alone(pages: Pages, robot: Program) -> None:
    robot.call("say", room="lobby", text="the red build")
    ann = pages.join("ann")
    search(ann, '"red build"')
    results = ann.get_by_role("region", name="Search results")
    expect(results.get_by_role("status")).to_have_text("1 line found in lobby.")
    results.get_by_role("listitem").get_by_role("button").focus()
    ann.keyboard.press("Enter")
    expect(ann.get_by_role("log")).to_be_focused()
    ann.get_by_role("searchbox", name="Search").focus()
    ann.keyboard.press("Escape")
    expect(results).to_be_hidden()


def test_nothing_found_another_room_and_a_failure_say_so(pages: Pages, robot: Program) -> None:
    robot.call("join", room="kitchen")
    robot.call("say", room="lobby", text="tea")
    ann = pages.join("ann")
    results = ann.get_by_role("region", name="Search results")
    search(ann, "coffee")
    expect(results.get_by_role("status")).to_have_text("No lines found in lobby.")
    search(ann, "tea")
    expect(results.get_by_role("status")).to_have_text("1 line found in lobby.")
    ann.evaluate("location.hash = '#kitchen'")
    expect(ann.get_by_role("heading", name="kitchen")).to_be_visible()
    expect(results).to_be_hidden()
    search(ann, "tea")
    expect(results.get_by_role("status")).to_have_text("No lines found in kitchen.")
    # Without an account, private messages cannot be searched.
    ann.get_by_role("list", name="People").get_by_role("button", name="robot").click()
    expect(ann.get_by_role("heading", name="robot", exact=True)).to_be_visible()
    search(ann, "tea")
    expect(results.get_by_role("status")).to_contain_text("has failed")
