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
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final, Self, TypeVar

    from broadcast.client.options import Options

    R = TypeVar("R")

CHOICES: Final = {
    "times": "show the time in front of each line",
    "color": "show colours",
    "bell": "ring the bell for private lines and for your nickname",
    "notify": "notify of them, too, if the terminal can",
    "quiet": "hide who comes and goes",
}
"""The choices of ``/set`` and their meanings. Each is true or false."""
SERVER_KEYS: Final = {
    "address": "a text in quotes",
    "nick": "a text in quotes",
    "password-file": "a text in quotes",
    "rooms": 'a list such as ["kitchen", "hall"]',
    "tls": "true or false",
    "fingerprint": "a text in quotes",
}
"""The keys of a server and the forms of their values."""


class Settings:
    """The settings in the file *path*, which need not exist."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.choices: dict[str, bool] = {}
        """The choices that the file makes, by their names."""
        self.servers: dict[str, dict[str, Any]] = {}
        """The servers by their names. Each has the fields of ``Options`` that the file sets."""

    @classmethod
    def load(cls, path: str = "", only: str = "") -> Self:
        """Return the settings of the user. Raise ``SettingsError`` if the file has an error.

        With the name of a server as *only*, a file without this name is not parsed.
        """
        settings = cls(path or settings_file())
        text = settings._read()
        if text and only in text:
            settings._take(text)
        return settings

    def set(self, name: str, value: bool) -> None:
        """Make a choice, and store it. Raise ``SettingsError`` if it cannot be stored; it then holds for this run."""
        try:
            text = self._read()
            self._take(text)
            if (new := _with_choice(text, name, value)) is None:
                raise SettingsError(
                    f"{self.path} has an unusual form: write {name} = {str(value).lower()} into it by hand"
                )
            replace_file(self.path, new)
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be written: {error.strerror or error}") from None
        finally:
            self.choices[name] = value

    def _read(self) -> str:
        """Return the text of the file."""
        try:
            with open(self.path, "rb") as file:
                return file.read().decode("utf-8-sig")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise self._error(f"It is not UTF-8 (at line {line})") from None

    def _error(self, reason: str) -> SettingsError:
        return SettingsError(f"{self.path}: {reason}. Correct the file, or move it away")

    def _take(self, text: str) -> None:
        import tomllib  # noqa: PLC0415 -- see above

        try:
            data = tomllib.loads(text)
            servers = _table(data.pop("servers", {}), "servers")
            self.choices = _choices(data)
            self.servers = {name: _server(name, _table(values, "servers", name)) for name, values in servers.items()}
        except tomllib.TOMLDecodeError as error:
            raise self._error(str(error)) from None
        except _FaultError as fault:
            reason, *names = fault.args
            raise self._error(f"{reason} (at line {_line_of(text, names)})") from None


class _FaultError(Exception):
    """A fault of the file. The arguments are the reason, and the names of the tables and the key that have it."""


def _table(value: object, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _FaultError("A server is a table such as [servers.work]", *names)
    return value


def _choices(data: dict[str, Any]) -> dict[str, bool]:
    for name, value in data.items():
        if name not in CHOICES:
            raise _FaultError(f"There is no setting {name}, only {', '.join(CHOICES)}", name)
        if not isinstance(value, bool):
            raise _FaultError(f"{name} is true or false", name)
    return data


def _server(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of ``Options`` for a server."""
    if not name or name.isdigit() or set(name) & set(":/[]"):
        raise _FaultError(f"{name!r} is no name for a server, because it would be an address", "servers", name)
    for key, value in values.items():
        if key not in SERVER_KEYS:
            raise _FaultError(f"A server has no {key}, only {', '.join(SERVER_KEYS)}", "servers", name, key)
        if not _has_form(key, value):
            raise _FaultError(f"{key} is {SERVER_KEYS[key]}", "servers", name, key)
    host, port, room, tls = _parsed(parse_address, values.get("address", name), name, "address")
    fields: dict[str, Any] = {"host": host}
    if port is not None:
        fields["port"] = port
    if tls or values.get("tls"):
        fields["tls"] = True
    if "fingerprint" in values:
        fields["fingerprint"] = _parsed(parse_fingerprint, values["fingerprint"], name, "fingerprint")
    if rooms := [*([room] if room else []), *values.get("rooms", [])]:
        fields["rooms"] = tuple(dict.fromkeys(rooms))
    fields.update({key.replace("-", "_"): values[key] for key in ("nick", "password-file") if key in values})
    return fields


def _parsed(parse: Callable[[str], R], value: str, server: str, key: str) -> R:
    """Return the parsed *value* of a key of a server."""
    try:
        return parse(value)
    except ValueError as error:
        raise _FaultError(str(error), "servers", server, key) from None


def _has_form(key: str, value: object) -> bool:
    """Return whether the *value* of a key of a server has the form in ``SERVER_KEYS``."""
    if key == "tls":
        return isinstance(value, bool)
    texts = value if key == "rooms" else [value]
    return isinstance(texts, list) and all(isinstance(text, str) and _is_one_line(text) for text in texts)


def _is_one_line(text: str) -> bool:
    # Behind a line end, a pipe would send another command.
    return bool(text.strip()) and text.isprintable()


def _line_of(text: str, names: Sequence[str]) -> int:
    """Return the number of the line where the last of *names* stands behind the others. Everything before is right."""
    text = re.sub("#.*", "", text)
    place = 0
    for name in names:
        if found := re.compile(rf"(?<!\w){re.escape(name)}(?!\w)").search(text, place):
            place = found.end()
    return text.count("\n", 0, place) + 1


class Choices(dict[str, bool]):
    """The choices of a run: those of the command line, of the file, and the defaults. A new choice is also stored.

    Setting one raises ``SettingsError`` if it cannot be stored; it then holds for this run.
    """

    def __init__(self, options: Options, environment: Mapping[str, str] = os.environ) -> None:
        self._settings = Settings.load()
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
    home = os.path.expanduser("~")
    if platform == "win32":
        folder = environment.get("APPDATA") or os.path.join(home, "AppData", "Roaming")
    elif platform == "darwin":
        folder = os.path.join(home, "Library", "Application Support")
    else:
        folder = environment.get("XDG_CONFIG_HOME", "")
        # The specification says to ignore a relative path (XDG Base Directory Specification 0.8, "Basics").
        folder = folder if os.path.isabs(folder) else os.path.join(home, ".config")
    return os.path.join(folder, "broadcast", "client.toml")


def state_folder(platform: str = sys.platform, environment: Mapping[str, str] = os.environ) -> str:
    """Return the folder for the state of a program on *platform*, a value of ``sys.platform``."""
    home = os.path.expanduser("~")
    if platform == "win32":
        folder = environment.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif platform == "darwin":
        folder = os.path.join(home, "Library", "Application Support")
    else:
        folder = environment.get("XDG_STATE_HOME", "")
        # As for the settings, a relative path is ignored.
        folder = folder if os.path.isabs(folder) else os.path.join(home, ".local", "state")
    return os.path.join(folder, "broadcast")


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


def replace_file(path: str, text: str) -> None:
    """Replace a file at once. A symlink stays, and the permissions of the file, too."""
    path = os.path.realpath(path)
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
