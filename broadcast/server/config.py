"""The settings of a start: what the command line says, over what the config file says, over the defaults."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from broadcast.core.errors import StartupError
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.sanitize import sanitize
from broadcast.net.endpoints import is_number

LAST_PORT: Final = 65535
PROBE_LIMIT: Final = 3600
GONE_LIMIT: Final = 7200
"""The longest silences, in seconds. (After two hours a system's own keepalives begin: RFC 1122, 4.2.3.6.)"""
REPLAY_LIMIT: Final = 1000
"""The most lines that a newcomer can be shown; ``/history`` shows no more at once either."""
NAME_CHARACTERS: Final = 100
"""The longest name: it stands in one line, and should fit there."""
MOTD_LINES: Final = 100
MOTD_BYTES: Final = 16 * 1024
"""The longest message of the day. It goes to every connection, before it has done anything to deserve so much."""
CONFIG_BYTES: Final = 1024 * 1024
LOG_FORMATS: Final = ("text", "json")

KIB: Final = 1024
MIB: Final = 1024 * 1024

_line_end: Final = re.compile(r"\r\n|\r|\n")


class Limit(NamedTuple):
    """One limit as a setting: the field of ``Limits``, what it may be, and what it is, for ``--help``."""

    field: str
    low: float
    high: float
    help: str
    whole: bool = True
    """Whether it must be a whole number."""


LIMITS: Final[Mapping[str, Limit]] = {
    "paste-lines": Limit(
        "paste_lines", 1, 100_000, "So many lines one person may send at once; then --lines-per-second."
    ),
    "lines-per-second": Limit(
        "lines_per_second",
        0.02,  # the client gives up a server from which nothing has come for 100 seconds, and asks first
        1_000_000,
        "So many of them a second behind --paste-lines; what comes faster waits.",
        False,
    ),
    "connections-per-address": Limit(
        "address_connections", 1, 1_000_000, "Connections of one address (IPv6: /64); this machine's are not counted."
    ),
    "connections": Limit(
        "connections", 1, 10_000_000, "Connections in all. By default what the file limit (ulimit -n) allows, less 64."
    ),
    "nickname-seconds": Limit("nickname_seconds", 1, 86_400, "The time to a nickname.", False),
    "linger-seconds": Limit(
        "linger_seconds", 0.1, 3600, "How long a closing connection may take to read what it was sent.", False
    ),
    "line-bytes": Limit("line_bytes", 128, 64 * KIB, "The longest line, without its end."),
    "nickname-bytes": Limit("nickname_bytes", 24, 64 * KIB, "The longest line before the nickname."),
    "window-events": Limit(
        "replay_events", 1, 10_000_000, "So many events are kept in memory for those who cannot read fast enough."
    ),
    "window-bytes": Limit("replay_bytes", 1, 1024 * MIB, "Like --window-events, but bytes; whichever is less."),
    "pending-bytes": Limit(
        "private_queue_bytes",
        4 * KIB,
        64 * MIB,
        "So much of answers and private lines waits for one who does not read.",
    ),
    "queue-events": Limit(
        "high_water_events", 1, 10_000_000, "Past so many that are not told yet, those who write are read more slowly."
    ),
    "queue-bytes": Limit(
        "high_water_bytes", 1, 1024 * MIB, "Like --queue-events, but bytes of text; whichever is less."
    ),
}
"""Every limit that is a number, under the name that it has on the command line and in the config file."""


@dataclass(frozen=True, slots=True)
class Config:
    """What a server is started with; without arguments, the defaults."""

    ports: tuple[str, ...] = ("5555",)
    """Where to listen: numbers from 0 to 65535, and Twisted endpoint descriptions; at least one."""
    interface: str | None = None
    """The address or host name that numbers listen on; None: on this machine only."""
    name: str = "Broadcast"
    motd: tuple[str, ...] = ()
    """The lines of the message of the day, clean."""
    replay: int = 20
    probe: int = 60
    """After how many seconds of silence somebody is probed; 0: never, and nobody is taken for gone."""
    gone: int = 150
    """After how many they are taken for gone; more than *probe*."""
    unicode_nicknames: bool = False
    data: Path | None = Path("broadcast-data")
    """The folder that keeps what is said; None: keep nothing."""
    limits: Limits = DEFAULTS
    metrics: str | None = None
    """Where to show figures: a number, on this machine only, or an endpoint description; None: nowhere."""
    log_format: str = "text"
    """How the log is written: one of ``LOG_FORMATS``."""


def load_config(given: Mapping[str, object], folder: Path) -> Config:
    """Merge *given* (the command line: the options' names without ``--``, only those that are there) with the config.

    Relative paths start from *folder*, in the config file as on the command line. Raises ``CannotStart``.
    """
    command_line = dict(given)
    file: dict[str, object] = {}
    if (path := command_line.pop("config", None)) is not None:
        file = _checked(_table(_text("--config", path), folder), lambda key: f"{key} in {path}", folder)
    over = _checked(command_line, lambda key: f"--{key}", folder)
    if "data" in over:
        file.pop("ephemeral", None)
    settings = file | over
    defaults = Config()
    numbers = {limit.field: settings.pop(name) for name, limit in LIMITS.items() if name in settings}
    limits = Limits(**numbers)  # type: ignore[arg-type]  # _checked has seen to the types
    if not settings.pop("limits", True):
        limits = limits.without_client_limits()
    data = settings.pop("data", folder / (defaults.data or ""))
    if settings.pop("ephemeral", False):
        data = None
    if "interface" in settings and not any(map(is_number, settings.get("ports", defaults.ports))):  # type: ignore[call-overload]
        raise StartupError(
            f"--interface {settings['interface']} is for port numbers: there is none here. "
            f"An endpoint description takes its own, as in tcp:5555:interface={settings['interface']}."
        )
    config = Config(data=data, limits=limits, **settings)  # type: ignore[arg-type]  # _checked has seen to the types
    if config.probe >= config.gone:
        raise StartupError(
            f"gone ({config.gone}) must be more seconds than probe ({config.probe}): who has been silent is probed "
            "first, and has the rest of the time to answer. Raise gone, or lower probe."
        )
    return config


def _checked(values: Mapping[str, object], where: Callable[[str], str], folder: Path) -> dict[str, object]:
    """*values* as ``Config`` wants them; *where* says how to name a setting to the one who gave it."""
    checked: dict[str, object] = {}
    for key, value in values.items():
        check = VALIDATORS.get(key)
        if check is None:
            raise StartupError(f"{where(key)} is not a setting. {_suggest(key)}")
        checked[_FIELDS.get(key, key)] = check(where(key), value, folder)
    if checked.get("ephemeral") and "data" in checked:
        raise StartupError(f"{where('ephemeral')} keeps nothing, {where('data')} says where to keep it: choose one.")
    return checked


def _suggest(key: str) -> str:
    """What may have been meant by *key*."""
    close = get_close_matches(key.lower().replace("_", "-"), VALIDATORS, 1)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(VALIDATORS)}."


def _wrong(where: str, wanted: str, value: object) -> StartupError:
    shown = repr(value)
    return StartupError(f"{where} takes {wanted}, not {shown if len(shown) <= 60 else shown[:60] + '…'}.")


def _ports(where: str, value: object, _folder: Path) -> tuple[str, ...]:
    ports = value if isinstance(value, list) else [value]
    if not ports:
        raise _wrong(where, "at least one port", value)
    return tuple(_port(where, port) for port in ports)


def _port(where: str, value: object) -> str:
    wanted = f"a number from 0 to {LAST_PORT} or a Twisted endpoint description such as tcp:5555:interface=0.0.0.0"
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise _wrong(where, wanted, value)
    port = str(value).strip()
    if not port or (re.fullmatch(r"[+-]?\d+", port) and not (is_number(port) and int(port) <= LAST_PORT)):
        raise _wrong(where, wanted, value)
    return port


def _text(where: str, value: object, _folder: Path | None = None) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise _wrong(where, "a text that is not empty", value)
    return value


def _name(where: str, value: object, _folder: Path) -> str:
    name = sanitize(_text(where, value)).strip()
    if not 0 < len(name) <= NAME_CHARACTERS:
        raise _wrong(where, f"a line of 1 to {NAME_CHARACTERS} characters", value)
    return name


def _whole(low: int, high: int) -> Callable[[str, object, Path], int]:
    """A check for a number from *low* to *high*."""

    def check(where: str, value: object, _folder: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _wrong(where, f"a whole number from {low} to {high}", value)
        return value

    return check


def _limit(limit: Limit, where: str, value: object, _folder: Path) -> float:
    kinds = int if limit.whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not limit.low <= value <= limit.high:
        raise _wrong(where, f"a {'whole ' * limit.whole}number from {limit.low} to {limit.high}", value)
    return value


def _switch(where: str, value: object, _folder: Path) -> bool:
    if isinstance(value, bool):  # TOML's word for it
        return value
    if value not in ("on", "off"):
        raise _wrong(where, "on or off", value)
    return value == "on"


def _flag(where: str, value: object, _folder: Path) -> bool:
    if not isinstance(value, bool):
        raise _wrong(where, "true or false", value)
    return value


def _metrics(where: str, value: object, _folder: Path) -> str:
    return _port(where, value)


def _log_format(where: str, value: object, _folder: Path) -> str:
    if value not in LOG_FORMATS:
        raise _wrong(where, " or ".join(LOG_FORMATS), value)
    return str(value)


def _data(where: str, value: object, folder: Path) -> Path:
    return folder / _text(where, value)


def _motd(where: str, value: object, folder: Path) -> tuple[str, ...]:
    """The lines of the file *value*, clean, without the blank ones at its end."""
    path = _text(where, value)
    lines = _line_end.split(_contents(where, folder / path, MOTD_BYTES))
    shown = [sanitize(line).rstrip() for line in lines]
    while shown and not shown[-1]:
        shown.pop()
    if len(shown) > MOTD_LINES:
        raise StartupError(f"{where}: {path} has {len(shown)} lines. Shorten it to {MOTD_LINES}.")
    return tuple(shown)


def _table(path: str, folder: Path) -> dict[str, object]:
    """What the TOML file *path* says."""
    text = _contents("--config", folder / path, CONFIG_BYTES)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, which says the line; and what int and datetime say
        what = str(error).replace("at end of document", f"at the end, line {text.count(chr(10)) + 1}")
        raise StartupError(f"{path} is not valid TOML: {what}. Correct it there.") from error


def _contents(where: str, path: Path, limit: int) -> str:
    """The text of a file of at most *limit* bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        reason = error.strerror or error
        raise StartupError(f"{where}: cannot read {path}: {reason}. Give it a file that this user may read.") from error
    if len(data) > limit:
        raise StartupError(f"{where}: {path} is too long. Shorten it to {limit} bytes.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StartupError(f"{where}: line {line} of {path} is not UTF-8. Save it as UTF-8.") from error


VALIDATORS: Final[Mapping[str, Callable[[str, object, Path], object]]] = {
    "port": _ports,
    "interface": _text,
    "name": _name,
    "motd": _motd,
    "replay": _whole(0, REPLAY_LIMIT),
    "probe": _whole(0, PROBE_LIMIT),
    "gone": _whole(1, GONE_LIMIT),
    "unicode-nicknames": _flag,
    "data": _data,
    "ephemeral": _flag,
    "metrics": _metrics,
    "log-format": _log_format,
    "limits": _switch,
    **{name: partial(_limit, limit) for name, limit in LIMITS.items()},
}
"""Every setting, under the name that it has on the command line and in the config file."""

_FIELDS: Final = {"port": "ports", "unicode-nicknames": "unicode_nicknames", "log-format": "log_format"}
"""The settings that ``Config`` calls by another name."""
