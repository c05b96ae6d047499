"""The file ``known_hosts``: the public keys of the servers that the user trusts.

Each line has a server and the fingerprint of its key: ``chat.example:5556 SHA256:...``. A server may have several
lines, and each of their keys is trusted. Blank lines and lines that begin with ``#`` have no meaning.
"""

from __future__ import annotations

import os

from broadcast.client.certificates import CertificateError, parse_fingerprint
from broadcast.client.options import SettingsError
from broadcast.client.settings import read_file, replace_file, state_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from broadcast.client.options import Options
    from broadcast.client.protocol.errors import Untrusted


class KnownHosts:
    """The servers in the file *path*, which need not exist. The methods raise ``SettingsError`` with the reason."""

    def __init__(self, path: str = "") -> None:
        self.path = path or os.path.join(state_folder(), "known_hosts")

    def find(self, server: str) -> tuple[str, ...]:
        """Return the fingerprints that are known of *server*, such as ``chat.example:5556``."""
        return tuple(fingerprint for name, fingerprint in self._entries() if name == server.lower())

    def add(self, server: str, fingerprint: str) -> None:
        """Store that the key with *fingerprint* is one of *server*. Raise ``SettingsError`` if that is impossible."""
        text = read_file(self.path)
        line_end = "\n" if text and not text.endswith("\n") else ""
        replace_file(self.path, f"{text}{line_end}{server.lower()} {fingerprint}\n")

    def _entries(self) -> Iterator[tuple[str, str]]:
        for number, line in enumerate(read_file(self.path).splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                name, fingerprint = line.split()
                yield name.lower(), parse_fingerprint(fingerprint)
            except ValueError:
                # A key that cannot be read must not make its server an unknown one.
                raise SettingsError(
                    f"{self.path}: line {number} is not HOST:PORT and a fingerprint. Correct it, or remove it"
                ) from None


def known_keys(options: Options) -> tuple[str, ...]:
    """Return the fingerprints that the key of the server may have, or none if the user knows none."""
    if not options.tls:
        return ()
    return (options.fingerprint,) if options.fingerprint else KnownHosts().find(options.server)


def refusal(error: CertificateError | Untrusted, options: Options) -> list[str]:
    """Return the sentences about a server that is refused: why, and what to do. They also make one line together."""
    server, now = options.server, error.fingerprint
    if not now:
        return [f"no connection to {server}: {error.problem}"]
    if not error.known:
        return [
            f"no connection to {server}: its certificate {error.problem}.",
            f"If the server's log shows the same key, accept it with --fingerprint {now}",
        ]
    if error.problem:
        return [f"no connection to {server}: {error.problem}.", f"The key is accepted with --fingerprint {now}"]
    if options.fingerprint:
        problem, keys = "IS NOT THE EXPECTED ONE", [f"it is {now},", f"and not {options.fingerprint}."]
        advice = f"If the key is right, give it with --fingerprint {now}"
    else:
        problem, keys = "HAS CHANGED", [f"now {now},", f"was {' or '.join(error.known)}."]
        advice = f"If the new key is right, remove the line of {server.lower()} from {KnownHosts().path}"
    warning = "Somebody may be intercepting the connection. Ask the operator of the server."
    return [f"THE KEY OF {server} {problem}, and nothing was sent:", *keys, warning, advice]


def introduction(error: CertificateError | Untrusted, options: Options) -> list[str]:
    """Return the sentences about a new server, before the user is asked whether to trust its key."""
    return [
        f"The certificate of {options.server} {error.problem}. Its key:",
        error.fingerprint,
        "The server's log shows its key, too. Type yes only if both are the same.",
    ]
