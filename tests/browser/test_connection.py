"""The page in a browser whose connection breaks, whose machine sleeps, and whose person has several tabs."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.actions import expect_people, expect_shown, line, reconnect, say
from tests.browser.people import Person, Program, Relay, Server, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Pages

LOST = "The connection is lost."
BROKEN = "WebSocket connection to"
"""The start of Chromium's own message about a connection that cannot be made."""


def banner(page: Page, text: str) -> None:
    """Wait until the page says *text* about its connection."""
    page.get_by_role("status").filter(has_text=text).wait_for()


def texts_of(program: Program, room: str = "lobby") -> list[str]:
    """Return the texts of the last lines of a room."""
    return [event["text"] for event in program.call("history", room=room, last=1000)["events"]]


def test_a_reload_resumes_and_nobody_notices(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    say(ann, "before")
    bob.say("/msg ann psst")
    ann.get_by_role("list", name="Rooms").get_by_role("button", name="bob").wait_for()
    session = robot.said("before")["session"]
    ann.reload()
    expect_shown(ann, "before")
    say(ann, "after")
    assert robot.said("after")["session"] == session
    assert [message["method"] for message in robot.notifications if message["method"] in {"joined", "left"}] == [
        "joined"
    ]
    ann.get_by_role("list", name="Rooms").get_by_role("button", name="bob").click()
    expect_shown(ann, "psst")


def test_two_tabs_are_two_people_and_keep_their_places(pages: Pages, bob: Person, robot: Program) -> None:
    context = pages.context()
    first = pages.join("ann", context)
    second = pages.open(context)
    second.get_by_role("textbox", name="Nickname").wait_for()
    pages.enter(second, "ann2")
    say(first, "one")
    say(second, "two")
    bob.until("ann: one")
    bob.until("ann2: two")
    second.reload()
    first.reload()
    expect_shown(first, "one", "two")
    expect_shown(second, "one", "two")
    say(first, "three")
    say(second, "four")
    assert (robot.said("three")["nick"], robot.said("four")["nick"]) == ("ann", "ann2")


def duplicate(page: Page) -> Page:
    """Return a tab with a copy of the page's session storage."""
    with page.expect_popup() as opened:
        page.evaluate("window.open(location.href)")
    return opened.value


def test_a_duplicated_tab_asks_and_leaves_the_first_one_alone_or_takes_its_session_over(
    pages: Pages, bob: Person, robot: Program
) -> None:
    first = pages.join("ann")
    second = duplicate(first)
    second.get_by_role("button", name="Move it here").wait_for()
    pages.enter(second, "ann2")
    say(second, "from the second")
    bob.until("ann2: from the second")
    say(first, "from the first")
    bob.until("ann: from the first")
    third = duplicate(first)
    third.get_by_role("button", name="Move it here").click()
    expect_shown(third, "from the first")
    say(third, "from the third")
    assert robot.said("from the third")["session"] == robot.said("from the first")["session"]
    first.get_by_text("resumed elsewhere").first.wait_for()
    bob.say("the third reads this")
    expect_shown(third, "the third reads this")


def test_a_killed_server_comes_back_and_no_line_is_lost_or_doubled(pages: Pages, server: Server) -> None:
    pages.allowed.append(BROKEN)
    ann = pages.join("ann")
    texts = [f"line {number}" for number in range(16)]
    for text in texts[:6]:
        say(ann, text)
    server.stop(signal.SIGKILL)
    banner(ann, LOST)
    for text in texts[6:]:
        say(ann, text)
    server.start()
    reconnect(ann)
    expect(ann.locator("#connection-text")).to_have_text("Connected again.")  # it is visible for three seconds only
    program = Program(server.port, "robot")
    wait_until(lambda: len(texts_of(program)) >= len(texts), lambda: str(texts_of(program)))
    assert texts_of(program) == texts
    expect_shown(ann, *texts[-5:])
    assert line(ann, "line 15").count() == 1
    with Person(server.port, "bob") as bob:
        bob.say("welcome back")
        expect_shown(ann, "welcome back")
    program.close()


def test_a_server_that_goes_down_says_so_and_the_page_comes_back(pages: Pages, server: Server) -> None:
    pages.allowed.append(BROKEN)
    ann = pages.join("ann", path="#kitchen")
    say(ann, "before")
    expect_shown(ann, "before")
    server.stop()
    banner(ann, LOST)
    server.start()
    program = Program(server.port, "robot", "kitchen")
    say(ann, "after")
    program.said("after")
    expect_shown(ann, "before", "after")
    program.close()


def test_a_page_whose_laptop_slept_resumes_where_it_was(
    pages: Pages, server: Server, relay: Relay, bob: Person, robot: Program
) -> None:
    ann = pages.context().new_page()
    ann.clock.install()
    ann.goto(relay.address)
    pages.enter(ann, "ann")
    say(ann, "good night")
    bob.until("ann: good night")
    relay.stall()
    for number in range(30):
        bob.say(f"dream {number}")
    bob.say("/msg ann wake up")
    robot.said("dream 29")
    ann.clock.fast_forward("01:00:00")
    ann.clock.fast_forward(10_000)
    ann.clock.fast_forward(2_000)
    expect_shown(ann, "good night", *(f"dream {number}" for number in range(30)))
    ann.get_by_role("list", name="Rooms").get_by_role("button", name="bob").wait_for()
    say(ann, "good morning")
    assert robot.said("good morning")["nick"] == "ann"
    assert all(message["method"] != "left" for message in robot.notifications)


def test_a_page_whose_laptop_slept_without_a_network_resumes_when_it_is_back(
    pages: Pages, bob: Person, robot: Program
) -> None:
    pages.allowed.append(BROKEN)
    ann = pages.context().new_page()
    ann.clock.install()
    ann.goto(pages.address)
    pages.enter(ann, "ann")
    say(ann, "good night")
    bob.until("ann: good night")
    devtools = ann.context.new_cdp_session(ann)

    def set_network(*, is_offline: bool) -> None:
        """Chromium holds all bytes of the WebSocket while it is offline, and refuses new ones."""
        rates = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        devtools.send("Network.emulateNetworkConditions", {"offline": is_offline, **rates})

    devtools.send("Network.enable")
    set_network(is_offline=True)
    for number in range(30):
        bob.say(f"dream {number}")
    robot.said("dream 29")
    ann.clock.fast_forward("01:00:00")
    ann.clock.fast_forward(10_000)
    banner(ann, LOST)
    assert line(ann, "dream 0").count() == 0
    say(ann, "typed in the train")
    set_network(is_offline=False)
    ann.clock.fast_forward(2_000)
    expect_shown(ann, "good night", *(f"dream {number}" for number in range(30)))
    assert robot.said("typed in the train")["nick"] == "ann"
    assert texts_of(robot).count("typed in the train") == 1
    assert all(message["method"] != "left" for message in robot.notifications)


def test_a_line_that_the_network_swallows_arrives_once(pages: Pages, relay: Relay, robot: Program) -> None:
    ann = pages.join("ann")
    say(ann, "one")
    robot.said("one")
    relay.stall()
    say(ann, "two")
    line(ann, "two").wait_for()
    ann.reload()
    robot.said("two")
    expect_shown(ann, "one", "two")
    assert texts_of(robot) == ["one", "two"]


def test_an_answer_that_the_network_swallows_does_not_double_the_line(
    pages: Pages, relay: Relay, robot: Program
) -> None:
    ann = pages.join("ann")
    relay.lose_answers()
    say(ann, "one")
    robot.said("one")
    relay.stall()
    ann.reload()
    expect_shown(ann, "one")
    say(ann, "two")
    robot.said("two")
    assert texts_of(robot) == ["one", "two"]


def test_a_frozen_page_keeps_its_place(pages: Pages, bob: Person, robot: Program) -> None:
    ann = pages.join("ann")
    devtools = ann.context.new_cdp_session(ann)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    for number in range(60):
        bob.say(f"line {number}")
    robot.said("line 59")
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    expect_shown(ann, "line 0", "line 59")
    expect_people(ann, "ann", "bob", "robot")
