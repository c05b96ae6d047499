"""Logins on the page: each belongs to one browser, ends once, and shows no secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from twisted.internet.address import IPv4Address

from broadcast.core.errors import JournalError, LoginFailed, RejectedError
from broadcast.core.login_interfaces import Identity
from broadcast.core.one_time_logins import ONE_TIME_SECONDS
from broadcast.core.settings import Settings
from broadcast.core.tries import ADDRESS_CODES
from broadcast.doors.web import login as login_pages
from broadcast.doors.web.door import WebSettings
from broadcast.doors.web.login import LATE, LOGIN_SECONDS, LoginPages
from tests.doors.web.browsers import Response
from tests.doors.web.test_site import SiteWorld
from tests.harness import PASSWORD, logged
from tests.identities import ISSUER, FakeProvider, add_provider, identity

HOME = "https://chat.example.com/talk/"
PROVIDER_PAGE = f"{ISSUER}/authorize?client_id=broadcast&state=x"
FAR = IPv4Address("TCP", "203.0.113.7", 50000)
LATE_TEXT = LATE[0].upper() + LATE[1:]


class LoginWorld(SiteWorld):
    """A server with the web door, behind a proxy that encrypts, and a provider."""

    def __init__(self, settings: WebSettings | None = None) -> None:
        super().__init__(settings or WebSettings(path="/talk", url=HOME, proxies=("127.0.0.1", "203.0.113.7")))
        self.provider: FakeProvider = add_provider(self)
        self.secrets: list[str] = []
        self.pages = LoginPages(self.hub, self.door.address, self.clock.seconds, self._make_secret)
        self.door.offer_login(self.pages, "login.example")

    def _make_secret(self) -> str:
        self.secrets.append(f"secret{len(self.secrets)}" + "x" * 36)
        return self.secrets[-1]


class Browser:
    """A browser with at most one cookie, behind the proxy."""

    def __init__(self, world: LoginWorld, prefix: str = "/talk", host: str = "chat.example.com") -> None:
        self.world = world
        self.cookie: str | None = None
        self.attributes: list[str] = []
        self._prefix = prefix
        self._host = host

    def open(self, target: str, method: str = "GET", **headers: str) -> Response:
        """Send a request, and take the cookie of the reply."""
        client = self.world.browser(IPv4Address("TCP", "127.0.0.1", 50000))
        proxy = {"x_forwarded_for": "127.0.0.1", "x_forwarded_proto": "https", "host": self._host}
        cookie = {} if self.cookie is None else {"cookie": f"other=1; broadcast-login={self.cookie}"}
        client.send(_request(self._prefix + target, method, **{**proxy, **cookie, **headers}))
        self._client = client
        return self.reply(method) if client.rest() else Response(0, {}, b"")

    def reply(self, method: str = "GET") -> Response:
        """Return the reply to the last request."""
        response = self._client.response(method)
        if "set-cookie" in response.headers:
            pair, *self.attributes = response.headers["set-cookie"].split("; ")
            name, _, value = pair.partition("=")
            assert name == "broadcast-login"
            self.cookie = value or None
        return response

    def begin(self) -> dict[str, str]:
        """Begin a login, and return the state and what belongs to it."""
        waiting = len(self.world.provider.urls)
        self.open("/login")
        page, on_url = self.world.provider.urls[waiting]
        on_url(PROVIDER_PAGE)
        self.world.settle()
        response = self.reply()
        assert (response.status, response.headers["location"]) == (303, PROVIDER_PAGE)
        return {"state": page.state, "nonce": page.nonce, "verifier": page.verifier, "uri": page.redirect_uri}

    def come_back(self, **answer: str) -> str:
        """Come back from the provider, and return the address that follows, empty if the provider is being asked."""
        response = self.open(f"/login/callback?{urlencode(answer)}")
        return response.headers.get("location", "")

    def answer(self, result: Identity | RejectedError) -> str:
        """Let the provider answer the last request, and return the address that follows."""
        self.world.provider.answers[-1][2](result)
        self.world.settle()
        return self.reply().headers["location"]

    def result(self, **headers: str) -> dict[str, str]:
        """Return the result, as the page reads it."""
        response = self.open("/login/result", "POST", **{"content_length": "0", "origin": HOME[:-6], **headers})
        assert response.headers["cache-control"] == "no-store"
        return dict(json.loads(response.body))


def _request(target: str, method: str, **headers: str) -> bytes:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode()


@pytest.fixture
def world() -> LoginWorld:
    return LoginWorld()


@pytest.fixture
def browser(world: LoginWorld) -> Browser:
    return Browser(world)


def log_in(browser: Browser, person: Identity) -> str:
    """Log in at the provider, and return the one-time login."""
    browser.come_back(state=browser.begin()["state"], code="c0de")
    assert browser.answer(person) == f"{HOME}?login"
    return browser.result()["login"]


# The way of a login


def test_login_leads_through_the_provider_to_a_login_that_is_valid_once(world: LoginWorld, browser: Browser) -> None:
    begun = browser.begin()
    assert begun["uri"] == f"{HOME}login/callback"
    assert len({*begun.values(), browser.cookie}) == 5
    assert browser.attributes == ["Path=/talk/login", "Max-Age=600", "HttpOnly", "SameSite=Lax", "Secure"]
    assert browser.come_back(state=begun["state"], code="c0de", iss=ISSUER) == ""
    page, answer, _ = world.provider.answers[-1]
    assert (page.verifier, answer["code"], answer["iss"]) == (begun["verifier"], "c0de", ISSUER)
    assert browser.answer(identity("1", "ann")) == f"{HOME}?login"
    result = browser.result()
    assert browser.cookie is None
    ann = world.program("", login=result["login"])
    assert (ann.welcome["nick"], ann.welcome["account"]) == ("ann", "ann")
    other = world.open_program()
    assert (other.fail("hello", protocol=1, nick="ann", login=result["login"])) == (1021, "wrong-password")


def test_login_is_late_after_a_minute(world: LoginWorld, browser: Browser) -> None:
    login = log_in(browser, identity("1", "ann"))
    second = log_in(browser, identity("2", "bob"))
    world.clock.advance(ONE_TIME_SECONDS)
    for late in (login, second):
        assert (world.open_program().fail("hello", protocol=1, nick="ann", login=late))[0] == 1021
    assert not world.hub.authenticator.one_time._identities


def test_login_can_be_remembered(world: LoginWorld, browser: Browser) -> None:
    ann = world.program("", login=log_in(browser, identity("1", "ann")), remember=True)
    login = ann.welcome["login"]
    ann.call("quit")
    assert world.program("ann", login=login).welcome["account"] == "ann"


def test_session_without_an_account_logs_in(world: LoginWorld, browser: Browser) -> None:
    ann = world.program("ann")
    result = ann.call("login", login=log_in(browser, identity("1", "ann")), remember=True)
    assert (result["nick"], result["account"]) == ("ann", "ann")
    ann.call("quit")
    again = world.program("ann", login=result["login"])
    assert again.call("logout") == {"nick": "ann2", "account": None}
    assert (again.fail("login", login="x")) == (1021, "wrong-password")
    assert again.fail("login")[0] == -32602
    assert again.call("login", nick="ann2", login=log_in(browser, identity("1")))["nick"] == "ann"


def test_session_with_an_account_joins_it_to_the_person(world: LoginWorld, browser: Browser) -> None:
    ann = world.program("ann")
    ann.call("register", password=PASSWORD)
    assert ann.call("login", login=log_in(browser, identity("1", "zoe"))) == {"nick": "ann", "account": "ann"}
    assert (ann.fail("login", login=log_in(browser, identity("2"))))[0] == -32602
    account = world.hub.accounts.find_subject(ISSUER, "1")
    assert account is not None
    assert account.name == "ann"


def test_account_without_a_password_changes_none(world: LoginWorld, browser: Browser) -> None:
    ann = world.program("", login=log_in(browser, identity("1", "ann")))
    for method, passwords in (("set_password", {"old": PASSWORD, "new": PASSWORD}), ("drop", {"password": PASSWORD})):
        error = ann.request(method, **passwords)["error"]
        assert error["message"] == "ann has no password: ask the administrator for one."


def test_session_that_ends_while_its_account_is_stored_is_not_logged_in(world: LoginWorld, browser: Browser) -> None:
    ann = world.program("ann", grace=0)
    login = log_in(browser, identity("1", "ann"))
    ann.put("login", {"login": login})
    ann.vanish()
    world.settle()
    assert world.hub.people.members == {}


def test_password_can_be_remembered_in_a_session(world: LoginWorld) -> None:
    ann = world.program("ann")
    ann.call("register", password=PASSWORD)
    ann.call("logout")
    assert "login" not in ann.call("login", nick="ann", password=PASSWORD)
    login = ann.call("login", nick="ann", password=PASSWORD, remember=True)["login"]
    ann.call("quit")
    assert world.program("ann", login=login).welcome["account"] == "ann"
    assert (world.program("bob").fail("login", nick="ann", password="wrong one", remember=True))[0] == 1021


def test_login_can_be_ended_by_a_person_who_has_not_joined(world: LoginWorld, browser: Browser) -> None:
    ann = world.program("", login=log_in(browser, identity("1", "ann")), remember=True)
    login = ann.welcome["login"]
    ann.call("quit")

    def log_out(target: str, authorization: str) -> int:
        headers = {"content_length": "0", "origin": HOME[:-6], "authorization": authorization}
        status = browser.open(target, "POST", **headers).status
        world.settle()
        return status or browser.reply("POST").status

    for target, authorization in (
        ("/logout", f"Bearer {login}"),
        ("/logout?nick=bob", f"Bearer {login}"),
        ("/logout?nick=ann", "Bearer guess"),
        ("/logout?nick=ann", login),
    ):
        assert log_out(target, authorization) == 204
        assert world.program("ann", login=login).welcome["account"] == "ann"
    assert log_out("/logout?nick=Ann", f"Bearer {login}") == 204
    assert world.open_program().fail("hello", protocol=1, nick="ann", login=login) == (1021, "wrong-password")


def test_end_of_a_login_that_cannot_be_stored_is_reported(
    world: LoginWorld, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_changes: object, on_done: Callable[[JournalError], None]) -> None:
        on_done(JournalError("disk full"))

    ann = world.program("", login=log_in(browser, identity("1", "ann")), remember=True)
    monkeypatch.setattr(world.journal.records, "write", fail)
    headers = {"content_length": "0", "origin": HOME[:-6], "authorization": f"Bearer {ann.welcome['login']}"}
    assert browser.open("/logout?nick=ann", "POST", **headers).status == 503
    assert browser.open("/logout?nick=ann").status == 405


# Mistakes and attacks


def test_callback_in_another_browser_has_no_effect(world: LoginWorld, browser: Browser) -> None:
    begun = browser.begin()
    other = Browser(world)
    for cookie in (None, "guess", "\u00e9"):
        other.cookie = cookie
        assert other.come_back(state=begun["state"], code="c0de") == f"{HOME}?login"
        assert other.result() == {"error": LATE_TEXT}
    assert world.provider.answers == []
    browser.come_back(state=begun["state"], code="c0de")
    browser.answer(identity("1"))
    assert "login" in browser.result()


@pytest.mark.parametrize("state", ["", "guess", "\u00e9", "\x00", None])
def test_wrong_state_has_no_effect(world: LoginWorld, browser: Browser, state: str | None) -> None:
    begun = browser.begin()
    answer = {} if state is None else {"state": state}
    assert browser.come_back(code="c0de", **answer) == f"{HOME}?login"
    assert world.provider.answers == []
    assert browser.result() == {"error": LATE_TEXT}
    browser.come_back(state=begun["state"], code="c0de")
    browser.answer(identity("1"))
    assert "login" in browser.result()


def test_state_of_another_login_has_no_effect(world: LoginWorld, browser: Browser) -> None:
    begun = browser.begin()
    attacker = Browser(world)
    foreign = attacker.begin()["state"]
    assert browser.come_back(state=foreign, code="their code") == f"{HOME}?login"
    assert world.provider.answers == []
    browser.come_back(state=begun["state"], code="c0de")
    assert len(world.provider.answers) == 1


def test_callback_is_used_once(world: LoginWorld, browser: Browser) -> None:
    begun = browser.begin()
    first = Browser(world)
    first.cookie = browser.cookie
    first.come_back(state=begun["state"], code="c0de")
    assert browser.come_back(state=begun["state"], code="c0de") == f"{HOME}?login"
    assert browser.result() == {"error": LATE_TEXT}
    first.answer(identity("1"))
    assert browser.come_back(state=begun["state"], code="c0de") == f"{HOME}?login"
    assert len(world.provider.answers) == 1
    assert "login" in browser.result()
    assert first.result() == {"error": LATE_TEXT}


def test_login_expires(world: LoginWorld, browser: Browser) -> None:
    begun = browser.begin()
    world.clock.advance(LOGIN_SECONDS)
    assert browser.come_back(state=begun["state"], code="c0de") == f"{HOME}?login"
    assert browser.result() == {"error": LATE_TEXT}
    assert world.provider.answers == []
    Browser(world).begin()
    assert len(world.pages._logins) == 1


def test_oldest_login_makes_place(world: LoginWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_pages, "MAX_LOGINS", 2)
    browsers = [Browser(world) for _ in range(3)]
    states = [browser.begin()["state"] for browser in browsers]
    assert [browser.come_back(state=state) for browser, state in zip(browsers, states, strict=True)] == [
        f"{HOME}?login",
        "",
        "",
    ]


def test_result_is_for_the_page_itself(browser: Browser) -> None:
    begun = browser.begin()
    browser.come_back(state=begun["state"], code="c0de")
    browser.answer(identity("1"))
    assert browser.open("/login/result").status == 405
    foreign = {"origin": "https://evil.example", "content_length": "0"}
    assert browser.open("/login/result", "POST", **foreign).status == 403
    assert "login" in browser.result()


@pytest.mark.parametrize("target", ["/login", "/login/callback?state=x"])
@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_only_a_navigation_begins_or_finishes_a_login(
    world: LoginWorld, browser: Browser, target: str, method: str
) -> None:
    response = browser.open(target, method, content_length="0", origin="https://chat.example.com")
    assert (response.status, response.headers["allow"]) == (405, "GET")
    assert world.provider.urls == []


def test_odd_query_is_no_answer(world: LoginWorld, browser: Browser) -> None:
    browser.begin()
    many = "&".join(f"x={number}" for number in range(200))
    assert browser.open(f"/login/callback?{many}").headers["location"] == f"{HOME}?login"
    assert world.provider.answers == []


# Failures


def test_refusal_reaches_the_page_as_a_text(browser: Browser) -> None:
    begun = browser.begin()
    browser.come_back(state=begun["state"], error="access_denied")
    assert browser.answer(LoginFailed("the login was refused at the provider.")) == f"{HOME}?login"
    assert browser.result() == {"error": "The login was refused at the provider."}


def test_provider_that_fails_at_the_begin_reaches_the_page(world: LoginWorld, browser: Browser) -> None:
    browser.open("/login")
    world.provider.urls[-1][1](LoginFailed("the provider is down."))
    world.settle()
    assert browser.reply().headers["location"] == f"{HOME}?login"
    assert browser.result() == {"error": "The provider is down."}


def test_provider_with_too_many_requests_is_busy(world: LoginWorld, browser: Browser) -> None:
    begun = browser.begin()
    world.provider.is_busy = True
    assert browser.come_back(state=begun["state"], code="c0de") == f"{HOME}?login"
    assert browser.result() == {"error": "Busy, try again."}
    assert browser.open("/login").headers["location"] == f"{HOME}?login"
    assert browser.result() == {"error": "Busy, try again."}


def test_browser_that_has_gone_away_can_load_the_result_later(world: LoginWorld, browser: Browser) -> None:
    begun = browser.begin()
    browser.come_back(state=begun["state"], code="c0de")
    browser._client.vanish()
    world.provider.answers[-1][2](identity("1"))
    world.settle()
    assert "login" in browser.result()


def test_address_begins_five_logins_a_minute() -> None:
    world = LoginWorld(WebSettings(url="http://chat.example.com/"))

    def begin() -> str:
        client = world.browser(FAR)
        client.send(_request("/login", "GET", host="chat.example.com"))
        return client.response().headers["location"] if client.rest() else ""

    assert [begin() for _ in range(ADDRESS_CODES + 1)] == [""] * ADDRESS_CODES + ["http://chat.example.com/?login"]


def test_login_over_a_connection_that_others_read_is_refused_with_passwords_tls() -> None:
    world = LoginWorld(WebSettings(url="http://chat.example.com/"))
    world.hub.settings = Settings(passwords="tls")
    client = world.browser(FAR)
    client.send(_request("/login", "GET", host="chat.example.com"))
    assert client.response().headers["location"] == "http://chat.example.com/?login"
    assert world.provider.urls == []


@pytest.mark.parametrize("mode", ["closed", "required"])
def test_unknown_person_gets_no_account_where_registration_is_closed(
    world: LoginWorld, browser: Browser, mode: str
) -> None:
    world.hub.authenticator._mode = mode
    login = log_in(browser, identity("1"))
    refused = world.open_program().fail("hello", protocol=1, nick="", login=login)
    assert refused == (1023, "registration-closed")


# The address of the page


def test_login_moves_to_the_address_of_the_page_once() -> None:
    world = LoginWorld(WebSettings(url="http://chat.example.com:8080/"))
    browser = Browser(world, "", "localhost:8080")  # no trusted proxy says that it is encrypted
    moved = browser.open("/login")
    assert moved.headers["location"] == "http://chat.example.com:8080/login?here"
    assert browser.cookie is None
    browser.open("/login?here")  # a proxy may not pass the name on
    assert len(world.provider.urls) == 1
    world.provider.urls[-1][1](PROVIDER_PAGE)
    world.settle()
    browser.reply()
    assert browser.attributes == ["Path=/login", "Max-Age=600", "HttpOnly", "SameSite=Lax"]


def test_login_does_not_move_from_https_to_http() -> None:
    world = LoginWorld(WebSettings(url="http://chat.example.com/", proxies=("127.0.0.1",)))
    response = Browser(world, "", "chat.example.com").open("/login")
    assert response.status == 503
    assert "without encryption" in response.text


def test_login_needs_the_address_of_the_page() -> None:
    world = LoginWorld(WebSettings())
    response = Browser(world, "", "localhost").open("/login")
    assert response.status == 503
    assert "--web-url" in response.text


def test_page_shows_the_link_if_there_is_a_provider(browser: Browser) -> None:
    page = browser.open("/").text
    assert 'href="login">Log in with login.example</a>' in page
    assert browser.open("/index.html").text == page
    plain = SiteWorld().browser()
    assert 'href="login" hidden>Log in</a>' in plain.get("/").text
    assert plain.get("/login").status == 404


def test_secrets_are_in_no_log_and_no_repr(world: LoginWorld, browser: Browser) -> None:
    with logged() as events:
        browser.come_back(state=browser.begin()["state"], code="c0de")
        shown = repr(world.provider.answers[-1][0]) + repr(list(world.pages._logins.values()))
        browser.answer(identity("1"))
        login = browser.result()["login"]
    shown += repr(events)
    for secret in (*world.secrets, login, "c0de"):
        assert secret not in shown
