"""The client of an OpenID Connect provider: its documents, both ways to log in, and the check of ID tokens.

The methods of ``OidcClient`` block, so they run on threads of their own. Every answer of the provider is limited in
size and in time, and no redirect is followed.
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from hmac import compare_digest
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from threading import Timer
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec import Struct

from broadcast.core.errors import LoginFailed
from broadcast.core.login_interfaces import DeviceCode, Identity, PageLogin

REQUEST_SECONDS: Final = 10.0
"""Maximum duration of one request to the provider, with its answer."""
MAX_ANSWER_BYTES: Final = 256 * 1024
CACHE_SECONDS: Final = 3600.0
"""Time for which the documents of the provider are valid."""
REFRESH_SECONDS: Final = 60.0
"""Minimum time between two requests for the keys, if a token has a key that is not among them."""
LEEWAY_SECONDS: Final = 60
"""Difference between the clocks of the server and of the provider."""
ALGORITHMS: Final = ("RS256", "ES256")
"""The signatures that are accepted: those with a public key."""
MIN_RSA_BITS: Final = 2048
MIN_POLL_SECONDS: Final = 1.0
DEFAULT_POLL_SECONDS: Final = 5.0
MAX_POLL_SECONDS: Final = 60.0
MAX_CODE_SECONDS: Final = 900
"""Maximum time for which the server waits for a user."""
MAX_CODE_CHARS: Final = 32
MAX_PAGE_CHARS: Final = 300
MAX_SUBJECT_CHARS: Final = 255
SCOPE: Final = "openid profile email"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_T = TypeVar("_T", bound=Struct)


class ProviderError(Exception):
    """The provider cannot be reached, or its answer is not valid. The text says why, for the log."""


class SlowDown(Exception):
    """The provider wants to be asked less often."""


@dataclass(frozen=True, slots=True)
class DeviceLogin:
    """A login that the user has to confirm in a browser."""

    code: DeviceCode
    secret: str
    """The code that stands for the login in requests to the provider."""
    interval: float
    """Seconds between two such requests."""


class _Documents(Struct):
    issuer: str
    jwks_uri: str
    token_endpoint: str
    authorization_endpoint: str = ""
    device_authorization_endpoint: str = ""
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: Sequence[str] = ("client_secret_basic",)


class _Keys(Struct):
    keys: Sequence[Mapping[str, Any]]


class _DeviceAnswer(Struct):
    device_code: str
    user_code: str
    expires_in: float
    verification_uri: str = ""
    verification_url: str = ""  # the name before the RFC, which Google still uses
    interval: float = DEFAULT_POLL_SECONDS


class _TokenAnswer(Struct):
    id_token: str = ""
    access_token: str = ""
    error: str = ""


class _UserInfo(Struct):
    sub: str
    preferred_username: str = ""
    email: str = ""


def is_loopback(host: str | None) -> bool:
    """Return whether *host* is a name or an address of this machine."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host or "").is_loopback
    return False


def check_url(url: str) -> str:
    """Return *url* if a request to it is safe: https, or http to this machine. Raises ``ProviderError``."""
    if not is_safe_url(url):
        raise ProviderError(f"{url[:MAX_PAGE_CHARS]!r} is no https address")
    return url


def is_safe_url(url: str) -> bool:
    """Return whether *url* is an address with https, or with http on this machine, and can be shown in a line."""
    if len(url) > MAX_PAGE_CHARS or not (url.isascii() and url.isprintable()) or " " in url:
        return False
    try:
        parts = urlsplit(url)
        is_encrypted = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
        return is_encrypted and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False


class OidcClient:
    """This server as a client of *issuer*. *secret* is empty for a public client. *now* returns monotonic seconds."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        secret: str,
        now: Callable[[], float],
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self.issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._now = now
        self._request_seconds = request_seconds
        self._documents: tuple[float, _Documents] | None = None
        """The provider's description of itself, and the time of the request for it."""
        self._keys: tuple[float, Sequence[jwt.PyJWK]] | None = None

    # Logins with a device code (RFC 8628)

    def begin(self) -> DeviceLogin:
        """Return a new login. Raises ``ProviderError``."""
        documents = self._get_documents()
        if not documents.device_authorization_endpoint:
            raise ProviderError("it does not support device codes")
        form = {"scope": SCOPE}
        answer = self._post(documents.device_authorization_endpoint, documents, form, _DeviceAnswer)
        page = check_url(answer.verification_uri or answer.verification_url)
        user_code = answer.user_code
        if not (0 < len(user_code) <= MAX_CODE_CHARS and user_code.isascii() and user_code.isprintable()):
            raise ProviderError("its user code cannot be shown")
        if user_code in page:
            raise ProviderError("its page contains the user code")
        if not answer.expires_in > 0:
            raise ProviderError("its user code is not valid for any time")
        code = DeviceCode(user_code, page, int(min(answer.expires_in, MAX_CODE_SECONDS)))
        interval = min(max(answer.interval, MIN_POLL_SECONDS), MAX_POLL_SECONDS)
        return DeviceLogin(code, answer.device_code, interval)

    def poll(self, login: DeviceLogin) -> Identity | None:
        """Return the user who has confirmed *login*, None if nobody has yet.

        Raises ``SlowDown``, ``ProviderError``, or ``LoginFailed`` with a text for the user.
        """
        documents = self._get_documents()
        form = {"grant_type": _GRANT, "device_code": login.secret}
        answer = self._post(documents.token_endpoint, documents, form, _TokenAnswer)
        match answer.error:
            case "":
                return self.identify(answer.id_token, access_token=answer.access_token)
            case "authorization_pending":
                return None
            case "slow_down":
                raise SlowDown
            case "access_denied":
                raise LoginFailed("the login was refused in the browser.")
            case "expired_token":
                raise LoginFailed("the code has expired. /oidc shows another one.")
            case error:
                raise ProviderError(f"it answers with the error {error[:64]!r}")

    # Logins on a page (RFC 6749, 7636 and 9700)

    def authorization_url(self, login: PageLogin) -> str:
        """Return the address of the provider's page for *login*. Raises ``ProviderError``."""
        endpoint = self._get_documents().authorization_endpoint
        if not endpoint:
            raise ProviderError("it has no page for logins")
        challenge = base64.urlsafe_b64encode(sha256(login.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": login.redirect_uri,
            "scope": SCOPE,
            "state": login.state,
            "nonce": login.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{check_url(endpoint)}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    def redeem(self, login: PageLogin, answer: Mapping[str, str]) -> Identity:
        """Return the user who has confirmed *login*. The browser has come back with the parameters *answer*.

        Raises ``ProviderError``, or ``LoginFailed`` with a text for the user.
        """
        if answer.get("iss", self.issuer) != self.issuer:  # RFC 9207
            raise ProviderError("the browser comes back from another provider")
        error = answer.get("error", "")
        if error == "access_denied":
            raise LoginFailed("the login was refused at the provider. Log in again, or join without an account.")
        if not error:
            form = {
                "grant_type": "authorization_code",
                "code": answer.get("code", ""),
                "redirect_uri": login.redirect_uri,
                "code_verifier": login.verifier,
            }
            documents = self._get_documents()
            token = self._post(documents.token_endpoint, documents, form, _TokenAnswer)
            error = token.error
            if not error:
                return self.identify(token.id_token, login.nonce, token.access_token)
        if error == "invalid_grant":
            raise LoginFailed("the login has expired. Log in again.")
        raise ProviderError(f"it answers with the error {error[:64]!r}")

    # ID tokens

    def identify(self, token: str, nonce: str | None = None, access_token: str = "") -> Identity:
        """Return the person in the ID *token*, which has the *nonce*, if one is given. Raises ``ProviderError``.

        With an *access_token*, the provider is asked for the name that the token does not contain.
        """
        try:
            claims = self._decode(token)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise ProviderError(f"its ID token is not valid: {error}") from None
        subject, audience = claims["sub"], claims["aud"]
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS:
            raise ProviderError("its ID token has no valid subject")
        is_for_one = isinstance(audience, str) or len(audience) == 1
        if claims.get("azp", self._client_id if is_for_one else None) != self._client_id:
            raise ProviderError("its ID token is for another client")
        if nonce is not None and not compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise ProviderError("its ID token has another nonce")
        names = [claims.get("preferred_username"), claims.get("email")]
        if not any(names) and access_token:
            names = self._fetch_names(subject, access_token)
        return Identity(self.issuer, subject, next((name for name in names if isinstance(name, str) and name), ""))

    def _decode(self, token: str) -> dict[str, Any]:
        """Return the claims in *token*, whose signature, issuer, audience and times are valid."""
        header = jwt.get_unverified_header(token)
        algorithm, number = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError(f"the algorithm {str(algorithm)[:16]!r} is not accepted")

        def decode(keys: Sequence[jwt.PyJWK]) -> dict[str, Any]:
            fitting = [key for key in keys if key.algorithm_name == algorithm and number in {None, key.key_id}]
            if not fitting or (number is None and len(fitting) > 1):
                raise jwt.InvalidSignatureError("no key of the provider fits")
            return jwt.decode(
                token,
                fitting[0],
                algorithms=[algorithm],
                audience=self._client_id,
                issuer=self.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )

        try:
            return decode(self._get_keys(CACHE_SECONDS))
        except jwt.InvalidSignatureError:
            return decode(self._get_keys(REFRESH_SECONDS))  # the provider may have replaced its keys

    def _fetch_names(self, subject: str, access_token: str) -> list[Any]:
        endpoint = self._get_documents().userinfo_endpoint
        if not endpoint:
            return []
        status, body = self._request(check_url(endpoint), {"Authorization": f"Bearer {access_token}"})
        info = _parse(body, _UserInfo) if status == 200 else None
        return [info.preferred_username, info.email] if info is not None and info.sub == subject else []

    # The documents of the provider

    def _get_documents(self) -> _Documents:
        if self._documents is None or self._now() - self._documents[0] > CACHE_SECONDS:
            documents = self._get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration", _Documents)
            if documents.issuer != self.issuer:
                raise ProviderError(f"it calls itself {documents.issuer[:MAX_PAGE_CHARS]!r}")
            self._documents = self._now(), documents
        return self._documents[1]

    def _get_keys(self, max_age: float) -> Sequence[jwt.PyJWK]:
        """Return the keys of the provider, which are at most *max_age* seconds old."""
        if self._keys is None or self._now() - self._keys[0] > max_age:
            keys = self._get(self._get_documents().jwks_uri, _Keys).keys
            self._keys = self._now(), [key for jwk in keys[:100] if (key := _parse_key(jwk)) is not None]
        return self._keys[1]

    # Requests

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The certificate authorities of the system, which take up to 0.2 s to read."""
        return ssl.create_default_context()

    def _get(self, url: str, kind: type[_T]) -> _T:
        status, body = self._request(check_url(url))
        if status != 200:
            raise ProviderError(f"{urlsplit(url).path} has the status {status}")
        return _parse(body, kind)

    def _post(self, url: str, documents: _Documents, form: Mapping[str, str], kind: type[_T]) -> _T:
        """Send *form* as this client, and return the answer, which may be an error of OAuth."""
        form = {**form, "client_id": self._client_id}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if self._secret:
            methods = documents.token_endpoint_auth_methods_supported
            if "client_secret_post" in methods and "client_secret_basic" not in methods:
                form["client_secret"] = self._secret
            else:
                pair = f"{quote(self._client_id, '')}:{quote(self._secret, '')}"
                headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, body = self._request(check_url(url), headers, urlencode(form))
        if status != 200 and not (status in {400, 401} and kind is _TokenAnswer):
            raise ProviderError(f"{urlsplit(url).path} has the status {status}")
        return _parse(body, kind)

    def _request(self, url: str, headers: Mapping[str, str] = {}, body: str | None = None) -> tuple[int, bytes]:
        """Return the status and the body of an answer. Raises ``ProviderError``."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        connection = (
            HTTPSConnection(host, parts.port, timeout=self._request_seconds, context=self._tls)
            if parts.scheme == "https"
            else HTTPConnection(host, parts.port, timeout=self._request_seconds)
        )
        # The time-out of a connection is for each read. The timer ends an answer that comes byte by byte.
        timer = Timer(self._request_seconds, _abort, [connection])
        timer.daemon = True
        timer.start()
        target = f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"
        try:
            connection.request(
                "GET" if body is None else "POST", target, body, {"Accept": "application/json", **headers}
            )
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER_BYTES + 1)
            if len(answer) > MAX_ANSWER_BYTES:
                raise ProviderError(f"{parts.path} has more than {MAX_ANSWER_BYTES} bytes")
        except (OSError, HTTPException, ValueError) as error:
            raise ProviderError(f"{host}: {str(error) or type(error).__name__}") from None
        finally:
            timer.cancel()
            connection.close()
        return response.status, answer


def _abort(connection: HTTPConnection) -> None:
    with suppress(OSError, AttributeError):
        # An SSL socket's own method also changes its state, which another thread is using.
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _parse(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderError(f"its answer is not valid: {error}") from None


def _parse_key(jwk: Mapping[str, Any]) -> jwt.PyJWK | None:
    """Return the key in *jwk*, None unless it is for one of ``ALGORITHMS``."""
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(jwk.get("kty")))
    if algorithm is None or jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(dict(jwk), algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    public = key.key
    if isinstance(public, RSAPublicKey):
        return key if public.key_size >= MIN_RSA_BITS else None
    is_p256 = isinstance(public, EllipticCurvePublicKey) and public.curve.name == "secp256r1"
    return key if is_p256 else None
