"""The fuzz harnesses pass with every stored input, and fail when something is broken."""

from __future__ import annotations

import re
import sys
from codecs import getincrementaldecoder
from pathlib import Path
from unittest import mock

import pytest

import broadcast.core.sanitize
import broadcast.doors.line.codec
import broadcast.doors.line.editing
import broadcast.doors.line.telnet
import broadcast.doors.web.frames
from tests.fuzz import __main__ as command
from tests.fuzz import framing, telnet, text, websocket
from tests.fuzz.inputs import HARNESSES, SEEDS, stored

CHECKS = {"framing": framing.check, "telnet": telnet.check, "text": text.check, "websocket": websocket.check}


def test_every_harness_has_a_check() -> None:
    assert tuple(CHECKS) == HARNESSES


@pytest.mark.parametrize(
    ("name", "path"),
    [pytest.param(name, path, id=f"{name}/{path.name}") for name in HARNESSES for path in stored(name)],
)
def test_stored_input_passes(name: str, path: Path) -> None:
    CHECKS[name](path.read_bytes())


@pytest.mark.parametrize("name", HARNESSES)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff", b"\0\0", b"\xff" * 100, bytes(range(256))])
def test_harness_accepts_any_bytes(name: str, data: bytes) -> None:
    CHECKS[name](data)


def check_seeds(name: str) -> None:
    for path in sorted((SEEDS / name).glob("*")):
        CHECKS[name](path.read_bytes())


@pytest.mark.parametrize(
    ("name", "module", "attribute", "broken"),
    [
        ("text", text, "sanitize", str),
        ("text", broadcast.core.sanitize, "_allowed", re.compile("(?:.){12}")),
        ("text", broadcast.core.sanitize, "_unsafe", re.compile("[\0-\x1f]")),
        ("text", broadcast.core.sanitize, "_escape_sequences", re.compile("\x1b\\[[0-?]*[@-~]")),
        ("text", broadcast.core.sanitize, "_introducers", re.compile("\x9b")),
        ("text", broadcast.core.sanitize, "_flags", re.compile("(\U0001f3f4[^\U000e007f]*)")),
        ("telnet", broadcast.doors.line.telnet, "MAX_REFUSALS", 11),
        ("telnet", broadcast.doors.line.telnet, "_TIMING_MARK", 7),
        ("telnet", broadcast.doors.line.telnet, "_SUBNEGOTIATION", re.compile(rb"[^\xff]*+")),
        ("telnet", broadcast.doors.line.telnet, "_EC", 249),
        ("telnet", broadcast.doors.line.telnet, "_EOF", 249),
        ("framing", broadcast.doors.line.codec, "_TEXT_AND_END", re.compile(rb"([^\r\n]*+)(?:\n|\r\n?)?")),
        ("framing", broadcast.doors.line.codec, "erase_word", bytearray.clear),
        ("framing", broadcast.doors.line.codec, "EOT", 3),
        ("framing", broadcast.doors.line.editing, "_KEY_BYTES", 1),
        ("framing", broadcast.doors.line.editing, "_ZWJ", ""),
        ("framing", broadcast.doors.line.codec, "_NUL", 1),
        ("framing", broadcast.doors.line.telnet.Telnet, "_buffer_unfinished", lambda _telnet: None),
        ("websocket", broadcast.doors.web.frames, "_LF", b"\r"),
        ("websocket", broadcast.doors.web.frames, "getincrementaldecoder", lambda _: getincrementaldecoder("latin-1")),
    ],
)
def test_seeds_alone_find_what_is_broken(name: str, module: object, attribute: str, broken: object) -> None:
    with mock.patch.object(module, attribute, broken), pytest.raises(AssertionError):
        check_seeds(name)


def test_missing_atheris_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(SystemExit, match=r"^tests\.fuzz needs atheris, .+$"):
        command.main(["text"])
