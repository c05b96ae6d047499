"""The line protocol as the pipe reads it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client.batch.line_protocol import MAX_LINE, NICKNAME, EchoFilter, Kind, Reader

CONVERSATION = (
    "Welcome to Broadcast.\r\nThe motd.\nNickname: -> Error: ann is taken.\r\nNickname:  * This takes a while.\r\n"
    " * You are ann2. 2 others are here: bob, zoë and 3 more. /help lists the commands.\r\n"
    "Nickname: \r\nbob: hi\r\n -> Error: no\r\n * Goodbye, ann2.\r\n"
).encode()
PARTS = [
    (Kind.NOTICE, "Welcome to Broadcast."),
    (Kind.NOTICE, "The motd."),
    (Kind.PROMPT, NICKNAME),
    (Kind.ERROR, "ann is taken."),
    (Kind.PROMPT, NICKNAME),
    (Kind.NOTICE, "This takes a while."),
    (Kind.ARRIVED, " * You are ann2. 2 others are here: bob, zoë and 3 more. /help lists the commands."),
    (Kind.OTHER, "Nickname: "),
    (Kind.OTHER, "bob: hi"),
    (Kind.OTHER, " -> Error: no"),
    (Kind.GOODBYE, " * Goodbye, ann2."),
]


def read(*chunks: bytes) -> list[tuple[Kind, str]]:
    reader = Reader()
    return [part for chunk in chunks for part in reader.feed(chunk)]


@given(st.lists(st.integers(0, len(CONVERSATION))))
def test_each_part_has_its_kind_however_the_output_is_cut(cuts: list[int]) -> None:
    positions = [0, *sorted(cuts), len(CONVERSATION)]
    assert read(*(CONVERSATION[first:last] for first, last in pairwise(positions))) == PARTS


@pytest.mark.parametrize("arrival", [" * You are ann. Nobody else is here.", " * You are a. 1 other is here: bob. Hi."])
def test_an_arrival_is_known(arrival: str) -> None:
    assert read(arrival.encode() + b"\r\n") == [(Kind.ARRIVED, arrival)]


@pytest.mark.parametrize(
    "line",
    [" * You are ann.", "bob:  * You are ann. Nobody else is here.", " * You are in kitchen. Nobody else is here."],
)
def test_other_lines_are_no_arrival(line: str) -> None:
    assert read(line.encode() + b"\r\n") == [(Kind.NOTICE, line.removeprefix(" * "))]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (" * Goodbye.", Kind.GOODBYE),
        (" * Goodbye, ann. See you.", Kind.GOODBYE),
        (" * Goodbye joined.", Kind.OTHER),
        (" * Goodbye2 left: bye.", Kind.OTHER),
        (" * Goodbye2 left (kicked by ann: spam)", Kind.OTHER),
        (" * Goodbye-ann is now ann.", Kind.OTHER),
        (" * Goodbye shared report.pdf (1.2 MB): http://chat.example/files/k3x/report.pdf", Kind.OTHER),
        (" * Goodbye. set the topic: Goodbye, all.", Kind.OTHER),
        ("bob:  * Goodbye, ann.", Kind.OTHER),
        ("** bob * Goodbye, ann.", Kind.OTHER),
    ],
)
def test_only_the_server_says_goodbye(line: str, kind: Kind) -> None:
    assert read(b" * You are ann. Nobody else is here.\r\n", line.encode() + b"\r\n")[1:] == [(kind, line)]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (" * You are in kitchen. 2 others are here: bob, carol.", Kind.MOVED),
        ("-> Error: you are in kitchen already.", Kind.MOVED),
        (" * You are ann. Nobody else is here.", Kind.OTHER),
        ("bob:  * You are in kitchen. Nobody else is here.", Kind.OTHER),
    ],
)
def test_only_the_server_says_that_the_client_has_moved(line: str, kind: Kind) -> None:
    assert read(b" * You are ann. Nobody else is here.\r\n", line.encode() + b"\r\n")[1:] == [(kind, line)]


@pytest.mark.parametrize("text", ["Nicknam", "Name: ", "-> Error: password: ", "Password"])
def test_other_unfinished_lines_are_no_prompt(text: str) -> None:
    assert read(text.encode()) == []


def test_an_endless_line_is_held_up_to_a_limit_and_the_next_one_is_whole() -> None:
    (_, long), next_one = read(*[b"x" * 30_000] * 3, b"\nnext\n")
    assert len(long) == MAX_LINE
    assert next_one == (Kind.NOTICE, "next")


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert read(b"caf\xe9\n") == [(Kind.NOTICE, "caf\ufffd")]


@pytest.mark.parametrize("size", range(1, 12))
def test_telnet_commands_about_the_echo_are_removed_however_they_are_cut(size: int) -> None:
    data = b"Nickname: \xff\xfb\x01Password: \xff\xfc\x01\r\n \xff\xfd\x01 \xff\xff\xfb\x01x"
    echo_filter = EchoFilter()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert b"".join(map(echo_filter.remove, chunks)) == b"Nickname: Password: \r\n \xff\xfd\x01 \xffx"
