"""The conversation with the real server, beside a person on the line port and a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.actions import expect_people, expect_shown, say
from tests.browser.offline import settle
from tests.browser.test_conversation import MOST_ROWS
from tests.browser.test_conversation_access import ATTACKS, HIGH, assert_only_text

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
    ann.close()
    bob.until("ann")


def test_many_lines_can_be_read_from_the_newest_to_the_first(pages: Pages, bob: Person, robot: Program) -> None:
    for n in range(1, 1201):
        bob.say(f"line {n}")
    assert robot.said("line 1200")["seq"] == 1200
    ann = pages.join("ann")
    ann.get_by_text("line 1200", exact=True).wait_for()
    log = ann.get_by_role("log", name="Conversation")
    log.focus()
    seen = set()
    while not ann.get_by_text("This is where lobby begins.").count():
        seen.update(log.locator(".text").all_inner_texts())
        assert log.locator(".row").count() <= MOST_ROWS
        ann.keyboard.press("Home")
        settle(ann)
    seen.update(log.locator(".text").all_inner_texts())
    assert {f"line {n}" for n in range(1, 1201)} <= seen
    robot.call("say", room="lobby", text="and now?")
    ann.get_by_role("button", name="1 new line").click()
    ann.get_by_role("log").get_by_text("and now?").wait_for()


def test_hostile_lines_of_others_stay_text(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann", pages.context(viewport=HIGH))
    for attack in ATTACKS:
        bob.say(attack)
        robot.call("emote", room="lobby", text=attack)
        robot.call("topic", room="lobby", text=attack)
        robot.call("away", reason=attack)
    bob.say("the end")
    ann.get_by_role("log").get_by_text("the end", exact=True).wait_for()
    assert ann.locator("#conversation .said .text").all_text_contents() == [*ATTACKS, "the end"]
    assert_only_text(ann)
