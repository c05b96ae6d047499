"""Private messages that are stored: those that wait for people who are not here, and those between two accounts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from broadcast.core.errors import JournalError
from broadcast.core.limits import DEFAULTS
from broadcast.core.private_lines import MAX_WAITING, MAX_WAITING_FROM_ONE
from tests.harness import PASSWORD, Person, World
from tests.scenarios.conftest import Opens, at_once

KEPT = "-> kept for ann, who is not here."
REMOTE = IPv4Address("TCP", "192.0.2.7", 40000)


@pytest.fixture
def ann(world: World) -> Person:
    """A person with an account, who is here."""
    (ann,) = world.join("ann")
    world.register(ann)
    return ann


@pytest.fixture
def away(world: World, ann: Person) -> None:
    """Let ann leave."""
    ann.say("quit")
    ann.hang_up()


@pytest.fixture
def bob(world: World) -> Person:
    """A person with an account, who is here."""
    (bob,) = world.join("bob")
    world.register(bob)
    return bob


def log_in(world: World, nick: str = "ann", password: str = PASSWORD) -> Person:
    """Return a person who has logged in on a new connection."""
    person = world.connect()
    person.say(nick)
    person.read()
    person.say(password)
    return person


def arrival(person: Person) -> list[str]:
    """Return the lines that *person* has read since the password, up to the name."""
    lines = person.read().removeprefix("<show>\r\n").split("\r\n")[:-1]
    (index,) = [index for index, line in enumerate(lines) if line.startswith(" * You are ")]
    return lines[:index]


@pytest.mark.usefixtures("away")
def test_message_waits_for_a_registered_nickname_and_comes_first_at_the_next_login(world: World, bob: Person) -> None:
    bob.say("/msg Ann  psst,  you ", "hello")
    assert bob.lines() == [KEPT]
    world.clock.advance(86400)
    bob.say("/tell ann more")
    bob.read()
    ann = log_in(world)
    assert ann.read().startswith(
        "<show>\r\n[2026-01-15 12:00] [bob] psst,  you\r\n[12:00] [bob] more\r\n"
        " * You are ann. 1 other is here: bob. /help lists the commands, quit leaves.\r\n"
        "[2026-01-15 12:00] bob: hello\r\n"
    )


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("answer", [["hi"], ["/ping"], ["quit"], ["x" * 5000], []])
def test_message_is_delivered_once_if_input_or_an_orderly_end_follows(
    world: World, bob: Person, answer: list[str]
) -> None:
    bob.say("/msg ann psst")
    ann = log_in(world)
    assert arrival(ann) == ["[12:00] [bob] psst"]
    if answer:
        ann.say(*answer)
        ann.vanish()
    else:
        ann.end_input()
    assert arrival(log_in(world)) == []


@pytest.mark.usefixtures("away")
def test_message_comes_again_if_the_connection_is_lost_before_any_input(world: World, bob: Person) -> None:
    bob.say("/msg ann psst", "/msg ann again")
    for _ in range(3):
        ann = log_in(world)
        assert arrival(ann) == ["[12:00] [bob] psst", "[12:00] [bob] again"]
        ann.vanish()
    log_in(world)
    ann = log_in(world)  # which ends the other session of the account
    assert len(arrival(ann)) == 2
    ann.say("hi")
    assert arrival(log_in(world)) == []


@pytest.mark.usefixtures("away")
def test_messages_that_a_slow_client_has_not_been_sent_come_again(world: World, bob: Person) -> None:
    for number in range(20):
        bob.say(f"/msg ann {number} " + "x" * 3500)
    bob.say("/msg ann last")
    ann = world.connect()
    ann.say("ann")
    ann.read()
    ann.say(PASSWORD)
    ann.vanish()
    assert len(arrival(log_in(world))) == 20, "one sender's 21st message is refused"


def test_message_to_an_unregistered_nickname_that_is_not_here_is_refused(bob: Person) -> None:
    bob.say("/msg nobody psst")
    assert bob.lines() == ["-> Error: nobody is not here."]


@pytest.mark.usefixtures("away")
def test_one_account_can_leave_twenty_messages(world: World, bob: Person) -> None:
    bob.say(*["/msg ann psst"] * (MAX_WAITING_FROM_ONE + 1))
    refusal = "-> Error: 20 of your messages wait for ann already: write again when they have been here."
    assert bob.lines() == [KEPT] * MAX_WAITING_FROM_ONE + [refusal]
    ann = log_in(world)
    ann.say("thanks", "quit")
    bob.read()
    bob.say("/msg ann psst")
    assert bob.lines() == [KEPT]


@pytest.mark.usefixtures("away")
def test_one_address_can_leave_twenty_messages_without_an_account(world: World) -> None:
    people = []
    for nick, address in [("carol", REMOTE), ("dave", REMOTE), ("eve", IPv4Address("TCP", "192.0.2.8", 40000))]:
        person = world.connect(address)
        person.say(nick)
        people.append(person)
    carol, dave, eve = people
    for person in people:
        person.read()
    carol.say(*["/msg ann psst"] * MAX_WAITING_FROM_ONE)
    assert carol.lines() == [KEPT] * MAX_WAITING_FROM_ONE
    dave.say("/msg ann psst")
    assert dave.lines() == [
        "-> Error: 20 messages from your address wait for ann already: write again when they have been here."
    ]
    eve.say("/msg ann psst")
    assert eve.lines() == [KEPT]
    assert arrival(log_in(world)) == ["[12:00] [carol] psst"] * MAX_WAITING_FROM_ONE + ["[12:00] [eve] psst"]


@pytest.mark.usefixtures("away")
def test_two_hundred_messages_wait_for_one_account(world: World) -> None:
    for number in range(MAX_WAITING // MAX_WAITING_FROM_ONE):
        (person,) = world.join(f"p{number}")
        world.register(person)
        person.say(*["/msg ann psst"] * MAX_WAITING_FROM_ONE)
        assert person.lines() == [KEPT] * MAX_WAITING_FROM_ONE
        world.clock.advance(3600)
    (carol,) = world.join("carol")
    carol.say("/msg ann psst")
    assert carol.lines() == ["-> Error: 200 messages wait for ann already: write again when they have been here."]
    ann = log_in(world)
    assert len(arrival(ann)) == MAX_WAITING


@pytest.mark.usefixtures("away")
def test_message_that_cannot_be_stored_is_refused_and_counts_for_nothing(
    world: World, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_changes: object, on_done: Any) -> None:  # noqa: ANN401
        world._soon.append(lambda: on_done(JournalError("disk full")))

    with monkeypatch.context() as patch:
        patch.setattr(world.journal.records, "write", fail)
        bob.say(*["/msg ann psst"] * (MAX_WAITING_FROM_ONE + 1), "/ping")
    assert bob.lines() == ["-> Error: it cannot be stored: disk full"] * (MAX_WAITING_FROM_ONE + 1) + ["-> pong"]
    bob.say("/msg ann psst")
    assert bob.lines() == [KEPT]
    assert arrival(log_in(world)) == ["[12:00] [bob] psst"]


@pytest.mark.usefixtures("away")
def test_login_goes_on_if_the_messages_cannot_be_read(
    world: World, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob.say("/msg ann psst")

    def fail(_account: int, on_result: Any) -> None:  # noqa: ANN401
        world._soon.append(lambda: on_result(JournalError("disk on fire")))

    with monkeypatch.context() as patch:
        patch.setattr(world.journal.records, "read_waiting", fail)
        ann = log_in(world)
    assert arrival(ann) == ["-> Error: the messages that wait for you cannot be read now: disk on fire"]
    ann.say("hi", "quit")
    assert arrival(log_in(world)) == ["[12:00] [bob] psst"]


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("is_clean", [True, False])
def test_lines_that_were_sent_ahead_confirm_nothing_after_the_end_of_the_connection(
    world: World, bob: Person, is_clean: bool
) -> None:
    bob.say("/msg ann psst")
    ann = world.connect()
    ann.put(f"/login ann\r\n{PASSWORD}\r\nhello\r\n")
    if is_clean:
        ann.protocol.readConnectionLost()
    ann.vanish(clean=is_clean)
    assert bob.lines()[-2:] == ["ann: hello", " * ann left." if is_clean else " * ann left: connection lost"]
    assert arrival(log_in(world)) == ["[12:00] [bob] psst"]


@pytest.mark.usefixtures("away")
def test_connection_lost_while_the_messages_are_read_leaves_nobody_behind(world: World, bob: Person) -> None:
    bob.say("/msg ann psst")
    held: list[Any] = []
    read_waiting = world.journal.records.read_waiting
    world.journal.records.read_waiting = lambda *arguments: held.append(arguments)  # type: ignore[method-assign]
    ann = log_in(world)
    bob.read()
    bob.say("/msg ann are you coming?")
    assert bob.lines() == ["-> sent to ann."]
    ann.vanish()
    world.journal.records.read_waiting = read_waiting  # type: ignore[method-assign]
    read_waiting(*held[0])
    world.settle()
    assert world.hub.people.members.keys() == {bob.protocol.session.id}
    assert bob.lines() == [" * ann joined.", " * ann left: connection lost"]
    assert arrival(log_in(world)) == ["[12:00] [bob] psst", "[12:00] [bob] are you coming?"]


@pytest.mark.usefixtures("away")
def test_second_login_ends_a_session_whose_messages_are_being_read(world: World, bob: Person) -> None:
    bob.say("/msg ann psst")
    bob.read()
    held: list[Any] = []
    read_waiting = world.journal.records.read_waiting
    world.journal.records.read_waiting = lambda *arguments: held.append(arguments)  # type: ignore[method-assign]
    first, second = log_in(world), log_in(world)
    advice = "If that was not you, log in and change your password with /passwd."
    notice = f" * ann has logged in on another connection. {advice}"
    assert first.read().split("\r\n")[1:] == [notice, " * Goodbye, ann.", ""]
    assert first.transport.finished
    for arguments in held:
        read_waiting(*arguments)
    world.settle()
    assert arrival(second) == ["[12:00] [bob] psst"]
    assert len(world.hub.people.members) == 2


@pytest.mark.usefixtures("away")
def test_message_that_is_stored_during_the_login_comes_once(world: World, bob: Person) -> None:
    ann = world.connect()
    ann.say("ann")
    ann.put(f"{PASSWORD}\r\n")
    texts: list[str] = []
    while world.turn():
        bob.put(f"/msg ann {len(texts)}\r\n")
        texts.append(str(len(texts)))
        if len(texts) == 10:
            break
    world.settle()
    shown = [line for line in ann.read().split("\r\n") if "[bob]" in line]
    assert [line.partition("[bob] ")[2] for line in shown] == texts


@pytest.mark.usefixtures("away")
def test_login_in_the_room_shows_the_messages(world: World, bob: Person) -> None:
    bob.say("/msg ann psst")
    (guest,) = world.join("guest")
    guest.say("/login ann", PASSWORD, "hi")
    assert guest.read() == "<hide>Password: <show>\r\n[12:00] [bob] psst\r\n-> You are logged in as ann.\r\n"
    assert bob.lines()[-2:] == [" * guest is now ann.", "ann: hi"]
    guest.vanish()
    assert arrival(log_in(world)) == []


@pytest.mark.usefixtures("away")
def test_reply_goes_to_the_sender_of_a_message_that_waited(world: World, bob: Person) -> None:
    bob.say("/msg ann psst", "quit")
    bob.hang_up()
    ann = log_in(world)
    arrival(ann)
    ann.say("/reply you too")
    assert ann.lines() == ["-> kept for bob, who is not here."]
    bob = log_in(world, "bob")
    assert arrival(bob) == ["[12:00] [ann] you too"]
    ann.say("/reply again")
    assert ann.lines()[-1] == "-> sent to bob."
    assert bob.lines()[-1] == "[ann] again"


@pytest.mark.usefixtures("away")
def test_reply_to_a_guest_who_has_left_is_refused(world: World) -> None:
    (carol,) = world.join("carol")
    carol.say("/msg ann psst", "quit")
    carol.hang_up()
    ann = log_in(world)
    arrival(ann)
    ann.say("/reply who are you?")
    assert ann.lines() == ["-> Error: the one who wrote to you last is not here."]


@pytest.mark.usefixtures("away")
def test_ignored_people_are_hidden_at_a_login_in_the_room(world: World, bob: Person) -> None:
    bob.say("/msg ann psst")
    (guest,) = world.join("guest")
    guest.say("/ignore bob", "/login ann", PASSWORD, "/inbox", "/unignore bob", "/inbox")
    lines = guest.lines()
    assert "-> no private messages to you are stored." in lines
    assert [line for line in lines if "psst" in line] == ["-> [12:00] [bob] psst"]


# Two accounts that are here


def test_message_between_two_accounts_is_stored_and_travels_as_before(world: World, ann: Person, bob: Person) -> None:
    (carol,) = world.join("carol")
    for person in (ann, bob):
        person.read()
    at_once((bob, "before", "/msg ANN  psst,  you ", "after", "/msg ann more"))
    assert bob.lines() == ["-> sent to ann."] * 2
    assert ann.lines() == ["bob: before", "[bob] psst,  you", "bob: after", "[bob] more"]
    assert carol.lines() == ["bob: before", "bob: after"]
    ann.say("/msg bob yes", "/history @BOB", "/history @bob 2", "/search @bob you", "/search @bob before", "/inbox")
    bob.say("/history @ann")
    both = ["-> [12:00] [bob] psst,  you", "-> [12:00] [bob] more", "-> [12:00] [ann] yes"]
    assert ann.lines() == [
        *("-> sent to bob.", *both, *both[1:], both[0], "-> nothing found.", *both[:2]),
    ]
    assert bob.lines() == ["[ann] yes", *both]


def test_author_of_long_stored_messages_waits_until_they_are_delivered(open_world: Opens) -> None:
    world = open_world(limits=replace(DEFAULTS.without_client_limits(), private_queue_bytes=2048))
    ann, bob = world.join("ann", "bob")
    world.register(ann, bob)
    ann.read()
    bob.put("/msg ann " + "x" * 1500 + "\r\n/msg ann more\r\n/ping\r\n")
    world.until(lambda: world.hub.people.find("ann").private_in_flight > 0)
    assert not bob.protocol.session.ready
    world.settle()
    assert bob.lines() == ["-> sent to ann.", "-> sent to ann.", "-> pong"]
    assert ann.lines() == ["[bob] " + "x" * 1500, "[bob] more"]


def test_message_of_a_guest_to_an_account_that_is_here_is_not_stored(world: World, ann: Person) -> None:
    (carol,) = world.join("carol")
    ann.read()
    carol.say("/msg ann psst")
    assert carol.lines() == ["-> sent to ann."]
    ann.say("/msg carol hm", "/inbox", "/history @carol")
    assert ann.lines() == [
        *("[carol] psst", "-> sent to carol.", "-> no private messages to you are stored."),
        "-> Error: private messages with carol are not stored, because carol is not registered.",
    ]
    carol.say("/inbox", "/history @ann", "/search @ann psst", "/history @", "/search @ann")
    assert carol.lines() == [
        "[ann] hm",
        *["-> Error: you are not logged in. /login NAME logs in as NAME."] * 3,
        "-> Error: usage: /history [N]",
        "-> nothing found.",
    ]


def test_message_between_two_accounts_comes_again_if_no_input_has_followed(
    world: World, ann: Person, bob: Person
) -> None:
    ann.say("hi")
    bob.say("/msg ann psst")
    assert ann.lines()[-1] == "[bob] psst"
    ann.vanish()
    ann = log_in(world)
    assert arrival(ann) == ["[12:00] [bob] psst"]
    ann.say("yes")
    assert arrival(log_in(world)) == []


def test_recipient_who_leaves_before_the_message_is_stored_reads_it_later(
    world: World, ann: Person, bob: Person
) -> None:
    at_once((bob, "/msg ann psst"), (ann, "quit"))
    assert KEPT in bob.lines()
    assert "psst" not in ann.read()
    assert arrival(log_in(world)) == ["[12:00] [bob] psst"]


def test_owner_with_another_nickname_is_here(world: World, ann: Person, bob: Person) -> None:
    ann.say("/nick annie")
    bob.read()
    bob.say("/msg ann psst", "/history @annie", "/history @ann")
    assert bob.lines() == ["-> sent to annie.", *["-> [12:00] [bob] psst"] * 2]
    assert ann.lines()[-1] == "[bob] psst"


def test_ignored_sender_notices_nothing_and_is_never_shown(world: World, ann: Person, bob: Person) -> None:
    ann.say("/ignore bob")
    bob.read()
    bob.say("/msg ann psst", "/history @ann")
    assert bob.lines() == ["-> sent to ann.", "-> [12:00] [bob] psst"]
    ann.vanish()
    assert arrival(log_in(world)) == []


def test_reader_without_any_input_sees_some_hundred_messages_again(world: World, ann: Person, bob: Person) -> None:
    for number in range(3 * MAX_WAITING):
        bob.say(f"/msg ann {number}")
    ann.vanish()
    ann = log_in(world)
    again = arrival(ann)
    assert MAX_WAITING <= len(again) <= 2 * MAX_WAITING
    assert again[-1] == f"[12:00] [bob] {3 * MAX_WAITING - 1}"


def test_stored_messages_that_cannot_be_read_are_an_error(
    world: World, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_account: int, _limit: int, on_result: Any) -> None:  # noqa: ANN401
        world._soon.append(lambda: on_result(JournalError("disk on fire")))

    monkeypatch.setattr(world.journal.records, "read_inbox", fail)
    bob.say("/inbox", "/ping")
    assert bob.lines() == ["-> Error: the private messages cannot be read: disk on fire", "-> pong"]


# Accounts, not names


def test_lines_follow_the_account_after_a_rename(world: World, ann: Person, bob: Person) -> None:
    bob.say("/msg ann psst")
    ann.say("/msg bob yes", "quit")
    bob.say("/msg ann waiting")
    account = world.hub.accounts.find("ann")
    assert account is not None
    world.hub.accounts.change(account, name="anna")
    world.settle()
    bob.read()
    bob.say("/history @anna", "/msg anna later", "/history @ann")
    assert bob.lines() == [
        *("-> [12:00] [bob] psst", "-> [12:00] [ann] yes", "-> [12:00] [bob] waiting"),
        "-> kept for anna, who is not here.",
        "-> Error: private messages with ann are not stored, because ann is not registered.",
    ]
    assert arrival(log_in(world, "anna")) == ["[12:00] [bob] waiting", "[12:00] [bob] later"]


def test_next_owner_of_a_nickname_sees_nothing_of_the_old_account(world: World, ann: Person, bob: Person) -> None:
    bob.say("/msg ann psst")
    ann.say("/msg bob yes", "/drop", PASSWORD, "quit")
    ann.hang_up()
    (heir,) = world.join("ann")
    world.register(heir)
    heir.say("/inbox", "/history @bob")
    assert heir.lines() == [
        "-> no private messages to you are stored.",
        "-> no private messages with this person are stored.",
    ]
    bob.read()
    bob.say("/history @ann", "/inbox")
    assert bob.lines() == ["-> no private messages with this person are stored.", "-> [12:00] [ann] yes"]


def test_private_lines_are_in_no_room(world: World, ann: Person, bob: Person, log: list[str]) -> None:
    ann.read()
    bob.say("hello", "/msg ann psst")
    ann.say("/history", "/search psst", "/msg bob psst psst")
    assert ann.lines() == [
        *("bob: hello", "[bob] psst", "-> #1 [12:00] bob: hello", "-> nothing found.", "-> sent to bob."),
    ]
    assert not [line for line in log if "psst" in line]
    assert world.room.last_seq == 1
