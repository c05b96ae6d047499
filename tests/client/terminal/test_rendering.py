from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style

from broadcast.client.session.entries import Entry, Line, Notice, Output, PrivateLine, Problem, Refused, Typed
from broadcast.client.session.views import View
from broadcast.client.terminal.links import CLOSE
from broadcast.client.terminal.rendering import STYLES, Renderer, color_of


@pytest.fixture(params=["UTC", "Asia/Tokyo"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("a program cannot choose its time zone on Windows")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


def text(row: StyleAndTextTuples) -> str:
    return "".join(piece[1] for piece in row if piece[0] != "[ZeroWidthEscape]")


def shown(*entries: Entry, unread: int = 0, times: bool = True) -> list[str]:
    renderer = Renderer(has_times=lambda: times, day=date(2026, 1, 31))
    return [text(row) for row in renderer.rows(entries, unread)]


def noon(days: int = 0) -> float:
    return time.mktime((2026, 1, 31 - days, 12, 2, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("entry", "row"),
    [
        (Line(0, "bob", "hi", 1), "12:02 bob: hi"),
        (Line(0, "ann", "hi", 1, is_own=True), "12:02 ann: hi"),
        (Line(0, "bob", "waves", 1, is_action=True), "12:02 ** bob waves"),
        (
            Line(0, "bob", "shared a.txt (1.2 kB): http://h/a", 1, is_file=True),
            "12:02 * bob shared a.txt (1.2 kB): http://h/a",
        ),
        (Line(0, "bob", "well, ann?", 1, is_mention=True), "12:02 >> bob: well, ann?"),
        (Line(0, "bob", "hugs ann", 1, is_action=True, is_mention=True), "12:02 >> ** bob hugs ann"),
        (PrivateLine(0, "bob", "psst"), "12:02 [bob] psst"),
        (PrivateLine(0, "bob", "psst", is_own=True), "12:02 [-> bob] psst"),
        (Notice("bob joined."), " * bob joined."),
        (Typed("/names"), "/names"),
        (Output("2 here: ann, bob"), "-> 2 here: ann, bob"),
        (Problem("unknown command /x."), "-> Error: unknown command /x."),
        (Refused("hi", "the disk is full."), "Not said: hi -- the disk is full."),
        (Refused("hi", "the connection is lost.", is_certain=False), "Perhaps not said: hi -- the connection is lost."),
    ],
)
def test_each_entry_is_one_row_that_says_in_words_what_it_is(entry: Entry, row: str) -> None:
    if isinstance(entry, Line):
        entry = Line(noon(), entry.nick, entry.text, 1, entry.is_action, entry.is_own, entry.is_mention, entry.is_file)
    if isinstance(entry, PrivateLine):
        entry = PrivateLine(noon(), entry.nick, entry.text, entry.is_own)
    assert shown(entry) == [row]
    assert shown(entry, times=False) == [row.removeprefix("12:02 ")]


@pytest.mark.usefixtures("_zone")
def test_a_row_with_the_date_comes_before_the_first_line_of_another_day() -> None:
    lines = [Line(noon(days), "bob", f"{days} days ago", 1) for days in (2, 1, 1, 0)]
    assert shown(*lines[:2], Notice("bob left."), *lines[2:]) == [
        "--- Thursday, 2026-01-29 ---",
        "12:02 bob: 2 days ago",
        "--- Friday, 2026-01-30 ---",
        "12:02 bob: 1 days ago",
        " * bob left.",
        "12:02 bob: 1 days ago",
        "--- Saturday, 2026-01-31 ---",
        "12:02 bob: 0 days ago",
    ]


def test_the_renderer_remembers_the_day_between_calls() -> None:
    renderer = Renderer()
    assert len(list(renderer.rows([PrivateLine(noon(), "bob", "hi")]))) == 2
    assert len(list(renderer.rows([PrivateLine(noon(), "bob", "hi")]))) == 1
    assert len(list(renderer.rows([PrivateLine(noon(1), "bob", "hi")]))) == 2


@pytest.mark.usefixtures("_zone")
def test_the_day_is_that_of_the_local_time() -> None:
    midnight = time.mktime((2026, 2, 1, 0, 0, 0, 0, 0, -1))
    assert shown(Line(midnight - 1, "bob", "late", 1)) == ["23:59 bob: late"]
    assert shown(Line(midnight, "bob", "early", 1)) == ["--- Sunday, 2026-02-01 ---", "00:00 bob: early"]


@pytest.mark.parametrize("at", [1e308, -1e308, 1e15, float("nan"), float("inf")])
def test_a_line_with_an_impossible_time_has_none(at: float) -> None:
    assert shown(Line(at, "bob", "hi", 1)) == ["bob: hi"]


@pytest.mark.parametrize(("unread", "place"), [(0, None), (1, 2), (2, 1), (3, 0), (9, 0)])
def test_a_marker_comes_before_the_unread_entries(unread: int, place: int | None) -> None:
    rows = shown(Notice("1"), Notice("2"), Notice("3"), unread=unread)
    assert (rows.index("--- new ---") if "--- new ---" in rows else None) == place


def test_a_view_begins_with_its_name_and_its_topic() -> None:
    view = View("kitchen")
    assert text(Renderer().heading(view)) == "=== kitchen ==="
    view.count, view.topic = 3, "tea\x1b"
    assert text(Renderer().heading(view)) == "=== kitchen (3 here, tea\ufffd) ==="
    assert text(Renderer().heading(View("bob", is_private=True))) == "=== @bob (private) ==="


def test_a_waiting_line_has_a_sign_in_every_encoding() -> None:
    assert text(Renderer().waiting("hi")) == "\u2026 hi"
    assert text(Renderer(encoding="ascii").waiting("h\u00ef")) == r"... h\xef"


def test_a_nickname_has_its_color_wherever_it_stands() -> None:
    for entry in (Line(0, "bob", "", 1), Line(0, "bob", "", 1, is_mention=True), PrivateLine(0, "bob", "")):
        (style,) = [piece[0] for piece in Renderer().row(entry) if "bob" in piece[1]]
        assert style.split()[-1] == color_of("bob")


def test_a_link_stands_between_two_sequences_and_its_text_is_unchanged() -> None:
    row = Renderer(has_links=True, encoding="ascii").row(Notice("see https://example.org/\u00e9, please"))
    assert [piece[:2] for piece in row[1:]] == [
        ("class:note", "see "),
        ("[ZeroWidthEscape]", "\x1b]8;id=90fb88c8;https://example.org/%C3%A9\x1b\\"),
        ("class:note", r"https://example.org/\xe9"),
        ("[ZeroWidthEscape]", CLOSE),
        ("class:note", ", please"),
    ]


HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            ["\x1b]8;;https://evil\x1b\\", "\x1b[2J", "\x9b2J", "\x07", "\r\n", "https://x.org/", "\ud800"]
        ),
        st.text(max_size=5),
    )
).map("".join)
ENTRIES = st.one_of(
    st.builds(Line, st.floats(), HOSTILE, HOSTILE, st.integers(), st.booleans(), st.booleans(), st.booleans()),
    st.builds(PrivateLine, st.floats(), HOSTILE, HOSTILE, st.booleans()),
    *(st.builds(kind, HOSTILE) for kind in (Notice, Typed, Output, Problem)),
    st.builds(Refused, HOSTILE, HOSTILE),
)
OWN_SEQUENCES = re.compile(
    r"\x1b\[(?:0|0;[0-9;]+)m|\x1b\[\?7[hl]|\x1b]8;;\x1b\\|\x1b]8;id=[0-9a-f]{8};https?://[!-~]+\x1b\\", re.IGNORECASE
)


@given(st.lists(ENTRIES), HOSTILE, st.booleans(), st.sampled_from(["utf-8", "latin-1", "ascii", "shift_jis"]))
def test_no_sequence_of_a_server_reaches_the_terminal(
    entries: list[Entry], name: str, links: bool, encoding: str
) -> None:
    renderer = Renderer(has_links=links, encoding=encoding)
    view = View(name)
    view.topic = name
    rows = [*renderer.rows(entries, unread=1), renderer.heading(view), renderer.waiting(name)]
    data = io.BytesIO()
    output = Vt100_Output(io.TextIOWrapper(data, encoding), lambda: Size(24, 80), term="xterm-256color")
    for row in rows:
        print_formatted_text(
            output, [*row, ("", "\n")], Style.from_dict(dict(STYLES)), color_depth=ColorDepth.DEPTH_8_BIT
        )
    printed = OWN_SEQUENCES.sub("", data.getvalue().decode(encoding)).replace("\r\n", "\n")
    assert printed == "".join(f"{text(row)}\n" for row in rows)
    assert all(character == "\n" or (character >= " " and not "\x7f" <= character <= "\x9f") for character in printed)
