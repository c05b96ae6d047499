"""The box for messages in a browser: sending, commands, suggestions, drafts, and what happens to text on errors."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.actions import reconnect
from tests.browser.people import Person, Program, Server

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Pages

COMPOSE = """
box => {
  const options = { bubbles: true, cancelable: true };
  box.dispatchEvent(new CompositionEvent("compositionstart", options));
  box.value = "nihon";
  box.dispatchEvent(new InputEvent("input", { ...options, isComposing: true }));
  const enter = { ...options, key: "Enter", code: "Enter" };
  box.dispatchEvent(new KeyboardEvent("keydown", { ...enter, isComposing: true }));
  box.dispatchEvent(new CompositionEvent("compositionend", options));
  box.dispatchEvent(new KeyboardEvent("keydown", { ...enter, keyCode: 229 }));
}
"""
"""What a browser does while an input method composes: Enter accepts a candidate, in some browsers after the end."""
PASSWORD_TYPED = (
    "Others could read a password in this text, so it is not sent. "
    "Type /login, /register or /passwd alone: a form asks for the password."
)


def box(page: Page) -> Locator:
    """Return the box for messages."""
    return page.get_by_role("textbox", name="Message")


def note(page: Page) -> Locator:
    """Return the text above the box."""
    return page.locator("#message-note")


def paste(page: Page, text: str) -> None:
    """Paste *text* into the box."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    box(page).press("ControlOrMeta+V")


def test_enter_and_the_button_send_unless_shift_is_down_or_a_word_is_composed(
    pages: Pages, bob: Person, robot: Program
) -> None:
    ann = pages.join("ann")
    box(ann).press_sequentially("one")
    box(ann).press("Shift+Enter")
    box(ann).press("Enter")
    expect(box(ann)).to_have_value("")
    assert robot.said("one")["nick"] == "ann"
    box(ann).press_sequentially("  two")
    box(ann).press("Shift+Enter")
    box(ann).press_sequentially("three")
    ann.get_by_role("button", name="Send").click()
    expect(box(ann)).to_be_focused()
    bob.until("ann:   two\r\n")
    bob.until("ann: three\r\n")
    assert robot.said("three")["seq"] == robot.said("  two")["seq"] + 1
    box(ann).evaluate(COMPOSE)
    expect(box(ann)).to_have_value("nihon")
    box(ann).fill("afterwards")
    box(ann).press("Enter")
    assert robot.said("afterwards")["seq"] == robot.said("three")["seq"] + 1


def test_more_than_five_lines_are_asked_about(pages: Pages, robot: Program) -> None:
    ann = pages.join("ann")
    paste(ann, "\n".join("12345"))
    box(ann).press("Enter")
    assert robot.said("5")["seq"] == 5
    text = "quit\n" + "\n".join(f"line {number}" for number in range(1000))
    paste(ann, text)
    box(ann).press("Enter")
    dialog = ann.get_by_role("dialog", name="Send 1,001 lines?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    ann.keyboard.press("Escape")
    expect(box(ann)).to_have_value(text)
    expect(box(ann)).to_be_focused()
    box(ann).fill("\n".join(text.split("\n")[:101]))
    box(ann).press("Enter")
    ann.get_by_role("dialog", name="Send 101 lines?").get_by_role("button", name="Send 101 lines").click()
    assert robot.said("line 99")["seq"] == 5 + 101
    assert robot.said("quit")["seq"] == 6


def test_tab_completes_only_while_suggestions_are_open(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    suggestions = ann.get_by_role("listbox", name="Suggestions")
    box(ann).press_sequentially("bo")
    expect(suggestions.get_by_role("option")).to_have_text(["bob"])
    expect(ann.locator("#suggestion-count")).to_have_text("1 suggestion. Tab completes bob.")
    box(ann).press("Tab")
    expect(box(ann)).to_have_value("bob: ")
    expect(suggestions).to_be_hidden()
    box(ann).press("Tab")
    expect(ann.get_by_role("button", name="Send")).to_be_focused()
    box(ann).press("End")
    box(ann).press_sequentially("and @ro")
    expect(suggestions.get_by_role("option")).to_have_text(["@robot"])
    box(ann).press("Escape")
    expect(suggestions).to_be_hidden()
    box(ann).press_sequentially("b")
    expect(suggestions).to_be_hidden()
    box(ann).press("Tab")
    expect(ann.get_by_role("button", name="Send")).to_be_focused()
    expect(box(ann)).to_have_value("bob: and @rob")


def test_arrow_keys_choose_a_suggestion_and_enter_takes_it(pages: Pages, robot: Program) -> None:
    ann = pages.join("ann")
    box(ann).press_sequentially("/n")
    options = ann.get_by_role("listbox", name="Suggestions").get_by_role("option")
    expect(options).to_have_text(["/nick", "/names"])
    box(ann).press("ArrowDown")
    box(ann).press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(box(ann)).to_have_attribute("aria-activedescendant", "suggestion-1")
    box(ann).press("Enter")
    expect(box(ann)).to_have_value("/names ")
    box(ann).press("Enter")
    expect(ann.get_by_role("log")).to_contain_text("2 here: robot, ann")
    box(ann).press_sequentially("/n")
    box(ann).press("ArrowUp")
    box(ann).press("ArrowUp")
    box(ann).press("ArrowUp")
    expect(ann.locator("[aria-selected=true]")).to_have_count(0)
    options.first.click()
    expect(box(ann)).to_have_value("/nick ")
    box(ann).press_sequentially("anne")
    box(ann).press("Enter")
    robot.until(lambda message: message["method"] == "renamed")


def test_up_recalls_only_in_an_empty_box(pages: Pages, bob: Person) -> None:
    ann = pages.join("ann")
    for text in ("first", "second"):
        box(ann).fill(text)
        box(ann).press("Enter")
    box(ann).press_sequentially("x")
    box(ann).press("ArrowUp")
    expect(box(ann)).to_have_value("x")
    box(ann).fill("")
    for key, text in (("Up", "second"), ("Up", "first"), ("Up", "first"), ("Down", "second"), ("Down", "")):
        box(ann).press(f"Arrow{key}")
        expect(box(ann)).to_have_value(text)
    box(ann).press("ArrowUp")
    box(ann).press_sequentially(" thought")
    box(ann).press("ArrowUp")
    expect(box(ann)).to_have_value("second thought")
    box(ann).press("Enter")
    bob.until("ann: second thought")


def test_each_conversation_has_its_draft_also_after_a_reload(pages: Pages, bob: Person) -> None:
    ann = pages.join("ann")
    rooms = ann.get_by_role("list", name="Rooms")
    box(ann).fill("for the lobby")
    ann.get_by_role("list", name="People").get_by_role("button", name="bob").click()
    expect(box(ann)).to_have_value("")
    expect(box(ann)).to_have_attribute("placeholder", "Message to bob only")
    box(ann).fill("for bob\nalone")
    rooms.get_by_role("button", name="lobby").click()
    expect(box(ann)).to_have_value("for the lobby")
    ann.reload()
    expect(box(ann)).to_have_value("for the lobby")
    rooms.get_by_role("button", name="bob").click()
    expect(box(ann)).to_have_value("for bob\nalone")
    bob.say("/nick rob")
    expect(ann.get_by_role("heading", name="rob", exact=True)).to_be_visible()
    expect(box(ann)).to_have_value("for bob\nalone")
    box(ann).press("Enter")
    bob.until("[ann] for bob\r\n[ann] alone")
    rooms.get_by_role("button", name="lobby").click()
    rooms.get_by_role("button", name="rob").click()
    expect(box(ann)).to_have_value("")


def test_the_limit_of_a_line_is_shown_and_nothing_is_lost(pages: Pages, robot: Program) -> None:
    ann = pages.join("ann")
    paste(ann, "é" * 2000)
    expect(note(ann)).to_have_text("96 bytes are left in this line.")
    paste(ann, "é" * 49)
    expect(note(ann)).to_contain_text("A line holds at most 4,096 bytes, and this one has 4,098.")
    expect(box(ann)).to_have_attribute("aria-invalid", "true")
    expect(box(ann)).to_have_accessible_description(
        "A line holds at most 4,096 bytes, and this one has 4,098. Shorten it, or break it with Shift+Enter."
    )
    box(ann).press("Enter")
    expect(box(ann)).to_have_value("é" * 2049)
    box(ann).press("Backspace")
    expect(box(ann)).to_have_attribute("aria-invalid", "false")
    box(ann).press("Enter")
    assert robot.said("é" * 2048)["seq"] == 1


def test_a_refused_command_comes_back_into_the_box(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    for text, problem in (
        ("/nick bob", "Not sent: bob is taken."),
        ("/msg", "Not sent: the command is not complete: /msg NICKNAME TEXT"),
        ("/nonsense", "Not sent: There is no command /nonsense. /help lists them."),
        ("/msg nobody psst", "Not sent: nobody is not here."),
        ("/me waves\nand leaves", "A command is one line. Join the lines, or begin with // to say them."),
        (" /register hunter2", PASSWORD_TYPED),
    ):
        box(ann).fill(text)
        box(ann).press("Enter")
        expect(note(ann)).to_have_text(problem)
        expect(box(ann)).to_have_value(text)
        expect(box(ann)).to_have_attribute("aria-invalid", "true")
    expect(ann.get_by_role("list", name="Rooms").get_by_role("button")).to_have_count(1)
    box(ann).fill("said at last")
    expect(note(ann)).to_have_text("")
    box(ann).press("Enter")
    assert robot.said("said at last")["seq"] == 1
    bob.until("said at last")
    assert "hunter2" not in bob.seen


def test_a_line_that_the_server_refuses_stays_with_its_reason(pages: Pages, robot: Program) -> None:
    ann = pages.join("ann")
    box(ann).fill("\u200b")
    box(ann).press("Enter")
    expect(ann.get_by_role("log").get_by_text("Not sent")).to_be_visible()
    ann.set_viewport_size({"width": 320, "height": 600})
    expect(ann.get_by_role("button", name="Discard")).to_be_in_viewport(ratio=1)
    box(ann).fill("/say /quit")
    box(ann).press("Enter")
    assert robot.said("/quit")["seq"] == 1


def test_commands_do_what_they_do_elsewhere(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")

    def send(text: str) -> None:
        box(ann).fill(text)
        box(ann).press("Enter")

    send("/me waves")
    bob.until("** ann waves")
    send("//me")
    bob.until("ann: /me")
    send("/msg bob psst")
    bob.until("[ann] psst")
    expect(ann.get_by_role("log").get_by_text("To bob only: psst")).to_be_visible()
    send("/help")
    expect(ann.locator(".answer").filter(has_text="/names").filter(has_text="/quit")).to_have_count(1)
    with ann.expect_file_chooser():
        send("/upload")
    bob.say("/reply yes?")
    expect(ann.get_by_role("list", name="Rooms").get_by_role("button", name="@bob 1")).to_be_visible()
    send("/reply no")
    bob.until("[ann] no")
    send("/topic tea")
    bob.until("ann set the topic: tea")
    send("/away lunch")
    robot.until(lambda message: message["method"] == "away" and message["params"]["reason"] == "lunch")
    send("/back")
    robot.until(lambda message: message["method"] == "away" and message["params"]["reason"] is None)
    send("/join kitchen")
    expect(ann.get_by_role("heading", name="kitchen")).to_be_visible()
    send("/leave")
    expect(ann.get_by_role("heading", name="lobby")).to_be_visible()
    send("quit")
    bob.until("ann left")
    expect(ann.get_by_text("You have left.")).to_be_visible()


def test_without_a_connection_lines_wait_and_commands_come_back(pages: Pages, server: Server, bob: Person) -> None:
    ann = pages.join("ann")
    pages.allowed.append("WebSocket connection to")
    server.stop(signal.SIGKILL)
    expect(ann.get_by_text("The connection is lost.")).to_be_visible()
    box(ann).fill("/names")
    box(ann).press("Enter")
    expect(note(ann)).to_have_text("Not sent: There is no connection. Try again when it is back.")
    expect(box(ann)).to_have_value("/names")
    box(ann).fill("typed while the server was away")
    box(ann).press("Enter")
    expect(ann.get_by_role("log").get_by_text("Sending")).to_be_visible()
    server.start()
    with Person(server.port, "carol") as carol:
        carol.say("/history")
        reconnect(ann)
        carol.until("ann: typed while the server was away")
    expect(ann.get_by_role("log").get_by_text("Sending")).to_have_count(0)
