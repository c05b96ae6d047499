"""The forms for the account in the chat: register, log in, change the password, log out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.actions import expect_shown, say
from tests.browser.people import Person, Program
from tests.browser.test_join import expect_error, join, nickname

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Locator, Page

    from tests.browser.conftest import Pages
    from tests.browser.people import Server

PASSWORD, OTHER = "correct horse", "battery staple"


def dialog(page: Page) -> Locator:
    """Return the form that is open."""
    return page.get_by_role("dialog")


def field(page: Page, name: str) -> Locator:
    """Return the field *name* of the form."""
    return dialog(page).get_by_label(name, exact=True)


def press(page: Page, name: str) -> None:
    """Press a button below the list of people."""
    page.locator("#me").get_by_role("button", name=name, exact=True).click()


def register(page: Page) -> None:
    """Register the nickname of the page."""
    press(page, "Register")
    field(page, "Password").fill(PASSWORD)
    field(page, "Once more").fill(PASSWORD)
    field(page, "Once more").press("Enter")
    expect(dialog(page)).to_be_hidden()


def log_out(page: Page) -> None:
    """Log out, and confirm."""
    press(page, "Log out")
    dialog(page).get_by_role("button", name="Log out").click()
    expect(dialog(page)).to_be_hidden()


def passwords_in(page: Page) -> bool:
    """Return whether the page holds a password: in its document, its address or what it stores."""
    texts = page.evaluate(
        "[document.documentElement.outerHTML, JSON.stringify([{...localStorage}, {...sessionStorage}, history.state]),"
        " location.href, ...[...document.querySelectorAll('input')].map((input) => input.value)]"
    )
    return any(password in text for password in (PASSWORD, OTHER) for text in texts)


def test_nickname_is_registered_and_asks_for_its_password_from_then_on(
    pages: Pages, server: Server, bob: Person
) -> None:
    ann = pages.join("ann")
    press(ann, "Register")
    expect(field(ann, "Nickname")).to_have_value("ann")
    expect(field(ann, "Password")).to_have_attribute("autocomplete", "new-password")
    expect(field(ann, "Password")).to_have_attribute("type", "password")
    register_button = dialog(ann).get_by_role("button", name="Register")
    register_button.click()
    expect_error(field(ann, "Password"), "Fill in this field.")
    field(ann, "Password").fill("short")
    field(ann, "Once more").fill("shorter")
    register_button.click()
    expect_error(field(ann, "Once more"), "The two passwords differ.")
    field(ann, "Once more").fill("short")
    register_button.click()
    expect_error(field(ann, "Password"), "A password has 8 to 256 bytes.")
    field(ann, "Password").fill(PASSWORD)
    field(ann, "Once more").fill(PASSWORD)
    register_button.click()
    expect(dialog(ann)).to_be_hidden()
    expect(ann.locator("#me").get_by_role("button", name="Log out")).to_be_visible()
    assert not passwords_in(ann)
    bob.say("/nick ann")
    bob.until("ann is registered")
    assert PASSWORD not in server.output()


def test_guest_logs_in_without_leaving(pages: Pages, robot: Program, bob: Person) -> None:
    robot.call("register", password=PASSWORD)
    page = pages.join("guest")
    say(page, "/login")
    expect(field(page, "Nickname")).to_have_value("guest")
    expect(field(page, "Nickname")).to_be_focused()
    field(page, "Nickname").fill("robot")
    expect(field(page, "Password")).to_have_attribute("autocomplete", "current-password")
    field(page, "Password").fill("a wrong one")
    field(page, "Password").press("Enter")
    expect_error(field(page, "Password"), "Wrong password.")
    field(page, "Nickname").fill("a b")
    field(page, "Password").fill(PASSWORD)
    field(page, "Password").press("Enter")
    expect_error(field(page, "Password"), "Wrong password.")
    field(page, "Nickname").fill("Robot")
    field(page, "Password").fill(PASSWORD)
    dialog(page).get_by_role("checkbox", name="Stay logged in on this device").check()
    field(page, "Password").press("Enter")
    expect(page.locator("#own-nick")).to_have_text("robot")
    bob.until("guest is now robot")
    assert not passwords_in(page)
    press(page, "Quit")
    dialog(page).get_by_role("button", name="Quit").click()
    expect(page.get_by_text("This browser is logged in as robot.")).to_be_visible()
    join(page, "robot")
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()


def test_session_survives_a_restart_after_a_login(pages: Pages, server: Server) -> None:
    pages.allowed.append("ERR_CONNECTION_REFUSED")
    ann = pages.join("ann")
    register(ann)
    server.stop()
    server.start()
    say(ann, "still here")
    expect_shown(ann, "still here")
    expect(ann.locator("#own-nick")).to_have_text("ann")


def test_password_is_changed(pages: Pages, server: Server) -> None:
    ann = pages.join("ann")
    register(ann)
    press(ann, "Change password")
    expect(field(ann, "Nickname")).to_have_value("ann")
    expect(field(ann, "Old password")).to_be_focused()
    field(ann, "Old password").fill("something else")
    field(ann, "New password").fill("short")
    field(ann, "Once more").fill("short")
    field(ann, "Once more").press("Enter")
    expect_error(field(ann, "New password"), "A password has 8 to 256 bytes.")
    field(ann, "New password").fill(OTHER)
    field(ann, "Once more").fill(OTHER)
    field(ann, "Once more").press("Enter")
    expect_error(field(ann, "Old password"), "Wrong password.")
    field(ann, "Old password").fill(PASSWORD)
    field(ann, "Old password").press("Enter")
    expect(dialog(ann)).to_be_hidden()
    assert not passwords_in(ann)
    with Person(server.port, "carol") as carol:
        carol.say("/login ann")
        carol.until("Password:")
        carol.say(OTHER)
        carol.until("You are logged in as ann.")
    expect(ann.get_by_text("ann has logged in on another connection.")).to_be_visible()


def test_nothing_private_stays_on_the_screen_after_a_logout(pages: Pages, bob: Person) -> None:
    ann = pages.join("ann")
    register(ann)
    bob.say("/msg ann the key is under the mat")
    ann.get_by_role("list", name="Rooms").get_by_role("button", name="bob").click()
    expect_shown(ann, "the key is under the mat")
    say(ann, "under which mat?")
    bob.until("under which mat?")
    ann.get_by_role("textbox", name="Message").fill("a secret draft")
    log_out(ann)
    expect(ann.get_by_role("heading", name="lobby")).to_be_visible()
    expect(ann.get_by_role("list", name="Rooms").get_by_role("button", name="bob")).to_have_count(0)
    expect(ann.locator("#own-nick")).to_have_text("ann2")
    ann.get_by_role("textbox", name="Message").press("ArrowUp")
    expect(ann.get_by_role("textbox", name="Message")).to_have_value("")
    shown = ann.evaluate(
        "document.documentElement.outerHTML + JSON.stringify([{...sessionStorage}, {...localStorage}])"
    )
    for secret in ("under the mat", "under which mat", "a secret draft"):
        assert secret not in shown
    ann.reload()
    expect(ann.get_by_role("heading", name="lobby")).to_be_visible()
    expect(ann.get_by_role("list", name="Rooms").get_by_role("button", name="bob")).to_have_count(0)


def test_nothing_private_is_left_for_the_next_person_of_the_tab(pages: Pages, bob: Person, server: Server) -> None:
    ann = pages.join("ann")
    register(ann)
    bob.say("/msg ann the key is under the mat")
    ann.get_by_role("list", name="Rooms").get_by_role("button", name="bob").wait_for()
    with Person(server.port, "carol") as carol:
        carol.say("/login ann")
        carol.until("Password:")
        carol.say(PASSWORD)
        carol.until("You are logged in as ann.")
    expect(ann.get_by_text("ann has logged in on another connection.")).to_be_visible()
    join(ann, "zoe")
    expect(ann.get_by_role("heading", name="lobby")).to_be_visible()
    expect(ann.get_by_role("list", name="Rooms").get_by_role("button", name="bob")).to_have_count(0)


def test_registration_that_is_closed_says_so(make_server: Callable[..., Server], browser: Browser) -> None:
    from tests.browser.conftest import Pages  # noqa: PLC0415 -- at the top, for types only

    pages = Pages(browser, make_server("--accounts", "closed").address)
    ann = pages.join("ann")
    say(ann, "/register")
    field(ann, "Password").fill(PASSWORD)
    field(ann, "Once more").fill(PASSWORD)
    field(ann, "Once more").press("Enter")
    expect_error(field(ann, "Password"), "Nobody can register here: ask the administrator for an account.")
    dialog(ann).get_by_role("button", name="Cancel").click()
    say(ann, "/login ann correct horse")
    expect(ann.locator("#message-note")).to_contain_text("a form asks for the password")
    pages.close()
    assert pages.unexpected == []


def test_password_over_a_connection_that_others_read_is_warned_about_or_refused(
    make_server: Callable[..., Server], browser: Browser
) -> None:
    from tests.browser.conftest import Pages  # noqa: PLC0415 -- as above

    # Behind a trusted proxy that does not say https, the browser is on another machine, without encryption.
    for mode in ("warn", "tls"):
        server = make_server("--trusted-proxy", "127.0.0.1", "--passwords", mode)
        pages = Pages(browser, server.address)
        ann = pages.join("ann")
        press(ann, "Register")
        if mode == "warn":
            expect(dialog(ann)).to_contain_text(
                "The connection is not encrypted: others on its way can read the password."
            )
            expect(field(ann, "Password")).to_be_visible()
        else:
            expect(dialog(ann)).to_contain_text("This server takes passwords only over an encrypted connection.")
            expect(dialog(ann).locator("input[type=password]")).to_have_count(0)
        pages.close()
        assert pages.unexpected == []
        server.stop()


def test_logged_in_browser_ends_its_login_before_it_joins(pages: Pages) -> None:
    context = pages.context()
    ann = pages.join("ann", context)
    register(ann)
    log_out(ann)
    say(ann, "/login")
    field(ann, "Nickname").fill("ann")
    field(ann, "Password").fill(PASSWORD)
    dialog(ann).get_by_role("checkbox", name="Stay logged in on this device").check()
    field(ann, "Password").press("Enter")
    expect(dialog(ann)).to_be_hidden()
    logins = ann.evaluate("localStorage.getItem('broadcast:logins')")
    other = pages.open(context)
    expect(other.get_by_text("This browser is logged in as ann.")).to_be_visible()
    with other.expect_response("**/logout?nick=ann") as reply:
        other.get_by_role("button", name="Log out of ann").click()
    assert reply.value.status == 204
    expect(nickname(other)).to_be_focused()
    assert other.evaluate("localStorage.getItem('broadcast:logins')") == "{}"
    other.evaluate("logins => localStorage.setItem('broadcast:logins', logins)", logins)  # as a thief would
    join(other, "ann")
    expect_error(other.get_by_label("Password"), "The browser is not logged in any more. Type the password.")


def test_login_that_cannot_be_ended_is_reported(pages: Pages) -> None:
    context = pages.context()
    pages.allowed.append("ERR_FAILED")
    page = pages.open(context)
    page.evaluate("localStorage.setItem('broadcast:logins', JSON.stringify({ ann: 'secret' }))")
    page.reload()
    page.route("**/logout**", lambda route: route.abort())
    page.get_by_role("button", name="Log out of ann").click()
    expect(page.get_by_role("alert")).to_contain_text("change the password to end it")
    expect(page.get_by_text("This browser is logged in")).to_be_hidden()
