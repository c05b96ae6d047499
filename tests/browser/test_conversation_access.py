"""The page for everybody: roles, keys, contrast, zoom, phones, and people who try to put markup into it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.offline import OfflinePages, offline, run, settle

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["offline"]

FULL = """() => {
  const noon = Date.now() / 1000 - 3600;
  const nicks = ["bob", "Cleo_M", "dora", "erik", "fay", "gus", "hana", "ivo", "jo", "kim", "lea", "mo"];
  for (const [n, nick] of nicks.entries()) {
    server.say(nick, `good morning https://example.org/${n}`, { at: noon + n });
    server.say(nick, "a second line", { at: noon + n });
  }
  server.say("bob", "ann, are you here?", { at: noon + 60 });
  server.say("bob", "waves", { method: "emoted", at: noon + 60 });
  const file = { id: "k1", name: "notes.pdf", type: "application/pdf", size: 5e5 };
  server.say("dora", "", { method: "shared", file });
  server.come("gus"); server.come("hana"); server.come("gus", "left");
  server.emit("announced", { room: null, text: "back at noon" });
  server.emit("gap", { room: "lobby", first: 1000, last: 1010 });
}"""


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    modules = os.environ.get("BROADCAST_NODE_MODULES", "")
    file = Path(modules, "axe-core", "axe.min.js")
    if not modules or not file.exists():
        reason = "BROADCAST_NODE_MODULES names no folder with the npm package axe-core"
        if os.environ.get("BROADCAST_REQUIRE_PROGRAMS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return file.read_text()


def violations(page: Page, axe: str) -> list[str]:
    """Return what axe-core finds in the light scheme, and the texts that are hard to read in the dark one."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(f"{axe};0")
    standards = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
    found = []
    for scheme, rules in (("light", standards), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two literals
        options = {"resultTypes": ["violations"], "runOnly": rules}
        answer: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
        found += [f"{scheme}, {rule['id']}: {node['html']}" for rule in answer["violations"] for node in rule["nodes"]]
    return found


def wide_as_the_screen(page: Page) -> bool:
    """Return whether nothing makes the page wider than the screen."""
    return bool(page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"))


def test_axe_finds_nothing(offline: OfflinePages, axe: str) -> None:
    context = offline.context(viewport={"width": 1280, "height": 1600})
    page = offline.open(context)
    page.get_by_role("textbox", name="Nickname").fill("taken")
    run(page, "() => { server.person('taken'); }")
    page.get_by_role("button", name="Join", exact=True).click()
    page.get_by_text("taken is taken.").first.wait_for()
    assert violations(page, axe) == []
    page = offline.chat(context=context)
    run(page, FULL)
    run(page, "() => { server.refusal = { code: 1001, message: 'The disk is full.', data: { reason: 'not-kept' } }; }")
    page.get_by_role("textbox", name="Message").fill("hello")
    page.get_by_role("textbox", name="Message").press("Enter")
    page.get_by_text("Not sent:").wait_for()
    assert violations(page, axe) == []
    run(page, "() => { server.isDown = true; server.cut(); }")
    page.get_by_text("The connection is lost.").first.wait_for()
    assert violations(page, axe) == []
    page.set_viewport_size({"width": 320, "height": 640})
    page.get_by_role("button", name="Rooms and people").click()
    settle(page)
    assert violations(page, axe) == []


CONTRASTS = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data]
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const log = document.querySelector("#conversation");
  const colour = (classes, name) => {
    const element = document.createElement("span");
    element.className = classes;
    log.append(element);
    const value = getComputedStyle(element)[name];
    element.remove();
    return value;
  };
  const page = getComputedStyle(document.body).backgroundColor;
  const mark = colour("spoken mention", "backgroundColor");
  const all = [];
  for (let n = 0; n < 12; n += 1) {
    const nick = colour(`nick nick-${n}`, "color");
    all.push(contrast(nick, page), contrast(nick, mark));
    all.push(contrast(colour(`face nick-${n}`, "color"), colour(`face nick-${n}`, "backgroundColor")));
  }
  return all;
}"""
"""A function of JavaScript that returns the contrast of each colour of nicknames with its background."""


def test_each_nickname_colour_can_be_read(offline: OfflinePages) -> None:
    page = offline.chat()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) == 36
        assert min(contrasts) >= 4.5, scheme


def test_the_roles_and_names_are_those_that_assistive_technology_needs(offline: OfflinePages) -> None:
    page = offline.open()
    assert page.get_by_role("textbox", name="Nickname").is_visible()
    assert page.get_by_role("main").count() == 1
    page = offline.chat(3)
    for role, name in [
        ("log", "Conversation"),
        ("textbox", "Message"),
        ("searchbox", "Search"),
        ("list", "Rooms"),
        ("list", "People"),
        ("button", "Send"),
        ("navigation", "Rooms and people"),
    ]:
        assert page.get_by_role(role, name=name, exact=True).is_visible(), (role, name)  # type: ignore[arg-type]
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("heading", level=1).all_inner_texts() == ["lobby"]
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    texts = [node["name"]["value"] for node in nodes if node["role"].get("value") == "StaticText"]
    # The second of two grouped lines has its name, too, although it does not show.
    assert texts.count("cleo") == 2


def test_a_keyboard_is_enough(offline: OfflinePages) -> None:
    page = offline.open()
    run(page, "() => { for (let n = 1; n <= 300; n += 1) said(n); }")
    page.keyboard.type("ann")
    page.keyboard.press("Enter")
    page.get_by_text("line 300", exact=True).wait_for()
    expect(page.get_by_role("textbox", name="Message")).to_be_focused()
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    page.get_by_text("hello", exact=True).wait_for()
    log = page.locator("#conversation")
    page.keyboard.press("PageUp")
    newest = page.get_by_role("button", name="To the newest line")
    newest.wait_for()
    stops = []
    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        stops.append(page.evaluate("() => document.activeElement.id || document.activeElement.textContent"))
    assert stops.index("newer") < stops.index("conversation") < stops.index("search")
    log.focus()
    assert log.evaluate("log => getComputedStyle(log).outlineStyle") != "none"
    for count in (80, 150):
        page.keyboard.press("Home")
        page.wait_for_function("count => document.querySelectorAll('#conversation .said').length > count", arg=count)
    page.keyboard.press("Home")
    page.get_by_text("This is where lobby begins.").wait_for()
    newest.press("Enter")
    page.get_by_text("hello", exact=True).wait_for()
    expect(log).to_be_focused()


@pytest.mark.parametrize(("width", "height", "scale"), [(640, 400, 2), (320, 256, 4)])
def test_small_screens_and_zoom_lose_nothing(offline: OfflinePages, width: int, height: int, scale: int) -> None:
    context = offline.context(viewport={"width": width, "height": height}, device_scale_factor=scale)
    page = offline.open(context)
    assert wide_as_the_screen(page)
    page = offline.chat(50, context=context)
    run(page, "() => { server.say('bob', 'x'.repeat(300) + ' https://example.org/' + 'y'.repeat(200)); }")
    page.get_by_role("log").get_by_text("x" * 300).wait_for()
    assert wide_as_the_screen(page)
    for name in ["Message", "Send", "Search"]:
        box = page.get_by_label(name, exact=True).or_(page.get_by_role("button", name=name, exact=True)).bounding_box()
        assert box
        assert box["width"] >= 24
        assert box["height"] >= 24
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    page.get_by_role("button", name="Rooms and people").click()
    page.get_by_role("list", name="People").wait_for()
    expect(page.locator("#close-sidebar")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#open-sidebar")).to_be_focused()


def test_a_phone_has_targets_for_fingers(offline: OfflinePages) -> None:
    context = offline.context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2
    )
    page = offline.chat(30, context=context)
    page.get_by_text("line 30", exact=True).wait_for()
    page.get_by_role("button", name="Rooms and people").tap()
    page.get_by_role("list", name="People").wait_for()
    sizes = page.locator("button:visible").evaluate_all(
        "buttons => buttons.map(button => [button.id || button.textContent, button.offsetWidth, button.offsetHeight])"
    )
    assert [size for size in sizes if min(size[1:]) < 24] == []
    assert wide_as_the_screen(page)


def test_a_line_has_the_direction_of_its_first_word_and_an_address_its_own(offline: OfflinePages) -> None:
    page = offline.chat()
    run(page, "() => { server.say('bob', 'مرحبا https://example.org/'); server.say('bob', 'then English: שלום.'); }")
    page.get_by_text("then English").wait_for()
    sides = page.evaluate(
        """() => [...document.querySelectorAll(".text")].map((text) => {
          const range = document.createRange();
          range.selectNodeContents(text);
          const [inner, outer] = [range.getBoundingClientRect(), text.getBoundingClientRect()];
          return ["left", "right"].filter((side) => Math.abs(inner[side] - outer[side]) < 1).join();
        })"""
    )
    assert sides == ["right", "left"]
    assert page.evaluate("getComputedStyle(document.querySelector('.text a')).direction") == "ltr"


def test_forced_colours_and_reduced_motion_are_followed(offline: OfflinePages) -> None:
    context = offline.context(forced_colors="active", reduced_motion="reduce", color_scheme="dark")
    page = offline.chat(context=context)
    run(page, FULL)
    mention = page.locator(".mention").first
    mention.wait_for()
    other = page.locator(".spoken:not(.mention)").first
    border = "row => getComputedStyle(row).borderLeftColor"
    assert mention.evaluate(border) != other.evaluate(border)
    assert mention.evaluate("row => getComputedStyle(row).animationName") == "none"
    assert page.locator("#sidebar").evaluate("list => getComputedStyle(list).transitionDuration") in {"0s", "1e-05s"}


HIGH = {"width": 1000, "height": 2600}
"""A screen on which the page shows all lines of a test."""
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "\"><iframe src='javascript:alert(1)'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)//https://example.org",
    "data:text/html,<script>alert(1)</script>",
    'https://example.org/" onmouseover="alert(1)',
    "https://example.org/'><script>alert(1)</script>",
    "https://example.org/<img src=x onerror=alert(1)>",
    "http://javascript:alert(1)@example.org/",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<template><script>alert(1)</script></template>",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
    "</textarea><script>alert(1)</script>",
    "<object data=https://evil.example/x.swf>",
    "<form action=https://evil.example/><input type=submit></form>",
    "__proto__",
    "constructor",
]


def assert_only_text(page: Page) -> None:
    """Check that the conversation has only elements, links and attributes that the page itself makes."""
    allowed = {"DIV", "SPAN", "A", "TIME", "H2", "P", "PRE", "STRONG", "BUTTON"}
    tags = page.evaluate("() => [...document.querySelectorAll('#conversation *')].map(element => element.tagName)")
    assert set(tags) <= allowed
    links = page.evaluate("() => [...document.querySelectorAll('#conversation a')].map(link => link.href)")
    assert all(link.startswith(("http://", "https://")) for link in links)
    assert page.locator("[style], #conversation [onerror], #conversation [onclick]").count() == 0


def test_no_text_becomes_markup(offline: OfflinePages) -> None:
    """Any dialog, request to elsewhere, error or violation of the policy fails the test, too."""
    page = offline.open(offline.context(viewport=HIGH))
    run(
        page,
        """attacks => {
          server.room("lobby").topic = attacks[1];
          for (const attack of attacks) {
            server.room("lobby").members.set(attack, { ...server.person(attack), away: attack });
            server.say(attack, attack, { quiet: true });
            server.say(attack, attack, { quiet: true, method: "emoted" });
            server.say(attack, "", { quiet: true, method: "shared",
              file: { id: attack, name: attack, type: "text/plain", size: 3 } });
          }
        }""",
        ATTACKS,
    )
    page.get_by_role("textbox", name="Nickname").fill("ann")
    page.get_by_role("button", name="Join", exact=True).click()
    page.locator("#conversation .spoken").nth(3 * len(ATTACKS) - 1).wait_for()
    assert page.locator("#conversation .said .text").all_text_contents() == ATTACKS
    assert_only_text(page)
    run(
        page,
        """attacks => {
          for (const attack of attacks) {
            const params = { room: "lobby", nick: attack, session: attack, old: attack, text: attack, reason: attack };
            for (const method of ["topic", "away", "renamed", "left", "joined"]) server.emit(method, params);
            server.emit("announced", { room: null, text: attack });
            server.emit("told", { id: Math.random() + 1e6, nick: attack, session: attack, at: 1e9, text: attack });
          }
        }""",
        ATTACKS,
    )
    page.get_by_role("log").get_by_text(f"Announcement: {ATTACKS[-1]}", exact=True).wait_for()
    settle(page)
    assert_only_text(page)
    texts = page.locator("#conversation .said .text").all_text_contents()
    assert texts == ATTACKS[-len(texts) :]
