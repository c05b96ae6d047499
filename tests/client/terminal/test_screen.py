from __future__ import annotations

import asyncio

import msgspec
import pytest
from prompt_toolkit.completion import DummyCompleter
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput

from broadcast.client.protocol import errors, requests
from broadcast.client.session.conversation import State
from broadcast.client.session.questions import Question
from broadcast.client.terminal.bottom import reflows
from broadcast.client.terminal.rendering import Renderer
from broadcast.client.terminal.screen import Screen
from broadcast.client.terminal.scrolling import Pager
from tests.client.model import Model, played
from tests.client.session.fakes import NOW, Talk
from tests.client.terminal.stage import (
    CTRL_C,
    CTRL_D,
    CTRL_L,
    CTRL_N,
    CTRL_P,
    CTRL_R,
    END,
    ENTER,
    ESCAPE,
    HOME,
    PAGE_DOWN,
    PAGE_UP,
    SHIFT_TAB,
    STATUS,
    TAB,
    UP,
    Stage,
    act,
    numbered,
)  # fmt: skip

LEFT = "\x1b[D"


# What arrives


def test_lines_scroll_up_and_the_typed_line_stays_where_it_was() -> None:
    async def scene(stage: Stage) -> None:
        await stage.shows(">", STATUS)
        stage.type("half a li")
        await stage.shows("> half a li", STATUS)
        for number in range(1, 201):
            stage.lines(number, number)
            await asyncio.sleep(0)
        await stage.has("bob: line 200")
        await stage.model.until(lambda: stage.model.shown[-2:] == ["> half a li", STATUS])
        stage.type("ne" + LEFT * 4 + "X" + ENTER)
        await stage.model.until(lambda: bool(stage.server.server.requests))

    stage = act(scene)
    request = stage.server.server.requests[0]
    assert isinstance(request, requests.Say)
    assert request.text == "half a Xline"
    assert stage.model.everything == numbered(1, 200), "and nothing of the rest is left"


def test_long_lines_wrap_as_the_terminal_wraps_them() -> None:
    async def scene(stage: Stage) -> None:
        stage.say("x" * 95)
        await stage.model.until(lambda: stage.model.shown[:3] == ["bob: " + "x" * 35, "x" * 40, "x" * 20])
        stage.type("y" * 60)
        await stage.model.until(lambda: stage.model.shown[3:5] == ["> " + "y" * 38, "y" * 22])
        stage.say("z")
        await stage.model.until(lambda: stage.model.shown[3:6] == ["bob: z", "> " + "y" * 38, "y" * 22])

    act(scene, Model(40, 20))


def test_nothing_that_is_shown_can_control_the_terminal() -> None:
    hostile = ("\x1b]52;c;ZXZpbA==\x07", "\x9b2J", "\x1b[2Jx", "\x07\x08\x0e", "\u202eevil", "a\nb\rc")

    async def scene(stage: Stage) -> None:
        stage.say(*hostile, "the end")
        stage.talk.private_view("\x1b[2J")
        stage.talk.views[0].topic = "\x1b[2J"
        stage.talk.select(stage.talk.views[1])
        await stage.has("\ufffd]52;c;ZXZpbA==\ufffd".join(["bob: ", ""]), "@\ufffd[2J>")

    model = act(scene).model
    for text in ("\x1b]", "\x9b", "\x1b[2J", "\x07", "\x08\x0e", "\u202e", "a\n"):
        assert text not in model.written


def test_the_terminal_is_never_queried() -> None:
    """The answer of a slow terminal could be taken for typed text."""

    async def scene(stage: Stage) -> None:
        stage.say("hi")
        await stage.has("bob: hi")

    written = act(scene).model.written
    for query in ("\x1b[6n", "\x1b[c", "\x1b[>c", "\x1b[?2026$p"):
        assert query not in written
    assert "\x1b[?1049h" not in written


def test_entries_are_shown_even_when_the_screen_has_ended() -> None:
    async def scene(stage: Stage) -> None:
        await stage.shows(">", STATUS)
        stage.say("one")
        stage.screen.stop()
        stage.say("two")

    assert act(scene).model.shown == ["bob: one", "bob: two"]


def test_a_mention_rings_the_bell() -> None:
    async def scene(stage: Stage) -> None:
        stage.say("hi ann")
        await stage.has(">> bob: hi ann")

    assert act(scene).model.written.count("\x07") == 1


# States in words


def test_waiting_lines_are_below_the_transcript_with_a_sign_and_only_the_last_of_them() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("one" + ENTER + "two" + ENTER)
        await stage.shows("… one", "… two", ">", STATUS)
        stage.type("three" + ENTER + "four" + ENTER + "five" + ENTER)
        await stage.shows("(2 more, Ctrl-C cancels)", "… three", "… four", "… five", ">", STATUS)
        stage.server.store()
        await stage.shows("ann: one", "(1 more, Ctrl-C cancels)", "… three", "… four", "… five", ">", STATUS)
        while stage.server.server.requests:
            stage.server.store()
        await stage.shows("ann: one", "ann: two", "ann: three", "ann: four", "ann: five", ">", STATUS)

    act(scene, is_colored=False)


def test_ctrl_c_cancels_the_lines_that_are_not_sent_and_a_later_one_leaves() -> None:
    async def scene(stage: Stage) -> None:
        stage.talk._outbox.max_unanswered = 2
        stage.type("1\x1b\r2\x1b\r3\x1b\r4\x1b\r5" + ENTER)
        await stage.shows("(2 more, Ctrl-C cancels)", "… 3", "… 4", "… 5", ">", STATUS)
        stage.type(CTRL_C)
        await stage.shows(" * 3 lines were not sent. Up brings the text back.", "… 1", "… 2", ">", STATUS)
        stage.server.store()
        stage.server.store()
        assert not stage.server.server.requests
        stage.type(CTRL_C)
        await stage.has("Press Ctrl-C again to leave.")

    act(scene)


def test_the_status_line_shows_an_upload_and_ctrl_c_cancels_it() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("/upload a.txt" + ENTER)
        await stage.has("-> Uploading a.txt. Ctrl-C on an empty line cancels it.")
        stage.server.server.on_progress(50, 100)
        await stage.has(" ann · a.txt [#####.....] 50% · lobby · 2 here · localhost:5555")
        stage.type("half" + CTRL_C)
        await stage.has(">", " ann · a.txt [#####.....] 50% · lobby · 2 here · localhost:5555")
        stage.type(CTRL_C)
        await stage.has(" * The upload of a.txt is cancelled.", STATUS)

    act(scene, Model(80, 24))


def test_a_refused_line_is_marked_in_words_and_up_brings_it_back() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("no" + ENTER)
        await stage.has("… no")
        stage.server.server.answer(error=errors.Rejected(1001, "The disk is full.", {}))
        await stage.has("Not said: no -- The disk is full.")
        stage.type(UP)
        await stage.has("> no")

    act(scene, is_colored=False)


def test_the_status_line_says_that_the_server_is_slow_silent_or_gone() -> None:
    async def scene(stage: Stage) -> None:
        stage.talk.round_trip = 1.44
        stage.screen.update()
        await stage.has(" ann · 1.4 s · lobby · 2 here · localhost:5555")
        stage.talk.silence = 12.3
        stage.screen.update()
        await stage.has(" ann · no answer for 12 s · lobby · 2 here · localhost:5555")
        stage.talk.lost("the connection was closed", asyncio.get_running_loop().time() + 3.9)
        await stage.has(" * The connection was closed.")
        await stage.has(" ann · no connection, next try in 4 s · lobby · 2 here · localhost:5555")

    act(scene, is_colored=False)


def test_colors_can_be_refused() -> None:
    styles = []

    async def scene(stage: Stage) -> None:
        stage.say("hi ann")
        await stage.has(">> bob: hi ann")
        styles.append(stage.model.style("bob:"))

    act(scene)
    act(scene, is_colored=False)
    ((colored, *_),), ((plain, *_),) = styles
    assert colored != "default"
    assert plain == "default"


def test_an_encoding_without_the_signs_gets_others() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("hi" + ENTER)
        await stage.shows("... hi", ">", " ann | lobby | 2 here | localhost:5555")

    act(scene, encoding="ascii")


# Views


def test_views_have_a_line_with_unread_counts() -> None:
    async def scene(stage: Stage) -> None:
        await stage.shows(">", " 1 lobby  2 kitchen", STATUS)
        stage.lines(1, 3, "kitchen")
        await stage.shows(">", " 1 lobby  2 kitchen (3)", STATUS)
        stage.say("ann?", room="kitchen")
        await stage.shows(">", " 1 lobby  2 kitchen (4!)", STATUS)
        stage.type("\x1b2")
        await stage.shows(
            "=== kitchen (2 here) ===", "--- new ---", *numbered(1, 3), ">> bob: ann?",
            ">", " 1 lobby  2 kitchen", STATUS.replace("lobby", "kitchen"),
        )  # fmt: skip

    act(scene, None, "lobby", "kitchen")


@pytest.mark.parametrize(
    ("keys", "name"),
    [("\x1b3", "cellar"), ("\x1ba", "cellar"), (CTRL_N, "kitchen"), (CTRL_P, "cellar"), (CTRL_N * 3, "lobby")],
    ids=["Alt-3", "Alt-A", "Ctrl-N", "Ctrl-P", "Ctrl-N three times"],
)
@pytest.mark.parametrize("before", ["", PAGE_UP], ids=["typing", "scrolling"])
def test_a_key_shows_another_view(before: str, keys: str, name: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 1, "cellar")
        stage.type(before + keys)
        await stage.model.until(lambda: stage.view.name == name)
        await stage.model.until(lambda: any(line.startswith(f" ann · {name} ·") for line in stage.model.shown))
        stage.type("\x1b9")
        assert stage.screen.editor.buffer.text == ""

    assert act(scene, None, "lobby", "kitchen", "cellar").view.name == name


def test_a_switch_shows_all_unread_lines_and_fills_the_screen_with_older_ones() -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 30)
        stage.talk.select(stage.talk.views[1])
        stage.lines(31, 32)
        stage.talk.select(stage.talk.views[0])
        await stage.has("bob: line 32", "--- new ---")
        shown = stage.model.shown
        # One row more than the terminal has.
        assert shown == [*numbered(27, 30), "--- new ---", *numbered(31, 32), ">", " 1 lobby  2 kitchen", STATUS]
        stage.talk.select(stage.talk.views[1])
        stage.lines(33, 60)
        stage.talk.select(stage.talk.views[0])
        await stage.has("bob: line 60")

    everything = act(scene, Model(80, 10), "lobby", "kitchen").model.everything
    assert everything[-29:] == ["--- new ---", *numbered(33, 60)]


def test_a_low_terminal_has_all_rows_down_to_six() -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 1, "kitchen")
        stage.type("a draft of two rows")
        await stage.shows("> a draft of two row", "s", " 1 lob…  2 kit… (1)", " ann · lobby · 2 …")
        stage.lines(1, 9)
        await stage.shows(*numbered(8, 9), "> a draft of two row", "s", " 1 lob…  2 kit… (1)", " ann · lobby · 2 …")

    act(scene, Model(20, 6), "lobby", "kitchen")


def test_a_lower_terminal_has_only_the_typed_line() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("hi")
        await stage.shows("> hi")
        stage.lines(1, 9)
        await stage.shows(*numbered(7, 9), "> hi")

    act(scene, Model(20, 4), "lobby", "kitchen")


# Leaving and the nickname


def test_ctrl_c_clears_the_line_and_a_second_one_on_an_empty_line_leaves() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("oops")
        await stage.shows("> oops", STATUS)
        stage.type(CTRL_C)
        await stage.shows(">", STATUS)
        stage.type(CTRL_C)
        await stage.shows(">", "Press Ctrl-C again to leave.", STATUS)
        assert stage.talk.state is State.ONLINE
        stage.type(CTRL_C)
        await stage.model.until(lambda: stage.talk.state is State.LEAVING)

    assert act(scene).model.shown == [""]


def test_a_late_second_ctrl_c_is_a_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broadcast.client.terminal.screen.LEAVE_SECONDS", 0)

    async def scene(stage: Stage) -> None:
        stage.type(CTRL_C * 3 + "x")
        await stage.shows("> x", STATUS)
        assert stage.talk.state is State.ONLINE

    act(scene)


def test_ctrl_d_deletes_in_a_line_and_leaves_on_an_empty_one() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("ab\x01" + CTRL_D)
        await stage.shows("> b", STATUS)
        stage.type(CTRL_D)
        await stage.shows(">", STATUS)
        assert stage.talk.state is State.ONLINE
        stage.type(CTRL_D)
        await stage.model.until(lambda: stage.talk.state is State.LEAVING)

    act(scene)


def test_enter_takes_the_proposed_nickname() -> None:
    nicks: list[str] = []

    async def scene(stage: Stage) -> None:
        stage.talk.ask_nick(Question("ann", ()), "", nicks.append)
        await stage.shows("Nickname [ann]:", " localhost:5555")
        stage.type(ENTER)
        await stage.shows(">", " connecting · localhost:5555")

    act(scene, is_connected=False)
    assert nicks == ["ann"]


@pytest.mark.parametrize(("key", "nick"), [(TAB, "ann_"), (SHIFT_TAB, "ann2"), ("bob" + ENTER, "bob")])
def test_one_key_takes_another_nickname_for_a_refused_one(key: str, nick: str) -> None:
    nicks: list[str] = []

    async def scene(stage: Stage) -> None:
        stage.talk.ask_nick(Question("", ("ann_", "ann2")), "ann is taken.", nicks.append)
        await stage.shows("-> Error: ann is taken.", "Nickname (Tab: ann_, Shift-Tab: ann2):", " localhost:5555")
        stage.type(key)
        await stage.model.until(lambda: bool(nicks))

    act(scene, is_connected=False)
    assert nicks == [nick]


def test_the_end_of_the_input_is_an_error() -> None:
    model = Model()

    async def play(keys: PipeInput) -> None:
        talk = Talk().talk
        output = model.output()
        talk.choices["color"] = True
        screen = Screen(talk, Renderer(), DummyCompleter(), InMemoryHistory(), keys, output, server="localhost:5555")
        running = asyncio.ensure_future(screen.run())
        await model.shows(">", STATUS)
        keys.close()
        with pytest.raises(EOFError):
            await running

    played(play, model)


# Scrolling


def test_page_up_shows_older_lines_and_new_ones_move_nothing() -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 40)
        stage.type("draft")
        await stage.has("bob: line 40", "> draft")
        stage.type(PAGE_UP)
        await stage.shows(*numbered(25, 33), " lobby: PageUp, PageDown, End returns")
        stage.lines(41, 42)
        await stage.shows(*numbered(25, 33), " lobby, 2 new: PageUp, PageDown, End returns")
        stage.type(PAGE_DOWN)
        await stage.shows(*numbered(32, 40), " lobby, 2 new: PageUp, PageDown, End returns")
        stage.type(HOME)
        await stage.shows(
            "--- Tuesday, 2023-11-14 ---", *numbered(1, 8), " lobby, 2 new: PageUp, PageDown, End returns"
        )
        stage.type(END)
        await stage.has("bob: line 42", "> draft", STATUS)

    assert act(scene, Model(60, 10)).model.everything == numbered(1, 42), "the terminal's own scrollback is complete"


def test_rows_that_wait_for_the_end_of_scrolling_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broadcast.client.terminal.bottom.MAX_UNPRINTED", 50)
    monkeypatch.setattr("broadcast.client.terminal.scrolling.MAX_UNPRINTED", 50)

    async def scene(stage: Stage) -> None:
        stage.lines(1, 40)
        await stage.has("bob: line 40")
        stage.type(PAGE_UP)
        await stage.has(" lobby: PageUp, PageDown, End returns")
        stage.lines(41, 1_000)
        await stage.has(" lobby, 960 new: PageUp, PageDown, End returns")
        assert len(stage.screen._pager._entries) <= 51
        stage.type(END)
        await stage.has("bob: line 1000")

    left_out = " * 910 older rows are left out. PageUp shows the last ones."
    assert act(scene).model.everything == [*numbered(1, 40), left_out, *numbered(951, 1_000)]


def test_scrolling_reads_older_lines_from_the_server() -> None:
    async def scene(stage: Stage) -> None:
        stage.server.last["lobby"] = 300
        stage.lines(301, 310)
        stage.type(PAGE_UP)
        await stage.has(" lobby: PageUp, PageDown, End returns")
        (request,) = stage.server.server.requests
        assert request == requests.History("lobby", before=301, count=200)
        shown = stage.model.shown
        older = [{"method": "said", **line(number)} for number in range(101, 301)]
        stage.server.server.answer(requests.Lines(tuple(msgspec.Raw(msgspec.json.encode(event)) for event in older)))
        stage.type(PAGE_DOWN)
        await stage.shows(*shown)
        stage.type(PAGE_UP)
        await stage.shows(*numbered(295, 303), " lobby: PageUp, PageDown, End returns")
        assert not stage.server.server.requests
        stage.type(HOME)
        await stage.has("bob: line 101")
        assert stage.server.server.requests == [requests.History("lobby", before=101, count=200)]

    act(scene, Model(60, 10))


def test_a_search_reads_older_lines_from_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pager._find, "__defaults__", ("", 2))

    async def scene(stage: Stage) -> None:
        server = stage.server.server

        async def answer(first: int, last: int) -> None:
            await stage.model.until(lambda: bool(server.requests))
            assert server.requests == [requests.History("lobby", before=last + 1, count=200)]
            older = [{"method": "said", **line(number)} for number in range(first, last + 1)]
            server.answer(requests.Lines(tuple(msgspec.Raw(msgspec.json.encode(event)) for event in older)))

        stage.server.last["lobby"] = 1_000
        stage.lines(1_001, 1_010)
        stage.screen._search("line 333")
        await answer(801, 1_000)
        await answer(601, 800)
        await stage.has(' lobby, "line 333" not found in 410 rows, Ctrl-R goes on: End returns')
        assert not server.requests
        stage.type(CTRL_R)
        await answer(401, 600)
        await answer(201, 400)
        await stage.has("bob: line 333")
        assert not server.requests

    act(scene, Model(72, 10))


def line(number: int) -> dict[str, object]:
    """Return the members of a stored line of bob."""
    return {"room": "lobby", "seq": number, "at": NOW, "nick": "bob", "text": f"line {number}"}


@pytest.mark.parametrize("keys", [END, ENTER, ESCAPE, CTRL_C, PAGE_DOWN * 2], ids=repr)
def test_a_key_ends_scrolling_and_the_draft_is_unchanged(keys: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 40)
        stage.type("draft")
        await stage.has("> draft")
        stage.type(PAGE_UP)
        await stage.has(" lobby: PageUp, PageDown, End returns")
        stage.type(keys)
        await stage.has("> draft", STATUS, "bob: line 40")

    act(scene)


def test_typing_ends_scrolling() -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 40)
        await stage.has("bob: line 40")
        stage.type(PAGE_UP)
        await stage.has(" lobby: PageUp, PageDown, End returns")
        stage.type("hi")
        await stage.has("> hi", STATUS)

    act(scene)


def test_a_paste_ends_scrolling_and_goes_to_the_draft() -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 40)
        stage.type("draft " + PAGE_UP)
        await stage.has(" lobby: PageUp, PageDown, End returns")
        stage.type("\x1b[200~1\r2\r3\r4\r5\r6\r\x1b[201~")
        await stage.has("Send 6 lines? Enter sends, Esc edits.", STATUS)
        assert stage.screen.editor.buffer.text == "draft 1\n2\n3\n4\n5\n6"
        stage.type(CTRL_C + PAGE_UP)
        await stage.has(" lobby: PageUp, PageDown, End returns")
        stage.type("\x1b[200~one\rtwo\rrest\x1b[201~")
        await stage.has("… one", "… two", "> rest")

    act(scene)


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (80, ' lobby, "line 9" found, Ctrl-R finds the next: PageUp, PageDown, End returns'),
        (70, ' lobby, "line 9" found, Ctrl-R finds the next: End returns'),
        (20, ' "line: End returns'),
        (12, "End returns"),
    ],
)
def test_the_way_back_is_shown_on_each_width(columns: int, shown: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 40)
        stage.screen._search("line 9")
        await stage.model.until(lambda: stage.model.shown[-1] == shown)

    act(scene, Model(columns, 10))


def test_a_switch_ends_scrolling() -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 40)
        await stage.has("bob: line 40")
        stage.type(PAGE_UP)
        await stage.has(" lobby: PageUp, PageDown, End returns")
        stage.talk.select(stage.talk.views[1])
        await stage.has("=== kitchen (2 here) ===", STATUS.replace("lobby", "kitchen"))

    act(scene, None, "lobby", "kitchen")


# Changes of the terminal


def test_a_resize_leaves_no_old_rows() -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 40)
        stage.type("y" * 100)
        await stage.has("> " + "y" * 78, "y" * 22, STATUS)
        for columns, rows in ((40, 10), (120, 30), (80, 24)):
            stage.model.resize(columns, rows)
            stage.screen.app._on_resize()
            stage.lines(41, 41)
            await stage.has(("> " + "y" * 100)[:columns], STATUS)

    everything = act(scene).model.everything
    assert not [line for line in everything if line.startswith((">", "y", " ann"))]


def test_nothing_is_drawn_while_the_size_changes() -> None:
    async def scene(stage: Stage) -> None:
        await stage.shows(">", STATUS)
        stage.model.resize(60, 20)
        written = len(stage.model.written)
        stage.lines(1, 1)
        stage.type("x")
        await asyncio.sleep(0.1)
        assert len(stage.model.written) == written
        await stage.shows("bob: line 1", "> x", STATUS)

    act(scene)


def test_ctrl_l_draws_the_screen_again_and_loses_and_repeats_no_line() -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 40)
        stage.type("y" * 100)
        await stage.has("bob: line 40", "y" * 22)
        shown = stage.model.shown
        stage.model.write("\x1b[3;1Hgarbage\x1b[22;23H")
        stage.type(CTRL_L)
        await stage.shows(*shown)

    assert act(scene).model.everything == numbered(1, 40)


def test_ctrl_l_leaves_the_rows_above_the_client() -> None:
    async def scene(stage: Stage) -> None:
        stage.lines(1, 2)
        await stage.has("bob: line 2")
        stage.type(CTRL_L)
        await stage.shows("$ broadcast-client", *numbered(1, 2), ">", STATUS)

    model = Model()
    model.write("$ broadcast-client\r\n")
    act(scene, model)


def test_no_erasing_begins_in_the_first_column() -> None:
    """Or tmux would move the whole screen into its scrollback if it begins in the first row."""

    async def scene(stage: Stage) -> None:
        stage.lines(1, 2)
        await stage.has("bob: line 2")
        stage.type(CTRL_L + "x")
        await stage.has("> x")

    written = act(scene).model.written
    assert written.count("\x1b[J") == written.count("\x1b[C\x1b[J")
    assert "\x1b[2J" not in written


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm", "XTERM_VERSION": "XTerm(370)"}, False),
        ({"TERM": "tmux-256color", "XTERM_VERSION": "XTerm(370)"}, True),
        ({"TERM": "linux"}, False),
    ],
)
def test_most_terminals_wrap_rows_again(environment: dict[str, str], expected: bool) -> None:
    assert reflows(environment) is expected
