"""Tests of the application with a screen in memory, against the fake server on a real port."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from broadcast.client.options import Options
from broadcast.client.protocol import session
from broadcast.client.session.conversation import Conversation, State
from broadcast.client.terminal import app
from broadcast.client.terminal.app import App, similar
from tests.client.certificates import Authority
from tests.client.protocol.fake_server import FakeSession, Port, Refusal
from tests.client.session.fakes import FakeFront
from tests.client.test_aio import until, with_port
from tests.client.tls_servers import Identity
from tests.client.web_port import WebPort
from tests.platforms import IS_MISSING, set_home

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broadcast.client.settings import Choices


class FakeScreen(FakeFront):
    """A screen in memory. ``end`` ends it, with an error if the terminal is gone."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self.talk = conversation
        self.server = conversation.server
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        await self._end

    def stop(self) -> None:
        self.end()

    def end(self, error: Exception | None = None) -> None:
        if not self._end.done():
            self._end.set_exception(error) if error else self._end.set_result(None)

    async def shows(self, text: str) -> None:
        await until(lambda: text in self.texts)


class Running:
    """A running application: its screen and its exit status."""

    def __init__(self, port: Port, password: str = "", **options: Any) -> None:  # noqa: ANN401 -- the fields of Options
        screens: list[FakeScreen] = []

        def make_screen(conversation: Conversation) -> FakeScreen:
            screens.append(FakeScreen(conversation))
            return screens[-1]

        choices = cast("Choices", {"times": True, "quiet": False})
        self._app = App(Options(host="127.0.0.1", port=port.number, **options), choices, make_screen, password)
        self.screen = screens[0]
        self.talk = self.screen.talk
        self.status = asyncio.create_task(self._app.run())


@asynccontextmanager
async def running(port: Port, **options: Any) -> AsyncIterator[Running]:  # noqa: ANN401 -- the fields of Options
    """Run the application as ann, until she is in the room."""
    here = Running(port, nick="ann", **options)
    await until(lambda: here.talk.state is State.ONLINE)
    yield here
    await asyncio.wait([here.status])


def silence(port: Port) -> None:
    """Let the server read nothing more."""

    def ignore(data: bytes) -> None:
        pass

    for connection in port.connections:
        connection.data_received = ignore  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(session, "backoff", lambda *_: 0.01)


@with_port
async def test_a_visit_from_the_nickname_to_the_goodbye(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "Ann Smith")
    here = Running(port)
    await until(lambda: here.talk.question is not None)
    here.talk.submit("\nhello\n/names\nquit")
    assert await here.status == 0
    assert here.screen.texts == [
        "* You are Ann-Smith. Nobody else is here. /help helps, Ctrl-D leaves.",
        "Ann-Smith: hello",
        "> /names",
        "-> lobby: /names",
        "* Goodbye, Ann-Smith.",
    ]
    assert port.server.calls[-1] == ("quit", {})


@with_port
async def test_a_refused_nickname_is_asked_for_again_with_similar_ones(port: Port) -> None:
    async with running(port) as ann:
        here = Running(port, nick="ann")
        await until(lambda: here.talk.question is not None)
        assert here.talk.question is not None
        assert here.talk.question.suggestions == ("ann_", "ann2")
        here.talk.submit("ann2")
        await here.screen.shows("* You are ann2. 1 other is here: ann. /help helps, Ctrl-D leaves.")
        for visit in (here, ann):
            visit.talk.submit("quit")
        assert await here.status == 0


@pytest.mark.parametrize(
    ("nick", "expected"),
    [("ann", ("ann_", "ann2")), ("a b", ("a-b",)), ("x" * 24, ("x" * 23 + "_", "x" * 23 + "2")), ("", ("guest",))],
)
def test_similar_nicknames_are_valid(nick: str, expected: tuple[str, ...]) -> None:
    assert similar(nick) == expected


@with_port
async def test_a_server_that_is_not_there_is_status_2(port: Port) -> None:
    port.close()
    here = Running(port, nick="ann")
    assert await here.status == 2
    [text] = here.screen.texts
    assert text.startswith(f"! No connection to 127.0.0.1 port {port.number}: ")


@with_port
async def test_a_refused_room_is_status_5_with_the_reason(port: Port) -> None:
    port.server.fails["hello"] = Refusal(1004, "no-such-room")
    here = Running(port, nick="ann", rooms=("secret",))
    assert await here.status == 5
    assert here.screen.texts == ["! This is refused: no-such-room."]


@pytest.mark.parametrize(("code", "reason"), [(1026, "banned"), (1024, "not-permitted")])
@with_port
async def test_a_refused_nickname_is_status_3_with_the_reason(port: Port, code: int, reason: str) -> None:
    port.server.fails["hello"] = Refusal(code, reason)
    here = Running(port, nick="ann")
    assert await here.status == 3
    assert here.screen.texts == [f"! This is refused: {reason}."]


@with_port
async def test_a_ban_during_an_outage_is_status_3(port: Port) -> None:
    async with running(port) as here:
        port.server.fails["hello"] = Refusal(1026, "banned")
        port.abort()
        assert await here.status == 3
    assert here.screen.texts[-1] == "! This is refused: banned."


@with_port
async def test_a_lost_connection_is_status_4_without_reconnecting(port: Port) -> None:
    async with running(port, reconnect=False) as here:
        port.abort()
        assert await here.status == 4
    assert "was lost: " in here.screen.texts[-1]


@with_port
async def test_a_line_typed_without_a_connection_is_said_once_afterwards(port: Port) -> None:
    async with running(port) as here:
        port.close()
        port.abort()
        await until(lambda: here.talk.state is State.OFFLINE)
        here.talk.submit("hello")
        await port.listen()
        await here.screen.shows("ann: hello")
        assert [line["text"] for line in port.server.lines["lobby"]] == ["hello"]
        here.talk.submit("quit")


@with_port
@pytest.mark.parametrize(
    ("taken", "nick"), [(["ann"], "ann_"), (["ann", "ann_"], "ann2"), (["ann", "ann_", "ann2"], "ann3")]
)
async def test_a_nickname_that_is_taken_meanwhile_gives_way_to_a_similar_one(
    port: Port, taken: list[str], nick: str
) -> None:
    async with running(port) as here:
        port.server.lose_sessions()
        port.server.sessions |= {name: FakeSession(name, 90 + index) for index, name in enumerate(taken)}
        port.abort()
        await until(lambda: here.talk.state is State.OFFLINE)
        here.talk.submit("hello")
        await here.screen.shows(f"{nick}: hello")
        assert here.screen.texts.index("* This is refused: nick-refused.") < here.screen.texts.index(
            f"* ann is taken: you are {nick} now."
        )
        here.talk.submit("quit")


@with_port
async def test_a_nickname_that_is_taken_for_a_moment_stays(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "NICK_TRIES", 100)
    async with running(port) as here:
        port.server.lose_sessions()
        port.server.sessions["ghost"] = FakeSession("ann", 99)
        port.abort()
        await here.screen.shows("* This is refused: nick-refused.")
        port.server.sessions.clear()
        await until(lambda: here.talk.state is State.ONLINE)
        assert here.talk.nick == "ann"
        here.talk.submit("quit")


@with_port
async def test_the_end_of_the_session_is_status_4(port: Port) -> None:
    async with running(port) as here:
        port.server.announce({"method": "goodbye", "reason": "you were removed", "reconnect": False})
        port.flush()
        port.hang_up()
        assert await here.status == 4
    assert here.screen.texts[-1] == "! You were removed."


@with_port
async def test_a_terminal_that_is_gone_leaves_properly(port: Port) -> None:
    async with running(port) as here:
        here.talk.submit("last words")
        here.screen.end(EOFError())
    assert port.server.lines["lobby"][0]["text"] == "last words"
    assert port.server.calls[-1][0] == "quit"
    assert here.status.result() == 0


@with_port
async def test_a_server_that_does_not_answer_is_left_after_a_while(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "LEAVE_SECONDS", 0.01)
    async with running(port) as here:
        silence(port)
        here.talk.submit("last words")
        here.screen.end(EOFError())
    assert here.status.result() == 4
    assert here.screen.texts[-1].startswith("Not said: last words")
    port.abort()


@with_port
async def test_leaving_twice_does_not_wait_for_the_server(port: Port) -> None:
    async with running(port) as here:
        silence(port)
        here.talk.submit("hello")
        here.talk.leave()
        here.talk.leave()
        assert await here.status == 4
    assert here.screen.texts[-1].startswith("Not said: hello")
    port.abort()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 0)])
@with_port
async def test_a_signal_leaves_after_everything_is_stored(port: Port, name: str, status: int) -> None:
    async with running(port) as here:
        here.talk.submit("last words")
        os.kill(os.getpid(), signal.Signals[name])
        assert await here.status == status
    assert here.screen.texts[-2:] == ["ann: last words", "* Goodbye, ann."]


@with_port
async def test_an_idle_connection_is_checked_and_its_silence_is_known(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "IDLE_SECONDS", 0.0)
    async with running(port) as here:
        await until(lambda: ("ping", {}) in port.server.calls)
        await until(lambda: here.talk.round_trip)
        silence(port)
        await until(lambda: here.talk.silence > 0.02)
        here.talk.leave()
        here.talk.leave()
    port.abort()


@with_port
async def test_a_failure_of_the_program_is_not_swallowed(port: Port) -> None:
    async with running(port) as here:

        def fail(*_entries: object) -> None:
            raise ZeroDivisionError

        here.screen.show = fail  # type: ignore[method-assign]
        port.say("hi")
        with pytest.raises(ZeroDivisionError):
            await here.status


# TLS


@pytest.fixture
def known_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path / "broadcast" / "known_hosts"


async def use(port: Port, identity: Identity) -> None:
    """Let the server use another certificate."""
    port.close()
    port.abort()
    await port.listen(context=identity.context())


async def asked_about_key(here: Running) -> None:
    """Wait until the user is asked about a key."""
    await until(lambda: here.talk.question is not None)
    assert here.talk.question is not None
    assert here.talk.question.prompt == "Trust this key? (yes or no)"


@with_port
async def test_an_unknown_key_is_asked_about_once_before_anything_is_sent(
    port: Port, tmp_path: Path, known_hosts: Path
) -> None:
    identity = Identity(tmp_path)
    await use(port, identity)
    here = Running(port, nick="ann", tls=True)
    await asked_about_key(here)
    assert here.screen.texts == [
        f"* The certificate of 127.0.0.1:{port.number} is self-signed. Its key:",
        f"* {identity.fingerprint}",
        "* The server's log shows its key, too. Type yes only if both are the same.",
    ]
    here.talk.submit("perhaps")
    here.talk.submit("")
    assert here.screen.texts[3:] == ["! Type yes to trust this key from now on, or no to leave."] * 2
    assert port.server.calls == []
    assert not known_hosts.exists()
    here.talk.submit(" Yes ")
    await until(lambda: here.talk.state is State.ONLINE)
    assert known_hosts.read_text() == f"127.0.0.1:{port.number} {identity.fingerprint}\n"
    here.talk.submit("quit")
    assert await here.status == 0
    async with running(port, tls=True) as again:
        assert len(again.screen.texts) == 1
        again.talk.submit("quit")


@pytest.mark.parametrize("answer", ["no", "NO", "quit"])
@with_port
async def test_a_key_that_the_user_does_not_trust_is_status_7(
    port: Port, tmp_path: Path, known_hosts: Path, answer: str
) -> None:
    await use(port, Identity(tmp_path))
    here = Running(port, nick="ann", tls=True)
    await asked_about_key(here)
    here.talk.submit(answer)
    assert await here.status == 7
    assert here.screen.texts[3:] == ["* The key is not trusted. Nothing was sent."]
    assert (port.server.calls, known_hosts.exists()) == ([], False)


@with_port
async def test_a_user_can_leave_in_place_of_an_answer_about_a_key(
    port: Port, tmp_path: Path, known_hosts: Path
) -> None:
    await use(port, Identity(tmp_path))
    here = Running(port, nick="ann", tls=True)
    await asked_about_key(here)
    here.talk.leave()
    assert await here.status == 0
    assert (port.server.calls, known_hosts.exists()) == ([], False)


@with_port
async def test_a_key_that_cannot_be_stored_is_trusted_for_this_time(
    port: Port, tmp_path: Path, known_hosts: Path
) -> None:
    known_hosts.parent.write_text("a file")
    await use(port, Identity(tmp_path))
    here = Running(port, nick="ann", tls=True)
    await asked_about_key(here)
    here.talk.submit("yes")
    await until(lambda: here.talk.state is State.ONLINE)
    assert here.screen.texts[3].startswith(f"! {known_hosts} cannot be written: ")
    assert here.screen.texts[3].endswith(". The key is trusted for this time only.")
    here.talk.submit("quit")
    assert await here.status == 0


# Passwords


SECRET, OTHER = "correct horse", "battery staple"


@with_port
async def test_a_given_password_is_sent_once_the_user_has_trusted_the_key(
    port: Port, tmp_path: Path, known_hosts: Path
) -> None:
    port.server.passwords["ann"] = SECRET
    await use(port, Identity(tmp_path))
    here = Running(port, SECRET, nick="ann", tls=True)
    await asked_about_key(here)
    here.talk.submit("yes")
    await until(lambda: here.talk.state is State.ONLINE)
    assert here.talk.question is None
    here.talk.submit("quit")
    assert await here.status == 0


async def asked(here: Running, prompt: str = "Password") -> None:
    await until(lambda: here.talk.question is not None and here.talk.question.prompt == prompt)


@with_port
async def test_a_registered_nickname_asks_for_its_password_and_then_for_another_nickname(port: Port) -> None:
    port.server.passwords["ann"] = SECRET
    here = Running(port, nick="ann")
    await asked(here)
    here.talk.submit(OTHER)
    await here.screen.shows("! This is refused: wrong-password. An empty line goes back to the nickname.")
    await asked(here)
    here.talk.submit("")
    await asked(here, "Nickname")
    here.talk.submit("ann")
    await asked(here)
    here.talk.submit(SECRET)
    await until(lambda: here.talk.state is State.ONLINE)
    here.talk.submit("quit")
    assert await here.status == 0


@pytest.mark.parametrize("is_connected", [False, True])
@with_port
async def test_a_changed_key_is_refused_loudly(
    port: Port, tmp_path: Path, known_hosts: Path, is_connected: bool
) -> None:
    old, new = Identity(tmp_path), Identity(tmp_path)
    known_hosts.parent.mkdir()
    known_hosts.write_text(f"127.0.0.1:{port.number} {old.fingerprint}\n")
    await use(port, old if is_connected else new)
    here = Running(port, nick="ann", tls=True)
    if is_connected:
        await until(lambda: here.talk.state is State.ONLINE)
        await use(port, new)
    assert await here.status == 7
    assert here.screen.texts[-5:] == [
        f"! THE KEY OF 127.0.0.1:{port.number} HAS CHANGED, and nothing was sent:",
        f"* now {new.fingerprint},",
        f"* was {old.fingerprint}.",
        "* Somebody may be intercepting the connection. Ask the operator of the server.",
        f"* If the new key is right, remove the line of 127.0.0.1:{port.number} from {known_hosts}",
    ]


@with_port
async def test_a_server_that_an_authority_vouched_for_is_not_asked_about_later(
    port: Port, tmp_path: Path, known_hosts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "authority.pem")))
    await use(port, Identity(tmp_path, by=authority))
    here = Running(port, nick="ann", tls=True)
    await until(lambda: here.talk.state is State.ONLINE)
    await use(port, Identity(tmp_path))
    assert await here.status == 7
    assert here.screen.texts[-2] == f"! No connection to 127.0.0.1:{port.number}: its certificate is self-signed."
    assert not known_hosts.exists()


@with_port
async def test_a_reconnect_uses_the_password_again_and_asks_if_it_was_changed(port: Port) -> None:
    port.server.passwords["ann"] = SECRET
    here = Running(port, nick="ann")
    await asked(here)
    here.talk.submit(SECRET)
    await until(lambda: here.talk.state is State.ONLINE)
    for password in (SECRET, OTHER):
        port.server.passwords["ann"] = password
        port.server.sessions.clear()
        port.abort()
        if password is OTHER:
            await asked(here)
            here.talk.submit("said later")  # a wrong password
            await until(lambda: "! This is refused: wrong-password. " in here.screen.texts[-1])
            await asked(here)
            here.talk.submit(OTHER)
        await until(lambda: bool(port.server.sessions) and here.talk.state is State.ONLINE)
    here.talk.submit("quit")
    assert await here.status == 0
    assert not port.server.lines["lobby"]


@with_port
async def test_without_the_new_password_the_user_goes_on_with_another_nickname(port: Port) -> None:
    port.server.passwords["ann"] = SECRET
    here = Running(port, nick="ann")
    await asked(here)
    here.talk.submit(SECRET)
    await until(lambda: here.talk.state is State.ONLINE)
    port.server.passwords["ann"] = OTHER
    port.server.sessions.clear()
    port.server.say("missed")
    port.abort()
    await asked(here)
    here.talk.submit("")
    await asked(here, "Nickname")
    here.talk.submit("bob")
    await until(lambda: here.talk.state is State.ONLINE)
    assert here.talk.nick == "bob"
    await here.screen.shows("ann: missed")
    assert here.screen.texts.count("ann: missed") == 1
    here.talk.submit("quit")
    assert await here.status == 0


@with_port
async def test_a_file_is_uploaded_while_the_user_goes_on(
    port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_home(monkeypatch, tmp_path)
    (tmp_path / "my report.pdf").write_bytes(b"x" * 100_000)
    web = await WebPort(port).listen()
    async with running(port) as here:
        here.talk.submit("/upload ~/my report.pdf\nhello\n/upload ~/missing\nquit")
    assert await here.status == 0
    url = f"http://127.0.0.1:{web.number}/files/k3x/my%20report.pdf"
    assert f"* ann shared my report.pdf (100 kB): {url}" in here.screen.texts
    (why,) = (text for text in here.screen.texts if text.startswith("! missing is not shared: "))
    assert re.search(rf"{re.escape(str(tmp_path / 'missing'))} cannot be read: {IS_MISSING}\.$", why)
    assert here.screen.texts[-1] == "* Goodbye, ann."
    web.close()


@with_port
async def test_a_cancelled_upload_leaves_nothing_behind(port: Port, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(20_000_000))
    web = await WebPort(port).listen()
    web.is_paused = True
    async with running(port) as here:
        here.talk.submit(f"/upload {path}")
        await until(lambda: here.talk.uploads and here.talk.uploads[0].sent)
        assert here.talk.cancel()
        web.is_paused = False
        here.talk.submit("hello\nquit")
    assert await here.status == 0
    assert here.screen.texts[-3:] == ["* The upload of large is cancelled.", "ann: hello", "* Goodbye, ann."]
    web.close()
