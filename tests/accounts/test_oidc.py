"""The client of an OpenID Connect provider trusts nothing unsigned, and waits for nothing long."""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from broadcast.accounts.oidc import (
    CACHE_SECONDS,
    MAX_ANSWER_BYTES,
    MAX_CODE_SECONDS,
    MAX_POLL_SECONDS,
    REFRESH_SECONDS,
    DeviceLogin,
    OidcClient,
    ProviderError,
    SlowDown,
    check_url,
)
from broadcast.core.errors import LoginFailed
from broadcast.core.login_interfaces import DeviceCode, Identity, PageLogin
from tests.accounts.provider import CLIENT, KEY, SECRET, Provider, basic, jwk, pem, rsa_key, send
from tests.certificates import Pair

PAGE = PageLogin(
    "https://chat.example/login/callback", "the-state", "the-nonce", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)
LOGIN = DeviceLogin(DeviceCode("WDJB-MJHT", "https://login.example/device", 600), "secret-device-code", 5)


class Time:
    """Monotonic seconds that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture
def client(provider: Provider, clock: Time) -> OidcClient:
    return OidcClient(provider.issuer, CLIENT, SECRET, clock)


def paths(provider: Provider) -> list[str]:
    """Return the paths of the requests since the last call."""
    seen = [path for path, _, _ in provider.requests]
    provider.requests.clear()
    return seen


# Device codes


def test_code_is_asked_for_at_the_first_use_and_shown_without_the_complete_page(
    provider: Provider, client: OidcClient
) -> None:
    assert provider.requests == []
    login = client.begin()
    code = DeviceCode("WDJB-MJHT", f"{provider.issuer}/device", 600)
    assert login == DeviceLogin(code, "secret-device-code", 5)
    _, (path, form, authorization) = provider.requests
    assert (path, form) == ("/device/code", {"scope": "openid profile email", "client_id": CLIENT})
    assert authorization == basic("broadcast", "hush%20%26%20hush")
    assert "hush" not in repr(client.__dict__["_documents"])


def test_secret_is_in_the_form_only_if_the_provider_takes_it_nowhere_else(
    provider: Provider, client: OidcClient
) -> None:
    provider.documents["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    client.begin()
    _, (_, form, authorization) = provider.requests
    assert (form["client_secret"], authorization) == (SECRET, "")


def test_public_client_sends_no_secret(provider: Provider, clock: Time) -> None:
    OidcClient(provider.issuer, CLIENT, "", clock).begin()
    _, (_, form, authorization) = provider.requests
    assert "client_secret" not in form
    assert authorization == ""


def test_old_name_of_the_page_is_understood_and_times_are_limited(provider: Provider, client: OidcClient) -> None:
    page = provider.device.pop("verification_uri")
    provider.device |= {"verification_url": page, "expires_in": 1e9, "interval": 1e9}
    login = client.begin()
    assert login.code == DeviceCode("WDJB-MJHT", page, MAX_CODE_SECONDS)
    assert login.interval == MAX_POLL_SECONDS


@pytest.mark.parametrize(
    "lie",
    [
        {"verification_uri": "http://login.example/device"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "https://login.example/\r\nhello"},
        {"verification_uri": "https://login.example/?user_code=WDJB-MJHT"},
        {"verification_uri": "https://login.example@evil.example/"},
        {"verification_uri": f"https://login.example/{'x' * 500}"},
        {"verification_uri": ""},
        {"user_code": ""},
        {"user_code": "x" * 33},
        {"user_code": "\x1b[2J"},
        {"user_code": "\u202eABC"},
        {"user_code": 7},
        {"expires_in": 0},
        {"expires_in": "soon"},
        {"device_code": None},
    ],
)
def test_code_that_cannot_be_shown_is_refused(provider: Provider, client: OidcClient, lie: dict[str, Any]) -> None:
    provider.device |= lie
    with pytest.raises(ProviderError):
        client.begin()


def test_provider_without_device_codes_is_refused(provider: Provider, client: OidcClient) -> None:
    del provider.documents["device_authorization_endpoint"]
    with pytest.raises(ProviderError, match="does not support device codes"):
        client.begin()


def test_poll_tells_the_answers_of_the_provider_apart(provider: Provider, client: OidcClient) -> None:
    assert client.poll(LOGIN) is None
    _, (path, form, authorization) = provider.requests
    assert path == "/token"
    assert form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "secret-device-code",
        "client_id": CLIENT,
    }
    assert authorization
    answers: list[tuple[str, type[Exception], str]] = [
        ("slow_down", SlowDown, "^$"),
        ("access_denied", LoginFailed, "the login was refused in the browser."),
        ("expired_token", LoginFailed, "the code has expired"),
        ("invalid_grant", ProviderError, "invalid_grant"),
    ]
    for error, kind, text in answers:
        provider.answers["/token"] = 400, {"error": error}
        with pytest.raises(kind, match=text):
            client.poll(LOGIN)


# Logins on a page


def on_page(provider: Provider) -> dict[str, str]:
    """Let *provider* have a page for logins, and return an answer of it."""
    provider.documents["authorization_endpoint"] = f"{provider.issuer}/authorize?tenant=1"
    provider.confirm(provider.token(nonce="the-nonce", preferred_username="ann"))
    return {"code": "the code", "state": "the-state", "iss": provider.issuer}


def test_page_of_the_provider_gets_the_hash_of_the_verifier(provider: Provider, client: OidcClient) -> None:
    on_page(provider)
    url, _, query = client.authorization_url(PAGE).partition("&")
    assert url == f"{provider.issuer}/authorize?tenant=1"
    assert dict(parse_qsl(query)) == {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": "https://chat.example/login/callback",
        "scope": "openid profile email",
        "state": "the-state",
        "nonce": "the-nonce",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",  # RFC 7636, appendix B
        "code_challenge_method": "S256",
    }
    provider.documents["authorization_endpoint"] = f"{provider.issuer}/authorize"
    assert (
        OidcClient(provider.issuer, CLIENT, "", Time())
        .authorization_url(PAGE)
        .startswith(f"{provider.issuer}/authorize?response_type=code")
    )


def test_code_is_redeemed_with_the_verifier(provider: Provider, client: OidcClient) -> None:
    answer = on_page(provider)
    assert client.redeem(PAGE, answer) == Identity(provider.issuer, "ann-1", "ann")
    _, form, authorization = next(request for request in provider.requests if request[0] == "/token")
    assert form == {
        "grant_type": "authorization_code",
        "code": "the code",
        "redirect_uri": "https://chat.example/login/callback",
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        "client_id": CLIENT,
    }
    assert authorization == basic("broadcast", "hush%20%26%20hush")


@pytest.mark.parametrize("nonce", ["another", None])
def test_token_of_another_login_is_refused(provider: Provider, client: OidcClient, nonce: str | None) -> None:
    answer = on_page(provider)
    provider.confirm(provider.token(nonce=nonce))
    with pytest.raises(ProviderError, match="another nonce"):
        client.redeem(PAGE, answer)


def test_answer_of_another_provider_is_not_redeemed(provider: Provider, client: OidcClient) -> None:
    answer = on_page(provider)
    with pytest.raises(ProviderError, match="another provider"):
        client.redeem(PAGE, {**answer, "iss": "https://evil.example"})
    assert provider.requests == []


def test_errors_of_a_login_on_a_page_are_told_apart(provider: Provider, client: OidcClient) -> None:
    answer = on_page(provider)
    with pytest.raises(LoginFailed, match="refused at the provider"):
        client.redeem(PAGE, {"error": "access_denied"})
    with pytest.raises(ProviderError, match="server_error"):
        client.redeem(PAGE, {"error": "server_error"})
    assert provider.requests == []
    provider.answers["/token"] = 400, {"error": "invalid_grant"}
    with pytest.raises(LoginFailed, match="has expired"):
        client.redeem(PAGE, answer)
    provider.answers["/token"] = 401, {"error": "invalid_client"}
    with pytest.raises(ProviderError, match="invalid_client"):
        client.redeem(PAGE, answer)


@pytest.mark.parametrize("endpoint", [None, "", "http://login.example/authorize", "javascript:alert(1)"])
def test_page_that_is_not_safe_is_refused(provider: Provider, client: OidcClient, endpoint: str | None) -> None:
    if endpoint is not None:
        provider.documents["authorization_endpoint"] = endpoint
    with pytest.raises(ProviderError):
        client.authorization_url(PAGE)


# Names


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "ann", "email": "x@example.com"}, "ann"),
        ({"email": "ann@example.com"}, "ann@example.com"),
        ({"preferred_username": ["ann"], "email": 7}, ""),
        ({}, ""),
    ],
)
def test_name_comes_from_the_token(
    provider: Provider, client: OidcClient, claims: dict[str, object], name: str
) -> None:
    provider.confirm(provider.token("1", **claims))
    assert client.poll(LOGIN) == Identity(provider.issuer, "ann-1", name)


@pytest.mark.parametrize(
    ("status", "info", "name"),
    [
        (200, {"sub": "ann-1", "preferred_username": "ann"}, "ann"),
        (200, {"sub": "bob-1", "preferred_username": "bob"}, ""),
        (401, {"sub": "ann-1", "preferred_username": "ann"}, ""),
    ],
)
def test_name_that_the_token_lacks_comes_from_the_provider(
    provider: Provider, client: OidcClient, status: int, info: object, name: str
) -> None:
    provider.documents["userinfo_endpoint"] = f"{provider.issuer}/me"
    provider.answers["/me"] = status, info
    provider.confirm(provider.token())
    assert client.poll(LOGIN) == Identity(provider.issuer, "ann-1", name)
    assert ("/me", {}, "Bearer access") in provider.requests


# ID tokens


def test_valid_tokens_with_both_kinds_of_keys(provider: Provider, client: OidcClient) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    provider.answers["/keys"] = 200, {"keys": [jwk(KEY, use="sig", alg="RS256"), jwk(key, "2")]}
    assert client.identify(provider.token()).subject == "ann-1"
    assert client.identify(provider.token(kid=None)).subject == "ann-1"
    token = jwt.encode(provider.claims(aud=[CLIENT], azp=CLIENT), key, "ES256", {"kid": "2"})
    assert client.identify(token).subject == "ann-1"
    assert client.identify(provider.token(aud=[CLIENT, "other"], azp=CLIENT)).subject == "ann-1"
    assert client.identify(provider.token(nonce="n"), nonce="n").subject == "ann-1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "other"},
        {"aud": None},
        {"aud": []},
        {"aud": [CLIENT, "other"]},
        {"azp": "other"},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"iss": "https://login.example"},
        {"iss": None},
        {"exp": 1000},
        {"exp": None},
        {"exp": "never"},
        {"iat": None},
        {"iat": 9_999_999_999},
        {"nbf": 9_999_999_999},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
    ],
    ids=str,
)
def test_token_with_wrong_claims_is_refused(provider: Provider, client: OidcClient, wrong: dict[str, object]) -> None:
    with pytest.raises(ProviderError, match="its ID token"):
        client.identify(provider.token("1", **wrong))


@pytest.mark.parametrize("nonce", ["other", None])
def test_token_with_another_nonce_is_refused(provider: Provider, client: OidcClient, nonce: str | None) -> None:
    with pytest.raises(ProviderError, match="another nonce"):
        client.identify(provider.token(nonce=nonce), nonce="mine")


def none_token(provider: Provider) -> str:
    return jwt.encode(provider.claims(), "", "none")


def hmac_with_the_public_key(provider: Provider) -> str:
    """Return a token whose HMAC has the public key as its secret."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = {"alg": "HS256", "kid": "1"}
    signed = ".".join(encode(json.dumps(part).encode()) for part in (header, provider.claims()))
    return f"{signed}.{encode(hmac.digest(pem(KEY), signed.encode(), 'sha256'))}"


def other_key(provider: Provider) -> str:
    return jwt.encode(provider.claims(), rsa_key(), "RS256", {"kid": "1"})


def other_algorithm(provider: Provider) -> str:
    return jwt.encode(provider.claims(), KEY, "PS256", {"kid": "1"})


def changed(provider: Provider) -> str:
    header, _, signature = provider.token().split(".")
    return f"{header}.{provider.token(sub='bob').split('.')[1]}.{signature}"


def no_signature(provider: Provider) -> str:
    return provider.token().rpartition(".")[0] + "."


@pytest.mark.parametrize(
    "forge",
    [
        none_token,
        hmac_with_the_public_key,
        other_key,
        other_algorithm,
        changed,
        no_signature,
        lambda _provider: "",
        lambda _provider: "a.b.c",
    ],
    ids=["none", "hmac", "other key", "other algorithm", "changed", "no signature", "empty", "no token"],
)
def test_forged_token_is_refused(provider: Provider, client: OidcClient, forge: Callable[[Provider], str]) -> None:
    provider.confirm(forge(provider))
    with pytest.raises(ProviderError, match="its ID token is not valid"):
        client.poll(LOGIN)


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "1"},
        {**jwk(KEY), "use": "enc"},
        {**jwk(KEY), "alg": "RS512"},
        {**jwk(KEY), "n": "?"},
        {"kid": "1"},
        jwk(rsa_key(1024)),
        jwk(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["secret", "encryption", "algorithm", "damaged", "empty", "short", "curve"],
)
def test_other_keys_are_not_used(provider: Provider, client: OidcClient, key: object) -> None:
    provider.answers["/keys"] = 200, {"keys": [key]}
    with pytest.raises(ProviderError, match="no key of the provider fits"):
        client.identify(provider.token())


def test_replaced_keys_are_fetched_again_but_not_often(provider: Provider, client: OidcClient, clock: Time) -> None:
    client.identify(provider.token())
    new = rsa_key()
    provider.answers["/keys"] = 200, {"keys": [jwk(new, "2"), jwk(KEY, "3")]}
    token = jwt.encode(provider.claims(), new, "RS256", {"kid": "2"})
    paths(provider)
    with pytest.raises(ProviderError):
        client.identify(token)
    assert paths(provider) == []
    clock.now += REFRESH_SECONDS + 1
    assert client.identify(token).subject == "ann-1"
    with pytest.raises(ProviderError):
        client.identify(provider.token(kid=None))  # two keys fit, and the token names none
    assert paths(provider) == ["/keys"]


def test_documents_are_fetched_again_after_an_hour(provider: Provider, client: OidcClient, clock: Time) -> None:
    client.begin()
    client.begin()
    clock.now += CACHE_SECONDS + 1
    client.begin()
    discovery = "/.well-known/openid-configuration"
    assert paths(provider) == [discovery, "/device/code", "/device/code", discovery, "/device/code"]


# Providers that are down, slow, or lie


def test_provider_that_calls_itself_otherwise_is_refused(provider: Provider, client: OidcClient) -> None:
    provider.documents["issuer"] = "https://login.example"
    with pytest.raises(ProviderError, match=r"calls itself 'https://login\.example'"):
        client.begin()


@pytest.mark.parametrize(
    "url", ["http://login.example/x", "ftp://login.example", "file:///etc/passwd", "https://", "x"]
)
def test_addresses_without_encryption_are_refused(provider: Provider, client: OidcClient, url: str) -> None:
    provider.documents["device_authorization_endpoint"] = url
    with pytest.raises(ProviderError, match="is no https address"):
        client.begin()
    assert len(provider.requests) == 1


def test_addresses_of_this_machine_need_no_encryption() -> None:
    for url in ["http://localhost:1", "http://127.0.0.1/x", "http://[::1]:80/", "https://login.example"]:
        assert check_url(url) == url
    for url in ["http://localhost.example", "http://127.0.0.1.example", "https://x:99999", "https://[::1"]:
        with pytest.raises(ProviderError):
            check_url(url)


def redirect(request: BaseHTTPRequestHandler) -> None:
    send(request, 302, b"", Location="http://127.0.0.1:1/")


def huge(request: BaseHTTPRequestHandler) -> None:
    send(request, 200, b" " * (MAX_ANSWER_BYTES + 1))


def endless_headers(request: BaseHTTPRequestHandler) -> None:
    with suppress(OSError):
        request.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000)


def no_http(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"\xff\xfe\r\n\r\n")


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.close()


WRONG_ANSWERS: dict[str, Any] = {
    "error": (500, {}),
    "empty": (204, b""),
    "html": (200, b"<html>"),
    "binary": (200, b"\xff"),
    "nested": (200, b"[" * 10_000),
    "list": (200, b"[]"),
    "null": (200, b"null"),
    "redirect": redirect,
    "huge": huge,
    "endless headers": endless_headers,
    "no HTTP": no_http,
    "nothing": hang_up,
}


@pytest.mark.parametrize("kind", WRONG_ANSWERS)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/device/code", "/token", "/keys"])
def test_answers_that_are_wrong_are_refused(provider: Provider, client: OidcClient, path: str, kind: str) -> None:
    provider.confirm(provider.token())
    provider.answers[path] = WRONG_ANSWERS[kind]
    ask = client.begin if path == "/device/code" else lambda: client.poll(LOGIN)
    with pytest.raises(ProviderError):
        ask()


@pytest.mark.parametrize("is_known", [True, False])
def test_certificate_of_the_provider_is_checked(
    provider: Provider, clock: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    cert, key = Pair().write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    provider.server.socket = context.wrap_socket(provider.server.socket, server_side=True)
    port = provider.server.server_address[1]
    issuer = f"https://localhost:{port}"
    provider.documents.update({name: url.replace(provider.issuer, issuer) for name, url in provider.documents.items()})
    if is_known:
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    client = OidcClient(issuer, CLIENT, "", clock)
    if is_known:
        assert client.begin().code.user_code == "WDJB-MJHT"
    else:
        with pytest.raises(ProviderError, match="certificate verify failed"):
            client.begin()


def test_provider_that_is_down_is_refused(provider: Provider, clock: Time) -> None:
    client = OidcClient("http://127.0.0.1:1", CLIENT, "", clock)
    with pytest.raises(ProviderError, match=r"127\.0\.0\.1"):
        client.begin()


def test_provider_that_answers_nothing_or_byte_by_byte_is_refused(provider: Provider, clock: Time) -> None:
    def say_nothing(_request: BaseHTTPRequestHandler) -> None:
        provider.released.wait(60)

    def drip(request: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not provider.released.wait(0.05):
                request.wfile.write(b"x")

    for answer in (say_nothing, drip):
        client = OidcClient(provider.issuer, CLIENT, "", clock, request_seconds=0.5)
        provider.answers["/.well-known/openid-configuration"] = answer
        began = time.monotonic()
        with pytest.raises(ProviderError):
            client.begin()
        assert time.monotonic() - began < 30


def test_errors_show_no_secret(provider: Provider, client: OidcClient) -> None:
    provider.confirm("not-a-token")
    with pytest.raises(ProviderError) as caught:
        client.poll(LOGIN)
    for secret in ("not-a-token", SECRET, "hush", "secret-device-code"):
        assert secret not in str(caught.value)
