from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from prompt_toolkit.input import PipeInput

from broadcast.client.completion import Known, LineCompleter
from broadcast.client.display import Line
from broadcast.client.history import TypedLines
from broadcast.client.screen import Screen
from tests.client.model import Model, played

LEFT, HOME, BACKSPACE, DELETE, UP, ENTER, TAB, SHIFT_TAB = (
    "\x1b[D", "\x01", "\x7f", "\x1b[3~", "\x1b[A", "\r", "\t", "\x1b[Z",
)  # fmt: skip
STATUS = " ann · 2 here · localhost:5555"
Scene = Callable[["Stage"], Coroutine[object, object, None]]


class Stage:
    """A screen on a model of a terminal, and a typist who remembers what happened."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model = model
        self.lines: list[str] = []
        self.left = 0
        self.refused = 0
        self.asked = ""
        self.on_the_way: list[Line] = []
        self.standing = True
        self.known = Known()
        self.history = TypedLines(folder / "history")
        self.keys: PipeInput
        self.screen: Screen

    def asking(self) -> bool:
        return bool(self.asked)

    def prompt(self) -> Line:
        return [("", self.asked or "> ")]

    def secret(self) -> bool:
        return self.asked == "Password: "

    def waiting(self) -> list[Line]:
        return self.on_the_way

    def status(self, columns: int) -> Line:
        return [("class:status", STATUS[: columns - 1])]

    def typed(self, text: str) -> str:
        if not self.standing:
            self.refused += 1
            return text
        self.lines += text.split("\n")
        self.history.append_string(text)
        return ""

    def leave(self) -> None:
        self.left += 1
        self.screen.stop()

    def type(self, text: str) -> None:
        self.keys.send_text(text)

    def say(self, *lines: str) -> None:
        for line in lines:
            self.screen.show([("", line)])


@pytest.fixture
def act(tmp_path: Path) -> Callable[..., Stage]:
    """Plays a scene on a screen, and gives back what is left."""

    def act(scene: Scene, model: Model | None = None, *, colored: bool = True) -> Stage:
        stage = Stage(model or Model(), tmp_path)

        async def play(keys: PipeInput) -> None:
            stage.keys = keys
            stage.screen = Screen(
                stage, LineCompleter(stage.known), stage.history, keys, stage.model.output(), colored=colored
            )
            running = asyncio.ensure_future(stage.screen.run())
            await asyncio.sleep(0)
            try:
                await scene(stage)
            finally:
                stage.screen.stop()
                await running

        played(play, stage.model)
        return stage

    return act


Act = Callable[..., Stage]


def test_what_arrives_scrolls_up_and_what_is_typed_stays_where_it_was(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        await stage.model.shows(">", STATUS)
        stage.type("half a li")
        await stage.model.shows("> half a li", STATUS)
        for number in range(200):
            stage.say(f"bob: line {number}")
            await asyncio.sleep(0)
        await stage.model.until(lambda: "bob: line 199" in stage.model.shown)
        await stage.model.until(lambda: stage.model.shown[-2:] == ["> half a li", STATUS])
        stage.type("ne" + LEFT * 4 + "X")
        await stage.model.until(lambda: "> half a Xline" in stage.model.shown)
        stage.type(ENTER)
        await stage.model.until(lambda: bool(stage.lines))

    stage = act(scene)
    assert stage.lines == ["half a Xline"]
    assert stage.model.everything == [f"bob: line {number}" for number in range(200)], "and nothing of the rest is left"


def test_long_lines_wrap_as_the_terminal_wraps_them(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.say("x" * 100)
        await stage.model.until(lambda: stage.model.shown == ["x" * 40, "x" * 40, "x" * 20, ">", STATUS])
        stage.type("y" * 60)
        await stage.model.shows("x" * 40, "x" * 40, "x" * 20, "> " + "y" * 38, "y" * 22, STATUS)
        stage.say("z")
        await stage.model.shows("x" * 40, "x" * 40, "x" * 20, "z", "> " + "y" * 38, "y" * 22, STATUS)

    act(scene, Model(40, 20))


def test_wide_and_combining_characters_are_edited_as_whole_letters(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.type("日本語cafe\u0301s" + LEFT * 2 + BACKSPACE + "F")
        await stage.model.until(lambda: any("日本語caF" in line for line in stage.model.shown))
        await stage.model.until(lambda: stage.model.cursor[0] == 2 + 6 + 3)
        stage.type(HOME + "\x1b[C" * 2 + DELETE + "x")
        await stage.model.until(lambda: stage.model.cursor[0] == 2 + 5)
        stage.type("\x05" + LEFT + "\x04" + ENTER)
        await stage.model.until(lambda: bool(stage.lines))

    assert act(scene).lines == ["日本xcaFe\u0301"]


def test_ctrl_c_clears_the_line_and_on_an_empty_line_leaves(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.type("oops")
        await stage.model.shows("> oops", STATUS)
        stage.type("\x03")
        await stage.model.shows(">", STATUS)
        assert not stage.left
        stage.type("\x03")
        await stage.model.until(lambda: bool(stage.left))

    assert act(scene).model.shown == [""]


def test_ctrl_d_deletes_in_a_line_and_leaves_on_an_empty_one(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.type("ab" + HOME + "\x04")
        await stage.model.shows("> b", STATUS)
        stage.type("\x04")
        await stage.model.shows(">", STATUS)
        assert not stage.left
        stage.type("\x04")
        await stage.model.until(lambda: bool(stage.left))

    act(scene)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_paste_of_several_lines_is_several_lines_and_its_last_one_can_be_edited(act: Act, end: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.type(f"well, \x1b[200~one{end}two\tb{end}{end}thr\x1b[201~ee")
        await stage.model.shows("> three", STATUS)

    assert act(scene).lines == ["well, one", "two b", ""]


def test_lines_that_cannot_be_sent_stay_in_the_line(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.standing = False
        stage.type("\x1b[200~one\ntwo\nthree\x1b[201~")
        await stage.model.shows("> one", "two", "three", STATUS)
        stage.type(ENTER)
        await stage.model.until(lambda: stage.refused == 2)
        await stage.model.shows("> one", "two", "three", STATUS)
        stage.standing = True
        stage.type(ENTER)
        await stage.model.shows(">", STATUS)

    assert act(scene).lines == ["one", "two", "three"]


def test_up_brings_back_what_was_typed_and_search_finds_it(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.type("first" + ENTER + "second" + ENTER)
        await stage.model.until(lambda: stage.lines == ["first", "second"])
        stage.type(UP)
        await stage.model.shows("> second", STATUS)
        stage.type(UP)
        await stage.model.shows("> first", STATUS)
        stage.type("\x03\x12")
        await stage.model.until(lambda: "I-search backward:" in "".join(stage.model.shown))
        stage.type("irs" + ENTER)
        await stage.model.shows("> first", STATUS)

    act(scene)


def test_what_answers_a_prompt_for_a_password_is_not_shown(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.asked = "Password: "
        stage.screen.refresh()
        stage.type("secret")
        await stage.model.shows("Password: ******", STATUS)
        stage.type(ENTER)
        await stage.model.until(lambda: stage.lines == ["secret"])

    assert "secret" not in act(scene).model.written


def test_tab_completes_and_offers_what_there_is(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.known.learn(["/nick NAME   another nickname", "/names   who is here"])
        stage.known.seen("bob")
        stage.type("bo" + TAB)
        await stage.model.shows("> bob:", STATUS)
        stage.type("\x03/" + TAB)
        await stage.model.until(lambda: len(stage.model.shown) == 4)
        assert stage.model.shown[0] == "> /n"
        assert "/nick NAME" in stage.model.shown[1]
        assert "another nickname" in stage.model.shown[1]
        stage.type(TAB * 2)
        await stage.model.until(lambda: stage.model.shown[0] == "> /names")
        stage.type(SHIFT_TAB)
        await stage.model.until(lambda: stage.model.shown[0] == "> /nick")

    act(scene)


def test_own_lines_on_their_way_stand_above_the_line_and_only_the_last_of_them(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.on_the_way = [[("class:waiting", f"ann: {number}")] for number in range(2)]
        stage.screen.refresh()
        await stage.model.shows("ann: 0", "ann: 1", ">", STATUS)
        stage.on_the_way = [[("class:waiting", f"ann: {number}")] for number in range(9)]
        stage.screen.refresh()
        await stage.model.shows("(6 more)", "ann: 6", "ann: 7", "ann: 8", ">", STATUS)
        stage.on_the_way = []
        stage.screen.refresh()
        await stage.model.until(lambda: ">" in stage.model.shown and STATUS in stage.model.shown)

    act(scene)


def test_nothing_that_is_shown_can_steer_the_terminal(act: Act) -> None:
    hostile = ("\x1b]52;c;ZXZpbA==\x07", "\x9b2J", "\x1b[2Jx", "\x07\x08\x0e", "\u202eevil", "a\nb\rc")

    async def scene(stage: Stage) -> None:
        stage.say(*hostile, "the end")
        await stage.model.until(lambda: "the end" in stage.model.shown)

    model = act(scene).model
    for text in ("\x1b]", "\x9b", "\x1b[2J", "\x07", "\x08", "\x0e", "\u202e", "a\n"):
        assert text not in model.written
    assert "\ufffd]52;c;ZXZpbA==\ufffd" in model.shown


def test_colors_are_shown_and_can_be_refused(act: Act) -> None:
    styles = []

    async def scene(stage: Stage) -> None:
        stage.screen.show([("#d75f00", "bob"), ("bold", " hi")])
        await stage.model.until(lambda: "bob hi" in stage.model.shown)
        styles.append((stage.model.style("bob"), stage.model.style(" hi")))

    act(scene)
    act(scene, colored=False)
    assert styles == [
        ({("d75f00", False, False)}, {("default", True, False)}),
        ({("default", False, False)}, {("default", True, False)}),
    ]


def test_what_was_typed_can_be_left_standing(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.echo([("", "/names")])
        await stage.model.shows("/names", ">", STATUS)

    act(scene)


def test_the_status_line_is_reversed_and_no_wider_than_its_text(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        await stage.model.shows(">", STATUS)
        assert stage.model.style(STATUS) == {("default", False, True)}

    act(scene)


def test_a_low_window_has_only_the_line_that_is_being_typed(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.on_the_way = [[("", "ann: hi")]]
        stage.type("hi")
        await stage.model.shows("> hi")
        for number in range(9):
            stage.say(f"bob: {number}")
        await stage.model.shows("bob: 6", "bob: 7", "bob: 8", "> hi")

    act(scene, Model(20, 4))


def test_a_bell_is_one_bell(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.ring()
        await stage.model.until(lambda: "\x07" in stage.model.written)

    assert act(scene).model.written.count("\x07") == 1


def test_the_terminal_is_never_asked_where_its_cursor_is(act: Act) -> None:
    """That costs a round trip each time, and what a slow terminal answers might be taken for something typed."""

    async def scene(stage: Stage) -> None:
        stage.say("hi")
        await stage.model.until(lambda: "hi" in stage.model.shown)

    written = act(scene).model.written
    assert "\x1b[6n" not in written
    assert "\x1b[?1049h" not in written


def test_what_came_last_is_shown_even_when_it_is_over(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        await stage.model.shows(">", STATUS)
        stage.say("one")
        stage.screen.stop()
        stage.say("two")

    assert act(scene).model.shown == ["one", "two"]


def test_the_end_of_the_input_is_told(tmp_path: Path) -> None:
    model = Model()
    stage = Stage(model, tmp_path)

    async def play(keys: PipeInput) -> None:
        stage.screen = Screen(stage, LineCompleter(stage.known), stage.history, keys, model.output(), colored=True)
        running = asyncio.ensure_future(stage.screen.run())
        await model.shows(">", STATUS)
        keys.close()
        with pytest.raises(EOFError):
            await running

    played(play, model)
