"""The files of the page: their types, their ETags, and their compression."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import pytest

from broadcast.doors.web.static import accepts_gzip, is_known, load_files
from tests.doors.web.browsers import HttpClient, HttpWorld

if TYPE_CHECKING:
    from pathlib import Path

    from broadcast.doors.web.http import Reply, Request

PAGE = b'<!doctype html><script type="module" src="app.js"></script>' + b"<p>hello</p>" * 100
PICTURE = b"\x89PNG\r\n\x1a\n123"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with some files, not all of which are the page's."""
    for name, content in {
        "index.html": PAGE,
        "app.js": b"export {};",
        "icon.png": PICTURE,
        "page.webmanifest": b"{}",
        "notes.txt": b"private",
        ".hidden.js": b"private",
        "README": b"private",
        "app.js~": b"private",
    }.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def client(folder: Path) -> HttpClient:
    """A client of a server with these files alone."""
    files = load_files(folder)

    def handle(request: Request, reply: Reply) -> None:
        files[request.path].handle(request, reply)

    world = HttpWorld()
    world.answer = handle
    return world.client()


def test_only_files_of_known_types_are_served(folder: Path) -> None:
    names = {path.rpartition("/")[2] for path in load_files(folder)}
    assert names == {"", "index.html", "app.js", "icon.png", "page.webmanifest"}


def test_index_names_all_modules_in_a_folder_that_browsers_need_not_ask_for_again(client: HttpClient) -> None:
    index = client.get("/")
    (source,) = re.findall(r'src="(.*?)"', index.body.decode())
    assert index.headers["link"] == f"<{source}>; rel=modulepreload"
    module = client.get(f"/{source}")
    assert module.body == client.get("/app.js").body
    assert module.headers["cache-control"] == "max-age=31536000, immutable"
    assert index.headers["cache-control"] == client.get("/app.js").headers["cache-control"] == "no-cache"


def test_changed_module_is_in_another_folder(folder: Path) -> None:
    before = load_files(folder)
    (folder / "app.js").write_bytes(b"export {}; // changed")
    after = load_files(folder)
    assert before["/"].content != after["/"].content
    assert before["/"].etag != after["/"].etag


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/icon.png", "image/png"),
        ("/page.webmanifest", "application/manifest+json"),
    ],
)
def test_files_have_their_types(path: str, content_type: str, client: HttpClient) -> None:
    response = client.get(path)
    assert response.status == 200
    assert response.headers["content-type"] == content_type
    assert response.headers["cache-control"] == "no-cache"


def test_page_is_compressed_for_those_who_accept_it(client: HttpClient) -> None:
    plain = client.get("/")
    packed = client.get("/", accept_encoding="gzip, deflate, br")
    assert plain.body == gzip.decompress(packed.body)
    assert len(packed.body) < len(PAGE) / 5
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] != packed.headers["etag"]


def test_what_does_not_shrink_is_not_compressed(client: HttpClient) -> None:
    response = client.get("/icon.png", accept_encoding="gzip")
    assert response.body == PICTURE
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_known_file_is_not_sent_again(encoding: str | None, client: HttpClient) -> None:
    first = client.get("/", accept_encoding=encoding)
    again = client.get("/", accept_encoding=encoding, if_none_match=first.headers["etag"])
    assert again.status == 304
    assert again.body == b""
    for name in ("etag", "cache-control", "vary"):
        assert again.headers[name] == first.headers[name]


def test_changed_file_has_another_etag(folder: Path) -> None:
    before = load_files(folder)["/"].etag
    assert load_files(folder)["/"].etag == before
    (folder / "index.html").write_bytes(PAGE + b"!")
    assert load_files(folder)["/"].etag != before


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_head_has_the_header_of_get(encoding: str | None, client: HttpClient) -> None:
    got = client.get("/", accept_encoding=encoding)
    head = client.get("/", "HEAD", accept_encoding=encoding)
    assert head.headers == got.headers
    assert client.rest() == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO", "get"])
def test_other_methods_are_not_allowed(method: str, client: HttpClient) -> None:
    response = client.get("/", method)
    assert response.status == 405
    assert response.headers["allow"] == "GET, HEAD"
    assert response.text == "This address allows GET, HEAD only.\n"


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("*", True),
        ("gzip;q=0.001", True),
        ("identity", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("xgzip", False),
        ("gzip;q=abc", False),
    ],
)
def test_header_decides_about_compression(accepted: str, expected: bool) -> None:
    assert accepts_gzip(accepted) is expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", W/"a" ,"c"', True),
        ("*", True),
        ('"b"', False),
        ("a", False),
        ('"a-gzip"', False),
        ("", False),
    ],
)
def test_etags_are_compared_weakly(known: str, expected: bool) -> None:
    assert is_known('"a"', known) is expected
