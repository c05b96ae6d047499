"""The command line of ``twistd broadcast``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from twisted.python import usage

from broadcast import __version__
from broadcast.core.accounts import ACCOUNT_MODES
from broadcast.core.errors import StartupError
from broadcast.core.moderation import TOPICS
from broadcast.server.config import Config, load_config
from broadcast.server.pid_file import check_pid_file
from broadcast.server.startup import format_for_stderr
from broadcast.server.validators import GONE_LIMIT, LIMITS, LOG_FORMATS, PASSWORDS, PROBE_LIMIT, REPLAY_LIMIT, ROOMS

_DEFAULTS: Final = Config()
_INTERFACE: Final = (
    "Address to listen on, for ports given as a number; 0.0.0.0 accepts connections from other machines. By default "
    "127.0.0.1 and ::1: this machine only."
)
_ACCOUNTS: Final = (
    "open: anybody can register a nickname. closed: an administrator makes all accounts. required: as closed, and only "
    "people with an account get in."
)
_JOURNAL: Final = (
    "Where to store messages: sqlite:FOLDER in a file there, memory: nowhere, or postgresql://USER@HOST/DATABASE in a "
    "database that several servers can share. By default in a file in the data folder."
)
_METRICS: Final = (
    "Where to serve metrics for Prometheus, at /metrics, and a health check, at /healthz: a port number, on this "
    "machine only, or an endpoint description. By default nowhere."
)


class Options(usage.Options):
    """The command line of ``twistd broadcast``. As a mapping, it holds the options that were given, and no others."""

    synopsis = "[options]"
    longdesc = (
        "The config file has the same names: port = [5555, 'unix:chat.sock'] or ephemeral = true. The command line "
        "overrides it. All paths are relative to the directory in which twistd is started."
    )
    optParameters = (  # noqa: N815 - Twisted's name, as those below
        ("interface", "i", None, _INTERFACE),
        (
            "cert",
            None,
            None,
            "PEM file with the certificate for TLS and its chain. By default a self-signed one, in the data folder.",
        ),
        ("key", None, None, "PEM file with the key of the certificate. By default the same file."),
        ("name", None, _DEFAULTS.name, "Name of the server, shown in the welcome line."),
        (
            "motd",
            None,
            None,
            "Text file with the message of the day, shown after the welcome line. By default none.",
        ),
        ("replay", None, _DEFAULTS.replay, f"Number of recent lines shown to a person who joins, 0 to {REPLAY_LIMIT}."),
        (
            "probe",
            None,
            _DEFAULTS.probe,
            f"Seconds of silence after which a client is probed, up to {PROBE_LIMIT}; 0 for never.",
        ),
        (
            "gone",
            None,
            _DEFAULTS.gone,
            f"Seconds without any answer after which a client is disconnected, up to {GONE_LIMIT}.",
        ),
        ("lobby", None, _DEFAULTS.lobby, "Name of the room in which people arrive."),
        (
            "rooms",
            None,
            ROOMS[0],
            "open: /join opens any room. fixed: there are only the lobby and the rooms of --room.",
        ),
        ("accounts", None, ACCOUNT_MODES[0], _ACCOUNTS),
        (
            "account-days",
            None,
            _DEFAULTS.account_days,
            "Days after which an account that nobody has used is deleted; 0 for never.",
        ),
        (
            "passwords",
            None,
            PASSWORDS[0],
            "warn: say so before a password is sent over a connection that others may read. tls: refuse it there.",
        ),
        (
            "oidc",
            None,
            None,
            "Issuer of the OpenID Connect provider with which people can log in, an https address. By default none.",
        ),
        (
            "oidc-client-id",
            None,
            None,
            "The id by which the provider knows this server as its client. By default none.",
        ),
        ("oidc-secret-file", None, None, "File with the secret of this client. By default it has none."),
        ("topics", None, TOPICS[0], f"Who may set the topic of a room: {' or '.join(TOPICS)}."),
        ("data", None, _DEFAULTS.data, "Folder for the stored messages; created with access for its owner only."),
        ("journal", None, None, _JOURNAL),
        (
            "node",
            None,
            None,
            "Name of this server among those with the same database. By default the names of the machine and the port.",
        ),
        ("schema", None, _DEFAULTS.schema, "Schema of the database that has the tables. It is created if need be."),
        (
            "web-path",
            None,
            None,
            "Path of the page, as in /chat, if a reverse proxy passes it on. By default the page is the whole site.",
        ),
        (
            "web-url",
            None,
            None,
            "Address of the page for people, as in https://chat.example.com/. By default this machine's name and port.",
        ),
        ("metrics", None, None, _METRICS),
        ("log-format", None, _DEFAULTS.log_format, f"Format of the log: {' or '.join(LOG_FORMATS)}."),
        ("config", None, None, "TOML file with settings, see below. By default none."),
        (
            "limits",
            None,
            "on",
            "off removes the limits on people and addresses: for benchmarks and rooms of trusted programs.",
        ),
        *((name, None, getattr(_DEFAULTS.limits, limit.field), limit.help) for name, limit in LIMITS.items()),
    )
    optFlags = (  # noqa: N815
        ("unicode-nicknames", None, "Allow letters of any script in nicknames. By default ASCII only."),
        ("web-hsts", None, "Make browsers refuse plain HTTP for this host for a year. By default they do not."),
        ("ephemeral", None, "Keep messages in memory and write no files. By default they are stored in --data."),
    )

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.defaults["port"] = _DEFAULTS.ports[0]  # --help shows it; an opt_ method has no default
        # Those of the methods have the line ends and the indentation of their docstrings.
        self.docs = {name: " ".join(text.split()) for name, text in self.docs.items()}
        self.clear()  # the defaults are for --help only
        self.config = _DEFAULTS
        """The settings, once the options have been parsed."""

    def opt_port(self, port: str) -> None:
        """Where to listen: a port number, 0 for any free one, or a Twisted endpoint description such as
        tcp:5555:interface=0.0.0.0, unix:chat.sock or haproxy:tcp:5555. Can be given several times.
        """  # noqa: D205 - --help shows all of it
        self.setdefault("port", []).append(port)

    opt_p = opt_port

    def opt_tls(self, port: str) -> None:
        """Where to listen with TLS, in the same form as --port. By default nowhere. Can be given several times."""
        self.setdefault("tls", []).append(port)

    def opt_web(self, port: str) -> None:
        """Where to serve the web page, in the same form as --port. By default nowhere. Can be given several times."""
        self.setdefault("web", []).append(port)

    def opt_web_tls(self, port: str) -> None:
        """Where to serve it with https, with the certificate of --tls. By default nowhere. Can be given several
        times.
        """  # noqa: D205 - --help shows all of it
        self.setdefault("web-tls", []).append(port)

    def opt_web_origin(self, url: str) -> None:
        """Another origin whose pages may use this server, as in https://chat.example.com. Its host is also accepted
        as the name of this server. By default none. Can be given several times.
        """  # noqa: D205
        self.setdefault("web-origin", []).append(url)

    def opt_trusted_proxy(self, address: str) -> None:
        """Address or network of a reverse proxy whose X-Forwarded-For and X-Forwarded-Proto are believed; unix for all
        clients of unix sockets. By default none. Can be given several times.
        """  # noqa: D205
        self.setdefault("trusted-proxy", []).append(address)

    def opt_room(self, room: str) -> None:
        """Another room, if rooms are fixed. By default none. Can be given several times."""
        self.setdefault("room", []).append(room)

    def opt_version(self) -> NoReturn:
        """Display the version and exit."""
        sys.stdout.write(f"broadcast {__version__}\n")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """Reject arguments that are not options."""
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is not an option (a port is given as --port 5555)")

    def parseOptions(self, options: Sequence[str] | None = None) -> None:  # noqa: N802
        """Parse *options*. An error ends the process with one line on stderr.

        twistd would print the error on stdout, below the whole help text.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            raise SystemExit(format_for_stderr(f"{error}; {self._advise(str(error))}.")) from error
        except StartupError as error:
            raise SystemExit(format_for_stderr(str(error))) from error

    def _advise(self, error: str) -> str:
        """Return what to do about the *error* of an option, which may be one of twistd's own."""
        unknown = re.match(r"option --?(\S+) not recognized", error)
        if unknown and self.parent and unknown[1] in self.parent.synonyms:
            return "it is an option of twistd: write it before the word broadcast"
        return "twistd broadcast --help lists the options"

    def postOptions(self) -> None:
        """Validate all settings and read their files, before twistd changes the working directory.

        The pid file is checked last, because the check removes one that a dead server has left.
        """
        given: dict[str, object] = dict(self)
        for flag, *_ in self.optFlags:
            if flag in given:
                given[flag] = True
        for name in given.keys() & {"replay", "probe", "gone", "account-days", *LIMITS}:
            given[name] = _parse_number(self[name])
        self.config = load_config(given, Path.cwd())
        twistd: Mapping[str, Any] = self.parent or {}
        if twistd.get("chroot"):
            return  # the paths are those of another file system
        if not Path(rundir := twistd.get("rundir", ".")).is_dir():
            raise StartupError(f"there is no folder {rundir}: create it, or choose another with twistd's --rundir.")
        if twistd.get("pidfile"):
            check_pid_file(Path(twistd["pidfile"]).absolute())


def _parse_number(text: str) -> float | str:
    """Return *text* as a number if it is one, otherwise unchanged: the validators report what is wrong."""
    if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,9})?", text):
        return text
    return float(text) if "." in text else int(text)
