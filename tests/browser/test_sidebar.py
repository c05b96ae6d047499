"""The lists of rooms and people in a browser, and the buttons under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser import test_conversation_access as access
from tests.browser.people import Person, Program

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Pages

CROWD = 1001
DRAW_CROWD = """async (crowd) => {
  const [{ Sidebar }, { Current }] = await Promise.all([import("/sidebar.js"), import("/current.js")]);
  const elements = Object.fromEntries([...document.querySelectorAll("[id]")].map((one) => [one.id, one]));
  const person = (at) => ({ session: `s${at}`, nick: `p${at}`, away: null, since: Date.now() / 1000 });
  const members = new Map(Array.from({ length: crowd }, (_, at) => [`s${at}`, person(at)]));
  const room = { key: "lobby", room: "lobby", members, count: crowd };
  const chat = Object.assign(new EventTarget(), { conversations: new Map([["lobby", room]]), session: "s0" });
  const current = Object.assign(new Current(), { key: "lobby" });
  const sidebar = new Sidebar(chat, elements, current);
  const list = elements.people;
  const touched = () => new Set(seen.takeRecords().map(({ target }) => target.closest("li") ?? target)).size;
  const seen = new MutationObserver(() => {});
  sidebar.drawPeople();
  const drawn = { rows: list.children.length, more: elements["more-people"].textContent };
  seen.observe(list, { subtree: true, childList: true, characterData: true, attributes: true });
  members.get("s500").away = "lunch";
  sidebar.drawPeople();
  drawn.changed = touched();
  members.get("s700").nick = "aaa";
  const before = [...list.children];
  sidebar.drawPeople();
  drawn.gone = before.filter((row) => !row.isConnected).length;
  drawn.first = list.firstChild.textContent;
  for (let at = 0; at < 501; at += 1) members.delete(`s${at}`);
  room.count = 500;
  sidebar.drawPeople();
  drawn.left = list.children.length;
  return drawn;
}"""
"""Draws the list of people for a chat without a server."""
axe = access.axe
"""The fixture with the source of axe-core."""


def rooms(page: Page) -> Locator:
    """Return the list of rooms."""
    return page.get_by_role("list", name="Rooms")


def people(page: Page) -> Locator:
    """Return the list of people."""
    return page.get_by_role("list", name="People")


def answer(page: Page, label: str, text: str) -> None:
    """Fill in the open dialog, and confirm it with Enter."""
    page.get_by_role("dialog").get_by_label(label).fill(text)
    page.keyboard.press("Enter")


def test_people_come_go_rename_and_are_away(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    buttons = people(ann).get_by_role("button")
    expect(buttons).to_have_text(["annyou", "bob", "robot"])
    expect(ann.locator("#people-count")).to_have_text("3")
    robot.call("away", reason="lunch")
    expect(buttons.last).to_have_text("robotaway: lunch")
    bob.say("/nick zoe")
    expect(buttons).to_have_text(["annyou", "robotaway: lunch", "zoe"])
    robot.call("quit")
    expect(buttons).to_have_text(["annyou", "zoe"])
    bob.close()
    expect(buttons).to_have_text(["annyou"])
    expect(ann.locator("#people-count")).to_have_text("1")


def test_a_private_conversation_is_one_of_its_own(pages: Pages, bob: Person) -> None:
    ann = pages.join("ann")
    bob.say("/msg ann psst")
    talk = rooms(ann).get_by_role("button", name="@bob")
    expect(talk).to_have_accessible_name("@bob 1 unread, 1 for you")
    talk.click()
    expect(ann.get_by_role("heading", name="bob", exact=True)).to_be_visible()
    expect(ann.get_by_text("Private messages", exact=True)).to_be_visible()
    expect(talk).to_have_accessible_name("@bob")
    expect(talk).to_have_attribute("aria-current", "true")
    expect(people(ann)).to_be_hidden()
    expect(ann.get_by_role("log").get_by_text("psst", exact=True)).to_be_visible()
    expect(ann.locator(".mention")).to_have_count(0)
    ann.get_by_role("textbox", name="Message").fill("yes?")
    ann.keyboard.press("Enter")
    bob.until("[ann] yes?")
    bob.say("/nick rob")
    expect(ann.get_by_role("heading", name="rob", exact=True)).to_be_visible()
    ann.get_by_role("button", name="Close these messages").click()
    expect(ann.get_by_role("heading", name="lobby")).to_be_visible()
    expect(rooms(ann).get_by_role("button")).to_have_count(1)


def test_unread_private_messages_are_in_sight_below_many_rooms(pages: Pages, bob: Person) -> None:
    ann = pages.join("ann")
    message = ann.get_by_role("textbox", name="Message")
    for number in range(10, 35):
        message.fill(f"/join room{number}")
        message.press("Enter")
        expect(ann.get_by_role("heading", name=f"room{number}")).to_be_visible()
    talk = rooms(ann).get_by_role("button", name="@bob")
    for height in (780, 560):
        ann.set_viewport_size({"width": 1000, "height": height})
        for last in ("room34", "room10"):
            rooms(ann).get_by_role("button", name="room34").click()
            expect(ann.get_by_role("heading", name="room34")).to_be_visible()
            rooms(ann).get_by_role("button", name=last).click()
            bob.say("/msg ann psst")
            expect(talk).to_contain_text("unread")
            expect(talk).to_be_in_viewport(ratio=1)
            talk.click()
            expect(ann.get_by_role("heading", name="bob", exact=True)).to_be_visible()
        ann.get_by_role("button", name="Close these messages").click()
        expect(talk).to_have_count(0)


def test_rooms_are_joined_opened_and_left(pages: Pages, bob: Person, robot: Program) -> None:
    robot.call("join", room="kitchen")
    robot.call("topic", room="kitchen", text="what to eat")
    ann = pages.join("ann")
    expect(ann.get_by_role("button", name="Leave lobby")).to_be_hidden()
    join = ann.get_by_role("button", name="Join a room")
    join.click()
    dialog = ann.get_by_role("dialog", name="Join a room")
    expect(dialog.get_by_label("Room")).to_be_focused()
    dialog.get_by_role("button", name="kitchen 1 here: what to eat").click()
    expect(ann.get_by_role("heading", name="kitchen")).to_be_visible()
    expect(ann.locator("#topic")).to_have_text("what to eat")
    join.click()
    answer(ann, "Room", "Küche")
    expect(dialog.get_by_label("Room")).to_have_attribute("aria-invalid", "true")
    expect(dialog.get_by_label("Room")).to_be_focused()
    answer(ann, "Room", "Garden")
    expect(dialog).to_be_hidden()
    expect(rooms(ann).get_by_role("button")).to_have_text(["garden", "kitchen", "lobby"])
    expect(ann.get_by_role("heading", name="garden")).to_be_visible()
    bob.say("ann: where are you", "hello?")
    expect(rooms(ann).get_by_role("button", name="lobby 2 unread, 1 for you")).to_be_visible()
    ann.get_by_role("button", name="Leave garden").click()
    ann.get_by_role("dialog", name="Leave garden?").get_by_role("button", name="Cancel").click()
    expect(rooms(ann).get_by_role("button")).to_have_count(3)
    ann.get_by_role("button", name="Leave garden").click()
    ann.get_by_role("dialog", name="Leave garden?").get_by_role("button", name="Leave").click()
    expect(rooms(ann).get_by_role("button")).to_have_count(2)
    expect(ann.get_by_role("heading", name="kitchen")).to_be_visible()


def test_the_topic_the_own_nickname_and_being_away_are_set_by_buttons(
    pages: Pages, bob: Person, robot: Program
) -> None:
    ann = pages.join("ann")
    bob.say("/topic tea")
    expect(ann.locator("#topic")).to_have_text("tea")
    ann.get_by_role("button", name="Set the topic").click()
    expect(ann.get_by_role("dialog", name="Topic of lobby").get_by_label("Topic")).to_have_value("tea")
    answer(ann, "Topic", "coffee")
    bob.until("ann set the topic: coffee")
    expect(ann.locator("#topic")).to_have_text("coffee")
    ann.get_by_role("button", name="Set the topic").click()
    answer(ann, "Topic", "")
    expect(ann.locator("#topic")).to_have_text("")
    ann.get_by_role("button", name="Change nickname").click()
    answer(ann, "Nickname", "bob")
    dialog = ann.get_by_role("dialog", name="Change your nickname")
    expect(dialog.get_by_label("Nickname")).to_have_accessible_description("bob is taken.")
    answer(ann, "Nickname", "anne")
    bob.until("ann is now anne")
    expect(ann.locator("#own-nick")).to_have_text("anne")
    ann.get_by_role("button", name="Away", exact=True).click()
    answer(ann, "Reason (optional)", "lunch")
    robot.until(lambda message: message["method"] == "away" and message["params"]["reason"] == "lunch")
    expect(people(ann).get_by_role("button").first).to_have_text("anneyou, away: lunch")
    ann.get_by_role("button", name="Back").click()
    expect(ann.get_by_role("button", name="Away", exact=True)).to_be_visible()
    robot.until(lambda message: message["method"] == "away" and message["params"]["reason"] is None)


def test_a_list_is_one_stop_of_tab_and_arrow_keys_move_in_it(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    buttons = people(ann).get_by_role("button")
    expect(buttons).to_have_count(3)
    buttons.first.focus()
    ann.keyboard.press("ArrowDown")
    expect(buttons.nth(1)).to_be_focused()
    ann.keyboard.press("End")
    expect(buttons.last).to_be_focused()
    bob.say("/nick aaa")
    expect(buttons.first).to_have_text("aaa")
    expect(buttons.last).to_be_focused()
    ann.keyboard.press("Tab")
    expect(ann.get_by_role("button", name="Change nickname")).to_be_focused()
    ann.keyboard.press("Shift+Tab")
    expect(buttons.last).to_be_focused()
    ann.keyboard.press("Enter")
    expect(ann.get_by_role("heading", name="robot")).to_be_visible()


def test_on_a_phone_the_lists_are_a_drawer(pages: Pages, bob: Person) -> None:
    ann = pages.join("ann", pages.context(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True))
    expect(people(ann)).to_be_hidden()
    opener = ann.get_by_role("button", name="Rooms and people")
    opener.tap()
    expect(ann.locator("#open-sidebar")).to_have_attribute("aria-expanded", "true")
    expect(people(ann)).to_be_visible()
    ann.keyboard.press("Escape")
    expect(people(ann)).to_be_hidden()
    expect(opener).to_be_focused()
    opener.tap()
    people(ann).get_by_role("button", name="bob").tap()
    expect(ann.get_by_role("heading", name="bob")).to_be_visible()
    expect(rooms(ann)).to_be_hidden()
    bob.say("ann: tea?")
    expect(opener).to_have_accessible_name("Rooms and people, 1 unread")
    assert ann.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_change_among_a_thousand_people_touches_one_row(pages: Pages) -> None:
    page = pages.open()
    drawn = page.evaluate(DRAW_CROWD, CROWD)
    assert drawn == {"rows": 1000, "more": "and 1 more", "changed": 1, "gone": 0, "first": "aaa", "left": 500}


def test_axe_finds_nothing_in_lists_dialogs_and_results(pages: Pages, bob: Person, axe: str) -> None:
    ann = pages.open(pages.context(bypass_csp=True))
    found: list[str] = []
    for nick in ("bob", "ann"):
        ann.get_by_role("textbox", name="Nickname").fill(nick)
        ann.keyboard.press("Enter")
        if nick == "bob":
            expect(ann.locator("#nickname-error")).to_have_text("bob is taken.")
            found += access.violations(ann, axe)
    bob.say("ann: tea?", "/msg ann psst", "/away lunch")
    expect(people(ann).get_by_text("away: lunch")).to_be_visible()
    box = ann.get_by_role("textbox", name="Message")
    box.press_sequentially("bo")
    box.press("ArrowDown")
    found += access.violations(ann, axe)
    box.fill("\n".join("123456"))
    box.press("Enter")
    found += access.violations(ann, axe)
    ann.keyboard.press("Escape")
    ann.get_by_role("button", name="Join a room").click()
    answer(ann, "Room", "Küche")
    expect(ann.get_by_role("dialog").get_by_label("Room")).to_have_attribute("aria-invalid", "true")
    found += access.violations(ann, axe)
    ann.keyboard.press("Escape")
    ann.get_by_role("searchbox", name="Search").fill("tea")
    ann.keyboard.press("Enter")
    expect(ann.get_by_text("1 line found in lobby.")).to_be_visible()
    found += access.violations(ann, axe)
    assert found == []
