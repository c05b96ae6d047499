"""The walls of ARCHITECTURE.md: which part of the package may know which. Reads the sources, runs none of them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import broadcast

PACKAGE = Path(broadcast.__file__).parent
PLUGINS = PACKAGE.parent / "twisted" / "plugins"

SHARED = {f"broadcast.protocols.{name}" for name in ("framing", "peer", "refusals", "strangers", "telnet")}
"""What doors have in common; every other module of ``protocols`` is a door."""

SIDE_EFFECTS = {
    "asyncio", "concurrent", "fcntl", "multiprocessing", "os", "pathlib", "random", "secrets", "select", "selectors",
    "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
}  # fmt: skip
"""Of the standard library, what the core must be handed: clocks, sockets, files, threads, databases, chance."""


class Import(NamedTuple):
    """That a module imports *name*, absolute and with what is taken from it: ``twisted.internet.reactor``."""

    name: str
    line: int
    at_once: bool
    """Whether merely importing the module does it; what stands in a function waits for a call."""

    def within(self, *parts: str) -> bool:
        """Whether it is one of *parts*, or inside one."""
        return any(self.name == part or self.name.startswith(f"{part}.") for part in parts)


def imports(source: str, package: str) -> Iterator[Import]:
    """What a module with this *source*, that stands in *package*, imports; relative imports made absolute."""

    def visit(node: ast.AST, at_once: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, node.lineno, at_once)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                for alias in names:
                    yield Import(".".join([*above, *([module] if module else []), alias.name]), node.lineno, at_once)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                at_once = False
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_once)

    return visit(ast.parse(source), True)


def door(name: str) -> str | None:
    """The door that *name*, a module or what is taken from one, belongs to."""
    parts = name.split(".")
    module = ".".join(parts[:3])
    return module if parts[:2] == ["broadcast", "protocols"] and len(parts) > 2 and module not in SHARED else None


def reason_against(module: str, imported: Import) -> str | None:
    """The wall that stands between *module* and what it imports, if any."""
    root = imported.name.partition(".")[0]
    ours = root == "broadcast"
    third_party = not ours and root not in sys.stdlib_module_names
    part = ".".join(module.split(".")[:2])
    core, wire, protocol, journal, client = (
        part == f"broadcast.{name}" for name in ("core", "wires", "protocols", "journals", "client")
    )
    walls = {
        "the reactor is handed in": imported.at_once and imported.within("twisted.internet.reactor"),
        "nobody imports the wiring": imported.within("broadcast.service") and part != "broadcast.service",
        "the core knows nothing of its siblings": core and ours and not imported.within("broadcast.core"),
        "the core knows only values, and automat": core
        and (root in SIDE_EFFECTS or (third_party and root != "automat")),
        "a wire knows only the core": wire
        and (third_party or (ours and not imported.within("broadcast.core", "broadcast.wires"))),
        "a door knows no journal": protocol and imported.within("broadcast.journals"),
        "a door knows no other door": protocol and door(imported.name) not in {None, door(module)},
        "a journal knows only the core": journal
        and (root == "twisted" or (ours and not imported.within("broadcast.core", "broadcast.journals"))),
        "what lives in the process knows nothing of it": imported.within("broadcast.process")
        and part not in {"broadcast.process", "broadcast.service"},
        "only one module needs what need not be installed": root == "prometheus_client"
        and module != "broadcast.process.metrics",
        "it is imported where it is wanted": imported.at_once and imported.within("broadcast.process.metrics"),
        "the client knows only the protocol": client
        and ours
        and not imported.within("broadcast.client", "broadcast.__version__"),
    }
    return next((reason for reason, stands_between in walls.items() if stands_between), None)


def breaches(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Every import by which *module* breaks through a wall, as ``line 3: twisted.internet: why not``."""
    package = module if is_package else module.rpartition(".")[0]
    return [
        f"line {imported.line}: {imported.name}: {reason}"
        for imported in imports(source, package)
        if (reason := reason_against(module, imported)) is not None
    ]


def modules(folder: Path) -> dict[str, Path]:
    """Every module below *folder*, a package, by its name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules(PACKAGE)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_breaks_through_a_wall(module: str) -> None:
    path = MODULES[module]
    assert breaches(module, path.read_text("utf-8"), is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize("plugin", sorted(PLUGINS.glob("*.py")), ids=lambda path: path.name)
def test_the_plugin_knows_the_service_by_name_only(plugin: Path) -> None:
    source = plugin.read_text("utf-8")
    assert [imported.name for imported in imports(source, "twisted.plugins") if imported.within("broadcast")] == []
    constants = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    assert "broadcast.service" in constants


# The tests of the test: a wall that lets everything through would pass all of the above


def test_the_modules_are_found() -> None:
    assert {"broadcast", "broadcast.core", "broadcast.core.events", "broadcast.core.text"} <= MODULES.keys()


def test_a_folder_that_is_not_there_has_no_modules(tmp_path: Path) -> None:
    assert modules(tmp_path / "client") == {}


def test_modules_are_named_by_where_they_are(tmp_path: Path) -> None:
    for name in ("__init__.py", "one.py", "sub/__init__.py", "sub/two.py"):
        (tmp_path / "house" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "house" / name).touch()
    assert modules(tmp_path / "house").keys() == {"house", "house.one", "house.sub", "house.sub.two"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("broadcast.core.room", "import twisted"),
        ("broadcast.core.room", "from twisted.internet.defer import Deferred"),
        ("broadcast.core.room", "import zope.interface as z"),
        ("broadcast.core.room", "import asyncio"),
        ("broadcast.core.room", "from time import monotonic"),
        ("broadcast.core.room", "import re, socket"),
        ("broadcast.core.room", "import sqlite3"),
        ("broadcast.core.room", "import threading"),
        ("broadcast.core.room", "import attrs"),
        ("broadcast.core.room", "import broadcast"),
        ("broadcast.core.room", "from broadcast import __version__"),
        ("broadcast.core.room", "from broadcast import journals"),
        ("broadcast.core.room", "from broadcast.wires.line import LineWire"),
        ("broadcast.core.room", "from .. import fanout"),
        ("broadcast.core.room", "from ..fanout import Fanout"),
        ("broadcast.core.room", "from broadcast.corelike import x"),
        ("broadcast.core.room", "def later():\n    import time"),
        ("broadcast.core.room", "if TYPE_CHECKING:\n    from twisted.internet import interfaces"),
        ("broadcast.core.room", "try:\n    import re\nexcept ImportError:\n    import time"),
        (
            "broadcast.core.room",
            "class A:\n    async def f(self):\n        return [x for x in self if x]\n    import time",
        ),
        ("broadcast.wires.line", "from broadcast.protocols.framing import Lines"),
        ("broadcast.wires.line", "from broadcast import fanout"),
        ("broadcast.wires.line", "import twisted"),
        ("broadcast.wires.line", "from ..protocols import line"),
        ("broadcast.protocols.line", "from broadcast.protocols.irc import IRC"),
        ("broadcast.protocols.line", "from broadcast.protocols import irc"),
        ("broadcast.protocols.line", "from . import irc"),
        ("broadcast.protocols.line", "from .irc import IRC"),
        ("broadcast.protocols.line", "from broadcast.journals.sqlite import SqliteJournal"),
        ("broadcast.protocols.line", "from broadcast import journals"),
        ("broadcast.protocols.line", "from broadcast import service"),
        ("broadcast.protocols.framing", "from broadcast.protocols.line import BroadcastProtocol"),
        ("broadcast.protocols.peer", "from ..journals import memory"),
        ("broadcast.journals.memory", "from broadcast.protocols.line import BroadcastFactory"),
        ("broadcast.journals.memory", "from broadcast.protocols import framing"),
        ("broadcast.journals.memory", "from broadcast.fanout import Fanout"),
        ("broadcast.journals.memory", "from .. import outlets"),
        ("broadcast.journals.memory", "from broadcast.service import Options"),
        ("broadcast.journals.memory", "from twisted.internet import threads"),
        ("broadcast.fanout", "from broadcast.service import Options"),
        ("broadcast.outlets", "def later():\n    import broadcast.service"),
        ("broadcast.client.__main__", "from broadcast.core.text import clean"),
        ("broadcast.client.__main__", "import broadcast.core.text"),
        ("broadcast.client.__main__", "import broadcast"),
        ("broadcast.client.__main__", "from broadcast import *"),
        ("broadcast.client.__main__", "from broadcast import core"),
        ("broadcast.client.__main__", "from ..core import text"),
        ("broadcast.client.__main__", "from ...broadcast.core import text"),
        ("broadcast.service", "from twisted.internet import reactor"),
        ("broadcast.service", "import twisted.internet.reactor"),
        ("broadcast.service", "from twisted.internet.reactor import callLater"),
        ("broadcast.client.__main__", "from twisted.internet import reactor as r"),
        ("broadcast.service", "if True:\n    from twisted.internet import defer, reactor"),
        ("broadcast.service", "class Options:\n    from twisted.internet import reactor"),
        ("broadcast", "from twisted.internet import reactor"),
        ("broadcast.process.server", "import prometheus_client"),
        ("broadcast.fanout", "def later():\n    from prometheus_client import Counter"),
        ("broadcast.service", "from broadcast.process.metrics import Monitor"),
        ("broadcast.fanout", "from broadcast.process.server import Server"),
        ("broadcast.protocols.line", "from ..process import config"),
    ],
)
def test_a_breach_is_noticed(module: str, source: str) -> None:
    assert len(breaches(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "broadcast.core.room",
            "from __future__ import annotations\nimport re, unicodedata, enum, dataclasses, datetime",
        ),
        ("broadcast.core.room", "from collections.abc import Iterable\nfrom automat import TypeMachineBuilder"),
        ("broadcast.core.room", "from broadcast.core.events import Said\nfrom broadcast.core import text"),
        ("broadcast.core.room", "from .events import Said\nfrom . import text\nfrom ..core import hub"),
        ("broadcast.core.room", "timetable = 'import time'  # import time"),
        ("broadcast.wires.line", "import time\nfrom broadcast.core.events import Said\nfrom . import words"),
        (
            "broadcast.protocols.line",
            "from twisted.internet.protocol import Protocol\nfrom broadcast.fanout import Fanout",
        ),
        ("broadcast.protocols.line", "from broadcast.protocols import framing, peer, strangers"),
        ("broadcast.protocols.line", "from .framing import Lines\nfrom ..wires.line import LineWire"),
        (
            "broadcast.journals.sqlite",
            "import sqlite3\nfrom broadcast.core.errors import JournalError\nfrom . import memory",
        ),
        (
            "broadcast.client.__main__",
            "import asyncio\nfrom broadcast import __version__\nfrom broadcast.client import screen",
        ),
        (
            "broadcast.client.__main__",
            "from . import screen\nfrom .screen import Screen\nfrom twisted.internet import defer",
        ),
        (
            "broadcast.service",
            "from broadcast.protocols import irc, line\nfrom broadcast.journals.sqlite import SqliteJournal",
        ),
        ("broadcast.service", "def makeService(options):\n    from twisted.internet import reactor"),
        ("broadcast.service", "def monitor():\n    from broadcast.process import metrics"),
        ("broadcast.process.metrics", "from prometheus_client.core import Metric"),
        ("broadcast.process.server", "from broadcast.process.listening import Place"),
        ("broadcast.service", "from twisted.internet.interfaces import IReactorTime\nimport twisted.internet.reactors"),
    ],
)
def test_what_the_walls_allow_is_no_breach(module: str, source: str) -> None:
    assert breaches(module, source) == []


def test_a_relative_import_in_a_package_starts_from_that_package() -> None:
    assert breaches("broadcast.core", "from . import events\nfrom .events import Said", is_package=True) == []
    assert len(breaches("broadcast.core", "from .. import fanout", is_package=True)) == 1
    assert len(breaches("broadcast.protocols", "from .line import BroadcastFactory", is_package=True)) == 1
    assert breaches("broadcast", "from .core import events", is_package=True) == []


def test_a_breach_is_told_with_its_line_what_was_imported_and_why_not() -> None:
    assert breaches("broadcast.core.room", "import re\n\nfrom time import time\n") == [
        "line 3: time.time: the core knows only values, and automat"
    ]
