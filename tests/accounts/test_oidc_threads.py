"""Logins that wait for users ask the provider at its pace, end in one way, and never stop the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

import pytest
from twisted.internet.task import Clock

from broadcast.accounts.oidc import DeviceLogin, OidcClient, ProviderError, SlowDown
from broadcast.accounts.oidc_threads import ANSWER_SECONDS, MAX_FAILURES, MAX_LOGINS, OidcProvider
from broadcast.core.errors import Busy, LoginFailed, RejectedError
from broadcast.core.login_interfaces import DeviceCode, Identity, PageLogin
from tests.accounts.provider import CLIENT, Provider
from tests.journals.contract import ReactorCalls

CODE = DeviceCode("WDJB-MJHT", "https://login.example/device", 60)
ANN = Identity("https://login.example", "ann-1", "ann")
EXPIRED = "the code has expired. /oidc shows another one."
DOWN = "the login provider does not answer as it should. Try again later."


class ScriptedClient:
    """A client whose answers the test gives. An answer that is an exception is raised, a function is called."""

    def __init__(self) -> None:
        self.code: Any = DeviceLogin(CODE, "secret", 5)
        self.polls: list[Any] = []
        self.page: Any = ANN
        self.times: list[float] = []
        """The times of the polls."""
        self.clock = Clock()

    def begin(self) -> DeviceLogin:
        return cast(DeviceLogin, _result(self.code))

    def authorization_url(self, _login: PageLogin) -> str:
        return "https://login.example/authorize"

    def redeem(self, _login: PageLogin, _answer: Mapping[str, str]) -> Identity:
        return cast(Identity, _result(self.page))

    def poll(self, _login: DeviceLogin) -> Identity | None:
        self.times.append(self.clock.seconds())
        return cast("Identity | None", _result(self.polls.pop(0) if self.polls else None))


def _result(answer: Any) -> Any:  # noqa: ANN401 - of any kind
    if isinstance(answer, Exception):
        raise answer
    return answer() if callable(answer) else answer


class Harness:
    """A provider with a scripted client, or with *client*, and one login."""

    def __init__(self, client: OidcClient | None = None) -> None:
        self.script = ScriptedClient()
        self.clock = self.script.clock
        self.calls = ReactorCalls()
        self.reports: list[str] = []
        self.codes: list[DeviceCode] = []
        self.urls: list[str] = []
        self.results: list[Identity | RejectedError] = []
        self.provider = OidcProvider(
            client or cast(OidcClient, self.script),
            self.calls.queue.put,
            self.clock.callLater,
            self.clock.seconds,
            self.reports.append,
        )

    def begin(self) -> Callable[[], None]:
        return self.provider.begin(self.codes.append, self.results.append)

    def until(self, done: Callable[[], bool]) -> None:
        self.calls.run_until(done)

    def until_answered(self) -> None:
        self.until(lambda: self.provider._unanswered == 0)

    def poll_until_end(self) -> Identity | str:
        """Let time pass until the login ends, and return its result."""
        self.until_answered()
        while not self.results:
            self.clock.advance(1)
            self.until_answered()
        (result,) = self.results
        return str(result) if isinstance(result, RejectedError) else result


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_login_polls_in_the_interval_until_the_user_has_confirmed(harness: Harness) -> None:
    harness.script.polls = [None, None, ANN]
    harness.begin()
    assert harness.codes == []
    assert harness.poll_until_end() == ANN
    assert harness.codes == [CODE]
    assert harness.script.times == [5, 10, 15]
    assert harness.provider._logins == 0


def test_slow_down_and_failures_lengthen_the_interval(harness: Harness) -> None:
    harness.script.polls = [SlowDown(), ProviderError("down"), None, ANN]
    harness.begin()
    assert harness.poll_until_end() == ANN
    assert harness.script.times == [5, 15, 35, 55]
    assert harness.reports == []


def test_code_expires(harness: Harness) -> None:
    harness.begin()
    assert harness.poll_until_end() == EXPIRED
    assert harness.script.times[-1] == 60


@pytest.mark.parametrize("end", [LoginFailed("the login was refused in the browser."), LoginFailed(EXPIRED)])
def test_refusal_ends_the_login(harness: Harness, end: LoginFailed) -> None:
    harness.script.polls = [end]
    harness.begin()
    assert harness.poll_until_end() == str(end)
    assert harness.reports == []


@pytest.mark.parametrize("error", [ProviderError("down"), ValueError("secret")])
def test_provider_that_fails_at_once_is_one_line_for_the_user_and_one_in_the_log(
    harness: Harness, error: Exception
) -> None:
    harness.script.code = error
    harness.begin()
    assert harness.poll_until_end() == DOWN
    assert harness.codes == []
    assert harness.reports == ["down" if isinstance(error, ProviderError) else "ValueError"]
    harness.script.code = DeviceLogin(CODE, "secret", 5)
    harness.results.clear()
    harness.script.polls = [ANN]
    harness.begin()
    assert harness.poll_until_end() == ANN


def test_provider_that_keeps_failing_ends_the_login(harness: Harness) -> None:
    harness.script.polls = [ProviderError("down")] * MAX_FAILURES
    harness.begin()
    assert harness.poll_until_end() == DOWN
    assert harness.reports == ["down"]


def test_cancelled_login_asks_and_says_nothing_more(harness: Harness) -> None:
    cancel = harness.begin()
    harness.until_answered()
    cancel()
    cancel()
    harness.clock.advance(100)
    harness.until_answered()
    assert (harness.script.times, harness.results, harness.provider._logins) == ([], [], 0)
    harness.begin()()
    harness.until_answered()
    assert harness.codes == [CODE]


@pytest.fixture
def slow() -> Iterator[tuple[Harness, Provider]]:
    """A login provider that answers nothing until the end of the test."""
    provider = Provider()

    def wait(_request: BaseHTTPRequestHandler) -> None:
        provider.released.wait(60)

    provider.answers["/.well-known/openid-configuration"] = wait
    yield Harness(OidcClient(provider.issuer, CLIENT, "", Clock().seconds, request_seconds=60)), provider
    provider.close()


def test_slow_provider_ends_the_login_and_its_late_answer_is_nothing(slow: tuple[Harness, Provider]) -> None:
    harness, provider = slow
    harness.begin()
    harness.clock.advance(ANSWER_SECONDS)
    assert list(map(str, harness.results)) == [DOWN]
    assert harness.reports == ["it does not answer"]
    provider.released.set()
    harness.until_answered()
    assert len(harness.results) == 1
    assert harness.codes == []


def test_number_of_logins_and_of_requests_is_limited(slow: tuple[Harness, Provider]) -> None:
    harness, _ = slow
    cancels = [harness.begin() for _ in range(MAX_LOGINS)]
    with pytest.raises(Busy):
        harness.begin()
    for cancel in cancels:
        cancel()
    with pytest.raises(Busy):  # the threads still wait for the provider
        harness.begin()


# Logins on a page

PAGE = PageLogin("https://chat.example/login/callback", "state", "nonce", "verifier")


@pytest.mark.parametrize(
    ("answer", "shown", "reports"),
    [
        (ANN, ANN, []),
        (LoginFailed("it was refused."), "it was refused.", []),
        (ProviderError("down"), DOWN, ["down"]),
        (ValueError("secret"), DOWN, ["ValueError"]),
    ],
)
def test_login_on_a_page_is_one_request_with_one_result(
    harness: Harness, answer: object, shown: object, reports: list[str]
) -> None:
    harness.script.page = answer
    harness.provider.begin_on_page(PAGE, lambda url: harness.urls.append(str(url)))
    harness.provider.finish_on_page(PAGE, {"code": "c"}, harness.results.append)
    harness.until_answered()
    harness.clock.advance(ANSWER_SECONDS)
    (result,) = harness.results
    assert (str(result) if isinstance(result, RejectedError) else result) == shown
    assert harness.urls == ["https://login.example/authorize"]
    assert harness.reports == reports


def test_login_on_a_page_does_not_wait_for_a_slow_provider(slow: tuple[Harness, Provider]) -> None:
    harness, provider = slow
    harness.provider.begin_on_page(PAGE, lambda url: harness.urls.append(str(url)))
    harness.clock.advance(ANSWER_SECONDS)
    assert harness.urls == [DOWN]
    assert harness.reports == ["it does not answer"]
    provider.released.set()
    harness.until_answered()
    assert len(harness.urls) == 1


def test_number_of_requests_of_pages_is_limited(slow: tuple[Harness, Provider]) -> None:
    harness, _ = slow
    for _ in range(MAX_LOGINS):
        harness.provider.begin_on_page(PAGE, lambda _url: None)
    with pytest.raises(Busy):
        harness.provider.finish_on_page(PAGE, {}, harness.results.append)
