"""Each command and method, for each role, origin, door and state: what is not declared here is denied.

A new command or method fails a test until it is declared.
"""

from __future__ import annotations

import os
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from broadcast.core.commands import COMMANDS, find_command
from broadcast.doors.jsonrpc.catalogue import METHODS
from broadcast.doors.jsonrpc.methods import HANDLERS
from tests.doors.jsonrpc.programs import ProgramWorld
from tests.files import StoredFile, archive_of, take_files
from tests.operators import audit, connect_program, give_account, join, make_account, member_of

if TYPE_CHECKING:
    from tests.doors.jsonrpc.programs import Program
    from tests.harness import Person

LONG = bool(os.environ.get("BROADCAST_LONG"))
FOR_EVERYBODY: Final = {
    "help": "names",
    "names": "",
    "nick": "rob",
    "me": "waves",
    "say": "hi",
    "msg": "carol psst",
    "reply": "psst",
    "inbox": "",
    "history": "5",
    "search": "hi",
    "files": "",
    "upload-link": "",
    "rooms": "",
    "join": "lobby",
    "leave": "",
    "topic": "soup",
    "timestamp": "on",
    "receipts": "on",
    "quiet": "on",
    "ignore": "carol",
    "unignore": "carol",
    "away": "lunch",
    "back": "",
    "ping": "",
    "uptime": "",
    "version": "",
    "motd": "",
    "register": "",
    "login": "",
    "oidc": "",
    "logout": "",
    "passwd": "",
    "drop": "",
    "quit": "",
}
"""The commands that everybody may use, with an argument."""
FOR_OPERATORS: Final = {
    "kick": "carol spam",
    "mute": "carol 1h",
    "unmute": "carol",
    "ban": "carol 7d spam",
    "unban": "zoe",
    "bans": "",
    "op": "dave",
    "deop": "erin",
    "announce": "tea",
    "slow": "5s",
    "remove-file": "http://chat.example:8080/files/secret-of-a-file/report.pdf spam",
    "audit": "5",
}
"""The commands of operators, with an argument that they can act on."""
SPEAKING: Final = {"nick", "me", "say", "msg", "reply", "topic", "away", "upload-link"}
"""The commands for everybody that people who are muted cannot use with this argument."""
METHODS_OF_MUTED: Final = {
    *("leave", "inbox", "history", "search", "rooms", "members", "command", "ping", "quit"),
    *("register", "login", "oidc", "logout", "set_password", "drop"),
}
"""The methods, besides ``hello``, that people who are muted can use."""
SPEAKING_METHODS: Final[dict[str, dict[str, object]]] = {
    "say": {"room": "lobby", "text": "hi"},
    "emote": {"room": "lobby", "text": "waves"},
    "upload": {"room": "lobby", "name": "report.pdf", "size": 5},
    "tell": {"to": "carol", "text": "psst"},
    "topic": {"room": "lobby", "text": "soup"},
    "nick": {"nick": "rob"},
    "away": {"reason": "lunch"},
    "join": {"room": "a-new-one"},
}
"""The methods that people who are muted cannot use, with parameters."""

FAR: Final = "203.0.113.7"
ROLES: Final = ("nobody", "account", "operator", "logged out", "removed")
ORIGINS: Final = ("local", "plain", "tls")
STATES: Final = ("free", "muted", "before")


class Case(NamedTuple):
    """The typer of a command."""

    role: str
    origin: str
    state: str

    @property
    def is_permitted(self) -> bool:
        return self.role == "operator" and self.origin != "plain" and self.state != "before"


CASES: Final = [Case(*case) for case in product(ROLES, ORIGINS, STATES)]
JOINED_CASES: Final = [case for case in CASES if case.state != "before" and (LONG or case.origin == "plain")]
"""The cases for commands that need no role: their origin changes nothing, so only .ci/long tries all."""


def build(case: Case) -> tuple[ProgramWorld, Person]:
    """Return a server and the person of *case* in it."""
    world = ProgramWorld()
    take_files(world)
    archive_of(world).files["secret-of-a-file"] = StoredFile("account 7", 5)
    join(world, "carol", "198.51.100.1")
    for name, role in (("dave", ""), ("erin", "operator")):
        make_account(world, name, role)
    world.hub.moderation.ban("nickname", "zoe", "zoe", "", "erin", 0.0, None)
    world.hub.moderation.mute(member_of(world, "carol").id, None, None)
    host = None if case.origin == "local" else FAR
    person = join(world, "ann", host, tls=case.origin == "tls") if case.state != "before" else None
    if person is None:
        return world, world.connect()
    set_up(world, case)
    person.read()
    return world, person


def set_up(world: ProgramWorld, case: Case) -> None:
    """Give ann the role and the state of *case*."""
    if case.role != "nobody":
        account = give_account(world, "ann", "" if case.role == "account" else "operator")
        if case.role == "logged out":
            world.hub.log_out(member_of(world, "ann"))
        elif case.role == "removed":
            world.hub.accounts.remove(account)
    world.settle()
    if case.state == "muted":
        member = next(member for member in world.hub.people.members.values() if member.nick.startswith("ann"))
        world.hub.moderation.mute(member.id, None, None)


def snapshot(world: ProgramWorld) -> object:
    """Return everything that operators can change."""
    moderation = world.hub.moderation
    return (
        dict(moderation._bans),
        dict(moderation._mutes),
        moderation.slow_seconds("lobby"),
        sorted(member.nick for member in world.hub.people.members.values()),
        [account.record.role for account in world.hub.accounts],
        sorted(archive_of(world).files),
        audit(world),
    )


def program_of(world: ProgramWorld, case: Case) -> Program:
    """Return the program of *case*."""
    program = connect_program(world, None if case.origin == "local" else FAR, tls=case.origin == "tls")
    if case.state != "before":
        program.hello("ann")
        set_up(world, case)
        program.read()
    return program


def test_every_command_is_declared() -> None:
    assert {command.name for command in COMMANDS} == FOR_EVERYBODY.keys() | FOR_OPERATORS.keys()
    assert {command.name for command in COMMANDS if not command.is_for_operators} == FOR_EVERYBODY.keys()
    assert METHODS.keys() == {"hello", *METHODS_OF_MUTED, *SPEAKING_METHODS}
    assert HANDLERS.keys() == METHODS.keys() - {"hello"}


@pytest.mark.parametrize("name", FOR_OPERATORS)
def test_commands_of_operators_are_denied_to_everybody_else(name: str) -> None:
    line = f"/{name} {FOR_OPERATORS[name]}".rstrip()
    for case in CASES:
        world, person = build(case)
        before = snapshot(world)
        person.say(line)
        replies = person.read()
        denied = f"/{name} is for operators." in replies or f"/{name} works only over TLS" in replies
        if case.state == "before":
            assert "choose a nickname first" in replies, case
        elif case.is_permitted and case.state == "muted" and FOR_OPERATORS[name]:
            assert "you are muted" in replies, case
        else:
            assert denied is not case.is_permitted, case
        if not (case.is_permitted and case.state == "free") and name not in {"bans", "audit"}:
            assert snapshot(world) == before, case
        elif name not in {"bans", "audit"}:
            assert "Error" not in replies, case
            assert len(audit(world)) == 1, case


@pytest.mark.parametrize("name", FOR_OPERATORS)
def test_commands_of_operators_are_denied_to_other_programs(name: str) -> None:
    line = f"/{name} {FOR_OPERATORS[name]}".rstrip()
    for case in CASES:
        world, _ = build(Case("nobody", "local", "before"))
        program = program_of(world, case)
        before = snapshot(world)
        response = program.request("command", room="lobby", line=line)
        reason = response.get("error", {}).get("data", {}).get("reason")
        if case.state == "before":
            assert reason == "hello-first", case
        elif not case.is_permitted:
            assert reason == "not-permitted", case
        elif case.state == "muted" and FOR_OPERATORS[name]:
            assert reason == "muted", case
        else:
            assert reason is None, case
        if not (case.is_permitted and case.state == "free"):
            assert snapshot(world) == before, case


@pytest.mark.parametrize("name", FOR_EVERYBODY)
def test_commands_for_everybody_need_no_role_but_a_voice(name: str) -> None:
    for case in JOINED_CASES:
        world, person = build(case)
        person.say(f"/{name} {FOR_EVERYBODY[name]}".rstrip())
        replies = person.read()
        assert "operators" not in replies, case
        assert ("you are muted" in replies) is (case.state == "muted" and name in SPEAKING), case
        assert audit(world) == []
    assert find_command(name).is_for_operators is False


@pytest.mark.parametrize("name", SPEAKING_METHODS)
def test_methods_that_others_read_need_a_voice(name: str) -> None:
    for case in JOINED_CASES:
        world, _ = build(Case("nobody", "local", "before"))
        program = program_of(world, case)
        response = program.request(name, **SPEAKING_METHODS[name])
        reason = response.get("error", {}).get("data", {}).get("reason")
        assert reason == ("muted" if case.state == "muted" else None), case
