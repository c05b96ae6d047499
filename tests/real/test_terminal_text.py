"""The installed client on terminals with other encodings, and on those that understand links and notifications."""

from __future__ import annotations

import re
import sys

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs
from tests.real.terminals import CTRL_D, client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")

SAID = "na\u00efve \u2026 \u6f22 ann"
UTF_8 = SAID.encode()
ESCAPED = rb"na\xefve \u2026 \u6f22 ann"
OLD_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({}, UTF_8),
        ({"LC_ALL": "C"}, UTF_8),
        ({"PYTHONUTF8": "1", "LC_ALL": "C"}, UTF_8),
        (OLD_C, ESCAPED),
        ({**OLD_C, "LC_ALL": "nonsense"}, ESCAPED),
        ({**OLD_C, "TERM": "dumb"}, ESCAPED),
        ({"PYTHONIOENCODING": "latin-1"}, b"na\xefve \\u2026 \\u6f22 ann"),
        ({"PYTHONIOENCODING": "latin-1", "TERM": "dumb"}, b"na\xefve \\u2026 \\u6f22 ann"),
        ({"PYTHONIOENCODING": "ascii:strict"}, ESCAPED),
        ({"PYTHONIOENCODING": "ascii", "TERM": "dumb"}, ESCAPED),
        ({"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}, ESCAPED),
    ],
)
@ensureDeferred
async def test_text_that_a_terminal_cannot_show_becomes_an_escape(
    programs: Programs, environment: dict[str, str], shown: bytes
) -> None:
    port = programs.room("--limits", "off")
    bob = await programs.talker(port, "bob")
    ann = client(programs, port, "--nick", "ann", "--no-bell", **environment)  # type: ignore[arg-type]  # no sizes
    await ann.until("You are ann")
    bob.say(SAID, "/me \u2026", "/msg ann \u2026", "\u202eevil\x1b[2J", "the end")
    await ann.until("the end")
    assert shown in ann.output
    ann.process.write("own \u00fc\n".encode("latin-1" if "latin-1" in environment.values() else "utf-8"))
    await bob.until("ann: own \u00fc")
    ann.write(CTRL_D)
    await ann.until("Goodbye, ann.")
    assert await ann.end() == 0
    assert ann.settings() == ann.before
    ann.close()


@ensureDeferred
async def test_a_long_link_is_whole_and_a_notification_is_sanitized(programs: Programs) -> None:
    port = programs.room("--limits", "off")
    bob = await programs.talker(port, "bob")
    ann = client(programs, port, "--nick", "ann", "--no-bell", "--notify", "--no-times", VTE_VERSION="7006", TMUX="")
    await ann.shows("You are ann")
    url = "https://example.org/" + "x" * 100
    bob.say(f"ann; look: {url}, please", "the end")
    await ann.shows("bob: the end")
    output = re.sub(rb"id=[0-9a-f]{8};", b"", ann.output).decode()
    sequences = re.findall(r"\x1b].*?(?:\x07|\x1b\\)", output)
    assert sequences == [
        f"\x1b]777;notify;broadcast;bob in lobby: ann, look: {url}, please\x07",
        f"\x1b]8;{url}\x1b\\",
        "\x1b]8;;\x1b\\",
    ]
    assert f"\x1b]8;{url}\x1b\\{url}" in re.sub(r"\x1b\[[0-9;]*m", "", output), "no line end is in the text of the link"
    ann.write(CTRL_D)
    assert await ann.end() == 0
    ann.close()
