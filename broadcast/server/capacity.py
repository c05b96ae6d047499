"""The number of connections that this process can carry: the limit of open files, and that of the reactor."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import Final
from warnings import catch_warnings, simplefilter

from broadcast.core.errors import StartupError

OTHER_FILES: Final = 64
"""File descriptors that are reserved for other things than connections: the journal, the log, the listeners."""
SELECT_FILES: Final = 512 if sys.platform == "win32" else 1024
"""Maximum number of sockets that ``select`` watches (Windows: number of sockets; elsewhere: the numbers themselves)."""
_REACTORS: Final = ("twisted.internet.kqreactor", "twisted.internet.iocpreactor.reactor")
"""Reactors without the limit of ``select``: that of macOS and the BSDs, and that of Windows."""


def install_reactor() -> None:
    """Install a reactor that carries many connections, unless one is installed already, as with ``--reactor``.

    Twisted uses ``select`` by default on macOS and Windows.
    """
    default = import_module("twisted.internet.default")
    if "twisted.internet.reactor" in sys.modules or not default.install.__module__.endswith(".selectreactor"):
        return
    for name in _REACTORS:
        with suppress(ImportError), catch_warnings():
            simplefilter("ignore")  # that of Windows warns if Twisted's TLS is missing, which this server does not use
            import_module(name).install()
            return


def raise_file_limit() -> int | None:
    """Raise this process's soft limit of open files, often 1,024, to the hard limit. Return it, None for no limit."""
    if sys.platform == "win32":
        return None
    else:  # noqa: RET505 - mypy takes what follows for unreachable on Windows
        import resource  # noqa: PLC0415 - Windows has no such module

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS reports no hard limit, but rejects more than its OPEN_MAX.
        for limit in (hard, max(soft, 10240)):
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                break
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return None if soft == resource.RLIM_INFINITY else soft


def most_connections(wanted: int | None, files: int | None, reactor: object = None) -> int | None:
    """Return the maximum number of connections, None for no limit.

    This is *wanted* if given, otherwise the highest number that *files*, the maximum number of open files (None for no
    limit), and *reactor* allow. Raises ``StartupError`` if *wanted* is higher than that.
    """
    uses_select = type(reactor).__module__.endswith(".selectreactor")
    if uses_select:
        files = SELECT_FILES if files is None else min(files, SELECT_FILES)
    if files is None:
        return wanted
    highest = max(files - OTHER_FILES, 1)
    if wanted is not None and wanted > highest:
        if uses_select:
            raise StartupError(
                f"--connections {wanted} is more than this reactor carries, which uses select: choose at most "
                f"{highest}, or another of twistd's --reactor."
            )
        raise StartupError(
            f"--connections {wanted} is more than the file limit allows, which is {files}: raise it to "
            f"{wanted + OTHER_FILES} (ulimit -n, LimitNOFILE), or choose at most {highest}."
        )
    return wanted or highest
