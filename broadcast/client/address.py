"""Addresses of servers: ``HOST[:PORT]``, ``unix:PATH``, and links, which begin with ``broadcast://`` or ``broadcasts://``.

This module imports nothing heavy, because ``--send`` waits for it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing takes longer to import than all modules of the client that --send needs
if TYPE_CHECKING:
    from typing import Any

HOST = "localhost"
PORT = 5555
TLS_PORT = 5556
UNIX = "unix:"
"""The prefix of the path of a unix socket, which stands in the place of a host."""
URL = "broadcast://"
TLS_URL = "broadcasts://"
"""The beginning of a link to a TLS port."""
_IPV6 = set("0123456789abcdef:.")
"""The characters of an IPv6 address."""


def parse_address(text: str, port: str | None = None) -> dict[str, Any]:
    """Return the fields of ``Options`` that an address gives: ``host``, and perhaps ``port``, ``rooms`` and ``tls``.

    *port* is a port that is given apart from the address. The host of a unix socket is ``unix:`` and the path. Raise
    ``ValueError`` with the reason if the address is invalid.
    """
    for url in (URL, TLS_URL):
        if text[: len(url)].lower() == url:
            return _parse_url(url, text[len(url) :], port)
    if "://" in text and not text.startswith(UNIX):
        raise ValueError(f"a link to a server begins with {URL} or {TLS_URL}: {text}")
    return _parse_host(text, port)


def _parse_host(text: str, port: str | None) -> dict[str, Any]:
    """Return the fields ``host`` and perhaps ``port`` of ``HOST[:PORT]`` or ``unix:PATH``. A number alone is a port.

    An IPv6 address stands in brackets if a port follows it. Raise ``ValueError`` if *text* has another form.
    """
    if text.startswith(UNIX):
        return {"host": _unix_socket(text, port)}
    if port is None and text.isascii() and text.isdigit() and len(text) <= 5:
        text, port = HOST, text
    host, beside = text, None
    if text.startswith("["):
        host, closed, beside = text[1:].partition("]")
        if not host or "[" in host or not closed or (beside and not beside.startswith(":")):
            raise ValueError(f"no host: {text}")
        beside = beside[1:] if beside else None
    elif "[" in text or "]" in text:
        raise ValueError(f"no host: {text}")
    elif text.count(":") == 1:
        host, _, beside = text.partition(":")
    if port is not None and beside is not None:
        raise ValueError("the port is given twice")
    if "%" not in host and host[:3].lower() in {"fe8", "fe9", "fea", "feb"} and host[4:5] == ":":
        raise ValueError(f"{host} needs the network interface behind it, as in {host}%eth0")
    if ":" in host and set(host.partition("%")[0].lower()) - _IPV6:
        raise ValueError(f"no host: {text}")
    number = port if beside is None else beside
    fields: dict[str, Any] = {"host": host or HOST}
    return fields if number is None else {**fields, "port": _port(number)}


def show_address(host: str, port: int) -> str:
    """Return the address for people: ``localhost:5555``, ``[::1]:5555`` or ``unix:chat.sock``."""
    if host.startswith(UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_url(url: str, rest: str, port: str | None) -> dict[str, Any]:
    """Return the fields of a link: *rest* follows *url*. As in URLs of PostgreSQL, a host with ``%2F`` first is a path.

    Raise ``ValueError`` if *rest* has another form than ``HOST[:PORT]/ROOM``.
    """
    place, _, room = rest.partition("/")
    room = room.removesuffix("/")
    if set(rest) & set("?#@") or "/" in room or place.isdigit():
        raise ValueError(f"{url}{rest} is no link: it has the form {url}HOST[:PORT]/ROOM, and %3F stands for ?")
    host = _unquote(place)
    fields = _parse_host(UNIX + host if host.startswith("/") else host, port)
    if room:
        fields["rooms"] = (_unquote(room),)
    return {**fields, "tls": True} if url == TLS_URL else fields


def _unquote(text: str) -> str:
    """Replace ``%2F`` and the like. Raise ``ValueError`` if the result is no text."""
    first, *parts = text.split("%")
    try:
        bytes_ = [bytes([bytes.fromhex(part[:2])[0]]) + part[2:].encode() for part in parts]
        decoded = (first.encode() + b"".join(bytes_)).decode()
    except (ValueError, IndexError):
        raise ValueError(f"{text} is not percent-encoded: write a percent sign as %25") from None
    if not decoded.isprintable():
        raise ValueError(f"{text} has a control character")
    return decoded


def _port(number: str) -> int:
    if not (number.isascii() and number.isdigit() and len(number) <= 5 and 1 <= int(number) <= 65535):
        raise ValueError(f"no port: {number}")
    return int(number)


def _unix_socket(place: str, port: str | None) -> str:
    problem = ""
    if sys.platform == "win32":
        problem = "this system has no unix sockets"
    elif port is not None:
        problem = "a unix socket has no port"
    elif place == UNIX:
        problem = f"no path: {place}"
    if problem:
        raise ValueError(problem)
    return place
