"""The man page and the completions of ``broadcast-admin`` are made from its commands, and their readers accept them."""

from __future__ import annotations

import runpy
from collections.abc import Mapping

import pytest

from broadcast.admin.options import COMMANDS
from tests.real.programs import found
from tests.test_client_files import CHECKOUT, SHARE, environment, run

MAN = SHARE / "man" / "man1" / "broadcast-admin.1"
BASH = SHARE / "bash-completion" / "completions" / "broadcast-admin"
ZSH = SHARE / "zsh" / "site-functions" / "_broadcast-admin"
FISH = SHARE / "fish" / "vendor_completions.d" / "broadcast-admin.fish"
NAMES = [command.name for command in COMMANDS]

__all__ = ["environment"]  # a fixture


def test_files_are_made_from_the_commands_and_installed() -> None:
    files: Mapping[str, str] = runpy.run_path(str(CHECKOUT / "docs" / "admin_files.py"))["files"]()
    paths = [path for path in SHARE.rglob("*broadcast-admin*") if path.is_file()]
    present = {str(path.relative_to(SHARE)): path.read_text("utf-8") for path in paths}
    assert present == files, "run: python docs/admin_files.py"
    setup = (CHECKOUT / "setup.cfg").read_text("utf-8")
    assert all(f"    {path.relative_to(CHECKOUT)}\n" in setup for path in paths)


def test_man_page_has_no_faults_and_names_all_commands(environment: Mapping[str, str]) -> None:
    assert run(environment, found("mandoc"), "-T", "lint", MAN) == ""
    text = run(environment, found("groff"), "-ww", "-man", "-Tascii", "-P-cbou", MAN)
    assert all(f"       {name}" in text for name in NAMES)


def bash(environment: Mapping[str, str], *words: str) -> list[str]:
    """Return how bash completes the last of *words*."""
    call = 'COMP_WORDS=(broadcast-admin "$@"); COMP_CWORD=$#; _broadcast_admin'
    script = f"source $0; {call}; printf '%s\\n' ${{COMPREPLY[@]}}"
    return run(environment, found("bash"), "--norc", "-c", script, BASH, *words).split()


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["--"], ["--data", "--journal", "--schema", "--version", "--help"]),
        (["re"], ["remove", "rename", "remove-file"]),
        (["--data", "x", "ba"], ["bans", "backup"]),
        (["export", "--r"], ["--room"]),
        (["role", "ann", ""], ["operator", "none"]),
        (["role", ""], []),
        (["add", ""], []),
    ],
)
def test_bash_completes_commands_and_their_options(
    environment: Mapping[str, str], words: list[str], completed: list[str]
) -> None:
    assert bash(environment, *words) == completed


def test_fish_completes_commands_and_their_options(environment: Mapping[str, str]) -> None:
    def complete(line: str) -> list[str]:
        script = f"source {FISH}; complete -C '{line}'"
        return [row.split("\t")[0] for row in run(environment, found("fish"), "--no-config", "-c", script).splitlines()]

    assert complete("broadcast-admin ") == sorted(NAMES) or set(complete("broadcast-admin ")) == set(NAMES)
    assert complete("broadcast-admin export --r") == ["--room"]
    assert complete("broadcast-admin role ann o") == ["operator"]


def test_zsh_accepts_the_completion(environment: Mapping[str, str]) -> None:
    assert run(environment, found("zsh"), "-f", "-n", ZSH) == ""
