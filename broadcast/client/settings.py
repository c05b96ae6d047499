"""The user's settings in the file ``client.toml``: servers by name, and the choices of ``/set``.

The client changes one line of the file for a choice, and nothing else: comments and the order stay. ``--send`` reads
the file only for a name in it, because the parser takes longer to import than Python takes to start.
"""

from __future__ import annotations

import os
import re
import sys

from broadcast.client.address import parse_address
from broadcast.client.certificates import parse_fingerprint
from broadcast.client.options import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from broadcast.client.options import Options

CHOICES: Final = {
    "times": "show the time in front of each line",
    "color": "show colours",
    "bell": "ring the bell for private lines and for your nickname",
    "notify": "notify of them, too, if the terminal can",
    "quiet": "hide who comes and goes",
}
_FLAG, _TEXT, _LIST = "true or false", "a text in quotes", 'a list such as ["kitchen", "hall"]'
SERVER_KEYS: Final = {
    "address": _TEXT,
    "nick": _TEXT,
    "password-file": _TEXT,
    "rooms": _LIST,
    "tls": _FLAG,
    "fingerprint": _TEXT,
}


class Settings:
    """The settings in the file *path*, by default that of the user. It need not exist.

    With the name of a server as *only*, a file without this name is not parsed. Raise ``SettingsError`` if the file has
    an error.
    """

    def __init__(self, path: str = "", only: str = "") -> None:
        self.path = path or settings_file()
        self.choices: dict[str, bool] = {}
        self.servers: dict[str, dict[str, Any]] = {}
        """The servers by their names. Each has the fields of ``Options`` that the file sets."""
        text = read_file(self.path)
        if text and only in text:
            self._take(text)

    def set(self, name: str, value: bool) -> None:
        """Store a choice in the file. Raise ``SettingsError`` if it cannot be stored."""
        text = read_file(self.path)
        self._take(text)
        if (new := _with_choice(text, name, value)) is None:
            assignment = f"{name} = {str(value).lower()}"
            raise SettingsError(f"{self.path} has an unusual form: write {assignment} into it by hand")
        replace_file(self.path, new)

    def _take(self, text: str) -> None:
        import tomllib  # noqa: PLC0415 -- see above

        try:
            data = tomllib.loads(text)
            servers = _table(data.pop("servers", {}), "servers")
            _check(data, dict.fromkeys(CHOICES, _FLAG))
            self.choices = data
            self.servers = {name: _server(name, values) for name, values in servers.items()}
        except ValueError as error:
            raise SettingsError(f"{self.path}: {error}. Correct the file, or move it away") from None


def _table(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is no table such as [servers.work]")  # noqa: TRY004 -- as for other faults
    return value


def _check(values: dict[str, Any], forms: Mapping[str, str], place: str = "") -> None:
    """Raise ``ValueError`` unless each key is one of *forms*, and its value has this form."""
    for key, value in values.items():
        if key not in forms:
            raise ValueError(f"{place or 'the file'} has no setting {key}, only {', '.join(forms)}")
        if not _has_form(value, forms[key]):
            raise ValueError(f"{place}{place and '.'}{key} is {forms[key]}")


def _has_form(value: object, form: str) -> bool:
    if form == _FLAG:
        return isinstance(value, bool)
    texts = value if form == _LIST else [value]
    # Behind a line end, a pipe would send another command.
    return isinstance(texts, list) and all(
        isinstance(text, str) and text.strip() and text.isprintable() for text in texts
    )


def _server(name: str, value: object) -> dict[str, Any]:
    """Return the fields of ``Options`` for a server."""
    values = _table(value, f"servers.{name}")
    _check(values, SERVER_KEYS, f"servers.{name}")
    if not name or name.isdigit() or set(name) & set(":/[]"):
        raise ValueError(f"{name!r} is no name for a server, because it would be an address")
    fields = parse_address(values.get("address", name))
    if values.get("tls"):
        fields["tls"] = True
    if "fingerprint" in values:
        fields["fingerprint"] = parse_fingerprint(values["fingerprint"])
    if rooms := [*fields.get("rooms", ()), *values.get("rooms", ())]:
        fields["rooms"] = tuple(dict.fromkeys(rooms))
    fields.update({key.replace("-", "_"): values[key] for key in ("nick", "password-file") if key in values})
    return fields


class Choices(dict[str, bool]):
    """The choices of a run: those of the command line, of the file, and the defaults. A new choice is also stored.

    Setting one raises ``SettingsError`` if it cannot be stored; it then holds for this run.
    """

    def __init__(self, options: Options, environment: Mapping[str, str] = os.environ) -> None:
        self._settings = Settings()
        options.fill(self._settings.choices)
        if environment.get("NO_COLOR"):
            options.fill({"color": False})
        super().__init__({name: getattr(options, name) for name in CHOICES})

    def __setitem__(self, name: str, value: bool) -> None:
        """Make a choice, and store it."""
        super().__setitem__(name, value)
        self._settings.set(name, value)


def settings_file(platform: str = sys.platform, environment: Mapping[str, str] = os.environ) -> str:
    """Return the path of the file on *platform*, a value of ``sys.platform``."""
    windows = environment.get("APPDATA") or "~/AppData/Roaming"
    return os.path.join(_folder(platform, windows, environment.get("XDG_CONFIG_HOME", ""), "~/.config"), "client.toml")


def state_folder(platform: str = sys.platform, environment: Mapping[str, str] = os.environ) -> str:
    """Return the folder for the state of the client on *platform*."""
    windows = environment.get("LOCALAPPDATA") or "~/AppData/Local"
    return _folder(platform, windows, environment.get("XDG_STATE_HOME", ""), "~/.local/state")


def _folder(platform: str, windows: str, xdg: str, default: str) -> str:
    # The specification says to ignore a relative path (XDG Base Directory Specification 0.8, "Basics").
    others = {"win32": windows, "darwin": "~/Library/Application Support"}
    folder = others.get(platform) or (xdg if os.path.isabs(xdg) else default)
    return os.path.join(os.path.expanduser(folder), "broadcast")


def _with_choice(text: str, name: str, value: bool) -> str | None:
    """Return *text* with one choice changed, or None if its form is too unusual for that."""
    import tomllib  # noqa: PLC0415 -- see above

    assignment = f"{name} = {str(value).lower()}"
    line_end = "\r\n" if "\r\n" in text else "\n"
    changed = re.sub(rf"""^[ \t]*["']?{name}["']?[ \t]*=[ \t]*\w+""", assignment, text, count=1, flags=re.MULTILINE)
    wanted = {**tomllib.loads(text), name: value}
    for new in (changed, f"{assignment}{line_end}{text}"):
        try:
            if tomllib.loads(new) == wanted:
                return new
        except tomllib.TOMLDecodeError:
            continue
    return None


def read_file(path: str) -> str:
    """Return the text of a file, or an empty text if there is none. Raise ``SettingsError`` if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} cannot be read: it is not UTF-8") from None


def replace_file(path: str, text: str) -> None:
    """Replace a file at once. A symlink stays, and the permissions of the file, too.

    Only the user can read a new file. Raise ``SettingsError`` if the file cannot be written.
    """
    try:
        _write_atomically(os.path.realpath(path), text)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}") from None


def _write_atomically(path: str, text: str) -> None:
    """Write *text* to another file in the same folder, which then gets the name *path*. Raise ``OSError``."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        with open(path, "r+b") as file:  # an error if the user has made it read-only
            mode = os.stat(file.fileno()).st_mode & 0o777
    except FileNotFoundError:
        mode = 0o600
    new = f"{path}.{os.getpid()}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
        os.chmod(new, mode)  # whatever the umask is
        os.replace(new, path)
    finally:
        if os.path.exists(new):
            os.unlink(new)
