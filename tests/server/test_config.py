"""Settings come from the command line, the config file and the defaults, and errors name the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from broadcast.core.errors import StartupError
from broadcast.core.limits import Limits
from broadcast.server.config import Config, load_config


def load(folder: Path, toml: str, **command_line: object) -> Config:
    """Return the settings from a config file that holds *toml*, and from the *command_line*."""
    (folder / "chat.toml").write_text(toml, encoding="utf-8")
    return load_config({"config": "chat.toml", **command_line}, folder)


def load_error(folder: Path, **command_line: object) -> str:
    """Return the message with which the *command_line* is rejected."""
    with pytest.raises(StartupError) as caught:
        load_config(command_line, folder)
    return str(caught.value)


def test_defaults(tmp_path: Path) -> None:
    config = load_config({}, tmp_path)
    assert config == Config(data=tmp_path / "broadcast-data")
    assert config.ports == ("5555",)
    assert (config.interface, config.name, config.motd, config.replay) == (None, "Broadcast", (), 20)
    assert config.unicode_nicknames is False
    assert (config.metrics, config.log_format) == (None, "text")
    assert (config.lobby, config.fixed_rooms) == ("lobby", None)
    assert (config.probe, config.gone) == (60, 150)


def test_config_file_has_all_settings(tmp_path: Path) -> None:
    (tmp_path / "motd").write_text("Hello.\n")
    config = load(
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
        tls = [5556, "unix:tls.sock"]
        cert = "cert.pem"
        key = "key.pem"
        log-format = "json"
        lobby = "Hall"
        rooms = "fixed"
        room = ["kitchen", "ATTIC", "kitchen"]
        web = 8080
        web-tls = [8443, "unix:web.sock"]
        web-path = "/chat/"
        web-url = "https://Chat.example.com/Chat"
        web-origin = "https://chat.example.com/"
        web-hsts = true
        trusted-proxy = ["10.0.0.1", "fd00::/8", "unix"]
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
        tls=("5556", "unix:tls.sock"),
        cert=tmp_path / "cert.pem",
        key=tmp_path / "key.pem",
        metrics="9464",
        log_format="json",
        lobby="hall",
        fixed_rooms=("kitchen", "attic"),
        web=("8080",),
        web_tls=("8443", "unix:web.sock"),
        web_path="/chat",
        web_url="https://chat.example.com/Chat/",
        web_origins=("https://chat.example.com",),
        web_hsts=True,
        trusted_proxies=("10.0.0.1", "fd00::/8", "unix"),
    )


def test_journal_is_a_database_or_another_name_of_data_and_ephemeral(tmp_path: Path) -> None:
    url = "postgresql://chat@db1,db2:5433/chat?sslmode=require"
    config = load_config({"journal": url, "node": "a.example:5555", "schema": "chat_2"}, tmp_path)
    assert (config.database, config.node, config.schema) == (url, "a.example:5555", "chat_2")
    assert config.data == tmp_path / "broadcast-data"
    assert load_config({"journal": "sqlite:here"}, tmp_path) == Config(data=tmp_path / "here")
    assert load_config({"journal": "sqlite:/srv/chat"}, tmp_path) == Config(data=tmp_path / "/srv/chat")
    assert load_config({"journal": "sqlite:", "data": "here"}, tmp_path) == Config(data=tmp_path / "here")
    assert load_config({"journal": "memory:"}, tmp_path) == load_config({"ephemeral": True}, tmp_path)


def test_journal_on_the_command_line_overrides_that_of_the_config_file(tmp_path: Path) -> None:
    url = "postgresql:///chat"
    in_database, in_memory, in_folder = f'journal = "{url}"', 'journal = "memory:"', 'journal = "sqlite:a"'
    assert load(tmp_path, in_database).database == url
    assert load(tmp_path, in_database, ephemeral=True) == Config(data=None)
    assert load(tmp_path, in_database, journal="memory:") == Config(data=None)
    assert load(tmp_path, in_database, journal="sqlite:b") == Config(data=tmp_path / "b")
    assert load(tmp_path, in_database, data="b") == Config(data=tmp_path / "b", database=url)
    for toml in (in_memory, "ephemeral = true"):
        assert load(tmp_path, toml, journal=url) == Config(data=tmp_path / "broadcast-data", database=url)
        assert load(tmp_path, toml, journal="sqlite:") == Config(data=tmp_path / "broadcast-data")
        assert load(tmp_path, toml, data="b") == Config(data=tmp_path / "b")
    assert load(tmp_path, in_folder, data="b") == Config(data=tmp_path / "b")
    assert load(tmp_path, in_folder, ephemeral=True) == Config(data=None)
    assert load(tmp_path, in_folder, journal=url) == Config(data=tmp_path / "a", database=url)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"journal": "mysql:chat"}, "--journal takes sqlite:FOLDER, memory: or postgresql://USER@HOST/DATABASE."),
        ({"journal": "memory:x"}, "--journal takes sqlite:FOLDER, memory: or postgresql://USER@HOST/DATABASE."),
        ({"journal": "postgresql:chat"}, "--journal takes sqlite:FOLDER, memory: or postgresql://USER@HOST/DATABASE."),
        ({"journal": 7}, "--journal takes a text that is not empty, not 7."),
        (
            {"journal": "sqlite:a", "data": "b"},
            "--journal and --data both name the folder of the journal: choose one.",
        ),
        (
            {"journal": "postgresql:///a", "ephemeral": True},
            "--ephemeral stores nothing, --journal names a journal: choose one.",
        ),
        (
            {"node": "a"},
            "--node and --schema are about a PostgreSQL database: add --journal postgresql://HOST/NAME.",
        ),
        (
            {"schema": "a", "journal": "sqlite:"},
            "--node and --schema are about a PostgreSQL database: add --journal postgresql://HOST/NAME.",
        ),
        (
            {"schema": "pg_a"},
            "--schema takes 1 to 63 of a-z, 0-9 and _, with neither a digit nor pg_ at its beginning, not 'pg_a'.",
        ),
        (
            {"schema": 'a"b'},
            "--schema takes 1 to 63 of a-z, 0-9 and _, with neither a digit nor pg_ at its beginning, not 'a\"b'.",
        ),
        ({"node": "a b"}, "--node takes 1 to 100 of letters, digits and ._:-, not 'a b'."),
        ({"node": "a" * 101}, "--node takes 1 to 100 of letters, digits and ._:-, not 'aaa"),
        ({"node": 7}, "--node takes 1 to 100 of letters, digits and ._:-, not 7."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_journal_that_cannot_be_is_rejected(tmp_path: Path, given: dict[str, object], message: str) -> None:
    assert load_error(tmp_path, **given).startswith(message)


@pytest.mark.parametrize(
    "url",
    ["postgresql://ann:hush@db/chat", "postgres://ann:hush@[::1]:1,b/", "postgresql:///chat?user=a&password=hush"],
)
def test_password_on_the_command_line_is_warned_about_and_shown_nowhere(tmp_path: Path, url: str) -> None:
    config = load_config({"journal": url}, tmp_path)
    assert "hush" not in repr(config)
    (warning,) = config.warnings
    assert warning == (
        "--journal holds a password, which ps shows to everybody on this machine: "
        "put it into a password file (PGPASSFILE) or a service file instead."
    )
    assert load(tmp_path, f'journal = "{url}"').warnings == ()
    assert "hush" not in load_error(tmp_path, journal=url.replace("://", ":"))
    for without in ("postgresql://ann@db:5432/chat", "postgresql://[::1]:5432/a@b", "postgresql:///a?passfile=/b:c@d"):
        assert load_config({"journal": without}, tmp_path).warnings == ()


def test_fixed_rooms_are_chosen_with_both_settings(tmp_path: Path) -> None:
    assert load_config({"rooms": "fixed"}, tmp_path).fixed_rooms == ()
    assert load_config({"rooms": "fixed", "room": "kitchen"}, tmp_path).fixed_rooms == ("kitchen",)
    assert load_config({"rooms": "open"}, tmp_path).fixed_rooms is None
    fixed = 'rooms = "fixed"\nroom = ["kitchen"]'
    assert load(tmp_path, fixed, room=["attic"]).fixed_rooms == ("attic",)
    assert load(tmp_path, fixed, rooms="open").fixed_rooms is None
    assert load_error(tmp_path, room=["kitchen"]) == (
        "--room names a room of --rooms fixed, but --rooms is open: give --rooms fixed too, or leave --room out. "
        "An open room needs no option: the first /join opens it."
    )
    assert load_error(tmp_path, rooms="some") == "--rooms takes open or fixed, not 'some'."


def test_provider_needs_an_issuer_and_an_id(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    issuer = "https://login.example.com/realms/chat"
    given = {"oidc": issuer, "oidc-client-id": "chat", "oidc-secret-file": "secret"}
    config = load_config(given, tmp_path)
    assert (config.oidc, config.oidc_client_id, config.oidc_secret) == (issuer, "chat", "hush")
    assert "hush" not in repr(config)
    assert load_error(tmp_path, oidc=issuer).endswith("add --oidc-client-id.")
    assert load_error(tmp_path, **{"oidc-client-id": "chat"}).endswith("add its issuer as --oidc.")
    (tmp_path / "secret").write_text(" \n")
    assert (
        load_error(tmp_path, **given) == "--oidc-secret-file: secret is empty. Write the secret of the client into it."
    )
    for local in ("http://localhost:8080", "http://127.0.0.1", "http://[::1]:1/x"):
        assert load_config({"oidc": local, "oidc-client-id": "chat"}, tmp_path).oidc == local


def test_certificate_needs_a_tls_port_and_a_key_needs_a_certificate(tmp_path: Path) -> None:
    assert load_config({"tls": ["5556"], "cert": "c"}, tmp_path).cert == tmp_path / "c"
    assert load_error(tmp_path, tls="5556", key="k") == (
        "--key is the key of a certificate, and there is no --cert: give both."
    )
    assert load_error(tmp_path, cert="c") == (
        "--cert is the certificate of --tls, and no port is given: add --tls, as in --tls 5556."
    )
    assert load_error(tmp_path, tls="99999").startswith("--tls takes a number from 0 to 65535 or")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("web-path", "/chat"),
        ("web-url", "https://chat.example.com"),
        ("web-origin", "https://chat.example.com"),
        ("web-hsts", True),
        ("trusted-proxy", "10.0.0.1"),
    ],
)
def test_settings_of_the_page_need_a_port(tmp_path: Path, setting: str, value: object) -> None:
    assert load_error(tmp_path, **{setting: value}) == (
        f"--{setting} is about the web page, and it has no port: add --web, as in --web 8080."
    )
    for port in ("web", "web-tls"):
        load_config({setting: value, port: "8080", "cert": "c", "tls": "5556"}, tmp_path)


def test_browsers_are_not_locked_out_by_a_certificate_that_they_do_not_trust(tmp_path: Path) -> None:
    assert load_error(tmp_path, **{"web-tls": "8443", "web-hsts": True}).startswith("--web-hsts needs a certificate ")
    assert load_config({"web-tls": "8443", "web-hsts": True, "cert": "c"}, tmp_path).web_hsts
    assert load_config({"web": "8080", "web-hsts": True}, tmp_path).web_hsts, "a reverse proxy has the certificate"


def test_certificate_may_be_for_the_page_alone(tmp_path: Path) -> None:
    assert load_config({"web-tls": "8443", "cert": "c"}, tmp_path).cert == tmp_path / "c"


def test_interface_may_be_for_the_page_alone(tmp_path: Path) -> None:
    config = load_config({"port": "unix:chat.sock", "web": "8080", "interface": "0.0.0.0"}, tmp_path)  # noqa: S104
    assert config.web == ("8080",)


@pytest.mark.parametrize(
    ("toml", "command_line", "disabled"),
    [
        ("", {}, False),
        ('limits = "off"', {}, True),
        ("limits = false", {}, True),
        ('limits = "on"', {"limits": "off"}, True),
        ("limits = false", {"limits": "on"}, False),
    ],
)
def test_client_limits_can_be_disabled(
    tmp_path: Path, toml: str, command_line: dict[str, object], *, disabled: bool
) -> None:
    limits = load(tmp_path, "paste-lines = 5\n" + toml, **command_line).limits
    expected = Limits(paste_lines=5)
    assert limits == (expected.without_client_limits() if disabled else expected)


@pytest.mark.parametrize(
    ("toml", "command_line", "data"),
    [
        ("ephemeral = true", {}, None),
        ("ephemeral = true", {"data": "there"}, "there"),
        ('data = "there"', {"ephemeral": True}, None),
        ('data = "there"', {"data": "here"}, "here"),
        ("", {"data": "/srv/chat"}, "/srv/chat"),
    ],
)
def test_command_line_overrides_the_config_file(
    tmp_path: Path, toml: str, command_line: dict[str, object], data: str | None
) -> None:
    file = f'port = 1\nname = "file"\nreplay = 3\n{toml}'
    config = load(tmp_path, file, port=["2", "tcp:5555:interface=a,b"], name="line", **command_line)
    assert (config.ports, config.name, config.replay) == (("2", "tcp:5555:interface=a,b"), "line", 3)
    assert config.data == (None if data is None else tmp_path / data)


def test_probe_can_be_disabled(tmp_path: Path) -> None:
    assert load_config({"probe": 0, "gone": 1}, tmp_path).probe == 0


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("prot = 1", "prot in chat.toml is not a setting. Did you mean port?"),
        ("unicode_nicknames = true", "Did you mean unicode-nicknames?"),
        (
            "zzz = 1",
            "There are: port, interface, name, motd, replay, probe, gone, unicode-nicknames, lobby, rooms,",
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
def test_error_in_the_config_file_is_one_line_that_names_it(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(StartupError) as caught:
        load(tmp_path, toml)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_error_on_the_command_line_names_the_option(tmp_path: Path) -> None:
    assert len(load_error(tmp_path, replay="9" * 5000)) < 150
    message = load_error(tmp_path, config="nowhere.toml")
    assert message.startswith("--config: cannot read ")
    assert "nowhere.toml: No such file or directory" in message


def test_interface_needs_a_port_number_to_apply_to(tmp_path: Path) -> None:
    message = load_error(tmp_path, port=["tcp:5555"], interface="127.0.0.1")
    assert "tcp:5555:interface=127.0.0.1" in message
    assert load_config({"port": ["tcp:5555", "0"], "interface": "127.0.0.1"}, tmp_path).interface == "127.0.0.1"
