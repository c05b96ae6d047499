from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client.terminal.links import are_supported, split
from broadcast.client.text import printable

OPENING = re.compile(r"\x1b]8;id=[0-9a-f]{8};https?://[!-~]{1,2083}\x1b\\", re.IGNORECASE)


def linked(text: str) -> list[str]:
    return [piece for piece, opening in split(text) if opening]


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("nothing here", []),
        ("", []),
        ("see https://example.org/a?b=c&d#e.", ["https://example.org/a?b=c&d#e"]),
        ("(http://example.org/x_(y))", ["http://example.org/x_(y)"]),
        ("<https://example.org>, HTTPS://EXAMPLE.ORG!", ["https://example.org", "HTTPS://EXAMPLE.ORG"]),
        ("https://example.org;x=1;y", ["https://example.org;x=1;y"]),
        ("file:///etc/passwd javascript:alert(1) ftp://x mailto:a@b", []),
        ("http:// https:/// https://...", []),
        ("https://ex\ufffdample", ["https://ex"]),
        ("https://example.org/" + "x" * 2100, []),
    ],
)
def test_only_web_addresses_are_links_without_the_punctuation_around_them(text: str, urls: list[str]) -> None:
    assert linked(text) == urls


def test_the_target_of_a_link_is_plain_ascii_and_its_text_is_unchanged() -> None:
    pieces = list(split("https://example.org/na\u00efve \u2026"))
    assert pieces[0][0] == "https://example.org/na\u00efve"
    assert pieces[0][1].endswith(";https://example.org/na%C3%AFve\x1b\\")
    assert pieces[1] == (" \u2026", "")


@given(st.lists(st.sampled_from(["http://", "https://", ".", ")", "(", " ", "\u00e9", "\x1b]8;;", "\x07", "x"])))
def test_a_stranger_chooses_no_more_than_the_target_of_a_link(parts: list[str]) -> None:
    text = printable("".join(parts))
    pieces = list(split(text))
    assert "".join(piece for piece, _opening in pieces) == text
    assert all(not opening or OPENING.fullmatch(opening) for _piece, opening in pieces)


@pytest.mark.parametrize(
    "environment",
    [
        {"TERM": "xterm-256color", "VTE_VERSION": "7006"},
        {"TERM": "xterm-kitty"},
        {"TERM": "foot-extra"},
        {"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"},
        {"TERM": "screen", "TMUX": "x"},
        {"TERM": "xterm-256color", "KONSOLE_VERSION": "230400"},
        {"TERM": "xterm-256color", "WT_SESSION": "x"},
        {"TERM": "xterm", "FORCE_HYPERLINK": "1"},
    ],
)
def test_terminals_with_links_are_known(environment: dict[str, str]) -> None:
    assert are_supported(environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TERM": "dumb", "VTE_VERSION": "7006"},
        {"TERM": "linux"},
        {"TERM": "xterm-256color"},
        {"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"},
        {"TERM": "xterm-256color", "VTE_VERSION": "5000"},
        {"TERM": "xterm-256color", "VTE_VERSION": "new"},
        {"TERM": "screen.xterm-256color", "VTE_VERSION": "7006", "STY": "1.pts"},
        {"TERM": "screen.xterm-256color", "TERM_PROGRAM": "WezTerm", "STY": "x"},
        {"TERM": "dumb", "FORCE_HYPERLINK": "1"},
        {"TERM": "screen", "TERM_PROGRAM": "tmux", "TMUX": "x", "STY": "1.pts"},
        {"TERM": "xterm-kitty", "FORCE_HYPERLINK": "0"},
    ],
)
def test_other_terminals_get_no_links(environment: dict[str, str]) -> None:
    assert not are_supported(environment)
