"""The user's settings in the file ``client.toml``: servers by name, and the choices of ``/set``.

The client changes one line of the file for a choice, and nothing else: comments and the order stay. ``--send`` reads
the file only for a name in it, because the parser takes longer to import than Python takes to start.
"""

from __future__ import annotations

import os
import sys

from broadcast.client.address import parse_address
from broadcast.client.options import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final, Self

    from broadcast.client.options import Options

CHOICES: Final = {
    "times": "show the time in front of each line",
    "color": "show colours",
    "bell": "ring the bell for private lines and for your nickname",
    "notify": "notify of them, too, if the terminal can",
    "quiet": "hide who comes and goes",
}
"""The choices of ``/set`` and their meanings. Each is true or false."""
SERVER_KEYS: Final = ("address", "nick", "rooms")


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
        if only in text:
            settings._take(text)
        return settings

    def set(self, name: str, value: bool) -> None:
        """Make a choice, and store it. Raise ``SettingsError`` if it cannot be stored; it then holds for this run."""
        try:
            text = self._read()
            self._take(text)
            new = _with_choice(text, name, value)
            if new is None:
                raise SettingsError(f"{self.path} has an unusual form: write {name} = {_word(value)} into it by hand")
            _replace(self.path, new.encode())
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be written: {error.strerror or error}") from None
        finally:
            self.choices[name] = value

    def _read(self) -> str:
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be read: {error.strerror or error}") from None
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self._error("it is not UTF-8", data.count(b"\n", 0, error.start) + 1) from None

    def _error(self, reason: str, line: int) -> SettingsError:
        return SettingsError(f"{self.path}, line {line}: {reason}. Correct the file, or move it away")

    def _take(self, text: str) -> None:
        import tomllib  # noqa: PLC0415 -- see above

        try:
            data = tomllib.loads(text.removeprefix(_BOM))
        except tomllib.TOMLDecodeError as error:
            # Python 3.11 to 3.13 have the place only in the text: "Invalid value (at line 3, column 9)".
            reason, _, place = str(error).removesuffix(")").rpartition(" (at ")
            number = place.partition("line ")[2].partition(",")[0] or text.rstrip().count("\n") + 1
            raise self._error(reason[:1].lower() + reason[1:], int(number)) from None
        servers = data.pop("servers", {})
        for name, value in data.items():
            line = _line_of(text, name)
            if name not in CHOICES:
                raise self._error(f"there is no setting {name}; the settings are {', '.join(CHOICES)}", line)
            if not isinstance(value, bool):
                raise self._error(f"{name} is true or false", line)
        if not isinstance(servers, dict):
            raise self._error("a server is a table such as [servers.work]", _line_of(text, "servers"))
        self.choices = data
        self.servers = {name: self._server(text, name, values) for name, values in servers.items()}

    def _server(self, text: str, name: str, values: object) -> dict[str, Any]:
        """Return the fields of ``Options`` for a server."""
        table = f"servers.{name}"
        if not isinstance(values, dict):
            raise self._error(f"a server is a table such as [{table}]", _line_of(text, table))
        if not name or name.isdigit() or set(name) & set(":/[]"):
            raise self._error(f"{name!r} is no name for a server: it would be an address", _line_of(text, table))
        for key, value in values.items():
            if key not in SERVER_KEYS:
                reason = f"a server has no {key}; it has {', '.join(SERVER_KEYS)}"
            elif key == "rooms":
                is_right = isinstance(value, list) and all(isinstance(room, str) and room.strip() for room in value)
                reason = "" if is_right else 'rooms is a list such as ["kitchen", "hall"]'
            else:
                reason = "" if isinstance(value, str) and value.strip() else f"{key} is a text in quotes"
            if reason:
                raise self._error(reason, _line_of(text, f"{table}.{key}"))
        try:
            host, port, room = parse_address(values.get("address", name))
        except ValueError as error:
            raise self._error(str(error), _line_of(text, f"{table}.address")) from None
        fields: dict[str, Any] = {"host": host, "port": port}
        if rooms := (*([room] if room else []), *values.get("rooms", [])):
            fields["rooms"] = tuple(dict.fromkeys(rooms))
        if "nick" in values:
            fields["nick"] = values["nick"]
        return fields


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


_BOM: Final = "\ufeff"
"""A mark that some editors put in front of a text."""


def _word(value: bool) -> str:
    return "true" if value else "false"


def _paths(lines: Sequence[str]) -> list[str]:
    """Return what each line sets: ``servers.work`` or ``servers.work.nick``; empty for blank lines and comments."""
    table = ""
    paths = []
    for line in map(str.strip, lines):
        key, equals, _ = line.partition("=")
        if line.startswith("["):
            table = _plain(line.strip("[").partition("]")[0])
            paths.append(table)
        else:
            paths.append(f"{table}.{_plain(key)}".lstrip(".") if equals and not line.startswith("#") else "")
    return paths


def _plain(key: str) -> str:
    return key.replace('"', "").replace("'", "").strip()


def _line_of(text: str, path: str) -> int:
    """Return the number of the line that sets *path*, or of a line around it."""
    paths = _paths(text.removeprefix(_BOM).split("\n"))
    while path:
        for number, line_path in enumerate(paths, 1):
            if f"{line_path}.".startswith(f"{path}."):
                return number
        path = path.rpartition(".")[0]
    return 1


def _with_choice(text: str, name: str, value: bool) -> str | None:
    """Return the text of the file with one choice changed, or None if its form is too unusual for that."""
    import tomllib  # noqa: PLC0415 -- see above

    mark = _BOM if text.startswith(_BOM) else ""
    lines = text.removeprefix(_BOM).split("\n")
    end = "\r" if lines[0].endswith("\r") else ""
    assignment = f"{name} = {_word(value)}"
    paths = _paths(lines)
    if name in paths:
        number = paths.index(name)
        _, hash_, comment = lines[number].rstrip("\r").partition("#")
        lines[number] = f"{assignment}{hash_ and '  #'}{comment}{end}"
    else:
        # The first line is always outside of a table.
        lines.insert(0, assignment + end)
    new = "\n".join(lines)
    try:
        # The editing above knows less of TOML than the parser does.
        is_right = tomllib.loads(new) == {**tomllib.loads(text.removeprefix(_BOM)), name: value}
    except tomllib.TOMLDecodeError:
        is_right = False
    return mark + new if is_right else None


def _replace(path: str, data: bytes) -> None:
    """Replace a file at once. A symlink stays, and the permissions of the file, too."""
    path = os.path.realpath(path)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        mode = os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mode = 0o600
    new = f"{path}.{os.getpid()}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.chmod(new, mode)  # whatever the umask is
        os.replace(new, path)
    finally:
        if os.path.exists(new):
            os.unlink(new)
