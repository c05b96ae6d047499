"""The settings: what wins, and what is said about what is wrong."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from broadcast.core.errors import StartupError
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.server.config import LIMITS, MOTD_BYTES, MOTD_LINES, Config, load_config


def from_file(folder: Path, toml: str, **given: object) -> Config:
    """The settings that the config file *toml* makes, below what is *given* on the command line."""
    (folder / "chat.toml").write_text(toml, encoding="utf-8")
    return load_config({"config": "chat.toml", **given}, folder)


def test_nothing_given_is_the_defaults_in_the_folder_of_the_start(tmp_path: Path) -> None:
    config = load_config({}, tmp_path)
    assert config == Config(data=tmp_path / "broadcast-data")
    assert config.ports == ("5555",)
    assert (config.interface, config.name, config.motd, config.replay) == (None, "Broadcast", (), 20)
    assert config.unicode_nicknames is False
    assert (config.metrics, config.log_format) == (None, "text")
    assert (config.probe, config.gone) == (60, 150)


def test_the_config_file_knows_every_name_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "motd").write_text("Hello.\n")
    config = from_file(
        tmp_path,
        """
        port = [0, "unix:chat.sock"]
        interface = "::"
        name = "The Pub"
        motd = "motd"
        replay = 5
        probe = 30
        gone = 90
        unicode-nicknames = true
        data = "kept"
        ephemeral = false
        metrics = 9464
        log-format = "json"
        """,
    )
    assert config == Config(
        ("0", "unix:chat.sock"),
        "::",
        "The Pub",
        ("Hello.",),
        5,
        30,
        90,
        unicode_nicknames=True,
        data=tmp_path / "kept",
        metrics="9464",
        log_format="json",
    )


def test_every_limit_is_a_setting(tmp_path: Path) -> None:
    """Each is set to the lowest that it may be."""
    assert {limit.field for limit in LIMITS.values()} == {field.name for field in fields(Limits)}
    toml = "".join(f"{name} = {limit.low}\n" for name, limit in LIMITS.items())
    limits = from_file(tmp_path, toml).limits
    assert limits == Limits(**{limit.field: limit.low for limit in LIMITS.values()})  # type: ignore[arg-type]
    assert limits != DEFAULTS


@pytest.mark.parametrize("name", LIMITS)
def test_its_default_is_one_that_it_may_be(name: str) -> None:
    limit = LIMITS[name]
    default = getattr(DEFAULTS, limit.field)
    assert default is None or limit.low <= default <= limit.high


@pytest.mark.parametrize(
    ("toml", "given", "lifted"),
    [
        ("", {}, False),
        ('limits = "off"', {}, True),
        ("limits = false", {}, True),
        ('limits = "on"', {"limits": "off"}, True),
        ("limits = false", {"limits": "on"}, False),
    ],
)
def test_limits_on_people_and_addresses_can_be_lifted(
    tmp_path: Path, toml: str, given: dict[str, object], *, lifted: bool
) -> None:
    limits = from_file(tmp_path, "paste-lines = 5\n" + toml, **given).limits
    expected = Limits(paste_lines=5)
    assert limits == (expected.without_client_limits() if lifted else expected)


def test_the_command_line_wins(tmp_path: Path) -> None:
    config = from_file(tmp_path, 'port = 1\nname = "file"\nreplay = 3', port=["2", "3"], name="line")
    assert (config.ports, config.name, config.replay) == (("2", "3"), "line", 3)


def test_who_is_silent_need_not_be_probed(tmp_path: Path) -> None:
    assert load_config({"probe": 0, "gone": 1}, tmp_path).probe == 0


@pytest.mark.parametrize(
    ("toml", "given", "data"),
    [
        ("ephemeral = true", {}, None),
        ("ephemeral = true", {"data": "there"}, "there"),
        ('data = "there"', {"ephemeral": True}, None),
        ('data = "there"', {"data": "here"}, "here"),
    ],
)
def test_it_wins_about_where_to_keep_what_is_said_too(
    tmp_path: Path, toml: str, given: dict[str, object], data: str | None
) -> None:
    assert from_file(tmp_path, toml, **given).data == (None if data is None else tmp_path / data)


def test_an_absolute_folder_stays_what_it_is(tmp_path: Path) -> None:
    assert load_config({"data": "/srv/chat"}, tmp_path).data == Path("/srv/chat")


def test_commas_do_not_split_a_port(tmp_path: Path) -> None:
    assert load_config({"port": ["tcp:5555:interface=a,b"]}, tmp_path).ports == ("tcp:5555:interface=a,b",)


@pytest.mark.parametrize("port", ["65536", "-1", "+5", "", " ", "٣", pytest.param("9" * 5000, id="5000 digits")])
def test_a_number_that_is_no_port_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(StartupError, match=r"--port takes a number from 0 to 65535 or .* endpoint .*, not "):
        load_config({"port": [port]}, tmp_path)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("prot = 1", "prot in chat.toml is not a setting. Did you mean port?"),
        ("unicode_nicknames = true", "Did you mean unicode-nicknames?"),
        (
            "zzz = 1",
            "There are: port, interface, name, motd, replay, probe, gone, unicode-nicknames, data, ephemeral, metrics,",
        ),
        ('config = "other"', "config in chat.toml is not a setting."),
        ("[server]\nport = 1", "server in chat.toml is not a setting."),
        ("port = true", "port in chat.toml takes a number from 0 to 65535"),
        ("port = []", "port in chat.toml takes at least one port, not []"),
        ("port = [[1]]", "port in chat.toml takes a number"),
        ("interface = 1", "interface in chat.toml takes a text that is not empty, not 1."),
        ('name = "\\u0007"', "name in chat.toml takes a line of 1 to 100 characters"),
        (f'name = "{"x" * 101}"', "name in chat.toml takes a line of 1 to 100 characters"),
        ("replay = 1001", "replay in chat.toml takes a whole number from 0 to 1000, not 1001."),
        ("replay = -1", "replay in chat.toml takes a whole number from 0 to 1000, not -1."),
        ("replay = true", "replay in chat.toml takes a whole number from 0 to 1000, not True."),
        ('replay = "20"', "replay in chat.toml takes a whole number from 0 to 1000, not '20'."),
        ("probe = -1", "probe in chat.toml takes a whole number from 0 to 3600, not -1."),
        ("probe = 1.5", "probe in chat.toml takes a whole number from 0 to 3600, not 1.5."),
        ("probe = 3601", "probe in chat.toml takes a whole number from 0 to 3600, not 3601."),
        ("gone = 0", "gone in chat.toml takes a whole number from 1 to 7200, not 0."),
        ("gone = 7201", "gone in chat.toml takes a whole number from 1 to 7200, not 7201."),
        ("gone = 60", "gone (60) must be more seconds than probe (60): "),
        ("probe = 150", "gone (150) must be more seconds than probe (150): "),
        ("ephemeral = 1", "ephemeral in chat.toml takes true or false, not 1."),
        ("paste-lines = 0", "paste-lines in chat.toml takes a whole number from 1 to 100000, not 0."),
        ("paste-lines = 1.5", "paste-lines in chat.toml takes a whole number from 1 to 100000, not 1.5."),
        ("x = " + "[" * 5000, "chat.toml is not valid TOML: maximum recursion depth exceeded"),
        ("paste-lines = true", "paste-lines in chat.toml takes a whole number from 1 to 100000, not True."),
        ("lines-per-second = 0", "lines-per-second in chat.toml takes a number from 0.02 to 1000000, not 0."),
        ('limits = "maybe"', "limits in chat.toml takes on or off, not 'maybe'."),
        ("limits = 0", "limits in chat.toml takes on or off, not 0."),
        ("metrics = [9464]", "metrics in chat.toml takes a number from 0 to 65535 or a Twisted endpoint description"),
        ("metrics = 70000", "metrics in chat.toml takes a number from 0 to 65535"),
        ('log-format = "xml"', "log-format in chat.toml takes text or json, not 'xml'."),
        ("log-format = [1]", "log-format in chat.toml takes text or json, not [1]."),
        ('data = ""', "data in chat.toml takes a text that is not empty, not ''."),
        ('ephemeral = true\ndata = "x"', "ephemeral in chat.toml stores nothing on disk, data in chat.toml names"),
        ("port = 1\nname =\n", "chat.toml is not valid TOML: Invalid value (at line 2, column 7). Correct it there."),
        ("port = 1\nname =", "chat.toml is not valid TOML: Invalid value (at the end, line 2). Correct it there."),
    ],
)
def test_what_is_wrong_in_the_config_file_is_named(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(StartupError) as refused:
        from_file(tmp_path, toml)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_long_value_is_not_shown_whole(tmp_path: Path) -> None:
    with pytest.raises(StartupError) as refused:
        load_config({"replay": "9" * 5000}, tmp_path)
    assert len(str(refused.value)) < 150


def test_a_config_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"--config: cannot read .*nowhere\.toml: No such file or directory"):
        load_config({"config": "nowhere.toml"}, tmp_path)


def test_an_interface_without_a_number_is_refused_for_it_would_protect_nobody(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"tcp:5555:interface=127\.0\.0\.1"):
        load_config({"port": ["tcp:5555"], "interface": "127.0.0.1"}, tmp_path)
    assert load_config({"port": ["tcp:5555", "0"], "interface": "127.0.0.1"}, tmp_path).interface == "127.0.0.1"


def test_the_name_is_one_line_that_is_safe_to_show(tmp_path: Path) -> None:
    assert load_config({"name": " The\x1b[2J\r\nPub\u202e "}, tmp_path).name == "The[2JPub"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"one\r\ntwo\rthree\nfour", ("one", "two", "three", "four")),
        (b"\xef\xbb\xbfone\n\n  two  \n\n\n", ("one", "", "  two")),
        (b"a\x1b[31m\tb\x0cc\xe2\x80\xa8d", ("a[31m bc d",)),
        (b"", ()),
    ],
)
def test_the_message_of_the_day_is_clean_lines(tmp_path: Path, text: bytes, lines: tuple[str, ...]) -> None:
    (tmp_path / "motd").write_bytes(text)
    assert load_config({"motd": "motd"}, tmp_path).motd == lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"fine\n\xff\n", "line 2 of "),
        (b"x\n" * (MOTD_LINES + 1), f"Shorten it to {MOTD_LINES}."),
        (b"x" * (MOTD_BYTES + 1), f"Shorten it to {MOTD_BYTES} bytes."),
    ],
)
def test_a_message_of_the_day_that_cannot_be_shown_is_refused(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "motd").write_bytes(text)
    with pytest.raises(StartupError) as refused:
        load_config({"motd": "motd"}, tmp_path)
    assert str(refused.value).startswith("--motd: ")
    assert said in str(refused.value)


def test_the_longest_message_of_the_day_is_shown(tmp_path: Path) -> None:
    (tmp_path / "motd").write_bytes(b"x\n" * MOTD_LINES)
    assert len(load_config({"motd": "motd"}, tmp_path).motd) == MOTD_LINES
