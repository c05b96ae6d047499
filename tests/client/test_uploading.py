"""``upload`` of the library against a fake server on real ports."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import ssl
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client import aio, uploading
from broadcast.client.aio import (
    Ended,
    FileRejected,
    NotInRoom,
    Rejected,
    Shared,
    Unreachable,
    Untrusted,
    UploadFailed,
    connect,
)
from broadcast.client.protocol.events import show_size
from broadcast.client.protocol.requests import Slot
from broadcast.client.uploading import LocalFile
from tests.client.protocol.fake_server import FakeConnection, Port, Refusal
from tests.client.tls_servers import Identity
from tests.client.web_port import WebPort
from tests.platforms import IS_MISSING, IS_REFUSED, not_on_windows

PATIENCE = 30
"""Maximum number of seconds for anything that takes milliseconds."""
DATA = os.urandom(300_000)


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "backoff", lambda *_: 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "report.pdf"
    path.write_bytes(DATA)
    return path


def with_ports(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test with a port of the program protocol and a web port, its first argument, in a loop of its own."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:  # noqa: ANN401 -- pytest's fixtures
        async def main() -> None:
            async with asyncio.timeout(PATIENCE):
                web = await WebPort(await Port().listen()).listen()
                await test(web, **fixtures)
                web.close()
                web.port.close()

        asyncio.run(main())

    _, *others = inspect.signature(test).parameters.values()
    run.__signature__ = inspect.Signature(others)  # type: ignore[attr-defined]
    return run


def joined(web: WebPort, **options: Any) -> Any:  # noqa: ANN401
    return connect("127.0.0.1", web.port.number, nick="ann", **options)


@with_ports
async def test_a_file_is_shared_in_a_room(web: WebPort, path: Path) -> None:
    seen: list[tuple[int, int]] = []
    async with joined(web) as chat:
        shared = await chat.upload(path, progress=lambda *numbers: seen.append(numbers))
        assert shared.file.url == f"http://127.0.0.1:{web.number}/files/k3x/report.pdf"
        assert (shared.room, shared.seq, shared.file.size) == ("lobby", 1, len(DATA))
        assert shared.text == f"shared report.pdf (300 kB): {shared.file.url}"
        assert chat.is_own(shared)
        async for event in chat:
            assert event == shared
            break
        assert await chat.history() == [shared]
    assert seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen)
    ((request, headers),) = web.requests
    assert request == "PUT /files/report.pdf"
    assert headers == {
        "Host": f"127.0.0.1:{web.number}", "Authorization": "Bearer secret-1", "Content-Length": str(len(DATA)),
        "Content-Type": "application/pdf", "Expect": "100-continue", "Connection": "close",
    }  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, uploading.CHUNK_BYTES])
def test_files_of_any_size_are_shared(size: int, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(DATA[:size])

    @with_ports
    async def share(web: WebPort) -> None:
        async with joined(web) as chat:
            assert (await chat.upload(str(path))).file.size == size

    share()


@with_ports
async def test_an_upload_goes_on_where_connections_have_broken(web: WebPort, path: Path) -> None:
    web.cuts = [0, 1, 70_000, 1, 100_000]
    async with joined(web) as chat:
        assert (await chat.upload(path)).seq == 1
    places = [headers.get("Content-Range", "") for request, headers in web.requests if request.startswith("PUT")]
    assert len(places) == 6
    assert places[0] == ""
    assert places[-1].endswith(f"-{len(DATA) - 1}/{len(DATA)}")


@with_ports
async def test_a_file_is_shared_once_if_the_answer_is_lost(web: WebPort, path: Path) -> None:
    web.before_answer = lambda: None
    async with joined(web) as chat:
        assert (await chat.upload(path)).seq == 1
    assert len(web.port.server.lines["lobby"]) == 1
    assert [request.split()[0] for request, _ in web.requests] == ["PUT", "HEAD"]


@with_ports
async def test_a_complete_file_is_waited_for_and_not_sent_again(web: WebPort, path: Path) -> None:
    web.seconds_to_finish = 0.05
    async with joined(web) as chat:
        assert (await chat.upload(path)).seq == 1
    methods = [request.split()[0] for request, _ in web.requests]
    assert methods[0] == "PUT"
    assert set(methods[1:]) == {"HEAD"}


@with_ports
async def test_a_refusal_that_may_end_is_given_up_at_last(web: WebPort, path: Path) -> None:
    web.refusal = ("503 Service Unavailable", "the disk of the server is full.")
    async with joined(web) as chat:
        with pytest.raises(FileRejected, match=r"^the disk of the server is full\.$|^503 Service Unavailable$"):
            await chat.upload(path)
    *_, last = web.requests
    assert len(web.requests) == uploading.MAX_REFUSALS + 2
    assert last[0] == "DELETE /files/report.pdf"


@with_ports
async def test_a_server_that_has_forgotten_the_upload_gets_it_again(web: WebPort, path: Path) -> None:
    web.cuts = [100_000]
    exchange = uploading.Sender._exchange

    async def forget(sender: uploading.Sender, method: str) -> Any:  # noqa: ANN401
        if method == "HEAD":
            web.slots.clear()
        return await exchange(sender, method)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploading.Sender, "_exchange", forget)
        async with joined(web) as chat:
            assert (await chat.upload(path)).seq == 1
            web.cuts = [1] * 9
            path.write_bytes(DATA[:10])
            with pytest.raises(UploadFailed, match=r"^the server has not taken the file: 410 Gone$"):
                await chat.upload(path)


@with_ports
async def test_a_server_that_is_down_for_a_while_gets_the_rest(web: WebPort, path: Path) -> None:
    web.cuts = [100_000]
    exchange = uploading.Sender._exchange
    attempts = 0

    async def restart(sender: uploading.Sender, method: str) -> Any:  # noqa: ANN401
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            web.close()
        elif attempts == 5:
            await web.listen()
        return await exchange(sender, method)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploading.Sender, "_exchange", restart)
        async with joined(web) as chat:
            assert (await chat.upload(path)).seq == 1
    assert len(web.requests) == 3


@with_ports
async def test_an_upload_without_progress_is_given_up(web: WebPort, path: Path) -> None:
    web.cuts = [100_000]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploading, "PATIENCE_SECONDS", 0.0)
        async with joined(web) as chat:
            with pytest.raises(UploadFailed, match=r"^no connection to 127.0.0.1:\d+ for files: "):
                await chat.upload(path)


@with_ports
async def test_the_sentence_of_a_refusal_is_raised(web: WebPort, path: Path) -> None:
    async with joined(web) as chat:
        web.refusal = ("507 Insufficient Storage", "the files on this server take 1 GB, which is the limit.")
        with pytest.raises(FileRejected, match=r"^the files on this server take 1 GB, which is the limit\.$"):
            await chat.upload(path)
        web.refusal = ("413 Content Too Large", "")
        with pytest.raises(FileRejected, match=r"^413 Content Too Large$"):
            await chat.upload(path)
        with pytest.raises(NotInRoom):
            await chat.upload(path, "kitchen")


@pytest.mark.parametrize(
    ("status", "error"), [("410 Gone", UploadFailed), ("507 Insufficient Storage", FileRejected)]
)  # fmt: skip
def test_a_refusal_ends_an_upload_although_a_load_balancer_waits_for_the_file(
    status: str, error: type[Exception], path: Path
) -> None:
    @with_ports
    async def refuse(web: WebPort) -> None:
        web.refusal, web.closes = (status, "not here."), False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(uploading, "SILENCE_SECONDS", 3600.0)
            patch.setattr(uploading, "DELETE_SECONDS", 3600.0)
            async with joined(web) as chat:
                with pytest.raises(error, match="not here"):
                    await chat.upload(path)

    refuse()


@with_ports
async def test_a_server_without_files_or_without_its_web_port_says_so(web: WebPort, path: Path) -> None:
    async with joined(web) as chat:
        web.close()
        with pytest.raises(Unreachable, match=rf"^no connection to 127.0.0.1:\d+ for files: {IS_REFUSED}$"):
            await chat.upload(path)
        web.port.server.give_slot = None
        with pytest.raises(Rejected, match="method-not-found"):
            await chat.upload(path)


@with_ports
async def test_another_service_in_the_place_of_the_web_port(web: WebPort, path: Path) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    web.close()
    other = await asyncio.start_server(serve, "127.0.0.1", web.number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploading, "PATIENCE_SECONDS", 0.0)
        async with joined(web) as chat:
            with pytest.raises(UploadFailed, match="its answer is no HTTP"):
                await chat.upload(path)
    other.close()


@with_ports
async def test_a_cancelled_upload_shares_nothing_and_ends_its_slot(web: WebPort, path: Path) -> None:
    async with joined(web) as chat:
        web.is_paused = True
        started = asyncio.Event()
        upload = asyncio.create_task(chat.upload(path, progress=lambda *_: started.set()))
        await started.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        web.is_paused = False
        assert web.requests[-1][0] == "DELETE /files/report.pdf"
        assert web.slots == {}
        assert await chat.history() == []
        assert await chat.say("hi") == 1


@with_ports
async def test_the_end_of_the_session_ends_an_upload(web: WebPort, path: Path) -> None:
    async with joined(web) as chat:
        web.port.server.fails["upload"] = Refusal(1030, "too-many-files", retry=60)
        with pytest.raises(FileRejected) as error:
            await chat.upload(path)
        assert error.value.retry == 60
    with pytest.raises(Ended):
        await chat.upload(path)


def test_files_are_sent_with_the_rules_of_the_session_for_certificates(tmp_path: Path, path: Path) -> None:
    async def main() -> None:
        identity, other = Identity(tmp_path), Identity(tmp_path)
        port = await Port().listen(context=identity.context())
        web = await WebPort(port).listen(identity.context())
        async with joined(web, fingerprint=identity.fingerprint) as chat:
            assert (await chat.upload(path)).file.url.startswith("https://")
        async with joined(web, ssl=ssl.create_default_context(cafile=str(identity.path))) as chat:
            assert (await chat.upload(path)).seq == 2
        web.close()
        web = await WebPort(port).listen(other.context())
        async with joined(web, fingerprint=identity.fingerprint) as chat:
            with pytest.raises(Untrusted) as error:
                await chat.upload(path)
            assert str(error.value).startswith(f"the key of 127.0.0.1:{web.number} is {other.fingerprint}, and not ")
        web.close()
        web = await WebPort(port).listen()
        async with joined(web, fingerprint=identity.fingerprint) as chat:
            with pytest.raises(Unreachable, match=r"^the server takes files only without encryption, at http://"):
                await chat.upload(path)
        assert web.requests == []
        web.close()
        port.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_any_certificate_will_do_if_the_session_has_no_tls(tmp_path: Path, path: Path) -> None:
    async def main() -> None:
        web = await WebPort(await Port().listen()).listen(Identity(tmp_path).context())
        async with joined(web) as chat:
            assert (await chat.upload(path)).file.url.startswith("https://")
        web.close()
        web.port.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@with_ports
async def test_a_chat_connection_that_breaks_does_not_end_the_upload(web: WebPort, path: Path) -> None:
    async with joined(web) as chat:
        shared = await chat.upload(path, progress=lambda *_: web.port.abort())
        assert shared.seq == 1
    assert [method for method, _ in web.port.server.calls].count("upload") == 2


# What the server sends


@pytest.mark.parametrize(
    "url",
    [
        "", "/files/a", "ftp://h/a", "http://", "http://[::1/a", "http://h:99999/a", "http://h:x/a", "http://h/a b",
        "http://h/a\x0bb", "http://h/é", "http://\u2100/a",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused(url: str, path: Path) -> None:
    with closing(LocalFile(path)) as file, pytest.raises(Unreachable, match="an address that cannot be used"):
        uploading.Sender(Slot(url, "secret"), file, lambda _host: None, lambda *_: None)


def test_a_token_with_a_line_end_is_refused(path: Path) -> None:
    with closing(LocalFile(path)) as file, pytest.raises(Unreachable, match="an address that cannot be used") as error:
        uploading.Sender(Slot("http://h/a", "secret\r\nX: y"), file, lambda _host: None, lambda *_: None)
    assert "secret" not in str(error.value)


async def read_answer(method: str, data: bytes, *, is_closed: bool = False) -> uploading.Answer:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    if is_closed:
        reader.feed_eof()
    return await asyncio.wait_for(uploading._read_answer(method, reader, asyncio.Event()), PATIENCE)


@pytest.mark.parametrize(
    ("method", "answer", "sentence"),
    [
        ("PUT", b"413 Too Large\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", "413 Too Large"),
        ("PUT", b"413 Too Large\r\nContent-Type: text/plain; charset=utf-8\r\ncontent-length:4\r\n\r\nno\nm", "no"),
        ("PUT", b"100 Continue\r\n\r\nHTTP/1.1 507 Full\r\nContent-Length: 6\r\n\r\nfull.\n", "full."),
        ("PUT", b"507 Full\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfull", "507 Full"),
        ("PUT", b"507 Full\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000, "x" * 500),
        ("PUT", b"201 Created\r\nContent-Length: 0\r\n\r\n", "201 Created"),
        ("DELETE", b"204 No Content\r\n\r\n", "204 No Content"),
        ("HEAD", b"410 Gone\r\nContent-Length: 4\r\n\r\n", "410 Gone"),
    ],
)  # fmt: skip
def test_the_sentence_of_an_answer_is_its_plain_text_or_its_status(method: str, answer: bytes, sentence: str) -> None:
    assert asyncio.run(read_answer(method, b"HTTP/1.1 " + answer)).sentence == sentence


@given(st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 507 A\r\n\r\n"]), st.binary())
def test_any_answer_is_one_or_is_an_error_that_is_caught(start: bytes, rest: bytes) -> None:
    with suppress(OSError):
        asyncio.run(read_answer("PUT", start + rest, is_closed=True))


# The file


def test_the_hash_of_a_huge_file_is_left_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(LocalFile(path)) as file:
        assert len(file.hash()) == 64
        monkeypatch.setattr(uploading, "MAX_HASHED", len(DATA) - 1)
        assert file.hash() == ""


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UploadFailed, match=rf"missing cannot be read: {IS_MISSING}$"):
        LocalFile(tmp_path / "missing")
    with pytest.raises(UploadFailed, match=r"is not a file but a folder or a device$"):
        LocalFile(tmp_path)


@not_on_windows("a folder of Windows holds no pipes")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UploadFailed, match=r"is not a file but a folder or a device$"):
        LocalFile(tmp_path / "pipe")


@with_ports
async def test_a_file_that_becomes_shorter_is_not_shared(web: WebPort, path: Path) -> None:
    give_slot = web._give_slot

    def shorten(connection: FakeConnection, params: dict[str, Any]) -> dict[str, Any]:
        path.write_bytes(DATA[:10])
        return give_slot(connection, params)

    web.port.server.give_slot = shorten
    async with joined(web) as chat:
        with pytest.raises(UploadFailed, match="has become shorter while it was sent"):
            await chat.upload(path)
        assert web.slots == {}
        assert await chat.history() == []


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (9_950, "10 kB"),
        (340_000, "340 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (1_234_567, "1.2 MB"), (26_214_400, "26 MB"),
        (3 * 10**12, "3000 GB"),
    ],
)  # fmt: skip
def test_sizes_are_shown_as_by_the_server(size: int, text: str) -> None:
    assert show_size(size) == text


def test_a_removed_file_has_no_address() -> None:
    shared = Shared("lobby", 1, 0.0, "ann", aio.File("a.txt", 1200))
    assert shared.text == "shared a.txt (1.2 kB): no longer there"


def test_the_token_of_a_slot_is_not_shown() -> None:
    assert "secret" not in repr(Slot("http://h/files/a", "secret"))
