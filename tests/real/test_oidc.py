"""Logins with a real OpenID Connect provider, and with one that is slow or down."""

from __future__ import annotations

import os
import re
import signal
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThreadPool

from benchmarks.processes import free_port
from tests.real.programs import Program, Programs, Server, Talker, found

SCRIPT = Path(__file__).with_name("oidc_provider.mjs")
SECRET = "hush-hush-hush"
DOWN = "-> Error: the login provider does not answer as it should. Try again later."


class Browser:
    """A browser of a user who follows each form."""

    def __init__(self) -> None:
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self._url = self.page = ""

    def open(self, url: str, **form: str) -> None:
        """Open a page, or send a *form* to it."""
        with self._opener.open(url, urlencode(form).encode() if form else None, timeout=60) as response:
            self._url, self.page = response.url, response.read().decode()

    def submit(self, **fields: str) -> None:
        """Send the form of the page with its hidden fields and *fields*."""
        action = re.search(r'<form[^>]*action="([^"]*)"', self.page)
        assert action is not None, self.page
        hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', self.page))
        self.open(urljoin(self._url, action[1]), **{**hidden, **fields})

    def confirm(self, page: str, code: str, login: str) -> None:
        """Type *code* into *page*, and log in as *login*."""
        self.open(page)
        self.submit(user_code=code)
        self.submit()
        self.submit(login=login, password="any")
        self.submit()
        assert "successful" in self.page

    def refuse(self, page: str, code: str) -> None:
        """Type *code* into *page*, and refuse the login."""
        self.open(page)
        self.submit(user_code=code)
        self.submit(abort="yes")


async def start_provider(programs: Programs, seconds: int = 600) -> tuple[str, Program]:
    """Start a provider whose codes are valid for *seconds*. Return its issuer and its process."""
    modules = os.environ.get("BROADCAST_NODE_MODULES", "")
    if not modules:
        reason = "BROADCAST_NODE_MODULES names no folder with the npm package oidc-provider"
        if os.environ.get("BROADCAST_REQUIRE_PROGRAMS"):
            pytest.fail(reason)
        pytest.skip(reason)
    port = free_port()
    provider = programs.run(found("node"), str(SCRIPT), str(port), str(seconds))
    await provider.until("listening")
    return f"http://127.0.0.1:{port}", provider


async def start_server(programs: Programs, issuer: str, *options: str) -> Server:
    """Start the installed server as a client of *issuer*."""
    (programs.folder / "secret").write_text(f"{SECRET}\n")
    oidc = ("--oidc", issuer, "--oidc-client-id", "broadcast", "--oidc-secret-file", "secret")
    return await programs.server(*oidc, "--data", "data", *options)


async def begin(talker: Talker) -> tuple[str, str]:
    """Type ``/oidc``, and return the page and the code that the server shows."""
    seen = len(talker.seen)
    talker.say("/oidc")
    await talker.when(lambda: b"The code is valid for" in talker.seen[seen:])
    text = talker.seen[seen:].decode()
    page = re.search(r"Open this page in a browser: (\S+)", text)
    code = re.search(r"Type this code there, only if you started this yourself: (\S+)", text)
    assert page is not None
    assert code is not None
    assert code[1] not in page[1]
    return page[1], code[1]


async def in_browser(programs: Programs, step: Any, *arguments: str) -> None:  # noqa: ANN401 - a method of Browser
    """Run *step* of a browser on a thread."""
    reactor = cast(Any, programs.reactor)
    await deferToThreadPool(reactor, reactor.getThreadPool(), step, *arguments)


@ensureDeferred
async def test_account_of_an_identity_survives_a_restart_and_takes_nothing_over(programs: Programs) -> None:
    issuer, _ = await start_provider(programs)
    server = await start_server(programs, issuer)
    bob, ann = await programs.talkers(server.port, "bob", "")
    await in_browser(programs, Browser().confirm, *(await begin(ann)), "bob/1")
    await ann.until("You are bob2.")
    await bob.until("bob2 joined.")
    ann.say("hello")
    await bob.until("bob2: hello")
    await server.program.stop("TERM")
    again = await start_server(programs, issuer)
    (ann,) = await programs.talkers(again.port, "ann")
    await in_browser(programs, Browser().confirm, *(await begin(ann)), "bob/1")
    await ann.until("-> You are logged in as bob2.")
    await again.program.stop("TERM")
    written = [path.read_bytes() for path in (programs.folder / "data").rglob("*") if path.is_file()]
    for text in (*written, server.program.output, again.program.output):
        assert SECRET.encode() not in text


@ensureDeferred
async def test_refusal_and_expiry_are_one_line(programs: Programs) -> None:
    issuer, _ = await start_provider(programs, seconds=7)
    server = await start_server(programs, issuer)
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    await in_browser(programs, Browser().refuse, *(await begin(ann)))
    await begin(bob)
    await ann.until("-> Error: the login was refused in the browser.")
    await bob.until("-> Error: the code has expired. /oidc shows another one.")


@ensureDeferred
async def test_room_does_not_notice_a_provider_that_is_slow_or_down(programs: Programs) -> None:
    issuer, provider = await start_provider(programs)
    server = await start_server(programs, issuer)
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    os.kill(cast(int, provider.process.pid), signal.SIGSTOP)
    ann.say("/oidc")
    for number in range(10):
        bob.say(f"line {number}")
        await ann.until(f"bob: line {number}\r\n")
    assert DOWN not in ann.text()
    await ann.until(DOWN)
    await provider.stop()
    bob.say("/oidc")
    await bob.until(DOWN)
    await server.program.until("The OpenID Connect provider has failed: ")
