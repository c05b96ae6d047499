"""An OpenID Connect provider on this machine whose every answer the test chooses."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

CLIENT = "broadcast"
SECRET = "hush & hush"


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kid: str | None = "1", **more: str) -> dict[str, Any]:
    """Return the public part of *key* as the provider publishes it."""
    public: dict[str, Any] = (
        RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        if isinstance(key, rsa.RSAPrivateKey)
        else ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    )
    return {**public, **({} if kid is None else {"kid": kid}), **more}


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """Return the public part of *key* as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: a client that refuses the answer is what the test is about."""


class Provider:
    """The provider. ``answers`` maps a path to a status and a value, or to a function that answers the request."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], str]] = []
        """The path, the form and the header Authorization of each request."""
        self.released = Event()
        """Set at the end, for answers that wait."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answer(self)

            do_POST = do_GET  # noqa: N815 - the name that http.server calls

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.key = KEY
        self.documents: dict[str, Any] = {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint": f"{self.issuer}/token",
            "device_authorization_endpoint": f"{self.issuer}/device/code",
        }
        self.device: dict[str, Any] = {
            "device_code": "secret-device-code",
            "user_code": "WDJB-MJHT",
            "verification_uri": f"{self.issuer}/device",
            "verification_uri_complete": f"{self.issuer}/device?user_code=WDJB-MJHT",
            "expires_in": 600,
        }
        self.answers: dict[str, tuple[int, Any] | Callable[[BaseHTTPRequestHandler], None]] = {
            "/.well-known/openid-configuration": (200, self.documents),
            "/keys": (200, {"keys": [jwk(self.key)]}),
            "/device/code": (200, self.device),
            "/token": (400, {"error": "authorization_pending"}),
        }
        self._thread = Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(60)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.requests.append((request.path, form, request.headers.get("Authorization", "")))
        answer = self.answers.get(request.path, (404, {}))
        if callable(answer):
            answer(request)
            return
        status, value = answer
        send(request, status, value if isinstance(value, bytes) else json.dumps(value).encode())

    def claims(self, **changes: object) -> dict[str, Any]:
        """Return the claims of a valid ID token with *changes*. A value of None removes the claim."""
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": "ann-1", "aud": CLIENT, "exp": now + 300, "iat": now, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, kid: str | None = "1", **changes: object) -> str:
        """Return a valid ID token with *changes* of its claims."""
        return jwt.encode(self.claims(**changes), self.key, "RS256", None if kid is None else {"kid": kid})

    def confirm(self, token: str, **more: object) -> None:
        """Let the user confirm the login: the next answer has the ID *token*."""
        self.answers["/token"] = 200, {"id_token": token, "access_token": "access", "token_type": "Bearer", **more}


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def basic(client: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{client}:{secret}'.encode()).decode()}"


KEY = rsa_key()
"""The key of each provider: making one takes a while."""
