"""The conversation on the page: rows, place, speed. The server is inside the page, so each test says what it sends."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from tests.browser.offline import PAGE, OfflinePages, offline, run, settle

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["offline"]

LINES = 5000 if os.environ.get("BROADCAST_LONG") else 700
MOST_ROWS = 510
"""The most rows in the page: 500 lines, days, and the marker of unread lines."""


def rows(page: Page) -> list[str]:
    """Return the visible text of each row, in one line."""
    texts = page.locator("#conversation > .row").all_inner_texts()
    return [" ".join(text.split()) for text in texts]


def place(page: Page) -> dict[str, float]:
    """Return the distance of the log's view from its start and its end."""
    return dict(
        page.evaluate(
            "() => { const { scrollTop, scrollHeight, clientHeight } = document.querySelector('#conversation');"
            "  return { above: scrollTop, below: scrollHeight - clientHeight - scrollTop }; }"
        )
    )


def wait_for_end(page: Page) -> None:
    """Wait until the log shows its end."""
    page.wait_for_function(
        "() => { const { scrollTop, scrollHeight, clientHeight } = document.querySelector('#conversation');"
        "  return scrollHeight - clientHeight - scrollTop < 1; }"
    )


def wait_for_rest(page: Page) -> None:
    """Wait until the log has stayed where it is for ten pictures: a turn of the wheel scrolls for a while."""
    page.evaluate(
        """() => new Promise((done) => {
          const log = document.querySelector("#conversation");
          let [place, same] = [log.scrollTop, 0];
          const look = () => {
            [place, same] = [log.scrollTop, log.scrollTop === place ? same + 1 : 0];
            if (same === 10) done(); else requestAnimationFrame(look);
          };
          look();
        })"""
    )


def top(page: Page, text: str) -> float:
    """Return where a line is on the screen."""
    return float(page.get_by_text(text, exact=True).evaluate("element => element.getBoundingClientRect().top"))


def test_lines_of_one_person_are_grouped_and_days_separated(offline: OfflinePages) -> None:
    page = offline.open()
    run(
        page,
        """() => {
          const noon = Date.UTC(2025, 0, 31, 12) / 1000;
          const say = (nick, text, at) => server.say(nick, text, { at: noon + at, quiet: true });
          say("bob", "one", 0); say("bob", "two", 60); say("cleo", "three", 61); say("bob", "four", 62);
          say("bob", "five", 62 + 300); say("bob", "six", 24 * 3600);
        }""",
    )
    page.get_by_role("textbox", name="Nickname").fill("ann")
    page.get_by_role("button", name="Join", exact=True).click()
    page.get_by_text("six", exact=True).wait_for()
    days = page.locator("#conversation").get_by_role("heading").all_inner_texts()
    assert days == ["Friday 31 January 2025", "Saturday 1 February 2025"]
    firsts = page.locator("#conversation > .first").all_inner_texts()
    assert [text.split()[0] for text in firsts] == ["B", "C", "B", "B", "B"]
    # Name and time are in each line's text, also where they do not show.
    assert page.locator("#conversation > .spoken").nth(1).text_content() == "Bbob 12:01two"


def test_joins_and_leaves_are_folded_into_one_line(offline: OfflinePages) -> None:
    page = offline.chat()
    run(
        page,
        """() => {
          server.come("bob"); server.come("cleo"); server.come("dora"); server.come("cleo", "left");
          server.come("erik", "joined"); server.come("erik", "left", { reason: "tired" });
        }""",
    )
    page.get_by_text("bob and dora joined; cleo and erik came and went").wait_for()
    run(page, "() => { server.come('bob', 'left', { reason: 'tired' }); }")
    page.get_by_text("dora joined; cleo, erik and bob came and went").wait_for()
    run(page, "() => { server.say('dora', 'hm'); server.come('dora', 'left', { reason: 'tired' }); }")
    page.get_by_text("dora left: tired").wait_for()
    run(page, "() => { server.emit('crowd', { room: 'lobby', joined: 40, left: 1 }); }")
    page.get_by_text("dora and 1 other left; 40 people joined").wait_for()


def test_links_open_elsewhere_and_only_web_addresses_are_links(offline: OfflinePages) -> None:
    page = offline.chat()
    run(
        page,
        """() => server.say("bob", "see https://example.org/a_(b)?c=d#e, (http://example.net). javascript:alert(1) "
          + "data:text/html,x ftp://example.org xhttps://example.org https:// https://[ http://a@example.org/…")""",
    )
    links = page.locator("#conversation a")
    links.first.wait_for()
    assert links.evaluate_all("links => links.map(link => [link.href, link.textContent, link.rel, link.target])") == [
        ["https://example.org/a_(b)?c=d#e", "https://example.org/a_(b)?c=d#e", "noopener noreferrer", "_blank"],
        ["http://example.net/", "http://example.net", "noopener noreferrer", "_blank"],
        ["http://a@example.org/", "http://a@example.org/", "noopener noreferrer", "_blank"],
    ]


def test_own_lines_say_in_words_whether_they_are_stored(offline: OfflinePages) -> None:
    page = offline.chat()
    message = page.get_by_role("textbox", name="Message")
    run(page, "() => { server.isSilent = true; }")
    message.fill("one")
    message.press("Enter")
    page.get_by_text("Sending…").wait_for()
    run(page, "() => { server.isSilent = false; server.cut(); }")
    page.get_by_text("Stored").wait_for()
    assert page.get_by_text("one", exact=True).count() == 1
    run(page, "() => { server.refusal = { code: 1001, message: 'The disk is full.', data: { reason: 'not-kept' } }; }")
    message.fill("two")
    message.press("Enter")
    page.get_by_text("Not sent:").wait_for()
    page.get_by_text("The disk is full.").wait_for()
    run(page, "() => { server.refusal = null; }")
    page.get_by_role("button", name="Retry").click()
    page.get_by_text("Not sent:").wait_for(state="detached")
    page.locator("#conversation > .row", has_text="two").get_by_text("Stored").wait_for()


def test_a_line_that_mentions_the_person_is_marked(offline: OfflinePages) -> None:
    page = offline.chat()
    run(page, "() => { server.say('bob', 'thank you, Ann!'); server.say('bob', 'annual review'); }")
    page.get_by_text("annual review").wait_for()
    assert page.locator(".mention").all_text_contents()[0].endswith("thank you, Ann! (mentions you)")
    assert page.locator(".mention").count() == 1


def test_an_emote_begins_with_the_name(offline: OfflinePages) -> None:
    page = offline.chat()
    run(page, "() => server.say('bob', 'waves', { method: 'emoted' })")
    page.get_by_role("log").get_by_text("bob waves").wait_for()


def test_answers_announcements_topics_and_new_names_are_shown(offline: OfflinePages) -> None:
    page = offline.chat()
    message = page.get_by_role("textbox", name="Message")
    message.fill("/names")
    message.press("Enter")
    page.get_by_text("answer to /names").wait_for()
    run(
        page,
        """() => {
          const bob = { room: "lobby", nick: "bob", session: server.person("bob").session };
          server.come("bob");
          server.emit("topic", { ...bob, text: "boxes" });
          server.emit("topic", { ...bob, text: null });
          server.emit("away", { ...bob, reason: "lunch" });
          server.emit("away", { ...bob, reason: null });
          server.emit("renamed", { ...bob, old: "bob", nick: "rob" });
          server.emit("announced", { room: null, text: "back at noon" });
        }""",
    )
    page.get_by_role("log").get_by_text("Announcement: back at noon").wait_for()
    notes = page.locator("#conversation > .note").evaluate_all(
        "notes => notes.map(note => note.firstChild.textContent)"
    )
    assert notes == [
        "bob joined",
        "bob set the topic: boxes",
        "bob removed the topic",
        "bob is away: lunch",
        "bob is back",
        "bob is now rob",
    ]


# The place


def test_scrolling_up_loads_older_lines_without_a_jump(offline: OfflinePages) -> None:
    page = offline.chat(LINES)
    page.get_by_text(f"line {LINES}", exact=True).wait_for()
    wait_for_end(page)
    page.mouse.move(600, 300)
    for _ in range(400):
        oldest = page.locator("#conversation > .spoken .text").first.inner_text()
        before = {"above": place(page)["above"]}
        page.mouse.wheel(0, -1500)
        settle(page)
        assert page.locator("#conversation > .row").count() <= MOST_ROWS
        if oldest == "line 1" and before["above"] == 0:
            break
    page.get_by_text("This is where lobby begins.").wait_for()
    assert place(page)["above"] == 0
    assert run(page, "() => server.histories") >= LINES // 100 - 5
    page.get_by_role("button", name="To the newest line").click()
    page.get_by_text(f"line {LINES}", exact=True).wait_for()
    wait_for_end(page)


def test_the_anchor_stays_while_lines_come_before_and_after(offline: OfflinePages) -> None:
    page = offline.chat(600)
    page.get_by_text("line 600", exact=True).wait_for()
    page.mouse.move(600, 300)
    page.mouse.wheel(0, -1500)
    page.get_by_role("button", name="To the newest line").wait_for()
    wait_for_rest(page)
    text = page.evaluate(
        "() => [...document.querySelectorAll('.spoken .text')]"
        ".find(line => line.getBoundingClientRect().top > 200).textContent"
    )
    before = top(page, text)
    for n in range(5):
        run(page, "n => { for (let i = 0; i < 60; i += 1) server.say('bob', `new ${n} ${i}`); }", n)
        settle(page)
        assert abs(top(page, text) - before) <= 1
    page.get_by_role("button", name="300 new lines").wait_for()
    page.set_viewport_size({"width": 1280, "height": 500})
    settle(page)
    page.get_by_role("button", name="300 new lines").click()
    page.get_by_text("new 4 59", exact=True).wait_for()
    wait_for_end(page)


def test_new_lines_are_followed_at_the_end(offline: OfflinePages) -> None:
    page = offline.chat(300)
    for n in range(3):
        run(page, "n => { for (let i = 0; i < 400; i += 1) server.say('bob', `new ${n} ${i}`); }", n)
        page.get_by_text(f"new {n} 399", exact=True).wait_for()
        wait_for_end(page)
        assert page.locator("#conversation > .row").count() <= MOST_ROWS


def test_a_gap_loads_by_its_button_and_by_scrolling(offline: OfflinePages) -> None:
    page = offline.chat(500)
    page.get_by_text("line 500", exact=True).wait_for()
    page.get_by_role("searchbox", name="Search").fill("line 100")
    page.get_by_role("searchbox", name="Search").press("Enter")
    page.locator("#results").get_by_role("button").filter(has_text="line 100").click()
    page.locator("#conversation .target").wait_for()
    assert page.locator("#conversation .target .text").inner_text() == "line 100"
    box = page.locator("#conversation .target").bounding_box()
    assert box
    assert 0 < box["y"] < 720
    page.locator("#conversation").focus()
    for _ in range(200):
        page.keyboard.press("PageDown")
        settle(page)
        if place(page)["below"] < 1 and page.get_by_text("line 500", exact=True).count():
            break
    page.get_by_text("line 500", exact=True).wait_for()
    numbers = [int(text.split()[1]) for text in page.locator("#conversation .spoken .text").all_inner_texts()]
    assert numbers == list(range(numbers[0], 501))


def test_a_marker_shows_where_the_person_left(offline: OfflinePages) -> None:
    page = offline.chat(100)
    message = page.get_by_role("textbox", name="Message")
    page.get_by_role("button", name="Join a room").click()
    page.get_by_role("textbox", name="Room").fill("kitchen")
    page.get_by_role("button", name="Join", exact=True).click()
    page.get_by_role("heading", name="kitchen").wait_for()
    run(page, "() => { for (let n = 1; n <= 3; n += 1) server.say('bob', `while away ${n}`); }")
    page.get_by_role("list", name="Rooms").get_by_role("button", name="lobby").click()
    page.get_by_text("while away 3", exact=True).wait_for()
    texts = rows(page)
    assert "while away 1" in texts[texts.index("New lines") + 1]
    # With more than a screen of unread lines, the conversation opens at the marker.
    page.get_by_role("list", name="Rooms").get_by_role("button", name="kitchen").click()
    page.get_by_role("heading", name="kitchen").wait_for()
    run(page, "() => { for (let n = 1; n <= 150; n += 1) server.say('bob', `more ${n}`); }")
    page.get_by_role("list", name="Rooms").get_by_role("button", name="lobby").click()
    page.get_by_role("button", name="150 new lines").wait_for()
    assert page.locator(".unread").is_visible()
    page.get_by_text("more 1", exact=True).wait_for()
    assert place(page)["below"] > 500
    message.fill("hello")
    message.press("Enter")
    page.locator(".unread").wait_for(state="detached")
    wait_for_end(page)


def test_a_hidden_page_marks_where_it_was_left(offline: OfflinePages) -> None:
    page = offline.chat(10)
    page.get_by_text("line 10", exact=True).wait_for()
    hide = """hidden => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      Object.defineProperty(document, "visibilityState", { value: hidden ? "hidden" : "visible", configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    run(page, hide, argument=True)
    run(page, "() => server.say('bob', 'while hidden')")
    run(page, hide, argument=False)
    page.get_by_text("New lines").wait_for()
    texts = rows(page)
    assert "while hidden" in texts[texts.index("New lines") + 1]


# What a screen reader says


def test_the_status_announces_at_most_every_three_seconds(offline: OfflinePages) -> None:
    context = offline.context()
    page = context.new_page()
    page.clock.install(time="2026-01-01T12:00:00")
    page.goto(offline.address)
    page.get_by_role("textbox", name="Nickname").fill("ann")
    page.get_by_role("button", name="Join", exact=True).click()
    page.get_by_role("textbox", name="Message").wait_for()
    page.clock.pause_at("2026-01-01T12:01:00")
    status = page.locator("#status")
    run(page, "() => { server.say('bob', 'one'); server.say('bob', 'two'); server.say('cleo', 'three'); }")
    page.clock.run_for(200)
    assert status.text_content() == "bob: one"
    page.clock.run_for(2700)
    assert status.text_content() == "bob: one"
    page.clock.run_for(300)
    assert status.text_content() == "2 new lines, the last: cleo: three"
    run(page, "() => { server.say('bob', 'waves', { method: 'emoted' }); }")
    page.clock.run_for(3100)
    assert status.text_content() == "bob waves"
    assert page.get_by_role("log", name="Conversation").get_attribute("aria-live") == "off"


# Files


def test_files_are_cards_and_pictures_have_their_place_before_they_arrive(offline: OfflinePages) -> None:
    offline.files["files/k3/cat.png"] = (PAGE / "icon-192.png").read_bytes()
    page = offline.chat()
    run(
        page,
        """() => {
          const share = (id, name, type, size, more = {}) => server.say("bob", "", { method: "shared",
            file: { id, name, type, size, sha256: "", url: "http://elsewhere.example/", ...more } });
          share("k1", "report (final) #2.pdf", "application/pdf", 1234567);
          share("k2", "huge.png", "image/png", 5 * 2 ** 20 + 1, { width: 100, height: 100 });
          share("k3", "cat.png", "image/png", 4321, { width: 640, height: 240 });
          share("k5", "old.txt", "text/plain", 1, { url: null });
          share("k4", "gone.png", "image/png", 4321, { width: 240, height: 480 });
        }""",
    )
    cards = page.locator("#conversation a.card")
    cards.nth(3).wait_for()
    assert cards.evaluate_all("cards => cards.map(card => card.href)") == [
        f"{offline.address}files/k1/report%20(final)%20%232.pdf",
        f"{offline.address}files/k2/huge.png",
        f"{offline.address}files/k3/cat.png",
        f"{offline.address}files/k4/gone.png",
    ]
    assert "report (final) #2.pdf 1.2 MB" in " ".join(cards.first.inner_text().split())
    picture = page.locator("img.thumbnail").first
    assert picture.evaluate("image => [image.width, image.height]") == [320, 120]
    offline.allowed.append("404")
    page.get_by_text("This file is no longer there.").nth(1).wait_for()
    assert page.locator("span.card").inner_text().split("\n")[1:] == [
        "old.txt",
        "1 byte",
        "This file is no longer there.",
    ]
    page.wait_for_function("() => document.querySelector('img.thumbnail').naturalWidth === 192")
    assert page.locator("img.thumbnail").count() == 1


# The connection


def test_a_lost_connection_is_said_and_tried_again(offline: OfflinePages) -> None:
    page = offline.chat(3)
    page.get_by_text("line 3", exact=True).wait_for()
    run(page, "() => { server.isDown = true; server.cut(); }")
    page.get_by_role("status").filter(has_text="The connection is lost.").wait_for()
    page.get_by_text(re.compile(r"Trying again in \d+ s\.")).wait_for()
    run(page, "() => { server.isDown = false; server.say('bob', 'meanwhile', { quiet: true }); }")
    page.get_by_text("Connected again.").wait_for()
    page.get_by_text("meanwhile", exact=True).wait_for()
    page.get_by_text("Connected again.").wait_for(state="hidden")


# Speed


def test_typing_goes_on_while_200_lines_arrive_each_second(offline: OfflinePages) -> None:
    page = offline.chat(1000)
    page.get_by_text("line 1000", exact=True).wait_for()
    run(
        page,
        """seconds => {
          window.tasks = [];
          const observer = new PerformanceObserver(list => tasks.push(...list.getEntries().map(task => task.duration)));
          observer.observe({ type: "longtask" });
          const began = performance.now();
          let said = 0;
          const timer = setInterval(() => {
            const due = Math.min(200 * seconds, (performance.now() - began) / 5);
            for (; said < due; said += 1) server.say(["bob", "cleo"][(said >> 2) % 2], `${said} see https://example.org/`);
            if (said === 200 * seconds) { clearInterval(timer); server.say("bob", "the end"); }
          }, 5);
        }""",
        3,
    )
    message = page.get_by_role("textbox", name="Message")
    message.press_sequentially("typing goes on", delay=100)
    assert message.input_value() == "typing goes on"
    page.get_by_role("log").get_by_text("the end", exact=True).wait_for()
    wait_for_end(page)
    assert page.locator("#conversation > .row").count() <= MOST_ROWS
    # A quiet machine needs 30 ms. The others of a busy one take their share, too.
    assert max(page.evaluate("() => tasks"), default=0) < 5000
