from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.task import Clock

from broadcast.client.completion import Known
from broadcast.client.connection import Connection
from broadcast.client.conversation import Conversation
from broadcast.client.display import Line
from broadcast.client.lines import Answer, Emoted, Entered, Error, Event, Joined, Left, Notice, Renamed, Said, Whispered

SERVER = "localhost:5555"


class Display:
    """A terminal that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bells = 0
        self.stopped = False
        self.refreshed = 0

    def show(self, *lines: Line) -> None:
        self.lines += ["".join(piece[1] for piece in line) for line in lines]

    def echo(self, line: Line) -> None:
        self.show(line)

    def refresh(self) -> None:
        self.refreshed += 1

    def ring(self) -> None:
        self.bells += 1

    def stop(self) -> None:
        self.stopped = True

    async def run(self) -> None:
        raise NotImplementedError


class Place:
    """A connection that remembers what it was asked for."""

    def __init__(self) -> None:
        self.nick = ""
        self.here = 0
        self.room = ""
        self.away = False
        self.standing = False
        self.done: list[str] = []

    def propose(self, nick: str) -> None:
        self.done.append(f"propose {nick}")

    def say(self, line: str) -> bool:
        if self.standing:
            self.done.append(line)
        return self.standing

    def leave(self) -> None:
        self.done.append("leave")


class Stage:
    def __init__(self, *, bell: bool = True) -> None:
        self.clock = Clock()
        self.known = Known()
        self.kept: list[str] = []
        self.talk = Conversation(SERVER, "user", self.known, self.kept.append, self.clock, bell=bell)
        self.display = Display()
        self.place = Place()
        self.talk.display = self.display
        self.talk.connection = cast(Connection, self.place)

    def arrive(self, nick: str = "ann", *others: str, again: bool = False) -> None:
        self.place.nick = nick
        self.place.standing = True
        self.place.here = len(others) + 1
        self.talk.arrived(nick, others, len(others), again=again)
        self.talk.changed()

    def settle(self) -> None:
        """Let the quiet question be asked and answered."""
        self.clock.advance(0)
        self.show(Answer("/names   who is here"), Answer("pong"))
        self.display.lines.clear()
        self.place.done.clear()

    def show(self, *events: Event) -> None:
        for event in events:
            self.talk.shown(event)

    @property
    def prompt(self) -> str:
        return "".join(piece[1] for piece in self.talk.prompt())

    @property
    def status(self) -> str:
        return self.status_for(80)

    def status_for(self, columns: int) -> str:
        return "".join(piece[1] for piece in self.talk.status(columns))

    @property
    def waiting(self) -> list[str]:
        return ["".join(piece[1] for piece in line) for line in self.talk.waiting()]


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def there() -> Stage:
    """Somebody in the room."""
    stage = Stage()
    stage.arrive("ann", "bob")
    stage.settle()
    return stage


# The nickname


def test_the_name_of_the_user_is_proposed_as_a_nickname(stage: Stage) -> None:
    assert stage.talk.nickname_wanted("", "") is None
    assert stage.prompt == "Nickname [user]: "
    assert stage.talk.asking()
    assert not stage.talk.secret()
    assert stage.talk.typed("") == ""
    assert stage.place.done == ["propose user"]


def test_another_nickname_can_be_typed_and_is_in_no_history(stage: Stage) -> None:
    stage.talk.nickname_wanted("", "")
    stage.talk.typed(" ann ")
    assert stage.place.done == ["propose ann"]
    assert stage.display.lines == ["Nickname: ann"]
    assert stage.kept == []
    assert stage.prompt == "> "


def test_a_refused_nickname_is_asked_for_again_with_the_reason(stage: Stage) -> None:
    stage.talk.nickname_wanted("", "")
    stage.talk.typed("")
    stage.talk.nickname_wanted("user", "user is taken.")
    assert stage.display.lines[-1] == "-> Error: user is taken."
    assert stage.prompt == "Nickname: "
    stage.talk.typed("")
    assert stage.prompt == "Nickname: ", "an empty line proposes nothing now"
    stage.talk.typed("ann")
    assert stage.place.done == ["propose user", "propose ann"]


@pytest.mark.parametrize("word", ["quit", "Exit"])
def test_quit_at_the_prompt_for_the_nickname_leaves(stage: Stage, word: str) -> None:
    stage.talk.nickname_wanted("", "")
    stage.talk.typed(word)
    assert stage.place.done == ["leave"]


def test_what_is_pasted_behind_the_nickname_stays_until_one_is_there(stage: Stage) -> None:
    stage.talk.nickname_wanted("", "")
    assert stage.talk.typed("ann\nhello\nworld") == "hello\nworld"
    assert stage.place.done == ["propose ann"]


def test_what_answers_another_prompt_is_hidden_and_in_no_history(stage: Stage) -> None:
    stage.place.standing = True
    stage.talk.asked("Password: ")
    assert stage.prompt == "Password: "
    assert stage.talk.secret()
    stage.talk.typed("hunter2")
    assert stage.place.done == ["hunter2"]
    assert stage.kept == []
    assert stage.display.lines == []
    assert not stage.talk.secret()


def test_a_prompt_cannot_steer_the_terminal(stage: Stage) -> None:
    stage.talk.asked("\x1b[2JPassword: ")
    assert "\x1b" not in stage.prompt


# Talking


def test_the_arrival_is_shown_with_what_to_do_next(stage: Stage) -> None:
    stage.arrive("ann", "bob")
    assert stage.display.lines == [" * You are ann. 1 other is here: bob. /help helps, Ctrl-D leaves."]
    assert stage.known.nicknames == ["bob"]
    assert stage.known.own == "ann"


def test_what_is_said_is_on_its_way_until_it_is_kept_and_then_shown_as_the_others_see_it(there: Stage) -> None:
    assert there.talk.typed("hi") == ""
    assert there.place.done == ["hi"]
    assert there.waiting == ["ann: hi"]
    assert there.display.lines == []
    there.show(Said("ann", "hi", own=True))
    assert there.waiting == []
    assert there.display.lines == ["ann: hi"]
    assert there.kept == ["hi"]


def test_a_command_is_shown_as_it_was_typed(there: Stage) -> None:
    there.talk.typed("/names")
    there.show(Answer("2 here: ann, bob"))
    assert there.display.lines == ["/names", "-> 2 here: ann, bob"]
    assert there.waiting == []


def test_a_line_that_is_not_kept_is_marked(there: Stage) -> None:
    there.talk.typed("one\ntwo")
    there.show(Error("not kept: the disk is full."), Said("ann", "two", own=True))
    assert there.display.lines == ["Not kept: ann: one", "-> Error: not kept: the disk is full.", "ann: two"]
    assert there.waiting == []


def test_lines_that_were_lost_with_the_connection_are_marked(there: Stage) -> None:
    there.talk.typed("one\n/me waves")
    there.talk.unsaid(["one", "/me waves"])
    assert there.display.lines == ["Perhaps not kept: ann: one", "Perhaps not kept: ** ann waves"]
    assert there.waiting == []


def test_lines_that_are_on_their_way_at_the_end_are_marked(there: Stage) -> None:
    there.talk.typed("one")
    there.talk.ended(4, "the connection was lost.")
    assert there.display.lines == ["Perhaps not kept: ann: one", " * The connection was lost."]
    assert there.display.stopped
    assert there.talk.over
    assert there.talk.status_at_end == 4


def test_a_good_end_needs_no_words(there: Stage) -> None:
    there.talk.ended(0, "")
    assert there.display.lines == []
    assert there.talk.status_at_end == 0


def test_a_line_without_a_connection_stays_and_rings(there: Stage) -> None:
    there.place.standing = False
    assert there.talk.typed("hi") == "hi"
    assert there.talk.typed("/names") == "/names"
    assert there.display.bells == 2
    assert there.waiting == there.display.lines == there.kept == []


def test_a_line_that_no_server_takes_stays_and_says_why(there: Stage) -> None:
    long = "é" * 2049
    assert there.talk.typed(long) == long
    assert there.display.lines == ["-> Error: a line holds at most 4096 bytes."]
    assert there.talk.typed("é" * 2048) == ""


def test_an_empty_line_says_nothing(there: Stage) -> None:
    assert there.talk.typed("") == there.talk.typed("   ") == ""
    assert there.place.done == there.kept == []


def test_the_welcome_is_shown_bare_and_an_announcement_as_one(stage: Stage) -> None:
    stage.show(Notice("Welcome to Broadcast."))
    stage.arrive()
    stage.show(Notice("The server is going down."))
    assert stage.display.lines[0] == "Welcome to Broadcast."
    assert stage.display.lines[-1] == " * The server is going down."


# The quiet question


def test_the_commands_are_learnt_without_a_word_and_only_once(stage: Stage) -> None:
    stage.arrive()
    stage.display.lines.clear()
    stage.clock.advance(0)
    assert stage.place.done == ["/help", "/ping"]
    stage.show(Answer("/names   who is here"), Said("bob", "hi"), Answer("/me TEXT   acts"), Answer("pong"))
    stage.show(Answer("the next answer"))
    assert stage.display.lines == ["bob: hi", "-> the next answer"]
    assert list(stage.known.commands) == ["/names", "/me"]
    stage.place.done.clear()
    stage.arrive(again=True)
    stage.clock.advance(0)
    assert stage.place.done == []


def test_a_server_without_these_commands_refuses_them_without_a_word(stage: Stage) -> None:
    stage.arrive()
    stage.clock.advance(0)
    stage.display.lines.clear()
    stage.show(Error("unknown command /help."), Error("not kept: full"), Error("unknown command /ping."), Answer("x"))
    assert stage.display.lines == ["-> Error: not kept: full", "-> x"]


def test_a_server_that_never_ends_its_answer_is_shown_again_at_some_time(stage: Stage) -> None:
    stage.arrive()
    stage.clock.advance(0)
    stage.display.lines.clear()
    stage.show(*(Answer(f"line {number}") for number in range(2000)))
    assert stage.display.lines


def test_what_is_learnt_cannot_steer_the_terminal(stage: Stage) -> None:
    stage.arrive()
    stage.clock.advance(0)
    stage.show(Answer("/x\x1b[2J   \x9bhelp"), Answer("pong"))
    (command,) = stage.known.commands.values()
    assert "\x1b" not in command.word + command.help
    assert "\x9b" not in command.word + command.help


def test_who_has_gone_again_at_once_is_asked_nothing(stage: Stage) -> None:
    stage.arrive()
    stage.place.standing = False
    stage.clock.advance(0)
    assert stage.place.done == []


def test_a_question_whose_answer_was_lost_is_asked_again(stage: Stage) -> None:
    stage.arrive()
    stage.clock.advance(0)
    stage.place.standing = False
    stage.talk.lost("the connection broke", 1.0)
    stage.place.done.clear()
    stage.arrive(again=True)
    stage.clock.advance(0)
    assert stage.place.done == ["/help", "/ping"]


# Bells


@pytest.mark.parametrize(
    ("event", "bells"),
    [
        (Whispered("bob", "psst"), 1),
        (Said("bob", "hello Ann"), 1),
        (Emoted("bob", "pokes ann"), 1),
        (Said("bob", "hello"), 0),
        (Said("ann", "I am ann", own=True), 0),
        (Joined("bob"), 0),
        (Answer("ann"), 0),
    ],
)
def test_the_bell_rings_when_somebody_writes_to_you_or_names_you(there: Stage, event: Event, bells: int) -> None:
    there.show(event)
    assert there.display.bells == bells


def test_the_bell_can_be_refused() -> None:
    stage = Stage(bell=False)
    stage.arrive()
    stage.show(Whispered("bob", "psst"), Said("bob", "ann!"))
    assert stage.display.bells == 0


def test_what_was_said_before_you_came_does_not_ring(stage: Stage) -> None:
    stage.arrive()
    stage.show(Said("bob", "ann?", "14:02"), Emoted("bob", "misses ann", "14:02"))
    assert stage.display.bells == 0
    stage.show(Said("bob", "ann!"), Said("bob", "ann, with times on", "14:03"))
    assert stage.display.bells == 2


def test_what_was_said_while_the_connection_was_lost_rings(there: Stage) -> None:
    there.arrive(again=True)
    there.show(Said("bob", "ann?", "14:02"))
    assert there.display.bells == 1


# Who is known


def test_nicknames_are_learnt_from_whatever_happens(there: Stage) -> None:
    there.show(Said("carol", "hi"), Joined("dave"), Emoted("eve", "waves"), Whispered("frank", "psst"))
    assert there.known.nicknames == ["frank", "eve", "dave", "carol", "bob"]
    there.show(Left("eve", ""), Renamed("dave", "david"))
    assert there.known.nicknames == ["david", "frank", "carol", "bob"]


def test_a_new_nickname_of_your_own_is_noticed(there: Stage) -> None:
    there.place.nick = "anna"
    there.talk.changed()
    assert there.known.own == "anna"
    assert there.status.startswith(" anna ")


# The status line


def test_the_status_line_says_who_where_and_how_many(there: Stage) -> None:
    assert there.status == " ann · 2 here · localhost:5555 "


def test_the_status_line_names_a_room_that_is_not_the_first_one(there: Stage) -> None:
    there.place.room = "kitchen"
    assert there.status == " ann · kitchen · 2 here · localhost:5555 "


def test_the_people_of_another_room_are_known(there: Stage) -> None:
    there.show(Entered("kitchen", ("eve",), 1))
    assert there.display.lines == [" * You are in kitchen. 1 other is here: eve."]
    assert there.known.nicknames[0] == "eve"


def test_the_status_line_says_that_one_is_away(there: Stage) -> None:
    there.place.away = True
    assert there.status == " ann (away) · 2 here · localhost:5555 "


def test_the_status_line_says_no_number_that_nobody_knows(there: Stage) -> None:
    there.place.here = 0
    assert there.status == " ann · localhost:5555 "


def test_the_status_line_says_that_there_is_no_connection_yet(stage: Stage) -> None:
    stage.talk.connecting(1)
    assert stage.status == " connecting · localhost:5555 "
    stage.talk.nickname_wanted("", "")
    assert stage.status == " connected · localhost:5555 "


def test_the_status_line_counts_down_to_the_next_attempt(there: Stage) -> None:
    there.place.standing = False
    there.talk.lost("the connection broke.", 2.5)
    assert there.display.lines == [" * The connection broke."]
    assert there.status == " no connection, next try in 3 s · localhost:5555 "
    before = there.display.refreshed
    there.clock.advance(1)
    assert there.status == " no connection, next try in 2 s · localhost:5555 "
    assert there.display.refreshed > before
    there.clock.pump([1, 1])
    assert there.status == " no connection, next try in 1 s · localhost:5555 "
    there.talk.connecting(1)
    assert there.status == " connecting again · localhost:5555 "
    there.talk.lost("it does not answer", 4.0)
    assert len(there.display.lines) == 1, "a failed attempt is no second loss"
    there.arrive(again=True)
    assert there.status == " ann · 1 here · localhost:5555 "
    there.clock.advance(9)
    assert there.clock.getDelayedCalls() == []


def test_no_attempt_follows_where_none_is_wanted(there: Stage) -> None:
    there.place.standing = False
    there.talk.lost("the connection broke", None)
    assert there.status == " no connection · localhost:5555 "
    assert there.clock.getDelayedCalls() == []


@pytest.mark.parametrize("columns", [1, 2, 10, 20, 31, 32, 40, 80])
def test_the_status_line_is_no_wider_than_the_terminal(there: Stage, columns: int) -> None:
    there.place.nick = "ann"
    status = there.status_for(columns)
    assert len(status) <= max(columns - 1, 1)
    assert (status == " ann · 2 here · localhost:5555 ") is (columns > 31)


def test_a_nickname_cannot_steer_the_terminal(there: Stage) -> None:
    there.place.nick = "a\x1b[2Jb"
    assert "\x1b" not in there.status


# Leaving


def test_leaving_is_said_and_the_second_time_does_not_wait(there: Stage) -> None:
    there.talk.leave()
    assert there.place.done == ["leave"]
    assert there.status == " ann · 2 here · leaving · localhost:5555 "
    assert not there.display.stopped
    there.talk.leave()
    assert there.place.done == ["leave"]
    assert there.display.stopped


def test_a_connection_that_ends_because_one_leaves_is_not_lost(there: Stage) -> None:
    there.talk.leave()
    there.place.standing = False
    there.show(Notice("Goodbye, ann."))
    there.talk.lost("the server closed the connection", 1.0)
    assert there.display.lines == [" * Goodbye, ann."]
    assert there.status == " leaving · localhost:5555 "
    assert there.clock.getDelayedCalls() == []


def test_leaving_while_there_is_no_connection_ends_the_countdown(there: Stage) -> None:
    there.place.standing = False
    there.talk.lost("the connection broke", 60.0)
    there.talk.leave()
    assert there.status == " leaving · localhost:5555 "
