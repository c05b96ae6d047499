from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.application import Application
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput
from prompt_toolkit.layout import ConditionalContainer, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.containers import AnyContainer
from prompt_toolkit.output.vt100 import Vt100_Output
from wcwidth import iter_graphemes

from broadcast.client.session.conversation import Conversation
from broadcast.client.session.questions import Question
from broadcast.client.terminal.editor import Editor, parts, size
from broadcast.client.terminal.graphemes import write_graphemes
from tests.client.model import Model, played

LEFT, RIGHT, UP, DOWN, HOME, END = "\x1b[D", "\x1b[C", "\x1b[A", "\x1b[B", "\x01", "\x05"
BACKSPACE, DELETE, ENTER, ALT_ENTER, ESCAPE, TAB = "\x7f", "\x1b[3~", "\r", "\x1b\r", "\x1b", "\t"
CTRL_C, CTRL_D, CTRL_R, ALT_BACKSPACE = "\x03", "\x04", "\x12", "\x1b\x7f"
FLAG, FAMILY, SKIN, ACCENT, JAMO = "🇩🇪", "👩\u200d👩\u200d👧", "👍🏽", "e\u0301", "\u1112\u1161\u11ab"
Scene = Callable[["Stage"], Coroutine[object, object, None]]


def pasted(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


class Stage:
    """An editor on a model of a terminal, and a conversation that takes the lines."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.lines: list[str] = []
        self.searched: list[str] = []
        self.line_bytes = 4096
        self.question: Question | None = None
        self.most = 1000
        """The most lines that can be sent at once."""
        self.history = InMemoryHistory()
        self.keys: PipeInput
        self.editor = Editor(
            cast("Conversation", self), WordCompleter(["hello"]), self.history, search_screen=self.searched.append
        )

    def must_hide(self, _line: str) -> bool:
        return False

    def submit(self, text: str) -> str:
        lines = text.split("\n")
        self.lines += lines[: self.most]
        return "\n".join(lines[self.most :])

    async def type(self, *keys: str) -> None:
        """Press *keys*, and wait until the editor has used them all."""
        self.keys.send_text("".join(keys))
        text = "\x1f"
        self.keys.send_text(text)  # Ctrl-_ is not used otherwise
        self.used = False
        await self.model.until(lambda: self.used)
        # One more redraw shows what the keys have changed.
        self.app.invalidate()
        await asyncio.sleep(0)
        await self.model.until(lambda: not self.app.invalidated)

    def application(self) -> Application[None]:
        hint = Window(FormattedTextControl(self.editor.hint), height=1)
        rows: list[AnyContainer] = [
            Window(self.editor.control, wrap_lines=True, dont_extend_height=True),
            self.editor.search,
            ConditionalContainer(hint, filter=Condition(lambda: bool(self.editor.hint()))),
        ]
        self.editor.key_bindings.add("c-_", is_global=True)(lambda _event: setattr(self, "used", True))
        self.app: Application[None] = Application(
            Layout(HSplit(rows)),
            key_bindings=self.editor.key_bindings,
            erase_when_done=True,
            max_render_postpone_time=None,
        )
        assert isinstance(self.app.output, Vt100_Output)
        self.app.output.enable_cpr = False
        write_graphemes(self.app.output)
        return self.app


def act(scene: Scene, columns: int = 80, rows: int = 24) -> Stage:
    """Play *scene* on an editor."""
    model = Model(columns, rows)
    stage = Stage(model)

    async def run(keys: PipeInput) -> None:
        stage.keys = keys
        app = stage.application()
        task = asyncio.ensure_future(app.run_async(set_exception_handler=False))
        await stage.model.shows(">")
        await scene(stage)
        app.exit()
        await task

    played(run, model)
    return stage


@pytest.mark.parametrize("grapheme", [FLAG, FAMILY, SKIN, ACCENT, JAMO, "日", "x"])
def test_the_cursor_and_the_deleting_keys_take_a_grapheme_as_one(grapheme: str) -> None:
    async def scene(stage: Stage) -> None:
        buffer = stage.editor.buffer
        text = f"a{grapheme}b"
        await stage.type(text, LEFT, LEFT)
        assert buffer.cursor_position == 1
        await stage.type(RIGHT)
        assert buffer.cursor_position == len(text) - 1
        await stage.type(BACKSPACE)
        assert buffer.text == "ab"
        await stage.type(grapheme, LEFT, DELETE)
        assert buffer.text == "ab"
        await stage.type(grapheme, LEFT, CTRL_D)
        assert buffer.text == "ab"

    act(scene)


@pytest.mark.parametrize(("grapheme", "width"), [(FLAG, 2), (FAMILY, 2), (SKIN, 2), (ACCENT, 1), (JAMO, 2), ("日", 2)])
def test_the_cursor_stands_where_its_user_sees_it(grapheme: str, width: int) -> None:
    async def scene(stage: Stage) -> None:
        await stage.type(f"a{grapheme}b")
        assert stage.model.cursor == (2 + 2 + width, 0)
        await stage.type(LEFT)
        assert stage.model.cursor == (2 + 1 + width, 0)
        await stage.type(LEFT)
        assert stage.model.cursor == (2 + 1, 0)
        await stage.type(DELETE)
        assert stage.model.shown == ["> ab"]

    act(scene)


def test_a_flag_can_be_typed_in_front_of_another_one() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("🇫🇷", LEFT, FLAG, "x")
        assert stage.editor.buffer.text == f"{FLAG}x🇫🇷"

    act(scene)


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", r"a\xe9\u65e5b"), ("latin-1", r"aé\u65e5b")])
def test_a_character_that_the_terminal_cannot_show_is_an_escape(encoding: str, shown: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.model.encoding = encoding
        await stage.type("aé日b")
        assert stage.model.shown == [f"> {shown}"]
        await stage.type(LEFT, LEFT)
        assert stage.model.cursor == (2 + shown.index(r"\u65e5"), 0)
        await stage.type(BACKSPACE, ENTER)
        assert stage.lines == ["a日b"]

    act(scene)


def test_a_grapheme_is_never_divided_by_the_end_of_a_row() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("x" * 17, FAMILY)
        assert stage.model.cursor == (2, 1)
        await stage.type(BACKSPACE)
        assert stage.model.cursor == (19, 0)

    act(scene, columns=20, rows=6)


def test_the_cursor_stands_right_also_in_the_search() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type(CTRL_R, FAMILY)
        assert stage.model.cursor == (len("Search: ") + 2, 1)

    act(scene)


def test_words_are_deleted_with_the_rest_of_their_graphemes() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type(f"one caf{ACCENT}", ALT_BACKSPACE)
        assert list(iter_graphemes(stage.editor.buffer.text))[-1] in {" ", "f"}

    act(scene)


def test_up_and_down_in_a_draft_do_not_stop_in_a_grapheme() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type(f"a{FAMILY}", ALT_ENTER, "abc", UP)
        assert stage.editor.buffer.cursor_position in {1, 6}
        await stage.type(DOWN, HOME, UP)
        assert stage.editor.buffer.cursor_position == 0

    act(scene)


def test_alt_enter_breaks_the_line_and_enter_sends_several_lines() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("one", ALT_ENTER, "two", "\x1b\n", ALT_ENTER, "thre", UP, UP, UP, END, "!", DOWN, DOWN, DOWN)
        await stage.type(END, "e")
        assert stage.model.shown == ["> one!", "two", "", "three"]
        await stage.type(ENTER)
        assert stage.lines == ["one!", "two", "three"]
        assert stage.editor.buffer.text == ""
        await stage.type(UP)
        assert stage.editor.buffer.text == "one!\ntwo\nthree"

    act(scene)


def test_up_and_down_reach_the_history_at_the_ends_of_a_draft() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("old", ENTER, "one", ALT_ENTER, "two", UP)
        assert stage.editor.buffer.document.cursor_position_row == 0
        await stage.type(UP)
        assert stage.editor.buffer.text == "old"
        await stage.type(DOWN)
        assert stage.editor.buffer.text == "one\ntwo"

    act(scene)


def test_a_short_paste_is_sent_but_for_its_last_line() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("sa", pasted("y"), " ", pasted("one\r\ntwo\rthree\nrest\tx"))
        assert stage.lines == ["say one", "two", "three"]
        assert stage.editor.buffer.text == "rest x"

    act(scene)


def test_a_paste_of_many_lines_asks_first() -> None:
    lines = [f"line {number}" for number in range(12)]

    async def scene(stage: Stage) -> None:
        await stage.type(pasted("\n".join(lines) + "\n"))
        assert stage.lines == []
        assert stage.model.shown[-1] == "Send 12 lines? Enter sends, Esc edits."
        await stage.type(ENTER)
        assert stage.lines == lines
        assert stage.model.shown == [">"]

    act(scene)


def test_escape_keeps_a_paste_in_the_draft_for_editing() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("x ", pasted("1\n2\n3\n4\n5\n6"), ESCAPE)
        await stage.model.until(lambda: not stage.editor.hint())
        assert stage.editor.buffer.text == "x 1\n2\n3\n4\n5\n6"
        await stage.type("!", ENTER)
        assert stage.lines == ["x 1", "2", "3", "4", "5", "6!"]

    act(scene)


def test_to_change_a_paste_answers_the_question() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type(pasted("1\n2\n3\n4\n5\n6"), BACKSPACE)
        assert stage.editor.hint() == ""

    act(scene)


def test_five_lines_with_an_end_are_sent_at_once_and_six_are_not() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type(pasted("1\n2\n3\n4\n5\nrest"))
        assert stage.lines == []
        assert stage.editor.hint() == "Send 6 lines? Enter sends, Esc edits."
        await stage.type(CTRL_C)
        await stage.type(pasted("1\n2\n3\n4\n5\n"))
        assert len(stage.lines) == 5
        await stage.type(pasted("1\n2\n3\n4\n5\n6\n"))
        assert len(stage.lines) == 5

    act(scene)


def test_a_long_draft_counts_its_bytes_and_is_sent_in_parts() -> None:
    async def scene(stage: Stage) -> None:
        stage.line_bytes = 20
        await stage.type("some words and more words")
        assert stage.model.shown[-1] == "25/20 bytes. Enter sends 2 parts."
        await stage.type(ENTER)
        assert stage.lines == ["some words and", "more words"]
        await stage.type(UP)
        assert stage.editor.buffer.text == "some words and more words"

    act(scene)


def test_a_pasted_line_that_is_too_long_is_not_sent_at_once() -> None:
    async def scene(stage: Stage) -> None:
        stage.line_bytes = 20
        await stage.type(pasted("some words and more words\n"))
        assert stage.lines == []
        assert stage.editor.hint() == "25/20 bytes. Enter sends 2 parts."

    act(scene)


def test_a_command_that_is_too_long_stays_in_the_draft() -> None:
    async def scene(stage: Stage) -> None:
        stage.line_bytes = 20
        await stage.type("/topic some words and more words", ENTER)
        assert stage.lines == []
        assert stage.editor.hint() == "32/20 bytes. Shorten the command."
        assert stage.editor.buffer.text == "/topic some words and more words"

    act(scene)


def test_lines_that_cannot_be_sent_stay_in_the_draft() -> None:
    async def scene(stage: Stage) -> None:
        stage.most = 0
        await stage.type(pasted("one\ntwo\nthree"), ENTER)
        assert stage.editor.buffer.text == "one\ntwo\nthree"
        assert list(stage.history.get_strings()) == []

    act(scene)


def test_an_answer_is_not_stored_and_may_be_empty() -> None:
    async def scene(stage: Stage) -> None:
        stage.question = Question("", ())
        await stage.type("ann", ENTER, ENTER, "hel", TAB)
        assert stage.lines == ["ann", ""]
        assert list(stage.history.get_strings()) == []
        assert stage.editor.buffer.text == "hel"
        stage.question = None
        await stage.type("lo", ENTER, ENTER)
        assert list(stage.history.get_strings()) == ["hello"]
        assert stage.lines[2:] == ["hello"]

    act(scene)


def test_a_paste_into_an_answer_or_a_search_is_one_line() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("deploy now", ENTER)
        await stage.type(CTRL_R, pasted("deploy\nnow\n"), ENTER)
        assert stage.editor.buffer.text == "deploy now"
        await stage.type(CTRL_C)
        stage.question = Question("", ())
        await stage.type(pasted("an\n"), "n", ENTER)
        assert stage.lines == ["deploy now", "ann"]

    act(scene)


def test_lines_that_were_sent_before_a_failure_do_not_stay() -> None:
    async def scene(stage: Stage) -> None:
        stage.line_bytes = 12
        stage.most = 2
        await stage.type("one", ALT_ENTER, "some words and more", ENTER)
        assert stage.lines == ["one", "some"]
        assert stage.editor.buffer.text == "words\nand\n/say more"

    act(scene)


def test_ctrl_c_clears_the_draft() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("one", ALT_ENTER, "two", CTRL_C)
        assert stage.editor.buffer.text == ""

    act(scene)


def test_ctrl_r_finds_typed_lines_and_its_second_press_searches_the_screen() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("the first", ENTER, "second", ENTER)
        await stage.type(CTRL_R, "fir", ENTER)
        assert stage.editor.buffer.text == "the first"
        assert stage.editor.hint() == ""
        await stage.type(CTRL_C, CTRL_R, "sec")
        assert stage.model.shown[1:] == ["Search: sec", "Ctrl-R searches the screen."]
        await stage.type(CTRL_R)
        assert stage.searched == ["sec"]

    act(scene)


def test_a_search_asks_for_a_text_and_says_that_nothing_is_found() -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("the first", ENTER, CTRL_R, CTRL_R)
        assert stage.searched == []
        assert stage.model.shown[-1] == "Type a text to search for."
        await stage.type("FIR")
        assert stage.model.shown[-1] == "Ctrl-R searches the screen."
        await stage.type("x")
        assert stage.model.shown[-1] == "Not found. Ctrl-R searches the screen."

    act(scene)


def test_a_part_is_divided_at_a_blank_and_a_command_begins_each_part() -> None:
    assert [*parts("one two or three", 14)] == ["one two", "or three"]
    assert [*parts("/me waves to all of them", 14)] == ["/me waves to", "/me all of", "/me them"]
    assert [*parts("/msg bob some words", 15)] == ["/msg bob some", "/msg bob words"]
    assert [*parts("short", 8)] == ["short"]


def test_a_later_part_never_becomes_a_command() -> None:
    assert [*parts("please type /quit now", 17)] == ["please type", "/say /quit now"]
    assert [*parts("and the word is quit", 19)] == ["and the word", "is quit"]
    assert [*parts("x" * 20, 15)] == ["x" * 10, "/say " + "x" * 10]
    assert [*parts("//x //yyyyyyyyy z", 16)] == ["//x", "/say //yyyyyyyyy", "/say z"]


@given(st.text(st.characters(exclude_characters="\n/"), min_size=1), st.integers(min_value=40, max_value=60))
def test_no_part_is_too_long_and_nothing_is_lost(text: str, limit: int) -> None:
    found = [*parts(text, limit)]
    assert all(size(part) <= limit for part in found)
    said = [found[0], *(part.removeprefix("/say ") for part in found[1:])]
    at = 0
    for part, following in pairwise([*said, None]):
        assert part is not None
        assert text.startswith(part, at)
        at += len(part)
        at += following is not None and text[at] == " " and not text.startswith(following, at)
    assert at == len(text)


def test_a_grapheme_is_never_divided_between_parts() -> None:
    found = [*parts(FAMILY * 10, 60)]
    assert all(set(iter_graphemes(part.removeprefix("/say "))) == {FAMILY} for part in found)
