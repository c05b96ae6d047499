"""Logins on the page with an OpenID Connect provider: the authorization code flow with PKCE (RFC 6749, 7636 and 9700).

``/login``            sends the browser to the provider, with a cookie that binds the login to this browser.
``/login/callback``   is where the provider sends it back. The server redeems the code, then sends it to the page.
``/login/result``     gives the page the result once: a one-time login for ``hello`` or ``login``, or an error.

``/logout?nick=NICK`` voids the remembered login in ``Authorization: Bearer LOGIN``. It also works without a provider.

No address of the page holds a secret, and no token of the provider leaves the server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from broadcast.core.errors import LoginFailed, RejectedError
from broadcast.core.login_interfaces import Identity, PageLogin
from broadcast.core.sanitize import sanitize
from broadcast.doors.jsonrpc.accounts import check_safety
from broadcast.doors.jsonrpc.errors import explain_rejection
from broadcast.doors.web.http import read_bearer, respond_not_allowed, respond_text

if TYPE_CHECKING:
    from broadcast.core.hub import Hub
    from broadcast.doors.web.http import Handler, Headers, Reply, Request
    from broadcast.doors.web.page_address import PageAddress

BEGIN: Final = "/login"
CALLBACK: Final = "/login/callback"
RESULT: Final = "/login/result"
LOGOUT: Final = "/logout"
COOKIE: Final = "broadcast-login"
LOGIN_SECONDS: Final = 600
"""Time for which a login waits for its user, in seconds."""
MAX_LOGINS: Final = 10_000
"""Maximum number of logins that wait. Above it, the oldest are forgotten."""
MAX_PARAMETERS: Final = 20
LATE: Final = "the login has expired, or was begun in another browser. Log in again."
ADDRESS_UNKNOWN: Final = "The login needs the address of the page: the administrator can set it with --web-url."
NOT_ENCRYPTED: Final = (
    "The login would go on without encryption: the administrator can set the https address of the page with --web-url."
)
_AT_HOME: Final = "here"
"""The query of ``/login`` after a redirect to the address of the page. A proxy may hide that it has arrived there."""
_NO_STORE: Final = (b"Cache-Control", b"no-store")


@dataclass(slots=True)
class _Login:
    """A login that has begun in the browser with its cookie."""

    page: PageLogin
    end: float
    """Time at which it expires."""
    is_back: bool = False
    """Whether the browser has come back. The code is redeemed once."""
    result: Identity | RejectedError | None = None


class LoginPages:
    """The handlers of the three paths. *address* is that of the page, *now* returns monotonic seconds.

    *make_secret* returns 256 random bits as text, and other ones each time.
    """

    def __init__(
        self, hub: Hub, address: PageAddress, now: Callable[[], float], make_secret: Callable[[], str]
    ) -> None:
        self._hub = hub
        self._address = address
        self._now = now
        self._make_secret = make_secret
        self._logins: dict[bytes, _Login] = {}
        """The logins that wait, by the hash of their cookie. The oldest comes first."""

    def begin(self, request: Request, reply: Reply) -> None:
        """Send the browser to the provider."""
        if request.method != "GET":
            respond_not_allowed(reply, "GET")
            return
        url = self._address.url
        if not url:
            respond_text(reply, 503, ADDRESS_UNKNOWN)
            return
        home = urlsplit(url)
        host = request.headers.get(b"host", b"").decode("latin-1").lower()
        is_at_home = host == home.netloc.lower() and request.is_secure == (home.scheme == "https")
        if request.is_secure and home.scheme != "https":
            respond_text(reply, 503, NOT_ENCRYPTED)
            return
        if not is_at_home and request.query != _AT_HOME:
            _redirect(reply, f"{url}login?{_AT_HOME}")  # a cookie of another host would not come back
            return
        secret = self._make_secret()
        page = PageLogin(f"{url}login/callback", self._make_secret(), self._make_secret(), self._make_secret())
        login = self._add(secret, page)

        def go(result: str | RejectedError) -> None:
            if isinstance(result, RejectedError):
                login.result = result
            target = self._page if isinstance(result, RejectedError) else result
            _redirect(reply, target, self._set_cookie(secret, LOGIN_SECONDS))

        try:
            check_safety(self._hub, request.source)
            self._hub.authenticator.check_code(request.source).begin_on_page(page, go)
        except RejectedError as error:
            go(error)

    def finish(self, request: Request, reply: Reply) -> None:
        """Redeem the code with which the browser has come back, and send it to the page."""
        if request.method != "GET":
            respond_not_allowed(reply, "GET")
            return
        login = self._find(request)
        answer = _parse(request.query)
        go = partial(_redirect, reply, self._page)
        if login is None or login.is_back or not _is_same(answer.get("state", ""), login.page.state):
            go()  # the result says that the login has failed, unless the browser loads the callback again
            return
        login.is_back = True

        def end(result: Identity | RejectedError) -> None:
            login.result = result
            go()

        provider = self._hub.authenticator.provider
        assert provider is not None
        try:
            provider.finish_on_page(login.page, answer, end)
        except RejectedError as error:
            end(error)

    def show_result(self, request: Request, reply: Reply) -> None:
        """Give the page the result, once."""
        if request.method != "POST":  # only the page itself can send it, see ``Site``
            respond_not_allowed(reply, "POST")
            return
        login = self._find(request)
        result = LoginFailed(LATE) if login is None or login.result is None else login.result
        headers: Headers = ((b"Content-Type", b"application/json"), _NO_STORE)
        if login is not None and login.result is not None:
            del self._logins[_hash(_read_cookie(request))]
            headers = (*headers, self._set_cookie("", 0))
        if isinstance(result, Identity):
            message = {"login": self._hub.authenticator.one_time.add(result)}
        else:
            self._hub.rejections[result.kind] += 1
            message = {"error": str(explain_rejection(result))}
        reply.respond(200, headers, msgspec.json.encode(message))

    @property
    def _page(self) -> str:
        """The address of the page with the mark that it asks for the result."""
        return f"{self._address.url}?login"

    def _set_cookie(self, secret: str, seconds: int) -> tuple[bytes, bytes]:
        home = urlsplit(self._address.url)
        is_secure = "; Secure" if home.scheme == "https" else ""
        # Lax, because the provider sends the browser back from its own site.
        value = f"{COOKIE}={secret}; Path={home.path}login; Max-Age={seconds}; HttpOnly; SameSite=Lax{is_secure}"
        return b"Set-Cookie", value.encode()

    def _add(self, secret: str, page: PageLogin) -> _Login:
        now = self._now()
        while self._logins:
            oldest = next(iter(self._logins))
            if self._logins[oldest].end > now and len(self._logins) < MAX_LOGINS:
                break
            del self._logins[oldest]
        login = self._logins[_hash(secret)] = _Login(page, now + LOGIN_SECONDS)
        return login

    def _find(self, request: Request) -> _Login | None:
        """Return the login of the cookie of *request*, None if there is none or it has expired."""
        login = self._logins.get(_hash(_read_cookie(request)))
        return login if login is not None and login.end > self._now() else None


def logout_handler(hub: Hub) -> Handler:
    """Return the handler of ``/logout``. A person who has not joined can end a remembered login there."""

    def handle(request: Request, reply: Reply) -> None:
        if request.method != "POST":
            respond_not_allowed(reply, "POST")
            return

        def respond(error: RejectedError | None) -> None:
            if error is None:
                reply.respond(204, (_NO_STORE,))
            else:
                respond_text(reply, 503, str(explain_rejection(error)), (_NO_STORE,))

        try:
            nick = sanitize(_parse(request.query).get("nick", ""))
            hub.authenticator.forget(nick, read_bearer(request) or "", respond)
        except RejectedError as error:  # the account is being deleted
            respond(error)

    return handle


def _redirect(reply: Reply, target: str, *headers: tuple[bytes, bytes]) -> None:
    respond_text(
        reply, 303, "The login goes on at another address.", ((b"Location", target.encode()), _NO_STORE, *headers)
    )


def _parse(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=MAX_PARAMETERS))
    except ValueError:
        return {}


def _read_cookie(request: Request) -> str:
    for pair in request.headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _is_same(text: str, secret: str) -> bool:
    return compare_digest(text.encode(errors="replace"), secret.encode())


def _hash(secret: str) -> bytes:
    return sha256(secret.encode(errors="replace")).digest()
