"""The join form in a browser: the remembered nickname, passwords, the room of the address, and errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.actions import expect_shown, say
from tests.browser.people import Person, Program

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Pages

PASSWORD = "correct horse"


def nickname(page: Page) -> Locator:
    """Return the field for the nickname."""
    return page.get_by_role("textbox", name="Nickname")


def join(page: Page, nick: str) -> None:
    """Fill in the form, and send it with Enter."""
    nickname(page).fill(nick)
    nickname(page).press("Enter")


def expect_error(field: Locator, text: str) -> None:
    """Wait until *field* is invalid, described by *text*, and focused."""
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(text)
    expect(field).to_be_focused()


def test_the_form_has_the_focus_and_the_nickname_of_last_time(pages: Pages) -> None:
    context = pages.context()
    ann = pages.join("ann", context)
    ann.get_by_role("button", name="Quit").click()
    ann.get_by_role("dialog").get_by_role("button", name="Quit").click()
    expect(nickname(ann)).to_be_focused()
    expect(ann.get_by_text("You have left.")).to_be_visible()
    expect(ann.get_by_text("You have left.")).not_to_have_class("error")
    again = pages.open(context)
    expect(nickname(again)).to_have_value("ann")
    expect(nickname(again)).to_be_focused()
    again.keyboard.press("Enter")
    expect(again.get_by_role("textbox", name="Message")).to_be_focused()


def test_an_error_of_the_nickname_stands_beside_it(pages: Pages, bob: Person) -> None:
    page = pages.open()
    join(page, " ")
    expect_error(nickname(page), "Type a nickname.")
    join(page, "bob")
    expect_error(nickname(page), "bob is taken.")
    join(page, "a b")
    expect(nickname(page)).to_have_accessible_description("A nickname holds only ASCII letters, digits, _, - and .")
    join(page, "ann")
    bob.until("ann joined")
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()


def test_a_registered_nickname_asks_for_its_password(pages: Pages, robot: Program) -> None:
    robot.call("register", password=PASSWORD)
    page = pages.open()
    password = page.get_by_label("Password")
    expect(password).to_be_hidden()
    join(page, "robot")
    expect_error(password, "robot is registered: it needs its password.")
    expect(password).to_have_attribute("type", "password")
    password.press("Enter")
    expect_error(password, "Type the password, or take another nickname.")
    password.fill("something else")
    password.press("Enter")
    expect_error(password, "Wrong password.")
    password.fill(PASSWORD)
    password.press("Enter")
    expect(page.get_by_role("textbox", name="Message")).to_be_focused()
    expect(page.locator("#own-nick")).to_have_text("robot")
    assert page.locator("#password").input_value() == ""
    assert PASSWORD not in str(page.evaluate("[{...localStorage}, {...sessionStorage}]"))


def test_another_nickname_needs_no_password(pages: Pages, robot: Program) -> None:
    robot.call("register", password=PASSWORD)
    page = pages.open()
    join(page, "robot")
    page.get_by_label("Password").fill("a guess")
    nickname(page).fill("ann")
    expect(page.get_by_label("Password")).to_be_hidden()
    nickname(page).press("Enter")
    expect(page.locator("#own-nick")).to_have_text("ann")


def test_the_address_names_the_room(pages: Pages, robot: Program) -> None:
    robot.call("join", room="kitchen")
    robot.call("say", room="kitchen", text="the kettle is on")
    ann = pages.open(path="#Kitchen")
    expect(ann.get_by_text("You enter the room kitchen.")).to_be_visible()
    join(ann, "ann")
    robot.until(lambda message: message["method"] == "joined" and message["params"]["room"] == "kitchen")
    expect(ann.get_by_role("heading", name="kitchen")).to_be_visible()
    expect_shown(ann, "the kettle is on")
    say(ann, "tea, please")
    assert robot.said("tea, please")["room"] == "kitchen"
    expect(ann.get_by_role("list", name="Rooms").get_by_role("button")).to_have_count(1)
    ann.evaluate("location.hash = '#garden'")
    expect(ann.get_by_role("heading", name="garden")).to_be_visible()
    ann.get_by_role("list", name="Rooms").get_by_role("button", name="kitchen").click()
    expect(ann).to_have_url(re.compile("/#kitchen$"))
    ann.reload()
    expect(ann.get_by_role("heading", name="kitchen")).to_be_visible()
    expect(ann.get_by_role("list", name="Rooms").get_by_role("button")).to_have_count(2)
    ann.evaluate("history.replaceState(null, '', '#cellar')")
    ann.reload()
    expect(ann.get_by_role("heading", name="cellar")).to_be_visible()
    expect(ann).to_have_url(re.compile("/#cellar$"))
    expect(ann.get_by_role("list", name="Rooms").get_by_role("button")).to_have_count(3)


def test_an_impossible_room_in_the_address_is_refused_once(pages: Pages) -> None:
    page = pages.open(path="#k%C3%BCche")
    join(page, "ann")
    expect(page.get_by_role("alert")).to_contain_text("Press Join to enter the first room.")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.get_by_role("heading", name="lobby")).to_be_visible()


def test_two_quick_presses_of_join_are_one(pages: Pages, bob: Person) -> None:
    page = pages.open()
    nickname(page).fill("ann")
    page.get_by_role("button", name="Join", exact=True).dblclick()
    bob.until("ann joined")
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    expect(page.locator(".error:visible")).to_have_count(0)


def test_a_browser_stays_logged_in_until_it_logs_out(pages: Pages, robot: Program) -> None:
    robot.call("register", password=PASSWORD)
    robot.call("quit")
    context = pages.context()
    page = pages.open(context)
    join(page, "robot")
    page.get_by_role("textbox", name="Password").fill(PASSWORD)
    page.get_by_role("checkbox", name="Stay logged in on this device").check()
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    assert PASSWORD not in str(context.storage_state())
    page.get_by_role("button", name="Quit").click()
    page.get_by_role("dialog").get_by_role("button", name="Quit").click()
    join(page, "robot")
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    page.get_by_role("textbox", name="Message").fill("/logout")
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="People").get_by_role("button", name="robot2")).to_be_visible()
    again = pages.open(context)
    join(again, "robot")
    expect(again.get_by_role("textbox", name="Password")).to_be_focused()
