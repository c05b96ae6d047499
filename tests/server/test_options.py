"""The command line of twistd broadcast: its settings, its help, and its errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from twisted.application.app import ServerOptions

from broadcast import __version__
from broadcast.core.limits import Limits
from broadcast.server.config import Config
from broadcast.server.options import Options
from broadcast.server.validators import LIMITS, VALIDATORS


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def parse(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(arguments)
    return options


def parse_error(*arguments: str) -> str:
    """Return the line with which these *arguments* end the process."""
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    line = caught.value.code
    assert isinstance(line, str)
    assert line.startswith("broadcast: ")
    assert "\n" not in line
    return line


def test_every_option_is_a_setting(tmp_path: Path) -> None:
    assert parse().config == Config(data=tmp_path / "broadcast-data")
    Path("motd").write_text("Hello.\n")
    options = (
        "--port 0 -p unix:a,b -i ::1 --name=Pub --motd motd --replay 7 --probe 30 --gone 90 --unicode-nicknames "
        "--data here --metrics 9464 --tls 0 --tls unix:tls --cert c --key k "
        "--log-format json --lobby Hall --rooms fixed --room kitchen --room attic "
        "--web 8080 --web unix:web --web-tls 8443 --web-path /chat --web-url https://chat.example/ --web-hsts "
        "--web-origin https://a.example --web-origin http://b.example:81/ --trusted-proxy 10.0.0.1 --trusted-proxy unix"
    )
    assert parse(*options.split()).config == Config(
        ("0", "unix:a,b"),
        "::1",
        "Pub",
        ("Hello.",),
        7,
        30,
        90,
        unicode_nicknames=True,
        data=tmp_path / "here",
        tls=("0", "unix:tls"),
        cert=tmp_path / "c",
        key=tmp_path / "k",
        metrics="9464",
        log_format="json",
        lobby="hall",
        fixed_rooms=("kitchen", "attic"),
        web=("8080", "unix:web"),
        web_tls=("8443",),
        web_path="/chat",
        web_url="https://chat.example/",
        web_hsts=True,
        web_origins=("https://a.example", "http://b.example:81"),
        trusted_proxies=("10.0.0.1", "unix"),
    )
    assert parse("--ephemeral").config.data is None
    limits = parse("--paste-lines", "5", "--lines-per-second", "0.5", "--limits", "on").config.limits
    assert limits == Limits(paste_lines=5, lines_per_second=0.5)
    assert parse("--limits", "off").config.limits == Limits().without_client_limits()
    Path("chat.toml").write_text("port = [1, 2]\nreplay = 0\nunicode-nicknames = true")
    config = parse("--config", "chat.toml", "--port", "3").config
    assert (config.ports, config.replay, config.unicode_nicknames) == (("3",), 0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--prot 5", "option --prot not recognized; twistd broadcast --help lists the options."),
        ("--port", "option --port requires argument; "),
        ("--ephemeral=no", "option --ephemeral must not have an argument; "),
        ("5555", "'5555' is not an option (a port is given as --port 5555); "),
        ("--port 99999", "--port takes a number from 0 to 65535 or a Twisted endpoint description"),
        ("--room kitchen", "--room names a room of --rooms fixed, but --rooms is open: "),
        ("--lobby #chat", "--lobby takes a room's name, 1 to 32 of a-z, 0-9, _ and -, not '#chat'."),
        ("--log-format xml", "--log-format takes text or json, not 'xml'."),
        ("--replay many", "--replay takes a whole number from 0 to 1000, not 'many'."),
        ("--lines-per-second 1e9", "--lines-per-second takes a number from 0.02 to 1000000, not '1e9'."),
        ("--paste-lines 1.5", "--paste-lines takes a whole number from 1 to 100000, not 1.5."),
        ("--limits maybe", "--limits takes on or off, not 'maybe'."),
        ("--replay -1", "--replay takes a whole number from 0 to 1000, not '-1'."),
        ("--replay 99999999999999", "--replay takes a whole number from 0 to 1000"),
        ("--probe soon", "--probe takes a whole number from 0 to 3600, not 'soon'."),
        ("--gone 30", "gone (30) must be more seconds than probe (60): a silent client is probed first"),
        ("--motd nowhere", "--motd: cannot read "),
        ("--ephemeral --data x", "--ephemeral stores nothing on disk, --data names a folder: choose one."),
    ],
)
def test_invalid_option_is_reported_in_one_line(arguments: str, message: str) -> None:
    assert parse_error(*arguments.split()).startswith(f"broadcast: {message}")


@pytest.mark.parametrize("option", ["--logfile=log", "--logfile", "-l", "--reactor=select"])
def test_an_option_of_twistd_belongs_before_the_word_broadcast(option: str) -> None:
    options = Options()
    options.parent = ServerOptions()  # type: ignore[no-untyped-call]
    with pytest.raises(SystemExit, match=r"; it is an option of twistd: write it before the word broadcast[.]$"):
        options.parseOptions([option])


def test_each_limit_can_have_its_highest_value() -> None:
    config = parse(*(text for name, limit in LIMITS.items() for text in (f"--{name}", str(limit.high)))).config
    assert config.limits == Limits(**{limit.field: limit.high for limit in LIMITS.values()})  # type: ignore[arg-type]


def test_error_message_is_sanitized() -> None:
    assert "\x1b" not in parse_error("--config", "no\nwhere\x1b[2J")


def test_help_shows_every_option_with_its_default_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    # No text has the indentation of a docstring.
    assert not re.search(r"\S  +\S", re.sub(r"^ .*?--\S*", "", text, flags=re.MULTILINE))
    flat = " ".join(text.split())
    for option in [*VALIDATORS, "config"]:
        help_text = re.search(rf"--{option}[= ] ?(.*?)(?: -\w, --| --[a-z-]+=? |$)", flat)
        assert help_text is not None, option
        assert "default" in help_text[1], option


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"broadcast {__version__}\n"
