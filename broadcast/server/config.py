"""The server's settings. The command line overrides the config file, which overrides the defaults."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Final

from broadcast.core.errors import StartupError
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.net.endpoints import is_number
from broadcast.server.validators import LIMITS, VALIDATORS, check_text, read_text

CONFIG_BYTES: Final = 1024 * 1024
_URL_WITH_PASSWORD: Final = re.compile(r"^[a-z]+://[^/@:]*:[^/@]+@|[?&]password=[^&]")
_URL_WARNING: Final = (
    "--journal holds a password, which ps shows to everybody on this machine: "
    "put it into a password file (PGPASSFILE) or a service file instead."
)


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a server. Without arguments, the defaults."""

    ports: tuple[str, ...] = ("5555",)
    """Where to listen: port numbers from 0 to 65535, or Twisted endpoint descriptions. At least one."""
    interface: str | None = None
    """Address or host name on which port numbers listen, or None for this machine only."""
    name: str = "Broadcast"
    motd: tuple[str, ...] = ()
    """Sanitized lines of the message of the day."""
    replay: int = 20
    probe: int = 60
    """Seconds of silence after which a client is probed. With 0, no client is ever probed or taken for gone."""
    gone: int = 150
    """Seconds of silence after which a client is taken for gone; more than *probe*."""
    unicode_nicknames: bool = False
    lobby: str = "lobby"
    """Name of the room in which people arrive."""
    fixed_rooms: tuple[str, ...] | None = None
    """Names of all other rooms, or None if anybody may open a room by joining it."""
    data: Path | None = Path("broadcast-data")
    """Folder of the journal, or None to keep it in memory only."""
    database: str | None = field(default=None, repr=False)
    """URL of the PostgreSQL database that is the journal, perhaps with a password. None for SQLite or memory."""
    node: str | None = None
    """Name of this server among those with the same database, or None for the name of the machine and the port."""
    schema: str = "broadcast"
    """Name of the schema in the database that has the tables."""
    warnings: tuple[str, ...] = ()
    """Lines for the log about settings that are valid, but not wise."""
    limits: Limits = DEFAULTS
    metrics: str | None = None
    """Where to serve metrics: a port number on this machine, an endpoint description, or None for nowhere."""
    accounts: str = "open"
    """Who gets an account: one of ``ACCOUNT_MODES``."""
    account_days: int = 0
    """Days after which an account that nobody has used is deleted; 0 for never."""
    passwords: str = "warn"
    """Whether passwords on connections that others may read are warned about, or refused: one of ``PASSWORDS``."""
    oidc: str | None = None
    """Issuer of the OpenID Connect provider, or None for no provider."""
    oidc_client_id: str = ""
    oidc_secret: str = field(default="", repr=False)
    """The secret of this client of the provider; empty for a public client."""
    topics: str = "everybody"
    """Who may set the topic of a room: one of ``TOPICS``."""
    log_format: str = "text"
    """Log format: one of ``LOG_FORMATS``."""
    tls: tuple[str, ...] = ()
    """Where to listen for connections with TLS, in the same form as *ports*."""
    cert: Path | None = None
    """File of the certificate and its chain, or None for a self-signed certificate."""
    key: Path | None = None
    """File of the key, or None if it is in the file of the certificate."""
    web: tuple[str, ...] = ()
    """Where to serve the web page, in the same form as *ports*."""
    web_tls: tuple[str, ...] = ()
    """Where to serve it with https."""
    web_path: str = ""
    """The folder of the page in its address, as ``/chat``; empty if the page is the whole site."""
    web_url: str | None = None
    """The address of the page for people, with a slash at its end; None for the name of this machine and the port."""
    web_origins: tuple[str, ...] = ()
    """Origins beside this machine's own whose pages may use the server, as ``https://chat.example.com``."""
    web_hsts: bool = False
    """Whether replies over https forbid plain HTTP for this host."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses, networks, or ``unix``: the reverse proxies whose ``X-Forwarded-For`` is believed."""
    read_motd: Callable[[], tuple[str, ...]] = field(default=tuple, compare=False)
    """Returns the present lines of the message of the day. Raises ``StartupError``."""


def load_config(given: Mapping[str, object], folder: Path) -> Config:
    """Merge the command line *given* (option names without ``--``) with the config file, and return the settings.

    Relative paths, also those in the config file, start from *folder*. Raises ``StartupError``.
    """
    command_line = dict(given)
    from_file: dict[str, object] = {}
    if (path := command_line.pop("config", None)) is not None:
        from_file = _validate(_read_toml(check_text("--config", path), folder), lambda key: f"{key} in {path}", folder)
    overrides = _validate(command_line, lambda key: f"--{key}", folder)
    if "data" in overrides:
        from_file.pop("ephemeral", None)
    if overrides.get("rooms") == "open":
        from_file.pop("room", None)
    settings = from_file | overrides
    defaults = Config()
    numbers = {limit.field: settings.pop(name) for name, limit in LIMITS.items() if name in settings}
    limits = Limits(**numbers)  # type: ignore[arg-type]  # _validate has checked the types
    if not settings.pop("limits", True):
        limits = limits.without_client_limits()
    data = settings.pop("data", folder / (defaults.data or ""))
    if settings.pop("ephemeral", False):
        data = None
    if settings.get("database") is None and settings.keys() & {"node", "schema"}:
        raise StartupError("--node and --schema are about a PostgreSQL database: add --journal postgresql://HOST/NAME.")
    if _URL_WITH_PASSWORD.search(str(overrides.get("database"))):
        settings["warnings"] = (_URL_WARNING,)
    _check_listeners(settings, defaults)
    _check_provider(settings)
    settings["fixed_rooms"] = _choose_rooms(settings.pop("rooms", "open"), settings.pop("room", None))
    if (read_motd := settings.get("read_motd")) is not None:
        settings["motd"] = read_motd()  # type: ignore[operator]
    config = Config(data=data, limits=limits, **settings)  # type: ignore[arg-type]  # _validate has checked the types
    if config.probe >= config.gone:
        raise StartupError(
            f"gone ({config.gone}) must be more seconds than probe ({config.probe}): a silent client is probed first "
            "and has the rest of the time to answer. Raise gone, or lower probe."
        )
    return config


def _apply_journal(checked: dict[str, object], where: Callable[[str], str], folder: Path) -> None:
    """Replace the URL of the journal in *checked* by the settings that it stands for. Raises ``StartupError``."""
    scheme, _, rest = str(checked.pop("journal")).partition(":")
    if checked.get("ephemeral") and scheme != "memory":
        raise StartupError(f"{where('ephemeral')} stores nothing, {where('journal')} names a journal: choose one.")
    checked["ephemeral"] = scheme == "memory"
    checked["database"] = None if scheme in ("memory", "sqlite") else f"{scheme}:{rest}"
    if scheme == "sqlite" and rest:
        if "data" in checked:
            raise StartupError(
                f"{where('journal')} and {where('data')} both name the folder of the journal: choose one."
            )
        checked["data"] = folder / rest


def _check_provider(settings: Mapping[str, object]) -> None:
    """Check that the settings about an OpenID Connect provider are complete. Raises ``StartupError``."""
    if "oidc" in settings and "oidc_client_id" not in settings:
        raise StartupError("--oidc needs the id that the provider knows this server by: add --oidc-client-id.")
    if "oidc" not in settings and settings.keys() & {"oidc_client_id", "oidc_secret"}:
        raise StartupError("--oidc-client-id and --oidc-secret-file are about a provider: add its issuer as --oidc.")


def _check_listeners(settings: Mapping[str, object], defaults: Config) -> None:
    """Check the settings about ports, which depend on each other. Raises ``StartupError``."""
    listeners = (settings.get(name, ()) for name in ("tls", "web", "web_tls"))
    ports = (*settings.get("ports", defaults.ports), *chain(*listeners))  # type: ignore[misc, arg-type]
    if "interface" in settings and not any(map(is_number, ports)):
        escaped = str(settings["interface"]).replace(":", r"\:")
        raise StartupError(
            f"--interface {settings['interface']} applies to port numbers only, and no --port is a number. "
            f"Put it into the endpoint description, as in tcp:5555:interface={escaped}."
        )
    if "key" in settings and "cert" not in settings:
        raise StartupError("--key is the key of a certificate, and there is no --cert: give both.")
    if "cert" in settings and not settings.keys() & {"tls", "web_tls"}:
        raise StartupError("--cert is the certificate of --tls, and no port is given: add --tls, as in --tls 5556.")
    if not settings.keys() & {"web", "web_tls"}:
        for name, option in _ABOUT_PAGE.items():
            if name in settings:
                raise StartupError(f"{option} is about the web page, and it has no port: add --web, as in --web 8080.")
    if settings.get("web_hsts") and "web_tls" in settings and "cert" not in settings:
        raise StartupError(
            "--web-hsts needs a certificate that browsers trust, as they would let nobody past a warning: give it with "
            "--cert, or leave --web-hsts out."
        )


_ABOUT_PAGE: Final = {
    "web_path": "--web-path",
    "web_url": "--web-url",
    "web_origins": "--web-origin",
    "web_hsts": "--web-hsts",
    "trusted_proxies": "--trusted-proxy",
}
"""Options that have no effect without a port for the page, by their fields in ``Config``."""


def _choose_rooms(which: object, names: object) -> tuple[str, ...] | None:
    """Return the names of the rooms besides the lobby, None if there may be any. Raises ``StartupError``."""
    if which == "fixed":
        return names or ()  # type: ignore[return-value]  # _validate has checked the type
    if names:
        raise StartupError(
            "--room names a room of --rooms fixed, but --rooms is open: give --rooms fixed too, or leave --room out. "
            "An open room needs no option: the first /join opens it."
        )
    return None


def _validate(values: Mapping[str, object], where: Callable[[str], str], folder: Path) -> dict[str, object]:
    """Return *values* as fields of ``Config``. *where* returns the name of a setting for error texts."""
    checked: dict[str, object] = {}
    for key, value in values.items():
        check = VALIDATORS.get(key)
        if check is None:
            raise StartupError(f"{where(key)} is not a setting. {_suggest(key)}")
        checked[_FIELDS.get(key, key)] = check(where(key), value, folder)
    if "journal" in checked:
        _apply_journal(checked, where, folder)
    elif checked.get("ephemeral"):
        checked["database"] = None
    if checked.get("ephemeral") and "data" in checked:
        raise StartupError(f"{where('ephemeral')} stores nothing on disk, {where('data')} names a folder: choose one.")
    return checked


def _suggest(key: str) -> str:
    """Return a hint at the settings that the user may have meant by *key*."""
    close = get_close_matches(key.lower().replace("_", "-"), VALIDATORS, 1)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(VALIDATORS)}."


def _read_toml(path: str, folder: Path) -> dict[str, object]:
    """Return the content of the TOML file *path*."""
    text = read_text("--config", folder / path, CONFIG_BYTES)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or an error of int or datetime
        reason = str(error).replace("at end of document", f"at the end, line {text.count(chr(10)) + 1}")
        raise StartupError(f"{path} is not valid TOML: {reason}. Correct it there.") from error


_FIELDS: Final = {
    "port": "ports",
    "motd": "read_motd",
    "unicode-nicknames": "unicode_nicknames",
    "log-format": "log_format",
    "web-tls": "web_tls",
    "web-path": "web_path",
    "web-url": "web_url",
    "web-origin": "web_origins",
    "web-hsts": "web_hsts",
    "trusted-proxy": "trusted_proxies",
    "account-days": "account_days",
    "oidc-client-id": "oidc_client_id",
    "oidc-secret-file": "oidc_secret",
}
"""Settings whose field in ``Config`` has another name."""
