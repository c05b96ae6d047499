"""Starts the client: on a terminal, in a pipe, or for one shot."""

from __future__ import annotations

import os
import sys

from broadcast.client.options import PROGRAM, Options, SettingsError, parse
from broadcast.client.status import CLOSED_OUTPUT, INTERRUPTED, USAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client with *arguments*, or those of the command line; returns the exit status."""
    _stand_in()
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments, _find_server)
        status, why = _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return CLOSED_OUTPUT
    except SettingsError as error:
        status, why = USAGE, str(error)
    except ModuleNotFoundError as error:
        # In a clone, the folder twisted/ makes any Python find a package of that name, but nothing in it.
        if (error.name or "").partition(".")[0] != "twisted":
            raise
        _complain("this Python has no Twisted: start .venv/bin/broadcast-client, or pip install Twisted")
        return USAGE
    if why:
        _complain(why)
    return status


def _find_server(name: str) -> Mapping[str, Any]:
    from broadcast.client.settings import Settings  # noqa: PLC0415 -- only if the server is given by a name

    return Settings.load(only=name).servers.get(name, {})


def _run(options: Options) -> tuple[int, str]:
    if options.send is not None:
        from broadcast.client.batch.send import send  # noqa: PLC0415 -- only what is needed

        return send(options)
    if os.isatty(0) and os.isatty(1):
        try:
            import prompt_toolkit  # noqa: F401, PLC0415
        except ImportError:
            _complain("without prompt_toolkit there is no line editing: pip install prompt_toolkit")
        else:
            from broadcast.client.settings import Settings  # noqa: PLC0415

            options.fill(Settings.load().choices)
            return _on_terminal(options), ""
    if options.rooms:
        return USAGE, "in a pipe, the input names the room: (echo /join NAME; cat) | broadcast-client"
    from twisted.internet import reactor  # noqa: PLC0415 -- only if needed, and after the reactor is chosen

    from broadcast.client.batch import pipe  # noqa: PLC0415

    return pipe.run(options, reactor)


def _on_terminal(options: Options) -> int:
    import asyncio  # noqa: PLC0415
    from typing import cast  # noqa: PLC0415

    from twisted.internet import asyncioreactor  # noqa: PLC0415

    # Not the loop that Windows has by default, which Twisted refuses.
    asyncioreactor.install(asyncio.SelectorEventLoop())  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
    from twisted.internet import reactor  # noqa: PLC0415

    from broadcast.client import old_terminal as terminal  # noqa: PLC0415

    return terminal.run(options, cast(asyncioreactor.AsyncioSelectorReactor, reactor))


def _complain(why: str) -> None:
    from broadcast.client.lines import printable  # noqa: PLC0415

    line = f"{PROGRAM}: {printable(why)}\n"
    try:
        os.write(2, line.encode(sys.stderr.encoding if sys.stderr else "utf-8", "replace"))
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
