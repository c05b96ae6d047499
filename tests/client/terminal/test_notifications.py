from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client.session.entries import Line, Notice, PrivateLine
from broadcast.client.session.views import View
from broadcast.client.terminal.notifications import PAUSE, Alerts, notification

XTERM = {"TERM": "xterm-256color"}
MENTION = Line(0, "bob", "ann; look\x07\x1b]0;x", 1, is_mention=True)


@pytest.mark.parametrize(
    ("environment", "sequence"),
    [
        (XTERM, "\x1b]777;notify;broadcast;bob in lobby: ann, look\ufffd\ufffd]0,x\a"),
        ({**XTERM, "TERM_PROGRAM": "iTerm.app"}, "\x1b]9;broadcast: bob in lobby: ann, look\ufffd\ufffd]0,x\a"),
        (
            {"TERM": "tmux-256color", "TMUX": "x"},
            "\x1bPtmux;\x1b\x1b]777;notify;broadcast;bob in lobby: ann, look\ufffd\ufffd]0,x\a\x1b\\",
        ),
        (
            {"TERM": "screen", "STY": "x"},
            "\x1bP\x1b]777;notify;broadcast;bob in lobby: ann, look\ufffd\ufffd]0,x\a\x1b\\",
        ),
        ({"TERM": "screen", "STY": "x", "TMUX": "x"}, ""),
        ({"TERM": "linux"}, ""),
        ({"TERM": "dumb"}, ""),
        ({}, ""),
    ],
)
def test_a_notification_has_the_form_that_the_terminal_knows(environment: dict[str, str], sequence: str) -> None:
    assert notification(View("lobby"), MENTION, "utf-8", environment) == sequence


def test_a_private_line_has_no_place_and_only_lines_are_notified_of() -> None:
    view = View("bob", is_private=True)
    assert "broadcast;bob: hi\a" in notification(view, PrivateLine(0, "bob", "hi"), "utf-8", XTERM)
    assert not notification(view, Notice("bob joined."), "utf-8", XTERM)


ANY = st.text(st.characters(categories=None))


@given(ANY, ANY, st.sampled_from(["utf-8", "ascii"]))
def test_a_stranger_cannot_end_a_notification(nick: str, text: str, encoding: str) -> None:
    sequence = notification(View(nick), Line(0, nick, text, 1), encoding, XTERM)
    found = re.fullmatch(r"\x1b]777;notify;broadcast;([^;\x00-\x1f\x7f-\x9f]{1,200})\a", sequence)
    assert found
    found[1].encode(encoding)


@pytest.mark.parametrize(
    ("bell", "notify", "parts"), [(True, False, "\a"), (False, True, "]777"), (True, True, "]777"), (False, False, "")]
)
def test_the_choices_decide_between_bell_and_notification(bell: bool, notify: bool, parts: str) -> None:
    alerts = Alerts({"bell": bell, "notify": notify}, lambda: 0.0, environment=XTERM)
    sequence = alerts.sequence(View("lobby"), MENTION)
    assert sequence.count("\a") == bell + notify
    assert ("]777" in sequence) is notify
    assert parts in sequence


def test_alerts_come_at_most_once_in_a_second() -> None:
    clock = [0.0]
    alerts = Alerts({"bell": True, "notify": False}, lambda: clock[0])
    rings = []
    for clock[0] in (5.0, 5.5, 5.0 + PAUSE, 5.1 + PAUSE):
        rings.append(alerts.sequence(View("lobby"), MENTION))
    assert rings == ["\a", "", "\a", ""]
