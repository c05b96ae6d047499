"""Notifications, the unread count and the sound in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.people import Person, Program, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.browser.conftest import Pages

RECORD = """
window.shown = [];
window.asked = 0;
window.played = 0;
window.badge = null;
window.Notification = class {
  static permission = "default";
  static async requestPermission() {
    window.asked += 1;
    Notification.permission = window.answer ?? "granted";
    return Notification.permission;
  }
  constructor(title, options) {
    window.shown.push([title, options.body]);
    window.last = this;
  }
  close() {}
};
navigator.setAppBadge = async (count) => { window.badge = count; };
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function () { window.played += 1; start.call(this); };
document.hasFocus = () => window.focused ?? true;
"""
"""A substitute for the parts of the system around the page."""


def recording(pages: Pages, **options: object) -> BrowserContext:
    """Return a profile whose pages note what they ask of the system."""
    context = pages.context(**options)
    context.add_init_script(RECORD)
    return context


def look_away(page: Page) -> None:
    """Put another program in front of the browser."""
    page.evaluate("window.focused = false; dispatchEvent(new Event('blur'))")


def test_notifications_are_asked_for_by_the_button_only(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann", recording(pages))
    button = ann.get_by_role("button", name="Notify me")
    expect(button).to_have_attribute("aria-pressed", "false")
    look_away(ann)
    bob.say("ann: early")
    expect(ann.get_by_role("log").get_by_text("ann: early")).to_be_visible()
    assert ann.evaluate("[window.asked, window.shown.length]") == [0, 0]
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert ann.evaluate("window.asked") == 1
    bob.say("something for everybody", "ann: are you there?")
    robot.said("ann: are you there?")
    robot.call("tell", to="ann", text="psst")
    wait_until(lambda: bool(ann.evaluate("window.shown.length === 2")))
    assert ann.evaluate("window.shown") == [["bob in lobby", "ann: are you there?"], ["robot", "psst"]]
    ann.evaluate("window.last.onclick()")
    expect(ann.get_by_role("heading", name="robot")).to_be_visible()
    ann.evaluate("window.focused = true")
    robot.call("tell", to="ann", text="seen")
    expect(ann.get_by_role("log").get_by_text("seen")).to_be_visible()
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    look_away(ann)
    robot.call("tell", to="ann", text="later")
    expect(ann.get_by_role("log").get_by_text("later")).to_be_visible()
    assert ann.evaluate("window.shown.length") == 2


def test_a_denied_permission_is_explained(pages: Pages) -> None:
    context = recording(pages)
    context.add_init_script("window.answer = 'denied'")
    ann = pages.join("ann", context)
    ann.get_by_role("button", name="Notify me").click()
    expect(ann.get_by_role("button", name="Notify me")).to_be_hidden()
    expect(ann.get_by_text("The browser blocks notifications of this page.")).to_be_visible()


def test_an_origin_that_is_not_secure_has_no_button_but_a_reason(pages: Pages) -> None:
    context = recording(pages)
    context.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
    ann = pages.join("ann", context)
    expect(ann.get_by_role("button", name="Notify me")).to_be_hidden()
    expect(ann.get_by_text("Notifications need HTTPS.")).to_be_visible()


def test_the_unread_count_is_in_the_title_and_on_the_icon(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann", recording(pages))
    expect(ann).to_have_title("lobby - Broadcast")
    bob.say("/msg ann one", "/msg ann two")
    expect(ann).to_have_title("(2) lobby - Broadcast")
    wait_until(lambda: bool(ann.evaluate("document.querySelector('#icon').href.startsWith('blob:')")))
    wait_until(lambda: bool(ann.evaluate("window.badge === 2")))
    icon = ann.evaluate(
        "async () => { const image = new Image(); image.src = document.querySelector('#icon').href;"
        "await image.decode(); return [image.naturalWidth, image.naturalHeight]; }"
    )
    assert icon == [64, 64]
    ann.get_by_role("list", name="Rooms").get_by_role("button", name="@bob").click()
    expect(ann).to_have_title("@bob - Broadcast")
    wait_until(lambda: bool(ann.evaluate("window.badge === 0")))


def test_the_sound_is_off_until_it_is_chosen(pages: Pages, bob: Person) -> None:
    context = recording(pages)
    ann = pages.join("ann", context)
    look_away(ann)
    bob.say("/msg ann one")
    expect(ann.get_by_role("list", name="Rooms").get_by_role("button", name="@bob")).to_be_visible()
    assert ann.evaluate("window.played") == 0
    sound = ann.get_by_role("button", name="Sound")
    sound.click()
    expect(sound).to_have_attribute("aria-pressed", "true")
    wait_until(lambda: bool(ann.evaluate("window.played === 1")))
    bob.say("/msg ann two")
    wait_until(lambda: bool(ann.evaluate("window.played === 2")))
    ann.reload()
    expect(sound).to_have_attribute("aria-pressed", "true")
