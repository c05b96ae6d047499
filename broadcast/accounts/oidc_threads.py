"""The logins that wait for users, and the threads that ask the OpenID Connect provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias, TypeVar

from broadcast.accounts.oidc import MAX_POLL_SECONDS, DeviceLogin, OidcClient, ProviderError, SlowDown
from broadcast.core.errors import Busy, LoginFailed, RejectedError
from broadcast.core.interfaces import Callback, CallLater
from broadcast.core.login_interfaces import DeviceCode, Identity, IdentityProvider, PageLogin
from broadcast.core.time_slice import CallSoon
from broadcast.threads import WorkerThreads

THREADS: Final = 4
MAX_LOGINS: Final = 100
"""Maximum number of logins that wait for users, and of requests that wait for a thread."""
ANSWER_SECONDS: Final = 15.0
"""Time after which the server stops to wait for a request, and for a thread that sends it."""
MAX_FAILURES: Final = 3
"""Number of requests in a row that fail before a login fails."""
SLOW_DOWN_SECONDS: Final = 5.0
"""Time by which ``slow_down`` lengthens the interval (RFC 8628, section 3.5)."""

Answer: TypeAlias = DeviceLogin | Identity | Exception | None
_T = TypeVar("_T")


def unavailable() -> LoginFailed:
    """Return the error for the user if the provider fails."""
    return LoginFailed("the login provider does not answer as it should. Try again later.")


class OidcProvider:
    """The provider of *client*. *report* receives one line for the log about each failure of it.

    *now* returns monotonic seconds. The threads start with the first login.
    """

    def __init__(
        self,
        client: OidcClient,
        call_soon: CallSoon,
        call_later: CallLater,
        now: Callable[[], float],
        report: Callable[[str], object],
    ) -> None:
        self.client = client
        self.call_later = call_later
        self.now = now
        self.report = report
        self._threads = WorkerThreads(call_soon, "OpenID Connect", THREADS)
        self._unanswered = 0
        """Number of requests that wait for a thread, or for the provider."""
        self._logins = 0
        """Number of logins that have not ended."""

    def begin(
        self, on_code: Callable[[DeviceCode], None], on_identity: Callable[[Identity | RejectedError], None]
    ) -> Callback:
        """Begin a login; see ``IdentityProvider``."""
        if self._logins >= MAX_LOGINS or self._unanswered >= MAX_LOGINS:
            raise Busy
        self._logins += 1
        login = _Login(self, on_code, on_identity)
        login.start()
        return login.cancel

    def begin_on_page(self, login: PageLogin, on_url: Callable[[str | RejectedError], None]) -> None:
        """Find the provider's page for *login*; see ``IdentityProvider``."""
        self._ask_once(partial(self.client.authorization_url, login), on_url)

    def finish_on_page(
        self, login: PageLogin, answer: Mapping[str, str], on_identity: Callable[[Identity | RejectedError], None]
    ) -> None:
        """Redeem the code in *answer*; see ``IdentityProvider``."""
        self._ask_once(partial(self.client.redeem, login, answer), on_identity)

    def _ask_once(self, request: Callable[[], _T], on_result: Callable[[_T | RejectedError], None]) -> None:
        """Call *on_result* once: with the result of *request*, or with the reason for the user why there is none."""
        if self._unanswered >= MAX_LOGINS:
            raise Busy
        waiting = [on_result]

        def receive(answer: _T | Exception) -> None:
            if not waiting:
                return
            deliver = waiting.pop()
            if isinstance(answer, Exception) and not isinstance(answer, RejectedError):
                deliver(self.explain(answer))
            else:
                deliver(answer)

        self.ask(request, receive)
        self.call_later(ANSWER_SECONDS, partial(receive, ProviderError("it does not answer")))

    def explain(self, answer: object) -> LoginFailed:
        """Return the error for the user about *answer*, which the log shows.

        No other text is logged, because it might hold a secret.
        """
        self.report(str(answer) if isinstance(answer, ProviderError) else type(answer).__name__)
        return unavailable()

    def end_login(self) -> None:
        """Count a login no longer."""
        self._logins -= 1

    def ask(self, request: Callable[[], _T], on_answer: Callable[[_T | Exception], None]) -> None:
        """Run *request* on a thread, and call *on_answer* with its result, or with the error that it raises."""
        self._unanswered += 1
        self._threads.run(request, partial(self._deliver, on_answer))

    def _deliver(self, on_answer: Callable[[_T | Exception], None], answer: _T | Exception) -> None:
        self._unanswered -= 1
        on_answer(answer)


class _Login:
    """One login: a request for a code, then one request after the other for the user."""

    def __init__(
        self,
        provider: OidcProvider,
        on_code: Callable[[DeviceCode], None],
        on_identity: Callable[[Identity | RejectedError], None],
    ) -> None:
        self._provider = provider
        self._on_code = on_code
        self._on_identity = on_identity
        self._is_over = False
        self._requests = 0
        """Number of the last request. The answers to others come too late."""
        self._failures = 0
        self._interval = 0.0
        self._end = 0.0
        """Time at which the code expires."""

    def start(self) -> None:
        self._ask(self._provider.client.begin, self._receive_code)

    def cancel(self) -> None:
        """End without a result."""
        if not self._is_over:
            self._is_over = True
            self._provider.end_login()

    def _ask(self, request: Callable[[], Answer], on_answer: Callable[[Answer], None]) -> None:
        self._requests += 1
        number = self._requests

        def receive(answer: Answer) -> None:
            if number == self._requests and not self._is_over:
                self._requests += 1
                on_answer(answer)

        self._provider.ask(request, receive)
        self._provider.call_later(ANSWER_SECONDS, partial(receive, ProviderError("it does not answer")))

    def _receive_code(self, answer: Answer) -> None:
        if not isinstance(answer, DeviceLogin):
            self._fail(answer)
            return
        self._interval = answer.interval
        self._end = self._provider.now() + answer.code.seconds
        self._on_code(answer.code)
        self._wait(answer)

    def _wait(self, login: DeviceLogin) -> None:
        if self._provider.now() + self._interval > self._end:
            self._finish(LoginFailed("the code has expired. /oidc shows another one."))
        else:
            self._provider.call_later(self._interval, partial(self._poll, login))

    def _poll(self, login: DeviceLogin) -> None:
        if not self._is_over:
            self._ask(partial(self._provider.client.poll, login), partial(self._receive_answer, login))

    def _receive_answer(self, login: DeviceLogin, answer: Answer) -> None:
        match answer:
            case Identity() | RejectedError():
                self._finish(answer)
                return
            case None:
                self._failures = 0
            case SlowDown():
                self._failures = 0
                self._interval = min(self._interval + SLOW_DOWN_SECONDS, MAX_POLL_SECONDS)
            case _:
                self._failures += 1
                if self._failures == MAX_FAILURES:
                    self._fail(answer)
                    return
                self._interval = min(2 * self._interval, MAX_POLL_SECONDS)
        self._wait(login)

    def _fail(self, answer: Answer) -> None:
        self._finish(self._provider.explain(answer))

    def _finish(self, result: Identity | RejectedError) -> None:
        self.cancel()
        self._on_identity(result)


_conforms: type[IdentityProvider] = OidcProvider
