"""The checks of single settings: each takes the value from the command line or the config file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from broadcast.core.accounts import ACCOUNT_MODES
from broadcast.core.errors import StartupError
from broadcast.core.moderation import TOPICS
from broadcast.core.rooms import MAX_ROOM_NAME_CHARS, parse_room_name
from broadcast.core.sanitize import sanitize
from broadcast.net.addresses import is_loopback
from broadcast.net.endpoints import is_number

LAST_PORT: Final = 65535
PROBE_LIMIT: Final = 3600
GONE_LIMIT: Final = 7200
"""Maximum values of ``probe`` and ``gone``, in seconds. (A system's own keepalive starts after two hours: RFC 1122.)"""
REPLAY_LIMIT: Final = 1000
"""Maximum number of lines to show to a new client, equal to the maximum of ``/history``."""
NAME_CHARACTERS: Final = 100
"""Maximum length of the server's name, which has to fit in one line."""
SECRET_BYTES: Final = 4096
"""Maximum size of the file with the secret of the OpenID Connect client."""
MOTD_LINES: Final = 100
MOTD_BYTES: Final = 16 * 1024
"""Maximum size of the message of the day. It is small because every connection receives it, even before a nickname."""
LOG_FORMATS: Final = ("text", "json")
PASSWORDS: Final = ("warn", "tls")
ACCOUNT_DAYS_LIMIT: Final = 36_500
"""Maximum value of ``account-days``: 100 years."""
ROOMS: Final = ("open", "fixed")

KIB: Final = 1024
MIB: Final = 1024 * 1024

UNIX_PROXY: Final = "unix"
"""Stands for all clients of a unix socket among the trusted proxies."""

_WEB_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_JOURNAL_URL: Final = re.compile(r"sqlite:|memory:\Z|postgres(?:ql)?://")
_NODE: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_SCHEMA: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


class Limit(NamedTuple):
    """One numeric limit as a setting: its field in ``Limits``, its range, and its text in ``--help``."""

    field: str
    low: float
    high: float
    help: str
    whole: bool = True
    """Whether the value must be a whole number."""


LIMITS: Final[Mapping[str, Limit]] = {
    "paste-lines": Limit("paste_lines", 1, 100_000, "Maximum number of lines that a client may send at once."),
    "lines-per-second": Limit(
        "lines_per_second",
        0.02,  # with a lower rate, the silence could exceed the 100 seconds after which a client gives up
        1_000_000,
        "Rate limit after --paste-lines. Lines that arrive faster wait.",
        False,
    ),
    "connections-per-address": Limit(
        "address_connections", 1, 1_000_000, "Maximum number of connections per address (IPv6: /64), except loopback."
    ),
    "connections-per-second": Limit(
        "address_connection_rate",
        0.1,
        1_000_000,
        "Rate limit of new connections per address, after 64 at once.",
        False,
    ),
    "connections": Limit(
        "connections", 1, 10_000_000, "Maximum number of connections; by default the file limit (ulimit -n) less 64."
    ),
    "max-rooms": Limit("rooms", 1, 100_000, "Maximum number of rooms with people in them at the same time."),
    "nickname-seconds": Limit("nickname_seconds", 1, 86_400, "Maximum seconds until a nickname is accepted.", False),
    "grace": Limit(
        "grace_seconds", 0, 86_400, "Seconds for which a program's session outlives its lost connection.", False
    ),
    "linger-seconds": Limit(
        "linger_seconds", 0.1, 3600, "Seconds that a closing connection may take to read the rest of its data.", False
    ),
    "line-bytes": Limit("line_bytes", 128, 64 * KIB, "Maximum bytes in a line, without the line end."),
    "nickname-bytes": Limit("nickname_bytes", 24, 64 * KIB, "Maximum bytes in a line before the nickname is accepted."),
    "window-events": Limit(
        "replay_events", 1, 10_000_000, "Maximum number of events in memory for clients that read too slowly."
    ),
    "window-bytes": Limit(
        "replay_bytes", 1, 1024 * MIB, "Maximum bytes in memory for these clients. The lower of the two limits applies."
    ),
    "pending-bytes": Limit(
        "private_queue_bytes",
        4 * KIB,
        64 * MIB,
        "Maximum bytes of replies and private lines that wait for one slow client.",
    ),
    "queue-events": Limit(
        "high_water_events",
        1,
        10_000_000,
        "High-water mark: undelivered events above which the server reads more slowly.",
    ),
    "queue-bytes": Limit(
        "high_water_bytes",
        1,
        1024 * MIB,
        "High-water mark: bytes of undelivered text above which the server reads more slowly.",
    ),
    "file-bytes": Limit("file_bytes", 1, 1024 * 1024 * MIB, "Maximum bytes in a file that people share."),
    "files-total": Limit(
        "files_total",
        0,
        1024 * 1024 * MIB,
        "Maximum bytes in all shared files. Past it, the oldest files of the person who uploads are removed. With 0, "
        "the server takes no files.",
    ),
    "file-days": Limit("file_days", 1, 36_500, "Days after which a shared file is removed."),
}
"""Every numeric limit, by its name on the command line and in the config file."""


def _invalid(where: str, expected: str, value: object) -> StartupError:
    shown = repr(value)
    return StartupError(f"{where} takes {expected}, not {shown if len(shown) <= 60 else shown[:60] + '…'}.")


def _check_each(check: Callable[[str, object, Path], str], where: str, value: object, folder: Path) -> tuple[str, ...]:
    """Return the results of *check* for the values of a list, or for a single value."""
    values = value if isinstance(value, list) else [value]
    return tuple(check(where, each, folder) for each in values)


def _check_ports(where: str, value: object, folder: Path) -> tuple[str, ...]:
    ports = _check_each(_check_port, where, value, folder)
    if not ports:
        raise _invalid(where, "at least one port", value)
    return ports


def _check_port(where: str, value: object, _folder: Path) -> str:
    expected = f"a number from 0 to {LAST_PORT} or a Twisted endpoint description such as tcp:5555:interface=0.0.0.0"
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise _invalid(where, expected, value)
    port = str(value).strip()
    if not port or (re.fullmatch(r"[+-]?\d+", port) and not (is_number(port) and int(port) <= LAST_PORT)):
        raise _invalid(where, expected, value)
    return port


def check_text(where: str, value: object, _folder: Path | None = None) -> str:
    """Return *value*, a text that is not empty."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise _invalid(where, "a text that is not empty", value)
    return value


def _check_name(where: str, value: object, _folder: Path) -> str:
    name = sanitize(check_text(where, value)).strip()
    if not 0 < len(name) <= NAME_CHARACTERS:
        raise _invalid(where, f"a line of 1 to {NAME_CHARACTERS} characters", value)
    return name


def _check_room(where: str, value: object, _folder: Path) -> str:
    if isinstance(value, str) and (name := parse_room_name(value)) is not None:
        return name
    raise _invalid(where, f"a room's name, 1 to {MAX_ROOM_NAME_CHARS} of a-z, 0-9, _ and -", value)


def _check_rooms(where: str, value: object, folder: Path) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_check_each(_check_room, where, value, folder)))


def _check_choice(choices: tuple[str, ...], where: str, value: object, _folder: Path) -> str:
    if value not in choices:
        raise _invalid(where, " or ".join(choices), value)
    return str(value)


def _check_number(low: float, high: float, whole: bool, where: str, value: object, _folder: Path) -> float:
    types = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, types) or not low <= value <= high:
        raise _invalid(where, f"a {'whole ' * whole}number from {low} to {high}", value)
    return value


def _check_switch(where: str, value: object, _folder: Path) -> bool:
    if isinstance(value, bool):  # in TOML
        return value
    if value not in ("on", "off"):
        raise _invalid(where, "on or off", value)
    return value == "on"


def _check_flag(where: str, value: object, _folder: Path) -> bool:
    if not isinstance(value, bool):
        raise _invalid(where, "true or false", value)
    return value


def _check_path(where: str, value: object, folder: Path) -> Path:
    return folder / check_text(where, value)


def _check_journal(where: str, value: object, _folder: Path) -> str:
    url = check_text(where, value)
    if not _JOURNAL_URL.match(url):  # the error does not repeat the value, which may hold a password
        raise StartupError(f"{where} takes sqlite:FOLDER, memory: or postgresql://USER@HOST/DATABASE.")
    return url


def _check_identifier(pattern: re.Pattern[str], expected: str, where: str, value: object, _folder: Path) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _invalid(where, expected, value)
    return value


def _check_issuer(where: str, value: object, _folder: Path) -> str:
    issuer = check_text(where, value)
    if not _is_issuer(issuer):
        raise _invalid(where, "the https address of an OpenID Connect provider, as in https://login.example.com", value)
    return issuer


def _is_issuer(url: str) -> bool:
    """Return whether *url* is an address with https, or with http on this machine, and nothing else."""
    origin, _path = _split_url(url)
    if origin is None:
        return False
    host = urlsplit(origin).hostname or ""
    return origin.startswith("https:") or host == "localhost" or is_loopback(host)


def _check_web_url(where: str, value: object, _folder: Path) -> str:
    url = check_text(where, value)
    origin, path = _split_url(url)
    if origin is None or not (path == "" or _WEB_PATH.fullmatch(path.removesuffix("/"))):
        raise _invalid(where, "the address of the page, as in https://chat.example.com/", value)
    return f"{origin}{path.removesuffix('/')}/"


def _check_web_origin(where: str, value: object, _folder: Path) -> str:
    origin, path = _split_url(check_text(where, value))
    if origin is None or path not in ("", "/"):
        raise _invalid(where, "a scheme and a host, as in https://chat.example.com", value)
    return origin


def _split_url(url: str) -> tuple[str | None, str]:
    """Return the origin and the path of *url*, an address with http or https. The origin is None if it is not one."""
    if not (url.isascii() and url.isprintable()) or any(mark in url for mark in " ?#@"):
        return None, ""
    try:
        parts = urlsplit(url)
        is_address = parts.hostname and parts.port != 0 and parts.scheme in ("http", "https")
    except ValueError:
        return None, ""
    return (f"{parts.scheme}://{parts.netloc.lower()}" if is_address else None), parts.path


def _check_web_path(where: str, value: object, _folder: Path) -> str:
    path = check_text(where, value)
    if path != "/" and not _WEB_PATH.fullmatch(path.removesuffix("/")):
        raise _invalid(where, "the path at which the proxy has the page, as in /chat", value)
    return path.removesuffix("/")


def _check_proxy(where: str, value: object, _folder: Path) -> str:
    proxy = check_text(where, value)
    if proxy != UNIX_PROXY:
        try:
            ip_network(proxy)
        except ValueError as error:
            expected = f"an address or a network, as 10.0.0.1 or 10.0.0.0/24, or {UNIX_PROXY}"
            raise _invalid(where, expected, value) from error
    return proxy


def _check_secret(where: str, value: object, folder: Path) -> str:
    path = check_text(where, value)
    secret = read_text(where, folder / path, SECRET_BYTES).strip()
    if not secret:
        raise StartupError(f"{where}: {path} is empty. Write the secret of the client into it.")
    return secret


def _check_motd(where: str, value: object, folder: Path) -> Callable[[], tuple[str, ...]]:
    return partial(_read_motd, where, check_text(where, value), folder)


def _read_motd(where: str, path: str, folder: Path) -> tuple[str, ...]:
    """Return the sanitized lines of the file *path*, without blank lines at its end."""
    lines = _LINE_END.split(read_text(where, folder / path, MOTD_BYTES))
    clean = [sanitize(line).rstrip() for line in lines]
    while clean and not clean[-1]:
        clean.pop()
    if len(clean) > MOTD_LINES:
        raise StartupError(f"{where}: {path} has {len(clean)} lines. Shorten it to {MOTD_LINES}.")
    return tuple(clean)


def read_text(where: str, path: Path, limit: int) -> str:
    """Return the text of a UTF-8 file of at most *limit* bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        reason = error.strerror or error
        raise StartupError(f"{where}: cannot read {path}: {reason}. Give it a file that this user can read.") from error
    if len(data) > limit:
        raise StartupError(f"{where}: {path} is too long. Shorten it to {limit} bytes.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StartupError(f"{where}: line {line} of {path} is not UTF-8. Save it as UTF-8.") from error


VALIDATORS: Final[Mapping[str, Callable[[str, object, Path], object]]] = {
    "port": _check_ports,
    "interface": check_text,
    "name": _check_name,
    "motd": _check_motd,
    "replay": partial(_check_number, 0, REPLAY_LIMIT, True),
    "probe": partial(_check_number, 0, PROBE_LIMIT, True),
    "gone": partial(_check_number, 1, GONE_LIMIT, True),
    "unicode-nicknames": _check_flag,
    "lobby": _check_room,
    "rooms": partial(_check_choice, ROOMS),
    "room": _check_rooms,
    "data": _check_path,
    "ephemeral": _check_flag,
    "journal": _check_journal,
    "node": partial(_check_identifier, _NODE, "1 to 100 of letters, digits and ._:-"),
    "schema": partial(
        _check_identifier, _SCHEMA, "1 to 63 of a-z, 0-9 and _, with neither a digit nor pg_ at its beginning"
    ),
    "tls": _check_ports,
    "cert": _check_path,
    "key": _check_path,
    "web": _check_ports,
    "web-tls": _check_ports,
    "web-path": _check_web_path,
    "web-url": _check_web_url,
    "web-origin": partial(_check_each, _check_web_origin),
    "web-hsts": _check_flag,
    "trusted-proxy": partial(_check_each, _check_proxy),
    "metrics": _check_port,
    "accounts": partial(_check_choice, ACCOUNT_MODES),
    "account-days": partial(_check_number, 0, ACCOUNT_DAYS_LIMIT, True),
    "passwords": partial(_check_choice, PASSWORDS),
    "oidc": _check_issuer,
    "oidc-client-id": check_text,
    "oidc-secret-file": _check_secret,
    "topics": partial(_check_choice, TOPICS),
    "log-format": partial(_check_choice, LOG_FORMATS),
    "limits": _check_switch,
    **{name: partial(_check_number, limit.low, limit.high, limit.whole) for name, limit in LIMITS.items()},
}
"""The validator of each setting, by its name on the command line and in the config file."""
