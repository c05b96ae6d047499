"""What the client is told on its command line."""

from __future__ import annotations

import argparse
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, NoReturn

from broadcast import __version__
from broadcast.client.status import USAGE

HOST: Final = "localhost"
PORT: Final = 5555
UNIX: Final = "unix:"
"""The prefix of the path of a unix socket, which stands in the place of a host."""

_bracketed: Final = re.compile(r"\[(?P<host>[^\[\]]+)\](?::(?P<port>.*))?")

EPILOG: Final = """\
On a terminal, the client is there to be typed in. Otherwise every line of the standard input is sent as it is, and
what arrives goes to the standard output unchanged; the end of the input leaves.

exit status:
  0  done
  1  usage
  2  no connection
  3  the nickname was refused
  4  the connection was lost, with --send before everything was confirmed
  5  the server refused a line of --send
  6  the standard output cannot be written, or the standard input not read
  130 after Ctrl-C, 143 after SIGTERM, 141 when nobody reads the standard output any more
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    host: str = HOST
    port: int = PORT
    nick: str | None = None
    """The nickname; None: to be asked on a terminal, and made from the user's name elsewhere."""
    send: str | None = None
    """The text to post; ``-`` for the lines of the standard input; None: a conversation."""
    json: bool = False
    reconnect: bool = True
    color: bool = True
    bell: bool = True

    @property
    def server(self) -> str:
        """The server, for people: ``localhost:5555``, ``[::1]:5555`` or ``unix:chat.sock``."""
        if self.host.startswith(UNIX):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with the status that the table above has for it, and one line."""
        self.exit(USAGE, f"{self.prog}: {message}. --help explains.\n")


def parse(arguments: Sequence[str]) -> Options:
    """What *arguments* (without the program's name) ask for; exits when they are wrong, or ask for help."""
    parser = _Parser(
        prog="broadcast-client",
        description="Chat with whoever is connected to a broadcast server.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    place = f"the server ({HOST}); a unix socket is unix:PATH"
    parser.add_argument("host", nargs="?", default=HOST, metavar="HOST[:PORT]", help=place)
    parser.add_argument("port", nargs="?", metavar="PORT", help=f"its port ({PORT})")
    parser.add_argument("--nick", metavar="NAME", help="your nickname (asked for, or made from $USER)")
    parser.add_argument(
        "--send",
        metavar="TEXT",
        help="post TEXT, see that it is kept, and leave; - posts the standard input, line by line",
    )
    parser.add_argument("--json", action="store_true", help="with --send: print a line for each line that is kept")
    parser.add_argument(
        "--no-reconnect", action="store_false", dest="reconnect", help="on a terminal: end when the connection is lost"
    )
    parser.add_argument("--no-color", action="store_false", dest="color", help="on a terminal: no colours")
    parser.add_argument("--no-bell", action="store_false", dest="bell", help="on a terminal: never ring the bell")
    parser.add_argument("--version", action="version", version=f"broadcast-client {__version__}")
    found = parser.parse_args(arguments)
    try:
        host, port = address(found.host, found.port)
    except ValueError as wrong:
        quotes = (
            ""
            if found.send is None or found.port is None
            else " (a text of several words stands in quotes behind --send)"
        )
        parser.error(f"{wrong}{quotes}")
    if found.json and found.send is None:
        parser.error("--json goes with --send")
    if found.nick is not None and not found.nick.strip():
        parser.error("--nick needs a nickname")
    if found.nick is not None and len(found.nick.splitlines()) > 1:
        parser.error("a nickname is one line")
    return Options(
        host=host,
        port=port,
        nick=None if found.nick is None else found.nick.strip(),
        send=found.send,
        json=found.json,
        reconnect=found.reconnect,
        color=found.color,
        bell=found.bell,
    )


def address(host: str, port: str | None) -> tuple[str, int]:
    """The host and port that ``HOST[:PORT]`` and ``PORT`` name; raises ``ValueError``, whose text says why not.

    An IPv6 address stands in brackets where a port follows it. A number alone is a port. ``unix:`` and a path stand for
    a unix socket, which has no port.
    """
    if host.startswith(UNIX):
        return _unix_socket(host, port), PORT
    if port is None and re.fullmatch("[0-9]{1,5}", host):
        host, port = HOST, host
    beside: str | None = None
    if match := _bracketed.fullmatch(host):
        host, beside = match["host"], match["port"]
    elif host.count(":") == 1:
        host, _, beside = host.partition(":")
    elif "[" in host or "]" in host:
        raise ValueError(f"no host: {host}")
    if port is not None and beside is not None:
        raise ValueError("the port is given twice")
    number = port if beside is None else beside
    if "%" not in host and _is_link_local(host):
        raise ValueError(f"{host} needs the network interface behind it, as in {host}%eth0")
    if number is None:
        return host or HOST, PORT
    if not re.fullmatch("[0-9]{1,5}", number) or not 1 <= int(number) <= 65535:
        raise ValueError(f"no port: {number}")
    return host or HOST, int(number)


def _unix_socket(place: str, port: str | None) -> str:
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError("this system has no unix sockets")
    if port is not None:
        raise ValueError("a unix socket has no port")
    if place == UNIX:
        raise ValueError(f"no path: {place}")
    return place


def _is_link_local(host: str) -> bool:
    """Whether *host* is an IPv6 address that each network interface may have."""
    try:
        return IPv6Address(host).is_link_local
    except ValueError:
        return False
