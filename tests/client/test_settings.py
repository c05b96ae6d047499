from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from broadcast.client.options import Options, SettingsError
from broadcast.client.settings import CHOICES, Choices, Settings, settings_file, state_folder
from tests.client.session.fakes import Talk
from tests.platforms import IS_FOLDER, has_mode, needs_permissions, set_home


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / "broadcast").mkdir()
    return tmp_path / "broadcast" / "client.toml"


def load(file: Path, only: str = "") -> Settings:
    return Settings(str(file), only)


# Reading


def test_without_a_file_there_are_no_settings(file: Path) -> None:
    settings = load(file)
    assert (settings.choices, settings.servers) == ({}, {})
    assert load(file / "below-no-folder").choices == {}


def test_servers_have_names_and_fields_of_options(file: Path) -> None:
    file.write_text("""\
times = false

[servers.work]
address = "chat.example:23"
nick = "ann"
rooms = ["kitchen", "hall"]

[servers."chat.example"]
nick = "bob"

[servers.socket]
address = "broadcast://%2Frun%2Fchat.sock/attic"
rooms = ["attic", "hall"]

[servers.tls]
tls = true

[servers.link]
address = "broadcasts://chat.example"
tls = false

[servers.pinned]
fingerprint = "A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1"
""")
    settings = load(file)
    assert settings.choices == {"times": False}
    assert settings.servers == {
        "work": {"host": "chat.example", "port": 23, "nick": "ann", "rooms": ("kitchen", "hall")},
        "chat.example": {"host": "chat.example", "nick": "bob"},
        "socket": {"host": "unix:/run/chat.sock", "rooms": ("attic", "hall")},
        "tls": {"host": "tls", "tls": True},
        "link": {"host": "chat.example", "tls": True},
        "pinned": {"host": "pinned", "fingerprint": "SHA256:" + "a1" * 32},
    }
    assert Options(**settings.servers["work"]).server == "chat.example:23"


def test_every_choice_is_a_field_of_options() -> None:
    assert all(isinstance(getattr(Options, name), bool) for name in CHOICES)


def test_the_file_is_not_parsed_for_a_name_that_is_not_in_it(file: Path) -> None:
    file.write_text("[servers.work]\nfault")
    assert load(file, "chat.example").servers == {}
    with pytest.raises(SettingsError):
        load(file, "work")


NO_FINGERPRINT = "no fingerprint: a1; it has the form SHA256: and 64 hexadecimal digits"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("times = false\nbell = of\n", "Invalid value (at line 2, column 8)"),
        ("\nbells = true", "the file has no setting bells, only times, color, bell, notify, quiet"),
        ("bell = 'off'", "bell is true or false"),
        ("bell.x = 1", "bell is true or false"),
        ("servers = 1", "servers is no table such as [servers.work]"),
        ("[servers]\nwork = 'h'", "servers.work is no table such as [servers.work]"),
        ("[servers.1234]", "'1234' is no name for a server, because it would be an address"),
        ("[servers.'a:1']", "'a:1' is no name for a server, because it would be an address"),
        ("[servers.work]\naddress = 'h:x'", "no port: x"),
        (
            "[servers.work]\nport = 1",
            "servers.work has no setting port, only address, nick, password-file, rooms, tls, fingerprint",
        ),
        ("bell = true\n[servers.'a.b']\nnick = 1", "servers.a.b.nick is a text in quotes"),
        ("[servers.work]\ntls = 1", "servers.work.tls is true or false"),
        ("[servers.work]\nfingerprint = 'a1'", NO_FINGERPRINT),
        ("[servers.work]\nnick = ''", "servers.work.nick is a text in quotes"),
        ("[servers.work]\nnick = 'a\tb'", "servers.work.nick is a text in quotes"),
        ('[servers.work]\nrooms = ["a\\nquit"]', 'servers.work.rooms is a list such as ["kitchen", "hall"]'),
        ("[servers.work]\nrooms = 'a'", 'servers.work.rooms is a list such as ["kitchen", "hall"]'),
    ],
)
def test_an_error_has_its_place_and_its_reason(text: str, reason: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        load(file)
    assert str(error.value) == f"{file}: {reason}. Correct the file, or move it away"
    with pytest.raises(SettingsError, match="Correct the file"):
        Settings(str(file)).set("times", True)
    assert file.read_text() == text


def test_a_file_of_another_encoding_is_an_error(file: Path) -> None:
    file.write_bytes("# hi\n# für\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="cannot be read: it is not UTF-8"):
        load(file)


def test_a_folder_in_place_of_the_file_is_an_error(file: Path) -> None:
    file.mkdir()
    with pytest.raises(SettingsError, match=f"^{re.escape(str(file))} cannot be read: {IS_FOLDER}$"):
        load(file)


@pytest.mark.parametrize(
    ("platform", "environment", "path"),
    [
        ("linux", {}, "/home/ann/.config/broadcast/client.toml"),
        ("linux", {"XDG_CONFIG_HOME": "/etc/ann"}, "/etc/ann/broadcast/client.toml"),
        ("linux", {"XDG_CONFIG_HOME": "ann"}, "/home/ann/.config/broadcast/client.toml"),
        ("darwin", {}, "/home/ann/Library/Application Support/broadcast/client.toml"),
        ("win32", {}, "/home/ann/AppData/Roaming/broadcast/client.toml"),
        ("win32", {"APPDATA": "/data"}, "/data/broadcast/client.toml"),
    ],
)
def test_each_system_has_its_place(
    platform: str, environment: dict[str, str], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_home(monkeypatch, "/home/ann")
    assert Path(settings_file(platform, environment)) == Path(path)


@pytest.mark.parametrize(
    ("platform", "environment", "path"),
    [
        ("linux", {}, "/home/ann/.local/state/broadcast"),
        ("linux", {"XDG_STATE_HOME": "/var/ann"}, "/var/ann/broadcast"),
        ("linux", {"XDG_STATE_HOME": "ann"}, "/home/ann/.local/state/broadcast"),
        ("darwin", {}, "/home/ann/Library/Application Support/broadcast"),
        ("win32", {}, "/home/ann/AppData/Local/broadcast"),
        ("win32", {"LOCALAPPDATA": "/data"}, "/data/broadcast"),
    ],
)
def test_each_system_has_its_place_for_the_state(
    platform: str, environment: dict[str, str], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_home(monkeypatch, "/home/ann")
    assert Path(state_folder(platform, environment)) == Path(path)


# Writing


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "times = false\n"),
        ("times = true", "times = false"),
        ("# my own\r\ntimes=true # yes\r\nbell = true\r\n", "# my own\r\ntimes = false # yes\r\nbell = true\r\n"),
        ("\ufeff'times' = true\n", "times = false\n"),
        ("# my own\n[servers.work]\n", "times = false\n# my own\n[servers.work]\n"),
        ("bell = true\r\n", "times = false\r\nbell = true\r\n"),
        ("\ufeff[servers.times]\n", "times = false\n[servers.times]\n"),
        (
            '[servers.work]\nnick = """\\\ntimes = true"""\n',
            'times = false\n[servers.work]\nnick = """\\\ntimes = true"""\n',
        ),
    ],
)
def test_a_choice_changes_one_line(before: str, after: str, file: Path) -> None:
    file.write_bytes(before.encode())
    settings = load(file)
    settings.set("times", False)
    assert file.read_bytes().decode() == after
    assert load(file).choices["times"] is False
    assert [path.name for path in file.parent.iterdir()] == ["client.toml"]


def test_a_choice_keeps_what_another_client_has_chosen_meanwhile(file: Path) -> None:
    settings = load(file)
    load(file).set("bell", False)
    settings.set("times", False)
    assert load(file).choices == {"bell": False, "times": False}


def test_a_form_that_the_client_cannot_change_is_left_to_the_user(file: Path) -> None:
    text = '"\\u0074imes" = true\n'
    file.write_text(text)
    settings = load(file)
    with pytest.raises(SettingsError, match=r"client.toml has an unusual form: write times = false into it by hand$"):
        settings.set("times", False)
    assert file.read_text() == text


def test_the_first_choice_makes_a_file_for_the_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "client.toml"
    load(file).set("notify", True)
    assert has_mode(file, 0o600)
    assert has_mode(file.parent, 0o700)


@needs_permissions
def test_a_file_keeps_its_permissions_and_a_symlink_its_target(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.toml"
    target.write_text("bell = true\n")
    target.chmod(0o664)
    file.symlink_to(target)
    load(file).set("bell", False)
    assert file.is_symlink()
    assert target.read_text() == "bell = false\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o664


def test_a_file_that_cannot_be_replaced_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*_: object) -> None:
        raise OSError(30, os.strerror(30))

    file.write_text("bell = true\n")
    settings = load(file)
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(SettingsError, match=f"^{re.escape(str(file))} cannot be written: Read-only file system$"):
        settings.set("bell", False)
    assert file.read_text() == "bell = true\n"
    assert [path.name for path in file.parent.iterdir()] == ["client.toml"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can write everything")
def test_a_file_that_its_user_has_made_read_only_is_not_replaced(file: Path) -> None:
    file.write_text("bell = true\n")
    file.chmod(0o400)
    with pytest.raises(SettingsError, match=r"client.toml cannot be written: Permission denied$"):
        load(file).set("bell", False)
    assert file.read_text() == "bell = true\n"


def test_a_home_without_a_place_for_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    file = tmp_path / "config" / "broadcast" / "client.toml"
    with pytest.raises(SettingsError, match=r"client.toml cannot be written: "):
        load(file).set("bell", False)


def test_choices_of_a_run_come_from_the_options_then_the_file_then_the_defaults(file: Path) -> None:
    file.write_text("times = false\nbell = true\n")
    options = Options(bell=False)
    choices = Choices(options, {})
    assert choices == {"times": False, "color": True, "bell": False, "notify": False, "quiet": False}
    assert vars(options) == {"times": False, "bell": False}
    choices["quiet"] = True
    assert choices["quiet"] is True
    assert load(file).choices == {"times": False, "bell": True, "quiet": True}


def test_no_color_is_weaker_than_the_file(file: Path) -> None:
    assert Choices(Options(), {"NO_COLOR": "1"})["color"] is False
    assert Choices(Options(), {"NO_COLOR": ""})["color"] is True
    file.write_text("color = true\n")
    assert Choices(Options(), {"NO_COLOR": "1"})["color"] is True
    assert Choices(Options(color=False), {"NO_COLOR": "1"})["color"] is False


def test_a_choice_of_a_run_holds_if_it_cannot_be_stored(file: Path) -> None:
    choices = Choices(Options(), {})
    file.mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        choices["bell"] = False
    assert choices["bell"] is False


def test_set_stores_a_choice_or_says_why_not(file: Path) -> None:
    talk = Talk()
    talk.talk.choices = Choices(Options(), {})
    talk.talk.submit("/set bell off")
    assert load(file).choices == {"bell": False}
    talk.front.shown.clear()
    file.write_text("bell = off")
    talk.talk.submit("/set bell on")
    why = f"{file}: Invalid value (at line 1, column 8). Correct the file, or move it away"
    assert talk.front.texts == ["> /set bell on", f"! {why}. Until you leave: bell on."]
