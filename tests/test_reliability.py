"""Every row of docs/reliability.rst names tests, and these tests exist. They are not run here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.rst"
SECTIONS = ("Limits", "Faults", "Hostile input", "Properties")

_TEST = re.compile(r"``(tests/[^`]+)``")


def sections(page: str) -> dict[str, list[list[str]]]:
    """Return the rows of the list tables in *page* without their headers, by section, as lists of cells."""
    found: dict[str, list[list[str]]] = {}
    for title, text in re.findall(r"^([^\n]+)\n-{3,}\n(.*?)(?=^[^\n]+\n-{3,}$|\Z)", page, re.MULTILINE | re.DOTALL):
        _before, *rows = re.split(r"^   \* - ", text, flags=re.MULTILINE)
        found[title] = [
            [" ".join(cell.split()) for cell in re.split(r"^     - ", row, flags=re.MULTILINE)] for row in rows
        ][1:]
    return found


def problems(page: str) -> Iterator[str]:
    """Yield the problems of the tables in *page*."""
    found = sections(page)
    yield from (f"{title}: no rows" for title in SECTIONS if not found.get(title))
    for title, rows in found.items():
        for cells in rows:
            row_name = f"{title}, {cells[0]}"
            if len(cells) != 3 or not all(cells):
                yield f"{row_name}: not three cells"
            named = _TEST.findall(cells[-1])
            if not named:
                yield f"{row_name}: no test"
            if _TEST.sub("", cells[-1]).strip():
                yield f"{row_name}: text that is no test"
            yield from (f"{row_name}: there is no {name}" for name in named if not exists(name))


def exists(name: str) -> bool:
    """Return whether the test *name* exists: ``path::function`` or ``path::Class::method``."""
    path, *parts = name.split("::")
    return bool(parts) and "::".join(parts) in defined_in(ROOT / path)


@cache
def defined_in(path: Path) -> frozenset[str]:
    """Return the tests that the module at *path* defines."""
    if not path.is_file():
        return frozenset()
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test") else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for function in inner:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name.startswith("test_"):
                names.add(prefix + function.name)
    return frozenset(names)


def test_every_row_has_tests_and_all_of_them_exist() -> None:
    assert list(problems(PAGE.read_text("utf-8"))) == []
