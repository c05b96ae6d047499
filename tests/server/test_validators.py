"""Each setting has its range and its form, and an error names the setting."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from broadcast.core.errors import StartupError
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.server.config import Config, load_config
from broadcast.server.validators import LIMITS, MOTD_BYTES, MOTD_LINES


def load(folder: Path, toml: str, **command_line: object) -> Config:
    """Return the settings from a config file that holds *toml*, and from the *command_line*."""
    (folder / "chat.toml").write_text(toml, encoding="utf-8")
    return load_config({"config": "chat.toml", **command_line}, folder)


def load_error(folder: Path, **command_line: object) -> str:
    """Return the message with which the *command_line* is rejected."""
    with pytest.raises(StartupError) as caught:
        load_config(command_line, folder)
    return str(caught.value)


@pytest.mark.parametrize(
    "issuer",
    [
        *("http://login.example.com", "login.example.com", "https://", "https://x y", "https://x?y", "https://x#y"),
        *("https://ann@x", "https://x:99999", "https://[::1", "ftp://x", "https://\u00e9", "http://localhost.example"),
        *("", 7),
    ],
)
def test_issuer_without_encryption_or_with_more_than_an_address_is_rejected(tmp_path: Path, issuer: object) -> None:
    assert load_error(tmp_path, oidc=issuer, **{"oidc-client-id": "chat"}).startswith("--oidc takes ")


@pytest.mark.parametrize("path", ["/", "/chat", "/chat/", "/a/b-c_d.e~f"])
def test_path_of_the_page_has_no_slash_at_its_end(tmp_path: Path, path: str) -> None:
    assert load_config({"web": "8080", "web-path": path}, tmp_path).web_path == path.rstrip("/")


@pytest.mark.parametrize(
    "path", ["", "chat", "//", "/a//b", "/a b", "/a?b", "/a#b", "/..", "/%41", "/\u00e9", "/a\r\n", 7]
)
def test_other_paths_are_rejected(tmp_path: Path, path: object) -> None:
    assert load_error(tmp_path, web="8080", **{"web-path": path}).startswith("--web-path takes ")


@pytest.mark.parametrize(
    "url",
    [
        *("chat.example.com", "https://", "ftp://chat.example.com", "https://a b", "https://a?b", "https://a#b"),
        *("https://ann@a", "https://a:99999", "https://[::1", "https://\u00e9.example", "//a", "", 7),
    ],
)
def test_addresses_that_are_none_are_rejected(tmp_path: Path, url: object) -> None:
    for setting in ("web-url", "web-origin"):
        assert load_error(tmp_path, web="8080", **{setting: url}).startswith(f"--{setting} takes ")


def test_origin_has_no_path(tmp_path: Path) -> None:
    assert load_error(tmp_path, web="8080", **{"web-origin": "https://a/b"}) == (
        "--web-origin takes a scheme and a host, as in https://chat.example.com, not 'https://a/b'."
    )
    assert load_config({"web": "8080", "web-url": "https://a/b"}, tmp_path).web_url == "https://a/b/"


@pytest.mark.parametrize("proxy", ["", "proxy.example", "10.0.0.0/33", "10.0.0.1:80", "*", 7])
def test_proxies_are_addresses(tmp_path: Path, proxy: object) -> None:
    assert load_error(tmp_path, web="8080", **{"trusted-proxy": proxy}).startswith("--trusted-proxy takes ")


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 33, "küche", 7])
@pytest.mark.parametrize("setting", ["lobby", "room"])
def test_room_names_are_checked(tmp_path: Path, setting: str, name: object) -> None:
    expected = f"--{setting} takes a room's name, 1 to 32 of a-z, 0-9, _ and -, not {name!r}."
    assert load_error(tmp_path, rooms="fixed", **{setting: name}) == expected


def test_every_limit_is_a_setting_and_accepts_its_lowest_value_and_default(tmp_path: Path) -> None:
    assert {limit.field for limit in LIMITS.values()} == {field.name for field in fields(Limits)}
    limits = load(tmp_path, "".join(f"{name} = {limit.low}\n" for name, limit in LIMITS.items())).limits
    assert limits == Limits(**{limit.field: limit.low for limit in LIMITS.values()})  # type: ignore[arg-type]
    assert limits != DEFAULTS
    for limit in LIMITS.values():
        default = getattr(DEFAULTS, limit.field)
        assert default is None or limit.low <= default <= limit.high


@pytest.mark.parametrize("port", ["65536", "-1", "+5", "", " ", "٣", pytest.param("9" * 5000, id="5000 digits")])
def test_invalid_port_number_is_rejected(tmp_path: Path, port: str) -> None:
    message = "--port takes a number from 0 to 65535 or a Twisted endpoint description"
    error = load_error(tmp_path, port=[port])
    assert error.startswith(message)
    assert ", not '" in error


def test_name_is_sanitized(tmp_path: Path) -> None:
    assert load_config({"name": " The\x1b[2J\r\nPub\u202e "}, tmp_path).name == "ThePub"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"one\r\ntwo\rthree\nfour", ("one", "two", "three", "four")),
        (b"\xef\xbb\xbfone\n\n  two  \n\n\n", ("one", "", "  two")),
        (b"a\x1b[31m\tb\x0cc\xe2\x80\xa8d", ("a bc d",)),
        (b"", ()),
        (b"x\n" * MOTD_LINES, ("x",) * MOTD_LINES),
    ],
    ids=["line ends", "byte order mark and blank lines", "control characters", "empty", "longest"],
)
def test_message_of_the_day_is_sanitized_lines(tmp_path: Path, text: bytes, lines: tuple[str, ...]) -> None:
    (tmp_path / "motd").write_bytes(text)
    assert load_config({"motd": "motd"}, tmp_path).motd == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"fine\n\xff\n", "line 2 of "),
        (b"x\n" * (MOTD_LINES + 1), f"Shorten it to {MOTD_LINES}."),
        (b"x" * (MOTD_BYTES + 1), f"Shorten it to {MOTD_BYTES} bytes."),
    ],
    ids=["not UTF-8", "too many lines", "too many bytes"],
)
def test_invalid_message_of_the_day_is_rejected(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "motd").write_bytes(text)
    assert load_error(tmp_path, motd="motd").startswith("--motd: ")
    assert message in load_error(tmp_path, motd="motd")


def test_motd_can_be_read_again(tmp_path: Path) -> None:
    assert Config().read_motd() == ()
    (tmp_path / "motd").write_text("First.\n")
    config = load(tmp_path, "motd = 'motd'")
    (tmp_path / "motd").write_text("Second.\n")
    assert (config.motd, config.read_motd()) == (("First.",), ("Second.",))
    (tmp_path / "motd").unlink()
    with pytest.raises(StartupError, match=r"^motd in chat\.toml: cannot read "):
        config.read_motd()
