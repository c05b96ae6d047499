"""A registered nickname belongs to the programs that know its password."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from twisted.internet.address import IPv4Address

from broadcast.core.settings import Settings
from broadcast.doors.jsonrpc.accounts import TLS_ONLY
from broadcast.doors.jsonrpc.catalogue import METHODS
from broadcast.doors.jsonrpc.requests import decode_params, decode_request
from tests.doors.jsonrpc.programs import GRACE, Program, ProgramWorld
from tests.harness import logged

SECRET, OTHER = "correct horse", "battery staple"
FAR = IPv4Address("TCP", "192.0.2.7", 4000)

TAKEN_OVER = (
    "ann has logged in on another connection. If that was not you, log in and change your password with /passwd."
)


@pytest.fixture
def owner(world: ProgramWorld) -> Program:
    """A program that has registered the nickname ann."""
    owner = world.program("ann")
    assert owner.call("register", password=SECRET) == {"nick": "ann", "account": "ann"}
    owner.read()
    return owner


def attempt(world: ProgramWorld, nick: str = "ann", **params: object) -> Program:
    """Return another program that has sent ``hello``."""
    program = world.open_program()
    program.welcome = program.request("hello", protocol=1, nick=nick, **params)
    return program


def reason_of(program: Program) -> tuple[int, str]:
    error = program.welcome["error"]
    return error["code"], error["data"]["reason"]


def goodbyes(program: Program) -> list[str]:
    events = program.events()
    assert not any(event["reconnect"] for event in events if event["method"] == "goodbye")
    return [event["reason"] for event in events if event["method"] == "goodbye"]


def test_a_registered_nickname_needs_its_password(world: ProgramWorld, owner: Program) -> None:
    assert owner.welcome["account"] is None
    assert owner.welcome["features"] == ["accounts"]
    owner.call("quit")
    assert reason_of(attempt(world)) == (1020, "password-needed")
    assert reason_of(attempt(world, "ANN")) == (1020, "password-needed")
    assert reason_of(attempt(world, password="wrong password")) == (1021, "wrong-password")
    assert reason_of(attempt(world, password="short")) == (1021, "wrong-password")
    assert reason_of(attempt(world, "nobody", password=SECRET)) == (1021, "wrong-password")
    back = world.program("Ann ", password=SECRET)
    assert (back.welcome["nick"], back.welcome["account"]) == ("ann", "ann")
    bob = world.program("bob")
    assert bob.fail("nick", nick="ann") == (1020, "password-needed")
    assert bob.call("nick", nick="bob2") == {"nick": "bob2"}


def test_the_right_password_takes_the_nickname_over(world: ProgramWorld, owner: Program) -> None:
    bob = world.program("bob")
    owner.read()
    late = world.program("ann", password=SECRET)
    assert goodbyes(owner) == [TAKEN_OVER]
    assert owner.is_closed()
    assert [(event["method"], event.get("reason")) for event in bob.events()] == [
        ("left", "taken over by another connection"),
        ("joined", None),
    ]
    late.say("hi")
    assert late.texts() == bob.texts() == ["hi"]
    # The token of the older session is void.
    ghost = attempt(world, resume=owner.resume)
    assert reason_of(ghost) == (1020, "password-needed")


def test_a_session_in_its_grace_is_taken_over(world: ProgramWorld, owner: Program) -> None:
    owner.vanish()
    late = world.program("ann", password=SECRET)
    assert late.welcome["nick"] == "ann"
    world.clock.advance(GRACE + 1)
    world.settle()
    late.say("still here")
    assert late.texts() == ["still here"]


def test_a_person_on_the_line_door_is_taken_over(world: ProgramWorld, owner: Program) -> None:
    owner.call("quit")
    (person,) = world.join("zoe")
    world.hub.log_in(person.protocol.session.member, world.hub.accounts.find("ann"))  # type: ignore[arg-type]
    person.read()
    world.program("ann", password=SECRET)
    assert person.transport.finished


def test_login_takes_the_nickname_over_and_logout_gives_another_one(world: ProgramWorld, owner: Program) -> None:
    bob = world.program("bob")
    assert bob.fail("login", password=SECRET) == (1021, "wrong-password")
    assert bob.fail("logout") == (1024, "not-permitted")
    owner.read()
    assert bob.call("login", nick="ANN", password=SECRET) == {"nick": "ann", "account": "ann"}
    assert goodbyes(owner) == [TAKEN_OVER]
    assert bob.call("login", password=SECRET) == {"nick": "ann", "account": "ann"}
    assert bob.call("logout") == {"nick": "ann2", "account": None}
    assert bob.fail("nick", nick="ann") == (1020, "password-needed")


def test_the_session_belongs_to_its_account_over_a_resumption(world: ProgramWorld, owner: Program) -> None:
    owner.vanish()
    back = attempt(world, "somebody", resume=owner.resume, password="not looked at")
    assert back.welcome["result"]["resumed"]
    assert back.welcome["result"]["account"] == "ann"
    assert back.call("logout")["account"] is None


def test_registering_needs_a_password_that_can_be_one(world: ProgramWorld, owner: Program) -> None:
    bob = world.program("bob")
    assert bob.fail("register", password="short") == (-32602, None)
    assert bob.fail("register", password=5) == (-32602, None)
    assert owner.fail("register", password=SECRET) == (-32602, None)
    assert bob.call("register", password="  " + "ä" * 8)["account"] == "bob"
    assert world.program("BOB", password="  " + "a\u0308" * 8).welcome["account"] == "bob"


def test_set_password_ends_the_other_sessions(world: ProgramWorld, owner: Program) -> None:
    bob = world.program("bob")
    bob.call("login", nick="ann", password=SECRET)
    bob.call("nick", nick="bobby")
    ann = world.program("ann", password=SECRET)
    assert ann.fail("set_password", old=OTHER, new=SECRET) == (1021, "wrong-password")
    assert ann.fail("set_password", old=SECRET, new="short") == (-32602, None)
    bob.read()
    assert ann.call("set_password", old=SECRET, new=OTHER) == {}
    assert goodbyes(bob) == ["The password has been changed: log in again."]
    assert reason_of(attempt(world, password=SECRET)) == (1021, "wrong-password")
    ann.say("hi")
    assert "hi" in ann.texts()
    assert world.program("ann", password=OTHER).welcome["account"] == "ann"


def test_drop_frees_the_nickname_and_ends_the_other_sessions(world: ProgramWorld, owner: Program) -> None:
    bob = world.program("bob")
    assert bob.fail("drop", password=SECRET) == (1024, "not-permitted")
    assert bob.fail("set_password", old=SECRET, new=OTHER) == (1024, "not-permitted")
    assert owner.fail("drop", password=OTHER) == (1021, "wrong-password")
    owner.call("nick", nick="ann2")
    ann = world.program("ann", password=SECRET)
    owner.read()
    assert ann.call("drop", password=SECRET) == {"nick": "ann", "account": None}
    assert goodbyes(owner) == ["The account has been deleted."]
    ann.call("quit")
    assert world.program("ann").welcome["account"] is None


def test_too_many_wrong_passwords_are_refused_for_a_while(world: ProgramWorld, owner: Program) -> None:
    bob = world.program("bob")
    for _ in range(5):
        assert bob.fail("login", nick="ann", password=OTHER) == (1021, "wrong-password")
    error = bob.request("login", nick="ann", password=SECRET)["error"]
    assert (error["code"], error["data"]["reason"]) == (1022, "too-many-tries")
    assert error["data"]["retry"] > 0
    world.clock.advance(error["data"]["retry"])
    assert bob.call("login", nick="ann", password=SECRET)["account"] == "ann"


def test_time_for_hello_does_not_end_while_its_password_is_checked(world: ProgramWorld, owner: Program) -> None:
    held: list[Callable[[], None]] = []
    world.hasher._call_soon = held.append
    program = world.open_program()
    hello = program.put("hello", {"protocol": 1, "nick": "ann", "password": OTHER})
    world.settle()
    world.clock.advance(61)
    assert not program.is_closed()
    held.pop()()
    world.settle()
    assert program.response(hello)["error"]["code"] == 1021
    world.clock.advance(60)
    assert program.is_closed()


@pytest.mark.parametrize("state", ["is_busy", "is_full"])
def test_a_busy_server_says_when_to_try_again(world: ProgramWorld, owner: Program, state: str) -> None:
    setattr(world.hasher, state, True)
    hello = attempt(world, password=SECRET)
    assert reason_of(hello) == (1028, "busy")
    assert hello.welcome["error"]["data"]["retry"] > 0
    bob = world.program("bob")
    for method, params in (
        ("register", {"password": SECRET}),
        ("login", {"nick": "ann", "password": SECRET}),
    ):
        assert bob.fail(method, **params) == (1028, "busy")
    for method, params in (("set_password", {"old": SECRET, "new": OTHER}), ("drop", {"password": SECRET})):
        assert owner.fail(method, **params) == (1028, "busy")
    setattr(world.hasher, state, False)
    assert hello.call("hello", protocol=1, nick="ann", password=SECRET)["account"] == "ann"


@pytest.mark.parametrize("mode", ["closed", "required"])
def test_only_an_administrator_makes_accounts(mode: str) -> None:
    world = ProgramWorld(Settings(version="0.0", accounts="open"))
    world.program("ann").call("register", password=SECRET)
    world.hub.authenticator._mode = mode
    ann = world.program("ann", password=SECRET)
    assert ann.fail("register", password=SECRET) == (-32602, None)
    if mode == "closed":
        assert world.program("bob").fail("register", password=SECRET) == (1023, "registration-closed")
        return
    assert reason_of(attempt(world, "bob")) == (1024, "not-permitted")
    assert reason_of(attempt(world)) == (1020, "password-needed")
    assert ann.fail("logout") == (1024, "not-permitted")
    ann.call("nick", nick="free")
    assert ann.fail("register", password=OTHER) == (1023, "registration-closed")
    ann.read()
    assert ann.call("drop", password=SECRET)["account"] is None
    assert goodbyes(ann) == ["The account has been deleted."]
    assert not world.hub.people.members


def test_passwords_over_a_readable_connection(world: ProgramWorld, owner: Program) -> None:
    far = world.open_program(FAR)
    error = far.request("hello", protocol=1, nick="ann")["error"]
    assert error["message"] == (
        "ann is registered: it needs its password. This connection is not encrypted: others may read the password."
    )
    assert far.hello("ann", password=SECRET)["passwords"] == "readable"
    near = world.open_program().request("hello", protocol=1, nick="ann")["error"]
    assert near["message"] == "ann is registered: it needs its password."


def test_a_server_can_refuse_passwords_that_others_may_read() -> None:
    world = ProgramWorld(Settings(version="0.0", passwords="tls"))
    near = world.program("ann")
    near.call("register", password=SECRET)
    far = world.open_program(FAR)
    error = far.request("hello", protocol=1, nick="ann")["error"]
    assert (error["code"], error["message"]) == (
        1024,
        f"ann is registered: it needs its password, and {TLS_ONLY}",
    )
    assert far.fail("hello", protocol=1, nick="ann", password=SECRET) == (1024, "not-permitted")
    assert far.hello("bob")["passwords"] == "refused"
    for method, params in (
        ("register", {"password": SECRET}),
        ("login", {"nick": "ann", "password": SECRET}),
        ("set_password", {"old": SECRET, "new": OTHER}),
        ("drop", {"password": SECRET}),
    ):
        assert far.fail(method, **params) == (1024, "not-permitted")


# Time passes while a password is checked


def test_requests_behind_a_password_wait_for_its_check(world: ProgramWorld, owner: Program) -> None:
    bob = world.program("bob")
    bob.read()
    login = bob.put("login", {"nick": "ann", "password": SECRET})
    said = bob.put("say", {"room": "lobby", "text": "who am I?"})
    world.settle()
    messages = bob.read()
    assert [message["id"] for message in messages if "id" in message] == [login, said]
    (line,) = [message["params"] for message in messages if message.get("method") == "said"]
    assert line["nick"] == "ann"


def test_hello_waits_for_the_check_and_pipelined_requests_for_hello(world: ProgramWorld, owner: Program) -> None:
    owner.call("quit")
    program = world.open_program()
    ids = [
        program.put("hello", {"protocol": 1, "nick": "ann", "password": OTHER}),
        program.put("ping"),
        program.put("hello", {"protocol": 1, "nick": "ann", "password": SECRET}),
        program.put("ping"),
    ]
    world.settle()
    answers = [message for message in program.read() if "id" in message]
    assert [answer["id"] for answer in answers] == ids
    assert [answer.get("error", {}).get("code") for answer in answers] == [1021, 1002, None, None]


@pytest.mark.parametrize("end", ["vanish", "resume", "take over"])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("login", {"nick": "ann", "password": SECRET}),
        ("register", {"password": SECRET}),
    ],
)
def test_a_result_after_the_connection_logs_nobody_else_in(
    world: ProgramWorld, owner: Program, method: str, params: dict[str, object], end: str
) -> None:
    bob = world.program("bob", grace=0)
    bob.put(method, params)
    if end == "vanish":
        bob.vanish()
        thief = attempt(world, "bob")
        if "result" in thief.welcome:  # registering was faster, or was too late
            assert thief.call("members", room="lobby")["members"]
    elif end == "resume":
        back = attempt(world, "bob", resume=bob.resume)
        assert back.welcome["result"]["resumed"]
        assert back.call("ping") == {}
        assert back.call("nick", nick="bobby") == {"nick": "bobby"}
        assert back.welcome["result"]["account"] == ("ann" if method == "login" else "bob")
    else:
        world.hub.people.member_by_session(int(bob.welcome["session"])).listener.disconnect("kicked", "Kicked.")  # type: ignore[union-attr]
        world.settle()
    if (end, method) != ("resume", "login"):
        owner.call("ping")
    for member in world.hub.people.members.values():
        registered = world.hub.accounts.find(member.nick)
        assert registered is None or registered is member.account


def test_a_resumption_waits_until_the_password_is_checked(world: ProgramWorld) -> None:
    bob = world.program("bob")
    bob.put("register", {"password": SECRET})
    back = attempt(world, "bob", resume=bob.resume)
    assert back.welcome["result"]["resumed"]
    assert back.welcome["result"]["account"] == "bob"
    back.put("set_password", {"old": SECRET, "new": OTHER})
    late = [world.open_program() for _ in range(2)]
    ids = [
        program.put("hello", {"protocol": 1, "resume": bob.resume | {"attempt": number}})
        for program, number in zip(late, (3, 2), strict=True)
    ]
    world.settle()
    assert late[0].response(ids[0])["result"]["account"] == "bob"
    assert late[1].response(ids[1])["error"]["data"]["reason"] == "stale"


def test_a_nickname_that_is_registered_too_late_is_free_for_nobody(world: ProgramWorld) -> None:
    """The owner leaves before the account is stored, and somebody else takes the nickname in between."""
    bob = world.program("bob", grace=0)
    bob.put("register", {"password": SECRET})
    member = next(iter(world.hub.people.members.values()))
    member.listener.disconnect("kicked", "Kicked.")
    thief = world.open_program()
    thief.put("hello", {"protocol": 1, "nick": "bob"})
    world.settle()
    (name,) = [member.nick for member in world.hub.people.members.values()]
    assert name == "bob2"
    assert world.program("bob", password=SECRET).welcome["account"] == "bob"


def test_hello_of_a_connection_that_has_gone_changes_nothing(world: ProgramWorld, owner: Program) -> None:
    late = world.open_program()
    late.put("hello", {"protocol": 1, "nick": "ann", "password": SECRET})
    late.vanish()
    owner.say("still here")
    assert owner.texts() == ["still here"]


def test_an_account_that_is_deleted_while_rooms_are_opened_lets_nobody_in(world: ProgramWorld, owner: Program) -> None:
    account = world.hub.accounts.find("ann")
    assert account is not None
    late = world.open_program()
    id_ = late.put("hello", {"protocol": 1, "nick": "ann", "password": SECRET, "rooms": ["kitchen"]})
    world.turn()  # the password is right
    world.hub.accounts.remove(account)
    world.settle()
    assert late.response(id_)["error"]["data"]["reason"] == "wrong-password"


# Secrets stay secret


def test_no_password_is_in_an_error_a_log_or_a_repr(world: ProgramWorld) -> None:
    secret = "hunter2hunter2"
    bob = world.program("bob")

    with logged() as events:
        for params in (
            {"password": [secret]},
            {"password": {secret: 1}},
            {"nick": 5, "password": secret},
            {"old": secret},
            {"old": secret, "new": secret + "\u0007"},
            {"password": secret + "\u0007"},
        ):
            for method in ("register", "login", "set_password", "drop", "nick"):
                assert secret not in json.dumps(bob.request(method, **params))
                bob.notify(method, **params)
        bob.put_lines(json.dumps({"jsonrpc": "2.0", "id": 999, "method": "login", "params": secret})[:-1])
        world.settle()
        assert secret not in json.dumps(bob.read())
        assert secret not in repr(events)
    for method, params in (
        ("hello", {"protocol": 1, "password": secret}),
        ("login", {"password": secret}),
        ("register", {"password": secret}),
        ("set_password", {"old": secret, "new": secret}),
    ):
        raw = json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()
        request = decode_request(raw)
        assert secret not in repr(request)
        assert secret not in repr(decode_params(request))
        assert METHODS[method].params.__name__ in repr(decode_params(request))
