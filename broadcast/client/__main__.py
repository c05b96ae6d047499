"""Starts the client: on a terminal, in a pipe, or to send a text or a file."""

from __future__ import annotations

import os
import sys

from broadcast import standard_streams
from broadcast.client import exit_status
from broadcast.client.options import PROGRAM, Options, SettingsError, UsageError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

PACKAGES: Final = ("msgspec", "prompt_toolkit")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client with *arguments*, or those of the command line. Return the exit status."""
    _stand_in()
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments, _find_server)
        status, why = _run(options)
    except KeyboardInterrupt:
        return exit_status.INTERRUPTED
    except BrokenPipeError:
        return exit_status.CLOSED_OUTPUT
    except (SettingsError, UsageError) as error:
        status, why = exit_status.USAGE, str(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        status = exit_status.USAGE
        why = f"this Python has no {package}: start .venv/bin/broadcast-client, or pip install {package}"
    if why:
        _complain(why)
    return status


def _find_server(name: str) -> Mapping[str, Any]:
    from broadcast.client.settings import Settings  # noqa: PLC0415 -- only if the server is given by a name

    return Settings(only=name).servers.get(name, {})


def _run(options: Options) -> tuple[int, str]:
    # Each way imports only what it needs.
    if options.upload is not None:
        from broadcast.client.batch.upload import upload  # noqa: PLC0415

        return upload(options)
    if options.send is not None:
        from broadcast.client.batch.send import send as run  # noqa: PLC0415
    elif os.isatty(0) and os.isatty(1):
        from broadcast.client.terminal import app  # noqa: PLC0415

        return app.run(options), ""
    else:
        from broadcast.client.batch.pipe import run  # noqa: PLC0415
    status, why = run(options)
    if why:
        _complain(why)
    # Nothing is left to flush. The interpreter's own way out takes a tenth of the time of --send, and would wait for
    # the thread that reads the input of a pipe.
    os._exit(status)


def _complain(why: str) -> None:
    from broadcast.client.text import printable  # noqa: PLC0415 -- few need it

    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    try:
        standard_streams.write(2, printable(f"{PROGRAM}: {why}", encoding).encode(encoding) + b"\n")
    except OSError:
        return


def _stand_in() -> None:
    """Put something in the place of standard descriptors that are closed, before a socket gets their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(main())
