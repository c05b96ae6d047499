"""The man page and the completions of the client are made from its options, and their readers accept them."""

from __future__ import annotations

import os
import pty
import runpy
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from broadcast.client.options import OPTIONS
from tests.real.programs import PATIENCE, found

CHECKOUT = Path(__file__).parents[1]
SHARE = CHECKOUT / "share"
MAN = SHARE / "man" / "man1" / "broadcast-client.1"
BASH = SHARE / "bash-completion" / "completions" / "broadcast-client"
ZSH = SHARE / "zsh" / "site-functions" / "_broadcast-client"
FISH = SHARE / "fish" / "vendor_completions.d" / "broadcast-client.fish"


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a user with the servers work and chat.example."""
    file = tmp_path / "config" / "broadcast" / "client.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[servers.work]\naddress = "h"\n\n[servers."chat.example"]\n[servers."$(touch never)"]\n')
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
    }


def run(environment: Mapping[str, str], *command: str | Path) -> str:
    """Return the output of *command*, which succeeds and does not complain."""
    process = subprocess.run(  # noqa: S603 -- the test's own commands
        list(map(str, command)),
        capture_output=True,
        check=False,
        cwd=environment["HOME"],
        encoding="utf-8",
        env=dict(environment),
        timeout=PATIENCE,
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


def test_files_are_made_from_the_options() -> None:
    files: Mapping[str, str] = runpy.run_path(str(CHECKOUT / "docs" / "client_files.py"))["files"]()
    paths = [path for path in SHARE.rglob("*broadcast-client*") if path.is_file()]
    present = {str(path.relative_to(SHARE)): path.read_text("utf-8") for path in paths}
    assert present == files, "run: python docs/client_files.py"


def test_package_installs_all_files() -> None:
    setup = (CHECKOUT / "setup.cfg").read_text("utf-8")
    for path in (MAN, BASH, ZSH, FISH):
        assert f"\n{path.parent.relative_to(CHECKOUT)} =\n" in setup
        assert f"\n    {path.relative_to(CHECKOUT)}\n" in setup


def test_man_page_has_no_faults_for_mandoc(environment: Mapping[str, str]) -> None:
    assert run(environment, found("mandoc"), "-T", "lint", MAN) == ""


def test_man_page_has_no_faults_for_groff_and_names_all_options(environment: Mapping[str, str]) -> None:
    text = run(environment, found("groff"), "-ww", "-man", "-Tascii", "-P-cbou", MAN)
    assert all(f"       {option.name}" in text for option in OPTIONS)


def bash(environment: Mapping[str, str], *words: str) -> list[str]:
    """Return how bash completes the last of *words*."""
    call = 'COMP_WORDS=(broadcast-client "$@"); COMP_CWORD=$#; _broadcast_client'
    script = f"source $0; {call}; printf '%s\\n' ${{COMPREPLY[@]}}"
    return run(environment, found("bash"), "--norc", "-c", script, BASH, *words).split()


def fish(environment: Mapping[str, str], line: str) -> list[str]:
    """Return how fish completes *line*: the last word of each completion."""
    script = f"source {FISH}; complete -C '{line}'"
    rows = run(environment, found("fish"), "--no-config", "-c", script).splitlines()
    return [row.partition("\t")[0] for row in rows]


def test_bash_completes_options_and_servers(environment: Mapping[str, str]) -> None:
    assert bash(environment, "--") == [option.name for option in OPTIONS]
    assert bash(environment, "--no-c") == ["--no-color"]
    assert bash(environment, "wo") == ["work"]
    assert bash(environment, "--json", "chat.") == ["chat.example"]
    assert bash(environment, "--send", "--no") == []
    assert bash(environment, "--nick", "wo") == []
    assert bash(environment, "--nick", "=") == []
    assert bash(environment, "--nick", "=", "wo") == []
    assert not Path(environment["HOME"], "never").exists()


def test_shells_complete_the_paths_of_files(environment: Mapping[str, str]) -> None:
    Path(environment["HOME"], "report.pdf").touch()
    assert bash(environment, "--upload", "re") == ["report.pdf"]
    assert bash(environment, "--password-file", "re") == ["report.pdf"]
    assert fish(environment, "broadcast-client --upload re") == ["report.pdf"]


def test_bash_completes_servers_without_settings(environment: Mapping[str, str]) -> None:
    assert bash({**environment, "XDG_CONFIG_HOME": "/nowhere"}, "wo") == []


def test_fish_completes_options_and_servers(environment: Mapping[str, str]) -> None:
    assert set(fish(environment, "broadcast-client --")) >= {option.name for option in OPTIONS}
    assert fish(environment, "broadcast-client --no-c") == ["--no-color"]
    assert fish(environment, "broadcast-client wo") == ["work"]
    assert fish(environment, "broadcast-client --nick wo") == []


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("--no-c", "--no-color "),
        ("--sen", "--send="),
        ("--json wo", "--json work "),
        ("--send=x wo", "--send=x work "),
        ("--upload=conf", "--upload=config/"),
    ],
)
def test_zsh_completes_options_and_servers(typed: str, completed: str, environment: Mapping[str, str]) -> None:
    main, terminal = pty.openpty()
    shell = subprocess.Popen(  # noqa: S603 -- found above
        [found("zsh"), "-f", "-i"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=dict(environment),
        cwd=environment["HOME"],
        start_new_session=True,
    )
    os.close(terminal)
    try:
        setup = f"fpath=({ZSH.parent} $fpath); autoload -Uz compinit; compinit -u -D; PS1=; print re''ady\n"
        read_until(main, "", setup, "ready")
        read_until(main, "", f": broadcast-client; broadcast-client {typed}\t", f"broadcast-client {completed}")
    finally:
        shell.kill()
        shell.wait(60)
        os.close(main)


def read_until(terminal: int, seen: str, typed: str, expected: str) -> None:
    """Type into *terminal*, and read until *expected* appears."""
    os.write(terminal, typed.encode())
    end = time.monotonic() + PATIENCE
    while expected not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        assert ready, f"{expected!r} does not appear: {seen!r}"
        seen += os.read(terminal, 65536).decode("utf-8", "replace")
