from __future__ import annotations

import pytest
from prompt_toolkit.formatted_text.utils import fragment_list_to_text

from broadcast.client.session.conversation import State
from broadcast.client.session.views import View
from broadcast.client.terminal.status_line import state_of, status, status_row, views_row
from tests.client.session.fakes import Talk


def views(**unread: int) -> list[View]:
    """Views with these numbers of unread lines."""
    made = []
    for name, count in unread.items():
        made.append(View(name.removeprefix("at_"), is_private=name.startswith("at_")))
        made[-1].unread = count
    return made


def row(views: list[View], current: int = 0, columns: int = 80, encoding: str = "utf-8") -> str:
    return fragment_list_to_text(views_row(views, views[current], columns, encoding))


@pytest.mark.parametrize(
    ("state", "silence", "round_trip", "retry_at", "expected"),
    [
        (State.ONLINE, 0.0, 0.0, None, ""),
        (State.ONLINE, 0.0, 0.9, None, ""),
        (State.ONLINE, 0.0, 1.44, None, "1.4 s"),
        (State.ONLINE, 2.0, 1.44, None, "1.4 s"),
        (State.ONLINE, 12.4, 1.44, None, "no answer for 12 s"),
        (State.ASKING, 0.0, 0.0, None, ""),
        (State.CONNECTING, 0.0, 0.0, None, "connecting"),
        (State.OFFLINE, 0.0, 0.0, 12.5, "no connection, next try in 3 s"),
        (State.LEAVING, 0.0, 0.0, None, "leaving"),
        (State.LEAVING, 0.0, 0.0, 12.5, "leaving: no connection, next try in 3 s; Ctrl-D leaves at once"),
    ],
)
def test_the_state_of_the_connection_is_in_words(
    state: State, silence: float, round_trip: float, retry_at: float | None, expected: str
) -> None:
    talk = Talk().talk
    talk.state, talk.silence, talk.round_trip, talk.retry_at = state, silence, round_trip, retry_at
    assert state_of(talk, 10.0) == expected


def test_an_attempt_to_connect_that_is_due_is_under_way() -> None:
    talk = Talk().talk
    talk.lost("the connection was closed", 12.5)
    assert state_of(talk, 12.5) == "connecting"


def test_the_status_begins_with_the_nickname_and_the_state() -> None:
    talk = Talk().talk
    talk.away = ""
    talk.silence = 5
    assert status(talk, "host", 0) == ["ann (away)", "no answer for 5 s", "lobby", "2 here", "host"]
    talk.select(talk.private_view("bob"))
    assert status(talk, "host", 0) == ["ann (away)", "no answer for 5 s", "@bob", "host"]


def test_uploads_have_a_bar() -> None:
    here = Talk()
    here.talk.submit("/upload report.pdf")
    assert status(here.talk, "host", 0) == ["ann", "report.pdf [..........] 0%", "lobby", "2 here", "host"]
    here.server.on_progress(456, 1000)
    assert status(here.talk, "host", 0)[1] == "report.pdf [####......] 46%"
    here.talk.silence = 5
    assert status(here.talk, "host", 0)[1:3] == ["no answer for 5 s", "report.pdf [####......] 46%"]
    here.talk.submit(f"/upload {'x' * 128}")
    here.server.on_progress(9000, 9000)
    assert status(here.talk, "host", 0)[2] == "2 files [#########.] 95%"
    del here.talk.uploads[0]
    assert status(here.talk, "host", 0)[2] == f"{'x' * 23}… [##########] 100%"


def test_a_long_status_line_is_cut() -> None:
    assert status_row(["ann", "lobby"], 80) == " ann · lobby "
    assert status_row(["ann", "日本語日本語"], 14) == " ann · 日本… "
    assert status_row(["ann", "lobby"], 12, "ascii") == " ann | lo~ "
    assert len(status_row(["ann", "lobby"], 2)) <= 3


def test_one_view_needs_no_line() -> None:
    assert views_row(views(lobby=0), View("lobby"), 80) == []


def test_a_view_has_its_number_and_its_unread_lines() -> None:
    some = views(lobby=0, kitchen=3, cellar=2, at_bob=1)
    some[2].mentions = 1
    assert row(some) == " 1 lobby  2 kitchen (3)  3 cellar (2!)  4 @bob (1!)"


def test_only_the_current_view_and_those_with_news_have_names_where_the_line_is_too_long() -> None:
    some = views(lobby=0, kitchen=3, cellar=0, attic=0)
    assert row(some, 3, columns=40) == " 1  2 kitchen (3)  3  4 attic"
    assert row(some, 3, columns=30) == " 1  2 kitchen (3)  3  4 attic"
    assert row(some, 3, columns=29) == " 2 kitchen (3)  4 attic"
    assert row(some, 3, columns=22) == " 2 kit… (3)  4 att…"
    assert row(some, 3, columns=22, encoding="ascii") == " 2 kit~ (3)  4 att~"
    assert row(some, 3, columns=16) == " 2 (3)  4 att…"
