"""Logins on the page with a real provider, beside a person on telnet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from benchmarks.processes import free_port
from tests.browser.actions import expect_shown, say
from tests.browser.conftest import Pages, require
from tests.browser.people import Person, Server
from tests.browser.provider import SECRET, Provider, log_in, refuse
from tests.browser.test_account import log_out, register

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

LATE = "The login has expired, or was begun in another browser. Log in again."
DOWN = "The login provider does not answer as it should. Try again later."


@pytest.fixture(scope="module")
def web_port() -> int:
    """The web port of all servers of this module, one after the other. The provider knows it."""
    return free_port()


@pytest.fixture(scope="module")
def shared_provider(web_port: int) -> Iterator[Provider]:
    """The provider of all tests. It takes as much CPU time to start as the rest of a test."""
    require(
        os.environ.get("BROADCAST_NODE_MODULES"),
        "BROADCAST_NODE_MODULES names no folder with the npm package oidc-provider",
    )
    provider = Provider(free_port(), f"http://localhost:{web_port}/")
    yield provider
    provider.stop()


@pytest.fixture
def server(make_server: Callable[..., Server], shared_provider: Provider, web_port: int, tmp_path: Path) -> Server:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    oidc = ("--oidc", f"http://127.0.0.1:{shared_provider.port}", "--oidc-client-id", "broadcast")
    options = ("--limits", "off", *oidc, "--oidc-secret-file", str(secret))
    return make_server(*options, web_port=web_port)


@pytest.fixture
def provider(server: Server, pages: Pages, shared_provider: Provider) -> Provider:
    """The provider. The pages are opened at the address that the server has from its configuration."""
    pages.address = f"http://localhost:{server.web_port}/"
    pages.allowed += [f"127.0.0.1:{shared_provider.port}", "fonts.googleapis.com"]  # the pages of the provider
    shared_provider.start()
    return shared_provider


def begin(page: Page) -> None:
    """Press the button of the join form."""
    page.get_by_role("link", name="Log in with 127.0.0.1").click()


def expect_in(page: Page, nick: str) -> None:
    """Wait until the person is in the chat as *nick*."""
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    expect(page.locator("#own-nick")).to_have_text(nick)


def stored(page: Page) -> str:
    """Return everything that the page has stored."""
    return str(
        page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    )


def test_person_logs_in_with_the_provider_and_talks(
    pages: Pages, provider: Provider, server: Server, bob: Person
) -> None:
    context = pages.context()
    requests: list[str] = []
    context.on("request", lambda request: requests.append(request.url))
    ann = pages.open(context, "#kitchen")
    begin(ann)
    log_in(ann, "ann/1")
    expect_in(ann, "ann")
    expect(ann.get_by_role("heading", name="kitchen")).to_be_visible()
    expect(ann).to_have_url(f"{pages.address}#kitchen")
    bob.say("/join kitchen")
    bob.until("ann")
    say(ann, "hello from a browser")
    bob.until("ann: hello from a browser")
    (asked,) = [parse_qs(urlsplit(url).query) for url in requests if "code_challenge=" in url]
    assert asked["redirect_uri"] == [f"{pages.address}login/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    (answer,) = [parse_qs(urlsplit(url).query) for url in requests if "/login/callback" in url]
    assert answer["state"] == asked["state"]
    secrets = [answer["code"][0], asked["state"][0], asked["nonce"][0], SECRET]
    for text in (stored(ann), server.output()):
        assert not [secret for secret in secrets if secret in text]
    assert [cookie for cookie in context.cookies() if cookie["name"] == "broadcast-login"] == []
    ann.reload()
    expect_in(ann, "ann")


def test_new_person_whose_name_is_taken_gets_a_number(pages: Pages, provider: Provider, bob: Person) -> None:
    page = pages.open()
    begin(page)
    log_in(page, "bob/1")
    expect_in(page, "bob2")
    bob.until("bob2 joined")


def test_browser_stays_logged_in_until_it_logs_out(pages: Pages, provider: Provider, server: Server) -> None:
    context = pages.context()
    page = pages.open(context)
    pages.allowed.append("ERR_CONNECTION_REFUSED")
    page.get_by_role("checkbox", name="Stay logged in on this device").check()
    begin(page)
    log_in(page, "ann/1")
    expect_in(page, "ann")
    server.stop()
    server.start()
    say(page, "still here")
    expect_shown(page, "still here")
    expect_in(page, "ann")
    other = pages.open(context)
    expect(other.get_by_text("This browser is logged in as ann.")).to_be_visible()
    other.get_by_role("button", name="Log out of ann").click()
    expect(other.get_by_role("textbox", name="Nickname")).to_be_focused()
    expect(other.get_by_text("This browser is logged in")).to_be_hidden()
    other.get_by_role("textbox", name="Nickname").fill("ann")
    other.keyboard.press("Enter")
    expect(other.get_by_label("Password")).to_be_focused()


def test_person_who_is_here_logs_in_and_goes_on(pages: Pages, provider: Provider, bob: Person) -> None:
    page = pages.join("zoe", path="#kitchen")
    bob.say("/join kitchen")
    say(page, "I am a guest")
    expect_shown(page, "I am a guest")
    page.get_by_role("button", name="Log in", exact=True).click()
    page.get_by_role("dialog").get_by_role("link", name="Log in with 127.0.0.1").click()
    log_in(page, "zoe/1")
    expect_in(page, "zoe")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    expect(page.get_by_role("heading", name="kitchen")).to_be_visible()
    expect_shown(page, "I am a guest")
    say(page, "I am myself")
    bob.until("zoe: I am myself")
    assert "zoe left" not in bob.seen
    assert "zoe2" not in bob.seen


def test_person_with_an_account_joins_it_to_the_provider(pages: Pages, provider: Provider) -> None:
    page = pages.join("ann")
    register(page)
    say(page, "/oidc")
    log_in(page, "somebody/1")
    expect_shown(page, "You are logged in as ann.")
    log_out(page)
    say(page, "/oidc")
    expect_shown(page, "You are logged in as ann.")
    expect_in(page, "ann")


def test_refusal_leads_back_to_the_join_form(pages: Pages, provider: Provider, bob: Person) -> None:
    page = pages.open()
    begin(page)
    refuse(page)
    expect(page.get_by_role("alert")).to_contain_text("The login was refused at the provider.")
    pages.enter(page, "ann")
    bob.until("ann joined")


def steal_callback(context: BrowserContext, page: Page, name: str) -> str:
    """Log in as *name* up to the callback, which does not reach the server. Return its address."""
    context.route("**/login/callback?*", lambda route: route.abort())
    begin(page)
    with page.expect_request("**/login/callback?*") as request:
        log_in(page, name)
    context.unroute("**/login/callback?*")
    return request.value.url


def test_callback_works_once_and_in_its_own_browser_only(pages: Pages, provider: Provider, bob: Person) -> None:
    pages.allowed.append("Failed to load resource")
    context, foreign = pages.context(), pages.context()
    page = pages.open(context)
    callback = steal_callback(context, page, "ann/1")
    victim = foreign.new_page()
    victim.goto(callback)
    expect(victim.get_by_role("alert")).to_have_text(LATE)
    page.goto(callback)
    expect_in(page, "ann")
    page.goto(callback)
    expect_in(page, "ann")
    expect(page.get_by_role("dialog")).to_contain_text(LATE)
    again = pages.open(context)
    again.goto(callback.replace("state=", "state=x"))
    expect(again.get_by_role("alert")).to_have_text(LATE)
    assert bob.seen.count("joined") <= 1


def test_person_known_to_the_provider_logs_in_with_one_click(pages: Pages, provider: Provider) -> None:
    context = pages.context()
    page = pages.open(context)
    begin(page)
    log_in(page, "ann/1")
    expect_in(page, "ann")
    other = pages.open(context)
    begin(other)
    expect_in(other, "ann")
    expect(page.get_by_text("ann has logged in on another connection.")).to_be_visible()


def test_room_does_not_notice_a_provider_that_is_slow_or_down(
    pages: Pages, provider: Provider, server: Server, bob: Person
) -> None:
    page = pages.open()
    provider.freeze()
    try:
        page.evaluate("document.querySelector('#oidc').click()")
        with Person(server.port, "carol") as carol:
            for number in range(10):
                bob.say(f"line {number}")
                carol.until(f"bob: line {number}\r\n")
        expect(page.get_by_role("alert")).to_have_text(DOWN)
    finally:
        provider.stop()  # the next test starts it again
    begin(page)
    expect(page.get_by_role("alert")).to_have_text(DOWN)
    pages.enter(page, "ann")
    assert "The OpenID Connect provider has failed: " in server.output()
