"""Accounts at the line door: the dialogues that ask for passwords, and what never happens to a password."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.address import IPv4Address

from broadcast.core.accounts import DROPPED, PASSWORD_CHANGED
from broadcast.core.errors import JournalError
from broadcast.core.hub import GOING_DOWN, TAKEN_OVER
from broadcast.core.password_dialogue import TYPED_AHEAD_SECONDS
from broadcast.core.session import NEEDS_TLS, NOT_ENCRYPTED
from broadcast.core.settings import Settings
from tests.harness import PASSWORD, Person, World
from tests.scenarios.conftest import Opens, newcomer
from tests.tls import TlsWorld

ASK = "<hide>Password: "
ASK_OLD, ASK_NEW, ASK_MORE = "<hide>Old password: ", "<hide>New password: ", "<hide>Once more: "
TYPED = "<show>\r\n"
NICKNAME = "Nickname: "
WRONG = "-> Error: wrong password. An empty line ends this.\r\n"
THIRD_WRONG = "-> Error: wrong password. It was the third one: connect again for another try.\r\n"
REPEATED = "-> Error: this is the password that you have just typed. It was not said.\r\n"
OTHER = "another horse"
REMOTE = IPv4Address("TCP", "192.0.2.7", 40000)


def confirmed(nick: str, company: str = "Nobody else is here.") -> str:
    return f" * You are {nick}. {company} /help lists the commands, quit leaves.\r\n"


def owner_of(world: World, nick: str) -> Person:
    """Register *nick* and let its owner leave. Return the owner."""
    (owner,) = world.join(nick)
    world.register(owner)
    owner.say("quit")
    owner.hang_up()
    return owner


@pytest.fixture
def ann(world: World) -> Person:
    """A person with a registered nickname."""
    (ann,) = world.join("ann")
    world.register(ann)
    return ann


# Registering


def test_register_asks_twice_and_registers_the_present_nickname(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.say("/register")
    assert ann.read() == ASK
    ann.say(PASSWORD)
    assert ann.read() == TYPED + ASK_MORE
    ann.say(PASSWORD, "hi")
    assert ann.read() == f"{TYPED}-> ann is registered, and you are logged in.\r\n"
    assert bob.lines() == ["ann: hi"]
    account = world.hub.accounts.find("ANN")
    assert account is not None
    assert world.hub.people.find("ann").account is account


def test_register_asks_again_after_each_error_and_ends_with_an_empty_line(world: World, bob: Person) -> None:
    bob.say("/register", PASSWORD, OTHER)
    assert (
        bob.read()
        == f"{ASK}{TYPED}{ASK_MORE}{TYPED}-> Error: the two passwords differ. An empty line ends this.\r\n{ASK}"
    )
    bob.say("short", PASSWORD, "short")
    too_short = "-> Error: a password has 8 to 256 bytes. An empty line ends this.\r\n"
    assert bob.read() == f"{TYPED}{too_short}{ASK}{TYPED}{ASK_MORE}{TYPED}{too_short}{ASK}"
    world.hasher.is_full = True
    bob.say(PASSWORD, PASSWORD)
    assert bob.read() == f"{TYPED}{ASK_MORE}{TYPED}-> Error: busy, try again. An empty line ends this.\r\n{ASK}"
    bob.say("")
    assert bob.read() == f"{TYPED}-> Nothing was changed.\r\n"
    assert world.hub.accounts.find("bob") is None


def test_register_that_cannot_be_stored_asks_again(world: World, bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_changes: object, on_done: object) -> None:
        world._soon.append(lambda: on_done(JournalError("disk full")))  # type: ignore[operator]

    monkeypatch.setattr(world.journal.records, "write", fail)
    bob.say("/register", PASSWORD, PASSWORD)
    assert (
        bob.read()
        == f"{ASK}{TYPED}{ASK_MORE}{TYPED}-> Error: it cannot be stored: disk full. An empty line ends this.\r\n{ASK}"
    )


def test_register_is_refused_to_a_user_with_an_account_and_where_nobody_registers(
    open_world: Opens, ann: Person
) -> None:
    ann.say("/register")
    assert ann.lines() == ["-> Error: you are logged in as ann. /logout ends that."]
    (bob,) = open_world(Settings(accounts="closed")).join("bob")
    bob.say("/register")
    assert bob.lines() == ["-> Error: nobody can register here: ask the administrator for an account."]


@pytest.mark.one_turn
def test_nickname_whose_user_left_during_the_registration_is_free_for_its_owner_only(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.put(f"/register\r\n{PASSWORD}\r\n{PASSWORD}\r\n")
    world.hub.people.find("ann").listener.disconnect("kicked", "You were kicked.")
    bob.put("/nick ann\r\n")
    assert world.hub.people.find("ann").account is None
    world.settle()
    assert world.hub.accounts.find("ann") is not None
    kicked = " * You were kicked.\r\n * bob is now ann.\r\n * Goodbye, ann.\r\n"
    assert ann.read() == f"{ASK}{TYPED}{ASK_MORE}{TYPED}{kicked}"
    bob.say("/names")
    assert bob.lines()[-1] == "-> 1 here: ann2"


# Logging in at the prompt for the nickname


@pytest.mark.parametrize("typed", ["ann", "/login ann", "  /LOGIN  Ann ", "ANN"])
def test_registered_nickname_asks_for_its_password(world: World, typed: str) -> None:
    owner_of(world, "ann")
    (bob,) = world.join("bob")
    person = newcomer(world)
    person.say(typed)
    assert person.read() == ASK
    bob.say("/names")
    assert bob.lines() == ["-> 1 here: bob"]
    person.say(PASSWORD, "hi")
    assert person.read() == TYPED + confirmed("ann", "1 other is here: bob.")
    assert bob.lines() == [" * ann joined.", "ann: hi"]


def test_empty_line_goes_back_to_the_nickname(world: World, ann: Person) -> None:
    bob = newcomer(world)
    bob.say("ann", "", "ann", "", "bob", "hi")
    assert bob.read() == f"{ASK}{TYPED}{NICKNAME}" * 2 + confirmed("bob", "1 other is here: ann.")
    assert ann.lines() == [" * bob joined.", "bob: hi"]


@pytest.mark.parametrize("name", ["ann", "zoe", "x" * 400, "\u0430nn", "a!"])
def test_login_asks_for_any_name_and_three_wrong_passwords_close(world: World, ann: Person, name: str) -> None:
    thief = newcomer(world)
    thief.say(f"/login {name}", OTHER, "quit", OTHER)
    too_short = "-> Error: a password has 8 to 256 bytes. An empty line ends this.\r\n"
    assert thief.read() == f"{ASK}{TYPED}{WRONG}{ASK}{TYPED}{too_short}{ASK}{TYPED}{WRONG}{ASK}"
    thief.say(OTHER)
    assert thief.read() == f"{TYPED}{THIRD_WRONG} * Goodbye.\r\n"
    assert thief.transport.finished
    assert ann.lines() == []


def test_wrong_passwords_count_over_several_dialogues(world: World, ann: Person, log: list[str]) -> None:
    thief = newcomer(world)
    for _ in range(2):
        thief.say("ann", OTHER, "")
    thief.read()
    thief.say("/login zoe", OTHER)
    assert thief.read() == f"{ASK}{TYPED}{THIRD_WRONG} * Goodbye.\r\n"
    assert log[-1] == "somebody without a nickname left: 3 wrong passwords (127.0.0.1 port 40000)"


def test_time_for_the_nickname_does_not_end_while_a_password_is_checked(world: World, ann: Person) -> None:
    held: list[Callable[[], None]] = []
    world.hasher._call_soon = held.append
    person = newcomer(world)
    person.say("ann", OTHER)
    person.read()
    world.clock.advance(61)
    assert person.read() == ""
    held.pop()()
    world.settle()
    assert person.read() == WRONG + ASK
    world.clock.advance(60)
    assert person.read().endswith(" * No nickname in 60 seconds.\r\n")


def test_people_wait_while_programs_read_busy(world: World, ann: Person) -> None:
    person = newcomer(world)
    world.hasher.is_busy = True
    person.say("ann", PASSWORD)
    assert person.read() == ASK + TYPED + confirmed("ann")


def test_busy_asks_again_at_the_nickname(world: World, ann: Person) -> None:
    person = newcomer(world)
    world.hasher.is_full = True
    person.say("ann", *[PASSWORD] * 5)
    assert person.read() == ASK + f"{TYPED}-> Error: busy, try again. An empty line ends this.\r\n{ASK}" * 5
    world.hasher.is_full = False
    person.say(PASSWORD)
    assert person.read() == TYPED + confirmed("ann")


def test_the_right_password_takes_over_and_the_older_session_is_told_and_closed(world: World, ann: Person) -> None:
    (bob,) = world.join("bob")
    person = newcomer(world)
    ann.read()
    person.say("ann", PASSWORD)
    assert person.read() == ASK + TYPED + confirmed("ann", "1 other is here: bob.")
    advice = "If that was not you, log in and change your password with /passwd."
    assert ann.lines() == [f" * ann has logged in on another connection. {advice}", " * Goodbye, ann."]
    assert ann.transport.finished
    assert bob.lines() == [f" * ann left: {TAKEN_OVER}", " * ann joined."]


def test_only_people_with_an_account_get_in_where_it_is_required(open_world: Opens) -> None:
    world = open_world(Settings(accounts="required"))
    person = newcomer(world)
    person.say("ann")
    error = "-> Error: only people with an account get in here: ask the administrator for one.\r\n"
    assert person.read() == error + NICKNAME


# Logging in and out in the room


def test_login_in_the_room_gives_the_registered_nickname(world: World) -> None:
    owner_of(world, "ann")
    (bob,) = world.join("bob")
    bob.say("/login ann", OTHER, PASSWORD, "hi")
    assert bob.read() == f"{ASK}{TYPED}{WRONG}{ASK}{TYPED}-> You are logged in as ann.\r\n"
    assert world.hub.people.find("ann").account is world.hub.accounts.find("ann")


def test_three_wrong_passwords_close_in_the_room_too(world: World, ann: Person, bob: Person) -> None:
    ann.read()
    bob.say("/login ann", OTHER, OTHER, OTHER, "hi")
    assert bob.read() == ASK + f"{TYPED}{WRONG}{ASK}" * 2 + f"{TYPED}{THIRD_WRONG} * Goodbye, bob.\r\n"
    assert ann.lines() == [" * bob left: 3 wrong passwords"]


def test_login_without_a_name_says_which_account_it_is(ann: Person, bob: Person) -> None:
    bob.say("/login")
    assert bob.lines() == ["-> Error: bob is not registered: /register does that. /login NAME logs in as NAME."]
    ann.read()
    ann.say("/login")
    assert ann.lines() == ["-> Error: you are logged in as ann. /login NAME logs in to another account."]


def test_login_to_a_nickname_that_looks_like_a_present_one_is_refused(open_world: Opens) -> None:
    world = open_world(Settings(unicode_nicknames=True))
    owner_of(world, "anna")
    _thief, bob = world.join("\u0430nna", "bob")
    person = newcomer(world)
    refused = "-> Error: anna looks too much like \u0430nna, who is here.\r\n"
    person.say("anna", PASSWORD)
    assert person.read() == ASK + TYPED + refused + NICKNAME
    bob.say("/login anna", PASSWORD, "/names")
    assert bob.read() == f"{ASK}{TYPED}{refused}-> 2 here: \u0430nna, bob\r\n"
    assert world.hub.people.find("bob").account is None


def test_registered_nickname_is_refused_to_nick_which_names_the_command(ann: Person, bob: Person) -> None:
    bob.say("/nick  Ann ")
    assert bob.lines() == ["-> Error: Ann is registered: /login Ann asks for its password."]


def test_logged_in_user_changes_the_nickname_and_returns_to_it(world: World, ann: Person) -> None:
    ann.say("/nick rob", "/nick ann")
    assert ann.lines() == ["-> You are rob.", "-> You are ann."]
    ann.say("/nick rob", "/logout", "/logout", "/nick ann")
    assert ann.lines() == [
        "-> You are rob.",
        "-> You are logged out.",
        "-> Error: you are not logged in. /login NAME logs in as NAME.",
        "-> Error: ann is registered: /login ann asks for its password.",
    ]


def test_logout_gives_a_free_nickname_at_once(world: World, ann: Person) -> None:
    world.join("ann2")
    (bob,) = world.join("bob")
    ann.read()
    ann.say("/logout", "hi")
    assert ann.lines() == ["-> You are logged out, and your nickname is ann3."]
    assert bob.lines() == [" * ann is now ann3.", "ann3: hi"]


def test_nobody_stays_without_an_account_where_it_is_required(open_world: Opens) -> None:
    world = open_world()
    (ann,) = world.join("ann")
    world.register(ann)
    world.hub.authenticator._mode = "required"
    ann.say("/logout")
    assert ann.lines() == ["-> Error: only people with an account may be here. quit leaves."]
    ann.say("/drop", PASSWORD)
    assert ann.read() == f"{ASK}{TYPED} * The account ann was deleted.\r\n * Goodbye, ann.\r\n"


# Changing the password, and deleting the account


def test_passwd_changes_the_password_and_ends_the_other_sessions(world: World, ann: Person) -> None:
    ann.say("/nick rob")
    other = newcomer(world)
    other.say("ann", PASSWORD)
    other.read()
    ann.read()
    ann.say("/passwd", PASSWORD, OTHER, "different one")
    assert ann.read() == (
        f"{ASK_OLD}{TYPED}{ASK_NEW}{TYPED}{ASK_MORE}{TYPED}"
        f"-> Error: the two passwords differ. An empty line ends this.\r\n{ASK_NEW}"
    )
    ann.say(OTHER, OTHER)
    assert ann.lines() == [
        "<show>",
        f"{ASK_MORE}<show>",
        "-> Your password is changed.",
        f" * ann left: {PASSWORD_CHANGED}",
    ]
    assert other.lines() == [" * The password of ann was changed: log in again.", " * Goodbye, ann."]
    again = newcomer(world)
    again.say("ann", PASSWORD, OTHER)
    assert again.read() == f"{ASK}{TYPED}{WRONG}{ASK}{TYPED}" + confirmed("ann", "1 other is here: rob.")


def test_passwd_asks_for_a_wrong_old_password_again(ann: Person) -> None:
    ann.say("/passwd", OTHER)
    assert ann.read() == f"{ASK_OLD}{TYPED}{WRONG}{ASK_OLD}"
    ann.say("", "/passwd", PASSWORD, "")
    assert ann.read() == (
        f"{TYPED}-> Nothing was changed.\r\n{ASK_OLD}{TYPED}{ASK_NEW}{TYPED}-> Nothing was changed.\r\n"
    )


def test_passwd_with_three_wrong_old_passwords_ends_the_session(ann: Person) -> None:
    ann.say("/passwd", OTHER, OTHER, OTHER)
    third = "-> Error: wrong password. It was the third one: connect again for another try.\r\n * Goodbye, ann.\r\n"
    assert ann.read() == f"{ASK_OLD}{TYPED}{WRONG}{ASK_OLD}{TYPED}{WRONG}{ASK_OLD}{TYPED}{third}"


def test_drop_deletes_the_account_and_frees_the_nickname(world: World, ann: Person) -> None:
    ann.say("/nick rob")
    other = newcomer(world)
    other.say("ann", PASSWORD)
    other.read()
    ann.read()
    ann.say("/drop", OTHER, PASSWORD, "/nick ann")
    assert ann.read() == (
        f"{ASK}{TYPED}{WRONG}{ASK}{TYPED}-> ann is not registered any more.\r\n"
        f"-> You are ann.\r\n * ann left: {DROPPED}\r\n"
    )
    assert other.lines() == [" * The account ann was deleted.", " * rob is now ann.", " * Goodbye, ann."]
    assert len(world.hub.accounts) == 0


@pytest.mark.parametrize("command", ["/passwd", "/drop", "/logout"])
def test_commands_about_the_account_need_one(bob: Person, command: str) -> None:
    bob.say(command)
    assert bob.lines() == ["-> Error: you are not logged in. /login NAME logs in as NAME."]


# A password is never said


SECRET = "hunter2hunter2"


def test_password_that_stands_next_to_the_command_is_not_shown(world: World, ann: Person) -> None:
    person = newcomer(world)
    for user in (ann, person):
        user.say(f"/register{SECRET}", f"/help register {SECRET}")
        assert SECRET not in user.read()


@pytest.mark.parametrize(
    "typed",
    [
        *(f"{command} {SECRET}" for command in ("/register", "/REGISTER", "/passwd", "/drop")),
        *(f"/register{space}{SECRET}" for space in ("  ", "\t", "\u00a0", "\u3000", "\u2028")),
        f"/login ann {SECRET}",
        f"/login ann\u00a0{SECRET}",
        f"/drop {SECRET} ",
        f"/passwd {SECRET} {SECRET}",
        *(f"{blanks}/register {SECRET}" for blanks in (" ", "\t ", "\u3000", "\u200b")),
    ],
)
def test_password_command_with_further_words_is_refused_everywhere(
    world: World, ann: Person, log: list[str], typed: str
) -> None:
    (bob,) = world.join("bob")
    person = newcomer(world)
    ann.read()
    for user in (bob, person):
        user.say(typed)
    verb = "/login NAME" if "login" in typed else typed.partition(SECRET)[0].strip("\u200b").split()[0].lower()
    refused = f"-> Error: the password is asked for: type {verb} and nothing else.\r\n"
    assert (bob.read(), person.read()) == (refused, refused + NICKNAME)
    assert ann.lines() == []
    assert SECRET not in "".join(log)


@pytest.mark.parametrize(
    "typed", [" /login", "  /registers of births", "//register me", "/say /register me", "a /drop x"]
)
def test_ordinary_lines_about_the_commands_are_said(ann: Person, bob: Person, typed: str) -> None:
    ann.read()
    bob.say(typed)
    assert ann.lines() == [f"bob: {typed.removeprefix('/say ') if typed[:2] != '//' else typed[1:]}"]


@pytest.mark.parametrize("repetition", [PASSWORD, f" {PASSWORD} "])
def test_password_that_is_pasted_twice_is_not_said(world: World, ann: Person, repetition: str) -> None:
    bob = newcomer(world)
    bob.say("/login ann", PASSWORD, repetition, repetition, "hi", repetition)
    assert bob.read() == ASK + TYPED + confirmed("ann") + REPEATED * 2
    (reader,) = world.join("zoe")
    bob.say("/history")
    assert [line.partition("] ")[2] for line in bob.read().splitlines() if "] " in line] == [
        "ann: hi",
        f"ann: {repetition}",
    ]
    assert reader.lines() == []


def test_password_that_is_typed_late_is_no_nickname(world: World, ann: Person, log: list[str]) -> None:
    bob = newcomer(world)
    bob.say("ann", SECRET, "", SECRET, "bob")
    assert bob.read() == (
        f"{ASK}{TYPED}{WRONG}{ASK}{TYPED}{NICKNAME}{REPEATED}{NICKNAME}" + confirmed("bob", "1 other is here: ann.")
    )
    assert ann.lines() == [" * bob joined."]
    assert SECRET not in "".join(log)


def test_old_and_new_password_are_both_recognized_after_the_dialogue(ann: Person, bob: Person) -> None:
    ann.say("/passwd", PASSWORD, OTHER, OTHER)
    ann.read()
    ann.say(PASSWORD, OTHER, "hi", OTHER)
    assert ann.read() == REPEATED * 2
    assert bob.lines() == ["ann: hi", f"ann: {OTHER}"]


@pytest.mark.parametrize("command", ["/passwd", "/drop", f"/register {SECRET}", " /login ann x", "/register:"])
def test_password_that_is_typed_ahead_of_a_refusal_is_not_said(
    world: World, ann: Person, log: list[str], command: str
) -> None:
    bob, person = world.join("bob")[0], newcomer(world)
    ann.read()
    kept_back = "-> Error: this may be the password that was not asked for. It was not said.\r\n"
    repeated = "-> Error: this is the password that you have just typed. It was not said.\r\n"
    for user in (bob, person):
        user.send(f"{command}\n{PASSWORD}\n{SECRET}\n{SECRET}\nhi\n")
    assert kept_back * 2 + repeated in bob.read()
    assert kept_back + NICKNAME + kept_back + NICKNAME + repeated in person.read()
    assert ann.lines() == ["bob: hi", " * hi joined."]
    bob.say(command)
    world.clock.advance(TYPED_AHEAD_SECONDS)
    bob.say("good morning")
    assert ann.lines() == ["bob: good morning"]
    assert SECRET not in "".join(log)


@pytest.mark.parametrize(
    "typed", [b"pass\xffword\xfe", b"pass\xc3word1", b"pass\x01word1", b"pass\x1b[Dword1", b"x" * 257]
)
def test_password_that_is_no_text_is_refused(world: World, ann: Person, typed: bytes) -> None:
    ann.send(b"/passwd\r\n" + typed + b"\r\n")
    asked, error, again = ann.read().split("\r\n")
    assert (asked, again) == (f"{ASK_OLD}<show>", ASK_OLD)
    assert error.startswith("-> Error: a password ")


@pytest.mark.parametrize("length", [600, 5000])
def test_line_that_is_too_long_asks_again(world: World, ann: Person, length: int) -> None:
    person = newcomer(world)
    person.say("/login ann", "x" * length)
    too_long = "-> Error: a line holds at most 512 bytes. An empty line ends this.\r\n"
    assert person.read() == f"{ASK}{TYPED}{too_long}{ASK}"
    person.say(PASSWORD)
    assert person.read() == TYPED + confirmed("ann")
    person.say("/passwd", PASSWORD, OTHER, "x" * 5000, OTHER, OTHER)
    assert "Your password is changed" in person.read()


def test_lines_of_other_protocols_are_passwords(world: World, ann: Person) -> None:
    ann.say("/passwd", PASSWORD, "PASS secret", "PASS secret")
    ann.say("quit")
    person = newcomer(world)
    person.say("/login ann", "USER a b c d", "PASS secret")
    assert person.read() == f"{ASK}{TYPED}{WRONG}{ASK}{TYPED}" + confirmed("ann")


# Lines and other events during a dialogue


def test_lines_of_others_go_on_arriving(ann: Person, bob: Person) -> None:
    ann.read()
    ann.say("/passwd")
    bob.say("hi", "/msg ann psst")
    assert ann.read() == f"{ASK_OLD}bob: hi\r\n[bob] psst\r\n"


def test_lines_wait_while_the_hash_is_computed(world: World, ann: Person) -> None:
    person = newcomer(world)
    person.put(f"ann\r\n{PASSWORD}\r\nhi\r\n/names\r\n")
    assert person.read() == ASK + TYPED
    world.settle()
    assert person.read() == confirmed("ann") + "-> 1 here: ann\r\n"


def test_end_of_input_after_the_password_still_logs_in(world: World) -> None:
    owner_of(world, "ann")
    (bob,) = world.join("bob")
    person = newcomer(world)
    person.put(f"/login ann\n{PASSWORD}")
    person.end_input()
    assert person.read() == ASK + TYPED + confirmed("ann", "1 other is here: bob.") + " * Goodbye, ann.\r\n"
    assert bob.lines() == [" * ann joined.", " * ann left."]


def test_end_of_input_at_a_question_closes(world: World, ann: Person, bob: Person) -> None:
    person = newcomer(world)
    person.say("ann")
    person.end_input()
    assert person.read() == f"{ASK} * Goodbye.\r\n"
    ann.say("/drop")
    ann.read()
    ann.end_input()
    assert ann.read() == " * Goodbye, ann.\r\n"
    assert bob.lines()[-1] == " * ann left."


@pytest.mark.parametrize("typed", ["", f"{PASSWORD}\r\n", "half"])
def test_connection_that_is_lost_during_a_dialogue_leaves_nothing_behind(world: World, typed: str) -> None:
    owner_of(world, "ann")
    person = newcomer(world)
    person.put("ann\r\n" + typed)
    person.vanish()
    assert len(world.hub.people.members) == 0
    (zoe,) = world.join("zoe")
    zoe.put("/login ann\r\n" + typed)
    zoe.vanish()
    assert len(world.hub.people.members) == 0


def test_password_that_is_checked_slowly_lets_in_after_the_time_limit(world: World, ann: Person, bob: Person) -> None:
    ann.say("quit")
    bob.read()
    person = newcomer(world)
    person.say("ann")
    person.put(f"{PASSWORD}\r\n")
    world.clock.advance(60)
    world.settle()
    assert person.read() == ASK + TYPED + confirmed("ann", "1 other is here: bob.")
    assert bob.lines() == [" * ann joined."]


def test_late_result_changes_nothing_after_a_kick(world: World, ann: Person, bob: Person) -> None:
    bob.put(f"/login ann\r\n{PASSWORD}\r\n")
    world.hub.people.find("bob").listener.disconnect("kicked", "You were kicked.")
    world.settle()
    assert bob.read() == f"{ASK}{TYPED} * You were kicked.\r\n * Goodbye, bob.\r\n"
    assert not ann.transport.finished


def test_shutdown_closes_a_question(world: World, ann: Person) -> None:
    person = newcomer(world)
    person.say("ann")
    ann.say("/drop")
    ann.read()
    for connection in list(world.connections):
        connection.close()
    world.settle()
    assert person.read() == f"{ASK} * {GOING_DOWN}\r\n"


# Connections that others can read


def test_password_over_an_open_network_is_warned_about() -> None:
    world = World()
    (ann,) = world.join("ann")
    world.register(ann)
    bob = world.connect(REMOTE)
    bob.read()
    warning = f" * {NOT_ENCRYPTED}\r\n"
    bob.say("ann")
    assert bob.read() == warning + ASK
    bob.say("", "bob", "/register")
    assert bob.read() == f"{TYPED}{NICKNAME}" + confirmed("bob", "1 other is here: ann.") + warning + ASK


def test_password_over_an_open_network_is_refused_where_it_needs_tls() -> None:
    world = World(Settings(passwords="tls"))
    (ann,) = world.join("ann")
    world.register(ann)
    bob = world.connect(REMOTE)
    bob.read()
    bob.say("bob", "/register")
    assert bob.read() == confirmed("bob", "1 other is here: ann.") + f"-> Error: {NEEDS_TLS}\r\n"
    for typed in ("ann", "/login zoe"):
        person = world.connect(REMOTE)
        person.read()
        person.say(typed, SECRET)
        assert person.read() == f" * This nickname needs a password, and {NEEDS_TLS}\r\n"
        assert person.transport.finished
    assert ann.lines() == [" * bob joined."]


@pytest.mark.parametrize("passwords", ["warn", "tls"])
def test_password_over_tls_is_asked_for_at_once(passwords: str) -> None:
    world = TlsWorld(Settings(passwords=passwords))
    bob = world.connect(REMOTE)
    bob.read()
    bob.say("/login ann")
    assert bob.read() == ASK


# Telnet


def test_do_echo_is_an_answer_once_a_password_was_asked_for_and_a_request_before(world: World, ann: Person) -> None:
    person = newcomer(world)
    person.put(b"\xff\xfd\x01ann\r\n")
    assert person.read() == f"<show>{ASK}"
    person.put(b"\xff\xfd\x01" + PASSWORD.encode() + b"x\x08\r\0\xff\xfe\x01")
    assert person.read() == TYPED
    world.settle()
    assert person.read() == confirmed("ann")
