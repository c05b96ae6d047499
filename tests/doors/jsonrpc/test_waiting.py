"""Private messages that are stored, as programs see them."""

from __future__ import annotations

from typing import Any

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.private_lines import MAX_WAITING_FROM_ONE
from tests.doors.jsonrpc.programs import Message, Program, ProgramWorld
from tests.harness import PASSWORD


@pytest.fixture
def ann(ann: Program) -> Program:
    """A program with an account, which is here."""
    ann.call("register", password=PASSWORD)
    return ann


@pytest.fixture
def bob(bob: Program, ann: Program) -> Program:
    """Another one."""
    bob.call("register", password=PASSWORD)
    ann.read()
    return bob


@pytest.fixture
def away(ann: Program, bob: Program) -> None:
    """Let ann leave."""
    ann.call("quit")
    ann.hang_up()
    bob.read()


def back(world: ProgramWorld, nick: str = "ann", **params: object) -> list[Message]:
    """Log in on a new connection, and lose it. Return the private messages that came."""
    program = world.open_program()
    messages = told(program, nick, **params)
    program.vanish()
    world.clock.advance(61)
    world.settle()
    return messages


def told(program: Program, nick: str = "ann", **params: object) -> list[Message]:
    """Log in, and return the private messages that came next after the response."""
    id_ = program.put("hello", {"protocol": 1, "nick": nick, "password": PASSWORD, **params})
    program.world.settle()
    first, *rest = program.read()
    assert first["id"] == id_
    program.welcome = first["result"]
    messages = [message["params"] for message in rest if message["method"] == "told"]
    assert [message["method"] for message in rest[: len(messages)]] == ["told"] * len(messages)
    return messages


def texts(messages: list[Message]) -> list[str]:
    """Return the texts of *messages*."""
    return [message["text"] for message in messages]


@pytest.mark.usefixtures("away")
def test_tell_is_kept_for_an_account_that_is_not_here_and_follows_the_response_to_hello(
    world: ProgramWorld, bob: Program
) -> None:
    assert bob.call("tell", to="ANN", text="psst") == {"kept": True}
    world.clock.advance(3600)
    bob.call("tell", to="ann", text="more")
    bob.call("say", room="lobby", text="hello")
    program = world.open_program()
    now = world.wall()
    assert told(program) == [
        {"id": 1, "nick": "bob", "session": "", "at": now - 3600, "text": "psst"},
        {"id": 2, "nick": "bob", "session": "", "at": now, "text": "more"},
    ]
    program.call("ping")
    program.vanish()
    assert back(world) == []


@pytest.mark.usefixtures("away")
def test_message_comes_again_until_a_request_or_an_orderly_end_follows(world: ProgramWorld, bob: Program) -> None:
    bob.call("tell", to="ann", text="psst")
    assert texts(back(world)) == texts(back(world)) == ["psst"]
    program = world.open_program()
    assert texts(told(program)) == ["psst"]
    program.person.end_input()
    world.clock.advance(61)
    world.settle()
    assert back(world) == []


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("is_clean", [True, False])
@pytest.mark.parametrize("method", ["hello", "login"])
def test_requests_that_were_sent_ahead_confirm_nothing_after_the_end_of_the_connection(
    world: ProgramWorld, bob: Program, is_clean: bool, method: str
) -> None:
    bob.call("tell", to="ann", text="psst")
    program = world.open_program()
    if method == "hello":
        program.put("hello", {"protocol": 1, "nick": "ann", "password": PASSWORD, "grace": 0})
    else:
        program.hello("guest", grace=0)
        program.put("login", {"nick": "ann", "password": PASSWORD})
    program.put("say", {"room": "lobby", "text": "hello"})
    if is_clean:
        program.person.protocol.readConnectionLost()
    program.vanish(clean=is_clean)
    world.clock.advance(61)
    world.settle()
    assert texts(back(world)) == ["psst"]


@pytest.mark.usefixtures("away")
def test_tell_is_refused_if_too_many_wait_or_it_cannot_be_stored(
    world: ProgramWorld, bob: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_changes: object, on_done: Any) -> None:  # noqa: ANN401
        world._soon.append(lambda: on_done(JournalError("disk full")))

    with monkeypatch.context() as patch:
        patch.setattr(world.journal.records, "write", fail)
        assert bob.fail("tell", to="ann", text="psst", uid="a") == (1001, "not-kept")
    assert bob.call("tell", to="ann", text="psst", uid="a") == {"kept": True}
    assert bob.call("tell", to="ann", text="psst", uid="a") == {"kept": True}
    assert bob.fail("tell", to="ann", text="other", uid="a") == (1012, "uid-reused")
    for _ in range(MAX_WAITING_FROM_ONE - 1):
        bob.notify("tell", to="ann", text="psst")
    assert bob.fail("tell", to="ann", text="psst") == (1007, "does-not-read")
    assert bob.fail("tell", to="nobody", text="psst") == (1006, "not-here")
    assert len(back(world)) == MAX_WAITING_FROM_ONE


@pytest.mark.usefixtures("away")
def test_repetition_of_a_message_that_is_being_stored_waits_for_it(world: ProgramWorld, bob: Program) -> None:
    held: list[Any] = []
    write = world.journal.records.write
    world.journal.records.write = lambda *arguments: held.append(arguments)  # type: ignore[method-assign]
    bob.put("tell", {"to": "ann", "text": "psst", "uid": "a"})
    world.settle()
    again = world.open_program()
    again.hello("x", resume=bob.resume)
    id_ = again.put("tell", {"to": "ann", "text": "psst", "uid": "a"})
    world.settle()
    assert not [message for message in again.read() if message.get("id") == id_]
    world.journal.records.write = write  # type: ignore[method-assign]
    (arguments,) = held
    write(*arguments)
    world.settle()
    assert again.response(id_)["result"] == {"kept": True}
    assert texts(back(world)) == ["psst"]


@pytest.mark.usefixtures("away")
def test_hello_and_login_go_on_if_the_messages_cannot_be_read(
    world: ProgramWorld, bob: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob.call("tell", to="ann", text="psst")

    def fail(_account: int, on_result: Any) -> None:  # noqa: ANN401
        world._soon.append(lambda: on_result(JournalError("disk on fire")))

    with monkeypatch.context() as patch:
        patch.setattr(world.journal.records, "read_waiting", fail)
        program = world.open_program()
        program.hello("ann", password=PASSWORD)
    text = "The private messages that wait for you cannot be read now: disk on fire."
    assert program.events()[0] == {"method": "announced", "room": None, "text": text}
    program.call("ping")
    program.call("quit")
    assert texts(back(world)) == ["psst"]


@pytest.mark.usefixtures("away")
def test_session_without_private_messages_leaves_them_to_another_one(world: ProgramWorld, bob: Program) -> None:
    bob.call("tell", to="ann", text="psst")
    sender = world.open_program()
    assert told(sender, private=False) == []
    guest = world.program("guest")
    assert bob.call("tell", to="ann", text="more") == {}
    guest.call("tell", to="ann", text="hi")
    sender.call("say", room="lobby", text="a report")
    assert [event["text"] for event in sender.events() if event["method"] == "told"] == ["hi"]
    sender.call("quit")
    assert texts(back(world)) == ["psst", "more"]


@pytest.mark.usefixtures("away")
def test_login_of_a_session_brings_the_messages(world: ProgramWorld, bob: Program) -> None:
    bob.call("tell", to="ann", text="psst")
    guest = world.program("guest")
    bob.call("tell", to="guest", text="hi")
    guest.read()
    assert guest.call("login", nick="ann", password=PASSWORD) == {"nick": "ann", "account": "ann"}
    messages = [event for event in guest.events() if event["method"] == "told"]
    assert [(message["id"], message["text"]) for message in messages] == [(2, "psst")]
    guest.call("ping")
    guest.vanish()
    assert back(world) == []


def test_messages_between_accounts_are_stored_for_both(world: ProgramWorld, ann: Program, bob: Program) -> None:
    assert bob.call("tell", to="ann", text="psst") == {}
    assert bob.call("tell", to="ann", text="more") == {}
    assert [(event["id"], event["text"]) for event in ann.events()] == [(1, "psst"), (2, "more")]
    ann.call("tell", to="bob", text="yes")
    at = world.wall()
    psst, more = ({"method": "told", "at": at, "nick": "bob", "to": "ann", "text": text} for text in ("psst", "more"))
    yes = {"method": "told", "at": at, "nick": "ann", "to": "bob", "text": "yes"}
    for program, other in ((ann, "Bob"), (bob, "ann")):
        pair = {"with": other}
        assert program.call("history", **pair, last=9) == {"events": [psst, more, yes], "more": False}
        assert program.call("history", **pair, last=2) == {"events": [more, yes], "more": True}
        assert program.call("search", **pair, words="psst") == {"events": [psst]}
        assert program.call("search", room="lobby", words="psst") == {"events": []}
    assert ann.call("inbox") == {"events": [psst, more]}
    assert ann.call("command", room="lobby", line="/inbox") == {
        "lines": ["[12:00] [bob] psst", "[12:00] [bob] more"],
    }
    assert ann.call("command", room="lobby", line="/history @bob 1") == {"lines": ["[12:00] [ann] yes"]}
    guest = world.program("guest")
    for params in (
        {"method": "inbox"},
        {"method": "history", "with": "ann", "last": 9},
        {"method": "search", "with": "ann", "words": "psst"},
        {"method": "command", "room": "lobby", "line": "/inbox"},
    ):
        assert guest.fail(**params) == (1024, "not-permitted")
    assert ann.fail("history", **{"with": "guest"}, last=9) == (-32602, None)
    assert ann.fail("history", **{"with": "bob"}, room="lobby", last=9) == (-32602, None)
    assert ann.fail("history", **{"with": "bob"}, before=9) == (-32602, None)
    assert ann.fail("search", words="x") == (-32602, None)


def test_long_messages_fit_into_a_result(ann: Program, bob: Program) -> None:
    for number in range(100):
        bob.call("tell", to="ann", text=f"{number} " + "x" * 4000)
    result = bob.call("history", **{"with": "ann"}, last=100)
    assert result["more"]
    assert result["events"][-1]["text"].startswith("99 ")
    assert len(result["events"]) > 50


def test_history_that_cannot_be_read_is_an_error(
    world: ProgramWorld, bob: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_account: int, _limit: int, on_result: Any) -> None:  # noqa: ANN401
        world._soon.append(lambda: on_result(JournalError("disk on fire")))

    monkeypatch.setattr(world.journal.records, "read_inbox", fail)
    assert bob.fail("inbox") == (-32603, None)


def test_resumed_session_receives_all_stored_messages_in_order(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.call("tell", to="ann", text="0")
    bob.call("tell", to="ann", text="1")
    ann.vanish()
    for number in range(2, 300):
        assert bob.call("tell", to="ann", text=f"{number}") == {}
    again = world.open_program()
    messages = told(again, resume=ann.resume | {"told": 1})
    assert [(message["id"], message["text"]) for message in messages] == [(n + 1, f"{n}") for n in range(1, 300)]
    again.vanish()
    third = world.open_program()
    assert told(third, resume=ann.resume | {"told": 299, "attempt": 2})[-1]["text"] == "299"
    third.call("ping")
    third.vanish()
    world.clock.advance(61)
    world.settle()
    assert back(world) == []


def test_message_during_the_grace_waits_for_the_next_login(world: ProgramWorld, ann: Program, bob: Program) -> None:
    ann.vanish()
    assert bob.call("tell", to="ann", text="psst") == {}
    world.clock.advance(61)
    world.settle()
    assert texts(back(world)) == ["psst"]
