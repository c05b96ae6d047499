"""A program runs the commands of the line protocol that only answer."""

from __future__ import annotations

import pytest

from tests.doors.jsonrpc.programs import Program


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("/names", ["2 here: ann, bob"]),
        ("/WHO", ["2 here: ann, bob"]),
        ("/ping", ["pong"]),
        ("/version", ["broadcast 0.0"]),
        ("/motd", ["there is no message of the day."]),
        ("/history", ["nothing was said yet."]),
        ("/search x", ["nothing found."]),
        ("/help ping", ["/ping   answers pong"]),
    ],
)
def test_command_that_only_answers_has_the_lines_of_the_line_protocol(
    ann: Program, bob: Program, line: str, lines: list[str]
) -> None:
    assert ann.call("command", room="lobby", line=line)["lines"] == lines


def test_long_answer_of_a_command_is_cut_at_the_maximum_of_a_message(ann: Program) -> None:
    ann.say(*['"' * 4000] * 100)
    ann.read()
    found = ann.call("command", room="lobby", line="/history 100")["lines"]
    assert 20 < len(found) < 100


@pytest.mark.parametrize("line", ["/join x", "/nick x", "/msg bob x", "/quit", "/ignore", "/me x", "hi", "", "/x"])
def test_command_that_does_something_is_refused(ann: Program, line: str) -> None:
    assert ann.fail("command", room="lobby", line=line) == (-32602, None)


def test_the_reason_of_a_refusal_helps_people_and_programs(ann: Program) -> None:
    answers = [ann.request("command", room="lobby", line=line) for line in ("/x", "/JOIN kitchen")]
    texts = [answer["error"]["message"] for answer in answers]
    assert texts[0] == "There is no command /x. /help lists them."
    assert texts[1].startswith("/join is no command that only answers. Those are /files, /help, /history, ")


def test_wrong_command_is_an_error(ann: Program) -> None:
    assert ann.fail("command", room="lobby", line="/history x") == (-32602, None)
    assert ann.fail("command", room="kitchen", line="/names") == (1005, "not-in-room")
