from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from broadcast.client.protocol import events, requests
from broadcast.client.protocol.errors import ChatError
from broadcast.client.terminal import completion
from broadcast.client.terminal.completion import ConversationCompleter
from tests.client.session.fakes import NOW, Talk
from tests.platforms import set_home

HELP = (
    "/help [COMMAND]   lists the commands, or explains one",
    "/names   who is here",
    "/nick NAME   takes another nickname",
    "/msg NAME TEXT   private to one person",
    "/receipts [on/off]   tells the numbers of your lines",
    "/quiet [on/off]   hides who joins and leaves",
    "no command",
    "/roll DICE",
)


class Room(Talk):
    """A conversation with bob, Bert and carol in the lobby, and its completer."""

    def __init__(self, patch: pytest.MonkeyPatch, loop: asyncio.Runner) -> None:
        super().__init__("lobby")
        self.patch = patch
        self.loop = loop
        for nick in ("Bert", "carol"):
            self.talk.handle(events.Joined("lobby", nick, f"s-{nick}"))
        self.completer = ConversationCompleter(self.talk)

    def after(self, typed: str) -> list[str]:
        """Return what the text becomes with each completion, from what is known."""
        return became(typed, self.completer)

    def asked_after(self, typed: str, *answers: object) -> list[str]:
        """Return what the text becomes, if the server gives *answers* at once, and answers nothing else."""
        # Without an answer, the time-out is over at once.
        self.patch.setattr(completion, "PATIENCE", 60 if answers else 0)

        async def complete() -> list[str]:
            task = asyncio.ensure_future(collect(typed, self.completer))
            for answer in answers:
                while not self.server.requests:
                    await asyncio.sleep(0)
                self.server.answer(error=answer) if isinstance(answer, ChatError) else self.server.answer(answer)
            return await task

        return self.loop.run(complete())


def became(typed: str, completer: ConversationCompleter) -> list[str]:
    found = completer.get_completions(Document(typed), CompleteEvent())
    return [typed[: len(typed) + each.start_position] + each.text for each in found]


async def collect(typed: str, completer: ConversationCompleter) -> list[str]:
    found = completer.get_completions_async(Document(typed), CompleteEvent())
    return [typed[: len(typed) + each.start_position] + each.text async for each in found]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    with asyncio.Runner() as loop:
        yield Room(monkeypatch, loop)


def test_a_nickname_at_the_beginning_of_a_line_addresses_somebody(room: Room) -> None:
    assert sorted(room.after("b")) == ["Bert: ", "bob: "]
    assert room.after("one\nca") == ["one\ncarol: "]
    assert room.after("an") == []


def test_a_nickname_later_in_a_line_is_just_a_word(room: Room) -> None:
    assert room.after("I think CA") == ["I think carol "]
    assert room.after("//ca") == []
    assert room.after("/me thanks ca") == ["/me thanks carol "]


def test_people_who_spoke_last_come_first(room: Room) -> None:
    room.said("hello", "carol")
    room.said("hello", "Bert")
    assert room.after("/msg ") == ["/msg Bert ", "/msg carol ", "/msg bob "]


def test_nothing_is_offered_where_everything_would_fit(room: Room) -> None:
    assert room.after("") == []
    assert room.after("well ") == []
    assert room.after("/msg bob ") == []
    assert room.after("/back ") == []


def test_the_commands_of_the_client_are_known_before_there_is_a_connection(room: Room) -> None:
    assert room.after("/t") == ["/topic ", "/timestamp "]
    assert room.after("/BAC") == ["/back"]


def test_the_first_completion_of_a_command_asks_the_server(room: Room) -> None:
    assert room.asked_after("/n", requests.Output(HELP)) == ["/names", "/nick "]
    assert room.asked_after("/r") == ["/receipts ", "/roll ", "/reply ", "/register"]
    assert room.server.requests == []


def test_help_texts_are_those_of_the_server(room: Room) -> None:
    room.asked_after("/n", requests.Output((*HELP, "/evil   \x1b[2J")))
    found = {
        each.display_text: each.display_meta_text
        for each in room.completer.get_completions(Document("/"), CompleteEvent())
    }
    assert found["/msg NAME [TEXT]"] == "private to one person"
    assert found["/set [NAME [on/off]]"] == "shows the choices of this client, or changes one"
    assert found["/roll DICE"] == ""
    assert found["/evil"] == "\ufffd[2J"


def test_an_argument_of_a_command_of_the_client_needs_no_answer(room: Room) -> None:
    assert room.asked_after("/msg bo") == ["/msg bob "]
    assert room.server.requests == []


def test_without_an_answer_tab_offers_what_is_known(room: Room) -> None:
    assert room.asked_after("/ni") == ["/nick "]
    assert room.server.requests == [requests.Command("lobby", "/help")]
    room.server.answer(requests.Output(HELP))
    assert room.after("/na") == ["/names"]


def test_an_error_is_no_answer_and_the_next_completion_asks_again(room: Room) -> None:
    assert room.asked_after("/ni", ChatError("no")) == ["/nick "]
    assert room.asked_after("/na", requests.Output(HELP)) == ["/names"]


def test_rooms_are_asked_for_each_time(room: Room) -> None:
    summaries = (requests.RoomSummary("hall"), requests.RoomSummary("lobby"))
    assert room.asked_after("/join ", summaries) == ["/join hall", "/join lobby"]
    assert room.asked_after("/join ", (*summaries, requests.RoomSummary("attic"))) == [
        "/join hall",
        "/join lobby",
        "/join attic",
    ]
    assert room.asked_after("/JOIN h") == ["/JOIN hall"]


def test_the_joined_rooms_are_offered_without_an_answer(room: Room) -> None:
    room.talk.private_view("dave")
    assert room.after("/join ") == ["/join lobby"]
    assert room.after("/msg d") == ["/msg dave "]


def test_arguments_are_completed_by_the_usage_of_their_command(room: Room) -> None:
    room.asked_after("/", requests.Output(HELP))
    assert room.after("/help n") == ["/help /names", "/help /nick"]
    assert room.after("/help /ms") == ["/help /msg"]
    assert room.after("/QUIET o") == ["/QUIET on", "/QUIET off"]
    assert room.after("/receipts o") == ["/receipts on", "/receipts off"]
    assert room.after("/set ti") == ["/set times "]
    assert room.after("/set times ") == ["/set times on", "/set times off"]
    assert room.after("/nick b") == []
    assert room.after("/w ca") == ["/w carol "]
    assert room.after("/ignore ca") == ["/ignore carol "]
    assert room.after("/unignore ") == []
    room.talk.ignored["carol"] = "carol"
    assert room.after("/unignore ") == ["/unignore carol "]


def test_the_room_of_a_request_is_one_also_in_a_private_conversation(room: Room) -> None:
    room.talk.handle(events.Told(1, "bob", "s-bob", NOW, "psst"))
    room.talk.select(room.talk.private_view("bob"))
    room.asked_after("/n")
    assert room.server.requests == [requests.Command("lobby", "/help")]


def test_nothing_is_asked_without_a_connection(room: Room) -> None:
    room.talk.lost("the connection was lost", 0.0)
    assert room.asked_after("/join lo") == ["/join lobby"]
    assert room.server.requests == []


# Paths


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("report.pdf", "my notes.txt", "Readme", ".hidden"):
        (tmp_path / name).touch()
    if os.name != "nt":
        (tmp_path / "bell\x07").touch()
    (tmp_path / "papers" / "old").mkdir(parents=True)
    set_home(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(room: Room, typed: str) -> list[str]:
    return room.loop.run(collect(typed, room.completer))


def test_files_and_folders_are_offered_after_upload(room: Room, home: Path) -> None:
    assert paths(room, "/upload ") == [
        "/upload Readme", "/upload my notes.txt", "/upload papers/", "/upload report.pdf"
    ]  # fmt: skip
    assert paths(room, "/upload re") == ["/upload report.pdf"]
    assert paths(room, "/upload ~/p") == ["/upload ~/papers/"]
    assert paths(room, "/upload papers/") == ["/upload papers/old/"]
    for separator in ("/", os.sep):
        assert paths(room, f"/upload {home}{separator}R") == [f"/upload {home}{separator}Readme"]
    assert paths(room, "/upload .h") == ["/upload .hidden"]
    assert paths(room, "/upload /no/such/") == []
    if os.name != "nt":
        assert "/upload /etc/" in paths(room, "/upload /e")


@pytest.mark.usefixtures("home")
def test_a_path_with_blanks_is_completed_with_and_without_a_quote(room: Room) -> None:
    assert paths(room, "/upload my n") == ["/upload my notes.txt"]
    assert paths(room, '/upload "my n') == ['/upload "my notes.txt']
    assert paths(room, "/UPLOAD 'pap") == ["/UPLOAD 'papers/"]
    assert paths(room, "/upload a b") == []


@pytest.mark.usefixtures("home")
def test_a_large_folder_offers_only_its_first_files(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "MOST_PATHS", 2)
    assert paths(room, "/upload ") == ["/upload Readme", "/upload my notes.txt"]
