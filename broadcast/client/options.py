"""The client's command line: one table of options, from which the help, the man page and the completions are made.

``--send`` waits for this module, so it imports nothing heavy: argparse, dataclasses or typing would double the time.
"""

from __future__ import annotations

import sys

from broadcast import __version__, standard_streams
from broadcast.client import exit_status
from broadcast.client.address import HOST, PORT, TLS_PORT, TLS_URL, UNIX, URL, parse_address, show_address
from broadcast.client.certificates import parse_fingerprint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Final, NoReturn

PROGRAM: Final = "broadcast-client"
TIMEOUT_SECONDS: Final = 60
STDIN: Final = "-"
"""The text of ``--send`` that stands for the lines of the standard input."""


class Options:
    """The choices of the command line and the user's settings. The class holds the defaults of the fields."""

    host: str = HOST
    port: int = PORT
    tls: bool = False
    fingerprint: str = ""
    """The fingerprint of the server's public key. Empty: a known key, or the authorities of the system, decide."""
    rooms: tuple[str, ...] = ()
    """The rooms to join; the first one is shown. Empty: the server's first room."""
    nick: str | None = None
    """The nickname. None: the client asks for it on a terminal, and makes it from the user's name elsewhere."""
    password_file: str | None = None
    send: str | None = None
    """The text to post; ``-`` for the lines of the standard input; None: a conversation."""
    upload: str | None = None
    json: bool = False
    timeout: float | None = None
    """The time limit of ``--send`` and ``--upload``, in seconds.

    None: the default, and the first connection is tried only once.
    """
    reconnect: bool = True
    color: bool = True
    times: bool = True
    bell: bool = True
    notify: bool = False
    quiet: bool = False
    """Whether joins and leaves are hidden. A choice of ``/set`` without an option."""

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 -- the fields differ in type
        if unknown := fields.keys() - Options.__annotations__.keys():
            raise TypeError(f"no such options: {', '.join(sorted(unknown))}")
        vars(self).update(fields)

    def fill(self, fields: Mapping[str, Any]) -> None:
        """Take the *fields* that the command line has not set."""
        for name, value in fields.items():
            vars(self).setdefault(name, value)

    @property
    def server(self) -> str:
        """The server, for people: ``localhost:5555``, ``[::1]:5555`` or ``unix:chat.sock``."""
        return show_address(self.host, self.port)


class Option:
    """A row of the table: the option *name* with a value called *metavar*, or without a value if that is empty.

    An option without a value sets *field* to *constant*.
    """

    def __init__(self, name: str, metavar: str, help_text: str, field: str = "", constant: object = None) -> None:
        self.name = name
        self.metavar = metavar
        self.help = help_text
        self.field = field
        self.constant = constant


OPTIONS: Final = (
    Option("--tls", "", f"connect with TLS, by default to port {TLS_PORT}", "tls", constant=True),
    Option("--fingerprint", "SHA256", "connect with TLS, and trust only the server with this key", "fingerprint"),
    Option("--nick", "NAME", "your nickname; without it, the client asks, or takes one from $USER", "nick"),
    Option("--password-file", "FILE", "the password of your nickname, in the first line of FILE", "password_file"),
    Option("--room", "NAME", "join this room; give it several times for several rooms", "rooms"),
    Option("--send", "TEXT", "post TEXT, wait until it is stored, and exit; - posts the standard input", "send"),
    Option("--upload", "FILE", "share FILE in the room, print its address, and exit", "upload"),
    Option("--json", "", "with these: print a line of JSON for each stored line or file", "json", constant=True),
    Option("--timeout", "SECONDS", f"with these: give up after this time ({TIMEOUT_SECONDS})", "timeout"),
    Option("--no-reconnect", "", "on a terminal: exit when the connection is lost", "reconnect", constant=False),
    Option("--no-color", "", "on a terminal: no colours", "color", constant=False),
    Option("--no-times", "", "on a terminal: no times in front of the lines", "times", constant=False),
    Option("--no-bell", "", "on a terminal: never ring the bell", "bell", constant=False),
    Option("--notify", "", "on a terminal: notify of private lines and of your nickname", "notify", constant=True),
    Option("--version", "", "print the version, and exit"),
    Option("--help", "", "print this help, and exit"),
)
ADDRESSES: Final = (
    ("HOST[:PORT] [PORT]", f"the server; by default, {HOST} and port {PORT}"),
    (f"{URL}HOST[:PORT]/ROOM", "the same and a room, as a link"),
    (f"{TLS_URL}HOST[:PORT]/ROOM", "the same with TLS"),
    ("unix:PATH", "the unix socket of a server"),
    ("NAME", "a server of that name in the file client.toml"),
)
DESCRIPTION: Final = "Chat on a broadcast server."
SYNOPSIS: Final = "[OPTION]... [ADDRESS]"
MODES: Final = """\
On a terminal, the client shows the conversation and reads what you type. If the standard input or output is not a
terminal, the client sends the input and prints what it receives, both unchanged; the end of the input leaves.
"""


class UsageError(Exception):
    """The command line is wrong. The text says why."""

    def __str__(self) -> str:
        """Return the reason, and where to read on."""
        return f"{self.args[0]}. --help explains."


class SettingsError(ValueError):
    """The user's settings cannot be used. The text says why, and what to do."""


def parse(arguments: Sequence[str], find_server: Callable[[str], Mapping[str, Any]] = lambda _: {}) -> Options:
    """Return what *arguments* (without the program's name) ask for. Raise ``UsageError`` if they are wrong.

    *find_server* returns the fields of a server that has a name in the user's settings. ``--help`` and ``--version``
    end the program.
    """
    fields, places = _split(arguments)
    hint = " (a text of several words stands in quotes behind --send)" if "send" in fields and len(places) > 1 else ""
    if len(places) > 2:
        raise UsageError(f"no more than a host and a port name the server: {places[2]}{hint}")
    server: dict[str, Any] = {}
    if places:
        try:
            server = parse_address(*places)
        except ValueError as error:
            raise UsageError(f"{error}{hint}") from None
        if room := server.pop("rooms", ()):
            fields["rooms"] = (*room, *fields.get("rooms", ()))
        if places == [server["host"]]:
            server.update(find_server(places[0]))
    _check(fields)
    return Options(**_with_tls({**server, **fields}))


def _split(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields that the options set, and the arguments that are no options."""
    fields: dict[str, Any] = {}
    places: list[str] = []
    options = {option.name: option for option in OPTIONS}
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            places += rest
        elif not argument.startswith("-") or argument == "-":
            places.append(argument)
        else:
            name, equals, value = argument.partition("=")
            option = options.get("--help" if name == "-h" else name)
            if option is None:
                raise UsageError(f"there is no option {name}")
            if option.metavar:
                _add_value(fields, option, value if equals else _next(option, rest, options))
            elif equals:
                raise UsageError(f"{name} takes no value")
            elif option.field:
                fields[option.field] = option.constant
            else:
                _print_and_exit(help_text() if option.name == "--help" else f"{PROGRAM} {__version__}\n")
    return fields, places


def _add_value(fields: dict[str, Any], option: Option, value: str) -> None:
    if option.field == "rooms":
        fields["rooms"] = (*fields.get("rooms", ()), value)
    elif option.field in fields:
        raise UsageError(f"{option.name} is given twice")
    else:
        fields[option.field] = value


def _next(option: Option, rest: Iterator[str], options: Mapping[str, Option]) -> str:
    """Return the next argument as the value of *option*. A text to post may begin with a dash."""
    value = next(rest, None)
    if value is None:
        raise UsageError(f"{option.name} needs a value: {option.name} {option.metavar}")
    if value.partition("=")[0] in options if option.field == "send" else value.startswith("-"):
        raise UsageError(f"{option.name} needs a value; if it is {value}, write {option.name}={value}")
    return value


def _check(fields: dict[str, Any]) -> None:
    """Convert values of options. Raise ``UsageError`` if one is invalid, or has no effect."""
    for name in ("json", "timeout"):
        if name in fields and not {"send", "upload"} & fields.keys():
            raise UsageError(f"--{name} goes with --send or --upload")
    if {"send", "upload"} <= fields.keys():
        raise UsageError("--send and --upload do not go together")
    if "timeout" in fields:
        fields["timeout"] = _seconds(fields["timeout"])
    if "fingerprint" in fields:
        try:
            fields["fingerprint"] = parse_fingerprint(fields["fingerprint"])
        except ValueError as error:
            raise UsageError(str(error)) from None
    if "nick" in fields:
        fields["nick"] = _one_name("--nick", "a nickname", fields["nick"])
    if "rooms" in fields:
        rooms = [_one_name("--room", "a room's name", room) for room in fields["rooms"]]
        fields["rooms"] = tuple(dict.fromkeys(rooms))
        if len(fields["rooms"]) > 1 and (one := {"send", "upload"} & fields.keys()):
            raise UsageError(f"--{one.pop()} posts to one room")


def _with_tls(fields: dict[str, Any]) -> dict[str, Any]:
    """Return *fields*, with TLS and its port if a field asks for it."""
    if not fields.get("tls") and "fingerprint" not in fields:
        return fields
    if fields.get("host", HOST).startswith(UNIX):
        raise UsageError("a unix socket has no TLS, and needs none")
    return {"port": TLS_PORT, **fields, "tls": True}


def _one_name(option: str, kind: str, value: str) -> str:
    if not value.strip():
        raise UsageError(f"{option} needs {kind}")
    if len(value.splitlines()) > 1:
        raise UsageError(f"{kind} is one line")
    return value.strip()


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--timeout needs a number of seconds: {value}")
    return seconds


def help_text() -> str:
    """Return what ``--help`` prints."""
    options = [(f"{option.name} {option.metavar}".rstrip(), option.help) for option in OPTIONS]
    statuses = [(str(number), meaning) for number, meaning in exit_status.STATUSES.items()]
    return (
        f"usage: {PROGRAM} {SYNOPSIS}\n\n{DESCRIPTION}\n\naddress:\n{_rows(ADDRESSES)}\n"
        f"options:\n{_rows(options)}\n{MODES}\nexit status:\n{_rows(statuses)}"
    )


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "".join(f"  {name:{width}}  {meaning}\n" for name, meaning in rows)


def _print_and_exit(text: str) -> NoReturn:
    try:
        standard_streams.write(1, text.encode())
    except OSError as error:
        status, why = exit_status.explain_write_error(error)
        sys.stderr.write(f"{PROGRAM}: {why}\n" if why else "")
        raise SystemExit(status) from None
    raise SystemExit(exit_status.DONE)
