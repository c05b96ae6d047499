"""The harnesses with what is kept for them, without a fuzzer; and that they notice when something is wrong."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast
from unittest import mock

import pytest

import broadcast.core.sanitize
import broadcast.doors.line.codec
import broadcast.doors.line.telnet
from tests.fuzz import __main__ as command
from tests.fuzz import text
from tests.fuzz.inputs import HARNESSES, SEEDS, kept


def harness(name: str) -> Callable[[bytes], None]:
    """What checks one input."""
    return cast("Callable[[bytes], None]", importlib.import_module(f"tests.fuzz.{name}").check)


@pytest.mark.parametrize(
    ("name", "path"),
    [pytest.param(name, path, id=f"{name}/{path.name}") for name in HARNESSES for path in kept(name)],
)
def test_what_is_kept_for_a_harness_does_no_harm(name: str, path: Path) -> None:
    harness(name)(path.read_bytes())


@pytest.mark.parametrize("name", HARNESSES)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff", b"\0\0", b"\xff" * 100, bytes(range(256))])
def test_a_harness_takes_any_bytes(name: str, data: bytes) -> None:
    harness(name)(data)


def check_seeds(name: str) -> None:
    for path in sorted((SEEDS / name).glob("*")):
        harness(name)(path.read_bytes())


def unchanged(text: str) -> str:
    return text


def hold_everything(telnet: broadcast.doors.line.telnet.Telnet) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "module", "attribute", "broken"),
    [
        ("text", text, "sanitize", unchanged),
        ("text", broadcast.core.sanitize, "_allowed", re.compile("(?:.){12}")),
        ("text", broadcast.core.sanitize, "_removed", re.compile("[\0-\x1f]")),
        ("telnet", broadcast.doors.line.telnet, "MAX_REFUSALS", 11),
        ("telnet", broadcast.doors.line.telnet, "_TIMING_MARK", 7),
        ("telnet", broadcast.doors.line.telnet, "_SUBNEGOTIATION", re.compile(rb"[^\xff]*+")),
        ("telnet", broadcast.doors.line.telnet, "_EC", 249),
        ("framing", broadcast.doors.line.codec, "_STRETCH", re.compile(rb"([^\r\n]*+)(?:\n|\r\n?)?")),
        ("framing", broadcast.doors.line.codec, "_NUL", 1),
        ("framing", broadcast.doors.line.telnet.Telnet, "_keep_unfinished", hold_everything),
    ],
)
def test_the_seeds_alone_show_what_is_broken(name: str, module: object, attribute: str, broken: object) -> None:
    with mock.patch.object(module, attribute, broken), pytest.raises(AssertionError):
        check_seeds(name)


def test_without_atheris_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(SystemExit, match=r"^tests\.fuzz needs atheris, .+$"):
        command.main(["text"])
