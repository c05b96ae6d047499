"""The import rules: the contracts for import-linter in setup.cfg, and one rule that it cannot express."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import broadcast

PACKAGE = Path(broadcast.__file__).parent


def module_level_imports(tree: ast.Module) -> set[str]:
    """Return the names that importing a module imports by itself: nothing inside a function."""
    names: set[str] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        match pending.pop():
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                pass
            case ast.Import(names=aliases):
                names.update(alias.name for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases):
                names.update(f"{module}.{alias.name}" for alias in aliases)
            case node:
                pending.extend(ast.iter_child_nodes(node))
    return names


def test_the_package_keeps_its_import_contracts() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "setup.cfg"]
    checked = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=False, timeout=200)  # noqa: S603
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_module_imports_the_reactor_when_it_is_imported() -> None:
    for path in PACKAGE.rglob("*.py"):
        imported = module_level_imports(ast.parse(path.read_text("utf-8")))
        assert "twisted.internet.reactor" not in imported, path
