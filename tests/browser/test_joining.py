"""The page in a browser: joining, and talking with people on the line port and a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.actions import expect_people, expect_shown, say

if TYPE_CHECKING:
    from tests.browser.conftest import Pages
    from tests.browser.people import Person, Program


def test_everybody_reads_everybody(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    bob.until(" * ann ")
    expect_people(ann, "ann", "bob", "robot")
    say(ann, "hello from a browser")
    bob.until("ann: hello from a browser")
    assert robot.said("hello from a browser")["nick"] == "ann"
    bob.say("hello from telnet")
    expect_shown(ann, "hello from telnet")
    robot.call("say", room="lobby", text="hello from a program")
    expect_shown(ann, "hello from a program", "hello from a browser")
    say(ann, "/me waves")
    bob.until("** ann waves")
    ann.close()
    bob.until("ann")


def test_a_room_of_the_address_is_entered_and_its_history_is_shown(pages: Pages, robot: Program) -> None:
    robot.call("join", room="kitchen")
    robot.call("say", room="kitchen", text="the kettle is on")
    ann = pages.join("ann", path="#kitchen")
    expect_shown(ann, "the kettle is on")
    say(ann, "tea, please")
    assert robot.said("tea, please")["room"] == "kitchen"


def test_rooms_are_joined_and_left(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    say(ann, "/join attic")
    ann.get_by_role("list", name="Rooms").get_by_role("button", name="attic").wait_for()
    robot.call("join", room="attic")
    say(ann, "dusty here")
    assert robot.said("dusty here")["room"] == "attic"
    bob.say("are you in the lobby?")
    lobby = ann.get_by_role("list", name="Rooms").get_by_role("button", name="lobby")
    lobby.filter(has_text="1").wait_for()
    lobby.click()
    expect_shown(ann, "are you in the lobby?")
    say(ann, "/leave attic")
    robot.until(lambda message: message.get("method") == "left" and message["params"]["room"] == "attic")


def test_a_private_conversation_is_one_of_its_own(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    bob.say("/msg ann psst")
    bob.until("ann")
    ann.get_by_role("list", name="Rooms").get_by_role("button", name="bob").click()
    expect_shown(ann, "psst")
    say(ann, "what is it?")
    bob.until("what is it?")
    say(ann, "/msg robot beep")
    told = robot.until(lambda message: message.get("method") == "told")
    assert (told["params"]["nick"], told["params"]["text"]) == ("ann", "beep")
    assert all(message.get("params", {}).get("text") != "what is it?" for message in robot.notifications)


def test_a_nickname_that_is_taken_is_refused_beside_its_field(pages: Pages, bob: Person) -> None:
    page = pages.open()
    nickname = page.get_by_role("textbox", name="Nickname")
    nickname.fill(bob.nick)
    page.get_by_role("button", name="Join", exact=True).click()
    page.locator("#nickname-error").filter(has_text="bob").wait_for()
    assert nickname.get_attribute("aria-invalid") == "true"
    pages.enter(page, "ann")
    bob.until(" * ann ")


def test_the_nickname_is_remembered(pages: Pages, robot: Program) -> None:
    context = pages.context()
    ann = pages.join("ann", context)
    say(ann, "/quit")
    robot.until(lambda message: message.get("method") == "left")
    ann.close()
    again = pages.open(context)
    expect(again.get_by_role("textbox", name="Nickname")).to_have_value("ann")


def test_a_registered_nickname_asks_for_its_password(pages: Pages, robot: Program) -> None:
    robot.call("register", password="correct horse")
    robot.close()
    page = pages.open()
    page.get_by_role("textbox", name="Nickname").fill("robot")
    page.get_by_role("button", name="Join", exact=True).click()
    password = page.get_by_label("Password")
    password.fill("wrong horse")
    password.press("Enter")
    page.locator("#password-error").filter(has_text="wrong").wait_for()
    password.fill("correct horse")
    password.press("Enter")
    page.get_by_role("textbox", name="Message").wait_for()
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "horse" not in stored
