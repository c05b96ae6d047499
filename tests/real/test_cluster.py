"""Several installed servers with one database: people on all of them are in one chat."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests.browser.people import Person, Program
from tests.postgres import PostgresServer
from tests.real.cluster import Cluster
from tests.real.programs import PATIENCE, found

_numbers = count(1)
MIB = 1 << 20
PASSWORD = "correct horse"
ADMIN = str(Path(sys.executable).with_name("broadcast-admin"))


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two servers, which the tests of this module share. Each test has nicknames and rooms of its own."""
    name = postgres.create_database()
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), postgres.url(name), ("one", "two"))
    try:
        cluster.start()
        yield cluster
        assert cluster.problems() == []
    finally:
        cluster.stop()
        postgres.drop_database(name)


class People:
    """Makes people and programs on the two servers, who are all in one room."""

    def __init__(self, cluster: Cluster, stack: ExitStack) -> None:
        self.ports = [node.port for node in cluster.nodes]
        self.room = f"room{next(_numbers)}"
        self._stack = stack

    def nick(self, name: str) -> str:
        """Return a nickname that no other test uses."""
        return f"{name}-{self.room}"

    def person(self, server: int, name: str) -> Person:
        """Let a person come to *server*, and go to the room."""
        person = self._stack.enter_context(Person(self.ports[server], self.nick(name)))
        person.say(f"/join {self.room}")
        person.read_until(f"You are in {self.room}. ")
        return person

    def program(self, server: int, name: str) -> Program:
        """Let a program come to *server*, and go to the room."""
        program = Program(self.ports[server], self.nick(name), self.room)
        self._stack.callback(program.close)
        return program


@pytest.fixture
def people(cluster: Cluster) -> Iterator[People]:
    with ExitStack() as stack:
        yield People(cluster, stack)


def test_people_on_two_servers_see_each_other_come_talk_and_go(people: People) -> None:
    ann = people.person(0, "ann")
    bob = people.person(1, "bob")
    assert "1 other is here: ann-" in bob.read_until(". /help") if "/help" in bob.seen else True
    ann.until(f" * {bob.nick} joined.\r\n")
    ann.say("hi")
    bob.until(f"{ann.nick}: hi\r\n")
    bob.say("/me waves")
    ann.until(f"** {bob.nick} waves\r\n")
    bob.say("quit")
    ann.until(f" * {bob.nick} left.\r\n")
    with people.person(1, "bob") as again:
        assert again.nick == bob.nick, "the nickname is free at once"


def test_every_reader_on_every_server_reads_the_same_lines_in_the_same_order(people: People) -> None:
    readers = [people.program(server, f"reader{server}") for server in (0, 1)]
    authors = [people.person(number % 2, f"author{number}") for number in range(4)]
    lines = 200
    for number in range(0, lines, 10):
        for author in authors:
            author.say(*(f"line {number + each} of {author.nick}" for each in range(10)))
    sequences = []
    for reader in readers:
        read: list[tuple[int, str]] = []

        def take(message: dict[str, object], read: list[tuple[int, str]] = read) -> bool:
            if message.get("method") == "said":
                params = message["params"]
                assert isinstance(params, dict)
                read.append((params["seq"], params["text"]))
            return len(read) == lines * len(authors)

        reader.until(take)
        sequences.append(read)
    assert sequences[0] == sequences[1]
    assert [seq for seq, _ in sequences[0]] == [*range(1, lines * len(authors) + 1)]
    for author in authors:
        own = [text for _, text in sequences[0] if text.endswith(f" of {author.nick}")]
        assert own == [f"line {number} of {author.nick}" for number in range(lines)]
    late = people.person(1, "late")
    late.say(f"/history #1-#{lines * len(authors)}")
    shown = re.findall(r"-> #(\d+) \[[^]]+\] \S+: (.+)\r\n", late.read_until(f"-> #{lines * len(authors)} ") + "\r\n")
    assert [(int(seq), text) for seq, text in shown] == sequences[0][: len(shown)]
    assert len(shown) == lines * len(authors) - 1


def test_nickname_is_taken_on_all_servers_and_free_after_a_rename(people: People, cluster: Cluster) -> None:
    ann, bob = people.person(0, "ann"), people.person(1, "bob")
    bob.say(f"/nick {ann.nick}")
    bob.until(f"-> Error: {ann.nick} is taken.")
    bob.say(f"/nick {ann.nick.upper()}")
    bob.until(f"-> Error: {ann.nick.upper()} is taken.")
    new = people.nick("anna")
    ann.say(f"/nick {new}")
    bob.until(f" * {ann.nick} is now {new}.\r\n")
    assert is_accepted(bob, ann.nick)
    ann.until(f" * {bob.nick} is now {ann.nick}.\r\n")


def test_who_is_here_is_the_same_on_all_servers(people: People) -> None:
    ann, bob = people.person(0, "ann"), people.person(1, "bob")
    robot = people.program(1, "robot")
    ann.until(f" * {people.nick('robot')} joined.\r\n")
    ann.say("/away lunch", "/topic soup")
    bob.until(f"{ann.nick} set the topic: soup\r\n")
    assert len(robot.call("members", room=people.room)["members"]) == 3
    names = f"3 here: {ann.nick} (away: lunch), {bob.nick}, {people.nick('robot')}"
    for person in (ann, bob):
        assert names in answer(person, "/names")
        person.say("/rooms")
        person.until(f"-> {people.room}: 3 here (you are in it): soup")
    members = robot.call("members", room=people.room)["members"]
    assert {each["nick"]: each["away"] for each in members} == {
        ann.nick: "lunch", bob.nick: None, people.nick("robot"): None
    }  # fmt: skip
    carol = people.person(0, "carol")
    carol.until(" * Topic: soup\r\n")


def test_private_messages_reach_the_other_server_and_say_who_is_away(people: People) -> None:
    ann, bob = people.person(0, "ann"), people.person(1, "bob")
    robot = people.program(1, "robot")
    ann.until(f" * {people.nick('robot')} joined.\r\n")
    ann.say(f"/msg {bob.nick} psst")
    ann.until(f"-> sent to {bob.nick}.\r\n")
    bob.until(f"[{ann.nick}] psst\r\n")
    bob.say("/away lunch", f"/msg {ann.nick} yes?")
    ann.until(f"[{bob.nick}] yes?\r\n")
    ann.say(f"/msg {bob.nick} hm")
    ann.until(f"-> sent to {bob.nick}, who is away: lunch\r\n")
    robot.call("tell", to=ann.nick, text="beep", uid="1")
    robot.call("tell", to=ann.nick, text="beep", uid="1")
    ann.read_until(f"[{people.nick('robot')}] beep\r\n")
    ann.say("/msg nobody-is-here psst")
    ann.until("-> Error: nobody-is-here is not here.")
    assert "beep" not in ann.seen


def test_history_and_search_have_the_lines_of_all_servers(people: People) -> None:
    ann, robot = people.person(0, "ann"), people.program(1, "robot")
    robot.call("say", room=people.room, text="the red build is broken")
    ann.say("it is green again", "/history 5")
    ann.until("-> #2 ")
    ann.until("it is green again")
    assert "the red build is broken" in ann.seen
    ann.say('/search "red build"')
    ann.until("-> #1 ")
    robot.said("it is green again")
    found_lines = robot.call("search", room=people.room, words="green")["events"]
    assert [(event["seq"], event["text"]) for event in found_lines] == [(2, "it is green again")]


def test_account_of_one_server_has_its_password_on_the_other_one(people: People) -> None:
    ann = people.person(0, "ann")
    ann.say("/register")
    ann.until("Password: ")
    ann.say(PASSWORD)
    ann.until("Once more: ")
    ann.say(PASSWORD)
    ann.until(f"-> {ann.nick} is registered, and you are logged in.")
    bob = people.person(1, "bob")
    bob.say(f"/login {ann.nick}")
    bob.until("Password: ")
    bob.say("a wrong one")
    bob.until("wrong password")
    bob.say(PASSWORD)
    bob.until(f"-> You are logged in as {ann.nick}.")
    ann.until(f"{ann.nick} has logged in on another connection.")
    bob.say("/passwd")
    bob.until("Old password: ")
    bob.say(PASSWORD)
    bob.until("New password: ")
    bob.say("battery staple")
    bob.until("Once more: ")
    bob.say("battery staple")
    bob.until("-> Your password is changed.")
    carol = people.person(0, "carol")
    carol.say(f"/login {ann.nick}")
    carol.until("Password: ")
    carol.say("battery staple")
    carol.until(f"-> You are logged in as {ann.nick}.")


def register(person: Person) -> None:
    """Register the nickname of *person*."""
    for line, answer in (("/register", "Password: "), (PASSWORD, "Once more: "), (PASSWORD, "you are logged in.")):
        person.say(line)
        person.read_until(answer)


def test_message_waits_for_an_account_that_comes_back_to_the_other_server(people: People) -> None:
    ann, bob = people.person(0, "ann"), people.person(1, "bob")
    register(ann)
    ann.say("quit")
    bob.until(f" * {ann.nick} left.\r\n")
    assert f"-> kept for {ann.nick}, who is not here.\r\n" in answer(bob, f"/msg {ann.nick} call me")
    carol = people.person(0, "carol")
    carol.say(f"/login {ann.nick}")
    carol.until("Password: ")
    carol.say(PASSWORD)
    carol.until(f"[{bob.nick}] call me\r\n")
    carol.until(f"-> You are logged in as {ann.nick}.")
    carol.say("/inbox", "quit")
    carol.until("Goodbye")
    dave = people.person(1, "dave")
    dave.say(f"/login {ann.nick}")
    dave.until("Password: ")
    dave.say(PASSWORD, "/inbox")
    before = dave.read_until(f"-> You are logged in as {ann.nick}.")
    assert "call me" not in before, "it was delivered"
    dave.until("call me")


def test_operator_kicks_and_bans_people_of_the_other_server(people: People, cluster: Cluster) -> None:
    ann, bob, carol = people.person(0, "ann"), people.person(1, "bob"), people.person(1, "carol")
    register(ann)
    make_operator(cluster.nodes[0].folder / "data", cluster.url, ann.nick)
    ann.until("You are an operator now.")
    ann.say(f"/kick {carol.nick} spam")
    carol.until(f" * You were kicked by {ann.nick}: spam\r\n")
    bob.until(f" * {carol.nick} left (kicked by {ann.nick}: spam)\r\n")
    ann.say(f"/mute {bob.nick} 1h")
    bob.until(f" * {bob.nick} was muted by {ann.nick} until ")
    assert "-> Error: you are muted until " in answer(bob, "can you hear me?")
    ann.say(f"/ban {bob.nick} 1h spam")
    bob.until("You were banned")
    for server in (0, 1):
        other = people.person(server, f"other{server}")
        banned = f"-> Error: the nickname {bob.nick} is banned until "
        assert banned in answer(other, f"/nick {bob.nick}")
    ann.say(f"/unban {bob.nick}")
    ann.until(f"-> {bob.nick} is not banned any more.")
    dave = people.person(1, "dave")
    assert is_accepted(dave, bob.nick)
    ann.say("/announce tea")
    dave.until(f" * {ann.nick} announces: tea\r\n")


def answer(person: Person, line: str) -> str:
    """Return what *person* reads after *line*."""
    person.say(line, "/ping")
    return person.read_until("-> pong")


def is_accepted(person: Person, nick: str) -> bool:
    """Try to take the nickname *nick*. Return whether it was accepted."""
    return f"-> You are {nick}.\r\n" in answer(person, f"/nick {nick}")


def make_operator(data: Path, url: str, nick: str) -> None:
    """Make the account *nick* an operator, as the administrator of the server with the folder *data* does."""
    done = subprocess.run(  # noqa: S603 -- the installed command
        [ADMIN, "--data", str(data), "--journal", url, "role", nick, "operator"],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_file_uploaded_at_one_server_is_downloaded_at_the_other(
    people: People, cluster: Cluster, tmp_path: Path
) -> None:
    ann, bob = people.person(0, "ann"), people.person(1, "bob")
    body = os.urandom(2 * MIB)
    (tmp_path / "report.pdf").write_bytes(body)
    ann.say("/upload-link")
    ann.until("/files/\r\n")
    match = re.search(r"curl (-T FILE .*)\r\n", ann.seen)
    assert match is not None
    run_curl(tmp_path, match[1].replace("FILE", "report.pdf"))
    bob.read_until(f" * {ann.nick} shared report.pdf (2.1 MB): http://localhost:")
    path = bob.read_until("\r\n").partition("/")[2]
    for node in cluster.nodes:
        run_curl(tmp_path, f"-f -o fetched http://localhost:{node.web_port}/{path}")
        assert (tmp_path / "fetched").read_bytes() == body


def run_curl(folder: Path, arguments: str) -> str:
    """Return the output of curl, which has to succeed."""
    command = [found("curl"), "--silent", "--show-error", "--max-time", "60", *shlex.split(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)  # noqa: S603 -- found
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
