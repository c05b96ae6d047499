"""A Sphinx extension that renders the options from the code, so that the documentation cannot differ from it.

``.. server-options::`` renders the options of ``twistd broadcast`` other than the limits, ``.. server-limits::`` the
limits, and ``.. client-options::`` the options of ``broadcast-client``. ``.. admin-commands::`` renders the commands of
``broadcast-admin``, and ``.. admin-statuses::`` its exit statuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from broadcast.admin.options import COMMANDS, usage
from broadcast.admin.status import STATUSES
from broadcast.client.options import OPTIONS
from broadcast.server.options import Options
from broadcast.server.validators import LIMITS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_NOT_SHOWN = {"help", "version"}


class _TableDirective(SphinxDirective):
    """A directive without content or arguments that renders ``rows`` as a table."""

    header: ClassVar[tuple[str, ...]]
    widths: ClassVar[str]

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Yield the cells of each row, as reStructuredText."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {self.widths}", ""]
        for row in (self.header, *self.rows()):
            lines += [f"   {' ' if number else '*'} - {cell}" for number, cell in enumerate(row)]
        return self.parse_text_to_nodes("\n".join(lines) + "\n")


class ServerOptions(_TableDirective):
    """The options of ``twistd broadcast``, without the limits."""

    header = ("option", "default", "meaning")
    widths = "25 15 60"

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield one row per option, in alphabetical order."""
        options = Options()
        flags = {flag for flag, *_ in options.optFlags}
        names = {options.synonyms[name.rstrip("=")] for name in options.longOpt} - _NOT_SHOWN - LIMITS.keys()
        for name in sorted(names):
            shorts = (short for short in options.shortOpt if _is_short_form(options, short, name))
            spelled = [f"``--{name}``", *(f"``-{short}``" for short in shorts)]
            default = None if name in flags else options.defaults.get(name)
            yield ", ".join(spelled), "" if default is None else f"``{default}``", _help(options, name)


class ServerLimits(_TableDirective):
    """The limits of ``twistd broadcast``, each of which is an option."""

    header = ("option", "default", "range", "meaning")
    widths = "27 12 21 40"

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield one row per limit, in the order of the code."""
        options = Options()
        for name, limit in LIMITS.items():
            default = options.defaults.get(name)
            shown = "by the system" if default is None else f"{default:,}"
            yield f"``--{name}``", shown, f"{limit.low:,} to {limit.high:,}", limit.help


class ClientOptions(_TableDirective):
    """The options of ``broadcast-client``."""

    header = ("option", "meaning")
    widths = "25 75"

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield one row per option, in the order of the help."""
        for option in OPTIONS:
            yield f"``{f'{option.name} {option.metavar}'.rstrip()}``", option.help


class AdminCommands(_TableDirective):
    """The commands of ``broadcast-admin``."""

    header = ("command", "meaning")
    widths = "35 65"

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield one row per command, in the order of the help."""
        for command in COMMANDS:
            yield f"``{usage(command)}``", command.help


class AdminStatuses(_TableDirective):
    """The exit statuses of ``broadcast-admin``."""

    header = ("status", "meaning")
    widths = "10 90"

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield one row per status."""
        for number, meaning in STATUSES.items():
            yield str(number), meaning


def _is_short_form(options: Options, short: str, name: str) -> bool:
    """Return whether *short* is the one-letter form of the option *name*.

    Twisted does not record for which method ``opt_p`` is an alias, so the help texts are compared.
    """
    return short != ":" and (options.synonyms[short] == name or options.docs.get(short) == options.docs[name])


def _help(options: Options, name: str) -> str:
    """Return the help text of the option *name* in one line."""
    return " ".join(str(options.docs[name]).split())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("server-options", ServerOptions)
    app.add_directive("server-limits", ServerLimits)
    app.add_directive("client-options", ClientOptions)
    app.add_directive("admin-commands", AdminCommands)
    app.add_directive("admin-statuses", AdminStatuses)
    return {"parallel_read_safe": True}
